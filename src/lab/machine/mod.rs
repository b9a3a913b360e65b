//! A machine of the lab, however it is reached: what thesis section 5 needs done on each host of Figure 11.
//! There the hosts were six computers; here they are network namespaces of this one (`namespace`).
//! `lab::section5` and everything it uses speak to machines only by this.

mod namespace;

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

use super::{Error, Trying};
use crate::pcap::capture::Frame;

pub use namespace::NamespaceMachine;

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

/// A recording on one machine, under way.
pub struct Recording {
    /// Hangs up without a word when the recording could not begin.
    pub ready: std::sync::mpsc::Receiver<()>,
    /// Has the thread come to its end.
    pub stop: Box<dyn FnMut() + Send>,
    /// Ends with the number of packets that were lost for want of room, or with what went wrong.
    pub thread: Option<JoinHandle<Result<u32, String>>>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Recording {
    /// Waits for its end, and tells how many packets were lost.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn finish(&mut self) -> Result<u32, String> {
        (self.stop)();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err("the recorder panicked".to_owned()),
            None => Ok(0),
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
    /// Takes a child that ends on SIGTERM.
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
        if !std::mem::replace(&mut self.ended, true)
            && let Ok(process) = i32::try_from(self.child.id())
        {
            // It may have ended by itself, which the waiting finds out.
            let _ = nix::sys::signal::kill(Pid::from_raw(process), Signal::SIGTERM);
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
