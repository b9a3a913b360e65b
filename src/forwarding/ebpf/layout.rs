//! The layouts of `programs/rules.h`, octet by octet: what this program and the kernel's programs tell each other.
//! Addresses are in network order, numbers in the machine's, as the C compiler puts them. Called by `loader` and, to
//! read back what the kernel holds, by `show rules --kernel`.

use std::net::Ipv6Addr;

use super::{Carried, NextHop};
use crate::protocol::action::{Observation, Rule, RuleKey, RuleKind};

/// `struct rule_key`.
pub type Key = [u8; 40];
/// As much of it as an agent's rules have.
pub type PeerlessKey = [u8; 24];
/// `struct rule`.
pub type Value = [u8; 72];
/// `struct counter`.
pub type Counter = [u8; 16];
/// `struct settings`.
pub type Settings = [u8; 24];
/// `struct peer`.
pub const PEER_LENGTH: usize = 32;

/// The numbers of `enum kind`.
const KINDS: [(RuleKind, u32); 9] = [
    (RuleKind::TunnelToResponder, 0),
    (RuleKind::TunnelFromResponder, 1),
    (RuleKind::ReverseTunnelOut, 2),
    (RuleKind::ReverseTunnelIn, 3),
    (RuleKind::HomeAddressOut, 4),
    (RuleKind::HomeAddressIn, 5),
    (RuleKind::RoutingHeaderOut, 6),
    (RuleKind::RoutingHeaderIn, 7),
    (RuleKind::MidwayTunnelIn, 8),
];

/// A rule as the kernel's programs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// This node's end of the tunnel, or the address it speaks from.
    pub near: Ipv6Addr,
    /// The other end; unspecified where it does not matter.
    pub far: Ipv6Addr,
    /// At responders and initiators, the way there.
    pub next_hop: Option<NextHop>,
    /// Place of the rule's counters and next hops.
    pub slot: u32,
    /// The place of the group whose members are the other end, if it is one.
    pub group: Option<u32>,
    /// When the binding behind it is over, in nanoseconds since boot; [`NO_END`] where nobody says.
    pub until: u64,
}

/// The end of a rule that has none.
pub const NO_END: u64 = u64::MAX;

impl Entry {
    /// This node's end and the other one.
    pub fn ends(rule: &Rule) -> (Ipv6Addr, Ipv6Addr) {
        match *rule {
            Rule::TunnelToResponder { agent, care_of, .. }
            | Rule::TunnelFromResponder { agent, care_of, .. } => (agent, care_of),
            Rule::ReverseTunnelOut { care_of, agent, .. } | Rule::ReverseTunnelIn { care_of, agent, .. } => {
                (care_of, agent)
            }
            Rule::HomeAddressOut { initiator, care_of, .. } => (care_of, initiator),
            Rule::HomeAddressIn { own, care_of, .. } | Rule::RoutingHeaderOut { own, care_of, .. } => {
                (own, care_of)
            }
            Rule::RoutingHeaderIn { care_of, .. } => (care_of, Ipv6Addr::UNSPECIFIED),
            Rule::MidwayTunnelIn { care_of, agent, .. } => (care_of, agent),
        }
    }

    /// As it lies in the map.
    pub fn encode(&self) -> Value {
        let mut octets = [0; 72];
        octets[..16].copy_from_slice(&self.near.octets());
        octets[16..32].copy_from_slice(&self.far.octets());
        if let Some(NextHop { device, neighbour, mtu }) = self.next_hop {
            octets[32..48].copy_from_slice(&neighbour.octets());
            octets[48..52].copy_from_slice(&device.to_ne_bytes());
            octets[52..56].copy_from_slice(&mtu.to_ne_bytes());
        }
        octets[56..60].copy_from_slice(&self.slot.to_ne_bytes());
        octets[60..64].copy_from_slice(&self.group.map_or(0, |place| place + 1).to_ne_bytes());
        octets[64..].copy_from_slice(&self.until.to_ne_bytes());
        octets
    }

    /// Reads what lies in the map.
    pub fn decode(octets: &Value) -> Self {
        let device = number(octets, 48);
        let next_hop = (device != 0).then(|| NextHop {
            device,
            neighbour: address(octets, 32),
            mtu: number(octets, 52),
        });
        let group = number(octets, 60).checked_sub(1);
        let slot = number(octets, 56);
        let until = long(octets, 64);
        Self { near: address(octets, 0), far: address(octets, 16), next_hop, slot, group, until }
    }
}

/// The rule that lies in the map under this key.
pub fn rule(key: &RuleKey, entry: &Entry) -> Rule {
    let (anycast, peer, near, far) = (key.anycast, key.peer, entry.near, entry.far);
    match key.kind {
        RuleKind::TunnelToResponder => Rule::TunnelToResponder { anycast, agent: near, care_of: far },
        RuleKind::TunnelFromResponder => Rule::TunnelFromResponder { anycast, agent: near, care_of: far },
        RuleKind::ReverseTunnelOut => Rule::ReverseTunnelOut { anycast, care_of: near, agent: far },
        RuleKind::ReverseTunnelIn => Rule::ReverseTunnelIn { anycast, care_of: near, agent: far },
        RuleKind::MidwayTunnelIn => Rule::MidwayTunnelIn { anycast, care_of: near, agent: peer },
        RuleKind::HomeAddressOut => Rule::HomeAddressOut { anycast, initiator: peer, care_of: near },
        RuleKind::HomeAddressIn => Rule::HomeAddressIn { anycast, own: peer, care_of: far },
        RuleKind::RoutingHeaderOut => Rule::RoutingHeaderOut { anycast, own: peer, care_of: far },
        RuleKind::RoutingHeaderIn => Rule::RoutingHeaderIn { anycast, care_of: near },
    }
}

/// The key of a rule in the map; `None` for a kind that the programs do not know, which stays user space's.
pub fn encode_key(key: &RuleKey) -> Option<Key> {
    let (_, kind) = KINDS.iter().find(|(kind, _)| *kind == key.kind)?;
    let mut octets = [0; 40];
    octets[..16].copy_from_slice(&key.anycast.octets());
    octets[16..20].copy_from_slice(&kind.to_ne_bytes());
    octets[24..].copy_from_slice(&key.peer.octets());
    Some(octets)
}

/// Reads a key of the map.
pub fn decode_key(octets: &Key) -> Option<RuleKey> {
    let number = number(octets, 16);
    let (kind, _) = KINDS.iter().find(|(_, known)| *known == number)?;
    Some(RuleKey::between(*kind, address(octets, 0), address(octets, 24)))
}

/// Reads what one processor counted.
pub fn decode_counter(octets: &Counter) -> Carried {
    Carried { packets: long(octets, 0), octets: long(octets, 8) }
}

/// The generation in the settings.
pub fn generation(octets: &Settings) -> u32 {
    number(octets, 0)
}

/// What the programs of a node share.
pub fn encode_settings(
    generation: u32,
    tunnel_device: u32,
    tunnel_mtu: u32,
    link_address: Option<[u8; 6]>,
) -> Settings {
    let mut octets = [0; 24];
    octets[..4].copy_from_slice(&generation.to_ne_bytes());
    octets[4..8].copy_from_slice(&tunnel_device.to_ne_bytes());
    octets[8..12].copy_from_slice(&tunnel_mtu.to_ne_bytes());
    octets[16..22].copy_from_slice(&link_address.unwrap_or_default());
    octets
}

/// Reads what the responder's programs saw.
pub fn decode_peer(octets: &[u8]) -> Option<Observation> {
    let octets: &[u8; PEER_LENGTH] = octets.try_into().ok()?;
    Some(Observation::TunnelledPeer { anycast: address(octets, 0), peer: address(octets, 16) })
}

/// `struct membership`.
pub fn pair(anycast: &Ipv6Addr, care_of: &Ipv6Addr) -> [u8; 32] {
    let mut octets = [0; 32];
    octets[..16].copy_from_slice(&anycast.octets());
    octets[16..].copy_from_slice(&care_of.octets());
    octets
}

/// `struct member`.
pub fn member(care_of: &Ipv6Addr, number: u32, slot: u32) -> [u8; 24] {
    let mut octets = [0; 24];
    octets[..16].copy_from_slice(&care_of.octets());
    octets[16..20].copy_from_slice(&number.to_ne_bytes());
    octets[20..].copy_from_slice(&slot.to_ne_bytes());
    octets
}

/// `struct group`; `interval` is in ticks.
pub fn group(interval: u32, renewed: bool, slots: u32, buckets: u32, key: &[u32; 4]) -> [u8; 32] {
    let mut octets = [0; 32];
    let words = [interval, u32::from(renewed), slots, buckets].into_iter().chain(*key);
    for (place, word) in octets.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    octets
}

/// What a `struct group` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldGroup {
    /// In ticks; 0 when nobody is fixed.
    pub interval: u32,
    pub renewed: bool,
    /// Where its slots begin.
    pub slots: u32,
    pub secret: [u32; 4],
}

/// Reads a `struct group`.
pub fn held_group(octets: &[u8; 32]) -> HeldGroup {
    HeldGroup {
        interval: number(octets, 0),
        renewed: number(octets, 4) != 0,
        slots: number(octets, 8),
        secret: [16, 20, 24, 28].map(|at| number(octets, at)),
    }
}

/// Number of the member in a `struct member`; 0 when there is none.
pub fn held_member(octets: &[u8; 24]) -> u32 {
    number(octets, 16)
}

/// The anycast and the care-of address of a `struct membership`.
pub fn ends(octets: &[u8; 32]) -> (Ipv6Addr, Ipv6Addr) {
    (address(octets, 0), address(octets, 16))
}

fn address<const N: usize>(octets: &[u8; N], at: usize) -> Ipv6Addr {
    let mut value = [0; 16];
    value.copy_from_slice(&octets[at..at + 16]);
    value.into()
}

fn number<const N: usize>(octets: &[u8; N], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&octets[at..at + 4]);
    u32::from_ne_bytes(value)
}

fn long<const N: usize>(octets: &[u8; N], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&octets[at..at + 8]);
    u64::from_ne_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_comes_back_as_it_went() {
        let held = HeldGroup { interval: 4470, renewed: true, slots: 8192, secret: [1, 2, 3, u32::MAX] };
        let octets = group(held.interval, held.renewed, held.slots, 77, &held.secret);
        assert_eq!(held_group(&octets), held);
        let (here, there) = (Ipv6Addr::LOCALHOST, Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2));
        assert_eq!(held_member(&member(&there, 9, 4100)), 9);
        assert_eq!(ends(&pair(&here, &there)), (here, there));
    }

    #[test]
    fn keys_and_entries_come_back_as_they_went() {
        let (here, there) = (Ipv6Addr::LOCALHOST, Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2));
        for (kind, _) in KINDS {
            let key = RuleKey::between(kind, there, here);
            assert_eq!(decode_key(&encode_key(&key).expect("a known kind")), Some(key));
        }
        let next_hop = NextHop { device: 7, neighbour: here, mtu: 1500 };
        for next_hop in [None, Some(next_hop)] {
            let entry = Entry { near: here, far: there, next_hop, slot: 65_535, group: Some(0), until: 1 };
            assert_eq!(Entry::decode(&entry.encode()), entry);
        }
    }

    #[test]
    fn every_rule_can_be_read_back() {
        let address = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last);
        let (anycast, agent, care_of) = (address(1), address(2), address(3));
        let (own, initiator) = (address(4), address(5));
        for rule in [
            Rule::TunnelToResponder { anycast, agent, care_of },
            Rule::TunnelFromResponder { anycast, agent, care_of },
            Rule::ReverseTunnelOut { anycast, care_of, agent },
            Rule::ReverseTunnelIn { anycast, care_of, agent },
            Rule::MidwayTunnelIn { anycast, care_of, agent },
            Rule::HomeAddressOut { anycast, initiator, care_of },
            Rule::HomeAddressIn { anycast, own, care_of },
            Rule::RoutingHeaderOut { anycast, own, care_of },
            Rule::RoutingHeaderIn { anycast, care_of },
        ] {
            let (near, far) = Entry::ends(&rule);
            let entry = Entry { near, far, next_hop: None, slot: 0, group: None, until: NO_END };
            assert_eq!(super::rule(&rule.key(), &entry), rule);
        }
    }
}
