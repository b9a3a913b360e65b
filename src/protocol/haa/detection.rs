//! Duplicate address detection before the first acknowledgement of an anycast address (RFC 3775 10.3.1, RFC 4862 5.4):
//! what waits for the probe, and what a sign of the address on the link means. Called by `haa` for first registrations
//! and for neighbour discovery that arrives meanwhile.

use std::net::Ipv6Addr;

use super::Haa;
use super::registration::Update;
use crate::protocol::acknowledgement::Answered;
use crate::protocol::action::Action;
use crate::protocol::binding::cache::Binding;
use crate::protocol::binding::sequence::is_newer;
use crate::protocol::clock::Instant;
use crate::protocol::home_link;
use crate::protocol::limits::{DUPLICATE_ADDRESS_WAIT, NEIGHBOR_DISCOVERY_HOP_LIMIT};
use crate::protocol::report::Report;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::Icmpv6Message;
use crate::wire::mobility::Status;

/// A first registration that waits for duplicate address detection.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) binding: Binding,
    pub(super) answered: Answered,
    pub(super) until: Instant,
}

impl Haa {
    pub(super) fn take_pending(&mut self, anycast: &Ipv6Addr) -> Option<Pending> {
        let pending = self.pending.remove(anycast)?;
        self.probes.remove(&(pending.until, *anycast));
        Some(pending)
    }

    /// Duplicate address detection for a first registration (RFC 3775 10.3.1). Updates that arrive meanwhile only
    /// replace what is waiting: one probe, one answer, for the newest number.
    pub(super) fn probe(&mut self, now: Instant, binding: Binding, answered: Answered) {
        let anycast = binding.home_address;
        match self.pending.get_mut(&anycast) {
            Some(waiting) => {
                if is_newer(binding.sequence, waiting.binding.sequence) {
                    waiting.binding = binding;
                    waiting.answered = answered;
                }
            }
            None => {
                self.report(Report::debug("duplicate-address-detection").anycast(anycast));
                self.actions.push_back(Action::Send(home_link::duplicate_address_probe(anycast)));
                if let Some(link_local) = self.link_local_wanted(now, &binding) {
                    self.actions.push_back(Action::Send(home_link::duplicate_address_probe(link_local)));
                }
                let until = now + DUPLICATE_ADDRESS_WAIT;
                self.probes.insert((until, anycast));
                self.pending.insert(anycast, Pending { binding, answered, until });
            }
        }
    }

    /// While an address is probed, any sign of it on the link means status 134 (RFC 3775 10.3.1, RFC 4862 5.4).
    pub(super) fn handle_neighbor_discovery(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        message: &Icmpv6Message,
    ) {
        // Whoever is not on the link cannot send with this hop limit (RFC 4861 7.1), and has no say.
        if packet.header.hop_limit != NEIGHBOR_DISCOVERY_HOP_LIMIT {
            return self.counters.count("neighbor-discovery.off-link");
        }
        let Some(target) = home_link::conflicts_with(&packet.header.source, message) else { return };
        let Some(anycast) = self.probed_for(now, &target) else { return };
        let Some(pending) = self.take_pending(&anycast) else { return };
        let update = Update::of(&pending.binding, pending.answered);
        self.reject(
            &update,
            Status::DUPLICATE_ADDRESS,
            update.sequence,
            "another node on the home link uses the anycast address",
            "RFC 3775 10.3.1",
        );
    }

    /// The anycast address that waits for the probe of `target`, which may be its link-local address.
    pub(super) fn probed_for(&self, now: Instant, target: &Ipv6Addr) -> Option<Ipv6Addr> {
        if !target.is_unicast_link_local() {
            return self.pending.contains_key(target).then_some(*target);
        }
        let waiting = self.pending.values().map(|pending| &pending.binding);
        let mut waiting = waiting.filter(|binding| self.link_local_wanted(now, binding) == Some(*target));
        waiting.next().map(|binding| binding.home_address)
    }
}
