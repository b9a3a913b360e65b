//! The anycast responder (thesis 4.2; Mobile IPv6's mobile node, RFC 3775 section 11): away from home it
//! registers its care-of address for one or more anycast addresses, answers through the reverse tunnel, and offers
//! each initiator route optimisation. Driven by `daemon`; `registration`, `correspondent` and `prefixes` hold the
//! machines, `movement` and `home` what changes when the node is somewhere else.

mod correspondent;
mod home;
mod movement;
mod policy;
mod prefixes;
mod registration;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;
use serde::Serialize;

use super::action::{Action, Observation, Rule, RuleKey, RuleKind};
use super::clock::Instant;
use super::counters::Counters;
use super::home_link::{discovery_request, home_agents_anycast};
use super::input::{self, AnswerLimits, Refusal, mobility_packet};
use super::limits::HOP_LIMIT;
use super::pace::Pace;
use super::random::Random;
use super::rate_limit::TokenBucket;
use super::report::Report;
use crate::wire::PacketBuffer;
use crate::wire::chain::Packet;
use crate::wire::destination_options::home_address_header;
use crate::wire::icmpv6::{ErrorReason, Icmpv6, Icmpv6Message, error_packet, kind};
use crate::wire::ipv6::{self, Ipv6Header, next_header};
use crate::wire::mobility::{
    BindingAcknowledgement, BindingError, BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption,
    Status, TestInit, UpdateFlags, align,
};
use crate::wire::rewrite::strip_home_address;
use crate::wire::tunnel::{encapsulate, relay_error};
use correspondent::{Correspondent, InitiatorAnswer, Step};
use home::HomeStay;
use movement::FormerCareOf;
use prefixes::{Advertised, HomePrefix};
use registration::{Outcome, Registration};

pub use correspondent::CorrespondentView;
pub use policy::{ArPolicy, PeerPolicy};
pub use registration::RegistrationView;

/// Correspondents remembered at most, per anycast address; the one idle longest is forgotten first.
const MAX_CORRESPONDENTS: usize = 16_384;
/// A peer whose binding carried no packet for this long is not renewed.
const IDLE: Duration = Duration::from_secs(60);
/// Route optimisation begins with at most this many new initiators at once, and one more every
/// [`OFFER_INTERVAL`]: whoever forges sources must not make the responder test the whole Internet.
const OFFER_BURST: u32 = 64;
/// See [`OFFER_BURST`].
const OFFER_INTERVAL: Duration = Duration::from_millis(50);
/// How long a clean end waits for answers before it gives up.
const SHUTDOWN_WAIT: Duration = Duration::from_millis(2500);

/// One anycast address to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnycastConfig {
    pub anycast: Ipv6Addr,
    /// The agent to register with; `None` asks for one (dynamic home agent address discovery, RFC 3775 11.4.1).
    pub agent: Option<Ipv6Addr>,
    /// Length of the home prefix, for discovery.
    pub home_prefix_length: u8,
    /// The lifetime asked for, in units of 4 seconds.
    pub lifetime: Lifetime,
    /// First sequence number; random when absent (RFC 3775 11.7.2).
    pub initial_sequence: Option<u16>,
}

/// Where reverse-tunnelled packets are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReverseTunnelEnd {
    /// The agent's own address (RFC 3775 10.4.5; what KAME and UMIP do).
    #[default]
    Agent,
    /// The anycast address itself (thesis 4.2.1).
    Anycast,
}

/// What the responder is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArConfig {
    /// The peer unicast address.
    pub care_of: Ipv6Addr,
    pub anycast: Vec<AnycastConfig>,
    /// Offer initiators route optimisation.
    pub route_optimisation: bool,
    pub reverse_tunnel_end: ReverseTunnelEnd,
}

/// What an operator tells a running responder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArCommand {
    /// Register now, for one anycast address or all.
    Register(Option<Ipv6Addr>),
    /// De-register, for one anycast address or all, and stay running.
    Deregister(Option<Ipv6Addr>),
    /// Forget which initiators were found plain, one or all, so that route optimisation is offered again.
    FlushPeers(Option<Ipv6Addr>),
    /// The care-of address is this one from now on (RFC 3775 11.5.3).
    Move(Ipv6Addr),
    /// The home link of this anycast address is the node's link, where its own link-layer address is this one
    /// (RFC 3775 11.5.4).
    ReturnHome { anycast: Ipv6Addr, link_address: [u8; 6] },
    /// De-register everywhere and end; [`Ar::is_finished`] tells when.
    Shutdown,
}

/// Anycast address and initiator.
type CorrespondentKey = (Ipv6Addr, Ipv6Addr);

/// The anycast responder.
pub struct Ar {
    config: ArConfig,
    random: Box<dyn Random + Send>,
    registrations: BTreeMap<Ipv6Addr, Registration>,
    /// Keyed by anycast address and initiator.
    correspondents: BTreeMap<CorrespondentKey, Correspondent>,
    /// The deadlines of `correspondents`, in order.
    deadlines: BTreeSet<(Instant, CorrespondentKey)>,
    pace: Pace,
    offers: TokenBucket,
    limits: AnswerLimits,
    counters: Counters,
    actions: VecDeque<Action>,
    shutdown_deadline: Option<Instant>,
    policy: ArPolicy,
    former: FormerCareOf,
    /// The anycast addresses that are on their home link.
    home: BTreeMap<Ipv6Addr, HomeStay>,
    /// What is known of the home prefixes, by anycast address.
    prefixes: BTreeMap<Ipv6Addr, HomePrefix>,
}

impl Ar {
    /// A responder that starts registering at `now`.
    pub fn new(config: ArConfig, now: Instant, mut random: Box<dyn Random + Send>) -> Self {
        let registrations = config
            .anycast
            .iter()
            .map(|anycast| {
                let first = anycast.initial_sequence.unwrap_or_else(|| random.number16());
                (anycast.anycast, Registration::new(anycast.clone(), first))
            })
            .collect();
        let mut ar = Self {
            config,
            random,
            registrations,
            correspondents: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            pace: Pace::default(),
            offers: TokenBucket::new(OFFER_BURST, OFFER_INTERVAL),
            limits: AnswerLimits::default(),
            counters: Counters::default(),
            actions: VecDeque::new(),
            shutdown_deadline: None,
            policy: ArPolicy::default(),
            former: FormerCareOf::default(),
            home: BTreeMap::new(),
            prefixes: BTreeMap::new(),
        };
        ar.handle_command(now, &ArCommand::Register(None));
        ar
    }

    /// The same responder under this policy.
    pub fn with_policy(mut self, policy: ArPolicy) -> Self {
        for registration in self.registrations.values_mut() {
            registration.set_other_agents(&policy.other_agents);
        }
        self.policy = policy;
        self
    }

    /// A packet that no forwarding rule took, or a copy of an ICMPv6 message. Packets that came through the tunnel
    /// arrive without their outer header.
    pub fn handle_packet(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.counters.count("packet.malformed");
            return;
        };
        self.dispatch(now, &packet);
        // An answer may have been the last thing that a clean end waited for.
        self.continue_leaving(now);
    }

    fn dispatch(&mut self, now: Instant, packet: &Packet<'_>) {
        let final_destination = packet.final_destination();
        let routing_is_mine = packet.routing2.is_none_or(|routing| {
            routing.segments_left == 1
                && self.registrations.contains_key(&routing.address)
                && (packet.header.destination == self.config.care_of || self.came_by_former(now, packet))
        });
        if packet.routing2_malformed || !routing_is_mine {
            // RFC 3775 6.4: a routing header for an address that is not ours ends here, silently.
            return self.counters.count("routing-header.refused");
        }
        if packet.duplicate_home_address {
            let reason = "two home address options";
            return self.refuse(packet, Refusal::silent("home-address.twice", reason, "RFC 3775 6.3"));
        }
        let upper = packet.upper.protocol;
        let prefixes = upper == next_header::ICMPV6 && packet.routing2.is_some();
        if (prefixes && self.handle_prefixes(now, packet))
            || (upper != next_header::MOBILITY && self.take_from_former(now, packet))
        {
            return;
        }
        let at_home = |address| self.home.get(&address).is_some_and(HomeStay::is_settled);
        match upper {
            next_header::MOBILITY => self.handle_mobility(now, packet),
            next_header::ICMPV6 if packet.headers.is_empty() && !at_home(packet.header.source) => {
                self.handle_icmpv6(now, packet);
            }
            // At home the address is used like any other (RFC 3775 11.5.4).
            _ if at_home(packet.header.source) => self.actions.push_back(Action::Send(packet.bytes.to_vec())),
            _ if packet.routing2.is_none() && at_home(final_destination) => {
                self.actions.push_back(Action::Deliver(packet.bytes.to_vec()));
            }
            _ if self.registrations.contains_key(&packet.header.source) => {
                // RFC 3775 11.3.1: the home address is not used before it is bound.
                self.counters.count("packet.before-registration");
            }
            // Bound, the rule takes such packets; unbound, the address is not to be used.
            _ if packet.routing2.is_some() => self.counters.count("packet.before-registration"),
            next_header::IPV6 => {
                self.counters.count("tunnel.refused");
                let inner = Ipv6Header::parse(packet.payload());
                // RFC 3775 11.3.3: only the agent may tunnel to the anycast address. Other tunnels are the host's.
                if !inner.is_ok_and(|inner| self.registrations.contains_key(&inner.destination)) {
                    self.actions.push_back(Action::Deliver(packet.bytes.to_vec()));
                }
            }
            _ if self.registrations.contains_key(&final_destination) => {
                self.counters.count("packet.before-registration");
            }
            _ => self.actions.push_back(Action::Deliver(packet.bytes.to_vec())),
        }
    }

    /// What the data path noticed.
    pub fn handle_observation(&mut self, now: Instant, observation: Observation) {
        match observation {
            Observation::TunnelledPeer { anycast, peer } => self.offer_route_optimisation(now, anycast, peer),
            Observation::InUse(key) => {
                if let Some(correspondent) = self.correspondents.get_mut(&(key.anycast, key.peer)) {
                    correspondent.used = now;
                }
            }
        }
    }

    /// Lets time pass: retransmissions, refreshes, ends of lifetimes.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<_> = self
            .registrations
            .iter()
            .filter(|(_, r)| r.deadline().is_some_and(|at| at <= now))
            .map(|(a, _)| *a)
            .collect();
        for anycast in due {
            self.step_registration(now, anycast, |registration, random, pace| {
                registration.timeout(now, random, pace)
            });
        }
        self.home_timeouts(now);
        self.prefix_timeouts(now);
        let due: Vec<_> =
            self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key).collect();
        for key in due {
            self.step_correspondent(now, key, |correspondent, random, pace| {
                correspondent.timeout(now, random, pace)
            });
        }
        self.continue_leaving(now);
    }

    /// Carries out an operator's command.
    pub fn handle_command(&mut self, now: Instant, command: &ArCommand) {
        match command {
            ArCommand::Register(only) => {
                for anycast in self.selected(*only) {
                    self.leave_home(anycast);
                    self.step_registration(now, anycast, |registration, random, pace| {
                        registration.register(now, random, pace)
                    });
                }
            }
            ArCommand::Deregister(only) => {
                for anycast in self.selected(*only) {
                    self.leave(now, anycast);
                }
            }
            ArCommand::FlushPeers(only) => {
                let chosen =
                    |peer: &Ipv6Addr, c: &Correspondent| c.is_plain() && only.is_none_or(|o| o == *peer);
                let plain: Vec<_> = self
                    .correspondents
                    .iter()
                    .filter(|((_, peer), c)| chosen(peer, c))
                    .map(|(k, _)| *k)
                    .collect();
                for key in plain {
                    self.forget(key);
                }
            }
            ArCommand::Move(care_of) if self.shutdown_deadline.is_none() => self.move_to(now, *care_of),
            ArCommand::ReturnHome { anycast, link_address } if self.shutdown_deadline.is_none() => {
                self.return_home(now, *anycast, *link_address);
            }
            ArCommand::Move(_) | ArCommand::ReturnHome { .. } => {}
            ArCommand::Shutdown => {
                self.shutdown_deadline.get_or_insert(now + SHUTDOWN_WAIT);
                for anycast in self.selected(None) {
                    self.leave(now, anycast);
                }
                self.continue_leaving(now);
            }
        }
    }

    /// The next thing to be done, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` must be called, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let registrations = self.registrations.values().filter_map(|r| Some((r.deadline()?, "registration")));
        let peers = self.deadlines.first().map(|(at, _)| (*at, "route optimisation"));
        let shutdown = self.shutdown_deadline.filter(|_| !self.is_finished()).map(|at| (at, "shutdown"));
        let home = self.home.values().filter_map(|stay| Some((stay.deadline()?, "home link")));
        let prefixes = self.prefixes.values().filter_map(|prefix| Some((prefix.deadline()?, "home prefix")));
        registrations.chain(peers).chain(shutdown).chain(home).chain(prefixes).min()
    }

    /// True when a shutdown has nothing left to wait for.
    pub fn is_finished(&self) -> bool {
        self.shutdown_deadline.is_some()
            && self.registrations.values().all(Registration::is_idle)
            && self.correspondents.is_empty()
    }

    /// The home registrations (RFC 3775 11.1, the part of the binding update list that concerns agents).
    pub fn registrations(&self, now: Instant) -> Vec<RegistrationView> {
        self.registrations.values().map(|registration| registration.view(&self.config.care_of, now)).collect()
    }

    /// The initiators (the rest of the binding update list).
    pub fn correspondents(&self, now: Instant) -> Vec<CorrespondentView> {
        self.correspondents.iter().map(|((anycast, peer), c)| c.view(*anycast, *peer, now)).collect()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn selected(&self, only: Option<Ipv6Addr>) -> Vec<Ipv6Addr> {
        self.registrations.keys().filter(|anycast| only.is_none_or(|o| o == **anycast)).copied().collect()
    }

    // ---- home registration (RFC 3775 11.4.1, 11.7.1, 11.7.3) ----

    /// Runs one step of a registration and carries out what it asks for.
    fn step_registration(
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
            Outcome::Update { agent, sequence, lifetime } => {
                self.counters.count("binding-update.sent");
                let lifetime = self.within_prefix(now, anycast, lifetime);
                let homeward = self.home.get(&anycast).is_some_and(HomeStay::expects_acknowledgement);
                let care_of = if homeward { anycast } else { care_of };
                self.actions
                    .push_back(Action::Send(home_update(&care_of, &agent, &anycast, sequence, lifetime)));
                let report =
                    Report::debug("binding-update-sent").anycast(anycast).care_of(care_of).peer(agent);
                self.report(report.sequence(sequence).lifetime(lifetime.seconds()));
            }
            Outcome::Bound { agent, sequence, lifetime, first } => {
                let end = match self.config.reverse_tunnel_end {
                    ReverseTunnelEnd::Agent => agent,
                    ReverseTunnelEnd::Anycast => anycast,
                };
                let before = self
                    .registrations
                    .get_mut(&anycast)
                    .and_then(|registration| registration.bound_care_of.replace(care_of));
                let moved = before.is_some_and(|before| before != care_of);
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
                self.abandon_correspondents(now, anycast);
                self.remove_rules(anycast);
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
    fn abandon_correspondents(&mut self, now: Instant, anycast: Ipv6Addr) {
        for key in self.correspondents_of(anycast) {
            self.step_correspondent(now, key, |correspondent, _, pace| correspondent.abandon(now, pace));
        }
    }

    fn correspondents_of(&self, anycast: Ipv6Addr) -> Vec<CorrespondentKey> {
        let all = (anycast, Ipv6Addr::UNSPECIFIED)..=(anycast, Ipv6Addr::from(u128::MAX));
        self.correspondents.range(all).map(|(key, _)| *key).collect()
    }

    fn remove_rules(&mut self, anycast: Ipv6Addr) {
        for kind in [RuleKind::ReverseTunnelOut, RuleKind::ReverseTunnelIn, RuleKind::RoutingHeaderIn] {
            self.actions.push_back(Action::RemoveRule(RuleKey::of(kind, anycast)));
        }
    }

    /// Ends the service for `anycast`: initiators first, because their home test needs the tunnel.
    fn leave(&mut self, now: Instant, anycast: Ipv6Addr) {
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
    fn continue_leaving(&mut self, now: Instant) {
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
            }
            if late {
                self.step_registration(now, anycast, |registration, _, _| registration.abandon());
            }
        }
    }

    // ---- route optimisation (RFC 3775 11.6, 11.7.2) ----

    fn offer_route_optimisation(&mut self, now: Instant, anycast: Ipv6Addr, peer: Ipv6Addr) {
        let Some(registration) = self.registrations.get(&anycast) else { return };
        if !self.policy.allows(&peer, self.config.route_optimisation)
            || !registration.is_bound()
            || registration.leaving
            || self.shutdown_deadline.is_some()
            || registration.agent == Some(peer)
            || peer == self.config.care_of
            || !input::is_routable_unicast(&peer)
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
    fn make_room(&mut self) {
        if self.correspondents.len() < MAX_CORRESPONDENTS {
            return;
        }
        let idlest = self.correspondents.iter().min_by_key(|(_, c)| (c.is_optimised(), c.used));
        if let Some(key) = idlest.map(|(key, _)| *key) {
            self.forget(key);
        }
    }

    /// Runs one step of an initiator's machine and carries out what it asks for.
    fn step_correspondent(
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

    fn carry_out(&mut self, now: Instant, key: CorrespondentKey, steps: Vec<Step>) {
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

    fn forget(&mut self, key: CorrespondentKey) {
        self.remove_optimisation(key);
        if let Some(at) = self.correspondents.remove(&key).and_then(|correspondent| correspondent.deadline())
        {
            self.deadlines.remove(&(at, key));
        }
    }

    fn remove_optimisation(&mut self, (anycast, peer): CorrespondentKey) {
        let rule = RuleKey::between(RuleKind::HomeAddressOut, anycast, peer);
        self.actions.push_back(Action::RemoveRule(rule));
    }

    fn send_reverse_tunnelled(&mut self, anycast: Ipv6Addr, packet: Vec<u8>) {
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

    // ---- home prefixes (RFC 3775 11.4.2, 11.4.3) ----

    fn solicit_prefixes(&mut self, now: Instant, anycast: Ipv6Addr) {
        let prefix = self.prefixes.entry(anycast).or_default();
        if let Some(identifier) = prefix.solicit(now, self.random.as_mut()) {
            self.send_prefix_solicitation(anycast, identifier);
        }
    }

    fn send_prefix_solicitation(&mut self, anycast: Ipv6Addr, identifier: u16) {
        let Some(agent) = self.registrations.get(&anycast).and_then(Registration::bound_at) else { return };
        self.counters.count("mobile-prefix-solicitation.sent");
        let packet = prefixes::solicitation(&self.config.care_of, &agent, &anycast, identifier);
        self.actions.push_back(Action::Send(packet));
    }

    fn prefix_timeouts(&mut self, now: Instant) {
        let random = self.random.as_mut();
        let due: Vec<_> = self
            .prefixes
            .iter_mut()
            .filter_map(|(anycast, prefix)| Some((*anycast, prefix.timeout(now, random)?)))
            .collect();
        for (anycast, identifier) in due {
            self.send_prefix_solicitation(anycast, identifier);
        }
    }

    fn stop_prefix(&mut self, anycast: Ipv6Addr) {
        if let Some(prefix) = self.prefixes.get_mut(&anycast) {
            prefix.stop();
        }
    }

    /// No lifetime is asked for that outlives the home prefix (RFC 3775 11.7.1), except that the shortest one is.
    fn within_prefix(&self, now: Instant, anycast: Ipv6Addr, lifetime: Lifetime) -> Lifetime {
        let Some(valid) = self.prefixes.get(&anycast).and_then(|prefix| prefix.valid_for(now)) else {
            return lifetime;
        };
        let valid = Lifetime::from_seconds(u32::try_from(valid.as_secs()).unwrap_or(u32::MAX));
        lifetime.min(valid.max(Lifetime(1)))
    }

    /// A Mobile Prefix Advertisement (RFC 3775 11.4.3); false when the packet is none.
    fn handle_prefixes(&mut self, now: Instant, packet: &Packet<'_>) -> bool {
        let payload = packet.payload();
        if payload.first() != Some(&kind::MOBILE_PREFIX_ADVERTISEMENT) {
            return false;
        }
        self.counters.count("mobile-prefix-advertisement.received");
        let anycast = packet.final_destination();
        let sum = ipv6::checksum(&packet.header.source, &anycast, next_header::ICMPV6, payload);
        let agent = self.registrations.get(&anycast).and_then(Registration::bound_at);
        let message = Icmpv6::parse(payload).ok().filter(|_| sum == 0).map(|received| received.message);
        let Some(Icmpv6Message::MobilePrefixAdvertisement { identifier, options, .. }) =
            message.filter(|_| agent == Some(packet.header.source))
        else {
            self.counters.count("mobile-prefix-advertisement.refused");
            return true;
        };
        if !self.prefixes.entry(anycast).or_default().is_answer(identifier) {
            // Not asked for: its content is not believed, but a reason to ask.
            self.solicit_prefixes(now, anycast);
            return true;
        }
        for Advertised { prefix, valid, preferred } in prefixes::advertised(&options) {
            if prefix.contains(&anycast) {
                self.learn_prefix(now, anycast, valid, preferred);
            } else if valid > 0 {
                // Which anycast addresses a responder serves is its operator's decision.
                let formed = prefixes::with_same_identifier(&anycast, &prefix);
                let report = Report::info("home-prefix-new").anycast(formed).peer(packet.header.source);
                let reason = "the home link has another prefix; the address would be this one";
                self.report(report.lifetime(valid).because(reason, "RFC 3775 11.4.3"));
            }
        }
        true
    }

    fn learn_prefix(&mut self, now: Instant, anycast: Ipv6Addr, valid: u32, preferred: u32) {
        let known = self.prefixes.entry(anycast).or_default();
        known.learn(now, valid, preferred);
        let left = known.valid_for(now);
        self.report(Report::debug("home-prefix").anycast(anycast).lifetime(valid));
        let Some(left) = left else { return };
        let until = now + left;
        if let Some(registration) = self.registrations.get_mut(&anycast) {
            registration.limit(now, until);
        }
        for key in self.correspondents_of(anycast) {
            self.step_correspondent(now, key, |correspondent, random, pace| {
                correspondent.limit(now, until, random, pace)
            });
        }
    }

    // ---- what arrives ----

    fn handle_mobility(&mut self, now: Instant, packet: &Packet<'_>) {
        let header = match input::receive(now, packet, &mut self.limits) {
            Ok(header) => header,
            Err(refusal) => return self.refuse(packet, refusal),
        };
        let sender = packet.header.source;
        let destination = packet.final_destination();
        if destination != self.config.care_of && !self.registrations.contains_key(&destination) {
            return self.counters.count("mobility.not-for-this-node");
        }
        match &header.message {
            Message::BindingAcknowledgement(acknowledgement) => {
                self.handle_acknowledgement(now, packet, &header, acknowledgement);
            }
            Message::HomeTest(test) if packet.home_address.is_none() && packet.routing2.is_none() => {
                self.counters.count("home-test.received");
                let (cookie, token, index) = (test.cookie, test.token, test.nonce_index);
                self.step_correspondent(now, (destination, sender), |correspondent, random, pace| {
                    correspondent.home_test(now, cookie, token, index, random, pace)
                });
            }
            Message::CareOfTest(test) if packet.home_address.is_none() && packet.routing2.is_none() => {
                self.counters.count("care-of-test.received");
                if destination != self.config.care_of {
                    return;
                }
                // The cookie tells which anycast address the test was for.
                let mut candidates = self.registrations.keys().map(|anycast| (*anycast, sender));
                let waiting = candidates.find(|key| {
                    self.correspondents.get(key).is_some_and(|c| c.expects_care_of(&test.cookie))
                });
                if let Some(key) = waiting {
                    let (cookie, token, index) = (test.cookie, test.token, test.nonce_index);
                    self.step_correspondent(now, key, |correspondent, _, pace| {
                        correspondent.care_of_test(now, cookie, token, index, pace)
                    });
                }
            }
            Message::BindingRefreshRequest(_) => {
                self.counters.count("binding-refresh-request.received");
                let agent = self.registrations.get(&destination).and_then(|registration| registration.agent);
                if agent == Some(sender) {
                    self.step_registration(now, destination, |registration, _, pace| {
                        registration.refresh_requested(now, pace)
                    });
                } else {
                    self.step_correspondent(now, (destination, sender), |correspondent, random, pace| {
                        correspondent.refresh_requested(now, random, pace)
                    });
                }
            }
            Message::BindingError(error) => {
                self.counters.count("binding-error.received");
                let key = (error.home_address, sender);
                match error.status {
                    BindingError::UNKNOWN_BINDING => {
                        self.step_correspondent(now, key, |correspondent, _, _| {
                            correspondent.binding_unknown(now)
                        });
                    }
                    BindingError::UNRECOGNIZED_KIND => self.mark_plain(
                        now,
                        sender,
                        |correspondent| correspondent.expects_answer(now),
                        "the initiator does not know the Mobility Header type",
                        "RFC 3775 11.3.6",
                    ),
                    _ => {}
                }
            }
            _ => self.counters.count("mobility.not-for-a-responder"),
        }
    }

    fn handle_acknowledgement(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        header: &MobilityHeader,
        acknowledgement: &BindingAcknowledgement,
    ) {
        self.counters.count("binding-acknowledgement.received");
        let anycast = packet.final_destination();
        let sender = packet.header.source;
        let with_routing_header = packet
            .routing2
            .as_ref()
            .is_some_and(|routing| routing.segments_left == 1 && routing.address == anycast);
        let at_home = self.home.get(&anycast).is_some_and(HomeStay::expects_acknowledgement)
            && packet.routing2.is_none();
        if !at_home && (!with_routing_header || packet.header.destination != self.config.care_of) {
            // RFC 3775 11.3.3 and KAME: away from home an acknowledgement travels with the routing header.
            let clause = "RFC 3775 11.7.3";
            let reason = "a Binding Acknowledgement without the type 2 routing header";
            return self.refuse(packet, Refusal::silent("binding-acknowledgement.dropped", reason, clause));
        }
        if self.registrations.get(&anycast).and_then(|registration| registration.agent) == Some(sender) {
            let refresh_advice = header.message.options().iter().find_map(|option| match option {
                MobilityOption::BindingRefreshAdvice(interval) => Some(*interval),
                _ => None,
            });
            let answer = registration::Answer {
                status: acknowledgement.status,
                sequence: acknowledgement.sequence,
                lifetime: acknowledgement.lifetime,
                refresh_advice,
            };
            self.step_registration(now, anycast, |registration, _, pace| {
                registration.acknowledged(now, answer, pace)
            });
            let bound = self.registrations.get(&anycast).is_some_and(Registration::is_bound);
            if bound && answer.status == Status::ACCEPTED_PREFIX_DISCOVERY {
                self.solicit_prefixes(now, anycast);
            }
        } else {
            let care_of = self.config.care_of;
            let (status, sequence) = (acknowledgement.status, acknowledgement.sequence);
            let lifetime = acknowledgement.lifetime;
            self.step_correspondent(now, (anycast, sender), |correspondent, random, pace| {
                let sealed = correspondent.is_sealed(header, packet.payload(), care_of, sender);
                let answer = InitiatorAnswer { status, sequence, lifetime, sealed };
                correspondent.acknowledged(now, answer, random, pace)
            });
        }
    }

    fn handle_icmpv6(&mut self, now: Instant, packet: &Packet<'_>) {
        let payload = packet.payload();
        let verified =
            ipv6::checksum(&packet.header.source, &packet.header.destination, next_header::ICMPV6, payload)
                == 0;
        let Ok(received) = Icmpv6::parse(payload) else {
            return self.counters.count("icmpv6.malformed");
        };
        if !verified {
            return self.counters.count("icmpv6.bad-checksum");
        }
        match &received.message {
            Icmpv6Message::HomeAgentDiscoveryReply { code: 0, identifier, home_agents, .. } => {
                self.counters.count("dhaad.answered");
                let asking =
                    self.registrations.iter().find(|(_, r)| r.expects_agents(*identifier)).map(|(a, _)| *a);
                if let Some(anycast) = asking {
                    self.step_registration(now, anycast, |registration, random, pace| {
                        registration.discovered(now, home_agents, random, pace)
                    });
                }
            }
            Icmpv6Message::ParameterProblem { code, pointer, invoking } => {
                self.handle_parameter_problem(now, packet, *code, *pointer, invoking);
            }
            message @ (Icmpv6Message::NeighborSolicitation { .. }
            | Icmpv6Message::NeighborAdvertisement { .. }) => self.handle_neighbor(now, packet, message),
            Icmpv6Message::PacketTooBig { mtu, invoking, .. } => self.relay_too_big(packet, *mtu, invoking),
            Icmpv6Message::DestinationUnreachable { .. } | Icmpv6Message::TimeExceeded { .. } => {
                self.relay_tunnel_error(packet);
            }
            _ => self.counters.count("icmpv6.ignored"),
        }
    }

    /// RFC 3775 11.3.5: an initiator that does not know the Mobility Header (code 1) or the home address option
    /// (code 2) is plain. The quoted packet must be one that this node sent to that initiator.
    fn handle_parameter_problem(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        code: u8,
        pointer: u32,
        invoking: &[u8],
    ) {
        let Ok(quoted) = Packet::parse_quoted(invoking) else { return };
        let sender = packet.header.source;
        let mine = quoted.header.source == self.config.care_of
            || self.registrations.contains_key(&quoted.header.source);
        if !mine || quoted.header.destination != sender {
            return self.relay_tunnel_error(packet);
        }
        let pointer = usize::try_from(pointer).unwrap_or(usize::MAX);
        let about_mobility = code == 1
            && quoted.upper.protocol == next_header::MOBILITY
            && pointer == quoted.upper.next_header_offset;
        let about_option =
            code == 2 && quoted.home_address.as_ref().is_some_and(|option| option.option_offset == pointer);
        let message = MobilityHeader::parse(quoted.payload()).ok().map(|header| header.message);
        let provoked = |correspondent: &Correspondent| {
            let mobility = about_mobility && message.as_ref().is_some_and(|m| correspondent.sent_this(m));
            mobility || (about_option && correspondent.is_optimised())
        };
        let reason = "the initiator does not speak Mobile IPv6; packets keep to the tunnel";
        self.mark_plain(now, sender, provoked, reason, "RFC 3775 11.3.5");
    }

    /// Leaves `peer` alone, for every anycast address, if an exchange with it has `provoked` this.
    fn mark_plain(
        &mut self,
        now: Instant,
        peer: Ipv6Addr,
        provoked: impl Fn(&Correspondent) -> bool,
        reason: &'static str,
        clause: &'static str,
    ) {
        let keys: Vec<_> = self.registrations.keys().map(|anycast| (*anycast, peer)).collect();
        if !keys.iter().any(|key| self.correspondents.get(key).is_some_and(&provoked)) {
            return self.counters.count("initiator.unprovoked-error");
        }
        self.counters.count("initiator.plain");
        for key in keys {
            self.step_correspondent(now, key, |correspondent, _, _| {
                correspondent.found_plain(now, reason, clause)
            });
        }
    }

    /// A router's Packet Too Big about a rewritten packet, told to the host's stack as it concerns the packet that
    /// the stack sent (RFC 2473 8 for the tunnel, the same for the home address option).
    fn relay_too_big(&mut self, packet: &Packet<'_>, mtu: u32, invoking: &[u8]) {
        let Ok(quoted) = Packet::parse_quoted(invoking) else { return self.relay_tunnel_error(packet) };
        let Some(option) = quoted.home_address.as_ref() else { return self.relay_tunnel_error(packet) };
        let optimised = self
            .correspondents
            .get(&(option.address, quoted.header.destination))
            .is_some_and(|c| c.is_optimised());
        if quoted.header.source != self.config.care_of || !optimised {
            return;
        }
        let mut original = PacketBuffer::new(invoking);
        if strip_home_address(&mut original).is_err() {
            return;
        }
        let shrunk = u32::try_from(invoking.len() - original.len()).unwrap_or(0);
        let reason = ErrorReason::PacketTooBig(mtu.saturating_sub(shrunk).max(1280));
        if let Some(error) = error_packet(&packet.header.source, original.as_slice(), reason) {
            self.counters.count("too-big.relayed");
            self.actions.push_back(Action::Deliver(error));
        }
    }

    fn relay_tunnel_error(&mut self, packet: &Packet<'_>) {
        if packet.header.destination != self.config.care_of || !self.quotes_my_tunnel(packet) {
            return self.counters.count("tunnel-error.ignored");
        }
        if let Some(error) = relay_error(packet.bytes, &self.config.care_of) {
            self.counters.count("tunnel-error.relayed");
            self.actions.push_back(Action::Deliver(error));
        }
    }

    /// True when an ICMPv6 error quotes a packet of a reverse tunnel of this node.
    fn quotes_my_tunnel(&self, packet: &Packet<'_>) -> bool {
        let Ok(error) = Icmpv6::parse(packet.payload()) else { return false };
        let Some(tunnel) = error.message.invoking().and_then(input::TunnelQuoted::of) else { return false };
        let far_end = |agent| match self.config.reverse_tunnel_end {
            ReverseTunnelEnd::Agent => agent,
            ReverseTunnelEnd::Anycast => tunnel.inner_source,
        };
        let registration = self.registrations.get(&tunnel.inner_source);
        tunnel.outer_source == self.config.care_of
            && registration
                .and_then(|r| r.agent)
                .is_some_and(|agent| far_end(agent) == tunnel.outer_destination)
    }

    fn refuse(&mut self, packet: &Packet<'_>, refusal: Refusal) {
        self.counters.count(refusal.counter);
        let report = Report::debug("packet-refused").peer(packet.header.source);
        self.report(report.because(refusal.reason, refusal.clause));
        self.actions.extend(refusal.answer.map(Action::Send));
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }
}

/// The Binding Update of a home registration, as KAME and UMIP lay it out: home address option, flags A and H,
/// Alternate Care-of Address (RFC 3775 11.7.1).
fn home_update(
    care_of: &Ipv6Addr,
    agent: &Ipv6Addr,
    anycast: &Ipv6Addr,
    sequence: u16,
    lifetime: Lifetime,
) -> Vec<u8> {
    let message = Message::BindingUpdate(BindingUpdate {
        sequence,
        flags: UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION,
        lifetime,
        options: align(12, &[MobilityOption::AlternateCareOfAddress(*care_of)]),
    });
    update_packet(care_of, agent, anycast, &MobilityHeader::new(message))
}

/// `care_of` -> `destination` with the home address option and this Binding Update; the checksum is over the home
/// address (RFC 3775 6.1.1).
fn update_packet(
    care_of: &Ipv6Addr,
    destination: &Ipv6Addr,
    home_address: &Ipv6Addr,
    header: &MobilityHeader,
) -> Vec<u8> {
    if care_of == home_address {
        // At home (RFC 3775 11.5.4): the source is the home address already.
        let outer = Ipv6Header::new(next_header::MOBILITY, HOP_LIMIT, *care_of, *destination);
        return ipv6::packet(outer, &header.emit_for(home_address, destination));
    }
    let mut payload = home_address_header(next_header::MOBILITY, home_address).to_vec();
    payload.extend_from_slice(&header.emit_for(home_address, destination));
    let outer = Ipv6Header::new(next_header::DESTINATION_OPTIONS, HOP_LIMIT, *care_of, *destination);
    ipv6::packet(outer, &payload)
}

/// True when a status tells the responder to try another agent (RFC 3775 11.7.3).
fn asks_for_another_agent(status: Status) -> bool {
    matches!(
        status,
        Status::HOME_REGISTRATION_NOT_SUPPORTED | Status::NOT_HOME_SUBNET | Status::NOT_HOME_AGENT
    )
}
