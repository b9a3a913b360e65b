//! What a role counts, by name: every message in and out, every refusal by its reason.
//! The names are stable words for `show stats`; none is ever reset (RFC 3775 asks for silence towards bad
//! packets, so the counter is where an operator sees them). Used by every role.

use std::collections::BTreeMap;

/// Named counters, in order of their names.
#[derive(Clone, Debug, Default)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    /// Adds one to the counter `name`.
    pub fn count(&mut self, name: &'static str) {
        *self.0.entry(name).or_default() += 1;
    }

    /// The counter `name`; zero when nothing was counted.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All counters, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(name, value)| (*name, *value))
    }
}
