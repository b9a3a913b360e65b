//! A machine of the lab that is a network namespace of this one, as the hosts of Figure 11 are in `lab::topology`.
//! Programs are started in it, libpcap records in a thread that has entered it, and telnet is served from such a thread.
//! `lab::section5` makes one per node.

use std::{
    net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{Machine, Process, Recording, RecordingEnd, Seen, TelnetService};
use crate::{
    lab::{Error, Trying},
    pcap::capture::Frame,
    platform::netns::{self, NetworkNamespace},
};

/// Octets of a packet that are kept. None of the lab's is longer, and the kernel reserves as much for every one that
/// waits for its recorder.
const LONGEST_PACKET: i32 = 4096;

/// Room for packets that wait, in octets: a recorder may be held up for a second under a thousand requests per second.
const BUFFER: i32 = 4096 * LONGEST_PACKET;

/// How long a recorder sleeps at most before it looks whether it shall stop. (libpcap's own timeout on Linux begins only
/// with the first packet, so a recorder of a silent link would not notice.)
const WAKE_MILLISECONDS: u8 = 20;

/// A host of the lab in a network namespace.
#[derive(Debug)]
pub struct NamespaceMachine {
    /// As the thesis writes it.
    pub name: String,
    /// The interface in the namespace.
    pub interface: String,
    /// The namespace.
    pub namespace: NetworkNamespace,
    /// For sockets and scripts.
    pub directory: PathBuf,
    /// The node's program.
    pub program: PathBuf,
    /// The telnet server's program.
    pub telnetd: PathBuf,
}

impl Machine for NamespaceMachine {
    fn name(&self) -> &str {
        &self.name
    }

    fn interface(&self) -> &str {
        &self.interface
    }

    fn directory(&self) -> &Path {
        &self.directory
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, words: &[&str]) -> Result<Command, Error> {
        let (program, arguments) = words.split_first().unwrap_or((&"true", &[]));
        let mut command = Command::new(program);
        command.args(arguments);
        netns::in_namespace(&mut command, &self.namespace)?;
        Ok(command)
    }

    fn terminal(&self, words: &[&str]) -> Result<Command, Error> {
        self.command(words)
    }

    fn start(&self, words: &[&str], output: OwnedFd, errors: OwnedFd) -> Result<Process, Error> {
        let mut command = self.command(words)?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        child.map(Process::new).trying(|| format!("start {}", words.first().unwrap_or(&"nothing")))
    }

    fn record(&self, file: &Path, seen: &Seen) -> Result<Recording, Error> {
        let (tell, ready) = mpsc::channel();
        let namespace = self.namespace.handle()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let task = Task {
            interface: self.interface.clone(),
            file: file.to_owned(),
            seen: Arc::clone(seen),
            stop: Arc::clone(&stopped),
        };
        let thread = std::thread::Builder::new()
            .name(format!("capture {}", self.name))
            .spawn(move || namespace.run(move || task.record(&tell)).map_err(|error| error.to_string())?)
            .trying(|| "start a thread".to_owned())?;
        let stop = Box::new(move || stopped.store(true, Ordering::Relaxed));
        Ok(Recording { ready, stop, thread: Some(thread) })
    }

    fn serve_telnet(&self, shell: &Path) -> Result<Box<dyn TelnetService>, Error> {
        Ok(Box::new(TelnetListener::start(self, shell)?))
    }
}

struct Task {
    interface: String,
    file: PathBuf,
    seen: Seen,
    stop: Arc<AtomicBool>,
}

impl Task {
    /// Runs in the namespace until told to stop.
    fn record(self, ready: &mpsc::Sender<()>) -> Result<RecordingEnd, String> {
        let words = |error: pcap::Error| error.to_string();
        let mut capture = pcap::Capture::from_device(self.interface.as_str())
            .and_then(|capture| {
                let capture = capture.immediate_mode(true).promisc(true).snaplen(LONGEST_PACKET);
                capture.buffer_size(BUFFER).open()?.setnonblock()
            })
            .map_err(words)?;
        let mut file = capture.savefile(&self.file).map_err(words)?;
        // Nobody waits any more only when the whole lab is ending.
        let _ = ready.send(());
        loop {
            // Read before looking for packets: what arrived before the request to stop is still taken.
            let stopping = self.stop.load(Ordering::Relaxed);
            match capture.next_packet() {
                Ok(packet) => {
                    file.write(&packet);
                    let at = Duration::from_secs(u64::try_from(packet.header.ts.tv_sec).unwrap_or(0))
                        + Duration::from_micros(u64::try_from(packet.header.ts.tv_usec).unwrap_or(0));
                    if let Some(frame) = Frame::of_ethernet(at, packet.data, packet.header.len as usize) {
                        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
                    }
                }
                Err(pcap::Error::TimeoutExpired) if stopping => break,
                Err(pcap::Error::TimeoutExpired) => {
                    let mut readable = [PollFd::new(capture.as_fd(), PollFlags::POLLIN)];
                    match poll(&mut readable, PollTimeout::from(WAKE_MILLISECONDS)) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(error) => return Err(error.to_string()),
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        file.flush().map_err(words)?;
        let statistics = capture.stats().map_err(words)?;
        Ok(RecordingEnd { lost: statistics.dropped.saturating_add(statistics.if_dropped), ahead: None })
    }
}

/// A listener on port 23 of every address that starts telnetd for each connection, as inetd does.
#[derive(Debug)]
struct TelnetListener {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TelnetService for TelnetListener {}

impl TelnetListener {
    fn start(machine: &NamespaceMachine, shell: &Path) -> Result<Self, Error> {
        let namespace = machine.namespace.handle()?;
        let (name, telnetd, shell) = (machine.name.clone(), machine.telnetd.clone(), shell.to_owned());
        let listener = namespace.run(|| {
            let listener = TcpListener::bind(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 23, 0, 0))?;
            listener.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(listener)
        })?;
        let listener = listener.trying(|| format!("listen on port 23 of {name}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(format!("telnet {name}"))
            .spawn(move || {
                let mut children: Vec<Process> = Vec::new();
                while !until.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) => {
                            let mut command = Command::new(&telnetd);
                            command.arg("-h").arg("-E").arg(&shell);
                            let started = netns::in_namespace(&mut command, &namespace)
                                .map_err(|error| error.to_string())
                                .and_then(|command| {
                                    serve(command, stream).map_err(|error| error.to_string())
                                });
                            match started {
                                Ok(child) => children.push(Process::new(child)),
                                Err(error) => tracing::warn!(error, "telnetd could not be started"),
                            }
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                    children.retain_mut(|child| !matches!(child.exited(), Ok(Some(_))));
                }
            })
            .trying(|| "start a thread".to_owned())?;
        Ok(TelnetListener { stop, thread: Some(thread) })
    }
}

/// Starts the server program with the connection as its input and output, as inetd does.
fn serve(command: &mut Command, stream: TcpStream) -> std::io::Result<Child> {
    stream.set_nonblocking(false)?;
    let output = stream.try_clone()?;
    command.stdin(OwnedFd::from(stream)).stdout(OwnedFd::from(output)).stderr(Stdio::null()).spawn()
}

impl Drop for TelnetListener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}
