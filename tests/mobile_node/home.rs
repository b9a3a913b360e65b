//! Returning home (RFC 3775 11.5.4; catalogue N085 to N092).
//! The agent answers to the anycast address itself, the link asks who has it, initiators lose their bindings.
//! Run by this test's `main`.

use std::net::Ipv6Addr;

use mga_node::protocol::action::{Action, RuleKey, RuleKind};
use mga_node::protocol::ar::{Ar, ArCommand, ArPolicy, ServiceConfig};
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::icmpv6::{Icmpv6Message, NeighborOption, neighbor_flags};
use mga_node::wire::mobility::{Lifetime, MobilityOption, UpdateFlags};

use crate::scene::*;

const GROUP: &str = "ff02::1:ff00:a";
const ALL_NODES: &str = "ff02::1";
const RETURN: ArCommand = ArCommand::ReturnHome { anycast: ANYCAST, link_address: LINK_ADDRESS };

fn address(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

/// The agent's proxy advertisement for the anycast address.
fn proxied() -> Vec<u8> {
    let message = Icmpv6Message::NeighborAdvertisement {
        code: 0,
        flags: 0,
        target: ANYCAST,
        options: vec![NeighborOption::TargetLinkLayerAddress(vec![2, 0, 0, 0, 0, 1])],
    };
    icmpv6(AGENT, address(ALL_NODES), 255, message)
}

fn solicited(source: Ipv6Addr, hop_limit: u8) -> Vec<u8> {
    let message =
        Icmpv6Message::NeighborSolicitation { code: 0, reserved: 0, target: ANYCAST, options: Vec::new() };
    icmpv6(source, address(GROUP), hop_limit, message)
}

/// Registered, optimised with [`AI2`] if wanted, and told to return home at 20 s; the agent has been told.
fn leaving(optimised: bool) -> Ar {
    let mut ar = registered(ArPolicy::default());
    if optimised {
        optimise(&mut ar, 1.0);
    }
    ar.handle_command(at(20.0), &RETURN);
    actions(&mut ar);
    ar.handle_packet(at(20.1), &proxied());
    ar
}

#[test]
fn n086_the_solicitation_claims_nothing() {
    let mut ar = registered(ArPolicy::default());
    ar.handle_command(at(20.0), &RETURN);
    let asked = sent(&mut ar);
    let [packet] = asked.as_slice() else { panic!("only a solicitation: {asked:?}") };
    assert_eq!(
        (packet.source, packet.destination, packet.hop_limit),
        (Ipv6Addr::UNSPECIFIED, address(GROUP), 255)
    );
    let Some(Icmpv6Message::NeighborSolicitation { target, options, .. }) = packet.icmpv6() else {
        panic!("not a solicitation: {packet:?}");
    };
    assert_eq!((*target, options.len()), (ANYCAST, 0));
    ar.handle_packet(at(20.1), &solicited(AI1, 255));
    assert!(sent(&mut ar).is_empty(), "N087: quiet until the agent is told");
}

#[test]
fn n085_n016_the_update_comes_from_the_anycast_address_with_lifetime_zero() {
    let mut ar = leaving(false);
    let told = sent(&mut ar);
    let [packet] = told.as_slice() else { panic!("only a Binding Update: {told:?}") };
    assert_eq!((packet.source, packet.destination, packet.home_address), (ANYCAST, AGENT, None));
    let update = packet.update().expect("a Binding Update");
    assert_eq!((update.sequence, update.lifetime), (501, Lifetime::ZERO));
    assert_eq!(update.flags, UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION);
    assert_eq!(update.options.last(), Some(&MobilityOption::AlternateCareOfAddress(ANYCAST)));
}

#[test]
fn n086_without_an_answer_the_agent_is_told_all_the_same() {
    let mut ar = registered(ArPolicy::default());
    ar.handle_command(at(20.0), &RETURN);
    actions(&mut ar);
    let told = pass(&mut ar, 21.0);
    assert_eq!(told.iter().map(|(t, p)| (*t, p.update().is_some())).collect::<Vec<_>>(), [(21.0, true)]);
}

#[test]
fn n085_n088_after_the_acknowledgement_the_address_is_claimed_and_the_rules_go() {
    let mut ar = leaving(false);
    actions(&mut ar);
    ar.handle_packet(at(20.2), &acknowledged_at_home(0, 501));
    let done = actions(&mut ar);
    for kind in [RuleKind::ReverseTunnelOut, RuleKind::ReverseTunnelIn, RuleKind::RoutingHeaderIn] {
        assert!(done.contains(&Action::RemoveRule(RuleKey::of(kind, ANYCAST))));
    }
    let claimed = packets(&done);
    let [packet] = claimed.as_slice() else { panic!("only an advertisement: {claimed:?}") };
    assert_eq!((packet.source, packet.destination, packet.hop_limit), (ANYCAST, address(ALL_NODES), 255));
    let Some(Icmpv6Message::NeighborAdvertisement { flags, target, options, .. }) = packet.icmpv6() else {
        panic!("not an advertisement: {packet:?}");
    };
    assert_eq!((*flags, *target), (neighbor_flags::OVERRIDE, ANYCAST));
    assert_eq!(options, &[NeighborOption::TargetLinkLayerAddress(LINK_ADDRESS.to_vec())]);
}

#[test]
fn n003_at_home_packets_go_and_come_as_they_are() {
    let mut ar = leaving(false);
    ar.handle_packet(at(20.2), &acknowledged_at_home(0, 501));
    actions(&mut ar);
    let (out, back) = (ping(ANYCAST, AI1), ping(AI1, ANYCAST));
    ar.handle_packet(at(21.0), &out);
    assert_eq!(actions(&mut ar), [Action::Send(out)]);
    ar.handle_packet(at(21.0), &back);
    assert!(!actions(&mut ar).iter().any(|action| matches!(action, Action::Send(_))));
    assert!(tunnelled(&mut ar, 21.0).is_empty(), "no return routability at home");
}

#[test]
fn n087_solicitations_are_answered_to_the_sender_once_the_agent_is_told() {
    let mut ar = leaving(false);
    actions(&mut ar);
    ar.handle_packet(at(20.2), &solicited(AGENT, 255));
    let answers = sent(&mut ar);
    assert_eq!((answers[0].source, answers[0].destination), (ANYCAST, AGENT));
    let Some(Icmpv6Message::NeighborAdvertisement { flags, .. }) = answers[0].icmpv6() else {
        panic!("{answers:?}");
    };
    assert_eq!(*flags, neighbor_flags::SOLICITED | neighbor_flags::OVERRIDE);
    ar.handle_packet(at(20.2), &solicited(AGENT, 64));
    assert!(sent(&mut ar).is_empty(), "nobody off the link may ask");
}

#[test]
fn n089_the_update_is_repeated_with_new_numbers_until_it_is_acknowledged() {
    let mut ar = leaving(false);
    actions(&mut ar);
    let again = pass(&mut ar, 140.0);
    let times: Vec<_> = again.iter().map(|(t, p)| (*t - 20.1, p.update().expect("one").sequence)).collect();
    let expected = [1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 95.0];
    for ((wait, number), (index, expected)) in times.iter().zip(expected.iter().enumerate()) {
        assert!((wait - expected).abs() < 0.001, "{times:?}");
        assert_eq!(usize::from(*number), 502 + index);
    }
    assert_eq!(times.len(), expected.len());
    // The first one did it and its acknowledgement was lost.
    ar.handle_packet(at(140.0), &acknowledged_at_home(133, 508));
    assert!(events(&actions(&mut ar)).contains(&"at-home"));
}

#[test]
fn n089_the_end_of_the_binding_is_as_good_as_an_acknowledgement() {
    let mut ar = leaving(false);
    actions(&mut ar);
    pass(&mut ar, 4000.0);
    ar.handle_packet(at(4001.0), &solicited(Ipv6Addr::UNSPECIFIED, 255));
    assert_eq!(sent(&mut ar)[0].destination, address(ALL_NODES), "the address is defended");
    assert_eq!(ar.registrations(at(4001.0))[0].state, "idle");
}

#[test]
fn n090_without_a_binding_the_address_is_probed_first() {
    for conflict in [false, true] {
        let mut ar = started(config(), ArPolicy::default());
        actions(&mut ar);
        ar.handle_command(at(5.0), &RETURN);
        assert_eq!(sent(&mut ar)[0].source, Ipv6Addr::UNSPECIFIED);
        if conflict {
            ar.handle_packet(at(5.5), &proxied());
            assert!(events(&actions(&mut ar)).contains(&"home-address-duplicate"));
        }
        let after = pass(&mut ar, 60.0);
        let claims = after.iter().filter(|(_, p)| p.source == ANYCAST).count();
        assert_eq!(claims, usize::from(!conflict));
        assert!(after.iter().all(|(_, p)| p.update().is_none()), "nothing is registered at home");
    }
}

// covers: N203
#[test]
fn n001_who_starts_at_home_registers_nothing_unless_another_has_the_address() {
    for conflict in [false, true] {
        let at_home = ServiceConfig { home: Some(LINK_ADDRESS), ..ServiceConfig::default() };
        let services = [(ANYCAST, at_home)].into();
        let mut ar = Ar::serving(config(), services, at(0.0), Box::new(SeededRandom::new(1)));
        let probe = &sent(&mut ar)[0];
        assert_eq!(probe.source, Ipv6Addr::UNSPECIFIED, "the usual duplicate address detection");
        if conflict {
            ar.handle_packet(at(0.5), &proxied());
            let registered = sent(&mut ar);
            assert_eq!((registered[0].source, registered[0].home_address), (AR1, Some(ANYCAST)));
            continue;
        }
        let after = pass(&mut ar, 60.0);
        assert_eq!(after.iter().filter(|(_, p)| p.source == ANYCAST).count(), 1, "one claim");
        assert!(after.iter().all(|(_, p)| p.update().is_none()), "nothing is registered at home");
        // Away from there it is registered like any other.
        ar.handle_command(at(61.0), &ArCommand::Move(AR2));
        let update = sent(&mut ar);
        assert_eq!((update[0].source, update[0].home_address), (AR2, Some(ANYCAST)));
    }
}

#[test]
fn n091_n056_initiators_are_told_with_the_home_token_alone_from_the_anycast_address() {
    let mut ar = leaving(true);
    actions(&mut ar);
    ar.handle_packet(at(212.0), &acknowledged_at_home(0, 501));
    let done = sent(&mut ar);
    let inits: Vec<_> = done.iter().filter(|p| p.home_cookie().is_some()).collect();
    let [init] = inits.as_slice() else { panic!("one Home Test Init: {done:?}") };
    assert_eq!((init.source, init.destination, init.tunnel), (ANYCAST, AI2, None), "without the tunnel");
    assert!(done.iter().all(|p| p.care_of_cookie().is_none()), "HoTI only");
    let told = packets(&home_test(&mut ar, 212.1, init.home_cookie().expect("a cookie")));
    assert_eq!((told[0].source, told[0].destination, told[0].home_address), (ANYCAST, AI2, None));
    let update = told[0].update().expect("a Binding Update");
    assert_eq!(update.lifetime, Lifetime::ZERO);
    assert!(update.options.contains(&MobilityOption::NonceIndices { home: 3, care_of: 0 }));
    assert!(ar.correspondents(at(212.2)).is_empty());
}

#[test]
fn n092_moving_away_before_the_acknowledgement_registers_with_a_greater_number() {
    let mut ar = leaving(false);
    actions(&mut ar);
    ar.handle_command(at(20.3), &ArCommand::Move(AR2));
    let told = sent(&mut ar);
    let update = told[0].update().expect("a Binding Update");
    assert_eq!((told[0].source, told[0].home_address), (AR2, Some(ANYCAST)));
    assert_eq!((update.sequence, update.lifetime), (502, Lifetime(1000)));
    ar.handle_packet(at(20.4), &acknowledged_at_home(0, 501));
    assert_eq!(ar.registrations(at(20.4))[0].state, "refreshing", "the former answer counts no more");
    ar.handle_packet(at(20.5), &acknowledged(AGENT, AR2, 0, 502, 1000));
    assert_eq!(ar.registrations(at(20.5))[0].state, "registered");
}

#[test]
fn n092_from_home_away_again_it_registers() {
    let mut ar = leaving(false);
    ar.handle_packet(at(20.2), &acknowledged_at_home(0, 501));
    actions(&mut ar);
    ar.handle_command(at(30.0), &ArCommand::Move(AR1));
    let told = sent(&mut ar);
    assert_eq!(
        told[0].update().map(|update| (update.sequence, update.lifetime)),
        Some((502, Lifetime(1000)))
    );
    ar.handle_packet(at(30.1), &solicited(AI1, 255));
    assert!(sent(&mut ar).iter().all(|p| p.icmpv6().is_none()), "the address is the agent's to defend");
}

#[test]
fn n085_x016_a_displaced_responder_leaves_the_address_to_its_successor() {
    let mut ar = leaving(false);
    actions(&mut ar);
    ar.handle_packet(at(20.2), &acknowledged_at_home(135, 600));
    let done = actions(&mut ar);
    assert!(events(&done).contains(&"left-home"));
    assert!(packets(&done).is_empty());
    ar.handle_packet(at(20.3), &solicited(AI1, 255));
    assert!(sent(&mut ar).is_empty());
}

#[test]
fn n025_away_from_home_an_acknowledgement_still_needs_the_routing_header() {
    let mut ar = registered(ArPolicy::default());
    ar.handle_command(at(20.0), &ArCommand::Register(None));
    actions(&mut ar);
    ar.handle_packet(at(20.1), &acknowledged_at_home(0, 501));
    assert_eq!(ar.registrations(at(20.1))[0].state, "refreshing");
}
