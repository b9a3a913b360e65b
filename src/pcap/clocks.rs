//! Captures of machines whose clocks differ, put on one clock by what they have in common: the packets themselves.
//! A packet is never seen at the next node before it was seen at the one before (its hop limit tells the order, RFC 8200
//! section 3), and packets that go both ways bound the difference of two clocks from both sides.
//! `lab` calls it before it judges thesis section 5 on machines that are not namespaces of one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::Ipv6Addr,
    time::Duration,
};

use super::capture::{Frame, Nanoseconds, shifted};
use crate::wire::ipv6::HEADER_LENGTH;

/// Where a packet was seen: the node, and the place in its capture.
type Place = (usize, usize);

/// How much slack the clocks are given first when no constant difference explains the captures; it is doubled until one
/// does. (Clocks drift against each other while a capture runs.)
const FIRST_SLACK: Nanoseconds = 20_000;

/// Rewrites the times of `nodes` (name and frames) to one clock and returns by how much each node's clock was ahead of it.
///
/// `owners` says whose address is whose. `guesses` says how much each node's clock is thought to be ahead: believed of the
/// node that shares packets with most others, and of those that share none; the packets tell the rest.
pub fn align(
    nodes: &mut [(String, Vec<Frame>)],
    owners: &[(Ipv6Addr, &str)],
    guesses: &[Nanoseconds],
) -> Vec<Nanoseconds> {
    let ways = ways(nodes, owners);
    let guess = |node: usize| guesses.get(node).copied().unwrap_or(0);
    let mut bounds = vec![vec![None; nodes.len()]; nodes.len()];
    for hop in ways.iter().flat_map(|way| way.windows(2)) {
        let [from, to] = [hop[0], hop[1]];
        let bound = time(nodes, to) - time(nodes, from);
        let least: &mut Option<Nanoseconds> = &mut bounds[from.0][to.0];
        *least = Some(least.map_or(bound, |least| least.min(bound)));
    }
    // The node that shares packets with most others speaks for all.
    let partners = |node: usize| {
        (0..nodes.len())
            .filter(|&other| bounds[node][other].is_some() || bounds[other][node].is_some())
            .count()
    };
    let reference = (0..nodes.len()).rev().max_by_key(|&node| partners(node)).unwrap_or(0);
    let distances = shortest(&bounds);
    let ahead: Vec<Nanoseconds> = (0..nodes.len())
        .map(|node| match (distances[reference][node], distances[node][reference]) {
            // Both extremes keep every packet in order, and so does what lies half way between them.
            (Some(most), Some(least)) => guess(reference) + (most - least) / 2,
            (Some(most), None) => guess(reference) + most,
            (None, Some(least)) => guess(reference) - least,
            (None, None) => guess(node),
        })
        .collect();
    for ((_, frames), ahead) in nodes.iter_mut().zip(&ahead) {
        for frame in frames {
            frame.at = shifted(frame.at, -ahead);
        }
    }
    keep_order(nodes, &ways);
    ahead
}

fn time(nodes: &[(String, Vec<Frame>)], (node, position): Place) -> Nanoseconds {
    let at = nodes[node].1[position].at.as_nanos();
    Nanoseconds::try_from(at).unwrap_or(Nanoseconds::MAX)
}

/// The ways of packets that can be told from all others at each node, place by place. Multicast stays on its link and may
/// look alike on another one.
fn ways(nodes: &[(String, Vec<Frame>)], owners: &[(Ipv6Addr, &str)]) -> Vec<Vec<Place>> {
    let mut places: HashMap<Vec<u8>, Vec<Place>> = HashMap::new();
    for (node, (_, frames)) in nodes.iter().enumerate() {
        for (position, frame) in frames.iter().enumerate() {
            places.entry(identity(&frame.ipv6)).or_default().push((node, position));
        }
    }
    let owned: BTreeMap<Ipv6Addr, &str> = owners.iter().copied().collect();
    let owner = |packet: &[u8], at: usize| owned.get(&address(packet, at)?).copied();
    let mut ways: Vec<Vec<Place>> = places
        .into_iter()
        .filter(|(packet, seen)| {
            let apart = seen.windows(2).all(|pair| pair[0].0 != pair[1].0);
            let unicast = address(packet, 24).is_some_and(|destination| !destination.is_multicast());
            seen.len() > 1 && apart && unicast
        })
        .map(|(packet, mut seen)| {
            let (source, destination) = (owner(&packet, 8), owner(&packet, 24));
            seen.sort_by_key(|&(node, position)| {
                let (name, frames) = &nodes[node];
                let hop_limit = frames[position].ipv6.get(7).copied().unwrap_or(0);
                // Of two on one link the packet's sender is the first and its receiver the last.
                let end = (source != Some(name.as_str()), destination == Some(name.as_str()));
                (Reverse(hop_limit), end)
            });
            seen
        })
        .collect();
    ways.sort();
    ways
}

/// The packet without what changes on its way, and without link-layer padding.
fn identity(ipv6: &[u8]) -> Vec<u8> {
    let mut packet = ipv6.to_vec();
    if let Some([high, low]) = ipv6.get(4..6) {
        packet.truncate(HEADER_LENGTH + usize::from(u16::from_be_bytes([*high, *low])));
    }
    if let Some(hop_limit) = packet.get_mut(7) {
        *hop_limit = 0;
    }
    packet
}

fn address(packet: &[u8], at: usize) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
    Some(octets.into())
}

/// The least bound between every two nodes by way of any others: Floyd and Warshall, with as much slack on every bound as
/// it takes for no node to be before itself.
fn shortest(bounds: &[Vec<Option<Nanoseconds>>]) -> Vec<Vec<Option<Nanoseconds>>> {
    let nodes = bounds.len();
    let mut slack = 0;
    loop {
        let mut distances: Vec<Vec<Option<Nanoseconds>>> = bounds
            .iter()
            .map(|row| row.iter().map(|bound| bound.map(|bound| bound + slack)).collect())
            .collect();
        for by in 0..nodes {
            for from in 0..nodes {
                for to in 0..nodes {
                    if let (Some(first), Some(second)) = (distances[from][by], distances[by][to]) {
                        let length = first + second;
                        let least = &mut distances[from][to];
                        *least = Some(least.map_or(length, |least| least.min(length)));
                    }
                }
            }
        }
        if (0..nodes).all(|node| distances[node][node].is_none_or(|round| round >= 0)) {
            for (node, row) in distances.iter_mut().enumerate() {
                row[node] = Some(0);
            }
            return distances;
        }
        slack = (slack * 2).max(FIRST_SLACK);
    }
}

/// Moves later what drift has left before its cause: a packet at the next node is after the one before, and every
/// capture keeps its own order.
fn keep_order(nodes: &mut [(String, Vec<Frame>)], ways: &[Vec<Place>]) {
    let rounds: usize = nodes.iter().map(|(_, frames)| frames.len()).sum();
    // A cause lies at most as many packets away as there are; captures that contradict themselves end here too.
    for _ in 0..rounds {
        let mut moved = false;
        for (_, frames) in nodes.iter_mut() {
            for place in 1..frames.len() {
                let before = frames[place - 1].at;
                if frames[place].at < before {
                    frames[place].at = before;
                    moved = true;
                }
            }
        }
        for hop in ways.iter().flat_map(|way| way.windows(2)) {
            let [from, to] = [hop[0], hop[1]];
            let before = nodes[from.0].1[from.1].at;
            let after = &mut nodes[to.0].1[to.1].at;
            if *after <= before {
                *after = before + Duration::from_nanos(1);
                moved = true;
            }
        }
        if !moved {
            return;
        }
    }
}
