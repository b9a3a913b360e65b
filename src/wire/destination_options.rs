//! The Destination Options header and the options in it.
//! RFC 8200 sections 4.2 and 4.6, RFC 2473 section 4.1.1, RFC 3775 section 6.3.
//! Used by the rewrites, by captures and by the dissection.

use std::fmt;
use std::net::Ipv6Addr;

use super::reader::Reader;
use super::tlv::{self, PAD1, PADN, Tlv, Tlvs};
use super::{Error, ErrorKind, Result};

/// Type of the home address option (RFC 3775 section 6.3).
pub const HOME_ADDRESS_OPTION: u8 = 201;
/// Type of the Tunnel Encapsulation Limit option (RFC 2473 section 4.1.1).
pub const TUNNEL_ENCAPSULATION_LIMIT_OPTION: u8 = 4;
/// Octets of [`home_address_header`].
pub const HOME_ADDRESS_HEADER_LENGTH: usize = 24;

/// An option of a destination options header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationOption {
    /// One octet of padding.
    Pad1,
    /// Padding: the octets after type and length, zero if the sender is well-behaved.
    PadN(Vec<u8>),
    /// How many more tunnels the packet may enter.
    TunnelEncapsulationLimit(u8),
    /// The sender's home address.
    HomeAddress(Ipv6Addr),
    /// Any other option. The top two bits of `kind` say what a node that does not know it must do.
    Unknown {
        /// Option type, none of the above.
        kind: u8,
        /// At most 255 octets.
        data: Vec<u8>,
    },
}

impl DestinationOption {
    /// True for Pad1 and PadN.
    pub fn is_padding(&self) -> bool {
        matches!(self, Self::Pad1 | Self::PadN(_))
    }

    pub(crate) fn from_tlv(option: Tlv<'_>) -> Result<Self> {
        let data = option.data;
        Ok(match option.kind {
            PAD1 => Self::Pad1,
            PADN => Self::PadN(data.to_vec()),
            TUNNEL_ENCAPSULATION_LIMIT_OPTION => match data {
                &[limit] => Self::TunnelEncapsulationLimit(limit),
                _ => return Err(option.bad_length()),
            },
            HOME_ADDRESS_OPTION => {
                let address: [u8; 16] = data.try_into().map_err(|_| option.bad_length())?;
                Self::HomeAddress(address.into())
            }
            kind => Self::Unknown { kind, data: data.to_vec() },
        })
    }

    fn emit_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::Pad1 => out.push(PAD1),
            Self::PadN(data) => tlv::push(out, PADN, data),
            Self::TunnelEncapsulationLimit(limit) => {
                tlv::push(out, TUNNEL_ENCAPSULATION_LIMIT_OPTION, &[*limit]);
            }
            Self::HomeAddress(address) => tlv::push(out, HOME_ADDRESS_OPTION, &address.octets()),
            Self::Unknown { kind, data } => tlv::push(out, *kind, data),
        }
    }
}

impl fmt::Display for DestinationOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pad1 => write!(f, "(pad1)"),
            Self::PadN(_) => write!(f, "(padn)"),
            Self::TunnelEncapsulationLimit(limit) => write!(f, "(tunnel-encap-limit: {limit})"),
            Self::HomeAddress(address) => write!(f, "(homeaddr: {address})"),
            Self::Unknown { kind, data } => write!(f, "(opt_type 0x{kind:02x}: len={})", data.len()),
        }
    }
}

/// A Destination Options header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationOptions {
    /// Type of what follows.
    pub next_header: u8,
    /// The options in order, padding included.
    pub options: Vec<DestinationOption>,
}

impl DestinationOptions {
    /// Reads a header from the front of `bytes`; the second value is its length in octets.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`], or [`ErrorKind::BadOptionLength`] for an option that overruns the header or
    /// whose length is not that of its type.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize)> {
        let mut reader = Reader::new(bytes);
        let next_header = reader.u8()?;
        let length = (usize::from(reader.u8()?) + 1) * 8;
        let header = bytes.get(..length).ok_or(Error::new(ErrorKind::Truncated, bytes.len()))?;
        let options = Tlvs::new(header, 2).map(|option| DestinationOption::from_tlv(option?));
        Ok((Self { next_header, options: options.collect::<Result<_>>()? }, length))
    }

    /// The header's octets. Padding stands where the options say; when they do not end on a multiple of
    /// eight octets, one more padding is added. Options beyond the 2048 octets a header can have are left out.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = vec![self.next_header, 0];
        for option in &self.options {
            let before = out.len();
            option.emit_into(&mut out);
            if out.len() > 2048 {
                out.truncate(before);
                break;
            }
        }
        let missing = tlv::to_eight(out.len());
        tlv::push_padding(&mut out, missing);
        out[1] = u8::try_from(out.len() / 8 - 1).unwrap_or(u8::MAX);
        out
    }
}

/// The 24 octets that KAME and UMIP send: the header, a PadN of four octets, and the home address option at
/// 8n+6, where RFC 3775 section 6.3 wants it.
pub fn home_address_header(next_header: u8, home_address: &Ipv6Addr) -> [u8; HOME_ADDRESS_HEADER_LENGTH] {
    let mut out = [0; HOME_ADDRESS_HEADER_LENGTH];
    out[..8].copy_from_slice(&[next_header, 2, PADN, 2, 0, 0, HOME_ADDRESS_OPTION, 16]);
    out[8..].copy_from_slice(&home_address.octets());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_do_not_fit_are_left_out() {
        let options = vec![DestinationOption::PadN(vec![0; 255]); 8];
        let bytes = DestinationOptions { next_header: 59, options }.emit();
        let (parsed, length) = DestinationOptions::parse(&bytes).unwrap();
        assert_eq!((parsed.options.len(), length, bytes.len()), (8, 1808, 1808));
    }

    #[test]
    fn the_home_address_stands_at_8n_plus_6() {
        let bytes = home_address_header(135, &Ipv6Addr::LOCALHOST);
        assert_eq!(bytes[..8], [135, 2, 1, 2, 0, 0, 201, 16]);
        assert_eq!(bytes[8..], Ipv6Addr::LOCALHOST.octets());
    }

    #[test]
    fn an_option_that_overruns_its_header_points_to_its_length() {
        let error = DestinationOptions::parse(&[59, 0, 0, 0, 7, 3, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(error, Error::new(ErrorKind::BadOptionLength, 5));
    }
}
