//! The whole of `mga-node lab section5` with the built binary: every claim must hold, and nothing must be left behind.
//! Needs root, as the lab does; without it the test says that it was skipped.
//! Run by `cargo test --test lab_section5 -- --nocapture` to watch it.

#![cfg(feature = "capture")]

use std::{fs, path::PathBuf};

use mga_node::{
    lab::{self, Section5Options},
    pcap::report::Verdict,
};

#[test]
fn every_claim_of_section_5_holds() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("section5");
    let outcome = lab::section5(&Section5Options {
        out: out.clone(),
        keep: false,
        forwarding: "auto".to_owned(),
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_mga-node"))),
        quiet: false,
    })
    .unwrap();
    let failed: Vec<String> = outcome
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fail)
        .map(ToString::to_string)
        .collect();
    assert_eq!(failed, [""; 0]);
    assert!(outcome.held());
    assert!(outcome.seconds < 60.0, "{} s", outcome.seconds);
    for file in
        ["report.html", "outcome.json", "5.1/haa.pcap", "5.2/ladder.txt", "5.3/ladder.svg", "logs/ar1.log"]
    {
        assert!(fs::metadata(out.join(file)).unwrap().len() > 0, "{file}");
    }
    let left =
        fs::read_dir("/run/netns").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let own = format!("mga5-{}", std::process::id());
    assert_eq!(left.filter(|name| name.starts_with(&own)).count(), 0);
}
