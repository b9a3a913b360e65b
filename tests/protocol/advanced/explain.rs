//! What `explain` says is what the data path does, at every role (design section 5): the headers are compared octet by
//! octet with those of a packet that is really forwarded, and the sentence with the reason for it.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::forwarding::explain::explain;
use mga_node::forwarding::groups::Why;
use mga_node::forwarding::user::{Direction, Fate, Forwarder};
use mga_node::protocol::action::Rule;
use mga_node::protocol::select::{Group, GroupMember, Takes};
use mga_node::wire::ipv6::{self, Ipv6Header, next_header};
use mga_node::wire::{Packet, PacketBuffer};

use super::data_path::{RENEWED, group, member};
use crate::stimulus::*;

fn empty(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    ipv6::packet(Ipv6Header::new(next_header::NO_NEXT_HEADER, 64, source, destination), &[])
}

/// Asserts that the headers told are those of the packet that leaves, and gives the rule and the sentence.
fn checked(forwarder: &mut Forwarder, source: Ipv6Addr, destination: Ipv6Addr) -> (String, String) {
    let told = explain(forwarder, at(1.0), source, destination);
    let mut packet = PacketBuffer::new(&empty(source, destination));
    let fate = forwarder.forward(at(1.0), Direction::Outbound, &mut packet, &mut Vec::new());
    match &told.headers {
        None => assert_ne!(fate, Fate::Send),
        Some(headers) => {
            assert_eq!(fate, Fate::Send);
            let sent: String = packet.as_slice().iter().map(|octet| format!("{octet:02x}")).collect();
            assert!(sent.starts_with(&headers.octets), "{sent}\n{}", headers.octets);
            let parsed = Packet::parse(packet.as_slice()).expect("a packet");
            assert_eq!((headers.source, Some(headers.destination)), (parsed.header.source, told.to));
            assert_eq!(headers.destination, parsed.header.destination);
            let ends = sent.len() - headers.octets.len();
            assert!(ends == 0 || parsed.upper.protocol == next_header::IPV6 && ends == 80);
        }
    }
    (told.rule, told.because)
}

fn with(rules: &[Rule]) -> Forwarder {
    let mut forwarder = Forwarder::new();
    rules.iter().for_each(|rule| forwarder.install(*rule));
    forwarder
}

#[test]
fn at_an_agent_of_the_basic_model_the_last_binding_update_wins() {
    let mut agent = with(&[Rule::TunnelToResponder { anycast: ANYCAST, agent: AGENT, care_of: AR1 }]);
    for source in [AI1, AGENT] {
        let (rule, because) = checked(&mut agent, source, ANYCAST);
        assert_eq!(rule, "tunnel-to-responder");
        assert_eq!(because, "2001:db8:0:1::a is bound to 2001:db8:0:4::2: the last Binding Update wins");
    }
    assert_eq!(checked(&mut agent, AI1, STRANGER).0, "none");
}

#[test]
fn at_a_responder_the_way_back_is_direct_or_by_the_agent() {
    let mut responder = with(&[
        Rule::ReverseTunnelOut { anycast: ANYCAST, care_of: AR1, agent: AGENT },
        Rule::HomeAddressOut { anycast: ANYCAST, initiator: AI2, care_of: AR1 },
    ]);
    assert_eq!(checked(&mut responder, ANYCAST, AI1).0, "reverse-tunnel-out");
    let direct = ("home-address-out".to_owned(), "the route to 2001:db8:0:3::2 is optimised".to_owned());
    assert_eq!(checked(&mut responder, ANYCAST, AI2), direct);
}

#[test]
fn at_an_initiator_a_binding_decides() {
    let mut initiator = with(&[Rule::RoutingHeaderOut { anycast: ANYCAST, own: AI2, care_of: AR1 }]);
    let (rule, because) = checked(&mut initiator, AI2, ANYCAST);
    assert_eq!(rule, "routing-header-out");
    assert_eq!(because, "2001:db8:0:3::2 has a binding of 2001:db8:0:1::a to 2001:db8:0:4::2");
}

#[test]
fn in_a_group_it_is_the_slot_then_the_affinity_and_then_the_loss() {
    let mut agent = Forwarder::new();
    let install = |agent: &mut Forwarder, group: Group| agent.install_group(at(1.0), group, &mut Vec::new());
    install(&mut agent, group(&[member(1, AR1), member(2, AR2)], 1));
    let told = explain(&agent, at(1.0), AI1, ANYCAST);
    assert_eq!((told.by, told.member, told.to), (Some(Why::Slot), Some(2), Some(AR2)));
    // Asking has fixed nobody.
    assert_eq!(explain(&agent, at(1.0), AI1, ANYCAST).by, Some(Why::Slot));
    checked(&mut agent, AI1, ANYCAST);
    let draining = GroupMember { takes: Takes::Kept, ..member(2, AR2) };
    install(&mut agent, group(&[member(1, AR1), draining], 0));
    let told = explain(&agent, at(1.0) + Duration::from_secs(20), AI1, ANYCAST);
    assert_eq!(
        told.because,
        "2001:db8:0:2::2 is fixed to member 2 at 2001:db8:0:5::2, which takes no new sources, for another 40 s"
    );
    checked(&mut agent, AI1, ANYCAST);
    install(&mut agent, group(&[member(1, AR1)], 0));
    assert_eq!(explain(&agent, at(1.0), AI1, ANYCAST).by, Some(Why::Lost));
    checked(&mut agent, AGENT, ANYCAST);
    install(&mut agent, Group { slots: Vec::new(), affinity: Some(RENEWED), ..group(&[], 0) });
    let (rule, because) = checked(&mut agent, AI2, ANYCAST);
    assert_eq!((rule.as_str(), because.starts_with("no member takes new sources")), ("group", true));
}
