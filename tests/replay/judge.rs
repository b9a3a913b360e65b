//! Compares what our role sent with what the recorded node sent, by the comparison of captures.
//! `allowed.toml` names the differences that RFC 3775 demands or permits; an entry whose name begins with a recording
//! and a colon is for that one only. Nothing else may differ. `counts.toml` says how often each is needed in each recording.
//! Asked by the replay of every role, and at the end for the verdict.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use mga_node::pcap::allow::{Allowed, Entry};
use mga_node::pcap::capture::Frame;
use mga_node::pcap::comparison::{self, Captures, Form};
use mga_node::pcap::diff::Options;
use mga_node::wire::Packet;
use mga_node::wire::ipv6::next_header;

use crate::replayer::Gap;
use crate::table;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file beside this one.
fn file(name: &str) -> PathBuf {
    root().join("tests/replay").join(name)
}

/// False for what a link says of itself: listeners, routers, and neighbours other than `home`.
fn is_about(packet: &[u8], home: Ipv6Addr) -> bool {
    let Ok(packet) = Packet::parse(packet) else { return true };
    let payload = packet.payload();
    match payload.first() {
        Some(130..=134 | 137 | 143) if packet.upper.protocol == next_header::ICMPV6 => false,
        Some(135 | 136) if packet.upper.protocol == next_header::ICMPV6 => {
            payload.get(8..24) == Some(home.octets().as_slice())
        }
        _ => true,
    }
}

/// Which of our roles stood in for the node of a recording.
pub struct Cast<'a> {
    pub name: &'a str,
    pub role: &'static str,
    pub gaps: &'a [Gap],
}

/// What one replay came to.
pub struct Replayed {
    pub role: &'static str,
    /// What was left out, and why.
    pub left_out: Vec<String>,
    pub compared: u64,
    /// The entries that were needed, and how often.
    pub needed: BTreeMap<String, u64>,
}

/// What came out so far.
pub struct Judge {
    allowed: Allowed,
    /// By recording.
    replayed: BTreeMap<String, Replayed>,
    failures: Vec<String>,
}

impl Judge {
    pub fn new() -> Self {
        let allowed = Allowed::open(&file("allowed.toml")).unwrap_or_else(|error| panic!("{error}"));
        Self { allowed, replayed: BTreeMap::new(), failures: Vec::new() }
    }

    /// Compares two captures of the same node, and of neighbour discovery what is about home addresses.
    pub fn compare(&mut self, cast: Cast<'_>, expected: Vec<Frame>, actual: Vec<Frame>) {
        self.compare_as(&cast, &Options::default(), expected, actual);
    }

    /// Compares two captures of a node that comes home: all of it, but of neighbour discovery only what is about
    /// `home`, since the rest depends on the state of caches.
    pub fn compare_at_home(
        &mut self,
        cast: Cast<'_>,
        home: Ipv6Addr,
        mut expected: Vec<Frame>,
        mut actual: Vec<Frame>,
    ) {
        for frames in [&mut expected, &mut actual] {
            frames.retain(|frame| is_about(&frame.ipv6, home));
        }
        self.compare_as(&cast, &Options { all: true, ..Options::default() }, expected, actual);
    }

    fn compare_as(&mut self, cast: &Cast<'_>, options: &Options, expected: Vec<Frame>, actual: Vec<Frame>) {
        let name = cast.name;
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
        let verdict = comparison::run(captures, options, &mut allowed, Form::Text, false, &mut text)
            .expect("captures in memory");
        let needed = allowed.counts().filter(|(_, count)| *count > 0);
        let needed = needed.map(|(entry, count)| (entry.name.clone(), count)).collect();
        let totals = verdict.totals;
        let left_out = cast.gaps.iter().map(|(from, to, why)| match (*from, *to) {
            (from, f64::MAX) => format!("from {from} s on: {why}"),
            (from, to) => format!("{from} to {to} s: {why}"),
        });
        let replayed =
            Replayed { role: cast.role, left_out: left_out.collect(), compared: totals.compared, needed };
        let before = self.replayed.insert(name.to_owned(), replayed);
        assert!(before.is_none(), "{name} is replayed twice");
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
            names.filter(|name| !self.replayed.values().any(|one| one.needed.contains_key(*name))).collect();
        for entry in &self.allowed.entries {
            assert!(entry.clause.contains("RFC"), "{}: no clause", entry.name);
        }
        assert!(
            self.failures.is_empty(),
            "{} of {} recordings differ\n{}",
            self.failures.len(),
            self.replayed.len(),
            self.failures.join("\n")
        );
        assert!(unneeded.is_empty(), "allowed, but nothing differs so: {unneeded:?}");
        self.compare_counts();
    }

    /// What an entry allows is allowed as often as it is written, in each recording.
    fn compare_counts(&self) {
        let mut text = String::from(
            "# How often each entry of allowed.toml is needed in each recording: neither more nor less.\n\
             # UPDATE_REPLAY=1 cargo test --test replay writes this anew.\n",
        );
        let needed = self.replayed.iter().map(|(recording, one)| (recording, &one.needed));
        for (recording, entries) in needed.filter(|(_, entries)| !entries.is_empty()) {
            let _ = writeln!(text, "\n[\"{recording}\"]");
            for (name, count) in entries {
                let _ = writeln!(text, "\"{name}\" = {count}");
            }
        }
        as_committed(&file("counts.toml"), &text);
        as_committed(&root().join("docs/replay.md"), &table::document(&self.replayed, &self.allowed.entries));
    }
}

/// What is written is what comes out now; on demand it is written anew.
fn as_committed(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_REPLAY").is_some_and(|value| value == "1") {
        return fs::write(path, text).expect("written");
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    let first = committed.lines().zip(text.lines()).find(|(committed, now)| committed != now);
    assert!(committed == text, "{} is old, UPDATE_REPLAY=1 renews it; first: {first:?}", path.display());
}
