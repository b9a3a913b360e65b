//! The thesis's experiments: its networks in namespaces or on machines of their own, real nodes, real traffic.
//! Everything is captured, and the captures alone decide whether each claim held: those of section 5, and those of
//! section 4.3 about the advanced model. `mga-node lab` calls it.

pub mod advanced;
pub mod capturing;
pub mod claims;
mod delay_line;
pub mod figure10;
pub mod figure11;
mod ground;
pub mod hosts;
pub mod journey;
mod judge;
pub mod load;
pub mod machine;
pub mod node;
pub mod observation;
mod run;
mod say;
mod script;
mod second_opinion;
mod section5;
mod stage;
pub mod topology;
pub mod traffic;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use signal_hook::{
    SigId,
    consts::{SIGINT, SIGTERM},
    low_level,
};

use crate::{
    pcap::{
        capture,
        report::{Finding, Verdict},
    },
    platform,
};

pub use advanced::{advanced, rounds};
pub use figure10::figure10;
pub use section5::section5;

/// What every lab is told.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// Where captures, logs and the report go; it is made if need be.
    pub out: PathBuf,
    /// Leave namespaces and their addresses for inspection until the next start.
    pub keep: bool,
    /// Handed to every node as `--forwarding`.
    pub forwarding: String,
    /// The program that is the node; this program itself when `None`.
    pub program: Option<PathBuf>,
    /// Say nothing while running; the outcome is all.
    pub quiet: bool,
    /// The file that says how the machines are reached by ssh; network namespaces of this machine when `None`.
    pub hosts: Option<PathBuf>,
}

/// What a run of the lab came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Every claim with its verdict.
    pub findings: Vec<Finding>,
    /// The report.
    pub report: PathBuf,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Outcome {
    /// True when every claim held; what was skipped, with its reason given, does not count against it.
    pub fn held(&self) -> bool {
        !self.findings.is_empty() && self.findings.iter().all(|finding| finding.verdict != Verdict::Fail)
    }
}

/// Why the lab came to no outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Programs the lab drives are not installed: one line each.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Missing(Vec<MissingProgram>),
    /// Not root.
    #[error("the lab makes network namespaces: run it as root")]
    NotPermitted,
    /// The file that says how the machines are reached is not good.
    #[error("{}: {why}", .file.display())]
    Hosts {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where in it.
        why: String,
    },
    /// A machine does not answer.
    #[error("cannot reach {name}: {why}")]
    Unreachable {
        /// The machine.
        name: String,
        /// What ssh says.
        why: String,
    },
    /// A machine lacks something.
    #[error("{name} cannot take part: {why}")]
    Unfit {
        /// The machine.
        name: String,
        /// What it lacks.
        why: String,
    },
    /// The operating system refused something.
    #[error(transparent)]
    Platform(#[from] platform::Error),
    /// A file or process could not be handled.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was being tried, as an infinitive.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// libpcap refused.
    #[error("cannot capture at {node}: {message}")]
    Capture {
        /// Where.
        node: String,
        /// Why.
        message: String,
    },
    /// A capture just written could not be read.
    #[error(transparent)]
    Reading(#[from] capture::Error),
    /// A step did not come to its end; the captures up to there are judged all the same.
    #[error("{0}")]
    Step(String),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted; everything is removed")]
    Interrupted,
}

impl Error {
    /// 2 when the lab could not begin on this machine, 130 when it was interrupted, otherwise 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Missing(_)
            | Error::NotPermitted
            | Error::Hosts { .. }
            | Error::Unreachable { .. }
            | Error::Unfit { .. }
            | Error::Platform(_)
            | Error::Io { .. } => 2,
            Error::Interrupted => 130,
            Error::Capture { .. } | Error::Reading(_) | Error::Step(_) => 1,
        }
    }

    /// True for what ends one step but not the run.
    fn ends_step_only(&self) -> bool {
        matches!(self, Error::Step(_))
    }
}

/// Says what was being tried when an input or output failed.
trait Trying<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Trying<T> for Result<T, E> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: what(), source: source.into() })
    }
}

/// A program that is not installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingProgram {
    /// Its name.
    pub program: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

impl fmt::Display for MissingProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MissingProgram { program, purpose, package } = self;
        write!(f, "{program} ({purpose}) is not installed: apt install {package}")
    }
}

/// Ctrl-C and SIGTERM, noticed by whoever waits.
#[derive(Debug)]
pub struct Interruption {
    requested: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl Interruption {
    /// Notices the signals from now on, in place of their ending this process.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn watch() -> io::Result<Self> {
        let mut interruption = Interruption { requested: Arc::default(), registered: Vec::new() };
        for signal in [SIGINT, SIGTERM] {
            let requested = Arc::clone(&interruption.requested);
            interruption.registered.push(signal_hook::flag::register(signal, requested)?);
        }
        Ok(interruption)
    }

    /// # Errors
    /// [`Error::Interrupted`] once a signal has come.
    pub fn check(&self) -> Result<(), Error> {
        if self.requested.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Polls `condition` until it gives something.
    ///
    /// # Errors
    /// [`Error::Step`] naming `what` when `limit` has passed, [`Error::Interrupted`] on a signal, and whatever the
    /// condition fails with.
    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let begin = Instant::now();
        loop {
            self.check()?;
            if let Some(value) = condition()? {
                return Ok(value);
            }
            if begin.elapsed() > limit {
                return Err(Error::Step(format!("{what} did not happen within {} s", limit.as_secs_f64())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Interruption {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}
