//! The members of an agent's groups (RFC 4285 sections 5 and 6; thesis 4.3.1): who they are, what they may serve, and
//! the judgement over every Binding Update, made before anything else looks at it. One member cannot speak for another.
//! Called by the agents.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;
use serde::Serialize;

use super::credentials::{Claim, Credentials};
use super::time_of_day::TimeOfDay;
use crate::protocol::clock::Instant;
use crate::protocol::rate_limit::TokenBucket;
use crate::wire::mobility::{MobilityOption, Offer, Status, Timestamp};

/// How far a timestamp may be from the agent's clock (RFC 4285 section 6).
pub const CLOSE_ENOUGH: Duration = Duration::from_secs(7);

/// A number for a member that no other gets as long as the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u32);

/// One `[[member]]`.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    pub credentials: Credentials,
    /// The anycast addresses it may serve; empty: all that the agent serves.
    pub anycast: Vec<Ipv6Addr>,
    /// Where it may be; empty: anywhere.
    pub care_of: Vec<Ipv6Net>,
    /// What it says of its weight counts no more than this.
    pub max_weight: u16,
    /// What it says of its metric counts no less than this, in thousandths.
    pub min_metric: u32,
    pub enabled: bool,
}

impl MemberConfig {
    /// Why this member may not bind `home_address` to `care_of`, if it may not. Home it may always go.
    fn forbids(&self, home_address: &Ipv6Addr, care_of: &Ipv6Addr) -> Option<&'static str> {
        if !(self.anycast.is_empty() || self.anycast.contains(home_address)) {
            return Some("the member may not serve this anycast address");
        }
        let somewhere_else = !self.care_of.is_empty()
            && care_of != home_address
            && !self.care_of.iter().any(|prefix| prefix.contains(care_of));
        somewhere_else.then_some("the member may not be at this care-of address")
    }
}

/// What an operator changes in the running agent.
#[derive(Clone, Debug)]
pub enum MemberChange {
    Add(MemberConfig),
    /// Refuse its messages and end its bindings, but keep it.
    Disable(String),
    Enable(String),
    Remove(String),
}

/// Why a member cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    #[error("{0} is a member already")]
    Known(String),
    #[error("{0} is not a member")]
    Unknown(String),
    #[error("this agent runs with authentication = \"none\": it has no members")]
    NoKeys,
}

/// One member as `show members` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberView {
    pub identifier: String,
    pub spi: u32,
    pub enabled: bool,
    /// Empty: all that the agent serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anycast: Vec<Ipv6Addr>,
    /// Empty: anywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub care_of: Vec<Ipv6Net>,
    pub max_weight: u16,
    pub min_metric: u32,
    /// Binding Updates that were proven and fresh.
    pub accepted: u64,
    /// Binding Updates in its name that were not.
    pub refused: u64,
}

/// A Binding Update as far as its judgement needs it.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    pub options: &'a [MobilityOption],
    /// The whole Mobility Header.
    pub bytes: &'a [u8],
    pub home_address: Ipv6Addr,
    /// As the packet's source or its Alternate Care-of Address option says.
    pub care_of: Ipv6Addr,
}

/// Who sent an update, and what its acknowledgement must repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    pub member: MemberId,
    pub care_of: Ipv6Addr,
    pub timestamp: Option<Timestamp>,
}

/// Why an update goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objection {
    /// What it is answered; `None` is silence.
    pub answer: Option<(Status, Proof)>,
    pub counter: &'static str,
    pub reason: &'static str,
    pub clause: &'static str,
}

#[derive(Clone, Debug)]
struct Member {
    config: MemberConfig,
    /// The greatest timestamp accepted; at first the agent's own time, so that nothing older is.
    newest: Timestamp,
    /// Refusals of proven messages: only the member, or somebody who repeats it, causes them.
    answers: TokenBucket,
    accepted: u64,
    refused: u64,
}

/// Why an update that is proven is refused all the same.
struct Refused {
    status: Status,
    /// What the acknowledgement says.
    timestamp: Option<Timestamp>,
    counter: &'static str,
    reason: &'static str,
    clause: &'static str,
}

impl Member {
    /// Whether an update that is proven is fresh (RFC 4285 6), when the agent's clock shows `time`, and allowed.
    fn examine(
        &mut self,
        update: &Received<'_>,
        stamped: Option<Timestamp>,
        time: Timestamp,
        close_enough: Duration,
    ) -> Result<(), Refused> {
        let Some(stamped) = stamped else {
            return Err(Refused {
                status: Status::MESSAGE_ID_REQUIRED,
                timestamp: None,
                counter: "binding-update.refused.145",
                reason: "there is no timestamp",
                clause: "RFC 4285 6",
            });
        };
        if stamped <= self.newest || stamped.distance(time) > close_enough {
            return Err(Refused {
                status: Status::ID_MISMATCH,
                timestamp: Some(time.with_fraction_of(stamped)),
                counter: "binding-update.refused.144",
                reason: "the timestamp is not close enough, or not greater than those before",
                clause: "RFC 4285 6",
            });
        }
        self.newest = stamped;
        match self.config.forbids(&update.home_address, &update.care_of) {
            None => Ok(()),
            Some(reason) => Err(Refused {
                status: Status::ADMINISTRATIVELY_PROHIBITED,
                timestamp: Some(stamped),
                counter: "binding-update.refused.129",
                reason,
                clause: "docs/membership.md",
            }),
        }
    }
}

/// All members of an agent.
#[derive(Clone, Debug)]
pub struct Members {
    clock: TimeOfDay,
    close_enough: Duration,
    members: BTreeMap<MemberId, Member>,
    by_identifier: BTreeMap<String, MemberId>,
    next: u32,
    /// Answers to wrong authenticators, which anybody can cause.
    answers: TokenBucket,
}

fn bucket() -> TokenBucket {
    TokenBucket::new(20, Duration::from_millis(50))
}

impl Members {
    /// Those of `configured` whose identifier is not taken yet, known from the agent's start.
    pub fn new(clock: TimeOfDay, close_enough: Duration, configured: Vec<MemberConfig>) -> Self {
        let mut members = Self {
            clock,
            close_enough,
            members: BTreeMap::new(),
            by_identifier: BTreeMap::new(),
            next: 0,
            answers: bucket(),
        };
        for config in configured {
            // The configuration was checked for doubles; the first one stays.
            let _ = members.add(Instant::START, config);
        }
        members
    }

    fn add(&mut self, now: Instant, config: MemberConfig) -> Result<(), MemberError> {
        let identifier = config.credentials.identifier.clone();
        if self.by_identifier.contains_key(&identifier) {
            return Err(MemberError::Known(identifier));
        }
        let id = MemberId(self.next);
        self.next += 1;
        let newest = self.clock.at(now);
        let member = Member { config, newest, answers: bucket(), accepted: 0, refused: 0 };
        self.members.insert(id, member);
        self.by_identifier.insert(identifier, id);
        Ok(())
    }

    /// Carries an operator's change out; returns the member whose bindings must end now.
    ///
    /// # Errors
    /// When the identifier is known already, or not known.
    pub fn change(&mut self, now: Instant, change: MemberChange) -> Result<Option<MemberId>, MemberError> {
        let known = |members: &Self, identifier: String| match members.by_identifier.get(&identifier) {
            Some(id) => Ok(*id),
            None => Err(MemberError::Unknown(identifier)),
        };
        match change {
            MemberChange::Add(config) => self.add(now, config).map(|()| None),
            MemberChange::Disable(identifier) => {
                let id = known(self, identifier)?;
                self.switch(now, id, false);
                Ok(Some(id))
            }
            MemberChange::Enable(identifier) => {
                let id = known(self, identifier)?;
                self.switch(now, id, true);
                Ok(None)
            }
            MemberChange::Remove(identifier) => {
                let id = known(self, identifier.clone())?;
                self.by_identifier.remove(&identifier);
                self.members.remove(&id);
                Ok(Some(id))
            }
        }
    }

    fn switch(&mut self, now: Instant, id: MemberId, enabled: bool) {
        let time = self.clock.at(now);
        if let Some(member) = self.members.get_mut(&id) {
            member.config.enabled = enabled;
            // What was sent while it was switched off must not be replayed afterwards.
            member.newest = member.newest.max(time);
        }
    }

    /// Judges a Binding Update (docs/advanced-wire.md section 5).
    ///
    /// # Errors
    /// The answer it gets, and why.
    pub fn judge(&mut self, now: Instant, update: &Received<'_>) -> Result<Proof, Objection> {
        let silent = |counter, reason, clause| Err(Objection { answer: None, counter, reason, clause });
        let Some(claim) = Claim::of(update.options) else {
            let reason = "a Binding Update without identifier or without authentication as its last option";
            return silent("binding-update.unauthenticated", reason, "RFC 4285 5");
        };
        let id = std::str::from_utf8(claim.identifier).ok().and_then(|name| self.by_identifier.get(name));
        let Some((&id, member)) = id.and_then(|id| Some((id, self.members.get_mut(id)?))) else {
            let reason = "an identifier that is nobody's";
            return silent("binding-update.unknown-member", reason, "RFC 4285 5.1.1");
        };
        let credentials = &member.config.credentials;
        if !credentials.are_named_by(&claim) {
            member.refused += 1;
            let reason = "the SPI is not the member's";
            return silent("binding-update.unknown-spi", reason, "RFC 4285 5.1.1");
        }
        if !member.config.enabled {
            member.refused += 1;
            let reason = "the member is switched off";
            return silent("binding-update.disabled-member", reason, "docs/membership.md");
        }
        let Received { bytes, home_address, care_of, .. } = *update;
        let proof = Proof { member: id, care_of, timestamp: claim.timestamp };
        if !credentials.prove_true(&claim, bytes, &care_of, &home_address) {
            member.refused += 1;
            return Err(Objection {
                answer: self.answers.take(now).then_some((Status::AUTHENTICATION_FAILED, proof)),
                counter: "binding-update.refused.146",
                reason: "the authenticator is wrong",
                clause: "RFC 4285 5.1.1",
            });
        }
        let time = self.clock.at(now);
        match member.examine(update, claim.timestamp, time, self.close_enough) {
            Ok(()) => {
                member.accepted += 1;
                Ok(proof)
            }
            Err(Refused { status, timestamp, counter, reason, clause }) => {
                member.refused += 1;
                let answer = (status, Proof { timestamp, ..proof });
                Err(Objection { answer: member.answers.take(now).then_some(answer), counter, reason, clause })
            }
        }
    }

    /// The credentials of a member, while it is one.
    pub fn credentials(&self, member: MemberId) -> Option<&Credentials> {
        self.members.get(&member).map(|member| &member.config.credentials)
    }

    /// The identifier of a member, while it is one.
    pub fn identifier(&self, member: MemberId) -> Option<&str> {
        self.credentials(member).map(|credentials| credentials.identifier.as_str())
    }

    /// What a member says of itself, within the bounds that the operator set.
    pub fn bounded(&self, member: MemberId, offer: Offer) -> Offer {
        let Some(Member { config, .. }) = self.members.get(&member) else { return offer };
        Offer {
            weight: offer.weight.min(config.max_weight),
            // No metric is the largest number and stays what it is.
            metric: offer.metric.max(config.min_metric),
            ..offer
        }
    }

    /// All members, ordered by identifier.
    pub fn views(&self) -> Vec<MemberView> {
        let members = self.by_identifier.values().filter_map(|id| self.members.get(id));
        let view = |member: &Member| {
            let MemberConfig { credentials, anycast, care_of, max_weight, min_metric, enabled } =
                &member.config;
            MemberView {
                identifier: credentials.identifier.clone(),
                spi: credentials.spi,
                enabled: *enabled,
                anycast: anycast.clone(),
                care_of: care_of.clone(),
                max_weight: *max_weight,
                min_metric: *min_metric,
                accepted: member.accepted,
                refused: member.refused,
            }
        };
        members.map(view).collect()
    }
}
