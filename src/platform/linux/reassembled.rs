//! Tunnel packets that came in pieces. The kernel puts them together, bounds what it keeps, and tells the sender about
//! unfinished ones (RFC 8200 4.5, RFC 2473 7); a raw socket at the address gets the whole, without its IPv6 header.
//! Called by `platform::linux::Host`.

use super::super::intake::{Intake, Received};
use crate::wire::{
    PacketBuffer,
    ipv6::{self, Ipv6Header, next_header},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
};

/// Packets taken in one go, that timers and commands get their turn.
const BATCH: usize = 16;
/// What an outer header is given that nobody looks at any more: its hop limit has done its work.
const HOP_LIMIT: u8 = 64;

/// The raw socket for tunnels to one address.
pub struct Reassembled {
    // Only its reads are used, which are the same for a raw socket.
    socket: UdpSocket,
    address: Ipv6Addr,
    room: Vec<u8>,
}

impl Reassembled {
    /// Opens the socket. While it is open, the kernel answers no tunnel packet to `address` any more: whole ones must
    /// be taken away from it before.
    pub fn open(interface: &str, address: Ipv6Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(libc::IPPROTO_IPV6)))?;
        socket.set_nonblocking(true)?;
        // What we hand back to the stack comes in by another device, and must not come back here.
        socket.bind_device(Some(interface.as_bytes()))?;
        // An address that is gone for the moment is no error.
        socket.set_freebind_v6(true)?;
        socket.bind(&SockAddr::from(SocketAddrV6::new(address, 0, 0, 0)))?;
        Ok(Self { socket: socket.into(), address, room: vec![0; usize::from(u16::MAX)] })
    }

    /// Readable when a packet has come together.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes a batch; returns how many packets there were.
    pub fn receive(&mut self, into: &mut Vec<Received>) -> io::Result<usize> {
        for taken in 0..BATCH {
            let (length, source) = match self.socket.recv_from(&mut self.room) {
                Ok((length, SocketAddr::V6(source))) => (length, *source.ip()),
                Ok((_, SocketAddr::V4(_))) => continue,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NetworkDown) =>
                {
                    return Ok(taken);
                }
                Err(error) => return Err(error),
            };
            let outer = Ipv6Header::new(next_header::IPV6, HOP_LIMIT, source, self.address);
            let packet = ipv6::packet(outer, self.room.get(..length).unwrap_or_default());
            into.push(Received { packet: PacketBuffer::new(&packet), intake: Intake::Steal });
        }
        Ok(BATCH)
    }
}
