//! Compares what our role sent with what the recorded node sent, by the comparison of captures.
//! `allowed.toml` names the differences that RFC 3775 demands or permits; an entry whose name begins with a recording
//! and a colon is for that one only. Nothing else may differ.
//! Asked by the replay of every role, and at the end for the verdict.

use std::collections::BTreeSet;
use std::path::Path;

use mga_node::pcap::allow::{Allowed, Entry};
use mga_node::pcap::capture::Frame;
use mga_node::pcap::comparison::{self, Captures, Form};
use mga_node::pcap::diff::Options;

/// What came out so far.
pub struct Judge {
    allowed: Allowed,
    needed: BTreeSet<String>,
    failures: Vec<String>,
    replayed: usize,
}

impl Judge {
    pub fn new() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay/allowed.toml");
        let allowed = Allowed::open(&path).unwrap_or_else(|error| panic!("{error}"));
        Self { allowed, needed: BTreeSet::new(), failures: Vec::new(), replayed: 0 }
    }

    /// Compares two captures of the same node.
    pub fn compare(&mut self, name: &str, expected: Vec<Frame>, actual: Vec<Frame>) {
        let mut text = Vec::new();
        let captures = Captures {
            expected: expected.into_iter().map(Ok),
            actual: actual.into_iter().map(Ok),
            names: ["recorded", "ours"],
        };
        let mut allowed = Allowed::default();
        let is_meant = |entry: &&Entry| match entry.name.split_once(": ") {
            Some((recording, _)) => recording == name,
            None => true,
        };
        allowed.entries = self.allowed.entries.iter().filter(is_meant).cloned().collect();
        let options = Options::default();
        let verdict = comparison::run(captures, &options, &mut allowed, Form::Text, false, &mut text)
            .expect("captures in memory");
        let needed = allowed.entries.iter().filter(|entry| !verdict.unmatched.contains(&entry.name));
        self.needed.extend(needed.map(|entry| entry.name.clone()));
        self.replayed += 1;
        let totals = verdict.totals;
        println!(
            "{name}: {} compared, {} the same, {} allowed",
            totals.compared, totals.same, verdict.allowed
        );
        assert!(totals.same > 0, "{name}: nothing was compared");
        if !verdict.is_same() {
            let text = String::from_utf8_lossy(&text);
            // Most entries are for other recordings.
            let told: Vec<_> =
                text.lines().filter(|line| !line.starts_with("allowed but not seen")).collect();
            self.failures.push(format!("=== {name}\n{}", told.join("\n")));
        }
    }

    /// Fails when anything differed without permission, or a permission was not needed.
    pub fn verdict(self) {
        let names = self.allowed.entries.iter().map(|entry| entry.name.as_str());
        let unneeded: Vec<_> = names.filter(|name| !self.needed.contains(*name)).collect();
        for entry in &self.allowed.entries {
            assert!(entry.clause.contains("RFC"), "{}: no clause", entry.name);
        }
        assert!(
            self.failures.is_empty(),
            "{} of {} recordings differ\n{}",
            self.failures.len(),
            self.replayed,
            self.failures.join("\n")
        );
        assert!(unneeded.is_empty(), "allowed, but nothing differs so: {unneeded:?}");
    }
}
