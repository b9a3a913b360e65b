//! The rewrites in user space, on any kernel: look a packet up in the rules, change its headers in place, say where
//! it goes. RFC 2473 (tunnels), RFC 3775 6.3 and 6.4 (home address option, type 2 routing header), thesis 4.2.1.
//! Called by `daemon` for every packet of the two intakes.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv6Addr;
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::affinity::FixedSource;
use super::groups::{GroupView, InstalledGroup};
use crate::protocol::action::{Observation, Rule, RuleKey, RuleKind};
use crate::protocol::clock::Instant;
use crate::protocol::limits::HOP_LIMIT;
use crate::protocol::select::{Group, GroupMember};
use crate::wire::PacketBuffer;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{ErrorReason, error_packet, kind};
use crate::wire::ipv6::{HEADER_LENGTH, next_header};
use crate::wire::rewrite::{insert_home_address, insert_routing2, strip_home_address, strip_routing2};
use crate::wire::tunnel::{decapsulate, encapsulate};

/// A rule's use is told at most this often.
pub const IN_USE_INTERVAL: Duration = Duration::from_secs(5);
/// A peer seen through the tunnel is told at most this often.
const PEER_INTERVAL: Duration = Duration::from_millis(500);
/// Peers seen through the tunnel that are remembered, to keep repetitions from the role.
const PEER_SLOTS: usize = 1024;

/// Which way a packet came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From this host's stack, or routed by it towards an address the node attracts.
    Outbound,
    /// From the network, taken before the host's stack saw it.
    Inbound,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Into the network.
    Send,
    /// To this host's stack, as if just received.
    Deliver,
    /// To the role.
    Role,
    /// To this host's stack, and a copy to the role.
    DeliverAndRole,
    /// Nowhere; the counter with this name was raised.
    Drop(&'static str),
}

/// A rule with what it has carried.
#[derive(Clone, Debug, Serialize)]
pub struct Installed {
    #[serde(flatten)]
    pub rule: Rule,
    pub packets: u64,
    /// Octets of the packets before the rewrite.
    pub octets: u64,
    #[serde(skip)]
    told: Option<Instant>,
}

/// The user-space executor.
#[derive(Default)]
pub struct Forwarder {
    rules: FxHashMap<RuleKey, Installed>,
    /// How many own addresses each anycast address has a type 2 routing header rule for.
    routed: FxHashMap<Ipv6Addr, usize>,
    /// By anycast address; an address has a group or rules, not both.
    groups: FxHashMap<Ipv6Addr, InstalledGroup>,
    recent_peers: Vec<Option<(u64, Instant)>>,
    drops: FxHashMap<&'static str, u64>,
}

/// A packet on its way through the rules.
struct Passing<'a> {
    now: Instant,
    packet: &'a mut PacketBuffer,
    seen: &'a mut Vec<Observation>,
}

/// The three header fields every decision begins with.
struct Fixed {
    next_header: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
}

fn address_at(bytes: &[u8], offset: usize) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = bytes.get(offset..offset + 16)?.try_into().ok()?;
    Some(Ipv6Addr::from(octets))
}

/// A question that only an agent answers, and no host's stack knows (RFC 3775 6.7).
fn is_prefix_solicitation(packet: &Packet<'_>) -> bool {
    packet.upper.protocol == next_header::ICMPV6
        && packet.payload().first() == Some(&kind::MOBILE_PREFIX_SOLICITATION)
}

impl Fixed {
    fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.first()? >> 4 != 6 {
            return None;
        }
        Some(Self {
            next_header: *bytes.get(6)?,
            source: address_at(bytes, 8)?,
            destination: address_at(bytes, 24)?,
        })
    }
}

impl Forwarder {
    /// An executor without rules: every packet goes to the role.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `rule` in force; counters of a rule that it replaces go on.
    pub fn install(&mut self, rule: Rule) {
        if let Rule::RoutingHeaderOut { anycast, .. } = rule
            && !self.rules.contains_key(&rule.key())
        {
            *self.routed.entry(anycast).or_default() += 1;
        }
        self.rules.entry(rule.key()).and_modify(|installed| installed.rule = rule).or_insert(Installed {
            rule,
            packets: 0,
            octets: 0,
            told: None,
        });
    }

    /// Takes the rule with this key out of force and returns it.
    pub fn remove(&mut self, key: &RuleKey) -> Option<Rule> {
        let rule = self.rules.remove(key).map(|installed| installed.rule)?;
        if let Rule::RoutingHeaderOut { anycast, .. } = rule
            && let Entry::Occupied(mut count) = self.routed.entry(anycast)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(rule)
    }

    /// The rules in force with their counters, ordered by key.
    pub fn rules(&self) -> Vec<Installed> {
        let mut rules: Vec<_> = self.rules.values().cloned().collect();
        rules.sort_by_key(|installed| installed.rule.key());
        rules
    }

    /// Puts `group` in force in place of the one of the same anycast address; what the role should know of sources
    /// that lose their member by it is added to `seen`.
    pub fn install_group(&mut self, now: Instant, group: Group, seen: &mut Vec<Observation>) {
        match self.groups.get_mut(&group.anycast) {
            Some(installed) => installed.replace(now, group, seen),
            None => {
                self.groups.insert(group.anycast, InstalledGroup::new(group));
            }
        }
    }

    /// Takes the group of `anycast` out of force and forgets its sources.
    pub fn remove_group(&mut self, anycast: &Ipv6Addr) {
        self.groups.remove(anycast);
    }

    /// The rule in force under this key.
    pub fn rule(&self, key: &RuleKey) -> Option<Rule> {
        self.lookup(*key)
    }

    /// The group in force for `anycast`.
    pub fn group(&self, anycast: &Ipv6Addr) -> Option<&InstalledGroup> {
        self.groups.get(anycast)
    }

    /// The group in force for `anycast`, to be told what another executor has done.
    pub fn group_mut(&mut self, anycast: &Ipv6Addr) -> Option<&mut InstalledGroup> {
        self.groups.get_mut(anycast)
    }

    /// The groups in force, ordered by anycast address.
    pub fn groups(&mut self, now: Instant) -> Vec<GroupView> {
        let mut views: Vec<_> = self.groups.values_mut().map(|group| group.view(now)).collect();
        views.sort_by_key(|view| view.anycast);
        views
    }

    /// True when a group is in force.
    pub fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// The fixed sources of each group, those used last first, at most `most` of each.
    pub fn fixed(&self, now: Instant, most: usize) -> BTreeMap<Ipv6Addr, Vec<FixedSource>> {
        self.groups.iter().map(|(anycast, group)| (*anycast, group.fixed(now, most))).collect()
    }

    /// See [`InstalledGroup::sources_per_member`]; nothing for an address without a group.
    pub fn sources_per_member(&mut self, now: Instant, anycast: &Ipv6Addr) -> Vec<(u32, usize)> {
        self.groups.get_mut(anycast).map(|group| group.sources_per_member(now)).unwrap_or_default()
    }

    /// Forgets to whom `only` this source, or every source, is fixed; returns how many were.
    pub fn forget_sources(&mut self, only: Option<Ipv6Addr>) -> usize {
        self.groups.values_mut().map(|group| group.forget(only)).sum()
    }

    /// Rewrites a packet that the role wants to go where other packets of its source go (see
    /// [`Action::SendToGroup`](crate::protocol::action::Action)).
    pub fn send_to_group(&mut self, now: Instant, packet: &mut PacketBuffer) -> Fate {
        let fate = match Fixed::of(packet.as_slice()) {
            Some(fixed) => self.hand_to_member(now, &fixed, packet).unwrap_or(Fate::Drop("no-responder")),
            None => Fate::Drop("not-ipv6"),
        };
        self.count_drop(fate)
    }

    /// Packets that ended here, by reason, in the order of the reasons.
    pub fn drops(&self) -> Vec<(&'static str, u64)> {
        let mut drops: Vec<_> = self.drops.iter().map(|(reason, count)| (*reason, *count)).collect();
        drops.sort_unstable();
        drops
    }

    /// Decides and rewrites one packet; observations for the role are added to `seen`.
    pub fn forward(
        &mut self,
        now: Instant,
        direction: Direction,
        packet: &mut PacketBuffer,
        seen: &mut Vec<Observation>,
    ) -> Fate {
        let fixed = Fixed::of(packet.as_slice());
        let passing = &mut Passing { now, packet, seen };
        let fate = match (fixed, direction) {
            (None, _) => Fate::Drop("not-ipv6"),
            (Some(fixed), Direction::Outbound) => self.outbound(&fixed, passing),
            (Some(fixed), Direction::Inbound) => self.inbound(&fixed, passing),
        };
        self.count_drop(fate)
    }

    fn count_drop(&mut self, fate: Fate) -> Fate {
        if let Fate::Drop(reason) = fate {
            *self.drops.entry(reason).or_default() += 1;
        }
        fate
    }

    /// The Packet Too Big for the sender of the packet inside `packet`, which left rewritten but did not fit `mtu`
    /// octets (RFC 2473 7.1; the same for the option and the routing header). `from` names the sender of the error.
    pub fn too_big(&self, packet: &PacketBuffer, mtu: u32, from: &Ipv6Addr) -> Option<Vec<u8>> {
        let mut original = packet.clone();
        let parsed = Packet::parse(packet.as_slice()).ok()?;
        if parsed.upper.protocol == next_header::IPV6 {
            decapsulate(&mut original).ok()?;
        } else if parsed.home_address.is_some() {
            strip_home_address(&mut original).ok()?;
        } else if parsed.routing2.is_some() {
            strip_routing2(&mut original).ok()?;
        }
        let added = u32::try_from(packet.len() - original.len()).ok()?;
        let reason = ErrorReason::PacketTooBig(mtu.saturating_sub(added).max(1280));
        error_packet(from, original.as_slice(), reason)
    }

    fn outbound(&mut self, fixed: &Fixed, passing: &mut Passing<'_>) -> Fate {
        // The host's own neighbour discovery and group reports on the tunnel device, and what RFC 3775 10.4.2 and
        // 11.3.4 keep out of tunnels.
        if fixed.destination.is_multicast()
            || fixed.source.is_unicast_link_local()
            || fixed.source.is_unspecified()
        {
            return Fate::Drop("link-scope");
        }
        if let Some(installed) = self.groups.get(&fixed.destination) {
            let inner = passing.packet.as_slice().get(HEADER_LENGTH..).and_then(Fixed::of);
            let tunnel = inner
                .filter(|inner| fixed.next_header == next_header::IPV6 && inner.source == fixed.destination);
            if let Some(inner) = tunnel {
                // A reverse tunnel that ends at the anycast address itself (thesis 4.2.1).
                let agent = installed.group().agent;
                return match installed.sender(&fixed.source, &agent) {
                    Some(member) => self.take_from_member(&member, &inner, HEADER_LENGTH, passing),
                    None => Fate::Role,
                };
            }
            // Return routability is for the member that asked for it, which the role remembers.
            if Self::upper(passing.packet.as_slice()).0 == next_header::MOBILITY {
                return Fate::Role;
            }
            return self.hand_to_member(passing.now, fixed, passing.packet).unwrap_or(Fate::Role);
        }
        if let Some(Rule::TunnelToResponder { anycast, agent, care_of }) =
            self.lookup(RuleKey::of(RuleKind::TunnelToResponder, fixed.destination))
        {
            // A reverse tunnel that ends at the anycast address itself (thesis 4.2.1).
            if fixed.next_header == next_header::IPV6
                && address_at(passing.packet.as_slice(), HEADER_LENGTH + 8) == Some(anycast)
            {
                if fixed.source != care_of {
                    // A displaced responder's: to be refused, not to be sent on to its successor (10.4.5).
                    return Fate::Role;
                }
                let key = RuleKey::of(RuleKind::TunnelFromResponder, anycast);
                return self.leave_tunnel(key, passing);
            }
            let key = RuleKey::of(RuleKind::TunnelToResponder, anycast);
            self.carried(key, passing);
            if fixed.source == agent {
                // What the agent itself says, it says as a correspondent (10.4.2).
                return match insert_routing2(passing.packet, &care_of) {
                    Ok(()) => Fate::Send,
                    Err(_) => Fate::Drop("malformed"),
                };
            }
            encapsulate(passing.packet, &agent, &care_of, HOP_LIMIT);
            return Fate::Send;
        }
        if let Some(Rule::ReverseTunnelOut { anycast, care_of, agent }) =
            self.lookup(RuleKey::of(RuleKind::ReverseTunnelOut, fixed.source))
        {
            let direct = RuleKey::between(RuleKind::HomeAddressOut, anycast, fixed.destination);
            if let Some(Rule::HomeAddressOut { care_of, .. }) = self.lookup(direct) {
                self.carried(direct, passing);
                return match insert_home_address(passing.packet, &care_of) {
                    Ok(()) => Fate::Send,
                    Err(_) => Fate::Drop("malformed"),
                };
            }
            self.carried(RuleKey::of(RuleKind::ReverseTunnelOut, anycast), passing);
            if Self::invites_optimisation(passing.packet.as_slice(), fixed.next_header) {
                self.peer_seen(anycast, fixed.destination, passing);
            }
            encapsulate(passing.packet, &care_of, &agent, HOP_LIMIT);
            return Fate::Send;
        }
        let optimised = RuleKey::between(RuleKind::RoutingHeaderOut, fixed.destination, fixed.source);
        if let Some(Rule::RoutingHeaderOut { care_of, .. }) = self.lookup(optimised) {
            self.carried(optimised, passing);
            return match insert_routing2(passing.packet, &care_of) {
                Ok(()) => Fate::Send,
                Err(_) => Fate::Drop("malformed"),
            };
        }
        // An initiator's packet from an address the binding is not for: it goes the ordinary way.
        if self.routed.contains_key(&fixed.destination) {
            return Fate::Send;
        }
        Fate::Role
    }

    fn inbound(&mut self, fixed: &Fixed, passing: &mut Passing<'_>) -> Fate {
        match fixed.next_header {
            next_header::IPV6 => self.tunnelled(fixed, HEADER_LENGTH, passing),
            next_header::ROUTING => self.routed(fixed, passing),
            next_header::DESTINATION_OPTIONS => self.optioned(fixed, passing),
            _ => Fate::Role,
        }
    }

    fn tunnelled(&mut self, fixed: &Fixed, inner_offset: usize, passing: &mut Passing<'_>) -> Fate {
        let Some(inner) = passing.packet.as_slice().get(inner_offset..).and_then(Fixed::of) else {
            return Fate::Role;
        };
        if let Some(installed) = self.groups.get(&inner.source) {
            return match installed.sender(&fixed.source, &fixed.destination) {
                Some(member) => self.take_from_member(&member, &inner, inner_offset, passing),
                None => Fate::Role,
            };
        }
        let from = RuleKey::of(RuleKind::TunnelFromResponder, inner.source);
        if let Some(Rule::TunnelFromResponder { agent, care_of, .. }) = self.lookup(from)
            && agent == fixed.destination
            && care_of == fixed.source
        {
            return self.leave_tunnel(from, passing);
        }
        let home = RuleKey::of(RuleKind::ReverseTunnelIn, inner.destination);
        let midway = RuleKey::between(RuleKind::MidwayTunnelIn, inner.destination, fixed.source);
        let tunnel = [home, midway].into_iter().find(|key| match self.lookup(*key) {
            Some(
                Rule::ReverseTunnelIn { agent, care_of, .. } | Rule::MidwayTunnelIn { agent, care_of, .. },
            ) => care_of == fixed.destination && agent == fixed.source,
            _ => false,
        });
        if let Some(tunnel) = tunnel {
            let fate = self.leave_tunnel(tunnel, passing);
            if fate != Fate::Deliver {
                return fate;
            }
            return match Self::upper(passing.packet.as_slice()) {
                (next_header::MOBILITY, _) => Fate::Role,
                (next_header::ICMPV6, Some(kind)) if kind < 128 => Fate::DeliverAndRole,
                _ => {
                    self.peer_seen(tunnel.anycast, inner.source, passing);
                    Fate::Deliver
                }
            };
        }
        Fate::Role
    }

    /// A packet to an anycast address with a group: into the tunnel to a member, or, from the agent itself, on its way
    /// with a type 2 routing header (RFC 3775 10.4.2). `None` when there is no member for it.
    fn hand_to_member(&mut self, now: Instant, fixed: &Fixed, packet: &mut PacketBuffer) -> Option<Fate> {
        let installed = self.groups.get_mut(&fixed.destination)?;
        let member = installed.choose(now, &fixed.source, packet.as_slice())?;
        let agent = installed.group().agent;
        if fixed.source == agent {
            let inserted = insert_routing2(packet, &member.care_of);
            return Some(inserted.map_or(Fate::Drop("malformed"), |()| Fate::Send));
        }
        encapsulate(packet, &agent, &member.care_of, HOP_LIMIT);
        Some(Fate::Send)
    }

    /// A packet in a tunnel from a member of a group, the inner one at `inner_offset`. Mobility Headers and answers to
    /// the agent's probes are the role's, tunnel and all.
    fn take_from_member(
        &mut self,
        member: &GroupMember,
        inner: &Fixed,
        inner_offset: usize,
        passing: &mut Passing<'_>,
    ) -> Fate {
        let Some(installed) = self.groups.get_mut(&inner.source) else { return Fate::Role };
        let upper = Self::upper(passing.packet.as_slice().get(inner_offset..).unwrap_or_default());
        let is_answer = upper == (next_header::ICMPV6, Some(kind::ECHO_REPLY))
            && inner.destination == installed.group().agent;
        if is_answer || upper.0 == next_header::MOBILITY {
            return Fate::Role;
        }
        if decapsulate(passing.packet).is_err() {
            return Fate::Drop("malformed");
        }
        installed.left_tunnel(passing.now, member, &inner.destination, passing.packet.len());
        Fate::Deliver
    }

    fn leave_tunnel(&mut self, key: RuleKey, passing: &mut Passing<'_>) -> Fate {
        self.carried(key, passing);
        match decapsulate(passing.packet) {
            Ok(_) => Fate::Deliver,
            Err(_) => Fate::Drop("malformed"),
        }
    }

    fn routed(&mut self, fixed: &Fixed, passing: &mut Passing<'_>) -> Fate {
        let Ok(parsed) = Packet::parse(passing.packet.as_slice()) else { return Fate::Role };
        let Some(routing) = parsed.routing2.as_ref().filter(|_| !parsed.routing2_malformed) else {
            return Fate::Role;
        };
        let key = RuleKey::of(RuleKind::RoutingHeaderIn, routing.address);
        let Some(Rule::RoutingHeaderIn { care_of, .. }) = self.lookup(key) else { return Fate::Role };
        if care_of != fixed.destination
            || routing.segments_left != 1
            || parsed.home_address.is_some()
            || parsed.upper.protocol == next_header::MOBILITY
        {
            return Fate::Role;
        }
        let icmpv6 = |kinds: std::ops::Range<u8>| {
            parsed.upper.protocol == next_header::ICMPV6
                && parsed.payload().first().is_some_and(|kind| kinds.contains(kind))
        };
        // Mobile Prefix Advertisements count only with their routing header (RFC 3775 11.4.3).
        if icmpv6(144..148) {
            return Fate::Role;
        }
        let error = icmpv6(0..128);
        self.carried(key, passing);
        match strip_routing2(passing.packet) {
            Ok(_) if error => Fate::DeliverAndRole,
            Ok(_) => Fate::Deliver,
            Err(_) => Fate::Drop("hop-limit"),
        }
    }

    fn optioned(&mut self, fixed: &Fixed, passing: &mut Passing<'_>) -> Fate {
        let Ok(parsed) = Packet::parse(passing.packet.as_slice()) else { return Fate::Role };
        // A tunnel entry point may say how deep tunnels may nest (RFC 2473 4.1.1); Linux does by default.
        if parsed.upper.protocol == next_header::IPV6 && parsed.home_address.is_none() {
            let inner_offset = parsed.upper.offset;
            return self.tunnelled(fixed, inner_offset, passing);
        }
        let is_alone_in_its_place = !parsed.duplicate_home_address && !parsed.misplaced_home_address;
        let Some(option) = parsed.home_address.as_ref().filter(|_| is_alone_in_its_place) else {
            return Fate::Role;
        };
        let key = RuleKey::between(RuleKind::HomeAddressIn, option.address, fixed.destination);
        let Some(Rule::HomeAddressIn { care_of, .. }) = self.lookup(key) else { return Fate::Role };
        if care_of != fixed.source || parsed.upper.protocol == next_header::MOBILITY {
            return Fate::Role;
        }
        let serves = self.rules.contains_key(&RuleKey::of(RuleKind::TunnelToResponder, option.address));
        if serves && is_prefix_solicitation(&parsed) {
            return Fate::Role;
        }
        self.carried(key, passing);
        match strip_home_address(passing.packet) {
            Ok(_) => Fate::Deliver,
            Err(_) => Fate::Drop("malformed"),
        }
    }

    fn lookup(&self, key: RuleKey) -> Option<Rule> {
        self.rules.get(&key).map(|installed| installed.rule)
    }

    fn carried(&mut self, key: RuleKey, passing: &mut Passing<'_>) {
        let Some(installed) = self.rules.get_mut(&key) else { return };
        installed.packets += 1;
        installed.octets += passing.packet.len() as u64;
        let now = passing.now;
        if installed.told.is_none_or(|told| now.saturating_since(told) >= IN_USE_INTERVAL) {
            installed.told = Some(now);
            passing.seen.push(Observation::InUse(key));
        }
    }

    /// Says that `peer` is reached through the tunnel, unless that was said a moment ago.
    fn peer_seen(&mut self, anycast: Ipv6Addr, peer: Ipv6Addr, passing: &mut Passing<'_>) {
        let now = passing.now;
        if self.recent_peers.is_empty() {
            self.recent_peers.resize(PEER_SLOTS, None);
        }
        let mut hasher = DefaultHasher::new();
        (anycast, peer).hash(&mut hasher);
        let hash = hasher.finish();
        let slot = &mut self.recent_peers[hash as usize % PEER_SLOTS];
        if slot.is_some_and(|(known, told)| known == hash && now.saturating_since(told) < PEER_INTERVAL) {
            return;
        }
        *slot = Some((hash, now));
        passing.seen.push(Observation::TunnelledPeer { anycast, peer });
    }

    /// Mobility messages and ICMPv6 errors are no reason for route optimisation (as in both reference stacks).
    fn invites_optimisation(packet: &[u8], first: u8) -> bool {
        match first {
            next_header::MOBILITY => false,
            next_header::ICMPV6 => packet.get(HEADER_LENGTH).is_some_and(|kind| *kind >= 128),
            _ => true,
        }
    }

    /// Upper-layer protocol and, for ICMPv6, the type.
    fn upper(packet: &[u8]) -> (u8, Option<u8>) {
        match packet.get(6) {
            Some(&next_header::TCP) => (next_header::TCP, None),
            Some(&next_header::UDP) => (next_header::UDP, None),
            _ => Packet::parse(packet)
                .map(|parsed| (parsed.upper.protocol, parsed.payload().first().copied()))
                .unwrap_or((next_header::NO_NEXT_HEADER, None)),
        }
    }
}
