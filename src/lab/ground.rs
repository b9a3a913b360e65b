//! What the machines of a plan are in a run of the lab: network namespaces of this machine, or hosts reached by ssh, and
//! what each of the two needs before it can begin. Thesis section 5 ran on six FreeBSD computers.
//! `lab::run` prepares one ground per run.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{
    Error, Interruption, LabOptions, MissingProgram, Trying, hosts,
    machine::{Machine, SshMachine},
    script::Lab,
    topology::{Plan, Topology},
};
use crate::platform::netns;

/// Programs that every lab drives.
const PROGRAMS: [MissingProgram; 5] = [
    MissingProgram { program: "ip", purpose: "makes the network namespaces", package: "iproute2" },
    MissingProgram {
        program: "nft",
        purpose: "keeps the kernel off the packets of a node",
        package: "nftables",
    },
    MissingProgram { program: "ping", purpose: "one-shot traffic", package: "iputils-ping" },
    MissingProgram { program: "telnet", purpose: "continuous traffic", package: "telnet" },
    MissingProgram { program: "telnetd", purpose: "answers telnet", package: "inetutils-telnetd" },
];

/// Where a lab is played.
pub enum Ground {
    /// Network namespaces, built anew for each step: a connection that one step broke must not be heard of in the next.
    Namespaces {
        /// The node's program.
        program: PathBuf,
        /// The telnet server's.
        telnetd: PathBuf,
    },
    /// Machines that stand for the whole run.
    Hosts {
        /// Those of the plan.
        machines: Vec<Box<dyn Machine>>,
        /// What each is.
        facts: Vec<(String, String)>,
        /// The directory of the connections' sockets.
        sockets: PathBuf,
    },
}

/// What was built for one step; it is gone when this is dropped.
#[derive(Default)]
pub struct Built {
    machines: Vec<Box<dyn Machine>>,
    topology: Option<Topology>,
}

impl Built {
    /// Leaves network namespaces for inspection, and names the agent's; `None` when there are none.
    pub fn keep(&mut self) -> Option<&str> {
        let topology = self.topology.as_mut()?;
        topology.keep();
        Some(topology.namespace("HAA").name())
    }
}

impl Ground {
    /// Sees that what the lab needs is there, and connects to the machines if they are others.
    ///
    /// # Errors
    /// What is missing, or which machine cannot be reached.
    pub fn prepare(lab: &Lab, options: &LabOptions, interruption: &Interruption) -> Result<Self, Error> {
        let Some(file) = &options.hosts else {
            let telnetd = required_programs(lab.programs)?;
            if !nix::unistd::geteuid().is_root() {
                return Err(Error::NotPermitted);
            }
            let program = match &options.program {
                Some(program) => program.clone(),
                None => std::env::current_exe().trying(|| "find this program".to_owned())?,
            };
            return Ok(Ground::Namespaces { program, telnetd });
        };
        // Machines that stand for the whole run are those of every step.
        let plan = lab.scripts.first().map(|script| (script.plan)());
        let hosts = plan.map(|plan| hosts::read(file, &plan)).transpose()?.unwrap_or_default();
        let sockets = nix::unistd::mkdtemp(&std::env::temp_dir().join("mga-ssh-XXXXXX"))
            .trying(|| "make a directory".to_owned())?;
        let mut ground = Ground::Hosts { machines: Vec::new(), facts: Vec::new(), sockets: sockets.clone() };
        // What has been reached is left again, and the directory removed, also when the next one cannot be.
        if let Ground::Hosts { machines, facts, .. } = &mut ground {
            for host in hosts {
                let machine = SshMachine::connect(&host, &sockets, interruption)?;
                let guest =
                    host.guest.map(|guest| format!(", where {} stands", guest.is)).unwrap_or_default();
                facts.push((host.name, format!("{}, reached as {}{guest}", machine.release(), host.ssh)));
                machines.push(Box::new(machine));
            }
        }
        Ok(ground)
    }

    /// Builds what has to be built for a step.
    ///
    /// # Errors
    /// What the system says.
    pub fn build(&self, plan: &Plan) -> Result<Built, Error> {
        let Ground::Namespaces { program, telnetd } = self else { return Ok(Built::default()) };
        let topology = Topology::build(plan.clone())?;
        let machines = (plan.machines.iter())
            .map(|name| Ok(Box::new(topology.machine(name, program, telnetd)?) as Box<dyn Machine>))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Built { machines, topology: Some(topology) })
    }

    /// The machines of a step.
    pub fn machines<'a>(&'a self, built: &'a Built) -> &'a [Box<dyn Machine>] {
        match self {
            Ground::Namespaces { .. } => &built.machines,
            Ground::Hosts { machines, .. } => machines,
        }
    }

    /// What was run, and on what.
    pub fn facts(&self, lab: &Lab, options: &LabOptions) -> Vec<(String, String)> {
        let mut all = vec![
            ("Node".to_owned(), format!("mga-node {}", env!("CARGO_PKG_VERSION"))),
            ("Forwarding".to_owned(), options.forwarding.clone()),
        ];
        match self {
            Ground::Namespaces { .. } => all.extend(facts_of_this_machine(lab)),
            Ground::Hosts { facts, .. } => all.extend(facts.clone()),
        }
        all
    }

    /// Where the machines are, in words.
    pub fn words(&self) -> &'static str {
        match self {
            Ground::Namespaces { .. } => "in network namespaces",
            Ground::Hosts { .. } => "on machines of their own",
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Ground::Hosts { machines, sockets, .. } = self {
            // They need their sockets to take their leave.
            machines.clear();
            if let Err(error) = fs::remove_dir_all(&*sockets) {
                tracing::warn!(%error, directory = %sockets.display(), "could not be removed");
            }
        }
    }
}

/// Looks for all programs and returns the telnet server.
fn required_programs(further: &[MissingProgram]) -> Result<PathBuf, Error> {
    let telnetd = find_program("telnetd").or_else(|| find_program("in.telnetd"));
    let missing: Vec<MissingProgram> = (PROGRAMS.iter().chain(further))
        .filter(|needed| match needed.program {
            "telnetd" => telnetd.is_none(),
            program => find_program(program).is_none(),
        })
        .cloned()
        .collect();
    match telnetd {
        Some(telnetd) if missing.is_empty() => Ok(telnetd),
        _ => Err(Error::Missing(missing)),
    }
}

/// Looks for a program where it may be: servers and tools of the administrator are not on everybody's path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let further = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/libexec"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(further)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// What the namespaces stand on.
fn facts_of_this_machine(lab: &Lab) -> Vec<(String, String)> {
    let kernel = netns::facts();
    let known = |fact: Option<bool>| match fact {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().map(str::to_owned)
    };
    let mut facts = vec![
        ("Kernel".to_owned(), kernel.release.clone()),
        ("Mobile IPv6 in the kernel".to_owned(), known(kernel.mobile_ipv6).to_owned()),
        ("IPv6 tunnels in the kernel".to_owned(), known(kernel.ipv6_tunnel).to_owned()),
    ];
    let own = lab.programs.iter().map(|needed| (needed.program, "--version"));
    let common = [("ping", "-V"), ("telnet", "--version"), ("telnetd", "--version"), ("tshark", "--version")];
    for (program, argument) in common.into_iter().chain(own) {
        if let Some(version) = first_line(program, argument) {
            facts.push((program.to_owned(), version));
        }
    }
    facts
}
