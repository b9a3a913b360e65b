//! Anycast addresses with several responders: the kernel chooses as user space does (thesis 4.3.1, 4.3.2), packet by
//! packet, through changes of the group: who is fixed, renewed, drained, lost, and forgotten. Run with the other tests.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::forwarding::ebpf::{FastPath, FixedSource, Hook, Verdict};
use mga_node::forwarding::user::{Direction, Fate, Forwarder};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::select::{Affinity, Group, GroupMember, SLOTS, Takes};
use mga_node::wire::PacketBuffer;
use mga_node::wire::ipv6::{self, Ipv6Header};

use super::world::{AGENT, LINK, World};

/// An anycast address that no rule of the world is for.
pub const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xc);
const SOURCES: u16 = 300;
pub const HOUR: Duration = Duration::from_secs(3600);

pub fn care_of(number: u32) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 0x100 + number as u16)
}

pub fn source(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 3, 0, 0, number, 1)
}

/// A group of these members, whose slots the first `taking` of them share.
pub fn group(numbers: &[u32], taking: usize, affinity: Option<Affinity>) -> Group {
    let member = |(index, number): (usize, &u32)| GroupMember {
        number: *number,
        care_of: care_of(*number),
        takes: if index < taking { Takes::New } else { Takes::Kept },
    };
    let slots = match taking {
        0 => Vec::new(),
        _ => (0..SLOTS).map(|slot| (slot % taking) as u16).collect(),
    };
    Group {
        anycast: ANYCAST,
        agent: AGENT,
        members: numbers.iter().enumerate().map(member).collect(),
        slots,
        affinity,
    }
}

pub fn affinity(renewed: bool) -> Option<Affinity> {
    Some(Affinity { interval: HOUR, renewed, capacity: 10_000 })
}

pub fn udp(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    ipv6::packet(Ipv6Header::new(17, 64, source, destination), &[0, 7, 0, 7, 0, 8, 0, 1])
}

pub fn tunnelled(number: u32, inner: &[u8]) -> Vec<u8> {
    ipv6::packet(Ipv6Header::new(41, 64, care_of(number), AGENT), inner)
}

/// Both executors with the same group.
struct Both<'a> {
    fast: &'a mut FastPath,
    user: Forwarder,
    world: &'a World,
    hook: Hook,
}

impl Both<'_> {
    fn install(&mut self, group: &Group) {
        self.fast.install_group(group).expect("the kernel takes a group");
        self.user.install_group(Instant::START, group.clone(), &mut Vec::new());
    }

    /// Has both decide; they must agree in everything.
    fn pass(&mut self, packet: &[u8], direction: Direction) -> Option<Vec<u8>> {
        let frame = [&LINK[..], packet].concat();
        // XDP learns the next hop from the first packet.
        let tries = 1 + usize::from(self.hook == Hook::AgentXdp);
        let outcomes: Vec<_> = (0..tries)
            .map(|_| self.fast.try_out(self.hook, self.world.device, &frame).expect("the kernel runs it"))
            .collect();
        let (verdict, after) = outcomes.last().expect("one at least").clone();
        let mut buffer = PacketBuffer::new(packet);
        if direction == Direction::Outbound {
            buffer.as_mut_slice()[7] -= 1;
        }
        let fate = self.user.forward(Instant::START, direction, &mut buffer, &mut Vec::new());
        if direction == Direction::Inbound && fate == Fate::Deliver {
            buffer.as_mut_slice()[7] -= 1;
        }
        match verdict {
            Verdict::Taken => {
                assert!(matches!(fate, Fate::Send | Fate::Deliver), "{fate:?}: {packet:02x?}");
                assert_eq!(after[LINK.len()..], *buffer.as_slice());
                Some(buffer.as_slice().to_vec())
            }
            Verdict::Left => {
                assert_eq!(after, frame);
                None
            }
            Verdict::Lost(number) => panic!("lost ({number})"),
        }
    }

    /// The members that every source's packet goes to.
    fn everybody(&mut self) -> BTreeMap<Ipv6Addr, Ipv6Addr> {
        let mut to = BTreeMap::new();
        for number in 0..SOURCES {
            let taken = self.pass(&udp(source(number), ANYCAST), Direction::Outbound).expect("it is taken");
            let octets: [u8; 16] = taken[24..40].try_into().expect("an address");
            to.insert(source(number), octets.into());
        }
        to
    }
}

fn with_both(hook: Hook, work: impl FnOnce(&mut Both<'_>) + Send) {
    let world = World::new(hook);
    world.run(|fast| work(&mut Both { fast, user: Forwarder::new(), world: &world, hook }));
}

#[test]
fn members_come_drain_and_go_and_sources_stay_where_they_are() {
    for hook in [Hook::AgentTc, Hook::AgentXdp] {
        with_both(hook, |both| {
            both.install(&group(&[1, 2, 3], 3, affinity(true)));
            let first = both.everybody();
            for number in 1..=3 {
                let share = first.values().filter(|to| **to == care_of(number)).count();
                assert!(share > SOURCES as usize / 6, "member {number} has {share}");
            }
            // A fourth takes none of them, a drained one keeps them.
            both.install(&group(&[1, 2, 3, 4], 4, affinity(true)));
            assert_eq!(both.everybody(), first);
            both.install(&group(&[1, 2, 3, 4], 2, affinity(true)));
            assert_eq!(both.everybody(), first);
            // Those of one that is gone are chosen for anew, and only those.
            both.install(&group(&[2, 3, 4], 3, affinity(true)));
            let later = both.everybody();
            for (source, to) in &first {
                assert_eq!(later[source] == *to, *to != care_of(1), "{source}");
            }
            // They stay when the number comes back under another.
            both.install(&group(&[2, 3, 4, 5], 4, affinity(true)));
            assert_eq!(both.everybody(), later);
            let carried: u64 =
                both.fast.member_carried(&ANYCAST).iter().map(|member| member.to.packets).sum();
            assert!(carried >= u64::from(SOURCES) * 3, "{carried}");
        });
    }
}

#[test]
fn without_affinity_the_slot_alone_decides() {
    with_both(Hook::AgentTc, |both| {
        both.install(&group(&[1, 2], 2, None));
        let first = both.everybody();
        both.install(&group(&[1, 2], 1, None));
        assert!(both.everybody().values().all(|to| *to == care_of(1)));
        assert!(first.values().any(|to| *to == care_of(2)));
        assert_eq!(both.fast.sources(&ANYCAST, 10), []);
    });
}

#[test]
fn a_group_that_takes_nobody_leaves_new_sources_to_user_space() {
    with_both(Hook::AgentTc, |both| {
        both.install(&group(&[1, 2], 2, affinity(true)));
        let first = both.everybody();
        both.install(&group(&[1, 2], 0, affinity(true)));
        assert_eq!(both.everybody(), first);
        assert_eq!(both.pass(&udp(source(9999), ANYCAST), Direction::Outbound), None);
        both.fast.remove_group(&ANYCAST).expect("removed");
        both.user.remove_group(&ANYCAST);
        assert_eq!(both.pass(&udp(source(1), ANYCAST), Direction::Outbound), None);
    });
}

#[test]
fn a_members_own_traffic_fixes_its_peer_and_strangers_get_nothing_through() {
    for hook in [Hook::AgentTc, Hook::AgentXdp] {
        with_both(hook, |both| {
            both.install(&group(&[1, 2], 1, affinity(true)));
            // Member 2 gets no new sources, but this one it has spoken to.
            let peer = source(7);
            let answer = tunnelled(2, &udp(ANYCAST, peer));
            assert!(both.pass(&answer, Direction::Inbound).is_some());
            let taken = both.pass(&udp(peer, ANYCAST), Direction::Outbound).expect("it is taken");
            assert_eq!(taken[24..40], care_of(2).octets());
            // Through another member it is still the peer of the first.
            assert!(both.pass(&tunnelled(1, &udp(ANYCAST, peer)), Direction::Inbound).is_some());
            let taken = both.pass(&udp(peer, ANYCAST), Direction::Outbound).expect("it is taken");
            assert_eq!(taken[24..40], care_of(2).octets());
            assert_eq!(both.pass(&tunnelled(9, &udp(ANYCAST, peer)), Direction::Inbound), None);
            assert_eq!(both.pass(&tunnelled(1, &udp(ANYCAST, AGENT)), Direction::Inbound), None);
            assert!(both.fast.sources(&ANYCAST, 10).iter().all(|fixed| fixed.source != AGENT));
        });
    }
}

#[test]
fn an_interval_that_is_over_fixes_nobody_and_what_user_space_fixes_counts() {
    with_both(Hook::AgentTc, |both| {
        both.install(&group(&[1, 2], 1, affinity(false)));
        let fixed = |member, age| FixedSource { source: source(3), member, age, again: false };
        let choice = |both: &mut Both<'_>| {
            let frame = [&LINK[..], &udp(source(3), ANYCAST)].concat();
            let (verdict, after) = both.fast.try_out(both.hook, both.world.device, &frame).expect("it runs");
            assert_eq!(verdict, Verdict::Taken);
            <[u8; 16]>::try_from(&after[LINK.len() + 24..LINK.len() + 40])
                .map(Ipv6Addr::from)
                .expect("an address")
        };
        both.fast.fix(&ANYCAST, &fixed(2, HOUR / 2));
        assert_eq!(choice(both), care_of(2));
        // Not renewed: it is as old as it was.
        assert!(both.fast.fixed(&ANYCAST, &source(3)).is_some_and(|held| held.age >= HOUR / 2));
        both.fast.fix(&ANYCAST, &fixed(2, HOUR + Duration::from_secs(1)));
        assert_eq!(choice(both), care_of(1), "its slot's");
        assert_eq!(both.fast.forget_sources(Some(source(3))), 1);
        assert_eq!(both.fast.fixed(&ANYCAST, &source(3)), None);
    });
}
