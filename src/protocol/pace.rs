//! The overall rate limit of RFC 3775 11.8: Mobility Header messages of one type go to one node at most
//! MAX_UPDATE_RATE times within a second, however many anycast addresses and timers ask for them.
//! Used by the responder for Binding Updates and test messages.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;

use super::clock::Instant;
use super::limits::MAX_UPDATE_RATE;

/// The second that MAX_UPDATE_RATE counts in.
const WINDOW: Duration = Duration::from_secs(1);
/// Above this many remembered pairs, those that hold nothing back any more are forgotten.
const TIDY_ABOVE: usize = 64;

/// When which message type went to which node, as far back as the limit looks.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    sent: BTreeMap<(Ipv6Addr, u8), VecDeque<Instant>>,
}

impl Pace {
    /// Takes leave to send one message of MH Type `kind` to `peer` at `now`.
    ///
    /// # Errors
    /// The moment at which the message may be sent, when MAX_UPDATE_RATE forbids it now (RFC 3775 11.8).
    pub fn take(&mut self, now: Instant, peer: Ipv6Addr, kind: u8) -> Result<(), Instant> {
        let is_past = |sent: Instant| now.saturating_since(sent) >= WINDOW;
        if self.sent.len() > TIDY_ABOVE {
            self.sent.retain(|_, times| times.back().is_some_and(|sent| !is_past(*sent)));
        }
        let times = self.sent.entry((peer, kind)).or_default();
        while times.front().is_some_and(|sent| is_past(*sent)) {
            times.pop_front();
        }
        match times.front() {
            Some(oldest) if times.len() >= MAX_UPDATE_RATE as usize => Err(*oldest + WINDOW),
            _ => {
                times.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::from_start(Duration::from_millis(milliseconds))
    }

    #[test]
    fn n007_three_messages_of_a_type_to_a_node_within_any_second() {
        let mut pace = Pace::default();
        let peer = Ipv6Addr::LOCALHOST;
        assert_eq!([0, 400, 800].map(|ms| pace.take(at(ms), peer, 5)), [Ok(()); 3]);
        assert_eq!(pace.take(at(900), peer, 5), Err(at(1000)));
        assert_eq!(pace.take(at(900), peer, 1), Ok(()), "another type has a limit of its own");
        assert_eq!(pace.take(at(900), Ipv6Addr::UNSPECIFIED, 5), Ok(()), "and so has another node");
        assert_eq!(pace.take(at(1000), peer, 5), Ok(()));
        assert_eq!(pace.take(at(1001), peer, 5), Err(at(1400)));
    }

    #[test]
    fn nodes_that_hold_nothing_back_are_forgotten() {
        let mut pace = Pace::default();
        for step in 0..10_000_u64 {
            assert_eq!(pace.take(at(step * 100), Ipv6Addr::from(u128::from(step)), 5), Ok(()));
        }
        assert!(pace.sent.len() <= TIDY_ABOVE + 1, "{}", pace.sent.len());
    }
}
