//! Thesis Figure 11 in network namespaces: a router with five hosts around it, and nodes started in them.
//! The addresses are those of thesis section 5; every namespace and process goes with its value.
//! Called by all tests of the running program.

use std::{
    fs,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mga_node::platform::netns::{self, NetworkNamespace, WireEnd};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::evidence::{Recorder, judge};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_mga-node");
pub const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);
/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A place in Figure 11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Haa,
    Ai1,
    Ai2,
    Ar1,
    Ar2,
}

impl At {
    const ALL: [Self; 5] = [Self::Haa, Self::Ai1, Self::Ai2, Self::Ar1, Self::Ar2];

    fn number(self) -> u16 {
        self as u16 + 1
    }

    /// The address of the host there.
    pub fn address(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, self.number(), 0, 0, 0, 2)
    }

    /// The router's interface towards it.
    pub fn router_interface(self) -> String {
        format!("n{}", self.number())
    }

    /// The Ethernet address of the host there.
    pub fn link_address(self) -> [u8; 6] {
        [2, 0, 0, 0, self.number() as u8, 2]
    }

    /// [`At::link_address`] as text.
    pub fn ethernet(self) -> String {
        self.link_address().map(|octet| format!("{octet:02x}")).join(":")
    }
}

/// The kernel's table of neighbours is small, and one for all namespaces: where it is full nobody can send.
static ALONE: RwLock<()> = RwLock::new(());

/// Held as long as a network is there.
#[expect(dead_code, reason = "held, not read")]
enum Place {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// False while neighbours of networks that are gone fill half of the kernel's table; true where that cannot be read.
fn there_is_room_for_neighbours() -> bool {
    let number = |path: &str, radix| {
        let text = fs::read_to_string(path).ok()?;
        u32::from_str_radix(text.lines().last()?.split_whitespace().next()?, radix).ok()
    };
    let most = number("/proc/sys/net/ipv6/neigh/default/gc_thresh3", 10);
    let now = number("/proc/net/stat/ndisc_cache", 16);
    most.zip(now).is_none_or(|(most, now)| now < most / 2)
}

pub struct Figure11 {
    /// What the hosts say, where that is to be judged at the end.
    recorder: Option<Recorder>,
    pub router: NetworkNamespace,
    hosts: Vec<NetworkNamespace>,
    pub scratch: PathBuf,
    // Last, so that it is given up when everything else is gone.
    _place: Place,
}

impl Figure11 {
    /// The network; everything that its hosts send is judged when it goes.
    pub fn new() -> Self {
        let place = ALONE.read().unwrap_or_else(PoisonError::into_inner);
        let mut network = Self::build(Place::Shared(place));
        let capture = network.scratch.join("hosts.pcap");
        network.recorder = Some(Recorder::start(&network.router, "any", capture));
        network
    }

    /// The network for tests whose hosts say so much that the kernels leave the sums to adapters that are not there.
    pub fn unjudged() -> Self {
        Self::build(Place::Shared(ALONE.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The network for tests whose hosts are told nonsense: they quote it in their errors, which nobody judges, and
    /// make so many neighbours of it that no other network may be there meanwhile.
    pub fn alone() -> Self {
        Self::build(Place::Alone(ALONE.write().unwrap_or_else(PoisonError::into_inner)))
    }

    fn build(place: Place) -> Self {
        until(PATIENCE, there_is_room_for_neighbours);
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let tag = format!("mgad-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let scratch = std::env::temp_dir().join(&tag);
        fs::create_dir_all(&scratch).expect("a scratch directory");
        let make =
            |name: String| NetworkNamespace::create(&format!("{tag}-{name}")).expect("these tests need root");
        let network = Self {
            recorder: None,
            _place: place,
            router: make("rt".to_owned()),
            hosts: At::ALL.iter().map(|at| make(format!("{at:?}").to_lowercase())).collect(),
            scratch,
        };
        network.router.set_forwarding().expect("forwarding");
        for at in At::ALL {
            let interface = at.router_interface();
            let host = network.host(at);
            let gateway = Ipv6Addr::new(0x2001, 0xdb8, 0, at.number(), 0, 0, 0, 1);
            netns::connect(
                WireEnd { namespace: host, interface: "eth0", link_address: at.link_address() },
                WireEnd {
                    namespace: &network.router,
                    interface: &interface,
                    link_address: [2, 0, 0, 0, at.number() as u8, 1],
                },
            )
            .expect("a wire");
            host.add_address("eth0", at.address(), 64).expect("an address");
            network.router.add_address(&interface, gateway, 64).expect("an address");
            host.set_default_route(gateway).expect("a route");
        }
        network
    }

    pub fn host(&self, at: At) -> &NetworkNamespace {
        &self.hosts[at as usize]
    }

    pub fn control(&self, at: At) -> PathBuf {
        self.scratch.join(format!("{at:?}")).join("node.sock")
    }

    /// A command that runs at a place.
    pub fn command(&self, at: At, program: &str) -> Command {
        let mut command = Command::new(program);
        netns::in_namespace(&mut command, self.host(at)).expect("a descriptor");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command line at a place and returns what it printed; it must succeed.
    pub fn run(&self, at: At, line: &[&str]) -> String {
        let output = self.command(at, line[0]).args(&line[1..]).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Runs `mga-node` with these arguments at a place to its end.
    pub fn program(&self, at: At, arguments: &[&str]) -> Output {
        self.command(at, PROGRAM).args(arguments).output().expect("the program runs")
    }

    /// True when the anycast address answers a ping from a place, within patience.
    pub fn reaches(&self, at: At) -> bool {
        let ping = ["-c", "1", "-W", "1", "2001:db8:0:1::a"];
        until(PATIENCE, || self.command(at, "ping").args(ping).output().expect("ping runs").status.success())
    }

    /// Starts a node, whatever becomes of it.
    pub fn start_without_waiting(&self, at: At, arguments: &[&str]) -> Node {
        let control = self.control(at);
        let log = self.scratch.join(format!("{at:?}.log"));
        let child = self
            .command(at, PROGRAM)
            .args(arguments)
            .args(["--interface", "eth0", "--control"])
            .arg(&control)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("the program runs");
        Node { child, control, log }
    }

    /// Starts a node and waits until it says that it runs.
    pub fn start(&self, at: At, arguments: &[&str]) -> Node {
        let mut node = self.start_without_waiting(at, arguments);
        let started = until(PATIENCE, || node.log().contains("node started") || !node.is_alive());
        assert!(started && node.is_alive(), "{at:?} {arguments:?}:\n{}", node.log());
        node
    }

    pub fn start_agent(&self) -> Node {
        self.start(At::Haa, &AGENT)
    }

    /// Starts a responder and waits until the agent has its binding.
    pub fn start_responder(&self, at: At, agent: &Node) -> Node {
        let node = self.start(at, &RESPONDER);
        let bound =
            || agent.show("bindings").pointer("/0/care_of") == Some(&Value::from(at.address().to_string()));
        assert!(until(PATIENCE, bound), "no binding:\n{}\n{}", agent.log(), node.log());
        let usable = || node.show("updates").pointer("/agents/0/remaining").is_some_and(|left| left != 0);
        assert!(until(PATIENCE, usable), "no acknowledgement:\n{}", node.log());
        node
    }

    /// Everything a node may change at a place, as text.
    pub fn system(&self, at: At) -> String {
        let script = "ip -6 addr; ip -6 route show table all; ip -6 rule; ip -6 neigh show proxy; ip -6 maddr; \
                      ip link; nft list ruleset; cd /proc/sys/net/ipv6 && grep -r . . 2>/dev/null | sort";
        self.run(at, &["sh", "-c", script])
    }

    /// The files in the nodes' control directories.
    pub fn files(&self) -> Vec<PathBuf> {
        let directories = At::ALL.map(|at| self.scratch.join(format!("{at:?}")));
        // A directory that is not there has no files.
        let mut files: Vec<_> = directories
            .iter()
            .filter_map(|directory| fs::read_dir(directory).ok())
            .flatten()
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        files
    }
}

/// A directory that goes with this value.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        // Nothing is lost with it but the evidence of a failure that has been told.
        let _ = fs::remove_dir_all(self.0);
    }
}

impl Drop for Figure11 {
    fn drop(&mut self) {
        let recorder = self.recorder.take();
        let _removed = Removed(&self.scratch);
        // A failed test has said what matters already.
        if let Some(recorder) = recorder.filter(|_| !thread::panicking()) {
            judge(&recorder.stop());
        }
    }
}

pub const AGENT: [&str; 9] = [
    "--role",
    "haa",
    "--agent",
    "2001:db8:0:1::2",
    "--anycast",
    "2001:db8:0:1::a",
    "--authentication",
    "none",
    "--no-duplicate-address-detection",
];
pub const RESPONDER: [&str; 12] = [
    "--role",
    "ar",
    "--agent",
    "2001:db8:0:1::2",
    "--anycast",
    "2001:db8:0:1::a",
    "--authentication",
    "none",
    "--lifetime",
    "96",
    "--initial-sequence",
    "200",
];
pub const INITIATOR: [&str; 2] = ["--role", "ai"];

/// A running `mga-node`; killed when dropped.
pub struct Node {
    child: Child,
    pub control: PathBuf,
    log: PathBuf,
}

impl Node {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the log")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("signalled");
    }

    /// Waits for the end.
    pub fn ended(&mut self, patience: Duration) -> ExitStatus {
        let mut status = None;
        until(patience, || {
            status = self.child.try_wait().expect("its state");
            status.is_some()
        });
        status.unwrap_or_else(|| panic!("still running after {patience:?}:\n{}", self.log()))
    }

    /// Ends it cleanly.
    pub fn stop(mut self) {
        self.signal(Signal::SIGINT);
        let status = self.ended(PATIENCE);
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    /// Runs `mga-node ARGUMENTS --control ...` against it.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM).args(arguments).arg("--control").arg(&self.control).output().expect("it runs")
    }

    /// `show WHAT --json`.
    pub fn show(&self, what: &str) -> Value {
        let output = self.ask(&["show", what, "--json"]);
        assert!(output.status.success(), "show {what}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// All counters of `show stats` added up.
    pub fn counted(&self) -> u64 {
        let stats = self.show("stats");
        let groups = stats.as_object().expect("groups").values();
        groups
            .flat_map(|group| group.as_object().expect("counters").values())
            .map(|count| count.as_u64().expect("a count"))
            .sum()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until `done`; false when patience ran out.
pub fn until(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !done() {
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// One process that is killed when dropped.
pub struct Background(pub Child);

impl Drop for Background {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `watch --json` of one node.
pub struct Watch(Background);

impl Figure11 {
    /// Follows a node; its events count from the return of this on.
    pub fn watch(&self, node: &Node) -> Watch {
        let child = Command::new(PROGRAM)
            .args(["watch", "--json", "--control"])
            .arg(&node.control)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let pid = child.id();
        let connected = until(PATIENCE, || node.show("config")["running"]["watchers"] == 1);
        assert!(connected, "process {pid} does not watch");
        Watch(Background(child))
    }
}

impl Watch {
    /// All events until the node ends, which must be soon.
    pub fn rest(&mut self) -> Vec<Value> {
        let stdout = self.0.0.stdout.take().expect("a pipe");
        std::io::read_to_string(stdout)
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str(line).expect("one JSON object per line"))
            .collect()
    }
}
