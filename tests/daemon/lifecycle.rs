//! A node comes and goes without a trace, whatever ends it.
//! RFC 3775 11.7.1 (de-registration on the way out) and the design's section 3 (nothing of ours survives).
//! Run by `cargo test --test daemon lifecycle`.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::figure11::{AGENT, At, Figure11, INITIATOR, Node, PATIENCE, RESPONDER, until};

const ROLES: [(At, &[&str]); 3] = [(At::Haa, &AGENT), (At::Ar1, &RESPONDER), (At::Ai1, &INITIATOR)];

#[test]
fn every_ending_signal_leaves_the_system_as_it_was() {
    let network = Figure11::new();
    for (at, arguments) in ROLES {
        let before = network.system(at);
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let mut node = network.start(at, arguments);
            assert_ne!(network.system(at), before, "{at:?} changes something");
            node.signal(signal);
            let status = node.ended(PATIENCE);
            assert!(status.success(), "{at:?} {signal}: {status}\n{}", node.log());
            assert_eq!(network.system(at), before, "{at:?} {signal}");
            assert!(network.files().is_empty(), "{at:?} {signal}");
            assert!(!node.control.parent().expect("a directory").exists(), "{at:?} {signal}");
            assert!(!node.log().contains('\u{1b}'), "colours in a file: {}", node.log());
        }
    }
}

#[test]
fn a_running_network_of_nodes_leaves_every_system_as_it_was() {
    let network = Figure11::new();
    let all = [At::Haa, At::Ar1, At::Ar2, At::Ai2];
    let before = all.map(|at| network.system(at));
    let agent = network.start_agent();
    let initiator = network.start(At::Ai2, &INITIATOR);
    let first = network.start_responder(At::Ar1, &agent);
    network.run(At::Ai2, &["ping", "-c", "3", "-i", "0.2", "-W", "3", "2001:db8:0:1::a"]);
    let optimised = || initiator.show("bindings").as_array().is_some_and(|bindings| bindings.len() == 1);
    assert!(until(PATIENCE, optimised), "no route optimisation:\n{}", initiator.log());
    let second = network.start_responder(At::Ar2, &agent);
    for node in [second, first, initiator, agent] {
        node.stop();
    }
    for (at, before) in all.into_iter().zip(before) {
        assert_eq!(network.system(at), before, "{at:?}");
    }
}

#[test]
fn after_a_kill_the_next_start_sweeps_and_its_end_leaves_nothing() {
    let network = Figure11::new();
    let before = ROLES.map(|(at, _)| network.system(at));
    let agent = network.start_agent();
    let initiator = network.start(At::Ai1, &INITIATOR);
    let responder = network.start_responder(At::Ar1, &agent);
    for mut node in [agent, initiator, responder] {
        node.signal(Signal::SIGKILL);
        node.ended(PATIENCE);
    }
    for ((at, _), before) in ROLES.iter().zip(&before) {
        assert_ne!(&network.system(*at), before, "a killed node at {at:?} cannot have cleaned up");
    }
    let agent = network.start_agent();
    let initiator = network.start(At::Ai1, &INITIATOR);
    let responder = network.start_responder(At::Ar1, &agent);
    network.run(At::Ai1, &["ping", "-c", "2", "-i", "0.2", "-W", "3", "2001:db8:0:1::a"]);
    for node in [initiator, responder, agent] {
        node.stop();
    }
    for ((at, _), before) in ROLES.iter().zip(&before) {
        assert_eq!(&network.system(*at), before, "{at:?}");
    }
    assert!(network.files().is_empty());
}

#[test]
fn h074_a_responder_deregisters_on_a_clean_end() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let responder = network.start_responder(At::Ar1, &agent);
    responder.stop();
    assert_eq!(agent.show("bindings"), serde_json::json!([]));
    let log = agent.log();
    assert!(log.contains("binding-removed anycast 2001:db8:0:1::a care-of 2001:db8:0:4::2"), "{log}");
    assert!(log.contains("(RFC 3775 10.3.2)"), "{log}");
}

#[test]
fn a_responder_ends_soon_with_a_dead_agent() {
    let network = Figure11::new();
    let mut agent = network.start_agent();
    let mut responder = network.start_responder(At::Ar1, &agent);
    let mut watch = network.watch(&responder);
    agent.signal(Signal::SIGKILL);
    agent.ended(PATIENCE);
    responder.signal(Signal::SIGTERM);
    // It waits two and a half seconds for an answer.
    let status = responder.ended(PATIENCE);
    assert!(status.success(), "{status}:\n{}", responder.log());
    let events = watch.rest();
    let tried = events.iter().any(|event| {
        event["event"] == "binding-update-sent"
            && event["lifetime"] == 0
            && event["peer"] == "2001:db8:0:1::2"
    });
    assert!(tried, "{events:?}");
}

#[test]
fn a_link_that_goes_down_and_up_does_not_end_a_node() {
    let network = Figure11::new();
    let mut agent = network.start_agent();
    let mut responder = network.start_responder(At::Ar1, &agent);
    network.run(At::Ar1, &["ip", "link", "set", "eth0", "down"]);
    network.run(At::Ar1, &["ip", "link", "set", "eth0", "up"]);
    // The kernel forgets addresses and routes of a link that goes down.
    network.run(At::Ar1, &["ip", "addr", "replace", "2001:db8:0:4::2/64", "dev", "eth0", "nodad"]);
    network.run(At::Ar1, &["ip", "-6", "route", "replace", "default", "via", "2001:db8:0:4::1"]);
    assert!(network.reaches(At::Ai1), "{}", responder.log());
    assert!(agent.is_alive() && responder.is_alive());
    // But a node without its interface has nothing left to do, and says so.
    network.run(At::Ar1, &["ip", "link", "del", "eth0"]);
    let status = responder.ended(PATIENCE);
    assert_eq!(status.code(), Some(1), "{}", responder.log());
    assert!(responder.log().contains("mga-node: the interface eth0 is gone"), "{}", responder.log());
}

#[test]
fn a_signal_in_the_middle_of_the_start_leaves_nothing() {
    let network = Figure11::new();
    let before = network.system(At::Haa);
    for milliseconds in (0..120).step_by(6) {
        let mut node = network.start_without_waiting(At::Haa, &AGENT);
        std::thread::sleep(Duration::from_millis(milliseconds));
        node.signal(Signal::SIGTERM);
        node.ended(PATIENCE);
        assert_eq!(network.system(At::Haa), before, "after {milliseconds} ms");
        assert!(network.files().is_empty(), "after {milliseconds} ms: {:?}", network.files());
    }
}

#[test]
fn a_node_waits_for_an_address_that_is_still_tentative() {
    let network = Figure11::new();
    network.run(At::Ar1, &["sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=1"]);
    network.run(At::Ar1, &["ip", "addr", "del", "2001:db8:0:4::2/64", "dev", "eth0"]);
    network.run(At::Ar1, &["ip", "addr", "add", "2001:db8:0:4::2/64", "dev", "eth0"]);
    assert!(network.run(At::Ar1, &["ip", "-6", "addr", "show", "dev", "eth0"]).contains("tentative"));
    let agent = network.start_agent();
    network.start_responder(At::Ar1, &agent).stop();
}

#[test]
fn x012_after_the_agents_restart_a_responder_is_bound_again_within_its_lifetime() {
    let network = Figure11::new();
    let mut agent = network.start_agent();
    let mut words = RESPONDER;
    // Of 8 seconds, refreshed after 4.
    let lifetime = words.iter().position(|word| *word == "96").expect("a lifetime");
    words[lifetime] = "8";
    let responder = network.start(At::Ar1, &words);
    let bound = |agent: &Node| agent.show("bindings").pointer("/0/care_of").is_some();
    assert!(until(PATIENCE, || bound(&agent)), "{}", responder.log());
    agent.signal(Signal::SIGKILL);
    agent.ended(PATIENCE);
    drop(agent);
    let agent = network.start_agent();
    assert!(until(PATIENCE, || bound(&agent)), "{}\n{}", agent.log(), responder.log());
    assert!(network.reaches(At::Ai1), "{}", responder.log());
}
