//! Which source is fixed to which member of a group, and until when (thesis 4.3.2): a bounded table that every packet
//! to the anycast address looks into. Sources seen once are on probation and are the first to make room, so that a
//! flood of them moves nobody who is in the middle of something. Used by `forwarding::groups`.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;
use serde::Serialize;

use crate::protocol::clock::Instant;
use crate::protocol::select::Affinity;

/// No entry: the end of a list.
const NONE: u32 = u32::MAX;
/// In place of the newer neighbour: nothing is held here.
const FREE: u32 = u32::MAX - 1;
/// Moments are kept in this fraction of a second: 32 bits of it are eight years.
const TICKS_PER_SECOND: u64 = 16;
/// A use counts as a later one for the order of idleness when this part of the interval has passed, or the most. To move
/// an entry in that order touches two others, which at a million sources are never in a cache.
const GRAIN: (u32, u32) = (16, 16 * TICKS_PER_SECOND as u32);
/// Of the capacity, how much sources may hold that were seen more than once: four fifths.
const PROTECTED: (usize, usize) = (4, 5);

/// How well a source is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    /// One packet so far, which anybody can forge.
    Probation,
    /// It came back after it was fixed.
    Protected,
}

/// A fixed source: 36 octets, and about ten more of index.
#[derive(Clone, Debug)]
struct Entry {
    source: Ipv6Addr,
    /// Number of the member, and in the lowest bit the segment: 36 octets are not 40.
    tagged: u32,
    /// When the interval began, in ticks.
    since: u32,
    /// When it took its place in the order of use, in ticks.
    placed: u32,
    /// Neighbours in the order of use.
    newer: u32,
    older: u32,
}

impl Entry {
    fn member(&self) -> u32 {
        self.tagged >> 1
    }

    fn segment(&self) -> Segment {
        if self.tagged & 1 == 0 { Segment::Probation } else { Segment::Protected }
    }
}

/// One segment in the order of use.
#[derive(Clone, Copy, Debug)]
struct List {
    newest: u32,
    oldest: u32,
    length: usize,
}

impl List {
    const EMPTY: Self = Self { newest: NONE, oldest: NONE, length: 0 };
}

/// A fixed source as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FixedSource {
    pub source: Ipv6Addr,
    /// Number of the member.
    pub member: u32,
    /// Seconds until the interval ends, unless traffic renews it.
    pub remaining: u64,
}

/// The table of one anycast address.
#[derive(Debug)]
pub struct AffinityTable {
    rule: Affinity,
    /// The rule's interval in ticks.
    interval: u32,
    index: HashTable<u32>,
    entries: Vec<Entry>,
    /// Entries that are free, chained by `older`.
    free: u32,
    probation: List,
    protected: List,
    /// How many sources each member has, those included whose interval ended unnoticed.
    of_member: BTreeMap<u32, usize>,
    evicted: u64,
    /// The place that [`AffinityTable::sweep`] looks at next.
    hand: usize,
    /// Keyed by chance: nobody outside knows which sources meet in the index.
    hasher: RandomState,
}

fn ticks(time: Duration) -> u32 {
    // In 64 bits: every packet asks.
    let parts = u64::from(time.subsec_nanos()) * TICKS_PER_SECOND / 1_000_000_000;
    let ticks = time.as_secs().saturating_mul(TICKS_PER_SECOND).saturating_add(parts);
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

fn moment(now: Instant) -> u32 {
    ticks(now.since_start())
}

/// Of the address as one number: as octets it would bring its length along, and a round more for that.
fn hash(hasher: &RandomState, source: &Ipv6Addr) -> u64 {
    hasher.hash_one(source.to_bits())
}

impl AffinityTable {
    /// An empty table.
    pub fn new(rule: Affinity) -> Self {
        let mut table = Self {
            rule,
            interval: 0,
            index: HashTable::new(),
            entries: Vec::new(),
            free: NONE,
            probation: List::EMPTY,
            protected: List::EMPTY,
            of_member: BTreeMap::new(),
            evicted: 0,
            hand: 0,
            hasher: RandomState::new(),
        };
        table.set_rule(Instant::START, rule);
        table
    }

    /// Goes on by another rule; who is fixed stays fixed, as far as there is room.
    pub fn set_rule(&mut self, now: Instant, rule: Affinity) {
        self.rule = Affinity { capacity: rule.capacity.clamp(1, FREE as usize), ..rule };
        self.interval = ticks(rule.interval).max(1);
        while self.len() > self.rule.capacity {
            self.evict(now);
        }
    }

    /// Sources held, those included whose interval ended unnoticed.
    pub fn len(&self) -> usize {
        self.probation.length + self.protected.length
    }

    /// True when no source is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sources that made room for others before their interval was over.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Sources fixed to the member with this number, those included whose interval ended unnoticed.
    pub fn of_member(&self, number: u32) -> usize {
        self.of_member.get(&number).copied().unwrap_or_default()
    }

    /// Octets that the table occupies.
    pub fn octets(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.index.allocation_size()
    }

    /// The member that `source` is fixed to; asking changes nothing.
    pub fn peek(&self, now: Instant, source: &Ipv6Addr) -> Option<FixedSource> {
        let entry = self.entry(self.find(source)?);
        self.view(now, entry)
    }

    /// The member that `source` is fixed to, for a packet that it sent: its interval begins anew, if the rule says
    /// so, and it is on probation no longer.
    pub fn sent(&mut self, now: Instant, source: &Ipv6Addr) -> Option<u32> {
        let at = self.find(source)?;
        let member = self.used(now, at)?;
        let entry = self.entry(at);
        if entry.segment() == Segment::Protected && !self.is_later(now, entry) {
            return Some(member);
        }
        self.unlink(at);
        self.link(now, at, Segment::Protected);
        if self.protected.length > (self.rule.capacity * PROTECTED.0 / PROTECTED.1).max(1) {
            let idle = self.protected.oldest;
            self.unlink(idle);
            self.link(now, idle, Segment::Probation);
        }
        Some(member)
    }

    /// The member that `source` is fixed to, for a packet that a member sent to it. This renews, but is no sign of
    /// life of the source: a forged packet is answered too.
    pub fn answered(&mut self, now: Instant, source: &Ipv6Addr) -> Option<u32> {
        let at = self.find(source)?;
        let member = self.used(now, at)?;
        let entry = self.entry(at);
        if self.is_later(now, entry) {
            let segment = entry.segment();
            self.unlink(at);
            self.link(now, at, segment);
        }
        Some(member)
    }

    fn is_later(&self, now: Instant, entry: &Entry) -> bool {
        moment(now).saturating_sub(entry.placed) >= (self.interval / GRAIN.0).min(GRAIN.1)
    }

    /// Fixes `source` to the member with this number, which has 31 bits, from now on.
    pub fn fix(&mut self, now: Instant, source: &Ipv6Addr, member: u32) {
        if let Some(at) = self.find(source) {
            self.remove(at);
        }
        while self.len() >= self.rule.capacity {
            self.evict(now);
        }
        let entry = Entry {
            source: *source,
            tagged: member << 1,
            since: moment(now),
            placed: moment(now),
            newer: NONE,
            older: NONE,
        };
        let at = self.place(entry);
        let hash = hash(&self.hasher, source);
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index.insert_unique(hash, at, |held| self::hash(hasher, &entries[*held as usize].source));
        self.link(now, at, Segment::Probation);
        *self.of_member.entry(member).or_default() += 1;
    }

    /// Forgets `only` this source, or all; returns how many were held.
    pub fn forget(&mut self, only: Option<Ipv6Addr>) -> usize {
        match only {
            Some(source) => self.find(&source).map_or(0, |at| {
                self.remove(at);
                1
            }),
            None => {
                let held = self.len();
                *self = Self { evicted: self.evicted, ..Self::new(self.rule) };
                held
            }
        }
    }

    /// Forgets everybody whose interval is over. Looks at the whole table.
    pub fn expire(&mut self, now: Instant) {
        let over: Vec<_> = self.held().filter(|at| self.is_over(now, self.entry(*at))).collect();
        for at in over {
            self.remove(at);
        }
    }

    /// Looks at the next `most` places, and forgets whose interval is over: called again and again, it goes round, and
    /// counts go down without any traffic.
    pub fn sweep(&mut self, now: Instant, most: usize) {
        for _ in 0..most.min(self.entries.len()) {
            self.hand = if self.hand < self.entries.len() { self.hand } else { 0 };
            let entry = &self.entries[self.hand];
            if entry.newer != FREE && self.is_over(now, entry) {
                self.remove(self.hand as u32);
            }
            self.hand += 1;
        }
    }

    /// The sources used last, at most `most`.
    pub fn latest(&self, now: Instant, most: usize) -> Vec<FixedSource> {
        self.held().filter_map(|at| self.view(now, self.entry(at))).take(most).collect()
    }

    /// Every entry in use, each segment from the newest on.
    fn held(&self) -> impl Iterator<Item = u32> + '_ {
        let along = |mut next: u32| {
            std::iter::from_fn(move || {
                let at = (next != NONE).then_some(next)?;
                next = self.entry(at).older;
                Some(at)
            })
        };
        along(self.protected.newest).chain(along(self.probation.newest))
    }

    fn view(&self, now: Instant, entry: &Entry) -> Option<FixedSource> {
        let passed = u64::from(moment(now).saturating_sub(entry.since));
        let passed = Duration::from_millis(passed * 1000 / TICKS_PER_SECOND);
        let remaining = self.rule.interval.checked_sub(passed).filter(|left| !left.is_zero())?;
        Some(FixedSource { source: entry.source, member: entry.member(), remaining: remaining.as_secs() })
    }

    fn is_over(&self, now: Instant, entry: &Entry) -> bool {
        moment(now).saturating_sub(entry.since) >= self.interval
    }

    /// The member of an entry that a packet uses, or nothing when its interval is over.
    fn used(&mut self, now: Instant, at: u32) -> Option<u32> {
        if self.is_over(now, self.entry(at)) {
            self.remove(at);
            return None;
        }
        let renewed = self.rule.renewed;
        let entry = self.entry_mut(at);
        if renewed {
            entry.since = moment(now);
        }
        Some(entry.member())
    }

    /// Who has been idle longest goes: of the protected ones only those whose interval is over, unless there are no
    /// others.
    fn evict(&mut self, now: Instant) {
        let idle = self.protected.oldest;
        let over = idle != NONE && self.is_over(now, self.entry(idle));
        let at = if over || self.probation.oldest == NONE { idle } else { self.probation.oldest };
        self.evicted += u64::from(!self.is_over(now, self.entry(at)));
        self.remove(at);
    }

    fn find(&self, source: &Ipv6Addr) -> Option<u32> {
        let hash = hash(&self.hasher, source);
        self.index.find(hash, |at| self.entry(*at).source == *source).copied()
    }

    fn place(&mut self, entry: Entry) -> u32 {
        let at = self.free;
        if at == NONE {
            self.entries.push(entry);
            return (self.entries.len() - 1) as u32;
        }
        self.free = self.entry(at).older;
        *self.entry_mut(at) = entry;
        at
    }

    fn remove(&mut self, at: u32) {
        self.unlink(at);
        let (source, member) = (self.entry(at).source, self.entry(at).member());
        let (entries, hasher) = (&self.entries, &self.hasher);
        let place = self.index.entry(
            hash(hasher, &source),
            |held| *held == at,
            |held| hash(hasher, &entries[*held as usize].source),
        );
        if let Place::Occupied(held) = place {
            held.remove();
        }
        if let Some(count) = self.of_member.get_mut(&member) {
            *count -= 1;
            if *count == 0 {
                self.of_member.remove(&member);
            }
        }
        let free = self.free;
        let entry = self.entry_mut(at);
        (entry.newer, entry.older) = (FREE, free);
        self.free = at;
    }

    fn entry(&self, at: u32) -> &Entry {
        &self.entries[at as usize]
    }

    fn entry_mut(&mut self, at: u32) -> &mut Entry {
        &mut self.entries[at as usize]
    }

    fn list(&mut self, segment: Segment) -> &mut List {
        match segment {
            Segment::Probation => &mut self.probation,
            Segment::Protected => &mut self.protected,
        }
    }

    fn unlink(&mut self, at: u32) {
        let Entry { newer, older, .. } = *self.entry(at);
        let segment = self.entry(at).segment();
        match newer {
            NONE => self.list(segment).newest = older,
            newer => self.entry_mut(newer).older = older,
        }
        match older {
            NONE => self.list(segment).oldest = newer,
            older => self.entry_mut(older).newer = newer,
        }
        self.list(segment).length -= 1;
    }

    fn link(&mut self, now: Instant, at: u32, segment: Segment) {
        let list = self.list(segment);
        let second = list.newest;
        list.newest = at;
        list.length += 1;
        if second == NONE {
            list.oldest = at;
        } else {
            self.entry_mut(second).newer = at;
        }
        let entry = self.entry_mut(at);
        (entry.newer, entry.older, entry.placed) = (NONE, second, moment(now));
        entry.tagged = entry.tagged & !1 | u32::from(segment == Segment::Protected);
    }
}
