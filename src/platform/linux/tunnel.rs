//! The tunnel device: what this host sends or forwards into it comes out here, and what is written to it
//! this host's kernel receives. It stands for the virtual tunnel interface of RFC 3775 sections 10.4.2 and
//! 11.3.1; called by `platform::linux::Host`.

use super::{
    super::{
        error::{Error, Trying},
        intake::{Intake, Received},
        pool::Pool,
    },
    changes::write_parameter,
    netlink::{Link, Netlink},
    segments::{LONGEST_PACKET, OFFLOAD_HEADER, make_plain},
    sys,
};
use crate::wire::PacketBuffer;
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};
use tun_rs::{DeviceBuilder, GROTable, IDEAL_BATCH_SIZE, SyncDevice};

/// Most reads in one batch; one read can be 64 KiB of segments.
const READS: usize = 64;
/// Packets that may wait for us in the device: those of a dozen milliseconds at the rate we can take. The kernel's own 500
/// are gone before a busy machine gives us the core again.
const QUEUE: u32 = 4096;

/// One tunnel device; it vanishes with its routes and addresses when it is dropped, unless it is to stay.
pub struct Tunnel {
    device: SyncDevice,
    name: String,
    index: u32,
    /// Where the device is read to: one piece costs the kernel less than a packet's own place and one for what is longer.
    read: Vec<u8>,
    merger: GROTable,
    outgoing: Vec<Vec<u8>>,
}

impl Tunnel {
    /// Creates the device with the given MTU in octets and an alias for people, and brings it up.
    pub fn create(netlink: &mut Netlink, alias: &str, mtu: u32) -> Result<Self, Error> {
        let what = || "create a tunnel device".to_owned();
        let tunnel = Self::open("mga%d").trying(what)?;
        // The kernel must not speak on its own account on a link that has no neighbours. These parameters
        // are the device's and vanish with it.
        for (parameter, value) in
            [("addr_gen_mode", "1"), ("router_solicitations", "0"), ("accept_ra", "0"), ("accept_dad", "0")]
        {
            write_parameter(&format!("net/ipv6/conf/{}/{parameter}", tunnel.name), value).trying(what)?;
        }
        netlink.set_alias(tunnel.index, alias).trying(what)?;
        netlink.bring_up(tunnel.index, mtu).trying(what)?;
        Ok(tunnel)
    }

    /// Takes over a device that a killed run left as it was, with addresses and routes.
    pub fn take_over(
        netlink: &mut Netlink,
        (index, name): (u32, &str),
        alias: &str,
        mtu: u32,
    ) -> io::Result<Self> {
        let other = || io::Error::from(io::ErrorKind::NotFound);
        let links = netlink.links()?;
        let is_it = |link: &Link| link.index == index && link.name == name && link.alias == alias;
        links.iter().any(is_it).then_some(()).ok_or_else(other)?;
        // Were it gone meanwhile, this would make another, which goes with the value.
        let tunnel = Some(Self::open(name)?).filter(|tunnel| tunnel.index == index).ok_or_else(other)?;
        netlink.bring_up(index, mtu)?;
        Ok(tunnel)
    }

    fn open(name: &str) -> io::Result<Self> {
        let device = DeviceBuilder::new()
            .name(name)
            .with(|options| {
                options.offload(true).packet_information(false);
            })
            .tx_queue_len(QUEUE)
            .inherit_enable_state()
            .build_sync()?;
        device.set_nonblocking(true)?;
        let name = device.name()?;
        let index = device.if_index()?;
        Ok(Self { device, name, index, read: Vec::new(), merger: GROTable::default(), outgoing: Vec::new() })
    }

    /// Has the device stay when this process is killed, or not any more.
    pub fn set_persistent(&self, persistent: bool) -> io::Result<()> {
        sys::set_persistent(self.as_fd(), persistent)
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's number.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Readable when packets wait.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// Reads one batch; returns (packets received, packets dropped as malformed).
    pub fn receive(&mut self, pool: &mut Pool, into: &mut Vec<Received>) -> io::Result<(usize, usize)> {
        let room = pool.room();
        self.read.resize(OFFLOAD_HEADER + room + LONGEST_PACKET, 0);
        let (before, mut malformed) = (into.len(), 0);
        for _ in 0..READS {
            if into.len() - before >= IDEAL_BATCH_SIZE {
                break;
            }
            let length = match self.device.recv(&mut self.read) {
                Ok(length) => length,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    io::ErrorKind::Interrupted => continue,
                    _ => return Err(error),
                },
            };
            let Some((header, packet)) = self.read.split_first_chunk_mut::<OFFLOAD_HEADER>() else {
                continue;
            };
            let Some(length) = length.checked_sub(OFFLOAD_HEADER).filter(|_| is_unicast_ipv6(packet)) else {
                continue;
            };
            let near = length.min(room);
            let (mut storage, start) = pool.packet(near).into_storage();
            storage[start..].copy_from_slice(&packet[..near]);
            let mut emit = |packet| into.push(Received { packet, intake: Intake::Own });
            let plain = make_plain(header, 0, storage, length, packet, pool, &mut emit);
            malformed += usize::from(plain.is_err());
        }
        Ok((into.len() - before, malformed))
    }

    /// Has the kernel receive `packets`, neighbours of one flow merged; drains them into the pool and
    /// returns how many were taken.
    pub fn deliver(&mut self, packets: &mut Vec<PacketBuffer>, pool: &mut Pool) -> io::Result<usize> {
        let mut outcome = Ok(0);
        while !packets.is_empty() {
            let count = packets.len().min(IDEAL_BATCH_SIZE);
            if self.outgoing.len() < count {
                // Room for the longest merged packet: what is not used never gets real memory.
                self.outgoing.resize_with(count, || Vec::with_capacity(LONGEST_PACKET + 4 * OFFLOAD_HEADER));
            }
            for (slot, packet) in self.outgoing.iter_mut().zip(packets.drain(..count)) {
                slot.clear();
                slot.extend_from_slice(&[0; OFFLOAD_HEADER]);
                slot.extend_from_slice(packet.as_slice());
                pool.give(packet.into_storage().0);
            }
            let (batch, _) = self.outgoing.split_at_mut(count);
            match self.device.send_multiple(&mut self.merger, batch, OFFLOAD_HEADER) {
                Ok(_) => outcome = outcome.map(|sum| sum + count),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }
}

/// Keeps out what the kernel says on its own account: listener reports and the like.
fn is_unicast_ipv6(packet: &[u8]) -> bool {
    packet.first().is_some_and(|octet| octet >> 4 == 6) && packet.get(24).is_some_and(|octet| *octet != 0xff)
}
