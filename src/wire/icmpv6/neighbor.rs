//! The options of neighbour discovery and of Mobile Prefix Advertisements.
//! RFC 4861 section 4.6, RFC 3775 sections 7.2 to 7.4.
//! Parsed and emitted through the ICMPv6 messages; built and read by `protocol`.

use std::net::Ipv6Addr;

use crate::wire::reader::Reader;
use crate::wire::tlv::to_eight;
use crate::wire::{Error, ErrorKind, Result};

/// Option types.
pub mod option_kind {
    /// Source link-layer address.
    pub const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
    /// Target link-layer address.
    pub const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
    /// Prefix information.
    pub const PREFIX_INFORMATION: u8 = 3;
    /// Redirected header.
    pub const REDIRECTED_HEADER: u8 = 4;
    /// MTU.
    pub const MTU: u8 = 5;
    /// Advertisement interval (RFC 3775 section 7.3).
    pub const ADVERTISEMENT_INTERVAL: u8 = 7;
    /// Home agent information (RFC 3775 section 7.4).
    pub const HOME_AGENT_INFORMATION: u8 = 8;
}

/// The flags of a prefix information option.
pub mod prefix_flags {
    /// L: the prefix is on the link.
    pub const ON_LINK: u8 = 0x80;
    /// A: addresses may be formed from the prefix.
    pub const AUTONOMOUS: u8 = 0x40;
    /// R: the prefix field holds the router's whole address (RFC 3775 section 7.2).
    pub const ROUTER_ADDRESS: u8 = 0x20;
}

/// An option of a neighbour discovery message. An option of known type whose length is not that of its type
/// is [`NeighborOption::Unknown`], because RFC 4861 makes only a length of zero a reason to drop a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeighborOption {
    /// The sender's link-layer address: 6 octets on Ethernet, always 8n - 2.
    SourceLinkLayerAddress(Vec<u8>),
    /// The target's link-layer address.
    TargetLinkLayerAddress(Vec<u8>),
    /// A prefix, or with the R flag a router's address.
    PrefixInformation {
        /// In bits.
        prefix_length: u8,
        /// See [`prefix_flags`]; reserved bits are kept.
        flags: u8,
        /// Seconds; all ones is for ever.
        valid_lifetime: u32,
        /// Seconds; all ones is for ever.
        preferred_lifetime: u32,
        /// Zero from anyone conforming.
        reserved: u32,
        /// The prefix field as it stands, bits after the prefix included.
        prefix: Ipv6Addr,
    },
    /// The packet that made a router send a redirect.
    RedirectedHeader {
        /// Zero from anyone conforming.
        reserved: [u8; 6],
        /// As much of it as fits: 8n octets.
        packet: Vec<u8>,
    },
    /// The link's MTU.
    Mtu {
        /// Zero from anyone conforming.
        reserved: u16,
        /// Octets.
        mtu: u32,
    },
    /// The longest time between two unsolicited multicast advertisements.
    AdvertisementInterval {
        /// Zero from anyone conforming.
        reserved: u16,
        /// Milliseconds.
        milliseconds: u32,
    },
    /// What a home agent says about itself.
    HomeAgentInformation {
        /// Zero from anyone conforming.
        reserved: u16,
        /// Higher is preferred.
        preference: i16,
        /// Seconds, not units of four.
        lifetime: u16,
    },
    /// Any other option.
    Unknown {
        /// Option type.
        kind: u8,
        /// 8n - 2 octets.
        data: Vec<u8>,
    },
}

impl NeighborOption {
    /// All options of `message` from `start` to its end.
    pub(super) fn parse_all(message: &[u8], start: usize) -> Result<Vec<Self>> {
        let (mut options, mut at) = (Vec::new(), start);
        while at < message.len() {
            let truncated = Error::new(ErrorKind::Truncated, message.len());
            let &[kind, units, ..] = message.get(at..).unwrap_or_default() else { return Err(truncated) };
            if units == 0 {
                return Err(Error::new(ErrorKind::BadOptionLength, at + 1));
            }
            let end = at + usize::from(units) * 8;
            let data = message.get(at + 2..end).ok_or(Error::new(ErrorKind::BadOptionLength, at + 1))?;
            options.push(Self::parse(kind, data)?);
            at = end;
        }
        Ok(options)
    }

    fn parse(kind: u8, data: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(data);
        Ok(match (kind, data.len()) {
            (option_kind::SOURCE_LINK_LAYER_ADDRESS, _) => Self::SourceLinkLayerAddress(data.to_vec()),
            (option_kind::TARGET_LINK_LAYER_ADDRESS, _) => Self::TargetLinkLayerAddress(data.to_vec()),
            (option_kind::PREFIX_INFORMATION, 30) => Self::PrefixInformation {
                prefix_length: reader.u8()?,
                flags: reader.u8()?,
                valid_lifetime: reader.u32()?,
                preferred_lifetime: reader.u32()?,
                reserved: reader.u32()?,
                prefix: reader.address()?,
            },
            (option_kind::REDIRECTED_HEADER, _) => {
                Self::RedirectedHeader { reserved: reader.array()?, packet: reader.rest().to_vec() }
            }
            (option_kind::MTU, 6) => Self::Mtu { reserved: reader.u16()?, mtu: reader.u32()? },
            (option_kind::ADVERTISEMENT_INTERVAL, 6) => {
                Self::AdvertisementInterval { reserved: reader.u16()?, milliseconds: reader.u32()? }
            }
            (option_kind::HOME_AGENT_INFORMATION, 6) => Self::HomeAgentInformation {
                reserved: reader.u16()?,
                preference: reader.u16()?.cast_signed(),
                lifetime: reader.u16()?,
            },
            _ => Self::Unknown { kind, data: data.to_vec() },
        })
    }

    /// Appends the option; data that does not fill units of eight octets is followed by zeros, and data
    /// beyond 255 units is cut off.
    pub(super) fn emit_into(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::SourceLinkLayerAddress(address) => {
                out.extend([option_kind::SOURCE_LINK_LAYER_ADDRESS, 0]);
                out.extend(address);
            }
            Self::TargetLinkLayerAddress(address) => {
                out.extend([option_kind::TARGET_LINK_LAYER_ADDRESS, 0]);
                out.extend(address);
            }
            Self::PrefixInformation {
                prefix_length,
                flags,
                valid_lifetime,
                preferred_lifetime,
                reserved,
                prefix,
            } => {
                out.extend([option_kind::PREFIX_INFORMATION, 0, *prefix_length, *flags]);
                out.extend(valid_lifetime.to_be_bytes());
                out.extend(preferred_lifetime.to_be_bytes());
                out.extend(reserved.to_be_bytes());
                out.extend(prefix.octets());
            }
            Self::RedirectedHeader { reserved, packet } => {
                out.extend([option_kind::REDIRECTED_HEADER, 0]);
                out.extend(reserved);
                out.extend(packet);
            }
            Self::Mtu { reserved, mtu } => {
                out.extend([option_kind::MTU, 0]);
                out.extend(reserved.to_be_bytes());
                out.extend(mtu.to_be_bytes());
            }
            Self::AdvertisementInterval { reserved, milliseconds } => {
                out.extend([option_kind::ADVERTISEMENT_INTERVAL, 0]);
                out.extend(reserved.to_be_bytes());
                out.extend(milliseconds.to_be_bytes());
            }
            Self::HomeAgentInformation { reserved, preference, lifetime } => {
                out.extend([option_kind::HOME_AGENT_INFORMATION, 0]);
                out.extend(reserved.to_be_bytes());
                out.extend(preference.to_be_bytes());
                out.extend(lifetime.to_be_bytes());
            }
            Self::Unknown { kind, data } => {
                out.extend([*kind, 0]);
                out.extend(data);
            }
        }
        out.truncate(start + 255 * 8);
        let length = out.len() - start;
        out.resize(out.len() + to_eight(length), 0);
        out[start + 1] = u8::try_from(length.div_ceil(8)).unwrap_or(u8::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_zero_is_an_error_at_the_length_and_never_a_loop() {
        let mut octets = vec![0; 8];
        octets.extend([option_kind::MTU, 1, 0, 0, 0, 0, 5, 220]);
        octets.extend([0; 32]);
        let error = NeighborOption::parse_all(&octets, 8).unwrap_err();
        assert_eq!(error, Error::new(ErrorKind::BadOptionLength, 17));
    }

    #[test]
    fn an_option_of_known_type_and_foreign_length_is_kept_as_unknown() {
        let octets = [option_kind::MTU, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
        let options = NeighborOption::parse_all(&octets, 0).unwrap();
        assert_eq!(options, [NeighborOption::Unknown { kind: option_kind::MTU, data: (1..=14).collect() }]);
    }
}
