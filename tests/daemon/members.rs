//! Members with keys in running programs (RFC 4285; docs/membership.md): the agent and the responder against scripted
//! peers whose proofs are Python's, both against each other, and what an operator does about members and key files.
//! Run by `cargo test --test daemon members`; needs scapy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::figure11::{At, Figure11, Node, PATIENCE, until};
use crate::scripted::play;

/// A key of sixteen times this octet in a file that only its owner can read.
fn key_file(network: &Figure11, name: &str, octet: u8) -> PathBuf {
    let path = network.scratch.join(format!("{name}.key"));
    fs::write(&path, format!("{}\n", format!("{octet:02x}").repeat(16))).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    path
}

fn config_file(network: &Figure11, name: &str, text: &str) -> String {
    let path = network.scratch.join(name);
    fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

fn member(name: &str, key: &Path) -> String {
    format!("[[member]]\nidentifier = '{name}@example.net'\nspi = 256\nkey-file = '{}'\n", key.display())
}

/// An agent with the members ar1 and ar2. Its clock is this machine's, which may be slow to come to it.
fn start_agent(network: &Figure11, model: &str) -> Node {
    let text = [
        "role = 'haa'\nagent = '2001:db8:0:1::2'\nauthentication = 'rfc4285'\nclock-tolerance = 60\n\
         duplicate-address-detection = false\n"
            .to_owned(),
        member("ar1", &key_file(network, "ar1", 1)),
        member("ar2", &key_file(network, "ar2", 2)),
        format!("[[anycast]]\naddress = '2001:db8:0:1::a'\nmodel = '{model}'\n"),
    ];
    let file = config_file(network, "agent.toml", &text.concat());
    network.start(At::Haa, &["--config", &file])
}

/// A responder that proves its messages with this key.
fn start_responder(network: &Figure11, at: At, model: &str, name: &str, key: &Path) -> Node {
    let key = key.display();
    let words = format!(
        "--role ar --agent 2001:db8:0:1::2 --anycast 2001:db8:0:1::a --model {model} --lifetime 96 \
         --initial-sequence 200 --authentication rfc4285 --identifier {name}@example.net --spi 256 --key-file {key}"
    );
    network.start(at, &words.split(' ').collect::<Vec<_>>())
}

#[test]
fn nobody_but_a_member_joins_moves_or_removes_anything_at_the_agent() {
    let network = Figure11::new();
    let agent = start_agent(&network, "basic");
    play(&network, At::Haa, &agent, "members.py", "agent");
    let log = agent.log();
    for octet in ["01", "02", "03"] {
        assert!(!log.contains(&octet.repeat(4)), "a key in the log:\n{log}");
    }
    agent.stop();
}

#[test]
fn an_operator_adds_members_and_hears_what_is_wrong_with_one() {
    let network = Figure11::new();
    let agent = start_agent(&network, "basic");
    let key = key_file(&network, "ar3", 3);
    let key = key.to_str().expect("UTF-8");
    let add = ["member", "add", "ar3@example.net", "--spi", "256", "--key-file", key];
    assert!(agent.ask(&add).status.success());
    play(&network, At::Haa, &agent, "members.py", "added");
    // What is known already, or not known, or unfit, is a negative answer that says so.
    for (arguments, words) in [
        (&add[..], "ar3@example.net is a member already"),
        (&["member", "disable", "eve@example.net"], "eve@example.net is not a member"),
        (&["member", "add", "eve", "--spi", "256", "--key-file", key], "identifier = eve: "),
        (&["member", "add", "eve@b", "--spi", "25", "--key-file", key], "spi = 25: "),
        (
            &["member", "add", "eve@b", "--spi", "256", "--key-file", "/nowhere"],
            "key-file /nowhere: No such file",
        ),
    ] {
        let output = agent.ask(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    agent.stop();
}

#[test]
fn a_responder_proves_itself_and_believes_only_an_agent_that_does() {
    let network = Figure11::new();
    network.router.ip(&["-6", "route", "add", "blackhole", "2001:db8:0:1::2/128"]).expect("a route");
    let responder = start_responder(&network, At::Ar1, "basic", "ar1", &key_file(&network, "ar1", 1));
    play(&network, At::Ar1, &responder, "members.py", "responder");
    assert!(
        responder.log().contains("the agent says that the authenticator is wrong"),
        "{}",
        responder.log()
    );
}

#[test]
fn two_nodes_with_the_same_key_serve_and_one_with_another_does_not() {
    let network = Figure11::new();
    let agent = start_agent(&network, "basic");
    let stranger = start_responder(&network, At::Ar2, "basic", "ar1", &key_file(&network, "wrong", 9));
    let denied = || stranger.log().contains("the agent says that the authenticator is wrong");
    assert!(until(PATIENCE, denied), "{}", stranger.log());
    assert_eq!(agent.show("bindings"), Value::Array(Vec::new()));
    drop(stranger);
    let responder = start_responder(&network, At::Ar1, "basic", "ar1", &key_file(&network, "ar1", 1));
    assert!(network.reaches(At::Ai1), "{}\n{}", agent.log(), responder.log());
    responder.stop();
    assert!(until(PATIENCE, || agent.show("bindings") == Value::Array(Vec::new())), "it left");
    agent.stop();
}

#[test]
fn two_members_with_keys_are_in_one_group_until_one_is_switched_off() {
    let network = Figure11::new();
    let agent = start_agent(&network, "advanced");
    let responders = [(At::Ar1, "ar1", 1), (At::Ar2, "ar2", 2)].map(|(at, name, octet)| {
        start_responder(&network, at, "advanced", name, &key_file(&network, name, octet))
    });
    let bound = || agent.show("bindings").as_array().map_or(0, Vec::len);
    let log = || format!("{}\n{}\n{}", agent.log(), responders[0].log(), responders[1].log());
    assert!(until(PATIENCE, || bound() == 2), "{}", log());
    assert!(network.reaches(At::Ai1), "{}", log());
    assert!(agent.ask(&["member", "disable", "ar1@example.net"]).status.success());
    assert_eq!(bound(), 1);
    assert!(network.reaches(At::Ai1), "{}", log());
    let members = agent.show("members");
    let enabled = |at: usize| members.pointer(&format!("/keys/{at}/enabled")).cloned();
    assert_eq!((enabled(0), enabled(1)), (Some(Value::Bool(false)), Some(Value::Bool(true))), "{members}");
    assert!(!members.to_string().contains("01010101"), "{members}");
}

#[test]
fn a_key_file_that_others_can_read_stops_the_start_and_fails_the_check() {
    let network = Figure11::new();
    let key = key_file(&network, "ar1", 1);
    let text =
        format!("role = 'haa'\ninterface = 'eth0'\nauthentication = 'rfc4285'\n{}", member("ar1", &key));
    let file = config_file(&network, "agent.toml", &text);
    assert!(network.program(At::Haa, &["check", &file]).status.success());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("its mode");
    let before = network.system(At::Haa);
    let control = network.control(At::Haa);
    let control = control.to_str().expect("UTF-8");
    for (arguments, code) in [(&["--config", &file, "--control", control][..], 2), (&["check", &file], 1)] {
        let output = network.program(At::Haa, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("ar1.key: has mode 0644, so that others can get at it: chmod 0600"), "{said}");
        assert!(!said.contains("0101"), "{said}");
    }
    assert_eq!(network.system(At::Haa), before);
}
