//! Real `mga-node` processes on the machines of the lab: the roles of thesis section 5.
//! They are started, told and ended as an operator does it: flags, control socket, SIGTERM.
//! `lab::section5` runs them.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Error, Interruption, Trying,
    machine::{Machine, Process},
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
    process: Process,
    control: String,
}

impl Launcher<'_> {
    /// A node of this role on the machine's interface, with further arguments.
    ///
    /// # Errors
    /// [`Error::Step`] when it does not become ready, with the last line of its log.
    pub fn start<'a>(
        &self,
        machine: &'a dyn Machine,
        role: &str,
        more: &[&str],
    ) -> Result<Running<'a>, Error> {
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
        let process = machine.start(&words, file.into(), errors.into())?;
        let mut running = Running { machine, process, control };
        let mut ended = false;
        let ready = self.interruption.wait_for("", READY, || {
            if let Some(status) = running.process.exited().trying(|| "wait for a node".to_owned())? {
                ended = true;
                return Err(Error::Step(format!("{} ended at once ({status})", machine.name())));
            }
            Ok(running.ask(&["show", "config"]).ok())
        });
        match ready {
            Ok(_) => Ok(running),
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

impl Running<'_> {
    /// Asks the node over its control socket and returns what it prints.
    ///
    /// # Errors
    /// [`Error::Step`] when it answers with a failure.
    pub fn ask(&self, command: &[&str]) -> Result<String, Error> {
        let program = self.machine.program().display().to_string();
        let words = [[program.as_str()].as_slice(), command, &["--control", &self.control]].concat();
        self.machine.run(&words)
    }

    /// Ends it by SIGKILL.
    pub fn kill(self) {
        self.process.kill();
    }

    /// Ends it by SIGTERM and waits until it has cleaned up.
    ///
    /// # Errors
    /// [`Error::Step`] when it had to be killed or ended with a failure.
    pub fn end(self) -> Result<(), Error> {
        let name = self.machine.name();
        match self.process.end(END) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Error::Step(format!("{name} ended with {status}"))),
            None => Err(Error::Step(format!("{name} did not end within {} s", END.as_secs()))),
        }
    }
}
