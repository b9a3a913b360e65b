//! Which packets a node wants from its link: those taken away from the kernel and those copied.
//! RFC 3775 6.1, 6.3, 6.4 and RFC 2473 define the classes. Shared by the systems below `platform`, whose own filters
//! say the same in their kernel's words.

use super::intake::{Intake, Steal};
use rustc_hash::FxHashSet;
use std::net::Ipv6Addr;

const IPV6_HEADER: usize = 40;
const ICMPV6: u8 = 58;

/// The packets wanted from the link.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// (next header, source, destination) of every class that is taken away from the kernel.
    pub(super) stolen: FxHashSet<(u8, Option<Ipv6Addr>, Ipv6Addr)>,
    /// Destinations whose ICMPv6 errors, echo replies and mobility messages are copied to us.
    pub(super) tapped: FxHashSet<Ipv6Addr>,
    /// Whether Router Advertisements, Neighbor Solicitations and Neighbor Advertisements are copied to us.
    pub(super) neighbor_discovery: bool,
}

impl Selection {
    /// Replaces the classes taken away from the kernel.
    pub fn set_stolen(&mut self, classes: &[Steal]) {
        self.stolen = classes.iter().map(Steal::selector).collect();
    }

    /// Replaces what is copied.
    pub fn set_tapped(&mut self, addresses: &[Ipv6Addr], neighbor_discovery: bool) {
        self.tapped = addresses.iter().copied().collect();
        self.neighbor_discovery = neighbor_discovery;
    }

    /// To whom packets with this next header are taken away.
    #[cfg(any(target_os = "freebsd", test))]
    pub fn destinations(&self, next_header: u8) -> std::collections::BTreeSet<Ipv6Addr> {
        let stolen = self.stolen.iter().filter(|(kind, ..)| *kind == next_header);
        stolen.map(|(.., destination)| *destination).collect()
    }

    /// How a packet that the kernel gave us came in; `None` when it is none of ours.
    pub fn classify(&self, packet: &[u8]) -> Option<Intake> {
        let (header, payload) = packet.split_at_checked(IPV6_HEADER)?;
        let next_header = *header.get(6)?;
        let address = |at| header.get(at..at + 16).and_then(|octets| <[u8; 16]>::try_from(octets).ok());
        let (source, destination) = (Ipv6Addr::from(address(8)?), Ipv6Addr::from(address(24)?));
        if self.stolen.contains(&(next_header, None, destination))
            || self.stolen.contains(&(next_header, Some(source), destination))
        {
            return Some(Intake::Steal);
        }
        let tapped = next_header == ICMPV6
            && match payload.first()? {
                1..=4 | 129 | 144..=147 => self.tapped.contains(&destination),
                134..=136 => self.neighbor_discovery,
                _ => false,
            };
        tapped.then_some(Intake::Tap)
    }
}
