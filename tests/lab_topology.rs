//! The lab's Figure 11 in real network namespaces: it stands, carries, is captured, and is gone afterwards.
//! Needs root, as the lab does; without it each test says that it was skipped.
//! Run by `cargo test --test lab_topology`.

#![cfg(lab)]

use std::{
    fs,
    net::Ipv6Addr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mga_node::{
    lab::{
        Interruption,
        capturing::Captures,
        figure11::{self, ANYCAST, Node},
        machine::{Machine, NamespaceMachine},
        topology::{self, Topology},
        traffic::{self, Telnet},
    },
    pcap::{capture, passage::Trace},
};

/// One topology per process: its name is made of the process id.
static ONE: Mutex<()> = Mutex::new(());

/// `None`, said aloud, when this is not run as root.
fn alone() -> Option<MutexGuard<'static, ()>> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    Some(ONE.lock().unwrap_or_else(PoisonError::into_inner))
}

fn names_of(process: u32) -> Vec<String> {
    let prefix = format!("mga5-{process}");
    ["/run/netns", "/run"]
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

fn pings(topology: &Topology, from: Node, to: Ipv6Addr) -> bool {
    let namespace = topology.namespace(from.name()).name();
    let status = Command::new("ip")
        .args(["netns", "exec", namespace, "ping", "-6", "-n", "-c", "1", "-W", "2", &to.to_string()])
        .stdout(Stdio::null())
        .status();
    status.unwrap().success()
}

#[test]
fn figure_11_stands_and_is_gone_afterwards() {
    let Some(_one) = alone() else { return };
    let own = std::process::id();
    let topology = Topology::build(figure11::plan()).unwrap();
    assert_eq!(names_of(own).len(), 7, "six namespaces and a directory: {:?}", names_of(own));
    for host in Node::HOSTS {
        assert!(pings(&topology, host, figure11::router_address(host.network())), "{host:?} reaches RT");
        assert!(pings(&topology, host, Node::Haa.address()), "{host:?} reaches HAA");
    }
    assert!(pings(&topology, Node::Ai1, Node::Ar2.address()), "AI1 reaches AR2");
    let links = topology.namespace(Node::Ar2.name()).ip(&["-br", "link", "show", "eth0"]).unwrap();
    assert!(links.contains("02:00:00:00:05:02"), "{links}");
    let mut sleeper = Command::new("ip")
        .args(["netns", "exec", topology.namespace(Node::Ai1.name()).name(), "sleep", "60"])
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while fs::read_to_string(format!("/proc/{}/comm", sleeper.id())).unwrap().trim() != "sleep" {
        assert!(begin.elapsed() < Duration::from_secs(5), "the sleeper starts");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(topology);
    assert_eq!(names_of(own), [""; 0]);
    assert!(!sleeper.wait().unwrap().success(), "a process left in a namespace is ended");
}

#[test]
fn a_slow_wire_takes_its_time_both_ways() {
    let Some(_one) = alone() else { return };
    let mut plan = figure11::plan();
    let slow = plan.wires.iter_mut().find(|wire| wire.network == Node::Ar1.network()).unwrap();
    slow.delay = Some(Duration::from_millis(20));
    let topology = Topology::build(plan).unwrap();
    let namespace = topology.namespace(Node::Ai1.name()).name();
    let arguments = ["netns", "exec", namespace, "ping", "-6", "-n", "-c", "3", "-i", "0.2", "-W", "5"];
    let slow = Node::Ar1.address().to_string();
    let output = Command::new("ip").args(arguments).arg(slow).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // rtt min/avg/max/mdev = 40.1/40.2/...
    let times = text.rsplit("= ").next().and_then(|times| times.split('/').next());
    let least: f64 = times.and_then(|least| least.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    assert!(least >= 40.0, "{text}");
}

/// Not a test by itself: the next one runs it in a process that it kills.
#[test]
#[ignore = "builds Figure 11 and waits to be killed"]
fn build_and_wait() {
    let _topology = Topology::build(figure11::plan()).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_a_killed_lab_leaves_is_swept_by_the_next() {
    let Some(_one) = alone() else { return };
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "build_and_wait"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let process = child.0.id();
    let begin = Instant::now();
    // Half way: some namespaces, not yet all.
    while names_of(process).len() < 4 {
        assert!(begin.elapsed() < Duration::from_secs(10), "the other lab begins");
        std::thread::sleep(Duration::from_millis(1));
    }
    // While it lives it is left alone.
    assert!(topology::sweep().iter().all(|name| !name.starts_with(&format!("mga5-{process}-"))));
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    // The ip it had started may still be making one more namespace.
    let mut left = Vec::new();
    while left != names_of(process) {
        left = names_of(process);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(!left.is_empty(), "a killed lab leaves something");
    let topology = Topology::build(figure11::plan()).unwrap();
    assert_eq!(names_of(process), [""; 0]);
    drop(topology);
}

/// A_Any is at AR1 and then at AR2 by plain routing here: it is the lab's own tools that are tried, not a node.
#[test]
fn ping_telnet_and_captures_see_the_same() {
    let Some(_one) = alone() else { return };
    let directory = std::env::temp_dir().join(format!("mga-lab-test-{}", std::process::id()));
    let topology = Topology::build(figure11::plan()).unwrap();
    let interruption = Interruption::watch().unwrap();
    let route = |to: Node| {
        topology.namespace(Node::Rt.name()).ip(&[
            "-6",
            "route",
            "replace",
            &format!("{ANYCAST}/128"),
            "via",
            &to.address().to_string(),
        ])
    };
    let machine = |node: Node| -> NamespaceMachine {
        topology.machine(node.name(), Path::new("/bin/false"), Path::new("/usr/sbin/telnetd")).unwrap()
    };
    let mut servers = Vec::new();
    for responder in [Node::Ar1, Node::Ar2] {
        topology.namespace(responder.name()).add_address("eth0", ANYCAST, 128).unwrap();
        servers.push(traffic::serve_telnet(&machine(responder)).unwrap());
    }
    route(Node::Ar1).unwrap();
    let machines = Node::ALL.map(machine);
    let captures =
        Captures::start(machines.iter().map(|machine| machine as &dyn Machine), &directory).unwrap();
    let log = directory.join("ping.log");
    assert_eq!(traffic::ping(&machine(Node::Ai1), 3, &log, &interruption).unwrap(), 3);
    let live = captures.find("AI1", 0, |view| view.echo_reply());
    assert!(live.is_some(), "packets are seen while they are captured");
    let mut kept = Telnet::open(&machine(Node::Ai1)).unwrap();
    assert_eq!(kept.ask().unwrap(), "AR1");
    let mut lost = Telnet::open(&machine(Node::Ai2)).unwrap();
    assert_eq!(lost.ask().unwrap(), "AR1");
    assert_eq!(kept.ask().unwrap(), "AR1");
    kept.close().unwrap();
    route(Node::Ar2).unwrap();
    assert_eq!(lost.type_until_closed().unwrap(), "Connection closed by foreign host.");
    let mut other = Telnet::open(&machine(Node::Ai2)).unwrap();
    assert_eq!(other.ask().unwrap(), "AR2");
    drop(other);
    let recorded = captures.stop().unwrap();
    assert!(recorded.iter().all(|recorded| recorded.end.lost == 0), "{recorded:?}");
    let nodes = recorded
        .iter()
        .map(|recorded| (recorded.machine.clone(), capture::read(&recorded.file).unwrap()))
        .collect();
    let trace = Trace::new(nodes, &figure11::owners());
    let requests: Vec<_> = trace
        .passages
        .iter()
        .filter(|passage| matches!(&passage.view, Ok(view) if view.echo_request().is_some()))
        .collect();
    assert_eq!(requests.len(), 3, "each request is one passage, seen at both ends");
    for request in requests {
        let nodes: Vec<_> =
            request.sightings.iter().map(|sighting| trace.nodes[sighting.node].as_str()).collect();
        assert_eq!(nodes, ["AI1", "AR1"]);
    }
    fs::remove_dir_all(&directory).unwrap();
}
