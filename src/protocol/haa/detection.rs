//! Duplicate address detection before the first acknowledgement of an anycast address (RFC 3775 10.3.1, RFC 4862 5.4):
//! what waits for the probe, and what a sign of the address on the link means. Called by `haa` for first registrations
//! and for neighbour discovery that arrives meanwhile.

use std::net::Ipv6Addr;

use super::Haa;
use super::registration::Update;
use crate::protocol::action::Action;
use crate::protocol::auth::members::MemberId;
use crate::protocol::binding::sequence::is_newer;
use crate::protocol::clock::Instant;
use crate::protocol::home_link;
use crate::protocol::limits::{DUPLICATE_ADDRESS_WAIT, NEIGHBOR_DISCOVERY_HOP_LIMIT};
use crate::protocol::report::Report;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::Icmpv6Message;
use crate::wire::mobility::Status;

/// First registrations of an anycast address that wait for its duplicate address detection: one, or at an address of
/// the advanced model one of each responder.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) waiting: Vec<Update>,
    until: Instant,
}

impl Haa {
    pub(super) fn take_pending(&mut self, anycast: &Ipv6Addr) -> Option<Pending> {
        let pending = self.pending.remove(anycast)?;
        self.probes.remove(&(pending.until, *anycast));
        Some(pending)
    }

    /// What waits of the binding or member that `update` is for.
    pub(super) fn waiting_for(&self, update: &Update) -> Option<&Update> {
        let pending = self.pending.get(&update.answered.home_address)?;
        pending.waiting.iter().find(|waiting| waiting.concerns_the_same_as(update))
    }

    /// Lets nothing wait of the binding or member that `update` ends.
    pub(super) fn forget_waiting(&mut self, update: &Update) {
        let anycast = update.answered.home_address;
        self.keep_waiting(|waiting| {
            waiting.answered.home_address != anycast
                || update.joining.is_some() && !waiting.concerns_the_same_as(update)
        });
    }

    /// Lets nothing wait that this member sent.
    pub(super) fn forget_waiting_of(&mut self, member: MemberId) {
        self.keep_waiting(|waiting| waiting.owner() != Some(member));
    }

    fn keep_waiting(&mut self, keep: impl Fn(&Update) -> bool) {
        let mut done = Vec::new();
        for (anycast, pending) in &mut self.pending {
            pending.waiting.retain(&keep);
            if pending.waiting.is_empty() {
                done.push(*anycast);
            }
        }
        for anycast in done {
            self.take_pending(&anycast);
        }
    }

    /// Duplicate address detection for a first registration (RFC 3775 10.3.1). Updates that arrive meanwhile only
    /// replace what is waiting: one probe, one answer, for the newest number.
    pub(super) fn probe(&mut self, now: Instant, update: Update) {
        let anycast = update.answered.home_address;
        if let Some(pending) = self.pending.get_mut(&anycast) {
            let same = |waiting: &&mut Update| match update.joining {
                Some(_) => waiting.concerns_the_same_as(&update),
                None => true,
            };
            match pending.waiting.iter_mut().find(same) {
                Some(waiting) if is_newer(update.sequence, waiting.sequence) => *waiting = update,
                Some(_) => {}
                None => pending.waiting.push(update),
            }
            return;
        }
        self.report(Report::debug("duplicate-address-detection").anycast(anycast));
        self.actions.push_back(Action::Send(home_link::duplicate_address_probe(anycast)));
        if let Some(link_local) = self.link_local_wanted(now, update.flags, &anycast) {
            self.actions.push_back(Action::Send(home_link::duplicate_address_probe(link_local)));
        }
        let until = now + DUPLICATE_ADDRESS_WAIT;
        self.probes.insert((until, anycast));
        self.pending.insert(anycast, Pending { waiting: vec![update], until });
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
        for update in &pending.waiting {
            self.reject(
                update,
                Status::DUPLICATE_ADDRESS,
                update.sequence,
                "another node on the home link uses the anycast address",
                "RFC 3775 10.3.1",
            );
        }
    }

    /// The anycast address that waits for the probe of `target`, which may be its link-local address.
    pub(super) fn probed_for(&self, now: Instant, target: &Ipv6Addr) -> Option<Ipv6Addr> {
        if !target.is_unicast_link_local() {
            return self.pending.contains_key(target).then_some(*target);
        }
        let mut waiting = self.pending.values().flat_map(|pending| &pending.waiting);
        let anycast = |update: &Update| update.answered.home_address;
        let wants =
            |update: &&Update| self.link_local_wanted(now, update.flags, &anycast(update)) == Some(*target);
        waiting.find(wants).map(anycast)
    }
}
