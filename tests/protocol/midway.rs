//! The midway anycast agent of thesis 4.3.3: an agent without a home link, whose capture is a route.
//! What it shares with the home agent is tested there; here is what differs.

use std::time::Duration;

use mga_node::protocol::action::{Action, Rule};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{Haa, HaaCommand, HaaConfig};
use mga_node::protocol::maa;
use mga_node::wire::icmpv6::Icmpv6Message;
use mga_node::wire::mobility::UpdateFlags;

use crate::agent;
use crate::stimulus::*;

/// The midway agent that Figure 10 has in network C, with the settings that would make a home agent probe.
fn agent() -> Haa {
    maa::agent(HaaConfig { duplicate_address_detection: true, ..agent::config() })
}

fn now() -> Instant {
    at(100.0)
}

/// What is to be done but for what operators are told.
fn done(agent: &mut Haa) -> Vec<Action> {
    agent.actions().into_iter().filter(|action| !matches!(action, Action::Report(_))).collect()
}

fn routes(actions: &[Action]) -> Vec<&Action> {
    let is_route = |action: &&Action| matches!(action, Action::RouteAddress(_) | Action::UnrouteAddress(_));
    actions.iter().filter(is_route).collect()
}

#[test]
fn thesis_4_3_3_a_midway_agent_captures_by_a_route_and_sends_nothing_on_its_link() {
    let mut agent = agent();
    assert_eq!(done(&mut agent), []);
    agent.handle_packet(now(), &Update::home(200).packet());
    let actions = done(&mut agent);
    let rule = Rule::TunnelToResponder { anycast: ANYCAST, agent: AGENT, care_of: AR1 };
    assert!(actions.contains(&Action::InstallRule(rule)));
    assert_eq!(routes(&actions), [&Action::RouteAddress(ANYCAST)]);
    let packets = sent(&actions);
    assert_eq!(packets.len(), 1, "an acknowledgement at once, no probe, no advertisement");
    assert_eq!(signal(&packets).expect("an acknowledgement").verdict(), (0, 200, 10));
    assert!(!actions.iter().any(|action| matches!(action, Action::CaptureAddress(_))));
    // What answers to initiators come by the tunnel of is the home agent, but it would take them.
    let rule = Rule::TunnelFromResponder { anycast: ANYCAST, agent: AGENT, care_of: AR1 };
    assert!(actions.contains(&Action::InstallRule(rule)));
}

#[test]
fn thesis_4_3_3_the_route_goes_with_the_last_responder_whatever_ends_it() {
    let bound = || {
        let mut agent = agent();
        agent.handle_packet(now(), &Update::home(200).packet());
        agent.handle_packet(now(), &Update::home(201).packet());
        assert_eq!(routes(&done(&mut agent)), [&Action::RouteAddress(ANYCAST)], "a refresh routes nothing");
        agent
    };
    let gone = [&Action::UnrouteAddress(ANYCAST)];

    let mut leaves = bound();
    leaves.handle_packet(now(), &Update { lifetime: 0, ..Update::home(202) }.packet());
    let actions = done(&mut leaves);
    assert_eq!(routes(&actions), gone);
    let position = |wanted: fn(&Action) -> bool| actions.iter().position(wanted).expect("it is there");
    let unrouted = position(|action| matches!(action, Action::UnrouteAddress(_)));
    assert!(unrouted < position(|action| matches!(action, Action::Send(_))), "before the acknowledgement");

    let mut expires = bound();
    let late = expires.pass(now() + Duration::from_secs(41));
    let late: Vec<_> = late.into_iter().map(|(_, action)| action).collect();
    assert_eq!(routes(&late), gone);

    for command in [HaaCommand::Deregister(Some(ANYCAST)), HaaCommand::Shutdown] {
        let mut told = bound();
        told.handle_command(now(), &command);
        let actions = done(&mut told);
        assert_eq!(routes(&actions), gone);
        assert!(!actions.iter().any(|action| matches!(action, Action::ReleaseAddress(_))), "{command:?}");
    }
}

#[test]
fn thesis_4_3_3_a_midway_agent_has_no_home_link() {
    let mut agent = agent();
    // It defends no link-local address, whatever the L flag asks.
    let update = Update { flags: AH | UpdateFlags::LINK_LOCAL, ..Update::home(5) };
    assert_eq!(signal(&agent.answers(now(), &update.packet())).expect("an answer").verdict().0, 0);
    // It is no answer to who the agents of the home link are, and learns nothing from the routers around it.
    let question = Icmpv6Message::HomeAgentDiscoveryRequest { code: 0, identifier: 7, reserved: 0 };
    assert!(agent.answers(now(), &icmpv6(AR1, AGENT, 64, question)).is_empty());
    let question =
        Icmpv6Message::MobilePrefixSolicitation { code: 0, identifier: 7, reserved: 0, options: Vec::new() };
    assert!(agent.answers(now(), &icmpv6(AR1, AGENT, 64, question)).is_empty());
    assert_eq!(agent.poll_timeout().map(|(_, what)| what), Some("binding lifetime"));
    let advertisement = Icmpv6Message::RouterAdvertisement {
        code: 0,
        hop_limit: 64,
        flags: 0x20,
        lifetime: 1800,
        reachable_time: 0,
        retransmission_timer: 0,
        options: Vec::new(),
    };
    agent.handle_packet(
        now(),
        &icmpv6(LINK_LOCAL, mga_node::protocol::home_link::ALL_NODES, 255, advertisement),
    );
    assert_eq!(agent.home_agents(now()).len(), 1);
}

#[test]
fn thesis_4_3_3_what_is_not_in_the_configured_home_prefix_is_refused() {
    let mut agent = agent();
    let update = Update { home_address: Some(STRANGER), ..Update::home(5) };
    assert_eq!(signal(&agent.answers(now(), &update.packet())).expect("an answer").verdict().0, 132);
}
