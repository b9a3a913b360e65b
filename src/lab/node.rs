//! Real `mga-node` processes in the namespaces of the lab: the roles of thesis section 5.
//! They are this very program, started, told and ended as an operator does it: flags, control socket, SIGTERM.
//! `lab::section5` runs them.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, unistd::Pid};

use super::{
    Error, Interruption, Trying,
    topology::{ANYCAST, INTERFACE, Node, Topology},
};
use crate::platform::netns;

/// Asked for by the responders, in seconds; a multiple of the 4 seconds that lifetimes are counted in on the wire, and
/// what the KAME captures of section 5.3 have.
const LIFETIME: u32 = 96;

/// How long a node may take to answer on its control socket.
const READY: Duration = Duration::from_secs(10);

/// How long a node may take to clean up after SIGTERM.
const END: Duration = Duration::from_secs(5);

/// Starts nodes.
#[derive(Debug)]
pub struct Launcher<'a> {
    /// Where they run.
    pub topology: &'a Topology,
    /// The program.
    pub program: PathBuf,
    /// Where their logs go, as NODE.log.
    pub logs: PathBuf,
    /// Their `--forwarding`.
    pub forwarding: String,
    /// What ends the waiting for them.
    pub interruption: &'a Interruption,
}

/// A running node. It is ended, and has cleaned up, when this is dropped.
#[derive(Debug)]
pub struct Running {
    node: Node,
    child: Child,
    control: PathBuf,
    program: PathBuf,
    ended: bool,
}

impl Launcher<'_> {
    /// A home anycast agent without authentication and without duplicate address detection, as in the KAME captures.
    ///
    /// # Errors
    /// [`Error::Step`] when it does not become ready, with the last line of its log.
    pub fn agent(&self) -> Result<Running, Error> {
        let agent = Node::Haa.address().to_string();
        self.start(
            Node::Haa,
            "haa",
            &["--agent", &agent, "--no-duplicate-address-detection", "--authentication", "none"],
            true,
        )
    }

    /// A responder that discovers its agent and registers, beginning with this sequence number.
    ///
    /// # Errors
    /// As [`Launcher::agent`].
    pub fn responder(&self, node: Node, sequence: u16) -> Result<Running, Error> {
        let (care_of, lifetime, sequence) =
            (node.address().to_string(), LIFETIME.to_string(), sequence.to_string());
        self.start(
            node,
            "ar",
            &[
                "--agent",
                "::",
                "--care-of",
                &care_of,
                "--lifetime",
                &lifetime,
                "--initial-sequence",
                &sequence,
                "--authentication",
                "none",
            ],
            true,
        )
    }

    /// An initiator that knows Mobile IPv6.
    ///
    /// # Errors
    /// As [`Launcher::agent`].
    pub fn initiator(&self, node: Node) -> Result<Running, Error> {
        self.start(node, "ai", &[], false)
    }

    fn start(&self, node: Node, role: &str, more: &[&str], anycast: bool) -> Result<Running, Error> {
        let control = self.topology.directory().join(format!("{}.sock", node.file_name()));
        let log = self.logs.join(format!("{}.log", node.file_name()));
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let file = file.trying(|| format!("write {}", log.display()))?;
        let errors = file.try_clone().trying(|| format!("write {}", log.display()))?;
        let mut command = Command::new(&self.program);
        command.args(["--role", role, "--interface", INTERFACE, "--forwarding", &self.forwarding]);
        command.arg("--control").arg(&control).args(more);
        if anycast {
            command.args(["--anycast", &ANYCAST.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        netns::in_namespace(&mut command, self.topology.namespace(node))?;
        let child = command.spawn().trying(|| format!("start {}", self.program.display()))?;
        let program = self.program.clone();
        let mut running = Running { node, child, control, program, ended: false };
        let ready = self.interruption.wait_for("", READY, || {
            let exited = running.child.try_wait().trying(|| "wait for a node".to_owned())?;
            if let Some(status) = exited {
                running.ended = true;
                return Err(Error::Step(format!("{} ended at once ({status})", node.name())));
            }
            Ok(running.control.exists().then(|| running.ask(&["show", "config"])).filter(Result::is_ok))
        });
        match ready {
            Ok(_) => Ok(running),
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error) => {
                let why =
                    if running.ended { error.to_string() } else { format!("{} is not ready", node.name()) };
                Err(Error::Step(format!("{why}; its log ends: {}", last_line(&log))))
            }
        }
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("(nothing)").to_owned()
}

impl Running {
    /// The node this is.
    pub fn node(&self) -> Node {
        self.node
    }

    /// Has a responder register now.
    ///
    /// # Errors
    /// [`Error::Step`] with what the node says against it.
    pub fn register(&self) -> Result<(), Error> {
        self.ask(&["register", "--anycast", &ANYCAST.to_string()]).map(drop)
    }

    /// Asks the node over its control socket and returns what it prints.
    ///
    /// # Errors
    /// [`Error::Step`] when it answers with a failure.
    pub fn ask(&self, command: &[&str]) -> Result<String, Error> {
        let mut client = Command::new(&self.program);
        client.args(command).arg("--control").arg(&self.control).stdin(Stdio::null());
        let output = client.output().trying(|| format!("start {}", self.program.display()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::Step(format!("{}: {}: {}", self.node.name(), command.join(" "), said.trim())))
    }

    /// Ends it by SIGTERM and waits until it has cleaned up.
    ///
    /// # Errors
    /// [`Error::Step`] when it had to be killed or ended with a failure.
    pub fn end(mut self) -> Result<(), Error> {
        match self.terminate() {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Error::Step(format!("{} ended with {status}", self.node.name()))),
            None => Err(Error::Step(format!("{} did not end within {} s", self.node.name(), END.as_secs()))),
        }
    }

    fn terminate(&mut self) -> Option<ExitStatus> {
        if !std::mem::replace(&mut self.ended, true)
            && let Ok(process) = i32::try_from(self.child.id())
        {
            // It may have ended by itself, which the waiting finds out.
            let _ = nix::sys::signal::kill(Pid::from_raw(process), Signal::SIGTERM);
        }
        let begin = Instant::now();
        while begin.elapsed() < END {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Err(_) => break,
            }
        }
        // Waiting collects it; a process that cannot be killed has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.terminate();
        }
    }
}
