//! Compares what our role sent with what the recorded node sent, by the comparison of captures.
//! `allowed.toml` names the differences that RFC 3775 demands or permits; an entry whose name begins with a recording
//! and a colon is for that one only. Nothing else may differ. `counts.toml` says how often each is needed in each recording.
//! Asked by the replay of every role, and at the end for the verdict.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use mga_node::pcap::allow::{Allowed, Entry};
use mga_node::pcap::capture::Frame;
use mga_node::pcap::comparison::{self, Captures, Form};
use mga_node::pcap::diff::Options;

/// A file beside this one.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay").join(name)
}

/// What came out so far.
pub struct Judge {
    allowed: Allowed,
    /// By recording: the entries that were needed, and how often.
    needed: BTreeMap<String, BTreeMap<String, u64>>,
    failures: Vec<String>,
    replayed: usize,
}

impl Judge {
    pub fn new() -> Self {
        let allowed = Allowed::open(&file("allowed.toml")).unwrap_or_else(|error| panic!("{error}"));
        Self { allowed, needed: BTreeMap::new(), failures: Vec::new(), replayed: 0 }
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
        let needed = allowed.counts().filter(|(_, count)| *count > 0);
        let needed = needed.map(|(entry, count)| (entry.name.clone(), count)).collect();
        let before = self.needed.insert(name.to_owned(), needed);
        assert!(before.is_none(), "{name} is replayed twice");
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
        let unneeded: Vec<_> =
            names.filter(|name| !self.needed.values().any(|entries| entries.contains_key(*name))).collect();
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
        self.compare_counts();
    }

    /// What an entry allows is allowed as often as it is written, in each recording.
    fn compare_counts(&self) {
        let mut text = String::from(
            "# How often each entry of allowed.toml is needed in each recording: neither more nor less.\n\
             # UPDATE_REPLAY_COUNTS=1 cargo test --test replay writes this anew.\n",
        );
        for (recording, entries) in self.needed.iter().filter(|(_, entries)| !entries.is_empty()) {
            let _ = writeln!(text, "\n[\"{recording}\"]");
            for (name, count) in entries {
                let _ = writeln!(text, "\"{name}\" = {count}");
            }
        }
        let path = file("counts.toml");
        if std::env::var_os("UPDATE_REPLAY_COUNTS").is_some_and(|value| value == "1") {
            fs::write(&path, text).expect("written");
            return;
        }
        let written = fs::read_to_string(&path).expect("counts");
        let first = written.lines().zip(text.lines()).find(|(written, now)| written != now);
        assert!(written == text, "{}: other counts, first: {first:?}", path.display());
    }
}
