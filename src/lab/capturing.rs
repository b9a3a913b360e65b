//! Records what every node of the lab sees, with libpcap, in threads that live in the nodes' namespaces.
//! The files are what thesis section 5 is judged by; while they grow the steps of the lab watch the same packets.
//! `lab::section5` starts one set per step.

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
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

use super::{
    Error, Trying,
    topology::{Node, Topology},
};
use crate::pcap::{capture::Frame, view::View};

/// How long a recorder sleeps at most before it looks whether it shall stop. (libpcap's own timeout on Linux begins only
/// with the first packet, so a recorder of a silent link would not notice.)
const WAKE_MILLISECONDS: u8 = 20;

/// The captures of all nodes, running.
#[derive(Debug)]
pub struct Captures {
    recorders: Vec<Recorder>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Recorder {
    node: Node,
    file: PathBuf,
    seen: Arc<Mutex<Vec<Frame>>>,
    thread: Option<JoinHandle<Result<Lost, String>>>,
}

#[derive(Debug, Clone, Copy)]
struct Lost {
    packets: u32,
}

/// A finished capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Where.
    pub node: Node,
    /// The file.
    pub file: PathBuf,
    /// How many packets the kernel had to drop for want of room.
    pub lost: u32,
}

impl Captures {
    /// Starts recording every node to `directory`/NODE.pcap; returns when all recorders see packets.
    ///
    /// # Errors
    /// [`Error::Capture`] with what libpcap says.
    pub fn start(topology: &Topology, directory: &Path) -> Result<Captures, Error> {
        std::fs::create_dir_all(directory).trying(|| format!("create {}", directory.display()))?;
        let mut captures = Captures { recorders: Vec::new(), stop: Arc::default() };
        let mut ready = Vec::new();
        for node in Node::ALL {
            let file = directory.join(format!("{}.pcap", node.file_name()));
            let seen = Arc::default();
            let (tell, told) = mpsc::channel();
            let namespace = topology.namespace(node).handle()?;
            let task = Task {
                interface: node.captured_interface(),
                file: file.clone(),
                seen: Arc::clone(&seen),
                stop: Arc::clone(&captures.stop),
            };
            let thread = std::thread::Builder::new()
                .name(format!("capture {}", node.name()))
                .spawn(move || {
                    namespace.run(move || task.record(&tell)).map_err(|error| error.to_string())?
                })
                .trying(|| "start a thread".to_owned())?;
            captures.recorders.push(Recorder { node, file, seen, thread: Some(thread) });
            ready.push(told);
        }
        for (node, told) in Node::ALL.into_iter().zip(ready) {
            // A recorder that could not begin hangs up instead; its thread says why.
            if told.recv().is_err() {
                let result =
                    captures.recorders.iter_mut().find(|there| there.node == node).map(Recorder::finish);
                let message = match result {
                    Some(Err(message)) => message,
                    _ => "the recorder ended at once".to_owned(),
                };
                return Err(Error::Capture { node: node.name(), message });
            }
        }
        Ok(captures)
    }

    /// How many packets `node` has seen; a place from which [`Captures::find`] can go on.
    pub fn count(&self, node: Node) -> usize {
        self.with(node, <[Frame]>::len).unwrap_or(0)
    }

    /// The first packet at `node`, from place `from` on, that `wanted` picks something from.
    pub fn find<T>(&self, node: Node, from: usize, wanted: impl Fn(&View) -> Option<T>) -> Option<T> {
        self.with(node, |frames| {
            frames.iter().skip(from).find_map(|frame| wanted(&View::parse(&frame.ipv6).ok()?))
        })?
    }

    fn with<T>(&self, node: Node, read: impl FnOnce(&[Frame]) -> T) -> Option<T> {
        let recorder = self.recorders.iter().find(|recorder| recorder.node == node)?;
        // A recorder that panicked has left whole frames behind.
        let frames = recorder.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Some(read(&frames))
    }

    /// Stops when everything that has arrived is written.
    ///
    /// # Errors
    /// [`Error::Capture`] when a recorder failed on the way.
    pub fn stop(mut self) -> Result<Vec<Recorded>, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let mut recorded = Vec::new();
        for recorder in &mut self.recorders {
            let node = recorder.node;
            let lost = recorder.finish().map_err(|message| Error::Capture { node: node.name(), message })?;
            recorded.push(Recorded { node, file: recorder.file.clone(), lost: lost.packets });
        }
        Ok(recorded)
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for recorder in &mut self.recorders {
            if let Err(message) = recorder.finish() {
                tracing::warn!(node = recorder.node.name(), message, "a capture ended badly");
            }
        }
    }
}

impl Recorder {
    fn finish(&mut self) -> Result<Lost, String> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err("the recorder panicked".to_owned()),
            None => Ok(Lost { packets: 0 }),
        }
    }
}

struct Task {
    interface: &'static str,
    file: PathBuf,
    seen: Arc<Mutex<Vec<Frame>>>,
    stop: Arc<AtomicBool>,
}

impl Task {
    /// Runs in the namespace until told to stop.
    fn record(self, ready: &mpsc::Sender<()>) -> Result<Lost, String> {
        let words = |error: pcap::Error| error.to_string();
        let mut capture = pcap::Capture::from_device(self.interface)
            .and_then(|capture| {
                capture.immediate_mode(true).promisc(true).snaplen(65_535).open()?.setnonblock()
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
        Ok(Lost { packets: statistics.dropped.saturating_add(statistics.if_dropped) })
    }
}
