//! One pass over a whole packet: which extension headers it has, where they stand, and what Mobile IPv6
//! finds in them. RFC 8200 section 4, RFC 3775 sections 6.3, 6.4 and 9.3.1.
//! Called by `protocol` for every packet it is given, and by the tunnel and rewrites of this room.

use std::net::Ipv6Addr;

use super::destination_options::HOME_ADDRESS_OPTION;
use super::ipv6::{HEADER_LENGTH, Ipv6Header, NEXT_HEADER_OFFSET, PAYLOAD_LENGTH_OFFSET, next_header};
use super::reader::Reader;
use super::routing::TYPE2;
use super::tlv::{Tlv, Tlvs};
use super::{Error, ErrorKind, Result};

/// An extension header and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionHeader {
    /// The protocol number, see [`next_header`].
    pub kind: u8,
    /// First octet, from the start of the packet.
    pub offset: usize,
    /// Octets of the whole header.
    pub length: usize,
    /// Where the octet stands that announces this header.
    pub next_header_offset: usize,
}

/// A home address option (RFC 3775 section 6.3) and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeAddressAt {
    /// The home address.
    pub address: Ipv6Addr,
    /// The option's type octet, from the start of the packet.
    pub option_offset: usize,
    /// The destination options header, from the start of the packet.
    pub header_offset: usize,
}

/// A type 2 routing header (RFC 3775 section 6.4) and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingAt {
    /// 1 on the way to the care-of address, 0 once consumed.
    pub segments_left: u8,
    /// The home address in it.
    pub address: Ipv6Addr,
    /// The header's first octet, from the start of the packet.
    pub header_offset: usize,
}

/// What follows the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The protocol number; [`next_header::FRAGMENT`] for a fragment that does not begin the packet.
    pub protocol: u8,
    /// Where that number stands, from the start of the packet; a Parameter Problem of code 1 points there.
    pub next_header_offset: usize,
    /// First octet of it; for such a fragment that of its fragment header.
    pub offset: usize,
}

/// A whole packet, walked once and borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The packet's octets, as far as they are there, without what trails them.
    pub bytes: &'a [u8],
    /// The IPv6 header.
    pub header: Ipv6Header,
    /// The extension headers in order.
    pub headers: Vec<ExtensionHeader>,
    /// The first home address option found in a destination options header.
    pub home_address: Option<HomeAddressAt>,
    /// More than one home address option, which RFC 3775 section 6.3 forbids.
    pub duplicate_home_address: bool,
    /// A home address option in front of a routing header, or behind a fragment or authentication header, where
    /// RFC 3775 section 6.3 does not allow it.
    pub misplaced_home_address: bool,
    /// The type 2 routing header, when well formed.
    pub routing2: Option<RoutingAt>,
    /// A type 2 routing header of another length than 2, with more than one segment left, or a second one:
    /// RFC 3775 section 6.4 wants the packet dropped in silence.
    pub routing2_malformed: bool,
    /// What follows.
    pub upper: Upper,
}

impl<'a> Packet<'a> {
    /// Walks hop-by-hop options (only straight after the IPv6 header, RFC 8200 section 4.1), destination
    /// options, routing, fragment and authentication headers. The payload length rules: octets after it are
    /// left out of account.
    ///
    /// # Errors
    /// [`ErrorKind::BadVersion`]; [`ErrorKind::Truncated`] when the payload length or a header promises more
    /// octets than there are; [`ErrorKind::BadOptionLength`] for a destination option that overruns its
    /// header or a home address option whose length is not 16.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        Self::walked(Walk::whole(bytes)?)
    }

    /// Like [`Packet::parse`] for a packet quoted in an ICMPv6 error, whose tail may be missing
    /// (RFC 4443 section 3); [`Packet::payload`] is then empty.
    ///
    /// # Errors
    /// Those of [`Packet::parse`], except for a payload that is cut off.
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self> {
        Self::walked(Walk::quoted(bytes)?)
    }

    fn walked(mut walk: Walk<'a>) -> Result<Self> {
        let header = Ipv6Header::parse(walk.bytes)?;
        let (mut headers, mut home_address, mut routing2) = (Vec::new(), None, None);
        let (mut duplicate_home_address, mut routing2_malformed) = (false, false);
        let (mut misplaced_home_address, mut past_its_place) = (false, false);
        while let Some(extension) = walk.next() {
            let extension = extension?;
            match extension.kind {
                next_header::DESTINATION_OPTIONS => {
                    for option in walk.options(&extension) {
                        let Some(found) = home_address_at(&extension, option?)? else { continue };
                        duplicate_home_address |= home_address.is_some();
                        misplaced_home_address |= past_its_place;
                        home_address.get_or_insert(found);
                    }
                }
                next_header::ROUTING => {
                    misplaced_home_address |= home_address.is_some();
                    match walk.routing(&extension) {
                        Routing::Type2(found) if routing2.is_none() => routing2 = Some(found),
                        Routing::Type2(_) | Routing::MalformedType2 => routing2_malformed = true,
                        Routing::Other { .. } => {}
                    }
                }
                next_header::FRAGMENT | next_header::AUTHENTICATION => past_its_place = true,
                _ => {}
            }
            headers.push(extension);
        }
        Ok(Self {
            bytes: walk.bytes,
            header,
            headers,
            home_address,
            duplicate_home_address,
            misplaced_home_address,
            routing2,
            routing2_malformed,
            upper: walk.upper(),
        })
    }

    /// From [`Upper::offset`] to the end that the payload length sets.
    pub fn payload(&self) -> &'a [u8] {
        let end = HEADER_LENGTH + usize::from(self.header.payload_length);
        self.bytes.get(self.upper.offset..end).unwrap_or_default()
    }

    /// The source as upper layers see it: the home address option's when there is one.
    pub fn final_source(&self) -> Ipv6Addr {
        self.home_address.map_or(self.header.source, |found| found.address)
    }

    /// The destination as upper layers see it: the type 2 routing header's while it has a segment left.
    pub fn final_destination(&self) -> Ipv6Addr {
        match self.routing2 {
            Some(RoutingAt { segments_left: 1, address, .. }) => address,
            _ => self.header.destination,
        }
    }
}

/// What a routing header is to Mobile IPv6.
pub(crate) enum Routing {
    Type2(RoutingAt),
    MalformedType2,
    Other { segments_left: u8 },
}

/// The home address option in `option`, if it is one.
pub(crate) fn home_address_at(header: &ExtensionHeader, option: Tlv<'_>) -> Result<Option<HomeAddressAt>> {
    if option.kind != HOME_ADDRESS_OPTION {
        return Ok(None);
    }
    let address: [u8; 16] = option.data.try_into().map_err(|_| option.bad_length())?;
    let (option_offset, header_offset) = (option.offset, header.offset);
    Ok(Some(HomeAddressAt { address: address.into(), option_offset, header_offset }))
}

/// Yields the extension headers one by one without allocating; what is left then is [`Walk::upper`].
pub(crate) struct Walk<'a> {
    /// Cut to the packet.
    bytes: &'a [u8],
    upper: Upper,
    ended: bool,
}

impl<'a> Walk<'a> {
    /// Over a packet that must be complete.
    pub(crate) fn whole(bytes: &'a [u8]) -> Result<Self> {
        let walk = Self::quoted(bytes)?;
        let promised = HEADER_LENGTH + payload_length(bytes);
        if walk.bytes.len() < promised {
            return Err(Error::new(ErrorKind::Truncated, bytes.len()));
        }
        Ok(walk)
    }

    /// Over a packet whose tail may be missing, as in an ICMPv6 error.
    pub(crate) fn quoted(bytes: &'a [u8]) -> Result<Self> {
        let header = Ipv6Header::parse(bytes)?;
        let end = HEADER_LENGTH + usize::from(header.payload_length);
        let upper = Upper {
            protocol: header.next_header,
            next_header_offset: NEXT_HEADER_OFFSET,
            offset: HEADER_LENGTH,
        };
        Ok(Self { bytes: bytes.get(..end).unwrap_or(bytes), upper, ended: false })
    }

    /// The place the walk has come to.
    pub(crate) fn upper(&self) -> Upper {
        self.upper
    }

    /// From the place the walk has come to, to the end of the packet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.upper.offset..).unwrap_or_default()
    }

    /// The options in a destination options header that this walk has yielded.
    pub(crate) fn options(&self, header: &ExtensionHeader) -> Tlvs<'a> {
        let end = (header.offset + header.length).min(self.bytes.len());
        Tlvs::new(self.bytes.get(..end).unwrap_or_default(), header.offset + 2)
    }

    /// What a routing header that this walk has yielded says.
    pub(crate) fn routing(&self, header: &ExtensionHeader) -> Routing {
        let mut reader = Reader::new(self.bytes.get(header.offset..).unwrap_or_default());
        let fields = reader.array::<8>().map(|fixed| (fixed, reader.address()));
        match fields {
            Ok(([_, 2, TYPE2, segments_left @ (0 | 1), ..], Ok(address))) => {
                Routing::Type2(RoutingAt { segments_left, address, header_offset: header.offset })
            }
            Ok(([_, _, TYPE2, ..], _)) => Routing::MalformedType2,
            Ok(([_, _, _, segments_left, ..], _)) => Routing::Other { segments_left },
            // The walk yields no header shorter than eight octets.
            Err(_) => Routing::Other { segments_left: 0 },
        }
    }

    fn header(&self) -> Result<Option<(ExtensionHeader, u8)>> {
        let Upper { protocol: kind, next_header_offset, offset } = self.upper;
        let is_extension = match kind {
            next_header::HOP_BY_HOP => offset == HEADER_LENGTH,
            next_header::ROUTING
            | next_header::FRAGMENT
            | next_header::AUTHENTICATION
            | next_header::DESTINATION_OPTIONS => true,
            _ => false,
        };
        if !is_extension {
            return Ok(None);
        }
        let truncated = Error::new(ErrorKind::Truncated, self.bytes.len());
        let fixed = self.bytes.get(offset..offset + 8).ok_or(truncated)?;
        let &[next, length, high, low, ..] = fixed else { return Err(truncated) };
        let length = match kind {
            next_header::FRAGMENT if u16::from_be_bytes([high, low]) & !7 != 0 => return Ok(None),
            next_header::FRAGMENT => 8,
            // RFC 4302 section 2.2 counts in units of 4 octets.
            next_header::AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        if self.bytes.len() < offset + length {
            return Err(truncated);
        }
        Ok(Some((ExtensionHeader { kind, offset, length, next_header_offset }, next)))
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<ExtensionHeader>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.header() {
            Ok(Some((header, next))) => {
                self.upper = Upper {
                    protocol: next,
                    next_header_offset: header.offset,
                    offset: header.offset + header.length,
                };
                Some(Ok(header))
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

/// The payload length of a packet, 0 when it has not even that.
pub(crate) fn payload_length(bytes: &[u8]) -> usize {
    match bytes.get(PAYLOAD_LENGTH_OFFSET..NEXT_HEADER_OFFSET) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::destination_options::home_address_header;
    use super::super::ipv6::packet;
    use super::super::routing::type2_header;
    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn header(next: u8) -> Ipv6Header {
        Ipv6Header::new(next, 64, address("2001:db8::1"), address("2001:db8::2"))
    }

    #[test]
    fn the_payload_length_ends_the_packet_and_missing_octets_are_truncation() {
        let mut bytes = packet(header(next_header::UDP), &[1, 2, 3, 4]);
        let length = bytes.len();
        bytes.extend([0xee; 6]);
        assert_eq!(Packet::parse(&bytes).unwrap().payload(), [1, 2, 3, 4]);
        assert_eq!(Packet::parse(&bytes), Packet::parse(&bytes[..length]), "what trails it is no part of it");
        bytes.truncate(43);
        assert_eq!(Packet::parse(&bytes).unwrap_err(), Error::new(ErrorKind::Truncated, 43));
        assert_eq!(Packet::parse(&bytes[..39]).unwrap_err(), Error::new(ErrorKind::Truncated, 39));
    }

    #[test]
    fn a_header_may_not_overrun_the_payload_length() {
        let mut header_octets = home_address_header(next_header::UDP, &address("::7")).to_vec();
        header_octets[1] = 3;
        let bytes = packet(header(next_header::DESTINATION_OPTIONS), &header_octets);
        assert_eq!(Packet::parse(&bytes).unwrap_err(), Error::new(ErrorKind::Truncated, 64));
    }

    #[test]
    fn hop_by_hop_options_count_only_behind_the_ipv6_header() {
        let mut payload = vec![next_header::HOP_BY_HOP, 0, 1, 4, 0, 0, 0, 0];
        payload.extend([next_header::UDP, 0, 1, 4, 0, 0, 0, 0]);
        let bytes = packet(header(next_header::DESTINATION_OPTIONS), &payload);
        let upper = Packet::parse(&bytes).unwrap().upper;
        assert_eq!(upper, Upper { protocol: next_header::HOP_BY_HOP, next_header_offset: 40, offset: 48 });
    }

    #[test]
    fn the_first_home_address_counts_and_a_second_is_noted() {
        let mut payload = home_address_header(next_header::DESTINATION_OPTIONS, &address("::a")).to_vec();
        payload.extend(home_address_header(next_header::NO_NEXT_HEADER, &address("::b")));
        let bytes = packet(header(next_header::DESTINATION_OPTIONS), &payload);
        let found = Packet::parse(&bytes).unwrap();
        assert_eq!((found.final_source(), found.duplicate_home_address), (address("::a"), true));
        assert_eq!(found.home_address.unwrap().option_offset, 46);
    }

    #[test]
    fn a_home_address_of_wrong_length_points_to_its_length() {
        let mut payload = home_address_header(next_header::NO_NEXT_HEADER, &address("::a"));
        payload[7] = 15;
        let bytes = packet(header(next_header::DESTINATION_OPTIONS), &payload);
        assert_eq!(Packet::parse(&bytes).unwrap_err(), Error::new(ErrorKind::BadOptionLength, 47));
    }

    #[test]
    fn a_type_2_routing_header_is_judged_by_length_segments_and_number() {
        let parse = |payload: &[u8]| {
            let bytes = packet(header(next_header::ROUTING), payload);
            let packet = Packet::parse(&bytes).unwrap();
            (
                packet.routing2.map(|found| found.segments_left),
                packet.routing2_malformed,
                packet.final_destination(),
            )
        };
        let good = type2_header(next_header::NO_NEXT_HEADER, &address("::a"));
        assert_eq!(parse(&good), (Some(1), false, address("::a")));
        let used = {
            let mut used = good;
            used[3] = 0;
            used
        };
        assert_eq!(parse(&used), (Some(0), false, address("2001:db8::2")));
        let greedy = {
            let mut greedy = good;
            greedy[3] = 2;
            greedy
        };
        assert_eq!(parse(&greedy), (None, true, address("2001:db8::2")));
        let mut long = good.to_vec();
        long[1] = 4;
        long.extend([0; 16]);
        assert_eq!(parse(&long), (None, true, address("2001:db8::2")));
        let short = [next_header::NO_NEXT_HEADER, 0, TYPE2, 1, 0, 0, 0, 0];
        assert_eq!(parse(&short), (None, true, address("2001:db8::2")));
        let mut twice = type2_header(next_header::ROUTING, &address("::a")).to_vec();
        twice.extend(type2_header(next_header::NO_NEXT_HEADER, &address("::b")));
        assert_eq!(parse(&twice), (Some(1), true, address("::a")));
        let other = {
            let mut other = good;
            other[2] = 0;
            other
        };
        assert_eq!(parse(&other), (None, false, address("2001:db8::2")));
    }

    #[test]
    fn an_authentication_header_counts_in_units_of_four_octets() {
        let mut payload = vec![next_header::UDP, 4];
        payload.extend([0; 22]);
        payload.extend([9, 9]);
        let bytes = packet(header(next_header::AUTHENTICATION), &payload);
        let found = Packet::parse(&bytes).unwrap();
        assert_eq!(
            (found.upper.protocol, found.upper.offset, found.payload()),
            (next_header::UDP, 64, &[9, 9][..])
        );
    }
}
