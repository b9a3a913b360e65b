//! The log of what a role reports, kept readable when somebody floods the node: of one kind of event only so many
//! are written one by one, the others are counted and summed up. RFC 3775 9.3.3 and RFC 4443 2.4(f) limit what a
//! flood may cost; `watch` and `show stats` still have everything. Called by the event loop.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::clock::Instant;
use crate::protocol::rate_limit::TokenBucket;
use crate::protocol::report::{Report, Severity};

/// Events of one kind written at once before they are counted only.
const BURST: u32 = 20;
/// After a burst one event of a kind is written per this time.
const INTERVAL: Duration = Duration::from_secs(1);
/// What was not written is summed up this long after the first of it.
const SUMMARY: Duration = Duration::from_secs(10);

struct Kind {
    bucket: TokenBucket,
    unwritten: u64,
}

/// What has been written lately, by kind of event.
#[derive(Default)]
pub struct EventLog {
    kinds: BTreeMap<&'static str, Kind>,
    summary_at: Option<Instant>,
}

impl EventLog {
    /// Writes a role's report, unless its kind floods the log. Debug reports are for whoever asked for all.
    pub fn report(&mut self, now: Instant, report: &Report) {
        match report.severity {
            Severity::Debug => tracing::debug!("{report}"),
            Severity::Info if self.allows(now, report.event) => tracing::info!("{report}"),
            Severity::Warning if self.allows(now, report.event) => tracing::warn!("{report}"),
            Severity::Info | Severity::Warning => {}
        }
    }

    /// True when one more event of this kind may be written; else it is counted.
    pub fn allows(&mut self, now: Instant, kind: &'static str) -> bool {
        let entry = self
            .kinds
            .entry(kind)
            .or_insert_with(|| Kind { bucket: TokenBucket::new(BURST, INTERVAL), unwritten: 0 });
        let allowed = entry.bucket.take(now);
        if !allowed {
            entry.unwritten += 1;
            self.summary_at.get_or_insert(now + SUMMARY);
        }
        allowed
    }

    /// When [`EventLog::summarise`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.summary_at
    }

    /// Writes how many events were not written one by one, if that is due.
    pub fn summarise(&mut self, now: Instant) {
        if self.summary_at.is_some_and(|at| at <= now) {
            self.sum_up();
        }
    }

    /// Writes how many events were not written one by one, due or not.
    pub fn sum_up(&mut self) {
        self.summary_at = None;
        for (event, count) in self.take_unwritten() {
            tracing::warn!("{event}: {count} more like this, not written one by one");
        }
    }

    fn take_unwritten(&mut self) -> Vec<(&'static str, u64)> {
        let counts = self.kinds.iter_mut().map(|(event, kind)| (*event, std::mem::take(&mut kind.unwritten)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_counted_and_leaves_the_other_kinds_alone() {
        let mut log = EventLog::default();
        let written = (0..5000).filter(|_| log.allows(Instant::START, "binding-update-refused")).count();
        assert_eq!(written, BURST as usize);
        assert!(log.allows(Instant::START, "binding-created"));
        assert_eq!(log.poll_timeout(), Some(Instant::START + SUMMARY));
        assert_eq!(log.take_unwritten(), [("binding-update-refused", 5000 - u64::from(BURST))]);
        log.summarise(Instant::START + SUMMARY);
        assert_eq!(log.poll_timeout(), None);
        assert!(log.take_unwritten().is_empty());
    }
}
