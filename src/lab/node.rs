//! Real `mga-node` processes on the machines of the lab: the roles of thesis section 5.
//! They are started, told and ended as an operator does it: flags, control socket, SIGTERM; a real KAME or UMIP stack
//! that stands in the place of one, by its own commands.
//! `lab::section5` runs them.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{
    Error, Interruption, Trying,
    machine::{Guest, Machine, Process},
};

/// How long a node may take to answer on its control socket.
const READY: Duration = Duration::from_secs(10);

/// How long a node may take to clean up after SIGTERM.
const END: Duration = Duration::from_secs(5);

/// Starts nodes.
#[derive(Debug)]
pub struct Launcher<'a> {
    /// Where their logs go, as NODE.log.
    pub logs: PathBuf,
    /// Their `--forwarding`.
    pub forwarding: String,
    /// What ends the waiting for them.
    pub interruption: &'a Interruption,
}

/// A running node. It is ended, and has cleaned up, when this is dropped.
#[derive(Debug)]
pub struct Running<'a> {
    machine: &'a dyn Machine,
    stack: Option<Stack<'a>>,
}

/// What runs on the machine.
#[derive(Debug)]
enum Stack<'a> {
    /// The node, and the path of its control socket.
    Node(Process, String),
    /// A real stack in its place.
    Guest(&'a Guest),
}

impl Launcher<'_> {
    /// A node of this role on the machine's interface, with further arguments; or the real stack that stands there, which
    /// has them as environment variables.
    ///
    /// # Errors
    /// [`Error::Step`] when it does not become ready, with the last line of its log.
    pub fn start<'a>(
        &self,
        machine: &'a dyn Machine,
        role: &str,
        more: &[&str],
    ) -> Result<Running<'a>, Error> {
        if let Some(guest) = machine.guest() {
            // Made before it starts: what a start that fails half way has begun is ended, too.
            let running = Running { machine, stack: Some(Stack::Guest(guest)) };
            let settings = environment(machine, role, more);
            let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
            machine.run(&[&["env"], &settings[..], &["/bin/sh", "-c", &guest.start]].concat())?;
            return Ok(running);
        }
        let control = machine.directory().join(format!("{}.sock", machine.file_name()));
        let control = control.display().to_string();
        let log = self.logs.join(format!("{}.log", machine.file_name()));
        let what = || format!("write {}", log.display());
        let file = OpenOptions::new().create(true).append(true).open(&log).trying(what)?;
        let errors = file.try_clone().trying(what)?;
        let program = machine.program().display().to_string();
        let first = [program.as_str(), "--role", role, "--interface", machine.interface()];
        let second = ["--forwarding", &self.forwarding, "--control", &control];
        let words = [first.as_slice(), &second, more].concat();
        let mut process = machine.start(&words, file.into(), errors.into())?;
        let mut ended = false;
        let ready = self.interruption.wait_for("", READY, || {
            if let Some(status) = process.exited().trying(|| "wait for a node".to_owned())? {
                ended = true;
                return Err(Error::Step(format!("{} ended at once ({status})", machine.name())));
            }
            Ok(ask(machine, &control, &["show", "config"]).ok())
        });
        match ready {
            Ok(_) => Ok(Running { machine, stack: Some(Stack::Node(process, control)) }),
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error) => {
                let why = if ended { error.to_string() } else { format!("{} is not ready", machine.name()) };
                Err(Error::Step(format!("{why}; its log ends: {}", last_line(&log))))
            }
        }
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("(nothing)").to_owned()
}

/// What a guest is told: its role, its interface, and each flag of a node's by the name of an environment variable.
fn environment(machine: &dyn Machine, role: &str, flags: &[&str]) -> Vec<String> {
    let mut settings = vec![format!("ROLE={role}"), format!("INTERFACE={}", machine.interface())];
    for (place, flag) in flags.iter().enumerate() {
        let Some(name) = flag.strip_prefix("--") else { continue };
        let value = flags.get(place + 1).filter(|value| !value.starts_with("--")).unwrap_or(&"yes");
        settings.push(format!("{}={value}", name.to_uppercase().replace('-', "_")));
    }
    settings
}

/// Asks a node over its control socket and returns what it prints.
fn ask(machine: &dyn Machine, control: &str, command: &[&str]) -> Result<String, Error> {
    let program = machine.program().display().to_string();
    machine.run(&[[program.as_str()].as_slice(), command, &["--control", control]].concat())
}

impl Running<'_> {
    /// Has a responder register this anycast address now.
    ///
    /// # Errors
    /// [`Error::Step`] with what is said against it.
    pub fn register(&self, anycast: &str) -> Result<(), Error> {
        let Some(Stack::Guest(guest)) = &self.stack else {
            return self.ask(&["register", "--anycast", anycast]).map(drop);
        };
        let Some(register) = &guest.register else {
            let name = self.machine.name();
            return Err(Error::Step(format!("{name}: {} cannot be told to register", guest.is)));
        };
        self.machine.run(&["/bin/sh", "-c", register]).map(drop)
    }

    /// Asks the node over its control socket and returns what it prints.
    ///
    /// # Errors
    /// [`Error::Step`] when it answers with a failure, or is a guest, which has no such socket.
    pub fn ask(&self, command: &[&str]) -> Result<String, Error> {
        match &self.stack {
            Some(Stack::Node(_, control)) => ask(self.machine, control, command),
            _ => Err(Error::Step(format!("{} has no control socket", self.machine.name()))),
        }
    }

    /// Ends it by SIGKILL, and with it what its kernel would go on doing for a while: as a machine dies. A guest ends as
    /// always.
    pub fn kill(mut self) {
        match self.stack.take() {
            Some(Stack::Node(process, control)) => {
                let told = ask(self.machine, &control, &["show", "config", "--json"]).unwrap_or_default();
                process.kill();
                let told: Value = serde_json::from_str(&told).unwrap_or_default();
                if let Some(device) = told.pointer("/running/device").and_then(Value::as_str) {
                    // Where user space forwards, it has gone with the process.
                    let _ = self.machine.run(&["ip", "link", "delete", device]);
                }
            }
            guest => self.stack = guest,
        }
    }

    /// Ends it by SIGTERM and waits until it has cleaned up.
    ///
    /// # Errors
    /// [`Error::Step`] when it had to be killed or ended with a failure.
    pub fn end(mut self) -> Result<(), Error> {
        self.terminate()
    }

    fn terminate(&mut self) -> Result<(), Error> {
        let name = self.machine.name();
        match self.stack.take() {
            Some(Stack::Node(process, _)) => match process.end(END) {
                Some(status) if status.success() => Ok(()),
                Some(status) => Err(Error::Step(format!("{name} ended with {status}"))),
                None => Err(Error::Step(format!("{name} did not end within {} s", END.as_secs()))),
            },
            Some(Stack::Guest(guest)) => self.machine.run(&["/bin/sh", "-c", &guest.stop]).map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.terminate() {
            tracing::warn!(%error, "a node ended badly");
        }
    }
}
