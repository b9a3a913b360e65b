//! The link a node lives on, as the operating system describes it.
//! The states of an address are those of RFC 4862 (tentative, deprecated).
//! Filled by the systems below `platform`, read by `daemon` and through it by the roles.

use std::net::Ipv6Addr;

/// The number that marks what this program puts into the routing tables, where the system has one; a midway agent's
/// captures bear it unless it is told another (thesis 4.3.3). Not taken in iproute2's `rt_protos`.
pub const ROUTE_PROTOCOL: u8 = 77;

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
