//! Whole packets through the walk over their extension headers (RFC 8200 section 4, RFC 3775 sections 6.3 and 6.4).
//! Every place that the walk names lies in the packet, headers follow each other, and what is made of the packet as
//! the cause of an ICMPv6 error (RFC 4443 section 2.4) parses. Called by the target `wire`.

use std::net::Ipv6Addr;

use mga_node::wire::icmpv6::{ErrorReason, error_packet};
use mga_node::wire::ipv6::{HEADER_LENGTH, Ipv6Header};
use mga_node::wire::{ErrorKind, Packet};

const HERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);

fn walk(packet: &Packet<'_>) {
    let mut place = HEADER_LENGTH;
    for header in &packet.headers {
        assert_eq!(header.offset, place);
        assert!(header.next_header_offset < header.offset && header.length >= 8);
        place += header.length;
    }
    assert_eq!(packet.upper.offset, place);
    assert!(place <= packet.bytes.len());
    assert!(packet.upper.next_header_offset < place);
    if let Some(found) = packet.home_address {
        assert_eq!(packet.bytes[found.option_offset..][..2], [201, 16]);
        assert_eq!(packet.bytes[found.option_offset + 2..][..16], found.address.octets());
        assert!(found.header_offset < found.option_offset);
        assert_eq!(packet.final_source(), found.address);
    }
    if let Some(found) = packet.routing2 {
        assert_eq!(packet.bytes[found.header_offset + 8..][..16], found.address.octets());
    }
}

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    if let Ok(header) = Ipv6Header::parse(octets) {
        assert_eq!(header.emit(), octets[..HEADER_LENGTH]);
    }
    let quoted = Packet::parse_quoted(octets);
    if let Ok(packet) = &quoted {
        walk(packet);
    }
    match Packet::parse(octets) {
        Ok(packet) => {
            walk(&packet);
            assert_eq!(quoted.as_ref(), Ok(&packet));
            let length = HEADER_LENGTH + usize::from(packet.header.payload_length);
            assert_eq!(packet.payload(), &octets[packet.upper.offset..length]);
            // What trails the packet makes no difference.
            assert_eq!(Packet::parse(&octets[..length]), Ok(packet));
        }
        Err(error) => {
            assert!(error.offset <= octets.len().max(HEADER_LENGTH));
            assert!(quoted.is_err() || error.kind == ErrorKind::Truncated);
        }
    }
    for reason in [ErrorReason::PacketTooBig(1280), ErrorReason::ParameterProblem { code: 0, pointer: 40 }] {
        let Some(answer) = error_packet(&HERE, octets, reason) else { continue };
        let answer = Packet::parse(&answer).expect("an error packet parses");
        assert!(answer.bytes.len() <= 1280);
        let to = answer.header.destination;
        assert!(!to.is_multicast() && !to.is_unspecified());
    }
}
