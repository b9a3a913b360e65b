//! Who sent a message, when, and the proof: the Mobile Node Identifier, Mobility Message Replay Protection and Mobility
//! Message Authentication options. RFC 4283 section 3, RFC 4285 sections 5 and 6.
//! Parsed and emitted through the options; the proof itself is computed and checked in `protocol::auth`.

use std::fmt;
use std::time::Duration;

/// The content of a Mobile Node Identifier option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentifier {
    /// What kind of identifier it is; [`NodeIdentifier::NAI`] is the only kind defined.
    pub subtype: u8,
    /// The identifier; a Network Access Identifier has the form `user@realm`.
    pub identifier: Vec<u8>,
}

impl NodeIdentifier {
    /// Subtype 1: a Network Access Identifier (RFC 4283 section 3.1).
    pub const NAI: u8 = 1;

    /// The option of a Network Access Identifier.
    pub fn nai(identifier: &str) -> Self {
        Self { subtype: Self::NAI, identifier: identifier.as_bytes().to_vec() }
    }

    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let (&subtype, identifier) = data.split_first()?;
        Some(Self { subtype, identifier: identifier.to_vec() })
    }

    pub(super) fn emit(&self) -> Vec<u8> {
        [&[self.subtype][..], &self.identifier].concat()
    }
}

/// A time of day in the format of the Network Time Protocol: seconds since 1900 in the upper 32 bits, their fraction
/// in the lower ones (RFC 4285 section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Seconds from 1900 to 1970.
    const UNIX_EPOCH: u64 = 2_208_988_800;

    /// The time so long after the beginning of 1970, modulo 2^32 seconds; the fraction is rounded down.
    pub fn from_unix(since: Duration) -> Self {
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        Self(since.as_secs().wrapping_add(Self::UNIX_EPOCH) << 32 | fraction)
    }

    /// The whole seconds of `self` with the fraction of `other`: the answer to a timestamp that is not valid.
    pub fn with_fraction_of(self, other: Self) -> Self {
        Self(self.0 & !u64::from(u32::MAX) | other.0 & u64::from(u32::MAX))
    }

    /// How far apart two times are.
    pub fn distance(self, other: Self) -> Duration {
        let apart = self.0.abs_diff(other.0);
        let nanoseconds = ((apart & u64::from(u32::MAX)) * 1_000_000_000) >> 32;
        Duration::from_secs(apart >> 32) + Duration::from_nanos(nanoseconds)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}.{:08x}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

/// The content of a Mobility Message Authentication option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageAuthentication {
    /// Who authenticates; [`MessageAuthentication::MN_HA`] is what this crate speaks.
    pub subtype: u8,
    /// Security Parameter Index: which key; 0 to 255 are reserved.
    pub spi: u32,
    /// The authenticator, 12 octets for [`MessageAuthentication::MN_HA`].
    pub data: Vec<u8>,
}

impl MessageAuthentication {
    /// Subtype 1: between mobile node and home agent (RFC 4285 section 5.1).
    pub const MN_HA: u8 = 1;
    /// Octets of the option that the proof covers: type, length, subtype and SPI.
    pub(super) const COVERED: usize = 7;

    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let (&[subtype, a, b, c, d], data) = data.split_first_chunk()?;
        Some(Self { subtype, spi: u32::from_be_bytes([a, b, c, d]), data: data.to_vec() })
    }

    pub(super) fn emit(&self) -> Vec<u8> {
        [&[self.subtype][..], &self.spi.to_be_bytes(), &self.data].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_that_of_ntp() {
        let second = Timestamp::from_unix(Duration::from_millis(1_000_000_000_500));
        assert_eq!(second.0, (1_000_000_000 + 2_208_988_800) << 32 | 0x8000_0000);
        assert_eq!(second.to_string(), "bf454880.80000000");
    }

    #[test]
    fn the_answer_to_a_wrong_timestamp_has_own_seconds_and_the_askers_fraction() {
        let (own, asked) = (Timestamp(7 << 32 | 5), Timestamp(9 << 32 | 3));
        assert_eq!(own.with_fraction_of(asked), Timestamp(7 << 32 | 3));
        assert_eq!(Timestamp(7 << 32).distance(Timestamp(5 << 32 | 1 << 31)), Duration::from_millis(1500));
    }
}
