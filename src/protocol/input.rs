//! What every role does first with a packet: whether it can be from its source (RFC 4291), whether its home address option
//! and routing header are where they belong (RFC 3775 6.3, 6.4); and with a Mobility Header (9.2): checksum, type, payload
//! protocol, length, in this order, and the answer each failure gets. Also which addresses may stand in a binding at all.
//! Called by `haa`, `ar` and `ai`.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::clock::Instant;
use super::limits::HOP_LIMIT;
use super::rate_limit::TokenBucket;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{ErrorReason, error_packet, kind};
use crate::wire::ipv6::{self, Ipv6Header, next_header};
use crate::wire::mobility::{self, BindingError, Message, MobilityHeader, checksum_is_valid, minimum_length};

/// True for the messages of RFC 4861, which concern an address and not the node behind it.
pub fn is_neighbor_discovery(packet: &Packet<'_>) -> bool {
    packet.upper.protocol == next_header::ICMPV6
        && packet
            .payload()
            .first()
            .is_some_and(|of| (kind::ROUTER_SOLICITATION..=kind::REDIRECT).contains(of))
}

/// Why a packet went no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The answer RFC 3775 wants, a whole packet; `None` is silence.
    pub answer: Option<Vec<u8>>,
    /// Counter and event word.
    pub counter: &'static str,
    pub reason: &'static str,
    pub clause: &'static str,
}

impl Refusal {
    /// RFC 4291 2.7, 2.5.2: nobody sends from a multicast address, nor, but for neighbour discovery, from none. A host's
    /// stack drops such a packet, and a copy of it must not count either.
    pub fn of_source(packet: &Packet<'_>) -> Option<Self> {
        let source = &packet.header.source;
        if source.is_multicast() {
            let reason = "a packet from a group of nodes";
            return Some(Self::silent("packet.from-group", reason, "RFC 4291 2.7"));
        }
        let reason = "a packet without a source";
        let refused = source.is_unspecified() && !is_neighbor_discovery(packet);
        refused.then(|| Self::silent("packet.from-nobody", reason, "RFC 4291 2.5.2"))
    }

    /// RFC 3775 6.3: a packet carries at most one home address option, behind a routing header and in front of
    /// fragment, authentication and ESP headers.
    pub fn of_home_address(packet: &Packet<'_>) -> Option<Self> {
        let clause = "RFC 3775 6.3";
        if packet.duplicate_home_address {
            return Some(Self::silent("home-address.twice", "two home address options", clause));
        }
        let reason = "a home address option in a place that is not its own";
        packet.misplaced_home_address.then(|| Self::silent("home-address.misplaced", reason, clause))
    }

    /// Source and home address option, and that a type 2 routing header ends, silently, at a node that has no home address
    /// (RFC 3775 6.4, 8.2).
    pub fn at_stationary(packet: &Packet<'_>) -> Option<Self> {
        let reason = "a type 2 routing header, and this node has no home address";
        let routed = packet.routing2.is_some() || packet.routing2_malformed;
        let refused = || routed.then(|| Self::silent("routing-header.refused", reason, "RFC 3775 6.4"));
        Self::of_source(packet).or_else(|| Self::of_home_address(packet)).or_else(refused)
    }

    /// A refusal that is not answered.
    pub fn silent(counter: &'static str, reason: &'static str, clause: &'static str) -> Self {
        Self { answer: None, counter, reason, clause }
    }
}

/// The answers to bad packets, rate-limited per kind for the whole node (RFC 4443 2.4(f), RFC 3775 9.3.3).
#[derive(Clone, Debug)]
pub struct AnswerLimits {
    pub icmp_errors: TokenBucket,
    pub binding_errors: TokenBucket,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        let interval = Duration::from_millis(50);
        Self { icmp_errors: TokenBucket::new(20, interval), binding_errors: TokenBucket::new(20, interval) }
    }
}

impl AnswerLimits {
    /// An ICMPv6 error about `packet` from the address it was sent to, if the limit and RFC 4443 allow one; never
    /// from or to anything but a unicast address (2.2, 2.4 e.6), whatever a forged packet names.
    pub fn icmp_error(&mut self, now: Instant, packet: &Packet<'_>, error: ErrorReason) -> Option<Vec<u8>> {
        if !is_unicast(&packet.header.source) || !is_unicast(&packet.header.destination) {
            return None;
        }
        let answer = error_packet(&packet.header.destination, packet.bytes, error)?;
        self.icmp_errors.take(now).then_some(answer)
    }

    /// What a home address option without a matching binding gets (RFC 3775 9.3.1).
    pub fn unbound_home_address(&mut self, now: Instant, packet: &Packet<'_>) -> Refusal {
        Refusal {
            answer: self.binding_error(now, packet, BindingError::UNKNOWN_BINDING),
            counter: "home-address.unbound",
            reason: "a home address option without a binding",
            clause: "RFC 3775 9.3.1",
        }
    }

    /// A Binding Error about `packet` (RFC 3775 9.3.3): to its IPv6 source, which is the care-of address, with the
    /// address of the home address option or `::`; never to anything but a unicast address.
    pub fn binding_error(&mut self, now: Instant, packet: &Packet<'_>, status: u8) -> Option<Vec<u8>> {
        let (own, peer) = (packet.header.destination, packet.header.source);
        if !is_unicast(&peer) || !is_unicast(&own) {
            return None;
        }
        let home_address =
            packet.home_address.as_ref().map_or(Ipv6Addr::UNSPECIFIED, |option| option.address);
        let message =
            Message::BindingError(BindingError { status, reserved: 0, home_address, options: Vec::new() });
        self.binding_errors.take(now).then(|| mobility_packet(&own, &peer, message))
    }
}

/// A whole packet `source` -> `destination` with this message and no extension headers.
pub fn mobility_packet(source: &Ipv6Addr, destination: &Ipv6Addr, message: Message) -> Vec<u8> {
    let header = MobilityHeader::new(message).emit_for(source, destination);
    ipv6::packet(Ipv6Header::new(next_header::MOBILITY, HOP_LIMIT, *source, *destination), &header)
}

/// The checks of RFC 3775 9.2 on a packet whose upper layer is a Mobility Header.
pub fn receive(
    now: Instant,
    packet: &Packet<'_>,
    limits: &mut AnswerLimits,
) -> Result<MobilityHeader, Refusal> {
    let bytes = packet.payload();
    let offset = packet.upper.offset;
    if !is_unicast(&packet.header.destination) {
        let reason = "a Mobility Header to a group of nodes";
        return Err(Refusal::silent("mobility.not-unicast", reason, "RFC 3775 6.1"));
    }
    let (Some(&payload_proto), Some(&header_length), Some(&kind)) =
        (bytes.first(), bytes.get(1), bytes.get(2))
    else {
        return Err(Refusal::silent("mobility.truncated", "the Mobility Header is cut off", "RFC 3775 9.2"));
    };
    let length = (usize::from(header_length) + 1) * 8;
    let complete = bytes.get(..length);
    // A header that claims more than arrived has no checksum to verify.
    let verified = complete.unwrap_or(bytes);
    if !checksum_is_valid(verified, &packet.final_source(), &packet.final_destination()) {
        return Err(Refusal::silent(
            "mobility.bad-checksum",
            "the checksum over home address and final destination is wrong",
            "RFC 3775 9.2",
        ));
    }
    if kind > mobility::kind::BINDING_ERROR {
        return Err(Refusal {
            answer: limits.binding_error(now, packet, BindingError::UNRECOGNIZED_KIND),
            counter: "mobility.unknown-type",
            reason: "the Mobility Header type is unknown",
            clause: "RFC 3775 9.2",
        });
    }
    let mut parameter_problem = |pointer: usize| {
        let pointer = u32::try_from(pointer).unwrap_or(u32::MAX);
        limits.icmp_error(now, packet, ErrorReason::ParameterProblem { code: 0, pointer })
    };
    if payload_proto != next_header::NO_NEXT_HEADER {
        return Err(Refusal {
            answer: parameter_problem(offset),
            counter: "mobility.bad-payload-proto",
            reason: "Payload Proto is not 59",
            clause: "RFC 3775 9.2",
        });
    }
    if length < minimum_length(kind) {
        return Err(Refusal {
            answer: parameter_problem(offset + 1),
            counter: "mobility.bad-length",
            reason: "Header Len is too small for this type",
            clause: "RFC 3775 9.2",
        });
    }
    let Some(complete) = complete else {
        return Err(Refusal::silent(
            "mobility.truncated",
            "Header Len reaches beyond the packet",
            "RFC 3775 9.2",
        ));
    };
    MobilityHeader::parse(complete).map_err(|_| {
        Refusal::silent("mobility.bad-options", "a mobility option does not fit its length", "RFC 3775 6.2.1")
    })
}

/// Who a tunnel packet quoted in an ICMPv6 error was between. An error about a packet that this node never sent is
/// somebody's forgery and is not relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelQuoted {
    pub outer_source: Ipv6Addr,
    pub outer_destination: Ipv6Addr,
    pub inner_source: Ipv6Addr,
    pub inner_destination: Ipv6Addr,
}

impl TunnelQuoted {
    /// Reads the quoted packet; `None` when it is no tunnel packet or does not reach the inner addresses.
    pub fn of(invoking: &[u8]) -> Option<Self> {
        let outer = Packet::parse_quoted(invoking).ok()?;
        if outer.upper.protocol != next_header::IPV6 {
            return None;
        }
        let inner = Ipv6Header::parse(invoking.get(outer.upper.offset..)?).ok()?;
        Some(Self {
            outer_source: outer.header.source,
            outer_destination: outer.header.destination,
            inner_source: inner.source,
            inner_destination: inner.destination,
        })
    }
}

/// A unicast address that is somebody's: not multicast, not unspecified, not loopback.
pub fn is_unicast(address: &Ipv6Addr) -> bool {
    !(address.is_multicast() || address.is_unspecified() || address.is_loopback())
}

/// An address that may stand in a binding (RFC 3775 9.5.1 "unicast routable address"): not link-local and not
/// IPv4-mapped either.
pub fn is_routable_unicast(address: &Ipv6Addr) -> bool {
    is_unicast(address) && !address.is_unicast_link_local() && address.to_ipv4_mapped().is_none()
}
