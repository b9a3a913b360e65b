//! What an operator and a full cache mean to the initiator (RFC 3775 8.2, 9.6; catalogue C065, C080).
//! Return routability is gone through as a responder would, for as many home addresses as the cache holds.
//! Run by this test's `main`.

use std::net::Ipv6Addr;

use mga_node::protocol::action::{Action, Observation, RuleKey, RuleKind};
use mga_node::protocol::ai::{Ai, AiConfig, AiPolicy};
use mga_node::protocol::ar::ArPolicy;
use mga_node::protocol::auth::seal::{SealKey, seal};
use mga_node::protocol::auth::tokens::binding_management_key;
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::Packet;
use mga_node::wire::destination_options::home_address_header;
use mga_node::wire::icmpv6::Icmpv6Message;
use mga_node::wire::ipv6::{self, Ipv6Header, next_header};
use mga_node::wire::mobility::{
    BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption, TestInit, UpdateFlags, align,
};

use crate::scene::*;

pub fn initiator(max_bindings: usize) -> Ai {
    Ai::new(&AiConfig { max_bindings }, Box::new(SeededRandom::new(1)))
}

pub fn answers(ai: &mut Ai, now: f64, packet: &[u8]) -> Vec<Sent> {
    ai.handle_packet(at(now), packet);
    packets(&std::iter::from_fn(|| ai.poll_action()).collect::<Vec<_>>())
}

fn token(ai: &mut Ai, now: f64, address: Ipv6Addr, home: bool) -> (u16, [u8; 8]) {
    let init = TestInit { reserved: 0, cookie: *b"a cookie", options: Vec::new() };
    let message = if home { Message::HomeTestInit(init) } else { Message::CareOfTestInit(init) };
    let answer = answers(ai, now, &mobility(address, AI1, message));
    match &answer[0].upper {
        Upper::Mobility(header) => match &header.message {
            Message::HomeTest(test) | Message::CareOfTest(test) => (test.nonce_index, test.token),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// A Binding Update of `home_address` at [`AR1`], made after both tests; the key is that of `with_care_of` tokens.
pub fn update(
    ai: &mut Ai,
    now: f64,
    home_address: Ipv6Addr,
    sequence: u16,
    lifetime: u16,
    with_care_of: bool,
) -> Vec<u8> {
    let (home, home_token) = token(ai, now, home_address, true);
    let (care_of, care_of_token) = token(ai, now, AR1, false);
    let options = [
        MobilityOption::NonceIndices { home, care_of },
        MobilityOption::BindingAuthorizationData(vec![0; 12]),
    ];
    let mut header = MobilityHeader::new(Message::BindingUpdate(BindingUpdate {
        sequence,
        flags: UpdateFlags::ACKNOWLEDGE,
        lifetime: Lifetime(lifetime),
        options: align(12, &options),
    }));
    let key = binding_management_key(&home_token, with_care_of.then_some(&care_of_token));
    seal(&mut header, SealKey { binding_management_key: &key, care_of: AR1, correspondent: AI1 });
    with_option(home_address, next_header::MOBILITY, &header.emit_for(&home_address, &AI1))
}

/// [`AR1`] -> [`AI1`] with the home address option.
fn with_option(home_address: Ipv6Addr, protocol: u8, upper: &[u8]) -> Vec<u8> {
    let mut payload = home_address_header(protocol, &home_address).to_vec();
    payload.extend_from_slice(upper);
    ipv6::packet(Ipv6Header::new(next_header::DESTINATION_OPTIONS, 64, AR1, AI1), &payload)
}

fn home(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 1, number)
}

pub fn status(answers: &[Sent]) -> Option<u8> {
    answers.iter().find_map(|packet| Some(packet.acknowledgement()?.status.0))
}

fn bind(ai: &mut Ai, now: f64, home_address: Ipv6Addr, sequence: u16) -> Option<u8> {
    let packet = update(ai, now, home_address, sequence, 105, true);
    status(&answers(ai, now, &packet))
}

fn bound(ai: &Ai, now: f64) -> Vec<Ipv6Addr> {
    ai.bindings(at(now)).iter().map(|binding| binding.anycast).collect()
}

#[test]
fn c065_c049_a_full_cache_lets_the_idlest_go_and_never_one_in_use() {
    let mut ai = initiator(3);
    for number in 1..=3 {
        assert_eq!(bind(&mut ai, f64::from(number), home(number), 1), Some(0));
    }
    assert_eq!(bind(&mut ai, 10.0, home(4), 1), Some(130), "all were used a moment ago");
    // The first one carries packets, the second one does not.
    let used = RuleKey::between(RuleKind::HomeAddressIn, home(1), AI1);
    ai.handle_observation(at(60.0), Observation::InUse(used));
    assert_eq!(bind(&mut ai, 63.5, home(4), 1), Some(0));
    assert_eq!(bound(&ai, 63.5), [home(1), home(3), home(4)]);
    assert_eq!(bind(&mut ai, 63.6, home(5), 1), Some(0));
    assert_eq!(bound(&ai, 63.6), [home(1), home(4), home(5)]);
    assert_eq!(bind(&mut ai, 63.7, home(6), 1), Some(130));
    assert_eq!(bind(&mut ai, 63.8, home(4), 2), Some(0), "a refresh needs no room");
}

#[test]
fn c065_the_rules_of_the_one_that_goes_are_removed() {
    let mut ai = initiator(1);
    assert_eq!(bind(&mut ai, 1.0, home(1), 1), Some(0));
    let packet = update(&mut ai, 70.0, home(2), 1, 105, true);
    ai.handle_packet(at(70.0), &packet);
    let done: Vec<_> = std::iter::from_fn(|| ai.poll_action()).collect();
    for kind in [RuleKind::HomeAddressIn, RuleKind::RoutingHeaderOut] {
        assert!(done.contains(&Action::RemoveRule(RuleKey::between(kind, home(1), AI1))));
    }
    assert_eq!(bound(&ai, 70.0), [home(2)]);
}

#[test]
fn c080_switched_off_it_answers_as_a_host_that_never_heard_of_mobile_ipv6() {
    let mut ai = initiator(4).with_policy(AiPolicy { route_optimisation: false });
    let init = TestInit { reserved: 0, cookie: [1; 8], options: Vec::new() };
    let home_test_init = mobility(ANYCAST, AI1, Message::HomeTestInit(init.clone()));
    let care_of_test_init = mobility(AR1, AI1, Message::CareOfTestInit(init));
    let echo = with_option(ANYCAST, next_header::ICMPV6, &ping(ANYCAST, AI1)[40..]);
    for (packet, source, code) in [(home_test_init, ANYCAST, 1), (care_of_test_init, AR1, 1), (echo, AR1, 2)]
    {
        let answered = answers(&mut ai, 1.0, &packet);
        let parsed = Packet::parse(&packet).expect("a good packet");
        let expected = match &parsed.home_address {
            Some(option) => option.option_offset,
            None => parsed.upper.next_header_offset,
        };
        let [error] = answered.as_slice() else { panic!("one answer: {answered:?}") };
        assert_eq!((error.source, error.destination), (AI1, source));
        let Some(Icmpv6Message::ParameterProblem { code: found, pointer, .. }) = error.icmpv6() else {
            panic!("{error:?}");
        };
        assert_eq!((*found, *pointer as usize), (code, expected));
    }
    assert!(bound(&ai, 1.0).is_empty());
}

#[test]
fn c080_n060_a_responder_takes_that_answer_for_what_it_is() {
    let mut ai = initiator(4).with_policy(AiPolicy { route_optimisation: false });
    let mut ar = registered(ArPolicy::default());
    let inits = tunnelled(&mut ar, 1.0);
    let cookie = inits.iter().find_map(Sent::care_of_cookie).expect("a Care-of Test Init");
    let init = TestInit { reserved: 0, cookie, options: Vec::new() };
    ai.handle_packet(at(1.0), &mobility(AR1, AI2, Message::CareOfTestInit(init)));
    let answer = std::iter::from_fn(|| ai.poll_action()).find_map(|action| match action {
        Action::Send(packet) => Some(packet),
        _ => None,
    });
    ar.handle_packet(at(1.1), &answer.expect("a Parameter Problem"));
    assert_eq!(ar.correspondents(at(1.1))[0].state, "plain");
}

#[test]
fn c054_updates_with_random_authenticators_are_silent_and_leave_nothing() {
    let mut ai = initiator(4);
    let good = update(&mut ai, 1.0, home(1), 1, 105, true);
    for step in 0..2000_u16 {
        let mut packet = good.clone();
        let end = packet.len();
        packet[end - 12..end - 10].copy_from_slice(&step.wrapping_add(1).to_be_bytes());
        let sum_at = 40 + 24 + 4;
        packet[sum_at..sum_at + 2].fill(0);
        let sum = ipv6::checksum(&home(1), &AI1, next_header::MOBILITY, &packet[64..]);
        packet[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
        if packet[end - 12..] != good[end - 12..] {
            assert!(answers(&mut ai, 1.0, &packet).is_empty());
        }
    }
    assert!(bound(&ai, 1.0).is_empty());
    assert_eq!(status(&answers(&mut ai, 1.0, &good)), Some(0));
}
