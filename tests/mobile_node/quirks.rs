//! What KAME and UMIP do otherwise than RFC 3775 says, where a responder or an initiator meets it: it is understood or
//! harmless, and what is sent suits them (design section 4.11). Tests are named q for KAME's, u for UMIP's quirks.
//! Run by this test's `main`.

use mga_node::protocol::action::Action;
use mga_node::protocol::ar::{Ar, ArCommand, ArConfig, ArPolicy};
use mga_node::wire::mobility::{
    BindingError, BindingRefreshRequest, Lifetime, Message, MobilityOption, Test,
};

use crate::correspondent::{answers, initiator, status, update};
use crate::scene::*;

fn state(ar: &Ar, now: f64) -> (&'static str, u16) {
    let view = &ar.registrations(at(now))[0];
    (view.state, view.sequence)
}

fn asking() -> Ar {
    let mut ar = started(config(), ArPolicy::default());
    actions(&mut ar);
    ar
}

#[test]
fn q2_u12_only_the_acknowledgement_of_the_latest_number_counts() {
    let mut ar = asking();
    assert_eq!(pass(&mut ar, 1.5).len(), 1);
    ar.handle_packet(at(1.6), &acknowledged(AGENT, AR1, 0, 500, 1000));
    assert_eq!(state(&ar, 1.6), ("registering", 501));
    ar.handle_packet(at(1.6), &acknowledged(AGENT, AR1, 0, 501, 1000));
    assert_eq!(state(&ar, 1.6), ("registered", 501));
    ar.handle_packet(at(1.7), &acknowledged(AGENT, AR1, 128, 500, 0));
    assert_eq!(state(&ar, 1.7), ("registered", 501), "one that was overtaken on the way");
}

#[test]
fn q2_u1_the_retry_is_the_stored_number_plus_two_whatever_that_was() {
    for (stored, retried) in [(600, 602), (65_534, 0), (65_535, 1)] {
        let ArConfig { mut anycast, .. } = config();
        anycast[0].initial_sequence = Some(stored);
        let mut ar = started(ArConfig { anycast, ..config() }, ArPolicy::default());
        actions(&mut ar);
        ar.handle_packet(at(0.1), &acknowledged(AGENT, AR1, 135, stored, 0));
        assert_eq!(sent(&mut ar)[0].update().map(|update| update.sequence), Some(retried));
    }
}

#[test]
fn q4_a_lifetime_that_was_truncated_on_the_way_is_what_was_granted() {
    let ArConfig { mut anycast, .. } = config();
    anycast[0].lifetime = Lifetime(0xffff);
    let mut ar = started(ArConfig { anycast, ..config() }, ArPolicy::default());
    assert_eq!(sent(&mut ar)[0].update().map(|update| update.lifetime), Some(Lifetime(0xffff)));
    ar.handle_packet(at(0.0), &acknowledged(AGENT, AR1, 0, 500, 0x3fff));
    assert_eq!(ar.registrations(at(0.0))[0].remaining, 0x3fff * 4);
    assert_eq!(ar.poll_timeout().map(|(due, _)| due), Some(at(f64::from(0x3fff_u32) * 2.0)));
}

#[test]
fn q6_u2_an_error_is_an_error_whatever_its_lifetime_says() {
    for lifetime in [0, 1000] {
        let mut ar = asking();
        ar.handle_packet(at(0.1), &acknowledged(AGENT, AR1, 128, 500, lifetime));
        actions(&mut ar);
        assert_eq!(state(&ar, 0.1).0, "refused");
        assert!(pass(&mut ar, 60.0).is_empty(), "no storm of retries");
    }
}

#[test]
fn q9_a_refresh_that_was_overtaken_costs_one_round_trip() {
    let mut ar = registered(ArPolicy::default());
    ar.handle_command(at(20.0), &ArCommand::Register(None));
    assert_eq!(sent(&mut ar)[0].update().map(|update| update.sequence), Some(501));
    ar.handle_packet(at(20.1), &acknowledged(AGENT, AR1, 135, 900, 0));
    let retry = sent(&mut ar);
    assert_eq!(retry.iter().map(|p| p.update().map(|u| u.sequence)).collect::<Vec<_>>(), [Some(902)]);
    ar.handle_packet(at(20.2), &acknowledged(AGENT, AR1, 0, 902, 10));
    assert_eq!(state(&ar, 20.2), ("registered", 902));
}

#[test]
fn q10_an_initiator_takes_a_retry_that_jumps_by_two() {
    let mut ai = initiator(4);
    for (sequence, expected) in [(15, 0), (15, 135), (17, 0)] {
        let packet = update(&mut ai, 1.0, ANYCAST, sequence, 10, true);
        assert_eq!(status(&answers(&mut ai, 1.0, &packet)), Some(expected));
    }
}

#[test]
fn q11_refresh_requests_every_three_seconds_make_no_storm() {
    let mut ar = registered(ArPolicy::default());
    optimise(&mut ar, 1.0);
    let request = mobility(AI2, ANYCAST, Message::BindingRefreshRequest(BindingRefreshRequest::default()));
    let mut inits = 0;
    for step in 0..20 {
        let now = 10.0 + f64::from(step) * 3.0;
        inits += pass(&mut ar, now).iter().filter(|(_, p)| p.home_cookie().is_some()).count();
        ar.handle_packet(at(now), &request);
        inits += sent(&mut ar).iter().filter(|p| p.home_cookie().is_some()).count();
    }
    assert!(inits <= 6, "one exchange with its back-off: {inits}");
}

#[test]
fn q14_tests_with_a_home_address_option_or_routing_header_are_ignored() {
    let mut ar = registered(ArPolicy::default());
    let inits = tunnelled(&mut ar, 1.0);
    let cookie = inits.iter().find_map(Sent::home_cookie).expect("a Home Test Init");
    let test = Test { nonce_index: 3, cookie, token: HOME_TOKEN, options: Vec::new() };
    let plain = mobility(AI2, ANYCAST, Message::HomeTest(test));
    ar.handle_packet(at(1.1), &routed(AI2, AR1, 135, &plain[40..]));
    let care_of = inits.iter().find_map(Sent::care_of_cookie).expect("a Care-of Test Init");
    assert!(packets(&care_of_test(&mut ar, 1.2, AR1, care_of)).is_empty(), "no home token came");
    ar.handle_packet(at(1.3), &plain);
    assert!(sent(&mut ar).iter().any(|p| p.update().is_some()));
}

#[test]
fn q15_a_binding_error_for_every_packet_is_one_reason_to_begin_again() {
    let mut ar = registered(ArPolicy::default());
    optimise(&mut ar, 1.0);
    let error = BindingError { status: 1, reserved: 0, home_address: ANYCAST, options: Vec::new() };
    let error = mobility(AI2, AR1, Message::BindingError(error));
    let mut removed = 0;
    let mut inits = 0;
    for step in 0..100 {
        let now = 2.0 + f64::from(step) * 0.01;
        ar.handle_packet(at(now), &error);
        removed += actions(&mut ar).iter().filter(|a| matches!(a, Action::RemoveRule(_))).count();
        inits += tunnelled(&mut ar, now).iter().filter(|p| p.home_cookie().is_some()).count();
    }
    assert_eq!(removed, 1);
    assert!(inits <= 1, "{inits}");
}

#[test]
fn q16_a_deletion_with_both_tokens_is_not_one() {
    let mut ai = initiator(4);
    let packet = update(&mut ai, 1.0, ANYCAST, 15, 10, true);
    assert_eq!(status(&answers(&mut ai, 1.0, &packet)), Some(0));
    let both = update(&mut ai, 2.0, ANYCAST, 16, 0, true);
    assert!(answers(&mut ai, 2.0, &both).is_empty(), "RFC 3775 5.2.6: the home token alone");
    assert_eq!(ai.bindings(at(2.0)).len(), 1, "it ends with its lifetime");
    let right = update(&mut ai, 2.0, ANYCAST, 16, 0, false);
    assert_eq!(status(&answers(&mut ai, 2.0, &right)), Some(0));
    assert!(ai.bindings(at(2.0)).is_empty());
}

#[test]
fn q17_u11_nothing_follows_the_authenticator_of_what_is_sent() {
    let mut ar = registered(ArPolicy::default());
    let done = packets(&optimise(&mut ar, 1.0));
    let update_sent = done[0].update().expect("a Binding Update");
    assert!(matches!(update_sent.options.last(), Some(MobilityOption::BindingAuthorizationData(_))));
    let mut ai = initiator(4);
    let packet = update(&mut ai, 1.0, ANYCAST, 15, 10, true);
    let acknowledged = answers(&mut ai, 1.0, &packet);
    let acknowledgement = acknowledged[0].acknowledgement().expect("a Binding Acknowledgement");
    assert!(matches!(acknowledgement.options.last(), Some(MobilityOption::BindingAuthorizationData(_))));
}

#[test]
fn q17_unknown_options_are_skipped() {
    let mut ar = asking();
    let unknown = MobilityOption::Unknown { kind: 200, data: vec![1, 2, 3] };
    ar.handle_packet(at(0.1), &acknowledged_with(0, 500, 1000, &[unknown]));
    assert_eq!(state(&ar, 0.1).0, "registered");
}

#[test]
fn q3_q18_status_135_is_an_acknowledgement_with_the_routing_header_and_nothing_else_is() {
    let mut ar = asking();
    let error = BindingError { status: 135, reserved: 0, home_address: ANYCAST, options: Vec::new() };
    ar.handle_packet(at(0.1), &mobility(AGENT, AR1, Message::BindingError(error)));
    assert!(sent(&mut ar).is_empty());
    ar.handle_packet(at(0.2), &acknowledged(AGENT, AR1, 135, 700, 0));
    assert_eq!(sent(&mut ar)[0].update().map(|update| update.sequence), Some(702));
}

#[test]
fn u3_an_error_on_a_refresh_means_that_the_agent_dropped_the_binding() {
    let mut ar = registered(ArPolicy::default());
    ar.handle_command(at(20.0), &ArCommand::Register(None));
    actions(&mut ar);
    ar.handle_packet(at(20.1), &acknowledged(AGENT, AR1, 130, 501, 0));
    let done = actions(&mut ar);
    assert!(events(&done).contains(&"registration-lost"));
    assert!(done.iter().any(|action| matches!(action, Action::RemoveRule(_))));
}

#[test]
fn u7_a_shorter_grant_is_honoured_and_a_longer_one_is_not_believed() {
    for (granted, lasts) in [(10, 40), (2000, 4000)] {
        let mut ar = asking();
        ar.handle_packet(at(0.0), &acknowledged(AGENT, AR1, 0, 500, granted));
        assert_eq!(ar.registrations(at(0.0))[0].remaining, lasts);
    }
}

#[test]
fn u8_an_agent_that_is_silent_while_it_probes_is_asked_again_after_that() {
    let mut ar = asking();
    let again = pass(&mut ar, 2.0);
    assert_eq!(again.iter().map(|(time, _)| *time).collect::<Vec<_>>(), [1.5], "its probe takes a second");
}

#[test]
fn u9_132_from_an_agent_that_does_not_know_its_own_prefix_stops_the_updates_to_it() {
    let mut ar = asking();
    ar.handle_packet(at(0.1), &acknowledged(AGENT, AR1, 132, 500, 0));
    actions(&mut ar);
    assert!(pass(&mut ar, 1000.0).is_empty());
}
