//! One home registration (RFC 3775 11.4.1, 11.7.1, 11.7.3, 11.8; thesis 4.2.2 and 5.1): find an agent, bind, keep
//! bound, answer status 135 with the stored number plus two, leave. With the advanced model granted (thesis 4.3.1) the
//! numbers are this responder's own. A machine that only says what to do next. Called by the responder.

use std::net::Ipv6Addr;
use std::time::Duration;

use serde::Serialize;

use super::status::{asks_for_another_agent, refusal, refuses_identifiers};
use super::{AnycastConfig, DEFAULT_REFRESH_PERCENT};
use crate::protocol::binding::sequence::{after_out_of_window, is_newer};
use crate::protocol::clock::Instant;
use crate::protocol::input::is_routable_unicast;
use crate::protocol::limits::{
    DHAAD_RETRIES, INITIAL_BINDACK_TIMEOUT, INITIAL_BINDACK_TIMEOUT_FIRST_REGISTRATION,
    INITIAL_DHAAD_TIMEOUT, MAX_BINDACK_TIMEOUT,
};
use crate::protocol::pace::Pace;
use crate::protocol::random::Random;
use crate::wire::mobility::{Extensions, Lifetime, Status, kind};

/// Status 135 is answered at once this many times in a row; after that the back-off applies, so that two nodes
/// that never agree do not storm.
const MAX_IMMEDIATE_RETRIES: u32 = 5;
/// A registration refused for a passing reason is tried again after this time.
const RETRY_AFTER_REFUSAL: Duration = Duration::from_secs(60);
/// Slow pace of home agent discovery after DHAAD_RETRIES.
const SLOW_DISCOVERY: Duration = Duration::from_secs(60);
/// How often a de-registration is sent before it is left to expire.
const MAX_DEREGISTRATION_TRIES: u32 = 2;
/// The same for one of several responders, which nobody else's Binding Update removes.
const MAX_MEMBER_DEREGISTRATION_TRIES: u32 = 5;

/// What the responder must do for a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Nothing,
    /// Ask for home agents.
    Discover {
        identifier: u16,
    },
    /// Send a Binding Update.
    Update {
        agent: Ipv6Addr,
        sequence: u16,
        lifetime: Lifetime,
        /// With Binding Identifier and offer.
        offering: bool,
    },
    /// The agent accepted; `first` when there was no binding with this agent before.
    Bound {
        agent: Ipv6Addr,
        sequence: u16,
        lifetime: Lifetime,
        first: bool,
        /// Whether the advanced model rules, when it is asked for and that has changed.
        advanced: Option<bool>,
    },
    /// There is no binding any more, against the responder's will.
    Lost {
        agent: Option<Ipv6Addr>,
        status: Option<Status>,
        reason: &'static str,
        clause: &'static str,
    },
    /// The agent let go of the anycast address because the responder is at home.
    Home {
        agent: Option<Ipv6Addr>,
    },
    /// The responder left.
    Ended {
        agent: Option<Ipv6Addr>,
        reason: &'static str,
    },
}

/// A Binding Acknowledgement from the agent.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub status: Status,
    pub sequence: u16,
    pub lifetime: Lifetime,
    pub refresh_advice: Option<Lifetime>,
    /// What the agent switches on beyond the basic model; `None` from one that does not know it.
    pub granted: Option<Extensions>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Not registered and not trying.
    Idle,
    /// Looking for an agent.
    Discovering,
    /// A Binding Update is unanswered.
    Registering,
    /// Bound; the next event is the refresh.
    Registered,
    /// Refused; tried again later or on command.
    Refused,
    /// A de-registration is unanswered.
    Deregistering,
}

/// One home registration as `show updates` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegistrationView {
    pub anycast: Ipv6Addr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Ipv6Addr>,
    /// True for a midway agent; not said of the home agent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub midway: bool,
    pub care_of: Ipv6Addr,
    pub state: &'static str,
    /// The number of the last Binding Update.
    pub sequence: u16,
    /// Seconds, as granted; zero without a binding.
    pub lifetime: u32,
    /// Seconds until the binding ends.
    pub remaining: u64,
    /// Seconds until the next refresh or retransmission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// The extensions of the advanced model that the agent granted; absent where the basic model rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Vec<String>>,
}

/// One home registration.
#[derive(Clone, Debug)]
pub struct Registration {
    pub config: AnycastConfig,
    pub agent: Option<Ipv6Addr>,
    /// Set while initiators are still being told before the agent is.
    pub leaving: bool,
    /// The care-of address that the agent last acknowledged.
    pub bound_care_of: Option<Ipv6Addr>,
    /// When a binding is refreshed for which the agent advises nothing, in percent of what it granted.
    pub refresh_percent: u8,
    state: State,
    /// The de-registration is that of a responder that came home.
    homeward: bool,
    /// It is there; nothing is to be registered until it moves.
    at_home: bool,
    /// Agents to try when those configured or discovered fail, and how often the list was begun since the last
    /// success.
    others: Vec<Ipv6Addr>,
    rounds: u32,
    /// Agents that discovery named and that are still to be tried, best first.
    candidates: Vec<Ipv6Addr>,
    /// The number of the last Binding Update, and whether there was one.
    sequence: u16,
    started: bool,
    interval: Duration,
    next: Option<Instant>,
    tries: u32,
    immediate_retries: u32,
    identifier: u16,
    granted: Lifetime,
    expires: Option<Instant>,
    /// The agent that holds the binding; another than `agent` while a new one is being tried.
    bound_at: Option<Ipv6Addr>,
    /// MAX_UPDATE_RATE made the next Binding Update wait until `next`.
    held: bool,
    /// Several responders at once are asked for.
    advanced: bool,
    /// What the agent granted when it last answered.
    extensions: Option<Extensions>,
    /// The agent refuses Binding Identifiers (RFC 5648), so none is sent until somebody orders a registration.
    refuses_identifiers: bool,
    /// Whether that was the advanced model, as last told.
    told_advanced: Option<bool>,
    /// Something has changed since the last Binding Update that the agent is to hear of.
    unsaid: bool,
}

impl Registration {
    /// A registration that does nothing yet; its first Binding Update will carry `first_sequence`.
    pub fn new(config: AnycastConfig, first_sequence: u16) -> Self {
        Self {
            agent: config.agent,
            config,
            leaving: false,
            bound_care_of: None,
            refresh_percent: DEFAULT_REFRESH_PERCENT,
            state: State::Idle,
            homeward: false,
            at_home: false,
            others: Vec::new(),
            rounds: 0,
            candidates: Vec::new(),
            sequence: first_sequence,
            started: false,
            interval: INITIAL_BINDACK_TIMEOUT_FIRST_REGISTRATION,
            next: None,
            tries: 0,
            immediate_retries: 0,
            identifier: 0,
            granted: Lifetime::ZERO,
            expires: None,
            bound_at: None,
            held: false,
            advanced: false,
            extensions: None,
            refuses_identifiers: false,
            told_advanced: None,
            unsaid: false,
        }
    }

    /// The same, which asks for the advanced model if `wanted`.
    pub fn advanced_if(mut self, wanted: bool) -> Self {
        self.advanced = wanted;
        self
    }

    /// True while an acknowledgement with this number is waited for.
    pub fn awaits(&self, sequence: u16) -> bool {
        matches!(self.state, State::Registering | State::Deregistering) && self.sequence == sequence
    }

    /// True when the binding stands beside those of other responders, with numbers of its own.
    pub fn is_member(&self) -> bool {
        self.extensions.is_some_and(|granted| granted.contains(Extensions::SEVERAL))
    }

    /// What the responder says of itself has changed: the agent hears of it at once if it listens, which one that
    /// granted nothing does not. An agent that does not answer hears of it when it is asked again, and one that has not
    /// answered yet as soon as it grants the advanced model.
    pub fn signal(&mut self, now: Instant, pace: &mut Pace) -> Outcome {
        let unanswered = self.state == State::Registering && self.tries > 1;
        let listens = self.advanced && matches!(self.state, State::Registered | State::Registering);
        if !listens || self.leaving {
            return Outcome::Nothing;
        }
        self.unsaid = true;
        if unanswered || self.held || !self.is_member() {
            return Outcome::Nothing;
        }
        self.interval = self.first_interval();
        self.state = State::Registering;
        self.send_update(now, pace)
    }

    /// Names the agents to try when the others fail, best first.
    pub fn set_other_agents(&mut self, agents: &[Ipv6Addr]) {
        self.others = agents.to_vec();
    }

    /// The care-of address is another one now (RFC 3775 11.5.3): what waits for the old one is dropped, and the
    /// agent of the running registration hears of the new one first (11.4.1).
    pub fn moved(&mut self, now: Instant, random: &mut dyn Random, pace: &mut Pace) -> Outcome {
        let homeward = std::mem::take(&mut self.homeward);
        match self.state {
            // The initiators are being told before the agent is.
            _ if self.leaving => Outcome::Nothing,
            // Another care-of address does not change the reason of a final refusal.
            State::Refused if self.next.is_none() => Outcome::Nothing,
            State::Idle if self.at_home => self.register(now, random, pace),
            State::Idle => Outcome::Nothing,
            State::Deregistering if !homeward => self.send_update(now, pace),
            State::Discovering => {
                self.tries = 0;
                self.interval = INITIAL_DHAAD_TIMEOUT;
                self.ask_for_agents(now, random)
            }
            _ => {
                self.agent = self.bound_at.or(self.agent);
                self.register(now, random, pace)
            }
        }
    }

    /// Leaves the agent because the responder is at home: from the anycast address itself, until it is acknowledged
    /// or the binding ends (RFC 3775 11.5.4, 11.8).
    pub fn return_home(&mut self, now: Instant, pace: &mut Pace) -> Outcome {
        self.homeward = true;
        self.held = false;
        self.agent = self.bound_at.or(self.agent);
        self.state = State::Deregistering;
        self.interval = INITIAL_BINDACK_TIMEOUT;
        self.tries = 0;
        self.send_update(now, pace)
    }

    /// Stops trying: at home, without a binding, there is nothing to register.
    pub fn suspend(&mut self) {
        self.state = State::Idle;
        self.next = None;
        self.held = false;
        self.at_home = true;
    }

    /// The binding is to end by `until`, because the home prefix does; the refresh comes before that.
    pub fn limit(&mut self, now: Instant, until: Instant) {
        let Some(expires) = self.expires.filter(|expires| *expires > until) else { return };
        self.expires = Some(expires.min(until));
        if self.state == State::Registered {
            let refresh = now + (until.saturating_since(now) / 2).max(INITIAL_BINDACK_TIMEOUT);
            self.next = self.next.map(|next| next.min(refresh));
        }
    }

    /// The agent that holds the binding.
    pub fn bound_at(&self) -> Option<Ipv6Addr> {
        self.bound_at
    }

    /// Registers, or refreshes at once when bound.
    pub fn register(&mut self, now: Instant, random: &mut dyn Random, pace: &mut Pace) -> Outcome {
        self.leaving = false;
        self.homeward = false;
        self.at_home = false;
        self.held = false;
        self.refuses_identifiers = false;
        self.tries = 0;
        self.immediate_retries = 0;
        if self.agent.is_none() {
            self.state = State::Discovering;
            self.interval = INITIAL_DHAAD_TIMEOUT;
            return self.ask_for_agents(now, random);
        }
        self.interval = self.first_interval();
        self.state = State::Registering;
        self.send_update(now, pace)
    }

    /// The agent asks for a refresh (RFC 3775 11.7.4). Nothing authenticates that, so it only brings forward what
    /// would come anyway: it neither wakes a registration that is not there nor stops one that is leaving.
    pub fn refresh_requested(&mut self, now: Instant, pace: &mut Pace) -> Outcome {
        if self.state != State::Registered || self.leaving {
            return Outcome::Nothing;
        }
        self.interval = self.first_interval();
        self.state = State::Registering;
        self.send_update(now, pace)
    }

    /// Leaves the agent.
    pub fn deregister(&mut self, now: Instant, pace: &mut Pace) -> Outcome {
        self.leaving = false;
        let agent = self.agent;
        // One of several responders may be registered although no acknowledgement has come back yet.
        let unacknowledged = self.advanced && self.started && self.state == State::Registering;
        match (self.state, self.expires) {
            (State::Deregistering, _) => Outcome::Nothing,
            (_, expires) if agent.is_some() && (expires.is_some() || unacknowledged) => {
                // Where the binding is, even while another agent is being tried.
                self.agent = self.bound_at.or(agent);
                self.state = State::Deregistering;
                self.interval = INITIAL_BINDACK_TIMEOUT;
                self.tries = 0;
                self.immediate_retries = 0;
                self.send_update(now, pace)
            }
            (State::Idle, _) => Outcome::Nothing,
            _ => self.end("nothing was registered"),
        }
    }

    /// Gives up at once, whatever was waited for.
    pub fn abandon(&mut self) -> Outcome {
        match self.state {
            State::Idle => Outcome::Nothing,
            _ => self.end("the agent did not answer in time"),
        }
    }

    /// Home agents were found (RFC 3775 11.4.1).
    pub fn discovered(
        &mut self,
        now: Instant,
        agents: &[Ipv6Addr],
        random: &mut dyn Random,
        pace: &mut Pace,
    ) -> Outcome {
        if self.state != State::Discovering {
            return Outcome::Nothing;
        }
        self.candidates = agents.iter().copied().filter(is_routable_unicast).collect();
        if self.candidates.is_empty() {
            // An empty list is no answer; the running back-off asks again.
            return Outcome::Nothing;
        }
        self.agent = Some(self.candidates.remove(0));
        self.register(now, random, pace)
    }

    /// True while a discovery reply with this identifier is waited for.
    pub fn expects_agents(&self, identifier: u16) -> bool {
        self.state == State::Discovering && self.identifier == identifier
    }

    /// A Binding Acknowledgement from the agent (RFC 3775 11.7.3).
    pub fn acknowledged(&mut self, now: Instant, answer: Answer, pace: &mut Pace) -> Outcome {
        let waiting = matches!(self.state, State::Registering | State::Deregistering);
        if !waiting {
            return Outcome::Nothing;
        }
        if answer.status == Status::SEQUENCE_OUT_OF_WINDOW {
            // A number that ours is newer than is the answer to an earlier Binding Update, or a forgery: the one
            // under way will do.
            if !self.started || is_newer(self.sequence, answer.sequence) {
                return Outcome::Nothing;
            }
            self.extensions = answer.granted.filter(|_| self.advanced);
            return self.out_of_window(now, answer.sequence, pace);
        }
        if answer.sequence != self.sequence {
            return Outcome::Nothing;
        }
        self.extensions = answer.granted.filter(|_| self.advanced);
        if self.homeward {
            // Status 133 answers a retransmission: the first one did it, and its acknowledgement was lost.
            let gone = answer.status.is_accepted() || answer.status == Status::NOT_HOME_AGENT;
            return if gone { self.arrive() } else { self.end("the agent refused the de-registration") };
        }
        if self.state == State::Deregistering {
            return self.end(if answer.status.is_accepted() {
                "the agent removed the binding"
            } else {
                "the agent had no binding of ours"
            });
        }
        if refuses_identifiers(answer.status) && self.advanced && !self.refuses_identifiers {
            self.refuses_identifiers = true;
            self.interval = self.first_interval();
            return self.send_update(now, pace);
        }
        if !answer.status.is_accepted() || answer.lifetime == Lifetime::ZERO {
            return self.refused(now, answer.status);
        }
        self.immediate_retries = 0;
        self.tries = 0;
        self.held = false;
        self.state = State::Registered;
        self.rounds = 0;
        self.granted = answer.lifetime.min(self.config.lifetime);
        let first = self.expires.is_none() || self.bound_at != self.agent;
        self.bound_at = self.agent;
        let lifetime = self.granted.duration();
        self.expires = Some(now + lifetime);
        let advised = answer
            .refresh_advice
            .filter(|advice| *advice != Lifetime::ZERO && *advice < answer.lifetime)
            .map_or(lifetime * u32::from(self.refresh_percent) / 100, Lifetime::duration);
        self.next = Some(now + advised.max(INITIAL_BINDACK_TIMEOUT));
        if self.unsaid && self.is_member() {
            // What was acknowledged is out of date already: at once, or as soon as MAX_UPDATE_RATE allows.
            (self.state, self.held, self.next) = (State::Registering, true, Some(now));
        }
        let agent = self.agent.unwrap_or(Ipv6Addr::UNSPECIFIED);
        let member = Some(self.is_member()).filter(|_| self.advanced);
        let advanced = member.filter(|_| self.told_advanced != member);
        self.told_advanced = member;
        Outcome::Bound { agent, sequence: self.sequence, lifetime: self.granted, first, advanced }
    }

    /// The deadline passed: retransmit, refresh, or notice that the binding is over.
    pub fn timeout(&mut self, now: Instant, random: &mut dyn Random, pace: &mut Pace) -> Outcome {
        if self.expires.is_some_and(|expires| expires <= now) {
            self.expires = None;
            self.bound_at = None;
            self.bound_care_of = None;
            if self.homeward {
                return self.arrive();
            }
            if self.state == State::Deregistering {
                return self.end("the binding ended by itself");
            }
            return Outcome::Lost {
                agent: self.agent,
                status: None,
                reason: "no agent acknowledged a refresh within the lifetime",
                clause: "RFC 3775 11.7.1",
            };
        }
        if self.next.is_none_or(|next| next > now) {
            return Outcome::Nothing;
        }
        if std::mem::take(&mut self.held) {
            return self.send_update(now, pace);
        }
        match self.state {
            State::Idle => {
                self.next = None;
                Outcome::Nothing
            }
            State::Discovering => self.ask_again(now),
            State::Registering => {
                if self.interval >= MAX_BINDACK_TIMEOUT && self.try_next_agent() {
                    self.interval = INITIAL_BINDACK_TIMEOUT_FIRST_REGISTRATION;
                } else if self.interval >= MAX_BINDACK_TIMEOUT && self.discovers() && self.expires.is_none() {
                    // RFC 3775 11.7.1: every agent that discovery named failed, so the list is out of date.
                    self.agent = None;
                    self.tries = 0;
                    self.state = State::Discovering;
                    self.interval = INITIAL_DHAAD_TIMEOUT;
                    return self.ask_for_agents(now, random);
                } else {
                    self.interval = (self.interval * 2).min(MAX_BINDACK_TIMEOUT);
                }
                self.send_update(now, pace)
            }
            State::Registered | State::Refused => {
                self.interval = self.first_interval();
                self.state = State::Registering;
                self.send_update(now, pace)
            }
            State::Deregistering => {
                let most =
                    if self.is_member() { MAX_MEMBER_DEREGISTRATION_TRIES } else { MAX_DEREGISTRATION_TRIES };
                if !self.homeward && self.tries >= most {
                    return self.end("the agent did not answer; the binding ends with its lifetime");
                }
                self.interval = (self.interval * 2).min(MAX_BINDACK_TIMEOUT);
                self.send_update(now, pace)
            }
        }
    }

    /// When [`Registration::timeout`] must be called.
    pub fn deadline(&self) -> Option<Instant> {
        [self.next, self.expires].into_iter().flatten().min()
    }

    /// True while the agent holds our binding.
    pub fn is_bound(&self) -> bool {
        self.expires.is_some() && self.state != State::Deregistering
    }

    /// True when nothing is registered and nothing is being tried.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// When the binding is over.
    pub fn bound_until(&self) -> Option<Instant> {
        self.expires
    }

    /// What is left of the binding.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.expires.map(|expires| expires.saturating_since(now))
    }

    /// For `show updates`.
    pub fn view(&self, care_of: &Ipv6Addr, now: Instant) -> RegistrationView {
        let bound = self.expires.is_some();
        RegistrationView {
            anycast: self.config.anycast,
            agent: self.agent,
            midway: false,
            care_of: *care_of,
            state: match self.state {
                State::Idle => "idle",
                State::Discovering => "discovering",
                State::Registering if bound => "refreshing",
                State::Registering => "registering",
                State::Registered => "registered",
                State::Refused => "refused",
                State::Deregistering => "deregistering",
            },
            sequence: self.sequence,
            lifetime: if bound { self.granted.seconds() } else { 0 },
            remaining: self.remaining(now).unwrap_or_default().as_secs(),
            next: self.next.map(|next| next.saturating_since(now).as_secs()),
            extensions: self
                .extensions
                .filter(|_| bound)
                .map(|granted| granted.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect()),
        }
    }

    fn first_interval(&self) -> Duration {
        if self.expires.is_some() {
            INITIAL_BINDACK_TIMEOUT
        } else {
            INITIAL_BINDACK_TIMEOUT_FIRST_REGISTRATION
        }
    }

    fn ask_for_agents(&mut self, now: Instant, random: &mut dyn Random) -> Outcome {
        self.identifier = random.number16();
        self.next = Some(now + self.interval);
        Outcome::Discover { identifier: self.identifier }
    }

    fn ask_again(&mut self, now: Instant) -> Outcome {
        self.tries += 1;
        // The identifier stays: an answer that was only slow is still an answer.
        self.interval = if self.tries > DHAAD_RETRIES { SLOW_DISCOVERY } else { self.interval * 2 };
        self.next = Some(now + self.interval);
        Outcome::Discover { identifier: self.identifier }
    }

    /// Sends the next Binding Update; every one, retransmissions too, has a number of its own (11.8).
    fn send_update(&mut self, now: Instant, pace: &mut Pace) -> Outcome {
        let Some(agent) = self.agent else {
            self.next = None;
            return Outcome::Nothing;
        };
        if let Err(allowed) = pace.take(now, agent, kind::BINDING_UPDATE) {
            self.held = true;
            self.next = Some(allowed);
            return Outcome::Nothing;
        }
        self.held = false;
        if self.started {
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.started = true;
        self.unsaid = false;
        self.tries += 1;
        self.next = Some(now + self.interval);
        let leaving = self.state == State::Deregistering;
        let lifetime = if leaving { Lifetime::ZERO } else { self.config.lifetime };
        let offering = self.advanced && !self.refuses_identifiers;
        Outcome::Update { agent, sequence: self.sequence, lifetime, offering }
    }

    /// Status 135 (thesis 5.1): at once with the stored number plus two. A responder that leaves does not insist:
    /// somebody else holds the binding now, and removing it would cut that responder off. One of several does, because
    /// the number is its own, and so is the binding.
    fn out_of_window(&mut self, now: Instant, stored: u16, pace: &mut Pace) -> Outcome {
        if self.state == State::Deregistering && !self.is_member() {
            return self.end("another responder has taken the binding over");
        }
        self.immediate_retries += 1;
        // The next Binding Update adds one to this.
        self.sequence = after_out_of_window(stored).wrapping_sub(1);
        if self.immediate_retries > MAX_IMMEDIATE_RETRIES {
            return Outcome::Nothing;
        }
        self.interval = self.first_interval();
        self.send_update(now, pace)
    }

    /// The agent did not take the Binding Update under way because of the time in it (RFC 4285 6), which is right in
    /// the next one.
    pub fn send_again(&mut self, now: Instant, pace: &mut Pace) -> Outcome {
        let waiting = matches!(self.state, State::Registering | State::Deregistering);
        self.immediate_retries += u32::from(waiting);
        if !waiting || self.immediate_retries > MAX_IMMEDIATE_RETRIES {
            return Outcome::Nothing;
        }
        self.interval = self.first_interval();
        self.send_update(now, pace)
    }

    fn refused(&mut self, now: Instant, status: Status) -> Outcome {
        let agent = self.agent;
        self.expires = None;
        self.bound_at = None;
        self.bound_care_of = None;
        if asks_for_another_agent(status) {
            if self.try_next_agent() {
                self.state = State::Registering;
                self.tries = 0;
                self.immediate_retries = 0;
                self.interval = INITIAL_BINDACK_TIMEOUT_FIRST_REGISTRATION;
                // RFC 3775 11.4.1: not sooner. `held` keeps the first wait for the answer undoubled.
                self.held = true;
                let all_refused = self.rounds > 1;
                self.next = Some(now + if all_refused { RETRY_AFTER_REFUSAL } else { self.interval });
                return Outcome::Lost {
                    agent,
                    status: Some(status),
                    reason: "the agent refused; trying the next one",
                    clause: "RFC 3775 11.4.1",
                };
            }
            if self.config.agent.is_none() {
                self.agent = None;
                self.tries = 0;
                self.state = State::Discovering;
                self.interval = SLOW_DISCOVERY;
                self.next = Some(now + SLOW_DISCOVERY);
                return Outcome::Lost {
                    agent,
                    status: Some(status),
                    reason: "the agent refused; looking for another one later",
                    clause: "RFC 3775 11.7.3",
                };
            }
        }
        self.state = State::Refused;
        let (passing, reason) = refusal(status);
        self.next = passing.then(|| now + RETRY_AFTER_REFUSAL);
        Outcome::Lost { agent, status: Some(status), reason, clause: "RFC 3775 11.7.3" }
    }

    /// True when discovery is what names the agents.
    fn discovers(&self) -> bool {
        self.config.agent.is_none()
    }

    fn try_next_agent(&mut self) -> bool {
        if self.candidates.is_empty() && !self.others.is_empty() {
            self.rounds += 1;
            let ring = self.config.agent.into_iter().chain(self.others.iter().copied());
            self.candidates = ring.filter(|agent| Some(*agent) != self.agent).collect();
        }
        if self.candidates.is_empty() {
            return false;
        }
        self.agent = Some(self.candidates.remove(0));
        true
    }

    fn arrive(&mut self) -> Outcome {
        self.end("the responder is at home");
        self.at_home = true;
        Outcome::Home { agent: self.agent }
    }

    fn end(&mut self, reason: &'static str) -> Outcome {
        self.homeward = false;
        self.bound_care_of = None;
        self.state = State::Idle;
        self.next = None;
        self.expires = None;
        self.bound_at = None;
        self.held = false;
        self.leaving = false;
        Outcome::Ended { agent: self.agent, reason }
    }
}
