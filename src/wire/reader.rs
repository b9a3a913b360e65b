//! A cursor over octets that can run dry but not panic.
//! It reads the big-endian fields of RFC 8200, RFC 4443 and RFC 3775.
//! Used by the parsers of this room only.

use std::net::Ipv6Addr;

use super::{Error, ErrorKind, Result};

/// Reads fields from the front of a slice; offsets in errors count from the start of that slice.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Offset of the next octet.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.offset.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.offset..end));
        let taken = taken.ok_or(Error::new(ErrorKind::Truncated, self.bytes.len()))?;
        self.offset += count;
        Ok(taken)
    }

    /// Everything that has not been read.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        self.offset = self.bytes.len();
        rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offset >= self.bytes.len()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let end = self.bytes.len();
        self.take(N)?.try_into().map_err(|_| Error::new(ErrorKind::Truncated, end))
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn address(&mut self) -> Result<Ipv6Addr> {
        self.array::<16>().map(Ipv6Addr::from)
    }
}
