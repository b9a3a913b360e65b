//! The anycast initiator (thesis 4.2.3; Mobile IPv6's correspondent node, RFC 3775 section 9): answers return
//! routability without keeping state, checks the authenticator of Binding Updates, and keeps a binding cache of its
//! own so that its packets go straight to the responder. Driven by `daemon`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;

use super::acknowledgement::Answered;
use super::action::{Action, Observation, RuleKey};
use super::auth::nonces::NonceRing;
use super::auth::tokens::TokenKind;
use super::binding::cache::{BindingCache, BindingKey};
use super::clock::Instant;
use super::counters::Counters;
use super::haa::BindingView;
use super::input::{self, AnswerLimits, Refusal};
use super::random::Random;
use super::report::Report;
use super::role::Role;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::ErrorReason;
use crate::wire::ipv6::next_header;
use crate::wire::mobility::Message;
use bindings::Usage;
use routability::Unauthorised;

mod bindings;
mod errors;
mod routability;

/// What the initiator is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AiConfig {
    /// Bindings held at most; beyond it status 130.
    pub max_bindings: usize,
}

/// What an operator decides about an initiator beyond its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AiPolicy {
    /// False makes the node answer Mobile IPv6 as a host that never heard of it (RFC 3775 8.2).
    pub route_optimisation: bool,
}

impl Default for AiPolicy {
    fn default() -> Self {
        Self { route_optimisation: true }
    }
}

/// What an operator tells a running initiator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AiCommand {
    /// Remove the binding of this anycast address, or all.
    Deregister(Option<Ipv6Addr>),
    /// End: remove everything.
    Shutdown,
}

/// The anycast initiator.
pub struct Ai {
    random: Box<dyn Random + Send>,
    policy: AiPolicy,
    nonces: NonceRing,
    cache: BindingCache,
    usage: BTreeMap<BindingKey, Usage>,
    /// When each of `usage` wants a Binding Refresh Request, in order.
    refreshes: BTreeSet<(Instant, BindingKey)>,
    /// Home nonces up to this one have served a binding that is gone: they authorise no new one, or an old Binding
    /// Update could be replayed (RFC 3775 5.2.8).
    spent: BTreeMap<Ipv6Addr, (u16, Instant)>,
    /// When each of `spent` was, oldest first.
    spent_at: VecDeque<(Instant, Ipv6Addr)>,
    /// No binding is idle before this moment, so that a full cache need not be searched for one.
    in_use_until: Instant,
    limits: AnswerLimits,
    counters: Counters,
    actions: VecDeque<Action>,
}

impl Ai {
    /// An initiator without bindings and with a fresh node key.
    pub fn new(config: &AiConfig, mut random: Box<dyn Random + Send>) -> Self {
        let nonces = NonceRing::new(random.as_mut());
        Self {
            random,
            policy: AiPolicy::default(),
            nonces,
            cache: BindingCache::new(config.max_bindings),
            usage: BTreeMap::new(),
            refreshes: BTreeSet::new(),
            spent: BTreeMap::new(),
            spent_at: VecDeque::new(),
            in_use_until: Instant::START,
            limits: AnswerLimits::default(),
            counters: Counters::default(),
            actions: VecDeque::new(),
        }
    }

    /// The same initiator under this policy.
    pub fn with_policy(mut self, policy: AiPolicy) -> Self {
        self.policy = policy;
        self
    }
}

impl Role for Ai {
    fn handle_packet(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.counters.count("packet.malformed");
            return;
        };
        if let Some(refusal) = Refusal::at_stationary(&packet) {
            return self.refuse(&packet, refusal);
        }
        if !self.policy.route_optimisation && self.refuse_as_plain_host(now, &packet) {
            return;
        }
        match packet.upper.protocol {
            next_header::MOBILITY => self.handle_mobility(now, &packet),
            _ if packet.home_address.is_some() => {
                let refusal = self.limits.unbound_home_address(now, &packet);
                self.refuse(&packet, refusal);
            }
            next_header::ICMPV6 if packet.headers.is_empty() => self.handle_icmpv6(now, &packet),
            _ => self.actions.push_back(Action::Deliver(packet.bytes.to_vec())),
        }
    }

    fn handle_observation(&mut self, now: Instant, observation: Observation) {
        if let Observation::InUse(key) = observation
            && let Some(usage) = self.usage.get_mut(&(key.anycast, key.peer))
        {
            usage.used = now;
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(binding) = self.cache.take_expired(now) {
            self.withdraw(now, &binding);
            let report =
                Report::info("binding-expired").anycast(binding.home_address).care_of(binding.care_of);
            self.report(report.because("no refresh arrived within its lifetime", "RFC 3775 9.6"));
        }
        while let Some((at, key)) = self.refreshes.first().copied().filter(|(at, _)| *at <= now) {
            self.refreshes.remove(&(at, key));
            self.request_refresh(now, key);
        }
        self.forget_spent(now);
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let expiry = self.cache.next_expiry().map(|at| (at, "binding lifetime"));
        let refresh = self.refreshes.first().map(|(at, _)| (*at, "binding refresh request"));
        [expiry, refresh].into_iter().flatten().min()
    }

    fn holds_until(&self, key: &RuleKey) -> Option<Instant> {
        self.cache.get(&(key.anycast, key.peer)).map(|binding| binding.expires)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Ai {
    /// Answers what a host without Mobile IPv6 does not know as such a host does (RFC 8200 4.2, RFC 4443 3.4): the
    /// home address option with Parameter Problem code 2, the Mobility Header with code 1. False when there is
    /// neither.
    fn refuse_as_plain_host(&mut self, now: Instant, packet: &Packet<'_>) -> bool {
        let (code, at) = if let Some(option) = packet.home_address.as_ref() {
            (2, option.option_offset)
        } else if packet.upper.protocol == next_header::MOBILITY {
            (1, packet.upper.next_header_offset)
        } else {
            return false;
        };
        let pointer = u32::try_from(at).unwrap_or(u32::MAX);
        let refusal = Refusal {
            answer: self.limits.icmp_error(now, packet, ErrorReason::ParameterProblem { code, pointer }),
            counter: "route-optimisation.disabled",
            reason: "route optimisation is switched off",
            clause: "RFC 3775 8.2",
        };
        self.refuse(packet, refusal);
        true
    }

    /// Carries out an operator's command.
    pub fn handle_command(&mut self, now: Instant, command: &AiCommand) {
        let only = match command {
            AiCommand::Deregister(anycast) => *anycast,
            AiCommand::Shutdown => None,
        };
        for binding in self.cache.take(only) {
            self.withdraw(now, &binding);
            let report =
                Report::info("binding-removed").anycast(binding.home_address).care_of(binding.care_of);
            self.report(report.because("the operator asked for it", ""));
        }
    }

    /// The binding cache.
    pub fn bindings(&self, now: Instant) -> Vec<BindingView> {
        self.cache.iter().map(|binding| BindingView::of(binding, now)).collect()
    }

    fn handle_mobility(&mut self, now: Instant, packet: &Packet<'_>) {
        let header = match input::receive(now, packet, &mut self.limits) {
            Ok(header) => header,
            Err(refusal) => return self.refuse(packet, refusal),
        };
        match &header.message {
            Message::HomeTestInit(init) => {
                self.counters.count("home-test-init.received");
                self.answer_test(now, packet, init.cookie, TokenKind::Home);
            }
            Message::CareOfTestInit(init) => {
                self.counters.count("care-of-test-init.received");
                self.answer_test(now, packet, init.cookie, TokenKind::CareOf);
            }
            Message::BindingUpdate(update) => {
                self.counters.count("binding-update.received");
                match self.authorise(now, packet, &header, update) {
                    Ok(update) => self.handle_update(now, &update),
                    Err(Unauthorised::Dropped(refusal)) => self.refuse(packet, refusal),
                    Err(Unauthorised::Denied(denial)) => {
                        let answered = Answered::of(packet);
                        self.deny(answered, update.sequence, update.lifetime, None, &denial);
                    }
                }
            }
            _ => self.counters.count("mobility.not-for-an-initiator"),
        }
    }

    fn refuse(&mut self, packet: &Packet<'_>, refusal: Refusal) {
        self.counters.count(refusal.counter);
        let mut report = Report::debug("packet-refused").peer(packet.header.source);
        if packet.home_address.is_some() {
            report = report.anycast(packet.final_source());
        }
        self.report(report.because(refusal.reason, refusal.clause));
        self.actions.extend(refusal.answer.map(Action::Send));
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }
}
