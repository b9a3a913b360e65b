//! Networks of the lab: a plan of machines and wires as a value, and network namespaces made from it.
//! Figures 10 and 11 of the thesis are such plans. What a killed lab left is swept by the next one.
//! `lab::run` builds one for each step.

use std::{
    fs::{self, File},
    io, mem,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    time::{Duration, Instant},
};

use ipnet::Ipv6Net;
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
    unistd::Pid,
};

use super::{delay_line::DelayLine, machine::NamespaceMachine};
use crate::platform::{
    self,
    netns::{self, NetworkNamespace, WireEnd},
};

/// The machines of a lab and the wires between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the thesis calls it.
    pub figure: &'static str,
    /// Every machine by its name, in the order in which they are drawn.
    pub machines: Vec<&'static str>,
    /// Those that forward packets.
    pub routers: Vec<&'static str>,
    /// Those that are captured, each on its first interface.
    pub recorded: Vec<&'static str>,
    /// A machine that is not a router has its default route through its first wire.
    pub wires: Vec<Wire>,
    /// Further routes: of which machine, where to, through whom.
    pub routes: Vec<(&'static str, Ipv6Net, Ipv6Addr)>,
    /// The anycast address.
    pub anycast: Ipv6Addr,
    /// Addresses that no interface has, with the machine that takes what is sent to them.
    pub attracted: Vec<(Ipv6Addr, &'static str)>,
}

/// A wire is a network with two machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// Its number, below 256: 2001:db8:0:N::/64 where its ends have addresses.
    pub network: u16,
    /// Host 1, the router, and host 2.
    pub ends: [End; 2],
    /// How long a packet takes to the other end.
    pub delay: Option<Duration>,
}

/// One end of a wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The machine by its name.
    pub machine: &'static str,
    /// Its interface.
    pub interface: String,
    /// Its address; without one, the link-local one is all it has.
    pub address: Option<Ipv6Addr>,
}

impl Plan {
    /// Whose address is whose.
    pub fn owners(&self) -> Vec<(Ipv6Addr, &'static str)> {
        let mut owners = self.attracted.clone();
        for wire in &self.wires {
            for (end, host) in wire.ends.iter().zip(1..) {
                owners.extend(end.address.map(|address| (address, end.machine)));
                owners.push((link_local(wire.network, host), end.machine));
            }
        }
        owners
    }

    /// A machine's address on its first wire.
    pub fn address(&self, machine: &str) -> Option<Ipv6Addr> {
        self.end(machine)?.address
    }

    /// The interface on which a machine is captured, and on which its node runs: its first.
    fn interface(&self, machine: &str) -> &str {
        self.end(machine).map_or("lo", |end| &end.interface)
    }

    fn end(&self, machine: &str) -> Option<&End> {
        self.wires.iter().flat_map(|wire| &wire.ends).find(|end| end.machine == machine)
    }
}

/// As files and namespaces are called after a machine.
pub fn file_name(machine: &str) -> String {
    machine.to_lowercase()
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

/// A plan, built. Everything is gone when it is dropped.
#[derive(Debug)]
pub struct Topology {
    plan: Plan,
    namespaces: Vec<(&'static str, NetworkNamespace)>,
    slow_wires: Vec<DelayLine>,
    directory: PathBuf,
    keep: bool,
    _lock: Flock<File>,
}

/// What namespaces and runtime directories of a lab begin with; the process id of the lab follows.
const PREFIX: &str = "mga5-";

/// The file in the runtime directory that a living lab holds locked.
const LOCK: &str = "lock";

/// Makes the runtime directory with its lock, which is held before anybody can find it.
fn take_lock(directory: &Path) -> io::Result<Flock<File>> {
    fs::create_dir_all(directory)?;
    let new = directory.join("lock.new");
    let lock = Flock::lock(File::create(&new)?, FlockArg::LockExclusiveNonblock);
    let lock = lock.map_err(|(_, errno)| errno)?;
    fs::rename(new, directory.join(LOCK))?;
    Ok(lock)
}

impl Topology {
    /// Removes what killed labs left, then builds the plan's machines as namespaces, and its wires.
    ///
    /// # Errors
    /// What `ip` or the kernel says; nothing is left behind then.
    pub fn build(plan: Plan) -> Result<Topology, platform::Error> {
        sweep();
        let process = process::id();
        let directory = directory_of(process);
        let lock = take_lock(&directory).map_err(|source| platform::Error::Io {
            what: format!("lock {}", directory.display()),
            source,
        })?;
        // Dropping this on an early return takes down what has been built so far.
        let mut topology = Topology {
            plan,
            namespaces: Vec::new(),
            slow_wires: Vec::new(),
            directory,
            keep: false,
            _lock: lock,
        };
        for &machine in &topology.plan.machines {
            let namespace = NetworkNamespace::create(&format!("{PREFIX}{process}-{}", file_name(machine)))?;
            topology.namespaces.push((machine, namespace));
            let namespace = topology.namespace(machine);
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
        for router in &topology.plan.routers {
            topology.namespace(router).set_forwarding()?;
        }
        let laid = topology.plan.wires.iter().map(|wire| topology.lay(wire));
        topology.slow_wires = laid.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        for (router, prefix, gateway) in &topology.plan.routes {
            let (prefix, gateway) = (prefix.to_string(), gateway.to_string());
            topology.namespace(router).ip(&["-6", "route", "add", &prefix, "via", &gateway])?;
        }
        Ok(topology)
    }

    /// Lays a wire and gives its ends their addresses.
    fn lay(&self, wire: &Wire) -> Result<Option<DelayLine>, platform::Error> {
        let [router, host] = &wire.ends;
        let [router_end, host_end] = [(router, 1), (host, 2)].map(|(end, number)| WireEnd {
            namespace: self.namespace(end.machine),
            interface: &end.interface,
            link_address: link_address(wire.network, number),
        });
        let slow_wire = match wire.delay {
            None => netns::connect(host_end, router_end).map(|()| None)?,
            Some(delay) => Some(DelayLine::lay([host_end, router_end], delay)?),
        };
        for end in [router, host] {
            if let Some(address) = end.address {
                self.namespace(end.machine).add_address(&end.interface, address, 64)?;
            }
        }
        let first = self.plan.interface(host.machine) == host.interface;
        if let Some(gateway) = router.address.filter(|_| first && !self.plan.routers.contains(&host.machine))
        {
            self.namespace(host.machine).set_default_route(gateway)?;
        }
        Ok(slow_wire)
    }

    /// The namespace of a machine of the plan.
    pub fn namespace(&self, machine: &str) -> &NetworkNamespace {
        let found = self.namespaces.iter().find(|(there, _)| *there == machine);
        // `build` returns only with all of them.
        let (_, namespace) = found.unwrap_or_else(|| unreachable!("{machine} was not built"));
        namespace
    }

    /// A machine of the lab, on which `program` is the node's program and `telnetd` answers telnet.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn machine(
        &self,
        machine: &str,
        program: &Path,
        telnetd: &Path,
    ) -> Result<NamespaceMachine, platform::Error> {
        Ok(NamespaceMachine {
            name: machine.to_owned(),
            interface: self.plan.interface(machine).to_owned(),
            namespace: self.namespace(machine).handle()?,
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

/// True while the lab of that process holds its lock. A lab that has only just begun has no lock yet.
fn is_running_lab(process: u32) -> bool {
    match File::open(directory_of(process).join(LOCK)) {
        Ok(lock) => Flock::lock(lock, FlockArg::LockExclusiveNonblock).is_err(),
        Err(_) => Path::new("/proc").join(process.to_string()).exists(),
    }
}

/// Where the lab of a process has its files.
fn directory_of(process: u32) -> PathBuf {
    Path::new("/run").join(format!("{PREFIX}{process}"))
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
