//! The table of fixed sources (thesis 4.3.2) by itself: bounded, the longest idle make room first, and no flood of
//! sources that come once moves those that are in the middle of something. Checked against a plain model as well.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::forwarding::affinity::AffinityTable;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::select::Affinity;
use proptest::prelude::*;

use super::data_path::RENEWED;
use crate::stimulus::*;

fn source(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_0000_0002_u128 << 64 | u128::from(number))
}

#[test]
fn two_hundred_thousand_forged_sources_move_none_of_a_hundred_live_flows() {
    let mut table = AffinityTable::new(RENEWED);
    let now = at(10.0);
    let live = |number| source(1_000_000 + number);
    for number in 0..100 {
        table.fix(now, &live(number), number);
        // Each has come back at least once.
        assert_eq!(table.sent(now, &live(number)), Some(number));
    }
    for forged in 0..200_000 {
        assert_eq!(table.sent(now, &source(forged)), None);
        table.fix(now, &source(forged), 7777);
        // A forged packet is answered, which proves nothing.
        table.answered(now, &source(forged));
    }
    for number in 0..100 {
        assert_eq!(table.sent(now, &live(number)), Some(number));
    }
    assert_eq!(table.len(), RENEWED.capacity);
    assert_eq!(table.evicted(), 200_000 - 900);
}

#[test]
fn the_one_idle_longest_makes_room_first() {
    let mut table = AffinityTable::new(Affinity { capacity: 3, ..RENEWED });
    for number in 0..3 {
        table.fix(at(f64::from(number)), &source(number), number);
    }
    table.answered(at(4.0), &source(0));
    table.fix(at(5.0), &source(9), 9);
    let left: Vec<_> = (0..3).map(|number| table.peek(at(5.0), &source(number)).is_some()).collect();
    assert_eq!(left, [true, false, true]);
}

#[test]
fn the_order_of_idleness_is_kept_to_a_sixteenth_of_the_interval() {
    // Of sixty seconds, that is 3.75.
    for (later, stays) in [(3.5, false), (3.75, true)] {
        let mut table = AffinityTable::new(Affinity { capacity: 10, ..RENEWED });
        for number in 0..8 {
            table.fix(at(0.0), &source(number), number);
            table.sent(at(0.0), &source(number));
        }
        table.sent(at(later), &source(0));
        // The ninth that comes back takes the place of the one idle longest, whose next one is probation.
        table.fix(at(later), &source(8), 8);
        table.sent(at(later), &source(8));
        for forged in 100..102 {
            table.fix(at(later), &source(forged), 9);
        }
        assert_eq!(table.peek(at(later), &source(0)).is_some(), stays, "{later} s");
        assert_eq!(table.peek(at(later), &source(1)).is_some(), !stays, "{later} s");
    }
}

#[test]
fn a_sweep_goes_round_and_forgets_whose_interval_is_over() {
    let mut table = AffinityTable::new(RENEWED);
    for number in 0..100 {
        table.fix(at(0.0), &source(number), 1);
    }
    table.forget(Some(source(7)));
    for number in 40..50 {
        table.sent(at(30.0), &source(number));
    }
    table.sweep(at(59.0), 1000);
    assert_eq!(table.of_member(1), 99);
    table.sweep(at(61.0), 60);
    table.sweep(at(61.0), 30);
    assert_eq!(table.of_member(1), 20, "the last ten have not had their turn");
    table.sweep(at(61.0), 30);
    assert_eq!(table.of_member(1), 10);
    table.sweep(at(91.0), 100);
    assert!(table.is_empty());
}

#[test]
fn one_whose_interval_is_over_makes_room_before_one_on_probation() {
    let mut table = AffinityTable::new(Affinity { capacity: 2, ..RENEWED });
    table.fix(at(0.0), &source(0), 0);
    table.sent(at(0.0), &source(0));
    table.fix(at(61.0), &source(1), 1);
    table.fix(at(61.0), &source(2), 2);
    let held = |number| table.peek(at(61.0), &source(number)).is_some();
    assert_eq!((held(0), held(1), held(2)), (false, true, true));
    assert_eq!(table.evicted(), 0);
}

#[test]
fn a_million_sources_take_about_fifty_octets_each() {
    let mut table = AffinityTable::new(Affinity { capacity: 1_000_000, ..RENEWED });
    for number in 0..1_000_000 {
        table.fix(at(0.0), &source(number), number % 3);
    }
    let each = table.octets() as f64 / 1e6;
    assert!((40.0..52.0).contains(&each), "{each} octets");
    assert_eq!(table.of_member(0), 333_334);
    assert_eq!(table.forget(None), 1_000_000);
    assert!(table.is_empty());
}

/// What can be done to a table.
#[derive(Clone, Debug)]
enum Step {
    Sent(u32),
    Answered(u32),
    Fix(u32, u32),
    Forget(u32),
    Expire,
    Sweep(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let source = 0..24u32;
    prop_oneof![
        4 => source.clone().prop_map(Step::Sent),
        2 => source.clone().prop_map(Step::Answered),
        4 => (source.clone(), 0..4u32).prop_map(|(source, member)| Step::Fix(source, member)),
        1 => source.prop_map(Step::Forget),
        1 => Just(Step::Expire),
        1 => (0..30usize).prop_map(Step::Sweep),
        2 => (1..40u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever the table knows, it knows right; it never holds more than it may, and its counts are those of what it
    /// holds.
    #[test]
    fn the_table_says_what_a_plain_map_says(
        renewed: bool,
        capacity in 1..20usize,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let rule = Affinity { interval: Duration::from_secs(60), renewed, capacity };
        let mut table = AffinityTable::new(rule);
        // By source: the member, and when the interval began.
        let mut plain: BTreeMap<Ipv6Addr, (u32, Instant)> = BTreeMap::new();
        let mut now = at(0.0);
        for step in steps {
            match step {
                Step::Sent(number) | Step::Answered(number) => {
                    let got = match step {
                        Step::Sent(_) => table.sent(now, &source(number)),
                        _ => table.answered(now, &source(number)),
                    };
                    if let Some(member) = got {
                        let known = plain.get_mut(&source(number)).expect("a source that was fixed");
                        prop_assert_eq!(known.0, member);
                        prop_assert!(now.saturating_since(known.1) < rule.interval);
                        if renewed {
                            known.1 = now;
                        }
                    }
                }
                Step::Fix(number, member) => {
                    table.fix(now, &source(number), member);
                    plain.insert(source(number), (member, now));
                    prop_assert_eq!(table.peek(now, &source(number)).map(|fixed| fixed.member), Some(member));
                }
                Step::Forget(number) => {
                    table.forget(Some(source(number)));
                    plain.remove(&source(number));
                    prop_assert_eq!(table.peek(now, &source(number)), None);
                }
                Step::Expire => {
                    table.expire(now);
                    let over = |of: Ipv6Addr| now.saturating_since(plain[&of].1) >= rule.interval;
                    prop_assert!(table.latest(now, 100).iter().all(|fixed| !over(fixed.source)));
                    prop_assert_eq!(table.latest(now, 100).len(), table.len());
                }
                Step::Sweep(most) => {
                    let current = |table: &AffinityTable| {
                        let mut current = table.latest(now, 100);
                        current.sort_by_key(|fixed| fixed.source);
                        current
                    };
                    let before = current(&table);
                    table.sweep(now, most);
                    prop_assert_eq!(current(&table), before);
                }
                Step::Pass(seconds) => now = now + Duration::from_secs(seconds),
            }
            prop_assert!(table.len() <= capacity);
            let counted: usize = (0..4).map(|member| table.of_member(member)).sum();
            prop_assert_eq!(counted, table.len());
        }
    }
}
