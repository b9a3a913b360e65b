//! The signals that end a node, and the one that has it look at its applications now, as file descriptors its event
//! loop can poll. No RFC is concerned; Ctrl-C, a closed terminal and a service manager must all end a node cleanly
//! because the undo journal is replayed on the way out. Called by `daemon` and `lab`.

use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    low_level,
};
use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

/// Catches SIGINT, SIGTERM, SIGHUP and SIGUSR1 from its making until it is dropped.
#[derive(Debug)]
pub struct Signals {
    terminate: UnixStream,
    check: UnixStream,
    registered: Vec<SigId>,
}

impl Signals {
    /// Starts catching.
    ///
    /// # Errors
    /// When the system has no descriptors left or refuses the handlers.
    pub fn catch() -> io::Result<Self> {
        let (terminate, writer) = UnixStream::pair()?;
        let (check, check_writer) = UnixStream::pair()?;
        terminate.set_nonblocking(true)?;
        check.set_nonblocking(true)?;
        let mut signals = Self { terminate, check, registered: Vec::new() };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signals.registered.push(low_level::pipe::register(signal, writer.try_clone()?)?);
        }
        signals.registered.push(low_level::pipe::register(SIGUSR1, check_writer)?);
        Ok(signals)
    }

    /// Becomes readable when [`Signals::take`] has something.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.terminate.as_fd()
    }

    /// Becomes readable when [`Signals::take_check`] has something.
    pub fn check_fd(&self) -> BorrowedFd<'_> {
        self.check.as_fd()
    }

    /// True when somebody asked this process to end since the last call; several signals count once.
    pub fn take(&mut self) -> bool {
        drain(&mut self.terminate)
    }

    /// The same for being asked to look at the applications now (SIGUSR1).
    pub fn take_check(&mut self) -> bool {
        drain(&mut self.check)
    }
}

fn drain(caught: &mut UnixStream) -> bool {
    let mut octets = [0; 64];
    let mut any = false;
    while matches!(caught.read(&mut octets), Ok(count) if count > 0) {
        any = true;
    }
    any
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
    fn every_ending_signal_is_taken_once() {
        let mut signals = Signals::catch().expect("handlers");
        assert!(!signals.take());
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            low_level::raise(signal).expect("raised");
            low_level::raise(signal).expect("raised");
            assert!(signals.take());
            assert!(!signals.take());
        }
        low_level::raise(SIGUSR1).expect("raised");
        assert!(!signals.take(), "no reason to end");
        assert!(signals.take_check());
        assert!(!signals.take_check());
    }
}
