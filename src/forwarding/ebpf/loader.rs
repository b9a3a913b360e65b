//! Loads the programs of a role into the kernel, attaches them, and keeps their maps in step with the rules (RFC 3775
//! 8-11, thesis 4.2.1). Everything the kernel may refuse is a [`Refusal`], never a failure of the node: user space then
//! does it all. Called by `daemon`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{self, SchedClassifierLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};
use serde_json::{Value, json};

use super::group::{COUNTERS, Groups};
use super::layout::{self, Counter, Entry, Key, NO_END, PeerlessKey, Settings};
use super::pins::{self, Pins};
use super::{Carried, FixedSource, MemberCarried, NextHop, Programs, Refusal, Station, since_boot, sources};
use crate::protocol::action::{Observation, Rule, RuleKey, RuleKind};
use crate::protocol::select::Group;

/// As `RULES` in `programs/rules.h`.
const RULES: u32 = 65_536;
/// An agent has two rules for each anycast address, and keeps next hops for each.
pub(super) const AGENT_RULES: u32 = 4096;
/// Octets of an Ethernet header.
const ETHERNET_HEADER: u32 = 14;

/// The rules of an agent's programs: to a responder or a group of them, and from there.
const AGENT_KINDS: [RuleKind; 2] = [RuleKind::TunnelToResponder, RuleKind::TunnelFromResponder];

/// An object for the kernel, at an address as even as its reader wants it.
macro_rules! object {
    ($name:literal) => {
        aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, ".o"))
    };
}

/// The map of rules; what agents' are for has no peer, and their keys have none.
enum Rules {
    OfAgent(HashMap<MapData, PeerlessKey, layout::Value>),
    OfHost(HashMap<MapData, Key, layout::Value>),
}

impl Rules {
    fn insert(&mut self, key: &Key, entry: &Entry) -> Result<(), Refusal> {
        let result = match self {
            Self::OfAgent(map) => map.insert(peerless(key), entry.encode(), 0),
            Self::OfHost(map) => map.insert(key, entry.encode(), 0),
        };
        result.map_err(refusing("install a rule"))
    }

    fn remove(&mut self, key: &Key) -> Result<(), Refusal> {
        let result = match self {
            Self::OfAgent(map) => map.remove(&peerless(key)),
            Self::OfHost(map) => map.remove(key),
        };
        match result {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(refusing("remove a rule")(error)),
        }
    }

    fn all(&self) -> Vec<(Key, layout::Value)> {
        let whole = |(key, value): (PeerlessKey, layout::Value)| {
            let mut octets = [0; 40];
            octets[..key.len()].copy_from_slice(&key);
            (octets, value)
        };
        match self {
            Self::OfAgent(map) => map.iter().filter_map(Result::ok).map(whole).collect(),
            Self::OfHost(map) => map.iter().filter_map(Result::ok).collect(),
        }
    }
}

fn peerless(key: &Key) -> PeerlessKey {
    std::array::from_fn(|at| key[at])
}

/// The programs at work. They are taken from the kernel when this is dropped.
pub struct FastPath {
    // Holds programs and links.
    pub(super) ebpf: Ebpf,
    by: &'static str,
    station: Station,
    generation: u32,
    rules: Rules,
    counters: PerCpuArray<MapData, Counter>,
    settings: Array<MapData, Settings>,
    seen: Option<RingBuf<MapData>>,
    groups: Option<Groups>,
    installed: BTreeMap<RuleKey, Entry>,
    slots: Vec<u32>,
    // Last, so that everything is in force until it goes.
    _pins: Option<Pins>,
}

/// Says what failed, with every reason behind it.
pub(super) fn refusing<E: std::error::Error>(what: &str) -> impl Fn(E) -> Refusal {
    move |error| {
        let mut said = format!("{what}: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            // A verifier's log is for those who write programs, not for operators.
            said += &format!(": {}", error.to_string().lines().next().unwrap_or_default());
            cause = error.source();
        }
        Refusal(said)
    }
}

pub(super) fn map<T>(ebpf: &mut Ebpf, name: &str) -> Result<T, Refusal>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| Refusal(format!("the program has no map {name}")))?;
    T::try_from(map).map_err(refusing("open a map"))
}

impl FastPath {
    /// The folder that is left in the system when a node with this identity is killed, if there is any then.
    pub fn folder(identity: &str) -> Option<PathBuf> {
        pins::folder(identity).ok().filter(|_| has_links())
    }

    /// Loads and attaches the programs. No rule is in force yet, but for those that a killed run left
    /// ([`FastPath::adopted`]): they have been in force all the time.
    ///
    /// # Errors
    /// What the kernel refused; nothing is left behind then.
    pub fn start(station: &Station) -> Result<Self, Refusal> {
        let object: &[u8] = match station.programs {
            Programs::Agent => object!("agent"),
            Programs::Responder => object!("responder"),
            Programs::Initiator => object!("initiator"),
        };
        let header = |address: Option<[u8; 6]>| if address.is_some() { ETHERNET_HEADER } else { 0 };
        let (link_header, tunnel_header) =
            (header(station.link.link_address), header(station.tunnel.link_address));
        let pins = pins(station, object);
        let mut loader = EbpfLoader::new();
        loader.override_global("link_header", &link_header, true).override_global(
            "tunnel_header",
            &tunnel_header,
            station.programs != Programs::Agent,
        );
        if station.programs == Programs::Agent {
            loader.map_max_entries("rules", AGENT_RULES);
            loader.map_max_entries("counters", AGENT_RULES + COUNTERS);
            loader.map_max_entries("next_hops", AGENT_RULES + COUNTERS);
            loader.map_max_entries("sources", sources::buckets(station.sources));
            loader.map_max_entries("locks", sources::buckets(station.sources));
        }
        if let Some(pins) = &pins {
            let of_agents = ["groups", "slots", "members", "memberships", "sources", "locks"];
            let of_agents = of_agents.into_iter().filter(|_| station.programs == Programs::Agent);
            for name in ["rules", "counters", "settings"].into_iter().chain(of_agents) {
                loader.map_pin_path(name, pins.path(name));
            }
        }
        let mut ebpf = loader.load(object).map_err(refusing("load the programs"))?;
        let by = attach(&mut ebpf, station, pins.as_ref())?;
        let seen = match station.programs {
            Programs::Responder => Some(map(&mut ebpf, "seen")?),
            Programs::Agent | Programs::Initiator => None,
        };
        let groups = match station.programs {
            Programs::Agent => Some(Groups::open(&mut ebpf)?),
            Programs::Responder | Programs::Initiator => None,
        };
        let mut fast = Self {
            groups,
            rules: match station.programs {
                Programs::Agent => Rules::OfAgent(map(&mut ebpf, "rules")?),
                Programs::Responder | Programs::Initiator => Rules::OfHost(map(&mut ebpf, "rules")?),
            },
            counters: map(&mut ebpf, "counters")?,
            settings: map(&mut ebpf, "settings")?,
            seen,
            by,
            station: station.clone(),
            generation: 0,
            installed: BTreeMap::new(),
            slots: Vec::new(),
            ebpf,
            _pins: pins,
        };
        fast.adopt()?;
        fast.renew_generation()?;
        Ok(fast)
    }

    /// Takes over what the maps hold.
    fn adopt(&mut self) -> Result<(), Refusal> {
        for (octets, value) in self.rules.all() {
            // What is over is over.
            let (entry, key) = (Entry::decode(&value), layout::decode_key(&octets));
            let goes_on = match (key, entry.group, &mut self.groups) {
                (Some(key), Some(place), Some(groups)) => groups.adopt(key.anycast, entry.near, place)?,
                (key, group, _) => {
                    key.is_some() && group.is_none() && nanoseconds(since_boot()) < entry.until
                }
            };
            match key.filter(|_| goes_on) {
                Some(key) => {
                    self.installed.insert(key, entry);
                }
                None => self.rules.remove(&octets)?,
            }
        }
        let taken: BTreeSet<u32> = self.installed.values().map(|entry| entry.slot).collect();
        let all = if self.station.programs == Programs::Agent { AGENT_RULES } else { RULES };
        self.slots = (0..all).rev().filter(|slot| !taken.contains(slot)).collect();
        self.generation = self.settings.get(&0, 0).map_or(0, |settings| layout::generation(&settings));
        Ok(())
    }

    /// The rules that are in force because a killed run of this node left them so, each with the time since boot when
    /// its binding is over.
    pub fn adopted(&self) -> Vec<(Rule, Duration)> {
        let adopted = self.installed.iter().filter(|(_, entry)| entry.group.is_none());
        adopted.map(|(key, entry)| (layout::rule(key, entry), Duration::from_nanos(entry.until))).collect()
    }

    /// The groups that are in force for the same reason, with the sources that were fixed to their members. These have
    /// numbers from [`LEFT`](super::LEFT) on, and keep their sources when one with another number comes in a group from
    /// where one of them was.
    pub fn adopted_groups(&self) -> Vec<Group> {
        self.groups.as_ref().map_or_else(Vec::new, Groups::left)
    }

    /// Where the programs are attached: "xdp" or "tc".
    pub fn by(&self) -> &'static str {
        self.by
    }

    /// Puts `rule` in force in the kernel, until that time since boot if it is told; its counters go on when it replaces
    /// one. `way` tells this host's next hop to an address. A rule the programs do not know stays user space's.
    ///
    /// # Errors
    /// What the kernel refused; the rule is not in force in the kernel then.
    pub fn install(
        &mut self,
        rule: &Rule,
        until: Option<Duration>,
        way: impl Fn(Ipv6Addr) -> Option<NextHop>,
    ) -> Result<(), Refusal> {
        let key = rule.key();
        let Some(octets) = encode_key(self.station.programs, &key) else { return Ok(()) };
        let (near, far) = Entry::ends(rule);
        let slot = match self.installed.get(&key) {
            Some(entry) => entry.slot,
            None => self.slots.pop().ok_or_else(|| Refusal("too many rules".to_owned()))?,
        };
        let next_hop = if leaves(&key) { way(far) } else { None };
        let until = until.map_or(NO_END, nanoseconds);
        self.put(key, octets, Entry { near, far, next_hop, slot, group: None, until })
    }

    /// Has the rule with this key end at that time since boot, and not when it was told before.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn hold(&mut self, key: &RuleKey, until: Duration) -> Result<(), Refusal> {
        let (Some(octets), Some(entry)) = (layout::encode_key(key), self.installed.get_mut(key)) else {
            return Ok(());
        };
        let until = nanoseconds(until);
        if entry.until == until {
            return Ok(());
        }
        entry.until = until;
        self.rules.insert(&octets, entry)
    }

    /// Puts one entry in force.
    fn put(&mut self, key: RuleKey, octets: Key, entry: Entry) -> Result<(), Refusal> {
        let slot = entry.slot;
        let new = self.installed.insert(key, entry).is_none();
        let result = if new { self.reset_counter(slot) } else { Ok(()) }.and_then(|()| {
            self.rules.insert(&octets, &entry)?;
            // An agent keeps next hops by slot.
            if self.station.programs == Programs::Agent { self.renew_generation() } else { Ok(()) }
        });
        if result.is_err() {
            self.remove(&key)?;
        }
        result
    }

    /// Puts a group in force in place of the one of the same anycast address; its sources stay fixed.
    ///
    /// # Errors
    /// What the kernel refused; the group is not in force in the kernel then.
    pub fn install_group(&mut self, group: &Group) -> Result<(), Refusal> {
        let result = self.write_group(group);
        if result.is_err() {
            self.remove_group(&group.anycast)?;
        }
        result
    }

    fn write_group(&mut self, group: &Group) -> Result<(), Refusal> {
        let Some(groups) = &mut self.groups else { return Ok(()) };
        let place = groups.place(&group.anycast)?;
        for slot in groups.write(group)? {
            self.reset_counter(slot)?;
        }
        for kind in AGENT_KINDS {
            let key = RuleKey::of(kind, group.anycast);
            let Some(octets) = encode_key(self.station.programs, &key) else { continue };
            let slot = match self.installed.get(&key) {
                Some(entry) => entry.slot,
                None => self.slots.pop().ok_or_else(|| Refusal("too many rules".to_owned()))?,
            };
            let (near, far) = (group.agent, Ipv6Addr::UNSPECIFIED);
            self.put(
                key,
                octets,
                Entry { near, far, next_hop: None, slot, group: Some(place), until: NO_END },
            )?;
        }
        Ok(())
    }

    /// Takes the group of an anycast address out of force, with all its sources.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn remove_group(&mut self, anycast: &Ipv6Addr) -> Result<(), Refusal> {
        for kind in AGENT_KINDS {
            self.remove(&RuleKey::of(kind, *anycast))?;
        }
        self.groups.as_mut().map_or(Ok(()), |groups| groups.remove(anycast))
    }

    /// Whether the kernel has a group for the address.
    pub fn has_group(&self, anycast: &Ipv6Addr) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.has(anycast))
    }

    /// Whom a source is fixed to in the kernel; it may be for longer than the interval.
    pub fn fixed(&self, anycast: &Ipv6Addr, source: &Ipv6Addr) -> Option<FixedSource> {
        self.groups.as_ref()?.fixed(anycast, source)
    }

    /// Fixes a source in the kernel, or does nothing where there is no such group or member.
    pub fn fix(&mut self, anycast: &Ipv6Addr, fixed: &FixedSource) {
        if let Some(groups) = &self.groups {
            groups.fix(anycast, fixed);
        }
    }

    /// The fixed sources of a group, in no order, at most `most`.
    pub fn sources(&self, anycast: &Ipv6Addr, most: usize) -> Vec<FixedSource> {
        self.groups.as_ref().map_or_else(Vec::new, |groups| groups.sources(anycast, most))
    }

    /// How many sources are fixed to each member of a group, by its number; members without any are not named, and gone
    /// ones are whose sources have not been heard of since. Looks at all sources of all groups.
    pub fn sources_per_member(&self, anycast: &Ipv6Addr) -> Vec<(u32, usize)> {
        self.groups.as_ref().map_or_else(Vec::new, |groups| groups.sources_per_member(anycast))
    }

    /// Forgets to whom `only` this source, or every source, is fixed; returns how many were.
    pub fn forget_sources(&mut self, only: Option<Ipv6Addr>) -> usize {
        self.groups.as_ref().map_or(0, |groups| groups.forget_sources(only))
    }

    /// What each member of a group was sent and sent.
    pub fn member_carried(&self, anycast: &Ipv6Addr) -> Vec<MemberCarried> {
        let counters = self.groups.iter().flat_map(|groups| groups.counters(anycast));
        counters
            .map(|(member, to, from)| MemberCarried {
                member,
                to: self.carried_by(to),
                from: self.carried_by(from),
            })
            .collect()
    }

    /// Takes the rule with this key out of force in the kernel.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn remove(&mut self, key: &RuleKey) -> Result<(), Refusal> {
        let octets = encode_key(self.station.programs, key);
        let (Some(octets), Some(entry)) = (octets, self.installed.remove(key)) else { return Ok(()) };
        self.slots.push(entry.slot);
        self.rules.remove(&octets)
    }

    /// Routes or neighbours may have changed: whatever is known of next hops is asked anew.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn forget_next_hops(&mut self, way: impl Fn(Ipv6Addr) -> Option<NextHop>) -> Result<(), Refusal> {
        if self.station.programs == Programs::Agent {
            return self.renew_generation();
        }
        for (key, entry) in self.installed.iter_mut().filter(|(key, _)| leaves(key)) {
            let next_hop = way(entry.far);
            if entry.next_hop != next_hop
                && let Some(octets) = layout::encode_key(key)
            {
                entry.next_hop = next_hop;
                self.rules.insert(&octets, entry)?;
            }
        }
        Ok(())
    }

    /// What every rule has carried in the kernel; what groups have is told by member.
    pub fn carried(&self) -> Vec<(RuleKey, Carried)> {
        let rules = self.installed.iter().filter(|(_, entry)| entry.group.is_none());
        rules.map(|(key, entry)| (*key, self.carried_by(entry.slot))).collect()
    }

    fn carried_by(&self, slot: u32) -> Carried {
        let Ok(counters) = self.counters.get(&slot, 0) else { return Carried::default() };
        counters.iter().map(layout::decode_counter).fold(Carried::default(), |sum, one| Carried {
            packets: sum.packets + one.packets,
            octets: sum.octets + one.octets,
        })
    }

    /// Readable when [`FastPath::take_peers`] has something to tell.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        let seen = self.seen.as_ref()?;
        // SAFETY: the ring buffer owns the descriptor and outlives the borrow of self.
        Some(unsafe { BorrowedFd::borrow_raw(seen.as_raw_fd()) })
    }

    /// Adds the peers that were seen through the tunnel to `seen`.
    pub fn take_peers(&mut self, seen: &mut Vec<Observation>) {
        let Some(buffer) = &mut self.seen else { return };
        while let Some(item) = buffer.next() {
            seen.extend(layout::decode_peer(&item));
        }
    }

    /// What the kernel holds against what this program believes, ordered by key: a row for every rule of either, whose
    /// `kernel` is "same", "other", "missing" (only believed) or "unknown" (only held).
    pub fn in_kernel(&self) -> Value {
        let held: BTreeMap<RuleKey, Entry> = self
            .rules
            .all()
            .into_iter()
            .filter_map(|(key, value)| Some((layout::decode_key(&key)?, Entry::decode(&value))))
            .collect();
        let keys: BTreeSet<_> = held.keys().chain(self.installed.keys()).collect();
        let rows = keys.into_iter().filter_map(|key| {
            let (held, believed) = (held.get(key), self.installed.get(key));
            let state = match (held, believed) {
                (Some(held), Some(believed)) if held == believed => "same",
                (Some(_), Some(_)) => "other",
                (None, _) => "missing",
                (_, None) => "unknown",
            };
            let entry = held.or(believed)?;
            let Carried { packets, octets } = self.carried_by(entry.slot);
            let ends = Some(entry.until).filter(|until| *until != NO_END);
            let left = ends.map(|until| Duration::from_nanos(until).saturating_sub(since_boot()).as_secs());
            let next_hop = entry.next_hop.map(|NextHop { device, neighbour, mtu }| {
                json!({ "device": device, "neighbour": neighbour, "mtu": mtu })
            });
            Some(json!({
                "kernel": state, "rule": key.kind, "anycast": key.anycast, "near": entry.near, "far": entry.far,
                "next_hop": next_hop, "ends_in": left, "packets": packets, "octets": octets,
            }))
        });
        json!({ "by": self.by, "rules": rows.collect::<Vec<_>>() })
    }

    fn reset_counter(&mut self, slot: u32) -> Result<(), Refusal> {
        let processors =
            aya::util::nr_cpus().map_err(|(_, error)| refusing("count the processors")(error))?;
        let zeros = PerCpuValues::try_from(vec![Counter::default(); processors])
            .map_err(refusing("reset a counter"))?;
        self.counters.set(slot, zeros, 0).map_err(refusing("reset a counter"))
    }

    /// Makes every next hop that an agent's programs keep stale.
    fn renew_generation(&mut self) -> Result<(), Refusal> {
        self.generation = self.generation.wrapping_add(1);
        let Station { link, tunnel, .. } = &self.station;
        let settings = layout::encode_settings(self.generation, tunnel.index, tunnel.mtu, link.link_address);
        self.settings.set(0, settings, 0).map_err(refusing("tell the programs their settings"))
    }
}

/// The key of a rule that the programs know.
fn encode_key(programs: Programs, key: &RuleKey) -> Option<Key> {
    // An agent has no peer that it carries packets for, and speaks for itself in user space.
    let is_known = programs != Programs::Agent || AGENT_KINDS.contains(&key.kind);
    layout::encode_key(key).filter(|_| is_known)
}

/// As the programs count time.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// True for the rules whose packets a responder or an initiator sends into the network.
fn leaves(key: &RuleKey) -> bool {
    let kinds = [RuleKind::ReverseTunnelOut, RuleKind::HomeAddressOut, RuleKind::RoutingHeaderOut];
    kinds.contains(&key.kind)
}

/// Where a node's programs and rules outlive it. Without a bpffs they do not, and all else is as with one; nor can what is
/// attached to a queueing discipline be pinned.
fn pins(station: &Station, object: &[u8]) -> Option<Pins> {
    let identity = station.identity.as_deref().filter(|_| has_links())?;
    Pins::open(identity, object)
        .inspect_err(|error| tracing::info!(%error, "a killed node's forwarding will not be gone on with"))
        .ok()
}

/// Whether the kernel attaches to traffic control by links, which is so since 6.6.
fn has_links() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// Attaches the programs where their role needs them, and says by what.
fn attach(ebpf: &mut Ebpf, station: &Station, pins: Option<&Pins>) -> Result<&'static str, Refusal> {
    let (link, tunnel) = (station.link.name.as_str(), station.tunnel.name.as_str());
    match station.programs {
        Programs::Agent => {
            classify(ebpf, pins::ATTACHED[0], link, TcAttachType::Ingress, pins)?;
            let in_driver = !station.link.is_software && attach_xdp(ebpf, station, pins).is_ok();
            Ok(if in_driver { "xdp" } else { "tc" })
        }
        Programs::Responder => {
            classify(ebpf, "responder_in", link, TcAttachType::Ingress, pins)?;
            classify(ebpf, "responder_out", tunnel, TcAttachType::Egress, pins)?;
            Ok("tc")
        }
        Programs::Initiator => {
            classify(ebpf, "initiator_in", link, TcAttachType::Ingress, pins)?;
            classify(ebpf, "initiator_out", tunnel, TcAttachType::Egress, pins)?;
            Ok("tc")
        }
    }
}

fn classify(
    ebpf: &mut Ebpf,
    name: &str,
    interface: &str,
    hook: TcAttachType,
    pins: Option<&Pins>,
) -> Result<(), Refusal> {
    let program: &mut SchedClassifier = program(ebpf, name)?;
    program.load().map_err(refusing("have the kernel accept the programs"))?;
    if let Some(link) = left(name, pins).and_then(|link| SchedClassifierLink::try_from(link).ok())
        && program.attach_to_link(link).is_ok()
    {
        return Ok(());
    }
    if !has_links() {
        // Older kernels attach to a queueing discipline, which may be there already.
        let _ = tc::qdisc_add_clsact(interface);
    }
    let link = program.attach(interface, hook).map_err(refusing("attach to tc"))?;
    match pins {
        None => Ok(()),
        Some(pins) => {
            let link = program.take_link(link).map_err(refusing("attach to tc"))?;
            pin(FdLink::try_from(link).map_err(refusing("pin to tc"))?, name, pins)
        }
    }
}

fn attach_xdp(ebpf: &mut Ebpf, station: &Station, pins: Option<&Pins>) -> Result<(), Refusal> {
    let name = "agent_xdp";
    let program: &mut Xdp = program(ebpf, name)?;
    program.load().map_err(refusing("have the kernel accept the programs"))?;
    if let Some(link) = left(name, pins).and_then(|link| XdpLink::try_from(link).ok())
        && program.attach_to_link(link).is_ok()
    {
        return Ok(());
    }
    let link = program.attach(&station.link.name, XdpMode::Driver).map_err(refusing("attach to XDP"))?;
    match pins {
        None => Ok(()),
        Some(pins) => {
            let link = program.take_link(link).map_err(refusing("attach to XDP"))?;
            pin(FdLink::try_from(link).map_err(refusing("pin to XDP"))?, name, pins)
        }
    }
}

/// The attachment that a killed run left.
fn left(name: &str, pins: Option<&Pins>) -> Option<FdLink> {
    PinnedLink::from_pin(pins?.path(name)).ok().map(FdLink::from)
}

/// Lets an attachment outlive this process; its pin is all that holds it.
fn pin(link: FdLink, name: &str, pins: &Pins) -> Result<(), Refusal> {
    // What is there leads to an interface that is gone.
    pins.remove(name);
    link.pin(pins.path(name)).map(drop).map_err(refusing("pin an attachment"))
}

pub(super) fn program<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut T, Refusal>
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program>,
{
    let missing = || Refusal(format!("there is no program {name}"));
    ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|_| missing())
}
