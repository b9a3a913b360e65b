//! What a person gets wrong: one clear line, exit code 2, and nothing left behind.
//! The command line of the design's section 5; no RFC is concerned.
//! Run by `cargo test --test daemon mistakes`.

use std::{fs, process::Command};

use crate::figure11::{AGENT, At, Figure11, PROGRAM};

/// Runs a node that must not start; returns its one line.
fn refusal(network: &Figure11, arguments: &[&str]) -> String {
    let before = (network.system(At::Haa), network.files());
    let output = network.program(At::Haa, arguments);
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {line}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    assert!(line.starts_with("mga-node: ") && line.ends_with('\n'), "{arguments:?}: {line:?}");
    assert_eq!(line.lines().count(), 1, "{arguments:?}: {line:?}");
    assert_eq!((network.system(At::Haa), network.files()), before, "{arguments:?}");
    line
}

#[test]
fn every_mistake_is_one_line_and_leaves_nothing() {
    let network = Figure11::new();
    let control = network.control(At::Haa);
    let control = control.to_str().expect("UTF-8");
    let file = network.scratch.join("wrong.toml");
    fs::write(&file, "role = 'haa'\ninterface = 'eth0'\n  ancast = '::1'\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let plain_file = network.scratch.join("precious");
    fs::write(&plain_file, "not a socket").expect("written");
    let plain_file = plain_file.to_str().expect("UTF-8");

    let base = ["--role", "haa", "--authentication", "none", "--interface", "eth0", "--control", control];
    let with = |more: &[&str]| refusal(&network, &[&base[..], more].concat());
    let cases = [
        (with(&["--wrong"]), "'--wrong'"),
        (
            with(&["--agent", "2001:db8::77"]),
            "agent 2001:db8::77 is not an address of eth0, which has 2001:db8:0:1::2",
        ),
        (with(&["--agent", "nonsense"]), "'nonsense' for '--agent <ADDR>'"),
        (with(&["--anycast", "ff02::1"]), "anycast = ff02::1: give a global unicast address"),
        (with(&["--anycast", "2001:db8:0:1::2"]), "anycast 2001:db8:0:1::2 is an address of eth0 already"),
        (with(&["--lifetime", "96"]), "lifetime means nothing to role haa"),
        (with(&["--config", "/nowhere.toml"]), "cannot read /nowhere.toml: No such file"),
        (with(&["--config", file]), "wrong.toml:3:3: unknown field `ancast`"),
        (
            refusal(&network, &[&base[..6], &["--control", plain_file]].concat()),
            "there is a file that is no socket",
        ),
        (
            refusal(&network, &[&base[..6], &["--control", "/proc/none/x.sock"]].concat()),
            "control socket /proc/none/x.sock: cannot make the directory /proc/none: ",
        ),
        (
            refusal(
                &network,
                &["--role", "haa", "--authentication", "none", "--interface", "eth7", "--control", control],
            ),
            "there is no interface \"eth7\"; this host has ",
        ),
        (refusal(&network, &["--role", "haa", "--interface", "eth0"]), "authentication is missing: "),
        (refusal(&network, &["--role", "mn"]), "'mn' for '--role <ROLE>'"),
        (
            refusal(&network, &["--role", "maa", "--interface", "eth0", "--authentication", "none"]),
            "anycast is missing",
        ),
        (refusal(&network, &["--interface", "eth0"]), "role is missing: say --role haa, maa, ar or ai"),
        (refusal(&network, &["show", "nonsense"]), "'nonsense' for '<WHAT>'"),
        (refusal(&network, &["show"]), "<WHAT>"),
    ];
    for (line, wanted) in cases {
        assert!(line.contains(wanted), "{wanted:?} is not in {line:?}");
    }
    assert_eq!(fs::read_to_string(plain_file).expect("still there"), "not a socket");
    // The same file is the negative answer of a check.
    let check = network.program(At::Haa, &["check", file]);
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&check.stderr).contains("wrong.toml:3:3: "));
}

#[test]
fn a_second_node_of_the_same_name_is_refused_and_harms_nothing() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let same = agent.control.to_str().expect("UTF-8").to_owned();
    let other = network.scratch.join("other.sock");
    let running = format!("is already running as process {}; stop it first", agent.pid());
    let cases = [
        (same.as_str(), running.as_str()),
        (other.to_str().expect("UTF-8"), "a node named haa-eth0 is already running"),
    ];
    for (control, wanted) in cases {
        let line = refusal(&network, &[&AGENT[..], &["--interface", "eth0", "--control", control]].concat());
        assert!(line.contains(wanted), "{line}");
    }
    network.start_responder(At::Ar1, &agent);
    agent.stop();
}

#[test]
fn without_privilege_a_node_says_what_it_needs() {
    let network = Figure11::new();
    // Without capabilities, root is nobody as far as the network is concerned.
    let output = network
        .command(At::Haa, "setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", PROGRAM])
        .args(AGENT)
        .args(["--interface", "eth0", "--control"])
        .arg(network.control(At::Haa))
        .output()
        .expect("setpriv runs");
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.starts_with("mga-node: not permitted to "), "{line}");
    assert!(line.ends_with("run as root or with CAP_NET_ADMIN and CAP_NET_RAW\n"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(network.files().is_empty());
}

#[test]
fn help_and_version_are_answers() {
    for word in ["--help", "--version", "help"] {
        let output = Command::new(PROGRAM).arg(word).output().expect("it runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{word}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("mga-node"), "{word}");
    }
}
