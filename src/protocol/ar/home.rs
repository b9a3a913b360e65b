//! A responder on its own home link (RFC 3775 11.5.4): it learns the agent's link-layer address without claiming
//! the anycast address, de-registers from it, claims it on the link when the agent has let go, and tells its
//! initiators. Called by the responder.

use std::net::Ipv6Addr;

use super::registration::Outcome;
use super::{Ar, ArCommand};
use crate::protocol::action::Action;
use crate::protocol::clock::Instant;
use crate::protocol::home_link::{
    ALL_NODES, conflicts_with, duplicate_address_probe, icmpv6_packet, unsolicited_advertisement,
};
use crate::protocol::input::is_unicast;
use crate::protocol::limits::{DUPLICATE_ADDRESS_WAIT, NEIGHBOR_DISCOVERY_HOP_LIMIT};
use crate::protocol::report::Report;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{Icmpv6Message, NeighborOption, neighbor_flags};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The agent's link-layer address is being asked for; no claim on the anycast address is made.
    Soliciting,
    /// No agent defends the anycast address any more, so it is probed like any other.
    Probing,
    /// The agent has been told.
    Leaving,
    /// The anycast address is this node's on the link.
    Settled,
}

/// An anycast address on its home link.
#[derive(Clone, Copy, Debug)]
pub struct HomeStay {
    stage: Stage,
    /// The node started here, so that nothing says whether the address was ever its own.
    from_start: bool,
    link_address: [u8; 6],
    next: Option<Instant>,
}

impl HomeStay {
    /// When the responder must look again.
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// True while the agent's answer comes to the anycast address itself.
    pub fn expects_acknowledgement(&self) -> bool {
        self.stage == Stage::Leaving
    }

    /// True when the anycast address is used on the link without Mobile IPv6.
    pub fn is_settled(&self) -> bool {
        self.stage == Stage::Settled
    }

    /// True when Neighbor Solicitations for the anycast address are answered (RFC 3775 11.5.4: as soon as the
    /// Binding Update is under way).
    fn defends(&self) -> bool {
        matches!(self.stage, Stage::Leaving | Stage::Settled)
    }
}

impl Ar {
    /// The home link of `anycast` is this node's link; `link_address` is the node's own on it.
    pub(super) fn return_home(&mut self, now: Instant, anycast: Ipv6Addr, link_address: [u8; 6]) {
        let Some(registration) = self.registrations.get(&anycast) else { return };
        if self.home.contains_key(&anycast) || registration.leaving {
            return;
        }
        let stage = if registration.is_bound() { Stage::Soliciting } else { Stage::Probing };
        let probe = duplicate_address_probe(anycast);
        self.counters.count("home.returned");
        self.report(Report::info("returning-home").anycast(anycast));
        // Both are the same packet (RFC 3775 11.5.4, RFC 4862 5.4.2): from `::`, for the anycast address. What an
        // answer means differs.
        self.actions.push_back(Action::Send(probe));
        if stage == Stage::Probing {
            self.step_registration(now, anycast, |registration, _, _| {
                registration.suspend();
                Outcome::Nothing
            });
        }
        let next = Some(now + DUPLICATE_ADDRESS_WAIT);
        self.home.insert(anycast, HomeStay { stage, from_start: false, link_address, next });
    }

    /// The node starts on the home link of `anycast`. Where somebody else has the address, which will be the agent for
    /// another responder, this one registers like that other did.
    pub(super) fn start_at_home(&mut self, now: Instant, anycast: Ipv6Addr, link_address: [u8; 6]) {
        self.return_home(now, anycast, link_address);
        if let Some(stay) = self.home.get_mut(&anycast) {
            stay.from_start = true;
        }
    }

    /// The home link is no longer this node's.
    pub(super) fn leave_home(&mut self, anycast: Ipv6Addr) {
        if self.home.remove(&anycast).is_some() {
            self.report(Report::info("left-home").anycast(anycast));
        }
    }

    /// Waiting times that are over.
    pub(super) fn home_timeouts(&mut self, now: Instant) {
        let due: Vec<_> = self
            .home
            .iter()
            .filter(|(_, stay)| stay.next.is_some_and(|next| next <= now))
            .map(|(anycast, stay)| (*anycast, stay.stage))
            .collect();
        for (anycast, stage) in due {
            match stage {
                Stage::Soliciting => self.tell_agent(now, anycast),
                Stage::Probing => self.settle(now, anycast),
                Stage::Leaving | Stage::Settled => {}
            }
        }
    }

    fn tell_agent(&mut self, now: Instant, anycast: Ipv6Addr) {
        if let Some(stay) = self.home.get_mut(&anycast) {
            (stay.stage, stay.next) = (Stage::Leaving, None);
        }
        self.step_registration(now, anycast, |registration, _, pace| registration.return_home(now, pace));
    }

    /// The anycast address is this node's alone: it says so to the link, and the initiators lose their bindings
    /// (RFC 3775 11.5.4, 11.7.2).
    pub(super) fn settle(&mut self, now: Instant, anycast: Ipv6Addr) {
        let Some(stay) = self.home.get_mut(&anycast) else { return };
        (stay.stage, stay.next) = (Stage::Settled, None);
        let advertisement = unsolicited_advertisement(&anycast, anycast, stay.link_address);
        self.actions.push_back(Action::Send(advertisement));
        self.report(Report::info("at-home").anycast(anycast));
        for key in self.correspondents_of(anycast) {
            self.step_correspondent(now, key, |correspondent, random, pace| {
                correspondent.delete(now, random, pace)
            });
        }
    }

    /// Neighbour discovery about an anycast address that is at home or on its way there.
    pub(super) fn handle_neighbor(&mut self, now: Instant, packet: &Packet<'_>, message: &Icmpv6Message) {
        if packet.header.hop_limit != NEIGHBOR_DISCOVERY_HOP_LIMIT {
            return self.counters.count("neighbor-discovery.off-link");
        }
        let source = packet.header.source;
        let (Icmpv6Message::NeighborSolicitation { target, .. }
        | Icmpv6Message::NeighborAdvertisement { target, .. }) = message
        else {
            return;
        };
        let Some(stay) = self.home.get(target).copied() else { return };
        match (stay.stage, message) {
            (Stage::Soliciting, Icmpv6Message::NeighborAdvertisement { .. }) => self.tell_agent(now, *target),
            (Stage::Probing, message) if conflicts_with(&source, message).is_some() => {
                self.leave_home(*target);
                let report = Report::warning("home-address-duplicate").anycast(*target).peer(source);
                self.report(report.because("another node on the home link uses it", "RFC 4862 5.4.4"));
                if stay.from_start {
                    self.handle_command(now, &ArCommand::Register(Some(*target)));
                }
            }
            (_, Icmpv6Message::NeighborSolicitation { .. }) if stay.defends() => {
                let options = vec![NeighborOption::TargetLinkLayerAddress(stay.link_address.to_vec())];
                let (destination, flags) = if is_unicast(&source) {
                    (source, neighbor_flags::SOLICITED | neighbor_flags::OVERRIDE)
                } else {
                    (ALL_NODES, neighbor_flags::OVERRIDE)
                };
                let answer =
                    Icmpv6Message::NeighborAdvertisement { code: 0, flags, target: *target, options };
                let packet = icmpv6_packet(target, &destination, NEIGHBOR_DISCOVERY_HOP_LIMIT, answer);
                self.counters.count("neighbor-advertisement.sent");
                self.actions.push_back(Action::Send(packet));
            }
            _ => {}
        }
    }
}
