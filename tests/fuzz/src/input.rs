//! The form of an input for a role: an octet that picks the configuration, then steps of an operation, a waiting time
//! and some octets. Not a format of any RFC: it only has to survive a fuzzer's cutting and splicing.
//! Read by `stage`, written by `examples/seeds.rs`.

use std::time::Duration;

/// Steps looked at; what follows them is ignored.
const MAX_STEPS: usize = 64;

/// What to do with the octets of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A packet straight to the role.
    Packet,
    /// The same with right checksums.
    Summed,
    /// The same from a peer that takes part: cookies, tokens, sequence numbers, authenticator and checksums are right.
    Completed,
    /// A packet from the network through the forwarder.
    Inbound,
    /// A packet from the host through the forwarder.
    Outbound,
    /// Something that the data path noticed.
    Observation,
    /// Something that the operator wants.
    Command,
    /// [`Operation::Completed`], through the forwarder.
    CompletedInbound,
}

const OPERATIONS: [Operation; 8] = [
    Operation::Packet,
    Operation::Summed,
    Operation::Completed,
    Operation::Inbound,
    Operation::Outbound,
    Operation::Observation,
    Operation::Command,
    Operation::CompletedInbound,
];

/// One step of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// What to do.
    pub operation: Operation,
    /// What to let pass before.
    pub wait: Duration,
    /// With what.
    pub octets: &'a [u8],
}

/// The time that an octet stands for: fine for short times, up to eight minutes for long ones.
fn wait(octet: u8) -> Duration {
    let (short, long) = (u64::from(octet.min(128)), u64::from(octet.saturating_sub(128)));
    Duration::from_millis(short * short + 30 * long * long)
}

/// The steps in `octets`; the last may have fewer octets than it says.
pub fn steps(octets: &[u8]) -> impl Iterator<Item = Step<'_>> {
    let mut rest = octets;
    let next = move || {
        let (&[operation, time, high, low], after) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (octets, after) = after.split_at(length);
        rest = after;
        Some(Step { operation: OPERATIONS[usize::from(operation % 8)], wait: wait(time), octets })
    };
    std::iter::from_fn(next).take(MAX_STEPS)
}

/// Adds a step to `input`; its waiting time is made a little shorter if need be.
pub fn write(input: &mut Vec<u8>, step: &Step<'_>) {
    let operation = OPERATIONS.iter().position(|operation| *operation == step.operation).unwrap_or_default();
    let time = (0..=u8::MAX).rev().find(|octet| wait(*octet) <= step.wait).unwrap_or_default();
    let length = u16::try_from(step.octets.len()).unwrap_or(u16::MAX);
    input.extend([operation as u8, time]);
    input.extend(length.to_be_bytes());
    input.extend(&step.octets[..usize::from(length)]);
}
