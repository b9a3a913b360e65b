//! When a member counts as lost and when as back, probe by probe (thesis 3.1.4). Virtual time; the answers are
//! scripted.

use std::time::Duration;

use mga_node::protocol::clock::Instant;
use mga_node::protocol::liveness::{Due, Liveness, Probing};
use proptest::prelude::*;

use crate::stimulus::at;

const PROBING: Probing = Probing { interval: Duration::from_millis(300), fall: 3, rise: 3 };

/// What happened, in milliseconds.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Probed(u128),
    Lost(u128),
    Back(u128),
}

/// Runs for `milliseconds`; the answer to the nth probe, from one, comes after as many milliseconds as `answer` says.
fn run(milliseconds: u64, answer: impl Fn(usize) -> Option<u64>) -> (Liveness, Vec<Event>) {
    let start = at(100.0);
    let mut liveness = Liveness::new(start, PROBING.interval);
    let (mut events, mut probes, mut answers) = (Vec::new(), 0, Vec::new());
    for passed in 0..=milliseconds {
        let now = start + Duration::from_millis(passed);
        let stamp = u128::from(passed);
        answers.retain(|(when, sequence, nonce): &(Instant, u16, [u8; 8])| {
            if *when <= now && liveness.answered(now, *sequence, nonce, &PROBING) {
                events.push(Event::Back(stamp));
            }
            *when > now
        });
        while liveness.deadline() <= now {
            match liveness.due(now, &PROBING, PROBING.interval, [passed as u8; 8]) {
                Some(Due::Probe(probe)) => {
                    probes += 1;
                    events.push(Event::Probed(stamp));
                    let when = answer(probes).map(|after| now + Duration::from_millis(after));
                    answers.extend(when.map(|when| (when, probe.sequence, probe.nonce)));
                }
                Some(Due::Lost) => events.push(Event::Lost(stamp)),
                None => {}
            }
        }
    }
    (liveness, events)
}

fn losses(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| !matches!(event, Event::Probed(_))).collect()
}

#[test]
fn probes_go_out_exactly_at_the_interval() {
    let (liveness, events) = run(1000, |_| Some(20));
    assert_eq!(events, [Event::Probed(300), Event::Probed(600), Event::Probed(900)]);
    assert_eq!(liveness.distance(), Some(Duration::from_millis(20)));
}

#[test]
fn a_dead_member_is_lost_within_a_second_of_its_last_answer() {
    // The fourth probe is the last that is answered: sent after 1200 ms, answered 20 ms later.
    let (_, events) = run(4000, |probe| (probe <= 4).then_some(20));
    assert_eq!(losses(&events), [&Event::Lost(2150)]);
}

#[test]
fn two_unanswered_probes_are_no_loss() {
    let (_, events) = run(10_000, |probe| (probe % 3 == 0).then_some(20));
    assert!(losses(&events).is_empty(), "{events:?}");
}

#[test]
fn a_member_comes_back_after_three_answers_in_a_row() {
    let (_, events) = run(4000, |probe| (probe > 6).then_some(20));
    // The seventh probe goes out after 2100 ms; the third answer is to the ninth.
    assert_eq!(losses(&events), [&Event::Lost(950), &Event::Back(2720)]);
}

#[test]
fn one_that_answers_every_other_probe_does_not_flap() {
    let (_, events) = run(20_000, |probe| (probe > 3 && probe % 2 == 0).then_some(20));
    assert_eq!(losses(&events), [&Event::Lost(950)]);
}

#[test]
fn a_round_trip_longer_than_the_interval_is_no_loss() {
    let (liveness, events) = run(20_000, |_| Some(800));
    // It is slow to be known, but then it stays.
    assert!(losses(&events).len() <= 2 && liveness.is_alive(), "{events:?}");
    assert_eq!(liveness.distance(), Some(Duration::from_millis(800)));
}

#[test]
fn an_answer_that_nobody_asked_for_is_none() {
    let start = at(1.0);
    let mut liveness = Liveness::new(start, PROBING.interval);
    let first = start + PROBING.interval;
    let Some(Due::Probe(probe)) = liveness.due(first, &PROBING, PROBING.interval, [7; 8]) else {
        panic!("a probe")
    };
    assert!(!liveness.answered(first, probe.sequence, &[8; 8], &PROBING));
    assert!(!liveness.answered(first, probe.sequence.wrapping_add(1), &[7; 8], &PROBING));
    assert_eq!(liveness.distance(), None);
    liveness.answered(first, probe.sequence, &[7; 8], &PROBING);
    assert_eq!(liveness.distance(), Some(Duration::ZERO));
    // Nor does the same answer count twice.
    liveness.answered(first + Duration::from_secs(1), probe.sequence, &[7; 8], &PROBING);
    assert_eq!(liveness.distance(), Some(Duration::ZERO));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Lost and back take turns, whatever is answered and when.
    #[test]
    fn lost_and_back_take_turns(answers in prop::collection::vec(prop::option::of(0..900u64), 40)) {
        let (liveness, events) = run(12_000, |probe| answers.get(probe - 1).copied().flatten());
        let mut alive = true;
        for event in losses(&events) {
            prop_assert_eq!(matches!(event, Event::Lost(_)), alive);
            alive = !alive;
        }
        prop_assert_eq!(liveness.is_alive(), alive);
    }
}
