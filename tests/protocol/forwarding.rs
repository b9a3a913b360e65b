//! The six rewrites as the user-space forwarder carries them out (RFC 2473, RFC 3775 6.3, 6.4, 10.4, thesis 4.2.1):
//! what leaves, octet by octet where it matters, and what is left to the role.
//! The names are the catalogue's case ids.

use std::net::Ipv6Addr;

use mga_node::forwarding::user::{Direction, Fate, Forwarder};
use mga_node::protocol::action::{Observation, Rule, RuleKey, RuleKind};
use mga_node::wire::ipv6::{self, Ipv6Header};
use mga_node::wire::routing::type2_header;
use mga_node::wire::{Packet, PacketBuffer};

use crate::stimulus::*;

fn forwarder(rules: &[Rule]) -> Forwarder {
    let mut forwarder = Forwarder::new();
    for rule in rules {
        forwarder.install(*rule);
    }
    forwarder
}

fn agent() -> Forwarder {
    forwarder(&[
        Rule::TunnelToResponder { anycast: ANYCAST, agent: AGENT, care_of: AR1 },
        Rule::TunnelFromResponder { anycast: ANYCAST, agent: AGENT, care_of: AR1 },
    ])
}

fn responder() -> Forwarder {
    forwarder(&[
        Rule::ReverseTunnelOut { anycast: ANYCAST, care_of: AR1, agent: AGENT },
        Rule::ReverseTunnelIn { anycast: ANYCAST, care_of: AR1, agent: AGENT },
        Rule::RoutingHeaderIn { anycast: ANYCAST, care_of: AR1 },
        Rule::HomeAddressOut { anycast: ANYCAST, initiator: AI2, care_of: AR1 },
    ])
}

fn initiator() -> Forwarder {
    forwarder(&[
        Rule::RoutingHeaderOut { anycast: ANYCAST, own: AI2, care_of: AR1 },
        Rule::HomeAddressIn { anycast: ANYCAST, own: AI2, care_of: AR1 },
    ])
}

fn forward(forwarder: &mut Forwarder, direction: Direction, packet: &[u8]) -> (Fate, Vec<u8>) {
    let mut buffer = PacketBuffer::new(packet);
    let fate = forwarder.forward(at(1.0), direction, &mut buffer, &mut Vec::new());
    (fate, buffer.as_slice().to_vec())
}

use Direction::{Inbound, Outbound};

#[test]
fn h097_a_packet_to_the_anycast_address_is_wrapped_unchanged() {
    let inner = ping(AI1, ANYCAST);
    let (fate, outer) = forward(&mut agent(), Outbound, &inner);
    assert_eq!((fate, outer), (Fate::Send, tunnel(AGENT, AR1, &inner)));
}

#[test]
fn h101_link_scope_stays_out_of_the_tunnel() {
    for (source, destination) in [(LINK_LOCAL, ANYCAST), (Ipv6Addr::UNSPECIFIED, ANYCAST), (AI1, GROUP)] {
        let (fate, _) = forward(&mut agent(), Outbound, &ping(source, destination));
        assert_eq!(fate, Fate::Drop("link-scope"));
    }
}

// covers: H202 N204
#[test]
fn nothing_of_a_group_enters_a_tunnel() {
    let membership = group_membership(ANYCAST);
    for packet in [ping(ANYCAST, GROUP), membership] {
        assert_eq!(forward(&mut responder(), Outbound, &packet).0, Fate::Drop("link-scope"));
    }
    for packet in [ping(AI1, GROUP), group_membership(LINK_LOCAL)] {
        assert_eq!(forward(&mut agent(), Outbound, &packet).0, Fate::Drop("link-scope"));
    }
}

#[test]
fn h103_h104_h105_h106_only_the_bound_responder_may_tunnel_back_and_only_from_the_anycast_address() {
    let inner = ping(ANYCAST, AI1);
    assert_eq!(forward(&mut agent(), Inbound, &tunnel(AR1, AGENT, &inner)), (Fate::Deliver, inner.clone()));
    for refused in
        [tunnel(AR2, AGENT, &inner), tunnel(AR1, AR2, &inner), tunnel(AR1, AGENT, &ping(OTHER_ANYCAST, AI1))]
    {
        assert_eq!(forward(&mut agent(), Inbound, &refused), (Fate::Role, refused));
    }
}

#[test]
fn h103_h105_the_tunnel_may_end_at_the_anycast_address_but_not_a_displaced_responders() {
    let inner = ping(ANYCAST, AI1);
    assert_eq!(
        forward(&mut agent(), Outbound, &tunnel(AR1, ANYCAST, &inner)),
        (Fate::Deliver, inner.clone())
    );
    let displaced = tunnel(AR2, ANYCAST, &inner);
    assert_eq!(forward(&mut agent(), Outbound, &displaced), (Fate::Role, displaced));
}

#[test]
fn h103_a_tunnel_with_an_encapsulation_limit_is_a_tunnel() {
    let inner = ping(ANYCAST, AI1);
    let mut payload = vec![41, 0, 4, 1, 4, 1, 1, 0];
    payload.extend_from_slice(&inner);
    let outer = ipv6::packet(Ipv6Header::new(60, 64, AR1, AGENT), &payload);
    assert_eq!(forward(&mut agent(), Inbound, &outer), (Fate::Deliver, inner));
}

#[test]
fn n065_n066_with_a_binding_directly_and_without_through_the_tunnel() {
    let (fate, direct) = forward(&mut responder(), Outbound, &ping(ANYCAST, AI2));
    let packet = Packet::parse(&direct).expect("a packet");
    assert_eq!((fate, packet.header.source, packet.header.destination), (Fate::Send, AR1, AI2));
    assert_eq!(packet.final_source(), ANYCAST);
    let inner = ping(ANYCAST, AI1);
    assert_eq!(forward(&mut responder(), Outbound, &inner), (Fate::Send, tunnel(AR1, AGENT, &inner)));
}

// covers: X207
#[test]
fn n068_n069_n073_a_tunnel_from_the_agent_alone_is_opened_and_its_peer_noticed() {
    let inner = ping(AI1, ANYCAST);
    let mut seen = Vec::new();
    let mut buffer = PacketBuffer::new(&tunnel(AGENT, AR1, &inner));
    assert_eq!(responder().forward(at(1.0), Inbound, &mut buffer, &mut seen), Fate::Deliver);
    assert_eq!(buffer.as_slice(), inner);
    assert!(seen.contains(&Observation::TunnelledPeer { anycast: ANYCAST, peer: AI1 }));
    let stranger = tunnel(STRANGER, AR1, &inner);
    assert_eq!(forward(&mut responder(), Inbound, &stranger), (Fate::Role, stranger));
}

fn with_routing_header(care_of: Ipv6Addr, home_address: Ipv6Addr) -> Vec<u8> {
    let direct = ping(AI2, home_address);
    let mut payload = type2_header(58, &home_address).to_vec();
    payload.extend_from_slice(&direct[40..]);
    ipv6::packet(Ipv6Header::new(43, 64, AI2, care_of), &payload)
}

// covers: X209
#[test]
fn n070_n072_a_routing_header_is_taken_out_for_the_bound_address_alone() {
    let mut expected = ping(AI2, ANYCAST);
    expected[7] = 63;
    let good = with_routing_header(AR1, ANYCAST);
    assert_eq!(forward(&mut responder(), Inbound, &good), (Fate::Deliver, expected));
    for other in [with_routing_header(AR1, STRANGER), with_routing_header(AR2, ANYCAST)] {
        assert_eq!(forward(&mut responder(), Inbound, &other), (Fate::Role, other));
    }
}

#[test]
fn c067_c068_c076_the_option_is_taken_out_for_the_bound_care_of_address_alone() {
    let plain = ping(ANYCAST, AI2);
    let with = |source| with_home_address(source, AI2, Some(ANYCAST), 58, &plain[40..]);
    assert_eq!(forward(&mut initiator(), Inbound, &with(AR1)), (Fate::Deliver, plain.clone()));
    assert_eq!(forward(&mut initiator(), Inbound, &with(AR2)), (Fate::Role, with(AR2)));
    let update = Update { destination: AI2, ..Update::home(5) }.packet();
    assert_eq!(forward(&mut initiator(), Inbound, &update), (Fate::Role, update), "a Mobility Header");
}

#[test]
fn c075_packets_to_a_bound_address_travel_with_the_routing_header_from_the_address_it_is_bound_at() {
    assert_eq!(
        forward(&mut initiator(), Outbound, &ping(AI2, ANYCAST)),
        (Fate::Send, with_routing_header(AR1, ANYCAST))
    );
    let other = ping(AI1, ANYCAST);
    assert_eq!(forward(&mut initiator(), Outbound, &other), (Fate::Send, other.clone()));
    let mut forwarder = initiator();
    forwarder.remove(&RuleKey::between(RuleKind::RoutingHeaderOut, ANYCAST, AI2));
    assert_eq!(forward(&mut forwarder, Outbound, &other), (Fate::Role, other), "nothing is bound any more");
}

#[test]
fn h098_what_does_not_fit_is_answered_with_the_size_that_does() {
    let inner = ping(AI1, ANYCAST);
    let wrapped = PacketBuffer::new(&tunnel(AGENT, AR1, &inner));
    let error = agent().too_big(&wrapped, 1500, &AGENT).expect("an error");
    let (source, destination, message) = icmpv6_answer(&[error]).expect("a message");
    assert_eq!((source, destination), (AGENT, AI1));
    let invoking = inner;
    assert_eq!(message, mga_node::wire::icmpv6::Icmpv6Message::PacketTooBig { code: 0, mtu: 1460, invoking });
}

#[test]
fn q13_an_inner_packet_of_more_than_1280_octets_is_tunnelled_if_the_path_takes_it() {
    // KAME answers Packet Too Big 1280 to each.
    let (mut inner, mut forwarder) = (ping(AI1, ANYCAST), agent());
    inner.resize(1460, 0);
    inner[4..6].copy_from_slice(&1420_u16.to_be_bytes());
    assert_eq!(forward(&mut forwarder, Outbound, &inner), (Fate::Send, tunnel(AGENT, AR1, &inner)));
}

#[test]
fn a_responder_takes_the_tunnels_of_its_home_agent_and_of_its_midway_agents_and_of_nobody_else() {
    let mut forwarder = responder();
    let midway = Rule::MidwayTunnelIn { anycast: ANYCAST, care_of: AR1, agent: OTHER_ANYCAST };
    forwarder.install(midway);
    let inner = ping(AI1, ANYCAST);
    for agent in [AGENT, OTHER_ANYCAST] {
        let (fate, delivered) = forward(&mut forwarder, Inbound, &tunnel(agent, AR1, &inner));
        assert_eq!((fate, delivered), (Fate::Deliver, inner.clone()), "from {agent}");
    }
    for refused in [tunnel(AI1, AR1, &inner), tunnel(OTHER_ANYCAST, AR2, &inner)] {
        assert_eq!(forward(&mut forwarder, Inbound, &refused), (Fate::Role, refused));
    }
    forwarder.remove(&midway.key());
    let gone = tunnel(OTHER_ANYCAST, AR1, &inner);
    assert_eq!(forward(&mut forwarder, Inbound, &gone), (Fate::Role, gone));
    assert_eq!(forward(&mut forwarder, Inbound, &tunnel(AGENT, AR1, &inner)).0, Fate::Deliver);
}
