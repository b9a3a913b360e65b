//! Who is fixed to which member of a group, in memory that the kernel's programs and this one share (thesis 4.3.2): the
//! twin of `programs/sources.h`, which says how the table works. Both sides read without a lock and write under a lock of
//! the bucket that nobody in the kernel waits for. Called by `group`.

use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{Map, MapData};

use super::Refusal;
use super::group::GROUPS;
use super::loader::refusing;
use crate::protocol::select::mix;

/// As in `programs/sources.h`.
const BUCKET: usize = 16;
const FREE: u64 = 0;
const BY_USER: u64 = 2;
/// How much room there is for each source that is wanted: buckets do not fill evenly.
const ROOM: u32 = 2;
/// How often a bucket that a program is changing is asked for again; it takes a program less than a microsecond.
const PATIENCE: usize = 10_000;

/// A secret by which sources find their buckets.
pub type Secret = [u32; 4];

/// `struct fixed`.
#[repr(C)]
struct Fixed {
    source: [AtomicU64; 2],
    whom: AtomicU64,
    since: AtomicU32,
    group: AtomicU16,
    again: AtomicU16,
}

/// `struct bucket`.
type Bucket = [Fixed; BUCKET];

/// Who a source is fixed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub source: Ipv6Addr,
    /// Place of the group.
    pub group: u32,
    /// Number of the member.
    pub member: u32,
    /// Its place in the map of members.
    pub place: u32,
    /// In ticks since boot.
    pub since: u32,
    /// The source was heard of again after it was fixed.
    pub again: bool,
}

/// The memory of an array map, as `T`s.
struct Mapping<T> {
    begin: NonNull<T>,
    entries: usize,
    _map: MapData,
}

impl<T> Mapping<T> {
    fn of(ebpf: &mut Ebpf, name: &str) -> Result<Self, Refusal> {
        let Some(Map::Array(map)) = ebpf.take_map(name) else {
            return Err(Refusal(format!("the program has no array {name}")));
        };
        let entries = map.info().map_err(refusing("open a map"))?.max_entries() as usize;
        // SAFETY: a new mapping of a descriptor that is open harms no memory of this program.
        let begin = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                entries * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if begin == libc::MAP_FAILED {
            return Err(refusing("map the sources")(std::io::Error::last_os_error()));
        }
        let begin = NonNull::new(begin.cast()).ok_or_else(|| Refusal(format!("no memory for {name}")))?;
        Ok(Self { begin, entries, _map: map })
    }

    fn all(&self) -> &[T] {
        // SAFETY: the mapping has so many entries, whose octets are all atomic, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.begin.as_ptr(), self.entries) }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and nobody can refer to it any more.
        unsafe { libc::munmap(self.begin.as_ptr().cast(), self.entries * size_of::<T>()) };
    }
}

// SAFETY: memory that is shared with other processors of the kernel may as well be with another thread.
unsafe impl<T> Send for Mapping<T> {}

/// The table of all groups.
pub struct Sources {
    buckets: Mapping<Bucket>,
    locks: Mapping<AtomicU64>,
    /// Of each group, by place; 0 where there is none.
    intervals: [u32; GROUPS as usize],
}

/// Where a source of a group is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// Of the group.
    pub secret: &'a Secret,
    /// Place of the group.
    pub group: u32,
    pub source: Ipv6Addr,
}

impl Sought<'_> {
    fn is_at(&self, fixed: &Fixed) -> bool {
        let [upper, lower] = words(&self.source);
        fixed.source[1].load(Ordering::Acquire) == lower
            && fixed.source[0].load(Ordering::Acquire) == upper
            && u32::from(fixed.group.load(Ordering::Acquire)) == self.group + 1
    }
}

/// The halves of an address as they lie in memory.
fn words(address: &Ipv6Addr) -> [u64; 2] {
    let octets = address.octets();
    [0, 8].map(|begin| u64::from_ne_bytes(std::array::from_fn(|nth| octets[begin + nth])))
}

/// How many buckets a table for so many sources has.
pub fn buckets(sources: u32) -> u32 {
    sources.saturating_mul(ROOM).div_ceil(BUCKET as u32).max(1)
}

/// `bucket_of`.
fn bucket_of(secret: &Secret, buckets: usize, source: &Ipv6Addr) -> usize {
    let [upper, lower] = words(source);
    let sum = |word: u64, nth: usize| u64::from((word as u32).wrapping_add(secret[nth]));
    let hash = (sum(upper, 0).wrapping_mul(sum(upper >> 32, 1)))
        .wrapping_add(sum(lower, 2).wrapping_mul(sum(lower >> 32, 3)));
    (((mix(hash) >> 32) * buckets as u64) >> 32) as usize
}

impl Fixed {
    /// What lies here, if somebody is fixed here.
    fn held(&self) -> Option<Held> {
        let whom = self.whom.load(Ordering::Acquire);
        let words = [0, 1].map(|nth| self.source[nth].load(Ordering::Acquire).to_ne_bytes());
        let octets: [u8; 16] = std::array::from_fn(|nth| words[nth / 8][nth % 8]);
        let held = Held {
            source: octets.into(),
            group: u32::from(self.group.load(Ordering::Acquire)).checked_sub(1)?,
            member: whom as u32,
            place: u32::from((whom >> 32) as u16),
            since: self.since.load(Ordering::Acquire),
            again: self.again.load(Ordering::Acquire) != 0,
        };
        // It may have changed hands meanwhile.
        (held.member != 0 && self.whom.load(Ordering::Acquire) == whom).then_some(held)
    }
}

impl Sources {
    /// Maps the table that the programs have.
    pub fn open(ebpf: &mut Ebpf) -> Result<Self, Refusal> {
        let (buckets, locks) = (Mapping::of(ebpf, "sources")?, Mapping::<AtomicU64>::of(ebpf, "locks")?);
        for lock in locks.all() {
            // A killed run may have held it.
            let _ = lock.compare_exchange(BY_USER, FREE, Ordering::AcqRel, Ordering::Relaxed);
        }
        Ok(Self { buckets, locks, intervals: [0; GROUPS as usize] })
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> u32 {
        self.buckets.entries as u32
    }

    /// Has the sources of the group at this place make room when they are as old as this, in ticks.
    pub fn set_interval(&mut self, group: u32, interval: u32) {
        if let Some(held) = self.intervals.get_mut(group as usize) {
            *held = interval;
        }
    }

    /// Whether the interval of a source is over, or its group is gone.
    pub fn is_over(&self, now: u32, held: &Held) -> bool {
        let interval = self.intervals.get(held.group as usize).copied().unwrap_or_default();
        age(now, held.since) >= i64::from(interval)
    }

    fn number(&self, sought: &Sought<'_>) -> usize {
        bucket_of(sought.secret, self.buckets.entries, &sought.source)
    }

    /// Whom a source is fixed to, or was before its interval ended.
    pub fn find(&self, sought: &Sought<'_>) -> Option<Held> {
        let bucket = &self.buckets.all()[self.number(sought)];
        let held = bucket.iter().filter(|fixed| sought.is_at(fixed)).find_map(Fixed::held)?;
        (held.source == sought.source).then_some(held)
    }

    /// Every fixed source, those included whose interval is over.
    pub fn all(&self) -> impl Iterator<Item = Held> {
        // What was never used has nothing behind it.
        let used = |fixed: &&Fixed| fixed.group.load(Ordering::Acquire) != 0;
        self.buckets
            .all()
            .iter()
            .flat_map(move |bucket| bucket.iter().take_while(used))
            .filter_map(Fixed::held)
    }

    /// Does something with a bucket that no program changes meanwhile; nothing when one never stops.
    fn locked<T>(&self, number: usize, work: impl FnOnce(&Bucket) -> T) -> Option<T> {
        let (bucket, lock) = (&self.buckets.all()[number], &self.locks.all()[number]);
        let take = || lock.compare_exchange(FREE, BY_USER, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        (0..PATIENCE).find(|_| {
            let taken = take();
            if !taken {
                std::thread::yield_now();
            }
            taken
        })?;
        let result = work(bucket);
        lock.store(FREE, Ordering::Release);
        Some(result)
    }

    /// Fixes a source to a member: the one with this number at this place, since this moment in ticks.
    pub fn fix(&self, sought: &Sought<'_>, now: u32, held: &Held) {
        self.locked(self.number(sought), |bucket| {
            let own = bucket.iter().find(|fixed| sought.is_at(fixed));
            // As in `programs/sources.h`, of equal ones the first.
            let roomiest = || bucket.iter().rev().max_by_key(|fixed| self.room(fixed, now));
            let Some(fixed) = own.or_else(roomiest) else { return };
            let before = fixed.whom.swap(0, Ordering::AcqRel);
            let version = (before >> 48).wrapping_add(1) << 48;
            let whom = version | u64::from(held.place) << 32 | u64::from(held.member);
            for (word, value) in fixed.source.iter().zip(words(&sought.source)) {
                word.store(value, Ordering::Release);
            }
            fixed.since.store(held.since, Ordering::Release);
            fixed.group.store(sought.group as u16 + 1, Ordering::Release);
            fixed.again.store(u16::from(held.again), Ordering::Release);
            fixed.whom.store(whom, Ordering::Release);
        });
    }

    /// `room`.
    fn room(&self, fixed: &Fixed, now: u32) -> i64 {
        let place = usize::from(fixed.group.load(Ordering::Acquire)).wrapping_sub(1);
        let interval = self.intervals.get(place).copied().unwrap_or_default();
        let age = age(now, fixed.since.load(Ordering::Acquire));
        match (fixed.whom.load(Ordering::Acquire) as u32, fixed.again.load(Ordering::Acquire)) {
            (0, _) => 3 << 32,
            _ if age >= i64::from(interval) => 3 << 32,
            (_, 0) => (1 << 32) + age,
            _ => age,
        }
    }

    /// Forgets whom a source is fixed to; false when it is to nobody.
    pub fn forget(&self, sought: &Sought<'_>) -> bool {
        let forgotten = self.locked(self.number(sought), |bucket| {
            bucket.iter().filter(|fixed| sought.is_at(fixed)).any(Fixed::free)
        });
        forgotten.unwrap_or(false)
    }

    /// Forgets whom everybody, or every source of one group, is fixed to; returns how many were.
    pub fn forget_all(&self, only: Option<u32>) -> usize {
        let is_meant = |fixed: &&Fixed| {
            only.is_none_or(|group| u32::from(fixed.group.load(Ordering::Acquire)) == group + 1)
        };
        let forget = |number| {
            let freed = |bucket: &Bucket| bucket.iter().filter(is_meant).filter(|fixed| fixed.free()).count();
            self.locked(number, freed).unwrap_or(0)
        };
        (0..self.buckets.entries).map(forget).sum()
    }
}

impl Fixed {
    /// Makes room; false when there was.
    fn free(&self) -> bool {
        let version = 0xffff << 48;
        self.whom.fetch_and(version, Ordering::AcqRel) & !version != 0
    }
}

/// Ticks from `since` to `now`; below 0 when it is to come.
pub fn age(now: u32, since: u32) -> i64 {
    i64::from(now.wrapping_sub(since) as i32)
}
