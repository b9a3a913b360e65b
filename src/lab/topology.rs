//! Figure 11 of the thesis as values, and as network namespaces with wires between them.
//! Five networks meet in one router: the home network with its agent, two initiators', two responders'.
//! `lab::section5` builds it, and the claims take its addresses from here.

use std::{
    fs, io, mem,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, unistd::Pid};

use super::machine::NamespaceMachine;
use crate::platform::{
    self,
    netns::{self, NetworkNamespace, WireEnd},
};

/// A node of Figure 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// Anycast initiator 1.
    Ai1,
    /// Anycast initiator 2.
    Ai2,
    /// The router between the five networks.
    Rt,
    /// The home anycast agent.
    Haa,
    /// Anycast responder 1.
    Ar1,
    /// Anycast responder 2.
    Ar2,
}

/// The anycast address A_Any, on the home network.
pub const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);

/// The interface of every node but the router, whose interfaces are `n1` to `n5` after their network.
pub const INTERFACE: &str = "eth0";

impl Node {
    /// All nodes, in the order in which they are drawn.
    pub const ALL: [Node; 6] = [Node::Ai1, Node::Ai2, Node::Rt, Node::Haa, Node::Ar1, Node::Ar2];

    /// The nodes that are one interface on one network.
    pub const HOSTS: [Node; 5] = [Node::Haa, Node::Ai1, Node::Ai2, Node::Ar1, Node::Ar2];

    /// As the thesis writes it.
    pub fn name(self) -> &'static str {
        match self {
            Node::Ai1 => "AI1",
            Node::Ai2 => "AI2",
            Node::Rt => "RT",
            Node::Haa => "HAA",
            Node::Ar1 => "AR1",
            Node::Ar2 => "AR2",
        }
    }

    /// As files and namespaces are called after it.
    pub fn file_name(self) -> &'static str {
        match self {
            Node::Ai1 => "ai1",
            Node::Ai2 => "ai2",
            Node::Rt => "rt",
            Node::Haa => "haa",
            Node::Ar1 => "ar1",
            Node::Ar2 => "ar2",
        }
    }

    /// Its network N, 2001:db8:0:N::/64; the router's is the home network, where it is captured.
    pub fn network(self) -> u16 {
        match self {
            Node::Rt | Node::Haa => 1,
            Node::Ai1 => 2,
            Node::Ai2 => 3,
            Node::Ar1 => 4,
            Node::Ar2 => 5,
        }
    }

    /// Its unicast address; a responder's is its care-of address (PUA).
    pub fn address(self) -> Ipv6Addr {
        match self {
            Node::Rt => router_address(1),
            node => Ipv6Addr::new(0x2001, 0xdb8, 0, node.network(), 0, 0, 0, 2),
        }
    }

    /// The interface on which it is captured.
    fn captured_interface(self) -> &'static str {
        match self {
            Node::Rt => router_interface(1),
            _ => INTERFACE,
        }
    }
}

/// The router's address on network `network`.
pub fn router_address(network: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, 1)
}

fn router_interface(network: u16) -> &'static str {
    match network {
        2 => "n2",
        3 => "n3",
        4 => "n4",
        5 => "n5",
        _ => "n1",
    }
}

/// Ethernet address on network `network`: host 1 is the router, 2 the node.
fn link_address(network: u16, host: u8) -> [u8; 6] {
    [2, 0, 0, 0, u8::try_from(network).unwrap_or_default(), host]
}

/// The link-local address the kernel makes of such an Ethernet address (RFC 4291 appendix A).
fn link_local(network: u16, host: u8) -> Ipv6Addr {
    let [a, b, c, d, e, f] = link_address(network, host);
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Whose address is whose. A_Any counts as the agent's, which intercepts what is sent to it, and so does the
/// address by which a responder discovers the agents of the home network (RFC 3775 section 5.3).
pub fn owners() -> Vec<(Ipv6Addr, &'static str)> {
    let agents = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe);
    let mut owners = vec![(ANYCAST, Node::Haa.name()), (agents, Node::Haa.name())];
    for node in Node::HOSTS {
        let network = node.network();
        owners.push((node.address(), node.name()));
        owners.push((link_local(network, 2), node.name()));
        owners.push((router_address(network), Node::Rt.name()));
        owners.push((link_local(network, 1), Node::Rt.name()));
    }
    owners
}

/// Figure 11, built. Everything is gone when it is dropped.
#[derive(Debug)]
pub struct Topology {
    namespaces: Vec<(Node, NetworkNamespace)>,
    directory: PathBuf,
    keep: bool,
}

/// What namespaces and runtime directories of a lab begin with; the process id of the lab follows.
const PREFIX: &str = "mga5-";

impl Topology {
    /// Removes what killed labs left, then builds the six namespaces and their five networks.
    ///
    /// # Errors
    /// What `ip` or the kernel says; nothing is left behind then.
    pub fn build() -> Result<Topology, platform::Error> {
        sweep();
        let process = process::id();
        let directory = Path::new("/run").join(format!("{PREFIX}{process}"));
        // Dropping this on an early return takes down what has been built so far.
        let mut topology = Topology { namespaces: Vec::new(), directory, keep: false };
        fs::create_dir_all(&topology.directory).map_err(|source| platform::Error::Io {
            what: format!("create {}", topology.directory.display()),
            source,
        })?;
        for node in Node::ALL {
            let namespace = NetworkNamespace::create(&format!("{PREFIX}{process}-{}", node.file_name()))?;
            topology.namespaces.push((node, namespace));
            let namespace = topology.namespace(node);
            for interface in ["all", "default"] {
                let set = |key: &str, value| {
                    namespace.set_parameter(&format!("net/ipv6/conf/{interface}/{key}"), value)
                };
                // Static addresses only: the captures shall hold what the scenario sends.
                set("accept_ra", "0")?;
                set("router_solicitations", "0")?;
                set("accept_dad", "0")?;
                set("dad_transmits", "0")?;
            }
        }
        let router = topology.namespace(Node::Rt);
        router.set_forwarding()?;
        for node in Node::HOSTS {
            let (network, namespace) = (node.network(), topology.namespace(node));
            let host_end =
                WireEnd { namespace, interface: INTERFACE, link_address: link_address(network, 2) };
            let interface = router_interface(network);
            let router_end = WireEnd { namespace: router, interface, link_address: link_address(network, 1) };
            netns::connect(host_end, router_end)?;
            router.add_address(interface, router_address(network), 64)?;
            namespace.add_address(INTERFACE, node.address(), 64)?;
            namespace.set_default_route(router_address(network))?;
        }
        Ok(topology)
    }

    /// A node's namespace.
    pub fn namespace(&self, node: Node) -> &NetworkNamespace {
        let found = self.namespaces.iter().find(|(there, _)| *there == node);
        // `build` returns only with all six.
        let (_, namespace) = found.unwrap_or_else(|| unreachable!("{} was not built", node.name()));
        namespace
    }

    /// A node as a machine of the lab, on which `program` is the node's program and `telnetd` answers telnet.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn machine(
        &self,
        node: Node,
        program: &Path,
        telnetd: &Path,
    ) -> Result<NamespaceMachine, platform::Error> {
        Ok(NamespaceMachine {
            name: node.name().to_owned(),
            interface: node.captured_interface().to_owned(),
            namespace: self.namespace(node).handle()?,
            directory: self.directory.clone(),
            program: program.to_owned(),
            telnetd: telnetd.to_owned(),
        })
    }

    /// A directory for sockets and scripts, short enough for a socket's address; it goes with the topology.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Leaves the namespaces for inspection, until the next start of a lab.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        if self.keep {
            for (_, namespace) in self.namespaces.drain(..) {
                // Dropping it would delete it.
                mem::forget(namespace);
            }
            return;
        }
        for (_, namespace) in &self.namespaces {
            end_processes_in(namespace.name());
        }
        self.namespaces.clear();
        if let Err(error) = fs::remove_dir_all(&self.directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, directory = %self.directory.display(), "could not be removed");
        }
    }
}

/// Removes the namespaces, processes and directories of labs that are no longer running, as a killed one leaves
/// them (and one that was told to keep them). Returns the names of the namespaces.
pub fn sweep() -> Vec<String> {
    let entries = |directory: &str| -> Vec<String> {
        let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let abandoned = |name: &String| match name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) {
        Some(process) => process.parse().is_ok_and(|process: u32| !is_running_lab(process)),
        None => false,
    };
    let mut swept = Vec::new();
    for name in entries("/run/netns").into_iter().filter(abandoned) {
        end_processes_in(&name);
        let deleted = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
        if deleted.is_ok_and(|status| status.success()) {
            swept.push(name);
        }
    }
    for name in entries("/run").into_iter().filter(abandoned) {
        if let Err(error) = fs::remove_dir_all(Path::new("/run").join(&name)) {
            tracing::warn!(%error, name, "what a killed lab left could not be removed");
        }
    }
    swept
}

/// A process of this number and of the same program as this one. (A kernel that gave the number to something
/// else must not keep the remains of a lab alive.)
fn is_running_lab(process: u32) -> bool {
    let program = |process: &str| fs::read_link(format!("/proc/{process}/exe")).ok();
    match (program(&process.to_string()), program("self")) {
        (Some(theirs), Some(ours)) => theirs.file_name() == ours.file_name(),
        _ => false,
    }
}

/// Ends the processes in one of our namespaces: they were started by a lab and by nobody else.
fn end_processes_in(namespace: &str) {
    let inside = || -> Vec<Pid> {
        let listing = Command::new("ip").args(["netns", "pids", namespace]).stderr(Stdio::null()).output();
        let Ok(listing) = listing else { return Vec::new() };
        let text = String::from_utf8_lossy(&listing.stdout);
        let own = Pid::this();
        text.lines()
            .filter_map(|line| line.trim().parse().ok().map(Pid::from_raw))
            .filter(|pid| *pid != own)
            .collect()
    };
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut signal = Signal::SIGTERM;
    loop {
        let processes = inside();
        if processes.is_empty() {
            return;
        }
        for process in processes {
            // One that ended meanwhile is no error.
            let _ = nix::sys::signal::kill(process, signal);
        }
        if Instant::now() > deadline {
            if signal == Signal::SIGKILL {
                return;
            }
            signal = Signal::SIGKILL;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
