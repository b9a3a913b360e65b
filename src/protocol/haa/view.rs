//! A binding as an operator sees it (`show bindings`): the cache entry of RFC 3775 9.1 in seconds and letters.
//! Made by `haa` and `ai` for the daemon.

use std::net::Ipv6Addr;

use serde::Serialize;

use crate::protocol::binding::cache::Binding;
use crate::protocol::binding::members::{Member, Responder};
use crate::protocol::clock::Instant;
use crate::protocol::select::{Criterion, Judgement};
use crate::wire::mobility::{Extensions, UpdateFlags};

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
    /// At an address of the advanced model.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberView>,
}

/// What a binding of the advanced model has besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// Number of the membership.
    pub member: u32,
    /// Binding Identifier; absent for a responder of the basic model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid: Option<u16>,
    /// Whom it says it is (RFC 4283).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// The extensions that are on, in words.
    pub extensions: Vec<&'static str>,
}

impl MemberView {
    /// The view of `member`.
    pub fn of(member: &Member) -> Self {
        let words = [
            (Extensions::SEVERAL, "several"),
            (Extensions::AFFINITY, "affinity"),
            (Extensions::PROBING, "probing"),
            (Extensions::STEERING, "steering"),
            (Extensions::AGENTS, "agents"),
        ];
        let granted = member.membership.granted;
        let (bid, identifier) = match &member.membership.responder {
            Responder::Legacy { .. } => (None, None),
            Responder::Identified { bid, .. } => (Some(*bid), None),
            Responder::Named { identifier, bid } => {
                (Some(*bid), Some(String::from_utf8_lossy(identifier).into_owned()))
            }
        };
        let extensions =
            words.iter().filter(|(of, _)| granted.contains(*of)).map(|(_, word)| *word).collect();
        Self { member: member.number, bid, identifier, extensions }
    }
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
            member: None,
        }
    }

    /// The view of a member's binding at `now`.
    pub fn of_member(member: &Member, now: Instant) -> Self {
        Self { member: Some(MemberView::of(member)), ..Self::of(member.binding(), now) }
    }
}

/// An anycast address of the advanced model and its members, as the agent chooses among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupStatus {
    pub anycast: Ipv6Addr,
    pub selection: Criterion,
    /// By how many percent another must be better than the one chosen.
    pub margin: u32,
    /// The member that takes all new sources, under a policy that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<u32>,
    /// No member that may take new sources has room for them: they share these by weight, beyond their capacities.
    pub all_full: bool,
    pub members: Vec<MemberStatus>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberStatus {
    #[serde(flatten)]
    pub view: MemberView,
    pub care_of: Ipv6Addr,
    pub state: MemberState,
    /// Round-trip time through the tunnel, smoothed, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance: Option<u64>,
    /// As reported, in thousandths; less is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// As reported, or one.
    pub weight: u16,
    /// Sources that it wants at most; zero is no bound.
    pub capacity: u32,
    /// What the policy says of it.
    pub judgement: Judgement,
}

/// Which sources a member is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// Its own and new ones.
    Alive,
    /// Its own.
    Draining,
    /// Its own, which are as many as its capacity; new ones only where all are full.
    Full,
    /// None: it answers no probes.
    Lost,
}
