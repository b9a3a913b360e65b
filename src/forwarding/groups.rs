//! Anycast addresses with several responders in the data path (thesis 4.3.1, 4.3.2): which member a packet goes to,
//! which tunnels from members are accepted, and what each carried. Decides only; the rewrites are `user`'s, which
//! calls this for every packet to or from an address with a group.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::affinity::{AffinityTable, FixedSource};
use crate::protocol::action::Observation;
use crate::protocol::clock::Instant;
use crate::protocol::select::{Group, GroupMember};
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{Icmpv6, kind};
use crate::wire::ipv6::{Ipv6Header, next_header};

/// Places of the table that are looked at whenever sources are counted, so that those whose interval is over are counted
/// no longer: a million of them in a minute, at four counts a second.
const SWEPT: usize = 4096;

/// What one member was sent and sent, as packets and as octets of the inner packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Carried {
    pub packets_to: u64,
    pub octets_to: u64,
    pub packets_from: u64,
    pub octets_from: u64,
}

/// A group with its state.
#[derive(Debug)]
pub struct InstalledGroup {
    group: Group,
    /// Index of the member with this care-of address.
    by_care_of: FxHashMap<Ipv6Addr, usize>,
    affinity: Option<AffinityTable>,
    /// By number of the member.
    carried: BTreeMap<u32, Carried>,
}

/// A member as the data path knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberView {
    #[serde(flatten)]
    pub member: GroupMember,
    /// Slots of the table that name it.
    pub slots: usize,
    /// Sources that are fixed to it.
    pub sources: usize,
    #[serde(flatten)]
    pub carried: Carried,
}

/// A group as the data path knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupView {
    pub anycast: Ipv6Addr,
    pub agent: Ipv6Addr,
    pub members: Vec<MemberView>,
    /// Fixed sources altogether, those of lost members included that have not been heard since.
    pub sources: usize,
    /// Sources that made room for others before their interval was over.
    pub evicted: u64,
    /// Octets of the table of fixed sources.
    pub octets: usize,
}

/// Why a packet goes to the member that it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Its source is fixed to this member (thesis 4.3.2).
    Affinity,
    /// Its source was fixed to one that is gone, and the slot decides anew.
    Lost,
    /// Its source is not fixed, and the slot decides.
    Slot,
}

impl InstalledGroup {
    /// `group` in force, nobody fixed.
    pub fn new(group: Group) -> Self {
        let affinity = group.affinity.map(AffinityTable::new);
        let by_care_of = Self::index(&group);
        Self { group, by_care_of, affinity, carried: BTreeMap::new() }
    }

    fn index(group: &Group) -> FxHashMap<Ipv6Addr, usize> {
        group.members.iter().enumerate().map(|(at, member)| (member.care_of, at)).collect()
    }

    /// Replaces the group. Sources stay with their members; how many have lost theirs is told once per member.
    pub fn replace(&mut self, now: Instant, group: Group, seen: &mut Vec<Observation>) {
        match (&mut self.affinity, group.affinity) {
            (Some(table), Some(rule)) => {
                table.set_rule(now, rule);
                let is_gone = |member: &&GroupMember| group.member(member.number).is_none();
                for (nth, gone) in self.group.members.iter().filter(is_gone).enumerate() {
                    if nth == 0 {
                        table.expire(now);
                    }
                    let sources = table.of_member(gone.number);
                    seen.push(Observation::MemberLeft {
                        anycast: group.anycast,
                        member: gone.number,
                        sources,
                    });
                }
            }
            (table, rule) => *table = rule.map(AffinityTable::new),
        }
        self.by_care_of = Self::index(&group);
        self.group = group;
    }

    /// The group in force.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The member that a packet from `source` would go to, and why; nothing is changed.
    pub fn would_choose(&self, now: Instant, source: &Ipv6Addr) -> Option<(GroupMember, Why)> {
        let fixed = self.affinity.as_ref().and_then(|table| table.peek(now, source));
        let kept = fixed.as_ref().and_then(|fixed| self.group.member(fixed.member));
        match (kept, fixed) {
            (Some(member), _) => Some((*member, Why::Affinity)),
            (None, Some(_)) => Some((*self.group.by_slot(source)?, Why::Lost)),
            (None, None) => Some((*self.group.by_slot(source)?, Why::Slot)),
        }
    }

    /// Seconds for which `source` is still fixed, if it is.
    pub fn remaining(&self, now: Instant, source: &Ipv6Addr) -> Option<u64> {
        Some(self.affinity.as_ref()?.peek(now, source)?.remaining)
    }

    /// The member that this packet to the anycast address goes to; its source is fixed to it from now on. An ICMPv6
    /// error is for whoever sent the packet that it quotes.
    pub fn choose(&mut self, now: Instant, source: &Ipv6Addr, packet: &[u8]) -> Option<GroupMember> {
        let member = match quoted_peer(packet, &self.group.anycast) {
            Some(peer) => self.would_choose(now, &peer)?.0,
            None => self.choose_for(now, source)?,
        };
        let carried = self.carried.entry(member.number).or_default();
        carried.packets_to += 1;
        carried.octets_to += packet.len() as u64;
        Some(member)
    }

    fn choose_for(&mut self, now: Instant, source: &Ipv6Addr) -> Option<GroupMember> {
        let Some(table) = &mut self.affinity else { return self.group.by_slot(source).copied() };
        if let Some(member) = table.sent(now, source).and_then(|number| self.group.member(number)) {
            return Some(*member);
        }
        let member = *self.group.by_slot(source)?;
        table.fix(now, source, member.number);
        Some(member)
    }

    /// The member whose tunnel packet `care_of` -> `agent` is.
    pub fn sender(&self, care_of: &Ipv6Addr, agent: &Ipv6Addr) -> Option<GroupMember> {
        let at = self.by_care_of.get(care_of)?;
        self.group.members.get(*at).copied().filter(|_| *agent == self.group.agent)
    }

    /// A packet of `octets` octets left a tunnel from `member` on its way to `peer`: who is not fixed yet is fixed to
    /// it (thesis 4.3.2: the communication is kept, whoever began it).
    pub fn left_tunnel(&mut self, now: Instant, member: &GroupMember, peer: &Ipv6Addr, octets: usize) {
        let carried = self.carried.entry(member.number).or_default();
        carried.packets_from += 1;
        carried.octets_from += octets as u64;
        let Some(table) = &mut self.affinity else { return };
        let fixed = table.answered(now, peer).and_then(|number| self.group.member(number));
        if fixed.is_none() {
            table.fix(now, peer, member.number);
        }
    }

    /// Number of the member that a source is fixed to; asking changes nothing.
    pub fn fixed_member(&self, now: Instant, source: &Ipv6Addr) -> Option<u32> {
        self.affinity.as_ref()?.peek(now, source).map(|fixed| fixed.member)
    }

    /// Has a source be fixed as another executor has it: to the member with this number since `since`, or to nobody.
    pub fn set_fixed(&mut self, source: &Ipv6Addr, fixed: Option<(u32, Instant)>) {
        let Some(table) = &mut self.affinity else { return };
        match fixed {
            Some((member, since)) => table.fix(since, source, member),
            None => {
                table.forget(Some(*source));
            }
        }
    }

    /// Forgets to whom `only` this source, or everybody, is fixed; returns how many were.
    pub fn forget(&mut self, only: Option<Ipv6Addr>) -> usize {
        self.affinity.as_mut().map_or(0, |table| table.forget(only))
    }

    /// How many sources are fixed to each member, by number; some may be counted for a while whose interval is over.
    pub fn sources_per_member(&mut self, now: Instant) -> Vec<(u32, usize)> {
        let Some(table) = &mut self.affinity else { return Vec::new() };
        table.sweep(now, SWEPT);
        self.group.members.iter().map(|member| (member.number, table.of_member(member.number))).collect()
    }

    /// The fixed sources that were used last, at most `most`.
    pub fn fixed(&self, now: Instant, most: usize) -> Vec<FixedSource> {
        self.affinity.as_ref().map(|table| table.latest(now, most)).unwrap_or_default()
    }

    /// What there is to tell of the group at `now`.
    pub fn view(&mut self, now: Instant) -> GroupView {
        if let Some(table) = &mut self.affinity {
            table.expire(now);
        }
        let table = self.affinity.as_ref();
        let mut slots = vec![0; self.group.members.len()];
        for index in &self.group.slots {
            if let Some(count) = slots.get_mut(usize::from(*index)) {
                *count += 1;
            }
        }
        let members = self.group.members.iter().zip(slots).map(|(member, slots)| MemberView {
            member: *member,
            slots,
            sources: table.map_or(0, |table| table.of_member(member.number)),
            carried: self.carried.get(&member.number).copied().unwrap_or_default(),
        });
        GroupView {
            anycast: self.group.anycast,
            agent: self.group.agent,
            members: members.collect(),
            sources: table.map_or(0, AffinityTable::len),
            evicted: table.map_or(0, AffinityTable::evicted),
            octets: table.map_or(0, AffinityTable::octets),
        }
    }
}

/// The peer of a packet from `anycast` that an ICMPv6 error quotes: routers speak of a communication that is not
/// theirs.
fn quoted_peer(packet: &[u8], anycast: &Ipv6Addr) -> Option<Ipv6Addr> {
    if matches!(packet.get(6), Some(&(next_header::TCP | next_header::UDP))) {
        return None;
    }
    let parsed = Packet::parse(packet).ok()?;
    let is_error = parsed.upper.protocol == next_header::ICMPV6
        && parsed.payload().first().is_some_and(|kind| *kind < kind::ECHO_REQUEST);
    if !is_error {
        return None;
    }
    let error = Icmpv6::parse(parsed.payload()).ok()?;
    let quoted = Ipv6Header::parse(error.message.invoking()?).ok()?;
    (quoted.source == *anycast).then_some(quoted.destination)
}
