//! The time of day for timestamps (RFC 4285 section 6), as what it was at the node's start plus the time that passed:
//! one value handed in, never read here, and no step of the host's clock makes it run backwards.
//! Used by `members` and `membership`; `daemon` makes it.

use crate::protocol::clock::Instant;
use crate::wire::mobility::Timestamp;

/// A clock that shows the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    at_start: Timestamp,
}

impl TimeOfDay {
    /// The clock that showed `at_start` when the node started.
    pub fn new(at_start: Timestamp) -> Self {
        Self { at_start }
    }

    /// What it shows at `now`.
    pub fn at(&self, now: Instant) -> Timestamp {
        let passed = now.since_start();
        let fraction = (u64::from(passed.subsec_nanos()) << 32) / 1_000_000_000;
        Timestamp(self.at_start.0.wrapping_add((passed.as_secs() << 32) + fraction))
    }
}
