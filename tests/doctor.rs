//! `mga-node doctor` with the built binary: a host that is in order, and one thing missing at a time, each found and named
//! with its remedy. Nothing may be left behind. What it tries is what thesis section 4 needs of a host.
//! Needs root; without it each test says that it was skipped. Run by `cargo test --test doctor`.
#![cfg(target_os = "linux")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mga-node");

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A directory of the test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Scratch(nix::unistd::mkdtemp(&std::env::temp_dir().join("mga-doctor-test-XXXXXX")).unwrap())
    }

    /// An nft that does what `script` does, found before the real one.
    fn nft(&self, script: &str) -> String {
        // Not written by this process: what another test starts at that moment would inherit the open file, and the
        // kernel runs no program that somebody may write to.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"";
        let file = self.0.join("nft");
        let written =
            Command::new("/bin/sh").args(["-c", write, "sh"]).arg(&file).arg(script).status().unwrap();
        assert!(written.success());
        format!("{}:{}", self.0.display(), std::env::var("PATH").unwrap())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn doctor(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("doctor").arg("--json").args(arguments);
    command
}

/// The checks, and whether the exit code says that a node will run.
fn examined(output: &Output) -> (Vec<Value>, bool) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let checks: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!checks.is_empty(), "{output:?}");
    let code = output.status.code();
    assert!(code == Some(0) || code == Some(1), "{output:?}");
    let bad = checks.iter().any(|check| check["outcome"] == "bad");
    assert_eq!(code == Some(1), bad, "the exit code says what the lines say: {text}");
    (checks, code == Some(0))
}

fn check<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{name} in {checks:#?}"))
}

impl Scratch {
    /// What runs have left on the host and in this directory, which was theirs for temporary files.
    fn left(&self) -> Vec<String> {
        let links = fs::read_dir("/sys/class/net").unwrap().flatten().map(|link| link.file_name());
        let links =
            links.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("mgatry"));
        let files = fs::read_dir(&self.0).unwrap().flatten().map(|file| file.file_name());
        links.chain(files.filter_map(|name| name.into_string().ok()).filter(|name| name != "nft")).collect()
    }
}

#[test]
fn a_host_in_order_is_good_for_every_role() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let names = |arguments: &[&str]| {
        let output = doctor(arguments).env("TMPDIR", &scratch.0).output().unwrap();
        let (checks, healthy) = examined(&output);
        assert!(healthy, "{checks:#?}");
        assert!(
            checks.iter().all(|check| check["outcome"] != "skipped" || check["check"] == "fast-path"),
            "{checks:#?}"
        );
        checks.iter().map(|check| check["check"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = names(&[]);
    for wanted in [
        "privileges",
        "nftables",
        "intake",
        "sending",
        "standing-in",
        "forwarding",
        "anycast-address",
        "clean-end",
    ] {
        assert!(all.iter().any(|name| name == wanted), "{wanted} in {all:?}");
    }
    for (role, has, lacks) in [
        ("haa", "standing-in", "anycast-address"),
        ("ar", "anycast-address", "forwarding"),
        ("ai", "sending", "standing-in"),
    ] {
        let checked = names(&["--role", role]);
        assert!(
            checked.iter().any(|name| name == has) && !checked.iter().any(|name| name == lacks),
            "{role}: {checked:?}"
        );
    }
    assert_eq!(scratch.left(), [""; 0]);
}

#[test]
fn one_thing_missing_is_named_with_its_remedy() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let without = |capabilities: &str| {
        let mut command = Command::new("setpriv");
        command.args([
            "--bounding-set",
            capabilities,
            "--inh-caps",
            capabilities,
            PROGRAM,
            "doctor",
            "--json",
        ]);
        command
    };
    let mut no_nft = doctor(&[]);
    no_nft.env("PATH", "/nonexistent");
    let mut no_tun = Command::new("unshare");
    no_tun.args([
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none /dev/net && exec \"$0\" doctor --json",
        PROGRAM,
    ]);
    let no_interface = doctor(&["--interface", "nosuch0"]);
    let loopback = doctor(&["--interface", "lo"]);
    for (mut command, name, what, remedy) in [
        (without("-net_admin"), "privileges", "CAP_NET_ADMIN lacking", "run as root"),
        (without("-net_raw"), "privileges", "CAP_NET_RAW lacking", "run as root"),
        (no_nft, "nftables", "nft is missing", "install the package nftables"),
        (no_tun, "tunnel-device", "/dev/net/tun cannot be opened", "modprobe tun"),
        (no_interface, "interface", "there is no interface nosuch0", "lo"),
        (loopback, "interface", "lo cannot be used", "Ethernet"),
    ] {
        let (checks, healthy) = examined(&command.env("TMPDIR", &scratch.0).output().unwrap());
        assert!(!healthy);
        let found = check(&checks, name);
        assert_eq!(found["outcome"], "bad", "{found}");
        assert!(found["seen"].as_str().unwrap().contains(what), "{found}");
        assert!(found["remedy"].as_str().unwrap().contains(remedy), "{found}");
        // Nothing is tried on a host that lacks something.
        assert_eq!(check(&checks, "trial")["outcome"], "skipped");
    }
    // Without the privilege for a namespace of its own nothing is tried on the host instead.
    let (checks, healthy) = examined(&without("-sys_admin").output().unwrap());
    assert!(healthy, "{checks:#?}");
    let trial = check(&checks, "trial");
    assert!(
        trial["outcome"] == "skipped" && trial["seen"].as_str().unwrap().contains("run as root"),
        "{trial}"
    );
    assert_eq!(scratch.left(), [""; 0]);
}

/// Everything seems to be there, but the host does not do what it should: only trying it out shows it.
#[test]
fn a_host_that_does_not_do_it_is_found_out() {
    if !is_root() {
        return;
    }
    let real =
        ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].iter().find(|file| Path::new(file).exists()).unwrap();
    let version = format!("if [ \"$1\" = --version ]; then exec {real} --version; fi\n");
    // The node's own rules go in, and then a firewall that is in the way. It is the scratch namespace's.
    let firewall = |hook: &str| {
        format!(
            "{version}{real} \"$@\" || exit 1\n{real} 'table ip6 wall {{ chain c {{ type filter hook {hook} priority 0; \
             policy drop; meta l4proto icmpv6 accept; }}; }}'"
        )
    };
    for (nft, role, name, what) in [
        (version.clone(), "ai", "intake", "the kernel answered a home address option with an ICMPv6 error"),
        (firewall("output"), "ai", "sending", "the kernel does not send it"),
        (firewall("forward"), "haa", "standing-in", "a packet to the anycast address did not come in"),
        (firewall("input"), "ar", "anycast-address", "reaches no program"),
    ] {
        let scratch = Scratch::new();
        let path = scratch.nft(&nft);
        let (checks, healthy) = examined(
            &doctor(&["--role", role]).env("PATH", path).env("TMPDIR", &scratch.0).output().unwrap(),
        );
        let found = check(&checks, name);
        assert!(!healthy && found["outcome"] == "bad", "{checks:#?}");
        assert!(found["seen"].as_str().unwrap().contains(what), "{found}");
        assert!(!found["remedy"].as_str().unwrap().is_empty());
        assert_eq!(scratch.left(), [""; 0]);
    }
}
