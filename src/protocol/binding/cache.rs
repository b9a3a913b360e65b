//! The binding cache (RFC 3775 9.1; thesis 4.2.2, the anycast binding cache): which care-of address a home address
//! is reached at, as soft state that ends by itself. Keyed by home address and the own address the update was sent
//! to, ordered by expiry beside it, bounded in size. Used by `haa` and `ai`.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;

use super::sequence::is_newer;
use crate::protocol::auth::members::MemberId;
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
    /// The member that made it, where members have keys (RFC 4285).
    pub owner: Option<MemberId>,
}

impl Binding {
    /// The key under which this binding is kept.
    pub fn key(&self) -> BindingKey {
        (self.home_address, self.own_address)
    }
}

/// The cache. Hashed, because every Binding Update looks a binding up several times; listed in order.
#[derive(Clone, Debug)]
pub struct BindingCache {
    /// By home address, in the order they were stored; nearly always at one own address only.
    entries: HashMap<Ipv6Addr, Vec<Binding>>,
    count: usize,
    by_expiry: BTreeSet<(Instant, BindingKey)>,
    capacity: usize,
}

impl BindingCache {
    /// An empty cache for at most `capacity` bindings.
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), count: 0, by_expiry: BTreeSet::new(), capacity }
    }

    /// The binding under `key`.
    pub fn get(&self, (home_address, own_address): &BindingKey) -> Option<&Binding> {
        self.entries.get(home_address)?.iter().find(|binding| binding.own_address == *own_address)
    }

    /// The stored number when `sequence` is not newer than that of the binding under `key` (RFC 3775 9.5.1:
    /// the answer is status 135 with this number).
    pub fn stale(&self, key: &BindingKey, sequence: u16) -> Option<u16> {
        self.get(key).map(|binding| binding.sequence).filter(|stored| !is_newer(sequence, *stored))
    }

    /// True when a new binding would exceed the capacity (status 130).
    pub fn is_full(&self) -> bool {
        self.count >= self.capacity
    }

    /// True when `address` is itself a home address in the cache: a binding to it would be a circle
    /// (RFC 3775 6.1.7).
    pub fn binds(&self, address: &Ipv6Addr) -> bool {
        self.entries.contains_key(address)
    }

    /// The binding of this home address that was stored last, whatever own address it was made at.
    pub fn of(&self, home_address: &Ipv6Addr) -> Option<&Binding> {
        self.entries.get(home_address)?.last()
    }

    /// Stores `binding`, replacing the one under its key, which is given back.
    pub fn insert(&mut self, binding: Binding) -> Option<Binding> {
        let (key, expires) = (binding.key(), binding.expires);
        let bindings = self.entries.entry(binding.home_address).or_default();
        let held = bindings.iter().position(|held| held.own_address == binding.own_address);
        let previous = held.map(|at| bindings.remove(at));
        bindings.push(binding);
        self.count += usize::from(previous.is_none());
        match previous.as_ref().map(|old| old.expires) {
            Some(same) if same == expires => return previous,
            Some(other) => {
                self.by_expiry.remove(&(other, key));
            }
            None => {}
        }
        self.by_expiry.insert((expires, key));
        previous
    }

    /// Removes the binding under `key`.
    pub fn remove(&mut self, key: &BindingKey) -> Option<Binding> {
        let (home_address, own_address) = key;
        let bindings = self.entries.get_mut(home_address)?;
        let at = bindings.iter().position(|binding| binding.own_address == *own_address)?;
        let binding = bindings.remove(at);
        if bindings.is_empty() {
            self.entries.remove(home_address);
        }
        self.count -= 1;
        self.by_expiry.remove(&(binding.expires, *key));
        Some(binding)
    }

    /// Removes and returns the bindings of `only` this home address, or all, ordered by home address.
    pub fn take(&mut self, only: Option<Ipv6Addr>) -> Vec<Binding> {
        let wanted =
            |binding: &&Binding| only.is_none_or(|home_address| home_address == binding.home_address);
        let keys: Vec<_> = self.iter().filter(wanted).map(Binding::key).collect();
        keys.iter().filter_map(|key| self.remove(key)).collect()
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

    /// All bindings, ordered by home address and own address.
    pub fn iter(&self) -> impl Iterator<Item = &Binding> + '_ {
        let mut bindings: Vec<_> = self.entries.values().flatten().collect();
        bindings.sort_unstable_by_key(|binding| binding.key());
        bindings.into_iter()
    }

    /// Number of bindings.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
