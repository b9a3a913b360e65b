//! Captures that are tampered with before a lab's claims judge them: a claim that holds all the same judges nothing.
//! Shared by the tests of the labs' claims.

use std::{net::Ipv6Addr, path::Path, time::Duration};

use mga_node::{
    pcap::{
        capture::{self, Frame},
        passage::Trace,
        report::{Finding, Verdict},
        view::View,
    },
    wire::{
        Packet, PacketBuffer,
        mobility::{Message, MobilityHeader},
    },
};

/// The frames of each node, by its name.
pub type Captures = Vec<(String, Vec<Frame>)>;

/// The captures that a lab left of a step, in the order of its nodes.
pub fn captures(directory: &Path, nodes: &[&str]) -> Captures {
    let read = |node: &&str| {
        let file = directory.join(format!("{}.pcap", node.to_lowercase()));
        ((*node).to_owned(), capture::read(&file).unwrap())
    };
    nodes.iter().map(read).collect()
}

/// What a section says of captures.
pub fn judge(
    section: impl Fn(&Trace) -> Vec<Finding>,
    captures: Captures,
    owners: &[(Ipv6Addr, &str)],
) -> Vec<Finding> {
    section(&Trace::new(captures, owners))
}

/// The names of the claims that did not hold.
pub fn failed(findings: &[Finding]) -> Vec<&str> {
    findings
        .iter()
        .filter(|finding| finding.verdict != Verdict::Pass)
        .map(|finding| finding.name.as_str())
        .collect()
}

/// What doctoring does with a packet.
pub enum Dose {
    Keep,
    Drop,
    Delay(Duration),
    Replace(Vec<u8>),
}

/// Gives every packet of every capture to `doctor`. The copies of a packet at several nodes are treated alike.
pub fn doctored(captures: &Captures, doctor: impl Fn(&View, &[u8]) -> Dose) -> Captures {
    let mut captures = captures.clone();
    let mut changed = 0;
    for (_, frames) in &mut captures {
        let mut kept = Vec::new();
        for mut frame in frames.drain(..) {
            match doctor(&View::parse(&frame.ipv6).unwrap(), &frame.ipv6) {
                Dose::Keep => {
                    kept.push(frame);
                    continue;
                }
                Dose::Drop => {}
                Dose::Delay(time) => {
                    frame.at += time;
                    kept.push(frame);
                }
                Dose::Replace(ipv6) => {
                    frame.ipv6 = ipv6;
                    kept.push(frame);
                }
            }
            changed += 1;
        }
        *frames = kept;
    }
    assert!(changed > 0, "the doctoring found its packet");
    captures
}

/// The packet with its mobility message changed and the checksum made right again.
pub fn with_message(packet: &[u8], change: impl Fn(&mut Message)) -> Dose {
    let parsed = Packet::parse(packet).unwrap();
    let mut header = MobilityHeader::parse(parsed.payload()).unwrap();
    change(&mut header.message);
    let mut bytes = packet[..parsed.upper.offset].to_vec();
    bytes.extend(header.emit_for(&parsed.final_source(), &parsed.final_destination()));
    let length = u16::try_from(bytes.len() - 40).unwrap();
    bytes[4..6].copy_from_slice(&length.to_be_bytes());
    Dose::Replace(bytes)
}

/// Drops the packet if so.
pub fn drop_if(condition: bool) -> Dose {
    if condition { Dose::Drop } else { Dose::Keep }
}

/// The packet rewritten.
pub fn rewritten(packet: &[u8], rewrite: impl Fn(&mut PacketBuffer)) -> Dose {
    let mut buffer = PacketBuffer::new(packet);
    rewrite(&mut buffer);
    Dose::Replace(buffer.as_slice().to_vec())
}

/// The claim must hold on the genuine captures and fail on the doctored ones.
pub fn fails_when(
    section: impl Fn(&Trace) -> Vec<Finding>,
    genuine: &Captures,
    owners: &[(Ipv6Addr, &str)],
    claim: &str,
    doctor: impl Fn(&View, &[u8]) -> Dose,
) {
    let held = judge(&section, genuine.clone(), owners);
    assert!(!failed(&held).contains(&claim), "{claim} holds on the genuine captures");
    let findings = judge(&section, doctored(genuine, doctor), owners);
    let finding = findings.iter().find(|finding| finding.name == claim).unwrap();
    assert_eq!(finding.verdict, Verdict::Fail, "{finding}");
    assert!(!finding.seen.is_empty());
}
