//! The time for which a binding is asked for, granted, or advised to be refreshed in, as it stands on the wire.
//! RFC 3775 sections 6.1.7, 6.1.8 and 6.2.4: 16 bits of 4 seconds each.
//! Read by the messages and options, and by `protocol` wherever a binding is counted in seconds.

use std::fmt;
use std::time::Duration;

/// A time on the wire, in units of 4 seconds (RFC 3775 section 6.1.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(pub u16);

impl Lifetime {
    /// No time: deletes a binding.
    pub const ZERO: Self = Self(0);
    /// Seconds in a unit.
    pub const UNIT: u32 = 4;

    /// As many units as fit into `seconds`, at most 65535 (262140 seconds).
    pub fn from_seconds(seconds: u32) -> Self {
        Self(u16::try_from(seconds / Self::UNIT).unwrap_or(u16::MAX))
    }

    /// In seconds.
    pub fn seconds(self) -> u32 {
        u32::from(self.0) * Self::UNIT
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.seconds().into())
    }
}

impl fmt::Display for Lifetime {
    /// In seconds, with their unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_counts_units_of_four_seconds_rounded_down() {
        assert_eq!(Lifetime::from_seconds(43), Lifetime(10));
        assert_eq!(Lifetime(10).seconds(), 40);
        assert_eq!(Lifetime::from_seconds(3), Lifetime::ZERO);
        assert_eq!(Lifetime::from_seconds(u32::MAX), Lifetime(u16::MAX));
        assert_eq!(Lifetime(u16::MAX).duration(), Duration::from_secs(262_140));
    }
}
