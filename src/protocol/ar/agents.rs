//! A responder and its agents (RFC 3775 11.4.1, 11.7.1, 11.7.3): carries out what the machine of a registration asks
//! for, and leaves in order, initiators first. Called by the responder.

use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;

use super::home::HomeStay;
use super::registration::{Outcome, Registration};
use super::service::Service;
use super::update::{home_update, update_packet};
use super::{Ar, CorrespondentKey, ReverseTunnelEnd};
use crate::protocol::action::{Action, Rule, RuleKey, RuleKind};
use crate::protocol::auth::membership::{Acknowledged, Judgement};
use crate::protocol::clock::Instant;
use crate::protocol::home_link::{discovery_request, home_agents_anycast};
use crate::protocol::input::Refusal;
use crate::protocol::pace::Pace;
use crate::protocol::random::Random;
use crate::protocol::report::Report;
use crate::wire::chain::Packet;
use crate::wire::mobility::{Lifetime, MobilityHeader, Status};

/// How long a responder that left still answers what had been sent on to it: longer than a packet takes from the agent
/// to it, and short enough for an end that nobody waits for.
const LINGER: Duration = Duration::from_millis(300);

/// A registration that has ended, with the home agent or with a midway agent, and until when its tunnel is still taken
/// in.
#[derive(Clone, Copy, Debug)]
pub struct Lingering {
    pub anycast: Ipv6Addr,
    pub midway: Option<Ipv6Addr>,
    pub until: Instant,
}

impl Lingering {
    /// True when it is the registration with this midway agent, or with the home agent.
    pub fn is_of(&self, anycast: Ipv6Addr, midway: Option<Ipv6Addr>) -> bool {
        self.anycast == anycast && self.midway == midway
    }
}

impl Ar {
    /// Runs one step of a registration and carries out what it asks for.
    pub(super) fn step_registration(
        &mut self,
        now: Instant,
        anycast: Ipv6Addr,
        step: impl FnOnce(&mut Registration, &mut dyn Random, &mut Pace) -> Outcome,
    ) {
        let Some(registration) = self.registrations.get_mut(&anycast) else { return };
        let outcome = step(registration, self.random.as_mut(), &mut self.pace);
        let care_of = self.config.care_of;
        match outcome {
            Outcome::Nothing => {}
            Outcome::Discover { identifier } => {
                if let Ok(prefix) = Ipv6Net::new(anycast, registration.config.home_prefix_length) {
                    self.counters.count("dhaad.asked");
                    let request = discovery_request(&care_of, &home_agents_anycast(&prefix), identifier);
                    self.actions.push_back(Action::Send(request));
                }
            }
            Outcome::Update { agent, sequence, lifetime, offering } => {
                self.send_home_update(now, (anycast, agent), sequence, lifetime, offering);
            }
            Outcome::Bound { agent, sequence, lifetime, first, advanced } => {
                let end = match self.config.reverse_tunnel_end {
                    ReverseTunnelEnd::Agent => agent,
                    ReverseTunnelEnd::Anycast => anycast,
                };
                let before = self
                    .registrations
                    .get_mut(&anycast)
                    .and_then(|registration| registration.bound_care_of.replace(care_of));
                let moved = before.is_some_and(|before| before != care_of);
                self.linger.retain(|left| !left.is_of(anycast, None));
                for rule in [
                    Rule::ReverseTunnelIn { anycast, care_of, agent },
                    Rule::RoutingHeaderIn { anycast, care_of },
                    Rule::ReverseTunnelOut { anycast, care_of, agent: end },
                ] {
                    if first || moved {
                        self.actions.push_back(Action::InstallRule(rule));
                    }
                }
                let report =
                    if first || moved { Report::info("registered") } else { Report::debug("refreshed") };
                let report = report.anycast(anycast).care_of(care_of).peer(agent);
                self.report(report.sequence(sequence).lifetime(lifetime.seconds()));
                self.report_model(anycast, agent, advanced);
                if let Some(former) = before.filter(|_| moved) {
                    self.leave_former(now, (anycast, agent), former, sequence);
                }
                self.renew_correspondents(now, anycast);
            }
            Outcome::Home { agent } => {
                self.remove_rules(anycast);
                self.stop_prefix(anycast);
                let mut report = Report::info("deregistered").anycast(anycast);
                report.peer = agent;
                self.report(report.because("the responder is at home", "RFC 3775 11.5.4"));
                self.settle(now, anycast);
            }
            Outcome::Lost { agent, status, reason, clause } => {
                self.abandon_correspondents(now, anycast);
                self.remove_rules(anycast);
                self.stop_prefix(anycast);
                let mut report = Report::warning("registration-lost").anycast(anycast).care_of(care_of);
                report.peer = agent;
                report.status = status.map(|status| status.0);
                self.report(report.because(reason, clause));
            }
            Outcome::Ended { agent, reason } => {
                let member = registration.is_member();
                self.abandon_correspondents(now, anycast);
                self.after_answers(now, anycast, None, member);
                self.stop_prefix(anycast);
                if self.home.get(&anycast).is_some_and(HomeStay::expects_acknowledgement) {
                    // Another responder holds the anycast address: it stays the agent's on the home link.
                    self.leave_home(anycast);
                }
                let mut report = Report::info("deregistered").anycast(anycast).care_of(care_of);
                report.peer = agent;
                self.report(report.because(reason, "RFC 3775 11.7.1"));
            }
        }
    }

    /// Without a home registration no initiator may be bound either (RFC 3775 11.7.2), and no rule may stay.
    pub(super) fn abandon_correspondents(&mut self, now: Instant, anycast: Ipv6Addr) {
        for key in self.correspondents_of(anycast) {
            self.step_correspondent(now, key, |correspondent, _, pace| correspondent.abandon(now, pace));
        }
    }

    pub(super) fn correspondents_of(&self, anycast: Ipv6Addr) -> Vec<CorrespondentKey> {
        let all = (anycast, Ipv6Addr::UNSPECIFIED)..=(anycast, Ipv6Addr::from(u128::MAX));
        self.correspondents.range(all).map(|(key, _)| *key).collect()
    }

    pub(super) fn remove_rules(&mut self, anycast: Ipv6Addr) {
        for kind in [RuleKind::ReverseTunnelOut, RuleKind::ReverseTunnelIn, RuleKind::RoutingHeaderIn] {
            self.actions.push_back(Action::RemoveRule(RuleKey::of(kind, anycast)));
        }
        if !self.midway_of(anycast).is_empty() {
            self.detour(anycast);
        }
    }

    /// Sends the Binding Update of a registration with the home agent or a midway agent.
    pub(super) fn send_home_update(
        &mut self,
        now: Instant,
        (anycast, agent): (Ipv6Addr, Ipv6Addr),
        sequence: u16,
        lifetime: Lifetime,
        offering: bool,
    ) {
        self.counters.count("binding-update.sent");
        let lifetime = self.within_prefix(now, anycast, lifetime);
        let homeward = self.home.get(&anycast).is_some_and(HomeStay::expects_acknowledgement);
        let care_of = if homeward { anycast } else { self.config.care_of };
        let offer = self.services.get(&anycast).filter(|_| offering).map(Service::offer);
        let random = self.random.as_mut();
        let identity = self
            .membership
            .as_mut()
            .map(|membership| membership.options(now, random, agent, anycast, care_of))
            .into_iter()
            .flatten();
        let mut header = home_update(&care_of, sequence, lifetime, offer, identity);
        if let Some(membership) = &self.membership {
            membership.prove(&mut header, &care_of, &anycast);
        }
        self.actions.push_back(Action::Send(update_packet(&care_of, &agent, &anycast, &header)));
        let report = Report::debug("binding-update-sent").anycast(anycast).care_of(care_of).peer(agent);
        self.report(report.sequence(sequence).lifetime(lifetime.seconds()));
    }

    /// Whether an agent's acknowledgement may be acted on; where agents know their members by keys, it must be proven
    /// (RFC 4285 5.1, 6).
    pub(super) fn is_authentic(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        header: &MobilityHeader,
        status: Status,
    ) -> bool {
        let Some(membership) = &mut self.membership else { return true };
        let (agent, anycast) = (packet.header.source, packet.final_destination());
        let options = header.message.options();
        let answer = Acknowledged { agent, home_address: anycast, status, options, bytes: packet.payload() };
        match membership.judge(now, &answer) {
            Judgement::Proven => return true,
            Judgement::Worthless { counter, reason, clause } => {
                self.refuse(packet, Refusal::silent(counter, reason, clause));
            }
            Judgement::KeyDenied => {
                self.counters.count("binding-acknowledgement.key-denied");
                let reason = "the agent says that the authenticator is wrong: compare key and SPI";
                let report = Report::warning("key-denied").anycast(anycast).peer(agent).status(status.0);
                self.report(report.because(reason, "RFC 4285 5.3"));
            }
            Judgement::ClockSet => {
                self.counters.count("binding-acknowledgement.clock-set");
                let reason = "the agent's clock shows another time; the update is sent again with that";
                let report = Report::info("clock-set").anycast(anycast).peer(agent).status(status.0);
                self.report(report.because(reason, "RFC 4285 6"));
                match self.midway.contains_key(&(anycast, agent)) {
                    true => self.step_midway(now, (anycast, agent), |registration, _, pace| {
                        registration.send_again(now, pace)
                    }),
                    false => self.step_registration(now, anycast, |registration, _, pace| {
                        registration.send_again(now, pace)
                    }),
                }
            }
        }
        false
    }

    /// Tells the operator which model an agent's answer brought into force, when that is another one.
    pub(super) fn report_model(&mut self, anycast: Ipv6Addr, agent: Ipv6Addr, advanced: Option<bool>) {
        let report = match advanced {
            None => return,
            Some(true) => Report::info("advanced-model-granted"),
            Some(false) => {
                let reason = "the agent does not know the advanced model, so the basic one rules";
                Report::info("advanced-model-not-granted").because(reason, "thesis 4.1")
            }
        };
        self.report(report.anycast(anycast).peer(agent));
    }

    /// True while any agent holds a binding of `anycast`.
    pub(super) fn is_registered(&self, anycast: Ipv6Addr) -> bool {
        let home = self.registrations.get(&anycast).into_iter();
        let midway = self.midway_of(anycast).into_iter().filter_map(|key| self.midway.get(&key));
        home.chain(midway).any(Registration::is_bound)
    }

    /// Registers with every agent of `anycast`, or refreshes at once.
    pub(super) fn enter(&mut self, now: Instant, anycast: Ipv6Addr) {
        self.leave_home(anycast);
        self.step_registration(now, anycast, |registration, random, pace| {
            registration.register(now, random, pace)
        });
        for key in self.midway_of(anycast) {
            if self.names_midway(key) {
                self.step_midway(now, key, |registration, random, pace| {
                    registration.register(now, random, pace)
                });
            }
        }
        self.enter_midway(now, anycast);
    }

    /// Tells the agents that granted the advanced model what the responder says of itself now.
    pub(super) fn signal(&mut self, now: Instant, anycast: Ipv6Addr) {
        self.step_registration(now, anycast, |registration, _, pace| registration.signal(now, pace));
        for key in self.midway_of(anycast) {
            self.step_midway(now, key, |registration, _, pace| registration.signal(now, pace));
        }
    }

    /// The binding at an agent is gone: what it had sent on before is still taken in and answered for a moment, where
    /// it was one of several and the agent lets it.
    pub(super) fn after_answers(
        &mut self,
        now: Instant,
        anycast: Ipv6Addr,
        midway: Option<Ipv6Addr>,
        member: bool,
    ) {
        let ended = Lingering { anycast, midway, until: now + LINGER };
        if member && self.shutdown_deadline.is_none_or(|deadline| deadline > now) {
            self.linger.push(ended);
        } else {
            self.stop_answering(ended);
        }
    }

    /// Ends the taking in after [`Ar::after_answers`] when that is due, and at the end of a shutdown.
    pub(super) fn linger_timeouts(&mut self, now: Instant) {
        let late = self.shutdown_deadline.is_some_and(|deadline| deadline <= now);
        let over = |left: &Lingering| late || left.until <= now;
        let (over, left): (Vec<_>, Vec<_>) = self.linger.drain(..).partition(over);
        self.linger = left;
        for ended in over {
            self.stop_answering(ended);
        }
    }

    fn stop_answering(&mut self, ended: Lingering) {
        match ended.midway {
            None => self.remove_rules(ended.anycast),
            Some(agent) => self.forsake((ended.anycast, agent)),
        }
    }

    /// Ends the service for `anycast`: initiators first, because their home test needs the tunnel.
    pub(super) fn leave(&mut self, now: Instant, anycast: Ipv6Addr) {
        for key in self.correspondents_of(anycast) {
            self.step_correspondent(now, key, |correspondent, random, pace| {
                correspondent.delete(now, random, pace)
            });
        }
        if let Some(registration) = self.registrations.get_mut(&anycast) {
            registration.leaving = true;
        }
        self.continue_leaving(now);
    }

    /// After initiators are done with, the agents; after the deadline of a shutdown, without waiting any longer.
    pub(super) fn continue_leaving(&mut self, now: Instant) {
        let late = self.shutdown_deadline.is_some_and(|deadline| deadline <= now);
        if !late && !self.registrations.values().any(|registration| registration.leaving) {
            return;
        }
        for anycast in self.selected(None) {
            if late {
                self.abandon_correspondents(now, anycast);
            }
            let leaving = self.registrations.get(&anycast).is_some_and(|registration| registration.leaving);
            if leaving && self.correspondents_of(anycast).is_empty() {
                self.step_registration(now, anycast, |registration, _, pace| {
                    registration.deregister(now, pace)
                });
                for key in self.midway_of(anycast) {
                    self.step_midway(now, key, |registration, _, pace| registration.deregister(now, pace));
                }
            }
            if late {
                self.step_registration(now, anycast, |registration, _, _| registration.abandon());
                for key in self.midway_of(anycast) {
                    self.step_midway(now, key, |registration, _, _| registration.abandon());
                }
            }
        }
    }
}
