//! The anycast responder (thesis 4.2; Mobile IPv6's mobile node, RFC 3775 section 11), always away from home: it
//! registers its care-of address for one or more anycast addresses, answers through the reverse tunnel, and offers
//! each initiator route optimisation. Driven by `daemon`; `registration` and `correspondent` hold the two machines.

mod correspondent;
mod registration;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;
use serde::Serialize;

use super::action::{Action, Observation, Rule, RuleKey, RuleKind};
use super::auth::seal;
use super::clock::Instant;
use super::counters::Counters;
use super::home_link::{discovery_request, home_agents_anycast};
use super::input::{
    self, AnswerLimits, BINDING_ERROR_UNKNOWN_HOME_ADDRESS, BINDING_ERROR_UNKNOWN_TYPE, Refusal,
    mobility_packet,
};
use super::limits::HOP_LIMIT;
use super::random::Random;
use super::report::Report;
use crate::wire::PacketBuffer;
use crate::wire::chain::Packet;
use crate::wire::destination_options::home_address_header;
use crate::wire::icmpv6::{ErrorReason, Icmpv6, Icmpv6Message, error_packet};
use crate::wire::ipv6::{self, Ipv6Header, next_header};
use crate::wire::mobility::{
    BindingAcknowledgement, BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption, Status,
    TestInit, UpdateFlags, align,
};
use crate::wire::rewrite::strip_home_address;
use crate::wire::tunnel::{encapsulate, relay_error};
use correspondent::{Correspondent, Step};
use registration::{Outcome, Registration};

pub use correspondent::CorrespondentView;
pub use registration::RegistrationView;

/// Correspondents remembered at most, per anycast address; the one idle longest is forgotten first.
const MAX_CORRESPONDENTS: usize = 16_384;
/// A peer whose binding carried no packet for this long is not renewed.
const IDLE: Duration = Duration::from_secs(60);
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
    /// De-register everywhere and end; [`Ar::is_finished`] tells when.
    Shutdown,
}

/// The anycast responder.
pub struct Ar {
    config: ArConfig,
    random: Box<dyn Random + Send>,
    registrations: BTreeMap<Ipv6Addr, Registration>,
    /// Keyed by anycast address and initiator.
    correspondents: BTreeMap<(Ipv6Addr, Ipv6Addr), Correspondent>,
    limits: AnswerLimits,
    counters: Counters,
    actions: VecDeque<Action>,
    shutdown_deadline: Option<Instant>,
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
            limits: AnswerLimits::default(),
            counters: Counters::default(),
            actions: VecDeque::new(),
            shutdown_deadline: None,
        };
        ar.handle_command(now, &ArCommand::Register(None));
        ar
    }

    /// A packet that no forwarding rule took, or a copy of an ICMPv6 message. Packets that came through the tunnel
    /// arrive without their outer header.
    pub fn handle_packet(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.counters.count("packet.malformed");
            return;
        };
        let final_destination = packet.final_destination();
        match packet.upper.protocol {
            next_header::MOBILITY => self.handle_mobility(now, &packet),
            next_header::ICMPV6 if packet.headers.is_empty() => self.handle_icmpv6(now, &packet),
            _ if self.registrations.contains_key(&packet.header.source) => {
                // RFC 3775 11.3.1: the home address is not used before it is bound.
                self.counters.count("packet.before-registration");
            }
            _ if packet.routing2.is_some() || packet.routing2_malformed => {
                // RFC 3775 6.4: a routing header for an address that is not ours ends here, silently.
                self.counters.count("routing-header.refused");
            }
            next_header::IPV6 => {
                self.counters.count("tunnel.refused");
                self.actions.push_back(Action::Deliver(bytes.to_vec()));
            }
            _ if self.registrations.contains_key(&final_destination) => {
                self.counters.count("packet.before-registration");
            }
            _ => self.actions.push_back(Action::Deliver(bytes.to_vec())),
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
            self.step_registration(anycast, |registration, _| registration.timeout(now));
        }
        let due: Vec<_> = self
            .correspondents
            .iter()
            .filter(|(_, c)| c.deadline().is_some_and(|at| at <= now))
            .map(|(k, _)| *k)
            .collect();
        for key in due {
            self.step_correspondent(now, key, |correspondent, random| correspondent.timeout(now, random));
        }
        self.continue_shutdown(now);
    }

    /// Carries out an operator's command.
    pub fn handle_command(&mut self, now: Instant, command: &ArCommand) {
        match command {
            ArCommand::Register(only) => {
                for anycast in self.selected(*only) {
                    self.step_registration(anycast, |registration, random| {
                        registration.register(now, random)
                    });
                }
            }
            ArCommand::Deregister(only) => {
                for anycast in self.selected(*only) {
                    self.leave(now, anycast);
                }
            }
            ArCommand::FlushPeers(only) => {
                self.correspondents.retain(|(_, peer), c| !(c.is_plain() && only.is_none_or(|o| o == *peer)));
            }
            ArCommand::Shutdown => {
                self.shutdown_deadline = Some(now + SHUTDOWN_WAIT);
                for anycast in self.selected(None) {
                    self.leave(now, anycast);
                }
                self.continue_shutdown(now);
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
        let peers = self.correspondents.values().filter_map(|c| Some((c.deadline()?, "route optimisation")));
        let shutdown = self.shutdown_deadline.map(|at| (at, "shutdown"));
        registrations.chain(peers).chain(shutdown).min()
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
        anycast: Ipv6Addr,
        step: impl FnOnce(&mut Registration, &mut dyn Random) -> Outcome,
    ) {
        let Some(registration) = self.registrations.get_mut(&anycast) else { return };
        let outcome = step(registration, self.random.as_mut());
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
                for rule in [
                    Rule::ReverseTunnelIn { anycast, care_of, agent },
                    Rule::RoutingHeaderIn { anycast, care_of },
                    Rule::ReverseTunnelOut { anycast, care_of, agent: end },
                ] {
                    if first {
                        self.actions.push_back(Action::InstallRule(rule));
                    }
                }
                let report = if first { Report::info("registered") } else { Report::debug("refreshed") };
                let report = report.anycast(anycast).care_of(care_of).peer(agent);
                self.report(report.sequence(sequence).lifetime(lifetime.seconds()));
            }
            Outcome::Lost { agent, status, reason, clause } => {
                self.remove_rules(anycast);
                let mut report = Report::warning("registration-lost").anycast(anycast).care_of(care_of);
                report.peer = agent;
                report.status = status.map(|status| status.0);
                self.report(report.because(reason, clause));
            }
            Outcome::Ended { agent, reason } => {
                self.remove_rules(anycast);
                let mut report = Report::info("deregistered").anycast(anycast).care_of(care_of);
                report.peer = agent;
                self.report(report.because(reason, "RFC 3775 11.7.1"));
            }
        }
    }

    fn remove_rules(&mut self, anycast: Ipv6Addr) {
        for kind in [RuleKind::ReverseTunnelOut, RuleKind::ReverseTunnelIn, RuleKind::RoutingHeaderIn] {
            self.actions.push_back(Action::RemoveRule(RuleKey::of(kind, anycast)));
        }
    }

    /// Ends the service for `anycast`: initiators first, because their home test needs the tunnel.
    fn leave(&mut self, now: Instant, anycast: Ipv6Addr) {
        let peers: Vec<_> = self.correspondents.keys().filter(|(a, _)| *a == anycast).copied().collect();
        for key in peers {
            self.step_correspondent(now, key, |correspondent, random| correspondent.delete(now, random));
        }
        if !self.correspondents.keys().any(|(a, _)| *a == anycast) {
            self.step_registration(anycast, |registration, _| registration.deregister(now));
        } else if let Some(registration) = self.registrations.get_mut(&anycast) {
            registration.leaving = true;
        }
    }

    /// After initiators are done with, the agents; after the deadline, without waiting any longer.
    fn continue_shutdown(&mut self, now: Instant) {
        let late = self.shutdown_deadline.is_some_and(|deadline| deadline <= now);
        if late {
            for key in self.correspondents.keys().copied().collect::<Vec<_>>() {
                self.forget(key);
            }
        }
        for anycast in self.selected(None) {
            let waiting = self.correspondents.keys().any(|(a, _)| *a == anycast);
            let leaving = self.registrations.get(&anycast).is_some_and(|registration| registration.leaving);
            if leaving && !waiting {
                self.step_registration(anycast, |registration, _| registration.deregister(now));
            } else if late {
                self.step_registration(anycast, |registration, _| registration.abandon());
            }
        }
    }

    // ---- route optimisation (RFC 3775 11.6, 11.7.2) ----

    fn offer_route_optimisation(&mut self, now: Instant, anycast: Ipv6Addr, peer: Ipv6Addr) {
        let bound = self.registrations.get(&anycast).is_some_and(Registration::is_bound);
        let agents = self.registrations.get(&anycast).and_then(|registration| registration.agent);
        if !self.config.route_optimisation
            || !bound
            || self.shutdown_deadline.is_some()
            || agents == Some(peer)
            || !input::is_routable_unicast(&peer)
        {
            return;
        }
        let key = (anycast, peer);
        if !self.correspondents.contains_key(&key) {
            self.make_room();
            self.correspondents.insert(key, Correspondent::new(now, self.random.number16()));
        }
        self.step_correspondent(now, key, |correspondent, random| correspondent.tunnelled(now, random));
    }

    fn make_room(&mut self) {
        if self.correspondents.len() < MAX_CORRESPONDENTS {
            return;
        }
        if let Some(key) = self.correspondents.iter().min_by_key(|(_, c)| c.used).map(|(key, _)| *key) {
            self.forget(key);
        }
    }

    /// Runs one step of an initiator's machine and carries out what it asks for.
    fn step_correspondent(
        &mut self,
        now: Instant,
        key: (Ipv6Addr, Ipv6Addr),
        step: impl FnOnce(&mut Correspondent, &mut dyn Random) -> Vec<Step>,
    ) {
        let Some(correspondent) = self.correspondents.get_mut(&key) else { return };
        let steps = step(correspondent, self.random.as_mut());
        let (anycast, peer) = key;
        let care_of = self.config.care_of;
        for step in steps {
            match step {
                Step::HomeTest { cookie } => {
                    let message =
                        Message::HomeTestInit(TestInit { reserved: 0, cookie, options: Vec::new() });
                    self.counters.count("home-test-init.sent");
                    self.send_reverse_tunnelled(anycast, mobility_packet(&anycast, &peer, message));
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

    fn forget(&mut self, key: (Ipv6Addr, Ipv6Addr)) {
        self.remove_optimisation(key);
        self.correspondents.remove(&key);
    }

    fn remove_optimisation(&mut self, (anycast, peer): (Ipv6Addr, Ipv6Addr)) {
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

    // ---- what arrives ----

    fn handle_mobility(&mut self, now: Instant, packet: &Packet<'_>) {
        let header = match input::receive(now, packet, &mut self.limits) {
            Ok(header) => header,
            Err(refusal) => return self.refuse(packet, refusal),
        };
        let sender = packet.header.source;
        let destination = packet.final_destination();
        match &header.message {
            Message::BindingAcknowledgement(acknowledgement) => {
                self.handle_acknowledgement(now, packet, &header, acknowledgement);
            }
            Message::HomeTest(test) if packet.home_address.is_none() && packet.routing2.is_none() => {
                self.counters.count("home-test.received");
                let (cookie, token, index) = (test.cookie, test.token, test.nonce_index);
                self.step_correspondent(now, (destination, sender), |correspondent, random| {
                    correspondent.home_test(now, cookie, token, index, random)
                });
            }
            Message::CareOfTest(test) if packet.home_address.is_none() && packet.routing2.is_none() => {
                self.counters.count("care-of-test.received");
                let waiting = self.correspondents.iter().find(|((_, peer), correspondent)| {
                    *peer == sender && correspondent.expects_care_of(&test.cookie)
                });
                let key = waiting.map(|(key, _)| *key).filter(|_| destination == self.config.care_of);
                if let Some(key) = key {
                    let (cookie, token, index) = (test.cookie, test.token, test.nonce_index);
                    self.step_correspondent(now, key, |correspondent, random| {
                        correspondent.care_of_test(now, cookie, token, index, random)
                    });
                }
            }
            Message::BindingRefreshRequest(_) => {
                self.counters.count("binding-refresh-request.received");
                let agent = self.registrations.get(&destination).and_then(|registration| registration.agent);
                if agent == Some(sender) {
                    self.step_registration(destination, |registration, random| {
                        registration.register(now, random)
                    });
                } else {
                    self.step_correspondent(now, (destination, sender), |correspondent, random| {
                        correspondent.refresh_requested(now, random)
                    });
                }
            }
            Message::BindingError(error) => {
                self.counters.count("binding-error.received");
                let key = (error.home_address, sender);
                match error.status {
                    BINDING_ERROR_UNKNOWN_HOME_ADDRESS => {
                        self.step_correspondent(now, key, |correspondent, _| {
                            correspondent.binding_unknown(now)
                        });
                    }
                    BINDING_ERROR_UNKNOWN_TYPE => self.mark_plain(
                        now,
                        sender,
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
        if !with_routing_header || packet.header.destination != self.config.care_of {
            // RFC 3775 11.3.3 and KAME: away from home an acknowledgement travels with the routing header.
            let clause = "RFC 3775 11.7.3";
            let reason = "a Binding Acknowledgement without the type 2 routing header";
            return self.refuse(packet, Refusal::silent("binding-acknowledgement.dropped", reason, clause));
        }
        if self.registrations.get(&anycast).and_then(|registration| registration.agent) == Some(sender) {
            let refresh_advice = seal::options(header).iter().find_map(|option| match option {
                MobilityOption::BindingRefreshAdvice(interval) => Some(*interval),
                _ => None,
            });
            let answer = registration::Answer {
                status: acknowledgement.status,
                sequence: acknowledgement.sequence,
                lifetime: acknowledgement.lifetime,
                refresh_advice,
            };
            self.step_registration(anycast, |registration, random| {
                registration.acknowledged(now, answer, random)
            });
        } else {
            let care_of = self.config.care_of;
            let (status, sequence) = (acknowledgement.status, acknowledgement.sequence);
            self.step_correspondent(now, (anycast, sender), |correspondent, random| {
                let sealed = correspondent.is_sealed(header, packet.payload(), care_of, sender);
                correspondent.acknowledged(now, status, sequence, sealed, random)
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
                    self.step_registration(anycast, |registration, random| {
                        registration.discovered(now, home_agents, random)
                    });
                }
            }
            Icmpv6Message::ParameterProblem { code, pointer, invoking } => {
                self.handle_parameter_problem(now, packet, *code, *pointer, invoking);
            }
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
        if about_mobility || about_option {
            self.counters.count("initiator.plain");
            let reason = "the initiator does not speak Mobile IPv6; packets keep to the tunnel";
            self.mark_plain(now, sender, reason, "RFC 3775 11.3.5");
        }
    }

    fn mark_plain(&mut self, now: Instant, peer: Ipv6Addr, reason: &'static str, clause: &'static str) {
        for anycast in self.selected(None) {
            self.step_correspondent(now, (anycast, peer), |correspondent, _| {
                correspondent.found_plain(now, reason, clause)
            });
        }
    }

    /// A router's Packet Too Big about a rewritten packet, told to the host's stack as it concerns the packet that
    /// the stack sent (RFC 2473 8 for the tunnel, the same for the home address option).
    fn relay_too_big(&mut self, packet: &Packet<'_>, mtu: u32, invoking: &[u8]) {
        let Ok(quoted) = Packet::parse_quoted(invoking) else { return self.relay_tunnel_error(packet) };
        if quoted.home_address.is_none() || quoted.header.source != self.config.care_of {
            return self.relay_tunnel_error(packet);
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
        if packet.header.destination != self.config.care_of {
            return;
        }
        if let Some(error) = relay_error(packet.bytes, &self.config.care_of) {
            self.counters.count("tunnel-error.relayed");
            self.actions.push_back(Action::Deliver(error));
        }
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
