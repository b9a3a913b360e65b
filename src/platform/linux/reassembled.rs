//! Tunnel packets that came in pieces. The kernel puts them together, bounds what it keeps, and tells the sender about
//! unfinished ones (RFC 8200 4.5, RFC 2473 7); a raw socket on the interface gets the whole, without its IPv6 header.
//! Called by `platform::linux::Host`.

use super::super::{
    intake::{Intake, Received},
    selection::Selection,
};
use crate::wire::{
    PacketBuffer,
    ipv6::{self, Ipv6Header, next_header},
};
use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt},
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::{self, IoSliceMut},
    net::Ipv6Addr,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

/// Packets taken in one go, that timers and commands get their turn.
const BATCH: usize = 16;
/// What an outer header is given that nobody looks at any more: its hop limit has done its work.
const HOP_LIMIT: u8 = 64;

/// The raw socket for tunnels of one interface.
pub struct Reassembled {
    socket: Socket,
    room: Vec<u8>,
}

impl Reassembled {
    /// Opens the socket. While it is open, the kernel answers no tunnel packet of the interface any more: whole ones
    /// must be taken away from it before.
    pub fn open(interface: &str) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(libc::IPPROTO_IPV6)))?;
        socket.set_nonblocking(true)?;
        // What we hand back to the stack comes in by another device, and must not come back here.
        socket.bind_device(Some(interface.as_bytes()))?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        Ok(Self { socket, room: vec![0; usize::from(u16::MAX)] })
    }

    /// Readable when a packet has come together.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes those of the classes in `filter`; returns how many packets there were.
    pub fn receive(&mut self, filter: &Selection, into: &mut Vec<Received>) -> io::Result<usize> {
        for taken in 0..BATCH {
            let mut control = cmsg_space!(libc::in6_pktinfo);
            let mut parts = [IoSliceMut::new(&mut self.room)];
            let fd = self.socket.as_raw_fd();
            let message =
                match recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
                    Err(Errno::EAGAIN | Errno::ENETDOWN | Errno::EINTR) => return Ok(taken),
                    message => message?,
                };
            let destination = message.cmsgs()?.find_map(|said| match said {
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(Ipv6Addr::from(info.ipi6_addr.s6_addr)),
                _ => None,
            });
            let (length, source) = (message.bytes, message.address.map(|address| address.ip()));
            let (Some(source), Some(destination), Some(inner)) =
                (source, destination, self.room.get(..length))
            else {
                continue;
            };
            let outer = Ipv6Header::new(next_header::IPV6, HOP_LIMIT, source, destination);
            let packet = ipv6::packet(outer, inner);
            if filter.classify(&packet) == Some(Intake::Steal) {
                into.push(Received { packet: PacketBuffer::new(&packet), intake: Intake::Steal });
            }
        }
        Ok(BATCH)
    }
}
