//! Several agents for one anycast address (thesis 4.3.3): beside the home agent a responder registers with the midway
//! agents that its configuration and the home agent name, with each for itself. What they tunnel to it is taken; what
//! it answers goes through the home agent. Called by the responder.

use std::net::Ipv6Addr;

use super::registration::{Outcome, Registration};
use super::{AnycastConfig, Ar};
use crate::protocol::action::{Action, Rule, RuleKey, RuleKind};
use crate::protocol::clock::Instant;
use crate::protocol::input::is_routable_unicast;
use crate::protocol::pace::Pace;
use crate::protocol::random::Random;
use crate::protocol::report::Report;
use crate::wire::mobility::Grant;

/// Anycast address and midway agent.
pub type MidwayKey = (Ipv6Addr, Ipv6Addr);

impl Ar {
    /// Runs one step of a registration with a midway agent and carries out what it asks for.
    pub(super) fn step_midway(
        &mut self,
        now: Instant,
        key: MidwayKey,
        step: impl FnOnce(&mut Registration, &mut dyn Random, &mut Pace) -> Outcome,
    ) {
        let Some(registration) = self.midway.get_mut(&key) else { return };
        let outcome = step(registration, self.random.as_mut(), &mut self.pace);
        let (anycast, agent) = key;
        let care_of = self.config.care_of;
        let report = |report: Report| report.anycast(anycast).care_of(care_of).peer(agent);
        match outcome {
            // Both are the home agent's alone.
            Outcome::Nothing | Outcome::Discover { .. } | Outcome::Home { .. } => {}
            Outcome::Update { sequence, lifetime, offering, .. } => {
                self.send_home_update(now, key, sequence, lifetime, offering);
            }
            Outcome::Bound { sequence, lifetime, first, advanced, .. } => {
                let before = registration.bound_care_of.replace(care_of);
                let renewed = first || before != Some(care_of);
                if renewed {
                    self.linger.retain(|left| !left.is_of(anycast, Some(agent)));
                    self.actions.push_back(Action::InstallRule(Rule::MidwayTunnelIn {
                        anycast,
                        care_of,
                        agent,
                    }));
                    self.detour(anycast);
                }
                let event = if renewed { Report::info("registered") } else { Report::debug("refreshed") };
                self.report(report(event).sequence(sequence).lifetime(lifetime.seconds()));
                self.report_model(anycast, agent, advanced);
                if let Some(former) = before.filter(|before| *before != care_of) {
                    self.leave_former(now, key, former, sequence);
                }
            }
            Outcome::Lost { status, reason, clause, .. } => {
                self.forsake(key);
                let mut lost = report(Report::warning("registration-lost"));
                lost.status = status.map(|status| status.0);
                self.report(lost.because(reason, clause));
            }
            Outcome::Ended { reason, .. } => {
                let member = registration.is_member();
                self.report(report(Report::info("deregistered")).because(reason, "RFC 3775 11.7.1"));
                self.after_answers(now, anycast, Some(agent), member);
                if !self.names_midway(key) {
                    self.midway.remove(&key);
                }
            }
        }
    }

    /// What a midway agent tunnels is taken no longer.
    pub(super) fn forsake(&mut self, (anycast, agent): MidwayKey) {
        let rule = RuleKey::between(RuleKind::MidwayTunnelIn, anycast, agent);
        self.actions.push_back(Action::RemoveRule(rule));
        self.detour(anycast);
    }

    /// Without the home agent's tunnel, answers go through the first midway agent that would take them: not the way
    /// that the home agent's operator knows, but the only one left.
    pub(super) fn detour(&mut self, anycast: Ipv6Addr) {
        let home = self.registrations.get(&anycast);
        if home.is_some_and(|home| home.bound_care_of.is_some())
            || self.linger.iter().any(|left| left.is_of(anycast, None))
        {
            return;
        }
        let care_of = self.config.care_of;
        let left = self.midway_of(anycast).into_iter().find(|key| {
            self.midway.get(key).is_some_and(|registration| registration.bound_care_of.is_some())
        });
        self.actions.push_back(match left {
            Some((_, agent)) => Action::InstallRule(Rule::ReverseTunnelOut { anycast, care_of, agent }),
            None => Action::RemoveRule(RuleKey::of(RuleKind::ReverseTunnelOut, anycast)),
        });
    }

    /// The registrations with midway agents for `anycast`.
    pub(super) fn midway_of(&self, anycast: Ipv6Addr) -> Vec<MidwayKey> {
        let all = (anycast, Ipv6Addr::UNSPECIFIED)..=(anycast, Ipv6Addr::from(u128::MAX));
        self.midway.range(all).map(|(key, _)| *key).collect()
    }

    /// True when `peer` is an agent of `anycast`, whose packets are probes and not a source's.
    pub(super) fn is_agent(&self, anycast: Ipv6Addr, peer: Ipv6Addr) -> bool {
        let home = self.registrations.get(&anycast).and_then(|registration| registration.agent);
        home == Some(peer) || self.midway.contains_key(&(anycast, peer))
    }

    /// True when configuration or home agent name this midway agent.
    pub(super) fn names_midway(&self, (anycast, agent): MidwayKey) -> bool {
        self.services.get(&anycast).is_some_and(|service| {
            service.config.midway_agents.contains(&agent) || service.named.contains(&agent)
        })
    }

    /// The home agent named these midway agents (docs/advanced-wire.md): new ones are registered with, and those that
    /// are named no longer are left.
    pub(super) fn learn_agents(&mut self, now: Instant, anycast: Ipv6Addr, agents: &[Ipv6Addr]) {
        let home = self.registrations.get(&anycast).and_then(|registration| registration.agent);
        let care_of = self.config.care_of;
        let usable = |agent: &&Ipv6Addr| {
            is_routable_unicast(agent)
                && Some(**agent) != home
                && **agent != care_of
                && !self.registrations.contains_key(*agent)
        };
        let named: Vec<_> = agents.iter().filter(usable).take(Grant::MOST_AGENTS).copied().collect();
        let Some(service) = self.services.get_mut(&anycast) else { return };
        if service.named == named {
            return;
        }
        service.named = named;
        for key in self.midway_of(anycast) {
            if !self.names_midway(key) {
                self.step_midway(now, key, |registration, _, pace| registration.deregister(now, pace));
            }
        }
        self.enter_midway(now, anycast);
    }

    /// Registers with every midway agent that there is no registration with yet.
    pub(super) fn enter_midway(&mut self, now: Instant, anycast: Ipv6Addr) {
        let (Some(service), Some(home)) = (self.services.get(&anycast), self.registrations.get(&anycast))
        else {
            return;
        };
        let named = service.config.midway_agents.iter().chain(&service.named);
        let missing: Vec<_> = named.filter(|agent| home.agent != Some(**agent)).copied().collect();
        let config = home.config.clone();
        for agent in missing {
            let key = (anycast, agent);
            if !self.midway.contains_key(&key) {
                let config = AnycastConfig { agent: Some(agent), ..config.clone() };
                let first = self.random.number16();
                let mut registration = Registration::new(config, first).advanced_if(true);
                registration.refresh_percent = self.policy.refresh_percent;
                self.midway.insert(key, registration);
            }
            if self.midway.get(&key).is_some_and(Registration::is_idle) {
                self.step_midway(now, key, |registration, random, pace| {
                    registration.register(now, random, pace)
                });
            }
        }
    }
}
