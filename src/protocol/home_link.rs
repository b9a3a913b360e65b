//! The agent's duties on the home link (RFC 3775 10.4.1, 10.3.1, 10.5): the unsolicited advertisement that draws
//! an anycast address to the agent, duplicate address detection before the first acknowledgement, and the home
//! agents' anycast address of DHAAD. Builds and reads packets; solicitations are answered by the host's ND proxy.
//! Used by `haa`, and by `ar` for the address it asks.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::limits::{HOP_LIMIT, NEIGHBOR_DISCOVERY_HOP_LIMIT};
use crate::wire::icmpv6::{Icmpv6, Icmpv6Message, NeighborOption};
use crate::wire::ipv6::{self, Ipv6Header, next_header};

/// RFC 4861: all nodes of a link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The Override flag of a Neighbor Advertisement (RFC 4861 4.4).
const OVERRIDE: u32 = 0x2000_0000;

/// A whole ICMPv6 packet with its checksum.
pub fn icmpv6_packet(
    source: &Ipv6Addr,
    destination: &Ipv6Addr,
    hop_limit: u8,
    message: Icmpv6Message,
) -> Vec<u8> {
    let body = Icmpv6 { checksum: 0, message }.emit_for(source, destination);
    ipv6::packet(Ipv6Header::new(next_header::ICMPV6, hop_limit, *source, *destination), &body)
}

/// The unsolicited Neighbor Advertisement for `target` (10.4.1): to all nodes, Override set, Router and Solicited
/// clear, with the agent's own link-layer address.
pub fn unsolicited_advertisement(source: &Ipv6Addr, target: Ipv6Addr, link_address: [u8; 6]) -> Vec<u8> {
    let options = vec![NeighborOption::TargetLinkLayerAddress(link_address.to_vec())];
    let message = Icmpv6Message::NeighborAdvertisement { code: 0, flags: OVERRIDE, target, options };
    icmpv6_packet(source, &ALL_NODES, NEIGHBOR_DISCOVERY_HOP_LIMIT, message)
}

/// The probe of duplicate address detection (RFC 4862 5.4.2): from `::` to the solicited-node group of `target`.
pub fn duplicate_address_probe(target: Ipv6Addr) -> Vec<u8> {
    let message = Icmpv6Message::NeighborSolicitation { code: 0, reserved: 0, target, options: Vec::new() };
    let destination = solicited_node_group(&target);
    icmpv6_packet(&Ipv6Addr::UNSPECIFIED, &destination, NEIGHBOR_DISCOVERY_HOP_LIMIT, message)
}

/// The solicited-node multicast address (RFC 4291 2.7.1).
pub fn solicited_node_group(target: &Ipv6Addr) -> Ipv6Addr {
    let low = u128::from(*target) & 0xff_ffff;
    Ipv6Addr::from((0xff02_u128 << 112) | (0x1_ff00_0000 | low))
}

/// The link-local address that belongs to a home address (RFC 3775 10.3.1): what follows its prefix, behind the
/// link-local prefix. `prefix_length` is in bits.
pub fn link_local_of(home_address: &Ipv6Addr, prefix_length: u8) -> Ipv6Addr {
    // The link-local prefix has 10 bits, whatever the home prefix has.
    let host_bits = u128::MAX.checked_shr(u32::from(prefix_length.max(10))).unwrap_or(0);
    Ipv6Addr::from((0xfe80_u128 << 112) | (u128::from(*home_address) & host_bits))
}

/// The address this message claims or probes, when it shows that `target` is in use or being probed by another
/// node (RFC 4862 5.4.3, 5.4.4): an advertisement for it, or a solicitation for it from `::`.
pub fn conflicts_with(source: &Ipv6Addr, message: &Icmpv6Message) -> Option<Ipv6Addr> {
    match message {
        Icmpv6Message::NeighborAdvertisement { target, .. } => Some(*target),
        Icmpv6Message::NeighborSolicitation { target, .. } if source.is_unspecified() => Some(*target),
        _ => None,
    }
}

/// The Mobile IPv6 Home-Agents anycast address of `prefix` (RFC 2526): identifier 126 with all other bits one, in
/// a 64-bit prefix with the universal/local bit clear.
pub fn home_agents_anycast(prefix: &Ipv6Net) -> Ipv6Addr {
    let network = u128::from(prefix.network());
    if prefix.prefix_len() == 64 {
        return Ipv6Addr::from(network | 0xfdff_ffff_ffff_fffe);
    }
    let host_bits = u128::MAX.checked_shr(u32::from(prefix.prefix_len())).unwrap_or(0);
    Ipv6Addr::from(network | (host_bits & !0x7f) | (0x7e & host_bits))
}

/// Home Agent Address Discovery Request (RFC 3775 6.5), `care_of` -> the home agents' anycast address.
pub fn discovery_request(care_of: &Ipv6Addr, home_agents: &Ipv6Addr, identifier: u16) -> Vec<u8> {
    let message = Icmpv6Message::HomeAgentDiscoveryRequest { code: 0, identifier, reserved: 0 };
    icmpv6_packet(care_of, home_agents, HOP_LIMIT, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_agents_address_of_a_64_bit_prefix_is_that_of_the_captures() {
        let prefix = "2001:db8:0:1::/64".parse().expect("a prefix");
        assert_eq!(home_agents_anycast(&prefix).to_string(), "2001:db8:0:1:fdff:ffff:ffff:fffe");
    }

    #[test]
    fn the_home_agents_address_of_another_prefix_has_all_other_bits_one() {
        let prefix = "2001:db8:0:1::/112".parse().expect("a prefix");
        assert_eq!(home_agents_anycast(&prefix).to_string(), "2001:db8:0:1::fffe");
    }

    #[test]
    fn h030_the_link_local_address_has_the_interface_identifier_of_the_home_address() {
        let home = "2001:db8:0:1:1234::a".parse().expect("an address");
        assert_eq!(link_local_of(&home, 64).to_string(), "fe80::1234:0:0:a");
        assert_eq!(link_local_of(&home, 128).to_string(), "fe80::");
        assert_eq!(link_local_of(&home, 0).segments()[0] & 0xffc0, 0xfe80);
    }

    #[test]
    fn the_solicited_node_group_keeps_24_bits() {
        let target: Ipv6Addr = "2001:db8:0:1::a1b2:c3d4".parse().expect("an address");
        assert_eq!(solicited_node_group(&target).to_string(), "ff02::1:ffb2:c3d4");
    }
}
