//! ICMPv6 errors about packets that left with a type 2 routing header (RFC 3775 9.3.4): what is persistently unreachable
//! loses its binding, and a Packet Too Big is told to the host as it concerns the packet that the host sent.
//! Called by `ai`.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::Ai;
use crate::protocol::action::Action;
use crate::protocol::binding::cache::BindingKey;
use crate::protocol::clock::Instant;
use crate::protocol::report::Report;
use crate::wire::PacketBuffer;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{ErrorReason, Icmpv6, Icmpv6Message, error_packet};
use crate::wire::ipv6::{self, next_header};
use crate::wire::rewrite::strip_routing2;

/// This many Destination Unreachables about packets with a routing header end a binding (RFC 3775 9.3.4 wants them
/// "persistent"; UMIP counts the same), at most one of them counted in [`UNREACHABLE_INTERVAL`].
const PERSISTENT_UNREACHABLE: u32 = 4;
/// What comes closer together than this has one cause.
const UNREACHABLE_INTERVAL: Duration = Duration::from_secs(1);

impl Ai {
    /// Errors about packets that left with a routing header (RFC 3775 9.3.4).
    pub(super) fn handle_icmpv6(&mut self, now: Instant, packet: &Packet<'_>) {
        let payload = packet.payload();
        let sum =
            ipv6::checksum(&packet.header.source, &packet.header.destination, next_header::ICMPV6, payload);
        let Ok(received) = Icmpv6::parse(payload) else {
            return self.counters.count("icmpv6.malformed");
        };
        if sum != 0 {
            return self.counters.count("icmpv6.bad-checksum");
        }
        match &received.message {
            Icmpv6Message::DestinationUnreachable { invoking, .. } => self.handle_unreachable(now, invoking),
            Icmpv6Message::PacketTooBig { mtu, invoking, .. } => {
                self.relay_too_big(&packet.header.source, *mtu, invoking);
            }
            _ => self.counters.count("icmpv6.ignored"),
        }
    }

    /// The binding that a quoted packet with a routing header was sent by.
    pub(super) fn binding_of(&self, invoking: &[u8]) -> Option<BindingKey> {
        let quoted = Packet::parse_quoted(invoking).ok()?;
        let routing = quoted.routing2.as_ref()?;
        let key = (routing.address, quoted.header.source);
        let binding = self.cache.get(&key)?;
        (binding.care_of == quoted.header.destination).then_some(key)
    }

    pub(super) fn handle_unreachable(&mut self, now: Instant, invoking: &[u8]) {
        let Some(key) = self.binding_of(invoking) else { return };
        let Some(usage) = self.usage.get_mut(&key) else { return };
        if usage.unreachable_at.is_some_and(|at| now.saturating_since(at) < UNREACHABLE_INTERVAL) {
            return;
        }
        usage.unreachable_at = Some(now);
        usage.unreachable += 1;
        if usage.unreachable < PERSISTENT_UNREACHABLE {
            return;
        }
        if let Some(binding) = self.cache.remove(&key) {
            self.withdraw(now, &binding);
            let report = Report::warning("binding-removed").anycast(key.0).care_of(binding.care_of);
            self.report(report.because("the responder is persistently unreachable", "RFC 3775 9.3.4"));
        }
    }

    /// A router's Packet Too Big about a rewritten packet, told to the host's stack as it concerns the packet that
    /// the stack sent.
    pub(super) fn relay_too_big(&mut self, router: &Ipv6Addr, mtu: u32, invoking: &[u8]) {
        if self.binding_of(invoking).is_none() {
            return;
        }
        let mut original = PacketBuffer::new(invoking);
        if strip_routing2(&mut original).is_err() {
            return;
        }
        let shrunk = u32::try_from(invoking.len() - original.len()).unwrap_or(0);
        let reason = ErrorReason::PacketTooBig(mtu.saturating_sub(shrunk).max(1280));
        if let Some(error) = error_packet(router, original.as_slice(), reason) {
            self.counters.count("too-big.relayed");
            self.actions.push_back(Action::Deliver(error));
        }
    }
}
