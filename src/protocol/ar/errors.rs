//! ICMPv6 that reaches a responder: answers to agent discovery, and errors, which tell that an initiator does not speak
//! Mobile IPv6 (RFC 3775 11.3.5) or concern a packet inside the tunnel (RFC 2473 8). Called by the responder.

use std::net::Ipv6Addr;

use super::correspondent::Correspondent;
use super::{Ar, ReverseTunnelEnd};
use crate::protocol::action::Action;
use crate::protocol::clock::Instant;
use crate::protocol::input;
use crate::wire::PacketBuffer;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{ErrorReason, Icmpv6, Icmpv6Message, error_packet};
use crate::wire::ipv6::{self, next_header};
use crate::wire::mobility::MobilityHeader;
use crate::wire::rewrite::strip_home_address;
use crate::wire::tunnel::relay_error;

impl Ar {
    pub(super) fn handle_icmpv6(&mut self, now: Instant, packet: &Packet<'_>) {
        let payload = packet.payload();
        let verified =
            ipv6::checksum(&packet.header.source, &packet.header.destination, next_header::ICMPV6, payload)
                == 0;
        let Ok(received) = Icmpv6::parse(payload) else {
            return self.counters.count("icmpv6.malformed");
        };
        if !verified {
            return self.counters.count("icmpv6.bad-checksum");
        }
        match &received.message {
            Icmpv6Message::HomeAgentDiscoveryReply { code: 0, identifier, home_agents, .. } => {
                self.counters.count("dhaad.answered");
                let asking =
                    self.registrations.iter().find(|(_, r)| r.expects_agents(*identifier)).map(|(a, _)| *a);
                if let Some(anycast) = asking {
                    self.step_registration(now, anycast, |registration, random, pace| {
                        registration.discovered(now, home_agents, random, pace)
                    });
                }
            }
            Icmpv6Message::ParameterProblem { code, pointer, invoking } => {
                self.handle_parameter_problem(now, packet, *code, *pointer, invoking);
            }
            message @ (Icmpv6Message::NeighborSolicitation { .. }
            | Icmpv6Message::NeighborAdvertisement { .. }) => self.handle_neighbor(now, packet, message),
            Icmpv6Message::PacketTooBig { mtu, invoking, .. } => self.relay_too_big(packet, *mtu, invoking),
            Icmpv6Message::DestinationUnreachable { .. } | Icmpv6Message::TimeExceeded { .. } => {
                self.relay_tunnel_error(packet);
            }
            _ => self.counters.count("icmpv6.ignored"),
        }
    }

    /// RFC 3775 11.3.5: an initiator that does not know the Mobility Header (code 1) or the home address option
    /// (code 2) is plain. The quoted packet must be one that this node sent to that initiator.
    pub(super) fn handle_parameter_problem(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        code: u8,
        pointer: u32,
        invoking: &[u8],
    ) {
        let Ok(quoted) = Packet::parse_quoted(invoking) else { return };
        let sender = packet.header.source;
        let mine = quoted.header.source == self.config.care_of
            || self.registrations.contains_key(&quoted.header.source);
        if !mine || quoted.header.destination != sender {
            return self.relay_tunnel_error(packet);
        }
        let pointer = usize::try_from(pointer).unwrap_or(usize::MAX);
        let about_mobility = code == 1
            && quoted.upper.protocol == next_header::MOBILITY
            && pointer == quoted.upper.next_header_offset;
        let about_option =
            code == 2 && quoted.home_address.as_ref().is_some_and(|option| option.option_offset == pointer);
        let message = MobilityHeader::parse(quoted.payload()).ok().map(|header| header.message);
        let provoked = |correspondent: &Correspondent| {
            let mobility = about_mobility && message.as_ref().is_some_and(|m| correspondent.sent_this(m));
            mobility || (about_option && correspondent.is_optimised())
        };
        let reason = "the initiator does not speak Mobile IPv6; packets keep to the tunnel";
        self.mark_plain(now, sender, provoked, reason, "RFC 3775 11.3.5");
    }

    /// Leaves `peer` alone, for every anycast address, if an exchange with it has `provoked` this.
    pub(super) fn mark_plain(
        &mut self,
        now: Instant,
        peer: Ipv6Addr,
        provoked: impl Fn(&Correspondent) -> bool,
        reason: &'static str,
        clause: &'static str,
    ) {
        let keys: Vec<_> = self.registrations.keys().map(|anycast| (*anycast, peer)).collect();
        if !keys.iter().any(|key| self.correspondents.get(key).is_some_and(&provoked)) {
            return self.counters.count("initiator.unprovoked-error");
        }
        self.counters.count("initiator.plain");
        for key in keys {
            self.step_correspondent(now, key, |correspondent, _, _| {
                correspondent.found_plain(now, reason, clause)
            });
        }
    }

    /// A router's Packet Too Big about a rewritten packet, told to the host's stack as it concerns the packet that
    /// the stack sent (RFC 2473 8 for the tunnel, the same for the home address option).
    pub(super) fn relay_too_big(&mut self, packet: &Packet<'_>, mtu: u32, invoking: &[u8]) {
        let Ok(quoted) = Packet::parse_quoted(invoking) else { return self.relay_tunnel_error(packet) };
        let Some(option) = quoted.home_address.as_ref() else { return self.relay_tunnel_error(packet) };
        let optimised = self
            .correspondents
            .get(&(option.address, quoted.header.destination))
            .is_some_and(|c| c.is_optimised());
        if quoted.header.source != self.config.care_of || !optimised {
            return;
        }
        let mut original = PacketBuffer::new(invoking);
        if strip_home_address(&mut original).is_err() {
            return;
        }
        let shrunk = u32::try_from(invoking.len() - original.len()).unwrap_or(0);
        let reason = ErrorReason::PacketTooBig(mtu.saturating_sub(shrunk).max(1280));
        if let Some(error) = error_packet(&packet.header.source, original.as_slice(), reason) {
            self.counters.count("too-big.relayed");
            self.actions.push_back(Action::Deliver(error));
        }
    }

    pub(super) fn relay_tunnel_error(&mut self, packet: &Packet<'_>) {
        if packet.header.destination != self.config.care_of || !self.quotes_my_tunnel(packet) {
            return self.counters.count("tunnel-error.ignored");
        }
        if let Some(error) = relay_error(packet.bytes, &self.config.care_of) {
            self.counters.count("tunnel-error.relayed");
            self.actions.push_back(Action::Deliver(error));
        }
    }

    /// True when an ICMPv6 error quotes a packet of a reverse tunnel of this node.
    pub(super) fn quotes_my_tunnel(&self, packet: &Packet<'_>) -> bool {
        let Ok(error) = Icmpv6::parse(packet.payload()) else { return false };
        let Some(tunnel) = error.message.invoking().and_then(input::TunnelQuoted::of) else { return false };
        let detour = || self.midway.contains_key(&(tunnel.inner_source, tunnel.outer_destination));
        let far_end = |agent| match self.config.reverse_tunnel_end {
            ReverseTunnelEnd::Agent => agent,
            ReverseTunnelEnd::Anycast => tunnel.inner_source,
        };
        let registration = self.registrations.get(&tunnel.inner_source);
        tunnel.outer_source == self.config.care_of
            && registration
                .and_then(|r| r.agent)
                .is_some_and(|agent| far_end(agent) == tunnel.outer_destination || detour())
    }
}
