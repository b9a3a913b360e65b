//! Mobility messages that reach a responder (RFC 3775 11.3.3, 11.6.2, 11.7.3, 11.7.4), each handed to the registration
//! or the initiator that it concerns. Called by the responder.

use super::Ar;
use super::correspondent::InitiatorAnswer;
use super::home::HomeStay;
use super::registration::{self, Registration};
use crate::protocol::clock::Instant;
use crate::protocol::input::{self, Refusal};
use crate::wire::chain::Packet;
use crate::wire::mobility::{
    BindingAcknowledgement, BindingError, Experimental, Extensions, Grant, Message, MobilityHeader,
    MobilityOption, Status,
};

impl Ar {
    pub(super) fn handle_mobility(&mut self, now: Instant, packet: &Packet<'_>) {
        let header = match input::receive(now, packet, &mut self.limits) {
            Ok(header) => header,
            Err(refusal) => return self.refuse(packet, refusal),
        };
        let sender = packet.header.source;
        let destination = packet.final_destination();
        if destination != self.config.care_of && !self.registrations.contains_key(&destination) {
            return self.counters.count("mobility.not-for-this-node");
        }
        match &header.message {
            Message::BindingAcknowledgement(acknowledgement) => {
                self.handle_acknowledgement(now, packet, &header, acknowledgement);
            }
            Message::HomeTest(test) if packet.home_address.is_none() && packet.routing2.is_none() => {
                self.counters.count("home-test.received");
                let (cookie, token, index) = (test.cookie, test.token, test.nonce_index);
                self.step_correspondent(now, (destination, sender), |correspondent, random, pace| {
                    correspondent.home_test(now, cookie, token, index, random, pace)
                });
            }
            Message::CareOfTest(test) if packet.home_address.is_none() && packet.routing2.is_none() => {
                self.counters.count("care-of-test.received");
                if destination != self.config.care_of {
                    return;
                }
                // The cookie tells which anycast address the test was for.
                let mut candidates = self.registrations.keys().map(|anycast| (*anycast, sender));
                let waiting = candidates.find(|key| {
                    self.correspondents.get(key).is_some_and(|c| c.expects_care_of(&test.cookie))
                });
                if let Some(key) = waiting {
                    let (cookie, token, index) = (test.cookie, test.token, test.nonce_index);
                    self.step_correspondent(now, key, |correspondent, _, pace| {
                        correspondent.care_of_test(now, cookie, token, index, pace)
                    });
                }
            }
            Message::BindingRefreshRequest(_) => {
                self.counters.count("binding-refresh-request.received");
                let agent = self.registrations.get(&destination).and_then(|registration| registration.agent);
                if self.midway.contains_key(&(destination, sender)) {
                    self.step_midway(now, (destination, sender), |registration, _, pace| {
                        registration.refresh_requested(now, pace)
                    });
                } else if agent == Some(sender) {
                    self.step_registration(now, destination, |registration, _, pace| {
                        registration.refresh_requested(now, pace)
                    });
                } else {
                    self.step_correspondent(now, (destination, sender), |correspondent, random, pace| {
                        correspondent.refresh_requested(now, random, pace)
                    });
                }
            }
            Message::BindingError(error) => {
                self.counters.count("binding-error.received");
                let key = (error.home_address, sender);
                match error.status {
                    BindingError::UNKNOWN_BINDING => {
                        self.step_correspondent(now, key, |correspondent, _, _| {
                            correspondent.binding_unknown(now)
                        });
                    }
                    BindingError::UNRECOGNIZED_KIND => self.mark_plain(
                        now,
                        sender,
                        |correspondent| correspondent.expects_answer(now),
                        "the initiator does not know the Mobility Header type",
                        "RFC 3775 11.3.6",
                    ),
                    _ => {}
                }
            }
            _ => self.counters.count("mobility.not-for-a-responder"),
        }
    }

    pub(super) fn handle_acknowledgement(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        header: &MobilityHeader,
        acknowledgement: &BindingAcknowledgement,
    ) {
        self.counters.count("binding-acknowledgement.received");
        let anycast = packet.final_destination();
        let sender = packet.header.source;
        let with_routing_header = packet
            .routing2
            .as_ref()
            .is_some_and(|routing| routing.segments_left == 1 && routing.address == anycast);
        let at_home = self.home.get(&anycast).is_some_and(HomeStay::expects_acknowledgement)
            && packet.routing2.is_none();
        if !at_home && (!with_routing_header || packet.header.destination != self.config.care_of) {
            // RFC 3775 11.3.3 and KAME: away from home an acknowledgement travels with the routing header.
            let clause = "RFC 3775 11.7.3";
            let reason = "a Binding Acknowledgement without the type 2 routing header";
            return self.refuse(packet, Refusal::silent("binding-acknowledgement.dropped", reason, clause));
        }
        let midway = (anycast, sender);
        let is_home =
            self.registrations.get(&anycast).and_then(|registration| registration.agent) == Some(sender);
        if is_home || self.midway.contains_key(&midway) {
            if !self.is_authentic(now, packet, header, acknowledgement.status) {
                return;
            }
            let refresh_advice = header.message.options().iter().find_map(|option| match option {
                MobilityOption::BindingRefreshAdvice(interval) => Some(*interval),
                _ => None,
            });
            let grant = header.message.options().iter().find_map(|option| match option {
                MobilityOption::Experimental(Experimental::Grant(grant)) => Some(grant),
                _ => None,
            });
            let answer = registration::Answer {
                status: acknowledgement.status,
                sequence: acknowledgement.sequence,
                lifetime: acknowledgement.lifetime,
                refresh_advice,
                granted: grant.map(|grant| grant.extensions),
            };
            if !is_home {
                return self.step_midway(now, midway, |registration, _, pace| {
                    registration.acknowledged(now, answer, pace)
                });
            }
            let awaited = self.registrations.get(&anycast).is_some_and(|home| home.awaits(answer.sequence));
            self.step_registration(now, anycast, |registration, _, pace| {
                registration.acknowledged(now, answer, pace)
            });
            let bound = self.registrations.get(&anycast).filter(|home| home.is_bound());
            let (bound, member) = (bound.is_some(), bound.is_some_and(Registration::is_member));
            if bound && answer.status == Status::ACCEPTED_PREFIX_DISCOVERY {
                self.solicit_prefixes(now, anycast);
            }
            let names_agents = |grant: &&Grant| grant.extensions.contains(Extensions::AGENTS);
            if let Some(grant) = grant.filter(names_agents)
                && awaited
                && member
            {
                self.learn_agents(now, anycast, &grant.agents);
            }
        } else {
            let care_of = self.config.care_of;
            let (status, sequence) = (acknowledgement.status, acknowledgement.sequence);
            let lifetime = acknowledgement.lifetime;
            self.step_correspondent(now, (anycast, sender), |correspondent, random, pace| {
                let sealed = correspondent.is_sealed(header, packet.payload(), care_of, sender);
                let answer = InitiatorAnswer { status, sequence, lifetime, sealed };
                correspondent.acknowledged(now, answer, random, pace)
            });
        }
    }
}
