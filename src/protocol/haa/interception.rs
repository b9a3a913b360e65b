//! Drawing addresses to the agent (RFC 3775 10.4.1): the anycast address itself, and the link-local address that is
//! defended with it (the L flag, 10.3.1), whose packets are never tunnelled (10.4.2). Called by the registrations.

use std::net::Ipv6Addr;

use super::{Capture, Haa};
use crate::protocol::action::Action;
use crate::protocol::clock::Instant;
use crate::protocol::home_link;
use crate::protocol::input::Refusal;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{ErrorReason, error_packet};
use crate::wire::mobility::UpdateFlags;

impl Haa {
    /// Draws an address to this agent: on the home link (RFC 3775 10.4.1) or by a route (thesis 4.3.3).
    pub(super) fn capture(&mut self, address: Ipv6Addr) {
        if self.capture == Capture::Route {
            return self.actions.push_back(Action::RouteAddress(address));
        }
        self.actions.push_back(Action::CaptureAddress(address));
        let source = self.config.link_local.unwrap_or(self.config.agent);
        self.actions.push_back(Action::Send(home_link::unsolicited_advertisement(
            &source,
            address,
            self.config.link_address,
        )));
    }

    /// Draws an address to this agent no longer.
    pub(super) fn release(&mut self, address: Ipv6Addr) {
        self.actions.push_back(match self.capture {
            Capture::HomeLink => Action::ReleaseAddress(address),
            Capture::Route => Action::UnrouteAddress(address),
        });
    }

    /// The link-local address that belongs to a home address (RFC 3775 10.3.1).
    pub(super) fn link_local_of(&self, now: Instant, home_address: &Ipv6Addr) -> Option<Ipv6Addr> {
        let prefix = self.prefixes.of(now, home_address)?;
        Some(home_link::link_local_of(home_address, prefix.prefix_len()))
    }

    /// The link-local address that is to be defended with `anycast`, which the L flag asks for.
    pub(super) fn link_local_wanted(
        &self,
        now: Instant,
        flags: UpdateFlags,
        anycast: &Ipv6Addr,
    ) -> Option<Ipv6Addr> {
        let on_home_link = self.capture == Capture::HomeLink;
        let wanted = on_home_link && flags.contains(UpdateFlags::LINK_LOCAL);
        wanted.then(|| self.link_local_of(now, anycast)).flatten()
    }

    /// Defends `wanted` for `anycast` from now on and no other link-local address. Addresses of several prefixes may
    /// have one in common.
    pub(super) fn defend_link_local(&mut self, anycast: Ipv6Addr, wanted: Option<Ipv6Addr>) {
        let former = match wanted {
            Some(address) => self.defended.insert(anycast, address),
            None => self.defended.remove(&anycast),
        };
        if former == wanted {
            return;
        }
        if let Some(address) = wanted {
            let users = self.link_locals.entry(address).or_default();
            *users += 1;
            if *users == 1 {
                self.capture(address);
            }
        }
        let Some(address) = former else { return };
        if let Some(users) = self.link_locals.get_mut(&address) {
            *users -= 1;
            if *users == 0 {
                self.link_locals.remove(&address);
                self.release(address);
            }
        }
    }

    /// A packet to a responder's link-local address, which must not enter the tunnel (RFC 3775 10.4.2).
    pub(super) fn refuse_link_local(&mut self, now: Instant, packet: &Packet<'_>) {
        let source = self.config.link_local.unwrap_or(self.config.agent);
        let answer = error_packet(&source, packet.bytes, ErrorReason::DestinationUnreachable(3))
            .filter(|_| self.limits.icmp_errors.take(now));
        let refusal = Refusal {
            answer,
            counter: "link-local.refused",
            reason: "packets to a responder's link-local address are not tunnelled",
            clause: "RFC 3775 10.4.2",
        };
        self.refuse(packet, refusal);
    }
}
