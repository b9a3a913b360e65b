//! The two applications of thesis section 5: ping for one-shot and telnet for continuous communication.
//! Both are the system's own programs, unchanged; telnet is driven like a user types, against a real telnetd.
//! `lab::section5` runs them in the initiators' and responders' namespaces.

use std::{
    fs::OpenOptions,
    net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rexpect::{
    reader::Options,
    session::{PtySession, spawn_with_options},
};

use super::{
    Error, Interruption, Trying,
    topology::{ANYCAST, Node, Topology},
};
use crate::platform::netns;

/// How long telnet may take to print what is expected.
const ANSWER: Duration = Duration::from_secs(5);

/// What the shell on a responder prompts with.
const PROMPT: &str = r"AR[12]\$ ";

/// Pings A_Any `count` times, five times a second, and returns how many were answered. The output is added to `log`.
///
/// # Errors
/// When ping cannot be started, or [`Error::Interrupted`].
pub fn ping(
    topology: &Topology,
    node: Node,
    count: u16,
    log: &PathBuf,
    interruption: &Interruption,
) -> Result<u16, Error> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    let begin = file.and_then(|file| Ok((file.metadata()?.len(), file)));
    let (begin, file) = begin.trying(|| format!("write {}", log.display()))?;
    let mut command = Command::new("ping");
    // -n: no names; -w: an end in any case.
    let (count_argument, limit) = (count.to_string(), (count / 5 + 3).to_string());
    command.args(["-6", "-n", "-i", "0.2", "-W", "1", "-c", &count_argument, "-w", &limit]);
    command.arg(ANYCAST.to_string()).stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
    netns::in_namespace(&mut command, topology.namespace(node))?;
    let mut ping = Ended(command.spawn().trying(|| "start ping".to_owned())?);
    let limit = Duration::from_secs(u64::from(count) / 5 + 5);
    interruption
        .wait_for("the end of ping", limit, || ping.0.try_wait().trying(|| "wait for ping".to_owned()))?;
    let output = std::fs::read(log).trying(|| format!("read {}", log.display()))?;
    let output = output.get(usize::try_from(begin).unwrap_or(0)..).unwrap_or_default();
    let answers =
        String::from_utf8_lossy(output).lines().filter(|line| line.contains(" bytes from ")).count();
    Ok(u16::try_from(answers).unwrap_or(u16::MAX))
}

/// A child that does not outlive its owner.
#[derive(Debug)]
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed, and is collected by the waiting.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The telnet server of a responder: a listener that starts telnetd for each connection, as inetd does. In place of the
/// login there is a shell that knows which responder it is on.
#[derive(Debug)]
pub struct TelnetServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TelnetServer {
    /// Listens on port 23 of every address of `node`; returns when connections are accepted.
    ///
    /// # Errors
    /// When the port cannot be had or the shell's script not be written.
    pub fn start(topology: &Topology, node: Node, telnetd: PathBuf) -> Result<TelnetServer, Error> {
        let script = topology.directory().join(format!("shell-{}", node.file_name()));
        let text = format!("PS1='{0}$ ' RESPONDER={0} exec /bin/sh -i\n", node.name());
        std::fs::write(&script, text).trying(|| format!("write {}", script.display()))?;
        let namespace = topology.namespace(node).handle()?;
        let listener = namespace.run(|| {
            let listener = TcpListener::bind(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 23, 0, 0))?;
            listener.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(listener)
        })?;
        let listener = listener.trying(|| format!("listen on port 23 of {}", node.name()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(format!("telnet {}", node.name()))
            .spawn(move || {
                let mut children: Vec<Ended> = Vec::new();
                while !until.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) => {
                            let mut command = Command::new(&telnetd);
                            command.arg("-h").arg("-E").arg(format!("/bin/sh {}", script.display()));
                            let started = netns::in_namespace(&mut command, &namespace)
                                .map_err(|error| error.to_string())
                                .and_then(|command| {
                                    serve(command, stream).map_err(|error| error.to_string())
                                });
                            match started {
                                Ok(child) => children.push(Ended(child)),
                                Err(error) => tracing::warn!(error, "telnetd could not be started"),
                            }
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                    children.retain_mut(|child| !matches!(child.0.try_wait(), Ok(Some(_))));
                }
            })
            .trying(|| "start a thread".to_owned())?;
        Ok(TelnetServer { stop, thread: Some(thread) })
    }
}

/// Starts the server program with the connection as its input and output, as inetd does.
fn serve(command: &mut Command, stream: TcpStream) -> std::io::Result<Child> {
    stream.set_nonblocking(false)?;
    let output = stream.try_clone()?;
    command.stdin(OwnedFd::from(stream)).stdout(OwnedFd::from(output)).stderr(Stdio::null()).spawn()
}

impl Drop for TelnetServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// A telnet session with A_Any, as a user at the terminal has it.
pub struct Telnet {
    session: PtySession,
    node: Node,
    asked: u32,
}

impl Telnet {
    /// Opens a session and waits for the prompt.
    ///
    /// # Errors
    /// [`Error::Step`] with what telnet printed instead.
    pub fn open(topology: &Topology, node: Node) -> Result<Telnet, Error> {
        let mut command = Command::new("telnet");
        command.arg(ANYCAST.to_string()).env("TERM", "dumb");
        netns::in_namespace(&mut command, topology.namespace(node))?;
        let timeout = u64::try_from(ANSWER.as_millis()).ok();
        let options = Options::new().timeout_ms(timeout).strip_ansi_escape_codes(true);
        let mut session = spawn_with_options(command, options).map_err(|error| step(node, &error))?;
        session.process_mut().set_kill_timeout(Some(500));
        session.exp_regex(PROMPT).map_err(|error| step(node, &error))?;
        Ok(Telnet { session, node, asked: 0 })
    }

    /// Types a command that no echo can be mistaken for, and returns which responder's shell ran it.
    ///
    /// # Errors
    /// [`Error::Step`] when the answer does not come.
    pub fn ask(&mut self) -> Result<String, Error> {
        self.asked += 1;
        let (typed, expected) = (self.asked + 1000, self.asked + 2000);
        let node = self.node;
        self.session
            .send_line(&format!("echo $(({typed} + 1000)) on $RESPONDER"))
            .map_err(|error| step(node, &error))?;
        let (_, answer) =
            self.session.exp_regex(&format!("{expected} on AR[12]")).map_err(|error| step(node, &error))?;
        self.session.exp_regex(PROMPT).map_err(|error| step(node, &error))?;
        Ok(answer.rsplit(' ').next().unwrap_or_default().to_owned())
    }

    /// Types into a session whose responder has changed, and returns what telnet printed at its end.
    ///
    /// # Errors
    /// [`Error::Step`] when the session does not end.
    pub fn type_until_closed(&mut self) -> Result<String, Error> {
        let node = self.node;
        self.session.send_line("echo still there").map_err(|error| step(node, &error))?;
        let rest = self.session.exp_eof().map_err(|error| step(node, &error))?;
        Ok(rest.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("(nothing)").to_owned())
    }

    /// Leaves the shell, which ends the session.
    ///
    /// # Errors
    /// [`Error::Step`] when it does not end.
    pub fn close(mut self) -> Result<(), Error> {
        let node = self.node;
        self.session.send_line("exit").map_err(|error| step(node, &error))?;
        self.session.exp_eof().map(drop).map_err(|error| step(node, &error))
    }
}

fn step(node: Node, error: &rexpect::error::Error) -> Error {
    // The error quotes what was read, line ends and all.
    let words = error.to_string();
    let words: Vec<&str> = words.split_whitespace().collect();
    Error::Step(format!("telnet of {}: {}", node.name(), words.join(" ")))
}
