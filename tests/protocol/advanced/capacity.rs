//! Capacity at the agent (thesis 3.1.4, 4.3.1): a member that holds as many sources as it wants takes no new ones until
//! it has room again, and where nobody has room all serve.

use mga_node::protocol::action::{Action, Observation};
use mga_node::protocol::haa::{GroupConfig, HaaCommand, MemberState};
use mga_node::protocol::select::{Affinity, Criterion};
use mga_node::wire::mobility::Offer;

use super::membership::{Bench, advanced, legacy};
use crate::agent;
use crate::stimulus::*;

fn offer(capacity: u32) -> Offer {
    Offer { capacity, ..Offer::default() }
}

/// Both responders of Figure 11 with these capacities; they are members 1 and 2.
fn both(group: GroupConfig, first: Offer, second: Offer) -> Bench {
    let mut bench = Bench::with(agent::config(), group);
    bench.verdict(&advanced(AR1, 1, first));
    bench.verdict(&advanced(AR2, 1, second));
    bench
}

/// The data path has counted these sources at the members.
fn counted(bench: &mut Bench, first: usize, second: usize) {
    bench.observe(Observation::Sources { anycast: ANYCAST, of: vec![(1, first), (2, second)] });
}

fn states(bench: &Bench) -> Vec<MemberState> {
    bench.haa.groups()[0].members.iter().map(|member| member.state).collect()
}

fn counts(bench: &Bench) -> usize {
    bench.done.iter().filter(|action| **action == Action::CountSources(ANYCAST)).count()
}

#[test]
fn a_full_member_keeps_its_sources_and_takes_no_new_ones() {
    let mut bench = both(GroupConfig::default(), offer(10), offer(0));
    counted(&mut bench, 9, 5000);
    assert_eq!(bench.group(), [(AR1, true), (AR2, true)]);
    counted(&mut bench, 10, 5000);
    assert_eq!(bench.group(), [(AR1, false), (AR2, true)], "one without a bound is never full");
    assert_eq!(bench.slots(), [0, 4096]);
    assert!(bench.reported("member-full"));
    assert_eq!(states(&bench), [MemberState::Full, MemberState::Alive]);
    // It is said once.
    counted(&mut bench, 11, 5000);
    assert!(!bench.reported("member-full"));
}

#[test]
fn a_member_that_was_full_has_room_again_below_nine_tenths() {
    let mut bench = both(GroupConfig::default(), offer(100), offer(0));
    for (sources, takes_new) in [(99, true), (100, false), (99, false), (90, false), (89, true), (99, true)] {
        counted(&mut bench, sources, 0);
        assert_eq!(bench.group()[0], (AR1, takes_new), "{sources}");
    }
    // One source is nine tenths of one and more.
    bench.verdict(&advanced(AR1, 2, offer(1)));
    counted(&mut bench, 1, 0);
    assert_eq!(bench.group()[0], (AR1, false));
    counted(&mut bench, 0, 0);
    assert!(bench.reported("member-has-room"));
    assert_eq!(bench.group()[0], (AR1, true));
}

#[test]
fn sources_are_counted_four_times_a_second_while_somebody_reports_a_capacity() {
    let mut bench = both(GroupConfig::default(), offer(10), offer(0));
    bench.pass(10.0);
    assert!((39..=41).contains(&counts(&bench)), "{}", counts(&bench));
    // The bound is taken back, or whoever had it leaves.
    bench.verdict(&advanced(AR1, 2, offer(0)));
    bench.pass(1.0);
    bench.pass(10.0);
    assert_eq!(counts(&bench), 0);
    bench.verdict(&advanced(AR1, 3, offer(10)));
    bench.pass(1.0);
    assert!(counts(&bench) > 0);
    bench.verdict(&Update { lifetime: 0, ..advanced(AR1, 4, offer(10)) });
    bench.pass(1.0);
    bench.pass(10.0);
    assert_eq!(counts(&bench), 0);
}

#[test]
fn nobody_counts_without_affinity_or_without_a_bound() {
    let mut bench = both(GroupConfig { affinity: None, ..GroupConfig::default() }, offer(10), offer(10));
    bench.pass(5.0);
    assert_eq!(counts(&bench), 0);
    let mut bench = both(GroupConfig::default(), offer(0), offer(0));
    bench.verdict(&legacy(STRANGER, 1));
    bench.pass(5.0);
    assert_eq!(counts(&bench), 0);
}

#[test]
fn a_capacity_that_changes_counts_at_once() {
    let mut bench = both(GroupConfig::default(), offer(10), offer(0));
    counted(&mut bench, 10, 0);
    bench.verdict(&advanced(AR1, 2, offer(20)));
    assert_eq!(bench.group()[0], (AR1, true));
    bench.verdict(&advanced(AR1, 3, offer(5)));
    assert_eq!(bench.group()[0], (AR1, false));
    bench.verdict(&advanced(AR1, 4, offer(0)));
    assert_eq!(bench.group()[0], (AR1, true));
}

#[test]
fn where_all_are_full_they_share_by_weight_whatever_the_policy() {
    let three = Offer { weight: 3, metric: 1000, ..offer(10) };
    let one = Offer { weight: 1, metric: 2000, ..offer(10) };
    for criterion in [Criterion::Metric, Criterion::Preference, Criterion::Distance, Criterion::Weighted] {
        let mut bench = both(GroupConfig { criterion, ..GroupConfig::default() }, three.clone(), one.clone());
        counted(&mut bench, 10, 9);
        assert_eq!(bench.slots(), [0, 4096], "{criterion:?}");
        assert!(!bench.haa.groups()[0].all_full);
        counted(&mut bench, 10, 10);
        assert!(bench.reported("all-members-full"));
        assert_eq!(bench.group(), [(AR1, true), (AR2, true)], "{criterion:?}");
        let slots = bench.slots();
        assert!((2950..3200).contains(&slots[0]), "{criterion:?}: {slots:?}");
        let told = &bench.haa.groups()[0];
        assert_eq!((told.all_full, told.chosen), (true, None));
        assert_eq!(states(&bench), [MemberState::Full; 2]);
        // As soon as one has room, it alone takes the new ones.
        counted(&mut bench, 30, 8);
        assert!(bench.reported("members-have-room"));
        assert_eq!(bench.slots(), [0, 4096], "{criterion:?}");
    }
    let equal = GroupConfig { criterion: Criterion::Hash, ..GroupConfig::default() };
    let mut bench = both(equal, three, one);
    counted(&mut bench, 10, 10);
    assert!((1900..2200).contains(&bench.slots()[0]), "equal shares remain equal");
}

#[test]
fn the_next_one_in_the_order_of_preference_takes_what_the_first_has_no_room_for() {
    let group = GroupConfig {
        criterion: Criterion::Preference,
        preference: vec![AR1, AR2],
        ..GroupConfig::default()
    };
    let mut bench = both(group, offer(10), offer(0));
    assert_eq!(bench.slots(), [4096, 0]);
    counted(&mut bench, 10, 0);
    assert_eq!(bench.slots(), [0, 4096]);
    counted(&mut bench, 8, 7);
    assert_eq!(bench.slots(), [4096, 0]);
}

#[test]
fn whoever_is_drained_is_given_nothing_even_where_all_others_are_full() {
    let mut bench = both(GroupConfig::default(), offer(10), offer(10));
    bench.command(&HaaCommand::Drain { anycast: None, care_of: AR1 });
    counted(&mut bench, 3, 10);
    assert!(bench.reported("all-members-full"));
    assert_eq!(bench.group(), [(AR1, false), (AR2, true)]);
    assert_eq!(states(&bench), [MemberState::Draining, MemberState::Full]);
    bench.command(&HaaCommand::Undrain { anycast: None, care_of: AR1 });
    assert!(bench.reported("members-have-room"));
    assert_eq!(bench.group(), [(AR1, true), (AR2, false)]);
}

#[test]
fn a_full_member_that_leaves_leaves_nobody_full() {
    let bound = Some(Affinity::default());
    let mut bench = both(GroupConfig { affinity: bound, ..GroupConfig::default() }, offer(10), offer(0));
    counted(&mut bench, 10, 0);
    bench.verdict(&Update { lifetime: 0, ..advanced(AR1, 2, offer(10)) });
    assert_eq!(bench.group(), [(AR2, true)]);
    // It comes back as somebody new, whose sources have not been counted.
    bench.verdict(&advanced(AR1, 3, offer(10)));
    assert_eq!(bench.group(), [(AR2, true), (AR1, true)]);
}

#[test]
fn counts_of_other_addresses_and_of_strangers_change_nothing() {
    let mut bench = both(GroupConfig::default(), offer(10), offer(10));
    bench.observe(Observation::Sources { anycast: STRANGER, of: vec![(1, 99)] });
    bench.observe(Observation::Sources { anycast: ANYCAST, of: vec![(77, 99)] });
    assert_eq!(bench.group(), [(AR1, true), (AR2, true)]);
    assert!(bench.done.is_empty(), "{:?}", bench.done);
}
