//! Where an application says how it is: a file, a program, an HTTP server, or the operating system. One question, one
//! answer, in bounded time and size.
//! Called by the threads of `polling`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use ureq::Body;
use ureq::http::Response;

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
    /// True when a question takes no time, or `Stop::stop` ends it.
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
            Self::File(path) if numbered => file(path)?,
            Self::File(path) => return ordinary(path).map(|()| None),
            Self::Command(words) => command(words, anycast, timeout, stopped)?,
            // A status says it all, however long the answer behind it is.
            Self::Http { url, field: None } if !numbered => return http(url, timeout).map(|_| None),
            Self::Http { url, field } => {
                let body = body(http(url, timeout)?, timeout)?;
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

/// Fails unless it is there and a file: a pipe or a device could keep the thread for ever.
fn ordinary(path: &Path) -> Result<(), Trouble> {
    match fs::metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file").into()),
    }
}

fn file(path: &Path) -> Result<String, Trouble> {
    ordinary(path)?;
    let mut octets = Vec::new();
    File::open(path)?.take(LONGEST_ANSWER).read_to_end(&mut octets)?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
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
    let mut running = Running { child: command.spawn()?, has_ended: false };
    let mut output = running.child.stdout.take();
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
            && let Some(status) = running.child.try_wait()?
        {
            running.has_ended = true;
            let text = String::from_utf8_lossy(&text).into_owned();
            return if status.success() { Ok(text) } else { Err(Trouble::Failed(status)) };
        }
    }
}

/// A program that does not outlive the interest in it.
struct Running {
    child: Child,
    /// It ended by itself and was waited for.
    has_ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        // What it started goes too, also when it is only that which keeps the output open. Its number is its own until it
        // is waited for.
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// The answer to a GET request, whose status is good; its body has not been read yet.
fn http(url: &str, timeout: Duration) -> Result<Response<Body>, Trouble> {
    let config = ureq::Agent::config_builder().timeout_global(Some(timeout)).proxy(None).build();
    let answer = ureq::Agent::new_with_config(config).get(url).call();
    let answer = answer.map_err(|error| of_http(error, timeout))?;
    match answer.status().is_success() {
        true => Ok(answer),
        false => Err(Trouble::Http(format!("the server answers {}", answer.status()))),
    }
}

fn body(mut answer: Response<Body>, timeout: Duration) -> Result<String, Trouble> {
    let body = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
    body.map_err(|error| of_http(error, timeout))
}

fn of_http(error: ureq::Error, timeout: Duration) -> Trouble {
    match error {
        ureq::Error::Timeout(_) => Trouble::TimedOut(timeout),
        error => Trouble::Http(error.to_string()),
    }
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Longer than anything here takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn ask(source: &Source, numbered: bool, timeout: Duration) -> Result<Option<f64>, Trouble> {
        let (_stop, stopped) = Stop::pair().expect("descriptors");
        source.ask(Ipv6Addr::LOCALHOST, numbered, timeout, &stopped)
    }

    fn number(source: &Source) -> Result<Option<f64>, String> {
        ask(source, true, PATIENCE).map_err(|trouble| trouble.to_string())
    }

    fn health(source: &Source) -> Result<Option<f64>, String> {
        ask(source, false, PATIENCE).map_err(|trouble| trouble.to_string())
    }

    fn shell(script: &str) -> Source {
        Source::Command(["/bin/sh", "-c", script].map(str::to_owned).to_vec())
    }

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("mga-node-source-{}-{name}", std::process::id()))
    }

    /// A server that answers one request, and its URL.
    fn serve_once(status: &'static str, body: &'static str) -> String {
        let listener = TcpListener::bind("[::1]:0").expect("a listener");
        let url = format!("http://{}/status", listener.local_addr().expect("its address"));
        thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let count = client.read(&mut request).expect("a request");
            assert!(request[..count].starts_with(b"GET /status HTTP/1.1\r\n"));
            let length = body.len();
            write!(client, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").expect("answered");
        });
        url
    }

    fn http(status: &'static str, body: &'static str, field: Option<&str>) -> Source {
        Source::Http { url: serve_once(status, body), field: field.map(str::to_owned) }
    }

    #[test]
    fn a_file_gives_its_first_number() {
        let path = scratch("file");
        let source = Source::File(path.clone());
        assert!(number(&source).is_err() && health(&source).is_err(), "it is not there");
        for (text, expected) in [("3.25\n", Some(3.25)), (" 7 jobs", Some(7.0)), ("many", None), ("", None)] {
            fs::write(&path, text).expect("written");
            assert_eq!(number(&source).ok().flatten(), expected, "{text:?}");
            assert_eq!(health(&source), Ok(None), "that it is there is enough");
        }
        fs::remove_file(&path).expect("removed");
        let mark = scratch("mark");
        fs::write(&mark, [0xff, 0xfe]).expect("written");
        assert_eq!(health(&Source::File(mark.clone())), Ok(None), "whatever is in it");
        fs::remove_file(&mark).expect("removed");
        let folder = Source::File(std::env::temp_dir());
        assert_eq!(number(&folder), Err("it is no ordinary file".to_owned()));
    }

    #[test]
    fn a_program_gives_its_first_number_and_its_ending_tells_health() {
        assert_eq!(number(&shell("echo 12.5 requests")), Ok(Some(12.5)));
        assert_eq!(number(&shell("echo $MGA_ANYCAST | grep -c ::1")), Ok(Some(1.0)));
        assert_eq!(number(&shell("echo none")), Err("no number: \"none\"".to_owned()));
        assert_eq!(health(&shell("exec true")), Ok(None));
        assert_eq!(
            health(&shell("echo well; exit 3")),
            Err("the program ended with exit status: 3".to_owned())
        );
        assert!(health(&Source::Command(vec!["/nonexistent".to_owned()])).is_err());
        // More than is kept, and it still ends.
        assert_eq!(number(&shell("echo 5; head -c 300000 /dev/zero")), Ok(Some(5.0)));
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed_with_all_it_started() {
        killed_with_all_it_started("waits", "wait");
        // What it started keeps its output open.
        killed_with_all_it_started("ends", "exit");
    }

    fn killed_with_all_it_started(name: &str, then: &str) {
        let path = scratch(name);
        let script = format!("sleep 600 & echo $! > {}; {then}", path.display());
        let trouble = ask(&shell(&script), true, Duration::from_secs(1)).expect_err("too slow");
        assert!(matches!(trouble, Trouble::TimedOut(_)), "{trouble}");
        let sleeper: i32 = fs::read_to_string(&path).expect("its number").trim().parse().expect("a number");
        fs::remove_file(&path).expect("removed");
        let end = Instant::now() + PATIENCE;
        // Gone, or dead and waiting for whoever inherited it.
        let lives = || {
            let state = fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        while lives() {
            assert!(Instant::now() < end, "{sleeper} still sleeps");
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_program_is_given_up_when_nobody_wants_to_know_any_more() {
        let (stop, stopped) = Stop::pair().expect("descriptors");
        let asking = thread::spawn(move || {
            shell("sleep 600").ask(Ipv6Addr::LOCALHOST, true, Duration::from_secs(600), &stopped)
        });
        stop.stop();
        assert!(matches!(asking.join().expect("an end"), Err(Trouble::System(_))));
    }

    #[test]
    fn an_http_server_gives_a_number_or_a_field() {
        assert_eq!(number(&http("200 OK", "12.5", None)), Ok(Some(12.5)));
        let json = r#"{"queue":{"length":7,"text":"8"},"none":"x"}"#;
        let field = |field| number(&http("200 OK", json, Some(field)));
        assert_eq!(field("/queue/length"), Ok(Some(7.0)));
        assert_eq!(field("/queue/text"), Ok(Some(8.0)));
        assert_eq!(field("/none"), Err("no number: \"x\"".to_owned()));
        assert_eq!(field("/gone"), Err("the answer has no field /gone".to_owned()));
        assert!(number(&http("200 OK", "12.5", Some("/a"))).is_err(), "a number has no fields");
    }

    #[test]
    fn the_status_and_the_field_of_an_http_server_tell_health() {
        assert_eq!(health(&http("200 OK", "", None)), Ok(None));
        let long: &'static str = "x".repeat(LONGEST_ANSWER as usize + 1).leak();
        assert_eq!(health(&http("200 OK", long, None)), Ok(None), "the status says it");
        assert!(number(&http("200 OK", long, None)).is_err());
        let down = health(&http("503 Service Unavailable", "", None));
        assert!(down.is_err_and(|trouble| trouble.contains("503")));
        let field = |body| health(&http("200 OK", body, Some("/status")));
        assert_eq!(field(r#"{"status":"UP"}"#), Ok(None));
        assert_eq!(field(r#"{"status":true}"#), Ok(None));
        assert_eq!(field(r#"{"status":"DOWN"}"#), Err("the application says DOWN".to_owned()));
        let nobody = TcpListener::bind("[::1]:0").expect("a port").local_addr().expect("its address");
        let refused = Source::Http { url: format!("http://{nobody}/"), field: None };
        assert!(health(&refused).is_err());
    }

    #[test]
    fn an_http_server_that_does_not_answer_is_given_up() {
        let silent = TcpListener::bind("[::1]:0").expect("a listener");
        let url = format!("http://{}/", silent.local_addr().expect("its address"));
        let source = Source::Http { url, field: None };
        let trouble = ask(&source, false, Duration::from_millis(300)).expect_err("silence");
        assert!(matches!(trouble, Trouble::TimedOut(_)), "{trouble}");
    }

    #[test]
    fn the_system_tells_load_and_connections() {
        assert!(number(&Source::LoadAverage).is_ok_and(|load| load.is_some()));
        assert!(number(&Source::Connections).is_ok_and(|count| count.is_some()));
    }
}
