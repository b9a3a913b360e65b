//! The way out: whole IPv6 packets, header included, past our own policy rules.
//! RFC 3542 has no such socket and refuses type 2 routing headers, so nothing less than the whole packet
//! will do for RFC 3775 6.4; called by `platform::linux::Host`.

use super::{
    super::{intake::SendReport, pool::Pool, probe},
    sys,
};
use crate::wire::PacketBuffer;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6, UdpSocket},
    os::fd::AsFd,
};

/// The mark of our own packets: one bit, so that an operator's marks beside it keep working.
pub const MARK: u32 = 0x0400_0000;
/// Octets of packets the kernel may hold back for us.
const SEND_BUFFER: usize = 8 << 20;

/// The raw sockets all packets leave by.
pub struct Sender {
    socket: Socket,
    /// Bound to the interface, so that routes into the tunnel device do not count.
    on_link: Socket,
    interface: u32,
}

impl Sender {
    /// Opens the sockets; packets to link-local and multicast destinations leave by the interface of this index and
    /// name.
    pub fn open(interface: u32, name: &str) -> io::Result<Self> {
        let raw = || {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
            socket.set_nonblocking(true)?;
            socket.set_mark(MARK)?;
            Ok::<_, io::Error>(socket)
        };
        let on_link = raw()?;
        on_link.bind_device(Some(name.as_bytes()))?;
        let socket = raw()?;
        socket.set_multicast_if_v6(interface)?;
        // The kernel must not take our advertisements for somebody else's.
        socket.set_multicast_loop_v6(false)?;
        setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER)?;
        // Every packet brings its source along, but an unbound socket has the kernel choose one per packet all
        // the same (RFC 6724), which costs a tenth of the node's time. The loopback address never changes;
        // where the loopback device is down, sending is only slower.
        let _ = socket.bind(&SockAddr::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0)));
        Ok(Self { socket, on_link, interface })
    }

    /// Sends all packets and drains them into the pool, except for those that failed. What is `on_link` is not sent by
    /// the routing table, but to whoever has its destination on the link.
    pub fn send(
        &self,
        packets: &mut Vec<PacketBuffer>,
        on_link: impl Fn(&PacketBuffer) -> bool,
        pool: &mut Pool,
    ) -> SendReport {
        if !packets.iter().any(&on_link) {
            return self.send_by(&self.socket, packets, pool);
        }
        let (mut direct, mut routed): (Vec<_>, Vec<_>) = packets.drain(..).partition(on_link);
        let mut report = self.send_by(&self.on_link, &mut direct, pool);
        let rest = self.send_by(&self.socket, &mut routed, pool);
        report.sent += rest.sent;
        report.failed.extend(rest.failed);
        report
    }

    fn send_by(&self, socket: &Socket, packets: &mut Vec<PacketBuffer>, pool: &mut Pool) -> SendReport {
        let mut report = SendReport::default();
        let mut rest = packets.as_slice();
        let mut refused = Vec::new();
        let mut done = 0;
        while !rest.is_empty() {
            let taken = match sys::send_batch(socket.as_fd(), rest, |packet| self.destination(packet)) {
                Ok(taken) => {
                    report.sent += taken;
                    taken.max(1)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => {
                    refused.push((done, error));
                    1
                }
            };
            done += taken;
            rest = rest.get(taken..).unwrap_or_default();
        }
        let mut refused = refused.into_iter().peekable();
        for (position, packet) in packets.drain(..).enumerate() {
            match refused.next_if(|(at, _)| *at == position) {
                Some((_, error)) => report.failed.push((packet, error)),
                None => pool.give(packet.into_storage().0),
            }
        }
        report
    }

    /// Where a packet goes by its own header, and by which interface if that must be said.
    fn destination(&self, packet: &PacketBuffer) -> (Ipv6Addr, u32) {
        let octets = packet.as_slice().get(24..40).and_then(|octets| <[u8; 16]>::try_from(octets).ok());
        // Too short to have a destination: the kernel refuses the packet for its length anyway.
        let address = Ipv6Addr::from(octets.unwrap_or_default());
        let needs_scope = address.is_multicast() || address.is_unicast_link_local();
        (address, if needs_scope { self.interface } else { 0 })
    }
}

/// A socket towards `destination` that asks the kernel's routing what one of our own packets would meet;
/// `None` when there is no route.
pub fn probe(destination: Ipv6Addr, interface: u32) -> io::Result<Option<UdpSocket>> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_mark(MARK)?;
    probe::towards(socket.into(), destination, interface)
}
