//! Where an application says how it is: a file, a program, an HTTP server, or the operating system. One question, one
//! answer, in bounded time and size.
//! Called by the threads of `polling`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use crate::platform;

/// More than this is no answer.
const LONGEST_ANSWER: u64 = 64 << 10;
/// A program that has closed its output is looked after this often until it ends, in milliseconds.
const LOOK: u8 = 10;

/// Where the answer comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The first number of a file; for health, that the file is there.
    File(PathBuf),
    /// The first number a program prints; for health, that it ends well.
    Command(Vec<String>),
    /// The first number of the answer to a GET request, or one field of a JSON answer; for health, a status of 2xx,
    /// and that the field says so.
    Http { url: String, field: Option<String> },
    /// Load average of the last minute.
    LoadAverage,
    /// Established TCP connections of the anycast address.
    Connections,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the program ended with {0}")]
    Failed(ExitStatus),
    #[error("{0}")]
    Http(String),
    #[error("the answer has no field {0}")]
    NoField(String),
    #[error("no number: {0:?}")]
    NoNumber(String),
    #[error("the application says {0}")]
    Unwell(String),
}

/// Ends a thread's question early.
pub struct Stop(UnixStream);

/// The thread's side of [`Stop`].
pub struct Stopped(UnixStream);

impl Stop {
    /// Both sides.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn pair() -> io::Result<(Self, Stopped)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self(one), Stopped(other)))
    }

    /// Ends the question that is being asked, if it can be ended.
    pub fn stop(&self) {
        // Not connected any more: the thread has ended.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

impl Stopped {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Source {
    /// True when a question takes no time, or [`Stop::stop`] ends it.
    pub fn stops_promptly(&self) -> bool {
        !matches!(self, Self::Http { .. })
    }

    /// Asks once; with `numbered` the answer must have a number.
    ///
    /// # Errors
    /// When the application does not answer, or not well.
    pub fn ask(
        &self,
        anycast: Ipv6Addr,
        numbered: bool,
        timeout: Duration,
        stopped: &Stopped,
    ) -> Result<Option<f64>, Trouble> {
        let text = match self {
            Self::LoadAverage => return Ok(Some(platform::load_average()?)),
            Self::Connections => {
                // Exact for fewer connections than any host has.
                return Ok(Some(platform::established_connections(anycast)? as f64));
            }
            Self::File(path) => file(path)?,
            Self::Command(words) => command(words, anycast, timeout, stopped)?,
            Self::Http { url, field } => {
                let body = http(url, timeout)?;
                match field {
                    Some(field) if numbered => field_of(&body, field)?,
                    Some(field) => {
                        let said = field_of(&body, field)?;
                        return if is_well(&said) { Ok(None) } else { Err(Trouble::Unwell(said)) };
                    }
                    None => body,
                }
            }
        };
        if numbered { first_number(&text).map(Some) } else { Ok(None) }
    }
}

fn file(path: &PathBuf) -> Result<String, Trouble> {
    // A pipe or a device could keep the thread for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file").into());
    }
    let mut text = String::new();
    File::open(path)?.take(LONGEST_ANSWER).read_to_string(&mut text)?;
    Ok(text)
}

/// Runs a program in a process group of its own, which is killed when it takes too long, or when nobody wants to know
/// any more. It finds the anycast address in its environment.
fn command(
    words: &[String],
    anycast: Ipv6Addr,
    timeout: Duration,
    stopped: &Stopped,
) -> Result<String, Trouble> {
    let until = Instant::now() + timeout;
    let [program, arguments @ ..] = words else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program is named").into());
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("MGA_ANYCAST", anycast.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    platform::die_with_parent(&mut command);
    let mut running = Running(command.spawn()?);
    let mut output = running.0.stdout.take();
    let mut text = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Trouble::TimedOut(timeout));
        }
        let reading = output.as_ref().map(|output| PollFd::new(output.as_fd(), PollFlags::POLLIN));
        let wait = if reading.is_some() { left } else { left.min(Duration::from_millis(LOOK.into())) };
        let mut fds: Vec<_> =
            [PollFd::new(stopped.fd(), PollFlags::POLLIN)].into_iter().chain(reading).collect();
        // Rounded up, or the last millisecond would spin.
        let wait = PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, wait) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let is_ready = |fd: Option<&PollFd<'_>>| fd.and_then(PollFd::any) == Some(true);
        if is_ready(fds.first()) {
            return Err(io::Error::from(io::ErrorKind::Interrupted).into());
        }
        let has_output = is_ready(fds.get(1));
        if let Some(pipe) = output.as_mut().filter(|_| has_output) {
            let mut octets = [0; 4096];
            match pipe.read(&mut octets)? {
                0 => output = None,
                count if text.len() as u64 <= LONGEST_ANSWER => text.extend_from_slice(&octets[..count]),
                // Read on, so that the program can end; nobody wants the rest.
                _ => {}
            }
        }
        if output.is_none()
            && let Some(status) = running.0.try_wait()?
        {
            let text = String::from_utf8_lossy(&text).into_owned();
            return if status.success() { Ok(text) } else { Err(Trouble::Failed(status)) };
        }
    }
}

/// A program that does not outlive the interest in it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // What it started goes too. Gone already is as good.
        if let (Ok(None), Ok(group)) = (self.0.try_wait(), i32::try_from(self.0.id())) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

fn http(url: &str, timeout: Duration) -> Result<String, Trouble> {
    let config = ureq::Agent::config_builder().timeout_global(Some(timeout)).proxy(None).build();
    let error = |error: ureq::Error| match error {
        ureq::Error::Timeout(_) => Trouble::TimedOut(timeout),
        error => Trouble::Http(error.to_string()),
    };
    let mut answer = ureq::Agent::new_with_config(config).get(url).call().map_err(error)?;
    if !answer.status().is_success() {
        return Err(Trouble::Http(format!("the server answers {}", answer.status())));
    }
    answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string().map_err(error)
}

/// The field of a JSON text at a pointer (RFC 6901), as text.
fn field_of(body: &str, field: &str) -> Result<String, Trouble> {
    let value: Value =
        serde_json::from_str(body).map_err(|error| Trouble::Http(format!("no JSON: {error}")))?;
    match value.pointer(field) {
        None | Some(Value::Null) => Err(Trouble::NoField(field.to_owned())),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value) => Ok(value.to_string()),
    }
}

/// What health endpoints say when all is well.
fn is_well(said: &str) -> bool {
    ["ok", "up", "pass", "healthy", "ready", "true"].contains(&said.trim().to_ascii_lowercase().as_str())
}

fn first_number(text: &str) -> Result<f64, Trouble> {
    let word = text.split_ascii_whitespace().next().unwrap_or_default();
    let number = word.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| Trouble::NoNumber(word.chars().take(40).collect()))
}
