//! The type-length-value list that IPv6 options and mobility options share.
//! RFC 8200 section 4.2 and RFC 3775 section 6.2.1 give both the same shape and the same two paddings.
//! Used by the option parsers, the chain walk and the rewrites of this room.

use super::{Error, ErrorKind, Result};

/// One octet of padding, without length.
pub(crate) const PAD1: u8 = 0;
/// Padding with a length.
pub(crate) const PADN: u8 = 1;

/// One option as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tlv<'a> {
    pub(crate) kind: u8,
    /// Of the type octet; the length octet follows it.
    pub(crate) offset: usize,
    /// Empty for Pad1.
    pub(crate) data: &'a [u8],
}

impl Tlv<'_> {
    /// The error that this option's length calls for.
    pub(crate) fn bad_length(&self) -> Error {
        Error::new(ErrorKind::BadOptionLength, self.offset + 1)
    }

    pub(crate) fn is_padding(&self) -> bool {
        matches!(self.kind, PAD1 | PADN)
    }
}

/// Walks the options between two offsets of a slice.
pub(crate) struct Tlvs<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Tlvs<'a> {
    /// The options from `start` to the end of `bytes`; offsets count from the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, offset: start }
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let kind = *self.bytes.get(offset)?;
        if kind == PAD1 {
            self.offset += 1;
            return Some(Ok(Tlv { kind, offset, data: &[] }));
        }
        let Some(&length) = self.bytes.get(offset + 1) else {
            self.offset = self.bytes.len();
            return Some(Err(Error::new(ErrorKind::Truncated, self.bytes.len())));
        };
        let end = offset + 2 + usize::from(length);
        let Some(data) = self.bytes.get(offset + 2..end) else {
            self.offset = self.bytes.len();
            return Some(Err(Error::new(ErrorKind::BadOptionLength, offset + 1)));
        };
        self.offset = end;
        Some(Ok(Tlv { kind, offset, data }))
    }
}

/// Appends an option; data beyond the 255 octets that its length field can tell is cut off.
pub(crate) fn push(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
    let length = u8::try_from(data.len()).unwrap_or(u8::MAX);
    out.extend_from_slice(&[kind, length]);
    out.extend(data.iter().take(usize::from(length)));
}

/// Appends `count` octets of padding, 0 to 257: nothing, Pad1 or one PadN of zeros.
pub(crate) fn push_padding(out: &mut Vec<u8>, count: usize) {
    match count {
        0 => {}
        1 => out.push(PAD1),
        _ => push(out, PADN, &vec![0; count - 2]),
    }
}

/// Octets missing from `length` to the next multiple of eight.
pub(crate) const fn to_eight(length: usize) -> usize {
    length.wrapping_neg() % 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_overruns_the_list_is_reported_at_its_length_octet_once() {
        let results: Vec<_> = Tlvs::new(&[9, 9, PAD1, 7, 5, 1], 2).collect();
        let pad = Tlv { kind: PAD1, offset: 2, data: &[] };
        assert_eq!(results, [Ok(pad), Err(Error::new(ErrorKind::BadOptionLength, 4))]);
    }

    #[test]
    fn an_option_without_length_octet_is_truncated() {
        let results: Vec<_> = Tlvs::new(&[7], 0).collect();
        assert_eq!(results, [Err(Error::new(ErrorKind::Truncated, 1))]);
    }

    #[test]
    fn padding_fills_exactly_the_octets_asked_for() {
        for count in 0..=9 {
            let mut out = Vec::new();
            push_padding(&mut out, count);
            assert_eq!(out.len(), count);
            assert!(Tlvs::new(&out, 0).all(|tlv| tlv.is_ok_and(|tlv| tlv.is_padding())));
        }
        assert_eq!([to_eight(0), to_eight(1), to_eight(7), to_eight(8), to_eight(12)], [0, 7, 1, 0, 4]);
    }
}
