//! The routing header, above all type 2, which carries a home address.
//! RFC 8200 section 4.4 and RFC 3775 section 6.4.
//! Used by the rewrites, by captures and by the dissection.

use std::net::Ipv6Addr;

use super::reader::Reader;
use super::{Error, ErrorKind, Result, tlv};

/// The routing type of RFC 3775 section 6.4.
pub const TYPE2: u8 = 2;
/// Octets of [`type2_header`].
pub const TYPE2_LENGTH: usize = 24;

/// A routing header of any type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingHeader {
    /// Type of what follows.
    pub next_header: u8,
    /// Routing type.
    pub kind: u8,
    /// Nodes still to be visited.
    pub segments_left: u8,
    /// What follows the first four octets, reserved field included: 4 + 8n octets.
    pub data: Vec<u8>,
}

impl RoutingHeader {
    /// Reads a header from the front of `bytes`; the second value is its length in octets.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize)> {
        let mut reader = Reader::new(bytes);
        let [next_header, length, kind, segments_left] = reader.array()?;
        let length = (usize::from(length) + 1) * 8;
        let data = bytes.get(4..length).ok_or(Error::new(ErrorKind::Truncated, bytes.len()))?.to_vec();
        Ok((Self { next_header, kind, segments_left, data }, length))
    }

    /// The header's octets; data that does not fill it is followed by zeros, data beyond 2044 octets is cut.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = vec![self.next_header, 0, self.kind, self.segments_left];
        out.extend(self.data.iter().take(2044));
        out.resize(out.len() + tlv::to_eight(out.len()), 0);
        out[1] = u8::try_from(out.len() / 8 - 1).unwrap_or(u8::MAX);
        out
    }

    /// The home address of a well-formed type 2 header.
    pub fn home_address(&self) -> Option<Ipv6Addr> {
        let address: [u8; 16] = self.data.get(4..)?.try_into().ok()?;
        (self.kind == TYPE2).then(|| address.into())
    }
}

/// The 24 octets of a type 2 routing header with one segment left and reserved zero.
pub fn type2_header(next_header: u8, home_address: &Ipv6Addr) -> [u8; TYPE2_LENGTH] {
    let mut out = [0; TYPE2_LENGTH];
    out[..4].copy_from_slice(&[next_header, 2, TYPE2, 1]);
    out[8..].copy_from_slice(&home_address.octets());
    out
}
