//! The fixed part of the Mobility Header and its checksum.
//! RFC 3775 sections 6.1.1 and 9.2.
//! Called by `protocol` on the payload of a packet whose chain ends in protocol 135.

use std::net::Ipv6Addr;

use super::messages::{Message, kind};
use crate::wire::ipv6::{self, next_header};
use crate::wire::reader::Reader;
use crate::wire::tlv;
use crate::wire::{Error, ErrorKind, Result};

/// The least length in octets that a message of this MH Type has without options (RFC 3775 section 9.2);
/// 8 for a type that RFC 3775 does not know.
pub fn minimum_length(kind: u8) -> usize {
    match kind {
        kind::HOME_TEST_INIT | kind::CARE_OF_TEST_INIT => 16,
        kind::HOME_TEST | kind::CARE_OF_TEST | kind::BINDING_ERROR => 24,
        kind::BINDING_UPDATE | kind::BINDING_ACKNOWLEDGEMENT => 12,
        _ => 8,
    }
}

/// Where the header length stands.
const LENGTH_OFFSET: usize = 1;
/// Where the MH Type stands.
pub(super) const KIND_OFFSET: usize = 2;
/// Where the checksum stands.
pub(super) const CHECKSUM: std::ops::Range<usize> = 4..6;
/// A header length of 255 makes this many octets.
const MAXIMUM_LENGTH: usize = 2048;

/// A Mobility Header (RFC 3775 section 6.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MobilityHeader {
    /// Type of what follows; 59, nothing, from anyone conforming.
    pub payload_proto: u8,
    /// The octet after MH Type.
    pub reserved: u8,
    /// The checksum as it stands on the wire.
    pub checksum: u16,
    /// The message.
    pub message: Message,
}

impl MobilityHeader {
    /// A header around `message` with payload proto 59, reserved 0 and checksum 0.
    pub fn new(message: Message) -> Self {
        Self { payload_proto: next_header::NO_NEXT_HEADER, reserved: 0, checksum: 0, message }
    }

    /// Reads the header that Header Len sets; octets after it are left out of account.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] when there are fewer octets; [`ErrorKind::BadLength`] at octet 1 when Header
    /// Len is too small for the MH Type; [`ErrorKind::BadOptionLength`] for an option that overruns the
    /// header or whose length is not that of its type.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let bytes = cut(bytes).ok_or(Error::new(ErrorKind::Truncated, bytes.len()))?;
        let mut reader = Reader::new(bytes);
        let [payload_proto, _, kind, reserved] = reader.array()?;
        let checksum = reader.u16()?;
        if bytes.len() < minimum_length(kind) {
            return Err(Error::new(ErrorKind::BadLength, LENGTH_OFFSET));
        }
        Ok(Self { payload_proto, reserved, checksum, message: Message::parse(kind, reader, bytes)? })
    }

    /// The octets of the header, the checksum as stored. Options that do not end on a multiple of eight
    /// octets are followed by padding; options beyond the 2048 octets a header can have are left out.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = vec![self.payload_proto, 0, self.message.kind(), self.reserved];
        out.extend_from_slice(&self.checksum.to_be_bytes());
        self.message.emit_into(&mut out, MAXIMUM_LENGTH);
        let missing = tlv::to_eight(out.len());
        match self.message {
            Message::Unknown { .. } => out.resize(out.len() + missing, 0),
            _ => tlv::push_padding(&mut out, missing),
        }
        out[LENGTH_OFFSET] = u8::try_from(out.len() / 8 - 1).unwrap_or(u8::MAX);
        out
    }

    /// Like [`Self::emit`] with the right checksum. The addresses are the home address when the packet will
    /// carry a home address option, and the final destination when it will carry a type 2 routing header.
    pub fn emit_for(&self, source: &Ipv6Addr, destination: &Ipv6Addr) -> Vec<u8> {
        let mut out = self.emit();
        out[CHECKSUM].fill(0);
        let checksum = ipv6::checksum(source, destination, next_header::MOBILITY, &out);
        out[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        out
    }

    /// Octets that [`Self::emit`] gives.
    pub fn length(&self) -> usize {
        self.emit().len()
    }
}

/// Whether the Mobility Header at the front of `mh` carries the right checksum for these addresses, which
/// are the home address and the final destination. A header that is not complete is not valid.
pub fn checksum_is_valid(mh: &[u8], source: &Ipv6Addr, destination: &Ipv6Addr) -> bool {
    cut(mh).is_some_and(|mh| ipv6::checksum(source, destination, next_header::MOBILITY, mh) == 0)
}

/// The octets that Header Len sets.
pub(super) fn cut(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..(usize::from(*bytes.get(LENGTH_OFFSET)?) + 1) * 8)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{BindingUpdate, Lifetime, MobilityOption, UpdateFlags};
    use super::*;

    /// A home registration with these options.
    pub fn update(options: Vec<MobilityOption>) -> MobilityHeader {
        MobilityHeader::new(Message::BindingUpdate(BindingUpdate {
            sequence: 200,
            flags: UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION,
            lifetime: Lifetime(10),
            options,
        }))
    }

    #[test]
    fn an_update_without_options_gets_four_octets_of_padding() {
        let bytes = update(Vec::new()).emit();
        assert_eq!(bytes, [59, 1, 5, 0, 0, 0, 0, 200, 0xc0, 0, 0, 10, 1, 2, 0, 0]);
        assert_eq!(update(Vec::new()).length(), 16);
    }

    #[test]
    fn a_header_shorter_than_its_type_points_to_header_len() {
        let error = MobilityHeader::parse(&[59, 0, kind::HOME_TEST, 0, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(error, Error::new(ErrorKind::BadLength, 1));
    }

    #[test]
    fn a_header_longer_than_its_octets_is_truncated_where_they_end() {
        let error = MobilityHeader::parse(&[59, 1, kind::BINDING_UPDATE, 0, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(error, Error::new(ErrorKind::Truncated, 8));
        assert_eq!(MobilityHeader::parse(&[59]).unwrap_err(), Error::new(ErrorKind::Truncated, 1));
    }

    #[test]
    fn an_alternate_care_of_address_of_wrong_length_points_to_its_length() {
        let mut bytes = vec![59, 3, kind::BINDING_UPDATE, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 3, 15];
        bytes.resize(32, 0);
        let error = MobilityHeader::parse(&bytes).unwrap_err();
        assert_eq!(error, Error::new(ErrorKind::BadOptionLength, 15));
    }

    #[test]
    fn options_that_do_not_fit_are_left_out() {
        let bytes = update(vec![MobilityOption::PadN(vec![0; 255]); 9]).emit();
        assert_eq!(bytes.len(), 1816);
        assert!(MobilityHeader::parse(&bytes).is_ok());
    }
}
