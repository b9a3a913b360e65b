//! Asks the applications behind a responder how they are, each in a thread of its own, so that the event loop never
//! waits for one: metric and health at their intervals, connections while a service is drained (thesis 3.1.4; the
//! advanced model). Made and read by the event loop.

mod source;

use std::io::{self, Read, Write};
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use source::Stop;
pub use source::{Source, Trouble};

/// Connections are counted this often while a service is drained.
const COUNTING: Duration = Duration::from_secs(1);

/// What is asked, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Poll {
    pub source: Source,
    pub interval: Duration,
    /// An answer that takes longer is none.
    pub timeout: Duration,
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Metric,
    Health,
    /// The connections of a service that is being drained.
    Drain,
}

/// An application's answer.
#[derive(Debug)]
pub struct Reading {
    pub anycast: Ipv6Addr,
    pub purpose: Purpose,
    /// A number where one was asked for; for health, only that there was a good answer.
    pub answer: Result<Option<f64>, Trouble>,
}

/// All that is asked regularly.
pub struct Polling {
    workers: Vec<Worker>,
    sender: Sender<Reading>,
    readings: Receiver<Reading>,
    /// One octet per reading wakes the event loop.
    wake: UnixStream,
    waker: UnixStream,
}

/// A thread that asks one source.
struct Worker {
    anycast: Ipv6Addr,
    purpose: Purpose,
    /// A message asks at once; without a sender the thread ends.
    now: Option<Sender<()>>,
    stop: Stop,
    /// Waited for at the end; `None` for one that may take its time to notice it.
    thread: Option<JoinHandle<()>>,
}

impl Polling {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let (sender, readings) = mpsc::channel();
        Ok(Self { workers: Vec::new(), sender, readings, wake, waker })
    }

    /// Asks `poll.source` at once and at every interval from now on.
    ///
    /// # Errors
    /// When the system has no threads or descriptors left.
    pub fn ask(&mut self, anycast: Ipv6Addr, purpose: Purpose, poll: Poll) -> io::Result<()> {
        let (now, asked) = mpsc::channel();
        let (stop, stopped) = Stop::pair()?;
        let (sender, mut waker) = (self.sender.clone(), self.waker.try_clone()?);
        let tell = move |answer| {
            // The event loop may have ended; a full pipe wakes it as well as one octet more.
            let _ = sender.send(Reading { anycast, purpose, answer });
            let _ = waker.write(&[0]);
        };
        let numbered = purpose != Purpose::Health;
        let prompt = poll.source.stops_promptly();
        let thread = thread::Builder::new().name("poll".to_owned()).spawn(move || {
            run(&poll, anycast, numbered, &asked, &stopped, tell);
        })?;
        let thread = Some(thread).filter(|_| prompt);
        self.workers.push(Worker { anycast, purpose, now: Some(now), stop, thread });
        Ok(())
    }

    /// Asks every source now.
    pub fn ask_now(&self) {
        for now in self.workers.iter().filter_map(|worker| worker.now.as_ref()) {
            // A thread that ended has nothing to be asked any more.
            let _ = now.send(());
        }
    }

    /// Counts the connections of these anycast addresses, and of no others.
    ///
    /// # Errors
    /// When the system has no threads or descriptors left.
    pub fn count_connections(&mut self, draining: &[Ipv6Addr]) -> io::Result<()> {
        self.workers.retain(|w| w.purpose != Purpose::Drain || draining.contains(&w.anycast));
        for anycast in draining {
            if !self.workers.iter().any(|w| w.purpose == Purpose::Drain && w.anycast == *anycast) {
                let poll = Poll { source: Source::Connections, interval: COUNTING, timeout: COUNTING };
                self.ask(*anycast, Purpose::Drain, poll)?;
            }
        }
        Ok(())
    }

    /// Becomes readable when [`Polling::take`] has something.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// The answers since the last call.
    pub fn take(&mut self) -> Vec<Reading> {
        let mut octets = [0; 64];
        while matches!(self.wake.read(&mut octets), Ok(count) if count > 0) {}
        self.readings.try_iter().collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.now = None;
        self.stop.stop();
        // What runs a program ends as soon as it has killed it.
        if let Some(thread) = self.thread.take() {
            // It panicked: there is nothing more to clean.
            let _ = thread.join();
        }
    }
}

/// Asks until nobody wants to know any more. Intervals are counted from one question to the next.
fn run(
    poll: &Poll,
    anycast: Ipv6Addr,
    numbered: bool,
    asked: &Receiver<()>,
    stopped: &source::Stopped,
    mut tell: impl FnMut(Result<Option<f64>, Trouble>),
) {
    loop {
        let next = Instant::now() + poll.interval;
        tell(poll.source.ask(anycast, numbered, poll.timeout, stopped));
        match asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
            // However often it was asked in the meantime, one answer will do.
            Ok(()) => while asked.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// The next answers, at least one, however long the machine takes.
    fn next(polling: &mut Polling) -> Vec<Reading> {
        let ready =
            poll(&mut [PollFd::new(polling.poll_fd(), PollFlags::POLLIN)], PollTimeout::from(20_000_u16));
        assert_eq!(ready, Ok(1), "no answer");
        polling.take()
    }

    fn counted(path: &std::path::Path) -> usize {
        std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }

    #[test]
    fn a_source_is_asked_at_once_at_its_interval_and_on_demand() {
        let path = std::env::temp_dir().join(format!("mga-node-polling-{}", std::process::id()));
        let script = format!("echo asked >> {}; echo 4", path.display());
        let source = Source::Command(["/bin/sh", "-c", &script].map(str::to_owned).to_vec());
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(3600));
        let mut polling = Polling::new().expect("descriptors");
        let poll = |interval| Poll { source: source.clone(), interval, timeout: Duration::from_secs(20) };
        polling.ask(Ipv6Addr::LOCALHOST, Purpose::Metric, poll(long)).expect("a thread");
        let first = next(&mut polling);
        assert!(matches!(&first[..], [Reading { purpose: Purpose::Metric, answer: Ok(Some(4.0)), .. }]));
        assert_eq!(counted(&path), 1);
        polling.ask_now();
        next(&mut polling);
        assert_eq!(counted(&path), 2);
        polling.ask(Ipv6Addr::LOCALHOST, Purpose::Health, poll(short)).expect("a thread");
        for _ in 0..3 {
            assert!(next(&mut polling).iter().all(|r| r.purpose == Purpose::Health && r.answer.is_ok()));
        }
        drop(polling);
        let asked = counted(&path);
        std::fs::remove_file(&path).expect("a file");
        std::thread::sleep(4 * short);
        assert_eq!(counted(&path), 0, "nobody asks after the end, but {asked} times before");
    }

    #[test]
    fn connections_are_counted_while_they_are_wanted() {
        let mut polling = Polling::new().expect("descriptors");
        polling.count_connections(&[Ipv6Addr::LOCALHOST]).expect("a thread");
        polling.count_connections(&[Ipv6Addr::LOCALHOST]).expect("the same one");
        assert_eq!(polling.workers.len(), 1);
        let counted = next(&mut polling);
        assert!(matches!(&counted[..], [Reading { purpose: Purpose::Drain, answer: Ok(Some(_)), .. }]));
        polling.count_connections(&[]).expect("nothing to do");
        assert!(polling.workers.is_empty());
    }
}
