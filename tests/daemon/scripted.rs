//! Peers that are scripts (tests/daemon/peer/, scapy) talk to one running node over its wire: rules of RFC 3775
//! sections 8 to 11 that only real kernels can show, without our own encoder or decoder on the other side.
//! Run by `cargo test --test daemon scripted`; needs scapy and tshark.

use std::path::Path;

use mga_node::platform::netns;

use crate::evidence::judge;
use crate::figure11::{AGENT, At, Figure11, Node};

/// Plays one case of a scenario at the router's end of a node's wire, and has what the node said judged.
fn play(network: &Figure11, at: At, node: &Node, scenario: &str, case: &str) {
    // The script's addresses are nobody's: what is sent to them ends here in silence.
    network.router.ip(&["-6", "route", "add", "blackhole", "2001:db8:0:9::/64"]).expect("a route");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/peer");
    let capture = network.scratch.join(format!("{case}.pcap"));
    let mut command = std::process::Command::new("python3");
    netns::in_namespace(&mut command, &network.router).expect("a descriptor");
    let output = command
        .arg("-B")
        .arg(folder.join(scenario))
        .args([case, &at.router_interface(), &at.ethernet(), &at.address().to_string()])
        .arg(network.host(at).name())
        .arg(crate::figure11::PROGRAM)
        .arg(&node.control)
        .arg(&capture)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario} {case}: {said}\n{}", node.log());
    let heard = String::from_utf8_lossy(&output.stdout);
    assert!(heard.trim().parse::<u32>().is_ok_and(|frames| frames > 0), "{scenario} {case} heard {heard:?}");
    judge(&capture);
}

// covers: H002 H026 H043 H051 H101 H104 H109 H139 M001 M011 M029 C072
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
fn h075_h081_h082_what_a_responder_at_home_is_told_reaches_its_own_ethernet_address() {
    let network = Figure11::new();
    let agent = network.start_agent();
    play(&network, At::Haa, &agent, "agent.py", "returning");
    agent.stop();
}
