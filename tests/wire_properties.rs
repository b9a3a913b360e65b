//! What holds for all octets and all values: parsing is total, encoding is its inverse, rewrites have
//! inverses and leave upper-layer checksums right. RFC 3775 section 6, RFC 2473, RFC 4443.
//! Random octets are joined by captured packets with octets changed, which reach deeper.

use std::net::Ipv6Addr;

use mga_node::wire::destination_options::{DestinationOption, DestinationOptions, home_address_header};
use mga_node::wire::icmpv6::{ErrorReason, Icmpv6, Icmpv6Message, NeighborOption, error_packet};
use mga_node::wire::ipv6::{self, Ipv6Header, next_header};
use mga_node::wire::mobility::{
    AcknowledgementFlags, BindingAcknowledgement, BindingError, BindingIdentifier, BindingRefreshRequest,
    BindingUpdate, Experimental, Extensions, Grant, Lifetime, Message, MessageAuthentication, MobilityHeader,
    MobilityOption, NodeIdentifier, Offer, OfferFlags, Status, Test, TestInit, Timestamp, UpdateFlags, align,
    authorization_input, checksum_is_valid, message_authentication_input, option_kind,
};
use mga_node::wire::routing::{RoutingHeader, type2_header};
use mga_node::wire::{Packet, PacketBuffer, dissect, rewrite, tunnel};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Whole packets that scapy built: something of everything.
fn seeds() -> Vec<Vec<u8>> {
    let octets = |hex: &str| {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let lines = include_str!("golden/packets.txt").lines();
    lines.map(|line| octets(line.split_once(' ').unwrap().1)).collect()
}

/// A packet with some octets changed, and cut or left whole.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    (select(seeds()), vec((any::<Index>(), any::<u8>()), 0..6), proptest::option::of(any::<Index>()))
        .prop_map(|(mut octets, changes, cut)| {
            for (index, value) in changes {
                let at = index.index(octets.len());
                octets[at] = value;
            }
            if let Some(cut) = cut {
                octets.truncate(cut.index(octets.len()));
            }
            octets
        })
}

fn any_octets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => vec(any::<u8>(), 0..200), 3 => mutated()]
}

fn address() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from)
}

fn mobility_option() -> impl Strategy<Value = MobilityOption> {
    prop_oneof![
        Just(MobilityOption::Pad1),
        vec(any::<u8>(), 0..20).prop_map(MobilityOption::PadN),
        any::<u16>().prop_map(|units| MobilityOption::BindingRefreshAdvice(Lifetime(units))),
        address().prop_map(MobilityOption::AlternateCareOfAddress),
        any::<(u16, u16)>().prop_map(|(home, care_of)| MobilityOption::NonceIndices { home, care_of }),
        vec(any::<u8>(), 0..30).prop_map(MobilityOption::BindingAuthorizationData),
        (6u8.., vec(any::<u8>(), 0..40))
            .prop_filter("a type that has values of its own", |(kind, _)| !TYPED.contains(kind))
            .prop_map(|(kind, data)| MobilityOption::Unknown { kind, data }),
        (any::<u8>(), vec(any::<u8>(), 0..30)).prop_map(|(subtype, identifier)| {
            MobilityOption::MobileNodeIdentifier(NodeIdentifier { subtype, identifier })
        }),
        message_authentication(),
        any::<u64>().prop_map(|time| MobilityOption::ReplayProtection(Timestamp(time))),
        experimental().prop_map(MobilityOption::Experimental),
        (any::<(u16, u8, bool)>(), 0u8..0x80, proptest::option::of(any::<std::net::IpAddr>())).prop_map(
            |((bid, status, home_and_foreign), reserved, care_of)| {
                let status = Status(status);
                let identifier = BindingIdentifier { bid, status, home_and_foreign, reserved, care_of };
                MobilityOption::BindingIdentifier(identifier)
            }
        ),
    ]
}

/// Option types whose octets are not told as [`MobilityOption::Unknown`].
const TYPED: [u8; 5] = [
    option_kind::MOBILE_NODE_IDENTIFIER,
    option_kind::MESSAGE_AUTHENTICATION,
    option_kind::REPLAY_PROTECTION,
    option_kind::EXPERIMENTAL,
    option_kind::BINDING_IDENTIFIER,
];

fn message_authentication() -> impl Strategy<Value = MobilityOption> {
    let length = prop_oneof![Just(12), 0usize..30];
    (any::<(u8, u32)>(), length.prop_flat_map(|length| vec(any::<u8>(), length))).prop_map(
        |((subtype, spi), data)| {
            MobilityOption::MessageAuthentication(MessageAuthentication { subtype, spi, data })
        },
    )
}

fn experimental() -> impl Strategy<Value = Experimental> {
    let more = || vec(any::<u8>(), 0..20);
    prop_oneof![
        (any::<(u8, u16, u32, u32, u16)>(), more()).prop_map(
            |((flags, extensions, metric, capacity, weight), more)| {
                let flags = OfferFlags::from_bits_retain(flags);
                let extensions = Extensions::from_bits_retain(extensions);
                Experimental::Offer(Offer { flags, extensions, metric, capacity, weight, more })
            }
        ),
        // A full list leaves no more than seven octets behind it.
        (any::<u16>(), vec(address(), 0..=Grant::MOST_AGENTS), vec(any::<u8>(), 0..8)).prop_map(
            |(extensions, agents, more)| {
                Experimental::Grant(Grant {
                    extensions: Extensions::from_bits_retain(extensions),
                    agents,
                    more,
                })
            }
        ),
        vec(any::<u8>(), 0..60)
            .prop_filter("might be ours", |data| !data.starts_with(b"MGA"))
            .prop_map(Experimental::Other),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let options = |offset| vec(mobility_option(), 0..6).prop_map(move |options| align(offset, &options));
    let init = (any::<u16>(), any::<[u8; 8]>(), options(16));
    let init = init.prop_map(|(reserved, cookie, options)| TestInit { reserved, cookie, options }).boxed();
    let test = (any::<u16>(), any::<[u8; 8]>(), any::<[u8; 8]>(), options(24));
    let test = test
        .prop_map(|(nonce_index, cookie, token, options)| Test { nonce_index, cookie, token, options })
        .boxed();
    prop_oneof![
        (any::<u16>(), options(8)).prop_map(|(reserved, options)| {
            Message::BindingRefreshRequest(BindingRefreshRequest { reserved, options })
        }),
        init.clone().prop_map(Message::HomeTestInit),
        init.prop_map(Message::CareOfTestInit),
        test.clone().prop_map(Message::HomeTest),
        test.prop_map(Message::CareOfTest),
        (any::<(u16, u16, u16)>(), options(12)).prop_map(|((sequence, flags, units), options)| {
            let (flags, lifetime) = (UpdateFlags::from_bits_retain(flags), Lifetime(units));
            Message::BindingUpdate(BindingUpdate { sequence, flags, lifetime, options })
        }),
        (any::<(u8, u8, u16, u16)>(), options(12)).prop_map(|((status, flags, sequence, units), options)| {
            let (status, flags) = (Status(status), AcknowledgementFlags::from_bits_retain(flags));
            let lifetime = Lifetime(units);
            Message::BindingAcknowledgement(BindingAcknowledgement {
                status,
                flags,
                sequence,
                lifetime,
                options,
            })
        }),
        (any::<(u8, u8)>(), address(), options(24)).prop_map(
            |((status, reserved), home_address, options)| {
                Message::BindingError(BindingError { status, reserved, home_address, options })
            }
        ),
        (8u8.., 0usize..5)
            .prop_flat_map(|(kind, words)| (Just(kind), vec(any::<u8>(), 2 + 8 * words)))
            .prop_map(|(kind, data)| Message::Unknown { kind, data }),
    ]
}

fn neighbor_option() -> impl Strategy<Value = NeighborOption> {
    let link_layer = || (1usize..4).prop_flat_map(|units| vec(any::<u8>(), units * 8 - 2));
    prop_oneof![
        link_layer().prop_map(NeighborOption::SourceLinkLayerAddress),
        link_layer().prop_map(NeighborOption::TargetLinkLayerAddress),
        (any::<(u8, u8, u32, u32, u32)>(), address()).prop_map(
            |((prefix_length, flags, valid_lifetime, preferred_lifetime, reserved), prefix)| {
                NeighborOption::PrefixInformation {
                    prefix_length,
                    flags,
                    valid_lifetime,
                    preferred_lifetime,
                    reserved,
                    prefix,
                }
            }
        ),
        (any::<[u8; 6]>(), (0usize..9).prop_flat_map(|units| vec(any::<u8>(), units * 8)))
            .prop_map(|(reserved, packet)| NeighborOption::RedirectedHeader { reserved, packet }),
        any::<(u16, u32)>().prop_map(|(reserved, mtu)| NeighborOption::Mtu { reserved, mtu }),
        any::<(u16, u32)>().prop_map(|(reserved, milliseconds)| NeighborOption::AdvertisementInterval {
            reserved,
            milliseconds
        }),
        any::<(u16, i16, u16)>().prop_map(|(reserved, preference, lifetime)| {
            NeighborOption::HomeAgentInformation { reserved, preference, lifetime }
        }),
        (9u8.., link_layer()).prop_map(|(kind, data)| NeighborOption::Unknown { kind, data }),
    ]
}

fn icmpv6() -> impl Strategy<Value = Icmpv6Message> {
    use Icmpv6Message::*;
    let data = || vec(any::<u8>(), 0..60);
    let options = || vec(neighbor_option(), 0..4);
    prop_oneof![
        (any::<(u8, u32)>(), data()).prop_map(|((code, mtu), invoking)| PacketTooBig { code, mtu, invoking }),
        (any::<(u8, u32)>(), data()).prop_map(|((code, pointer), invoking)| ParameterProblem {
            code,
            pointer,
            invoking
        }),
        (any::<(u8, u16, u16)>(), data()).prop_map(|((code, identifier, sequence), data)| EchoRequest {
            code,
            identifier,
            sequence,
            data
        }),
        (any::<(u8, u8, u8, u16, u32, u32)>(), options()).prop_map(
            |((code, hop_limit, flags, lifetime, reachable_time, retransmission_timer), options)| {
                RouterAdvertisement {
                    code,
                    hop_limit,
                    flags,
                    lifetime,
                    reachable_time,
                    retransmission_timer,
                    options,
                }
            }
        ),
        (any::<(u8, u32)>(), address(), options()).prop_map(|((code, flags), target, options)| {
            NeighborAdvertisement { code, flags, target, options }
        }),
        (any::<(u8, u32)>(), address(), address(), options()).prop_map(
            |((code, reserved), target, destination, options)| {
                Redirect { code, reserved, target, destination, options }
            }
        ),
        any::<(u8, u16, u16)>().prop_map(|(code, identifier, reserved)| {
            HomeAgentDiscoveryRequest { code, identifier, reserved }
        }),
        (any::<(u8, u16, u16)>(), vec(address(), 0..5)).prop_map(
            |((code, identifier, reserved), home_agents)| {
                HomeAgentDiscoveryReply { code, identifier, reserved, home_agents }
            }
        ),
        (any::<(u8, u16, u16)>(), options()).prop_map(|((code, identifier, reserved), options)| {
            MobilePrefixSolicitation { code, identifier, reserved, options }
        }),
        (any::<(u8, u16, u16)>(), options()).prop_map(|((code, identifier, flags), options)| {
            MobilePrefixAdvertisement { code, identifier, flags, options }
        }),
        (148u8.., any::<u8>(), data()).prop_map(|(kind, code, body)| Unknown { kind, code, body }),
    ]
}

/// A whole UDP packet, its checksum right for the header's addresses, perhaps behind other headers.
fn udp() -> impl Strategy<Value = Vec<u8>> {
    let tunnel_limit = vec![next_header::UDP, 0, 4, 1, 3, 1, 1, 0];
    let chains = vec![
        (next_header::UDP, vec![]),
        (next_header::HOP_BY_HOP, vec![next_header::UDP, 0, 1, 4, 0, 0, 0, 0]),
        (next_header::DESTINATION_OPTIONS, tunnel_limit.clone()),
        (next_header::FRAGMENT, vec![next_header::UDP, 0, 0, 1, 9, 9, 9, 9]),
        (
            next_header::HOP_BY_HOP,
            [vec![next_header::DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0], tunnel_limit].concat(),
        ),
    ];
    (address(), address(), any::<u8>(), 0u32..1 << 20, select(chains), vec(any::<u8>(), 0..80)).prop_map(
        |(source, destination, traffic_class, flow_label, (first, mut chain), data)| {
            let length = (8 + data.len()) as u16;
            let mut datagram = [4000u16, 53, length, 0].map(u16::to_be_bytes).concat();
            datagram.extend(data);
            let checksum = ipv6::checksum(&source, &destination, next_header::UDP, &datagram);
            datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
            chain.extend(datagram);
            let header =
                Ipv6Header { traffic_class, flow_label, ..Ipv6Header::new(first, 64, source, destination) };
            ipv6::packet(header, &chain)
        },
    )
}

/// The checksum over the addresses that upper layers see.
fn sum(octets: &[u8]) -> u16 {
    let packet = Packet::parse(octets).unwrap();
    assert_eq!(packet.upper.protocol, next_header::UDP);
    ipv6::checksum(&packet.final_source(), &packet.final_destination(), next_header::UDP, packet.payload())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_octets_make_a_parser_panic(octets in any_octets(), place in address()) {
        let told = dissect::line(&octets);
        prop_assert!(!told.is_empty());
        if let Ok(packet) = Packet::parse(&octets) {
            prop_assert!(packet.upper.offset <= octets.len());
            prop_assert!(packet.upper.next_header_offset < packet.upper.offset);
            let _ = (packet.final_source(), packet.final_destination());
        }
        if let Some(answer) = error_packet(&place, &octets, ErrorReason::PacketTooBig(1280)) {
            prop_assert!(answer.len() <= 1280);
            prop_assert!(Packet::parse(&answer).is_ok());
        }
        if let Some(relayed) = tunnel::relay_error(&octets, &place) {
            prop_assert!(Packet::parse(&relayed).is_ok());
        }
        for start in [0, 40, 64] {
            let part = octets.get(start..).unwrap_or_default();
            if let Err(error) = MobilityHeader::parse(part) {
                prop_assert!(error.offset <= part.len());
            }
            if let Err(error) = Icmpv6::parse(part) {
                prop_assert!(error.offset <= part.len());
            }
            let _ = (authorization_input(part), checksum_is_valid(part, &place, &place));
        }
    }

    #[test]
    fn rewrites_of_any_octets_give_a_packet_or_leave_it_alone(octets in any_octets(), place in address()) {
        type Rewrite = fn(&mut PacketBuffer, &Ipv6Addr) -> mga_node::wire::Result<()>;
        let rewrites: [Rewrite; 5] = [
            rewrite::insert_home_address,
            rewrite::insert_routing2,
            |packet, _| rewrite::strip_home_address(packet).map(drop),
            |packet, _| rewrite::strip_routing2(packet).map(drop),
            |packet, _| tunnel::decapsulate(packet).map(drop),
        ];
        // A quoted packet may lack its tail; no rewrite may make more of it go missing.
        let missing = |octets: &[u8]| {
            Ipv6Header::parse(octets)
                .map(|header| (40 + usize::from(header.payload_length)).saturating_sub(octets.len()))
        };
        for (index, rewrite) in rewrites.into_iter().enumerate() {
            let mut buffer = PacketBuffer::new(&octets);
            match rewrite(&mut buffer, &place) {
                Err(_) => prop_assert_eq!(buffer.as_slice(), &octets[..]),
                // What comes out of a tunnel is any IPv6 packet, a broken one too.
                Ok(()) if index == 4 => prop_assert!(Ipv6Header::parse(buffer.as_slice()).is_ok()),
                Ok(()) => prop_assert_eq!(missing(buffer.as_slice()), missing(&octets)),
            }
        }
    }

    #[test]
    fn octets_that_parse_are_emitted_again(octets in any_octets()) {
        for start in 0..octets.len().min(72) {
            let part = &octets[start..];
            if let Ok(header) = MobilityHeader::parse(part) {
                prop_assert_eq!(header.emit(), &part[..header.length()]);
            }
            if let Ok(message) = Icmpv6::parse(part) {
                prop_assert_eq!(message.emit(), part);
            }
            if let Ok((options, length)) = DestinationOptions::parse(part) {
                prop_assert_eq!(options.emit(), &part[..length]);
            }
            if let Ok((routing, length)) = RoutingHeader::parse(part) {
                prop_assert_eq!(routing.emit(), &part[..length]);
            }
            if let Ok(header) = Ipv6Header::parse(part) {
                prop_assert_eq!(&header.emit()[..], &part[..40]);
            }
        }
    }

    #[test]
    fn mobility_headers_survive(
        message in message(), fixed in any::<(u8, u8, u16)>(), source in address(), destination in address(),
    ) {
        let (payload_proto, reserved, checksum) = fixed;
        let header = MobilityHeader { payload_proto, reserved, checksum, message };
        let emitted = header.emit();
        prop_assert_eq!(emitted.len() % 8, 0);
        prop_assert_eq!(emitted.len(), header.length());
        prop_assert_eq!(MobilityHeader::parse(&emitted), Ok(header.clone()));
        let summed = header.emit_for(&source, &destination);
        prop_assert!(checksum_is_valid(&summed, &source, &destination));
        let mut spoilt = summed;
        spoilt[3] ^= 0x10;
        prop_assert!(!checksum_is_valid(&spoilt, &source, &destination));
    }

    #[test]
    fn aligned_options_stay_aligned_and_keep_their_order(options in vec(mobility_option(), 0..8)) {
        let aligned = align(12, &options);
        prop_assert_eq!(align(12, &aligned), aligned.clone());
        let is_last = |option: &MobilityOption| {
            matches!(option, MobilityOption::BindingAuthorizationData(_) | MobilityOption::MessageAuthentication(_))
        };
        let kept = |options: &[MobilityOption]| -> Vec<_> {
            options.iter().filter(|option| !option.is_padding() && !is_last(option)).cloned().collect()
        };
        prop_assert_eq!(kept(&aligned), kept(&options));
        if options.iter().any(is_last) {
            prop_assert!(aligned.iter().rfind(|option| !option.is_padding()).is_some_and(is_last));
        }
    }

    /// RFC 4285 5.1: everything but the authenticator itself, and the checksum, which is not known yet.
    #[test]
    fn the_proof_covers_all_octets_before_it_but_the_checksum(
        options in vec(mobility_option(), 0..5), proof in message_authentication(), checksum: u16,
    ) {
        let MobilityOption::MessageAuthentication(proof) = proof else { unreachable!() };
        let proof = MessageAuthentication { subtype: MessageAuthentication::MN_HA, ..proof };
        let covered = 5 + 2;
        let rest = proof.data.len();
        let mut options: Vec<_> = options
            .into_iter()
            .filter(|option| {
                !matches!(
                    option,
                    MobilityOption::BindingAuthorizationData(_) | MobilityOption::MessageAuthentication(_)
                )
            })
            .collect();
        options.push(MobilityOption::MessageAuthentication(proof));
        let options = align(12, &options);
        let before: usize =
            12 + options.iter().rev().skip_while(|option| option.is_padding()).skip(1).map(MobilityOption::length).sum::<usize>();
        let message = Message::BindingUpdate(BindingUpdate { options, ..BindingUpdate::default() });
        let header = MobilityHeader { checksum, ..MobilityHeader::new(message) };
        let octets = header.emit();
        let mut expected = octets[..before + covered].to_vec();
        expected[4..6].fill(0);
        prop_assert!(octets.len() >= before + covered + rest);
        prop_assert_eq!(message_authentication_input(&octets), Some(expected));
        let mut unproven = octets;
        unproven[before] = 200;
        prop_assert_eq!(message_authentication_input(&unproven), None);
    }

    #[test]
    fn icmpv6_messages_survive(
        message in icmpv6(), checksum: u16, source in address(), destination in address(),
    ) {
        let icmpv6 = Icmpv6 { checksum, message };
        prop_assert_eq!(Icmpv6::parse(&icmpv6.emit()), Ok(icmpv6.clone()));
        let summed = icmpv6.emit_for(&source, &destination);
        prop_assert_eq!(ipv6::checksum(&source, &destination, next_header::ICMPV6, &summed), 0);
    }

    #[test]
    fn option_and_routing_headers_survive(
        home in address(), next: u8, kind in 5u8..200, left: u8, words in 0usize..6, data in vec(any::<u8>(), 0..60),
    ) {
        let routing = RoutingHeader { next_header: next, kind, segments_left: left, data: vec![7; 4 + 8 * words] };
        let emitted = routing.emit();
        prop_assert_eq!(RoutingHeader::parse(&emitted), Ok((routing, emitted.len())));
        let type2 = type2_header(next, &home);
        let (parsed, length) = RoutingHeader::parse(&type2).unwrap();
        prop_assert_eq!((parsed.home_address(), length), (Some(home), 24));

        let (parsed, length) = DestinationOptions::parse(&home_address_header(next, &home)).unwrap();
        let expected = vec![DestinationOption::PadN(vec![0; 2]), DestinationOption::HomeAddress(home)];
        prop_assert_eq!((parsed, length), (DestinationOptions { next_header: next, options: expected }, 24));
        // Options that end short of eight octets are followed by padding and by nothing else.
        let unknown = DestinationOption::Unknown { kind, data };
        let options = DestinationOptions { next_header: next, options: vec![unknown.clone()] };
        let (parsed, _) = DestinationOptions::parse(&options.emit()).unwrap();
        prop_assert_eq!(&parsed.options[0], &unknown);
        prop_assert!(parsed.options[1..].iter().all(DestinationOption::is_padding) && parsed.options.len() <= 2);
    }

    #[test]
    fn the_home_address_option_goes_in_and_out(octets in udp(), care_of in address()) {
        let mut buffer = PacketBuffer::new(&octets);
        rewrite::insert_home_address(&mut buffer, &care_of).unwrap();
        prop_assert_eq!(buffer.len(), octets.len() + 24);
        prop_assert_eq!(sum(buffer.as_slice()), 0);
        let packet = Packet::parse(buffer.as_slice()).unwrap();
        prop_assert_eq!(packet.header.source, care_of);
        let found = packet.home_address.unwrap();
        prop_assert_eq!((found.option_offset - found.header_offset) % 8, 6);
        prop_assert_eq!(found.header_offset % 8, 0);
        prop_assert_eq!(rewrite::strip_home_address(&mut buffer), Ok(care_of));
        prop_assert_eq!(buffer.as_slice(), &octets[..]);
    }

    #[test]
    fn the_type_2_routing_header_goes_in_and_out(octets in udp(), care_of in address()) {
        let mut buffer = PacketBuffer::new(&octets);
        rewrite::insert_routing2(&mut buffer, &care_of).unwrap();
        prop_assert_eq!(sum(buffer.as_slice()), 0);
        let packet = Packet::parse(buffer.as_slice()).unwrap();
        prop_assert_eq!(packet.header.destination, care_of);
        prop_assert_eq!(packet.routing2.unwrap().segments_left, 1);
        prop_assert_eq!(rewrite::strip_routing2(&mut buffer), Ok(care_of));
        let mut expected = octets;
        expected[7] -= 1;
        prop_assert_eq!(buffer.as_slice(), &expected[..]);
    }

    #[test]
    fn both_go_in_in_either_order_and_out_in_either_order(
        octets in udp(), care_of in address(), peer in address(), routing_first: bool, home_first: bool,
    ) {
        let mut buffer = PacketBuffer::new(&octets);
        if routing_first {
            rewrite::insert_routing2(&mut buffer, &peer).unwrap();
        }
        rewrite::insert_home_address(&mut buffer, &care_of).unwrap();
        if !routing_first {
            rewrite::insert_routing2(&mut buffer, &peer).unwrap();
        }
        prop_assert_eq!(sum(buffer.as_slice()), 0);
        let packet = Packet::parse(buffer.as_slice()).unwrap();
        prop_assert!(packet.routing2.unwrap().header_offset < packet.home_address.unwrap().header_offset);
        if home_first {
            prop_assert_eq!(rewrite::strip_home_address(&mut buffer), Ok(care_of));
        }
        prop_assert_eq!(rewrite::strip_routing2(&mut buffer), Ok(peer));
        if !home_first {
            prop_assert_eq!(rewrite::strip_home_address(&mut buffer), Ok(care_of));
        }
        let mut expected = octets;
        expected[7] -= 1;
        prop_assert_eq!(buffer.as_slice(), &expected[..]);
    }

    #[test]
    fn a_tunnel_gives_back_what_went_in(octets in udp(), source in address(), destination in address()) {
        let mut buffer = PacketBuffer::new(&octets);
        tunnel::encapsulate(&mut buffer, &source, &destination, 64);
        let outer = tunnel::decapsulate(&mut buffer).unwrap();
        prop_assert_eq!(buffer.as_slice(), &octets[..]);
        let expected = Ipv6Header {
            payload_length: octets.len() as u16,
            ..Ipv6Header::new(next_header::IPV6, 64, source, destination)
        };
        prop_assert_eq!(outer, expected);
    }
}
