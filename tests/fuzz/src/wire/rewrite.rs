//! Whole packets through the tunnel (RFC 2473) and the two rewrites of route optimisation (RFC 3775 6.3, 6.4).
//! An error leaves a packet alone, what went in comes out again, upper layers see the same addresses on the way, and
//! no rewrite makes more of a quoted packet go missing. Called by the target `wire`.

use std::net::Ipv6Addr;

use mga_node::wire::ipv6::{HEADER_LENGTH, next_header};
use mga_node::wire::{Ipv6Header, Packet, PacketBuffer, Result, rewrite, tunnel};

const CARE_OF: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2);
const HERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);

/// Octets that the payload length promises and that are not there.
fn missing(octets: &[u8]) -> usize {
    Ipv6Header::parse(octets)
        .map_or(0, |header| (HEADER_LENGTH + usize::from(header.payload_length)).saturating_sub(octets.len()))
}

/// Addresses as upper layers see them, and the upper layer.
fn seen(octets: &[u8]) -> (Ipv6Addr, Ipv6Addr, Vec<u8>) {
    let packet = Packet::parse(octets).expect("a rewritten packet parses");
    (packet.final_source(), packet.final_destination(), packet.payload().to_vec())
}

fn home_address_in_and_out(octets: &[u8]) {
    let Ok(before) = Packet::parse(octets) else { return };
    let mut buffer = PacketBuffer::new(octets);
    if rewrite::insert_home_address(&mut buffer, &CARE_OF).is_err() {
        return assert_eq!(buffer.as_slice(), octets);
    }
    assert_eq!(Packet::parse(buffer.as_slice()).map(|packet| packet.header.source), Ok(CARE_OF));
    // An option that stood in the packet already comes out first when it stands in front.
    if before.home_address.is_none() {
        assert_eq!(seen(buffer.as_slice()), seen(octets));
        assert_eq!(rewrite::strip_home_address(&mut buffer), Ok(CARE_OF));
        assert_eq!(buffer.as_slice(), octets);
    }
}

fn routing_in_and_out(octets: &[u8]) {
    let Ok(before) = Packet::parse(octets) else { return };
    // A routing header behind a fragment or authentication header, where RFC 8200 section 4.1 has none, is the payload's affair.
    let mut behind = before
        .headers
        .iter()
        .skip_while(|header| !matches!(header.kind, next_header::FRAGMENT | next_header::AUTHENTICATION));
    if behind.any(|header| header.kind == next_header::ROUTING) {
        return;
    }
    let mut buffer = PacketBuffer::new(octets);
    if rewrite::insert_routing2(&mut buffer, &CARE_OF).is_err() {
        return assert_eq!(buffer.as_slice(), octets);
    }
    assert_eq!(before.routing2, None);
    assert_eq!(Packet::parse(buffer.as_slice()).map(|packet| packet.header.destination), Ok(CARE_OF));
    assert_eq!(seen(buffer.as_slice()), seen(octets));
    let stripped = rewrite::strip_routing2(&mut buffer);
    if before.header.hop_limit > 1 {
        assert_eq!(stripped, Ok(CARE_OF));
        let mut expected = octets.to_vec();
        expected[7] -= 1;
        assert_eq!(buffer.as_slice(), expected);
    } else {
        assert!(stripped.is_err());
    }
}

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    let strips: [fn(&mut PacketBuffer) -> Result<Ipv6Addr>; 2] =
        [rewrite::strip_home_address, rewrite::strip_routing2];
    for strip in strips {
        let mut buffer = PacketBuffer::new(octets);
        match strip(&mut buffer) {
            Ok(_) => assert_eq!(missing(buffer.as_slice()), missing(octets)),
            Err(_) => assert_eq!(buffer.as_slice(), octets),
        }
    }
    home_address_in_and_out(octets);
    routing_in_and_out(octets);

    let mut buffer = PacketBuffer::new(octets);
    match tunnel::decapsulate(&mut buffer) {
        Ok(_) => assert!(Ipv6Header::parse(buffer.as_slice()).is_ok()),
        Err(_) => assert_eq!(buffer.as_slice(), octets),
    }
    if Ipv6Header::parse(octets).is_ok() && octets.len() <= usize::from(u16::MAX) {
        let mut buffer = PacketBuffer::new(octets);
        tunnel::encapsulate(&mut buffer, &HERE, &CARE_OF, 64);
        let outer = tunnel::decapsulate(&mut buffer).expect("our own tunnel packet");
        assert_eq!((outer.source, outer.destination, outer.hop_limit), (HERE, CARE_OF, 64));
        assert_eq!(buffer.as_slice(), octets);
    }
    if let Some(relayed) = tunnel::relay_error(octets, &HERE) {
        let relayed = Packet::parse(&relayed).expect("a relayed error parses");
        assert!(relayed.bytes.len() <= 1280);
        assert!(!relayed.header.destination.is_multicast() && !relayed.header.destination.is_unspecified());
    }
}
