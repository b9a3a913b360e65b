//! Tunnel packets of members that the data path leaves to the agent (thesis 4.3; RFC 3775 10.4.5): Mobility Headers,
//! answers to probes, and packets of whoever is bound but not in the group at the moment, as one that was lost or has
//! just left. Everybody else's are refused. Called by `haa`.

use super::Haa;
use crate::protocol::action::Action;
use crate::protocol::clock::Instant;
use crate::protocol::input::Refusal;
use crate::wire::PacketBuffer;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{ErrorReason, Icmpv6, Icmpv6Message};
use crate::wire::ipv6::next_header;
use crate::wire::rewrite::strip_home_address;
use crate::wire::tunnel::decapsulate;

/// True for what listeners and queriers of multicast groups say (RFC 2710, RFC 3810).
fn is_group_membership(packet: &Packet<'_>) -> bool {
    packet.upper.protocol == next_header::ICMPV6
        && packet.payload().first().is_some_and(|of| matches!(*of, 130..=132 | 143))
}

impl Haa {
    /// A tunnel packet that the data path did not take.
    pub(super) fn handle_tunnel(&mut self, now: Instant, packet: &Packet<'_>) {
        let mut buffer = PacketBuffer::new(packet.bytes);
        let care_of = packet.header.source;
        if decapsulate(&mut buffer).is_err() {
            return self.refuse_tunnel(now, packet);
        }
        let Ok(inner) = Packet::parse(buffer.as_slice()) else { return self.refuse_tunnel(now, packet) };
        if is_group_membership(&inner) {
            return self.refuse(
                packet,
                Refusal::silent(
                    "multicast-membership.ignored",
                    "group memberships are not taken through the tunnel",
                    "RFC 3775 10.4.3",
                ),
            );
        }
        let anycast = inner.header.source;
        let member = self.joined.at(&anycast, &care_of).map(|member| member.number);
        if member.is_none() && !self.has_just_left(now, &anycast, &care_of) {
            return self.refuse_tunnel(now, packet);
        }
        if let Some(number) = member {
            match inner.upper.protocol {
                next_header::MOBILITY => self.note_home_test_init(now, number, &inner),
                next_header::ICMPV6 if self.takes_probe_answer(now, &inner) => return,
                _ => {}
            }
        }
        self.actions.push_back(Action::Deliver(buffer.as_slice().to_vec()));
    }

    /// An ICMPv6 message from an anycast address to the agent; true when it answered a probe and is done with.
    pub(super) fn takes_probe_answer(&mut self, now: Instant, packet: &Packet<'_>) -> bool {
        let Ok(Icmpv6 { message: Icmpv6Message::EchoReply { identifier, sequence, data, .. }, .. }) =
            Icmpv6::parse(packet.payload())
        else {
            return false;
        };
        let is_mine = packet.header.destination == self.config.agent;
        is_mine && self.probe_answered(now, packet.header.source, identifier, sequence, &data)
    }

    /// A packet with the home address option of a member, to the agent itself (RFC 3775 9.3.1); true when it is one.
    pub(super) fn takes_home_address(&mut self, packet: &Packet<'_>) -> bool {
        if packet.home_address.is_none() || !self.is_from_member(packet) {
            return false;
        }
        let mut buffer = PacketBuffer::new(packet.bytes);
        let is_stripped = strip_home_address(&mut buffer).is_ok();
        if is_stripped {
            self.actions.push_back(Action::Deliver(buffer.as_slice().to_vec()));
        }
        is_stripped
    }

    /// True for a packet whose care-of and home address are a member's.
    pub(super) fn is_from_member(&self, packet: &Packet<'_>) -> bool {
        self.joined.at(&packet.final_source(), &packet.header.source).is_some()
    }

    /// A packet to an anycast address for which there is nobody.
    pub(super) fn refuse_unserved(&mut self, now: Instant, packet: &Packet<'_>) {
        let refusal = Refusal {
            answer: self.limits.icmp_error(now, packet, ErrorReason::DestinationUnreachable(3)),
            counter: "group.no-responder",
            reason: "no responder of the anycast address takes new sources",
            clause: "RFC 4443 3.1",
        };
        self.refuse(packet, refusal);
    }
}
