//! The tunnel device (tun(4)): what this host forwards into it comes out here, and what is written to it this host's
//! kernel receives. It stands for the virtual tunnel interface of RFC 3775 sections 10.4.2 and 11.3.1.
//! Called by `platform::freebsd::Host`.

use super::{
    super::{
        error::{Error, Trying},
        intake::{Intake, Received},
        pool::Pool,
    },
    abi::AF_INET6,
    changes::{Changes, Undo},
    divert::LONGEST_PACKET,
    sys,
};
use crate::wire::PacketBuffer;
use nix::net::if_::if_nametoindex;
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::Ipv6Addr,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
};

/// Our devices are called from here on: no program numbers its own so high, so the names are ours alone, in the journal
/// of a killed run as well. Seven letters still fit where divert(4) puts an interface's name.
const FIRST_UNIT: u16 = 7700;
const UNITS: u16 = 64;
/// Most reads of one batch.
const READS: usize = 64;
/// Octets of address family before each packet.
const FAMILY: usize = 4;
/// The family before each packet, in network order whatever the machine's.
const IPV6: [u8; FAMILY] = [0, 0, 0, AF_INET6];
/// The device's own address. An interface without one does not take part in IPv6: the kernel would drop what is written.
const OWN: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// One tunnel device.
pub struct Tunnel {
    /// None once it is closed.
    device: Option<File>,
    name: String,
    index: u32,
    scratch: Vec<u8>,
}

impl Tunnel {
    /// Creates the device with the given MTU in octets and brings it up. `changes` removes it, which waits for ever while
    /// the device is open: drop this value first.
    pub fn create(changes: &mut Changes, mtu: u32) -> Result<Self, Error> {
        let what = || "create a tunnel device".to_owned();
        let mut units = FIRST_UNIT..FIRST_UNIT + UNITS;
        let name = units
            .find_map(|unit| {
                let name = format!("tun{unit}");
                // Names that exist are passed over before anything is noted.
                if_nametoindex(name.as_str()).is_err().then_some(name)
            })
            .ok_or_else(|| Error::io(what(), io::ErrorKind::AddrInUse.into()))?;
        changes.make(Undo::Device(name.clone()), |kernel| match kernel.interfaces.create(&name) {
            // The answer of a kernel that knows no such kind of interface.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(super::checks::NO_TUN),
            created => created.trying(what),
        })?;
        let opened = Self::open(changes, &name, mtu).trying(|| format!("set up the tunnel device {name}"));
        if opened.is_err() {
            // The first error is the one that explains.
            let _ = changes.undo(&Undo::Device(name));
        }
        opened
    }

    fn open(changes: &mut Changes, name: &str, mtu: u32) -> io::Result<Self> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(format!("/dev/{name}"))?;
        sys::set_family_header(device.as_fd())?;
        let interfaces = &changes.kernel.interfaces;
        interfaces.bring_up(name, mtu)?;
        interfaces.add_address(name, OWN, 64, false)?;
        let index = if_nametoindex(name)?;
        Ok(Self { device: Some(device), name: name.to_owned(), index, scratch: vec![0; LONGEST_PACKET] })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's number.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Readable when packets wait; nothing once it is closed.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.device.as_ref().map(AsFd::as_fd)
    }

    /// Closes the device, so that it can be removed.
    pub fn close(&mut self) {
        self.device = None;
    }

    /// Reads one batch; returns how many packets came.
    pub fn receive(&mut self, pool: &mut Pool, into: &mut Vec<Received>) -> io::Result<usize> {
        let Some(device) = &mut self.device else { return Ok(0) };
        let before = into.len();
        for _ in 0..READS {
            let length = match device.read(&mut self.scratch) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let octets = self.scratch.get(..length).unwrap_or_default();
            let Some(packet) = octets.strip_prefix(&IPV6) else { continue };
            // What the kernel says on the device on its own account, listener reports and the like, is for nobody.
            if packet.get(24).is_some_and(|octet| *octet != 0xff) {
                tracing::trace!(length, "from the tunnel device {:02x?}", packet.get(..40));
                into.push(Received { packet: pool.copy(packet), intake: Intake::Own });
            }
        }
        Ok(into.len() - before)
    }

    /// Has the kernel receive a packet.
    pub fn deliver(&mut self, packet: &mut PacketBuffer) -> io::Result<()> {
        let Some(device) = &mut self.device else { return Err(io::ErrorKind::NotConnected.into()) };
        tracing::trace!(length = packet.len(), "to the tunnel device {:02x?}", packet.as_slice().get(..40));
        packet.prepend(FAMILY).copy_from_slice(&IPV6);
        let written = device.write(packet.as_slice());
        packet.strip(FAMILY);
        written.map(drop)
    }
}
