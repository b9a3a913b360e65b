//! The test vectors of docs/advanced-wire.md, read out of the document: they are the packets that scapy built, they
//! mean what the text says, and their proofs (RFC 4285 5.1), computed by Python's `hmac`, hold here and for nothing else.
//! Run by cargo.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use mga_node::protocol::auth::credentials::{Claim, Credentials, Key};
use mga_node::wire::Packet;
use mga_node::wire::mobility::{MobilityHeader, MobilityOption};

const DOCUMENT: &str = include_str!("../docs/advanced-wire.md");
const CARE_OF: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2);
const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);

/// The vectors by name, in the document's order, with the sentence before each.
fn vectors() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = DOCUMENT;
    while let Some((before, after)) = rest.split_once("```hex ") {
        let sentence = before.trim_end().rsplit("\n\n").next().expect("a sentence");
        let (name, after) = after.split_once('\n').expect("a name");
        let (hex, after) = after.split_once("```").expect("an end");
        let digits: String = hex.split_whitespace().collect();
        let octets = (0..digits.len()).step_by(2);
        let octets = octets.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"));
        found.push((name, sentence, octets.collect()));
        rest = after;
    }
    found
}

fn credentials() -> Credentials {
    let key = Key::from_hex(b"000102030405060708090a0b0c0d0e0f").expect("a key");
    Credentials { identifier: "ar1@example.net".to_owned(), spi: 256, key }
}

#[test]
fn the_documents_vectors_are_those_that_scapy_built() {
    let built: BTreeMap<_, _> =
        include_str!("golden/packets.txt").lines().filter_map(|line| line.split_once(' ')).collect();
    let vectors = vectors();
    assert_eq!(vectors.len(), 6);
    for (name, _, octets) in vectors {
        let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(built.get(name), Some(&hex.as_str()), "{name}");
    }
}

#[test]
fn the_document_says_of_each_vector_what_it_decodes_to() {
    let told = vectors().into_iter().map(|(_, sentence, octets)| {
        let packet = Packet::parse(&octets).expect("a packet");
        let header = MobilityHeader::parse(packet.payload()).expect("a message");
        (sentence, header.to_string())
    });
    let words = [
        ("metric 1.5 (1500)", "(bid: 7)(offer: metric=1500 weight=3)"),
        ("drain", "(offer: metric=4294967295 weight=0 D)"),
        ("further agents 2001:db8:0:6::2", "(bid: 7)(grant: 0xf800 2001:db8:0:6::2 2001:db8:0:7::2)"),
        (
            "timestamp eeb6924040000000",
            "(mn-id: ar1@example.net)(timestamp: eeb69240.40000000)(mn-auth: spi=256)",
        ),
        ("Its acknowledgement", "(mn-id: ar1@example.net)(timestamp: eeb69240.40000000)(mn-auth: spi=256)"),
        (
            "status 144",
            "BA status=144 seq#=200 lifetime=0 (bid: 7)(mn-id: ar1@example.net)(timestamp: eeb6927c.40000000)",
        ),
    ];
    for ((sentence, told), (says, shows)) in told.zip(words) {
        assert!(sentence.contains(says), "{sentence}");
        assert!(told.contains(shows), "{told}");
    }
}

#[test]
fn proofs_of_another_implementation_hold_and_are_made_again() {
    let keyed: Vec<_> = vectors().into_iter().filter(|(name, ..)| name.starts_with("keyed-")).collect();
    assert_eq!(keyed.len(), 3);
    for (name, _, octets) in keyed {
        let packet = Packet::parse(&octets).expect("a packet");
        let mut header = MobilityHeader::parse(packet.payload()).expect("a message");
        let original = header.clone();
        let claim = Claim::of(original.message.options()).expect("a claim");
        let holds = |mh: &[u8], care_of: &Ipv6Addr, anycast: &Ipv6Addr, with: &Credentials| {
            with.prove_true(&claim, mh, care_of, anycast)
        };
        let good = credentials();
        assert!(good.are_named_by(&claim) && holds(packet.payload(), &CARE_OF, &ANYCAST, &good), "{name}");

        let key = Key::from_hex(&[b'0'; 32]).expect("a key");
        assert!(!holds(packet.payload(), &CARE_OF, &ANYCAST, &Credentials { key, ..credentials() }));
        assert!(!holds(packet.payload(), &ANYCAST, &ANYCAST, &good), "the care-of address is covered");
        assert!(!holds(packet.payload(), &CARE_OF, &CARE_OF, &good), "the anycast address is covered");
        let end = packet.payload().len() - 12;
        for at in (0..end).filter(|at| !(4..6).contains(at)) {
            for bit in 0..8 {
                let mut changed = packet.payload().to_vec();
                changed[at] ^= 1 << bit;
                assert!(!holds(&changed, &CARE_OF, &ANYCAST, &good), "{name}: bit {bit} of octet {at}");
            }
        }

        let options = header.message.options_mut().expect("options");
        let Some(MobilityOption::MessageAuthentication(proof)) = options.last_mut() else {
            panic!("{name}: the proof is last")
        };
        proof.data = vec![0; 12];
        good.prove(&mut header, &CARE_OF, &ANYCAST);
        assert_eq!(header, original, "{name}");
    }
}
