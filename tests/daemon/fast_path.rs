//! The fast path in running nodes (design section 3): packets go by the kernel, user space counts none of them, a killed
//! agent's forwarding goes on and is taken over, an ended one's is gone. Needs the feature `ebpf`.
//! Run by `cargo test --features ebpf --test daemon fast_path`.

use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::figure11::{AGENT, At, Figure11, INITIATOR, Node, PATIENCE, until};

const EBPF: [&str; 2] = ["--forwarding", "ebpf"];

fn with<'a>(role: &[&'a str]) -> Vec<&'a str> {
    [role, &EBPF].concat()
}

/// The rows of `show rules --kernel`; it must find what the node believes.
fn in_kernel(node: &Node) -> Vec<Value> {
    let output = node.ask(&["show", "rules", "--kernel", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    answer["rules"].as_array().expect("rows").clone()
}

fn carried(node: &Node, rule: &str) -> u64 {
    let rows = in_kernel(node);
    let row = rows.iter().find(|row| row["rule"] == rule).unwrap_or_else(|| panic!("no {rule}: {rows:?}"));
    row["packets"].as_u64().expect("a counter")
}

#[test]
fn packets_go_by_the_kernel_through_the_tunnel_and_directly() {
    let network = Figure11::new();
    let agent = network.start(At::Haa, &with(&AGENT));
    let initiator = network.start(At::Ai2, &with(&INITIATOR));
    let responder = network.start_responder(At::Ar1, &agent);
    let ping = ["ping", "-c", "5", "-i", "0.1", "-W", "5", "2001:db8:0:1::a"];
    assert!(network.run(At::Ai1, &ping).contains(" 0% packet loss"));
    for (node, rule) in [
        (&agent, "tunnel-to-responder"),
        (&agent, "tunnel-from-responder"),
        (&responder, "reverse-tunnel-in"),
        (&responder, "reverse-tunnel-out"),
    ] {
        // The first packet may find a neighbour unknown, and go by user space.
        assert!(carried(node, rule) >= 4, "{rule}: {:?}", in_kernel(node));
    }
    network.run(At::Ai2, &ping);
    let optimised = || initiator.show("bindings").as_array().is_some_and(|bindings| bindings.len() == 1);
    assert!(until(PATIENCE, optimised), "{}", responder.log());
    assert!(network.run(At::Ai2, &ping).contains(" 0% packet loss"));
    for (node, rule) in [
        (&initiator, "routing-header-out"),
        (&responder, "routing-header-in"),
        (&responder, "home-address-out"),
        (&initiator, "home-address-in"),
    ] {
        assert!(carried(node, rule) >= 4, "{rule}: {:?}", in_kernel(node));
    }
}

#[test]
fn a_killed_agents_forwarding_goes_on_and_its_successor_takes_it_over() {
    let network = Figure11::new();
    let agent = network.start(At::Haa, &with(&AGENT));
    let _responder = network.start_responder(At::Ar1, &agent);
    assert!(network.reaches(At::Ai1), "{}", agent.log());
    let mut ping = network.command(At::Ai1, "ping");
    ping.args(["-i", "0.02", "-c", "150", "-W", "5", "2001:db8:0:1::a"]).stdout(Stdio::piped());
    let ping = ping.spawn().expect("ping runs");
    let before = carried(&agent, "tunnel-to-responder");
    assert!(until(PATIENCE, || carried(&agent, "tunnel-to-responder") > before + 20));
    agent.signal(Signal::SIGKILL);
    drop(agent);
    let agent = network.start(At::Haa, &with(&AGENT));
    assert!(agent.log().contains("adopted=2"), "{}", agent.log());
    let output = ping.wait_with_output().expect("ping ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(" 0% packet loss"), "{said}\n{}", agent.log());
    // The counters went on, too.
    assert!(carried(&agent, "tunnel-to-responder") >= 150, "{:?}", in_kernel(&agent));
    agent.stop();
    let attached = network.run(At::Haa, &["bpftool", "net"]);
    assert!(!attached.contains("agent_tc"), "{attached}");
}
