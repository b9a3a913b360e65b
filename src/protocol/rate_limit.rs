//! A token bucket, the rate limiter RFC 4443 2.4(f) suggests for ICMPv6 errors and RFC 3775 9.3.3 wants for
//! Binding Errors. One bucket limits one kind of answer of the whole node.
//! Used by the roles before they answer a packet that needs no answer.

use std::time::Duration;

use super::clock::Instant;

/// Allows `burst` events at once and one more every `interval`.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    burst: u32,
    interval: Duration,
    tokens: u32,
    refilled: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, tokens: burst, refilled: Instant::START }
    }

    /// Takes one token; false when the event must be suppressed.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_since(self.refilled);
        let earned = passed.as_nanos() / self.interval.as_nanos().max(1);
        if earned > 0 {
            self.tokens =
                self.burst.min(self.tokens.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)));
            self.refilled = now;
        }
        let allowed = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_its_rate() {
        let mut bucket = TokenBucket::new(3, Duration::from_millis(100));
        let at = |ms| Instant::from_start(Duration::from_millis(ms));
        let allowed = (0..10).filter(|_| bucket.take(at(0))).count();
        assert_eq!(allowed, 3);
        assert!(!bucket.take(at(99)));
        assert!(bucket.take(at(200)));
        assert!(bucket.take(at(200)));
        assert!(!bucket.take(at(200)));
    }
}
