//! The policies (thesis 3.1.4, 4.3.1) on candidates given by hand: shares, minimal disruption, and that measurements
//! which tremble move nobody.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::select::{Candidate, Contender, Criterion, SLOTS, Selector, slot_of, slots};
use proptest::prelude::*;

fn care_of(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_0000_0004_u128 << 64 | u128::from(number))
}

fn candidate(number: u32) -> Candidate {
    Candidate { number, care_of: care_of(number), bid: 1, distance: None, metric: None, weight: 1 }
}

fn selector(criterion: Criterion) -> Selector {
    Selector::new(criterion, Vec::new(), 20)
}

fn away(number: u32, milliseconds: u64) -> Candidate {
    Candidate { distance: Some(Duration::from_millis(milliseconds)), ..candidate(number) }
}

fn metric(number: u32, metric: u32) -> Candidate {
    Candidate { metric: Some(metric), ..candidate(number) }
}

/// How many of 10,000 sources each candidate gets.
fn spread(selector: &mut Selector, candidates: &[Candidate]) -> BTreeMap<u32, usize> {
    let table = selector.slots(candidates);
    let mut counts = BTreeMap::new();
    for source in 0..10_000u128 {
        let source = Ipv6Addr::from(0x2001_0db8_0000_0002_u128 << 64 | source);
        let index = usize::from(table[slot_of(&source)]);
        *counts.entry(candidates[index].number).or_default() += 1;
    }
    counts
}

#[test]
fn weights_of_three_to_one_are_shares_of_three_quarters_and_one() {
    for second in 2..12 {
        let candidates = [Candidate { weight: 3, ..candidate(1) }, candidate(second)];
        let counts = spread(&mut selector(Criterion::Weighted), &candidates);
        assert!((7200..=7800).contains(&counts[&1]), "{counts:?}");
    }
}

#[test]
fn equal_shares_do_not_ask_for_weights() {
    let candidates = [Candidate { weight: 3, ..candidate(1) }, candidate(2)];
    let counts = spread(&mut selector(Criterion::Hash), &candidates);
    assert!((4700..=5300).contains(&counts[&1]), "{counts:?}");
}

#[test]
fn one_that_wants_nothing_gets_nothing_unless_nobody_wants() {
    let idle = |number| Candidate { weight: 0, ..candidate(number) };
    assert_eq!(spread(&mut selector(Criterion::Weighted), &[idle(1), candidate(2)]), [(2, 10_000)].into());
    assert_eq!(spread(&mut selector(Criterion::Weighted), &[idle(1), idle(2)]).len(), 2);
}

#[test]
fn the_nearest_takes_all_and_the_unknown_come_last() {
    let mut distance = selector(Criterion::Distance);
    let all = [candidate(1), away(2, 40), away(3, 10)];
    assert_eq!(spread(&mut distance, &all), [(3, 10_000)].into());
    assert_eq!(distance.chosen(), Some(3));
    assert_eq!(spread(&mut distance, &all[..2]), [(2, 10_000)].into());
}

#[test]
fn a_distance_that_trembles_moves_nobody_and_one_that_is_better_does() {
    let mut distance = selector(Criterion::Distance);
    distance.weights(&[away(1, 20), away(2, 21)]);
    for trembling in [18, 17, 22, 19, 17] {
        assert_eq!(distance.weights(&[away(1, 20), away(2, trembling)]), [1, 0], "{trembling}");
    }
    assert_eq!(distance.weights(&[away(1, 20), away(2, 15)]), [0, 1]);
    assert_eq!(distance.weights(&[away(1, 14), away(2, 15)]), [0, 1]);
    // Percents of next to nothing are nothing.
    let near =
        |number, micros| Candidate { distance: Some(Duration::from_micros(micros)), ..candidate(number) };
    assert_eq!(distance.weights(&[near(1, 50), near(2, 900)]), [0, 1]);
}

// covers: X008
#[test]
fn the_least_metric_takes_all_with_the_same_margin() {
    let mut selector = selector(Criterion::Metric);
    assert_eq!(selector.weights(&[metric(1, 1000), metric(2, 900), candidate(3)]), [0, 1, 0]);
    assert_eq!(selector.weights(&[metric(1, 800), metric(2, 900), candidate(3)]), [0, 1, 0]);
    assert_eq!(selector.weights(&[metric(1, 700), metric(2, 900), candidate(3)]), [1, 0, 0]);
}

#[test]
fn the_operators_order_is_exact() {
    let order = vec![care_of(3), care_of(1)];
    let mut selector = Selector::new(Criterion::Preference, order, 20);
    assert_eq!(selector.weights(&[candidate(2), candidate(1)]), [0, 1]);
    assert_eq!(selector.weights(&[candidate(2), candidate(1), candidate(3)]), [0, 0, 1]);
    assert_eq!(selector.weights(&[candidate(2)]), [1]);
}

#[test]
fn nobody_to_choose_from_is_an_empty_table() {
    for criterion in [Criterion::Distance, Criterion::Hash] {
        assert!(selector(criterion).slots(&[]).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever goes leaves its slots and no others; whoever comes takes from the others only what it keeps.
    #[test]
    fn removing_one_moves_only_its_own_slots(
        weights in prop::collection::vec(1..200u32, 2..11),
        gone in any::<prop::sample::Index>(),
    ) {
        let contenders: Vec<_> = (0u32..).zip(weights)
            .map(|(number, weight)| Contender { care_of: care_of(number), bid: 7, weight })
            .collect();
        let gone = gone.index(contenders.len());
        let mut fewer = contenders.clone();
        fewer.remove(gone);
        let (before, after) = (slots(&contenders), slots(&fewer));
        prop_assert_eq!(before.len(), SLOTS);
        for (before, after) in before.iter().zip(&after) {
            let (before, after) = (&contenders[usize::from(*before)], &fewer[usize::from(*after)]);
            prop_assert!(before == after || *before == contenders[gone]);
        }
    }

    /// The order in which members are listed does not matter.
    #[test]
    fn agents_that_know_the_same_members_choose_the_same(rotation in 0..5usize) {
        let mut contenders: Vec<_> = (0..5)
            .map(|number| Contender { care_of: care_of(number), bid: 0, weight: number + 1 })
            .collect();
        let here = slots(&contenders);
        let named: Vec<_> = here.iter().map(|index| contenders[usize::from(*index)]).collect();
        contenders.rotate_left(rotation);
        let there: Vec<_> = slots(&contenders).iter().map(|index| contenders[usize::from(*index)]).collect();
        prop_assert_eq!(named, there);
    }
}
