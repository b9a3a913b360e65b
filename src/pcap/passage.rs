//! One packet on its way: the same octets found again in the captures of several nodes, put together.
//! Only the hop limit may differ between two sightings of a packet (RFC 8200 section 3), so the rest identifies it.
//! The ladder draws passages, and the lab's claims about thesis section 5 are judged on them.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv6Addr,
    time::Duration,
};

use super::{capture::Frame, view::View};
use crate::wire::{self, ipv6::HEADER_LENGTH};

/// How long a packet may be on its way between two nodes before equal octets count as another packet.
const LONGEST_WAY: Duration = Duration::from_secs(2);

/// A packet seen at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// The node, as index into [`Trace::nodes`].
    pub node: usize,
    /// Position among the IPv6 packets of that node's capture, from 0.
    pub position: usize,
    /// When, since the Unix epoch.
    pub at: Duration,
    /// The hop limit it had there.
    pub hop_limit: u8,
}

/// One packet and everywhere it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The packet at its first sighting, without link-layer padding.
    pub packet: Vec<u8>,
    /// What it is, or why that cannot be told.
    pub view: wire::Result<View>,
    /// Where it was seen, in order of time; never empty.
    pub sightings: Vec<Sighting>,
    /// The node it set out from, as index into [`Trace::nodes`].
    pub from: Option<usize>,
    /// The node it was for.
    pub to: Option<usize>,
}

impl Passage {
    /// When it was first seen, since the Unix epoch.
    pub fn at(&self) -> Duration {
        self.sightings.first().map_or(Duration::ZERO, |sighting| sighting.at)
    }

    /// When `node` saw it.
    pub fn at_node(&self, node: usize) -> Option<Duration> {
        self.sightings.iter().find(|sighting| sighting.node == node).map(|sighting| sighting.at)
    }
}

/// The captures of several nodes with one clock, as one sequence of passages.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// The nodes, in the order in which they are drawn.
    pub nodes: Vec<String>,
    /// Whose address is whose.
    pub owners: BTreeMap<Ipv6Addr, usize>,
    /// The packets in order of their first sighting.
    pub passages: Vec<Passage>,
}

impl Trace {
    /// Puts the captures of `nodes` (name and frames) together. `owners` says which node an address belongs to; an
    /// address that several answer for is best left to the node that intercepts it on the home link.
    pub fn new(nodes: Vec<(String, Vec<Frame>)>, owners: &[(Ipv6Addr, &str)]) -> Trace {
        let names: Vec<String> = nodes.iter().map(|(name, _)| name.clone()).collect();
        let index = |wanted: &str| names.iter().position(|name| name == wanted);
        let owners: BTreeMap<Ipv6Addr, usize> =
            owners.iter().filter_map(|(address, name)| Some((*address, index(name)?))).collect();
        let captured: Vec<bool> = nodes.iter().map(|(_, frames)| !frames.is_empty()).collect();
        let mut seen: Vec<(Sighting, Vec<u8>)> = Vec::new();
        for (node, (_, frames)) in nodes.into_iter().enumerate() {
            for (position, frame) in frames.into_iter().enumerate() {
                let Frame { at, ipv6, .. } = frame;
                let hop_limit = ipv6.get(7).copied().unwrap_or(0);
                seen.push((Sighting { node, position, at, hop_limit }, without_padding(ipv6)));
            }
        }
        seen.sort_by_key(|(sighting, _)| sighting.at);
        let mut passages: Vec<Passage> = Vec::new();
        let mut same_octets: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (sighting, packet) in seen {
            let mut key = packet.clone();
            if let Some(hop_limit) = key.get_mut(7) {
                *hop_limit = 0;
            }
            let earlier = same_octets.entry(key).or_default();
            let met = earlier.iter().rev().copied().find(|&passage| {
                passages.get(passage).is_some_and(|passage| {
                    passage.at_node(sighting.node).is_none() && sighting.at - passage.at() <= LONGEST_WAY
                })
            });
            match met.and_then(|passage| passages.get_mut(passage)) {
                Some(passage) => passage.sightings.push(sighting),
                None => {
                    earlier.push(passages.len());
                    let view = View::parse(&packet);
                    passages.push(Passage { packet, view, sightings: vec![sighting], from: None, to: None });
                }
            }
        }
        for passage in &mut passages {
            (passage.from, passage.to) = ends(passage, &owners, &captured);
        }
        order_ties(&mut passages);
        Trace { nodes: names, owners, passages }
    }

    /// The index of a node.
    pub fn node(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node == name)
    }

    /// Every packet that could be looked at, in order.
    pub fn packets(&self) -> impl Iterator<Item = (&Passage, &View)> {
        self.passages.iter().filter_map(|passage| Some((passage, passage.view.as_ref().ok()?)))
    }

    /// When the first packet was seen, since the Unix epoch.
    pub fn start(&self) -> Duration {
        self.passages.first().map_or(Duration::ZERO, Passage::at)
    }
}

fn without_padding(mut ipv6: Vec<u8>) -> Vec<u8> {
    if let Some([high, low]) = ipv6.get(4..6) {
        ipv6.truncate(HEADER_LENGTH + usize::from(u16::from_be_bytes([*high, *low])));
    }
    ipv6
}

/// Where a packet set out and where it was going. The owner of an address says it best, except that several nodes
/// send from an anycast address: among those who saw the packet the one nearest to its sender saw the highest hop
/// limit.
fn ends(
    passage: &Passage,
    owners: &BTreeMap<Ipv6Addr, usize>,
    captured: &[bool],
) -> (Option<usize>, Option<usize>) {
    let Ok(view) = &passage.view else { return (passage.sightings.first().map(|first| first.node), None) };
    let owner = |address: &Ipv6Addr| owners.get(address).copied();
    let nearest = passage
        .sightings
        .iter()
        .rev()
        .max_by_key(|sighting| sighting.hop_limit)
        .map(|sighting| sighting.node);
    let from = match owner(&view.outer.source) {
        Some(node) if captured.get(node) != Some(&true) => Some(node),
        _ => nearest,
    };
    let farthest = passage
        .sightings
        .iter()
        .rev()
        .filter(|sighting| Some(sighting.node) != from)
        .min_by_key(|sighting| sighting.hop_limit)
        .map(|sighting| sighting.node);
    let to = owner(&view.outer.destination).or(farthest);
    (from, to.filter(|_| to != from))
}

/// Clocks of microseconds leave ties between a packet and the one it caused; the order in a capture that has both
/// settles them.
fn order_ties(passages: &mut [Passage]) {
    passages.sort_by_key(Passage::at);
    let reversed = |a: &Passage, b: &Passage| {
        a.at() == b.at()
            && a.sightings.iter().any(|here| {
                b.sightings.iter().any(|there| there.node == here.node && there.position < here.position)
            })
    };
    for end in 1..passages.len() {
        let mut at = end;
        while at > 0 && reversed(&passages[at - 1], &passages[at]) {
            passages.swap(at - 1, at);
            at -= 1;
        }
    }
}
