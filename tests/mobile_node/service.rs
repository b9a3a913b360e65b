//! What a responder says of its service (thesis 3.1.4, 4.3.1): metric, weight, health and drain, in virtual time.
//! Run by this test's `main`.

use std::collections::BTreeMap;
use std::time::Duration;

use mga_node::protocol::action::{Observation, RuleKey, RuleKind};
use mga_node::protocol::ar::{Ar, ArCommand, ArPolicy, ServiceConfig};
use mga_node::protocol::measure::{GaugeConfig, HealthConfig};
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::mobility::{Offer, OfferFlags};

use crate::scene::*;

fn metered() -> ServiceConfig {
    let gauge = GaugeConfig { smoothing: 1.0, rise: 0.5, fall: 0.5, ..GaugeConfig::default() };
    ServiceConfig { metric: Some(gauge), ..ServiceConfig::default() }
}

fn measured(ar: &mut Ar, now: f64, value: f64) -> Vec<u32> {
    ar.handle_command(at(now), &ArCommand::Measured { anycast: ANYCAST, value });
    metrics(&sent(ar))
}

fn metrics(sent: &[Sent]) -> Vec<u32> {
    sent.iter().filter_map(Sent::offer).map(|offer| offer.metric).collect()
}

fn checked(ar: &mut Ar, now: f64, well: bool) -> Vec<Sent> {
    ar.handle_command(at(now), &ArCommand::Checked { anycast: ANYCAST, well });
    sent(ar)
}

fn established(ar: &mut Ar, now: f64, count: Option<u64>) -> Vec<Sent> {
    ar.handle_command(at(now), &ArCommand::Established { anycast: ANYCAST, count });
    sent(ar)
}

fn drain(ar: &mut Ar, now: f64, within: Option<u64>) -> Vec<Sent> {
    let within = within.map(Duration::from_secs);
    ar.handle_command(at(now), &ArCommand::Drain { anycast: None, within });
    sent(ar)
}

fn drains(sent: &[Sent]) -> Vec<bool> {
    sent.iter().filter_map(Sent::offer).map(|offer| offer.flags.contains(OfferFlags::DRAIN)).collect()
}

fn lifetimes(sent: &[Sent]) -> Vec<u16> {
    sent.iter().filter_map(Sent::update).map(|update| update.lifetime.0).collect()
}

fn of(timed: Vec<(f64, Sent)>) -> Vec<Sent> {
    timed.into_iter().map(|(_, packet)| packet).collect()
}

#[test]
fn a_change_of_metric_is_signalled_at_once_and_noise_is_not() {
    let mut ar = member(metered());
    assert_eq!(measured(&mut ar, 1.0, 2.0), [2000]);
    ar.handle_packet(at(1.0), &granted(AGENT, 0, 501, 1000, &[]));
    assert!(measured(&mut ar, 2.0, 2.4).is_empty());
    assert_eq!(measured(&mut ar, 3.0, 2.6), [2600]);
    ar.handle_packet(at(3.0), &granted(AGENT, 0, 502, 1000, &[]));
    actions(&mut ar);
    assert_eq!(ar.services()[0].metric, Some(2600));
}

#[test]
fn a_metric_that_came_before_the_first_answer_is_told_after_it() {
    let mut ar = asking(metered());
    assert_eq!(metrics(&sent(&mut ar)), [Offer::NO_METRIC]);
    assert!(measured(&mut ar, 0.0, 2.0).is_empty(), "nobody knows yet whether this agent listens");
    ar.handle_packet(at(0.1), &granted(AGENT, 0, 500, 1000, &[]));
    assert_eq!(metrics(&of(pass(&mut ar, 0.2))), [2000]);
    ar.handle_packet(at(0.2), &granted(AGENT, 0, 501, 1000, &[]));
    assert!(of(pass(&mut ar, 60.0)).is_empty());
}

#[test]
fn changes_keep_to_max_update_rate_and_the_last_value_is_the_one_that_is_told() {
    let mut ar = member(metered());
    let mut told = Vec::new();
    for step in 0..20 {
        let now = 1.0 + f64::from(step) / 100.0;
        told.extend(measured(&mut ar, now, f64::from(step)));
        // The agent answers at once, so that only the rate holds anything back.
        ar.handle_packet(at(now), &granted(AGENT, 0, 500 + told.len() as u16, 1000, &[]));
        actions(&mut ar);
    }
    assert_eq!(told, [0, 1000, 2000], "RFC 3775 12: MAX_UPDATE_RATE is 3");
    let later = pass(&mut ar, 2.5);
    assert_eq!(metrics(&of(later)), [19_000]);
}

#[test]
fn an_agent_that_does_not_answer_is_not_asked_more_often_because_the_metric_changes() {
    let mut ar = member(metered());
    let mut times = Vec::new();
    for second in 1..60 {
        let now = f64::from(second);
        times.extend(pass(&mut ar, now).iter().map(|(time, _)| *time));
        if !measured(&mut ar, now, f64::from(second)).is_empty() {
            times.push(now);
        }
    }
    assert_eq!(times, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0], "11.8's back-off");
}

#[test]
fn a_legacy_agent_hears_of_no_metric_because_a_binding_update_would_take_the_binding_over() {
    let mut ar = asking(metered());
    actions(&mut ar);
    assert!(measured(&mut ar, 0.0, 1.0).is_empty());
    ar.handle_packet(at(0.0), &acknowledged(AGENT, AR1, 0, 500, 1000));
    actions(&mut ar);
    assert!(of(pass(&mut ar, 1.0)).is_empty());
    assert!(measured(&mut ar, 1.0, 2.0).is_empty());
    assert!(drain(&mut ar, 2.0, None).is_empty());
}

#[test]
fn the_operators_metric_stands_above_the_measured_one_until_it_is_taken_back() {
    let mut ar = member(metered());
    assert_eq!(measured(&mut ar, 1.0, 2.0), [2000]);
    ar.handle_packet(at(1.0), &granted(AGENT, 0, 501, 1000, &[]));
    ar.handle_command(at(2.0), &ArCommand::Metric { anycast: None, metric: Some(7) });
    assert_eq!(metrics(&sent(&mut ar)), [7]);
    ar.handle_packet(at(2.0), &granted(AGENT, 0, 502, 1000, &[]));
    assert!(measured(&mut ar, 3.0, 9.0).is_empty());
    ar.handle_command(at(4.0), &ArCommand::Metric { anycast: None, metric: None });
    assert_eq!(metrics(&sent(&mut ar)), [9000]);
}

#[test]
fn the_largest_number_stays_the_word_for_no_metric() {
    let mut ar = member(metered());
    assert_eq!(measured(&mut ar, 1.0, 1e9), [Offer::NO_METRIC - 1]);
}

#[test]
fn a_weight_given_at_run_time_is_told() {
    let mut ar = member(ServiceConfig::default());
    ar.handle_command(at(1.0), &ArCommand::Weight { anycast: Some(ANYCAST), weight: 9 });
    let weights: Vec<_> = sent(&mut ar).iter().filter_map(Sent::offer).map(|offer| offer.weight).collect();
    assert_eq!(weights, [9]);
}

#[test]
fn a_responder_with_a_health_check_registers_when_it_is_well_and_leaves_when_it_is_not() {
    let health = Some(HealthConfig { rise: 2, fall: 3 });
    let mut ar = asking(ServiceConfig { health, ..ServiceConfig::default() });
    assert!(sent(&mut ar).is_empty(), "nothing is known of the application yet");
    assert_eq!(lifetimes(&checked(&mut ar, 1.0, true)), [1000]);
    ar.handle_packet(at(1.0), &granted(AGENT, 0, 500, 1000, &[]));
    actions(&mut ar);
    assert!(checked(&mut ar, 2.0, false).is_empty());
    assert!(checked(&mut ar, 3.0, false).is_empty());
    assert_eq!(lifetimes(&checked(&mut ar, 4.0, false)), [0], "withdrawn");
    ar.handle_packet(at(4.0), &granted(AGENT, 0, 501, 0, &[]));
    actions(&mut ar);
    assert!(pass(&mut ar, 1000.0).is_empty(), "and stays away");
    assert!(checked(&mut ar, 1000.0, true).is_empty());
    assert_eq!(lifetimes(&checked(&mut ar, 1001.0, true)), [1000], "back");
}

#[test]
fn a_failing_health_check_withdraws_from_a_legacy_agent_in_the_basic_model_too() {
    let health = Some(HealthConfig { rise: 1, fall: 1 });
    let services = BTreeMap::from([(ANYCAST, ServiceConfig { health, ..ServiceConfig::default() })]);
    let mut ar = Ar::serving(config(), services, at(0.0), Box::new(SeededRandom::new(7)));
    assert_eq!(checked(&mut ar, 0.0, true)[0].offer(), None);
    ar.handle_packet(at(0.0), &acknowledged(AGENT, AR1, 0, 500, 1000));
    actions(&mut ar);
    assert_eq!(lifetimes(&checked(&mut ar, 1.0, false)), [0]);
}

#[test]
fn an_operator_who_took_the_responder_out_is_not_overruled_by_its_health() {
    let health = Some(HealthConfig { rise: 1, fall: 1 });
    let mut ar = asking(ServiceConfig { health, ..ServiceConfig::default() });
    checked(&mut ar, 0.0, true);
    ar.handle_packet(at(0.0), &granted(AGENT, 0, 500, 1000, &[]));
    ar.handle_command(at(1.0), &ArCommand::Deregister(None));
    actions(&mut ar);
    ar.handle_packet(at(1.0), &granted(AGENT, 0, 501, 0, &[]));
    actions(&mut ar);
    assert!(checked(&mut ar, 2.0, false).is_empty());
    assert!(checked(&mut ar, 3.0, true).is_empty());
    ar.handle_command(at(4.0), &ArCommand::Register(None));
    assert_eq!(lifetimes(&sent(&mut ar)), [1000]);
}

#[test]
fn a_drain_is_signalled_and_ends_when_the_connections_and_the_packets_have_ended() {
    let mut ar = member(ServiceConfig::default());
    tunnelled(&mut ar, 9.0);
    assert_eq!(drains(&drain(&mut ar, 10.0, None)), [true]);
    ar.handle_packet(at(10.0), &granted(AGENT, 0, 501, 1000, &[]));
    assert_eq!(ar.draining(), [ANYCAST]);
    assert!(established(&mut ar, 11.0, Some(2)).is_empty());
    assert!(lifetimes(&of(pass(&mut ar, 100.0))).is_empty(), "two sources are still connected");
    assert!(established(&mut ar, 100.0, Some(1)).is_empty());
    let key = RuleKey::between(RuleKind::HomeAddressOut, ANYCAST, AI1);
    ar.handle_observation(at(101.0), Observation::InUse(key));
    assert!(established(&mut ar, 102.0, Some(0)).is_empty(), "a packet passed a moment ago");
    let left = pass(&mut ar, 106.5);
    let times: Vec<_> =
        left.iter().map(|(time, packet)| (*time, lifetimes(std::slice::from_ref(packet)))).collect();
    assert_eq!(times, [(106.0, vec![0])]);
    assert!(ar.draining().is_empty());
    assert_eq!(ar.services()[0].stage, "out");
}

#[test]
fn probes_of_the_agents_do_not_keep_a_drained_service_in() {
    let mut ar = member(ServiceConfig::default());
    drain(&mut ar, 10.0, None);
    ar.handle_packet(at(10.0), &granted(AGENT, 0, 501, 1000, &[]));
    established(&mut ar, 10.5, Some(0));
    ar.handle_observation(at(11.9), Observation::TunnelledPeer { anycast: ANYCAST, peer: AGENT });
    assert_eq!(lifetimes(&of(pass(&mut ar, 12.0))), [0], "2 s after the drain began");
}

#[test]
fn a_drain_ends_at_its_deadline_whoever_is_still_there() {
    let mut ar = member(ServiceConfig::default());
    drain(&mut ar, 10.0, Some(30));
    ar.handle_packet(at(10.0), &granted(AGENT, 0, 501, 1000, &[]));
    established(&mut ar, 39.0, Some(5));
    let left = pass(&mut ar, 41.0);
    assert_eq!(left.iter().map(|(time, _)| *time).collect::<Vec<_>>()[..1], [40.0]);
    assert_eq!(lifetimes(&of(left))[0], 0);
}

#[test]
fn without_a_count_of_connections_silence_ends_a_drain() {
    let mut ar = member(ServiceConfig::default());
    tunnelled(&mut ar, 9.0);
    drain(&mut ar, 10.0, None);
    ar.handle_packet(at(10.0), &granted(AGENT, 0, 501, 1000, &[]));
    established(&mut ar, 10.1, None);
    assert_eq!(
        pass(&mut ar, 20.0)
            .iter()
            .filter(|(_, packet)| packet.update().is_some())
            .map(|(time, _)| *time)
            .next(),
        Some(14.0)
    );
}

#[test]
fn an_undrained_responder_takes_new_sources_again_and_one_that_had_left_comes_back() {
    let mut ar = member(ServiceConfig::default());
    drain(&mut ar, 10.0, None);
    ar.handle_packet(at(10.0), &granted(AGENT, 0, 501, 1000, &[]));
    ar.handle_command(at(11.0), &ArCommand::Undrain(None));
    assert_eq!(drains(&sent(&mut ar)), [false]);
    ar.handle_packet(at(11.0), &granted(AGENT, 0, 502, 1000, &[]));
    assert!(lifetimes(&of(pass(&mut ar, 60.0))).is_empty());
    drain(&mut ar, 60.0, Some(0));
    let left = of(pass(&mut ar, 61.0));
    ar.handle_packet(at(61.0), &granted(AGENT, 0, 503, 0, &[]));
    actions(&mut ar);
    assert!(left.len() <= 1, "{left:?}");
    ar.handle_command(at(70.0), &ArCommand::Undrain(None));
    assert_eq!(lifetimes(&sent(&mut ar)), [1000]);
}

#[test]
fn in_the_basic_model_a_drain_waits_and_leaves() {
    let mut ar = registered(ArPolicy::default());
    assert!(drain(&mut ar, 10.0, None).is_empty(), "nobody could be told");
    established(&mut ar, 10.5, Some(0));
    assert_eq!(lifetimes(&of(pass(&mut ar, 12.0))), [0]);
}
