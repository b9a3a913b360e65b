//! IPv6-in-IPv6 tunnels: into them, out of them, and errors from inside them.
//! RFC 2473 sections 3, 4.1.1, 5 and 8.
//! Called by `forwarding` for every tunnelled packet, so the usual cases allocate nothing.

use std::net::Ipv6Addr;

use super::buffer::PacketBuffer;
use super::chain::{Walk, payload_length};
use super::destination_options::TUNNEL_ENCAPSULATION_LIMIT_OPTION;
use super::icmpv6::{ErrorReason, Icmpv6, Icmpv6Message, error_packet};
use super::ipv6::{HEADER_LENGTH, Ipv6Header, checksum, next_header};
use super::{Error, ErrorKind, Result};

/// RFC 8200 section 5: every link carries packets of this many octets.
pub const MINIMUM_MTU: usize = 1280;

/// Puts an IPv6 header in front of `packet`, traffic class and flow label zero. The inner hop limit is the
/// caller's affair, and so is the size: an inner packet over 65535 octets does not fit into a tunnel packet,
/// and its outer payload length is set to the largest there is.
pub fn encapsulate(packet: &mut PacketBuffer, source: &Ipv6Addr, destination: &Ipv6Addr, hop_limit: u8) {
    let mut header = Ipv6Header::new(next_header::IPV6, hop_limit, *source, *destination);
    header.payload_length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    packet.prepend(HEADER_LENGTH).copy_from_slice(&header.emit());
}

/// Removes the outer header, and with it a destination options header that holds nothing but a tunnel
/// encapsulation limit and padding; returns the outer header. Octets after the outer payload are cut off.
///
/// # Errors
/// Those of the chain walk; [`ErrorKind::NotATunnelPacket`] at the place where something else than an IPv6
/// packet stands, [`ErrorKind::BadVersion`] when the inner packet is not version 6. The packet is then
/// unchanged.
pub fn decapsulate(packet: &mut PacketBuffer) -> Result<Ipv6Header> {
    let outer = Ipv6Header::parse(packet.as_slice())?;
    let mut walk = Walk::whole(packet.as_slice())?;
    while walk.upper().protocol != next_header::IPV6 {
        let not_a_tunnel = Error::new(ErrorKind::NotATunnelPacket, walk.upper().next_header_offset);
        let header = walk.next().ok_or(not_a_tunnel)??;
        if header.kind != next_header::DESTINATION_OPTIONS {
            return Err(not_a_tunnel);
        }
        for option in walk.options(&header) {
            let option = option?;
            if !option.is_padding() && option.kind != TUNNEL_ENCAPSULATION_LIMIT_OPTION {
                return Err(Error::new(ErrorKind::NotATunnelPacket, option.offset));
            }
        }
    }
    let inner = walk.upper().offset;
    Ipv6Header::parse(walk.rest()).map_err(|error| Error::new(error.kind, inner + error.offset))?;
    packet.truncate(HEADER_LENGTH + usize::from(outer.payload_length));
    packet.strip(inner);
    Ok(outer)
}

/// What RFC 2473 section 8 makes of an ICMPv6 error about a tunnel packet: the error for the source of the
/// packet inside. `error` is the whole packet received; the result is a whole packet from `from` to that
/// source. Unreachable and Time Exceeded become Destination Unreachable, address unreachable; so does a
/// Parameter Problem that points to an exhausted tunnel encapsulation limit. Packet Too Big becomes one with
/// an MTU less the tunnel headers, but not below 1280, and only for an original packet above 1280 octets.
///
/// `None` when it must not be relayed: any other error, a wrong checksum, a quotation that is not a tunnel
/// packet or does not reach the inner header, or an inner packet that must not be answered with an error.
pub fn relay_error(error: &[u8], from: &Ipv6Addr) -> Option<Vec<u8>> {
    let outer = super::Packet::parse(error).ok()?;
    let (source, destination) = (outer.final_source(), outer.final_destination());
    if outer.upper.protocol != next_header::ICMPV6
        || checksum(&source, &destination, next_header::ICMPV6, outer.payload()) != 0
    {
        return None;
    }
    let (tunnel, pointer, mtu) = match Icmpv6::parse(outer.payload()).ok()?.message {
        Icmpv6Message::DestinationUnreachable { invoking, .. }
        | Icmpv6Message::TimeExceeded { invoking, .. } => (invoking, None, None),
        Icmpv6Message::ParameterProblem { code: 0, pointer, invoking } => (invoking, Some(pointer), None),
        Icmpv6Message::PacketTooBig { mtu, invoking, .. } => (invoking, None, Some(mtu)),
        _ => return None,
    };
    let mut walk = Walk::quoted(&tunnel).ok()?;
    let mut limit_exhausted = false;
    while walk.upper().protocol != next_header::IPV6 {
        let header = walk.next()?.ok()?;
        match header.kind {
            next_header::DESTINATION_OPTIONS => {
                for option in walk.options(&header) {
                    let option = option.ok()?;
                    limit_exhausted |= option.kind == TUNNEL_ENCAPSULATION_LIMIT_OPTION
                        && option.data == [0]
                        && pointer.is_some_and(|pointer| pointer as usize == option.offset + 2);
                }
            }
            // The first fragment of a tunnel packet that its entry point fragmented.
            next_header::FRAGMENT => {}
            _ => return None,
        }
    }
    if pointer.is_some() && !limit_exhausted {
        return None;
    }
    let (tunnel_headers, inner) = (walk.upper().offset, walk.rest());
    let reason = match mtu {
        None => ErrorReason::DestinationUnreachable(3),
        Some(_) if HEADER_LENGTH + payload_length(inner) <= MINIMUM_MTU => return None,
        Some(mtu) => {
            let left = mtu.saturating_sub(u32::try_from(tunnel_headers).unwrap_or(u32::MAX));
            ErrorReason::PacketTooBig(left.max(MINIMUM_MTU as u32))
        }
    };
    error_packet(from, inner, reason)
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::ipv6::packet;
    use super::*;

    const LIMIT: [u8; 8] = [next_header::IPV6, 0, 4, 1, 0, 1, 1, 0];

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn original(length: usize) -> Vec<u8> {
        let header =
            Ipv6Header::new(next_header::UDP, 63, address("2001:db8:0:3::2"), address("2001:db8:0:1::a"));
        packet(header, &vec![7; length - HEADER_LENGTH])
    }

    /// From agent to responder, perhaps with a destination options header in between.
    fn tunnelled(inner: &[u8], options: &[u8]) -> Vec<u8> {
        let next = if options.is_empty() { next_header::IPV6 } else { next_header::DESTINATION_OPTIONS };
        let header = Ipv6Header::new(next, 64, address("2001:db8:0:1::2"), address("2001:db8:0:4::2"));
        packet(header, &[options, inner].concat())
    }

    fn relayed(tunnel: &[u8], reason: ErrorReason) -> Option<Icmpv6Message> {
        let error = error_packet(&address("2001:db8:0:4::1"), tunnel, reason).unwrap();
        let from = address("2001:db8:0:1::2");
        let octets = relay_error(&error, &from)?;
        let packet = Packet::parse(&octets).unwrap();
        assert_eq!((packet.header.source, packet.header.destination), (from, address("2001:db8:0:3::2")));
        let sum = checksum(&from, &packet.header.destination, next_header::ICMPV6, packet.payload());
        assert_eq!(sum, 0);
        Some(Icmpv6::parse(packet.payload()).unwrap().message)
    }

    #[test]
    fn unreachable_and_time_exceeded_become_address_unreachable() {
        let inner = original(100);
        let tunnel = tunnelled(&inner, &[]);
        let expected = Icmpv6Message::DestinationUnreachable { code: 3, unused: 0, invoking: inner };
        assert_eq!(relayed(&tunnel, ErrorReason::DestinationUnreachable(0)), Some(expected.clone()));
        assert_eq!(relayed(&tunnel, ErrorReason::TimeExceeded(0)), Some(expected));
    }

    #[test]
    fn packet_too_big_is_less_the_tunnel_headers_and_not_below_the_minimum() {
        let mtu = |tunnel: &[u8], mtu| match relayed(tunnel, ErrorReason::PacketTooBig(mtu)) {
            Some(Icmpv6Message::PacketTooBig { mtu, .. }) => Some(mtu),
            None => None,
            other => panic!("{other:?}"),
        };
        let big = original(1460);
        assert_eq!(mtu(&tunnelled(&big, &[]), 1400), Some(1360));
        assert_eq!(mtu(&tunnelled(&big, &LIMIT), 1400), Some(1352));
        assert_eq!(mtu(&tunnelled(&big, &[]), 1300), Some(1280));
        assert_eq!(mtu(&tunnelled(&original(1281), &[]), 1300), Some(1280));
        // RFC 2473 section 7.1: the entry point must fragment these itself.
        assert_eq!(mtu(&tunnelled(&original(1280), &[]), 1300), None);
    }

    #[test]
    fn a_parameter_problem_is_relayed_only_for_an_exhausted_encapsulation_limit() {
        let problem = |code, pointer| ErrorReason::ParameterProblem { code, pointer };
        let inner = original(100);
        let expected = Icmpv6Message::DestinationUnreachable { code: 3, unused: 0, invoking: inner.clone() };
        assert_eq!(relayed(&tunnelled(&inner, &LIMIT), problem(0, 44)), Some(expected));
        assert_eq!(relayed(&tunnelled(&inner, &LIMIT), problem(0, 43)), None);
        assert_eq!(relayed(&tunnelled(&inner, &LIMIT), problem(1, 44)), None);
        assert_eq!(relayed(&tunnelled(&inner, &[]), problem(1, 6)), None);
    }

    #[test]
    fn errors_about_errors_other_packets_and_spoilt_errors_are_not_relayed() {
        let unreachable = ErrorReason::DestinationUnreachable(0);
        let header =
            Ipv6Header::new(next_header::ICMPV6, 63, address("2001:db8:0:3::2"), address("2001:db8:0:1::a"));
        assert_eq!(relayed(&tunnelled(&packet(header, &[1, 0, 0, 0, 0, 0, 0, 0]), &[]), unreachable), None);
        assert_eq!(relayed(&original(100), unreachable), None);
        let router = address("2001:db8:0:4::1");
        let mut error = error_packet(&router, &tunnelled(&original(100), &[]), unreachable).unwrap();
        assert!(relay_error(&error, &router).is_some());
        error[60] ^= 1;
        assert_eq!(relay_error(&error, &router), None);
    }

    #[test]
    fn an_encapsulation_limit_leaves_with_the_outer_header_and_any_other_option_stops_decapsulation() {
        let inner = original(60);
        let mut buffer = PacketBuffer::new(&tunnelled(&inner, &LIMIT));
        decapsulate(&mut buffer).unwrap();
        assert_eq!(buffer.as_slice(), inner);
        let other = [next_header::IPV6, 0, 0x1e, 4, 0, 0, 0, 0];
        let octets = tunnelled(&inner, &other);
        let mut buffer = PacketBuffer::new(&octets);
        assert_eq!(decapsulate(&mut buffer).unwrap_err(), Error::new(ErrorKind::NotATunnelPacket, 42));
        assert_eq!(buffer.as_slice(), octets);
    }

    #[test]
    fn what_is_no_tunnel_packet_is_refused_where_it_differs() {
        let mut buffer = PacketBuffer::new(&original(60));
        assert_eq!(decapsulate(&mut buffer).unwrap_err(), Error::new(ErrorKind::NotATunnelPacket, 6));
        let mut buffer = PacketBuffer::new(&tunnelled(&[0x45; 40], &[]));
        assert_eq!(decapsulate(&mut buffer).unwrap_err(), Error::new(ErrorKind::BadVersion, 40));
        let mut buffer = PacketBuffer::new(&tunnelled(&original(60)[..39], &[]));
        assert_eq!(decapsulate(&mut buffer).unwrap_err(), Error::new(ErrorKind::Truncated, 79));
    }

    #[test]
    fn octets_after_the_outer_payload_do_not_get_into_the_inner_packet() {
        let inner = original(60);
        let mut octets = tunnelled(&inner, &[]);
        octets.extend([0xee; 10]);
        let mut buffer = PacketBuffer::new(&octets);
        decapsulate(&mut buffer).unwrap();
        assert_eq!(buffer.as_slice(), inner);
    }
}
