//! One initiator as its responder sees it (RFC 3775 11.6, 11.7.2, 11.3.5, 11.3.6; thesis 4.2.3): return routability,
//! the Binding Update with its authenticator, renewal while in use, and the memory that an initiator is plain.
//! A machine that only says what to do next. Called by the responder.

use std::net::Ipv6Addr;
use std::time::Duration;

use serde::Serialize;

use super::IDLE;
use super::update::update_packet;
use crate::protocol::auth::seal::{SealKey, is_sealed_by, seal};
use crate::protocol::auth::tokens::binding_management_key;
use crate::protocol::binding::sequence::{after_out_of_window, is_newer};
use crate::protocol::clock::Instant;
use crate::protocol::limits::{
    MAX_BINDACK_TIMEOUT, MAX_RR_BINDING_LIFETIME, MAX_TOKEN_LIFETIME, PLAIN_PEER_MEMORY,
};
use crate::protocol::pace::Pace;
use crate::protocol::random::Random;
use crate::wire::mobility::{
    BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption, Status, UpdateFlags, align, kind,
};

/// RFC 3775 11.8 and 12 (INITIAL_BINDACK_TIMEOUT): first wait for the answers to test messages.
const INITIAL_TEST_TIMEOUT: Duration = Duration::from_secs(1);
/// After this many unanswered rounds an initiator counts as plain: something on the way eats test messages.
const MAX_TEST_ROUNDS: u32 = 6;
/// How long a deletion waits for its home test.
const DELETION_WAIT: Duration = Duration::from_secs(1);
/// A Binding Error 2 this long after a Binding Update is still an answer to it (RFC 3775 11.3.6).
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Status 135 is answered at once this many times in a row.
const MAX_IMMEDIATE_RETRIES: u32 = 5;

/// What the responder must do for an initiator, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send a Home Test Init through the tunnel.
    HomeTest { cookie: [u8; 8] },
    /// Send a Care-of Test Init directly.
    CareOfTest { cookie: [u8; 8] },
    /// Send a Binding Update to the initiator.
    Update { update: InitiatorUpdate },
    /// Packets to the initiator go directly from now on.
    Optimised,
    /// The initiator is left alone for a while; packets to it keep to the tunnel.
    Plain { reason: &'static str, clause: &'static str },
    /// Packets to the initiator go through the tunnel from now on.
    Tunnel { reason: &'static str, clause: &'static str },
    /// Nothing more is remembered of the initiator.
    Forget,
}

/// What a Binding Update to an initiator is made of.
#[derive(Clone, PartialEq, Eq)]
pub struct InitiatorUpdate {
    sequence: u16,
    home_index: u16,
    care_of_index: u16,
    key: [u8; 20],
    delete: bool,
    acknowledge: bool,
}

impl std::fmt::Debug for InitiatorUpdate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key stays out of logs.
        f.debug_struct("InitiatorUpdate")
            .field("sequence", &self.sequence)
            .field("delete", &self.delete)
            .finish()
    }
}

impl InitiatorUpdate {
    /// The lifetime to ask for: at most MAX_RR_BINDING_LIFETIME and what is left of the home registration
    /// (RFC 3775 11.7.2); zero deletes.
    pub fn lifetime(&self, home_registration: Option<Duration>) -> Lifetime {
        if self.delete {
            return Lifetime::ZERO;
        }
        let longest = home_registration.unwrap_or_default().min(MAX_RR_BINDING_LIFETIME);
        let seconds = u32::try_from(longest.as_secs()).unwrap_or(u32::MAX);
        Lifetime::from_seconds(seconds).max(Lifetime(1))
    }

    /// The whole packet: flag A only on an operator's wish, and no Alternate Care-of Address, Nonce Indices and the authenticator as KAME
    /// and UMIP lay them out, nothing behind it (RFC 3775 6.1.7, 6.2.7).
    pub fn packet(
        &self,
        care_of: &Ipv6Addr,
        peer: &Ipv6Addr,
        anycast: &Ipv6Addr,
        lifetime: Lifetime,
    ) -> Vec<u8> {
        let options = [
            MobilityOption::NonceIndices { home: self.home_index, care_of: self.care_of_index },
            MobilityOption::BindingAuthorizationData(vec![0; 12]),
        ];
        let message = Message::BindingUpdate(BindingUpdate {
            sequence: self.sequence,
            flags: if self.acknowledge { UpdateFlags::ACKNOWLEDGE } else { UpdateFlags::empty() },
            lifetime,
            options: align(12, &options),
        });
        let mut header = MobilityHeader::new(message);
        let key = SealKey { binding_management_key: &self.key, care_of: *care_of, correspondent: *peer };
        seal(&mut header, key);
        update_packet(care_of, peer, anycast, &header)
    }
}

#[derive(Clone, Copy)]
struct Token {
    value: [u8; 8],
    index: u16,
    received: Instant,
}

impl Token {
    /// True while the token may be used (RFC 3775 5.2.7).
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_since(self.received) < MAX_TOKEN_LIFETIME
    }
}

/// One half of return routability: the cookie that waits for its test, or the token it brought.
#[derive(Clone, Default)]
struct Test {
    cookie: Option<[u8; 8]>,
    token: Option<Token>,
}

impl Test {
    fn start(&mut self, random: &mut dyn Random) -> [u8; 8] {
        let cookie = random.octets8();
        // Whatever token there was is too old, or it would not be asked for.
        self.cookie = Some(cookie);
        self.token = None;
        cookie
    }

    /// What is left for another exchange: the token, while it may be used (RFC 3775 5.2.7).
    fn carried_over(&self, now: Instant) -> Self {
        Self { cookie: None, token: self.token.filter(|token| token.is_fresh(now)) }
    }

    fn answer(&mut self, now: Instant, cookie: [u8; 8], value: [u8; 8], index: u16) -> bool {
        if self.cookie != Some(cookie) {
            return false;
        }
        self.cookie = None;
        self.token = Some(Token { value, index, received: now });
        true
    }
}

/// A Binding Acknowledgement from an initiator.
#[derive(Clone, Copy, Debug)]
pub struct InitiatorAnswer {
    pub status: Status,
    pub sequence: u16,
    pub lifetime: Lifetime,
    /// Its authenticator is right.
    pub sealed: bool,
}

/// An initiator as `show updates` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CorrespondentView {
    pub anycast: Ipv6Addr,
    pub initiator: Ipv6Addr,
    pub state: &'static str,
    /// The number of the last Binding Update to it.
    pub sequence: u16,
    /// Seconds until its binding ends, or until a plain initiator is asked again.
    pub remaining: u64,
}

/// One initiator.
#[derive(Clone)]
pub struct Correspondent {
    /// When its optimised path last carried a packet, as far as the data path told.
    pub used: Instant,
    peer: Ipv6Addr,
    home: Test,
    care_of: Test,
    testing: bool,
    deleting: bool,
    rounds: u32,
    interval: Duration,
    next: Option<Instant>,
    bound_until: Option<Instant>,
    plain_until: Option<Instant>,
    quiet_until: Instant,
    quiet: Duration,
    sequence: u16,
    key: Option<[u8; 20]>,
    immediate_retries: u32,
    updated: Option<Instant>,
    /// MAX_UPDATE_RATE made a message wait until `next`.
    held: bool,
    /// The rule that takes packets directly is in force.
    direct: bool,
    /// The care-of address changed and the agent has not acknowledged the new one.
    moving: bool,
    /// Binding Updates ask for an acknowledgement.
    acknowledge: bool,
    /// One is waited for.
    unacknowledged: bool,
}

impl Correspondent {
    /// An initiator nothing is known about; its first Binding Update will carry `first_sequence` plus one.
    pub fn new(now: Instant, peer: Ipv6Addr, first_sequence: u16) -> Self {
        Self {
            used: now,
            peer,
            home: Test::default(),
            care_of: Test::default(),
            testing: false,
            deleting: false,
            rounds: 0,
            interval: INITIAL_TEST_TIMEOUT,
            next: None,
            bound_until: None,
            plain_until: None,
            quiet_until: now,
            quiet: INITIAL_TEST_TIMEOUT,
            sequence: first_sequence,
            key: None,
            immediate_retries: 0,
            updated: None,
            held: false,
            direct: false,
            moving: false,
            acknowledge: false,
            unacknowledged: false,
        }
    }

    /// The same, whose Binding Updates ask for an acknowledgement (flag A, RFC 3775 11.7.2) if `wanted`.
    pub fn acknowledged_if(mut self, wanted: bool) -> Self {
        self.acknowledge = wanted;
        self
    }

    /// The care-of address is another one: its test and token are void (RFC 3775 11.6.2). The home token stays good.
    pub fn care_of_lost(&mut self) {
        self.care_of = Test::default();
        if self.deleting || self.plain_until.is_some() || !(self.testing || self.bound_until.is_some()) {
            return;
        }
        self.stop_testing();
        self.unacknowledged = false;
        self.next = None;
        self.moving = true;
    }

    /// The agent acknowledged the new care-of address: packets take the tunnel until the initiator knows it too, for
    /// which a home token that is still good saves the Home Test Init (RFC 3775 5.2.7).
    pub fn care_of_changed(&mut self, now: Instant, random: &mut dyn Random, pace: &mut Pace) -> Vec<Step> {
        if !std::mem::take(&mut self.moving) {
            return Vec::new();
        }
        let mut steps = Vec::new();
        if std::mem::take(&mut self.direct) {
            let clause = "RFC 3775 11.7.2";
            steps.push(Step::Tunnel { reason: "the initiator knows the former care-of address", clause });
        }
        let home = self.home.carried_over(now);
        steps.extend(self.begin_with(now, home, Test::default(), random, pace));
        steps
    }

    /// The home prefix ends at `until`: a binding that would outlive it is renewed with a shorter lifetime
    /// (RFC 3775 11.4.2).
    pub fn limit(
        &mut self,
        now: Instant,
        until: Instant,
        random: &mut dyn Random,
        pace: &mut Pace,
    ) -> Vec<Step> {
        let outlives = self.bound_until.is_some_and(|bound| bound > until);
        if !outlives || self.testing || self.deleting || self.moving {
            return Vec::new();
        }
        let (home, care_of) = (self.home.carried_over(now), self.care_of.carried_over(now));
        if home.token.is_some() && care_of.token.is_some() {
            return self.finish(now, pace);
        }
        self.begin_with(now, home, care_of, random, pace)
    }

    /// A packet went or came through the tunnel: begin return routability, unless it runs, is done or is useless.
    pub fn tunnelled(&mut self, now: Instant, random: &mut dyn Random, pace: &mut Pace) -> Vec<Step> {
        let settled = self.testing
            || self.deleting
            || self.moving
            || self.bound_until.is_some()
            || self.plain_until.is_some();
        if settled || self.quiet_until > now {
            return Vec::new();
        }
        self.used = now;
        self.begin(now, random, pace)
    }

    /// A Home Test (RFC 3775 11.6.2); a wrong cookie is ignored.
    pub fn home_test(
        &mut self,
        now: Instant,
        cookie: [u8; 8],
        token: [u8; 8],
        index: u16,
        random: &mut dyn Random,
        pace: &mut Pace,
    ) -> Vec<Step> {
        if !self.home.answer(now, cookie, token, index) {
            return Vec::new();
        }
        if self.deleting { self.delete(now, random, pace) } else { self.finish(now, pace) }
    }

    /// True while a Care-of Test with this cookie is waited for.
    pub fn expects_care_of(&self, cookie: &[u8; 8]) -> bool {
        self.care_of.cookie.as_ref() == Some(cookie)
    }

    /// A Care-of Test.
    pub fn care_of_test(
        &mut self,
        now: Instant,
        cookie: [u8; 8],
        token: [u8; 8],
        index: u16,
        pace: &mut Pace,
    ) -> Vec<Step> {
        if self.deleting || !self.care_of.answer(now, cookie, token, index) {
            return Vec::new();
        }
        self.finish(now, pace)
    }

    /// The initiator asked for a refresh (RFC 3775 11.7.4); one that is running already will do.
    pub fn refresh_requested(&mut self, now: Instant, random: &mut dyn Random, pace: &mut Pace) -> Vec<Step> {
        if self.testing || self.deleting || self.moving || self.bound_until.is_none() {
            return Vec::new();
        }
        self.begin(now, random, pace)
    }

    /// Binding Error 1: the initiator has no binding (any more). The tunnel carries on, and return routability
    /// begins again with the next packet, at a decreasing rate (RFC 3775 11.3.6).
    pub fn binding_unknown(&mut self, now: Instant) -> Vec<Step> {
        if self.deleting || self.bound_until.take().is_none() {
            return Vec::new();
        }
        self.pause(now);
        self.direct = false;
        vec![Step::Tunnel { reason: "the initiator lost the binding", clause: "RFC 3775 11.3.6" }]
    }

    /// The initiator turned out not to speak Mobile IPv6.
    pub fn found_plain(&mut self, now: Instant, reason: &'static str, clause: &'static str) -> Vec<Step> {
        if self.deleting {
            return vec![Step::Forget];
        }
        if self.plain_until.is_some() {
            return Vec::new();
        }
        self.stop_testing();
        self.bound_until = None;
        self.direct = false;
        self.unacknowledged = false;
        self.moving = false;
        self.next = None;
        self.plain_until = Some(now + PLAIN_PEER_MEMORY);
        vec![Step::Plain { reason, clause }]
    }

    /// A Binding Acknowledgement from the initiator (RFC 3775 11.7.3).
    pub fn acknowledged(
        &mut self,
        now: Instant,
        answer: InitiatorAnswer,
        random: &mut dyn Random,
        pace: &mut Pace,
    ) -> Vec<Step> {
        let InitiatorAnswer { status, sequence, lifetime, sealed } = answer;
        if self.deleting || self.moving || self.key.is_none() {
            return Vec::new();
        }
        match status {
            // A number that ours is newer than answers an earlier Binding Update: the later one is under way.
            Status::SEQUENCE_OUT_OF_WINDOW if sealed && !is_newer(self.sequence, sequence) => {
                self.immediate_retries += 1;
                if self.immediate_retries > MAX_IMMEDIATE_RETRIES {
                    return Vec::new();
                }
                self.sequence = after_out_of_window(sequence).wrapping_sub(1);
                self.finish(now, pace)
            }
            Status::EXPIRED_HOME_NONCE | Status::EXPIRED_CARE_OF_NONCE | Status::EXPIRED_NONCES
                if sequence == self.sequence && !self.testing && self.quiet_until <= now =>
            {
                self.pause(now);
                self.unacknowledged = false;
                // Only the token whose nonce is named needs replacing (RFC 3775 11.7.3).
                let (home, care_of) = (self.home.carried_over(now), self.care_of.carried_over(now));
                match status {
                    Status::EXPIRED_HOME_NONCE => {
                        self.begin_with(now, Test::default(), care_of, random, pace)
                    }
                    Status::EXPIRED_CARE_OF_NONCE => {
                        self.begin_with(now, home, Test::default(), random, pace)
                    }
                    _ => self.begin(now, random, pace),
                }
            }
            accepted
                if sealed
                    && sequence == self.sequence
                    && accepted.is_accepted()
                    && std::mem::take(&mut self.unacknowledged) =>
            {
                self.granted(now, lifetime)
            }
            refused if sealed && sequence == self.sequence && !refused.is_accepted() => {
                self.found_plain(now, "the initiator refused the Binding Update", "RFC 3775 11.7.3")
            }
            _ => Vec::new(),
        }
    }

    /// The acknowledgement that was asked for: the binding lasts as long as the initiator says (RFC 3775 11.7.3).
    fn granted(&mut self, now: Instant, lifetime: Lifetime) -> Vec<Step> {
        let left = self.bound_until.map_or(Duration::ZERO, |until| until.saturating_since(now));
        let granted = lifetime.duration().min(left);
        self.bound_until = Some(now + granted);
        self.next = Some(now + granted.mul_f32(0.75));
        self.go_direct()
    }

    /// Packets go directly, if they do not yet.
    fn go_direct(&mut self) -> Vec<Step> {
        if std::mem::replace(&mut self.direct, true) { Vec::new() } else { vec![Step::Optimised] }
    }

    /// True when `header`, whose octets are `bytes`, carries the authenticator of the last Binding Update's key.
    pub fn is_sealed(
        &self,
        header: &MobilityHeader,
        bytes: &[u8],
        care_of: Ipv6Addr,
        peer: Ipv6Addr,
    ) -> bool {
        self.key.as_ref().is_some_and(|key| {
            is_sealed_by(header, bytes, SealKey { binding_management_key: key, care_of, correspondent: peer })
        })
    }

    /// Ends the binding at the initiator, if it has one: with the home token alone (RFC 3775 5.2.6, 11.7.2), asking
    /// for a new one when it is too old.
    pub fn delete(&mut self, now: Instant, random: &mut dyn Random, pace: &mut Pace) -> Vec<Step> {
        if self.bound_until.is_none() {
            return vec![Step::Forget];
        }
        if let Some(update) = self.deletion(now, pace) {
            return vec![Step::Update { update }, Step::Forget];
        }
        if self.deleting {
            return Vec::new();
        }
        if pace.take(now, self.peer, kind::HOME_TEST_INIT).is_err() {
            return vec![Step::Forget];
        }
        self.deleting = true;
        self.stop_testing();
        self.next = Some(now + DELETION_WAIT);
        vec![Step::HomeTest { cookie: self.home.start(random) }]
    }

    /// The tunnel is gone, and home tests with it: what the tokens at hand still allow.
    pub fn abandon(&mut self, now: Instant, pace: &mut Pace) -> Vec<Step> {
        let update = self.bound_until.and_then(|_| self.deletion(now, pace));
        update.map(|update| Step::Update { update }).into_iter().chain([Step::Forget]).collect()
    }

    /// The Binding Update that deletes, if the home token is still good (RFC 3775 5.2.7).
    fn deletion(&mut self, now: Instant, pace: &mut Pace) -> Option<InitiatorUpdate> {
        let home = self.home.token.filter(|token| token.is_fresh(now))?;
        pace.take(now, self.peer, kind::BINDING_UPDATE).ok()?;
        self.sequence = self.sequence.wrapping_add(1);
        let key = binding_management_key(&home.value, None);
        Some(InitiatorUpdate {
            sequence: self.sequence,
            home_index: home.index,
            care_of_index: 0,
            key,
            delete: true,
            acknowledge: false,
        })
    }

    /// The deadline passed.
    pub fn timeout(&mut self, now: Instant, random: &mut dyn Random, pace: &mut Pace) -> Vec<Step> {
        if self.deleting || self.plain_until.is_some_and(|until| until <= now) {
            return vec![Step::Forget];
        }
        if self.bound_until.is_some_and(|until| until <= now) {
            self.bound_until = None;
            self.direct = false;
            self.unacknowledged = false;
            let mut steps = vec![Step::Tunnel {
                reason: "the binding at the initiator ended",
                clause: "RFC 3775 11.7.2",
            }];
            if !self.testing && !self.moving {
                steps.push(Step::Forget);
            }
            return steps;
        }
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.next = None;
        if std::mem::take(&mut self.held) {
            return if self.testing { self.ask(now, false, random, pace) } else { self.finish(now, pace) };
        }
        if self.testing {
            self.rounds += 1;
            // While the binding lasts, the direct way is worth more than the tunnel, which a displaced responder
            // does not have; so the tests go on at their slowest rate until it ends.
            if self.rounds >= MAX_TEST_ROUNDS && self.bound_until.is_none() {
                return self.found_plain(now, "no answer to return routability", "RFC 3775 11.8");
            }
            self.interval = (self.interval * 2).min(MAX_BINDACK_TIMEOUT);
            return self.ask(now, true, random, pace);
        }
        if self.bound_until.is_none() {
            return vec![Step::Forget];
        }
        if self.unacknowledged {
            return self.update_again(now, random, pace);
        }
        if now.saturating_since(self.used) <= IDLE {
            return self.begin(now, random, pace);
        }
        Vec::new()
    }

    /// When [`Correspondent::timeout`] must be called.
    pub fn deadline(&self) -> Option<Instant> {
        [self.next, self.bound_until, self.plain_until].into_iter().flatten().min()
    }

    /// A Binding Update with this lifetime left.
    pub fn sent(&mut self, now: Instant, lifetime: Lifetime) {
        let lifetime = lifetime.duration();
        if self.bound_until.is_some_and(|until| until.saturating_since(now) > Duration::ZERO) {
            self.quiet = INITIAL_TEST_TIMEOUT;
        }
        self.bound_until = Some(now + lifetime);
        let wait = if self.unacknowledged { self.interval } else { lifetime.mul_f32(0.75) };
        self.next = Some(now + wait);
    }

    /// No acknowledgement came: the update again, with a number of its own (RFC 3775 11.8), or both tests when the
    /// tokens are too old for it.
    fn update_again(&mut self, now: Instant, random: &mut dyn Random, pace: &mut Pace) -> Vec<Step> {
        self.rounds += 1;
        if self.rounds >= MAX_TEST_ROUNDS && !self.direct {
            return self.found_plain(now, "no acknowledgement of Binding Updates", "RFC 3775 11.8");
        }
        let interval = (self.interval * 2).min(MAX_BINDACK_TIMEOUT);
        let (home, care_of) = (self.home.carried_over(now), self.care_of.carried_over(now));
        if home.token.is_none() || care_of.token.is_none() {
            self.unacknowledged = false;
            return self.begin_with(now, home, care_of, random, pace);
        }
        self.interval = interval;
        self.finish(now, pace)
    }

    /// True when the quoted `message` is one that this node sent and still waits for an answer to: it carries a
    /// cookie, or a number, that nobody off the path can know (RFC 3775 11.3.5 leaves room for forgeries).
    pub fn sent_this(&self, message: &Message) -> bool {
        match message {
            Message::HomeTestInit(init) => self.home.cookie == Some(init.cookie),
            Message::CareOfTestInit(init) => self.care_of.cookie == Some(init.cookie),
            Message::BindingUpdate(update) => self.updated.is_some() && update.sequence == self.sequence,
            _ => false,
        }
    }

    /// True while a Binding Error 2 can be an answer (RFC 3775 11.3.6).
    pub fn expects_answer(&self, now: Instant) -> bool {
        self.testing || self.updated.is_some_and(|sent| now.saturating_since(sent) < ANSWER_WAIT)
    }

    /// True while packets to the initiator go directly.
    pub fn is_optimised(&self) -> bool {
        self.bound_until.is_some()
    }

    /// When the binding that it was told of is over.
    pub fn bound_until(&self) -> Option<Instant> {
        self.bound_until
    }

    /// True while the initiator is left alone.
    pub fn is_plain(&self) -> bool {
        self.plain_until.is_some()
    }

    /// For `show updates`.
    pub fn view(&self, anycast: Ipv6Addr, initiator: Ipv6Addr, now: Instant) -> CorrespondentView {
        let (state, until) = match (self.plain_until, self.bound_until) {
            (Some(until), _) => ("plain", Some(until)),
            (None, Some(until)) if self.testing => ("renewing", Some(until)),
            (None, Some(until)) => ("optimised", Some(until)),
            (None, None) if self.testing => ("return-routability", None),
            (None, None) => ("tunnel", None),
        };
        let remaining = until.map_or(0, |until| until.saturating_since(now).as_secs());
        CorrespondentView { anycast, initiator, state, sequence: self.sequence, remaining }
    }

    fn begin(&mut self, now: Instant, random: &mut dyn Random, pace: &mut Pace) -> Vec<Step> {
        self.begin_with(now, Test::default(), Test::default(), random, pace)
    }

    /// Return routability for the halves that have no token.
    fn begin_with(
        &mut self,
        now: Instant,
        home: Test,
        care_of: Test,
        random: &mut dyn Random,
        pace: &mut Pace,
    ) -> Vec<Step> {
        self.testing = true;
        self.rounds = 0;
        self.immediate_retries = 0;
        self.interval = INITIAL_TEST_TIMEOUT;
        (self.home, self.care_of) = (home, care_of);
        self.ask(now, true, random, pace)
    }

    /// Test messages for whatever has no token yet: all of those `again`, each with a cookie of its own (RFC 3775
    /// 11.8), or only those that MAX_UPDATE_RATE held back.
    fn ask(&mut self, now: Instant, again: bool, random: &mut dyn Random, pace: &mut Pace) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut held: Option<Instant> = None;
        let halves = [(&mut self.home, kind::HOME_TEST_INIT), (&mut self.care_of, kind::CARE_OF_TEST_INIT)];
        for (test, kind) in halves {
            if test.token.is_some_and(|token| token.is_fresh(now)) || (!again && test.cookie.is_some()) {
                continue;
            }
            match pace.take(now, self.peer, kind) {
                Err(allowed) => held = Some(held.map_or(allowed, |other| other.min(allowed))),
                Ok(()) => {
                    let cookie = test.start(random);
                    steps.push(match kind {
                        kind::HOME_TEST_INIT => Step::HomeTest { cookie },
                        _ => Step::CareOfTest { cookie },
                    });
                }
            }
        }
        self.held = held.is_some();
        self.next = Some(held.unwrap_or(now + self.interval));
        steps
    }

    /// Both tokens together make a Binding Update; packets go directly at once, because no acknowledgement is asked
    /// for (a lost update shows as a Binding Error).
    fn finish(&mut self, now: Instant, pace: &mut Pace) -> Vec<Step> {
        let (Some(home), Some(care_of)) = (self.home.token, self.care_of.token) else { return Vec::new() };
        if !home.is_fresh(now) || !care_of.is_fresh(now) {
            return Vec::new();
        }
        if self.testing {
            (self.rounds, self.interval) = (0, INITIAL_TEST_TIMEOUT);
        }
        self.stop_testing();
        if let Err(allowed) = pace.take(now, self.peer, kind::BINDING_UPDATE) {
            self.held = true;
            self.next = Some(allowed);
            return Vec::new();
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.updated = Some(now);
        let key = binding_management_key(&home.value, Some(&care_of.value));
        self.key = Some(key);
        let update = InitiatorUpdate {
            sequence: self.sequence,
            home_index: home.index,
            care_of_index: care_of.index,
            key,
            delete: false,
            acknowledge: self.acknowledge,
        };
        let mut steps = vec![Step::Update { update }];
        self.unacknowledged = self.acknowledge;
        if !self.acknowledge {
            steps.extend(self.go_direct());
        }
        steps
    }

    fn stop_testing(&mut self) {
        self.testing = false;
        self.held = false;
        self.home.cookie = None;
        self.care_of.cookie = None;
    }

    fn pause(&mut self, now: Instant) {
        // Nothing is due, but nothing is remembered for ever either.
        self.next = Some(now + PLAIN_PEER_MEMORY);
        self.stop_testing();
        self.quiet_until = now + self.quiet;
        self.quiet = (self.quiet * 2).min(MAX_BINDACK_TIMEOUT);
    }
}
