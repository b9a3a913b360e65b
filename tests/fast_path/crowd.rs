//! More sources than a table of fixed ones has room for (thesis 4.3.2): who was heard of twice stays where it is whatever
//! is forged, and buckets overflow for less than one in a thousand of those the table was made for.
//! Run with the other tests.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::forwarding::ebpf::{FastPath, FixedSource, Hook, Verdict};
use mga_node::protocol::select::Affinity;

use super::groups::{ANYCAST, HOUR, affinity, care_of, group, source, tunnelled, udp};
use super::world::{LINK, World};

const FORGED: u32 = 200_000;
const FLOWS: u16 = 100;

fn forged(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_0000_0003_u128 << 64 | 1 << 63 | u128::from(number))
}

/// Has the kernel forward a packet; returns where to.
fn pass(fast: &mut FastPath, world: &World, packet: &[u8]) -> Ipv6Addr {
    let frame = [&LINK[..], packet].concat();
    let (verdict, after) = fast.try_out(Hook::AgentTc, world.device, &frame).expect("the kernel runs it");
    assert_eq!(verdict, Verdict::Taken);
    let octets: [u8; 16] = after[LINK.len() + 24..LINK.len() + 40].try_into().expect("an address");
    octets.into()
}

fn send(fast: &mut FastPath, world: &World, source: Ipv6Addr) -> Ipv6Addr {
    pass(fast, world, &udp(source, ANYCAST))
}

#[test]
fn two_hundred_thousand_forged_sources_move_none_of_a_hundred_live_flows() {
    let mut world = World::new(Hook::AgentTc);
    world.sources = 10_000;
    world.run(|fast| {
        fast.install_group(&group(&[1, 2], 2, affinity(true))).expect("the kernel takes a group");
        let live: Vec<_> = (0..FLOWS).map(source).collect();
        let once: Vec<_> = (FLOWS..2 * FLOWS).map(source).collect();
        let first: Vec<_> = live.iter().map(|source| send(fast, &world, *source)).collect();
        for source in &live {
            send(fast, &world, *source);
        }
        // An answer is no second sign of life: forged packets are answered, too.
        for source in &once {
            let to = send(fast, &world, *source);
            let member = u32::from(to == care_of(2)) + 1;
            for _ in 0..3 {
                pass(fast, &world, &tunnelled(member, &udp(ANYCAST, *source)));
            }
        }
        // From now on every slot names another member, so that who is not fixed any more goes there.
        fast.install_group(&group(&[1, 2, 3], 0, affinity(true))).expect("the kernel takes a group");
        let mut changed = group(&[1, 2, 3], 3, affinity(true));
        changed.slots.fill(2);
        fast.install_group(&changed).expect("the kernel takes a group");
        for number in 0..FORGED {
            assert_eq!(send(fast, &world, forged(number)), care_of(3));
        }
        let later: Vec<_> = live.iter().map(|source| send(fast, &world, *source)).collect();
        assert_eq!(later, first);
        // It was a flood: the others are gone, who were not heard of twice.
        let stayed = once.iter().filter(|source| fast.fixed(&ANYCAST, source).is_some()).count();
        assert!(stayed < 3, "{stayed} of {} stayed", once.len());
    });
}

#[test]
fn of_a_million_sources_in_a_table_for_a_million_less_than_one_in_a_thousand_is_lost() {
    const MILLION: u32 = 1_000_000;
    let mut world = World::new(Hook::AgentTc);
    world.sources = MILLION;
    world.run(|fast| {
        let rule = Affinity { capacity: MILLION as usize, ..affinity(true).expect("affinity") };
        fast.install_group(&group(&[1, 2], 2, Some(rule))).expect("the kernel takes a group");
        for number in 0..MILLION {
            let (source, member) = (forged(number), 1 + number % 2);
            fast.fix(&ANYCAST, &FixedSource { source, member, age: Duration::ZERO, again: false });
        }
        let counts = fast.sources_per_member(&ANYCAST);
        let held: usize = counts.iter().map(|(_, sources)| sources).sum();
        println!("{} of {MILLION} sources found their bucket full", MILLION as usize - held);
        assert!(held > (MILLION - MILLION / 1000) as usize, "{counts:?}");
        assert_eq!(counts.len(), 2);
        // The programs find what user space has fixed, in whichever bucket.
        for source in (0..MILLION).step_by(9973).map(forged) {
            if let Some(fixed) = fast.fixed(&ANYCAST, &source) {
                assert_eq!(send(fast, &world, source), care_of(fixed.member));
                assert!(fast.fixed(&ANYCAST, &source).is_some_and(|fixed| fixed.again));
            }
        }
        assert_eq!(fast.forget_sources(None), held);
        assert_eq!(fast.sources(&ANYCAST, 10), []);
    });
}

#[test]
fn who_is_over_makes_room_before_who_is_not() {
    let mut world = World::new(Hook::AgentTc);
    // One bucket for everybody.
    world.sources = 1;
    world.run(|fast| {
        fast.install_group(&group(&[1, 2], 2, affinity(true))).expect("the kernel takes a group");
        let fix = |fast: &mut FastPath, number, age, again| {
            fast.fix(&ANYCAST, &FixedSource { source: source(number), member: 1, age, again });
        };
        let held = |fast: &FastPath, number| fast.fixed(&ANYCAST, &source(number)).is_some();
        for number in 0..16 {
            fix(fast, number, Duration::from_secs(60 * u64::from(number)), number < 8);
        }
        assert!((0..16).all(|number| held(fast, number)));
        // The program's choice: the oldest that was heard of once, then the next one.
        send(fast, &world, source(100));
        send(fast, &world, source(101));
        assert!(!held(fast, 15) && !held(fast, 14) && held(fast, 13));
        // User space's is the same, and who is over goes first of all, however often it was heard of.
        fix(fast, 102, Duration::ZERO, false);
        assert!(!held(fast, 13) && held(fast, 12));
        fix(fast, 3, HOUR + Duration::from_secs(1), true);
        send(fast, &world, source(103));
        assert!(!held(fast, 3) && held(fast, 12));
        // When all were heard of twice, the oldest goes.
        for number in [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 100, 101, 102, 103] {
            send(fast, &world, source(number));
        }
        fix(fast, 9, HOUR / 2, true);
        send(fast, &world, source(104));
        assert!(!held(fast, 9) && held(fast, 104) && held(fast, 12));
    });
}
