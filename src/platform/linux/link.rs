//! Packets straight from the link, before the kernel judges them: a packet socket with a filter.
//! It is the intake "steal" and "tap" of design section 3, for what RFC 3775 6.3 and 6.4 add to packets.
//! Called by `platform::linux::Host`.

use super::{
    super::{
        intake::{Intake, Received},
        pool::Pool,
        selection::Selection,
    },
    segments::{LONGEST_PACKET, OFFLOAD_HEADER, make_plain},
    sys,
};
use crate::wire::buffer::HEADROOM;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockFilter, Socket, Type};
use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, BorrowedFd},
};

/// Octets the kernel may hold for us while we are busy.
const RECEIVE_BUFFER: usize = 8 << 20;

/// The packet socket of one interface.
pub struct LinkIntake {
    socket: Socket,
    index: u32,
    link_header: usize,
    slots: Vec<Vec<u8>>,
    overflow: Vec<Vec<u8>>,
}

impl LinkIntake {
    /// Opens the socket on the interface `index`, whose frames begin with `link_header` octets; nothing is
    /// received before [`LinkIntake::set_filter`] is called.
    pub fn open(index: u32, link_header: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        attach(&socket, &Selection::default(), link_header)?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        let fd = socket.as_fd();
        sys::set_option(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        sys::set_option(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        sys::bind_to_interface(fd, index, libc::ETH_P_ALL)?;
        Ok(Self { socket, index, link_header, slots: Vec::new(), overflow: Vec::new() })
    }

    /// Receives only what the device's traffic control lets through, or everything on the link again.
    pub fn stand_behind_classifiers(&mut self, behind: bool) -> io::Result<()> {
        let protocol = if behind { libc::ETH_P_IPV6 } else { libc::ETH_P_ALL };
        sys::bind_to_interface(self.socket.as_fd(), self.index, protocol)
    }

    /// Receives what `filter` lets through from now on.
    pub fn set_filter(&mut self, filter: &Selection) -> io::Result<()> {
        attach(&self.socket, filter, self.link_header)
    }

    /// Readable when packets wait.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Receives one batch; returns (packets received, packets dropped as malformed).
    pub fn receive(
        &mut self,
        filter: &Selection,
        pool: &mut Pool,
        into: &mut Vec<Received>,
    ) -> io::Result<(usize, usize)> {
        let room = pool.room();
        self.slots.resize_with(sys::BATCH, || pool.take());
        // Only touched by packets longer than the room, so most of it never gets real memory.
        self.overflow.resize_with(sys::BATCH, || vec![0; room + LONGEST_PACKET]);
        let mut headers = [[0; OFFLOAD_HEADER]; sys::BATCH];
        let mut lengths = [0; sys::BATCH];
        let mut parts = Vec::with_capacity(sys::BATCH);
        for ((header, slot), overflow) in headers.iter_mut().zip(&mut self.slots).zip(&mut self.overflow) {
            let (_, frame) = slot.split_at_mut(HEADROOM - self.link_header);
            let (_, rest) = overflow.split_at_mut(room);
            parts.push([IoSliceMut::new(header), IoSliceMut::new(frame), IoSliceMut::new(rest)]);
        }
        let count = match sys::receive_batch(self.socket.as_fd(), &mut parts, &mut lengths) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((0, 0)),
            // Said once when the interface goes down; the socket lives on when it comes up again.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => return Ok((0, 0)),
            result => result?,
        };
        drop(parts);

        let (before, mut malformed) = (into.len(), 0);
        for (((header, slot), overflow), length) in
            headers.iter().zip(&mut self.slots).zip(&mut self.overflow).zip(lengths).take(count)
        {
            let storage = std::mem::replace(slot, pool.take());
            let Some(length) = length.checked_sub(OFFLOAD_HEADER + self.link_header) else {
                pool.give(storage);
                continue;
            };
            // A frame that only the coarse form of the filter let through is none of ours.
            let Some(intake) = storage.get(HEADROOM..).and_then(|packet| filter.classify(packet)) else {
                pool.give(storage);
                continue;
            };
            let mut emit = |packet| into.push(Received { packet, intake });
            let plain = make_plain(header, self.link_header, storage, length, overflow, pool, &mut emit);
            // What the kernel sees too, it answers itself.
            malformed += usize::from(plain.is_err() && intake == Intake::Steal);
        }
        Ok((into.len() - before, malformed))
    }
}

/// Makes `filter` the socket's own, in one step.
fn attach(socket: &Socket, filter: &Selection, link_header: usize) -> io::Result<()> {
    let program = filter.program(link_header);
    let program: Vec<_> =
        program.iter().map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k)).collect();
    socket.attach_filter(&program)
}
