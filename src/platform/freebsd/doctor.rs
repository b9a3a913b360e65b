//! What a node needs of a FreeBSD host before anything can be tried: privileges, modules, kernel parameters; and the
//! scratch Ethernet, a tap(4), for the trial (`platform::doctor`), which calls this.
//! Thesis section 4 by way of the design's data path.

use super::{
    super::{
        doctor::{Check, HOST, Part, addressed},
        error::{Error, Trying},
    },
    checks,
    interfaces::Interfaces,
};
use nix::{
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::Uid,
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    time::Duration,
};

/// Octets of an Ethernet frame at most.
const FRAME: usize = 2048;
/// Scratch interfaces are numbered like the tunnel devices: no program numbers its own so high.
const UNITS: std::ops::Range<u16> = 7700..7764;

/// Looks at what can be seen without touching anything.
pub fn circumstances(interface: Option<&str>, parts: &[Part], say: &mut dyn FnMut(Check)) {
    say(match Uid::effective().is_root() {
        true => Check::good("privileges", "root"),
        false => Check::bad("privileges", "not root", "run as root"),
    });
    for (name, look) in checks::ALL {
        say(match look() {
            Ok(seen) => Check::good(name, seen),
            Err(error) => Check::refused(name, &error),
        });
    }
    if let Some(name) = interface {
        say(link(name, parts));
    }
}

/// The interface a node shall run on.
fn link(name: &str, parts: &[Part]) -> Check {
    const NAME: &str = "interface";
    let found = Interfaces::open()
        .trying(|| "open a socket".to_owned())
        .and_then(|interfaces| Ok((interfaces.usable(name)?, interfaces)));
    let (interface, interfaces) = match found {
        Ok(found) => found,
        Err(error) => return Check::refused(NAME, &error),
    };
    if parts == [Part::Agent] && interface.link_address.is_none() {
        return Check::bad(NAME, format!("{name} has no link-layer address"), "an agent needs an Ethernet");
    }
    let addresses = match interfaces.addresses(name) {
        Ok(addresses) => addresses,
        Err(error) => {
            return Check::bad(NAME, format!("{name} does not tell its addresses: {error}"), "run as root");
        }
    };
    let remedy = format!("ifconfig {name} inet6 ADDRESS/64, or a router that advertises a prefix");
    addressed(NAME, &interface, &addresses, remedy)
}

/// Runs `work`: the scratch interface, which no other packet comes to, is apart enough.
///
/// # Errors
/// None on this system.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    Ok(work())
}

/// An Ethernet with this host and whoever writes to it; it vanishes when this is dropped.
pub struct ScratchLink {
    /// None once it is closed: an open device cannot be removed.
    device: Option<File>,
    name: String,
    interfaces: Interfaces,
}

impl ScratchLink {
    /// Makes it and gives this host [`HOST`] on it, with the neighbour's address on the same link.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make() -> Result<Self, Error> {
        let what = || "make a scratch interface".to_owned();
        let interfaces = Interfaces::open().trying(what)?;
        let name = UNITS.map(|unit| format!("tap{unit}")).find(|name| if_nametoindex(name.as_str()).is_err());
        let name = name.ok_or_else(|| Error::io(what(), io::ErrorKind::AddrInUse.into()))?;
        interfaces.create(&name).trying(what)?;
        // From here on dropping removes it.
        let mut link = Self { device: None, name, interfaces };
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(format!("/dev/{}", link.name))
            .trying(what)?;
        link.device = Some(device);
        link.interfaces.bring_up(&link.name, 1500).trying(what)?;
        link.interfaces.add_address(&link.name, HOST, 64, false).trying(what)?;
        Ok(link)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> io::Result<&File> {
        self.device.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Has the host receive an Ethernet frame.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.device()?.write(frame).map(drop)
    }

    /// The next frame the host sends, if it does within `patience`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn receive(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let mut device = self.device()?;
        let mut readable = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
        if poll(&mut readable, PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO))? == 0 {
            return Ok(None);
        }
        let mut frame = vec![0; FRAME];
        match device.read(&mut frame) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::Interrupted.into()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for ScratchLink {
    fn drop(&mut self) {
        self.device = None;
        if let Err(error) = self.interfaces.destroy(&self.name) {
            tracing::warn!(%error, name = self.name, "a scratch interface could not be removed");
        }
    }
}
