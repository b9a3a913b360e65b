//! Packets that no rule and no message handler takes (RFC 3775 9.3.1, 10.4.5, RFC 2473 8): what each is answered,
//! counted and reported as, and errors from inside the tunnel, which are relayed. Called by `haa`.

use super::Haa;
use crate::protocol::action::Action;
use crate::protocol::clock::Instant;
use crate::protocol::input::{Refusal, TunnelQuoted, is_unicast};
use crate::protocol::report::Report;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{ErrorReason, Icmpv6};
use crate::wire::tunnel::relay_error;

impl Haa {
    /// True for a packet whose home address option matches a binding (RFC 3775 9.3.1).
    pub(super) fn is_from_bound(&self, packet: &Packet<'_>) -> bool {
        let key = (packet.final_source(), packet.header.destination);
        let binding = self.cache.get(&key).filter(|_| packet.home_address.is_some());
        let is_bound = binding.is_some_and(|binding| binding.care_of == packet.header.source);
        is_bound || packet.home_address.is_some() && self.is_from_member(packet)
    }

    /// An error about one of our tunnel packets becomes an error about the packet inside (RFC 2473 8).
    pub(super) fn relay(&mut self, now: Instant, packet: &Packet<'_>) {
        if packet.header.destination != self.config.agent || !self.quotes_my_tunnel(packet) {
            return self.counters.count("tunnel-error.ignored");
        }
        let Some(error) = relay_error(packet.bytes, &self.config.agent) else {
            return self.counters.count("tunnel-error.ignored");
        };
        if self.limits.icmp_errors.take(now) {
            self.counters.count("tunnel-error.relayed");
            self.actions.push_back(Action::Send(error));
        }
    }

    /// True when an ICMPv6 error quotes a packet that this agent tunnels to a bound responder.
    pub(super) fn quotes_my_tunnel(&self, packet: &Packet<'_>) -> bool {
        let Ok(error) = Icmpv6::parse(packet.payload()) else { return false };
        let Some(tunnel) = error.message.invoking().and_then(TunnelQuoted::of) else { return false };
        let key = (tunnel.inner_destination, tunnel.outer_source);
        let is_bound = self.cache.get(&key).is_some_and(|of| of.care_of == tunnel.outer_destination);
        // Nobody wants to hear of a probe of ours.
        let is_probe = tunnel.inner_source == self.config.agent;
        is_bound
            || !is_probe && self.joined.at(&tunnel.inner_destination, &tunnel.outer_destination).is_some()
    }

    /// A tunnel packet that no rule took: its outer source is not the bound care-of address (RFC 3775 10.4.5).
    pub(super) fn refuse_tunnel(&mut self, now: Instant, packet: &Packet<'_>) {
        let pointer = u32::try_from(packet.upper.next_header_offset).unwrap_or(u32::MAX);
        // Code 1 is what a node says that runs no such tunnel, and what KAME answers here.
        let problem = ErrorReason::ParameterProblem { code: 1, pointer };
        let answer = self.limits.icmp_error(now, packet, problem);
        let refusal = Refusal {
            answer,
            counter: "tunnel.refused",
            reason: "a tunnelled packet's source is not the care-of address bound to its inner source",
            clause: "RFC 3775 10.4.5",
        };
        self.refuse(packet, refusal);
    }

    /// A home address option without a matching binding (RFC 3775 9.3.1).
    pub(super) fn refuse_home_address(&mut self, now: Instant, packet: &Packet<'_>) {
        let refusal = self.limits.unbound_home_address(now, packet);
        self.refuse(packet, refusal);
    }

    pub(super) fn refuse(&mut self, packet: &Packet<'_>, refusal: Refusal) {
        self.counters.count(refusal.counter);
        let mut report = Report::debug("packet-refused").peer(packet.header.source);
        if is_unicast(&packet.final_source()) && packet.home_address.is_some() {
            report = report.anycast(packet.final_source());
        }
        self.report(report.because(refusal.reason, refusal.clause));
        self.actions.extend(refusal.answer.map(Action::Send));
    }
}
