//! The home anycast agent (thesis 4.2; Mobile IPv6's home agent, RFC 3775 section 10): accepts and refuses Binding
//! Updates, keeps the anycast binding cache, draws packets for the anycast address to itself and has them tunnelled
//! to the bound responder. Basic model: the last Binding Update wins. Driven by `daemon`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;

use super::action::{Action, Observation, RuleKey};
use super::auth::members::Members;
use super::binding::cache::{Binding, BindingCache};
use super::binding::members::{Member, MemberCache};
use super::clock::Instant;
use super::counters::Counters;
use super::home_agents::{HomeAgentView, HomeAgents};
use super::home_prefixes::HomePrefixes;
use super::input::{self, AnswerLimits, Refusal, is_neighbor_discovery};
use super::prefix_discovery::PrefixDiscovery;
use super::report::Report;
use super::role::Role;
use super::router_advertisement::RouterAdvertisement;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{Icmpv6, Icmpv6Message};
use crate::wire::ipv6::next_header;
use crate::wire::mobility::{Lifetime, Message};
use detection::Pending;
use discovery::is_prefix_solicitation;
use membership::{End, Service};
use probing::Watch;
use steering::Steering;

mod authentication;
mod capacity;
mod config;
mod detection;
mod discovery;
mod interception;
mod joining;
mod membership;
mod probing;
mod refusal;
mod registration;
mod steering;
mod tunnels;
mod view;

pub use config::{Capture, GroupConfig, HaaCommand, HaaConfig, HomeLinkConfig};
pub use view::{BindingView, GroupStatus, MemberState, MemberStatus, MemberView};

/// The home anycast agent.
#[derive(Debug)]
pub struct Haa {
    config: HaaConfig,
    capture: Capture,
    refresh_advice: Option<Lifetime>,
    home_agents: HomeAgents,
    prefixes: HomePrefixes,
    prefix_discovery: Option<PrefixDiscovery>,
    /// The link-local address that is defended with an anycast address (the L flag, RFC 3775 10.3.1).
    defended: BTreeMap<Ipv6Addr, Ipv6Addr>,
    /// The same link-local addresses, and for how many anycast addresses each is.
    link_locals: BTreeMap<Ipv6Addr, usize>,
    cache: BindingCache,
    pending: BTreeMap<Ipv6Addr, Pending>,
    /// Who may bind at all; `None`: everybody.
    members: Option<Members>,
    /// When the probes of `pending` end, in order.
    probes: BTreeSet<(Instant, Ipv6Addr)>,
    /// The anycast addresses of the advanced model, their members, and what is remembered of each.
    services: BTreeMap<Ipv6Addr, Service>,
    joined: MemberCache,
    watch: Watch,
    steering: Steering,
    limits: AnswerLimits,
    counters: Counters,
    actions: VecDeque<Action>,
}

impl Haa {
    /// An agent without bindings. Its first actions attract the home agents' anycast addresses (RFC 3775 10.5).
    pub fn new(config: HaaConfig) -> Self {
        Self::on_home_link(config, HomeLinkConfig::default())
    }

    /// Like [`Haa::new`], with a place among the agents and prefixes of the home link.
    pub fn on_home_link(config: HaaConfig, home_link: HomeLinkConfig) -> Self {
        Self::capturing(Capture::HomeLink, config, home_link)
    }

    /// An agent that draws packets to itself in this way.
    pub(super) fn capturing(capture: Capture, config: HaaConfig, home_link: HomeLinkConfig) -> Self {
        let cache = BindingCache::new(config.max_bindings);
        let mut agent = Self {
            refresh_advice: home_link.refresh_advice,
            home_agents: HomeAgents::new(config.agent, home_link.preference, home_link.seed),
            prefixes: HomePrefixes::new(&config.home_prefixes),
            prefix_discovery: home_link
                .prefix_advertisements
                .map(|window| PrefixDiscovery::new(window, home_link.seed)),
            defended: BTreeMap::new(),
            link_locals: BTreeMap::new(),
            config,
            capture,
            cache,
            pending: BTreeMap::new(),
            members: None,
            probes: BTreeSet::new(),
            services: BTreeMap::new(),
            joined: MemberCache::default(),
            watch: Watch::default(),
            steering: Steering::default(),
            limits: AnswerLimits::default(),
            counters: Counters::default(),
            actions: VecDeque::new(),
        };
        let addresses: Vec<_> = agent.home_agents_anycast().map(Action::CaptureAddress).collect();
        agent.actions.extend(addresses);
        agent
    }
}

impl Role for Haa {
    fn handle_packet(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.counters.count("packet.malformed");
            return;
        };
        if let Some(refusal) = Refusal::at_stationary(&packet) {
            return self.refuse(&packet, refusal);
        }
        if self.link_locals.contains_key(&packet.header.destination) && !is_neighbor_discovery(&packet) {
            return self.refuse_link_local(now, &packet);
        }
        let is_to_group = self.services.contains_key(&packet.header.destination);
        match packet.upper.protocol {
            next_header::MOBILITY if is_to_group => self.steer(now, &packet),
            next_header::IPV6 => self.handle_tunnel(now, &packet),
            // A neighbour may ask the address itself whether it is still there (RFC 4861 7.3.3), which the host answers.
            _ if is_to_group && !is_neighbor_discovery(&packet) => self.refuse_unserved(now, &packet),
            next_header::MOBILITY => self.handle_mobility(now, &packet),
            next_header::ICMPV6 if packet.headers.is_empty() => self.handle_icmpv6(now, &packet),
            next_header::ICMPV6 if self.is_from_bound(&packet) && is_prefix_solicitation(&packet) => {
                self.handle_icmpv6(now, &packet);
            }
            _ if self.takes_home_address(&packet) => {}
            _ if packet.home_address.is_some() => self.refuse_home_address(now, &packet),
            _ => self.actions.push_back(Action::Deliver(packet.bytes.to_vec())),
        }
    }

    // An agent of the basic model needs none of it.
    fn handle_observation(&mut self, _now: Instant, observation: Observation) {
        match observation {
            Observation::MemberLeft { anycast, sources, .. } if sources > 0 => {
                let report = Report::info("sources-moved").anycast(anycast).sources(sources);
                self.report(report.because("their responder is gone", "thesis 4.3.2"));
            }
            Observation::Sources { anycast, of } => self.sources_counted(anycast, of),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(binding) = self.cache.take_expired(now) {
            self.counters.count("binding.expired");
            let report =
                Report::info("binding-expired").anycast(binding.home_address).care_of(binding.care_of);
            self.withdraw(&binding);
            self.report(report.because("no refresh arrived within its lifetime", "RFC 3775 9.6"));
        }
        while let Some((_, anycast)) = self.probes.first().copied().filter(|(until, _)| *until <= now) {
            if let Some(pending) = self.take_pending(&anycast) {
                for update in &pending.waiting {
                    self.accept(now, update);
                }
            }
        }
        self.expire_members(now);
        self.probe_members(now);
        self.count_sources(now);
        for router in self.home_agents.expire(now) {
            self.report(
                Report::info("home-agent-lost")
                    .peer(router)
                    .because("it advertised itself no longer", "RFC 3775 10.5.1"),
            );
        }
        if self.prefixes.expire(now) {
            self.end_bindings_without_prefix(now);
        }
        self.advertise_prefixes(now);
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let expiry = self.cache.next_expiry().map(|at| (at, "binding lifetime"));
        let probe = self.probes.first().map(|(until, _)| (*until, "duplicate address detection"));
        let agent = self.home_agents.next_expiry().map(|at| (at, "home agent lifetime"));
        let prefix = self.prefixes.next_expiry().map(|at| (at, "prefix lifetime"));
        let due = self.prefix_discovery.as_ref().and_then(PrefixDiscovery::next_due);
        let advertisement = due.map(|at| (at, "mobile prefix advertisement"));
        let member = self.joined.next_expiry().map(|at| (at, "binding lifetime"));
        let watch = self.watch.next().map(|at| (at, "probe of a member"));
        let count = self.next_count().map(|at| (at, "count of sources"));
        [expiry, probe, agent, prefix, advertisement, member, watch, count].into_iter().flatten().min()
    }

    // A group's members have lifetimes of their own.
    fn holds_until(&self, key: &RuleKey) -> Option<Instant> {
        self.cache.of(&key.anycast).map(|binding| binding.expires)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Haa {
    /// Carries out an operator's command.
    pub fn handle_command(&mut self, _now: Instant, command: &HaaCommand) {
        let only = match command {
            HaaCommand::Deregister(anycast) => *anycast,
            HaaCommand::Drain { anycast, care_of } => return self.drain(*anycast, *care_of, true),
            HaaCommand::Undrain { anycast, care_of } => return self.drain(*anycast, *care_of, false),
            HaaCommand::Shutdown => None,
        };
        let members = self.joined.iter().map(Member::key);
        let members = members.filter(|(anycast, _)| only.is_none_or(|only| only == *anycast)).collect();
        self.end_members(members, End::Ordered);
        let pending: Vec<_> = self.pending.keys().copied().collect();
        for anycast in pending.into_iter().filter(|anycast| only.is_none_or(|only| only == *anycast)) {
            self.take_pending(&anycast);
        }
        for binding in self.cache.take(only) {
            self.withdraw(&binding);
            let report =
                Report::info("binding-removed").anycast(binding.home_address).care_of(binding.care_of);
            self.report(report.because("the operator asked for it", ""));
        }
        if *command == HaaCommand::Shutdown {
            let addresses: Vec<_> = self.home_agents_anycast().map(Action::ReleaseAddress).collect();
            self.actions.extend(addresses);
        }
    }

    /// The home agents list, this agent first.
    pub fn home_agents(&self, now: Instant) -> Vec<HomeAgentView> {
        self.home_agents.views(now)
    }

    /// The anycast binding cache.
    pub fn bindings(&self, now: Instant) -> Vec<BindingView> {
        let bindings = self.cache.iter().map(|binding| BindingView::of(binding, now));
        bindings.chain(self.joined.iter().map(|member| BindingView::of_member(member, now))).collect()
    }

    /// Stores `binding` without any message or action: for benchmarks and simulations that need a full cache.
    pub fn preload(&mut self, binding: Binding) {
        self.cache.insert(binding);
    }

    fn handle_mobility(&mut self, now: Instant, packet: &Packet<'_>) {
        let header = match input::receive(now, packet, &mut self.limits) {
            Ok(header) => header,
            Err(refusal) => return self.refuse(packet, refusal),
        };
        match &header.message {
            Message::BindingUpdate(update) => {
                self.counters.count("binding-update.received");
                let checked = self
                    .authenticate(now, packet, &header, update)
                    .and_then(|proof| self.check_update(packet, &header, update, proof));
                match checked {
                    Ok(update) => self.handle_update(now, update),
                    Err(refusal) => self.refuse(packet, refusal),
                }
            }
            _ => self.counters.count("mobility.not-for-an-agent"),
        }
    }

    fn handle_icmpv6(&mut self, now: Instant, packet: &Packet<'_>) {
        let Ok(received) = Icmpv6::parse(packet.payload()) else {
            self.counters.count("icmpv6.malformed");
            return;
        };
        let checked = crate::wire::ipv6::checksum(
            &packet.final_source(),
            &packet.header.destination,
            next_header::ICMPV6,
            packet.payload(),
        );
        if checked != 0 {
            self.counters.count("icmpv6.bad-checksum");
            return;
        }
        match received.message {
            Icmpv6Message::HomeAgentDiscoveryRequest { code: 0, identifier, .. } => {
                self.answer_discovery(packet, identifier);
            }
            Icmpv6Message::MobilePrefixSolicitation { code: 0, identifier, .. } => {
                self.answer_prefix_solicitation(now, packet, identifier);
            }
            // What routers say of another link than the home link means nothing here.
            Icmpv6Message::RouterAdvertisement { .. } if self.capture == Capture::HomeLink => {
                match RouterAdvertisement::of(packet, &received.message) {
                    Some(heard) => self.learn(now, &heard),
                    None => self.counters.count("router-advertisement.invalid"),
                }
            }
            Icmpv6Message::NeighborAdvertisement { .. } | Icmpv6Message::NeighborSolicitation { .. } => {
                self.handle_neighbor_discovery(now, packet, &received.message);
            }
            Icmpv6Message::DestinationUnreachable { .. }
            | Icmpv6Message::PacketTooBig { .. }
            | Icmpv6Message::TimeExceeded { .. }
            | Icmpv6Message::ParameterProblem { .. } => self.relay(now, packet),
            // The answer of a responder whose packets come by way of its home agent.
            Icmpv6Message::EchoReply { .. } if self.takes_probe_answer(now, packet) => {}
            _ => self.counters.count("icmpv6.ignored"),
        }
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }
}
