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
use super::home_link;
use super::input::{
    self, AnswerLimits, BINDING_ERROR_UNKNOWN_HOME_ADDRESS, Refusal, TunnelQuoted, is_routable_unicast,
    is_unicast,
};
use super::limits::{DUPLICATE_ADDRESS_WAIT, HOP_LIMIT, NEIGHBOR_DISCOVERY_HOP_LIMIT};
use super::report::Report;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{ErrorReason, Icmpv6, Icmpv6Message};
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

/// The home anycast agent.
#[derive(Debug)]
pub struct Haa {
    config: HaaConfig,
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
        let actions = config
            .home_prefixes
            .iter()
            .map(|prefix| Action::CaptureAddress(home_link::home_agents_anycast(prefix)))
            .collect();
        let cache = BindingCache::new(config.max_bindings);
        Self {
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
            self.refuse(
                &packet,
                Refusal::silent("home-address.twice", "two home address options", "RFC 3775 6.3"),
            );
            return;
        }
        match packet.upper.protocol {
            next_header::MOBILITY => self.handle_mobility(now, &packet),
            next_header::ICMPV6 if packet.headers.is_empty() => self.handle_icmpv6(now, &packet),
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
    }

    /// Carries out an operator's command.
    pub fn handle_command(&mut self, _now: Instant, command: &HaaCommand) {
        let only = match command {
            HaaCommand::Deregister(anycast) => *anycast,
            HaaCommand::Shutdown => None,
        };
        let keys: Vec<_> = self
            .cache
            .iter()
            .filter(|binding| only.is_none_or(|anycast| anycast == binding.home_address))
            .map(Binding::key)
            .collect();
        let pending: Vec<_> = self.pending.keys().copied().collect();
        for anycast in pending.into_iter().filter(|anycast| only.is_none_or(|only| only == *anycast)) {
            self.take_pending(&anycast);
        }
        for key in keys {
            if let Some(binding) = self.cache.remove(&key) {
                let report = Report::info("binding-removed").anycast(key.0).care_of(binding.care_of);
                self.withdraw(&binding);
                self.report(report.because("the operator asked for it", ""));
            }
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
        [expiry, probe].into_iter().flatten().min()
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
        for option in super::auth::seal::options(header) {
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
        if !self.config.home_prefixes.iter().any(|prefix| prefix.contains(&home_address)) {
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
                let until = now + DUPLICATE_ADDRESS_WAIT;
                self.probes.insert((until, anycast));
                self.pending.insert(anycast, Pending { binding, answered, until });
            }
        }
    }

    /// Stores a binding, puts the rewrites in place, draws the address to the agent if it is new, and only then
    /// acknowledges, so that the responder's first packet finds everything ready.
    fn accept(&mut self, now: Instant, mut binding: Binding, answered: Answered) {
        binding.expires = now + binding.lifetime.duration();
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
            self.actions.push_back(Action::CaptureAddress(anycast));
            let source = self.config.link_local.unwrap_or(self.config.agent);
            self.actions.push_back(Action::Send(home_link::unsolicited_advertisement(
                &source,
                anycast,
                self.config.link_address,
            )));
        }
        self.counters.count("binding-update.accepted");
        self.acknowledge(answered, Status::ACCEPTED, sequence, lifetime);
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
        let own = RuleKey::between(RuleKind::HomeAddressIn, anycast, binding.own_address);
        self.actions.push_back(Action::RemoveRule(own));
        // A responder may also be registered at another address of this agent (RFC 3775 9.1): then that binding
        // has the tunnel from now on.
        if let Some(other) = self.cache.of(&anycast) {
            let (agent, care_of) = (other.own_address, other.care_of);
            for rule in [
                Rule::TunnelToResponder { anycast, agent, care_of },
                Rule::TunnelFromResponder { anycast, agent, care_of },
            ] {
                self.actions.push_back(Action::InstallRule(rule));
            }
            return;
        }
        for kind in [RuleKind::TunnelToResponder, RuleKind::TunnelFromResponder] {
            self.actions.push_back(Action::RemoveRule(RuleKey::of(kind, anycast)));
        }
        self.actions.push_back(Action::ReleaseAddress(anycast));
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
        let packet = acknowledgement::packet(answered, status, sequence, lifetime, None);
        self.actions.push_back(Action::Send(packet));
    }

    fn handle_icmpv6(&mut self, now: Instant, packet: &Packet<'_>) {
        let Ok(received) = Icmpv6::parse(packet.payload()) else {
            self.counters.count("icmpv6.malformed");
            return;
        };
        let checked = crate::wire::ipv6::checksum(
            &packet.header.source,
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
            Icmpv6Message::NeighborAdvertisement { .. } | Icmpv6Message::NeighborSolicitation { .. } => {
                self.handle_neighbor_discovery(packet, &received.message);
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
            home_agents: vec![self.config.agent],
        };
        let reply = home_link::icmpv6_packet(&self.config.agent, &packet.header.source, HOP_LIMIT, message);
        self.actions.push_back(Action::Send(reply));
        self.report(Report::debug("home-agent-discovered").peer(packet.header.source));
    }

    /// While an address is probed, any sign of it on the link means status 134 (RFC 3775 10.3.1, RFC 4862 5.4).
    fn handle_neighbor_discovery(&mut self, packet: &Packet<'_>, message: &Icmpv6Message) {
        // Whoever is not on the link cannot send with this hop limit (RFC 4861 7.1), and has no say.
        if packet.header.hop_limit != NEIGHBOR_DISCOVERY_HOP_LIMIT {
            return self.counters.count("neighbor-discovery.off-link");
        }
        let Some(target) = home_link::conflicts_with(&packet.header.source, message) else { return };
        let Some(pending) = self.take_pending(&target) else { return };
        let update = Update {
            answered: pending.answered,
            care_of: pending.binding.care_of,
            has_home_address_option: true,
            sequence: pending.binding.sequence,
            flags: pending.binding.flags,
            lifetime: pending.binding.lifetime,
        };
        self.reject(
            &update,
            Status::DUPLICATE_ADDRESS,
            update.sequence,
            "another node on the home link uses the anycast address",
            "RFC 3775 10.3.1",
        );
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
        let refusal = Refusal {
            answer: self.limits.binding_error(now, packet, BINDING_ERROR_UNKNOWN_HOME_ADDRESS),
            counter: "home-address.unbound",
            reason: "a home address option without a binding",
            clause: "RFC 3775 9.3.1",
        };
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
