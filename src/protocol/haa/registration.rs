//! Binding Updates at the agent (RFC 3775 9.5.1, 10.3.1, 10.3.2; thesis 4.2.2): which are dropped, refused or accepted,
//! what an accepted one installs before its acknowledgement, and what the end of a binding takes away again.
//! Called by `haa` for every Binding Update, by its timers and by an operator.

use std::net::Ipv6Addr;

use super::Haa;
use crate::protocol::acknowledgement::Answered;
use crate::protocol::action::{Action, Rule, RuleKey, RuleKind};
use crate::protocol::auth::members::Proof;
use crate::protocol::binding::cache::Binding;
use crate::protocol::binding::sequence::is_newer;
use crate::protocol::clock::Instant;
use crate::protocol::input::{Refusal, is_routable_unicast};
use crate::protocol::report::Report;
use crate::wire::chain::Packet;
use crate::wire::mobility::{BindingUpdate, Lifetime, MobilityHeader, MobilityOption, Status, UpdateFlags};

/// A Binding Update that passed the checks every update gets.
pub(super) struct Update {
    pub(super) answered: Answered,
    pub(super) care_of: Ipv6Addr,
    pub(super) has_home_address_option: bool,
    pub(super) sequence: u16,
    pub(super) flags: UpdateFlags,
    pub(super) lifetime: Lifetime,
}

impl Update {
    /// The update that made a binding that waits.
    pub(super) fn of(binding: &Binding, answered: Answered) -> Self {
        Self {
            answered,
            care_of: binding.care_of,
            has_home_address_option: true,
            sequence: binding.sequence,
            flags: binding.flags,
            lifetime: binding.lifetime,
        }
    }
}

impl Haa {
    /// The silent checks of RFC 3775 9.5.1, 6.1.7 and 10.3.1, which come before any answer.
    pub(super) fn check_update(
        &self,
        packet: &Packet<'_>,
        header: &MobilityHeader,
        update: &BindingUpdate,
        proof: Option<Proof>,
    ) -> Result<Update, Refusal> {
        let silent = |reason, clause| Err(Refusal::silent("binding-update.dropped", reason, clause));
        let source = packet.header.source;
        let home_address = packet.final_source();
        let mut care_of = source;
        let mut alternates = 0;
        for option in header.message.options() {
            match option {
                MobilityOption::AlternateCareOfAddress(address) => {
                    care_of = *address;
                    alternates += 1;
                }
                MobilityOption::NonceIndices { .. }
                    if update.flags.contains(UpdateFlags::HOME_REGISTRATION) =>
                {
                    return silent("Nonce Indices in a home registration", "RFC 3775 9.5.1");
                }
                _ => {}
            }
        }
        if alternates > 1 {
            return silent("two Alternate Care-of Address options", "RFC 3775 6.2.5");
        }
        if !is_routable_unicast(&home_address) {
            return silent("the home address is not a routable unicast address", "RFC 3775 9.5.1");
        }
        if !is_routable_unicast(&source) || !is_routable_unicast(&care_of) {
            return silent("the care-of address is not a routable unicast address", "RFC 3775 6.1.7");
        }
        if self.is_home_agents_anycast(&packet.header.destination) {
            return silent("a Binding Update to the home agents' anycast address", "RFC 3775 10.3.1");
        }
        let bound = self.cache.binds(&care_of) || self.pending.contains_key(&care_of);
        if care_of == packet.header.destination || (care_of != home_address && bound) {
            return silent("the care-of address is itself a bound anycast address", "RFC 3775 6.1.7");
        }
        if care_of != home_address && home_address == source {
            return silent("a registration away from home lacks the home address option", "RFC 3775 10.3.1");
        }
        let own = packet.header.destination;
        let home_bound = self.cache.get(&(home_address, own)).is_some();
        if !update.flags.contains(UpdateFlags::HOME_REGISTRATION) && !home_bound {
            return silent("neither a home registration nor return routability", "RFC 3775 9.5.1");
        }
        Ok(Update {
            answered: Answered { proof, ..Answered::of(packet) },
            care_of,
            has_home_address_option: packet.home_address.is_some(),
            sequence: update.sequence,
            flags: update.flags,
            lifetime: update.lifetime,
        })
    }

    /// Decides a Binding Update (RFC 3775 9.5.1, 10.3.1, 10.3.2); every path from here is acknowledged.
    pub(super) fn handle_update(&mut self, now: Instant, update: Update) {
        let key = (update.answered.home_address, update.answered.own);
        // An address that is still being probed has a last accepted number too.
        let waiting = self.pending.get(&key.0).filter(|pending| pending.binding.key() == key);
        let waited_for = waiting.map(|pending| pending.binding.sequence);
        let leaves = update.lifetime == Lifetime::ZERO || update.care_of == update.answered.home_address;
        let stale_while_probing = waited_for.filter(|stored| leaves && !is_newer(update.sequence, *stored));
        if let Some(stored) = self.cache.stale(&key, update.sequence).or(stale_while_probing) {
            return self.reject(
                &update,
                Status::SEQUENCE_OUT_OF_WINDOW,
                stored,
                "the sequence number is not newer than the stored one",
                "RFC 3775 9.5.1",
            );
        }
        let reject = |agent: &mut Self, status, reason, clause| {
            agent.reject(&update, status, update.sequence, reason, clause);
        };
        if !update.flags.contains(UpdateFlags::HOME_REGISTRATION) {
            return reject(
                self,
                Status::REGISTRATION_TYPE_CHANGE,
                "a home registration cannot become another one",
                "RFC 3775 9.5.1",
            );
        }
        if leaves {
            return self.deregister(&update);
        }
        let home_address = update.answered.home_address;
        if self.prefixes.of(now, &home_address).is_none() {
            return reject(
                self,
                Status::NOT_HOME_SUBNET,
                "the anycast address is in none of this agent's home prefixes",
                "RFC 3775 10.3.1",
            );
        }
        let served = self.config.anycast.is_empty() || self.config.anycast.contains(&home_address);
        let own = home_address == self.config.agent || self.is_home_agents_anycast(&home_address);
        if !served || own {
            return reject(
                self,
                Status::ADMINISTRATIVELY_PROHIBITED,
                "this agent does not serve the anycast address",
                "RFC 3775 6.1.8",
            );
        }
        let known = self.cache.get(&key).is_some();
        let held = self.cache.len() + self.pending.len();
        if !known && waited_for.is_none() && held >= self.config.max_bindings {
            return reject(
                self,
                Status::INSUFFICIENT_RESOURCES,
                "the binding cache is full",
                "RFC 3775 10.3.1",
            );
        }
        if update.flags.contains(UpdateFlags::LINK_LOCAL)
            && self.config.link_local.is_some_and(|own| self.link_local_of(now, &home_address) == Some(own))
        {
            return reject(
                self,
                Status::DUPLICATE_ADDRESS,
                "the link-local address that belongs to the anycast address is this agent's",
                "RFC 3775 10.3.1",
            );
        }
        let lifetime = update.lifetime.min(self.config.max_lifetime);
        let binding = Binding {
            home_address,
            own_address: update.answered.own,
            care_of: update.care_of,
            sequence: update.sequence,
            flags: update.flags,
            lifetime,
            expires: now + lifetime.duration(),
            owner: update.answered.proof.map(|proof| proof.member),
        };
        if known || !self.config.duplicate_address_detection {
            return self.accept(now, binding, update.answered);
        }
        self.probe(now, binding, update.answered);
    }

    /// Stores a binding, puts the rewrites in place, draws the address to the agent if it is new, and only then
    /// acknowledges, so that the responder's first packet finds everything ready.
    pub(super) fn accept(&mut self, now: Instant, mut binding: Binding, answered: Answered) {
        let Some((granted, status)) = self.prefixes.grant(now, &binding.home_address, binding.lifetime)
        else {
            return self.reject(
                &Update::of(&binding, answered),
                Status::NOT_HOME_SUBNET,
                binding.sequence,
                "the home prefix is no longer valid",
                "RFC 3775 10.3.1",
            );
        };
        binding.lifetime = granted;
        binding.expires = now + granted.duration();
        let link_local = self.link_local_wanted(now, &binding);
        let key = binding.key();
        let Binding { home_address: anycast, own_address: agent, care_of, sequence, lifetime, .. } = binding;
        let served = self.cache.of(&anycast).map(|newest| (newest.own_address, newest.care_of));
        let captured = served.is_some();
        let previous = self.cache.insert(binding);
        let moved_from = previous.as_ref().map(|old| old.care_of);
        // The last Binding Update wins (thesis 4.2.2), a refresh at another address of this agent too.
        if served != Some((agent, care_of)) {
            for rule in [
                Rule::TunnelToResponder { anycast, agent, care_of },
                Rule::TunnelFromResponder { anycast, agent, care_of },
                Rule::HomeAddressIn { anycast, own: agent, care_of },
            ] {
                self.actions.push_back(Action::InstallRule(rule));
            }
        }
        if !captured {
            self.capture(anycast);
        }
        self.defend_link_local(anycast, link_local);
        self.counters.count("binding-update.accepted");
        self.acknowledge(answered, status, sequence, lifetime);
        let preferred = self.prefixes.shortest_preferred(now);
        if let Some(discovery) = &mut self.prefix_discovery {
            discovery.bound(now, key, preferred);
        }
        let event = match moved_from {
            None => Report::info("binding-created"),
            Some(old) if old == care_of => Report::debug("binding-refreshed"),
            Some(old) => Report::info("binding-moved")
                .peer(old)
                .because("the last Binding Update wins", "thesis 4.2.2"),
        };
        self.report(event.anycast(anycast).care_of(care_of).sequence(sequence).lifetime(lifetime.seconds()));
    }

    /// De-registration (RFC 3775 10.3.2).
    pub(super) fn deregister(&mut self, update: &Update) {
        let anycast = update.answered.home_address;
        let sender = update.answered.proof.map(|proof| proof.member);
        let waiting = self.pending.get(&anycast).map(|pending| &pending.binding);
        let held = waiting.or_else(|| self.cache.get(&(anycast, update.answered.own)));
        if held.is_some_and(|binding| binding.owner != sender) {
            return self.reject(
                update,
                Status::ADMINISTRATIVELY_PROHIBITED,
                update.sequence,
                "the binding is another member's",
                "docs/membership.md",
            );
        }
        self.take_pending(&anycast);
        let Some(binding) = self.cache.remove(&(anycast, update.answered.own)) else {
            self.counters.count("binding-update.refused.133");
            self.report(
                Report::info("binding-update-refused")
                    .anycast(anycast)
                    .peer(update.answered.source)
                    .sequence(update.sequence)
                    .status(Status::NOT_HOME_AGENT.0)
                    .because("there is no binding to remove", "RFC 3775 10.3.2"),
            );
            return self.acknowledge(
                update.answered,
                Status::NOT_HOME_AGENT,
                update.sequence,
                Lifetime::ZERO,
            );
        };
        self.counters.count("binding-update.deregistered");
        // Before the acknowledgement: a responder at home must be reached as itself (10.3.2).
        self.withdraw(&binding);
        self.acknowledge(update.answered, Status::ACCEPTED, update.sequence, Lifetime::ZERO);
        let at_home = !update.has_home_address_option || update.answered.source == anycast;
        let reason = if at_home { "the responder is at home" } else { "the responder asked for it" };
        self.report(
            Report::info("binding-removed")
                .anycast(anycast)
                .care_of(binding.care_of)
                .peer(update.answered.source)
                .sequence(update.sequence)
                .because(reason, "RFC 3775 10.3.2"),
        );
    }

    pub(super) fn withdraw(&mut self, binding: &Binding) {
        let anycast = binding.home_address;
        if let Some(discovery) = &mut self.prefix_discovery {
            discovery.unbound(&binding.key());
        }
        let own = RuleKey::between(RuleKind::HomeAddressIn, anycast, binding.own_address);
        self.actions.push_back(Action::RemoveRule(own));
        // A responder may also be registered at another address of this agent (RFC 3775 9.1): then that binding
        // has the tunnel from now on.
        if let Some(other) = self.cache.of(&anycast) {
            let (agent, care_of) = (other.own_address, other.care_of);
            let keeps_link_local = other.flags.contains(UpdateFlags::LINK_LOCAL);
            for rule in [
                Rule::TunnelToResponder { anycast, agent, care_of },
                Rule::TunnelFromResponder { anycast, agent, care_of },
            ] {
                self.actions.push_back(Action::InstallRule(rule));
            }
            if !keeps_link_local {
                self.defend_link_local(anycast, None);
            }
            return;
        }
        for kind in [RuleKind::TunnelToResponder, RuleKind::TunnelFromResponder] {
            self.actions.push_back(Action::RemoveRule(RuleKey::of(kind, anycast)));
        }
        self.release(anycast);
        self.defend_link_local(anycast, None);
    }

    pub(super) fn reject(
        &mut self,
        update: &Update,
        status: Status,
        sequence: u16,
        reason: &'static str,
        clause: &'static str,
    ) {
        self.counters.count(match status {
            Status::ADMINISTRATIVELY_PROHIBITED => "binding-update.refused.129",
            Status::INSUFFICIENT_RESOURCES => "binding-update.refused.130",
            Status::NOT_HOME_SUBNET => "binding-update.refused.132",
            Status::DUPLICATE_ADDRESS => "binding-update.refused.134",
            Status::SEQUENCE_OUT_OF_WINDOW => "binding-update.refused.135",
            Status::REGISTRATION_TYPE_CHANGE => "binding-update.refused.139",
            _ => "binding-update.refused",
        });
        self.acknowledge(update.answered, status, sequence, update.lifetime);
        let report = Report::info("binding-update-refused")
            .anycast(update.answered.home_address)
            .care_of(update.care_of)
            .peer(update.answered.source)
            .sequence(update.sequence)
            .status(status.0);
        self.report(report.because(reason, clause));
    }

    pub(super) fn acknowledge(
        &mut self,
        answered: Answered,
        status: Status,
        sequence: u16,
        lifetime: Lifetime,
    ) {
        self.counters.count("binding-acknowledgement.sent");
        let granted = status.is_accepted() && lifetime != Lifetime::ZERO;
        let advice = self.refresh_advice.filter(|advice| granted && *advice < lifetime);
        let options = advice.map(MobilityOption::BindingRefreshAdvice).into_iter().collect();
        let packet = self.acknowledgement(answered, status, sequence, lifetime, options);
        self.actions.extend(packet.map(Action::Send));
    }
}
