//! The two rewrites of route optimisation: the home address option and the type 2 routing header, put into a
//! packet and taken out of it. RFC 3775 sections 6.3, 6.4, 9.3.1, 9.3.2, 11.3.1 and 11.3.3.
//! Called by `forwarding` for every optimised packet, so the usual cases allocate nothing.

use std::net::Ipv6Addr;

use super::buffer::PacketBuffer;
use super::chain::{ExtensionHeader, Routing, RoutingAt, Upper, Walk, home_address_at, payload_length};
use super::destination_options::home_address_header;
use super::ipv6::{
    DESTINATION_OFFSET, HEADER_LENGTH, HOP_LIMIT_OFFSET, NEXT_HEADER_OFFSET, PAYLOAD_LENGTH_OFFSET,
    SOURCE_OFFSET, next_header,
};
use super::routing::type2_header;
use super::tlv::PADN;
use super::{Error, ErrorKind, Result};

/// Where a type 2 routing header counts, and has its address.
const SEGMENTS_LEFT: usize = 3;
const ROUTED_ADDRESS: usize = 8;

/// Moves the source, the home address, into a new destination options header and puts `care_of` in its
/// place. The header stands where RFC 3775 section 6.3 wants it: after hop-by-hop options and routing
/// headers, before fragment, authentication, ESP and upper-layer headers. The upper-layer checksum, computed
/// over the home address, stays right.
///
/// # Errors
/// Those of the chain walk; [`ErrorKind::TooLong`] at octet 4 when the payload length would overflow. The
/// packet is then unchanged.
pub fn insert_home_address(packet: &mut PacketBuffer, care_of: &Ipv6Addr) -> Result<()> {
    let place = place_after_routing(packet.as_slice(), |_| Ok(()))?;
    let home_address = address_at(packet, SOURCE_OFFSET);
    let header = home_address_header(place.protocol, &home_address);
    insert_header(packet, place, next_header::DESTINATION_OPTIONS, &header)?;
    set_address(packet, SOURCE_OFFSET, care_of);
    Ok(())
}

/// Puts the home address option's address back as the source and returns the care-of address that stood
/// there. A header that holds nothing else is removed; otherwise, or where that would make a hop-by-hop header out of what
/// follows, the option becomes padding. The packet may be one quoted in an ICMPv6 error, with its tail missing.
///
/// # Errors
/// Those of the chain walk; [`ErrorKind::NoHomeAddress`]. The packet is then unchanged.
pub fn strip_home_address(packet: &mut PacketBuffer) -> Result<Ipv6Addr> {
    let mut walk = Walk::quoted(packet.as_slice())?;
    let mut found = None;
    while let (None, Some(header)) = (found, walk.next()) {
        let header = header?;
        if header.kind != next_header::DESTINATION_OPTIONS {
            continue;
        }
        let mut alone = true;
        for option in walk.options(&header) {
            let option = option?;
            match home_address_at(&header, option)? {
                Some(home_address) if found.is_none() => found = Some((header, home_address, true)),
                _ => alone &= option.is_padding(),
            }
        }
        found = found.map(|(header, home_address, _)| (header, home_address, alone));
    }
    let (header, home_address, alone) =
        found.ok_or(Error::new(ErrorKind::NoHomeAddress, NEXT_HEADER_OFFSET))?;
    let care_of = address_at(packet, SOURCE_OFFSET);
    set_address(packet, SOURCE_OFFSET, &home_address.address);
    if alone && !guards_hop_by_hop(packet, &header) {
        remove_header(packet, &header);
    } else if let Some([kind, _, data @ ..]) =
        packet.as_mut_slice().get_mut(home_address.option_offset..home_address.option_offset + 18)
    {
        *kind = PADN;
        data.fill(0);
    }
    Ok(care_of)
}

/// Moves the destination, the home address, into a new type 2 routing header and puts `care_of` in its
/// place. The header stands after hop-by-hop options and after routing headers already consumed.
///
/// # Errors
/// Those of the chain walk; [`ErrorKind::RoutingPresent`] when a routing header in front of fragment and
/// authentication headers has segments left or is of type 2; [`ErrorKind::TooLong`] at octet 4 when the payload length would overflow. The packet is then
/// unchanged.
pub fn insert_routing2(packet: &mut PacketBuffer, care_of: &Ipv6Addr) -> Result<()> {
    let place = place_after_routing(packet.as_slice(), |routing| match routing {
        Routing::Other { segments_left: 0 } => Ok(()),
        _ => Err(ErrorKind::RoutingPresent),
    })?;
    let home_address = address_at(packet, DESTINATION_OFFSET);
    let header = type2_header(place.protocol, &home_address);
    insert_header(packet, place, next_header::ROUTING, &header)?;
    set_address(packet, DESTINATION_OFFSET, care_of);
    Ok(())
}

/// Does what the care-of node does with a type 2 routing header (RFC 3775 section 6.4, RFC 8200 section
/// 4.4), removes the header, and returns the care-of address that stood as destination: the home address
/// becomes the destination and the hop limit is decremented. A header in front of what would become a hop-by-hop header
/// stays, with no segment left. The packet may be one quoted in an ICMPv6 error, with its tail missing.
///
/// # Errors
/// Those of the chain walk; [`ErrorKind::NoRouting2`] when there is no well-formed one with a segment left;
/// [`ErrorKind::HopLimitExceeded`] at octet 7 when the hop limit is 1 or 0. The packet is then unchanged.
pub fn strip_routing2(packet: &mut PacketBuffer) -> Result<Ipv6Addr> {
    let mut walk = Walk::quoted(packet.as_slice())?;
    let mut found = None;
    while let (None, Some(header)) = (found, walk.next()) {
        let header = header?;
        if header.kind == next_header::ROUTING {
            found = match walk.routing(&header) {
                Routing::Type2(routing @ RoutingAt { segments_left: 1, .. }) => Some((header, routing)),
                Routing::MalformedType2 => return Err(Error::new(ErrorKind::NoRouting2, header.offset)),
                _ => None,
            };
        }
    }
    let (header, routing) = found.ok_or(Error::new(ErrorKind::NoRouting2, NEXT_HEADER_OFFSET))?;
    let hop_limit = packet.as_mut_slice().get_mut(HOP_LIMIT_OFFSET).filter(|limit| **limit > 1);
    *hop_limit.ok_or(Error::new(ErrorKind::HopLimitExceeded, HOP_LIMIT_OFFSET))? -= 1;
    let care_of = address_at(packet, DESTINATION_OFFSET);
    set_address(packet, DESTINATION_OFFSET, &routing.address);
    if guards_hop_by_hop(packet, &header) {
        set_octet(packet, header.offset + SEGMENTS_LEFT, 0);
        let at = header.offset + ROUTED_ADDRESS;
        if let Some(visited) = packet.as_mut_slice().get_mut(at..at + 16) {
            visited.copy_from_slice(&care_of.octets());
        }
    } else {
        remove_header(packet, &header);
    }
    Ok(care_of)
}

/// The place after a leading hop-by-hop header and the last routing header, whatever stands between them,
/// and before everything else.
fn place_after_routing(
    packet: &[u8],
    accept: impl Fn(Routing) -> std::result::Result<(), ErrorKind>,
) -> Result<Upper> {
    let mut walk = Walk::whole(packet)?;
    let mut place = walk.upper();
    while let Some(header) = walk.next() {
        let header = header?;
        match header.kind {
            next_header::HOP_BY_HOP => place = walk.upper(),
            next_header::ROUTING => {
                accept(walk.routing(&header)).map_err(|kind| Error::new(kind, header.offset))?;
                place = walk.upper();
            }
            next_header::DESTINATION_OPTIONS => {}
            _ => break,
        }
    }
    Ok(place)
}

fn insert_header(packet: &mut PacketBuffer, place: Upper, kind: u8, header: &[u8]) -> Result<()> {
    let length = payload_length(packet.as_slice()) + header.len();
    let length = u16::try_from(length).map_err(|_| Error::new(ErrorKind::TooLong, PAYLOAD_LENGTH_OFFSET))?;
    packet.insert(place.offset, header.len()).copy_from_slice(header);
    set_payload_length(packet, length);
    set_octet(packet, place.next_header_offset, kind);
    Ok(())
}

/// What a header announces, which it is itself the last to keep from standing where it counts: a hop-by-hop header anywhere
/// but straight behind the IPv6 header is none (RFC 8200 section 4).
fn guards_hop_by_hop(packet: &PacketBuffer, header: &ExtensionHeader) -> bool {
    header.next_header_offset == NEXT_HEADER_OFFSET
        && packet.as_slice().get(header.offset) == Some(&next_header::HOP_BY_HOP)
}

fn remove_header(packet: &mut PacketBuffer, header: &ExtensionHeader) {
    let next = packet.as_slice().get(header.offset).copied().unwrap_or(next_header::NO_NEXT_HEADER);
    let length = payload_length(packet.as_slice()).saturating_sub(header.length);
    set_octet(packet, header.next_header_offset, next);
    packet.remove(header.offset, header.length);
    set_payload_length(packet, u16::try_from(length).unwrap_or(u16::MAX));
}

fn set_octet(packet: &mut PacketBuffer, offset: usize, value: u8) {
    if let Some(octet) = packet.as_mut_slice().get_mut(offset) {
        *octet = value;
    }
}

fn set_payload_length(packet: &mut PacketBuffer, length: u16) {
    if let Some(field) = packet.as_mut_slice().get_mut(PAYLOAD_LENGTH_OFFSET..NEXT_HEADER_OFFSET) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Only used on packets that a walk has found to have a whole IPv6 header.
fn address_at(packet: &PacketBuffer, offset: usize) -> Ipv6Addr {
    let field = packet.as_slice().get(offset..offset + 16);
    field.and_then(|field| <[u8; 16]>::try_from(field).ok()).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from)
}

fn set_address(packet: &mut PacketBuffer, offset: usize, address: &Ipv6Addr) {
    debug_assert!(offset + 16 <= HEADER_LENGTH);
    if let Some(field) = packet.as_mut_slice().get_mut(offset..offset + 16) {
        field.copy_from_slice(&address.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::ipv6::{Ipv6Header, packet};
    use super::*;

    const HOP_BY_HOP: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];
    const DESTINATION: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];
    const FRAGMENT: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 9];
    const AUTHENTICATION: [u8; 16] = [0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 2, 3, 4];

    /// A header's protocol number and its octets.
    type Header<'a> = (u8, &'a [u8]);

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    /// A packet of these headers, which are linked here, and four octets of UDP.
    fn chain(headers: &[Header<'_>]) -> PacketBuffer {
        let kinds = headers.iter().map(|(kind, _)| *kind).skip(1).chain([next_header::UDP]);
        let mut payload = Vec::new();
        for ((_, octets), next) in headers.iter().zip(kinds) {
            payload.push(next);
            payload.extend(octets.iter().skip(1));
        }
        payload.extend([15, 160, 0, 53]);
        let first = headers.first().map_or(next_header::UDP, |(kind, _)| *kind);
        let header = Ipv6Header::new(first, 64, address("2001:db8::a"), address("2001:db8::b"));
        PacketBuffer::new(&packet(header, &payload))
    }

    fn kinds(packet: &PacketBuffer) -> Vec<u8> {
        let packet = Packet::parse(packet.as_slice()).unwrap();
        let upper = packet.upper.protocol;
        packet.headers.iter().map(|header| header.kind).chain([upper]).collect()
    }

    #[test]
    fn the_home_address_option_follows_routing_and_precedes_fragment_and_authentication() {
        use next_header::{AUTHENTICATION as AH, DESTINATION_OPTIONS as DST, HOP_BY_HOP as HBH, UDP};
        use next_header::{FRAGMENT as FRAG, ROUTING as RTH};
        let used = type2_header(0, &address("::1"));
        let cases: [(&[Header<'_>], &[u8], usize); 5] = [
            (&[], &[DST, UDP], 40),
            (&[(HBH, &HOP_BY_HOP)], &[HBH, DST, UDP], 48),
            (&[(DST, &DESTINATION), (RTH, &used)], &[DST, RTH, DST, UDP], 72),
            (&[(FRAG, &FRAGMENT), (AH, &AUTHENTICATION)], &[DST, FRAG, AH, UDP], 40),
            (&[(HBH, &HOP_BY_HOP), (DST, &DESTINATION)], &[HBH, DST, DST, UDP], 48),
        ];
        for (headers, expected, place) in cases {
            let mut buffer = chain(headers);
            insert_home_address(&mut buffer, &address("2001:db8::c")).unwrap();
            assert_eq!(kinds(&buffer), expected);
            let found = Packet::parse(buffer.as_slice()).unwrap().home_address.unwrap();
            assert_eq!((found.header_offset, found.address), (place, address("2001:db8::a")));
            assert_eq!(strip_home_address(&mut buffer), Ok(address("2001:db8::c")));
            assert_eq!(buffer, chain(headers));
        }
    }

    #[test]
    fn the_type_2_routing_header_follows_hop_by_hop_and_precedes_the_home_address_option() {
        use next_header::{DESTINATION_OPTIONS as DST, HOP_BY_HOP as HBH, ROUTING as RTH, UDP};
        let mut buffer = chain(&[(HBH, &HOP_BY_HOP)]);
        insert_home_address(&mut buffer, &address("2001:db8::c")).unwrap();
        insert_routing2(&mut buffer, &address("2001:db8::d")).unwrap();
        assert_eq!(kinds(&buffer), [HBH, RTH, DST, UDP]);
        let packet = Packet::parse(buffer.as_slice()).unwrap();
        assert_eq!(packet.final_source(), address("2001:db8::a"));
        assert_eq!(packet.final_destination(), address("2001:db8::b"));
        assert_eq!(packet.header.destination, address("2001:db8::d"));
    }

    #[test]
    fn a_second_routing_header_is_refused_while_the_first_has_segments_left() {
        let mut buffer = chain(&[]);
        insert_routing2(&mut buffer, &address("2001:db8::d")).unwrap();
        let before = buffer.clone();
        let error = insert_routing2(&mut buffer, &address("2001:db8::e")).unwrap_err();
        assert_eq!(error, Error::new(ErrorKind::RoutingPresent, 40));
        assert_eq!(buffer, before);

        let used: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 0];
        let mut buffer = chain(&[(next_header::ROUTING, &used)]);
        insert_routing2(&mut buffer, &address("2001:db8::e")).unwrap();
        assert_eq!(kinds(&buffer), [next_header::ROUTING, next_header::ROUTING, next_header::UDP]);
    }

    #[test]
    fn the_hop_limit_is_spent_by_the_segment_and_never_reaches_zero() {
        for (hop_limit, expected) in [(2, Ok(1)), (1, Err(())), (0, Err(()))] {
            let mut buffer = chain(&[]);
            insert_routing2(&mut buffer, &address("2001:db8::d")).unwrap();
            set_octet(&mut buffer, HOP_LIMIT_OFFSET, hop_limit);
            let before = buffer.clone();
            match (strip_routing2(&mut buffer), expected) {
                (Ok(care_of), Ok(left)) => {
                    assert_eq!(care_of, address("2001:db8::d"));
                    assert_eq!(Packet::parse(buffer.as_slice()).unwrap().header.hop_limit, left);
                }
                (Err(error), Err(())) => {
                    assert_eq!(error, Error::new(ErrorKind::HopLimitExceeded, 7));
                    assert_eq!(buffer, before);
                }
                other => panic!("hop limit {hop_limit}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_header_with_other_options_stays_and_its_home_address_becomes_padding() {
        let mut header = home_address_header(0, &address("2001:db8::f")).to_vec();
        header[1] = 3;
        // An option that a node may skip (RFC 8200 section 4.2), after the home address.
        header.extend([0x1e, 6, 1, 2, 3, 4, 5, 6]);
        let mut buffer = chain(&[(next_header::DESTINATION_OPTIONS, &header)]);
        let length = buffer.len();
        assert_eq!(strip_home_address(&mut buffer), Ok(address("2001:db8::a")));
        assert_eq!(buffer.len(), length);
        let packet = Packet::parse(buffer.as_slice()).unwrap();
        assert_eq!((packet.header.source, packet.home_address), (address("2001:db8::f"), None));
        let mut expected = vec![PADN, 2, 0, 0, PADN, 16];
        expected.extend([0; 16]);
        expected.extend([0x1e, 6, 1, 2, 3, 4, 5, 6]);
        assert_eq!(&buffer.as_slice()[42..72], expected);
    }

    #[test]
    fn of_two_home_addresses_the_first_is_taken_and_the_second_stays() {
        let mut header = home_address_header(0, &address("2001:db8::e")).to_vec();
        header[1] = 5;
        header.extend([PADN, 4, 0, 0, 0, 0]);
        header.extend(&home_address_header(0, &address("2001:db8::f"))[6..]);
        let mut buffer = chain(&[(next_header::DESTINATION_OPTIONS, &header)]);
        assert_eq!(strip_home_address(&mut buffer), Ok(address("2001:db8::a")));
        let packet = Packet::parse(buffer.as_slice()).unwrap();
        assert_eq!(packet.header.source, address("2001:db8::e"));
        assert_eq!(packet.home_address.unwrap().address, address("2001:db8::f"));
        assert!(!packet.duplicate_home_address);
    }

    #[test]
    fn a_header_in_front_of_a_misplaced_hop_by_hop_header_stays_in_front_of_it() {
        use next_header::{DESTINATION_OPTIONS as DST, HOP_BY_HOP as HBH, ROUTING as RTH};
        let option = home_address_header(0, &address("2001:db8::f"));
        let routing = type2_header(0, &address("2001:db8::f"));
        type Strip = fn(&mut PacketBuffer) -> Result<Ipv6Addr>;
        let headers: [(Header<'_>, Strip); 2] =
            [((DST, &option), strip_home_address), ((RTH, &routing), strip_routing2)];
        for (header, strip) in headers {
            let mut buffer = chain(&[header, (HBH, &HOP_BY_HOP)]);
            let length = buffer.len();
            strip(&mut buffer).unwrap();
            assert_eq!((buffer.len(), kinds(&buffer)), (length, vec![header.0, HBH]));
            let packet = Packet::parse(buffer.as_slice()).unwrap();
            let (source, destination) = (packet.header.source, packet.header.destination);
            assert!([source, destination].contains(&address("2001:db8::f")));
            assert_eq!((packet.home_address, packet.final_destination()), (None, destination));
            assert!(packet.routing2.is_none_or(|routing| routing.segments_left == 0));
        }
    }

    #[test]
    fn nothing_to_strip_is_an_error_that_changes_nothing() {
        let mut buffer = chain(&[]);
        let before = buffer.clone();
        assert_eq!(strip_home_address(&mut buffer).unwrap_err().kind, ErrorKind::NoHomeAddress);
        assert_eq!(strip_routing2(&mut buffer).unwrap_err().kind, ErrorKind::NoRouting2);
        assert_eq!(buffer, before);
    }

    #[test]
    fn a_packet_that_would_outgrow_its_length_field_is_refused() {
        let header = Ipv6Header::new(next_header::UDP, 64, address("2001:db8::a"), address("2001:db8::b"));
        let octets = packet(header, &vec![0; 65_535 - 23]);
        let mut buffer = PacketBuffer::new(&octets);
        let error = insert_home_address(&mut buffer, &address("2001:db8::c")).unwrap_err();
        assert_eq!(error, Error::new(ErrorKind::TooLong, 4));
        assert_eq!(buffer.as_slice(), octets);
    }
}
