//! A machine of the lab, however it is reached: what thesis section 5 needs done on each host of Figure 11.
//! There the hosts were six computers; here they are network namespaces of this one (`namespace`) or machines that ssh
//! leads to (`ssh`).
//! `lab::section5` and everything it uses speak to machines only by this.

mod namespace;
mod quote;
mod ssh;

use std::{
    fmt, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, unistd::Pid};

use serde::Deserialize;

use super::{Error, Trying};
use crate::pcap::capture::Frame;

pub use namespace::NamespaceMachine;
pub use ssh::SshMachine;

/// What runs on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// Linux, with Debian's ping and telnetd.
    Linux,
    /// FreeBSD.
    FreeBsd,
}

impl System {
    /// As `uname -s` prints it.
    pub fn kernel(self) -> &'static str {
        match self {
            System::Linux => "Linux",
            System::FreeBsd => "FreeBSD",
        }
    }
}

/// A real Mobile IPv6 stack that stands on a machine in place of a node: KAME or UMIP. Its commands are lines for
/// /bin/sh, run as root with what it must know in the environment: ROLE, INTERFACE, ADDRESS, AGENT, ANYCAST, SEQUENCE.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// Its name.
    pub is: String,
    /// Starts it and returns.
    pub start: String,
    /// Ends it and returns when it has ended.
    pub stop: String,
    /// Has a responder register again; without it such a step of the scenario cannot be played.
    pub register: Option<String>,
}

/// A host of the lab.
pub trait Machine: fmt::Debug + Send + Sync {
    /// As the thesis writes it.
    fn name(&self) -> &str;

    /// The interface of the lab's network, on which a node runs and packets are captured.
    fn interface(&self) -> &str;

    /// A directory on the machine for sockets and scripts, short enough for a socket's address.
    fn directory(&self) -> &Path;

    /// The program there that is the node.
    fn program(&self) -> &Path;

    /// What runs there.
    fn system(&self) -> System {
        System::Linux
    }

    /// The real stack that stands there in place of a node.
    fn guest(&self) -> Option<&Guest> {
        None
    }

    /// A command which, run here, runs these words there with its own input and output.
    ///
    /// # Errors
    /// When the machine cannot be reached.
    fn command(&self, words: &[&str]) -> Result<Command, Error>;

    /// As [`Machine::command`], for a program that wants a terminal: run it on one.
    ///
    /// # Errors
    /// When the machine cannot be reached.
    fn terminal(&self, words: &[&str]) -> Result<Command, Error>;

    /// Starts a program without input that can be ended.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start(&self, words: &[&str], output: OwnedFd, errors: OwnedFd) -> Result<Process, Error>;

    /// Begins to record what the machine's interface sees to `file` here, and to add it to `seen`.
    ///
    /// # Errors
    /// When the recording cannot be begun; what goes wrong later is told by [`Recording::finish`].
    fn record(&self, file: &Path, seen: &Seen) -> Result<Recording, Error>;

    /// Serves telnet on port 23 with `shell`, a program on the machine, in place of the login.
    ///
    /// # Errors
    /// When the port cannot be had.
    fn serve_telnet(&self, shell: &Path) -> Result<Box<dyn TelnetService>, Error>;

    /// As files are called after it.
    fn file_name(&self) -> String {
        self.name().to_lowercase()
    }

    /// Runs a program to its end and returns what it printed.
    ///
    /// # Errors
    /// [`Error::Step`] with what it said against it when it fails.
    fn run(&self, words: &[&str]) -> Result<String, Error> {
        let output = self.command(words)?.stdin(Stdio::null()).output();
        let output = output.trying(|| format!("run {} on {}", words.join(" "), self.name()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::Step(format!("{}: {}: {}", self.name(), words.join(" "), said.trim())))
    }

    /// Writes an executable script of this name into the machine's directory and returns where it is.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write_script(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        use std::io::Write;
        let path = self.directory().join(name);
        let what = || format!("write {} on {}", path.display(), self.name());
        let place = path.display().to_string();
        let mut writer = self.command(&["/bin/sh", "-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh", &place])?;
        let mut writer = writer.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().trying(what)?;
        let written = writer.stdin.take().map(|mut input| input.write_all(text.as_bytes()));
        let status = writer.wait().trying(what)?;
        written.unwrap_or(Ok(())).trying(what)?;
        match status.success() {
            true => Ok(path),
            false => Err(Error::Step(format!("cannot {} ({status})", what()))),
        }
    }
}

/// Telnet is served until this is dropped.
pub trait TelnetService: fmt::Debug + Send {}

/// The packets a machine has seen so far.
pub type Seen = Arc<Mutex<Vec<Frame>>>;

/// What became of a recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordingEnd {
    /// How many packets were lost for want of room.
    pub lost: u32,
    /// By how many nanoseconds the machine's clock seemed ahead of ours; `None` when it is ours.
    pub ahead: Option<i128>,
}

/// A recording on one machine, under way.
pub struct Recording {
    /// Hangs up without a word when the recording could not begin.
    pub ready: std::sync::mpsc::Receiver<()>,
    /// Has the thread come to its end.
    pub stop: Box<dyn FnMut() + Send>,
    /// Ends with what became of it, or with what went wrong.
    pub thread: Option<JoinHandle<Result<RecordingEnd, String>>>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Recording {
    /// Waits for its end, and tells what became of it.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn finish(&mut self) -> Result<RecordingEnd, String> {
        (self.stop)();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err("the recorder panicked".to_owned()),
            None => Ok(RecordingEnd::default()),
        }
    }
}

/// A program running on a machine; it does not outlive this.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ended: bool,
}

/// How long a program may take to end when its owner does not wait for it.
const END: Duration = Duration::from_secs(5);

impl Process {
    /// Takes a child that ends on SIGTERM, or, when its standard input is a pipe, with that.
    pub fn new(child: Child) -> Self {
        Process { child, ended: false }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.ended |= status.is_some();
        Ok(status)
    }

    /// Asks it to end and waits until it has cleaned up; `None` when it had to be killed after `limit`.
    pub fn end(mut self, limit: Duration) -> Option<ExitStatus> {
        self.terminate(limit)
    }

    /// Ends it without asking.
    pub fn kill(mut self) {
        self.ended = true;
        // Waiting collects it; a process that cannot be killed has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn terminate(&mut self, limit: Duration) -> Option<ExitStatus> {
        let asked = std::mem::replace(&mut self.ended, true);
        match self.child.stdin.take() {
            Some(input) => drop(input),
            // It may have ended by itself, which the waiting finds out.
            None if !asked => {
                let process = i32::try_from(self.child.id()).map(Pid::from_raw);
                let _ = process.map(|process| nix::sys::signal::kill(process, Signal::SIGTERM));
            }
            None => {}
        }
        let begin = Instant::now();
        while begin.elapsed() < limit {
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

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            self.terminate(END);
        }
    }
}
