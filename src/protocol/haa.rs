//! The home anycast agent (thesis 4.2; Mobile IPv6's home agent, RFC 3775 section 10): accepts and refuses Binding
//! Updates, keeps the anycast binding cache, draws packets for the anycast address to itself and has them tunnelled
//! to the bound responder. Basic model: the last Binding Update wins. Driven by `daemon`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use serde::Serialize;

use super::acknowledgement::{self, Answered};
use super::action::{Action, Observation, Rule, RuleKey, RuleKind};
use super::binding::cache::{Binding, BindingCache};
use super::binding::sequence::is_newer;
use super::clock::Instant;
use super::counters::Counters;
use super::home_agents::{HomeAgentView, HomeAgents, Learned};
use super::home_link;
use super::home_prefixes::HomePrefixes;
use super::input::{self, AnswerLimits, Refusal, TunnelQuoted, is_routable_unicast, is_unicast};
use super::limits::{DUPLICATE_ADDRESS_WAIT, HOP_LIMIT, NEIGHBOR_DISCOVERY_HOP_LIMIT};
use super::prefix_discovery::{self, AdvertisementWindow, PrefixDiscovery};
use super::report::Report;
use super::router_advertisement::RouterAdvertisement;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{ErrorReason, Icmpv6, Icmpv6Message, error_packet, kind};
use crate::wire::ipv6::next_header;
use crate::wire::mobility::{
    BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption, Status, UpdateFlags,
};
use crate::wire::tunnel::relay_error;

/// What the agent is told at its start.
#[derive(Clone, Debug)]
pub struct HaaConfig {
    /// The agent's own global address on the home link; responders register there and tunnels end there.
    pub agent: Ipv6Addr,
    /// The agent's link-local address, from which it advertises on the home link; without one, `agent` is used.
    pub link_local: Option<Ipv6Addr>,
    /// Link-layer address on the home link.
    pub link_address: [u8; 6],
    /// Prefixes of the home link: an anycast address outside them is refused with status 132.
    pub home_prefixes: Vec<Ipv6Net>,
    /// The anycast addresses served; empty serves every address in the home prefixes. Others get status 129.
    pub anycast: Vec<Ipv6Addr>,
    /// The longest lifetime granted, in units of 4 seconds.
    pub max_lifetime: Lifetime,
    /// Bindings held at most; beyond it status 130.
    pub max_bindings: usize,
    /// Probe a new anycast address on the home link before the first acknowledgement (RFC 3775 10.3.1).
    pub duplicate_address_detection: bool,
}

/// What the agent is told about its part among the agents and prefixes of the home link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeLinkConfig {
    /// This agent's own place in discovery replies; higher is preferred. The same number belongs into the Home Agent
    /// Information option of the Router Advertisements that the host sends (RFC 3775 7.4).
    pub preference: i16,
    /// The Refresh Interval advised in acknowledgements, in units of 4 seconds, where it is less than the lifetime
    /// (RFC 3775 6.2.4); `None` advises nothing.
    pub refresh_advice: Option<Lifetime>,
    /// Between which moments unsolicited Mobile Prefix Advertisements are sent; `None` sends none at all, and
    /// answers no solicitation.
    pub prefix_advertisements: Option<AdvertisementWindow>,
    /// Begins the row that orders equal agents and spreads advertisements; no two agents should share it.
    pub seed: u64,
}

impl Default for HomeLinkConfig {
    fn default() -> Self {
        let prefix_advertisements = Some(AdvertisementWindow::default());
        Self { preference: 0, refresh_advice: None, prefix_advertisements, seed: 0 }
    }
}

/// What an operator tells a running agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HaaCommand {
    /// Remove the binding of this anycast address, or all.
    Deregister(Option<Ipv6Addr>),
    /// End: remove everything.
    Shutdown,
}

/// One binding as `show bindings` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BindingView {
    pub anycast: Ipv6Addr,
    pub care_of: Ipv6Addr,
    /// The address the responder registered at.
    pub agent: Ipv6Addr,
    pub sequence: u16,
    /// A H L K as in the Binding Update.
    pub flags: String,
    /// Seconds, as granted.
    pub lifetime: u32,
    /// Seconds until it ends.
    pub remaining: u64,
}

impl BindingView {
    /// The view of `binding` at `now`.
    pub fn of(binding: &Binding, now: Instant) -> Self {
        let letters = [
            (UpdateFlags::ACKNOWLEDGE, 'A'),
            (UpdateFlags::HOME_REGISTRATION, 'H'),
            (UpdateFlags::LINK_LOCAL, 'L'),
            (UpdateFlags::KEY_MANAGEMENT, 'K'),
        ];
        Self {
            anycast: binding.home_address,
            care_of: binding.care_of,
            agent: binding.own_address,
            sequence: binding.sequence,
            flags: letters
                .iter()
                .filter(|(flag, _)| binding.flags.contains(*flag))
                .map(|(_, c)| *c)
                .collect(),
            lifetime: binding.lifetime.seconds(),
            remaining: binding.expires.saturating_since(now).as_secs(),
        }
    }
}

/// A first registration that waits for duplicate address detection.
#[derive(Clone, Debug)]
struct Pending {
    binding: Binding,
    answered: Answered,
    until: Instant,
}

/// A Binding Update that passed the checks every update gets.
struct Update {
    answered: Answered,
    care_of: Ipv6Addr,
    has_home_address_option: bool,
    sequence: u16,
    flags: UpdateFlags,
    lifetime: Lifetime,
}

impl Update {
    /// The update that made a binding that waits.
    fn of(binding: &Binding, answered: Answered) -> Self {
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

/// True for the messages of RFC 4861, which concern an address and not the node behind it.
fn is_neighbor_discovery(packet: &Packet<'_>) -> bool {
    packet.upper.protocol == next_header::ICMPV6
        && packet
            .payload()
            .first()
            .is_some_and(|of| (kind::ROUTER_SOLICITATION..=kind::REDIRECT).contains(of))
}

fn is_prefix_solicitation(packet: &Packet<'_>) -> bool {
    packet.payload().first() == Some(&kind::MOBILE_PREFIX_SOLICITATION)
}

/// The home anycast agent.
#[derive(Debug)]
pub struct Haa {
    config: HaaConfig,
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
    /// When the probes of `pending` end, in order.
    probes: BTreeSet<(Instant, Ipv6Addr)>,
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
        let actions = config
            .home_prefixes
            .iter()
            .map(|prefix| Action::CaptureAddress(home_link::home_agents_anycast(prefix)))
            .collect();
        let cache = BindingCache::new(config.max_bindings);
        Self {
            refresh_advice: home_link.refresh_advice,
            home_agents: HomeAgents::new(config.agent, home_link.preference, home_link.seed),
            prefixes: HomePrefixes::new(&config.home_prefixes),
            prefix_discovery: home_link
                .prefix_advertisements
                .map(|window| PrefixDiscovery::new(window, home_link.seed)),
            defended: BTreeMap::new(),
            link_locals: BTreeMap::new(),
            config,
            cache,
            pending: BTreeMap::new(),
            probes: BTreeSet::new(),
            limits: AnswerLimits::default(),
            counters: Counters::default(),
            actions,
        }
    }

    /// A packet for the agent that no forwarding rule took. Nothing it contains can make this fail.
    pub fn handle_packet(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.counters.count("packet.malformed");
            return;
        };
        if packet.duplicate_home_address {
            return self.refuse(&packet, Refusal::doubled_home_address());
        }
        if self.link_locals.contains_key(&packet.header.destination) && !is_neighbor_discovery(&packet) {
            return self.refuse_link_local(now, &packet);
        }
        match packet.upper.protocol {
            next_header::MOBILITY => self.handle_mobility(now, &packet),
            next_header::ICMPV6 if packet.headers.is_empty() => self.handle_icmpv6(now, &packet),
            next_header::ICMPV6 if self.is_from_bound(&packet) && is_prefix_solicitation(&packet) => {
                self.handle_icmpv6(now, &packet);
            }
            next_header::IPV6 => self.refuse_tunnel(now, &packet),
            _ if packet.home_address.is_some() => self.refuse_home_address(now, &packet),
            _ => self.actions.push_back(Action::Deliver(bytes.to_vec())),
        }
    }

    /// What the data path noticed; an agent of the basic model needs none of it.
    pub fn handle_observation(&mut self, _now: Instant, _observation: Observation) {}

    /// Lets time pass: ends lifetimes, finishes duplicate address detection.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(binding) = self.cache.take_expired(now) {
            self.counters.count("binding.expired");
            let report =
                Report::info("binding-expired").anycast(binding.home_address).care_of(binding.care_of);
            self.withdraw(&binding);
            self.report(report.because("no refresh arrived within its lifetime", "RFC 3775 9.6"));
        }
        while let Some((_, anycast)) = self.probes.first().copied().filter(|(until, _)| *until <= now) {
            if let Some(pending) = self.take_pending(&anycast) {
                self.accept(now, pending.binding, pending.answered);
            }
        }
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

    /// Carries out an operator's command.
    pub fn handle_command(&mut self, _now: Instant, command: &HaaCommand) {
        let only = match command {
            HaaCommand::Deregister(anycast) => *anycast,
            HaaCommand::Shutdown => None,
        };
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
            let prefixes = self.config.home_prefixes.iter();
            let addresses: Vec<_> = prefixes.map(home_link::home_agents_anycast).collect();
            self.actions.extend(addresses.into_iter().map(Action::ReleaseAddress));
        }
    }

    /// The next thing to be done, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` must be called, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let expiry = self.cache.next_expiry().map(|at| (at, "binding lifetime"));
        let probe = self.probes.first().map(|(until, _)| (*until, "duplicate address detection"));
        let agent = self.home_agents.next_expiry().map(|at| (at, "home agent lifetime"));
        let prefix = self.prefixes.next_expiry().map(|at| (at, "prefix lifetime"));
        let due = self.prefix_discovery.as_ref().and_then(PrefixDiscovery::next_due);
        let advertisement = due.map(|at| (at, "mobile prefix advertisement"));
        [expiry, probe, agent, prefix, advertisement].into_iter().flatten().min()
    }

    /// The home agents list, this agent first.
    pub fn home_agents(&self, now: Instant) -> Vec<HomeAgentView> {
        self.home_agents.views(now)
    }

    /// The anycast binding cache.
    pub fn bindings(&self, now: Instant) -> Vec<BindingView> {
        self.cache.iter().map(|binding| BindingView::of(binding, now)).collect()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Stores `binding` without any message or action: for benchmarks and simulations that need a full cache.
    pub fn preload(&mut self, binding: Binding) {
        self.cache.insert(binding);
    }

    fn take_pending(&mut self, anycast: &Ipv6Addr) -> Option<Pending> {
        let pending = self.pending.remove(anycast)?;
        self.probes.remove(&(pending.until, *anycast));
        Some(pending)
    }

    /// True for the address that dynamic home agent address discovery asks (RFC 3775 10.5.1).
    fn is_home_agents_anycast(&self, address: &Ipv6Addr) -> bool {
        self.config.home_prefixes.iter().any(|prefix| home_link::home_agents_anycast(prefix) == *address)
    }

    fn handle_mobility(&mut self, now: Instant, packet: &Packet<'_>) {
        let header = match input::receive(now, packet, &mut self.limits) {
            Ok(header) => header,
            Err(refusal) => return self.refuse(packet, refusal),
        };
        match &header.message {
            Message::BindingUpdate(update) => {
                self.counters.count("binding-update.received");
                match self.check_update(packet, &header, update) {
                    Ok(update) => self.handle_update(now, update),
                    Err(refusal) => self.refuse(packet, refusal),
                }
            }
            _ => self.counters.count("mobility.not-for-an-agent"),
        }
    }

    /// The silent checks of RFC 3775 9.5.1, 6.1.7 and 10.3.1, which come before any answer.
    fn check_update(
        &self,
        packet: &Packet<'_>,
        header: &MobilityHeader,
        update: &BindingUpdate,
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
            answered: Answered { own, source, home_address },
            care_of,
            has_home_address_option: packet.home_address.is_some(),
            sequence: update.sequence,
            flags: update.flags,
            lifetime: update.lifetime,
        })
    }

    /// Decides a Binding Update (RFC 3775 9.5.1, 10.3.1, 10.3.2); every path from here is acknowledged.
    fn handle_update(&mut self, now: Instant, update: Update) {
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
        };
        if known || !self.config.duplicate_address_detection {
            return self.accept(now, binding, update.answered);
        }
        self.probe(now, binding, update.answered);
    }

    /// Duplicate address detection for a first registration (RFC 3775 10.3.1). Updates that arrive meanwhile only
    /// replace what is waiting: one probe, one answer, for the newest number.
    fn probe(&mut self, now: Instant, binding: Binding, answered: Answered) {
        let anycast = binding.home_address;
        match self.pending.get_mut(&anycast) {
            Some(waiting) => {
                if is_newer(binding.sequence, waiting.binding.sequence) {
                    waiting.binding = binding;
                    waiting.answered = answered;
                }
            }
            None => {
                self.report(Report::debug("duplicate-address-detection").anycast(anycast));
                self.actions.push_back(Action::Send(home_link::duplicate_address_probe(anycast)));
                if let Some(link_local) = self.link_local_wanted(now, &binding) {
                    self.actions.push_back(Action::Send(home_link::duplicate_address_probe(link_local)));
                }
                let until = now + DUPLICATE_ADDRESS_WAIT;
                self.probes.insert((until, anycast));
                self.pending.insert(anycast, Pending { binding, answered, until });
            }
        }
    }

    /// Stores a binding, puts the rewrites in place, draws the address to the agent if it is new, and only then
    /// acknowledges, so that the responder's first packet finds everything ready.
    fn accept(&mut self, now: Instant, mut binding: Binding, answered: Answered) {
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
    fn deregister(&mut self, update: &Update) {
        let anycast = update.answered.home_address;
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

    fn withdraw(&mut self, binding: &Binding) {
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
        self.actions.push_back(Action::ReleaseAddress(anycast));
        self.defend_link_local(anycast, None);
    }

    /// Draws an address to this agent (RFC 3775 10.4.1).
    fn capture(&mut self, address: Ipv6Addr) {
        self.actions.push_back(Action::CaptureAddress(address));
        let source = self.config.link_local.unwrap_or(self.config.agent);
        self.actions.push_back(Action::Send(home_link::unsolicited_advertisement(
            &source,
            address,
            self.config.link_address,
        )));
    }

    /// The link-local address that belongs to a home address (RFC 3775 10.3.1).
    fn link_local_of(&self, now: Instant, home_address: &Ipv6Addr) -> Option<Ipv6Addr> {
        let prefix = self.prefixes.of(now, home_address)?;
        Some(home_link::link_local_of(home_address, prefix.prefix_len()))
    }

    /// The link-local address that is to be defended with `binding`, which the L flag asks for.
    fn link_local_wanted(&self, now: Instant, binding: &Binding) -> Option<Ipv6Addr> {
        let wanted = binding.flags.contains(UpdateFlags::LINK_LOCAL);
        wanted.then(|| self.link_local_of(now, &binding.home_address)).flatten()
    }

    /// Defends `wanted` for `anycast` from now on and no other link-local address. Addresses of several prefixes may
    /// have one in common.
    fn defend_link_local(&mut self, anycast: Ipv6Addr, wanted: Option<Ipv6Addr>) {
        let former = match wanted {
            Some(address) => self.defended.insert(anycast, address),
            None => self.defended.remove(&anycast),
        };
        if former == wanted {
            return;
        }
        if let Some(address) = wanted {
            let users = self.link_locals.entry(address).or_default();
            *users += 1;
            if *users == 1 {
                self.capture(address);
            }
        }
        let Some(address) = former else { return };
        if let Some(users) = self.link_locals.get_mut(&address) {
            *users -= 1;
            if *users == 0 {
                self.link_locals.remove(&address);
                self.actions.push_back(Action::ReleaseAddress(address));
            }
        }
    }

    fn reject(
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

    fn acknowledge(&mut self, answered: Answered, status: Status, sequence: u16, lifetime: Lifetime) {
        self.counters.count("binding-acknowledgement.sent");
        let granted = status.is_accepted() && lifetime != Lifetime::ZERO;
        let advice = self.refresh_advice.filter(|advice| granted && *advice < lifetime);
        let advice = advice.map(MobilityOption::BindingRefreshAdvice);
        let options = advice.as_slice();
        let packet = acknowledgement::packet_with(answered, status, sequence, lifetime, options, None);
        self.actions.push_back(Action::Send(packet));
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
            Icmpv6Message::RouterAdvertisement { .. } => {
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
            _ => self.counters.count("icmpv6.ignored"),
        }
    }

    /// Dynamic Home Agent Address Discovery (RFC 3775 10.5.1): the reply comes from the unicast address.
    fn answer_discovery(&mut self, packet: &Packet<'_>, identifier: u16) {
        let asked = packet.header.destination;
        if !self.is_home_agents_anycast(&asked) || !is_routable_unicast(&packet.header.source) {
            return self.counters.count("dhaad.ignored");
        }
        self.counters.count("dhaad.answered");
        let message = Icmpv6Message::HomeAgentDiscoveryReply {
            code: 0,
            identifier,
            reserved: 0,
            home_agents: self.home_agents.in_order(),
        };
        let reply = home_link::icmpv6_packet(&self.config.agent, &packet.header.source, HOP_LIMIT, message);
        self.actions.push_back(Action::Send(reply));
        self.report(Report::debug("home-agent-discovered").peer(packet.header.source));
    }

    /// A Router Advertisement of the home link: who else is a home agent, and how long the prefixes are good
    /// (RFC 3775 10.5.1, 10.6.1).
    fn learn(&mut self, now: Instant, heard: &RouterAdvertisement) {
        self.counters.count("router-advertisement.received");
        match self.home_agents.learn(now, heard) {
            Learned::Nothing => {}
            Learned::Added => self.report(Report::info("home-agent-found").peer(heard.router)),
            Learned::Removed => {
                let report = Report::info("home-agent-lost").peer(heard.router);
                self.report(report.because("it says that it is one no longer", "RFC 3775 10.5.1"));
            }
        }
        if self.prefixes.learn(now, heard).is_empty() {
            return;
        }
        self.report(Report::info("home-prefixes-changed").peer(heard.router));
        self.end_bindings_without_prefix(now);
        let preferred = self.prefixes.shortest_preferred(now);
        if let Some(discovery) = &mut self.prefix_discovery {
            for binding in self.cache.iter() {
                discovery.changed(now, binding.key(), preferred);
            }
        }
    }

    /// RFC 3775 10.3.1: a binding does not outlive the prefix of its home address.
    fn end_bindings_without_prefix(&mut self, now: Instant) {
        let homeless =
            self.cache.iter().filter(|binding| self.prefixes.of(now, &binding.home_address).is_none());
        for key in homeless.map(Binding::key).collect::<Vec<_>>() {
            let Some(binding) = self.cache.remove(&key) else { continue };
            self.counters.count("binding.prefix-invalid");
            self.withdraw(&binding);
            let report = Report::info("binding-removed").anycast(key.0).care_of(binding.care_of);
            self.report(report.because("the home prefix is no longer valid", "RFC 3775 10.3.1"));
        }
    }

    /// A Mobile Prefix Solicitation of a bound responder (RFC 3775 6.7); any other is not answered.
    fn answer_prefix_solicitation(&mut self, now: Instant, packet: &Packet<'_>, identifier: u16) {
        let key = (packet.final_source(), packet.header.destination);
        match &mut self.prefix_discovery {
            Some(discovery) if self.cache.get(&key).is_some() => {
                discovery.solicited(now, key, identifier);
                self.advertise_prefixes(now);
            }
            _ => self.counters.count("mobile-prefix-solicitation.ignored"),
        }
    }

    /// Sends the Mobile Prefix Advertisements whose time has come (RFC 3775 10.6.3).
    fn advertise_prefixes(&mut self, now: Instant) {
        let preferred = self.prefixes.shortest_preferred(now);
        while let Some(due) = self.prefix_discovery.as_mut().and_then(|d| d.take_due(now, preferred)) {
            let Some(binding) = self.cache.get(&due.key) else { continue };
            let (own, care_of, anycast) = (binding.own_address, binding.care_of, binding.home_address);
            let options = self.prefixes.options(now, &self.config.agent);
            let packet = prefix_discovery::advertisement(&own, &care_of, &anycast, due.identifier, options);
            self.counters.count(if due.is_solicited {
                "mobile-prefix-advertisement.solicited"
            } else {
                "mobile-prefix-advertisement.unsolicited"
            });
            self.actions.push_back(Action::Send(packet));
            self.report(Report::debug("prefixes-advertised").anycast(anycast).care_of(care_of));
        }
    }

    /// True for a packet whose home address option matches a binding (RFC 3775 9.3.1).
    fn is_from_bound(&self, packet: &Packet<'_>) -> bool {
        let key = (packet.final_source(), packet.header.destination);
        let binding = self.cache.get(&key).filter(|_| packet.home_address.is_some());
        binding.is_some_and(|binding| binding.care_of == packet.header.source)
    }

    /// A packet to a responder's link-local address, which must not enter the tunnel (RFC 3775 10.4.2).
    fn refuse_link_local(&mut self, now: Instant, packet: &Packet<'_>) {
        let source = self.config.link_local.unwrap_or(self.config.agent);
        let answer = error_packet(&source, packet.bytes, ErrorReason::DestinationUnreachable(3))
            .filter(|_| self.limits.icmp_errors.take(now));
        let refusal = Refusal {
            answer,
            counter: "link-local.refused",
            reason: "packets to a responder's link-local address are not tunnelled",
            clause: "RFC 3775 10.4.2",
        };
        self.refuse(packet, refusal);
    }

    /// While an address is probed, any sign of it on the link means status 134 (RFC 3775 10.3.1, RFC 4862 5.4).
    fn handle_neighbor_discovery(&mut self, now: Instant, packet: &Packet<'_>, message: &Icmpv6Message) {
        // Whoever is not on the link cannot send with this hop limit (RFC 4861 7.1), and has no say.
        if packet.header.hop_limit != NEIGHBOR_DISCOVERY_HOP_LIMIT {
            return self.counters.count("neighbor-discovery.off-link");
        }
        let Some(target) = home_link::conflicts_with(&packet.header.source, message) else { return };
        let Some(anycast) = self.probed_for(now, &target) else { return };
        let Some(pending) = self.take_pending(&anycast) else { return };
        let update = Update::of(&pending.binding, pending.answered);
        self.reject(
            &update,
            Status::DUPLICATE_ADDRESS,
            update.sequence,
            "another node on the home link uses the anycast address",
            "RFC 3775 10.3.1",
        );
    }

    /// The anycast address that waits for the probe of `target`, which may be its link-local address.
    fn probed_for(&self, now: Instant, target: &Ipv6Addr) -> Option<Ipv6Addr> {
        if !target.is_unicast_link_local() {
            return self.pending.contains_key(target).then_some(*target);
        }
        let waiting = self.pending.values().map(|pending| &pending.binding);
        let mut waiting = waiting.filter(|binding| self.link_local_wanted(now, binding) == Some(*target));
        waiting.next().map(|binding| binding.home_address)
    }

    /// An error about one of our tunnel packets becomes an error about the packet inside (RFC 2473 8).
    fn relay(&mut self, now: Instant, packet: &Packet<'_>) {
        if packet.header.destination != self.config.agent || !self.quotes_my_tunnel(packet) {
            return self.counters.count("tunnel-error.ignored");
        }
        let Some(error) = relay_error(packet.bytes, &self.config.agent) else {
            return self.counters.count("tunnel-error.ignored");
        };
        if self.limits.icmp_errors.take(now) {
            self.counters.count("tunnel-error.relayed");
            self.actions.push_back(Action::Send(error));
        }
    }

    /// True when an ICMPv6 error quotes a packet that this agent tunnels to a bound responder.
    fn quotes_my_tunnel(&self, packet: &Packet<'_>) -> bool {
        let Ok(error) = Icmpv6::parse(packet.payload()) else { return false };
        let Some(tunnel) = error.message.invoking().and_then(TunnelQuoted::of) else { return false };
        let key = (tunnel.inner_destination, tunnel.outer_source);
        self.cache.get(&key).is_some_and(|binding| binding.care_of == tunnel.outer_destination)
    }

    /// A tunnel packet that no rule took: its outer source is not the bound care-of address (RFC 3775 10.4.5).
    fn refuse_tunnel(&mut self, now: Instant, packet: &Packet<'_>) {
        let pointer = u32::try_from(packet.upper.next_header_offset).unwrap_or(u32::MAX);
        // Code 1 is what a node says that runs no such tunnel, and what KAME answers here.
        let problem = ErrorReason::ParameterProblem { code: 1, pointer };
        let answer = self.limits.icmp_error(now, packet, problem);
        let refusal = Refusal {
            answer,
            counter: "tunnel.refused",
            reason: "a tunnelled packet's source is not the care-of address bound to its inner source",
            clause: "RFC 3775 10.4.5",
        };
        self.refuse(packet, refusal);
    }

    /// A home address option without a matching binding (RFC 3775 9.3.1).
    fn refuse_home_address(&mut self, now: Instant, packet: &Packet<'_>) {
        let refusal = self.limits.unbound_home_address(now, packet);
        self.refuse(packet, refusal);
    }

    fn refuse(&mut self, packet: &Packet<'_>, refusal: Refusal) {
        self.counters.count(refusal.counter);
        let mut report = Report::debug("packet-refused").peer(packet.header.source);
        if is_unicast(&packet.final_source()) && packet.home_address.is_some() {
            report = report.anycast(packet.final_source());
        }
        self.report(report.because(refusal.reason, refusal.clause));
        self.actions.extend(refusal.answer.map(Action::Send));
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }
}
