//! Several agents, discovery and error statuses (RFC 3775 11.4.1, 11.7.1, 11.7.3; catalogue N023, N033 to N044, N093
//! to N098). Agents refuse, are silent, or are asked for by their anycast address.
//! Run by this test's `main`.

use std::net::Ipv6Addr;

use mga_node::protocol::ar::{Ar, ArCommand, ArConfig, ArPolicy};
use mga_node::wire::icmpv6::Icmpv6Message;

use crate::scene::*;

fn two_agents() -> ArPolicy {
    ArPolicy { other_agents: vec![SECOND_AGENT], ..ArPolicy::default() }
}

/// When which agent was sent which number.
fn updates(sent: &[(f64, Sent)]) -> Vec<(f64, Ipv6Addr, u16)> {
    let of = |(time, packet): &(f64, Sent)| Some((*time, packet.destination, packet.update()?.sequence));
    sent.iter().filter_map(of).collect()
}

fn state(ar: &Ar, now: f64) -> &'static str {
    ar.registrations(at(now))[0].state
}

fn discovering() -> (Ar, u16) {
    let ArConfig { mut anycast, .. } = config();
    anycast[0].agent = None;
    let mut ar = started(ArConfig { anycast, ..config() }, ArPolicy::default());
    let asked = sent(&mut ar);
    let Some(Icmpv6Message::HomeAgentDiscoveryRequest { identifier, .. }) = asked[0].icmpv6() else {
        panic!("{asked:?}");
    };
    (ar, *identifier)
}

fn reply(identifier: u16, home_agents: Vec<Ipv6Addr>) -> Vec<u8> {
    let message = Icmpv6Message::HomeAgentDiscoveryReply { code: 0, identifier, reserved: 0, home_agents };
    icmpv6(AGENT, AR1, 64, message)
}

#[test]
fn n023_a_silent_agent_is_left_for_the_next_one_at_the_end_of_the_back_off() {
    let mut ar = started(config(), two_agents());
    actions(&mut ar);
    let tried: Vec<_> = updates(&pass(&mut ar, 180.0));
    let times: Vec<_> = tried.iter().map(|(time, agent, _)| (*time, *agent == SECOND_AGENT)).collect();
    let expected = [(1.5, false), (4.5, false), (10.5, false), (22.5, false), (46.5, false), (78.5, true)];
    assert_eq!(times[..6], expected);
    assert!(times[6..].iter().any(|(_, second)| !second), "and round again: {times:?}");
    let numbers: Vec<_> = tried.iter().map(|(.., number)| *number).collect();
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "N022: {numbers:?}");
}

#[test]
fn n023_a_single_agent_is_asked_every_32_seconds_for_ever() {
    let mut ar = started(config(), ArPolicy::default());
    actions(&mut ar);
    let times: Vec<_> = updates(&pass(&mut ar, 500.0)).iter().map(|(time, ..)| *time).collect();
    assert!(times[4..].windows(2).all(|two| two[1] - two[0] == 32.0), "{times:?}");
}

#[test]
fn n035_n036_n098_a_refusal_that_names_the_agent_leads_to_the_next_one_but_not_at_once() {
    for status in [131, 132, 133] {
        let mut ar = started(config(), two_agents());
        actions(&mut ar);
        ar.handle_packet(at(0.2), &acknowledged(AGENT, AR1, status, 500, 0));
        assert!(events(&actions(&mut ar)).contains(&"registration-lost"), "{status}");
        assert_eq!(updates(&pass(&mut ar, 2.0)), [(1.7, SECOND_AGENT, 501)], "{status}");
    }
}

#[test]
fn n035_agents_that_all_refuse_are_asked_once_a_minute() {
    let mut ar = started(config(), two_agents());
    actions(&mut ar);
    let mut times = vec![];
    let mut asked = (0.0, AGENT, 500);
    for _ in 0..6 {
        let (time, agent, number) = asked;
        times.push(time);
        ar.handle_packet(at(time), &acknowledged(agent, AR1, 132, number, 0));
        actions(&mut ar);
        let due = ar.poll_timeout().expect("another try").0.since_start().as_secs_f64();
        asked = updates(&pass(&mut ar, due))[0];
    }
    assert!(times[2..].windows(2).all(|two| two[1] - two[0] == 60.0), "{times:?}");
}

#[test]
fn n033_to_n040_statuses_one_by_one() {
    let expected = [
        (0, "registered", false),
        (1, "registered", false),
        (127, "registered", false),
        (128, "refused", true),
        (129, "refused", false),
        (130, "refused", true),
        (131, "refused", true),
        (132, "refused", false),
        (133, "refused", true),
        (134, "refused", false),
        (136, "refused", true),
        (139, "refused", true),
        (140, "refused", true),
        (255, "refused", true),
    ];
    for (status, state_then, tries_again) in expected {
        let mut ar = started(config(), ArPolicy::default());
        actions(&mut ar);
        ar.handle_packet(at(0.1), &acknowledged(AGENT, AR1, status, 500, 1000));
        actions(&mut ar);
        assert_eq!(state(&ar, 0.1), state_then, "{status}");
        let again = updates(&pass(&mut ar, 61.0));
        assert_eq!(!again.is_empty(), tries_again, "{status}: {again:?}");
        assert!(again.iter().all(|(time, ..)| *time >= 60.0), "{status}: {again:?}");
    }
}

#[test]
fn n037_a_duplicate_home_address_is_used_only_when_the_operator_says_so() {
    let mut ar = started(config(), ArPolicy::default());
    actions(&mut ar);
    ar.handle_packet(at(0.1), &acknowledged(AGENT, AR1, 134, 500, 0));
    actions(&mut ar);
    assert!(pass(&mut ar, 10_000.0).is_empty());
    ar.handle_command(at(10_000.0), &ArCommand::Register(None));
    assert_eq!(sent(&mut ar)[0].update().map(|update| update.sequence), Some(501));
}

#[test]
fn n044_after_a_move_the_agent_of_the_running_registration_is_asked_first() {
    let mut ar = registered(two_agents());
    // A refresh is on its way round the agents when the node moves.
    let until = 2000.0 + 200.0;
    assert!(updates(&pass(&mut ar, until)).iter().any(|(_, agent, _)| *agent == SECOND_AGENT));
    ar.handle_command(at(until), &ArCommand::Move(AR2));
    let told = sent(&mut ar);
    assert_eq!((told[0].source, told[0].destination), (AR2, AGENT));
}

#[test]
fn n093_the_request_goes_from_the_care_of_address_to_the_home_agents_anycast_address() {
    let ArConfig { mut anycast, .. } = config();
    anycast[0].agent = None;
    let mut ar = started(ArConfig { anycast, ..config() }, ArPolicy::default());
    let asked = sent(&mut ar);
    let home_agents: Ipv6Addr = "2001:db8:0:1:fdff:ffff:ffff:fffe".parse().expect("an address");
    assert_eq!((asked[0].source, asked[0].destination, asked[0].home_address), (AR1, home_agents, None));
}

#[test]
fn n093_n094_n096_a_move_during_discovery_asks_again_from_the_new_address() {
    let (mut ar, first) = discovering();
    ar.handle_command(at(1.0), &ArCommand::Move(AR2));
    let asked = sent(&mut ar);
    let Some(Icmpv6Message::HomeAgentDiscoveryRequest { identifier, .. }) = asked[0].icmpv6() else {
        panic!("{asked:?}");
    };
    assert_eq!(asked[0].source, AR2);
    ar.handle_packet(at(1.1), &reply(first, vec![AGENT]));
    assert!(sent(&mut ar).is_empty(), "N096: the former question's answer");
    ar.handle_packet(at(1.2), &reply(*identifier, vec![SECOND_AGENT, AGENT]));
    assert_eq!(sent(&mut ar)[0].destination, SECOND_AGENT);
}

#[test]
fn n097_an_empty_reply_or_one_of_useless_addresses_is_no_answer() {
    let (mut ar, identifier) = discovering();
    let useless = vec![Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, "ff02::1".parse().expect("an address")];
    for home_agents in [Vec::new(), useless] {
        ar.handle_packet(at(0.5), &reply(identifier, home_agents));
        assert!(sent(&mut ar).is_empty());
    }
    assert_eq!(state(&ar, 0.5), "discovering");
    assert_eq!(pass(&mut ar, 3.0).len(), 1, "asked again");
}

#[test]
fn a_reply_from_a_group_of_nodes_is_no_answer() {
    let (mut ar, identifier) = discovering();
    let message =
        Icmpv6Message::HomeAgentDiscoveryReply { code: 0, identifier, reserved: 0, home_agents: vec![AGENT] };
    ar.handle_packet(at(0.5), &icmpv6("ff0e::1".parse().expect("an address"), AR1, 64, message));
    assert!(sent(&mut ar).is_empty());
    assert_eq!(state(&ar, 0.5), "discovering");
}

#[test]
fn n023_n095_when_all_that_discovery_named_are_silent_it_is_asked_again() {
    let (mut ar, identifier) = discovering();
    ar.handle_packet(at(0.1), &reply(identifier, vec![AGENT, SECOND_AGENT]));
    actions(&mut ar);
    let tried = pass(&mut ar, 200.0);
    let agents: Vec<_> = updates(&tried).iter().map(|(_, agent, _)| *agent).collect();
    assert!(agents.contains(&AGENT) && agents.contains(&SECOND_AGENT), "{agents:?}");
    let asked =
        |packet: &Sent| matches!(packet.icmpv6(), Some(Icmpv6Message::HomeAgentDiscoveryRequest { .. }));
    assert!(tried.iter().any(|(_, packet)| asked(packet)));
    assert_eq!(state(&ar, 200.0), "discovering");
}
