//! One capture on its way into the comparison: each packet is put into its conversation (RFC 3775 sections 6.3 and 6.4),
//! what has nothing to do with Mobile IPv6 and what repeats is left out, and what two runs may differ in is told apart.
//! Run by `compare` in a thread for each capture.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::{Conversation, Options, Packet, Traffic};
use crate::pcap::capture::{Error, Frame};
use crate::pcap::decode::is_related;
use crate::pcap::normalise::{AddressMap, Canon, Normaliser};
use crate::pcap::tree::{Kind, Role, Tree, Value};
use crate::wire::icmpv6::kind;

/// Packets that a reader hands over at once.
const BATCH: usize = 256;

/// What a reader hands over.
pub(super) struct Batch {
    pub(super) packets: Vec<(Conversation, Packet)>,
    /// IPv6 packets read for it.
    pub(super) read: u64,
    pub(super) failed: Option<Error>,
}

pub(super) fn read(
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
