//! A responder as a member (RFC 4285 sections 5 and 6): the timestamps of its Binding Updates, one row per agent, and
//! the judgement over every Binding Acknowledgement before anything else looks at it. Called by the responder.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::credentials::{Claim, Credentials};
use super::time_of_day::TimeOfDay;
use crate::protocol::clock::Instant;
use crate::protocol::random::Random;
use crate::wire::mobility::{MobilityHeader, MobilityOption, Status, Timestamp};

/// Bits of a timestamp that are finer than clocks are, 15 microseconds, and therefore random (RFC 4285 section 6).
const RANDOM_BITS: u32 = 16;

/// What a responder is told about its membership.
#[derive(Clone, Debug)]
pub struct MembershipConfig {
    pub credentials: Credentials,
    pub clock: TimeOfDay,
}

/// The timestamps of one agent.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// The agent's clock is so much later than ours, in units of a timestamp, modulo 2^64.
    ahead: u64,
    newest: Timestamp,
}

/// The Binding Update under way to one agent for one anycast address.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    care_of: Ipv6Addr,
    timestamp: Timestamp,
    /// The operator heard that the agent denies the key.
    denied: bool,
}

/// An acknowledgement as far as its judgement needs it.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged<'a> {
    pub agent: Ipv6Addr,
    pub home_address: Ipv6Addr,
    pub status: Status,
    pub options: &'a [MobilityOption],
    /// The whole Mobility Header.
    pub bytes: &'a [u8],
}

/// What an acknowledgement is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is the agent's.
    Proven,
    /// It is the agent's, and told that our clock differs from its own: the update must be sent again.
    ClockSet,
    /// It is to be dropped; it says, unproven, that the agent has another key for us, or another SPI. Told once for
    /// every Binding Update.
    KeyDenied,
    /// It is to be dropped.
    Worthless { counter: &'static str, reason: &'static str, clause: &'static str },
}

/// The responder's side of its membership.
#[derive(Clone, Debug)]
pub struct Membership {
    config: MembershipConfig,
    rows: BTreeMap<Ipv6Addr, Row>,
    /// By anycast address and agent.
    under_way: BTreeMap<(Ipv6Addr, Ipv6Addr), UnderWay>,
}

impl Membership {
    /// A member that has sent nothing yet.
    pub fn new(config: MembershipConfig) -> Self {
        Self { config, rows: BTreeMap::new(), under_way: BTreeMap::new() }
    }

    /// The options that a Binding Update to `agent` needs beside its others.
    pub fn options(
        &mut self,
        now: Instant,
        random: &mut dyn Random,
        agent: Ipv6Addr,
        anycast: Ipv6Addr,
        care_of: Ipv6Addr,
    ) -> impl Iterator<Item = MobilityOption> + use<> {
        let row = self.rows.entry(agent).or_default();
        let time = self.config.clock.at(now).0.wrapping_add(row.ahead);
        let mask = (1 << RANDOM_BITS) - 1;
        let fine = u64::from(random.number16()) & mask;
        // Greater than every one before, also when the clock was just set back.
        row.newest = Timestamp((time & !mask | fine).max(row.newest.0.saturating_add(1)));
        let timestamp = row.newest;
        self.under_way.insert((anycast, agent), UnderWay { care_of, timestamp, denied: false });
        self.config.credentials.options(Some(timestamp))
    }

    /// Fills in the authenticator of a Binding Update with these [`Membership::options`].
    pub fn prove(&self, header: &mut MobilityHeader, care_of: &Ipv6Addr, anycast: &Ipv6Addr) {
        self.config.credentials.prove(header, care_of, anycast);
    }

    /// Judges a Binding Acknowledgement.
    pub fn judge(&mut self, now: Instant, answer: &Acknowledged<'_>) -> Judgement {
        let worthless = |counter, reason, clause| Judgement::Worthless { counter, reason, clause };
        let Some(sent) = self.under_way.get_mut(&(answer.home_address, answer.agent)) else {
            let reason = "no Binding Update is under way to this agent";
            return worthless("binding-acknowledgement.unexpected", reason, "RFC 3775 11.7.3");
        };
        let credentials = &self.config.credentials;
        let claim = Claim::of(answer.options).filter(|claim| credentials.are_named_by(claim));
        let Some(claim) = claim else {
            let reason = "an acknowledgement without our identifier, or without authentication";
            return worthless("binding-acknowledgement.unauthenticated", reason, "RFC 4285 5");
        };
        if !credentials.prove_true(&claim, answer.bytes, &sent.care_of, &answer.home_address) {
            if answer.status == Status::AUTHENTICATION_FAILED && !std::mem::replace(&mut sent.denied, true) {
                return Judgement::KeyDenied;
            }
            let reason = "the authenticator is wrong";
            return worthless("binding-acknowledgement.forged", reason, "RFC 4285 5.1.1");
        }
        let repeated = match (answer.status, claim.timestamp) {
            (Status::ID_MISMATCH, Some(told)) => told == told.with_fraction_of(sent.timestamp),
            (_, told) => told == Some(sent.timestamp),
        };
        let (true, Some(told)) = (repeated, claim.timestamp) else {
            let reason = "the timestamp is not that of the last Binding Update";
            return worthless("binding-acknowledgement.stale", reason, "RFC 4285 6");
        };
        match answer.status {
            Status::ID_MISMATCH => {}
            Status::AUTHENTICATION_FAILED => {
                // Whoever repeats our update with another authenticator gets such an answer from the agent.
                let reason = "the agent denies a key that it proves to have";
                return worthless("binding-acknowledgement.contradictory", reason, "docs/advanced-wire.md");
            }
            _ => return Judgement::Proven,
        }
        // Used up: the same refusal once more would set the clock once more.
        self.under_way.remove(&(answer.home_address, answer.agent));
        let own = self.config.clock.at(now);
        let row = self.rows.entry(answer.agent).or_default();
        row.ahead = told.0.wrapping_sub(own.with_fraction_of(told).0);
        row.newest = Timestamp::default();
        Judgement::ClockSet
    }
}
