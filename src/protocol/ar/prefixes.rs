//! What a responder knows of its home prefix while away (RFC 3775 11.4.2, 11.4.3, 11.8): solicitations to the agent
//! with back-off, and the advertisement that answers exactly one of them. A machine that only says what to do next.
//! Called by the responder.

use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;

use super::Ar;
use super::registration::Registration;
use crate::protocol::action::Action;
use crate::protocol::clock::Instant;
use crate::protocol::limits::{HOP_LIMIT, MAX_BINDACK_TIMEOUT};
use crate::protocol::random::Random;
use crate::protocol::report::Report;
use crate::wire::chain::Packet;
use crate::wire::destination_options::home_address_header;
use crate::wire::icmpv6::{Icmpv6, Icmpv6Message, NeighborOption, kind};
use crate::wire::ipv6::{self, Ipv6Header, next_header};
use crate::wire::mobility::Lifetime;

/// RFC 3775 section 12: first wait for a Mobile Prefix Advertisement; doubled every time (11.8).
const INITIAL_SOLICIT_TIMER: Duration = Duration::from_secs(3);
/// A lifetime of all ones never ends (RFC 4861 4.6.2).
const FOR_EVER: u32 = u32::MAX;

/// What is known of the home prefix of one anycast address.
#[derive(Clone, Debug, Default)]
pub struct HomePrefix {
    /// The solicitation that is unanswered.
    identifier: Option<u16>,
    interval: Duration,
    /// When the next solicitation is due.
    next: Option<Instant>,
    valid_until: Option<Instant>,
}

impl HomePrefix {
    /// Begins to ask, unless that is under way; gives the identifier of the solicitation to send.
    pub fn solicit(&mut self, now: Instant, random: &mut dyn Random) -> Option<u16> {
        if self.identifier.is_some() {
            return None;
        }
        self.interval = INITIAL_SOLICIT_TIMER;
        Some(self.ask(now, random))
    }

    fn ask(&mut self, now: Instant, random: &mut dyn Random) -> u16 {
        let identifier = random.number16();
        self.identifier = Some(identifier);
        self.next = Some(now + self.interval);
        identifier
    }

    /// True once for the identifier of the solicitation that is unanswered (RFC 3775 11.4.3).
    pub fn is_answer(&mut self, identifier: u16) -> bool {
        let answers = self.identifier == Some(identifier);
        if answers {
            (self.identifier, self.next) = (None, None);
        }
        answers
    }

    /// Lifetimes of the prefix in seconds, as just advertised. The next solicitation comes when nine tenths of the
    /// shorter one that is not over have passed: about to become invalid (11.4.2), with time left for losses.
    pub fn learn(&mut self, now: Instant, valid: u32, preferred: u32) {
        let end = |seconds: u32| (seconds != FOR_EVER).then(|| now + Duration::from_secs(u64::from(seconds)));
        self.valid_until = end(valid);
        let soonest = if preferred == 0 { valid } else { preferred.min(valid) };
        self.next = end(soonest).map(|until| {
            let wait = until.saturating_since(now).mul_f32(0.9);
            now + wait.max(INITIAL_SOLICIT_TIMER)
        });
    }

    /// How long the prefix is valid; `None` when nothing says that it ends.
    pub fn valid_for(&self, now: Instant) -> Option<Duration> {
        self.valid_until.map(|until| until.saturating_since(now))
    }

    /// The deadline passed: the identifier of the solicitation to send.
    pub fn timeout(&mut self, now: Instant, random: &mut dyn Random) -> Option<u16> {
        self.next.filter(|next| *next <= now)?;
        self.interval = match self.identifier {
            None => INITIAL_SOLICIT_TIMER,
            Some(_) => (self.interval * 2).min(MAX_BINDACK_TIMEOUT),
        };
        Some(self.ask(now, random))
    }

    /// Without a registration there is nobody to ask.
    pub fn stop(&mut self) {
        (self.identifier, self.next) = (None, None);
    }

    /// When [`HomePrefix::timeout`] must be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }
}

/// The Mobile Prefix Solicitation (RFC 3775 6.7): with the home address option, the checksum over the home address.
pub fn solicitation(care_of: &Ipv6Addr, agent: &Ipv6Addr, anycast: &Ipv6Addr, identifier: u16) -> Vec<u8> {
    let message =
        Icmpv6Message::MobilePrefixSolicitation { code: 0, identifier, reserved: 0, options: Vec::new() };
    let mut payload = home_address_header(next_header::ICMPV6, anycast).to_vec();
    payload.extend_from_slice(&Icmpv6::from(message).emit_for(anycast, agent));
    ipv6::packet(Ipv6Header::new(next_header::DESTINATION_OPTIONS, HOP_LIMIT, *care_of, *agent), &payload)
}

/// A prefix of the home link as an advertisement tells it; lifetimes in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    pub prefix: Ipv6Net,
    pub valid: u32,
    pub preferred: u32,
}

/// The prefixes among the options of an advertisement. One whose preferred lifetime exceeds its valid lifetime is
/// ignored (RFC 4862 5.5.3), and so is one that is no prefix.
pub fn advertised(options: &[NeighborOption]) -> Vec<Advertised> {
    let prefixes = options.iter().filter_map(|option| match *option {
        NeighborOption::PrefixInformation {
            prefix_length,
            valid_lifetime,
            preferred_lifetime,
            prefix,
            ..
        } if preferred_lifetime <= valid_lifetime => {
            let prefix = Ipv6Net::new(prefix, prefix_length).ok()?.trunc();
            Some(Advertised { prefix, valid: valid_lifetime, preferred: preferred_lifetime })
        }
        _ => None,
    });
    prefixes.collect()
}

/// The address that has the interface identifier of `address` in `prefix` (RFC 3775 11.4.3 as RFC 4862 5.5.3 forms
/// addresses).
pub fn with_same_identifier(address: &Ipv6Addr, prefix: &Ipv6Net) -> Ipv6Addr {
    let identifier = u128::from(*address) & u128::from(prefix.hostmask());
    Ipv6Addr::from(u128::from(prefix.network()) | identifier)
}

impl Ar {
    pub(super) fn solicit_prefixes(&mut self, now: Instant, anycast: Ipv6Addr) {
        let prefix = self.prefixes.entry(anycast).or_default();
        if let Some(identifier) = prefix.solicit(now, self.random.as_mut()) {
            self.send_prefix_solicitation(anycast, identifier);
        }
    }

    pub(super) fn send_prefix_solicitation(&mut self, anycast: Ipv6Addr, identifier: u16) {
        let Some(agent) = self.registrations.get(&anycast).and_then(Registration::bound_at) else { return };
        self.counters.count("mobile-prefix-solicitation.sent");
        let packet = solicitation(&self.config.care_of, &agent, &anycast, identifier);
        self.actions.push_back(Action::Send(packet));
    }

    pub(super) fn prefix_timeouts(&mut self, now: Instant) {
        let random = self.random.as_mut();
        let due: Vec<_> = self
            .prefixes
            .iter_mut()
            .filter_map(|(anycast, prefix)| Some((*anycast, prefix.timeout(now, random)?)))
            .collect();
        for (anycast, identifier) in due {
            self.send_prefix_solicitation(anycast, identifier);
        }
    }

    pub(super) fn stop_prefix(&mut self, anycast: Ipv6Addr) {
        if let Some(prefix) = self.prefixes.get_mut(&anycast) {
            prefix.stop();
        }
    }

    /// No lifetime is asked for that outlives the home prefix (RFC 3775 11.7.1), except that the shortest one is.
    pub(super) fn within_prefix(&self, now: Instant, anycast: Ipv6Addr, lifetime: Lifetime) -> Lifetime {
        let Some(valid) = self.prefixes.get(&anycast).and_then(|prefix| prefix.valid_for(now)) else {
            return lifetime;
        };
        let valid = Lifetime::from_seconds(u32::try_from(valid.as_secs()).unwrap_or(u32::MAX));
        lifetime.min(valid.max(Lifetime(1)))
    }

    /// A Mobile Prefix Advertisement (RFC 3775 11.4.3); false when the packet is none.
    pub(super) fn handle_prefixes(&mut self, now: Instant, packet: &Packet<'_>) -> bool {
        let payload = packet.payload();
        if payload.first() != Some(&kind::MOBILE_PREFIX_ADVERTISEMENT) {
            return false;
        }
        self.counters.count("mobile-prefix-advertisement.received");
        let anycast = packet.final_destination();
        let sum = ipv6::checksum(&packet.header.source, &anycast, next_header::ICMPV6, payload);
        let agent = self.registrations.get(&anycast).and_then(Registration::bound_at);
        let message = Icmpv6::parse(payload).ok().filter(|_| sum == 0).map(|received| received.message);
        let Some(Icmpv6Message::MobilePrefixAdvertisement { identifier, options, .. }) =
            message.filter(|_| agent == Some(packet.header.source))
        else {
            self.counters.count("mobile-prefix-advertisement.refused");
            return true;
        };
        if !self.prefixes.entry(anycast).or_default().is_answer(identifier) {
            // Not asked for: its content is not believed, but a reason to ask.
            self.solicit_prefixes(now, anycast);
            return true;
        }
        for Advertised { prefix, valid, preferred } in advertised(&options) {
            if prefix.contains(&anycast) {
                self.learn_prefix(now, anycast, valid, preferred);
            } else if valid > 0 {
                // Which anycast addresses a responder serves is its operator's decision.
                let formed = with_same_identifier(&anycast, &prefix);
                let report = Report::info("home-prefix-new").anycast(formed).peer(packet.header.source);
                let reason = "the home link has another prefix; the address would be this one";
                self.report(report.lifetime(valid).because(reason, "RFC 3775 11.4.3"));
            }
        }
        true
    }

    pub(super) fn learn_prefix(&mut self, now: Instant, anycast: Ipv6Addr, valid: u32, preferred: u32) {
        let known = self.prefixes.entry(anycast).or_default();
        known.learn(now, valid, preferred);
        let left = known.valid_for(now);
        self.report(Report::debug("home-prefix").anycast(anycast).lifetime(valid));
        let Some(left) = left else { return };
        let until = now + left;
        if let Some(registration) = self.registrations.get_mut(&anycast) {
            registration.limit(now, until);
        }
        for key in self.correspondents_of(anycast) {
            self.step_correspondent(now, key, |correspondent, random, pace| {
                correspondent.limit(now, until, random, pace)
            });
        }
    }
}
