//! Packets brought into the shape that the node, or the link, wants: a header put before what a raw socket gives, a long
//! packet fragmented, an Ethernet header put in front. RFC 8200 4.5 defines the fragments, RFC 2464 7 the frames.
//! Called by the intakes and the sender of `platform::freebsd`.

use crate::wire::{
    PacketBuffer,
    ipv6::{HEADER_LENGTH, Ipv6Header, next_header},
};
use std::net::Ipv6Addr;

/// Octets of a fragment header.
const FRAGMENT_HEADER: usize = 8;
/// The type of IPv6 in an Ethernet frame.
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// The Ethernet group of all nodes (RFC 2464 7): whoever speaks IPv6 listens.
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// What the kernel tells beside a packet whose IPv6 header it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent it.
    pub source: Ipv6Addr,
    /// To whom.
    pub destination: Ipv6Addr,
    /// By which interface it came.
    pub interface: u32,
    /// Its hop limit when it came.
    pub hop_limit: u8,
    /// Its traffic class.
    pub traffic_class: u8,
}

impl Envelope {
    /// The IPv6 header again, but for the flow label, which the kernel does not tell; `None` for a payload longer than a
    /// header can say.
    pub fn header(&self, next_header: u8, payload: usize) -> Option<[u8; HEADER_LENGTH]> {
        let mut header = Ipv6Header::new(next_header, self.hop_limit, self.source, self.destination);
        header.traffic_class = self.traffic_class;
        header.payload_length = u16::try_from(payload).ok()?;
        Some(header.emit())
    }
}

/// The fragments of a packet longer than `mtu` octets, which this host sends. The kernel fragments after its firewall has
/// seen the packet, so what is diverted comes whole. `None` when the packet stays whole: it fits, or it is TCP, which
/// wants to know the MTU, or it has extension headers, which nothing on this host sends in long packets.
pub fn fragments(packet: &[u8], mtu: usize, identification: u32) -> Option<Vec<PacketBuffer>> {
    if packet.len() <= mtu {
        return None;
    }
    let (header, payload) = packet.split_at_checked(HEADER_LENGTH)?;
    let header = Ipv6Header::parse(header).ok()?;
    if !matches!(header.next_header, next_header::UDP | next_header::ICMPV6) {
        return None;
    }
    let room = mtu.checked_sub(HEADER_LENGTH + FRAGMENT_HEADER)? / 8 * 8;
    if room == 0 {
        return None;
    }
    let pieces = payload.chunks(room).enumerate().map(|(number, piece)| {
        let offset = number * room;
        let more = offset + piece.len() < payload.len();
        let mut outer = header;
        outer.next_header = next_header::FRAGMENT;
        // A payload is shorter than 65536 octets, and so is each piece and each offset.
        outer.payload_length = (FRAGMENT_HEADER + piece.len()) as u16;
        let position = (offset as u16) | u16::from(more);
        let mut fragment = outer.emit().to_vec();
        fragment.extend([header.next_header, 0]);
        fragment.extend(position.to_be_bytes());
        fragment.extend(identification.to_be_bytes());
        fragment.extend(piece);
        PacketBuffer::new(&fragment)
    });
    Some(pieces.collect())
}

/// An Ethernet frame for a packet to a group; to a single address it goes to all nodes, because who has that address does
/// not answer solicitations for it while a home agent does (RFC 3775 11.5.4).
pub fn frame(packet: &[u8], destination: Ipv6Addr, from: [u8; 6]) -> Vec<u8> {
    let to = match destination.octets() {
        [0xff, .., a, b, c, d] => [0x33, 0x33, a, b, c, d],
        _ => ALL_NODES,
    };
    [&to[..], &from, &ETHERTYPE_IPV6, packet].concat()
}

/// The same address as the kernel keeps it inside: a link-local one has its interface's number in the third and fourth
/// octet. What is handed to `ip6_output` must look like that; the kernel takes the number out again on the way.
pub fn with_scope(address: Ipv6Addr, interface: u32) -> Ipv6Addr {
    let mut octets = address.octets();
    if address.is_unicast_link_local() || matches!(octets, [0xff, flags, ..] if flags & 0x0f <= 2) {
        // Interface numbers have 16 bits.
        [octets[2], octets[3]] = (interface as u16).to_be_bytes();
    }
    octets.into()
}

/// The address without that number, which the kernel sometimes lets out.
pub fn without_scope(address: Ipv6Addr) -> Ipv6Addr {
    let mut octets = address.octets();
    if address.is_unicast_link_local() {
        (octets[2], octets[3]) = (0, 0);
    }
    octets.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{Intake, Steal, selection::Selection};
    use crate::wire::ipv6;
    use proptest::prelude::*;

    const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
    const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2);

    #[test]
    fn a_raw_socket_s_packet_gets_its_header_back() {
        let envelope =
            Envelope { source: PEER, destination: HOST, interface: 1, hop_limit: 61, traffic_class: 0xb8 };
        let header = Ipv6Header::parse(&envelope.header(135, 16).expect("a header")).expect("parsed");
        assert_eq!((header.source, header.destination, header.next_header), (PEER, HOST, 135));
        assert_eq!((header.hop_limit, header.traffic_class, header.payload_length), (61, 0xb8, 16));
        assert_eq!(envelope.header(41, 65_536), None);
    }

    #[test]
    fn a_tunnel_that_the_kernel_put_together_from_pieces_is_taken_like_any_other() {
        let mut selection = Selection::default();
        selection.set_stolen(&[Steal::Tunnel { source: Some(PEER), destination: HOST }]);
        let envelope =
            Envelope { source: PEER, destination: HOST, interface: 1, hop_limit: 61, traffic_class: 0 };
        let header = envelope.header(next_header::IPV6, 4000).expect("a header");
        assert_eq!(selection.classify(&[&header[..], &[0; 4000]].concat()), Some(Intake::Steal));
    }

    /// Puts fragments together as RFC 8200 4.5 has it.
    fn reassembled(fragments: &[PacketBuffer]) -> Vec<u8> {
        let (mut payload, mut kind) = (Vec::new(), 0);
        for (number, fragment) in fragments.iter().enumerate() {
            let octets = fragment.as_slice();
            let header = Ipv6Header::parse(octets).expect("a header");
            assert_eq!(header.next_header, next_header::FRAGMENT);
            assert_eq!(usize::from(header.payload_length), octets.len() - HEADER_LENGTH);
            kind = octets[40];
            let position = u16::from_be_bytes([octets[42], octets[43]]);
            assert_eq!(usize::from(position & !7), payload.len());
            assert_eq!(position & 7, u16::from(number + 1 < fragments.len()));
            assert_eq!(octets[44..48], 0x0102_0304_u32.to_be_bytes());
            payload.extend(&octets[48..]);
        }
        ipv6::packet(Ipv6Header::new(kind, 64, HOST, PEER), &payload)
    }

    proptest! {
        #[test]
        fn fragments_fit_and_give_the_packet_again(
            payload in prop::collection::vec(any::<u8>(), 1..9000),
            mtu in 1240..1500_usize,
        ) {
            let packet = ipv6::packet(Ipv6Header::new(next_header::UDP, 64, HOST, PEER), &payload);
            match fragments(&packet, mtu, 0x0102_0304) {
                None => prop_assert!(packet.len() <= mtu),
                Some(pieces) => {
                    prop_assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= mtu));
                    prop_assert_eq!(reassembled(&pieces), packet);
                }
            }
        }
    }

    #[test]
    fn what_must_not_be_fragmented_stays_whole() {
        for kind in [next_header::TCP, next_header::FRAGMENT, next_header::DESTINATION_OPTIONS] {
            let packet = ipv6::packet(Ipv6Header::new(kind, 64, HOST, PEER), &[0; 3000]);
            assert!(fragments(&packet, 1460, 1).is_none());
        }
        assert!(fragments(&[0x60; 39], 10, 1).is_none());
        let packet = ipv6::packet(Ipv6Header::new(next_header::UDP, 64, HOST, PEER), &[0; 100]);
        assert!(fragments(&packet, 50, 1).is_none());
    }

    #[test]
    fn a_frame_goes_to_the_group_or_to_all_nodes() {
        let from = [2, 0, 0, 0, 1, 2];
        let group = "ff02::1:ff00:a".parse().expect("a group");
        assert_eq!(frame(b"p", group, from), b"\x33\x33\xff\x00\x00\x0a\x02\x00\x00\x00\x01\x02\x86\xddp");
        assert_eq!(frame(b"p", PEER, from)[..6], ALL_NODES);
    }

    #[test]
    fn only_addresses_of_a_link_get_a_scope() {
        let scoped = |text: &str| with_scope(text.parse().expect("an address"), 0x0203).to_string();
        assert_eq!(scoped("fe80::1"), "fe80:203::1");
        assert_eq!(scoped("ff02::1"), "ff02:203::1");
        assert_eq!(scoped("ff05::1"), "ff05::1");
        assert_eq!(scoped("2001:db8::1"), "2001:db8::1");
        for text in ["fe80::1", "2001:db8::1"] {
            let plain = text.parse().expect("an address");
            assert_eq!(without_scope(with_scope(plain, 7)), plain);
        }
    }
}
