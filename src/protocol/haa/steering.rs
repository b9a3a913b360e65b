//! Mobility Headers between initiators and several responders of one address (thesis 4.2.3 with 4.3.1): a Home Test goes
//! back to the member whose Home Test Init asked for it, known by its cookie (RFC 3775 5.2.5); all others follow their
//! source. So every member can optimise routes, not only the one that registered last. Called by `haa`.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;

use super::Haa;
use crate::protocol::action::Action;
use crate::protocol::clock::Instant;
use crate::protocol::limits::HOP_LIMIT;
use crate::wire::PacketBuffer;
use crate::wire::chain::Packet;
use crate::wire::mobility::{Message, MobilityHeader};
use crate::wire::tunnel::encapsulate;

/// So long a Home Test is waited for: the longest that a responder waits (RFC 3775 section 12, MAX_BINDACK_TIMEOUT).
const WAIT: Duration = Duration::from_secs(32);
/// Exchanges remembered at most; the oldest makes room.
const CAPACITY: usize = 65_536;

/// Anycast address, initiator, home init cookie.
type Exchange = (Ipv6Addr, Ipv6Addr, [u8; 8]);

/// Who asked for which Home Test.
#[derive(Debug, Default)]
pub(super) struct Steering {
    /// The number of the member, and when it asked.
    asked: BTreeMap<Exchange, (u32, Instant)>,
    /// The same in the order of asking; an exchange that was repeated stands here again.
    order: VecDeque<(Instant, Exchange)>,
}

impl Steering {
    fn note(&mut self, now: Instant, exchange: Exchange, member: u32) {
        while let Some((when, oldest)) = self.order.front().copied() {
            let is_over = now.saturating_since(when) >= WAIT;
            if !is_over && self.order.len() < CAPACITY {
                break;
            }
            self.order.pop_front();
            if self.asked.get(&oldest).is_some_and(|(_, asked)| *asked == when) {
                self.asked.remove(&oldest);
            }
        }
        self.asked.insert(exchange, (member, now));
        self.order.push_back((now, exchange));
    }

    fn asker(&self, now: Instant, exchange: &Exchange) -> Option<u32> {
        let (member, when) = self.asked.get(exchange)?;
        (now.saturating_since(*when) < WAIT).then_some(*member)
    }

    /// Forgets what a member asked for.
    pub(super) fn forget(&mut self, member: u32) {
        self.asked.retain(|_, (asker, _)| *asker != member);
    }
}

impl Haa {
    /// A Mobility Header to an anycast address with a group.
    pub(super) fn steer(&mut self, now: Instant, packet: &Packet<'_>) {
        let (anycast, initiator) = (packet.header.destination, packet.header.source);
        let cookie = match MobilityHeader::parse(packet.payload()).map(|header| header.message) {
            Ok(Message::HomeTest(test)) => Some(test.cookie),
            _ => None,
        };
        let asker = cookie.and_then(|cookie| self.steering.asker(now, &(anycast, initiator, cookie)));
        let member = asker.and_then(|number| self.joined.numbered(&anycast, number));
        let Some(member) = member.filter(|member| self.watch.is_alive(member.number)) else {
            return self.actions.push_back(Action::SendToGroup(packet.bytes.to_vec()));
        };
        let mut buffer = PacketBuffer::new(packet.bytes);
        encapsulate(&mut buffer, &self.config.agent, &member.care_of(), HOP_LIMIT);
        self.counters.count("home-test.steered");
        self.actions.push_back(Action::Send(buffer.as_slice().to_vec()));
    }

    /// Remembers whose Home Test Init this is, when it is one; `inner` came out of the tunnel of this member.
    pub(super) fn note_home_test_init(&mut self, now: Instant, member: u32, inner: &Packet<'_>) {
        let Ok(header) = MobilityHeader::parse(inner.payload()) else { return };
        if let Message::HomeTestInit(init) = header.message {
            let exchange = (inner.header.source, inner.header.destination, init.cookie);
            self.steering.note(now, exchange, member);
        }
    }
}
