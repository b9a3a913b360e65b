//! Compares two captures as protocols: aligns their packets per conversation and compares them field by field.
//! A conversation is a pair of final addresses (RFC 3775 sections 6.3 and 6.4) and a kind of traffic; between
//! conversations the order does not matter. Called by `mga-node pcap-diff` and by the replay of reference captures.
//!
//! Memory is bounded. Each capture is read once, by a thread of its own, a few batches ahead. Per conversation the
//! packets that wait for a partner stand in two queues; equal heads leave at once. When both queues hold
//! [`Options::window`] packets, the window is aligned and its first half decided. All queues together hold at most
//! [`Options::memory`] octets of packets; beyond that the conversations with the longest queues are decided as far
//! as they are known, and [`Totals::decided_early`] counts it.

use std::net::Ipv6Addr;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::capture::{Error, Frame};
use super::normalise::{AddressMap, Canon, FIRST_EPHEMERAL_PORT, Strict};
use super::tree::{Kind, Tree, Value};
use crate::wire::dissect;
use reading::read;
use waiting::Comparison;

mod alignment;
mod reading;
mod waiting;

/// Batches of packets that a reader may be ahead.
const BATCHES_AHEAD: usize = 8;
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
        Comparison::new(options, report).run(&from_expected, &from_actual)
    })
}
