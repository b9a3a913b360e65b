//! One packet of every message and option, built by scapy, decodes to the values it was built from.
//! RFC 3775 section 6, RFC 4443, RFC 4861 and RFC 2473; `tests/golden/make_packets.py` is the builder.
//! Each is encoded again, from the values alone, to the same octets.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::wire::destination_options::{DestinationOption, DestinationOptions, home_address_header};
use mga_node::wire::icmpv6::Icmpv6Message::*;
use mga_node::wire::icmpv6::NeighborOption::*;
use mga_node::wire::icmpv6::{
    Icmpv6, Icmpv6Message, NeighborOption, neighbor_flags, prefix_flags, router_flags,
};
use mga_node::wire::ipv6::{self, next_header};
use mga_node::wire::mobility::MobilityOption::{
    AlternateCareOfAddress, BindingAuthorizationData, BindingRefreshAdvice, NonceIndices, PadN,
};
use mga_node::wire::mobility::{
    AcknowledgementFlags, BindingAcknowledgement, BindingError, BindingIdentifier, BindingRefreshRequest,
    BindingUpdate, Experimental, Extensions, Grant, Lifetime, Message, MessageAuthentication, MobilityHeader,
    MobilityOption, NodeIdentifier, Offer, OfferFlags, Status, Test, TestInit, Timestamp, UpdateFlags, align,
    checksum_is_valid,
};
use mga_node::wire::routing::type2_header;
use mga_node::wire::{Packet, PacketBuffer, dissect, rewrite, tunnel};

const COOKIE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const TOKEN: [u8; 8] = [0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8];
const AUTHENTICATOR: [u8; 12] = [0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78, 0x87, 0x96, 0xa5, 0xb4];
/// Of the messages with keys, in their order, by Python's `hmac`.
const PROOFS: [&str; 3] =
    ["57dca7a9435954c3fb288bc3", "cc44ad8f902f29088b358fe4", "fb71b0d9e39cf8f6362dcb6e"];
const CARE_OF: &str = "2001:db8:0:4::2";
const AGENT: &str = "2001:db8:0:1::2";
const HOME: &str = "2001:db8:0:1::a";

fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn packets() -> BTreeMap<&'static str, Vec<u8>> {
    let lines = include_str!("golden/packets.txt").lines();
    lines.map(|line| line.split_once(' ').unwrap()).map(|(name, hex)| (name, bytes(hex))).collect()
}

fn packet(name: &str) -> Vec<u8> {
    packets().remove(name).unwrap_or_else(|| panic!("no packet {name}"))
}

fn update(sequence: u16, flags: UpdateFlags, units: u16, options: &[MobilityOption]) -> Message {
    let options = align(12, options);
    Message::BindingUpdate(BindingUpdate { sequence, flags, lifetime: Lifetime(units), options })
}

fn acknowledgement(
    status: u8,
    flags: AcknowledgementFlags,
    sequence: u16,
    units: u16,
    options: &[MobilityOption],
) -> Message {
    let (status, lifetime, options) = (Status(status), Lifetime(units), align(12, options));
    Message::BindingAcknowledgement(BindingAcknowledgement { status, flags, sequence, lifetime, options })
}

/// Every Mobility Header with its reserved octet.
fn mobility() -> Vec<(&'static str, u8, Message)> {
    use AcknowledgementFlags as Back;
    use UpdateFlags as Flags;
    let home_registration = Flags::ACKNOWLEDGE | Flags::HOME_REGISTRATION;
    let authorization = BindingAuthorizationData(AUTHENTICATOR.to_vec());
    let brr = |reserved, options| Message::BindingRefreshRequest(BindingRefreshRequest { reserved, options });
    let init = |reserved| TestInit { reserved, cookie: COOKIE, options: vec![] };
    let test = |nonce_index| Test { nonce_index, cookie: COOKIE, token: TOKEN, options: vec![] };
    let error = |status, home_address| {
        Message::BindingError(BindingError { status, reserved: 0, home_address, options: vec![] })
    };
    let unknown = MobilityOption::Unknown { kind: 200, data: b"abcd".to_vec() };
    let foreign = [
        MobilityOption::Unknown { kind: 6, data: bytes("003020010db8000700000000000000000000") },
        MobilityOption::MobileNodeIdentifier(NodeIdentifier::nai("ar@example")),
        PadN(vec![0; 3]),
        MobilityOption::ReplayProtection(Timestamp(u64::from_be_bytes(COOKIE))),
        PadN(vec![0; 2]),
    ];
    let mut expected = vec![
        ("binding-refresh-request", 0, brr(0, vec![])),
        ("binding-refresh-request-options", 0, brr(0xbeef, vec![unknown, PadN(vec![])])),
        ("home-test-init", 0, Message::HomeTestInit(init(0))),
        ("care-of-test-init", 0, Message::CareOfTestInit(init(0x1234))),
        ("home-test", 0, Message::HomeTest(test(7))),
        ("care-of-test", 0, Message::CareOfTest(test(65535))),
        (
            "binding-update-home",
            0,
            update(200, home_registration, 10, &[AlternateCareOfAddress(address(CARE_OF))]),
        ),
        (
            "binding-update-all-flags",
            0,
            update(
                65535,
                home_registration | Flags::LINK_LOCAL | Flags::KEY_MANAGEMENT | Flags::MOBILE_ROUTER,
                65535,
                &[],
            ),
        ),
        ("binding-update-reserved", 0x5a, update(1, Flags::from_bits_retain(0x80ff), 1, &[])),
        (
            "binding-update-correspondent",
            0,
            update(3, Flags::empty(), 105, &[NonceIndices { home: 5, care_of: 6 }, authorization.clone()]),
        ),
        ("binding-update-deletion", 0, update(4, home_registration, 0, &[])),
        (
            "binding-update-foreign-options",
            0,
            Message::BindingUpdate(BindingUpdate {
                sequence: 9,
                flags: home_registration | Flags::MOBILE_ROUTER,
                lifetime: Lifetime(10),
                options: foreign.to_vec(),
            }),
        ),
        (
            "binding-acknowledgement-refresh-advice",
            0,
            acknowledgement(0, Back::KEY_MANAGEMENT, 200, 10, &[BindingRefreshAdvice(Lifetime(5))]),
        ),
        (
            "binding-acknowledgement-router",
            0,
            acknowledgement(1, Back::KEY_MANAGEMENT | Back::MOBILE_ROUTER, 201, 11, &[]),
        ),
        (
            "binding-acknowledgement-authorized",
            0,
            acknowledgement(0, Back::empty(), 3, 105, &[authorization]),
        ),
        ("binding-error", 0, error(BindingError::UNKNOWN_BINDING, address(HOME))),
        ("binding-error-type", 0, error(BindingError::UNRECOGNIZED_KIND, Ipv6Addr::UNSPECIFIED)),
        ("mobility-unknown", 0, Message::Unknown { kind: 18, data: b"\x01\x02unknown!".to_vec() }),
    ];
    let statuses = [
        ("binding-acknowledgement-0", Status::ACCEPTED),
        ("binding-acknowledgement-1", Status::ACCEPTED_PREFIX_DISCOVERY),
        ("binding-acknowledgement-4", Status::MCOA_NOT_COMPLETE),
        ("binding-acknowledgement-5", Status::MCOA_RETURN_HOME_WITHOUT_NDP),
        ("binding-acknowledgement-128", Status::REASON_UNSPECIFIED),
        ("binding-acknowledgement-129", Status::ADMINISTRATIVELY_PROHIBITED),
        ("binding-acknowledgement-130", Status::INSUFFICIENT_RESOURCES),
        ("binding-acknowledgement-131", Status::HOME_REGISTRATION_NOT_SUPPORTED),
        ("binding-acknowledgement-132", Status::NOT_HOME_SUBNET),
        ("binding-acknowledgement-133", Status::NOT_HOME_AGENT),
        ("binding-acknowledgement-134", Status::DUPLICATE_ADDRESS),
        ("binding-acknowledgement-135", Status::SEQUENCE_OUT_OF_WINDOW),
        ("binding-acknowledgement-136", Status::EXPIRED_HOME_NONCE),
        ("binding-acknowledgement-137", Status::EXPIRED_CARE_OF_NONCE),
        ("binding-acknowledgement-138", Status::EXPIRED_NONCES),
        ("binding-acknowledgement-139", Status::REGISTRATION_TYPE_CHANGE),
        ("binding-acknowledgement-144", Status::ID_MISMATCH),
        ("binding-acknowledgement-145", Status::MESSAGE_ID_REQUIRED),
        ("binding-acknowledgement-146", Status::AUTHENTICATION_FAILED),
        ("binding-acknowledgement-164", Status::MCOA_MALFORMED),
        ("binding-acknowledgement-165", Status::MCOA_NON_MCOA_BINDING_EXISTS),
        ("binding-acknowledgement-166", Status::MCOA_PROHIBITED),
        ("binding-acknowledgement-167", Status::MCOA_UNKNOWN_CARE_OF),
        ("binding-acknowledgement-168", Status::MCOA_BULK_PROHIBITED),
        ("binding-acknowledgement-169", Status::MCOA_HOME_AND_FOREIGN_PROHIBITED),
    ];
    expected.extend(
        statuses.map(|(name, status)| (name, 0, acknowledgement(status.0, Back::empty(), 0xabcd, 10, &[]))),
    );
    expected.extend(advanced().map(|(name, message)| (name, 0, message)));
    expected
}

/// Messages of the advanced model (docs/advanced-wire.md), with and without keys.
fn advanced() -> [(&'static str, Message); 7] {
    let home_registration = UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION;
    let extensions = Extensions::SEVERAL
        | Extensions::AFFINITY
        | Extensions::PROBING
        | Extensions::STEERING
        | Extensions::AGENTS;
    let care_of = AlternateCareOfAddress(address(CARE_OF));
    let bid = MobilityOption::BindingIdentifier(BindingIdentifier::of(7));
    let offer = Offer { extensions, metric: 1500, capacity: 2000, weight: 3, ..Offer::default() };
    let drained = Offer {
        flags: OfferFlags::DRAIN,
        extensions,
        metric: Offer::NO_METRIC,
        capacity: 0,
        weight: 0,
        more: b"later".to_vec(),
    };
    let agents = ["2001:db8:0:6::2", "2001:db8:0:7::2"].map(address).to_vec();
    let grant = MobilityOption::Experimental(Grant { extensions, agents, more: vec![] }.into());
    let [offer, drained] =
        [offer, drained].map(|offer| MobilityOption::Experimental(Experimental::from(offer)));
    let other = |bid, home_and_foreign, care_of| {
        MobilityOption::BindingIdentifier(BindingIdentifier {
            home_and_foreign,
            care_of: Some(care_of),
            ..BindingIdentifier::of(bid)
        })
    };
    let both = [other(8, true, address(CARE_OF).into()), other(9, false, [192, 0, 2, 1].into())];
    let identity = MobilityOption::MobileNodeIdentifier(NodeIdentifier::nai("ar1@example.net"));
    let noon = Duration::from_millis(1_795_953_600_250);
    let stamp =
        |late: u64| MobilityOption::ReplayProtection(Timestamp::from_unix(noon + Duration::from_secs(late)));
    let proof = |data: &str| {
        let data = bytes(data);
        let (subtype, spi) = (MessageAuthentication::MN_HA, 256);
        MobilityOption::MessageAuthentication(MessageAuthentication { subtype, spi, data })
    };
    let update = |sequence, options: &[MobilityOption]| update(sequence, home_registration, 10, options);
    let answer = |status, units, options: &[MobilityOption]| {
        acknowledgement(status, AcknowledgementFlags::empty(), 200, units, options)
    };
    [
        ("advanced-update", update(200, &[care_of.clone(), bid.clone(), offer.clone()])),
        ("advanced-update-drain", update(201, &[care_of.clone(), bid.clone(), drained])),
        ("advanced-acknowledgement", answer(0, 10, &[bid.clone(), grant.clone()])),
        ("binding-identifiers", update(202, &both)),
        (
            "keyed-update",
            update(200, &[care_of, bid.clone(), offer, identity.clone(), stamp(0), proof(PROOFS[0])]),
        ),
        (
            "keyed-acknowledgement",
            answer(0, 10, &[bid.clone(), grant, identity.clone(), stamp(0), proof(PROOFS[1])]),
        ),
        ("keyed-acknowledgement-mismatch", answer(144, 0, &[bid, identity, stamp(60), proof(PROOFS[2])])),
    ]
}

fn icmpv6() -> Vec<(&'static str, Icmpv6Message)> {
    let link_layer = vec![2, 0, 0, 0, 1, 2];
    let prefix = |flags, valid_lifetime, preferred_lifetime| PrefixInformation {
        prefix_length: 64,
        flags,
        valid_lifetime,
        preferred_lifetime,
        reserved: 0,
        prefix: address(AGENT),
    };
    let quoted = bytes(concat!(
        "600000000010873f20010db800000004000000000000000220010db8000000030000000000000002",
        "3b01020056d600000102030405060708"
    ));
    let redirected = bytes(concat!(
        "600000000012114020010db800000003000000000000000220010db800000001000000000000000a",
        "0001000200129f3b3031323334353637"
    ));
    vec![
        (
            "home-address-echo",
            EchoRequest { code: 0, identifier: 0x1234, sequence: 5, data: b"ping".to_vec() },
        ),
        ("routing-echo", EchoReply { code: 0, identifier: 0x1234, sequence: 5, data: b"pong".to_vec() }),
        (
            "home-agent-discovery-request",
            HomeAgentDiscoveryRequest { code: 0, identifier: 0x0102, reserved: 0x8000 },
        ),
        (
            "home-agent-discovery-reply",
            HomeAgentDiscoveryReply {
                code: 0,
                identifier: 0x0102,
                reserved: 0,
                home_agents: vec![address(AGENT), address("2001:db8:0:1::3")],
            },
        ),
        (
            "mobile-prefix-solicitation",
            MobilePrefixSolicitation { code: 0, identifier: 0x0304, reserved: 0, options: vec![] },
        ),
        (
            "mobile-prefix-advertisement",
            MobilePrefixAdvertisement {
                code: 0,
                identifier: 0x0304,
                flags: 0xc000,
                options: vec![prefix(
                    prefix_flags::ON_LINK | prefix_flags::AUTONOMOUS | prefix_flags::ROUTER_ADDRESS,
                    86400,
                    14400,
                )],
            },
        ),
        (
            "router-solicitation",
            RouterSolicitation {
                code: 0,
                reserved: 0,
                options: vec![SourceLinkLayerAddress(link_layer.clone())],
            },
        ),
        (
            "router-advertisement-home-agent",
            RouterAdvertisement {
                code: 0,
                hop_limit: 64,
                // The two bits below H are the router preference of RFC 4191, which scapy sets to high.
                flags: router_flags::OTHER | router_flags::HOME_AGENT | 0x08,
                lifetime: 1800,
                reachable_time: 30000,
                retransmission_timer: 1000,
                options: vec![
                    SourceLinkLayerAddress(link_layer.clone()),
                    Mtu { reserved: 0, mtu: 1460 },
                    prefix(prefix_flags::ON_LINK | prefix_flags::ROUTER_ADDRESS, u32::MAX, 4),
                    AdvertisementInterval { reserved: 0, milliseconds: 5000 },
                    HomeAgentInformation { reserved: 0, preference: -10, lifetime: 1800 },
                    NeighborOption::Unknown { kind: 200, data: b"fourteen bytes".to_vec() },
                ],
            },
        ),
        (
            "neighbor-solicitation-dad",
            NeighborSolicitation { code: 0, reserved: 0, target: address(HOME), options: vec![] },
        ),
        (
            "neighbor-advertisement-proxy",
            NeighborAdvertisement {
                code: 0,
                flags: neighbor_flags::OVERRIDE,
                target: address(HOME),
                options: vec![TargetLinkLayerAddress(link_layer)],
            },
        ),
        (
            "redirect",
            Redirect {
                code: 0,
                reserved: 0,
                target: address("fe80::2"),
                destination: address(HOME),
                options: vec![RedirectedHeader { reserved: [0; 6], packet: redirected }],
            },
        ),
        ("destination-unreachable", DestinationUnreachable { code: 3, unused: 0, invoking: quoted.clone() }),
        ("packet-too-big", PacketTooBig { code: 0, mtu: 1420, invoking: quoted.clone() }),
        ("time-exceeded", TimeExceeded { code: 1, unused: 0, invoking: quoted.clone() }),
        ("parameter-problem", ParameterProblem { code: 1, pointer: 6, invoking: quoted }),
        (
            "listener-report",
            Icmpv6Message::Unknown {
                kind: 143,
                code: 0,
                body: bytes("0000000104000000ff0200000000000000000001ff00000a"),
            },
        ),
    ]
}

/// The whole packet again, from the values that `packet` was parsed to and the payload given.
fn rebuilt(packet: &Packet<'_>, payload: &[u8]) -> Vec<u8> {
    let mut body = packet.bytes[ipv6::HEADER_LENGTH..packet.upper.offset].to_vec();
    if let [extension] = packet.headers[..] {
        let next = packet.upper.protocol;
        match extension.kind {
            next_header::DESTINATION_OPTIONS => {
                body = home_address_header(next, &packet.home_address.unwrap().address).to_vec();
            }
            next_header::ROUTING => body = type2_header(next, &packet.routing2.unwrap().address).to_vec(),
            _ => {}
        }
    }
    body.extend(payload);
    ipv6::packet(packet.header, &body)
}

#[test]
fn mobility_headers_decode_to_what_scapy_built() {
    for (name, reserved, message) in mobility() {
        let octets = packet(name);
        let packet = Packet::parse(&octets).unwrap();
        assert_eq!(packet.upper.protocol, next_header::MOBILITY, "{name}");
        let (source, destination) = (packet.final_source(), packet.final_destination());
        let parsed = MobilityHeader::parse(packet.payload()).unwrap();
        let checksum = parsed.checksum;
        assert_eq!(parsed, MobilityHeader { payload_proto: 59, reserved, checksum, message }, "{name}");
        assert!(checksum_is_valid(packet.payload(), &source, &destination), "{name}");
        let unsummed = MobilityHeader { checksum: 0, ..parsed.clone() };
        assert_eq!(rebuilt(&packet, &unsummed.emit_for(&source, &destination)), octets, "{name}");
        assert_eq!(parsed.length(), packet.payload().len(), "{name}");
    }
}

#[test]
fn icmpv6_messages_decode_to_what_scapy_built() {
    for (name, message) in icmpv6() {
        let octets = packet(name);
        let packet = Packet::parse(&octets).unwrap();
        assert_eq!(packet.upper.protocol, next_header::ICMPV6, "{name}");
        let parsed = Icmpv6::parse(packet.payload()).unwrap();
        assert_eq!(parsed.message, message, "{name}");
        let emitted = Icmpv6::from(message).emit_for(&packet.final_source(), &packet.final_destination());
        assert_eq!(rebuilt(&packet, &emitted), octets, "{name}");
    }
}

#[test]
fn chains_are_found_where_scapy_put_them() {
    let octets = packet("both-ways-udp");
    let both = Packet::parse(&octets).unwrap();
    let kinds: Vec<_> =
        both.headers.iter().map(|header| (header.kind, header.offset, header.length)).collect();
    assert_eq!(kinds, [(next_header::ROUTING, 40, 24), (next_header::DESTINATION_OPTIONS, 64, 24)]);
    assert_eq!(
        (both.upper.protocol, both.upper.next_header_offset, both.upper.offset),
        (next_header::UDP, 64, 88)
    );
    assert_eq!((both.final_source(), both.final_destination()), (address(HOME), address("2001:db8:0:1::b")));
    assert_eq!(
        ipv6::checksum(&both.final_source(), &both.final_destination(), next_header::UDP, both.payload()),
        0
    );

    let octets = packet("fragment-first");
    let first = Packet::parse(&octets).unwrap();
    assert_eq!(
        (first.upper.protocol, first.upper.next_header_offset, first.upper.offset),
        (next_header::UDP, 40, 48)
    );

    let octets = packet("fragment-later");
    let later = Packet::parse(&octets).unwrap();
    assert_eq!(
        (later.upper.protocol, later.upper.next_header_offset, later.upper.offset),
        (next_header::FRAGMENT, 6, 40)
    );
    assert_eq!(later.payload().len(), 13);
    assert!(later.headers.is_empty());

    let octets = packet("listener-report");
    let report = Packet::parse(&octets).unwrap();
    assert_eq!(report.headers.first().map(|header| header.kind), Some(next_header::HOP_BY_HOP));
}

#[test]
fn a_destination_options_header_of_another_builder_is_kept() {
    let octets = packet("tunnel-encapsulation-limit");
    let (options, length) = DestinationOptions::parse(&octets[40..]).unwrap();
    let expected = [DestinationOption::TunnelEncapsulationLimit(3), DestinationOption::PadN(vec![0])];
    assert_eq!((options.next_header, length), (next_header::IPV6, 8));
    assert_eq!(options.options, expected);
    assert_eq!(options.emit(), octets[40..48]);
}

#[test]
fn encapsulation_gives_and_decapsulation_takes_the_tunnel_of_scapy() {
    let tunnelled = packet("tunnel-echo");
    let mut buffer = PacketBuffer::new(&tunnelled);
    let outer = tunnel::decapsulate(&mut buffer).unwrap();
    assert_eq!((outer.source, outer.destination), (address(AGENT), address(CARE_OF)));
    assert_eq!(buffer.as_slice(), &tunnelled[40..]);
    let inner = Packet::parse(buffer.as_slice()).unwrap().header;
    assert_eq!((inner.traffic_class, inner.flow_label, inner.hop_limit), (0x28, 0xabcde, 62));
    tunnel::encapsulate(&mut buffer, &outer.source, &outer.destination, 64);
    assert_eq!(buffer.as_slice(), tunnelled);

    let limited = packet("tunnel-encapsulation-limit");
    let mut buffer = PacketBuffer::new(&limited);
    tunnel::decapsulate(&mut buffer).unwrap();
    assert_eq!(buffer.as_slice(), &limited[48..]);
}

#[test]
fn rewrites_give_and_take_the_headers_of_scapy() {
    let optimised = packet("home-address-echo");
    let mut buffer = PacketBuffer::new(&optimised);
    assert_eq!(rewrite::strip_home_address(&mut buffer), Ok(address(CARE_OF)));
    let plain = Packet::parse(buffer.as_slice()).unwrap();
    assert_eq!((plain.header.source, plain.headers.len()), (address(HOME), 0));
    rewrite::insert_home_address(&mut buffer, &address(CARE_OF)).unwrap();
    assert_eq!(buffer.as_slice(), optimised);

    let routed = packet("routing-echo");
    let mut buffer = PacketBuffer::new(&routed);
    assert_eq!(rewrite::strip_routing2(&mut buffer), Ok(address(CARE_OF)));
    let plain = Packet::parse(buffer.as_slice()).unwrap();
    assert_eq!((plain.header.destination, plain.header.hop_limit), (address(HOME), 63));
    rewrite::insert_routing2(&mut buffer, &address(CARE_OF)).unwrap();
    buffer.as_mut_slice()[7] = 64;
    assert_eq!(buffer.as_slice(), routed);
}

#[test]
fn every_packet_is_expected_and_told_without_fault() {
    let mut names: Vec<_> = mobility().into_iter().map(|(name, ..)| name).collect();
    names.extend(icmpv6().into_iter().map(|(name, _)| name));
    names.extend([
        "both-ways-udp",
        "fragment-first",
        "fragment-later",
        "tunnel-echo",
        "tunnel-encapsulation-limit",
    ]);
    names.sort_unstable();
    assert_eq!(packets().into_keys().collect::<Vec<_>>(), names);
    for (name, octets) in packets() {
        let told = dissect::line(&octets);
        assert!(!told.contains('[') || told.contains("[0]") || told.contains("flags ["), "{name}: {told}");
        assert!(!told.contains("bad checksum") && !told.contains("malformed"), "{name}: {told}");
    }
}
