//! The privileges that the service file grants are enough: all roles run section 5 of the thesis with the unit's bounding
//! set of capabilities and no others, and every claim holds. Needs root; without it the test says that it was skipped.
//! Run by `cargo test --test services`.
#![cfg(lab)]

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use mga_node::lab::{self, LabOptions};

/// The unit's own words.
fn unit(key: &str) -> Vec<String> {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/services/mga-node@.service")).unwrap();
    let values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.flat_map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_role_runs_with_the_capabilities_of_the_unit() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let capabilities = unit("CapabilityBoundingSet");
    assert_eq!(capabilities, ["CAP_NET_ADMIN", "CAP_NET_RAW"], "what is granted is what is tried here");
    let granted: String = capabilities
        .iter()
        .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("services");
    fs::create_dir_all(&directory).unwrap();
    let program = directory.join("mga-node");
    // As systemd does it for root: the bounding set is all the program can have.
    let text = format!(
        "#!/bin/sh\nexec setpriv --bounding-set=-all{granted} --inh-caps=-all --no-new-privs {} \"$@\"\n",
        env!("CARGO_BIN_EXE_mga-node")
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let options = LabOptions {
        out: directory.join("section5"),
        keep: false,
        forwarding: "user".to_owned(),
        program: Some(program),
        quiet: true,
        hosts: None,
    };
    let outcome = lab::section5(&options).unwrap();
    let failed: Vec<String> = outcome
        .findings
        .iter()
        .filter(|finding| finding.verdict == mga_node::pcap::report::Verdict::Fail)
        .map(ToString::to_string)
        .collect();
    assert_eq!(failed, [""; 0]);
    assert!(outcome.held());
}
