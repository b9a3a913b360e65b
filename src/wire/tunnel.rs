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
    let mut headers = 0;
    while walk.upper().protocol != next_header::IPV6 {
        let not_a_tunnel = Error::new(ErrorKind::NotATunnelPacket, walk.upper().next_header_offset);
        let Some(header) = walk.next() else { return Err(not_a_tunnel) };
        let header = header?;
        headers += 1;
        if header.kind != next_header::DESTINATION_OPTIONS || headers > 1 {
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
