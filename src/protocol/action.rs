//! What a role wants done, and what the data path tells it: the vocabulary between the core and the world.
//! The rules are the six rewrites of thesis 4.2.1 and RFC 3775 8-11 as data. Roles produce these values;
//! `daemon` hands rules to `forwarding` and the rest to `platform`.

use std::net::Ipv6Addr;

use serde::Serialize;

use super::report::Report;
use super::select::Group;

/// One thing the world must do. Actions are carried out in the order they are polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this whole IPv6 packet, header included, into the network.
    Send(Vec<u8>),
    /// Hand this whole IPv6 packet to the host's own stack as if it had just been received.
    Deliver(Vec<u8>),
    /// Rewrite packets by this rule from now on; a rule with the same [`RuleKey`] is replaced.
    InstallRule(Rule),
    /// Stop rewriting by the rule with this key.
    RemoveRule(RuleKey),
    /// Carry packets to and from the anycast address of this group from now on; the group that was there before is
    /// replaced, and sources stay with the members that are in both (thesis 4.3).
    InstallGroup(Group),
    /// Stop carrying packets for the group of this anycast address and forget its sources.
    RemoveGroup(Ipv6Addr),
    /// Send this whole packet, whose destination has a group, to the member that its source is fixed to, or as if it
    /// were the first of its source.
    SendToGroup(Vec<u8>),
    /// Count the sources that are fixed to each member of this anycast address's group, and say so by
    /// [`Observation::Sources`].
    CountSources(Ipv6Addr),
    /// Attract packets for this address on the home link: answer neighbour solicitations for it and take
    /// what arrives (RFC 3775 10.4.1).
    CaptureAddress(Ipv6Addr),
    /// Stop attracting packets for this address.
    ReleaseAddress(Ipv6Addr),
    /// Attract packets for this address by the routing of the network this host is in, and take what arrives
    /// (thesis 4.3.3).
    RouteAddress(Ipv6Addr),
    /// Stop attracting packets for this address by routing.
    UnrouteAddress(Ipv6Addr),
    /// Tell the operator.
    Report(Report),
}

/// A packet rewrite, from where to where. Field names: `anycast` is the home address, `care_of` the responder's
/// peer unicast address, `agent` the home agent's own address, `initiator` the correspondent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum Rule {
    /// Agent: a packet to `anycast` gets an outer header `agent` -> `care_of`; one that `agent` itself sends travels
    /// to `care_of` with a type 2 routing header instead (RFC 3775 10.4.2).
    TunnelToResponder { anycast: Ipv6Addr, agent: Ipv6Addr, care_of: Ipv6Addr },
    /// Agent: an outer header `care_of` -> `agent` around a packet from `anycast` is removed (10.4.5).
    TunnelFromResponder { anycast: Ipv6Addr, agent: Ipv6Addr, care_of: Ipv6Addr },
    /// Responder: a packet from `anycast` gets an outer header `care_of` -> `agent` (11.3.1).
    ReverseTunnelOut { anycast: Ipv6Addr, care_of: Ipv6Addr, agent: Ipv6Addr },
    /// Responder: an outer header `agent` -> `care_of` around a packet to `anycast` is removed (11.3.3).
    ReverseTunnelIn { anycast: Ipv6Addr, care_of: Ipv6Addr, agent: Ipv6Addr },
    /// Responder: the same for a midway agent, of which there may be several (thesis 4.3.3).
    MidwayTunnelIn { anycast: Ipv6Addr, care_of: Ipv6Addr, agent: Ipv6Addr },
    /// Responder: a packet `anycast` -> `initiator` leaves from `care_of` with a home address option (11.3.1).
    HomeAddressOut { anycast: Ipv6Addr, initiator: Ipv6Addr, care_of: Ipv6Addr },
    /// Initiator: a packet `care_of` -> `own` with a home address option is from `anycast` (9.3.1).
    HomeAddressIn { anycast: Ipv6Addr, own: Ipv6Addr, care_of: Ipv6Addr },
    /// Initiator: a packet `own` -> `anycast` travels to `care_of` with a type 2 routing header (9.3.2).
    RoutingHeaderOut { anycast: Ipv6Addr, own: Ipv6Addr, care_of: Ipv6Addr },
    /// Responder: a packet to `care_of` with a type 2 routing header for `anycast` is for `anycast` (11.3.3).
    RoutingHeaderIn { anycast: Ipv6Addr, care_of: Ipv6Addr },
}

/// Which rewrite a [`RuleKey`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleKind {
    TunnelToResponder,
    TunnelFromResponder,
    ReverseTunnelOut,
    ReverseTunnelIn,
    MidwayTunnelIn,
    HomeAddressOut,
    HomeAddressIn,
    RoutingHeaderOut,
    RoutingHeaderIn,
}

/// What makes a rule the same rule: its kind, the anycast address and, where a rule is for one peer or for one
/// of this host's addresses, that address (else unspecified).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RuleKey {
    pub kind: RuleKind,
    pub anycast: Ipv6Addr,
    pub peer: Ipv6Addr,
}

impl RuleKey {
    /// The key of the rule of `kind` that serves `anycast` for every peer.
    pub fn of(kind: RuleKind, anycast: Ipv6Addr) -> Self {
        Self { kind, anycast, peer: Ipv6Addr::UNSPECIFIED }
    }

    /// The key of the rule of `kind` between `anycast` and `peer`.
    pub fn between(kind: RuleKind, anycast: Ipv6Addr, peer: Ipv6Addr) -> Self {
        Self { kind, anycast, peer }
    }
}

impl Rule {
    /// The key under which this rule is kept.
    pub fn key(&self) -> RuleKey {
        match *self {
            Rule::TunnelToResponder { anycast, .. } => RuleKey::of(RuleKind::TunnelToResponder, anycast),
            Rule::TunnelFromResponder { anycast, .. } => RuleKey::of(RuleKind::TunnelFromResponder, anycast),
            Rule::ReverseTunnelOut { anycast, .. } => RuleKey::of(RuleKind::ReverseTunnelOut, anycast),
            Rule::ReverseTunnelIn { anycast, .. } => RuleKey::of(RuleKind::ReverseTunnelIn, anycast),
            Rule::MidwayTunnelIn { anycast, agent, .. } => {
                RuleKey::between(RuleKind::MidwayTunnelIn, anycast, agent)
            }
            Rule::HomeAddressOut { anycast, initiator, .. } => {
                RuleKey::between(RuleKind::HomeAddressOut, anycast, initiator)
            }
            Rule::HomeAddressIn { anycast, own, .. } => {
                RuleKey::between(RuleKind::HomeAddressIn, anycast, own)
            }
            Rule::RoutingHeaderOut { anycast, own, .. } => {
                RuleKey::between(RuleKind::RoutingHeaderOut, anycast, own)
            }
            Rule::RoutingHeaderIn { anycast, .. } => RuleKey::of(RuleKind::RoutingHeaderIn, anycast),
        }
    }
}

/// What the data path noticed and a role may want to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A responder exchanged a packet with `peer` through the tunnel: a chance for route optimisation
    /// (RFC 3775 11.6.1).
    TunnelledPeer { anycast: Ipv6Addr, peer: Ipv6Addr },
    /// The rule with this key carried a packet lately; repeated at most every few seconds.
    InUse(RuleKey),
    /// The member with this number is in its group no longer, and so many sources were fixed to it: their next packets
    /// go to others (thesis 4.3.2). Told once per member that leaves.
    MemberLeft { anycast: Ipv6Addr, member: u32, sources: usize },
    /// So many sources are fixed to each member of a group, by number; those of members left out are not known. Told
    /// when it was asked for.
    Sources { anycast: Ipv6Addr, of: Vec<(u32, usize)> },
}
