//! A midway agent (thesis 4.3.3) on Figure 11: AI2's network has one, whose route is all that it changes.
//! The router is told by hand what a routing daemon would tell it; the lab of Figure 10 has real ones.
//! Run by `cargo test --test daemon midway`.

use nix::sys::signal::Signal;

use crate::figure11::{At, Figure11, Node, PATIENCE, until};

/// A midway agent in the place of AI2.
const MIDWAY: [&str; 8] =
    ["--role", "maa", "--anycast", "2001:db8:0:1::a", "--authentication", "none", "--route-protocol", "78"];
const RESPONDER: [&str; 8] = [
    "--role",
    "ar",
    "--agent",
    "2001:db8:0:3::2",
    "--anycast",
    "2001:db8:0:1::a",
    "--authentication",
    "none",
];

fn is_routed(network: &Figure11) -> bool {
    let routes = network.run(At::Ai2, &["ip", "-6", "route", "show", "proto", "78"]);
    assert!(routes.lines().count() <= 1, "only the anycast address is routed: {routes}");
    routes.starts_with("2001:db8:0:1::a dev mga")
}

/// A responder that the midway agent has a binding of.
fn responder(network: &Figure11, agent: &Node) -> Node {
    let responder = network.start(At::Ar1, &RESPONDER);
    assert!(until(PATIENCE, || is_routed(network)), "{}\n{}", agent.log(), responder.log());
    responder
}

// covers: X011
#[test]
fn a_midway_agent_tunnels_what_is_routed_to_it_while_somebody_is_registered() {
    let network = Figure11::new();
    let before = network.system(At::Ai2);
    let agent = network.start(At::Ai2, &MIDWAY);
    assert!(!is_routed(&network), "nobody is registered yet");
    network
        .router
        .ip(&["-6", "route", "add", "2001:db8:0:1::a/128", "via", "2001:db8:0:3::2"])
        .expect("a route");
    let first = responder(&network, &agent);
    assert!(network.reaches(At::Ai1), "{}\n{}", agent.log(), first.log());
    let proxied = network.run(At::Ai2, &["ip", "-6", "neigh", "show", "proxy"]);
    assert_eq!(proxied, "", "nothing is captured on the link");
    assert_eq!(network.run(At::Ai2, &["cat", "/proc/sys/net/ipv6/conf/all/proxy_ndp"]).trim(), "0");
    first.stop();
    assert!(!is_routed(&network), "the last one is gone: {}", agent.log());
    let second = responder(&network, &agent);
    agent.stop();
    assert!(!is_routed(&network));
    assert_eq!(network.system(At::Ai2), before);
    drop(second);
}

#[test]
fn a_killed_midway_agent_draws_nobody_and_the_next_one_sweeps() {
    let network = Figure11::new();
    let before = network.system(At::Ai2);
    let mut agent = network.start(At::Ai2, &MIDWAY);
    let first = responder(&network, &agent);
    agent.signal(Signal::SIGKILL);
    agent.ended(PATIENCE);
    assert!(until(PATIENCE, || !is_routed(&network)), "the route outlives its agent");
    let next = network.start(At::Ai2, &MIDWAY);
    drop(first);
    let again = responder(&network, &next);
    drop(again);
    next.stop();
    assert_eq!(network.system(At::Ai2), before);
}
