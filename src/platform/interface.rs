//! The link a node lives on, as the operating system describes it.
//! The states of an address are those of RFC 4862 (tentative, deprecated).
//! Filled by the systems below `platform`, read by `daemon` and through it by the roles.

use std::net::Ipv6Addr;

/// The number that marks what this program puts into the routing tables, where the system has one; a midway agent's
/// captures bear it unless it is told another (thesis 4.3.3). Not taken in iproute2's `rt_protos`.
pub const ROUTE_PROTOCOL: u8 = 77;

/// The least MTU an IPv6 link may have, in octets (RFC 8200 section 5).
pub const LEAST_MTU: u32 = 1280;
/// Octets of one outer IPv6 header, by which the tunnel device's MTU is lower than the link's.
const TUNNEL_OVERHEAD: u32 = 40;
/// Octets by which a packet buffer is larger than the link's MTU, for headers we add.
const BUFFER_SLACK: usize = 512;

/// The interface a node lives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The operating system's number for it; also its scope identifier.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MTU in octets.
    pub mtu: u32,
    /// Its Ethernet address, when it has one.
    pub link_address: Option<[u8; 6]>,
    /// No driver of a network adapter is behind it: frames may come from this very host, with checksums that are
    /// filled in by whoever receives them.
    pub is_software: bool,
}

/// The way to an address, as the operating system's routing has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The number of the interface.
    pub device: u32,
    /// The neighbour on it: a router, or the address itself.
    pub neighbour: Ipv6Addr,
    /// The longest packet in octets that the path is known to take.
    pub mtu: u32,
}

impl Interface {
    /// The MTU of a tunnel device over this link, in octets.
    pub(super) fn tunnel_mtu(&self) -> u32 {
        self.mtu.saturating_sub(TUNNEL_OVERHEAD).max(LEAST_MTU)
    }

    /// Octets of a buffer for the link's packets.
    pub(super) fn buffer_room(&self) -> usize {
        usize::try_from(self.mtu).unwrap_or(0) + BUFFER_SLACK
    }
}

/// One IPv6 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: Ipv6Addr,
    /// Its on-link prefix length in bits.
    pub prefix_length: u8,
    /// Duplicate Address Detection is not finished, or has failed: not usable.
    pub tentative: bool,
    /// Not to be used for new communication (RFC 4862 5.5.4).
    pub deprecated: bool,
}

/// Those of an interface's addresses that are known beyond its link.
pub(super) fn global(mut addresses: Vec<InterfaceAddress>) -> Vec<InterfaceAddress> {
    addresses.retain(|found| !found.address.is_unicast_link_local());
    addresses
}

/// The link-local one of an interface's addresses, once it may be used.
pub(super) fn link_local(addresses: &[InterfaceAddress]) -> Option<Ipv6Addr> {
    let usable = |found: &&InterfaceAddress| found.address.is_unicast_link_local() && !found.tentative;
    addresses.iter().find(usable).map(|found| found.address)
}
