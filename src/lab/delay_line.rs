//! A wire on which packets take their time, for the policy that prefers the nearer responder (thesis 3.1.4): Ethernet
//! frames go from one tap device to another through a queue. (Not every kernel has the netem queueing discipline.)
//! Laid by `lab::topology` where a plan asks for it.

use std::{
    collections::VecDeque,
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::platform::{self, netns::WireEnd};

/// Longest Ethernet frame that is carried, in octets.
const LONGEST_FRAME: usize = 2048;

/// How long the thread sleeps at most before it looks whether it shall stop.
const WAKE: Duration = Duration::from_millis(20);

/// A slow wire; it is taken down when this is dropped.
#[derive(Debug)]
pub struct DelayLine {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DelayLine {
    /// Lays it between two namespaces; both ends are up.
    ///
    /// # Errors
    /// What the kernel or `ip` says.
    pub fn lay(ends: [WireEnd<'_>; 2], delay: Duration) -> Result<Self, platform::Error> {
        let [left, right] = ends;
        let devices = [tap(left)?, tap(right)?];
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("delay line".to_owned()).spawn(move || {
            if let Err(error) = carry(&devices, delay, &until) {
                tracing::warn!(%error, "a slow wire broke");
            }
        });
        let what = || "start a thread".to_owned();
        let thread = thread.map_err(|source| platform::Error::Io { what: what(), source })?;
        Ok(DelayLine { stop, thread: Some(thread) })
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

fn tap(end: WireEnd<'_>) -> Result<SyncDevice, platform::Error> {
    let make = || {
        let builder = DeviceBuilder::new().name(end.interface).layer(Layer::L2).mac_addr(end.link_address);
        let device = builder.inherit_enable_state().build_sync()?;
        device.set_nonblocking(true)?;
        Ok::<_, io::Error>(device)
    };
    let what = || format!("lay a slow wire to {}", end.namespace.name());
    let device = end.namespace.run(make)?.map_err(|source| platform::Error::Io { what: what(), source })?;
    end.bring_up()?;
    Ok(device)
}

/// Carries frames both ways until told to stop.
fn carry(devices: &[SyncDevice; 2], delay: Duration, stop: &AtomicBool) -> io::Result<()> {
    let mut queues: [VecDeque<(Instant, Vec<u8>)>; 2] = Default::default();
    let [left, right] = devices;
    let mut frame = vec![0; LONGEST_FRAME];
    while !stop.load(Ordering::Relaxed) {
        for ((from, to), queue) in [(left, right), (right, left)].into_iter().zip(&mut queues) {
            while let Ok(length) = from.recv(&mut frame) {
                queue.push_back((Instant::now() + delay, frame.get(..length).unwrap_or_default().to_vec()));
            }
            while queue.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                if let Some((_, frame)) = queue.pop_front() {
                    to.send(&frame)?;
                }
            }
        }
        let due = queues.iter().filter_map(|queue| queue.front()).map(|(due, _)| *due).min();
        let wait = due.map_or(WAKE, |due| due.saturating_duration_since(Instant::now()).min(WAKE));
        // Rounded up, or the loop would spin through the last millisecond.
        let wait = PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
        let mut readable = devices.each_ref().map(|device| PollFd::new(device.as_fd(), PollFlags::POLLIN));
        poll(&mut readable, wait)?;
    }
    Ok(())
}
