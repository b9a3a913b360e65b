//! The signals that end or reload a node, as file descriptors its event loop can poll.
//! No RFC is concerned; Ctrl-C must end a node cleanly because the undo journal is replayed on the way out.
//! Called by `daemon` and `lab`.

use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGTERM},
    low_level,
};
use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

/// What somebody outside asks of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End cleanly (SIGINT or SIGTERM).
    Terminate,
    /// Read the configuration again (SIGHUP).
    Reload,
}

/// Catches the signals from its making until it is dropped.
#[derive(Debug)]
pub struct Signals {
    terminate: UnixStream,
    reload: UnixStream,
    registered: Vec<SigId>,
}

impl Signals {
    /// Starts catching.
    ///
    /// # Errors
    /// When the system has no descriptors left or refuses the handlers.
    pub fn catch() -> io::Result<Self> {
        let (terminate, terminate_writer) = UnixStream::pair()?;
        let (reload, reload_writer) = UnixStream::pair()?;
        for stream in [&terminate, &reload] {
            stream.set_nonblocking(true)?;
        }
        let mut signals = Self { terminate, reload, registered: Vec::new() };
        let writers =
            [(SIGINT, terminate_writer.try_clone()?), (SIGTERM, terminate_writer), (SIGHUP, reload_writer)];
        for (signal, writer) in writers {
            signals.registered.push(low_level::pipe::register(signal, writer)?);
        }
        Ok(signals)
    }

    /// Descriptors that become readable when [`Signals::take`] has something.
    pub fn poll_fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.terminate.as_fd(), self.reload.as_fd()]
    }

    /// The signal that arrived, if any; several of one kind count once.
    pub fn take(&mut self) -> Option<Signal> {
        let arrived = |stream: &mut UnixStream| {
            let mut octets = [0; 64];
            let mut any = false;
            while matches!(stream.read(&mut octets), Ok(count) if count > 0) {
                any = true;
            }
            any
        };
        if arrived(&mut self.terminate) {
            return Some(Signal::Terminate);
        }
        arrived(&mut self.reload).then_some(Signal::Reload)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_signal_is_taken_once() {
        let mut signals = Signals::catch().expect("handlers");
        assert_eq!(signals.take(), None);
        low_level::raise(SIGHUP).expect("raised");
        low_level::raise(SIGTERM).expect("raised");
        low_level::raise(SIGTERM).expect("raised");
        assert_eq!(signals.take(), Some(Signal::Terminate));
        assert_eq!(signals.take(), Some(Signal::Reload));
        assert_eq!(signals.take(), None);
    }
}
