//! The rules and who carries them out: user space always, and the kernel's programs in front of it where there are any
//! (design section 3: one action vocabulary, two executors). Whatever the kernel refuses, now or later, user space does
//! alone. Called by the event loop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde_json::Value;

use super::config::{Forwarding, Role};
use super::error::Error;
use super::node::Node;
use crate::forwarding::affinity::FixedSource;
use crate::forwarding::ebpf::{self, Device, FastPath, NextHop, Programs, Refusal, Station};
use crate::forwarding::explain::{Explanation, explain};
use crate::forwarding::groups::GroupView;
use crate::forwarding::user::{Direction, Fate, Forwarder, IN_USE_INTERVAL, Installed};
use crate::platform::doctor::Check;
use crate::platform::{Host, Interface};
use crate::protocol::action::{Observation, Rule, RuleKey, RuleKind};
use crate::protocol::clock::Instant;
use crate::protocol::select::{Group, GroupMember, Takes};
use crate::wire::PacketBuffer;
use crate::wire::ipv6::next_header;

/// How often the kernel's counters are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the ways of the rules are asked for although nothing has told of a change: nobody tells when the kernel
/// learns a path MTU.
const WAYS_INTERVAL: Duration = Duration::from_secs(10);

/// A rule without a binding is the kernel's for so long after the last look, where the process is killed then.
const UNBOUND: Duration = Duration::from_secs(5);

/// Fixed sources that are read from the kernel for an operator.
const MOST_SOURCES: usize = 100_000;

/// What a rule had carried in the kernel when it was last looked at, and when the role was told that it is in use.
#[derive(Clone, Copy, Default)]
struct Noted {
    packets: u64,
    told: Option<Instant>,
}

/// A source of a group that a packet is from or to, and whom the kernel had it fixed to.
struct GroupSource {
    anycast: Ipv6Addr,
    source: Ipv6Addr,
    held: Option<ebpf::FixedSource>,
    is_from: bool,
}

/// Both executors of one node.
pub(super) struct DataPath {
    user: Forwarder,
    fast: Option<FastPath>,
    noted: BTreeMap<RuleKey, Noted>,
    /// Rules in force that the role has not said anything of, and when their bindings are over: a killed run left them.
    adopted: BTreeMap<RuleKey, Instant>,
    /// What the role's clock began at, since boot.
    began: Duration,
    /// Groups in force with the members that a killed run left and that have not joined anew.
    left: BTreeMap<Ipv6Addr, Group>,
    /// Addresses that the role has a group for.
    grouped: BTreeSet<Ipv6Addr>,
    looked: Instant,
    ways_asked: Instant,
}

/// This host's way to an address; none where it cannot tell.
fn way(host: &Host) -> impl Fn(Ipv6Addr) -> Option<NextHop> + '_ {
    |destination| {
        let found = host.next_hop(destination).unwrap_or_else(|error| {
            tracing::debug!(%error, "no way for the fast path");
            None
        })?;
        Some(NextHop { device: found.device, neighbour: found.neighbour, mtu: found.mtu })
    }
}

fn device(interface: &Interface) -> Device {
    let Interface { index, name, mtu, link_address, is_software } = interface.clone();
    Device { index, name, mtu, link_address, is_software }
}

/// Which of the kernel's programs a role has.
fn programs(role: Role) -> Programs {
    match role {
        Role::Haa | Role::Maa => Programs::Agent,
        Role::Ar => Programs::Responder,
        Role::Ai => Programs::Initiator,
    }
}

/// Whether the kernel takes these roles' programs, on a host opened for trying things out; `None` in a build without.
/// That it does not is no failure: user space forwards then.
pub(super) fn fast_path(roles: &[Role], host: &mut Host) -> Option<Check> {
    const NAME: &str = "fast-path";
    if cfg!(not(mga_ebpf)) {
        return None;
    }
    let mut taken = Vec::new();
    for role in roles {
        let station = Station {
            programs: programs(*role),
            link: device(host.interface()),
            tunnel: device(&host.tunnel()),
            identity: None,
            sources: 0,
        };
        match FastPath::start(&station) {
            Ok(fast) => taken.push(format!("{role} by {}", fast.by())),
            Err(why) => return Some(Check::skipped(NAME, format!("user space forwards: {why}"))),
        }
    }
    Some(Check::good(NAME, format!("the kernel takes the programs of {}", taken.join(", "))))
}

impl DataPath {
    /// Loads the kernel's programs where they are wanted and possible, with room for so many fixed sources. The role's
    /// clock has begun at `started`.
    ///
    /// # Errors
    /// The kernel's refusal when nothing else will do; what the host says.
    pub(super) fn start(
        wanted: Forwarding,
        role: Role,
        sources: usize,
        started: std::time::Instant,
        host: &mut Host,
    ) -> Result<Self, Error> {
        let mut path = Self {
            user: Forwarder::new(),
            fast: None,
            noted: BTreeMap::new(),
            adopted: BTreeMap::new(),
            began: ebpf::since_boot().saturating_sub(started.elapsed()),
            left: BTreeMap::new(),
            grouped: BTreeSet::new(),
            looked: Instant::START,
            ways_asked: Instant::START,
        };
        if wanted == Forwarding::User {
            return Ok(path);
        }
        let identity = host.identity()?;
        let folder = FastPath::folder(&identity);
        if let Some(folder) = &folder {
            host.leave_pinned(folder)?;
        }
        let station = Station {
            programs: programs(role),
            link: device(host.interface()),
            tunnel: device(&host.tunnel()),
            identity: Some(identity),
            sources: u32::try_from(sources).unwrap_or(u32::MAX),
        };
        match FastPath::start(&station) {
            Ok(fast) => {
                host.stand_behind_classifiers(true)?;
                // An agent's tunnel device has no address that its programs need.
                if folder.is_some() && station.programs != Programs::Agent {
                    host.leave_tunnel()?;
                }
                let adopted = fast.adopted();
                tracing::info!(by = fast.by(), adopted = adopted.len(), "the kernel forwards");
                for (rule, until) in adopted {
                    path.adopted.insert(rule.key(), Instant::from_start(until.saturating_sub(path.began)));
                    path.user.install(rule);
                }
                for group in fast.adopted_groups() {
                    tracing::info!(anycast = %group.anycast, members = group.members.len(), "a group goes on");
                    path.user.install_group(Instant::START, group.clone(), &mut Vec::new());
                    path.left.insert(group.anycast, group);
                }
                path.fast = Some(fast);
                return Ok(path);
            }
            Err(refusal) if wanted == Forwarding::Ebpf => return Err(refusal.into()),
            // Built so, it is no surprise.
            Err(why) if cfg!(not(mga_ebpf)) => tracing::info!(%why, "user space forwards"),
            Err(why) => tracing::warn!(%why, "user space forwards"),
        }
        host.stand_behind_classifiers(false)?;
        host.leave_nothing()?;
        Ok(path)
    }

    /// Who carries packets: "user", or "ebpf" with the place of the programs.
    pub(super) fn name(&self) -> &'static str {
        match self.fast.as_ref().map(FastPath::by) {
            None => "user",
            Some("xdp") => "ebpf (xdp)",
            Some(_) => "ebpf (tc)",
        }
    }

    /// Puts a rule in force whose binding is over at `until`, if it has one.
    pub(super) fn install(&mut self, now: Instant, rule: Rule, until: Option<Instant>, host: &mut Host) {
        self.adopted.remove(&rule.key());
        self.user.install(rule);
        let until = self.since_boot(now, until);
        let result = self.fast.as_mut().map_or(Ok(()), |fast| fast.install(&rule, Some(until), way(host)));
        self.or_fall_back(result, host);
    }

    /// When the kernel's programs are to leave a rule alone of which this is known: with its binding, or without one
    /// soon after this process is no more.
    fn since_boot(&self, now: Instant, until: Option<Instant>) -> Duration {
        self.began + until.unwrap_or(now + UNBOUND).since_start()
    }

    /// Takes the rule with this key out of force and returns it.
    pub(super) fn remove(&mut self, key: &RuleKey, host: &mut Host) -> Option<Rule> {
        let result = self.fast.as_mut().map_or(Ok(()), |fast| fast.remove(key));
        self.or_fall_back(result, host);
        self.noted.remove(key);
        self.adopted.remove(key);
        self.user.remove(key)
    }

    /// The rules in force that a killed run left.
    pub(super) fn adopted(&self) -> Vec<Rule> {
        let installed = self.user.rules().into_iter().map(|installed| installed.rule);
        installed.filter(|rule| self.adopted.contains_key(&rule.key())).collect()
    }

    /// Ends what the role has not taken up and whose bindings are over; returns it.
    pub(super) fn disown(&mut self, now: Instant, host: &mut Host) -> Vec<RuleKey> {
        let over = self.adopted.iter().filter(|(_, until)| **until <= now).map(|(key, _)| *key);
        let over: Vec<_> = over.collect();
        for key in &over {
            self.remove(key, host);
        }
        over
    }

    /// Whether a rule or a group of the role's is in force for this anycast address.
    pub(super) fn serves(&self, anycast: Ipv6Addr) -> bool {
        self.grouped.contains(&anycast)
            || self.user.rules().iter().any(|installed| installed.rule.key().anycast == anycast)
    }

    /// The anycast addresses of groups with members that a killed run left.
    pub(super) fn left(&self) -> Vec<Ipv6Addr> {
        self.left.keys().copied().collect()
    }

    /// Ends the members that have not joined anew; returns the anycast addresses of the groups they were in.
    pub(super) fn disown_members(
        &mut self,
        now: Instant,
        host: &mut Host,
        seen: &mut Vec<Observation>,
    ) -> Vec<Ipv6Addr> {
        let left = std::mem::take(&mut self.left);
        for anycast in left.keys() {
            let held = self.user.group(anycast).map(|installed| installed.group().clone());
            match held.filter(|_| self.grouped.contains(anycast)) {
                Some(mut group) => {
                    group.members.retain(|member| member.number < ebpf::LEFT);
                    if group.members.is_empty() {
                        group.slots.clear();
                    }
                    self.put_group(now, group, host, seen);
                }
                None => self.remove_group(now, anycast, host, seen),
            }
        }
        left.into_keys().collect()
    }

    /// See [`Forwarder::install_group`]. Members that a killed run left stay in the group beside the role's until they
    /// have joined anew, or [`DataPath::disown_members`] ends them; they take no new sources as soon as anybody else does.
    pub(super) fn install_group(
        &mut self,
        now: Instant,
        group: Group,
        host: &mut Host,
        seen: &mut Vec<Observation>,
    ) {
        self.grouped.insert(group.anycast);
        let group = self.with_left(group);
        self.put_group(now, group, host, seen);
    }

    fn with_left(&mut self, mut group: Group) -> Group {
        let Some(left) = self.left.get_mut(&group.anycast) else { return group };
        if group.members.is_empty() {
            return Group { affinity: group.affinity, ..left.clone() };
        }
        let has_joined = |left: &GroupMember| group.members.iter().any(|m| m.care_of == left.care_of);
        left.members.retain(|member| !has_joined(member));
        // The slots named members by their order.
        left.slots.clear();
        left.members.iter_mut().for_each(|member| member.takes = Takes::Kept);
        group.members.extend(&left.members);
        if left.members.is_empty() {
            self.left.remove(&group.anycast);
        }
        group
    }

    fn put_group(&mut self, now: Instant, group: Group, host: &mut Host, seen: &mut Vec<Observation>) {
        let anycast = group.anycast;
        // Who is left by members is fixed in the kernel, if there is one; who joined anew has left nobody.
        let held = self.user.group(&anycast).map(|installed| installed.group().members.clone());
        let has_joined = |gone: &GroupMember| {
            gone.number >= ebpf::LEFT && group.members.iter().any(|member| member.care_of == gone.care_of)
        };
        let mut gone = held.unwrap_or_default();
        gone.retain(|member| group.member(member.number).is_none());
        let in_kernel = match &self.fast {
            Some(fast) if !gone.is_empty() && fast.has_group(&anycast) => {
                Some(fast.sources_per_member(&anycast))
            }
            _ => None,
        };
        let joined: BTreeSet<_> =
            gone.iter().filter(|gone| has_joined(gone)).map(|gone| gone.number).collect();
        let result = self.fast.as_mut().map_or(Ok(()), |fast| fast.install_group(&group));
        let before = seen.len();
        self.user.install_group(now, group, seen);
        let mut nth = 0;
        seen.retain_mut(|observation| {
            nth += 1;
            let Observation::MemberLeft { member, sources, .. } = observation else { return true };
            if nth > before
                && let Some(counts) = &in_kernel
            {
                let count = counts.iter().find(|(number, _)| number == member);
                *sources = count.map_or(0, |(_, sources)| *sources);
            }
            nth <= before || !joined.contains(member)
        });
        self.or_fall_back(result, host);
    }

    /// See [`Forwarder::remove_group`]; what a killed run left goes on.
    pub(super) fn remove_group(
        &mut self,
        now: Instant,
        anycast: &Ipv6Addr,
        host: &mut Host,
        seen: &mut Vec<Observation>,
    ) {
        self.grouped.remove(anycast);
        if let Some(left) = self.left.get(anycast).cloned() {
            return self.put_group(now, left, host, seen);
        }
        let result = self.fast.as_mut().map_or(Ok(()), |fast| fast.remove_group(anycast));
        self.user.remove_group(anycast);
        self.or_fall_back(result, host);
    }

    /// The groups in force, ordered by anycast address, with what both executors have carried. Where the kernel fixes
    /// sources, its sources are counted.
    pub(super) fn groups(&mut self, now: Instant) -> Vec<GroupView> {
        let mut views = self.user.groups(now);
        for view in &mut views {
            let Some(fast) = self.fast.as_ref().filter(|fast| fast.has_group(&view.anycast)) else {
                continue;
            };
            let carried = fast.member_carried(&view.anycast);
            let carried: BTreeMap<_, _> = carried.into_iter().map(|of| (of.member, of)).collect();
            let counts: BTreeMap<u32, usize> = fast.sources_per_member(&view.anycast).into_iter().collect();
            view.sources = counts.values().sum();
            for member in &mut view.members {
                let number = member.member.number;
                member.sources = counts.get(&number).copied().unwrap_or_default();
                if let Some(carried) = carried.get(&number) {
                    member.carried.packets_to += carried.to.packets;
                    member.carried.octets_to += carried.to.octets;
                    member.carried.packets_from += carried.from.packets;
                    member.carried.octets_from += carried.from.octets;
                }
            }
        }
        views
    }

    /// See [`Forwarder::has_groups`].
    pub(super) fn has_groups(&self) -> bool {
        self.user.has_groups()
    }

    /// How many sources are fixed to each member of a group, by number, where they are fixed: see
    /// [`Forwarder::sources_per_member`].
    pub(super) fn sources_per_member(&mut self, now: Instant, anycast: &Ipv6Addr) -> Vec<(u32, usize)> {
        match self.fast.as_ref().filter(|fast| fast.has_group(anycast)) {
            Some(fast) => fast.sources_per_member(anycast),
            None => self.user.sources_per_member(now, anycast),
        }
    }

    /// See [`Forwarder::fixed`].
    pub(super) fn fixed(&self, now: Instant, most: usize) -> BTreeMap<Ipv6Addr, Vec<FixedSource>> {
        let mut fixed = self.user.fixed(now, most);
        for (anycast, sources) in &mut fixed {
            if let Some(held) = self.fixed_in_kernel(anycast, MOST_SOURCES) {
                *sources = held;
                sources.truncate(most);
            }
        }
        fixed
    }

    /// Who is fixed in the kernel, those used last first; `None` for a group that the kernel does not have.
    fn fixed_in_kernel(&self, anycast: &Ipv6Addr, most: usize) -> Option<Vec<FixedSource>> {
        let fast = self.fast.as_ref().filter(|fast| fast.has_group(anycast))?;
        let interval = self.user.group(anycast)?.group().affinity?.interval;
        let mut held = fast.sources(anycast, most);
        held.sort_by_key(|fixed| fixed.age);
        let current = held.into_iter().filter_map(|ebpf::FixedSource { source, member, age, .. }| {
            let remaining = interval.checked_sub(age).filter(|left| !left.is_zero())?.as_secs();
            Some(FixedSource { source, member, remaining })
        });
        Some(current.collect())
    }

    /// See [`Forwarder::forget_sources`].
    pub(super) fn forget_sources(&mut self, only: Option<Ipv6Addr>) -> usize {
        let in_kernel = self.fast.as_mut().map_or(0, |fast| fast.forget_sources(only));
        // What user space knows of them, it has from there.
        self.user.forget_sources(only).max(in_kernel)
    }

    /// What would become of a packet between these addresses.
    pub(super) fn explain(&mut self, now: Instant, source: Ipv6Addr, destination: Ipv6Addr) -> Explanation {
        self.learn_of(now, destination, source);
        explain(&self.user, now, source, destination)
    }

    /// See [`Forwarder::send_to_group`].
    pub(super) fn send_to_group(&mut self, now: Instant, packet: &mut PacketBuffer) -> Fate {
        let source = self.learn(now, Direction::Outbound, packet.as_slice());
        let fate = self.user.send_to_group(now, packet);
        self.teach(now, source);
        fate
    }

    /// Decides and rewrites one packet that the kernel did not take.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        direction: Direction,
        packet: &mut PacketBuffer,
        seen: &mut Vec<Observation>,
    ) -> Fate {
        let source = self.learn(now, direction, packet.as_slice());
        let fate = self.user.forward(now, direction, packet, seen);
        self.teach(now, source);
        fate
    }

    /// Has user space know what the kernel knows of the source of a packet to or from a group, or, for an ICMPv6 error,
    /// of the source that it is about: the kernel's fixed sources are the ones that count. What a packet may change is
    /// returned.
    fn learn(&mut self, now: Instant, direction: Direction, packet: &[u8]) -> Option<GroupSource> {
        self.fast.as_ref()?;
        let address = |at: usize| {
            let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets))
        };
        let is_error =
            packet.get(6) == Some(&next_header::ICMPV6) && packet.get(40).is_some_and(|kind| *kind < 128);
        let (anycast, source) = match direction {
            // The destination of the quoted packet, behind both headers and the error's own.
            Direction::Outbound if is_error => (address(24)?, address(40 + 8 + 24)?),
            Direction::Outbound => (address(24)?, address(8)?),
            Direction::Inbound => (address(40 + 8)?, address(40 + 24)?),
        };
        let source = self.learn_of(now, anycast, source).filter(|_| !is_error)?;
        Some(GroupSource { is_from: direction == Direction::Outbound, ..source })
    }

    fn learn_of(&mut self, now: Instant, anycast: Ipv6Addr, source: Ipv6Addr) -> Option<GroupSource> {
        let fast = self.fast.as_ref().filter(|fast| fast.has_group(&anycast))?;
        let group = self.user.group_mut(&anycast)?;
        let held = fast.fixed(&anycast, &source);
        let since = |age| Instant::from_start(now.since_start().saturating_sub(age));
        group.set_fixed(&source, held.map(|fixed| (fixed.member, since(fixed.age))));
        Some(GroupSource { anycast, source, held, is_from: false })
    }

    /// Has the kernel know what user space has made of it.
    fn teach(&mut self, now: Instant, source: Option<GroupSource>) {
        let Some(GroupSource { anycast, source, held, is_from }) = source else { return };
        let (Some(group), Some(fast)) = (self.user.group(&anycast), &mut self.fast) else { return };
        let (Some(member), Some(affinity)) = (group.fixed_member(now, &source), group.group().affinity)
        else {
            return;
        };
        let kept = held.filter(|held| held.member == member && held.age < affinity.interval);
        let age = kept.filter(|_| !affinity.renewed).map_or(Duration::ZERO, |kept| kept.age);
        let again = kept.is_some_and(|kept| kept.again || is_from);
        let fixed = ebpf::FixedSource { source, member, age, again };
        if kept != Some(fixed) {
            fast.fix(&anycast, &fixed);
        }
    }

    /// See [`Forwarder::too_big`].
    pub(super) fn too_big(&self, packet: &PacketBuffer, mtu: u32, from: &Ipv6Addr) -> Option<Vec<u8>> {
        self.user.too_big(packet, mtu, from)
    }

    /// See [`Forwarder::drops`].
    pub(super) fn drops(&self) -> Vec<(&'static str, u64)> {
        self.user.drops()
    }

    /// The rules in force, ordered by key, with what both executors have carried by them.
    pub(super) fn rules(&self) -> Vec<Installed> {
        let mut rules = self.user.rules();
        let carried: BTreeMap<_, _> = self.fast.iter().flat_map(|fast| fast.carried()).collect();
        for installed in &mut rules {
            if let Some(carried) = carried.get(&installed.rule.key()) {
                installed.packets += carried.packets;
                installed.octets += carried.octets;
            }
        }
        rules
    }

    /// What the kernel holds against what this program believes.
    ///
    /// # Errors
    /// When the kernel holds nothing of this node's.
    pub(super) fn in_kernel(&self) -> Result<Value, String> {
        let nothing = || "user space forwards: the kernel holds no rules".to_owned();
        self.fast.as_ref().map(FastPath::in_kernel).ok_or_else(nothing)
    }

    /// To be waited for beside the host's own.
    pub(super) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.fast.as_ref().and_then(FastPath::poll_fd)
    }

    /// When [`DataPath::look`] and [`DataPath::disown`] must be called next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let looking = self.fast.as_ref().map(|_| self.looked + LOOK_INTERVAL);
        looking.into_iter().chain(self.adopted.values().copied()).min()
    }

    /// Collects what the kernel's programs have seen, tells them until when the bindings of the rules hold, and has them
    /// ask for next hops anew when routes changed.
    pub(super) fn look(&mut self, now: Instant, node: &Node, host: &mut Host, seen: &mut Vec<Observation>) {
        let Some(fast) = &mut self.fast else { return };
        fast.take_peers(seen);
        let mut held = Ok(());
        if now.saturating_since(self.looked) >= LOOK_INTERVAL {
            self.looked = now;
            for (key, carried) in fast.carried() {
                let noted = self.noted.entry(key).or_default();
                let used = std::mem::replace(&mut noted.packets, carried.packets) != carried.packets;
                if used && noted.told.is_none_or(|told| now.saturating_since(told) >= IN_USE_INTERVAL) {
                    noted.told = Some(now);
                    seen.push(Observation::InUse(key));
                    // The role knows nothing of this initiator: it begins anew, as with one behind the tunnel.
                    if key.kind == RuleKind::HomeAddressOut && self.adopted.contains_key(&key) {
                        let RuleKey { anycast, peer, .. } = key;
                        seen.push(Observation::TunnelledPeer { anycast, peer });
                    }
                }
                if !self.adopted.contains_key(&key) {
                    let until = node.holds_until(&key).unwrap_or(now + UNBOUND);
                    held = held.and(fast.hold(&key, self.began + until.since_start()));
                }
            }
        }
        self.or_fall_back(held, host);
        let Some(fast) = &mut self.fast else { return };
        let changed = host.take_route_changes();
        if changed || now.saturating_since(self.ways_asked) >= WAYS_INTERVAL {
            self.ways_asked = now;
            let result = fast.forget_next_hops(way(host));
            self.or_fall_back(result, host);
        }
    }

    /// A kernel that does not do what it is told is not asked again.
    fn or_fall_back(&mut self, result: Result<(), Refusal>, host: &mut Host) {
        let Err(why) = result else { return };
        tracing::warn!(%why, "the kernel no longer forwards; user space does");
        self.fast = None;
        self.noted.clear();
        if let Err(error) = host.stand_behind_classifiers(false) {
            tracing::error!(%error, "packets are not taken in");
        }
        if let Err(error) = host.leave_nothing() {
            tracing::warn!(%error, "a kill would leave what forwards no more");
        }
    }
}
