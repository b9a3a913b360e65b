//! FreeBSD's routing messages against octets that FreeBSD's own headers laid out (`tests/golden/freebsd_routing.c`), and
//! against any octets at all. Runs on every system: the codec asks no kernel.
//! Run by `cargo test --test freebsd_routing`.

use mga_node::platform::freebsd::{
    abi::{
        IFAN_DEPARTURE, IFT_ETHER, IFT_PPP, RTF_ANNOUNCE, RTF_DONE, RTF_GATEWAY, RTF_HOST, RTF_LLDATA,
        RTF_PROTO1, RTF_STATIC, RTF_UP, RTM_ADD, RTM_DELETE, RTM_GET, RTM_MISS, RtMetrics,
    },
    routing_socket::{
        AddressChange, Arrival, For, LinkAddress, Malformed, Message, Problem, Route, Sockaddr, messages,
    },
};
use proptest::prelude::*;
use std::net::Ipv6Addr;

const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);
const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 2);
const MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

fn golden(name: &str) -> Vec<u8> {
    let text = include_str!("golden/freebsd_routing.txt");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let hex = line.unwrap_or_else(|| panic!("no golden message {name}"));
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn link(index: u16, kind: u8, octets: &[u8]) -> Sockaddr {
    Sockaddr::link(&LinkAddress { index, kind, octets: octets.to_vec() })
}

fn route(kind: u8, sequence: i32, index: u16, flags: i32) -> Route {
    Route { kind, sequence, index, flags, ..Route::default() }
}

/// The message is emitted as the headers lay it out, and read back as it was.
fn is_golden(name: &str, message: &Message) {
    let octets = golden(name);
    assert_eq!(message.emit(), octets, "{name}");
    assert_eq!(Message::parse(&octets), Ok((message.clone(), octets.len())), "{name}");
}

#[test]
fn requests_are_laid_out_as_the_headers_say() {
    for (name, kind, sequence) in [("add_route", RTM_ADD, 1), ("delete_route", RTM_DELETE, 2)] {
        let mut request = route(kind, sequence, 7, RTF_UP | RTF_HOST | RTF_STATIC | RTF_PROTO1);
        request.addresses[For::Destination] = Some(Sockaddr::ipv6(ANYCAST, 0));
        request.addresses[For::Gateway] = Some(link(7, IFT_PPP, &[]));
        is_golden(name, &Message::Route(request));
    }
    let mut proxied = route(RTM_ADD, 3, 1, RTF_HOST | RTF_STATIC | RTF_LLDATA | RTF_ANNOUNCE);
    proxied.addresses[For::Destination] = Some(Sockaddr::ipv6(ANYCAST, 0));
    proxied.addresses[For::Gateway] = Some(link(1, IFT_ETHER, &MAC));
    is_golden("add_proxied", &Message::Route(proxied));
    let mut question = route(RTM_GET, 4, 0, RTF_UP | RTF_HOST);
    question.addresses[For::Destination] = Some(Sockaddr::ipv6(FAR, 0));
    question.addresses[For::Interface] = Some(link(0, 0, &[]));
    is_golden("get_route", &Message::Route(question));
}

#[test]
fn an_answer_tells_the_way_the_source_and_the_mtu() {
    let octets = golden("answer");
    let (Message::Route(answer), _) = Message::parse(&octets).expect("a message") else { panic!("a route") };
    assert_eq!((answer.kind, answer.sequence, answer.process, answer.error), (RTM_GET, 4, 4321, 0));
    assert_eq!(answer.flags, RTF_UP | RTF_GATEWAY | RTF_DONE | RTF_STATIC);
    assert_eq!(answer.metrics, RtMetrics { rmx_mtu: 1400, rmx_weight: 1, ..RtMetrics::default() });
    let ipv6 = |purpose| answer.addresses[purpose].as_ref().and_then(Sockaddr::as_ipv6);
    let router = "fe80::1".parse().expect("an address");
    assert_eq!(ipv6(For::Destination), Some((Ipv6Addr::UNSPECIFIED, 0)));
    assert_eq!(ipv6(For::Gateway), Some((router, 1)));
    assert_eq!(ipv6(For::Own), Some((HOST, 0)));
    let interface = answer.addresses[For::Interface].as_ref().and_then(Sockaddr::as_link);
    assert_eq!(interface, Some(LinkAddress { index: 1, kind: IFT_ETHER, octets: MAC.to_vec() }));
    assert_eq!(Message::Route(answer).emit(), octets);
}

#[test]
fn events_tell_addresses_and_interfaces() {
    let octets = golden("new_address");
    let (message, _) = Message::parse(&octets).expect("a message");
    assert_eq!(message.emit(), octets);
    let Message::Address(AddressChange { added: true, index: 1, addresses, .. }) = message else {
        panic!("{message:?}")
    };
    assert_eq!(addresses[For::Own], Some(Sockaddr::ipv6(HOST, 0)));
    let mask = addresses[For::Netmask].as_ref().and_then(Sockaddr::as_ipv6).expect("a mask");
    assert_eq!(mask.0.to_bits().leading_ones(), 64);

    let octets = golden("interface_down");
    let (message, _) = Message::parse(&octets).expect("a message");
    assert_eq!(message.emit(), octets);
    let Message::Interface(state) = message else { panic!("{message:?}") };
    assert_eq!((state.index, state.flags & 1), (1, 0));

    let mut name = [0; 16];
    name[..4].copy_from_slice(b"tun7");
    is_golden("departure", &Message::Arrival(Arrival { index: 7, name, what: IFAN_DEPARTURE }));
}

#[test]
fn an_address_of_no_length_still_takes_room() {
    let mut miss = route(RTM_MISS, 0, 0, 0);
    miss.addresses[For::Destination] = Some(Sockaddr::ipv6(ANYCAST, 0));
    miss.addresses[For::Netmask] = Some(Sockaddr::default());
    miss.addresses[For::Interface] = Some(link(1, IFT_ETHER, &[]));
    is_golden("no_mask", &Message::Route(miss));
}

#[test]
fn a_scope_hidden_in_a_link_local_address_is_found() {
    let hidden: Ipv6Addr = "fe80:3::1".parse().expect("an address");
    let plain: Ipv6Addr = "fe80::1".parse().expect("an address");
    assert_eq!(Sockaddr::ipv6(hidden, 0).as_ipv6(), Some((plain, 3)));
    assert_eq!(Sockaddr::ipv6(plain, 3).as_ipv6(), Some((plain, 3)));
    assert_eq!(Sockaddr::ipv6(HOST, 0).as_ipv6(), Some((HOST, 0)));
}

#[test]
fn several_messages_of_one_read_come_one_by_one() {
    let all = [golden("new_address"), golden("departure"), golden("answer")].concat();
    assert_eq!(messages(&all).filter(Result::is_ok).count(), 3);
    let cut = &all[..all.len() - 1];
    let last = messages(cut).last().expect("a message");
    assert_eq!(last, Err(Malformed { problem: Problem::Truncated, offset: golden("answer").len() - 1 }));
}

#[test]
fn what_is_no_message_is_told_with_its_place() {
    let mut octets = golden("answer");
    let problem = |octets: &[u8]| Message::parse(octets).expect_err("malformed");
    assert_eq!(problem(&[]), Malformed { problem: Problem::Truncated, offset: 0 });
    octets[2] = 4;
    assert_eq!(problem(&octets), Malformed { problem: Problem::Version, offset: 2 });
    octets = golden("answer");
    octets[..2].copy_from_slice(&2_u16.to_ne_bytes());
    assert_eq!(problem(&octets), Malformed { problem: Problem::Length, offset: 0 });
    octets[..2].copy_from_slice(&100_u16.to_ne_bytes());
    assert_eq!(problem(&octets), Malformed { problem: Problem::Length, offset: 100 });
    octets = golden("answer");
    // The first address claims to reach beyond the message, or to have no family.
    octets[152] = 255;
    assert_eq!(problem(&octets), Malformed { problem: Problem::Address, offset: 152 });
    octets[152] = 1;
    assert_eq!(problem(&octets), Malformed { problem: Problem::Address, offset: 152 });
}

proptest! {
    #[test]
    fn any_octets_are_a_message_or_malformed(
        mut octets in prop::collection::vec(any::<u8>(), 0..400),
        kind in prop::sample::select(vec![1_u8, 4, 12, 13, 14, 17, 18]),
        mask in 0..256_i32,
    ) {
        if octets.len() >= 16 {
            let length = octets.len() as u16;
            octets[..2].copy_from_slice(&length.to_ne_bytes());
            (octets[2], octets[3]) = (5, kind);
            // Where either header has its mask.
            let at = if kind < 12 { 12 } else { 4 };
            octets[at..at + 4].copy_from_slice(&mask.to_ne_bytes());
        }
        match Message::parse(&octets) {
            Ok((message, length)) => {
                prop_assert!(length <= octets.len());
                let again = message.emit();
                let (parsed, _) = Message::parse(&again).expect("what was emitted");
                prop_assert_eq!(parsed, message);
            }
            Err(malformed) => prop_assert!(malformed.offset <= octets.len()),
        }
        prop_assert!(messages(&octets).count() <= octets.len() / 4 + 1);
    }
}
