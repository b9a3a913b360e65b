//! Which packets of two sequences belong together (the longest common subsequence, and between its parts the most alike of
//! one message type), and in which fields a pair differs.
//! Asked when a window of a conversation is decided.

use std::collections::BTreeMap;

use super::{Difference, Packet};
use crate::pcap::normalise::AddressMap;

/// A gap between aligned packets is paired by likeness up to this many pairs, and in order beyond.
const LIKENESS_PAIRS: usize = 4096;

/// How a window is taken apart, from the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Pair,
    Missing,
    Extra,
}

/// The number of steps that use up `half` packets of either side, at least one.
pub(super) fn first_half(steps: &[Step], half: usize) -> usize {
    let (mut expected, mut actual) = (0, 0);
    let enough = steps.iter().position(|step| {
        expected += usize::from(*step != Step::Extra);
        actual += usize::from(*step != Step::Missing);
        expected.max(actual) >= half.max(1)
    });
    enough.map_or(steps.len(), |at| at + 1)
}

/// Aligns two sequences: most equal packets in order (longest common subsequence), and in the gaps between them
/// the most alike of the same message type.
pub(super) fn align(expected: Vec<&Packet>, actual: Vec<&Packet>, maps: &[AddressMap]) -> Vec<Step> {
    let (rows, columns) = (expected.len(), actual.len());
    let width = columns + 1;
    // Length of the longest common subsequence of what follows.
    let mut common = vec![0u32; (rows + 1) * width];
    let at = |row: usize, column: usize| row * width + column;
    let value = |table: &[u32], place: usize| table.get(place).copied().unwrap_or(0);
    for (row, e) in expected.iter().enumerate().rev() {
        for (column, a) in actual.iter().enumerate().rev() {
            let longest = if e.hash == a.hash {
                value(&common, at(row + 1, column + 1)) + 1
            } else {
                value(&common, at(row + 1, column)).max(value(&common, at(row, column + 1)))
            };
            if let Some(cell) = common.get_mut(at(row, column)) {
                *cell = longest;
            }
        }
    }
    let (mut row, mut column) = (0, 0);
    let (mut gap_row, mut gap_column) = (0, 0);
    let mut steps = Vec::with_capacity(rows + columns);
    let gap = |from: (usize, usize), to: (usize, usize), steps: &mut Vec<Step>| {
        let expected = expected.get(from.0..to.0).unwrap_or_default();
        let actual = actual.get(from.1..to.1).unwrap_or_default();
        fill_gap(expected, actual, maps, steps);
    };
    while let (Some(e), Some(a)) = (expected.get(row), actual.get(column)) {
        if e.hash == a.hash {
            gap((gap_row, gap_column), (row, column), &mut steps);
            steps.push(Step::Pair);
            (row, column) = (row + 1, column + 1);
            (gap_row, gap_column) = (row, column);
        } else if value(&common, at(row + 1, column)) >= value(&common, at(row, column + 1)) {
            row += 1;
        } else {
            column += 1;
        }
    }
    gap((gap_row, gap_column), (rows, columns), &mut steps);
    steps
}

/// Pairs packets between two that are equal: a pair of one message type costs by the fields that differ, and always
/// less than one missing and one extra.
fn fill_gap(expected: &[&Packet], actual: &[&Packet], maps: &[AddressMap], steps: &mut Vec<Step>) {
    const ALONE: usize = 100;
    let (rows, columns) = (expected.len(), actual.len());
    let width = columns + 1;
    let by_likeness = rows * columns <= LIKENESS_PAIRS;
    let paths: [Vec<_>; 2] = match by_likeness {
        true => [
            expected.iter().map(|packet| packet.compared(maps)).collect(),
            actual.iter().map(|packet| packet.compared(&[])).collect(),
        ],
        false => [Vec::new(), Vec::new()],
    };
    let pair_cost = |row: usize, column: usize| -> Option<usize> {
        let (e, a) = (expected.get(row)?, actual.get(column)?);
        if !e.alike(a) {
            return None;
        }
        let [Some(e), Some(a)] = [paths[0].get(row), paths[1].get(column)] else { return Some(ALONE / 2) };
        let equal = e
            .iter()
            .zip(a)
            .filter(|(e, a)| e.0 == a.0 && e.2 == a.2 && (e.2.is_some() || e.1 == a.1))
            .count();
        Some((e.len().max(a.len()) - equal).min(ALONE - 1) + ALONE / 2)
    };
    if !by_likeness && rows * columns > 1 << 22 {
        // Too far apart to be worth a table: in order, as far as types agree.
        let both = expected.iter().zip(actual).take_while(|(e, a)| e.alike(a)).count();
        steps.extend(std::iter::repeat_n(Step::Pair, both));
        steps.extend(std::iter::repeat_n(Step::Missing, rows - both));
        steps.extend(std::iter::repeat_n(Step::Extra, columns - both));
        return;
    }
    let mut costs = vec![0usize; (rows + 1) * width];
    let mut choices = vec![Step::Extra; (rows + 1) * width];
    for row in (0..=rows).rev() {
        for column in (0..=columns).rev() {
            if (row, column) == (rows, columns) {
                continue;
            }
            let cost = |row: usize, column: usize| costs.get(row * width + column).copied().unwrap_or(0);
            let mut best = (usize::MAX, Step::Extra);
            if let Some(pair) = pair_cost(row, column) {
                best = (cost(row + 1, column + 1) + pair, Step::Pair);
            }
            if row < rows && cost(row + 1, column) + ALONE < best.0 {
                best = (cost(row + 1, column) + ALONE, Step::Missing);
            }
            if column < columns && cost(row, column + 1) + ALONE < best.0 {
                best = (cost(row, column + 1) + ALONE, Step::Extra);
            }
            let place = row * width + column;
            if let (Some(cost), Some(choice)) = (costs.get_mut(place), choices.get_mut(place)) {
                (*cost, *choice) = best;
            }
        }
    }
    let (mut row, mut column) = (0, 0);
    while (row, column) != (rows, columns) {
        let step = choices.get(row * width + column).copied().unwrap_or(Step::Extra);
        row += usize::from(step != Step::Extra);
        column += usize::from(step != Step::Missing);
        steps.push(step);
    }
}

/// In which fields two packets differ, in wire order.
pub(super) fn differences(expected: &Packet, actual: &Packet, maps: &[AddressMap]) -> Vec<Difference> {
    let expected = expected.compared(maps);
    let mut actual: Vec<Option<_>> = actual.compared(&[]).into_iter().map(Some).collect();
    let places: BTreeMap<String, usize> =
        actual.iter().flatten().enumerate().map(|(at, (path, ..))| (path.clone(), at)).collect();
    let mut list: Vec<Difference> = Vec::new();
    for (path, value, canon, told) in expected {
        let there = places.get(&path).and_then(|at| actual.get_mut(*at)).and_then(Option::take);
        match there {
            Some((_, other, other_canon, _))
                if canon == other_canon && (canon.is_some() || other == value) => {}
            Some((.., other_told)) => {
                list.push(Difference { field: path, expected: Some(told), actual: Some(other_told) });
            }
            None => list.push(Difference { field: path, expected: Some(told), actual: None }),
        }
    }
    for (path, _, _, told) in actual.into_iter().flatten() {
        list.push(Difference { field: path, expected: None, actual: Some(told) });
    }
    // A group that one side lacks says it all; its fields need not be told too.
    let groups: Vec<String> = list
        .iter()
        .filter(|difference| difference.expected.is_none() || difference.actual.is_none())
        .map(|difference| format!("{}.", difference.field))
        .collect();
    list.retain(|difference| !groups.iter().any(|group| difference.field.starts_with(group.as_str())));
    list
}
