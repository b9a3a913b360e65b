//! Binding Updates at the agent (RFC 3775 9.5.1, 10.3.1, 10.3.2; thesis 4.2.2): which are dropped, refused or accepted,
//! what an accepted one installs before its acknowledgement, and what the end of a binding takes away again.
//! Called by `haa` for every Binding Update, by its timers and by an operator.

use std::net::Ipv6Addr;

use super::Haa;
use super::joining::Joining;
use crate::protocol::acknowledgement::Answered;
use crate::protocol::action::{Action, Rule, RuleKey, RuleKind};
use crate::protocol::auth::members::{MemberId, Proof};
use crate::protocol::binding::cache::Binding;
use crate::protocol::binding::members::MemberKey;
use crate::protocol::binding::sequence::is_newer;
use crate::protocol::clock::Instant;
use crate::protocol::input::{Refusal, is_routable_unicast};
use crate::protocol::report::Report;
use crate::wire::chain::Packet;
use crate::wire::mobility::{BindingUpdate, Lifetime, MobilityHeader, MobilityOption, Status, UpdateFlags};

/// A Binding Update that passed the checks every update gets.
#[derive(Clone, Debug)]
pub(super) struct Update {
    pub(super) answered: Answered,
    pub(super) care_of: Ipv6Addr,
    pub(super) has_home_address_option: bool,
    pub(super) sequence: u16,
    pub(super) flags: UpdateFlags,
    pub(super) lifetime: Lifetime,
    /// At an address of the advanced model, who sent it as what.
    pub(super) joining: Option<Joining>,
}

impl Update {
    /// True when `other` speaks for the same binding (RFC 3775 9.5.1), or at an address of the advanced model for the
    /// same member.
    pub(super) fn concerns_the_same_as(&self, other: &Self) -> bool {
        let responder = |update: &Self| update.joining.as_ref().map(|joining| joining.responder.clone());
        let binding = |update: &Self| (update.answered.home_address, update.answered.own);
        match (responder(self), responder(other)) {
            (Some(one), Some(other)) => one == other,
            _ => binding(self) == binding(other),
        }
    }

    /// Who proved to have sent it, where members have keys.
    pub(super) fn owner(&self) -> Option<MemberId> {
        self.answered.proof.map(|proof| proof.member)
    }

    /// The member it is for, at an address of the advanced model.
    pub(super) fn member_key(&self) -> Option<MemberKey> {
        self.joining.as_ref().map(|joining| (self.answered.home_address, joining.responder.clone()))
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
        let care_of = self.care_of_registered(packet, header.message.options());
        let mut alternates = 0;
        for option in header.message.options() {
            match option {
                MobilityOption::AlternateCareOfAddress(_) => alternates += 1,
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
        let has_members = |address: &Ipv6Addr| self.joined.of(address).next().is_some();
        let bound =
            self.cache.binds(&care_of) || self.pending.contains_key(&care_of) || has_members(&care_of);
        if care_of == packet.header.destination || (care_of != home_address && bound) {
            return silent("the care-of address is itself a bound anycast address", "RFC 3775 6.1.7");
        }
        if care_of != home_address && home_address == source {
            return silent("a registration away from home lacks the home address option", "RFC 3775 10.3.1");
        }
        let own = packet.header.destination;
        let home_bound = self.cache.get(&(home_address, own)).is_some() || has_members(&home_address);
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
            joining: self
                .services
                .contains_key(&home_address)
                .then(|| Joining::of(header.message.options(), care_of)),
        })
    }

    /// Decides a Binding Update (RFC 3775 9.5.1, 10.3.1, 10.3.2); every path from here is acknowledged.
    pub(super) fn handle_update(&mut self, now: Instant, update: Update) {
        let key = (update.answered.home_address, update.answered.own);
        let member = update.member_key();
        // An address that is still being probed has a last accepted number too.
        let waited_for = self.waiting_for(&update).map(|waiting| waiting.sequence);
        let leaves = update.lifetime == Lifetime::ZERO || update.care_of == update.answered.home_address;
        let stale_while_probing = waited_for.filter(|stored| leaves && !is_newer(update.sequence, *stored));
        let stale = match &member {
            Some(member) => self.joined.stale(member, update.sequence),
            None => self.cache.stale(&key, update.sequence),
        };
        if let Some(stored) = stale.or(stale_while_probing) {
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
        if let Some((status, reason)) = update.joining.as_ref().and_then(|joining| joining.defect) {
            return reject(self, status, reason, "RFC 5648 5.3");
        }
        if self.is_anothers(&update) {
            return self.refuse_other_owner(&update);
        }
        if leaves {
            return self.deregister(now, &update);
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
        let known = match &member {
            Some(member) => self.joined.get(member).is_some(),
            None => self.cache.get(&key).is_some(),
        };
        let waiting: usize = self.pending.values().map(|pending| pending.waiting.len()).sum();
        let held = self.cache.len() + self.joined.len() + waiting;
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
        // One more member of an address that is this agent's already needs no probe.
        let defended = known || self.joined.of(&home_address).next().is_some();
        if defended || !self.config.duplicate_address_detection {
            return self.accept(now, &update);
        }
        self.probe(now, update);
    }

    /// Stores a binding, puts the rewrites in place, draws the address to the agent if it is new, and only then
    /// acknowledges, so that the responder's first packet finds everything ready.
    pub(super) fn accept(&mut self, now: Instant, update: &Update) {
        let anycast = update.answered.home_address;
        let wanted = update.lifetime.min(self.config.max_lifetime);
        let Some((granted, status)) = self.prefixes.grant(now, &anycast, wanted) else {
            return self.reject(
                update,
                Status::NOT_HOME_SUBNET,
                update.sequence,
                "the home prefix is no longer valid",
                "RFC 3775 10.3.1",
            );
        };
        let binding = Binding {
            home_address: anycast,
            own_address: update.answered.own,
            care_of: update.care_of,
            sequence: update.sequence,
            flags: update.flags,
            lifetime: granted,
            expires: now + granted.duration(),
            owner: update.owner(),
        };
        if let Some(joining) = &update.joining {
            return self.accept_member(now, update, joining, binding, status);
        }
        let link_local = self.link_local_wanted(now, binding.flags, &binding.home_address);
        let key = binding.key();
        let Binding { own_address: agent, care_of, sequence, lifetime, .. } = binding;
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
        self.acknowledge(update, status, sequence, lifetime);
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
    pub(super) fn deregister(&mut self, now: Instant, update: &Update) {
        let anycast = update.answered.home_address;
        let waiting = self.waiting_for(update).map(Update::owner);
        let held = self.cache.get(&(anycast, update.answered.own)).map(|binding| binding.owner);
        if waiting.or(held).is_some_and(|owner| owner != update.owner()) {
            return self.refuse_other_owner(update);
        }
        self.forget_waiting(update);
        if let Some(joining) = &update.joining
            && self.member_leaves(now, update, joining)
        {
            return;
        }
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
            return self.acknowledge(update, Status::NOT_HOME_AGENT, update.sequence, Lifetime::ZERO);
        };
        self.counters.count("binding-update.deregistered");
        // Before the acknowledgement: a responder at home must be reached as itself (10.3.2).
        self.withdraw(&binding);
        self.acknowledge(update, Status::ACCEPTED, update.sequence, Lifetime::ZERO);
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

    fn refuse_other_owner(&mut self, update: &Update) {
        self.reject(
            update,
            Status::ADMINISTRATIVELY_PROHIBITED,
            update.sequence,
            "the binding is another member's",
            "docs/membership.md",
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
            Status::MCOA_MALFORMED => "binding-update.refused.164",
            Status::MCOA_BULK_PROHIBITED => "binding-update.refused.168",
            Status::MCOA_HOME_AND_FOREIGN_PROHIBITED => "binding-update.refused.169",
            _ => "binding-update.refused",
        });
        self.acknowledge(update, status, sequence, update.lifetime);
        let report = Report::info("binding-update-refused")
            .anycast(update.answered.home_address)
            .care_of(update.care_of)
            .peer(update.answered.source)
            .sequence(update.sequence)
            .status(status.0);
        self.report(report.because(reason, clause));
    }

    pub(super) fn acknowledge(&mut self, update: &Update, status: Status, sequence: u16, lifetime: Lifetime) {
        self.counters.count("binding-acknowledgement.sent");
        let granted = status.is_accepted() && lifetime != Lifetime::ZERO;
        let advice = self.refresh_advice.filter(|advice| granted && *advice < lifetime);
        let mut options = self.membership_options(update);
        options.extend(advice.map(MobilityOption::BindingRefreshAdvice));
        let packet = self.acknowledgement(update.answered, status, sequence, lifetime, options);
        self.actions.extend(packet.map(Action::Send));
    }
}
