//! 20,000 packets that nobody should send, at every role: the node lives, counts, and answers as the RFCs allow.
//! RFC 3775 9.3.3 and RFC 4443 2.4 (what is never answered, and how often at most) are what is checked.
//! Run by `cargo test --test daemon garbage`.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
};

use mga_node::platform::netns;
use serde_json::Value;

use crate::figure11::{AGENT, At, Figure11, INITIATOR, Node, PATIENCE};

const PACKETS: u64 = 20_000;
/// An ICMPv6 error or Binding Error to so many of the packets is no flood of answers.
const ANSWERED_AT_MOST: u64 = PACKETS / 4;

fn resident_kibibytes(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("its state");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
}

/// Throws garbage at a place and returns what the thrower saw.
fn throw(network: &Figure11, at: At, seed: u32) -> Value {
    let mut command = Command::new("python3");
    netns::in_namespace(&mut command, &network.router).expect("a descriptor");
    let output = command
        .args([
            "-c",
            include_str!("garbage.py"),
            &at.router_interface(),
            &at.ethernet(),
            &at.address().to_string(),
        ])
        .args(["2001:db8:0:1::a", &PACKETS.to_string(), &seed.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Throws garbage at a running node and checks everything but its service.
fn survives(network: &Figure11, at: At, node: &mut Node) -> Value {
    // Warm: buffers that any packet needs are there.
    throw(network, at, 1);
    let (memory, counted) = (resident_kibibytes(node), node.counted());
    let report = throw(network, at, 2);
    assert!(node.is_alive(), "{at:?}:\n{}", node.log());
    assert!(report["sent"].as_u64() > Some(PACKETS * 9 / 10), "{at:?} {report}");
    assert_eq!(report["wrong"], Value::Array(Vec::new()), "{at:?} {report}");
    assert!(report["received"].as_u64() < Some(ANSWERED_AT_MOST), "{at:?} {report}");
    let raised = node.counted() - counted;
    assert!(raised > PACKETS / 4, "{at:?}: only {raised} counted: {}", node.show("stats"));
    let grown = resident_kibibytes(node).saturating_sub(memory);
    assert!(grown < 8 << 10, "{at:?}: {grown} KiB more");
    assert!(resident_kibibytes(node) < 96 << 10, "{at:?}: {} KiB", resident_kibibytes(node));
    let written = node.log().lines().count();
    assert!(written < 500, "{at:?}: {written} lines of log");
    report
}

#[test]
fn an_agent_survives_garbage() {
    let network = Figure11::alone();
    let mut agent = network.start(At::Haa, &AGENT);
    // Somebody who asked for all events and reads none.
    let mut sleeper = UnixStream::connect(&agent.control).expect("connected");
    sleeper.write_all(b"{\"request\":\"watch\"}\n").expect("sent");
    survives(&network, At::Haa, &mut agent);
    sleeper.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut piled_up = Vec::new();
    // A watcher that was cut off in mid-line sees an end, not an error.
    sleeper.read_to_end(&mut piled_up).expect("the node has cut the sleeper off");
    assert!(piled_up.len() < 3 << 20, "{} octets", piled_up.len());
    assert!(agent.log().contains("a watcher does not read what it asked for"), "{}", agent.log());
    // Whatever the garbage has bound, a real responder takes over.
    agent.ask(&["deregister"]);
    let responder = network.start_responder(At::Ar1, &agent);
    // Not at once: the kernels must get over the neighbour discovery garbage first.
    assert!(network.reaches(At::Ai1), "{}", agent.log());
    for node in [responder, agent] {
        node.stop();
    }
}

#[test]
fn a_responder_survives_garbage_in_service() {
    let network = Figure11::alone();
    let agent = network.start_agent();
    let mut responder = network.start_responder(At::Ar1, &agent);
    survives(&network, At::Ar1, &mut responder);
    assert!(network.reaches(At::Ai1), "{}", responder.log());
    responder.stop();
}

#[test]
fn an_initiator_survives_garbage_and_binds_nothing() {
    let network = Figure11::alone();
    let mut initiator = network.start(At::Ai1, &INITIATOR);
    survives(&network, At::Ai1, &mut initiator);
    assert_eq!(initiator.show("bindings"), Value::Array(Vec::new()));
    initiator.stop();
}

#[test]
fn a_flood_of_refused_binding_updates_is_summed_up_in_the_log() {
    let network = Figure11::alone();
    let agent = network.start_agent();
    throw(&network, At::Haa, 3);
    let refused = agent.show("stats")["protocol"].to_string();
    agent.signal(nix::sys::signal::Signal::SIGINT);
    let mut agent = agent;
    assert!(agent.ended(PATIENCE).success());
    let log = agent.log();
    let lines = log.lines().filter(|line| line.contains("binding-update-refused anycast")).count();
    assert!((1..200).contains(&lines), "{lines} lines; {refused}");
    assert!(log.contains("more like this, not written one by one"), "{log}");
}
