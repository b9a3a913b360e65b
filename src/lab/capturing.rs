//! Records what every machine of the lab sees, each on the interface of the lab's network.
//! The files are what thesis section 5 is judged by; while they grow the steps of the lab watch the same packets.
//! `lab::section5` starts one set per step.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use super::{
    Error, Trying,
    machine::{Machine, Recording, RecordingEnd, Seen},
};
use crate::pcap::{capture::Frame, view::View};

/// The captures of all machines, running.
#[derive(Debug, Default)]
pub struct Captures {
    recorders: Vec<Recorder>,
}

#[derive(Debug)]
struct Recorder {
    machine: String,
    file: PathBuf,
    seen: Seen,
    recording: Recording,
}

/// A finished capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The machine's name.
    pub machine: String,
    /// The file.
    pub file: PathBuf,
    /// How it ended.
    pub end: RecordingEnd,
}

impl Captures {
    /// Starts recording every machine to `directory`/NAME.pcap; returns when all recorders see packets.
    ///
    /// # Errors
    /// [`Error::Capture`] with what the recorder says.
    pub fn start<'a>(
        machines: impl IntoIterator<Item = &'a dyn Machine>,
        directory: &Path,
    ) -> Result<Captures, Error> {
        std::fs::create_dir_all(directory).trying(|| format!("create {}", directory.display()))?;
        let mut captures = Captures::default();
        for machine in machines {
            let file = directory.join(format!("{}.pcap", machine.file_name()));
            let seen = Arc::default();
            let recording = machine.record(&file, &seen)?;
            captures.recorders.push(Recorder { machine: machine.name().to_owned(), file, seen, recording });
        }
        for recorder in &mut captures.recorders {
            // A recorder that could not begin hangs up instead; its thread says why.
            if recorder.recording.ready.recv().is_err() {
                let result = recorder.recording.finish();
                let message = result.err().unwrap_or_else(|| "the recorder ended at once".to_owned());
                return Err(Error::Capture { node: recorder.machine.clone(), message });
            }
        }
        Ok(captures)
    }

    /// How many packets the machine of this name has seen; a place from which [`Captures::find`] can go on.
    pub fn count(&self, machine: &str) -> usize {
        self.with(machine, <[Frame]>::len).unwrap_or(0)
    }

    /// The first packet at a machine, from place `from` on, that `wanted` picks something from.
    pub fn find<T>(&self, machine: &str, from: usize, wanted: impl Fn(&View) -> Option<T>) -> Option<T> {
        self.with(machine, |frames| {
            frames.iter().skip(from).find_map(|frame| wanted(&View::parse(&frame.ipv6).ok()?))
        })?
    }

    /// How many such packets a machine has seen.
    pub fn count_of(&self, machine: &str, wanted: impl Fn(&View) -> bool) -> usize {
        let is_wanted = |frame: &&Frame| View::parse(&frame.ipv6).is_ok_and(|view| wanted(&view));
        self.with(machine, |frames| frames.iter().filter(is_wanted).count()).unwrap_or(0)
    }

    fn with<T>(&self, machine: &str, read: impl FnOnce(&[Frame]) -> T) -> Option<T> {
        let recorder = self.recorders.iter().find(|recorder| recorder.machine == machine)?;
        // A recorder that panicked has left whole frames behind.
        let frames = recorder.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Some(read(&frames))
    }

    /// Stops when everything that has arrived is written.
    ///
    /// # Errors
    /// [`Error::Capture`] when a recorder failed on the way.
    pub fn stop(mut self) -> Result<Vec<Recorded>, Error> {
        for recorder in &mut self.recorders {
            (recorder.recording.stop)();
        }
        let mut recorded = Vec::new();
        for Recorder { machine, file, recording, .. } in &mut self.recorders {
            let end = recording.finish();
            let end = end.map_err(|message| Error::Capture { node: machine.clone(), message })?;
            recorded.push(Recorded { machine: machine.clone(), file: file.clone(), end });
        }
        Ok(recorded)
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        for Recorder { machine, recording, .. } in &mut self.recorders {
            if let Err(message) = recording.finish() {
                tracing::warn!(machine, message, "a capture ended badly");
            }
        }
    }
}
