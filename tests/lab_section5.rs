//! The whole of `mga-node lab section5` with the built binary: every claim must hold, and nothing must be left behind,
//! also after a Ctrl-C half way.
//! Needs root, as the lab does; without it each test says that it was skipped.
//! Run by `cargo test --test lab_section5 -- --nocapture` to watch it.

#![cfg(lab)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use mga_node::{
    lab::{
        self, Error, Interruption, LabOptions, claims,
        figure11::{self, Node},
        hosts,
        machine::SshMachine,
        node::Launcher,
    },
    pcap::{
        capture::{self, Frame},
        passage::Trace,
        report::{Finding, Verdict},
        view::View,
    },
};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

#[path = "lab_section5/sshd.rs"]
mod sshd;

/// The two runs share two cores; one after the other they are quicker.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> Option<MutexGuard<'static, ()>> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    Some(ONE.lock().unwrap_or_else(PoisonError::into_inner))
}

fn options(out: &Path, quiet: bool) -> LabOptions {
    LabOptions {
        out: out.to_owned(),
        keep: false,
        forwarding: "auto".to_owned(),
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_mga-node"))),
        quiet,
        hosts: None,
    }
}

/// Namespaces and directories of the lab in this process.
fn left_by(process: u32) -> Vec<String> {
    let prefix = format!("mga5-{process}");
    ["/run/netns", "/run"]
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

/// The captures of a step, with each packet given to `keep`: the time since the step's first one, and what it is.
fn captures(out: &Path, step: &str, keep: impl Fn(Duration, &View) -> bool) -> Trace {
    let mut nodes: Vec<(String, Vec<Frame>)> = Node::ALL
        .iter()
        .map(|node| {
            let file = out.join(step).join(format!("{}.pcap", node.file_name()));
            (node.name().to_owned(), capture::read(&file).unwrap())
        })
        .collect();
    let start = nodes.iter().filter_map(|(_, frames)| frames.first()).map(|frame| frame.at).min().unwrap();
    for (_, frames) in &mut nodes {
        frames.retain(|frame| keep(frame.at - start, &View::parse(&frame.ipv6).unwrap()));
    }
    Trace::new(nodes, &figure11::owners())
}

fn verdict(findings: &[Finding], name: &str) -> Verdict {
    findings.iter().find(|finding| finding.name == name).unwrap().verdict
}

/// The run in namespaces, which happens once.
fn in_namespaces() -> &'static (PathBuf, lab::Outcome) {
    static RUN: OnceLock<(PathBuf, lab::Outcome)> = OnceLock::new();
    RUN.get_or_init(|| {
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("section5");
        let outcome = lab::section5(&options(&out, false)).unwrap();
        (out, outcome)
    })
}

// covers: H027 H028 H029 N062 X001 X003 X004 X005 X006 X007
#[test]
fn every_claim_of_section_5_holds() {
    let Some(_one) = alone() else { return };
    let (out, outcome) = in_namespaces();
    let failed: Vec<String> = outcome
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fail)
        .map(ToString::to_string)
        .collect();
    assert_eq!(failed, [""; 0]);
    assert!(outcome.held());
    assert!(outcome.seconds < 60.0, "{} s", outcome.seconds);
    for file in
        ["report.html", "outcome.json", "5.1/haa.pcap", "5.2/ladder.txt", "5.3/ladder.svg", "logs/ar1.log"]
    {
        assert!(fs::metadata(out.join(file)).unwrap().len() > 0, "{file}");
    }
    assert_eq!(left_by(std::process::id()), [""; 0]);

    // What the KAME captures cannot show, because less was done there: the claims about it fail when it is taken out.
    let all = captures(out, "5.2", |_, _| true);
    assert_eq!(verdict(&claims::section5_2(&all), "rebinding-again"), Verdict::Pass);
    let without = captures(out, "5.2", |_, view| {
        view.echo_reply().is_none() || view.outer.source != Node::Ar1.address()
    });
    assert_eq!(verdict(&claims::section5_2(&without), "rebinding-again"), Verdict::Fail);
    let silent = captures(out, "5.3", |_, view| {
        view.tcp().is_none_or(|segment| segment.payload == 0) || view.outer.home_address.is_none()
    });
    let without_telnet = captures(out, "5.3", |_, view| view.tcp().is_none());
    for name in ["telnet-survives-ai1", "telnet-survives-ai2"] {
        assert_eq!(verdict(&claims::section5_3(&captures(out, "5.3", |_, _| true)), name), Verdict::Pass);
        assert_eq!(verdict(&claims::section5_3(&silent), name), Verdict::Fail);
        assert_eq!(verdict(&claims::section5_3(&without_telnet), name), Verdict::Fail);
    }
}

/// Six machines with an sshd each, clocks that differ, one login shell csh, played by the one command that follows
/// `vagrant up`, with a stand-in for Vagrant: the same verdicts, claim by claim.
#[test]
fn over_ssh_every_verdict_is_the_same() {
    let Some(_one) = alone() else { return };
    let expected = serde_json::json!(in_namespaces().1);
    let program = env!("CARGO_BIN_EXE_mga-node");
    let Some(machines) = sshd::Machines::build(Path::new(program)) else { return };
    assert_eq!(machines.ssh("ar1", "echo $shell; sudo -n id -u"), "/bin/csh\n0");
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("section5-ssh");
    let path = std::env::var("PATH").unwrap();
    let status = Command::new("sh")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("vagrant/section5.sh"))
        .env("PATH", format!("{}:{path}", machines.directory().join("vagrant").display()))
        .env("MGA_NODE", program)
        .env("MGA_OUT", &out)
        .status()
        .unwrap();
    machines.wait_until_idle();
    let outcome: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(out.join("outcome.json")).unwrap()).unwrap();
    let verdicts = |outcome: &serde_json::Value| -> Vec<String> {
        let findings = outcome["findings"].as_array().unwrap();
        findings.iter().map(|it| format!("{} {} {}", it["step"], it["name"], it["verdict"])).collect()
    };
    assert_eq!(verdicts(&outcome), verdicts(&expected));
    assert!(status.success(), "{status}");
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("on machines of their own") && report.contains("reached as ar1"));
    for file in ["5.1/ar1.pcap", "5.2/rt.pcap", "5.3/all.pcapng", "logs/haa.log"] {
        assert!(fs::metadata(out.join(file)).unwrap().len() > 0, "{file}");
    }
    // The files have one clock, too: an hour between AI1's and the others' would be in the way of every other tool.
    let start = |node: &str| capture::read(&out.join("5.2").join(node)).unwrap()[0].at;
    let apart = start("ai1.pcap").abs_diff(start("rt.pcap"));
    assert!(apart < Duration::from_secs(60), "{apart:?}");
}

/// Ctrl-C, and the lab's death without a word: in both cases nothing goes on on the machines.
#[test]
fn over_ssh_nothing_goes_on_without_the_lab() {
    let Some(_one) = alone() else { return };
    let program = Path::new(env!("CARGO_BIN_EXE_mga-node"));
    let Some(machines) = sshd::Machines::build(program) else { return };
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("section5-ssh-ended");
    for (sent, code) in [(Signal::SIGINT, Some(130)), (Signal::SIGKILL, None)] {
        let mut lab = Command::new(program)
            .args(["lab", "section5", "--json", "--hosts"])
            .arg(machines.hosts())
            .arg("--out")
            .arg(&out)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while !machines.processes().iter().any(|process| process.contains("--role ar")) {
            assert!(lab.try_wait().unwrap().is_none(), "the lab runs");
            assert!(begin.elapsed() < Duration::from_secs(60), "AR1 begins: {:?}", machines.processes());
            std::thread::sleep(Duration::from_millis(10));
        }
        signal::kill(Pid::from_raw(i32::try_from(lab.id()).unwrap()), sent).unwrap();
        assert_eq!(lab.wait().unwrap().code(), code);
        machines.wait_until_idle();
    }
}

/// A guest is told what it must know, and started, told to register and stopped by its own commands.
#[test]
fn over_ssh_a_real_guest_stands_in_place_of_a_node() {
    let Some(_one) = alone() else { return };
    let Some(machines) = sshd::Machines::build(Path::new("/bin/false")) else { return };
    let diary = machines.directory().join("diary");
    let diary = diary.display();
    let told = "$ROLE $INTERFACE $AGENT $CARE_OF $ANYCAST $INITIAL_SEQUENCE $NO_ROUTE_OPTIMISATION";
    let guest = format!(
        "machine.AR1 = {{ guest = {{ is = \"KAME\", start = \"echo start {told} '!' >>{diary}\", \
         register = \"echo register >>{diary}\", stop = \"echo stop >>{diary}\" }}, "
    );
    let hosts = hosts::read(&machines.hosts_with("machine.AR1 = { ", &guest), &figure11::plan()).unwrap();
    let host = hosts.iter().find(|host| host.name == "AR1").unwrap();
    let interruption = Interruption::watch().unwrap();
    let machine = SshMachine::connect(host, machines.directory(), &interruption).unwrap();
    let launcher = Launcher {
        logs: machines.directory().to_owned(),
        forwarding: "auto".to_owned(),
        interruption: &interruption,
    };
    let flags = [
        "--agent",
        "::",
        "--care-of",
        "2001:db8:0:4::2",
        "--no-route-optimisation",
        "--anycast",
        "2001:db8::a",
    ];
    let running =
        launcher.start(&machine, "ar", &[flags.as_slice(), &["--initial-sequence", "200"]].concat()).unwrap();
    running.register("2001:db8::a").unwrap();
    assert!(running.ask(&["show", "config"]).is_err(), "a guest has no control socket");
    running.end().unwrap();
    drop(launcher.start(&machine, "ai", &[]).unwrap());
    assert_eq!(
        fs::read_to_string(machines.directory().join("diary")).unwrap(),
        "start ar eth0 :: 2001:db8:0:4::2 2001:db8::a 200 yes !\nregister\nstop\nstart ai eth0 !\nstop\n"
    );
}

#[test]
fn over_ssh_what_stands_in_the_way_is_said() {
    let Some(_one) = alone() else { return };
    let program = env!("CARGO_BIN_EXE_mga-node");
    let Some(machines) = sshd::Machines::build(Path::new(program)) else { return };
    let out = machines.directory().join("out");
    let node = format!("ssh = \"ai2\", interface = \"eth0\", system = \"linux\", program = \"{program}\"");
    for (from, to, expected) in [
        ("ssh = \"ai1\"", "ssh = \"nowhere.invalid\"", "cannot reach AI1: "),
        (
            &node,
            &node.replace("linux", "freebsd"),
            "AI2 cannot take part: the file says FreeBsd, but it is Linux",
        ),
        (
            &node,
            &node.replace(program, "/nonexistent"),
            "AI2 cannot take part: /nonexistent not found there; docs/vagrant.md",
        ),
    ] {
        let hosts = Some(machines.hosts_with(from, to));
        let error = lab::section5(&LabOptions { hosts, ..options(&out, true) }).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(error.exit_code(), 2);
        machines.wait_until_idle();
    }
}

/// A node that cannot run is a finding of every step, with its log; the run goes on and its claims fail.
#[test]
fn a_node_that_does_not_run_fails_the_claims() {
    let Some(_one) = alone() else { return };
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("no-node");
    let options = LabOptions { program: Some(PathBuf::from("/bin/false")), ..options(&out, true) };
    let outcome = lab::section5(&options).unwrap();
    assert!(!outcome.held());
    for step in ["5.1", "5.2", "5.3"] {
        let own: Vec<&Finding> = outcome.findings.iter().filter(|finding| finding.step == step).collect();
        let scenario = own.iter().find(|finding| finding.name == "scenario").unwrap();
        assert_eq!(scenario.verdict, Verdict::Fail);
        assert!(scenario.seen.contains("HAA ended at once"), "{}", scenario.seen);
        let held: Vec<&str> = own
            .iter()
            .filter(|finding| finding.verdict == Verdict::Pass)
            .map(|finding| finding.name.as_str())
            .collect();
        // The few packets of the bare link are in order, that is all.
        assert!(held.iter().all(|name| ["well-formed", "tshark"].contains(name)), "{held:?}");
    }
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("HAA ended at once"));
    assert_eq!(left_by(std::process::id()), [""; 0]);
}

/// Not a test by itself: the next one runs it in a process that it interrupts.
#[test]
#[ignore = "runs the lab and waits to be interrupted"]
fn run_until_interrupted() {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interrupted");
    match lab::section5(&options(&out, true)) {
        Err(Error::Interrupted) => assert_eq!(Error::Interrupted.exit_code(), 130),
        other => panic!("not interrupted: {other:?}"),
    }
}

#[test]
fn nothing_is_left_after_ctrl_c() {
    let Some(_one) = alone() else { return };
    for wanted in [["haa.sock", "ar1.sock"].as_slice(), &[]] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "run_until_interrupted"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = child.id();
        let begin = Instant::now();
        // In the midst of a step with nodes running, and while the networks are still being made.
        let directory = PathBuf::from(format!("/run/mga5-{process}"));
        while !directory.exists() || !wanted.iter().all(|file| directory.join(file).exists()) {
            assert!(begin.elapsed() < Duration::from_secs(10), "the lab begins");
            std::thread::sleep(Duration::from_millis(1));
        }
        signal::kill(Pid::from_raw(i32::try_from(process).unwrap()), Signal::SIGINT).unwrap();
        let interrupted = Instant::now();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
        assert!(interrupted.elapsed() < Duration::from_secs(10));
        assert_eq!(left_by(process), [""; 0]);
    }
}

#[test]
fn what_the_lab_lacks_is_said_in_one_line_each() {
    let missing = |program, purpose, package| lab::MissingProgram { program, purpose, package };
    let error = Error::Missing(vec![
        missing("telnet", "continuous traffic", "telnet"),
        missing("telnetd", "answers telnet", "inetutils-telnetd"),
    ]);
    assert_eq!(
        error.to_string(),
        "telnet (continuous traffic) is not installed: apt install telnet\n\
         telnetd (answers telnet) is not installed: apt install inetutils-telnetd"
    );
    assert_eq!(error.exit_code(), 2);
    assert_eq!(Error::NotPermitted.exit_code(), 2);
}
