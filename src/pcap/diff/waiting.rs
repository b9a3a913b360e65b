//! The packets that wait for a partner, two queues a conversation, and when they are decided: equal heads at once, a full
//! window by alignment, and the longest queues early where too many octets wait.
//! Run by `compare`, which both readers feed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Receiver;

use super::alignment::{Step, align, differences, first_half};
use super::reading::Batch;
use super::{Conversation, Options, Outcome, Packet, Totals, Trouble};

/// The packets of a conversation that wait for a partner.
#[derive(Default)]
struct Waiting {
    expected: VecDeque<Packet>,
    actual: VecDeque<Packet>,
}

pub(super) struct Comparison<'a> {
    options: &'a Options,
    report: &'a mut dyn FnMut(&Conversation, Outcome),
    /// Only conversations with something in a queue.
    waiting: BTreeMap<Conversation, Waiting>,
    octets: usize,
    totals: Totals,
}

impl<'a> Comparison<'a> {
    /// Nothing is known yet.
    pub(super) fn new(options: &'a Options, report: &'a mut dyn FnMut(&Conversation, Outcome)) -> Self {
        Self { options, report, waiting: BTreeMap::new(), octets: 0, totals: Totals::default() }
    }

    pub(super) fn run(
        &mut self,
        expected: &Receiver<Batch>,
        actual: &Receiver<Batch>,
    ) -> Result<Totals, Trouble> {
        let (mut more_expected, mut more_actual) = (true, true);
        while more_expected || more_actual {
            if more_expected {
                match expected.recv() {
                    Err(_) => more_expected = false,
                    Ok(batch) => {
                        self.totals.expected += batch.read;
                        self.totals.compared += batch.packets.len() as u64;
                        self.add(batch.packets, |waiting| &mut waiting.expected);
                        batch.failed.map_or(Ok(()), |error| Err(Trouble::Expected(error)))?;
                    }
                }
            }
            if more_actual {
                match actual.recv() {
                    Err(_) => more_actual = false,
                    Ok(batch) => {
                        self.totals.actual += batch.read;
                        self.add(batch.packets, |waiting| &mut waiting.actual);
                        batch.failed.map_or(Ok(()), |error| Err(Trouble::Actual(error)))?;
                    }
                }
            }
            self.keep_within_memory();
        }
        // The rest in the order in which it was captured.
        let mut rest: Vec<(u64, Conversation)> = self
            .waiting
            .iter()
            .map(|(conversation, waiting)| {
                let first = waiting.expected.front().into_iter().chain(waiting.actual.front());
                (first.map(|packet| packet.number).min().unwrap_or(0), *conversation)
            })
            .collect();
        rest.sort_unstable();
        for (_, conversation) in rest {
            self.decide(conversation, true);
        }
        Ok(self.totals)
    }

    fn add(
        &mut self,
        packets: Vec<(Conversation, Packet)>,
        queue: impl Fn(&mut Waiting) -> &mut VecDeque<Packet>,
    ) {
        for (conversation, packet) in packets {
            self.octets += packet.size();
            let waiting = self.waiting.entry(conversation).or_default();
            queue(waiting).push_back(packet);
            let (expected, actual) = (waiting.expected.len(), waiting.actual.len());
            if expected > 0 && actual > 0 {
                let heads = waiting.expected.front().zip(waiting.actual.front());
                let settled = heads.is_some_and(|(expected, actual)| expected.hash == actual.hash);
                if settled || expected.min(actual) >= self.options.window.max(2) {
                    self.decide(conversation, false);
                }
            }
        }
    }

    fn keep_within_memory(&mut self) {
        if self.octets <= self.options.memory {
            return;
        }
        let mut longest: Vec<(usize, Conversation)> = self
            .waiting
            .iter()
            .map(|(conversation, waiting)| (waiting.expected.len() + waiting.actual.len(), *conversation))
            .collect();
        longest.sort_unstable_by(|one, other| other.cmp(one));
        for (packets, conversation) in longest {
            // Some room is made at once, for the list is long when the conversations are short.
            if self.octets <= self.options.memory / 4 * 3 {
                break;
            }
            self.totals.decided_early += packets as u64;
            self.decide(conversation, true);
        }
    }

    /// Takes equal heads off the queues, then whole windows; with `all` everything.
    fn decide(&mut self, conversation: Conversation, all: bool) {
        let Some(mut waiting) = self.waiting.remove(&conversation) else { return };
        loop {
            while let (Some(expected), Some(actual)) = (waiting.expected.front(), waiting.actual.front())
                && expected.hash == actual.hash
            {
                let pair = waiting.expected.pop_front().zip(waiting.actual.pop_front());
                if let Some((expected, actual)) = pair {
                    self.pair(&conversation, expected, actual);
                }
            }
            let window = self.options.window.max(2);
            let (expected, actual) = (waiting.expected.len(), waiting.actual.len());
            if expected + actual == 0 || (!all && expected.min(actual) < window) {
                break;
            }
            let fits = expected.max(actual) <= window;
            let (expected, actual) = (expected.min(window), actual.min(window));
            let steps = align(
                waiting.expected.range(..expected).collect(),
                waiting.actual.range(..actual).collect(),
                &self.options.maps,
            );
            // The alignment of the window's second half may look different once more is known.
            let keep = if all && fits { steps.len() } else { first_half(&steps, expected.max(actual) / 2) };
            for step in steps.into_iter().take(keep) {
                self.take(&conversation, &mut waiting, step);
            }
        }
        if !waiting.expected.is_empty() || !waiting.actual.is_empty() {
            self.waiting.insert(conversation, waiting);
        }
    }

    fn take(&mut self, conversation: &Conversation, waiting: &mut Waiting, step: Step) {
        match step {
            Step::Pair => {
                if let Some((expected, actual)) = waiting.expected.pop_front().zip(waiting.actual.pop_front())
                {
                    self.pair(conversation, expected, actual);
                }
            }
            Step::Missing => {
                if let Some(packet) = waiting.expected.pop_front() {
                    self.octets = self.octets.saturating_sub(packet.size());
                    self.totals.missing += 1;
                    (self.report)(conversation, Outcome::Missing(packet));
                }
            }
            Step::Extra => {
                if let Some(packet) = waiting.actual.pop_front() {
                    self.octets = self.octets.saturating_sub(packet.size());
                    self.totals.extra += 1;
                    (self.report)(conversation, Outcome::Extra(packet));
                }
            }
        }
    }

    fn pair(&mut self, conversation: &Conversation, expected: Packet, actual: Packet) {
        self.octets = self.octets.saturating_sub(expected.size() + actual.size());
        let fields = match expected.hash == actual.hash {
            true => Vec::new(),
            false => differences(&expected, &actual, &self.options.maps),
        };
        if fields.is_empty() {
            self.totals.same += 1;
            if self.options.report_same {
                (self.report)(conversation, Outcome::Same { expected, actual });
            }
        } else {
            self.totals.different += 1;
            (self.report)(conversation, Outcome::Different { expected, actual, fields });
        }
    }
}
