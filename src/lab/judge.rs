//! How a claim about captures becomes a finding: what was seen, whether it holds, and the packets that are the evidence.
//! Nothing here knows what is claimed of thesis sections 4 and 5; the claims of every lab are put through it.
//! Called by `lab::claims` and by those of Figure 10 and of the advanced model.

use std::time::Duration;

use crate::{
    pcap::{
        passage::{Passage, Trace},
        report::{Evidence, Finding, Verdict},
        view::{Content, View},
    },
    wire::dissect,
};

/// What was seen, and the packets it was seen in.
#[derive(Debug)]
pub struct Seen<'a> {
    /// In one sentence.
    pub words: String,
    /// The evidence.
    pub packets: Vec<&'a Passage>,
}

impl<'a> Seen<'a> {
    /// Seen in these packets.
    pub fn new(words: impl Into<String>, packets: impl IntoIterator<Item = &'a Passage>) -> Self {
        Seen { words: words.into(), packets: packets.into_iter().collect() }
    }

    /// Seen in no packet.
    pub fn nothing(words: impl Into<String>) -> Self {
        Seen { words: words.into(), packets: Vec::new() }
    }
}

/// `Ok` when the claim holds.
pub type Judgement<'a> = Result<Seen<'a>, Seen<'a>>;

/// Judges the captures of one step.
#[derive(Debug)]
pub struct Judge<'a> {
    step: String,
    trace: &'a Trace,
    findings: Vec<Finding>,
}

impl<'a> Judge<'a> {
    /// Nothing has been claimed yet.
    pub fn new(step: &str, trace: &'a Trace) -> Self {
        Judge { step: step.to_owned(), trace, findings: Vec::new() }
    }

    /// Adds a claim, which is named within the step by `name` and said in one sentence by `claim`.
    pub fn claim(&mut self, name: &str, claim: &str, judgement: Judgement<'a>) {
        let (verdict, seen) = match judgement {
            Ok(seen) => (Verdict::Pass, seen),
            Err(seen) => (Verdict::Fail, seen),
        };
        self.findings.push(Finding {
            step: self.step.clone(),
            name: name.to_owned(),
            claim: claim.to_owned(),
            verdict,
            seen: seen.words,
            evidence: seen.packets.into_iter().map(|passage| evidence(self.trace, passage)).collect(),
        });
    }

    /// Everything claimed, and last that what was captured is in order.
    pub fn findings(mut self) -> Vec<Finding> {
        self.claim(
            "well-formed",
            "no captured packet is malformed, and every Mobility Header and ICMPv6 checksum is right",
            well_formed(self.trace),
        );
        self.findings
    }
}

/// A packet as evidence: from the agent's capture when it is in it, otherwise from the first that has it.
fn evidence(trace: &Trace, passage: &Passage) -> Evidence {
    let agent = trace.node("HAA");
    let sighting =
        passage.sightings.iter().find(|sighting| Some(sighting.node) == agent).or(passage.sightings.first());
    let node = sighting.and_then(|sighting| trace.nodes.get(sighting.node)).cloned().unwrap_or_default();
    let at = sighting.map_or(Duration::ZERO, |sighting| sighting.at).saturating_sub(trace.start());
    Evidence { node, at, line: dissect::line(&passage.packet) }
}

/// Every judgement must hold; the first that does not is the answer.
pub fn all<'a>(judgements: impl IntoIterator<Item = Judgement<'a>>) -> Judgement<'a> {
    let (mut words, mut packets) = (Vec::new(), Vec::new());
    for judgement in judgements {
        let seen = judgement?;
        words.push(seen.words);
        packets.extend(seen.packets);
    }
    Ok(Seen { words: words.join("; "), packets })
}

/// A time as findings say it.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn well_formed(trace: &Trace) -> Judgement<'_> {
    let mut checksums = 0;
    for passage in &trace.passages {
        let wrong = match &passage.view {
            Err(error) => Some(error.to_string()),
            Ok(View { content: Content::Malformed(protocol, error), .. }) => {
                Some(format!("protocol {protocol}: {error}"))
            }
            Ok(View { content: Content::Mobility(_, false) | Content::Icmpv6(_, false), .. }) => {
                Some("wrong checksum".to_owned())
            }
            Ok(View { content: Content::Mobility(_, true) | Content::Icmpv6(_, true), .. }) => {
                checksums += 1;
                None
            }
            Ok(_) => None,
        };
        if let Some(wrong) = wrong {
            return Err(Seen::new(wrong, [passage]));
        }
    }
    match trace.passages.len() {
        0 => Err(Seen::nothing("nothing was captured")),
        count => Ok(Seen::nothing(format!("{count} packets, {checksums} checksums"))),
    }
}
