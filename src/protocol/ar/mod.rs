//! The anycast responder (thesis 4.2; Mobile IPv6's mobile node, RFC 3775 section 11): away from home it
//! registers its care-of address for one or more anycast addresses, answers through the reverse tunnel, and offers
//! each initiator route optimisation. Driven by `daemon`. `registration`, `correspondent` and `prefixes` hold the machines,
//! `agents` and `optimisation` carry out what they ask for, `messages` and `errors` take in what arrives, `movement`
//! and `home` are about being somewhere else, `midway` and `service` about being one of several (thesis 4.3).

mod agents;
mod correspondent;
mod errors;
mod home;
mod messages;
mod midway;
mod movement;
mod optimisation;
mod policy;
mod prefixes;
mod registration;
mod service;
mod status;
mod update;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;

use serde::Serialize;

use super::action::{Action, Observation, RuleKey, RuleKind};
use super::auth::membership::{Membership, MembershipConfig};
use super::clock::Instant;
use super::counters::Counters;
use super::input::{AnswerLimits, Refusal};
use super::pace::Pace;
use super::random::Random;
use super::rate_limit::TokenBucket;
use super::report::Report;
use super::role::Role;
use crate::wire::chain::Packet;
use crate::wire::ipv6::{Ipv6Header, next_header};
use crate::wire::mobility::Lifetime;
use agents::Lingering;
use correspondent::Correspondent;
use home::HomeStay;
use midway::MidwayKey;
use movement::FormerCareOf;
use prefixes::HomePrefix;
use registration::Registration;
use service::Service;

pub use correspondent::CorrespondentView;
pub use policy::{ArPolicy, DEFAULT_REFRESH_PERCENT, PeerPolicy};
pub use registration::RegistrationView;
pub use service::{ServiceConfig, ServiceView};

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
#[derive(Clone, Debug, PartialEq)]
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
    /// A sample of the metric of the application behind this anycast address, in the application's own unit.
    Measured { anycast: Ipv6Addr, value: f64 },
    /// The application was checked.
    Checked { anycast: Ipv6Addr, well: bool },
    /// So many connections of the anycast address are established; `None` when the system cannot tell.
    Established { anycast: Ipv6Addr, count: Option<u64> },
    /// Take no new sources, for one anycast address or all, and leave when the last one is gone, at the latest after
    /// this time.
    Drain { anycast: Option<Ipv6Addr>, within: Option<Duration> },
    /// Take new sources again.
    Undrain(Option<Ipv6Addr>),
    /// This metric, in thousandths, whatever is measured; `None` lets the measure speak again.
    Metric { anycast: Option<Ipv6Addr>, metric: Option<u32> },
    /// This weight.
    Weight { anycast: Option<Ipv6Addr>, weight: u16 },
    /// De-register everywhere and end; [`Ar::is_finished`] tells when.
    Shutdown,
}

impl ArCommand {
    /// The anycast address that a command about one service names.
    pub fn service(&self) -> Option<Ipv6Addr> {
        match self {
            Self::Measured { anycast, .. }
            | Self::Checked { anycast, .. }
            | Self::Established { anycast, .. } => Some(*anycast),
            Self::Drain { anycast, .. } | Self::Metric { anycast, .. } | Self::Weight { anycast, .. } => {
                *anycast
            }
            Self::Undrain(anycast) => *anycast,
            _ => None,
        }
    }
}

/// Anycast address and initiator.
type CorrespondentKey = (Ipv6Addr, Ipv6Addr);

/// The anycast responder.
pub struct Ar {
    config: ArConfig,
    random: Box<dyn Random + Send>,
    /// With the home agents.
    registrations: BTreeMap<Ipv6Addr, Registration>,
    /// With the midway agents.
    midway: BTreeMap<MidwayKey, Registration>,
    services: BTreeMap<Ipv6Addr, Service>,
    /// Registrations that have ended and whose tunnels are taken in a moment longer.
    linger: Vec<Lingering>,
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
    /// Where agents know their members by keys.
    membership: Option<Membership>,
    former: FormerCareOf,
    /// The anycast addresses that are on their home link.
    home: BTreeMap<Ipv6Addr, HomeStay>,
    /// What is known of the home prefixes, by anycast address.
    prefixes: BTreeMap<Ipv6Addr, HomePrefix>,
}

impl Ar {
    /// A responder of the basic model that starts registering at `now`.
    pub fn new(config: ArConfig, now: Instant, random: Box<dyn Random + Send>) -> Self {
        Self::serving(config, BTreeMap::new(), now, random)
    }

    /// A responder that starts registering at `now`, with each anycast address that has a health check when that has
    /// said that the application is well. Addresses that `services` does not name follow the basic model.
    pub fn serving(
        config: ArConfig,
        services: BTreeMap<Ipv6Addr, ServiceConfig>,
        now: Instant,
        random: Box<dyn Random + Send>,
    ) -> Self {
        Self::with_keys(config, services, None, now, random)
    }

    /// Like [`Ar::serving`], and what it exchanges with its agents is authenticated with its key (RFC 4285).
    pub fn with_keys(
        config: ArConfig,
        services: BTreeMap<Ipv6Addr, ServiceConfig>,
        membership: Option<MembershipConfig>,
        now: Instant,
        mut random: Box<dyn Random + Send>,
    ) -> Self {
        let of = |anycast: &AnycastConfig| services.get(&anycast.anycast).cloned().unwrap_or_default();
        let services: BTreeMap<_, _> =
            config.anycast.iter().map(|anycast| (anycast.anycast, Service::new(of(anycast)))).collect();
        let registrations = config
            .anycast
            .iter()
            .map(|anycast| {
                let first = anycast.initial_sequence.unwrap_or_else(|| random.number16());
                let advanced = services.get(&anycast.anycast).is_some_and(|service| service.config.advanced);
                (anycast.anycast, Registration::new(anycast.clone(), first).advanced_if(advanced))
            })
            .collect();
        let mut ar = Self {
            config,
            random,
            registrations,
            midway: BTreeMap::new(),
            services,
            linger: Vec::new(),
            correspondents: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            pace: Pace::default(),
            offers: TokenBucket::new(OFFER_BURST, OFFER_INTERVAL),
            limits: AnswerLimits::default(),
            counters: Counters::default(),
            actions: VecDeque::new(),
            shutdown_deadline: None,
            policy: ArPolicy::default(),
            membership: membership.map(Membership::new),
            former: FormerCareOf::default(),
            home: BTreeMap::new(),
            prefixes: BTreeMap::new(),
        };
        for anycast in ar.selected(None) {
            match ar
                .services
                .get(&anycast)
                .filter(|service| service.is_in())
                .map(|service| service.config.home)
            {
                Some(Some(link_address)) => ar.start_at_home(now, anycast, link_address),
                Some(None) => ar.enter(now, anycast),
                None => {}
            }
        }
        ar
    }

    /// The same responder under this policy.
    pub fn with_policy(mut self, policy: ArPolicy) -> Self {
        for registration in self.registrations.values_mut() {
            registration.set_other_agents(&policy.other_agents);
        }
        for registration in self.registrations.values_mut().chain(self.midway.values_mut()) {
            registration.refresh_percent = policy.refresh_percent;
        }
        self.policy = policy;
        self
    }
}

impl Role for Ar {
    fn handle_packet(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.counters.count("packet.malformed");
            return;
        };
        self.dispatch(now, &packet);
        // An answer may have been the last thing that a clean end waited for.
        self.continue_leaving(now);
    }

    fn handle_observation(&mut self, now: Instant, observation: Observation) {
        match observation {
            Observation::TunnelledPeer { anycast, peer } => {
                if !self.is_agent(anycast, peer) {
                    self.note_traffic(now, anycast);
                }
                self.offer_route_optimisation(now, anycast, peer);
            }
            Observation::InUse(key) => {
                if matches!(key.kind, RuleKind::HomeAddressOut | RuleKind::RoutingHeaderIn) {
                    self.note_traffic(now, key.anycast);
                }
                if let Some(correspondent) = self.correspondents.get_mut(&(key.anycast, key.peer)) {
                    correspondent.used = now;
                }
            }
            // An agent's affair.
            Observation::MemberLeft { .. } | Observation::Sources { .. } => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
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
        let due: Vec<_> = self
            .midway
            .iter()
            .filter(|(_, r)| r.deadline().is_some_and(|at| at <= now))
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            self.step_midway(now, key, |registration, random, pace| registration.timeout(now, random, pace));
        }
        self.service_timeouts(now);
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
        self.linger_timeouts(now);
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let registrations = self.registrations.values().filter_map(|r| Some((r.deadline()?, "registration")));
        let peers = self.deadlines.first().map(|(at, _)| (*at, "route optimisation"));
        let shutdown = self.shutdown_deadline.filter(|_| !self.is_finished()).map(|at| (at, "shutdown"));
        let home = self.home.values().filter_map(|stay| Some((stay.deadline()?, "home link")));
        let prefixes = self.prefixes.values().filter_map(|prefix| Some((prefix.deadline()?, "home prefix")));
        let midway = self.midway.values().filter_map(|r| Some((r.deadline()?, "midway registration")));
        let serving = self.services.values().filter(|_| self.shutdown_deadline.is_none());
        let services = serving.filter_map(|service| Some((service.deadline()?, "service")));
        let linger = self.linger.iter().map(|left| (left.until, "packets in flight"));
        let basic = registrations.chain(peers).chain(shutdown).chain(home).chain(prefixes);
        basic.chain(midway).chain(services).chain(linger).min()
    }

    // What is in flight may still be taken when a binding has ended.
    fn holds_until(&self, key: &RuleKey) -> Option<Instant> {
        let RuleKey { kind, anycast, peer } = *key;
        match kind {
            RuleKind::HomeAddressOut => self.correspondents.get(&(anycast, peer))?.bound_until(),
            RuleKind::MidwayTunnelIn => self.midway.get(&(anycast, peer))?.bound_until(),
            RuleKind::ReverseTunnelIn => self.registrations.get(&anycast)?.bound_until(),
            // Through a midway agent when there is no home agent.
            RuleKind::ReverseTunnelOut | RuleKind::RoutingHeaderIn => {
                let home = self.registrations.get(&anycast).and_then(Registration::bound_until);
                let midway = self.midway_of(anycast).into_iter();
                let midway = midway.filter_map(|key| self.midway.get(&key)?.bound_until()).max();
                home.or(midway)
            }
            _ => None,
        }
    }

    fn is_finished(&self) -> bool {
        self.shutdown_deadline.is_some()
            && self.registrations.values().chain(self.midway.values()).all(Registration::is_idle)
            && self.correspondents.is_empty()
            && self.linger.is_empty()
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Ar {
    fn dispatch(&mut self, now: Instant, packet: &Packet<'_>) {
        if let Some(refusal) = Refusal::of_source(packet) {
            return self.refuse(packet, refusal);
        }
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
        if let Some(refusal) = Refusal::of_home_address(packet) {
            return self.refuse(packet, refusal);
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

    /// Carries out an operator's command.
    pub fn handle_command(&mut self, now: Instant, command: &ArCommand) {
        match command {
            ArCommand::Register(only) => {
                for anycast in self.selected(*only) {
                    self.take_in(now, anycast);
                }
            }
            ArCommand::Deregister(only) => {
                for anycast in self.selected(*only) {
                    self.take_out(now, anycast);
                }
            }
            ArCommand::Measured { anycast, value } => self.measured(now, *anycast, *value),
            ArCommand::Checked { anycast, well } => self.checked(now, *anycast, *well),
            ArCommand::Established { anycast, count } => self.established(now, *anycast, *count),
            ArCommand::Drain { anycast, within } => {
                for anycast in self.selected(*anycast) {
                    self.drain(now, anycast, *within);
                }
            }
            ArCommand::Undrain(only) => {
                for anycast in self.selected(*only) {
                    self.undrain(now, anycast);
                }
            }
            ArCommand::Metric { anycast, metric } => {
                for anycast in self.selected(*anycast) {
                    self.order_metric(now, anycast, *metric);
                }
            }
            ArCommand::Weight { anycast, weight } => {
                for anycast in self.selected(*anycast) {
                    self.order_weight(now, anycast, *weight);
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
                // One of several responders is a member on the home link as it is elsewhere: the anycast address
                // there stays the agent's for the others.
                if !self.is_advanced(*anycast) {
                    self.return_home(now, *anycast, *link_address);
                }
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

    /// The registrations with agents (RFC 3775 11.1, the part of the binding update list that concerns them), those
    /// with home agents first.
    pub fn registrations(&self, now: Instant) -> Vec<RegistrationView> {
        let view = |registration: &Registration| registration.view(&self.config.care_of, now);
        let midway = self.midway.values().map(|r| RegistrationView { midway: true, ..view(r) });
        self.registrations.values().map(view).chain(midway).collect()
    }

    /// The initiators (the rest of the binding update list).
    pub fn correspondents(&self, now: Instant) -> Vec<CorrespondentView> {
        self.correspondents.iter().map(|((anycast, peer), c)| c.view(*anycast, *peer, now)).collect()
    }

    fn selected(&self, only: Option<Ipv6Addr>) -> Vec<Ipv6Addr> {
        self.registrations.keys().filter(|anycast| only.is_none_or(|o| o == **anycast)).copied().collect()
    }

    fn is_advanced(&self, anycast: Ipv6Addr) -> bool {
        self.services.get(&anycast).is_some_and(|service| service.config.advanced)
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
