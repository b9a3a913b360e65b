//! Compares two captures as protocols: aligns their packets per conversation and compares them field by field.
//! A conversation is a pair of final addresses (RFC 3775 sections 6.3 and 6.4) and a kind of traffic; between
//! conversations the order does not matter. Called by `mga-node pcap-diff` and by the replay of reference captures.
//!
//! Memory is bounded. Each capture is read once, by a thread of its own, a few batches ahead. Per conversation the
//! packets that wait for a partner stand in two queues; equal heads leave at once. When both queues hold
//! [`Options::window`] packets, the window is aligned and its first half decided. All queues together hold at most
//! [`Options::memory`] octets of packets; beyond that the conversations with the longest queues are decided as far
//! as they are known, and [`Totals::decided_early`] counts it.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv6Addr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::capture::{Error, Frame};
use super::decode::is_related;
use super::normalise::{AddressMap, Canon, FIRST_EPHEMERAL_PORT, Normaliser, Strict};
use super::tree::{Kind, Role, Tree, Value};
use crate::wire::dissect;
use crate::wire::icmpv6::kind;

/// Packets that a reader hands over at once, and how many such batches it may be ahead.
const BATCH: usize = 256;
const BATCHES_AHEAD: usize = 8;
/// A gap between aligned packets is paired by likeness up to this many pairs, and in order beyond.
const LIKENESS_PAIRS: usize = 4096;
/// What a queued packet takes beside its octets, about.
const QUEUED: usize = 160;

/// How two captures are compared.
#[derive(Debug, Clone)]
pub struct Options {
    /// Normalisations that are not applied.
    pub strict: Strict,
    /// Addresses of the expected capture and what they are in the actual one.
    pub maps: Vec<AddressMap>,
    /// Compare what has nothing to do with Mobile IPv6 too.
    pub all: bool,
    /// Leave repetitions out: a message like the one before it in its conversation that was not answered in between.
    pub tolerate_retransmissions: bool,
    /// Packets per conversation that are aligned at once.
    pub window: usize,
    /// Octets of packets that may wait for a partner, both captures together.
    pub memory: usize,
    /// Report packets that are equal too, not only count them.
    pub report_same: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            strict: Strict::default(),
            maps: Vec::new(),
            all: false,
            tolerate_retransmissions: false,
            window: 512,
            memory: 128 << 20,
            report_same: false,
        }
    }
}

/// A kind of traffic between two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Traffic {
    /// Mobility Headers.
    Mobility,
    /// Home agent discovery and mobile prefixes (RFC 3775 sections 6.5 to 6.8).
    Discovery,
    /// ICMPv6 errors.
    Errors,
    /// Neighbour discovery.
    Neighbours,
    /// Echo.
    Echo,
    /// TCP to this port, 0 when both are ephemeral.
    Tcp(u16),
    /// UDP likewise.
    Udp(u16),
    /// Anything else, by kind.
    Other(Kind),
}

impl Traffic {
    fn of(kind: Kind) -> Traffic {
        let service = |port| if port < FIRST_EPHEMERAL_PORT { port } else { 0 };
        match kind {
            Kind::Mobility(_) => Traffic::Mobility,
            Kind::Icmpv6(144..=147) => Traffic::Discovery,
            Kind::Icmpv6(0..=127) => Traffic::Errors,
            Kind::Icmpv6(133..=137) => Traffic::Neighbours,
            Kind::Icmpv6(128 | 129) => Traffic::Echo,
            Kind::Tcp(port) => Traffic::Tcp(service(port)),
            Kind::Udp(port) => Traffic::Udp(service(port)),
            kind => Traffic::Other(kind),
        }
    }
}

/// Who speaks with whom about what; the lower address first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conversation {
    /// The lower of the final addresses.
    pub one: Ipv6Addr,
    /// The higher.
    pub other: Ipv6Addr,
    /// What about.
    pub traffic: Traffic,
}

/// A packet of one of the captures.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Position among the IPv6 packets of its capture, from 1.
    pub number: u64,
    /// Time since the first IPv6 packet of its capture.
    pub at: Duration,
    frame: Frame,
    origin: Duration,
    kind: Kind,
    tunnels: u8,
    forward: bool,
    hash: u64,
    canons: Vec<(u16, Canon)>,
}

impl Packet {
    /// The packet as one line.
    pub fn line(&self) -> String {
        dissect::line(&self.frame.ipv6)
    }

    /// The whole IPv6 packet.
    pub fn octets(&self) -> &[u8] {
        &self.frame.ipv6
    }

    /// The name of the message, with a `tunnel[` for each header around it.
    pub fn message(&self) -> String {
        let (open, close) = ("tunnel[".repeat(self.tunnels.into()), "]".repeat(self.tunnels.into()));
        format!("{open}{}{close}", self.kind)
    }

    /// The packet taken apart.
    pub fn tree(&self) -> Tree {
        Tree::of_frame(&self.frame, self.origin)
    }

    /// Messages of one type and direction: only such are told to differ; others are missing and extra.
    fn alike(&self, other: &Packet) -> bool {
        (self.kind, self.tunnels, self.forward) == (other.kind, other.tunnels, other.forward)
    }

    fn size(&self) -> usize {
        self.frame.ipv6.len() + QUEUED
    }

    /// The fields by path, as they are compared and as they are told.
    fn compared(&self, maps: &[AddressMap]) -> Vec<(String, Value, Option<Canon>, String)> {
        let mut tree = self.tree();
        AddressMap::apply_to(maps, &mut tree);
        let mut canons = self.canons.iter().peekable();
        let mut list = Vec::with_capacity(tree.fields.len());
        for (index, field) in tree.fields.iter().enumerate() {
            let canon = canons.next_if(|(at, _)| usize::from(*at) == index).map(|(_, canon)| *canon);
            let told = match canon {
                None | Some(Canon::Any) => field.to_string(),
                Some(canon) => format!("{field} [{canon}]"),
            };
            list.push((tree.path(index), comparable(&field.value), canon, told));
        }
        list
    }
}

/// The value with what the comparison must not see taken out.
fn comparable(value: &Value) -> Value {
    match value {
        // Whether a checksum is right follows from the rest; strictly only its octets count.
        Value::Checksum(sum, _) => Value::Number((*sum).into()),
        value => value.clone(),
    }
}

/// A field in which two packets differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field's name with those of the groups around it, see [`Tree::path`].
    pub field: String,
    /// Its value in the expected capture, with what it refers to in brackets; `None` when it is not there.
    pub expected: Option<String>,
    /// Its value in the actual capture.
    pub actual: Option<String>,
}

/// What became of a packet or a pair of packets.
#[derive(Debug)]
pub enum Outcome {
    /// Equal; only with [`Options::report_same`].
    Same {
        /// Of the expected capture.
        expected: Packet,
        /// Of the actual capture.
        actual: Packet,
    },
    /// The same message with other fields.
    Different {
        /// Of the expected capture.
        expected: Packet,
        /// Of the actual capture.
        actual: Packet,
        /// In which fields, in wire order.
        fields: Vec<Difference>,
    },
    /// Only in the expected capture.
    Missing(Packet),
    /// Only in the actual capture.
    Extra(Packet),
}

/// How much was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// IPv6 packets of the expected capture.
    pub expected: u64,
    /// IPv6 packets of the actual capture.
    pub actual: u64,
    /// Packets of the expected capture that were compared; the rest have nothing to do with Mobile IPv6 or repeat.
    pub compared: u64,
    /// Pairs without difference.
    pub same: u64,
    /// Pairs with differences.
    pub different: u64,
    /// Packets only in the expected capture.
    pub missing: u64,
    /// Packets only in the actual capture.
    pub extra: u64,
    /// Packets decided before all of their conversation was known, because too many waited.
    pub decided_early: u64,
}

impl Totals {
    /// True when nothing was missing, extra or different.
    pub fn is_same(&self) -> bool {
        self.different + self.missing + self.extra == 0
    }
}

/// Which capture could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The expected one.
    #[error("expected capture: {0}")]
    Expected(#[source] Error),
    /// The actual one.
    #[error("actual capture: {0}")]
    Actual(#[source] Error),
}

/// Compares two captures. `report` is told every outcome as soon as it is decided: conversation by conversation in
/// order, all of them interleaved.
///
/// # Errors
/// [`Trouble`] when a capture breaks off; what was decided until then has been reported.
pub fn compare<E, A>(
    expected: E,
    actual: A,
    options: &Options,
    report: &mut dyn FnMut(&Conversation, Outcome),
) -> Result<Totals, Trouble>
where
    E: Iterator<Item = Result<Frame, Error>> + Send,
    A: Iterator<Item = Result<Frame, Error>> + Send,
{
    std::thread::scope(|scope| {
        let (to_expected, from_expected) = sync_channel(BATCHES_AHEAD);
        let (to_actual, from_actual) = sync_channel(BATCHES_AHEAD);
        // Only the expected side is mapped, onto the actual one's addresses.
        scope.spawn(move || read(expected, options, &options.maps, &to_expected));
        scope.spawn(move || read(actual, options, &[], &to_actual));
        let mut comparison =
            Comparison { options, report, waiting: BTreeMap::new(), octets: 0, totals: Totals::default() };
        comparison.run(&from_expected, &from_actual)
    })
}

/// What a reader hands over.
struct Batch {
    packets: Vec<(Conversation, Packet)>,
    /// IPv6 packets read for it.
    read: u64,
    failed: Option<Error>,
}

fn read(
    frames: impl Iterator<Item = Result<Frame, Error>>,
    options: &Options,
    maps: &[AddressMap],
    to: &SyncSender<Batch>,
) {
    let mut side = Side {
        options,
        maps,
        normaliser: Normaliser::new(options.strict),
        origin: None,
        number: 0,
        said: BTreeMap::new(),
    };
    let mut batch = Batch { packets: Vec::with_capacity(BATCH), read: 0, failed: None };
    for frame in frames {
        match frame {
            Ok(frame) => {
                batch.read += 1;
                batch.packets.extend(side.take(frame));
            }
            Err(error) => batch.failed = Some(error),
        }
        // A capture without anything to compare must not keep the other one waiting for ever.
        if batch.packets.len() >= BATCH || batch.read >= 16 * BATCH as u64 || batch.failed.is_some() {
            let next = Batch { packets: Vec::with_capacity(BATCH), read: 0, failed: None };
            let full = std::mem::replace(&mut batch, next);
            let last = full.failed.is_some();
            // The comparison stops listening when the other capture is broken.
            if to.send(full).is_err() || last {
                return;
            }
        }
    }
    // When nobody listens any more, nobody misses the rest.
    let _ = to.send(batch);
}

/// One capture on its way in.
struct Side<'a> {
    options: &'a Options,
    maps: &'a [AddressMap],
    normaliser: Normaliser,
    origin: Option<Duration>,
    number: u64,
    /// What each conversation said last in each direction since the other answered, by message type.
    said: BTreeMap<Conversation, Vec<(bool, Kind, u8, u64)>>,
}

impl Side<'_> {
    fn take(&mut self, mut frame: Frame) -> Option<(Conversation, Packet)> {
        self.number += 1;
        let origin = *self.origin.get_or_insert(frame.at);
        if !self.options.all && is_plainly_unrelated(&frame.ipv6) {
            return None;
        }
        cut_link_padding(&mut frame);
        let mut tree = Tree::of_frame(&frame, origin);
        let summary = &tree.summary;
        if !self.options.all && !is_related(summary) {
            let target = summary.neighbor?;
            // The agent's claim to a home address (RFC 3775 sections 10.3.1 and 10.4.1): its probes, and what it
            // tells everybody; other neighbour discovery depends on the state of caches.
            let defends = match summary.kind {
                Kind::Icmpv6(kind::NEIGHBOR_SOLICITATION) => summary.source.is_unspecified(),
                _ => summary.destination.is_multicast(),
            };
            if !defends || !self.normaliser.is_home_address(target) {
                return None;
            }
        }
        let canons = self.normaliser.normalise(&tree, &frame.ipv6);
        let repeated = self.options.tolerate_retransmissions.then(|| hash(&tree, &canons, true));
        AddressMap::apply_to(self.maps, &mut tree);
        let hash = hash(&tree, &canons, false);
        let summary = tree.summary;
        let (from, to) = (summary.final_source, summary.final_destination);
        let forward = from <= to;
        let traffic = Traffic::of(summary.kind);
        let conversation = Conversation { one: from.min(to), other: from.max(to), traffic };
        if let Some(repeated) = repeated
            && self.is_repetition(conversation, (forward, summary.kind, summary.tunnels, repeated))
        {
            self.normaliser.forget_repetition(&tree);
            return None;
        }
        let at = frame.at.saturating_sub(origin);
        let (kind, tunnels) = (summary.kind, summary.tunnels);
        let number = self.number;
        Some((conversation, Packet { number, at, frame, origin, kind, tunnels, forward, hash, canons }))
    }

    fn is_repetition(&mut self, conversation: Conversation, message: (bool, Kind, u8, u64)) -> bool {
        if self.said.len() >= 1 << 15 {
            self.said.pop_first();
        }
        let said = self.said.entry(conversation).or_default();
        // An answer ends what the other side repeated.
        said.retain(|(forward, ..)| *forward == message.0);
        if said.contains(&message) {
            return true;
        }
        said.retain(|(_, kind, tunnels, _)| (*kind, *tunnels) != (message.1, message.2));
        said.push(message);
        false
    }
}

/// What needs no tree to be left out: TCP, UDP, echo and listener discovery straight after the IPv6 header.
fn is_plainly_unrelated(ipv6: &[u8]) -> bool {
    matches!((ipv6.get(6), ipv6.get(40)), (Some(6 | 17), _) | (Some(58), Some(128..=132 | 143)))
}

/// Short packets are padded on Ethernet; the padding is the link's.
fn cut_link_padding(frame: &mut Frame) {
    if let Some(&[high, low]) = frame.ipv6.get(4..6) {
        frame.ipv6.truncate(40 + usize::from(u16::from_be_bytes([high, low])));
    }
}

fn hash(tree: &Tree, canons: &[(u16, Canon)], but_for_numbers: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut canons = canons.iter().peekable();
    for (index, field) in (0u16..).zip(&tree.fields) {
        let canon = canons.next_if(|(at, _)| *at == index);
        let counts = matches!(field.role, Role::UpdateSequence | Role::NewCookie | Role::Time);
        hasher.write_u8(field.depth);
        hasher.write(field.name.as_bytes());
        if but_for_numbers && counts {
            continue;
        }
        match (canon, &field.value) {
            (Some((_, canon)), _) => canon.hash(&mut hasher),
            (None, Value::Checksum(sum, _)) => hasher.write_u16(*sum),
            (None, value) => value.hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// The packets of a conversation that wait for a partner.
#[derive(Default)]
struct Waiting {
    expected: VecDeque<Packet>,
    actual: VecDeque<Packet>,
}

struct Comparison<'a> {
    options: &'a Options,
    report: &'a mut dyn FnMut(&Conversation, Outcome),
    /// Only conversations with something in a queue.
    waiting: BTreeMap<Conversation, Waiting>,
    octets: usize,
    totals: Totals,
}

impl Comparison<'_> {
    fn run(&mut self, expected: &Receiver<Batch>, actual: &Receiver<Batch>) -> Result<Totals, Trouble> {
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

/// In which fields two packets differ, in wire order.
fn differences(expected: &Packet, actual: &Packet, maps: &[AddressMap]) -> Vec<Difference> {
    let expected = expected.compared(maps);
    let mut actual: Vec<Option<_>> = actual.compared(&[]).into_iter().map(Some).collect();
    let places: BTreeMap<String, usize> =
        actual.iter().flatten().enumerate().map(|(at, (path, ..))| (path.clone(), at)).collect();
    let mut list: Vec<Difference> = Vec::new();
    for (path, value, canon, told) in expected {
        let there = places.get(&path).and_then(|at| actual.get_mut(*at)).and_then(Option::take);
        match there {
            Some((_, other, other_canon, _))
                if canon == other_canon && (canon.is_some() || other == value) => {}
            Some((.., other_told)) => {
                list.push(Difference { field: path, expected: Some(told), actual: Some(other_told) });
            }
            None => list.push(Difference { field: path, expected: Some(told), actual: None }),
        }
    }
    for (path, _, _, told) in actual.into_iter().flatten() {
        list.push(Difference { field: path, expected: None, actual: Some(told) });
    }
    // A group that one side lacks says it all; its fields need not be told too.
    let groups: Vec<String> = list
        .iter()
        .filter(|difference| difference.expected.is_none() || difference.actual.is_none())
        .map(|difference| format!("{}.", difference.field))
        .collect();
    list.retain(|difference| !groups.iter().any(|group| difference.field.starts_with(group.as_str())));
    list
}

/// How a window is taken apart, from the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Pair,
    Missing,
    Extra,
}

/// The number of steps that use up `half` packets of either side, at least one.
fn first_half(steps: &[Step], half: usize) -> usize {
    let (mut expected, mut actual) = (0, 0);
    let enough = steps.iter().position(|step| {
        expected += usize::from(*step != Step::Extra);
        actual += usize::from(*step != Step::Missing);
        expected.max(actual) >= half.max(1)
    });
    enough.map_or(steps.len(), |at| at + 1)
}

/// Aligns two sequences: most equal packets in order (longest common subsequence), and in the gaps between them
/// the most alike of the same message type.
fn align(expected: Vec<&Packet>, actual: Vec<&Packet>, maps: &[AddressMap]) -> Vec<Step> {
    let (rows, columns) = (expected.len(), actual.len());
    let width = columns + 1;
    // Length of the longest common subsequence of what follows.
    let mut common = vec![0u32; (rows + 1) * width];
    let at = |row: usize, column: usize| row * width + column;
    let value = |table: &[u32], place: usize| table.get(place).copied().unwrap_or(0);
    for (row, e) in expected.iter().enumerate().rev() {
        for (column, a) in actual.iter().enumerate().rev() {
            let longest = if e.hash == a.hash {
                value(&common, at(row + 1, column + 1)) + 1
            } else {
                value(&common, at(row + 1, column)).max(value(&common, at(row, column + 1)))
            };
            if let Some(cell) = common.get_mut(at(row, column)) {
                *cell = longest;
            }
        }
    }
    let (mut row, mut column) = (0, 0);
    let (mut gap_row, mut gap_column) = (0, 0);
    let mut steps = Vec::with_capacity(rows + columns);
    let gap = |from: (usize, usize), to: (usize, usize), steps: &mut Vec<Step>| {
        let expected = expected.get(from.0..to.0).unwrap_or_default();
        let actual = actual.get(from.1..to.1).unwrap_or_default();
        fill_gap(expected, actual, maps, steps);
    };
    while let (Some(e), Some(a)) = (expected.get(row), actual.get(column)) {
        if e.hash == a.hash {
            gap((gap_row, gap_column), (row, column), &mut steps);
            steps.push(Step::Pair);
            (row, column) = (row + 1, column + 1);
            (gap_row, gap_column) = (row, column);
        } else if value(&common, at(row + 1, column)) >= value(&common, at(row, column + 1)) {
            row += 1;
        } else {
            column += 1;
        }
    }
    gap((gap_row, gap_column), (rows, columns), &mut steps);
    steps
}

/// Pairs packets between two that are equal: a pair of one message type costs by the fields that differ, and always
/// less than one missing and one extra.
fn fill_gap(expected: &[&Packet], actual: &[&Packet], maps: &[AddressMap], steps: &mut Vec<Step>) {
    const ALONE: usize = 100;
    let (rows, columns) = (expected.len(), actual.len());
    let width = columns + 1;
    let by_likeness = rows * columns <= LIKENESS_PAIRS;
    let paths: [Vec<_>; 2] = match by_likeness {
        true => [
            expected.iter().map(|packet| packet.compared(maps)).collect(),
            actual.iter().map(|packet| packet.compared(&[])).collect(),
        ],
        false => [Vec::new(), Vec::new()],
    };
    let pair_cost = |row: usize, column: usize| -> Option<usize> {
        let (e, a) = (expected.get(row)?, actual.get(column)?);
        if !e.alike(a) {
            return None;
        }
        let [Some(e), Some(a)] = [paths[0].get(row), paths[1].get(column)] else { return Some(ALONE / 2) };
        let equal = e
            .iter()
            .zip(a)
            .filter(|(e, a)| e.0 == a.0 && e.2 == a.2 && (e.2.is_some() || e.1 == a.1))
            .count();
        Some((e.len().max(a.len()) - equal).min(ALONE - 1) + ALONE / 2)
    };
    if !by_likeness && rows * columns > 1 << 22 {
        // Too far apart to be worth a table: in order, as far as types agree.
        let both = expected.iter().zip(actual).take_while(|(e, a)| e.alike(a)).count();
        steps.extend(std::iter::repeat_n(Step::Pair, both));
        steps.extend(std::iter::repeat_n(Step::Missing, rows - both));
        steps.extend(std::iter::repeat_n(Step::Extra, columns - both));
        return;
    }
    let mut costs = vec![0usize; (rows + 1) * width];
    let mut choices = vec![Step::Extra; (rows + 1) * width];
    for row in (0..=rows).rev() {
        for column in (0..=columns).rev() {
            if (row, column) == (rows, columns) {
                continue;
            }
            let cost = |row: usize, column: usize| costs.get(row * width + column).copied().unwrap_or(0);
            let mut best = (usize::MAX, Step::Extra);
            if let Some(pair) = pair_cost(row, column) {
                best = (cost(row + 1, column + 1) + pair, Step::Pair);
            }
            if row < rows && cost(row + 1, column) + ALONE < best.0 {
                best = (cost(row + 1, column) + ALONE, Step::Missing);
            }
            if column < columns && cost(row, column + 1) + ALONE < best.0 {
                best = (cost(row, column + 1) + ALONE, Step::Extra);
            }
            let place = row * width + column;
            if let (Some(cost), Some(choice)) = (costs.get_mut(place), choices.get_mut(place)) {
                (*cost, *choice) = best;
            }
        }
    }
    let (mut row, mut column) = (0, 0);
    while (row, column) != (rows, columns) {
        let step = choices.get(row * width + column).copied().unwrap_or(Step::Extra);
        row += usize::from(step != Step::Extra);
        column += usize::from(step != Step::Missing);
        steps.push(step);
    }
}
