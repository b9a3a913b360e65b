//! ICMPv6 error packets, and when they must not be sent.
//! RFC 4443 sections 2.4 and 3.
//! Called by `protocol` and `forwarding` for packets they cannot deliver, and by the tunnel.

use std::net::Ipv6Addr;

use super::message::{Icmpv6, Icmpv6Message, kind};
use crate::wire::chain::Walk;
use crate::wire::ipv6::{self, HEADER_LENGTH, Ipv6Header, next_header};
use crate::wire::tunnel::MINIMUM_MTU;

/// Hop limit of the error packets.
const HOP_LIMIT: u8 = 64;
/// Octets of an error message in front of what it quotes.
const ERROR_HEADER_LENGTH: usize = 8;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorReason {
    /// Type 1 with its code.
    DestinationUnreachable(u8),
    /// Type 2 with the MTU in octets.
    PacketTooBig(u32),
    /// Type 3 with its code.
    TimeExceeded(u8),
    /// Type 4.
    ParameterProblem {
        /// 0 erroneous field, 1 unrecognised next header, 2 unrecognised option.
        code: u8,
        /// The offending octet of the invoking packet.
        pointer: u32,
    },
}

impl ErrorReason {
    /// Whether the error may answer a packet to a multicast destination (RFC 4443 section 2.4 e.3).
    fn answers_multicast(self) -> bool {
        matches!(self, Self::PacketTooBig(_) | Self::ParameterProblem { code: 2, .. })
    }

    fn message(self, invoking: Vec<u8>) -> Icmpv6Message {
        match self {
            Self::DestinationUnreachable(code) => {
                Icmpv6Message::DestinationUnreachable { code, unused: 0, invoking }
            }
            Self::PacketTooBig(mtu) => Icmpv6Message::PacketTooBig { code: 0, mtu, invoking },
            Self::TimeExceeded(code) => Icmpv6Message::TimeExceeded { code, unused: 0, invoking },
            Self::ParameterProblem { code, pointer } => {
                Icmpv6Message::ParameterProblem { code, pointer, invoking }
            }
        }
    }
}

/// A whole IPv6 packet from `from` to the source of `invoking` with the error and as much of `invoking` as
/// fits into 1280 octets. `None` when RFC 4443 section 2.4 (e) forbids one: `invoking` is an ICMPv6 error or
/// redirect, its source is unspecified or multicast, or its destination is multicast and the error is
/// neither Packet Too Big nor Parameter Problem code 2. `None` too when `invoking` has no IPv6 header.
/// Limiting the rate (section 2.4 f) is the caller's affair.
pub fn error_packet(from: &Ipv6Addr, invoking: &[u8], error: ErrorReason) -> Option<Vec<u8>> {
    let header = Ipv6Header::parse(invoking).ok()?;
    if header.source.is_unspecified()
        || header.source.is_multicast()
        || (header.destination.is_multicast() && !error.answers_multicast())
        || is_error_or_redirect(invoking)
    {
        return None;
    }
    let end = HEADER_LENGTH + usize::from(header.payload_length);
    let room = MINIMUM_MTU - HEADER_LENGTH - ERROR_HEADER_LENGTH;
    let quoted = invoking.iter().take(end.min(room)).copied().collect();
    let message = Icmpv6::from(error.message(quoted)).emit_for(from, &header.source);
    let header = Ipv6Header::new(next_header::ICMPV6, HOP_LIMIT, *from, header.source);
    Some(ipv6::packet(header, &message))
}

fn is_error_or_redirect(packet: &[u8]) -> bool {
    let Ok(mut walk) = Walk::quoted(packet) else { return false };
    // A malformed extension header ends the walk; what lies behind it is no message of any kind.
    while let Some(Ok(_)) = walk.next() {}
    let is_error = |kind: &u8| *kind < kind::ECHO_REQUEST || *kind == kind::REDIRECT;
    walk.upper().protocol == next_header::ICMPV6 && walk.rest().first().is_some_and(is_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Packet;

    const REASONS: [ErrorReason; 5] = [
        ErrorReason::DestinationUnreachable(3),
        ErrorReason::PacketTooBig(1400),
        ErrorReason::TimeExceeded(0),
        ErrorReason::ParameterProblem { code: 1, pointer: 6 },
        ErrorReason::ParameterProblem { code: 2, pointer: 42 },
    ];

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn invoking(source: &str, destination: &str, next: u8, payload: &[u8]) -> Vec<u8> {
        ipv6::packet(Ipv6Header::new(next, 64, address(source), address(destination)), payload)
    }

    fn answered(invoking: &[u8]) -> [bool; 5] {
        REASONS.map(|reason| error_packet(&address("2001:db8::f"), invoking, reason).is_some())
    }

    #[test]
    fn an_error_goes_to_the_source_and_quotes_the_packet() {
        let invoking = invoking("2001:db8::1", "2001:db8::2", next_header::UDP, &[7; 20]);
        let from = address("2001:db8::f");
        let octets =
            error_packet(&from, &invoking, ErrorReason::ParameterProblem { code: 1, pointer: 6 }).unwrap();
        let packet = Packet::parse(&octets).unwrap();
        assert_eq!((packet.header.source, packet.header.destination), (from, address("2001:db8::1")));
        assert_eq!(ipv6::checksum(&from, &address("2001:db8::1"), next_header::ICMPV6, packet.payload()), 0);
        let message = Icmpv6::parse(packet.payload()).unwrap().message;
        assert_eq!(message, Icmpv6Message::ParameterProblem { code: 1, pointer: 6, invoking });
    }

    #[test]
    fn an_error_is_no_longer_than_the_minimum_mtu() {
        let invoking = invoking("2001:db8::1", "2001:db8::2", next_header::UDP, &[7; 3000]);
        let octets =
            error_packet(&address("2001:db8::f"), &invoking, ErrorReason::PacketTooBig(1400)).unwrap();
        assert_eq!(octets.len(), 1280);
        assert_eq!(octets[48..], invoking[..1232]);
    }

    #[test]
    fn errors_and_redirects_are_never_answered_but_queries_are() {
        for kind in [1, 2, 3, 4, 100, 127, kind::REDIRECT] {
            let error =
                invoking("2001:db8::1", "2001:db8::2", next_header::ICMPV6, &[kind, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(answered(&error), [false; 5], "type {kind}");
        }
        let query = invoking("2001:db8::1", "2001:db8::2", next_header::ICMPV6, &[128, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answered(&query), [true; 5]);
        // Behind an extension header, and cut short as in a quotation.
        let options = [next_header::ICMPV6, 0, 1, 4, 0, 0, 0, 0, 1, 0, 0, 0];
        let hidden = invoking("2001:db8::1", "2001:db8::2", next_header::DESTINATION_OPTIONS, &options);
        assert_eq!(answered(&hidden), [false; 5]);
        assert_eq!(answered(&hidden[..49]), [false; 5]);
    }

    #[test]
    fn addresses_that_name_no_single_node_are_never_answered() {
        for source in ["::", "ff02::1"] {
            assert_eq!(answered(&invoking(source, "2001:db8::2", next_header::UDP, &[0; 8])), [false; 5]);
        }
    }

    #[test]
    fn a_multicast_destination_is_answered_by_packet_too_big_and_by_an_unknown_option_only() {
        let multicast = invoking("2001:db8::1", "ff0e::1", next_header::UDP, &[0; 8]);
        assert_eq!(answered(&multicast), [false, true, false, false, true]);
    }
}
