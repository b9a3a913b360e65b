//! Agent and responders of the advanced model together in a network of virtual time (thesis 4.3.1, Figure 9): what is
//! granted, how a responder is drained and leaves without a packet lost, and how it gets along with the basic model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::ar::{Ar, ArCommand, ArConfig, ServiceConfig};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{GroupConfig, Haa};
use mga_node::protocol::random::SeededRandom;
use mga_node::protocol::select::{Affinity, Criterion};
use mga_node::wire::Packet;
use mga_node::wire::mobility::Lifetime;

use crate::network::{Host, Network, Node};
use crate::stimulus::*;
use crate::{agent, responder};

fn responder(care_of: Ipv6Addr, advanced: bool) -> Node<Ar> {
    serving(care_of, ServiceConfig { advanced, ..ServiceConfig::default() })
}

fn serving(care_of: Ipv6Addr, service: ServiceConfig) -> Node<Ar> {
    // Initiators here are plain hosts: route optimisation would only send them tests.
    let mut config = ArConfig { care_of, route_optimisation: false, ..responder::config() };
    // 40 seconds: a refresh every 20.
    config.anycast[0].lifetime = Lifetime(10);
    let seed = u64::from(care_of.segments()[3]);
    Node::new(Ar::serving(config, [(ANYCAST, service)].into(), at(0.0), Box::new(SeededRandom::new(seed))))
}

fn haa() -> Node<Haa> {
    keeping(GroupConfig::default())
}

fn keeping(group: GroupConfig) -> Node<Haa> {
    let groups = BTreeMap::from([(ANYCAST, group)]);
    Node::new(Haa::new(agent::config()).with_groups(groups, Box::new(SeededRandom::new(9))))
}

fn basic_haa() -> Node<Haa> {
    Node::new(Haa::new(agent::config()))
}

fn bound(haa: &Node<Haa>, now: Instant) -> BTreeSet<Ipv6Addr> {
    haa.role.bindings(now).iter().map(|binding| binding.care_of).collect()
}

/// Plain hosts, enough that every responder gets some.
fn initiators() -> Vec<Ipv6Addr> {
    (1..=16).map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0x100 + host)).collect()
}

/// Which responder answers each initiator's ping.
fn served(network: &mut Network<'_>) -> BTreeMap<Ipv6Addr, Ipv6Addr> {
    let mut served = BTreeMap::new();
    for initiator in initiators() {
        assert!(network.ping(initiator, ANYCAST), "{initiator}");
        // The agent's probes are echo requests too.
        let asked = |packet: &[u8]| Packet::parse(packet).is_ok_and(|p| p.header.source == initiator);
        let by = network.delivered.iter().find(|(_, packet)| asked(packet)).map(|(host, _)| *host);
        served.insert(initiator, by.expect("a responder"));
    }
    served
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn two_responders_are_kept_at_once_and_both_are_granted_the_model() {
    let (mut haa, mut ar1, mut ar2) = (haa(), responder(AR1, true), responder(AR2, true));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.run(3 * SECOND);
    let first = served(&mut network);
    assert_eq!(first.values().collect::<BTreeSet<_>>().len(), 2, "new sources go to both");
    assert_eq!(served(&mut network), first, "every initiator stays where it is");
    // Refreshes of each do not disturb the other.
    network.run(90 * SECOND);
    served(&mut network);
    let now = network.now;
    assert_eq!(bound(&haa, now), BTreeSet::from([AR1, AR2]));
    for responder in [&ar1, &ar2] {
        let view = &responder.role.registrations(now)[0];
        assert!(view.extensions.as_ref().is_some_and(|on| on.contains(&"several".to_owned())), "{view:?}");
        assert_eq!(view.state, "registered");
    }
}

#[test]
fn a_responder_of_the_basic_model_is_one_of_several_too() {
    let (mut haa, mut ar1, mut ar2) = (haa(), responder(AR1, false), responder(AR2, true));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.run(3 * SECOND);
    served(&mut network);
    let now = network.now;
    assert_eq!(bound(&haa, now), BTreeSet::from([AR1, AR2]));
    assert_eq!(ar1.role.registrations(now)[0].extensions, None);
    assert!(ar2.role.registrations(now)[0].extensions.is_some());
}

#[test]
fn at_an_agent_of_the_basic_model_the_last_one_wins_and_a_restart_brings_the_advanced_model_back() {
    let (mut haa, mut ar1, mut ar2) = (basic_haa(), responder(AR1, true), responder(AR2, true));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1)]);
    network.run(3 * SECOND);
    let paused = network.pause();
    let mut network = paused.with(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.run(3 * SECOND);
    assert!(network.ping(AI1, ANYCAST));
    let paused = network.pause();
    assert_eq!(bound(&haa, paused.now), BTreeSet::from([AR2]), "thesis 4.2.2");
    // The one that was displaced leaves without a word about the other's binding.
    ar1.role.handle_command(paused.now, &ArCommand::Deregister(None));
    let mut network = paused.with(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.run(5 * SECOND);
    assert!(network.ping(AI1, ANYCAST));
    // The agent is replaced by one that knows the advanced model.
    let paused = network.pause();
    let mut haa = self::haa();
    ar1.role.handle_command(paused.now, &ArCommand::Register(None));
    let mut network = paused.with(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.run(30 * SECOND);
    let now = network.now;
    served(&mut network);
    assert_eq!(bound(&haa, now), BTreeSet::from([AR1, AR2]));
}

/// Every initiator asks every responder's service once in ten milliseconds.
fn traffic(network: &mut Network<'_>, time: Duration) -> usize {
    let rounds = time.as_millis() / 10;
    for _ in 0..rounds {
        for initiator in initiators() {
            network.ask(initiator, ANYCAST);
        }
        network.run(Duration::from_millis(10));
    }
    usize::try_from(rounds).expect("few") * initiators().len()
}

fn answers(network: &Network<'_>) -> usize {
    initiators().iter().map(|initiator| network.replies(*initiator, ANYCAST)).sum()
}

/// Two responders serve everybody; one of them is told `command` in mid-traffic. The packets asked and answered, and
/// who answered at the end.
fn amid_traffic(command: &ArCommand) -> (usize, usize, BTreeSet<Ipv6Addr>) {
    let (mut haa, mut ar1, mut ar2) = (haa(), responder(AR1, true), responder(AR2, true));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.run(3 * SECOND);
    let before: BTreeSet<_> = served(&mut network).into_values().collect();
    assert_eq!(before, BTreeSet::from([AR1, AR2]), "both have sources");
    network.delivered.clear();
    let mut asked = traffic(&mut network, SECOND);
    let paused = network.pause();
    ar1.role.handle_command(paused.now, command);
    let nodes: Vec<(Ipv6Addr, &mut dyn Host)> = vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)];
    let mut network = paused.with(nodes);
    asked += traffic(&mut network, 3 * SECOND);
    network.run(SECOND);
    let answered = answers(&network);
    let after = served(&mut network).into_values().collect();
    (asked, answered, after)
}

#[test]
fn a_clean_exit_in_mid_traffic_loses_no_packet() {
    let (asked, answered, after) = amid_traffic(&ArCommand::Shutdown);
    assert_eq!(answered, asked);
    assert_eq!(after, BTreeSet::from([AR2]));
}

#[test]
fn a_responder_that_is_withdrawn_in_mid_traffic_loses_no_packet() {
    let (asked, answered, after) = amid_traffic(&ArCommand::Deregister(None));
    assert_eq!(answered, asked);
    assert_eq!(after, BTreeSet::from([AR2]));
}

#[test]
fn a_drained_responder_keeps_its_sources_and_gets_no_new_ones() {
    let drain = ArCommand::Drain { anycast: None, within: None };
    let (asked, answered, after) = amid_traffic(&drain);
    assert_eq!(answered, asked);
    assert_eq!(after, BTreeSet::from([AR1, AR2]), "nobody was moved");
    let (mut haa, mut ar1, mut ar2) = (haa(), responder(AR1, true), responder(AR2, true));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.run(3 * SECOND);
    let paused = network.pause();
    ar1.role.handle_command(paused.now, &drain);
    let nodes: Vec<(Ipv6Addr, &mut dyn Host)> = vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)];
    let mut network = paused.with(nodes);
    network.run(SECOND);
    let after: BTreeSet<_> = served(&mut network).into_values().collect();
    assert_eq!(after, BTreeSet::from([AR2]), "all of them are new");
    // Nobody is left at the first one, once its connections have been counted.
    let paused = network.pause();
    ar1.role.handle_command(paused.now, &ArCommand::Established { anycast: ANYCAST, count: Some(0) });
    let nodes: Vec<(Ipv6Addr, &mut dyn Host)> = vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)];
    let mut network = paused.with(nodes);
    network.run(10 * SECOND);
    let now = network.now;
    assert_eq!(bound(&haa, now), BTreeSet::from([AR2]));
}

#[test]
fn a_full_responder_gets_no_new_sources_until_its_own_have_been_silent_for_long_enough() {
    let affinity = Some(Affinity { interval: 60 * SECOND, ..Affinity::default() });
    // By preference the first responder would get everybody.
    let mut haa = keeping(GroupConfig {
        criterion: Criterion::Preference,
        preference: vec![AR1],
        affinity,
        ..GroupConfig::default()
    });
    let bounded = ServiceConfig { advanced: true, capacity: 4, ..ServiceConfig::default() };
    let (mut ar1, mut ar2) = (serving(AR1, bounded), responder(AR2, true));
    let mut network = Network::new(vec![(AGENT, &mut haa), (AR1, &mut ar1), (AR2, &mut ar2)]);
    network.run(3 * SECOND);
    let given = |network: &mut Network<'_>, initiators: &[Ipv6Addr]| {
        let mut given = Vec::new();
        for initiator in initiators {
            assert!(network.ping(*initiator, ANYCAST), "{initiator}");
            let asked = |packet: &[u8]| Packet::parse(packet).is_ok_and(|p| p.header.source == *initiator);
            let by = network.delivered.iter().find(|(_, packet)| asked(packet)).map(|(host, _)| *host);
            given.push(by.expect("a responder"));
            network.delivered.clear();
            // Longer than from one count to the next.
            network.run(SECOND);
        }
        given
    };
    let initiators = initiators();
    let first = given(&mut network, &initiators[..8]);
    assert_eq!(first, [[AR1; 4], [AR2; 4]].concat(), "four and no more");
    assert_eq!(given(&mut network, &initiators[..8]), first, "everybody stays");
    network.run(70 * SECOND);
    let second = given(&mut network, &initiators[8..]);
    assert_eq!(second, [[AR1; 4], [AR2; 4]].concat(), "the former four were silent for a minute");
}
