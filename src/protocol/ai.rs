//! The anycast initiator (thesis 4.2.3; Mobile IPv6's correspondent node, RFC 3775 section 9): answers return
//! routability without keeping state, checks the authenticator of Binding Updates, and keeps a binding cache of its
//! own so that its packets go straight to the responder. Driven by `daemon`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;

use super::acknowledgement::{self, Answered};
use super::action::{Action, Observation, Rule, RuleKey, RuleKind};
use super::auth::nonces::NonceRing;
use super::auth::seal::{self, SealKey};
use super::auth::tokens::{TokenKind, binding_management_key};
use super::binding::cache::{Binding, BindingCache, BindingKey};
use super::binding::sequence::is_newer;
use super::clock::Instant;
use super::counters::Counters;
use super::haa::BindingView;
use super::input::{self, AnswerLimits, Refusal, is_routable_unicast, mobility_packet};
use super::limits::{MAX_NONCE_LIFETIME, MAX_RR_BINDING_LIFETIME};
use super::random::Random;
use super::report::Report;
use crate::wire::PacketBuffer;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{ErrorReason, Icmpv6, Icmpv6Message, error_packet};
use crate::wire::ipv6::{self, next_header};
use crate::wire::mobility::{
    BindingRefreshRequest, BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption, Status, Test,
    UpdateFlags,
};
use crate::wire::rewrite::strip_routing2;

/// This many Destination Unreachables about packets with a routing header end a binding (RFC 3775 9.3.4 wants them
/// "persistent"; UMIP counts the same), at most one of them counted in [`UNREACHABLE_INTERVAL`].
const PERSISTENT_UNREACHABLE: u32 = 4;
/// What comes closer together than this has one cause.
const UNREACHABLE_INTERVAL: Duration = Duration::from_secs(1);
/// A binding that carried a packet within this time is worth a Binding Refresh Request.
const IN_USE: Duration = Duration::from_secs(60);
/// At most this many Binding Refresh Requests for one lifetime (RFC 3775 9.5.5).
const MAX_REFRESH_REQUESTS: u8 = 2;
/// Home addresses remembered at most whose nonces are spent; each until the nonces are too old anyway. Beyond it every
/// token issued so far is revoked, which is what makes forgetting safe (RFC 3775 5.2.8).
const MAX_SPENT: usize = 16_384;

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

/// What is remembered of a binding beside the cache entry.
#[derive(Clone, Copy, Debug)]
struct Usage {
    used: Instant,
    refresh_at: Option<Instant>,
    refresh_requests: u8,
    unreachable: u32,
    unreachable_at: Option<Instant>,
    home_nonce: u16,
}

/// A Binding Update that return routability has authorised.
struct Authorised {
    answered: Answered,
    care_of: Ipv6Addr,
    sequence: u16,
    flags: UpdateFlags,
    lifetime: Lifetime,
    home_nonce: u16,
    key: [u8; 20],
}

/// A Binding Update that is answered with an error.
struct Denial {
    status: Status,
    reason: &'static str,
    clause: &'static str,
}

/// Why a Binding Update was not authorised.
enum Unauthorised {
    /// Silence.
    Dropped(Refusal),
    /// An acknowledgement without authenticator (statuses 131, 136 to 139).
    Denied(Denial),
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

    /// A packet that no forwarding rule took, or a copy of an ICMPv6 message.
    pub fn handle_packet(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.counters.count("packet.malformed");
            return;
        };
        let malplaced = Refusal::of_home_address(&packet).or_else(|| Refusal::of_routing_header(&packet));
        if let Some(refusal) = malplaced {
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
            _ => self.actions.push_back(Action::Deliver(bytes.to_vec())),
        }
    }

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

    /// What the data path noticed.
    pub fn handle_observation(&mut self, now: Instant, observation: Observation) {
        if let Observation::InUse(key) = observation
            && let Some(usage) = self.usage.get_mut(&(key.anycast, key.peer))
        {
            usage.used = now;
        }
    }

    /// Lets time pass: ends lifetimes, asks for refreshes.
    pub fn handle_timeout(&mut self, now: Instant) {
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

    /// The next thing to be done, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` must be called, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let expiry = self.cache.next_expiry().map(|at| (at, "binding lifetime"));
        let refresh = self.refreshes.first().map(|(at, _)| (*at, "binding refresh request"));
        [expiry, refresh].into_iter().flatten().min()
    }

    /// The binding cache.
    pub fn bindings(&self, now: Instant) -> Vec<BindingView> {
        self.cache.iter().map(|binding| BindingView::of(binding, now)).collect()
    }

    /// When the binding is over that the rule with this key stands for, unless it is renewed.
    pub fn holds_until(&self, key: &RuleKey) -> Option<Instant> {
        self.cache.get(&(key.anycast, key.peer)).map(|binding| binding.expires)
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
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

    /// Home Test and Care-of Test (RFC 3775 9.4.1-9.4.4): straight back to where the request came from, whatever
    /// the cache says, and nothing is remembered.
    fn answer_test(&mut self, now: Instant, packet: &Packet<'_>, cookie: [u8; 8], kind: TokenKind) {
        let (own, peer) = (packet.header.destination, packet.header.source);
        if packet.home_address.is_some() || packet.routing2.is_some() {
            let reason = "a test message with a home address option or routing header";
            return self.refuse(packet, Refusal::silent("test.dropped", reason, "RFC 3775 9.4.1"));
        }
        if !is_routable_unicast(&peer) {
            let reason = "a test message from no routable unicast address";
            return self.refuse(packet, Refusal::silent("test.dropped", reason, "RFC 3775 9.4.1"));
        }
        // Care-of nonces are never spent.
        let spent = (kind == TokenKind::Home).then(|| self.spent_up_to(&peer)).flatten();
        let Some((nonce_index, token)) = self.nonces.issue(now, self.random.as_mut(), &peer, kind, spent)
        else {
            let reason = "the nonce in use is spent and too new to be replaced";
            return self.refuse(packet, Refusal::silent("test.nonce-spent", reason, "RFC 3775 5.2.8"));
        };
        let test = Test { nonce_index, cookie, token, options: Vec::new() };
        let message = match kind {
            TokenKind::Home => Message::HomeTest(test),
            TokenKind::CareOf => Message::CareOfTest(test),
        };
        self.counters.count("test.answered");
        self.actions.push_back(Action::Send(mobility_packet(&own, &peer, message)));
    }

    /// The checks of RFC 3775 9.5.1 up to the authenticator, in the order both reference stacks have them.
    fn authorise(
        &self,
        now: Instant,
        packet: &Packet<'_>,
        header: &MobilityHeader,
        update: &BindingUpdate,
    ) -> Result<Authorised, Unauthorised> {
        let dropped = |reason, clause| {
            Err(Unauthorised::Dropped(Refusal::silent("binding-update.dropped", reason, clause)))
        };
        let source = packet.header.source;
        let own = packet.header.destination;
        let home_address = packet.final_source();
        let answered = Answered::of(packet);
        let mut care_of = source;
        let mut alternates = 0;
        let mut indices = None;
        for option in header.message.options() {
            match option {
                MobilityOption::AlternateCareOfAddress(address) => {
                    care_of = *address;
                    alternates += 1;
                }
                MobilityOption::NonceIndices { home, care_of } => indices = Some((*home, *care_of)),
                _ => {}
            }
        }
        if alternates > 1 {
            return dropped("two Alternate Care-of Address options", "RFC 3775 6.2.5");
        }
        if ![home_address, source, care_of].iter().all(is_routable_unicast) {
            return dropped("an address of the binding is not a routable unicast address", "RFC 3775 9.5.1");
        }
        let home_registration = update.flags.contains(UpdateFlags::HOME_REGISTRATION);
        let Some((home_index, care_of_index)) = indices else {
            if !home_registration {
                return dropped("no Nonce Indices", "RFC 3775 9.5.1");
            }
            let bound = self.cache.get(&(home_address, own)).is_some();
            return Err(if bound {
                let reason = "a binding of return routability cannot become a home registration";
                Unauthorised::Denied(Denial {
                    status: Status::REGISTRATION_TYPE_CHANGE,
                    reason,
                    clause: "RFC 3775 9.5.1",
                })
            } else {
                let reason = "this node is not a home agent";
                Unauthorised::Denied(Denial {
                    status: Status::HOME_REGISTRATION_NOT_SUPPORTED,
                    reason,
                    clause: "RFC 3775 10.3.1",
                })
            });
        };
        if home_registration {
            return dropped("a home registration with Nonce Indices", "RFC 3775 9.5.1");
        }
        if !matches!(header.message.options().last(), Some(MobilityOption::BindingAuthorizationData(_))) {
            return dropped("no Binding Authorization Data as the last option", "RFC 3775 9.5.1");
        }
        let deletes = update.lifetime == Lifetime::ZERO || care_of == home_address;
        let home_token = self
            .nonces
            .recall(now, home_index, &home_address, TokenKind::Home)
            .filter(|_| self.spent_up_to(&home_address).is_none_or(|spent| is_newer(home_index, spent)));
        let care_of_token = self.nonces.recall(now, care_of_index, &care_of, TokenKind::CareOf);
        let expired =
            |status, reason| Err(Unauthorised::Denied(Denial { status, reason, clause: "RFC 3775 9.5.1" }));
        let key = match (home_token, care_of_token, deletes) {
            (Some(home), _, true) => binding_management_key(&home, None),
            (Some(home), Some(care_of), false) => binding_management_key(&home, Some(&care_of)),
            (None, Some(_), _) | (None, None, true) => {
                let spent = self.nonces.is_valid(now, home_index);
                let status = if spent { Status::EXPIRED_NONCES } else { Status::EXPIRED_HOME_NONCE };
                return expired(status, "the home nonce index is unknown, too old or spent by a deletion");
            }
            (Some(_), None, false) => {
                return expired(
                    Status::EXPIRED_CARE_OF_NONCE,
                    "the care-of nonce index is unknown or too old",
                );
            }
            (None, None, false) => {
                return expired(Status::EXPIRED_NONCES, "both nonce indices are unknown or too old");
            }
        };
        let seal_key = SealKey { binding_management_key: &key, care_of, correspondent: own };
        if !seal::is_sealed_by(header, packet.payload(), seal_key) {
            return dropped("the authenticator is wrong", "RFC 3775 9.5.1");
        }
        if care_of != home_address && self.cache.binds(&care_of) {
            return dropped("the care-of address is itself a bound home address", "RFC 3775 6.1.7");
        }
        Ok(Authorised {
            answered,
            care_of,
            sequence: update.sequence,
            flags: update.flags,
            lifetime: update.lifetime,
            home_nonce: home_index,
            key,
        })
    }

    /// Carries an authorised Binding Update out (RFC 3775 9.5.1-9.5.4).
    fn handle_update(&mut self, now: Instant, update: &Authorised) {
        let Answered { own, home_address: anycast, .. } = update.answered;
        let key = (anycast, own);
        let sealed = Some((update.care_of, &update.key));
        if let Some(stored) = self.cache.stale(&key, update.sequence) {
            let denial = Denial {
                status: Status::SEQUENCE_OUT_OF_WINDOW,
                reason: "the sequence number is not newer than the stored one",
                clause: "RFC 3775 9.5.1",
            };
            return self.deny(update.answered, stored, update.lifetime, sealed, &denial);
        }
        if update.lifetime == Lifetime::ZERO || update.care_of == anycast {
            return self.delete(now, update);
        }
        if self.cache.get(&key).is_none() && self.cache.is_full() && !self.make_room(now) {
            let denial = Denial {
                status: Status::INSUFFICIENT_RESOURCES,
                reason: "the binding cache is full of bindings in use",
                clause: "RFC 3775 9.5.2",
            };
            return self.deny(update.answered, update.sequence, update.lifetime, sealed, &denial);
        }
        let longest = Lifetime::from_seconds(u32::try_from(MAX_RR_BINDING_LIFETIME.as_secs()).unwrap_or(420));
        let lifetime = update.lifetime.min(longest);
        let care_of = update.care_of;
        let expires = now + lifetime.duration();
        let previous = self.cache.insert(Binding {
            home_address: anycast,
            own_address: own,
            care_of,
            sequence: update.sequence,
            flags: update.flags,
            lifetime,
            expires,
            owner: None,
        });
        let refresh_at = Some(now + lifetime.duration().mul_f32(0.875));
        self.refreshes.extend(refresh_at.map(|at| (at, key)));
        let usage = Usage {
            used: now,
            refresh_at,
            refresh_requests: 0,
            unreachable: 0,
            unreachable_at: None,
            home_nonce: update.home_nonce,
        };
        let replaced = self.usage.insert(key, usage).and_then(|old| old.refresh_at);
        if let Some(at) = replaced.filter(|at| Some(*at) != refresh_at) {
            self.refreshes.remove(&(at, key));
        }
        if previous.as_ref().map(|old| old.care_of) != Some(care_of) {
            self.actions.push_back(Action::InstallRule(Rule::HomeAddressIn { anycast, own, care_of }));
            self.actions.push_back(Action::InstallRule(Rule::RoutingHeaderOut { anycast, own, care_of }));
        }
        self.counters.count("binding-update.accepted");
        self.acknowledge(update, Status::ACCEPTED, lifetime);
        let report = match previous {
            None => Report::info("binding-created"),
            Some(old) if old.care_of == care_of => Report::debug("binding-refreshed"),
            Some(old) => Report::info("binding-moved").peer(old.care_of),
        };
        self.report(
            report.anycast(anycast).care_of(care_of).sequence(update.sequence).lifetime(lifetime.seconds()),
        );
    }

    /// Drops the binding that has been idle longest, if it has been idle at all (RFC 3775 9.6): a full cache is no
    /// reason to cut off a responder that is being talked to. The dropped one's packets take the tunnel again.
    fn make_room(&mut self, now: Instant) -> bool {
        if now < self.in_use_until {
            return false;
        }
        let idlest = self.usage.iter().min_by_key(|(_, usage)| usage.used);
        self.in_use_until = idlest.map_or(now, |(_, usage)| usage.used + IN_USE);
        let idle = idlest.filter(|(_, usage)| now.saturating_since(usage.used) > IN_USE);
        let Some(binding) = idle.map(|(key, _)| *key).and_then(|key| self.cache.remove(&key)) else {
            return false;
        };
        self.withdraw(now, &binding);
        self.counters.count("binding.replaced");
        let report = Report::info("binding-removed").anycast(binding.home_address).care_of(binding.care_of);
        self.report(report.because("idle, and the cache is full", "RFC 3775 9.6"));
        true
    }

    /// Deletion; its home nonce authorises nothing more for this home address (RFC 3775 9.5.2).
    fn delete(&mut self, now: Instant, update: &Authorised) {
        let Answered { own, home_address: anycast, .. } = update.answered;
        let previous = self.cache.remove(&(anycast, own));
        self.spend(now, anycast, update.home_nonce);
        self.counters.count("binding-update.deregistered");
        if let Some(binding) = previous {
            self.withdraw(now, &binding);
            let report = Report::info("binding-removed").anycast(anycast).care_of(binding.care_of);
            self.report(
                report.sequence(update.sequence).because("the responder asked for it", "RFC 3775 9.5.3"),
            );
        }
        self.acknowledge(update, Status::ACCEPTED, Lifetime::ZERO);
    }

    /// The newest home nonce that authorises nothing more for `home_address`.
    fn spent_up_to(&self, home_address: &Ipv6Addr) -> Option<u16> {
        self.spent.get(home_address).map(|(spent, _)| *spent)
    }

    /// Remembers that home nonces up to `index` authorise nothing more for `home_address`.
    fn spend(&mut self, now: Instant, home_address: Ipv6Addr, index: u16) {
        self.forget_spent(now);
        if self.spent.get(&home_address).is_some_and(|(spent, _)| !is_newer(index, *spent)) {
            return;
        }
        if self.spent_at.len() >= MAX_SPENT {
            self.nonces.revoke();
            self.spent.clear();
            self.spent_at.clear();
            return;
        }
        self.spent.insert(home_address, (index, now));
        self.spent_at.push_back((now, home_address));
    }

    fn forget_spent(&mut self, now: Instant) {
        while let Some((at, home_address)) = self.spent_at.front().copied() {
            if now.saturating_since(at) <= MAX_NONCE_LIFETIME {
                return;
            }
            self.spent_at.pop_front();
            // A later entry of the same address keeps the newer index in force.
            if self.spent.get(&home_address).is_some_and(|(_, latest)| *latest == at) {
                self.spent.remove(&home_address);
            }
        }
    }

    fn withdraw(&mut self, now: Instant, binding: &Binding) {
        let (anycast, own) = binding.key();
        if let Some(usage) = self.usage.remove(&(anycast, own)) {
            if let Some(at) = usage.refresh_at {
                self.refreshes.remove(&(at, (anycast, own)));
            }
            if self.nonces.is_valid(now, usage.home_nonce) {
                self.spend(now, anycast, usage.home_nonce);
            }
        }
        for kind in [RuleKind::RoutingHeaderOut, RuleKind::HomeAddressIn] {
            self.actions.push_back(Action::RemoveRule(RuleKey::between(kind, anycast, own)));
        }
    }

    /// Success is acknowledged only when asked for (RFC 3775 9.5.4).
    fn acknowledge(&mut self, update: &Authorised, status: Status, lifetime: Lifetime) {
        if !update.flags.contains(UpdateFlags::ACKNOWLEDGE) {
            return;
        }
        let key = SealKey {
            binding_management_key: &update.key,
            care_of: update.care_of,
            correspondent: update.answered.own,
        };
        self.counters.count("binding-acknowledgement.sent");
        let packet = acknowledgement::packet(update.answered, status, update.sequence, lifetime, Some(key));
        self.actions.push_back(Action::Send(packet));
    }

    fn deny(
        &mut self,
        answered: Answered,
        sequence: u16,
        lifetime: Lifetime,
        key: Option<(Ipv6Addr, &[u8; 20])>,
        &Denial { status, reason, clause }: &Denial,
    ) {
        self.counters.count(match status {
            Status::INSUFFICIENT_RESOURCES => "binding-update.refused.130",
            Status::HOME_REGISTRATION_NOT_SUPPORTED => "binding-update.refused.131",
            Status::SEQUENCE_OUT_OF_WINDOW => "binding-update.refused.135",
            Status::EXPIRED_HOME_NONCE => "binding-update.refused.136",
            Status::EXPIRED_CARE_OF_NONCE => "binding-update.refused.137",
            Status::EXPIRED_NONCES => "binding-update.refused.138",
            Status::REGISTRATION_TYPE_CHANGE => "binding-update.refused.139",
            _ => "binding-update.refused",
        });
        let key = key.map(|(care_of, key)| SealKey {
            binding_management_key: key,
            care_of,
            correspondent: answered.own,
        });
        self.counters.count("binding-acknowledgement.sent");
        self.actions
            .push_back(Action::Send(acknowledgement::packet(answered, status, sequence, lifetime, key)));
        let report = Report::info("binding-update-refused")
            .anycast(answered.home_address)
            .peer(answered.source)
            .sequence(sequence)
            .status(status.0);
        self.report(report.because(reason, clause));
    }

    /// Binding Refresh Request to the home address (RFC 3775 9.5.5), if the binding is in use: first when an eighth
    /// of the lifetime is left, then when a sixteenth is.
    fn request_refresh(&mut self, now: Instant, key: BindingKey) {
        let (Some(binding), Some(usage)) = (self.cache.get(&key), self.usage.get_mut(&key)) else { return };
        usage.refresh_requests += 1;
        let left = binding.expires.saturating_since(now);
        let again = usage.refresh_requests < MAX_REFRESH_REQUESTS;
        usage.refresh_at = again.then_some(now + left / 2);
        self.refreshes.extend(usage.refresh_at.map(|at| (at, key)));
        if now.saturating_since(usage.used) > IN_USE {
            return;
        }
        let message =
            Message::BindingRefreshRequest(BindingRefreshRequest { reserved: 0, options: Vec::new() });
        let (anycast, own) = key;
        self.counters.count("binding-refresh-request.sent");
        self.actions.push_back(Action::Send(mobility_packet(&own, &anycast, message)));
    }

    /// Errors about packets that left with a routing header (RFC 3775 9.3.4).
    fn handle_icmpv6(&mut self, now: Instant, packet: &Packet<'_>) {
        let payload = packet.payload();
        let sum =
            ipv6::checksum(&packet.header.source, &packet.header.destination, next_header::ICMPV6, payload);
        let Ok(received) = Icmpv6::parse(payload) else {
            return self.counters.count("icmpv6.malformed");
        };
        if sum != 0 {
            return self.counters.count("icmpv6.bad-checksum");
        }
        match &received.message {
            Icmpv6Message::DestinationUnreachable { invoking, .. } => self.handle_unreachable(now, invoking),
            Icmpv6Message::PacketTooBig { mtu, invoking, .. } => {
                self.relay_too_big(&packet.header.source, *mtu, invoking);
            }
            _ => self.counters.count("icmpv6.ignored"),
        }
    }

    /// The binding that a quoted packet with a routing header was sent by.
    fn binding_of(&self, invoking: &[u8]) -> Option<BindingKey> {
        let quoted = Packet::parse_quoted(invoking).ok()?;
        let routing = quoted.routing2.as_ref()?;
        let key = (routing.address, quoted.header.source);
        let binding = self.cache.get(&key)?;
        (binding.care_of == quoted.header.destination).then_some(key)
    }

    fn handle_unreachable(&mut self, now: Instant, invoking: &[u8]) {
        let Some(key) = self.binding_of(invoking) else { return };
        let Some(usage) = self.usage.get_mut(&key) else { return };
        if usage.unreachable_at.is_some_and(|at| now.saturating_since(at) < UNREACHABLE_INTERVAL) {
            return;
        }
        usage.unreachable_at = Some(now);
        usage.unreachable += 1;
        if usage.unreachable < PERSISTENT_UNREACHABLE {
            return;
        }
        if let Some(binding) = self.cache.remove(&key) {
            self.withdraw(now, &binding);
            let report = Report::warning("binding-removed").anycast(key.0).care_of(binding.care_of);
            self.report(report.because("the responder is persistently unreachable", "RFC 3775 9.3.4"));
        }
    }

    /// A router's Packet Too Big about a rewritten packet, told to the host's stack as it concerns the packet that
    /// the stack sent.
    fn relay_too_big(&mut self, router: &Ipv6Addr, mtu: u32, invoking: &[u8]) {
        if self.binding_of(invoking).is_none() {
            return;
        }
        let mut original = PacketBuffer::new(invoking);
        if strip_routing2(&mut original).is_err() {
            return;
        }
        let shrunk = u32::try_from(invoking.len() - original.len()).unwrap_or(0);
        let reason = ErrorReason::PacketTooBig(mtu.saturating_sub(shrunk).max(1280));
        if let Some(error) = error_packet(router, original.as_slice(), reason) {
            self.counters.count("too-big.relayed");
            self.actions.push_back(Action::Deliver(error));
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
