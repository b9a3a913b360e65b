//! Which members of an anycast address are full: each holds the sources that are fixed to it, as the data path counts
//! them, against the capacity that it reports (thesis 3.1.4, 4.3.1). A full one takes no new sources until it has
//! room again; where all are full, all serve. Called by `haa` for its timers, by `membership` for every group.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use super::Haa;
use super::membership::Service;
use crate::protocol::action::Action;
use crate::protocol::clock::Instant;
use crate::protocol::report::Report;

/// So often sources are counted while a member reports a capacity; as many as are new in that time may come too many.
pub(super) const COUNT_INTERVAL: Duration = Duration::from_millis(250);
/// A member that was full has room again when it holds less than this part of its capacity: nine tenths.
const ROOM: (u64, u64) = (9, 10);

/// How full the members of one anycast address are.
#[derive(Debug, Default)]
pub(super) struct Fill {
    /// Sources of each member, by number, as they were counted last.
    sources: BTreeMap<u32, usize>,
    full: BTreeSet<u32>,
    /// Nobody that may take new sources has room.
    everybody: bool,
    /// When sources are counted next.
    due: Option<Instant>,
}

/// What filling up, or emptying, has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The member with this number became full, or has room again.
    Member { number: u32, is_full: bool, sources: usize },
    /// All became full, or there is room again.
    Everybody(bool),
}

/// A member that may take new sources, and the capacity that it reports; zero is no bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vessel {
    pub(super) number: u32,
    pub(super) capacity: u32,
}

impl Fill {
    /// True when the member holds as many sources as it wants.
    pub(super) fn is_full(&self, number: u32) -> bool {
        self.full.contains(&number)
    }

    /// True when all that may take new sources are full.
    pub(super) fn is_everybody_full(&self) -> bool {
        self.everybody
    }

    /// True when the member is given new sources as far as its capacity goes: it has room, or nobody has.
    pub(super) fn takes_new(&self, number: u32) -> bool {
        self.everybody || !self.is_full(number)
    }

    /// Judges those that may take new sources; what was known of others is forgotten.
    pub(super) fn judge(&mut self, vessels: &[Vessel]) -> Vec<Change> {
        let mut changes = Vec::new();
        let before = std::mem::take(&mut self.full);
        for Vessel { number, capacity } in vessels.iter().copied() {
            let sources = self.sources.get(&number).copied().unwrap_or_default();
            let was_full = before.contains(&number);
            let (held, bound) = (sources as u64, u64::from(capacity));
            let is_full = bound != 0 && (held >= bound || was_full && held * ROOM.1 >= bound * ROOM.0);
            if is_full {
                self.full.insert(number);
            }
            if is_full != was_full {
                changes.push(Change::Member { number, is_full, sources });
            }
        }
        let everybody = !vessels.is_empty() && vessels.iter().all(|vessel| self.is_full(vessel.number));
        if everybody != std::mem::replace(&mut self.everybody, everybody) {
            changes.push(Change::Everybody(everybody));
        }
        changes
    }
}

impl Service {
    /// Has sources be counted from `now` on, if they can be: without affinity none is fixed to anybody.
    pub(super) fn count_from(&mut self, now: Instant) {
        if self.config.affinity.is_some() {
            self.fill.due.get_or_insert(now);
        }
    }
}

impl Haa {
    /// When sources are counted next.
    pub(super) fn next_count(&self) -> Option<Instant> {
        self.services.values().filter_map(|service| service.fill.due).min()
    }

    /// Has the data path count the sources of every address whose time for that has come, as long as one of its members
    /// reports a capacity.
    pub(super) fn count_sources(&mut self, now: Instant) {
        for (anycast, service) in &mut self.services {
            if service.fill.due.is_none_or(|due| due > now) {
                continue;
            }
            let is_bounded = self.joined.of(anycast).any(|member| member.capacity() > 0);
            service.fill.due = is_bounded.then(|| now + COUNT_INTERVAL);
            if is_bounded {
                self.actions.push_back(Action::CountSources(*anycast));
            }
        }
    }

    /// So many sources are fixed to the members of `anycast`, by number.
    pub(super) fn sources_counted(&mut self, anycast: Ipv6Addr, of: Vec<(u32, usize)>) {
        let Some(service) = self.services.get_mut(&anycast) else { return };
        service.fill.sources = of.into_iter().collect();
        self.refresh_group(anycast);
    }

    /// Tells who is full and who is no longer.
    pub(super) fn report_fill(&mut self, anycast: Ipv6Addr, changes: Vec<Change>) {
        for change in changes {
            let report = match change {
                Change::Member { number, is_full, sources } => {
                    let (event, reason) = match is_full {
                        true => ("member-full", "it holds as many sources as its capacity allows"),
                        false => ("member-has-room", "it holds less than nine tenths of its capacity"),
                    };
                    let care_of = self.joined.numbered(&anycast, number).map(|member| member.care_of());
                    let report = Report::info(event).sources(sources).because(reason, "thesis 4.3.1");
                    care_of.into_iter().fold(report, Report::care_of)
                }
                Change::Everybody(true) => Report::warning("all-members-full").because(
                    "they share new sources by weight, beyond their capacities: serving is better than refusing",
                    "thesis 4.3.1",
                ),
                Change::Everybody(false) => {
                    Report::info("members-have-room").because("capacities are kept again", "thesis 4.3.1")
                }
            };
            self.report(report.anycast(anycast));
        }
    }
}
