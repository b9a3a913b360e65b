//! Raw sockets: Mobility Headers and tunnels that a kernel without such a socket would refuse, and copies of ICMPv6.
//! RFC 3775 6.1, RFC 2473 and RFC 4443 are what comes; the kernel keeps the IPv6 header, which is built again.
//! Called by `platform::freebsd::Host`.

use super::{
    super::{intake::Received, pool::Pool, selection::Selection},
    divert::LONGEST_PACKET,
    sys,
};
use crate::wire::ipv6::{HEADER_LENGTH, next_header};
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    io,
    ops::RangeInclusive,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Most packets of one batch.
const READS: usize = 64;
/// Octets the kernel may hold for us while we are busy.
const RECEIVE_BUFFER: usize = 1 << 20;

/// What a node may want to see of ICMPv6; the selection decides. Errors, answers to probes, neighbour discovery and the
/// messages of RFC 3775 6.5 to 6.8.
const COPIED_TYPES: [RangeInclusive<u8>; 4] = [1..=4, 129..=129, 134..=136, 144..=147];

/// The raw socket of one protocol.
pub struct RawIntake {
    socket: OwnedFd,
    next_header: u8,
    interface: u32,
    scratch: Vec<u8>,
}

impl RawIntake {
    /// Opens the socket for packets of this kind that come by this interface.
    pub fn open(next_header: u8, interface: u32) -> io::Result<Self> {
        let socket = sys::raw_socket(libc::AF_INET6, i32::from(next_header))?;
        sys::want_envelopes(socket.as_fd())?;
        if next_header == next_header::ICMPV6 {
            sys::want_types(socket.as_fd(), COPIED_TYPES.into_iter().flatten())?;
        }
        // More than the system allows is only a shorter queue.
        if let Err(error) = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER) {
            tracing::debug!(%error, "a raw socket keeps its default buffer");
        }
        Ok(Self { socket, next_header, interface, scratch: vec![0; LONGEST_PACKET] })
    }

    /// Readable when packets wait.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Receives one batch of what `selection` wants; returns how many packets were taken, wanted or not.
    pub fn receive(
        &mut self,
        selection: &Selection,
        pool: &mut Pool,
        into: &mut Vec<Received>,
    ) -> io::Result<usize> {
        for taken in 0..READS {
            let (front, payload) = self.scratch.split_at_mut(HEADER_LENGTH);
            let (length, envelope) = match sys::receive_payload(self.socket.as_fd(), payload) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(taken),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let Some(envelope) = envelope else {
                tracing::debug!(
                    protocol = self.next_header,
                    length,
                    "a packet whose header the kernel does not tell"
                );
                continue;
            };
            let Some(header) = envelope.header(self.next_header, length) else { continue };
            front.copy_from_slice(&header);
            let packet = self.scratch.get(..HEADER_LENGTH + length).unwrap_or_default();
            let intake = selection.classify(packet).filter(|_| envelope.interface == self.interface);
            tracing::trace!(?envelope, protocol = self.next_header, length, ?intake, "raw packet");
            if let Some(intake) = intake {
                into.push(Received { packet: pool.copy(packet), intake });
            }
        }
        Ok(READS)
    }
}
