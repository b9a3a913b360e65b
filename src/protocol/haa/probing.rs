//! Probes through the tunnels (thesis 3.1.4): an ICMPv6 echo request from the agent to the anycast address, in a tunnel
//! to each member, which every kernel answers. Whoever does not answer is out of the group, its binding kept, until it
//! answers again. Called by `haa` for its timers and for what comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::Haa;
use crate::protocol::action::Action;
use crate::protocol::binding::members::MemberKey;
use crate::protocol::clock::Instant;
use crate::protocol::home_link::icmpv6_packet;
use crate::protocol::limits::HOP_LIMIT;
use crate::protocol::liveness::{Due, Liveness, Probe};
use crate::protocol::random::{Random, SeededRandom};
use crate::protocol::report::Report;
use crate::wire::PacketBuffer;
use crate::wire::icmpv6::Icmpv6Message;
use crate::wire::mobility::Extensions;
use crate::wire::tunnel::encapsulate;

/// No more than one probe in this time on average, however many members there are: their intervals become longer.
const SPACING: Duration = Duration::from_millis(1);
/// The identifier of our echo requests.
const IDENTIFIER: u16 = 0x6d67;

/// A member that is probed.
#[derive(Debug)]
struct Watched {
    key: MemberKey,
    liveness: Liveness,
}

/// The members that are probed, by number.
pub(super) struct Watch {
    members: BTreeMap<u32, Watched>,
    /// When each has something to do.
    times: BTreeSet<(Instant, u32)>,
    random: Box<dyn Random + Send>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("members", &self.members).finish_non_exhaustive()
    }
}

impl Default for Watch {
    fn default() -> Self {
        let random = Box::new(SeededRandom::new(0));
        Self { members: BTreeMap::new(), times: BTreeSet::new(), random }
    }
}

impl Watch {
    pub(super) fn set_random(&mut self, random: Box<dyn Random + Send>) {
        self.random = random;
    }

    /// True for whoever is not known to be lost.
    pub(super) fn is_alive(&self, number: u32) -> bool {
        self.members.get(&number).is_none_or(|watched| watched.liveness.is_alive())
    }

    /// The round-trip time to a member, when it is known.
    pub(super) fn distance(&self, number: u32) -> Option<Duration> {
        self.members.get(&number)?.liveness.distance()
    }

    /// Probes a member no longer.
    pub(super) fn forget(&mut self, number: u32) {
        if let Some(watched) = self.members.remove(&number) {
            self.times.remove(&(watched.liveness.deadline(), number));
        }
    }

    /// When something is to be done next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.times.first().map(|(at, _)| *at)
    }

    /// Lets `change` have a member's liveness and minds its timer.
    fn with<T>(&mut self, number: u32, change: impl FnOnce(&mut Liveness, &MemberKey) -> T) -> Option<T> {
        let watched = self.members.get_mut(&number)?;
        self.times.remove(&(watched.liveness.deadline(), number));
        let result = change(&mut watched.liveness, &watched.key);
        self.times.insert((watched.liveness.deadline(), number));
        Some(result)
    }

    fn add(&mut self, number: u32, watched: Watched) {
        self.times.insert((watched.liveness.deadline(), number));
        self.members.insert(number, watched);
    }
}

impl Haa {
    /// A member has registered or refreshed, which is a sign of life: it is probed from now on, if that is on for it.
    pub(super) fn watch_member(&mut self, now: Instant, number: u32, key: MemberKey, granted: Extensions) {
        let Some(service) = self.services.get(&key.0) else { return };
        if !granted.contains(Extensions::PROBING) {
            return self.watch.forget(number);
        }
        if let Some(watched) = self.watch.members.get_mut(&number) {
            watched.key = key;
            self.watch.with(number, |liveness, _| liveness.give_sign());
            return;
        }
        let liveness = Liveness::new(now, service.config.probing.interval);
        self.watch.add(number, Watched { key, liveness });
    }

    /// Sends the probes whose time has come, and takes out whoever has been silent for too long.
    pub(super) fn probe_members(&mut self, now: Instant) {
        while let Some((_, number)) = self.watch.times.first().copied().filter(|(at, _)| *at <= now) {
            let nonce = self.watch.random.octets8();
            let count = u32::try_from(self.watch.members.len()).unwrap_or(u32::MAX);
            let services = &self.services;
            let due = self.watch.with(number, |liveness, key| {
                let probing = services.get(&key.0)?.config.probing;
                let interval = probing.interval.max(SPACING * count);
                let due = liveness.due(now, &probing, interval, nonce)?;
                Some((due, key.clone()))
            });
            match due.flatten() {
                Some((Due::Probe(probe), key)) => self.send_probe(&key, &probe),
                Some((Due::Lost, key)) => self.member_lost(&key),
                None => {}
            }
        }
    }

    fn send_probe(&mut self, key: &MemberKey, probe: &Probe) {
        let Some(care_of) = self.joined.get(key).map(|member| member.care_of()) else { return };
        let message = Icmpv6Message::EchoRequest {
            code: 0,
            identifier: IDENTIFIER,
            sequence: probe.sequence,
            data: probe.nonce.to_vec(),
        };
        let inner = icmpv6_packet(&self.config.agent, &key.0, HOP_LIMIT, message);
        let mut packet = PacketBuffer::new(&inner);
        encapsulate(&mut packet, &self.config.agent, &care_of, HOP_LIMIT);
        self.counters.count("probe.sent");
        self.actions.push_back(Action::Send(packet.as_slice().to_vec()));
    }

    fn member_lost(&mut self, key: &MemberKey) {
        let Some(care_of) = self.joined.get(key).map(|member| member.care_of()) else { return };
        self.counters.count("member.lost");
        self.refresh_group(key.0);
        let report = Report::warning("member-lost").anycast(key.0).care_of(care_of);
        self.report(report.because("it answers no probes through the tunnel", "thesis 4.3.1"));
    }

    /// An echo reply from `anycast`, out of a tunnel or by way of another agent's; true when it answers a probe.
    pub(super) fn probe_answered(
        &mut self,
        now: Instant,
        anycast: Ipv6Addr,
        identifier: u16,
        sequence: u16,
        nonce: &[u8],
    ) -> bool {
        let Some(probing) = self.services.get(&anycast).map(|service| service.config.probing) else {
            return false;
        };
        if identifier != IDENTIFIER {
            return false;
        }
        let of_address = self.joined.of(&anycast).map(|member| member.number);
        let asked = of_address.filter(|number| {
            self.watch.members.get(number).is_some_and(|watched| watched.liveness.awaits(sequence, nonce))
        });
        let Some(number) = asked.min() else { return false };
        self.counters.count("probe.answered");
        let back = self.watch.with(number, |liveness, key| {
            liveness.answered(now, sequence, nonce, &probing).then(|| key.clone())
        });
        // A distance may have changed, which may change whom new sources go to.
        self.refresh_group(anycast);
        if let Some(key) = back.flatten() {
            self.counters.count("member.returned");
            let care_of = self.joined.get(&key).map(|member| member.care_of());
            let report = Report::info("member-returned").anycast(anycast);
            let report = care_of.into_iter().fold(report, Report::care_of);
            self.report(report.because("it answers probes again", "thesis 4.3.1"));
        }
        true
    }
}
