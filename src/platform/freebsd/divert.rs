//! The divert socket (divert(4)) and the ipfw rules that lead to it: packets the kernel would refuse, and packets that
//! leave for a place of ours. RFC 3775 6.3 and 6.4 define the former, thesis 4.2 the latter.
//! Called by `platform::freebsd::Host`.

use super::{
    super::{
        error::{Error, Trying},
        intake::{Intake, Received},
        pool::Pool,
        program::Program,
        selection::Selection,
    },
    abi::PF_DIVERT,
    changes::{Changes, Undo},
    rules::{self, Direction, Listed, Numbers},
    shape::fragments,
    sys,
};
use crate::wire::ipv6::HEADER_LENGTH;
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    collections::BTreeSet,
    io,
    net::Ipv6Addr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Most packets of one batch.
const READS: usize = 64;
/// Longer than any packet.
pub const LONGEST_PACKET: usize = 65_536 + HEADER_LENGTH;
/// Octets the kernel may hold for us while we are busy; the default is one long packet.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Divert ports are numbers of their own, which no other protocol knows; ours are looked for from here.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 1000;
const IPFW: Program = Program { name: "/sbin/ipfw", remedy: "it is part of FreeBSD's base system" };

/// The node's divert socket and rules.
pub struct Divert {
    socket: OwnedFd,
    port: u16,
    numbers: Numbers,
    comment: String,
    interface: String,
    mtu: usize,
    /// Which of its two numbers the rules of each direction have now, and what they are.
    in_force: [(u8, Vec<String>); 2],
    identification: u32,
    scratch: Vec<u8>,
}

impl Divert {
    /// Opens the socket, takes away what a killed run of the node `name` left even when its journal is lost, and
    /// chooses rule numbers. Packets that leave are cut to fragments of at most `mtu` octets.
    pub fn open(name: &str, interface: &str, mtu: u32) -> Result<Self, Error> {
        let socket = socket()?;
        let port = bind(&socket).trying(|| "bind a divert socket".to_owned())?;
        // More than the system allows is only a shorter queue.
        if let Err(error) = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER) {
            tracing::debug!(%error, "the divert socket keeps its default buffer");
        }
        let comment = rules::comment(name);
        for number in rules::left_over(&listing()?, &comment) {
            remove_rules(number)?;
        }
        let numbers = Numbers::free(&listing()?).ok_or(Error::Lacking {
            what: "free ipfw rule numbers between 10 and 89",
            remedy: "move rules of yours to higher numbers: ipfw list shows them",
        })?;
        let mut seed = [0; 4];
        getrandom::fill(&mut seed)
            .map_err(|error| Error::io("get random octets", io::Error::other(error.to_string())))?;
        Ok(Self {
            socket,
            port,
            numbers,
            comment,
            interface: interface.to_owned(),
            mtu: usize::try_from(mtu).unwrap_or(usize::MAX),
            in_force: Default::default(),
            identification: u32::from_ne_bytes(seed),
            scratch: vec![0; LONGEST_PACKET],
        })
    }

    /// Readable when packets wait.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Diverts what `selection` takes from the link, and nothing else any more that comes in.
    pub fn set_intake(&mut self, changes: &mut Changes, selection: &Selection) -> Result<(), Error> {
        let (interface, comment) = (self.interface.clone(), self.comment.clone());
        let port = self.port;
        self.replace(changes, Direction::In, |number| {
            rules::intake(selection, &interface, port, number, &comment)
        })
    }

    /// Diverts what this host sends from an address in `assigned` or to one in `redirected`, and nothing else any more
    /// that goes out.
    pub fn set_outlet(
        &mut self,
        changes: &mut Changes,
        assigned: &BTreeSet<Ipv6Addr>,
        redirected: &BTreeSet<Ipv6Addr>,
    ) -> Result<(), Error> {
        let (port, comment) = (self.port, self.comment.clone());
        self.replace(changes, Direction::Out, |number| {
            rules::outlet(assigned, redirected, port, number, &comment)
        })
    }

    /// Makes the new rules first and removes the old ones then: no packet slips through in between.
    fn replace(
        &mut self,
        changes: &mut Changes,
        direction: Direction,
        rules: impl Fn(u16) -> Vec<String>,
    ) -> Result<(), Error> {
        let (old, present) = &mut self.in_force[direction as usize];
        let next = old.wrapping_add(1);
        let (old_number, number) = (self.numbers.of(direction, *old), self.numbers.of(direction, next));
        if rules(old_number) == *present {
            return Ok(());
        }
        let wanted = rules(number);
        if !wanted.is_empty() {
            changes.make(Undo::Rules(number), |_| {
                let made = IPFW.run(&["-q", "/dev/stdin"], &(wanted.join("\n") + "\n"));
                if made.is_err() {
                    // Those before the refused one are there; the first error is the one that explains.
                    let _ = remove_rules(number);
                }
                made.map(drop)
            })?;
        }
        (*old, *present) = (next, wanted);
        changes.undo(&Undo::Rules(old_number))
    }

    /// Receives one batch; returns (packets received, packets dropped as malformed).
    pub fn receive(&mut self, pool: &mut Pool, into: &mut Vec<Received>) -> io::Result<(usize, usize)> {
        let (before, mut malformed) = (into.len(), 0);
        for _ in 0..READS {
            let (length, rule) = match sys::receive_diverted(self.socket.as_fd(), &mut self.scratch) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let packet = self.scratch.get(..length).unwrap_or_default();
            // The rule's number tells the direction. The address beside the packet does not: it is that of the interface,
            // and an interface without an IPv4 address has none.
            let direction = self.numbers.direction(rule);
            tracing::trace!(rule, ?direction, length, "diverted {:02x?}", packet.get(..HEADER_LENGTH));
            if length < HEADER_LENGTH || packet[0] >> 4 != 6 {
                malformed += 1;
                continue;
            }
            match direction {
                Some(Direction::Out) => {
                    self.identification = self.identification.wrapping_add(1);
                    match fragments(packet, self.mtu, self.identification) {
                        Some(pieces) => into.extend(
                            pieces.into_iter().map(|packet| Received { packet, intake: Intake::Own }),
                        ),
                        None => into.push(Received { packet: pool.copy(packet), intake: Intake::Own }),
                    }
                }
                Some(Direction::In) => {
                    into.push(Received { packet: pool.copy(packet), intake: Intake::Steal });
                }
                // Somebody else diverts to our port.
                None => malformed += 1,
            }
        }
        Ok((into.len() - before, malformed))
    }

    /// Has the kernel send a whole packet; it meets none of our rules.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        tracing::trace!(length = packet.len(), "sending {:02x?}", packet.get(..HEADER_LENGTH));
        sys::send_diverted(self.socket.as_fd(), packet, self.numbers.last())
    }
}

/// A divert socket.
pub fn socket() -> Result<OwnedFd, Error> {
    match sys::raw_socket(PF_DIVERT, 0) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT)) => {
            Err(super::checks::NO_DIVERT)
        }
        socket => socket.trying(|| "open a divert socket".to_owned()),
    }
}

/// Binds it to the first port that nobody has.
fn bind(socket: &OwnedFd) -> io::Result<u16> {
    for port in FIRST_PORT..FIRST_PORT + PORTS {
        match sys::bind_divert(socket.as_fd(), port) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => {}
            bound => return bound.map(|()| port),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Every rule of ipfw.
pub fn listing() -> Result<Vec<Listed>, Error> {
    IPFW.run(&["list"], "").map(|printed| rules::listing(&printed))
}

/// Removes our rules of this number, if there are any: ipfw takes their absence for an error.
pub fn remove_rules(number: u16) -> Result<(), Error> {
    if listing()?.iter().any(|rule| rule.number == number && rule.is_ours()) {
        IPFW.run(&["-q", "delete", &number.to_string()], "")?;
    }
    Ok(())
}
