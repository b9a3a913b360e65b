//! Groups as the user-space forwarder carries them out (thesis 4.3.1, 4.3.2): to which member, out of whose tunnel,
//! what is left to the role, and what becomes of sources whose member goes.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::forwarding::user::{Direction, Fate, Forwarder};
use mga_node::protocol::action::Observation;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::select::{Affinity, Group, GroupMember, SLOTS, Takes};
use mga_node::wire::icmpv6::{ErrorReason, Icmpv6Message, error_packet};
use mga_node::wire::mobility::{Message, TestInit};
use mga_node::wire::{Packet, PacketBuffer};

use crate::stimulus::*;
use Direction::{Inbound, Outbound};

pub const RENEWED: Affinity = Affinity { interval: Duration::from_secs(60), renewed: true, capacity: 1000 };

pub fn member(number: u32, care_of: Ipv6Addr) -> GroupMember {
    GroupMember { number, care_of, takes: Takes::New }
}

/// A group in which new sources go to `newest` of `members`.
pub fn group(members: &[GroupMember], newest: u16) -> Group {
    let affinity = Some(RENEWED);
    Group { anycast: ANYCAST, agent: AGENT, members: members.to_vec(), slots: vec![newest; SLOTS], affinity }
}

/// Both responders of Figure 11, AR1 taking the new sources.
fn both() -> Group {
    group(&[member(1, AR1), member(2, AR2)], 0)
}

struct Bench {
    forwarder: Forwarder,
    now: Instant,
    seen: Vec<Observation>,
}

impl Bench {
    fn new(group: Group) -> Self {
        let mut bench = Self { forwarder: Forwarder::new(), now: at(1.0), seen: Vec::new() };
        bench.install(group);
        bench
    }

    fn install(&mut self, group: Group) {
        self.forwarder.install_group(self.now, group, &mut self.seen);
    }

    fn forward(&mut self, direction: Direction, packet: &[u8]) -> (Fate, Vec<u8>) {
        let mut buffer = PacketBuffer::new(packet);
        let fate = self.forwarder.forward(self.now, direction, &mut buffer, &mut self.seen);
        (fate, buffer.as_slice().to_vec())
    }

    /// Who gets a packet of `source`.
    fn served_by(&mut self, source: Ipv6Addr) -> Ipv6Addr {
        let inner = ping(source, ANYCAST);
        let (fate, outer) = self.forward(Outbound, &inner);
        let destination = Packet::parse(&outer).expect("a packet").header.destination;
        assert_eq!((fate, outer), (Fate::Send, tunnel(AGENT, destination, &inner)));
        destination
    }
}

// covers: X009
#[test]
fn the_first_packet_of_a_source_fixes_it_whatever_the_slots_say_later() {
    let mut bench = Bench::new(both());
    assert_eq!(bench.served_by(AI1), AR1);
    bench.install(Group { slots: vec![1; SLOTS], ..both() });
    assert_eq!((bench.served_by(AI1), bench.served_by(AI2)), (AR1, AR2));
    assert!(bench.seen.is_empty());
}

// covers: X009 X010
#[test]
fn an_interval_that_is_renewed_ends_after_silence_and_a_fixed_one_after_its_time() {
    for (renewed, expected) in [(true, AR1), (false, AR2)] {
        let affinity = Some(Affinity { renewed, ..RENEWED });
        let mut bench = Bench::new(Group { affinity, ..both() });
        assert_eq!(bench.served_by(AI1), AR1);
        bench.install(Group { slots: vec![1; SLOTS], affinity, ..both() });
        for _ in 0..2 {
            bench.now = bench.now + Duration::from_secs(45);
            bench.served_by(AI1);
        }
        assert_eq!(bench.served_by(AI1), expected, "renewed: {renewed}");
        bench.now = bench.now + Duration::from_secs(60);
        assert_eq!(bench.served_by(AI1), AR2);
    }
}

#[test]
fn without_affinity_every_packet_goes_by_its_slot() {
    let mut bench = Bench::new(Group { affinity: None, ..both() });
    assert_eq!(bench.served_by(AI1), AR1);
    bench.install(Group { affinity: None, slots: vec![1; SLOTS], ..both() });
    assert_eq!(bench.served_by(AI1), AR2);
}

#[test]
fn what_a_responder_sends_first_fixes_its_peer() {
    let mut bench = Bench::new(both());
    let packet = ping(ANYCAST, AI1);
    assert_eq!(bench.forward(Inbound, &tunnel(AR2, AGENT, &packet)), (Fate::Deliver, packet));
    assert_eq!(bench.served_by(AI1), AR2);
    // And who is fixed already stays, whoever else speaks to it.
    bench.forward(Inbound, &tunnel(AR1, AGENT, &ping(ANYCAST, AI1)));
    assert_eq!(bench.served_by(AI1), AR2);
}

#[test]
fn a_draining_member_keeps_its_sources_and_gets_no_new_ones() {
    let mut bench = Bench::new(both());
    bench.served_by(AI1);
    let draining = GroupMember { takes: Takes::Kept, ..member(1, AR1) };
    bench.install(group(&[draining, member(2, AR2)], 1));
    assert_eq!((bench.served_by(AI1), bench.served_by(AI2)), (AR1, AR2));
    assert!(bench.seen.is_empty());
}

// covers: X010
#[test]
fn the_sources_of_a_lost_member_move_with_their_next_packet_and_are_counted_once() {
    let mut bench = Bench::new(both());
    bench.served_by(AI1);
    bench.served_by(AI2);
    bench.install(group(&[member(2, AR2)], 0));
    let lost = [Observation::MemberLeft { anycast: ANYCAST, member: 1, sources: 2 }];
    assert_eq!(bench.seen, lost);
    assert_eq!(bench.served_by(AI1), AR2);
    bench.install(group(&[member(2, AR2)], 0));
    assert_eq!(bench.seen, lost);
    // Who moved stays; who was silent meanwhile is as if nothing had been.
    bench.install(both());
    assert_eq!((bench.served_by(AI1), bench.served_by(AI2)), (AR2, AR1));
}

#[test]
fn a_member_that_moves_keeps_its_sources() {
    let mut bench = Bench::new(both());
    bench.served_by(AI1);
    bench.install(group(&[member(1, STRANGER), member(2, AR2)], 1));
    assert_eq!(bench.served_by(AI1), STRANGER);
    assert_eq!(bench.forward(Inbound, &tunnel(AR1, AGENT, &ping(ANYCAST, AI1))).0, Fate::Role);
}

#[test]
fn tunnels_of_any_member_are_accepted_at_either_end_and_nobody_elses() {
    let inner = ping(ANYCAST, AI1);
    for from in [AR1, AR2] {
        for (direction, to) in [(Inbound, AGENT), (Outbound, ANYCAST)] {
            let got = Bench::new(both()).forward(direction, &tunnel(from, to, &inner));
            assert_eq!(got, (Fate::Deliver, inner.clone()), "{from} {to}");
        }
    }
    let forged = tunnel(STRANGER, AGENT, &inner);
    assert_eq!(Bench::new(both()).forward(Inbound, &forged), (Fate::Role, forged));
    let forged = tunnel(STRANGER, ANYCAST, &inner);
    assert_eq!(Bench::new(both()).forward(Outbound, &forged), (Fate::Role, forged));
    let other = tunnel(AR1, AGENT, &ping(OTHER_ANYCAST, AI1));
    assert_eq!(Bench::new(both()).forward(Inbound, &other), (Fate::Role, other));
}

#[test]
fn mobility_headers_and_answers_to_probes_are_the_roles() {
    let init = |source, destination| {
        let init = TestInit { reserved: 0, cookie: [7; 8], options: Vec::new() };
        mobility(source, destination, None, Message::HomeTestInit(init))
    };
    let reply = Icmpv6Message::EchoReply { code: 0, identifier: 1, sequence: 1, data: vec![0; 8] };
    for (direction, packet) in [
        (Outbound, init(AI1, ANYCAST)),
        (Inbound, tunnel(AR1, AGENT, &init(ANYCAST, AI1))),
        (Inbound, tunnel(AR2, AGENT, &icmpv6(ANYCAST, AGENT, 64, reply.clone()))),
    ] {
        assert_eq!(Bench::new(both()).forward(direction, &packet), (Fate::Role, packet));
    }
    // Answers to anybody else's are not.
    let other = icmpv6(ANYCAST, AI1, 64, reply);
    let got = Bench::new(both()).forward(Inbound, &tunnel(AR1, AGENT, &other));
    assert_eq!(got, (Fate::Deliver, other));
}

#[test]
fn an_icmpv6_error_goes_to_the_member_whose_packet_it_quotes_and_fixes_nobody() {
    let mut bench = Bench::new(both());
    bench.forward(Inbound, &tunnel(AR2, AGENT, &ping(ANYCAST, AI1)));
    let error = error_packet(&STRANGER, &ping(ANYCAST, AI1), ErrorReason::PacketTooBig(1280));
    // From the router, to whoever sent what did not fit.
    let error = error.expect("an error");
    assert_eq!(bench.forward(Outbound, &error), (Fate::Send, tunnel(AGENT, AR2, &error)));
    assert_eq!(bench.served_by(STRANGER), AR1);
}

#[test]
fn the_agents_own_packets_travel_with_a_routing_header() {
    let (fate, packet) = Bench::new(both()).forward(Outbound, &ping(AGENT, ANYCAST));
    let packet = Packet::parse(&packet).expect("a packet");
    assert_eq!((fate, packet.header.destination, packet.final_destination()), (Fate::Send, AR1, ANYCAST));
}

#[test]
fn where_no_member_takes_new_sources_the_role_answers() {
    let draining = GroupMember { takes: Takes::Kept, ..member(1, AR1) };
    let nobody = Group { slots: Vec::new(), ..group(&[draining], 0) };
    let mut bench = Bench::new(nobody);
    let packet = ping(AI1, ANYCAST);
    assert_eq!(bench.forward(Outbound, &packet), (Fate::Role, packet.clone()));
    let mut buffer = PacketBuffer::new(&packet);
    assert_eq!(bench.forwarder.send_to_group(bench.now, &mut buffer), Fate::Drop("no-responder"));
    assert_eq!(bench.forwarder.drops(), [("no-responder", 1)]);
}

#[test]
fn what_each_member_carried_is_counted() {
    let mut bench = Bench::new(both());
    bench.served_by(AI1);
    bench.served_by(AI1);
    let inner = ping(ANYCAST, AI1);
    bench.forward(Inbound, &tunnel(AR1, AGENT, &inner));
    let views = bench.forwarder.groups(bench.now);
    let view = &views[0].members[0];
    let length = inner.len() as u64;
    let carried = &view.carried;
    assert_eq!((carried.packets_to, carried.octets_to), (2, 2 * length));
    assert_eq!((carried.packets_from, carried.octets_from), (1, length));
    assert_eq!((view.slots, view.sources, views[0].members[1].sources), (SLOTS, 1, 0));
}
