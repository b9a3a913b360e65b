//! `docs/replay.md`: which recording is replayed at which of our roles, what of it is left out and what may differ,
//! and where every kind of stimulus of the recordings is met (RFC 3775 sections 5.2, 9, 10 and 11).
//! Made by the judge of the replays, which fails when the committed document is another one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use mga_node::pcap::allow::Entry;

use crate::judge::Replayed;

/// What is to be replayed, and recordings in which it is.
const SUBJECTS: [(&str, &[&str]); 17] = [
    (
        "registration",
        &[
            "kame/kame-registration/haa",
            "kame/kame-registration/ar1",
            "umip/umip-ha-registration/haa",
            "umip/umip-ha-registration/ar1",
        ],
    ),
    (
        "refresh",
        &[
            "kame/kame-registration/haa",
            "kame/kame-registration/ar1",
            "umip/umip-ha-registration/haa",
            "umip/umip-ha-registration/ar1",
            "umip/umip-section5.1/ar1",
            "umip/umip-section5.1/ar2",
        ],
    ),
    (
        "de-registration from abroad",
        &[
            "kame/kame-dereg-foreign/haa",
            "kame/kame-dereg-foreign/ar1",
            "umip/umip-ha-registration/haa",
            "umip/umip-ha-registration/ar1",
            "umip/umip-section5.1/ar1",
        ],
    ),
    (
        "movement",
        &[
            "kame/kame-registration/ar1",
            "kame/kame-cn/ar1",
            "umip/umip-ha-registration-dhaad-move/haa",
            "umip/umip-ha-registration-dhaad-move/ar1",
        ],
    ),
    (
        "return home, Neighbor Solicitations and Advertisements there, away again",
        &[
            "kame/kame-registration/haa",
            "kame/kame-registration/ar1",
            "kame/kame-cn/ar1",
            "kame/kame-cn/ai1",
            "umip/umip-ha-registration-dhaad-move/haa",
            "umip/umip-ha-registration-dhaad-move/ar1",
        ],
    ),
    (
        "thesis 5.1",
        &[
            "kame/kame-section5.1/haa",
            "kame/kame-section5.1/ar1",
            "kame/kame-section5.1/ar2",
            "umip/umip-section5.1/haa",
            "umip/umip-section5.1/ar1",
            "umip/umip-section5.1/ar2",
            "umip/umip-section5.1-seq200-100/haa",
            "umip/umip-section5.1-seq200-100/ar1",
            "umip/umip-section5.1-seq200-100/ar2",
        ],
    ),
    (
        "thesis 5.2",
        &[
            "kame/kame-section5.2/haa",
            "kame/kame-section5.2/ar1",
            "kame/kame-section5.2/ar2",
            "kame/kame-section5.2/ai1",
            "kame/kame-section5.2/ai2",
            "umip/umip-5.2/haa",
            "umip/umip-5.2/ar1",
            "umip/umip-5.2/ar2",
            "umip/umip-5.2/ai1",
            "umip/umip-5.2/ai2",
        ],
    ),
    (
        "thesis 5.3",
        &[
            "kame/kame-section5.3/haa",
            "kame/kame-section5.3/ar1",
            "kame/kame-section5.3/ar2",
            "kame/kame-section5.3/ai1",
            "kame/kame-section5.3/ai2",
            "umip/umip-5.3/haa",
            "umip/umip-5.3/ar1",
            "umip/umip-5.3/ar2",
            "umip/umip-5.3/ai1",
            "umip/umip-5.3/ai2",
            "umip/umip-5.3-both-optimized/haa",
            "umip/umip-5.3-both-optimized/ar1",
            "umip/umip-5.3-both-optimized/ar2",
            "umip/umip-5.3-both-optimized/ai1",
            "umip/umip-5.3-both-optimized/ai2",
        ],
    ),
    (
        "return routability",
        &[
            "kame/kame-cn/ar1",
            "kame/kame-cn/ai1",
            "kame/kame-section5.3/ar2",
            "umip/umip-5.3/ar2",
            "umip/umip-5.3/ai2",
            "umip/umip-cn-lifetime-brr/ar1",
        ],
    ),
    ("return routability with published tokens, Kbm and authenticators", &["kame/kame-rr-vectors/exchange"]),
    (
        "Binding Refresh Request",
        &[
            "kame/kame-cn/ar1",
            "kame/kame-cn/ai1",
            "umip/umip-cn-lifetime-brr/ai2",
            "kame/kame-mn-errors/19-brr-ha",
        ],
    ),
    (
        "Home Agent Address Discovery",
        &[
            "kame/kame-registration/haa",
            "kame/kame-registration/ar1",
            "umip/umip-ha-registration-dhaad-move/haa",
            "umip/umip-ha-registration-dhaad-move/ar1",
            "kame/kame-errors/69-had-dhaad",
        ],
    ),
    (
        "Mobile Prefix Solicitation and Advertisement",
        &[
            "kame/kame-registration/haa",
            "umip/umip-ha-registration/haa",
            "kame/kame-errors/70-had-mps-bound",
            "kame/kame-errors/71-had-mps-nohao",
        ],
    ),
    (
        "restart of the agent, of a correspondent, Binding Error",
        &[
            "kame/kame-dereg-foreign/haa",
            "umip/umip-restart-be/haa",
            "umip/umip-restart-be/ai2",
            "umip/umip-restart-be/ar1",
        ],
    ),
    ("stimuli to `had`", &["kame/kame-errors/01-had-accept", "kame/kame-errors/71-had-mps-nohao"]),
    ("stimuli to `cnd`", &["kame/kame-errors/73-cnd-hoti", "kame/kame-errors/111-cnd-both-nonce-expired"]),
    ("stimuli to `mnd`", &["kame/kame-mn-errors/01-noanswer", "kame/kame-mn-errors/23-rh2-foreign"]),
];

/// Captures that nothing of ours stands in for, by the end of their names, and why.
const NOT_REPLAYED: [(&str, &str); 9] = [
    ("/rt", "the router's view of what is replayed at the nodes"),
    ("umip/umip-ha-registration/haa-lo", "what the agent's host said to itself"),
    ("umip/umip-ha-registration/ai1", "a host that met no Mobile IPv6"),
    ("umip/umip-ha-registration-dhaad-move/ai1", "a host that met no Mobile IPv6"),
    ("umip/umip-ha-registration-dhaad-move/ar2", "a host that met no Mobile IPv6"),
    ("umip/umip-ipsec-esp-transport/ai1", "a host that met no Mobile IPv6"),
    ("umip/umip-ipsec-esp-transport/haa", "ESP, which our roles do not speak: docs/conformance.md, H022"),
    ("umip/umip-ipsec-esp-transport/ar1", "ESP, which our roles do not speak: docs/conformance.md, N018"),
    ("/ar1-home0", "the other interface of the mobile node in `ar1`, replayed with it"),
];

/// Kinds of stimuli whose captures were left out of the set (every fourth number), by their neighbours in it, and the
/// rows of docs/conformance.md whose tests have them.
const LEFT_OUT: [(&str, &[&str]); 17] = [
    ("`had`: an older number", &["H050", "H051", "H061"]),
    ("`had`: without home address option from abroad, another kind of registration", &["H016", "H018"]),
    ("`had`: de-registration of a binding", &["H015", "H074"]),
    ("`had`: alternate care-of address: another one, a loopback one", &["H011", "H012"]),
    ("`had`: a multicast home address", &["H009"]),
    ("`had`: flag K, the longest lifetime, options of other lengths", &["H031", "H036", "M022", "M025"]),
    ("`had`: Home Test and messages of an unknown type", &["M001", "M002"]),
    (
        "`had`: a home address option with no unicast address, a wrong checksum, a bound tunnel",
        &["C069", "M011", "H103", "H104"],
    ),
    (
        "`cnd`: Care-of Test Init with reserved bits, Home Test Init with home address option",
        &["M019", "C005"],
    ),
    ("`cnd`: with nonce indices and without authenticator", &["C022"]),
    ("`cnd`: accepted with and without flag A, an older number", &["C016", "C017", "C036", "C037"]),
    ("`cnd`: both nonces unknown", &["C027"]),
    ("`cnd`: data with a home address option of another care-of address", &["C068"]),
    ("`cnd`: a deletion by care-of address, a Parameter Problem about Care-of Test Init", &["C056", "M009"]),
    ("`mnd`: status 1", &["N039"]),
    ("`mnd`: an acknowledgement without routing header", &["N025"]),
    ("`mnd`: status 131 and 139, a refresh request from a correspondent", &["N035", "N036", "N077"]),
];

/// Every capture below `pcaps/`, as `kame/kame-cn/ar1`.
fn captures(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        if path.is_dir() {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            captures(&path, &format!("{prefix}{name}/"), found);
        } else if path.extension().is_some_and(|extension| extension == "pcap") {
            found.insert(format!("{prefix}{stem}"));
        }
    }
}

/// The document, for what was replayed.
///
/// # Panics
/// When a capture is neither replayed nor has a reason, or something named here is not there.
pub fn document(replayed: &BTreeMap<String, Replayed>, allowed: &[Entry]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = BTreeSet::new();
    captures(&root.join("pcaps"), "", &mut all);
    let reason = |name: &str| NOT_REPLAYED.iter().find(|(end, _)| name.ends_with(end)).map(|(_, why)| *why);
    for name in &all {
        assert!(replayed.contains_key(name) != reason(name).is_some(), "{name}: replayed, or why not");
    }
    for (end, _) in NOT_REPLAYED {
        assert!(all.iter().any(|name| name.ends_with(end)), "{end}: no such capture");
    }
    let mut text = format!(
        "# Replay of the recordings\n\n\
         Made by `cargo test --test replay`, which fails when it is another one; `UPDATE_REPLAY=1` writes it anew.\n\n\
         What came in to a recorded node of KAME or UMIP goes in to ours of that kind at its recorded time, and what ours \
         sends is compared as protocol (docs/pcap-diff.md) with what the recorded node sent: {} captures, {} packets. \
         Only cookies, tokens' seals and numbers are changed on the way, so that what answered the recorded node answers \
         ours; where ours asks a correspondent oftener, it is answered as the recorded node was before \
         (`tests/replay/adapt.rs`). The operator's orders, such as moves and returns home, are given when the recorded node \
         obeyed them. \
         Every difference is an entry of `tests/replay/allowed.toml` with the clause that demands or permits it, and \
         `tests/replay/counts.toml` says how often each is needed.\n\n\
         | what | where |\n|---|---|\n",
        replayed.len(),
        replayed.values().map(|one| one.compared).sum::<u64>(),
    );
    for (subject, recordings) in SUBJECTS {
        for name in recordings {
            assert!(replayed.contains_key(*name), "{subject}: {name} is not replayed");
        }
        let _ = writeln!(text, "| {subject} | {} |", recordings.join("<br>"));
    }
    let table = fs::read_to_string(root.join("docs/conformance.md")).expect("the conformance table");
    text += "\nEvery fourth number of the stimuli is not in the set; their kinds are met by the tests of these rows of \
             docs/conformance.md:\n\n| kind | rows |\n|---|---|\n";
    for (kind, rows) in LEFT_OUT {
        for row in rows {
            let line = table.lines().find(|line| line.starts_with(&format!("| {row} |"))).expect("a row");
            assert!(line.contains("| tested |"), "{kind}: {row} has no test");
        }
        let _ = writeln!(text, "| {kind} | {} |", rows.join(", "));
    }
    text +=
        "\n| capture | role of ours | packets | left out | differences allowed |\n|---|---|--:|---|---|\n";
    for name in &all {
        let _ = match replayed.get(name) {
            Some(one) => {
                let needed = one.needed.iter().map(|(entry, count)| format!("{entry} ({count})"));
                let needed: Vec<_> = needed.collect();
                let left_out = one.left_out.join("; ");
                writeln!(
                    text,
                    "| {name} | {} | {} | {left_out} | {} |",
                    one.role,
                    one.compared,
                    needed.join("<br>")
                )
            }
            None => writeln!(text, "| {name} | | | {} | |", reason(name).unwrap_or_default()),
        };
    }
    text += "\n| difference allowed | clause | why |\n|---|---|---|\n";
    for entry in allowed {
        let _ = writeln!(text, "| {} | {} | {} |", entry.name, entry.clause, entry.reason);
    }
    text
}
