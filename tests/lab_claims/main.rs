//! The claims of the labs, on good captures and on captures that were tampered with: that a claim fails on those is what
//! shows that its verdict judges anything. Figure 10 and the advanced model are played for it, on real kernels.
//! Playing needs root, as the labs do; without it those tests say that they were skipped.

#![cfg(lab)]

mod advanced;
mod doctoring;
mod figure10;
mod section5;

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use mga_node::{
    lab::{Error, LabOptions, Outcome},
    pcap::report::Verdict,
};

/// The labs share two cores, and the names of their namespaces; they are played one after the other.
static ONE: Mutex<()> = Mutex::new(());

/// Plays a lab with the built binary. Every claim must hold, and no namespace may be left. Returns where the captures
/// are, or `None`, said aloud, without root.
fn played(name: &str, lab: impl FnOnce(&LabOptions) -> Result<Outcome, Error>) -> Option<PathBuf> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let options = LabOptions {
        out: out.clone(),
        keep: false,
        forwarding: "auto".to_owned(),
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_mga-node"))),
        quiet: false,
        hosts: None,
    };
    let outcome = lab(&options).unwrap();
    let failed = outcome.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
    assert_eq!(failed.map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    assert!(outcome.held());
    assert!(fs::metadata(out.join("report.html")).unwrap().len() > 0);
    let prefix = format!("mga5-{}", std::process::id());
    let left = fs::read_dir("/run/netns").into_iter().flatten().flatten().map(|entry| entry.file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().starts_with(&prefix)).count(), 0);
    Some(out)
}
