//! Peers that are scripts (tests/daemon/peer/, scapy) talk to one running node over its wire: rules of RFC 3775
//! sections 8 to 11 that only real kernels can show, without our own encoder or decoder on the other side.
//! Run by `cargo test --test daemon scripted`; needs scapy.

use std::path::Path;

use mga_node::platform::netns;

use crate::figure11::{AGENT, At, Figure11, INITIATOR, Node, RESPONDER};

/// The router drops what is sent to these addresses, without a word.
fn silence(network: &Figure11, addresses: &str) {
    network.router.ip(&["-6", "route", "add", "blackhole", addresses]).expect("a route");
}

/// Plays one case of a scenario at the router's end of a node's wire.
pub fn play(network: &Figure11, at: At, node: &Node, scenario: &str, case: &str) {
    // The script's own addresses are nobody's.
    silence(network, "2001:db8:0:9::/64");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/peer");
    let mut command = std::process::Command::new("python3");
    netns::in_namespace(&mut command, &network.router).expect("a descriptor");
    let output = command
        .arg("-B")
        .arg(folder.join(scenario))
        .args([case, &at.router_interface(), &at.ethernet(), &at.address().to_string()])
        .arg(network.host(at).name())
        .arg(crate::figure11::PROGRAM)
        .arg(&node.control)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario} {case}: {said}\n{}\n{}", node.log(), node.show("stats"));
    let heard = String::from_utf8_lossy(&output.stdout);
    assert!(heard.trim().parse::<u32>().is_ok_and(|frames| frames > 0), "{scenario} {case} heard {heard:?}");
}

// covers: H002 H026 H043 H051 H101 H104 H109 H139 M001 M011 M029 C072 X002 X013 H201
#[test]
fn an_agent_serves_a_scripted_responder() {
    let network = Figure11::new();
    let agent = network.start_agent();
    play(&network, At::Haa, &agent, "agent.py", "signalling");
    agent.stop();
}

#[test]
fn h030_h066_to_h070_h080_h092_h093_addresses_are_probed_claimed_defended_and_let_go() {
    let network = Figure11::new();
    let agent = network.start(At::Haa, &AGENT[..8]);
    play(&network, At::Haa, &agent, "agent.py", "detection");
    agent.stop();
}

#[test]
fn h114_h119_h120_another_agent_is_named_as_long_as_it_advertises_itself() {
    let network = Figure11::new();
    let agent = network.start_agent();
    play(&network, At::Haa, &agent, "agent.py", "discovery");
    agent.stop();
}

#[test]
fn h075_h081_h082_what_a_responder_at_home_is_told_reaches_its_own_ethernet_address() {
    let network = Figure11::new();
    let agent = network.start_agent();
    play(&network, At::Haa, &agent, "agent.py", "returning");
    agent.stop();
}

// covers: C002 C003 C016 C017 C066 C067 C072 C076 M001 M011 M029 X013 X014 C202
#[test]
fn an_initiator_serves_a_scripted_responder() {
    let network = Figure11::new();
    let initiator = network.start(At::Ai1, &INITIATOR);
    play(&network, At::Ai1, &initiator, "initiator.py", "signalling");
    initiator.stop();
}

// covers: N011 N016 N045 N046 N051 N060 N065 N066 N068 N069 N070 N077 N201
#[test]
fn a_responder_away_from_home_deals_with_a_scripted_agent_and_initiators() {
    let network = Figure11::new();
    silence(&network, "2001:db8:0:1::2/128");
    let responder = network.start(At::Ar1, &RESPONDER);
    play(&network, At::Ar1, &responder, "responder.py", "away");
}

// covers: N003 N004 N008 N085 N086 N087 N088 N202
#[test]
fn a_responder_moves_to_another_address_and_home_and_away_again() {
    let network = Figure11::new();
    silence(&network, "2001:db8:0:1::2/128");
    let responder = network.start(At::Ar1, &RESPONDER);
    play(&network, At::Ar1, &responder, "responder.py", "moving");
}
