//! The IPv6 header and the upper-layer checksum.
//! RFC 8200 sections 3 and 8.1.
//! Used by the whole room, and by `protocol` and `forwarding` to build packets.

use std::net::Ipv6Addr;

use etherparse::checksum::Sum16BitWords;

use super::reader::Reader;
use super::{Error, ErrorKind, Result};

/// The Next Header values this crate knows (IANA protocol numbers).
pub mod next_header {
    /// Hop-by-Hop Options header.
    pub const HOP_BY_HOP: u8 = 0;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// An IPv6 packet in an IPv6 tunnel (RFC 2473).
    pub const IPV6: u8 = 41;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Encapsulating Security Payload.
    pub const ESP: u8 = 50;
    /// Authentication Header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Nothing follows.
    pub const NO_NEXT_HEADER: u8 = 59;
    /// Destination Options header.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Mobility Header (RFC 3775 section 6.1).
    pub const MOBILITY: u8 = 135;
}

/// Length of the IPv6 header in octets.
pub const HEADER_LENGTH: usize = 40;

/// Where the payload length stands in the header.
pub(crate) const PAYLOAD_LENGTH_OFFSET: usize = 4;
/// Where the next header stands in the header.
pub(crate) const NEXT_HEADER_OFFSET: usize = 6;
/// Where the hop limit stands in the header.
pub(crate) const HOP_LIMIT_OFFSET: usize = 7;
/// Where the source address stands in the header.
pub(crate) const SOURCE_OFFSET: usize = 8;
/// Where the destination address stands in the header.
pub(crate) const DESTINATION_OFFSET: usize = 24;

/// The fixed header of every IPv6 packet (RFC 8200 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Header {
    /// Traffic class.
    pub traffic_class: u8,
    /// Flow label; only the low 20 bits go on the wire.
    pub flow_label: u32,
    /// Octets that follow this header.
    pub payload_length: u16,
    /// Type of what follows; see [`next_header`].
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
}

impl Ipv6Header {
    /// A header with traffic class, flow label and payload length zero.
    pub fn new(next_header: u8, hop_limit: u8, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self {
            traffic_class: 0,
            flow_label: 0,
            payload_length: 0,
            next_header,
            hop_limit,
            source,
            destination,
        }
    }

    /// Reads the first 40 octets; whether the payload is complete is not looked at.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`], or [`ErrorKind::BadVersion`] at octet 0.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let word = reader.u32()?;
        if word >> 28 != 6 {
            return Err(Error::new(ErrorKind::BadVersion, 0));
        }
        let [traffic_class, ..] = (word << 4).to_be_bytes();
        Ok(Self {
            traffic_class,
            flow_label: word & 0xf_ffff,
            payload_length: reader.u16()?,
            next_header: reader.u8()?,
            hop_limit: reader.u8()?,
            source: reader.address()?,
            destination: reader.address()?,
        })
    }

    /// The 40 octets of the header.
    pub fn emit(&self) -> [u8; HEADER_LENGTH] {
        let word = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        let mut out = [0; HEADER_LENGTH];
        out[..4].copy_from_slice(&word.to_be_bytes());
        out[PAYLOAD_LENGTH_OFFSET..NEXT_HEADER_OFFSET].copy_from_slice(&self.payload_length.to_be_bytes());
        out[NEXT_HEADER_OFFSET] = self.next_header;
        out[HOP_LIMIT_OFFSET] = self.hop_limit;
        out[SOURCE_OFFSET..DESTINATION_OFFSET].copy_from_slice(&self.source.octets());
        out[DESTINATION_OFFSET..].copy_from_slice(&self.destination.octets());
        out
    }
}

/// A whole packet: `header` with its payload length set to that of `payload`, then `payload`. A payload over
/// 65535 octets is cut there, since the field can tell no more.
pub fn packet(mut header: Ipv6Header, payload: &[u8]) -> Vec<u8> {
    header.payload_length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut out = Vec::with_capacity(HEADER_LENGTH + payload.len());
    out.extend_from_slice(&header.emit());
    out.extend(payload.iter().take(usize::from(header.payload_length)));
    out
}

/// Sum over the pseudo header (RFC 8200 section 8.1) and `payload`, the whole upper-layer packet: the value
/// to store when the checksum field in `payload` is zero, or 0 when `payload` already carries a right one.
/// The addresses are those of [`Packet::final_source`](super::Packet::final_source) and
/// [`Packet::final_destination`](super::Packet::final_destination). UDP wants 0xffff stored for 0.
pub fn checksum(source: &Ipv6Addr, destination: &Ipv6Addr, next_header: u8, payload: &[u8]) -> u16 {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut sum = Sum16BitWords::new().add_slice(payload);
    sum = sum.add_16bytes(source.octets()).add_16bytes(destination.octets());
    sum = sum.add_4bytes(length.to_be_bytes()).add_4bytes([0, 0, 0, next_header]);
    // etherparse sums words in memory order, so its result is in memory order too.
    u16::from_be_bytes(sum.ones_complement().to_ne_bytes())
}
