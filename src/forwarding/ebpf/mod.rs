//! The fast path: the rules carried out in the Linux kernel by eBPF programs (`programs/`), which only ever take a packet
//! that they rewrite as `user` would, and leave every other one to it untouched (design section 3). This file is what
//! both builds share, with the feature `ebpf` on Linux and without it. Called by `daemon`.

#[cfg(mga_ebpf)]
mod group;
#[cfg(mga_ebpf)]
mod layout;
#[cfg(mga_ebpf)]
mod loader;
#[cfg(mga_ebpf)]
mod pins;
#[cfg(mga_ebpf)]
mod sources;
#[cfg(not(mga_ebpf))]
mod stub;
#[cfg(mga_ebpf)]
mod trial;

use std::net::Ipv6Addr;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

#[cfg(mga_ebpf)]
pub use loader::FastPath;
#[cfg(not(mga_ebpf))]
pub use stub::FastPath;
#[cfg(mga_ebpf)]
pub use trial::{Hook, Verdict};

/// The time since this machine started, without its sleep: the clock of the kernel's programs, by which rules end.
pub fn since_boot() -> Duration {
    // There is no system without this clock.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// A member that a killed run left has a number from this one on until it joins anew; no role gives such numbers.
pub const LEFT: u32 = 1 << 30;

/// Whose rewrites a node needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programs {
    /// Tunnels to and from responders (haa, maa).
    Agent,
    /// Reverse tunnel, home address option out, type 2 routing header in (ar).
    Responder,
    /// Type 2 routing header out, home address option in (ai).
    Initiator,
}

/// An interface, as the programs must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub index: u32,
    pub name: String,
    /// Octets.
    pub mtu: u32,
    /// Its Ethernet address; frames without one have no link-layer header.
    pub link_address: Option<[u8; 6]>,
    /// No adapter is behind it, so that frames may come with unfinished checksums, which XDP would lose.
    pub is_software: bool,
}

/// Where the programs are put to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    pub programs: Programs,
    /// The link the node lives on.
    pub link: Device,
    /// The tunnel device of user space: what comes out of the network for this host is handed on as if it came from
    /// there, and what this host says from or to an anycast address goes in there.
    pub tunnel: Device,
    /// Names the node among all of this machine; by it a restarted one finds what a killed one left in the kernel, so
    /// that what is left for it to do keeps being done. Without it nothing is left.
    pub identity: Option<String>,
    /// Sources that groups hold fixed at most, all groups together.
    pub sources: u32,
}

/// The way to an address, as this host's routing has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The number of the interface.
    pub device: u32,
    /// The neighbour on it: a router, or the address itself.
    pub neighbour: Ipv6Addr,
    /// The longest packet in octets that the path is known to take.
    pub mtu: u32,
}

/// Who a source of a group is fixed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedSource {
    pub source: Ipv6Addr,
    /// Number of the member.
    pub member: u32,
    /// For how long, since its interval last began.
    pub age: Duration,
    /// It was heard of again since it was fixed, which keeps those who were not from taking its place.
    pub again: bool,
}

/// What the members of a group were sent and sent, in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberCarried {
    /// Number of the member.
    pub member: u32,
    pub to: Carried,
    pub from: Carried,
}

/// What rules have carried in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub packets: u64,
    /// Octets of the packets before the rewrite.
    pub octets: u64,
}

/// Why there is no fast path; the node works without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);
