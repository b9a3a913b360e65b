//! How packets come in from the operating system and go out to it, in words of purpose.
//! "Own" serves thesis 4.2 (A_Any at the agents), "steal" RFC 3775 6.3, 6.4 and RFC 2473, "tap" ICMPv6.
//! Filled by the systems below `platform`, read by `daemon` and `forwarding`.

use crate::wire::{PacketBuffer, ipv6::next_header};
use std::{collections::BTreeSet, io, net::Ipv6Addr, path::PathBuf};

/// What a `Host` is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the link's interface.
    pub interface: String,
    /// File that remembers how to undo every change of the system, for example `/run/mga-node/haa-eth0.undo`.
    pub journal: PathBuf,
    /// Name of this node, for example `haa-eth0`; it marks every object this node makes in the system.
    pub name: String,
    /// The settings of this run, in any words that differ when they do, if it wants to go on with what the kernel still
    /// does for a killed run of the same settings. Without them, or with others, everything is taken back first.
    pub settings: Option<String>,
}

/// By which door a packet came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intake {
    /// From the tunnel device: sent by this host, or routed into it. The hop limit of a routed packet
    /// is already decremented.
    Own,
    /// Taken from the link before the kernel saw it; the kernel will never answer it.
    Steal,
    /// A copy; the kernel sees the packet too.
    Tap,
}

/// One packet that came in: whole, checksummed and no longer than the link's MTU, but for a tunnel packet that the kernel
/// has put together from pieces.
#[derive(Clone, Debug)]
pub struct Received {
    /// The IPv6 packet, without any link-layer header.
    pub packet: PacketBuffer,
    /// How it came in.
    pub intake: Intake,
}

/// A class of packets that is taken from the link before the kernel judges it. Only the fixed IPv6 header
/// decides, so that whoever takes and whoever drops agree packet by packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Steal {
    /// IPv6 in IPv6 (RFC 2473, next header 41), from anybody or from one tunnel entry point.
    Tunnel {
        /// The tunnel entry point; anybody when `None`.
        source: Option<Ipv6Addr>,
        /// The tunnel exit point.
        destination: Ipv6Addr,
    },
    /// A Mobility Header directly behind the IPv6 header (RFC 3775 6.1, next header 135).
    MobilityHeader {
        /// To whom.
        destination: Ipv6Addr,
    },
    /// Destination options directly behind the IPv6 header (RFC 3775 6.3, next header 60).
    DestinationOptions {
        /// To whom.
        destination: Ipv6Addr,
    },
    /// A routing header directly behind the IPv6 header (RFC 3775 6.4, next header 43).
    RoutingHeader {
        /// To whom.
        destination: Ipv6Addr,
    },
}

impl Steal {
    /// The class as (next header, source, destination) of the fixed IPv6 header.
    pub fn selector(&self) -> (u8, Option<Ipv6Addr>, Ipv6Addr) {
        match *self {
            Self::Tunnel { source, destination } => (41, source, destination),
            Self::MobilityHeader { destination } => (135, None, destination),
            Self::DestinationOptions { destination } => (60, None, destination),
            Self::RoutingHeader { destination } => (43, None, destination),
        }
    }
}

/// What became of a batch of packets given to `Host::send`.
#[derive(Debug, Default)]
pub struct SendReport {
    /// How many the kernel took.
    pub sent: usize,
    /// The others with the kernel's answer; `EMSGSIZE` says "longer than the device's MTU".
    pub failed: Vec<(PacketBuffer, io::Error)>,
}

/// True for a message of the node's own (a Mobility Header or ICMPv6) to one of the addresses it owns: that is for whoever
/// has the address on the link (RFC 3775 10.3.2), not for the tunnel device. Tunnel packets, which are the many, are not
/// looked at further.
pub(super) fn is_message_to(packet: &PacketBuffer, owned: &BTreeSet<Ipv6Addr>) -> bool {
    let octets = packet.as_slice();
    if !matches!(octets.get(6), Some(&(next_header::MOBILITY | next_header::ICMPV6))) {
        return false;
    }
    let destination = octets.get(24..40).and_then(|octets| <[u8; 16]>::try_from(octets).ok());
    destination.is_some_and(|to| owned.contains(&Ipv6Addr::from(to)))
}
