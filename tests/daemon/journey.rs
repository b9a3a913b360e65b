//! A responder's whole way with real nodes around it: from home over two foreign links and back (RFC 3775 11.5).
//! What it says in Mobility Headers on the way is read from a capture of its own wire, in order.
//! Run by `cargo test --test daemon journey`.

use std::net::Ipv6Addr;

use mga_node::{
    pcap::capture::{self, Link},
    wire::{
        Packet,
        ipv6::next_header,
        mobility::{Lifetime, Message, MobilityHeader},
    },
};
use serde_json::Value;

use crate::{
    evidence::Recorder,
    figure11::{ANYCAST, At, Figure11, INITIATOR, Node, PATIENCE, RESPONDER, until},
};

const HOME_LINK: &str = "home0";

/// Makes a bridge of the router's wire to the agent, so that others can be on the home link.
fn make_home_link(network: &Figure11) {
    let agent = At::Haa.router_interface();
    for line in [
        format!("link add {HOME_LINK} type bridge mcast_snooping 0"),
        format!("addr del 2001:db8:0:1::1/64 dev {agent}"),
        format!("link set {agent} master {HOME_LINK}"),
        format!("addr add 2001:db8:0:1::1/64 dev {HOME_LINK} nodad"),
        format!("link set {HOME_LINK} up"),
        // The second foreign link.
        format!("addr add 2001:db8:0:6::1/64 dev {} nodad", At::Ar1.router_interface()),
    ] {
        network.router.ip(&line.split(' ').collect::<Vec<_>>()).expect("the home link is made");
    }
}

/// Takes the responder's host to the link where it is `to`, with the router as its neighbour.
fn travel(network: &Figure11, from: &str, to: &str) {
    let wire = At::Ar1.router_interface();
    let is_home = to.starts_with("2001:db8:0:1:");
    let plug = if is_home { vec!["master", HOME_LINK] } else { vec!["nomaster"] };
    network.router.ip(&[&["link", "set", &wire][..], &plug].concat()).expect("the wire is plugged");
    let gateway = format!("{}1", to.trim_end_matches(|letter: char| letter != ':'));
    for line in [
        format!("addr add {to}/64 dev eth0 nodad"),
        format!("addr del {from}/64 dev eth0"),
        format!("-6 route replace default via {gateway} dev eth0"),
        // What was a neighbour is one no more.
        "-6 neigh flush dev eth0".to_owned(),
    ] {
        network.host(At::Ar1).ip(&line.split(' ').collect::<Vec<_>>()).expect("the host moves");
    }
}

fn is_bound_at(node: &Node, care_of: &str) -> bool {
    node.show("bindings").pointer("/0/care_of") == Some(&Value::from(care_of))
}

/// The Mobility Headers that the responder sent, a word for each, repetitions left out.
fn said(capture: &std::path::Path) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for frame in capture::read(capture).expect("a capture") {
        let Link::Ethernet { source, .. } = frame.link else { continue };
        let Ok(outer) = Packet::parse(&frame.ipv6) else { continue };
        let tunnelled = outer.upper.protocol == next_header::IPV6;
        let packet = if tunnelled { Packet::parse(outer.payload()) } else { Ok(outer) };
        let Some(packet) = packet.ok().filter(|packet| packet.upper.protocol == next_header::MOBILITY) else {
            continue;
        };
        let header = MobilityHeader::parse(packet.payload()).expect("a Mobility Header");
        if source != At::Ar1.link_address() {
            continue;
        }
        let to = if packet.header.destination == At::Haa.address() { "agent" } else { "initiator" };
        let word = match header.message {
            Message::BindingUpdate(update) => {
                let verb = if update.lifetime == Lifetime::ZERO { "leaves" } else { "tells" };
                let from = packet.header.source;
                let place = if from == ANYCAST { "home".to_owned() } else { link_of(from) };
                format!("{verb} the {to} from {place}")
            }
            Message::HomeTestInit(_) if tunnelled => "home test through the tunnel".to_owned(),
            Message::HomeTestInit(_) => "home test from home".to_owned(),
            Message::CareOfTestInit(_) => format!("care-of test from {}", link_of(packet.header.source)),
            other => format!("{other:?}"),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

fn link_of(address: Ipv6Addr) -> String {
    format!("link {}", address.segments()[3])
}

// covers: N001 N002 N003 N004 N005 N085
#[test]
fn from_home_over_two_foreign_links_and_back_every_message_comes_in_its_order() {
    const HOME: &str = "2001:db8:0:1::44";
    const FIRST: &str = "2001:db8:0:4::2";
    const SECOND: &str = "2001:db8:0:6::2";
    let network = Figure11::new();
    make_home_link(&network);
    travel(&network, FIRST, HOME);
    let agent = network.start_agent();
    let initiator = network.start(At::Ai2, &INITIATOR);
    let capture = network.scratch.join("journey.pcap");
    let recorder = Recorder::start(&network.router, &At::Ar1.router_interface(), capture);
    let responder = network.start(At::Ar1, &RESPONDER);
    let is_free = |node: &Node| node.show("bindings") == Value::Array(Vec::new());
    let reached = |place: &str| {
        assert!(network.reaches(At::Ai1), "a plain host, {place}: {}", responder.log());
        assert!(network.reaches(At::Ai2), "an initiator, {place}: {}", responder.log());
    };
    let settled = until(PATIENCE, || responder.log().contains("at-home"));
    assert!(settled, "{}", responder.log());
    reached("at home");
    assert!(is_free(&agent) && is_free(&initiator), "nothing is registered at home: {}", agent.log());

    for (from, to) in [(HOME, FIRST), (FIRST, SECOND)] {
        travel(&network, from, to);
        assert!(until(PATIENCE, || is_bound_at(&agent, to)), "{to}: {}", responder.log());
        reached(to);
        assert!(until(PATIENCE, || is_bound_at(&initiator, to)), "{to}: {}", responder.log());
        reached(to);
    }
    travel(&network, SECOND, HOME);
    assert!(until(PATIENCE, || is_free(&agent)), "{}\n{}", agent.log(), responder.log());
    assert!(until(PATIENCE, || is_free(&initiator)), "{}\n{}", initiator.log(), responder.log());
    reached("back home");

    assert_eq!(
        said(&recorder.stop()),
        [
            "tells the agent from link 4",
            "home test through the tunnel",
            "care-of test from link 4",
            "tells the initiator from link 4",
            "tells the agent from link 6",
            "care-of test from link 6",
            "tells the initiator from link 6",
            "leaves the agent from home",
            // The home token is still good (5.2.7).
            "leaves the initiator from home",
        ]
    );
    for node in [responder, initiator, agent] {
        node.stop();
    }
}
