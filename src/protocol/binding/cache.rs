//! The binding cache (RFC 3775 9.1; thesis 4.2.2, the anycast binding cache): which care-of address a home address
//! is reached at, as soft state that ends by itself. Keyed by home address and the own address the update was sent
//! to, ordered by expiry beside it, bounded in size. Used by `haa` and `ai`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use super::sequence::is_newer;
use crate::protocol::clock::Instant;
use crate::wire::mobility::{Lifetime, UpdateFlags};

/// Home address, and the own address it is bound at.
pub type BindingKey = (Ipv6Addr, Ipv6Addr);

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub home_address: Ipv6Addr,
    /// The address of ours that the Binding Update was sent to.
    pub own_address: Ipv6Addr,
    pub care_of: Ipv6Addr,
    pub sequence: u16,
    pub flags: UpdateFlags,
    /// As granted, in units of 4 seconds.
    pub lifetime: Lifetime,
    pub expires: Instant,
}

impl Binding {
    /// The key under which this binding is kept.
    pub fn key(&self) -> BindingKey {
        (self.home_address, self.own_address)
    }
}

/// The cache. Never larger than its capacity.
#[derive(Clone, Debug)]
pub struct BindingCache {
    entries: BTreeMap<BindingKey, Binding>,
    by_expiry: BTreeSet<(Instant, BindingKey)>,
    capacity: usize,
}

impl BindingCache {
    /// An empty cache for at most `capacity` bindings.
    pub fn new(capacity: usize) -> Self {
        Self { entries: BTreeMap::new(), by_expiry: BTreeSet::new(), capacity }
    }

    /// The binding under `key`.
    pub fn get(&self, key: &BindingKey) -> Option<&Binding> {
        self.entries.get(key)
    }

    /// The stored number when `sequence` is not newer than that of the binding under `key` (RFC 3775 9.5.1:
    /// the answer is status 135 with this number).
    pub fn stale(&self, key: &BindingKey, sequence: u16) -> Option<u16> {
        self.entries.get(key).map(|binding| binding.sequence).filter(|stored| !is_newer(sequence, *stored))
    }

    /// True when a new binding would exceed the capacity (status 130).
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    /// True when `address` is itself a home address in the cache: a binding to it would be a circle
    /// (RFC 3775 6.1.7).
    pub fn binds(&self, address: &Ipv6Addr) -> bool {
        self.of(address).is_some()
    }

    /// A binding of this home address, whatever own address it was made at.
    pub fn of(&self, home_address: &Ipv6Addr) -> Option<&Binding> {
        let lowest = (*home_address, Ipv6Addr::UNSPECIFIED);
        let (_, binding) = self.entries.range(lowest..).next()?;
        (binding.home_address == *home_address).then_some(binding)
    }

    /// Stores `binding`, replacing the one under its key, which is given back.
    pub fn insert(&mut self, binding: Binding) -> Option<Binding> {
        let key = binding.key();
        self.by_expiry.insert((binding.expires, key));
        let expires = binding.expires;
        let previous = self.entries.insert(key, binding);
        if let Some(old) = previous.as_ref().filter(|old| old.expires != expires) {
            self.by_expiry.remove(&(old.expires, key));
        }
        previous
    }

    /// Removes the binding under `key`.
    pub fn remove(&mut self, key: &BindingKey) -> Option<Binding> {
        let binding = self.entries.remove(key)?;
        self.by_expiry.remove(&(binding.expires, *key));
        Some(binding)
    }

    /// Removes and returns one binding whose lifetime is over.
    pub fn take_expired(&mut self, now: Instant) -> Option<Binding> {
        let (expires, key) = *self.by_expiry.first()?;
        if expires > now {
            return None;
        }
        self.remove(&key)
    }

    /// When the next binding ends.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.by_expiry.first().map(|(expires, _)| *expires)
    }

    /// All bindings, ordered by home address.
    pub fn iter(&self) -> impl Iterator<Item = &Binding> + '_ {
        self.entries.values()
    }

    /// Number of bindings.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
