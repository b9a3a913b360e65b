//! The claims of `mga-node lab section5`, tried on the captures of the real KAME daemons of the thesis's own snapshot.
//! They must hold there (with the exceptions named), and must fail on the wrong captures and on doctored ones: that is
//! what shows that a verdict judges anything.
//! Run by `cargo test --test lab_claims`.

#![cfg(feature = "capture")]

use std::path::Path;

use mga_node::{
    lab::{
        claims,
        topology::{self, Node},
    },
    pcap::{
        capture::{self, Frame},
        passage::Trace,
        report::{Finding, Verdict},
    },
    wire::{
        Packet, PacketBuffer,
        icmpv6::{Icmpv6, Icmpv6Message},
        mobility::{Message, MobilityHeader, MobilityOption, Status},
    },
};

type Captures = Vec<(String, Vec<Frame>)>;
type Section = fn(&Trace) -> Vec<Finding>;

fn kame(section: &str) -> Captures {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps/kame").join(section);
    Node::ALL
        .iter()
        .map(|node| {
            let file = directory.join(format!("{}.pcap", node.file_name()));
            let frames = if file.exists() { capture::read(&file).unwrap() } else { Vec::new() };
            (node.name().to_owned(), frames)
        })
        .collect()
}

fn judge(section: Section, captures: Captures) -> Vec<Finding> {
    section(&Trace::new(captures, &topology::owners()))
}

/// The names of the claims that did not hold.
fn failed(findings: &[Finding]) -> Vec<&str> {
    findings
        .iter()
        .filter(|finding| finding.verdict != Verdict::Pass)
        .map(|finding| finding.name.as_str())
        .collect()
}

#[test]
fn kame_5_1() {
    let findings = judge(claims::section5_1, kame("kame-section5.1"));
    for finding in &findings {
        println!("{finding}");
    }
    // Nobody sent a packet to A_Any in that recording.
    assert_eq!(failed(&findings), ["bound-to-ar2"]);
    assert_eq!(findings.len(), 8);
}

#[test]
fn kame_5_2() {
    let findings = judge(claims::section5_2, kame("kame-section5.2"));
    for finding in &findings {
        println!("{finding}");
    }
    // AR1 did not register again in that recording.
    assert_eq!(failed(&findings), ["rebinding-again"]);
}

#[test]
fn kame_5_3() {
    let findings = judge(claims::section5_3, kame("kame-section5.3"));
    for finding in &findings {
        println!("{finding}");
    }
    // In that recording AI1 opened no TCP connection, and AI2's was closed before AR2 took the binding back.
    assert_eq!(failed(&findings), ["telnet-survives-ai1", "telnet-survives-ai2"]);
}
