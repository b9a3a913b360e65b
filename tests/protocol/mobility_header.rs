//! What every role does with a Mobility Header before it looks at the message: the catalogue's section 2
//! (RFC 3775 6.1, 6.2, 9.2, 9.3.3). Most cases run at all three roles.
//! The names are the catalogue's case ids.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use mga_node::protocol::action::Action;
use mga_node::protocol::ai::{Ai, AiConfig};
use mga_node::protocol::haa::{Haa, HaaConfig, HomeLinkConfig};
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::mobility::{Lifetime, MobilityOption, minimum_length};

use crate::agent;
use crate::initiator::authorised;
use crate::responder;
use crate::stimulus::*;

/// The three roles, each with its own address.
fn roles() -> Vec<(&'static str, Box<dyn Role>, Ipv6Addr)> {
    let ai = Ai::new(&AiConfig { max_bindings: 16 }, Box::new(SeededRandom::new(1)));
    let mut roles: Vec<(_, Box<dyn Role>, _)> = vec![
        ("haa", Box::new(Haa::new(agent::config())), AGENT),
        ("ar", Box::new(responder::registered()), AR1),
        ("ai", Box::new(ai), AI1),
    ];
    for (_, role, _) in &mut roles {
        role.actions();
    }
    roles
}

/// A header of `units` times eight octets more than eight, of this type, filled with PadN-like zeros.
fn header(kind: u8, units: u8) -> Vec<u8> {
    let mut octets = vec![59, units, kind, 0, 0, 0];
    octets.resize((usize::from(units) + 1) * 8, 0);
    octets
}

#[test]
fn m001_m002_c078_an_unknown_type_is_a_binding_error_2_with_no_home_address() {
    for kind in [8, 9, 100, 200, 254, 255] {
        for (name, mut role, own) in roles() {
            let packet = raw_mobility(STRANGER, own, None, &header(kind, 0));
            let answer = signal(&role.answers(at(1.0), &packet)).expect(name);
            assert_eq!((answer.source, answer.destination, answer.routing2), (own, STRANGER, None));
            assert_eq!((answer.error().status, answer.error().home_address), (2, Ipv6Addr::UNSPECIFIED));
        }
    }
}

#[test]
fn m003_the_binding_error_goes_to_the_care_of_address_and_names_the_home_address() {
    for (name, mut role, own) in roles() {
        let packet = raw_mobility(STRANGER, own, Some(OTHER_ANYCAST), &header(255, 0));
        let answer = signal(&role.answers(at(1.0), &packet)).expect(name);
        assert_eq!((answer.destination, answer.error().home_address), (STRANGER, OTHER_ANYCAST));
    }
}

#[test]
fn m004_no_binding_error_to_or_for_anything_but_a_unicast_address() {
    for (name, mut role, own) in roles() {
        for (source, destination) in [(Ipv6Addr::UNSPECIFIED, own), (GROUP, own), (STRANGER, GROUP)] {
            let packet = raw_mobility(source, destination, None, &header(255, 0));
            assert!(role.answers(at(1.0), &packet).is_empty(), "{name}");
        }
    }
}

#[test]
fn m005_binding_errors_are_rate_limited() {
    for (name, mut role, own) in roles() {
        let packet = raw_mobility(STRANGER, own, None, &header(255, 0));
        let answered: usize =
            (0..100).map(|step| role.answers(at(1.0 + f64::from(step) / 100.0), &packet).len()).sum();
        assert!((20..=40).contains(&answered), "{name}: {answered} of 100 within a second");
        assert_eq!(role.answers(at(10.0), &packet).len(), 1, "{name}: the limit recovers");
    }
}

#[test]
fn m006_m008_m009_a_payload_protocol_is_a_parameter_problem_at_that_octet() {
    for kind in 0..=7 {
        for (name, mut role, own) in roles() {
            let mut octets = header(kind, 3);
            octets[0] = 58;
            let answers = role.answers(at(1.0), &raw_mobility(STRANGER, own, None, &octets));
            assert_eq!(parameter_problem(&answers), Some((STRANGER, 0, 40)), "{name} type {kind}");
            let with_option = raw_mobility(STRANGER, own, Some(OTHER_ANYCAST), &octets);
            assert_eq!(parameter_problem(&role.answers(at(1.0), &with_option)), Some((STRANGER, 0, 64)));
        }
    }
}

#[test]
fn m007_m010_the_error_goes_to_the_packets_source_and_the_binding_stays() {
    let mut haa = Haa::new(HaaConfig { ..agent::config() });
    haa.handle_packet(at(1.0), &Update::home(5).packet());
    let mut octets = header(5, 1);
    octets[0] = 58;
    let answers = haa.answers(at(2.0), &raw_mobility(AR2, AGENT, Some(ANYCAST), &octets));
    assert_eq!(parameter_problem(&answers), Some((AR2, 0, 64)));
    assert_eq!(haa.bindings(at(2.0))[0].care_of, AR1);
    let (mut ai, _) = authorised();
    for kind in [1, 2, 5] {
        let mut octets = header(kind, 3);
        octets[0] = 58;
        let answers = ai.answers(at(2.0), &raw_mobility(ANYCAST, AI1, None, &octets));
        assert_eq!(parameter_problem(&answers), Some((ANYCAST, 0, 40)));
        assert_eq!(ai.bindings(at(2.0)).len(), 1);
    }
}

#[test]
fn m011_to_m014_a_wrong_checksum_is_silent_whatever_the_type() {
    for kind in 0..=255 {
        for (name, mut role, own) in roles() {
            let mut packet = raw_mobility(STRANGER, own, None, &header(kind, 3));
            packet[45] ^= 1;
            assert!(role.answers(at(1.0), &packet).is_empty(), "{name} type {kind}");
        }
    }
}

#[test]
fn m015_the_checksum_is_over_the_home_address() {
    let mut haa = Haa::new(agent::config());
    let update = Update::home(5);
    let right = update.packet();
    let mut wrong = right.clone();
    // The same Mobility Header as if it had been sent without the option.
    let octets = raw_mobility(AR1, AGENT, None, &right[64..])[40..].to_vec();
    wrong.splice(64.., octets);
    assert!(signal(&haa.answers(at(1.0), &wrong)).is_none());
    assert!(haa.bindings(at(1.0)).is_empty());
    haa.handle_packet(at(1.0), &right);
    assert_eq!(haa.bindings(at(1.0)).len(), 1);
}

#[test]
fn m016_a_header_shorter_than_its_type_is_a_parameter_problem_at_its_length() {
    for kind in (1..=7).filter(|kind| minimum_length(*kind) > 8) {
        for (name, mut role, own) in roles() {
            let answers = role.answers(at(1.0), &raw_mobility(STRANGER, own, None, &header(kind, 0)));
            assert_eq!(parameter_problem(&answers), Some((STRANGER, 0, 41)), "{name} type {kind}");
        }
    }
}

#[test]
fn m017_m018_a_header_longer_than_the_packet_is_silent() {
    for kind in 0..=7 {
        for (name, mut role, own) in roles() {
            let mut octets = header(kind, 3);
            for units in [4, 5, 31, 255] {
                octets[1] = units;
                let answers = role.answers(at(1.0), &raw_mobility(STRANGER, own, None, &octets));
                assert!(answers.is_empty(), "{name} type {kind}");
            }
            for length in 0..8 {
                let cut = &octets[..length];
                assert!(role.answers(at(1.0), &raw_mobility(STRANGER, own, None, cut)).is_empty());
            }
        }
    }
}

#[test]
fn m019_reserved_fields_are_ignored() {
    let (mut ai, _) = authorised();
    for kind in [1, 2] {
        let mut octets = header(kind, 1);
        octets[3] = 0xff;
        octets[6..8].fill(0xff);
        let answer = signal(&ai.answers(at(2.0), &raw_mobility(AR2, AI1, None, &octets)));
        assert_eq!(answer.expect("a test").test().cookie, [0; 8]);
    }
    let mut haa = Haa::new(agent::config());
    let mut octets = Update::home(5).packet()[64..].to_vec();
    octets[3] = 0xff;
    haa.handle_packet(at(1.0), &raw_mobility(AR1, AGENT, Some(ANYCAST), &octets));
    assert_eq!(haa.bindings(at(1.0)).len(), 1);
}

#[test]
fn m021_m023_m024_unknown_options_and_padding_are_skipped() {
    let alternate = MobilityOption::AlternateCareOfAddress(AR2);
    let unknown = MobilityOption::Unknown { kind: 200, data: vec![1, 2] };
    for options in
        [vec![unknown.clone(), alternate.clone()], vec![alternate.clone(), unknown.clone(), unknown]]
    {
        let mut haa = Haa::new(agent::config());
        haa.handle_packet(at(1.0), &Update { options, ..Update::home(5) }.packet());
        assert_eq!(haa.bindings(at(1.0))[0].care_of, AR2);
    }
    let mut haa = Haa::new(agent::config());
    let mut octets = Update::home(5).packet()[64..].to_vec();
    octets[12..].copy_from_slice(&[1, 2, 0xde, 0xad]);
    haa.handle_packet(at(1.0), &raw_mobility(AR1, AGENT, Some(ANYCAST), &octets));
    assert_eq!(haa.bindings(at(1.0)).len(), 1, "padding that is not zero, exactly to the end");
}

#[test]
fn m022_m025_an_option_that_overruns_or_has_not_its_length_drops_the_message() {
    for option in [[200, 3, 0, 0], [3, 0, 0, 0], [4, 0, 0, 0], [2, 0, 0, 0], [5, 255, 0, 0]] {
        let mut haa = Haa::new(agent::config());
        let mut octets = Update::home(5).packet()[64..].to_vec();
        octets[12..].copy_from_slice(&option);
        let answers = haa.answers(at(1.0), &raw_mobility(AR1, AGENT, Some(ANYCAST), &octets));
        assert!(answers.is_empty(), "{option:?}");
        assert!(haa.bindings(at(1.0)).is_empty(), "{option:?}");
    }
}

#[test]
fn m026_two_alternate_care_of_addresses_drop_the_message() {
    let mut haa = Haa::new(agent::config());
    let options = [AR1, AR2].map(MobilityOption::AlternateCareOfAddress).to_vec();
    assert!(signal(&haa.answers(at(1.0), &Update { options, ..Update::home(5) }.packet())).is_none());
    assert!(haa.bindings(at(1.0)).is_empty());
}

#[test]
fn h017_two_home_address_options_are_dropped() {
    for (name, mut role, own) in roles() {
        let mut payload = mga_node::wire::destination_options::home_address_header(60, &ANYCAST).to_vec();
        let once = raw_mobility(STRANGER, own, Some(ANYCAST), &header(255, 0));
        payload.extend_from_slice(&once[40..]);
        let header = mga_node::wire::Ipv6Header::new(60, 64, STRANGER, own);
        let twice = mga_node::wire::ipv6::packet(header, &payload);
        assert!(role.answers(at(1.0), &twice).is_empty(), "{name}");
    }
}

/// An extension header of this kind that announces `next`, with a home address option or without.
fn extension(kind: u8, next: u8) -> Vec<u8> {
    match kind {
        60 => mga_node::wire::destination_options::home_address_header(next, &ANYCAST).to_vec(),
        // Type 0 with no segment left; a whole packet in one fragment; an authentication header of 24 octets.
        43 => vec![next, 0, 0, 0, 0, 0, 0, 0],
        44 => vec![next, 0, 0, 0, 0, 0, 0, 1],
        _ => [&[next, 4][..], &[0; 22]].concat(),
    }
}

#[test]
fn c071_the_home_address_option_counts_behind_routing_and_in_front_of_fragment_and_authentication_headers() {
    let message = raw_mobility(STRANGER, AGENT, Some(ANYCAST), &header(255, 0))[64..].to_vec();
    for (chain, is_read) in [
        (&[60][..], true),
        (&[43, 60], true),
        (&[60, 44], true),
        (&[60, 51], true),
        (&[60, 43], false),
        (&[44, 60], false),
        (&[51, 60], false),
        (&[43, 44, 60], false),
    ] {
        for (name, mut role, own) in roles() {
            let mut payload = Vec::new();
            for (position, kind) in chain.iter().enumerate() {
                payload.extend(extension(*kind, chain.get(position + 1).copied().unwrap_or(135)));
            }
            let mut message = message.clone();
            message[4..6].fill(0);
            let sum = mga_node::wire::ipv6::checksum(&ANYCAST, &own, 135, &message);
            message[4..6].copy_from_slice(&sum.to_be_bytes());
            payload.extend(message);
            let outer = mga_node::wire::Ipv6Header::new(chain[0], 64, STRANGER, own);
            let answers = role.answers(at(1.0), &mga_node::wire::ipv6::packet(outer, &payload));
            let answer = signal(&answers);
            assert_eq!(answer.is_some(), is_read, "{name} {chain:?}");
            if let Some(answer) = answer {
                assert_eq!((answer.destination, answer.error().home_address), (STRANGER, ANYCAST));
            }
        }
    }
}

// covers: X209
#[test]
fn c072_a_type_2_routing_header_ends_silently_where_there_is_no_home_address() {
    for (name, mut role, own) in roles().into_iter().filter(|(name, ..)| *name != "ar") {
        let echo = [128, 0, 0, 0, 0, 1, 0, 1];
        let message = header(255, 0);
        for (protocol, upper) in [(17, &[0; 8][..]), (58, &echo), (135, &message), (41, &[0x60; 40])] {
            for (length, segments_left) in [(2, 1), (2, 0), (2, 2), (4, 1), (0, 1)] {
                let mut payload = vec![protocol, length, 2, segments_left, 0, 0, 0, 0];
                payload.extend(ANYCAST.octets());
                payload.resize(8 * (usize::from(length) + 1), 0);
                payload.extend(upper);
                let outer = mga_node::wire::Ipv6Header::new(43, 64, STRANGER, own);
                role.actions();
                role.handle_packet(at(1.0), &mga_node::wire::ipv6::packet(outer, &payload));
                let acted = role.actions().into_iter().find(|action| !matches!(action, Action::Report(_)));
                assert_eq!(acted, None, "{name}: {protocol} {length} {segments_left}");
            }
        }
        // Another type is the host's to judge.
        let mut payload = vec![59, 0, 4, 1, 0, 0, 0, 0];
        payload.extend([0; 8]);
        let outer = mga_node::wire::Ipv6Header::new(43, 64, STRANGER, own);
        let packet = mga_node::wire::ipv6::packet(outer, &payload);
        role.handle_packet(at(1.0), &packet);
        assert!(role.actions().contains(&Action::Deliver(packet)), "{name}");
    }
}

#[test]
fn a_packet_from_a_group_of_nodes_or_from_nobody_is_for_nobody() {
    for (name, mut role, own) in roles() {
        for (source, counter) in [(GROUP, "packet.from-group"), (Ipv6Addr::UNSPECIFIED, "packet.from-nobody")]
        {
            for upper in [17, 41, 58, 59] {
                let outer = mga_node::wire::Ipv6Header::new(upper, 64, source, own);
                role.handle_packet(at(1.0), &mga_node::wire::ipv6::packet(outer, &[0; 8]));
                let acted = role.actions().into_iter().find(|action| !matches!(action, Action::Report(_)));
                assert_eq!(acted, None, "{name}: {source} {upper}");
            }
            assert_eq!(role.counters().get(counter), 4, "{name}");
        }
    }
}

/// What a sender must have made of the octets of each type (RFC 3775 6.1.2 to 6.1.9): the size without options, and
/// the reserved bits.
fn layout(kind: u8) -> (usize, &'static [(usize, u8)]) {
    match kind {
        0 => (8, &[(6, 0xff), (7, 0xff)]),
        1 | 2 => (16, &[(6, 0xff), (7, 0xff)]),
        3 | 4 => (24, &[]),
        5 => (12, &[(8, 0x0f), (9, 0xff)]),
        6 => (12, &[(7, 0x7f)]),
        7 => (24, &[(7, 0xff)]),
        _ => panic!("nobody sends type {kind}"),
    }
}

#[test]
fn m020_m027_m028_u5_what_every_role_sends_has_the_form_of_section_6() {
    let mut emitted = responder::emitted();
    emitted.extend(crate::initiator::emitted());
    let home_link = HomeLinkConfig { refresh_advice: Some(Lifetime(4)), ..HomeLinkConfig::default() };
    let mut haa = Haa::on_home_link(agent::config(), home_link);
    emitted.extend(signal(&haa.answers(at(1.0), &Update::home(5).packet())));
    let (mut kinds, mut options) = (BTreeSet::new(), BTreeSet::new());
    for Signal { octets, source, destination, home_address, routing2, .. } in emitted {
        let [payload_proto, units, kind, reserved, ..] = octets[..] else { panic!("{octets:?}") };
        assert_eq!((payload_proto, reserved), (59, 0));
        assert_eq!((usize::from(units) + 1) * 8, octets.len());
        let (from, to) = (home_address.unwrap_or(source), routing2.unwrap_or(destination));
        assert_eq!(mga_node::wire::ipv6::checksum(&from, &to, 135, &octets), 0);
        let (fixed, reserved) = layout(kind);
        assert!(reserved.iter().all(|(at, bits)| octets[*at] & bits == 0), "{octets:?}");
        kinds.insert(kind);
        let mut at = fixed;
        while at < octets.len() {
            let alignment = match octets[at] {
                0 => {
                    at += 1;
                    continue;
                }
                1 => (1, 0),
                2 | 4 => (2, 0),
                3 => (8, 6),
                5 => (8, 2),
                other => panic!("nobody sends option {other}"),
            };
            assert_eq!(at % alignment.0, alignment.1, "option {} at {at}", octets[at]);
            options.insert(octets[at]);
            at += 2 + usize::from(octets[at + 1]);
        }
        assert_eq!(at, octets.len(), "the options end with the message");
    }
    assert_eq!(kinds, (0..=7).collect());
    assert!(options.is_superset(&(2..=5).collect()), "{options:?}");
}
