//! Thesis section 5 and the catalogue's section 6 in a network of virtual time: who talks to whom, and by which way.
//! Every node is a real role with a real forwarder; initiators without Mobile IPv6 are plain hosts.
//! The names are the thesis's sections and the catalogue's case ids.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::ai::{Ai, AiConfig};
use mga_node::protocol::ar::{AnycastConfig, Ar, ArCommand, ArConfig, ReverseTunnelEnd};
use mga_node::protocol::haa::Haa;
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::Packet;
use mga_node::wire::mobility::{Lifetime, Message};

use crate::agent;
use crate::network::{Host, Network, Node, Seen};
use crate::stimulus::*;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn responder(care_of: Ipv6Addr, sequence: u16, units: u16) -> Node<Ar> {
    let anycast = AnycastConfig {
        anycast: ANYCAST,
        agent: Some(AGENT),
        home_prefix_length: 64,
        lifetime: Lifetime(units),
        initial_sequence: Some(sequence),
    };
    let config = ArConfig {
        care_of,
        anycast: vec![anycast],
        route_optimisation: true,
        reverse_tunnel_end: ReverseTunnelEnd::Agent,
    };
    let seed = u64::from(sequence);
    Node::new(Ar::new(config, at(0.0), Box::new(SeededRandom::new(seed))))
}

fn haa() -> Node<Haa> {
    Node::new(Haa::new(agent::config()))
}

fn ai(seed: u64) -> Node<Ai> {
    Node::new(Ai::new(&AiConfig { max_bindings: 16 }, Box::new(SeededRandom::new(seed))))
}

/// The home registrations and their answers, as Figure 12 has them: sender, number, status.
fn registrations(network: &Network<'_>) -> Vec<(Ipv6Addr, u16, Option<u8>)> {
    let signals = network.signals().into_iter();
    let figure12 = signals.filter_map(|(_, from, signal)| match &signal.header.message {
        Message::BindingUpdate(update) if signal.destination == AGENT => Some((from, update.sequence, None)),
        Message::BindingAcknowledgement(answer) if from == AGENT => {
            Some((signal.destination, answer.sequence, Some(answer.status.0)))
        }
        _ => None,
    });
    figure12.collect()
}

/// True when echo requests and replies between `initiator` and the anycast address kept away from the agent.
fn is_direct(network: &Network<'_>, initiator: Ipv6Addr) -> bool {
    let by_agent = |seen: &&Seen| seen.from == AGENT && seen.when + seconds(1) >= network.now;
    !network.seen.iter().filter(by_agent).any(|seen| {
        let text = mga_node::wire::dissect::line(&seen.packet);
        text.contains("echo") && text.contains(&initiator.to_string())
    })
}

fn only(address: Ipv6Addr) -> BTreeSet<Ipv6Addr> {
    BTreeSet::from([address])
}

#[test]
fn thesis_5_1_x001_the_number_is_caught_up_with() {
    let (mut haa, mut ar1) = (haa(), responder(AR1, 200, 1000));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1)]);
    network.run(seconds(1));
    assert_eq!(registrations(&network), [(AR1, 200, None), (AR1, 200, Some(0))]);
    drop(network);
    let mut ar2 = responder(AR2, 100, 1000);
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.now = at(1.0);
    network.run(seconds(1));
    let expected = [(AR2, 100, None), (AR2, 200, Some(135)), (AR2, 202, None), (AR2, 202, Some(0))];
    assert_eq!(registrations(&network), expected);
    drop(network);
    let binding = &haa.role.bindings(at(2.0))[0];
    assert_eq!((binding.care_of, binding.sequence), (AR2, 202));
}

#[test]
fn thesis_5_2_x003_plain_initiators_follow_the_agent() {
    let (mut haa, mut ar1) = (haa(), responder(AR1, 200, 1000));
    let mut ar2 = responder(AR2, 100, 1000);
    let mut network = Network::new(vec![(AGENT, &mut haa as &mut dyn Host), (AR1, &mut ar1)]);
    network.run(seconds(1));
    for initiator in [AI1, AI2] {
        assert!(network.ping(initiator, ANYCAST), "Figure 13 a");
        assert_eq!(network.answered_by(), only(AR1));
        assert!(!is_direct(&network, initiator));
    }
    let problems = network.seen.iter().filter(|seen| {
        let parsed = Packet::parse(&seen.packet).expect("a packet");
        seen.from == AI1 && parsed.payload().starts_with(&[4, 1])
    });
    assert!(problems.count() >= 1, "the initiator answers with a Parameter Problem");
    network.seen.clear();
    for _ in 0..30 {
        assert!(network.ping(AI1, ANYCAST));
    }
    assert!(network.signals().is_empty(), "and is left alone");
    drop(network);
    assert!(ar1.role.correspondents(at(40.0)).iter().all(|view| view.state == "plain"));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.now = at(40.0);
    network.run(seconds(1));
    for initiator in [AI1, AI2] {
        assert!(network.ping(initiator, ANYCAST), "Figure 13 b");
        assert_eq!(network.answered_by(), only(AR2));
    }
}

#[test]
fn thesis_5_3_x005_x006_x007_optimised_initiators_stay_and_others_follow() {
    let (mut haa, mut ar1, mut ar2) = (haa(), responder(AR1, 300, 2000), responder(AR2, 100, 2000));
    let (mut ai1, mut ai2) = (ai(1), ai(2));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR2, &mut ar2), (AI2, &mut ai2)]);
    network.run(seconds(1));
    assert!(network.ping(AI2, ANYCAST) && network.ping(AI2, ANYCAST), "Figure 14 a");
    assert!(is_direct(&network, AI2));
    assert!(network.ping(AI1, ANYCAST));
    assert!(!is_direct(&network, AI1));
    assert_eq!(network.answered_by(), only(AR2));
    let now = network.now;
    drop(network);
    let mut network =
        Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2), (AI2, &mut ai2)]);
    network.now = now;
    network.run(seconds(1));
    assert!(network.ping(AI1, ANYCAST), "Figure 14 b");
    assert_eq!(network.answered_by(), only(AR1));
    assert!(network.ping(AI2, ANYCAST));
    assert_eq!(network.answered_by(), only(AR2));
    assert!(is_direct(&network, AI2));
    let now = network.now;
    drop(network);
    ar1.role.handle_command(now, &ArCommand::FlushPeers(None));
    let mut network = Network::new(vec![
        (AGENT, &mut haa),
        (AR1, &mut ar1),
        (AR2, &mut ar2),
        (AI1, &mut ai1),
        (AI2, &mut ai2),
    ]);
    network.now = now;
    assert!(network.ping(AI1, ANYCAST) && network.ping(AI1, ANYCAST), "Figure 14 c");
    assert!(is_direct(&network, AI1));
    assert_eq!(network.answered_by(), only(AR1));
    let now = network.now;
    drop(network);
    // The binding moves again; nobody who is optimised notices.
    ar2.role.handle_command(now, &ArCommand::Register(None));
    let mut network = Network::new(vec![
        (AGENT, &mut haa),
        (AR1, &mut ar1),
        (AR2, &mut ar2),
        (AI1, &mut ai1),
        (AI2, &mut ai2),
    ]);
    network.now = now;
    network.run(seconds(1));
    for (initiator, responder) in [(AI1, AR1), (AI2, AR2)] {
        assert!(network.ping(initiator, ANYCAST));
        assert_eq!(network.answered_by(), only(responder));
        assert!(is_direct(&network, initiator));
    }
    drop(network);
    assert_eq!(haa.role.bindings(now)[0].care_of, AR2);
}

#[test]
fn a_registration_is_refreshed_at_half_time_and_never_lapses() {
    let (mut haa, mut ar1) = (haa(), responder(AR1, 200, 10));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1)]);
    for _ in 0..10 {
        network.run(seconds(30));
        assert!(network.ping(AI1, ANYCAST));
    }
    let accepted = registrations(&network).iter().filter(|(_, _, status)| *status == Some(0)).count();
    assert!((15..=17).contains(&accepted), "{accepted} in 310 s of 40 s lifetimes");
}

#[test]
fn a_responder_that_dies_is_forgotten_with_its_lifetime() {
    let (mut haa, mut ar1) = (haa(), responder(AR1, 200, 10));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1)]);
    network.run(seconds(1));
    network.loses = Box::new(|seen| seen.from == AR1);
    network.run(seconds(45));
    drop(network);
    assert!(haa.role.bindings(at(46.0)).is_empty());
    assert!(haa.forwarder.rules().is_empty(), "no rule is left");
    assert!(!haa.captured.contains(&ANYCAST));
    assert!(ar1.forwarder.rules().is_empty());
}

#[test]
fn a_clean_leave_removes_everything_everywhere() {
    let (mut haa, mut ar2, mut ai2) = (haa(), responder(AR2, 100, 1000), ai(2));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR2, &mut ar2), (AI2, &mut ai2)]);
    network.run(seconds(1));
    assert!(network.ping(AI2, ANYCAST) && is_direct(&network, AI2) || network.ping(AI2, ANYCAST));
    let now = network.now;
    drop(network);
    assert_eq!(ai2.role.bindings(now).len(), 1);
    ar2.role.handle_command(now, &ArCommand::Shutdown);
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR2, &mut ar2), (AI2, &mut ai2)]);
    network.now = now;
    network.run(seconds(3));
    let now = network.now;
    drop(network);
    assert!(ar2.role.is_finished());
    for (name, rules) in
        [("haa", haa.forwarder.rules()), ("ar", ar2.forwarder.rules()), ("ai", ai2.forwarder.rules())]
    {
        assert!(rules.is_empty(), "{name}: {rules:?}");
    }
    assert!(haa.role.bindings(now).is_empty() && ai2.role.bindings(now).is_empty());
}

/// True for a Mobility Header of this type from this node.
fn is_kind(seen: &Seen, from: Ipv6Addr, kind: u8) -> bool {
    let parsed = Packet::parse(&seen.packet).expect("a packet");
    seen.from == from && parsed.upper.protocol == 135 && parsed.payload().get(2) == Some(&kind)
}

#[test]
fn n006_a_lost_acknowledgement_is_made_up_for_by_the_next_update() {
    let (mut haa, mut ar1) = (haa(), responder(AR1, 200, 10));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1)]);
    let mut lost = 0;
    network.loses = Box::new(move |seen| {
        let loses = is_kind(seen, AGENT, 6) && lost < 2;
        lost += u32::from(loses);
        loses
    });
    network.run(seconds(10));
    let answers: Vec<_> =
        registrations(&network).into_iter().filter(|(_, _, status)| status.is_some()).collect();
    assert_eq!(answers, [(AR1, 200, Some(0)), (AR1, 201, Some(0)), (AR1, 202, Some(0))]);
    assert!(network.ping(AI1, ANYCAST));
}

#[test]
fn n080_a_lost_update_to_an_initiator_is_noticed_by_its_binding_error() {
    let (mut haa, mut ar2, mut ai2) = (haa(), responder(AR2, 100, 1000), ai(2));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR2, &mut ar2), (AI2, &mut ai2)]);
    network.run(seconds(1));
    let mut lost = false;
    network.loses = Box::new(move |seen| {
        let loses = !lost && is_kind(seen, AR2, 5);
        lost |= loses;
        loses
    });
    let first: Vec<_> = (0..6).map(|_| network.ping(AI2, ANYCAST)).collect();
    assert!(first[2..].iter().all(|answered| *answered), "{first:?}");
    let errors = network.seen.iter().filter(|seen| is_kind(seen, AI2, 7)).count();
    assert_eq!(errors, 1, "one Binding Error, then the tunnel, then return routability again");
    assert!(is_direct(&network, AI2));
}

#[test]
fn x013_a_displaced_responder_keeps_its_initiator_until_the_binding_there_ends() {
    let (mut haa, mut ar1, mut ar2, mut ai2) =
        (haa(), responder(AR1, 300, 0x4000), responder(AR2, 100, 0x4000), ai(2));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR2, &mut ar2), (AI2, &mut ai2)]);
    network.run(seconds(1));
    assert!(network.ping(AI2, ANYCAST) && network.ping(AI2, ANYCAST));
    let now = network.now;
    drop(network);
    let mut network =
        Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2), (AI2, &mut ai2)]);
    network.now = now;
    network.run(seconds(1));
    let start = network.now;
    let mut moved = None;
    while moved.is_none() && network.now.saturating_since(start) < seconds(600) {
        let answered = network.ping(AI2, ANYCAST);
        if !answered || network.answered_by() != only(AR2) {
            moved = Some(network.now.saturating_since(start).as_secs());
        }
        network.run(seconds(4));
    }
    let moved = moved.expect("the binding ends");
    assert!((400..=425).contains(&moved), "after {moved} s, as thesis 5.3 does not say");
    for _ in 0..4 {
        network.ping(AI2, ANYCAST);
    }
    assert!(network.ping(AI2, ANYCAST));
    assert_eq!(network.answered_by(), only(AR1), "then the agent's choice counts");
}

#[test]
fn x014_a_successor_takes_an_initiator_over_by_135_and_the_retry() {
    let (mut haa, mut ar1, mut ar2, mut ai2) =
        (haa(), responder(AR1, 300, 1000), responder(AR2, 100, 1000), ai(2));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR2, &mut ar2), (AI2, &mut ai2)]);
    network.run(seconds(1));
    assert!(network.ping(AI2, ANYCAST) && network.ping(AI2, ANYCAST));
    let now = network.now;
    drop(network);
    let stored = ai2.role.bindings(now)[0].sequence;
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AI2, &mut ai2)]);
    network.now = now;
    network.run(seconds(1));
    drop(network);
    // AR1 hears of AI2 through its tunnel, as when AI2 pings it from a second address.
    let now = now + seconds(1);
    ar1.role.handle_observation(
        now,
        mga_node::protocol::action::Observation::TunnelledPeer { anycast: ANYCAST, peer: AI2 },
    );
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AI2, &mut ai2)]);
    network.now = now;
    network.run(seconds(1));
    let refused = network.signals().into_iter().any(|(_, from, signal)| {
        from == AI2
            && matches!(&signal.header.message, Message::BindingAcknowledgement(a) if a.status.0 == 135)
    });
    let updates = network.signals().into_iter().filter(|(_, from, signal)| {
        *from == AR1
            && signal.destination == AI2
            && matches!(signal.header.message, Message::BindingUpdate(_))
    });
    let numbers: Vec<_> = updates.map(|(_, _, signal)| signal.update().sequence).collect();
    drop(network);
    let binding = &ai2.role.bindings(now + seconds(1))[0];
    assert_eq!(binding.care_of, AR1);
    assert!(refused, "the seeds make the successor's first number an old one");
    assert_eq!((numbers.len(), numbers.last()), (2, Some(&stored.wrapping_add(2))));
}

#[test]
fn x016_a_displaced_responder_leaving_does_not_remove_its_successor() {
    let (mut haa, mut ar1, mut ar2) = (haa(), responder(AR1, 200, 1000), responder(AR2, 100, 1000));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1)]);
    network.run(seconds(1));
    drop(network);
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.now = at(1.0);
    network.run(seconds(1));
    drop(network);
    ar1.role.handle_command(at(2.0), &ArCommand::Shutdown);
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.now = at(2.0);
    network.run(seconds(1));
    assert!(network.ping(AI1, ANYCAST));
    assert_eq!(network.answered_by(), only(AR2));
    drop(network);
    assert!(ar1.role.is_finished());
    assert!(ar1.forwarder.rules().is_empty());
    assert_eq!(haa.role.bindings(at(4.0))[0].care_of, AR2);
}

#[test]
fn x015_x017_two_responders_with_40_seconds_take_turns_without_a_storm() {
    let (mut haa, mut ar1, mut ar2) = (haa(), responder(AR1, 200, 10), responder(AR2, 100, 10));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.run(seconds(400));
    let registrations = registrations(&network);
    let updates = registrations.iter().filter(|(_, _, status)| status.is_none()).count();
    // Each refreshes every 20 s, and each refresh costs at most one 135.
    assert!((40..=90).contains(&updates), "{updates} updates in 400 s");
    let accepted: BTreeSet<_> =
        registrations.iter().filter(|(_, _, status)| *status == Some(0)).map(|(who, ..)| *who).collect();
    assert_eq!(accepted, BTreeSet::from([AR1, AR2]));
    assert!(network.ping(AI1, ANYCAST));
}

#[test]
fn x012_after_the_agents_restart_a_responder_is_bound_again_within_its_lifetime() {
    let (mut first, mut ar1) = (haa(), responder(AR1, 200, 10));
    let mut network = Network::new(vec![(AGENT, &mut first), (AR1, &mut ar1)]);
    network.run(seconds(30));
    assert!(network.ping(AI1, ANYCAST));
    drop(network);
    let mut second = haa();
    let mut network = Network::new(vec![(AGENT, &mut second), (AR1, &mut ar1)]);
    network.now = at(31.0);
    network.ping(AI1, ANYCAST);
    assert!(!network.answered_by().contains(&AR1), "the new agent knows nobody");
    network.run(seconds(40));
    assert!(network.ping(AI1, ANYCAST));
    assert_eq!(network.answered_by(), only(AR1));
    let answers: Vec<_> = registrations(&network).into_iter().filter_map(|(_, _, status)| status).collect();
    assert!(!answers.is_empty() && answers.iter().all(|status| *status == 0), "any number: {answers:?}");
}
