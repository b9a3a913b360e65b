//! The binding cache of the advanced model (thesis 4.3.1, Figure 9): several responders at one anycast address at once.
//! A Binding Update adds; each responder has its own lifetime and sequence numbers, and ends alone. Who is who follows
//! RFC 5648's Binding Identifier; a responder without one is told apart by its care-of address. Used by `haa`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use super::cache::Binding;
use super::sequence::is_newer;
use crate::protocol::clock::Instant;
use crate::wire::mobility::{Extensions, Offer};

/// What tells a responder of an anycast address from the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Responder {
    /// One of the basic model, which is where it is.
    Legacy { care_of: Ipv6Addr },
    /// One with a Binding Identifier. Responders choose theirs without each other's knowledge, so alone it tells nobody
    /// apart.
    Identified { care_of: Ipv6Addr, bid: u16 },
    /// One that says who it is (RFC 4283), wherever it is.
    Named { identifier: Vec<u8>, bid: u16 },
}

/// Anycast address and responder.
pub type MemberKey = (Ipv6Addr, Responder);

/// What a Binding Update makes of a responder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub responder: Responder,
    pub binding: Binding,
    /// What it says of itself; nothing from one of the basic model.
    pub offer: Option<Offer>,
    /// The extensions that are on for it.
    pub granted: Extensions,
}

/// A responder of an anycast address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Of this membership from its beginning to its end, and of no other one.
    pub number: u32,
    pub membership: Membership,
}

impl Member {
    /// The binding.
    pub fn binding(&self) -> &Binding {
        &self.membership.binding
    }

    /// Where it is.
    pub fn care_of(&self) -> Ipv6Addr {
        self.membership.binding.care_of
    }

    /// Its Binding Identifier; zero for one of the basic model, which has none.
    pub fn bid(&self) -> u16 {
        match self.membership.responder {
            Responder::Legacy { .. } => 0,
            Responder::Identified { bid, .. } | Responder::Named { bid, .. } => bid,
        }
    }

    /// Sources that it wants at most, as it reports; zero is no bound.
    pub fn capacity(&self) -> u32 {
        self.membership.offer.as_ref().map_or(0, |offer| offer.capacity)
    }

    /// The key under which it is kept.
    pub fn key(&self) -> MemberKey {
        (self.membership.binding.home_address, self.membership.responder.clone())
    }
}

/// What storing a membership has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The number of the membership.
    pub number: u32,
    /// The care-of address that the same responder was at before.
    pub was_at: Option<Ipv6Addr>,
    /// Another membership of the same node, which is over.
    pub merged: Option<Member>,
}

/// The members of all anycast addresses, ordered.
#[derive(Clone, Debug, Default)]
pub struct MemberCache {
    members: BTreeMap<Ipv6Addr, BTreeMap<Responder, Member>>,
    by_expiry: BTreeSet<(Instant, MemberKey)>,
    /// The number given out last.
    last: u32,
}

impl MemberCache {
    /// The member under `key`.
    pub fn get(&self, (anycast, responder): &MemberKey) -> Option<&Member> {
        self.members.get(anycast)?.get(responder)
    }

    /// The member of `anycast` that is at `care_of`.
    pub fn at(&self, anycast: &Ipv6Addr, care_of: &Ipv6Addr) -> Option<&Member> {
        self.of(anycast).find(|member| member.care_of() == *care_of)
    }

    /// The member of `anycast` with this number.
    pub fn numbered(&self, anycast: &Ipv6Addr, number: u32) -> Option<&Member> {
        self.of(anycast).find(|member| member.number == number)
    }

    /// The stored number when `sequence` is not newer than that of the member under `key` (RFC 3775 9.5.1).
    pub fn stale(&self, key: &MemberKey, sequence: u16) -> Option<u16> {
        let stored = self.get(key)?.binding().sequence;
        (!is_newer(sequence, stored)).then_some(stored)
    }

    /// The members of `anycast`, ordered by who they are.
    pub fn of(&self, anycast: &Ipv6Addr) -> impl Iterator<Item = &Member> + '_ {
        self.members.get(anycast).into_iter().flat_map(BTreeMap::values)
    }

    /// All members, ordered by anycast address.
    pub fn iter(&self) -> impl Iterator<Item = &Member> + '_ {
        self.members.values().flat_map(BTreeMap::values)
    }

    /// Number of members of all anycast addresses.
    pub fn len(&self) -> usize {
        self.by_expiry.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.by_expiry.is_empty()
    }

    /// Stores a membership: a refresh when the responder is a member already, else one more. Where another one is at
    /// the same care-of address, it was the same node under another name: it goes on as this one, or is over where this one
    /// was a member already.
    pub fn store(&mut self, membership: Membership) -> Stored {
        let anycast = membership.binding.home_address;
        let key = (anycast, membership.responder.clone());
        let before = self.remove(&key);
        let there = self.at(&anycast, &membership.binding.care_of).map(Member::key);
        let renamed = there.and_then(|key| self.remove(&key));
        let (same, merged) = match before {
            Some(before) => (Some(before), renamed),
            None => (renamed, None),
        };
        let was_at = same.as_ref().map(Member::care_of);
        let number = same.map_or_else(
            || {
                self.last = self.last.wrapping_add(1) & (u32::MAX >> 1);
                self.last
            },
            |member| member.number,
        );
        self.by_expiry.insert((membership.binding.expires, key.clone()));
        self.members.entry(anycast).or_default().insert(key.1, Member { number, membership });
        Stored { number, was_at, merged }
    }

    /// Removes the member under `key`, and no other.
    pub fn remove(&mut self, key: &MemberKey) -> Option<Member> {
        let members = self.members.get_mut(&key.0)?;
        let member = members.remove(&key.1)?;
        if members.is_empty() {
            self.members.remove(&key.0);
        }
        self.by_expiry.remove(&(member.binding().expires, key.clone()));
        Some(member)
    }

    /// Removes and returns one member whose lifetime is over.
    pub fn take_expired(&mut self, now: Instant) -> Option<Member> {
        let (expires, key) = self.by_expiry.first()?;
        if *expires > now {
            return None;
        }
        let key = key.clone();
        self.remove(&key)
    }

    /// When the next lifetime ends.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.by_expiry.first().map(|(expires, _)| *expires)
    }
}
