//! A responder whose interface gets other addresses, as users notice it: replies to the anycast address go on.
//! RFC 3775 11.5.1 to 11.5.3 on real kernels, by change of the addresses and by command.
//! Run by `cargo test --test daemon movement`.

use serde_json::Value;

use crate::figure11::{At, Figure11, INITIATOR, Node, PATIENCE, until};

const FORMER: &str = "2001:db8:0:4::2";
const OTHER: &str = "2001:db8:0:4::3";

fn answers(network: &Figure11, at: At) -> bool {
    let arguments = ["-c", "3", "-i", "0.2", "-W", "2", "2001:db8:0:1::a"];
    let output = network.command(at, "ping").args(arguments).output().expect("ping runs");
    String::from_utf8_lossy(&output.stdout).contains(" 3 received")
}

fn is_bound_at(node: &Node, care_of: &str) -> bool {
    until(PATIENCE, || node.show("bindings").pointer("/0/care_of") == Some(&Value::from(care_of)))
}

fn change(network: &Figure11, verb: &str, address: &str) {
    let address = format!("{address}/64");
    let mut line = vec!["ip", "-6", "address", verb, &address, "dev", "eth0"];
    if verb == "add" {
        line.push("nodad");
    }
    network.run(At::Ar1, &line);
}

#[test]
fn n005_n009_another_address_of_the_interface_takes_over_when_the_one_in_use_goes() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let initiator = network.start(At::Ai2, &INITIATOR);
    let responder = network.start_responder(At::Ar1, &agent);
    assert!(answers(&network, At::Ai1) && answers(&network, At::Ai2));
    assert!(is_bound_at(&initiator, FORMER), "{}", responder.log());
    change(&network, "add", OTHER);
    assert_eq!(agent.show("bindings")[0]["care_of"], FORMER, "the one in use is still there");
    change(&network, "del", FORMER);
    assert!(is_bound_at(&agent, OTHER), "{}", responder.log());
    assert!(is_bound_at(&initiator, OTHER), "{}", responder.log());
    assert!(answers(&network, At::Ai1), "through the agent");
    assert!(answers(&network, At::Ai2), "directly");
    responder.stop();
    assert_eq!(agent.show("bindings"), Value::Array(Vec::new()));
}

#[test]
fn n005_n071_a_move_by_command_is_told_and_the_former_address_goes_on_for_a_while() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let responder = network.start_responder(At::Ar1, &agent);
    let refused = responder.ask(&["move", OTHER]);
    assert_eq!(refused.status.code(), Some(1), "not an address of the interface yet");
    change(&network, "add", OTHER);
    assert!(responder.ask(&["move", OTHER]).status.success());
    assert!(is_bound_at(&agent, OTHER), "{}", responder.log());
    // What comes through the tunnel before the acknowledgement has come is not taken in yet.
    let acknowledged = || responder.show("updates").pointer("/agents/0/state") == Some(&"registered".into());
    assert!(until(PATIENCE, acknowledged), "{}", responder.log());
    assert!(answers(&network, At::Ai1));
    assert_eq!(agent.ask(&["move", OTHER]).status.code(), Some(1), "only a responder moves");
    let rules = network.run(At::Ar1, &["nft", "list", "ruleset"]);
    assert!(rules.contains(FORMER) && rules.contains(OTHER), "both are taken in: {rules}");
    responder.stop();
}
