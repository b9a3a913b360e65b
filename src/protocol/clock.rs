//! Time as the core sees it: a duration since the node started, always handed in, never read.
//! RFC 3775 counts lifetimes in seconds and 4-second units; everything is kept finer here so that
//! retransmission timers and tests can be exact. Used by every file of `protocol`; `daemon` makes the values.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment, as the time passed since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The moment the node started.
    pub const START: Self = Self(Duration::ZERO);

    /// The moment `elapsed` after the start.
    pub const fn from_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// Time passed since the node started.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to this moment; zero when `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, back: Duration) -> Self {
        Self(self.0.saturating_sub(back))
    }
}
