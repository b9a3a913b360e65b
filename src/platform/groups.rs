//! The multicast groups a node listens to on behalf of addresses that are not its host's own.
//! A proxy must hear the solicitations for what it defends (RFC 3775 10.4.1, RFC 4861 7.2.8).
//! Called by the `Host` of each system below `platform`.

use super::changes::unless_gone;
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv6Addr, UdpSocket},
};

/// The solicited-node groups joined on one interface, as long as this value lives.
#[derive(Debug)]
pub struct Groups {
    socket: UdpSocket,
    interface: u32,
    /// How many addresses belong to each group: a global address and the link-local one with the same identifier
    /// share theirs.
    joined: BTreeMap<Ipv6Addr, usize>,
}

impl Groups {
    /// No group yet, on the interface of this number.
    pub fn open(interface: u32) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        Ok(Self { socket, interface, joined: BTreeMap::new() })
    }

    /// Listens to the solicitations for `address`.
    pub fn join(&mut self, address: Ipv6Addr) -> io::Result<()> {
        let group = solicited_node(address);
        let members = self.joined.get(&group).copied().unwrap_or(0);
        if members == 0 {
            self.socket.join_multicast_v6(&group, self.interface)?;
        }
        self.joined.insert(group, members + 1);
        Ok(())
    }

    /// Listens no more, unless another address is in the same group.
    pub fn leave(&mut self, address: Ipv6Addr) -> io::Result<()> {
        let group = solicited_node(address);
        match self.joined.get_mut(&group) {
            Some(members) if *members > 1 => {
                *members -= 1;
                Ok(())
            }
            _ => {
                self.joined.remove(&group);
                unless_gone(self.socket.leave_multicast_v6(&group, self.interface))
            }
        }
    }
}

/// The solicited-node multicast address (RFC 4291 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let low = address.to_bits() & 0x00ff_ffff;
    Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | low)
}
