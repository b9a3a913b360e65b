//! A responder and its initiators (RFC 3775 11.6, 11.7.2; thesis 4.2.3): whom route optimisation is offered to, and
//! what the machine of an initiator asks for carried out. Called by the responder.

use std::net::Ipv6Addr;

use super::correspondent::{Correspondent, Step};
use super::home::HomeStay;
use super::{Ar, CorrespondentKey, MAX_CORRESPONDENTS, ReverseTunnelEnd};
use crate::protocol::action::{Action, Rule, RuleKey, RuleKind};
use crate::protocol::clock::Instant;
use crate::protocol::input::{is_routable_unicast, mobility_packet};
use crate::protocol::limits::HOP_LIMIT;
use crate::protocol::pace::Pace;
use crate::protocol::random::Random;
use crate::protocol::report::Report;
use crate::wire::PacketBuffer;
use crate::wire::mobility::{Message, TestInit};
use crate::wire::tunnel::encapsulate;

impl Ar {
    pub(super) fn offer_route_optimisation(&mut self, now: Instant, anycast: Ipv6Addr, peer: Ipv6Addr) {
        let Some(registration) = self.registrations.get(&anycast) else { return };
        if !self.policy.allows(&peer, self.config.route_optimisation)
            || !registration.is_bound()
            || registration.leaving
            || self.shutdown_deadline.is_some()
            || self.is_agent(anycast, peer)
            || peer == self.config.care_of
            || !is_routable_unicast(&peer)
        {
            return;
        }
        let key = (anycast, peer);
        if !self.correspondents.contains_key(&key) {
            if !self.offers.take(now) {
                return self.counters.count("route-optimisation.too-many-initiators");
            }
            self.make_room();
            let correspondent = Correspondent::new(now, peer, self.random.number16());
            let correspondent = correspondent.acknowledged_if(self.policy.acknowledged_optimisation);
            self.correspondents.insert(key, correspondent);
        }
        self.step_correspondent(now, key, |correspondent, random, pace| {
            correspondent.tunnelled(now, random, pace)
        });
    }

    /// Forgets one initiator when there are too many: one that is not optimised if there is such a one, so that
    /// forged sources do not push out what works, and of those the one idle longest.
    pub(super) fn make_room(&mut self) {
        if self.correspondents.len() < MAX_CORRESPONDENTS {
            return;
        }
        let idlest = self.correspondents.iter().min_by_key(|(_, c)| (c.is_optimised(), c.used));
        if let Some(key) = idlest.map(|(key, _)| *key) {
            self.forget(key);
        }
    }

    /// Runs one step of an initiator's machine and carries out what it asks for.
    pub(super) fn step_correspondent(
        &mut self,
        now: Instant,
        key: (Ipv6Addr, Ipv6Addr),
        step: impl FnOnce(&mut Correspondent, &mut dyn Random, &mut Pace) -> Vec<Step>,
    ) {
        let Some(correspondent) = self.correspondents.get_mut(&key) else { return };
        let before = correspondent.deadline();
        let steps = step(correspondent, self.random.as_mut(), &mut self.pace);
        self.carry_out(now, key, steps);
        let after = self.correspondents.get(&key).and_then(Correspondent::deadline);
        if before != after {
            self.deadlines.extend(after.map(|at| (at, key)));
            if let Some(at) = before {
                self.deadlines.remove(&(at, key));
            }
        }
    }

    pub(super) fn carry_out(&mut self, now: Instant, key: CorrespondentKey, steps: Vec<Step>) {
        let (anycast, peer) = key;
        let settled = self.home.get(&anycast).is_some_and(HomeStay::is_settled);
        let care_of = if settled { anycast } else { self.config.care_of };
        for step in steps {
            match step {
                Step::HomeTest { cookie } => {
                    let message =
                        Message::HomeTestInit(TestInit { reserved: 0, cookie, options: Vec::new() });
                    self.counters.count("home-test-init.sent");
                    let packet = mobility_packet(&anycast, &peer, message);
                    if settled {
                        self.actions.push_back(Action::Send(packet));
                    } else {
                        self.send_reverse_tunnelled(anycast, packet);
                    }
                }
                Step::CareOfTest { cookie } => {
                    let message =
                        Message::CareOfTestInit(TestInit { reserved: 0, cookie, options: Vec::new() });
                    self.counters.count("care-of-test-init.sent");
                    self.actions.push_back(Action::Send(mobility_packet(&care_of, &peer, message)));
                }
                Step::Update { update } => {
                    self.counters.count("binding-update.sent-to-initiator");
                    let remaining = self.registrations.get(&anycast).and_then(|r| r.remaining(now));
                    let lifetime = update.lifetime(remaining);
                    let packet = update.packet(&care_of, &peer, &anycast, lifetime);
                    self.actions.push_back(Action::Send(packet));
                    if let Some(correspondent) = self.correspondents.get_mut(&key) {
                        correspondent.sent(now, lifetime);
                    }
                }
                Step::Optimised => {
                    let rule = Rule::HomeAddressOut { anycast, initiator: peer, care_of };
                    self.actions.push_back(Action::InstallRule(rule));
                    self.report(Report::info("route-optimised").anycast(anycast).care_of(care_of).peer(peer));
                }
                Step::Plain { reason, clause } => {
                    self.remove_optimisation(key);
                    let report = Report::info("initiator-plain").anycast(anycast).peer(peer);
                    self.report(report.because(reason, clause));
                }
                Step::Tunnel { reason, clause } => {
                    self.remove_optimisation(key);
                    let report = Report::info("route-optimisation-ended").anycast(anycast).peer(peer);
                    self.report(report.because(reason, clause));
                }
                Step::Forget => self.forget(key),
            }
        }
    }

    pub(super) fn forget(&mut self, key: CorrespondentKey) {
        self.remove_optimisation(key);
        if let Some(at) = self.correspondents.remove(&key).and_then(|correspondent| correspondent.deadline())
        {
            self.deadlines.remove(&(at, key));
        }
    }

    pub(super) fn remove_optimisation(&mut self, (anycast, peer): CorrespondentKey) {
        let rule = RuleKey::between(RuleKind::HomeAddressOut, anycast, peer);
        self.actions.push_back(Action::RemoveRule(rule));
    }

    pub(super) fn send_reverse_tunnelled(&mut self, anycast: Ipv6Addr, packet: Vec<u8>) {
        let Some(agent) = self.registrations.get(&anycast).and_then(|registration| registration.agent) else {
            return;
        };
        let end = match self.config.reverse_tunnel_end {
            ReverseTunnelEnd::Agent => agent,
            ReverseTunnelEnd::Anycast => anycast,
        };
        let mut packet = PacketBuffer::new(&packet);
        encapsulate(&mut packet, &self.config.care_of, &end, HOP_LIMIT);
        self.actions.push_back(Action::Send(packet.as_slice().to_vec()));
    }
}
