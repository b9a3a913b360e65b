//! Movement (RFC 3775 11.5; catalogue N004 to N015, N044, N063, N071).
//! The care-of address changes under a responder that is registered, registering or in the middle of a test.
//! Run by this test's `main`.

use std::net::Ipv6Addr;

use mga_node::protocol::action::{Action, Rule};
use mga_node::protocol::ar::{AnycastConfig, Ar, ArCommand, ArConfig, ArPolicy};
use mga_node::wire::ipv6::{self, Ipv6Header, next_header};
use mga_node::wire::mobility::MobilityOption;

use crate::scene::*;

fn move_to(ar: &mut Ar, now: f64, care_of: Ipv6Addr) -> Vec<Action> {
    ar.handle_command(at(now), &ArCommand::Move(care_of));
    actions(ar)
}

#[test]
fn n005_n017_a_move_is_told_to_the_agent_at_once_from_the_new_care_of_address() {
    let mut ar = registered(ArPolicy::default());
    let told = packets(&move_to(&mut ar, 10.0, AR2));
    let [packet] = told.as_slice() else { panic!("one Binding Update: {told:?}") };
    assert_eq!((packet.source, packet.destination, packet.home_address), (AR2, AGENT, Some(ANYCAST)));
    let update = packet.update().expect("a Binding Update");
    assert_eq!(update.sequence, 501);
    assert_eq!(update.options.last(), Some(&MobilityOption::AlternateCareOfAddress(AR2)));
    ar.handle_packet(at(10.1), &acknowledged(AGENT, AR2, 0, 501, 1000));
    let done = actions(&mut ar);
    for rule in [
        Rule::ReverseTunnelIn { anycast: ANYCAST, care_of: AR2, agent: AGENT },
        Rule::RoutingHeaderIn { anycast: ANYCAST, care_of: AR2 },
        Rule::ReverseTunnelOut { anycast: ANYCAST, care_of: AR2, agent: AGENT },
    ] {
        assert!(done.contains(&Action::InstallRule(rule)), "{rule:?}");
    }
    assert_eq!(ar.registrations(at(10.1))[0].care_of, AR2);
}

#[test]
fn n010_a_pending_update_is_dropped_and_its_acknowledgement_too() {
    let mut ar = started(config(), ArPolicy::default());
    assert_eq!(sent(&mut ar)[0].update().map(|update| update.sequence), Some(500));
    let again = packets(&move_to(&mut ar, 0.5, AR2));
    assert_eq!(again[0].update().map(|update| update.sequence), Some(501));
    ar.handle_packet(at(0.6), &acknowledged(AGENT, AR1, 0, 500, 1000));
    assert_eq!(ar.registrations(at(0.6))[0].state, "registering");
    ar.handle_packet(at(0.6), &acknowledged(AGENT, AR2, 0, 501, 1000));
    assert_eq!(ar.registrations(at(0.6))[0].state, "registered");
}

#[test]
fn n013_the_same_address_again_is_no_movement() {
    let mut ar = registered(ArPolicy::default());
    assert!(move_to(&mut ar, 10.0, AR1).is_empty());
}

#[test]
fn an_address_that_cannot_be_a_care_of_address_is_refused() {
    let mut ar = registered(ArPolicy::default());
    for address in [ANYCAST, Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED, "fe80::1".parse().expect("one")] {
        let done = move_to(&mut ar, 10.0, address);
        assert_eq!((events(&done), packets(&done).len()), (vec!["move-refused"], 0));
    }
    assert_eq!(ar.registrations(at(10.0))[0].care_of, AR1);
}

#[test]
fn n006_n007_frequent_moves_keep_max_update_rate_and_converge() {
    let mut ar = registered(ArPolicy::default());
    let mut times = Vec::new();
    for step in 0..40 {
        let now = 10.0 + f64::from(step) * 0.05;
        times.extend(pass(&mut ar, now).into_iter().filter(|(_, p)| p.update().is_some()).map(|(t, _)| t));
        let done = move_to(&mut ar, now, if step % 2 == 0 { AR2 } else { AR1 });
        times.extend(packets(&done).iter().filter(|p| p.update().is_some()).map(|_| now));
    }
    times.extend(pass(&mut ar, 16.0).into_iter().filter(|(_, p)| p.update().is_some()).map(|(t, _)| t));
    assert!(times.windows(4).all(|four| four[3] - four[0] > 0.999), "{times:?}");
    let sequence = ar.registrations(at(16.0))[0].sequence;
    ar.handle_packet(at(16.0), &acknowledged(AGENT, AR1, 0, sequence, 1000));
    let view = &ar.registrations(at(16.0))[0];
    assert_eq!((view.state, view.care_of), ("registered", AR1));
}

#[test]
fn n025_an_acknowledgement_to_the_former_care_of_address_is_ignored() {
    let mut ar = registered(ArPolicy::default());
    move_to(&mut ar, 20.0, AR2);
    ar.handle_packet(at(20.1), &acknowledged(AGENT, AR1, 0, 501, 1000));
    assert_eq!(ar.registrations(at(20.1))[0].state, "refreshing", "the update came from the new one");
    ar.handle_packet(at(20.2), &acknowledged(AGENT, AR2, 0, 501, 1000));
    assert_eq!(ar.registrations(at(20.2))[0].state, "registered");
}

#[test]
fn n004_n005_n057_initiators_are_renewed_after_the_agent_with_the_home_token_that_is_still_good() {
    let mut ar = registered(ArPolicy::default());
    optimise(&mut ar, 1.0);
    let told = packets(&move_to(&mut ar, 20.0, AR2));
    assert_eq!(told.len(), 1, "the agent first");
    ar.handle_packet(at(20.1), &acknowledged(AGENT, AR2, 0, 501, 1000));
    let done = actions(&mut ar);
    assert!(events(&done).contains(&"route-optimisation-ended"), "the tunnel until the initiator knows");
    let inits = packets(&done);
    let [init] = inits.as_slice() else { panic!("only a Care-of Test Init: {inits:?}") };
    assert_eq!((init.source, init.tunnel), (AR2, None));
    let done = care_of_test(&mut ar, 20.2, AR2, init.care_of_cookie().expect("a Care-of Test Init"));
    let update = packets(&done);
    assert_eq!((update[0].source, update[0].destination, update[0].home_address), (AR2, AI2, Some(ANYCAST)));
    let rule = Rule::HomeAddressOut { anycast: ANYCAST, initiator: AI2, care_of: AR2 };
    assert!(done.contains(&Action::InstallRule(rule)));
}

#[test]
fn n057_a_home_token_older_than_210_seconds_is_asked_for_again() {
    let mut ar = registered(ArPolicy::default());
    optimise(&mut ar, 1.0);
    move_to(&mut ar, 211.5, AR2);
    ar.handle_packet(at(211.6), &acknowledged(AGENT, AR2, 0, 501, 1000));
    let inits = sent(&mut ar);
    let home = inits.iter().find(|init| init.home_cookie().is_some()).expect("a Home Test Init");
    assert_eq!(home.tunnel, Some((AR2, AGENT)), "through the new tunnel");
    assert!(inits.iter().any(|init| init.care_of_cookie().is_some()));
}

#[test]
fn n063_a_test_of_the_former_care_of_address_is_void() {
    let mut ar = registered(ArPolicy::default());
    let inits = tunnelled(&mut ar, 1.0);
    let home = inits.iter().find_map(Sent::home_cookie).expect("a Home Test Init");
    let former = inits.iter().find_map(Sent::care_of_cookie).expect("a Care-of Test Init");
    home_test(&mut ar, 1.1, home);
    move_to(&mut ar, 1.2, AR2);
    for care_of in [AR1, AR2] {
        assert!(packets(&care_of_test(&mut ar, 1.3, care_of, former)).is_empty());
    }
    ar.handle_packet(at(1.4), &acknowledged(AGENT, AR2, 0, 501, 1000));
    let inits = sent(&mut ar);
    assert_eq!(inits.len(), 1, "the home test is not repeated");
    let cookie = inits[0].care_of_cookie().expect("a Care-of Test Init");
    assert_ne!(cookie, former);
    assert!(packets(&care_of_test(&mut ar, 1.5, AR2, cookie))[0].update().is_some());
}

#[test]
fn n063_without_an_answer_the_home_token_ages_and_both_tests_are_repeated() {
    let mut ar = registered(ArPolicy::default());
    optimise(&mut ar, 1.0);
    move_to(&mut ar, 190.0, AR2);
    ar.handle_packet(at(190.0), &acknowledged(AGENT, AR2, 0, 501, 1000));
    assert_eq!(sent(&mut ar).len(), 1);
    let later = pass(&mut ar, 260.0);
    assert!(later.iter().filter(|(t, _)| *t < 211.0).all(|(_, p)| p.home_cookie().is_none()));
    assert!(later.iter().any(|(t, p)| *t > 211.0 && p.home_cookie().is_some()));
}

#[test]
fn n071_packets_to_the_former_care_of_address_are_taken_for_a_minute() {
    let mut ar = registered(ArPolicy::default());
    move_to(&mut ar, 10.0, AR2);
    ar.handle_packet(at(10.1), &acknowledged(AGENT, AR2, 0, 501, 1000));
    actions(&mut ar);
    assert_eq!(ar.care_of_addresses(at(10.1)), [AR2, AR1]);
    let echo = ping(AI2, ANYCAST);
    let by_route = routed(AI2, AR1, next_header::ICMPV6, &echo[40..]);
    let by_tunnel = ipv6::packet(Ipv6Header::new(next_header::IPV6, 64, AGENT, AR1), &echo);
    for packet in [&by_route, &by_tunnel] {
        ar.handle_packet(at(11.0), packet);
        let done = actions(&mut ar);
        let [Action::Deliver(inner)] = done.as_slice() else { panic!("{done:?}") };
        let inner = Sent::of(inner);
        assert_eq!((inner.source, inner.destination), (AI2, ANYCAST));
    }
    let forged = ipv6::packet(Ipv6Header::new(next_header::IPV6, 64, AI1, AR1), &echo);
    ar.handle_packet(at(11.0), &forged);
    assert!(actions(&mut ar).is_empty(), "N069: only the agent tunnels");
    let cut = ipv6::packet(Ipv6Header::new(next_header::IPV6, 64, AGENT, AR1), &echo[..echo.len() - 1]);
    ar.handle_packet(at(11.0), &cut);
    assert!(actions(&mut ar).is_empty());
    assert_eq!(ar.counters().get("packet.malformed"), 1, "what is cut off in the tunnel is not delivered");
    for packet in [&by_route, &by_tunnel] {
        ar.handle_packet(at(70.1), packet);
        assert!(!actions(&mut ar).iter().any(|action| matches!(action, Action::Deliver(_))));
    }
    assert_eq!(ar.care_of_addresses(at(70.1)), [AR2]);
}

#[test]
fn n015_every_anycast_address_has_its_own_numbers_and_all_of_them_move() {
    let other: Ipv6Addr = "2001:db8:0:1::b".parse().expect("an address");
    let ArConfig { mut anycast, .. } = config();
    anycast.push(AnycastConfig {
        anycast: other,
        agent: Some(SECOND_AGENT),
        initial_sequence: Some(7),
        ..anycast[0].clone()
    });
    let mut ar = started(ArConfig { anycast, ..config() }, ArPolicy::default());
    let numbers = |packets: Vec<Sent>| {
        let of = |packet: &Sent| (packet.destination, packet.update().map(|update| update.sequence));
        packets.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(numbers(sent(&mut ar)), [(AGENT, Some(500)), (SECOND_AGENT, Some(7))]);
    assert_eq!(numbers(packets(&move_to(&mut ar, 1.0, AR2))), [(AGENT, Some(501)), (SECOND_AGENT, Some(8))]);
}

#[test]
fn n033_a_final_refusal_does_not_wake_up_by_moving() {
    for (status, wakes) in [(129, false), (134, false), (130, true)] {
        let mut ar = started(config(), ArPolicy::default());
        actions(&mut ar);
        ar.handle_packet(at(0.1), &acknowledged(AGENT, AR1, status, 500, 0));
        actions(&mut ar);
        assert_eq!(!packets(&move_to(&mut ar, 5.0, AR2)).is_empty(), wakes, "{status}");
    }
}
