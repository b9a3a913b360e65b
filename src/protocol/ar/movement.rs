//! Movement of a responder (RFC 3775 11.5): a new care-of address is registered with the agent first and with the
//! initiators when the agent has acknowledged; what still arrives at the one before is taken for a while.
//! Called by the responder.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::Ar;
use super::registration::Registration;
use super::service::Service;
use super::update::{home_update, update_packet};
use crate::protocol::action::Action;
use crate::protocol::clock::Instant;
use crate::protocol::input::is_routable_unicast;
use crate::protocol::report::Report;
use crate::wire::PacketBuffer;
use crate::wire::chain::Packet;
use crate::wire::ipv6::{Ipv6Header, next_header};
use crate::wire::mobility::{Lifetime, kind};
use crate::wire::rewrite::strip_routing2;
use crate::wire::tunnel::decapsulate;

/// How long packets to a former care-of address are taken: longer than agent and initiators can take to hear of the
/// new one when every message gets through (RFC 3775 11.5.3 leaves the time open).
const FORMER_CARE_OF: Duration = Duration::from_secs(60);
/// Former care-of addresses remembered at most.
const MAX_FORMER: usize = 4;

/// The care-of addresses a responder had lately, oldest first, and until when each is still good.
#[derive(Clone, Debug, Default)]
pub struct FormerCareOf(Vec<(Ipv6Addr, Instant)>);

impl FormerCareOf {
    fn left(&mut self, now: Instant, address: Ipv6Addr) {
        self.0.retain(|(former, until)| *former != address && *until > now);
        if self.0.len() >= MAX_FORMER {
            self.0.remove(0);
        }
        self.0.push((address, now + FORMER_CARE_OF));
    }

    fn forget(&mut self, address: &Ipv6Addr) {
        self.0.retain(|(former, _)| former != address);
    }

    fn is_good(&self, now: Instant, address: &Ipv6Addr) -> bool {
        self.0.iter().any(|(former, until)| former == address && *until > now)
    }
}

impl Ar {
    /// The addresses that packets for this responder may come to: the care-of address, and those it had before as
    /// long as they are good.
    pub fn care_of_addresses(&self, now: Instant) -> Vec<Ipv6Addr> {
        let former = self.former.0.iter().filter(|(_, until)| *until > now).map(|(former, _)| *former);
        [self.config.care_of].into_iter().chain(former).collect()
    }

    /// Takes `care_of` as the care-of address from now on (RFC 3775 11.5.3). Initiators wait for the agent's
    /// acknowledgement, because their home test comes by way of the agent (11.6.1).
    pub(super) fn move_to(&mut self, now: Instant, care_of: Ipv6Addr) {
        let before = self.config.care_of;
        if !is_routable_unicast(&care_of) || self.registrations.contains_key(&care_of) {
            let report = Report::warning("move-refused").care_of(care_of);
            return self.report(report.because("the address cannot be a care-of address", "RFC 3775 11.5.2"));
        }
        if care_of == before && self.home.is_empty() {
            // RFC 3775 11.5.1: nothing moved, so nobody has to hear of it.
            return;
        }
        if care_of != before {
            self.former.left(now, before);
            self.former.forget(&care_of);
            self.config.care_of = care_of;
        }
        self.counters.count("care-of-address.changed");
        self.report(Report::info("moved").care_of(care_of).peer(before));
        let keys: Vec<_> = self.correspondents.keys().copied().collect();
        for key in keys {
            self.step_correspondent(now, key, |correspondent, _, _| {
                correspondent.care_of_lost();
                Vec::new()
            });
        }
        for anycast in self.selected(None) {
            self.leave_home(anycast);
            self.step_registration(now, anycast, |registration, random, pace| {
                registration.moved(now, random, pace)
            });
            for key in self.midway_of(anycast) {
                self.step_midway(now, key, |registration, random, pace| {
                    registration.moved(now, random, pace)
                });
            }
        }
    }

    /// An agent of the advanced model tells responders without a name (RFC 4283) apart by their care-of address, so one
    /// that has moved is two members there: the former one leaves. Should that be lost, the agent's probes find out.
    pub(super) fn leave_former(
        &mut self,
        now: Instant,
        (anycast, agent): (Ipv6Addr, Ipv6Addr),
        former: Ipv6Addr,
        sequence: u16,
    ) {
        let home = self.registrations.get(&anycast).filter(|home| home.agent == Some(agent));
        let is_member = home.or(self.midway.get(&(anycast, agent))).is_some_and(Registration::is_member);
        if !is_member
            || self.membership.is_some()
            || self.pace.take(now, agent, kind::BINDING_UPDATE).is_err()
        {
            return;
        }
        let offer = self.services.get(&anycast).map(Service::offer);
        let header = home_update(&former, sequence, Lifetime::ZERO, offer, std::iter::empty());
        self.counters.count("binding-update.sent");
        self.actions.push_back(Action::Send(update_packet(&self.config.care_of, &agent, &anycast, &header)));
    }

    /// The agent knows the new care-of address: the initiators' turn (RFC 3775 11.7.2).
    pub(super) fn renew_correspondents(&mut self, now: Instant, anycast: Ipv6Addr) {
        for key in self.correspondents_of(anycast) {
            self.step_correspondent(now, key, |correspondent, random, pace| {
                correspondent.care_of_changed(now, random, pace)
            });
        }
    }

    /// True when the packet came by way of a care-of address that this responder had lately.
    pub(super) fn came_by_former(&self, now: Instant, packet: &Packet<'_>) -> bool {
        self.former.is_good(now, &packet.header.destination)
    }

    /// Takes a data packet that came to a former care-of address: with the routing header of an initiator, or through
    /// the agent's tunnel (RFC 3775 11.3.3). False leaves the packet to the ordinary rules.
    pub(super) fn take_from_former(&mut self, now: Instant, packet: &Packet<'_>) -> bool {
        if !self.came_by_former(now, packet) {
            return false;
        }
        let mut inner = PacketBuffer::new(packet.bytes);
        let (anycast, opened) = if let Some(routing) = packet.routing2.as_ref() {
            (routing.address, strip_routing2(&mut inner).is_ok())
        } else if packet.upper.protocol == next_header::IPV6 {
            let Ok(header) = Ipv6Header::parse(packet.payload()) else { return false };
            let (anycast, agent) = (header.destination, packet.header.source);
            let home = self.registrations.get(&anycast).filter(|home| home.bound_at() == Some(agent));
            if home.or(self.midway.get(&(anycast, agent))).is_none_or(|registration| !registration.is_bound())
            {
                return false;
            }
            (header.destination, decapsulate(&mut inner).is_ok())
        } else {
            return false;
        };
        if !opened || !self.registrations.get(&anycast).is_some_and(Registration::is_bound) {
            return false;
        }
        self.counters.count("packet.by-former-care-of-address");
        match Packet::parse(inner.as_slice()) {
            Ok(inner) if inner.upper.protocol == next_header::MOBILITY => self.handle_mobility(now, &inner),
            Ok(inner) => self.actions.push_back(Action::Deliver(inner.bytes.to_vec())),
            Err(_) => self.counters.count("packet.malformed"),
        }
        true
    }
}
