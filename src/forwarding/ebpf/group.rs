//! Anycast addresses with several responders in the kernel (thesis 4.3.1, 4.3.2): their members, slots and fixed sources
//! in the maps of `programs/group.h`. A change is written beside what is in force and then takes its place, so that no
//! packet meets half of it. Called by `loader`.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use nix::time::{ClockId, clock_gettime};

use super::loader::{AGENT_RULES, map, refusing};
use super::sources::{self, Held, Secret, Sought, Sources};
use super::{FixedSource, Refusal, layout};
use crate::protocol::select::{Group, SLOTS};

/// As in `programs/sources.h`.
pub const GROUPS: u32 = 16;
const TICK: u32 = 26;
/// As in `programs/group.h`.
const MEMBERS: u32 = 4096;
const NO_MEMBER: u32 = u32::MAX;

/// Octets of the maps' keys and values.
type GroupValue = [u8; 32];
type MemberValue = [u8; 24];
type Membership = [u8; 32];

/// The maps of all groups.
pub struct Groups {
    groups: Array<MapData, GroupValue>,
    slots: Array<MapData, u32>,
    members: Array<MapData, MemberValue>,
    memberships: HashMap<MapData, Membership, u32>,
    sources: Sources,
    installed: BTreeMap<Ipv6Addr, Installed>,
    free_groups: Vec<u32>,
    free_members: Vec<u32>,
}

/// A group in force.
struct Installed {
    place: u32,
    /// By which its sources find their buckets.
    secret: Secret,
    /// Both halves of its slots as they lie in the map, and which one is in force.
    halves: [Vec<u32>; 2],
    half: usize,
    members: BTreeMap<u32, Seated>,
}

/// A member and its place.
#[derive(Clone, Copy)]
struct Seated {
    place: u32,
    care_of: Ipv6Addr,
}

impl Installed {
    /// Where a source is to be found.
    fn sought(&self, source: Ipv6Addr) -> Sought<'_> {
        Sought { secret: &self.secret, group: self.place, source }
    }
}

impl Seated {
    /// Where it is counted what was sent to it; what it sent, right behind.
    fn slot(self) -> u32 {
        AGENT_RULES + 2 * self.place
    }
}

/// How many counters and next hops the members need behind those of the rules.
pub const COUNTERS: u32 = 2 * MEMBERS;

impl Groups {
    /// Opens the maps; no group is in force.
    pub fn open(ebpf: &mut Ebpf) -> Result<Self, Refusal> {
        Ok(Self {
            groups: map(ebpf, "groups")?,
            slots: map(ebpf, "slots")?,
            members: map(ebpf, "members")?,
            memberships: map(ebpf, "memberships")?,
            sources: Sources::open(ebpf)?,
            installed: BTreeMap::new(),
            free_groups: (0..GROUPS).rev().collect(),
            free_members: (0..MEMBERS).rev().collect(),
        })
    }

    /// The place that a group has, or will have.
    pub fn place(&mut self, anycast: &Ipv6Addr) -> Result<u32, Refusal> {
        if let Some(installed) = self.installed.get(anycast) {
            return Ok(installed.place);
        }
        let place = self.free_groups.pop().ok_or_else(|| Refusal(format!("more than {GROUPS} groups")))?;
        let nothing = vec![NO_MEMBER; SLOTS];
        // What an earlier group of this place left is written over where it differs from nothing.
        for (slot, value) in (place * 2 * SLOTS as u32..).zip(nothing.iter().chain(&nothing)) {
            self.slots.set(slot, value, 0).map_err(refusing("clear a slot"))?;
        }
        let installed = Installed {
            place,
            secret: secret()?,
            halves: [nothing.clone(), nothing],
            half: 0,
            members: BTreeMap::new(),
        };
        self.installed.insert(*anycast, installed);
        Ok(place)
    }

    /// Writes a group that has a place; from the return on it is in force. Returns the counters of new members, which
    /// must begin anew.
    pub fn write(&mut self, group: &Group) -> Result<Vec<u32>, Refusal> {
        let Some(installed) = self.installed.get_mut(&group.anycast) else { return Ok(Vec::new()) };
        let mut begun = Vec::new();
        for member in &group.members {
            let seated = match installed.members.get(&member.number) {
                Some(seated) if seated.care_of == member.care_of => continue,
                Some(seated) => {
                    forget(&mut self.memberships, &layout::pair(&group.anycast, &seated.care_of))?;
                    Seated { care_of: member.care_of, ..*seated }
                }
                None => {
                    let place = self.free_members.pop();
                    let place = place.ok_or_else(|| Refusal(format!("more than {MEMBERS} members")))?;
                    let seated = Seated { place, care_of: member.care_of };
                    begun.extend([seated.slot(), seated.slot() + 1]);
                    seated
                }
            };
            installed.members.insert(member.number, seated);
            let value = layout::member(&seated.care_of, member.number, seated.slot());
            self.members.set(seated.place, value, 0).map_err(refusing("write a member"))?;
            self.memberships
                .insert(layout::pair(&group.anycast, &seated.care_of), seated.place, 0)
                .map_err(refusing("write a member"))?;
        }
        // The half that is not in force, and of it what differs.
        let half = 1 - installed.half;
        let begin = (installed.place * 2 + half as u32) * SLOTS as u32;
        for slot in 0..SLOTS {
            let member = group.slots.get(slot).and_then(|index| group.members.get(usize::from(*index)));
            let seated = member.and_then(|member| installed.members.get(&member.number));
            let place = seated.map_or(NO_MEMBER, |seated| seated.place);
            if installed.halves[half][slot] != place {
                installed.halves[half][slot] = place;
                self.slots.set(begin + slot as u32, place, 0).map_err(refusing("write a slot"))?;
            }
        }
        installed.half = half;
        let (interval, renewed) = group.affinity.map_or((0, false), |a| (ticks(a.interval), a.renewed));
        self.sources.set_interval(installed.place, interval);
        let value = layout::group(interval, renewed, begin, self.sources.buckets(), &installed.secret);
        self.groups.set(installed.place, value, 0).map_err(refusing("write a group"))?;
        // Nothing names those that left any more, but for sources that are fixed to their numbers: they are lost ones.
        let gone: Vec<_> =
            installed.members.keys().copied().filter(|number| group.member(*number).is_none()).collect();
        for number in gone {
            let Some(seated) = installed.members.remove(&number) else { continue };
            self.members.set(seated.place, [0; 24], 0).map_err(refusing("remove a member"))?;
            forget(&mut self.memberships, &layout::pair(&group.anycast, &seated.care_of))?;
            self.free_members.push(seated.place);
        }
        Ok(begun)
    }

    /// Takes a group out of force; its sources are nobody's any more.
    pub fn remove(&mut self, anycast: &Ipv6Addr) -> Result<(), Refusal> {
        let Some(installed) = self.installed.remove(anycast) else { return Ok(()) };
        for seated in installed.members.values() {
            self.members.set(seated.place, [0; 24], 0).map_err(refusing("remove a member"))?;
            forget(&mut self.memberships, &layout::pair(anycast, &seated.care_of))?;
            self.free_members.push(seated.place);
        }
        self.sources.forget_all(Some(installed.place));
        self.free_groups.push(installed.place);
        Ok(())
    }

    /// Whether there is a group for the address.
    pub fn has(&self, anycast: &Ipv6Addr) -> bool {
        self.installed.contains_key(anycast)
    }

    /// Whom a source is fixed to, or was before its interval ended.
    pub fn fixed(&self, anycast: &Ipv6Addr, source: &Ipv6Addr) -> Option<FixedSource> {
        let held = self.sources.find(&self.installed.get(anycast)?.sought(*source))?;
        Some(seen_at(now(), &held))
    }

    /// Fixes a source to the member with this number.
    pub fn fix(&self, anycast: &Ipv6Addr, fixed: &FixedSource) {
        let Some(installed) = self.installed.get(anycast) else { return };
        let Some(seated) = installed.members.get(&fixed.member) else { return };
        let now = now();
        let held = Held {
            source: fixed.source,
            group: installed.place,
            member: fixed.member,
            place: seated.place,
            since: now.wrapping_sub(ticks(fixed.age)),
            again: fixed.again,
        };
        self.sources.fix(&installed.sought(fixed.source), now, &held);
    }

    /// Forgets to whom a source of any group is fixed, or every source; returns how many were.
    pub fn forget_sources(&self, only: Option<Ipv6Addr>) -> usize {
        match only {
            Some(source) => {
                let forget = |group: &&Installed| self.sources.forget(&group.sought(source));
                self.installed.values().filter(forget).count()
            }
            None => self.sources.forget_all(None),
        }
    }

    /// Every fixed source of a group, as far as `most` reaches, those included whose interval is over.
    pub fn sources(&self, anycast: &Ipv6Addr, most: usize) -> Vec<FixedSource> {
        let now = now();
        self.held(anycast).map(|held| seen_at(now, &held)).take(most).collect()
    }

    /// How many sources each member of a group has whose interval is not over, those included that have lost theirs.
    pub fn sources_per_member(&self, anycast: &Ipv6Addr) -> Vec<(u32, usize)> {
        let now = now();
        let mut counts = BTreeMap::new();
        for held in self.held(anycast).filter(|held| !self.sources.is_over(now, held)) {
            *counts.entry(held.member).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    fn held(&self, anycast: &Ipv6Addr) -> impl Iterator<Item = Held> {
        let place = self.installed.get(anycast).map(|installed| installed.place);
        self.sources.all().filter(move |held| Some(held.group) == place)
    }

    /// The counters of each member of a group: number, to it, from it.
    pub fn counters(&self, anycast: &Ipv6Addr) -> Vec<(u32, u32, u32)> {
        let members = self.installed.get(anycast).into_iter().flat_map(|group| &group.members);
        members.map(|(number, seated)| (*number, seated.slot(), seated.slot() + 1)).collect()
    }
}

/// The present in ticks since boot, as the programs have it: by the clock that moves with the kernel's timer.
fn now() -> u32 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map(Duration::from).unwrap_or_default();
    (now.as_nanos() >> TICK) as u32
}

/// A span in ticks, and never shorter.
fn ticks(span: Duration) -> u32 {
    u32::try_from(span.as_nanos().div_ceil(1 << TICK))
        .map_or(i32::MAX as u32, |ticks| ticks.min(i32::MAX as u32))
}

fn seen_at(now: u32, held: &Held) -> FixedSource {
    let age = Duration::from_nanos((sources::age(now, held.since).max(0) as u64) << TICK);
    FixedSource { source: held.source, member: held.member, age, again: held.again }
}

/// What nobody outside can guess.
fn secret() -> Result<Secret, Refusal> {
    let mut secret = Secret::default();
    for word in &mut secret {
        *word = getrandom::u32().map_err(refusing("make a secret"))?;
    }
    Ok(secret)
}

fn forget(map: &mut HashMap<MapData, Membership, u32>, key: &Membership) -> Result<(), Refusal> {
    match map.remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(error) => Err(refusing("remove a member")(error)),
    }
}
