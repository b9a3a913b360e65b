//! Several responders at one anycast address on real kernels (thesis 4.3): one of either model, probes answered by the
//! kernels behind the tunnels, a responder that is killed, and what an operator sees and does.
//! Run by `cargo test --test daemon advanced`.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::figure11::{At, Figure11, Node, PATIENCE, RESPONDER, until};

/// An agent that takes twenty probes without an answer for a death: on a busy machine even the living pause.
fn agent(network: &Figure11) -> Node {
    agent_with(network, &[])
}

/// The same with more arguments.
pub fn agent_with(network: &Figure11, more: &[&str]) -> Node {
    let file = network.scratch.join("agent.toml");
    let words = "role = 'haa'\nagent = '2001:db8:0:1::2'\nauthentication = 'none'\n\
                 duplicate-address-detection = false\n[[anycast]]\naddress = '2001:db8:0:1::a'\n\
                 model = 'advanced'\nprobe-interval = 200\nprobe-fall = 20\n";
    std::fs::write(&file, words).expect("a configuration");
    network.start(At::Haa, &[&["--config", &file.display().to_string()], more].concat())
}

pub fn responder(network: &Figure11, at: At, model: &str) -> Node {
    network.start(at, &[RESPONDER.as_slice(), &["--model", model]].concat())
}

/// The member at a place.
fn member(agent: &Node, at: At) -> Value {
    let members = agent.show("members");
    let members = members.pointer("/groups/0/members").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_there = |member: &Value| member["care_of"] == json!(at.address());
    members.into_iter().find(is_there).unwrap_or_default()
}

pub fn becomes(agent: &Node, at: At, state: &str) {
    let reached = until(PATIENCE, || member(agent, at)["state"] == state);
    assert!(reached, "{at:?} is not {state}:\n{}\n{}", agent.show("members"), agent.log());
}

pub fn explained(agent: &Node, from: At) -> Value {
    let from = from.address().to_string();
    let output = agent.ask(&["explain", &from, "2001:db8:0:1::a", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

pub fn text(output: std::process::Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn thesis_4_3_responders_of_both_models_share_an_address_and_a_killed_one_is_left() {
    let network = Figure11::new();
    let agent = agent(&network);
    let first = responder(&network, At::Ar1, "advanced");
    let second = responder(&network, At::Ar2, "basic");
    for at in [At::Ar1, At::Ar2] {
        becomes(&agent, at, "alive");
        // The kernel behind the tunnel answers probes.
        let measured = until(PATIENCE, || member(&agent, at)["distance"].is_u64());
        assert!(measured, "{}\n{}", agent.show("stats"), agent.log());
    }
    let bindings = agent.show("bindings");
    let bids: Vec<_> =
        bindings.as_array().expect("a list").iter().map(|row| row.get("bid").cloned()).collect();
    assert_eq!(bids, [None, Some(json!(1))], "{bindings}");
    for at in [At::Ai1, At::Ai2] {
        assert!(network.reaches(at), "{}", agent.log());
        assert_eq!(explained(&agent, at)["by"], "affinity");
    }
    let fixed_to = explained(&agent, At::Ai1)["to"].clone();
    let (gone, place, stays) = if fixed_to == json!(At::Ar1.address()) {
        (first, At::Ar1, At::Ar2)
    } else {
        (second, At::Ar2, At::Ar1)
    };
    // A drained one keeps who it has.
    let care_of = place.address().to_string();
    text(agent.ask(&["drain", "--member", &care_of]));
    assert_eq!(member(&agent, place)["state"], "draining");
    assert_eq!(member(&agent, place)["slots"], 0);
    assert!(network.reaches(At::Ai1));
    assert_eq!(explained(&agent, At::Ai1)["to"], fixed_to);
    text(agent.ask(&["undrain", "--member", &care_of]));
    becomes(&agent, place, "alive");
    let device = gone.show("config")["running"]["device"].as_str().expect("a name").to_owned();
    gone.signal(Signal::SIGKILL);
    // A kernel that forwards would go on answering; that of a dead machine does not. Gone already is as good.
    let _ = network.command(place, "ip").args(["link", "delete", &device]).output().expect("ip runs");
    becomes(&agent, place, "lost");
    assert!(network.reaches(At::Ai1), "{}", agent.log());
    assert_eq!(explained(&agent, At::Ai1)["to"], json!(stays.address()));
    assert!(agent.log().contains("sources-moved"), "{}", agent.log());
    let model = if place == At::Ar1 { "advanced" } else { "basic" };
    drop(gone);
    let again = responder(&network, place, model);
    becomes(&agent, place, "alive");
    // Who was moved is not moved back.
    assert!(network.reaches(At::Ai1));
    assert_eq!(explained(&agent, At::Ai1)["to"], json!(stays.address()));
    let told = text(agent.ask(&["show", "affinity"]));
    assert!(told.contains("2001:db8:0:2::2"), "{told}");
    text(agent.ask(&["flush", "--peer", "2001:db8:0:2::2"]));
    assert_eq!(explained(&agent, At::Ai1)["by"], "slot");
    let unknown = agent.ask(&["drain", "--member", "2001:db8:0:9::9"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no member is at 2001:db8:0:9::9"));
    // One after the other leaves in good order, and the other serves on.
    again.stop();
    assert!(until(PATIENCE, || member(&agent, place).is_null()), "{}", agent.show("members"));
    assert!(network.reaches(At::Ai1) && network.reaches(At::Ai2));
    agent.stop();
}

#[test]
fn a_responder_that_is_full_gets_no_new_sources_while_another_has_room() {
    let network = Figure11::new();
    let written = |name: &str, words: &str| {
        let file = network.scratch.join(name);
        std::fs::write(&file, words).expect("a configuration");
        file.display().to_string()
    };
    let file = written(
        "agent.toml",
        "role = 'haa'\nagent = '2001:db8:0:1::2'\nauthentication = 'none'\n\
         duplicate-address-detection = false\n[[anycast]]\naddress = '2001:db8:0:1::a'\nmodel = 'advanced'\n\
         selection = 'preference'\nprefer = ['2001:db8:0:4::2']\nprobe-interval = 200\nprobe-fall = 20\n",
    );
    let agent = network.start(At::Haa, &["--config", &file]);
    let responder = written(
        "responder.toml",
        "role = 'ar'\nagent = '2001:db8:0:1::2'\nauthentication = 'none'\nroute-optimisation = false\n\
         [[anycast]]\naddress = '2001:db8:0:1::a'\nmodel = 'advanced'\ncapacity = 1\n",
    );
    let _first = network.start(At::Ar1, &["--config", &responder]);
    becomes(&agent, At::Ar1, "alive");
    let _second = network.start(At::Ar2, &["--config", &responder]);
    becomes(&agent, At::Ar2, "alive");
    assert!(network.reaches(At::Ai1), "{}", agent.log());
    assert_eq!(explained(&agent, At::Ai1)["to"], json!(At::Ar1.address()), "the preferred one");
    becomes(&agent, At::Ar1, "full");
    assert_eq!(explained(&agent, At::Ai2)["to"], json!(At::Ar2.address()));
    assert!(network.reaches(At::Ai2), "{}", agent.log());
    assert_eq!(explained(&agent, At::Ai1)["to"], json!(At::Ar1.address()), "its own stay");
    // Now nobody has room, so both serve.
    becomes(&agent, At::Ar2, "full");
    let told = text(agent.ask(&["show", "members"]));
    assert!(told.contains("all members are full and share new sources by weight"), "{told}");
    let told = text(agent.ask(&["explain", "2001:db8:0:3::77", "2001:db8:0:1::a"]));
    assert!(told.contains("all members are full") && told.matches(" full ").count() >= 2, "{told}");
    assert!(member(&agent, At::Ar1)["slots"].as_u64() > Some(1000), "{}", agent.show("members"));
    assert!(agent.log().contains("all-members-full"), "{}", agent.log());
    text(agent.ask(&["flush"]));
    becomes(&agent, At::Ar1, "alive");
    becomes(&agent, At::Ar2, "alive");
    agent.stop();
}
