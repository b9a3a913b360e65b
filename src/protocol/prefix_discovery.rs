//! When and how an agent tells responders away from home the prefixes of the home link (RFC 3775 6.7, 6.8, 10.6):
//! at once when one asks, at a random moment when a prefix changes or nothing was told for long, again until it is
//! acknowledged by another question, and never twice in a second. Kept by `haa`, which knows the bindings and the
//! prefixes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use super::binding::cache::BindingKey;
use super::clock::Instant;
use super::limits::HOP_LIMIT;
use super::random::{Random, SeededRandom};
use crate::wire::icmpv6::{Icmpv6, Icmpv6Message, NeighborOption};
use crate::wire::ipv6::{self, Ipv6Header, next_header};
use crate::wire::routing::type2_header;

/// RFC 3775 section 12: the wait before the first retransmission of an unsolicited advertisement; then doubled.
const PREFIX_ADV_TIMEOUT: Duration = Duration::from_secs(3);
/// RFC 3775 section 12: retransmissions of an unsolicited advertisement.
const PREFIX_ADV_RETRIES: u32 = 3;
/// RFC 3775 6.8: between two advertisements to one responder.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// Between which moments an unsolicited advertisement is sent (RFC 3775 section 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertisementWindow {
    /// MinMobPfxAdvInterval.
    pub least: Duration,
    /// MaxMobPfxAdvInterval.
    pub most: Duration,
}

impl Default for AdvertisementWindow {
    /// The defaults of RFC 3775 section 13.
    fn default() -> Self {
        Self { least: Duration::from_secs(600), most: Duration::from_secs(86_400) }
    }
}

/// Why an advertisement is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// A responder asked with this identifier.
    Solicited(u16),
    /// Something changed, or nothing was told for long; so many retransmissions were sent.
    Unsolicited { retransmissions: u32 },
}

/// What is due to one responder.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    due: Instant,
    cause: Cause,
    last_sent: Option<Instant>,
    /// Of the last unsolicited advertisement, unless a solicitation has acknowledged it.
    unacknowledged: bool,
}

/// An advertisement to be built and sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The binding's anycast address and own address.
    pub key: BindingKey,
    /// The solicitation's, or 0.
    pub identifier: u16,
    pub is_solicited: bool,
}

/// The schedule of one agent.
#[derive(Clone, Debug)]
pub struct PrefixDiscovery {
    window: AdvertisementWindow,
    random: SeededRandom,
    deliveries: BTreeMap<BindingKey, Delivery>,
    /// The moments of `deliveries`, in order.
    by_due: BTreeSet<(Instant, BindingKey)>,
}

impl PrefixDiscovery {
    /// Nothing to tell to nobody. `seed` begins the row that spreads unsolicited advertisements in time.
    pub fn new(window: AdvertisementWindow, seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        Self { window, random, deliveries: BTreeMap::new(), by_due: BTreeSet::new() }
    }

    /// A Binding Update made or refreshed this binding. A new one is told the prefixes within the window; one that
    /// let an advertisement go unacknowledged is told again (RFC 3775 10.6.2). `preferred` is the shortest preferred
    /// lifetime of the prefixes, in seconds.
    pub fn bound(&mut self, now: Instant, key: BindingKey, preferred: u32) {
        match self.deliveries.get(&key) {
            None => {
                let due = now + self.random_delay(preferred);
                self.set(
                    key,
                    Delivery {
                        due,
                        cause: Cause::Unsolicited { retransmissions: 0 },
                        last_sent: None,
                        unacknowledged: false,
                    },
                );
            }
            Some(delivery) if delivery.unacknowledged && self.gave_up(delivery) => {
                let cause = Cause::Unsolicited { retransmissions: 0 };
                let due = earliest(now, delivery.last_sent);
                self.set(key, Delivery { due, cause, ..*delivery });
            }
            Some(_) => {}
        }
    }

    /// The binding is over: nothing more is sent (RFC 3775 10.6.2).
    pub fn unbound(&mut self, key: &BindingKey) {
        if let Some(delivery) = self.deliveries.remove(key) {
            self.by_due.remove(&(delivery.due, *key));
        }
    }

    /// A prefix changed: one advertisement with everything is scheduled for this binding, unless one is already
    /// on its way sooner (RFC 3775 10.6.2).
    pub fn changed(&mut self, now: Instant, key: BindingKey, preferred: u32) {
        let due = now + self.random_delay(preferred);
        let Some(delivery) = self.deliveries.get(&key).copied() else { return };
        // What is retransmitted is built anew each time, so that it carries the change, too.
        if delivery.due > due {
            self.set(key, Delivery { due, cause: Cause::Unsolicited { retransmissions: 0 }, ..delivery });
        }
    }

    /// A Mobile Prefix Solicitation: it acknowledges what was sent, and is answered at once or as soon as the limit
    /// of one in a second allows (RFC 3775 6.8, 10.6.2).
    pub fn solicited(&mut self, now: Instant, key: BindingKey, identifier: u16) {
        let last_sent = self.deliveries.get(&key).and_then(|delivery| delivery.last_sent);
        let due = earliest(now, last_sent);
        let cause = Cause::Solicited(identifier);
        self.set(key, Delivery { due, cause, last_sent, unacknowledged: false });
    }

    /// The next advertisement whose time has come; it counts as sent.
    pub fn take_due(&mut self, now: Instant, preferred: u32) -> Option<Due> {
        let (due, key) = *self.by_due.first()?;
        if due > now {
            return None;
        }
        let delivery = *self.deliveries.get(&key)?;
        let again = now + self.window.most + self.random_delay(preferred);
        let (identifier, is_solicited, due, cause) = match delivery.cause {
            Cause::Solicited(identifier) => {
                (identifier, true, again, Cause::Unsolicited { retransmissions: 0 })
            }
            Cause::Unsolicited { retransmissions } if retransmissions < PREFIX_ADV_RETRIES => {
                let due = now + PREFIX_ADV_TIMEOUT * (1 << retransmissions);
                (0, false, due, Cause::Unsolicited { retransmissions: retransmissions + 1 })
            }
            Cause::Unsolicited { .. } => (0, false, again, Cause::Unsolicited { retransmissions: 0 }),
        };
        let unacknowledged = !is_solicited;
        self.set(key, Delivery { due, cause, last_sent: Some(now), unacknowledged });
        Some(Due { key, identifier, is_solicited })
    }

    /// When the next advertisement is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.by_due.first().map(|(due, _)| *due)
    }

    fn set(&mut self, key: BindingKey, delivery: Delivery) {
        if let Some(old) = self.deliveries.insert(key, delivery) {
            self.by_due.remove(&(old.due, key));
        }
        self.by_due.insert((delivery.due, key));
    }

    /// True when all retransmissions were in vain and only the next periodic advertisement is scheduled.
    fn gave_up(&self, delivery: &Delivery) -> bool {
        delivery.cause == (Cause::Unsolicited { retransmissions: 0 })
    }

    /// RAND_ADV_DELAY of RFC 3775 10.6.2.
    fn random_delay(&mut self, preferred: u32) -> Duration {
        let AdvertisementWindow { least, most } = self.window;
        let longest = most.min(Duration::from_secs(u64::from(preferred)));
        let span = longest.max(least) - longest.min(least);
        least + span * u32::from(self.random.number16()) / (u32::from(u16::MAX) + 1)
    }
}

/// Now, or a second after the last advertisement.
fn earliest(now: Instant, last_sent: Option<Instant>) -> Instant {
    last_sent.map_or(now, |sent| now.max(sent + LEAST_INTERVAL))
}

/// A whole Mobile Prefix Advertisement (RFC 3775 6.8, 10.6.3) from the agent's address `own` to the responder at
/// `care_of`, with the anycast address in a type 2 routing header. M and O are clear: there is no DHCPv6 here.
pub fn advertisement(
    own: &Ipv6Addr,
    care_of: &Ipv6Addr,
    anycast: &Ipv6Addr,
    identifier: u16,
    options: Vec<NeighborOption>,
) -> Vec<u8> {
    let message = Icmpv6Message::MobilePrefixAdvertisement { code: 0, identifier, flags: 0, options };
    let mut payload = type2_header(next_header::ICMPV6, anycast).to_vec();
    // The checksum is over the final destination (RFC 8200 8.1).
    payload.extend(Icmpv6::from(message).emit_for(own, anycast));
    ipv6::packet(Ipv6Header::new(next_header::ROUTING, HOP_LIMIT, *own, *care_of), &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: BindingKey =
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa), Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2));
    const EVER: u32 = u32::MAX;

    fn at(seconds: f64) -> Instant {
        Instant::from_start(Duration::from_secs_f64(seconds))
    }

    fn schedule() -> PrefixDiscovery {
        PrefixDiscovery::new(AdvertisementWindow::default(), 7)
    }

    /// The moments of everything sent until `end`, in seconds, with the identifiers.
    fn sent(schedule: &mut PrefixDiscovery, end: f64) -> Vec<(f64, u16)> {
        let mut sent = Vec::new();
        while let Some(due) = schedule.next_due().filter(|due| *due <= at(end)) {
            while let Some(told) = schedule.take_due(due, EVER) {
                sent.push((due.since_start().as_secs_f64(), told.identifier));
            }
        }
        sent
    }

    #[test]
    fn h139_h142_questions_are_answered_at_once_but_once_in_a_second() {
        let mut schedule = schedule();
        schedule.bound(at(0.0), KEY, EVER);
        for (when, identifier) in [(10.0, 1), (10.2, 2), (10.4, 3), (12.0, 4)] {
            schedule.solicited(at(when), KEY, identifier);
            let now = sent(&mut schedule, when);
            assert_eq!(
                now,
                if identifier == 2 || identifier == 3 { vec![] } else { vec![(when, identifier)] }
            );
            if identifier == 3 {
                assert_eq!(sent(&mut schedule, 11.5), [(11.0, 3)], "the latest question, a second later");
            }
        }
    }

    #[test]
    fn h146_an_unacknowledged_advertisement_is_sent_again_after_3_6_and_12_seconds() {
        let mut schedule = schedule();
        schedule.bound(at(0.0), KEY, EVER);
        let sent = sent(&mut schedule, 90_000.0);
        let first = sent[0].0;
        let after: Vec<_> = sent.iter().map(|(when, _)| (when - first).round()).take(4).collect();
        assert_eq!(after, [0.0, 3.0, 9.0, 21.0]);
        assert!(sent.get(4).is_none_or(|(when, _)| *when - first > 86_400.0), "{sent:?}");
    }

    #[test]
    fn h146_a_question_ends_the_retransmissions() {
        let mut schedule = schedule();
        schedule.bound(at(0.0), KEY, EVER);
        let first = schedule.next_due().expect("one is scheduled").since_start().as_secs_f64();
        assert_eq!(sent(&mut schedule, first).len(), 1);
        schedule.solicited(at(first + 2.0), KEY, 9);
        assert_eq!(sent(&mut schedule, first + 100.0), [(first + 2.0, 9)]);
    }

    #[test]
    fn h146_a_refresh_after_all_was_in_vain_begins_again() {
        let mut schedule = schedule();
        schedule.bound(at(0.0), KEY, EVER);
        let first = schedule.next_due().expect("one is scheduled").since_start().as_secs_f64();
        assert_eq!(sent(&mut schedule, first + 40.0).len(), 4);
        schedule.bound(at(first + 50.0), KEY, EVER);
        assert_eq!(sent(&mut schedule, first + 60.0).len(), 3);
        let mut acknowledged = self::schedule();
        acknowledged.bound(at(0.0), KEY, EVER);
        acknowledged.solicited(at(1.0), KEY, 9);
        assert_eq!(sent(&mut acknowledged, 1.0).len(), 1);
        acknowledged.bound(at(50.0), KEY, EVER);
        assert!(sent(&mut acknowledged, 60.0).is_empty());
    }

    #[test]
    fn h147_nothing_is_sent_after_the_binding_ended() {
        let mut schedule = schedule();
        schedule.bound(at(0.0), KEY, EVER);
        let first = schedule.next_due().expect("one is scheduled").since_start().as_secs_f64();
        assert_eq!(sent(&mut schedule, first).len(), 1);
        schedule.unbound(&KEY);
        schedule.changed(at(first + 1.0), KEY, EVER);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn h148_unsolicited_advertisements_keep_within_the_window() {
        let window = AdvertisementWindow { least: Duration::from_secs(10), most: Duration::from_secs(50) };
        let mut moments = BTreeSet::new();
        for seed in 0..100 {
            let mut schedule = PrefixDiscovery::new(window, seed * 0x1234_5678_9abc);
            schedule.bound(at(0.0), KEY, EVER);
            let due = schedule.next_due().expect("one is scheduled");
            assert!((at(10.0)..at(50.0)).contains(&due), "{due:?}");
            moments.insert(due);
        }
        assert!(moments.len() > 50, "they are spread");
        let mut schedule = PrefixDiscovery::new(window, 3);
        schedule.bound(at(0.0), KEY, 20);
        assert!(schedule.next_due() < Some(at(20.0)), "before the prefix is deprecated");
    }

    #[test]
    fn a_change_is_told_within_the_window_however_far_the_next_advertisement_was() {
        let mut schedule = schedule();
        schedule.solicited(at(0.0), KEY, 1);
        assert_eq!(sent(&mut schedule, 0.0).len(), 1);
        assert!(schedule.next_due() > Some(at(86_400.0)));
        schedule.changed(at(1.0), KEY, 700);
        assert!(schedule.next_due() < Some(at(701.0)));
    }

    #[test]
    fn h139_h143_h145_an_advertisement_comes_from_the_agent_by_routing_header() {
        use crate::wire::chain::Packet;
        let care_of = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2);
        let bytes = advertisement(&KEY.1, &care_of, &KEY.0, 77, Vec::new());
        let packet = Packet::parse(&bytes).expect("a packet");
        assert_eq!((packet.header.source, packet.header.destination), (KEY.1, care_of));
        assert_eq!(packet.final_destination(), KEY.0);
        assert_eq!(ipv6::checksum(&KEY.1, &KEY.0, next_header::ICMPV6, packet.payload()), 0);
        let expected = Icmpv6Message::MobilePrefixAdvertisement {
            code: 0,
            identifier: 77,
            flags: 0,
            options: Vec::new(),
        };
        assert_eq!(Icmpv6::parse(packet.payload()).expect("a message").message, expected);
    }
}
