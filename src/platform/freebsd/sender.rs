//! The way out: whole IPv6 packets by the divert socket, and frames by bpf(4) for what the kernel would not send.
//! FreeBSD has no raw IPv6 socket that takes a header and refuses type 2 routing headers, so nothing less than the whole
//! packet will do for RFC 3775 6.4; called by `platform::freebsd::Host`.

use super::{
    super::{intake::SendReport, interface::Interface, pool::Pool},
    divert::Divert,
    interfaces::interface_request,
    shape::{frame, with_scope},
    sys,
};
use crate::wire::PacketBuffer;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::Ipv6Addr,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
};

/// Where addresses stand in the IPv6 header.
const SOURCE: usize = 8;
const DESTINATION: usize = 24;

/// What packets leave by, beside the divert socket.
pub struct Sender {
    /// For frames, with the link-layer address they come from; a link without such addresses has none.
    frames: Option<(File, [u8; 6])>,
    interface: u32,
    mtu: usize,
}

impl Sender {
    /// Opens bpf on the interface.
    pub fn open(interface: &Interface) -> io::Result<Self> {
        let mut frames = None;
        if let Some(own) = interface.link_address {
            let bpf = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
                .open("/dev/bpf")?;
            sys::attach_bpf(bpf.as_fd(), &mut interface_request(&interface.name)?)?;
            frames = Some((bpf, own));
        }
        let mtu = usize::try_from(interface.mtu).unwrap_or(usize::MAX);
        Ok(Self { frames, interface: interface.index, mtu })
    }

    /// Sends all packets and drains them into the pool, except for those that failed. What is `on_link` is not sent by
    /// the routing table, but on the link itself.
    pub fn send(
        &mut self,
        divert: &Divert,
        packets: &mut Vec<PacketBuffer>,
        on_link: impl Fn(&PacketBuffer) -> bool,
        pool: &mut Pool,
    ) -> SendReport {
        let mut report = SendReport::default();
        for mut packet in packets.drain(..) {
            let direct = on_link(&packet);
            match self.send_one(divert, &mut packet, direct) {
                Ok(()) => {
                    report.sent += 1;
                    pool.give(packet.into_storage().0);
                }
                Err(error) => report.failed.push((packet, error)),
            }
        }
        report
    }

    fn send_one(&mut self, divert: &Divert, packet: &mut PacketBuffer, direct: bool) -> io::Result<()> {
        // The kernel would fragment silently what it sends for us; the sender inside must learn the MTU instead.
        if packet.len() > self.mtu {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        let address = |packet: &PacketBuffer, at: usize| {
            let octets =
                packet.as_slice().get(at..at + 16).and_then(|octets| <[u8; 16]>::try_from(octets).ok());
            octets.map(Ipv6Addr::from).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
        };
        let destination = address(packet, DESTINATION)?;
        // What is for a group, neighbour discovery above all, is sent as a frame: the kernel has no source address for
        // duplicate address detection (it refuses the unspecified one) and no link for a group.
        if direct || destination.is_multicast() {
            let Some((bpf, own)) = &mut self.frames else {
                return Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
            };
            return bpf.write_all(&frame(packet.as_slice(), destination, *own));
        }
        let source = address(packet, SOURCE)?;
        if !(source.is_unicast_link_local() || destination.is_unicast_link_local()) {
            return divert.send(packet.as_slice());
        }
        let mut scoped = packet.as_slice().to_vec();
        for (at, plain) in [(SOURCE, source), (DESTINATION, destination)] {
            if let Some(place) = scoped.get_mut(at..at + 16) {
                place.copy_from_slice(&with_scope(plain, self.interface).octets());
            }
        }
        divert.send(&scoped)
    }
}
