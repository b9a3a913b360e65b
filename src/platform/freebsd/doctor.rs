//! What a node needs of a FreeBSD host before anything can be tried: root, ipfw, divert sockets, tunnel devices.
//! Thesis section 4 by way of the data path that works there. Called by `platform::doctor`.

use std::{convert::Infallible, io, time::Duration};

use super::{
    super::{
        doctor::{Check, Part},
        error::Error,
    },
    checks,
};

/// Looks at what can be seen without touching anything.
pub fn circumstances(_interface: Option<&str>, _parts: &[Part], say: &mut dyn FnMut(Check)) {
    say(match nix::unistd::geteuid().is_root() {
        true => Check::good("privileges", "root"),
        false => Check::bad("privileges", "not root", "run as root"),
    });
    say(match checks::check() {
        Ok(()) => Check::good("packet-filter", "ipfw is there and lets packets pass"),
        Err(error) => Check::refused("packet-filter", &error),
    });
}

/// Says why nothing is tried out.
///
/// # Errors
/// Always.
pub fn apart<T: Send>(_work: impl FnOnce() -> T + Send) -> Result<T, String> {
    Err("there is no scratch Ethernet on FreeBSD to try things out on".to_owned())
}

/// Never made.
pub struct ScratchLink(Infallible);

impl ScratchLink {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn make() -> Result<Self, Error> {
        Err(Error::Lacking { what: "a scratch Ethernet", remedy: "nothing is tried out without one" })
    }

    /// See `linux`.
    pub fn name(&self) -> &str {
        match self.0 {}
    }

    /// See `linux`.
    ///
    /// # Errors
    /// See `linux`.
    pub fn send(&self, _frame: &[u8]) -> io::Result<()> {
        match self.0 {}
    }

    /// See `linux`.
    ///
    /// # Errors
    /// See `linux`.
    pub fn receive(&self, _patience: Duration) -> io::Result<Option<Vec<u8>>> {
        match self.0 {}
    }
}
