//! Mobile prefix discovery (RFC 3775 11.4.2, 11.4.3; catalogue N020, N039, N099 to N106).
//! The agent's advertisements arrive solicited, unsolicited, from elsewhere and corrupt.
//! Run by this test's `main`.

use std::net::Ipv6Addr;

use mga_node::protocol::action::{Action, Rule, RuleKey, RuleKind};
use mga_node::protocol::ar::{Ar, ArCommand, ArPolicy};
use mga_node::wire::icmpv6::{Icmpv6, Icmpv6Message, NeighborOption};
use mga_node::wire::ipv6::{self, next_header};
use mga_node::wire::mobility::Lifetime;

use crate::scene::*;

fn prefix(text: &str, valid_lifetime: u32, preferred_lifetime: u32) -> NeighborOption {
    NeighborOption::PrefixInformation {
        prefix_length: 64,
        flags: 0xe0,
        valid_lifetime,
        preferred_lifetime,
        reserved: 0,
        prefix: text.parse().expect("an address"),
    }
}

/// An advertisement by way of the routing header; its checksum is over the home address.
fn advertised(source: Ipv6Addr, identifier: u16, options: Vec<NeighborOption>) -> Vec<u8> {
    let message = Icmpv6Message::MobilePrefixAdvertisement { code: 0, identifier, flags: 0, options };
    routed(source, AR1, next_header::ICMPV6, &Icmpv6::from(message).emit_for(&source, &ANYCAST))
}

fn asked(packets: &[Sent]) -> Vec<u16> {
    let identifiers = packets.iter().filter_map(|packet| match packet.icmpv6() {
        Some(Icmpv6Message::MobilePrefixSolicitation { identifier, .. }) => {
            assert_eq!((packet.source, packet.destination), (AR1, AGENT));
            assert_eq!(packet.home_address, Some(ANYCAST), "N099: with the home address option");
            Some(*identifier)
        }
        _ => None,
    });
    identifiers.collect()
}

/// A registered responder that was told by status 1 to ask, and the identifier of its question.
fn asking() -> (Ar, u16) {
    let mut ar = started(config(), ArPolicy::default());
    actions(&mut ar);
    ar.handle_packet(at(0.0), &acknowledged(AGENT, AR1, 1, 500, 1000));
    let identifiers = asked(&sent(&mut ar));
    let [identifier] = identifiers.as_slice() else { panic!("one solicitation: {identifiers:?}") };
    (ar, *identifier)
}

#[test]
fn n039_n099_status_1_is_success_and_a_reason_to_ask() {
    let (ar, _) = asking();
    assert_eq!(ar.registrations(at(0.0))[0].state, "registered");
}

#[test]
fn n100_solicitations_back_off_from_three_to_32_seconds_with_new_identifiers() {
    let (mut ar, first) = asking();
    let mut identifiers = vec![first];
    let mut times = Vec::new();
    for (time, packet) in pass(&mut ar, 150.0) {
        identifiers.extend(asked(&[packet]));
        times.push(time);
    }
    assert_eq!(times, [3.0, 9.0, 21.0, 45.0, 77.0, 109.0, 141.0]);
    identifiers.sort_unstable();
    identifiers.dedup();
    assert_eq!(identifiers.len(), 8);
}

#[test]
fn n101_the_answer_ends_the_asking_until_nine_tenths_of_the_lifetime() {
    let (mut ar, identifier) = asking();
    ar.handle_packet(at(0.5), &advertised(AGENT, identifier, vec![prefix("2001:db8:0:1::", 1000, 500)]));
    assert!(sent(&mut ar).is_empty());
    let again = pass(&mut ar, 452.0);
    let times: Vec<_> =
        again.iter().map(|(time, packet)| (*time, asked(std::slice::from_ref(packet)).len())).collect();
    let [(time, 1)] = times.as_slice() else { panic!("{times:?}") };
    assert!((time - 450.5).abs() < 0.001, "{time}");
}

#[test]
fn n101_an_endless_lifetime_is_never_asked_about_again() {
    let (mut ar, identifier) = asking();
    let options = vec![prefix("2001:db8:0:1::", u32::MAX, u32::MAX)];
    ar.handle_packet(at(0.5), &advertised(AGENT, identifier, options));
    actions(&mut ar);
    assert!(pass(&mut ar, 1999.0).is_empty());
}

// covers: X206
#[test]
fn n102_an_advertisement_without_routing_header_or_from_elsewhere_is_discarded() {
    let (mut ar, identifier) = asking();
    let options = || vec![prefix("2001:db8:0:1::", 40, 40)];
    let message =
        Icmpv6Message::MobilePrefixAdvertisement { code: 0, identifier, flags: 0, options: options() };
    let mut damaged = advertised(AGENT, identifier, options());
    damaged[70] ^= 1;
    for packet in [icmpv6(AGENT, AR1, 64, message), advertised(AI1, identifier, options()), damaged] {
        ar.handle_packet(at(0.5), &packet);
        assert!(sent(&mut ar).is_empty());
        assert_eq!(ar.registrations(at(0.5))[0].remaining, 3999, "nothing was learnt");
    }
    assert_eq!(pass(&mut ar, 3.0).len(), 1, "the question is still open");
}

// covers: X206
#[test]
fn n103_an_unsolicited_advertisement_is_not_believed_but_asked_about() {
    let mut ar = registered(ArPolicy::default());
    let unsolicited = advertised(AGENT, 77, vec![prefix("2001:db8:0:1::", 40, 40)]);
    ar.handle_packet(at(1.0), &unsolicited);
    let first = asked(&sent(&mut ar));
    assert_eq!(first.len(), 1);
    assert_eq!(ar.registrations(at(1.0))[0].remaining, 3999);
    ar.handle_packet(at(1.1), &unsolicited);
    assert!(sent(&mut ar).is_empty(), "one question at a time, however many advertisements come");
    // An answer counts once.
    let answer = advertised(AGENT, first[0], vec![prefix("2001:db8:0:1::", 5000, 5000)]);
    ar.handle_packet(at(1.2), &answer);
    assert!(sent(&mut ar).is_empty());
    ar.handle_packet(at(1.3), &answer);
    assert_eq!(asked(&sent(&mut ar)).len(), 1);
}

#[test]
fn n104_q5_options_of_zero_length_end_the_advertisement_and_nothing_else() {
    let (mut ar, identifier) = asking();
    let message = Icmpv6Message::MobilePrefixAdvertisement {
        code: 0,
        identifier,
        flags: 0,
        options: vec![prefix("2001:db8:0:1::", 1000, 1000)],
    };
    let mut octets = Icmpv6::from(message).emit();
    octets.extend([0; 32]);
    let sum = ipv6::checksum(&AGENT, &ANYCAST, next_header::ICMPV6, &octets);
    octets[2..4].copy_from_slice(&sum.to_be_bytes());
    ar.handle_packet(at(0.5), &routed(AGENT, AR1, next_header::ICMPV6, &octets));
    assert!(sent(&mut ar).is_empty());
    assert_eq!(ar.registrations(at(0.5))[0].state, "registered");
    assert_eq!(pass(&mut ar, 3.0).len(), 1, "RFC 4861 6.1.2: discarded, so the question is still open");
    // A whole one is understood, with KAME's full address where the prefix should be.
    let identifier = asked(&pass(&mut ar, 9.0).into_iter().map(|(_, packet)| packet).collect::<Vec<_>>())[0];
    ar.handle_packet(at(9.5), &advertised(AGENT, identifier, vec![prefix("2001:db8:0:1::2", 1000, 1000)]));
    assert!(pass(&mut ar, 60.0).is_empty());
}

#[test]
fn n105_a_new_prefix_is_reported_with_the_address_of_the_same_identifier() {
    let (mut ar, identifier) = asking();
    ar.handle_packet(at(0.5), &advertised(AGENT, identifier, vec![prefix("2001:db8:0:77::", 900, 900)]));
    let reported = actions(&mut ar).into_iter().find_map(|action| match action {
        Action::Report(report) if report.event == "home-prefix-new" => report.anycast,
        _ => None,
    });
    assert_eq!(reported, Some("2001:db8:0:77::a".parse().expect("an address")));
}

#[test]
fn n106_a_shorter_prefix_lifetime_shortens_the_bindings_at_initiators() {
    let (mut ar, _) = asking();
    optimise(&mut ar, 1.0);
    let identifier = asked(&pass(&mut ar, 3.0).into_iter().map(|(_, packet)| packet).collect::<Vec<_>>())[0];
    ar.handle_packet(at(3.5), &advertised(AGENT, identifier, vec![prefix("2001:db8:0:1::", 100, 50)]));
    let done = actions(&mut ar);
    let told = packets(&done);
    let update = told.iter().find(|packet| packet.destination == AI2).and_then(Sent::update);
    assert_eq!(update.map(|update| update.lifetime), Some(Lifetime(25)));
    let gone = Action::RemoveRule(RuleKey::between(RuleKind::HomeAddressOut, ANYCAST, AI2));
    let rule = Rule::HomeAddressOut { anycast: ANYCAST, initiator: AI2, care_of: AR1 };
    assert!(!done.contains(&gone) && !done.contains(&Action::InstallRule(rule)), "the path is the same");
    assert_eq!(ar.registrations(at(3.5))[0].remaining, 100);
}

#[test]
fn n020_no_lifetime_beyond_the_home_prefix_is_asked_for() {
    let (mut ar, identifier) = asking();
    ar.handle_packet(at(0.5), &advertised(AGENT, identifier, vec![prefix("2001:db8:0:1::", 101, 101)]));
    ar.handle_command(at(1.5), &ArCommand::Register(None));
    let update = sent(&mut ar).iter().find_map(|packet| packet.update().cloned()).expect("a Binding Update");
    assert_eq!(update.lifetime, Lifetime(25));
}

#[test]
fn n099_a_lost_registration_has_nobody_to_ask() {
    let (mut ar, _) = asking();
    ar.handle_command(at(1.0), &ArCommand::Deregister(None));
    actions(&mut ar);
    ar.handle_packet(at(1.1), &acknowledged(AGENT, AR1, 0, 501, 0));
    assert!(pass(&mut ar, 100.0).is_empty());
}
