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
use super::{FixedSource, LEFT, Refusal, layout};
use crate::protocol::select::{Affinity, Group, GroupMember, SLOTS, Takes};

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
    /// The last number that a member has in the maps. No other one ever had it, so that sources fixed to a member that is
    /// gone are fixed to nobody.
    numbers: u32,
    left: Vec<Group>,
}

/// A group in force.
struct Installed {
    place: u32,
    /// By which its sources find their buckets.
    secret: Secret,
    /// Both halves of its slots as they lie in the map, and which one is in force.
    halves: [Vec<u32>; 2],
    half: usize,
    /// By the number that the role gives.
    members: BTreeMap<u32, Seated>,
}

/// A member, its place and its number in the maps.
#[derive(Clone, Copy)]
struct Seated {
    place: u32,
    number: u32,
    care_of: Ipv6Addr,
}

impl Installed {
    /// Where a source is to be found.
    fn sought(&self, source: Ipv6Addr) -> Sought<'_> {
        Sought { secret: &self.secret, group: self.place, source }
    }

    /// The number that the role gives a member, by its number in the maps; 0 for one that is gone.
    fn given(&self) -> impl Fn(u32) -> u32 {
        let given: std::collections::HashMap<_, _> =
            self.members.iter().map(|(number, seated)| (seated.number, *number)).collect();
        move |number| given.get(&number).copied().unwrap_or_default()
    }

    /// A member that a killed run left, which has joined anew when one with its care-of address has.
    fn left_at(&self, care_of: &Ipv6Addr) -> Option<u32> {
        let mut left = self.members.range(LEFT..);
        left.find(|(_, seated)| seated.care_of == *care_of).map(|(number, _)| *number)
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
            numbers: 0,
            left: Vec::new(),
        })
    }

    /// Takes over the group that a killed run left at this place, with its sources; false when there is nothing to go on
    /// with. Its members have numbers from [`LEFT`] on until they join anew.
    pub fn adopt(&mut self, anycast: Ipv6Addr, agent: Ipv6Addr, place: u32) -> Result<bool, Refusal> {
        if self.has(&anycast) {
            return Ok(true);
        }
        let held = layout::held_group(&self.groups.get(&place, 0).map_err(refusing("read a group"))?);
        let mut members = BTreeMap::new();
        for (pair, seat) in self.memberships.iter().filter_map(Result::ok) {
            let (group, care_of) = layout::ends(&pair);
            let number = layout::held_member(&self.members.get(&seat, 0).map_err(refusing("read a member"))?);
            if group == anycast && number != 0 {
                members.insert(LEFT + seat, Seated { place: seat, number, care_of });
            }
        }
        if members.is_empty() {
            return Ok(false);
        }
        let begin = place * 2 * SLOTS as u32;
        let mut halves = [Vec::new(), Vec::new()];
        for (slot, half) in (begin..).zip([0, 1].into_iter().flat_map(|half| [half; SLOTS])) {
            halves[half].push(self.slots.get(&slot, 0).map_err(refusing("read a slot"))?);
        }
        let half = usize::from(held.slots != begin);
        let index = |place: &u32| {
            let at = members.keys().position(|number| *number == LEFT + place)?;
            u16::try_from(at).ok()
        };
        let slots = halves[half].iter().map(|place| place.checked_add(1).and(index(place)));
        let slots: Vec<_> = slots.collect::<Option<_>>().unwrap_or_default();
        let takes = if slots.is_empty() { Takes::Kept } else { Takes::New };
        let affinity = (held.interval != 0).then(|| Affinity {
            interval: Duration::from_nanos(u64::from(held.interval) << TICK),
            renewed: held.renewed,
            ..Affinity::default()
        });
        self.left.push(Group {
            anycast,
            agent,
            members: members
                .iter()
                .map(|(number, seated)| GroupMember { number: *number, care_of: seated.care_of, takes })
                .collect(),
            slots,
            affinity,
        });
        self.free_groups.retain(|free| *free != place);
        self.free_members.retain(|free| !members.contains_key(&(LEFT + free)));
        self.sources.set_interval(place, held.interval);
        let used = members.values().map(|seated| seated.number).max().unwrap_or_default();
        let used = self.sources.all().map(|held| held.member).fold(used, u32::max);
        self.numbers = self.numbers.max(used);
        self.installed.insert(anycast, Installed { place, secret: held.secret, halves, half, members });
        Ok(true)
    }

    /// The groups that were adopted, as they were then.
    pub fn left(&self) -> Vec<Group> {
        self.left.clone()
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
                None if let Some(left) = installed.left_at(&member.care_of) => {
                    // Everything in the maps stays as it is, and so do its sources.
                    let seated = installed.members.remove(&left);
                    installed.members.extend(seated.map(|seated| (member.number, seated)));
                    continue;
                }
                None => {
                    let place = self.free_members.pop();
                    let place = place.ok_or_else(|| Refusal(format!("more than {MEMBERS} members")))?;
                    self.numbers += 1;
                    let seated = Seated { place, number: self.numbers, care_of: member.care_of };
                    begun.extend([seated.slot(), seated.slot() + 1]);
                    seated
                }
            };
            installed.members.insert(member.number, seated);
            let value = layout::member(&seated.care_of, seated.number, seated.slot());
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
            self.free_members.push(seated.place);
            // Another one may have joined from where this one was.
            if installed.members.values().all(|other| other.care_of != seated.care_of) {
                forget(&mut self.memberships, &layout::pair(&group.anycast, &seated.care_of))?;
            }
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
        let installed = self.installed.get(anycast)?;
        let held = self.sources.find(&installed.sought(*source))?;
        Some(seen_at(now(), &held, installed.given()(held.member)))
    }

    /// Fixes a source to the member with this number.
    pub fn fix(&self, anycast: &Ipv6Addr, fixed: &FixedSource) {
        let Some(installed) = self.installed.get(anycast) else { return };
        let Some(seated) = installed.members.get(&fixed.member) else { return };
        let now = now();
        let held = Held {
            source: fixed.source,
            group: installed.place,
            member: seated.number,
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
        let Some(installed) = self.installed.get(anycast) else { return Vec::new() };
        let (now, given) = (now(), installed.given());
        let held = self.held(installed.place);
        held.map(|held| seen_at(now, &held, given(held.member))).take(most).collect()
    }

    /// How many sources each member of a group has whose interval is not over; those of members that are gone count for 0.
    pub fn sources_per_member(&self, anycast: &Ipv6Addr) -> Vec<(u32, usize)> {
        let Some(installed) = self.installed.get(anycast) else { return Vec::new() };
        let (now, given) = (now(), installed.given());
        let mut counts = BTreeMap::new();
        for held in self.held(installed.place).filter(|held| !self.sources.is_over(now, held)) {
            *counts.entry(given(held.member)).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    fn held(&self, place: u32) -> impl Iterator<Item = Held> {
        self.sources.all().filter(move |held| held.group == place)
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

fn seen_at(now: u32, held: &Held, member: u32) -> FixedSource {
    let age = Duration::from_nanos((sources::age(now, held.since).max(0) as u64) << TICK);
    FixedSource { source: held.source, member, age, again: held.again }
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
