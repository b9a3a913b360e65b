//! Every packet that KAME and UMIP sent: it decodes, it encodes to the same octets, its checksum is right.
//! RFC 3775 section 6 as two other implementations read it; `pcaps/README.md` says where the captures are from.
//! The counts are those of an independent decoder, `tests/golden/count_captures.py`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use mga_node::wire::destination_options::{DestinationOption, DestinationOptions};
use mga_node::wire::dissect::line;
use mga_node::wire::icmpv6::Icmpv6;
use mga_node::wire::ipv6::next_header::{DESTINATION_OPTIONS, FRAGMENT, ICMPV6, IPV6, MOBILITY, ROUTING};
use mga_node::wire::ipv6::{self, HEADER_LENGTH};
use mga_node::wire::mobility::{MobilityHeader, MobilityOption, authorization_input, checksum_is_valid};
use mga_node::wire::routing::RoutingHeader;
use mga_node::wire::{Error, ErrorKind, Packet, PacketBuffer, rewrite, tunnel};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use sha1::{Digest, Sha1};

/// Stimuli whose Mobility Header carries a wrong checksum on purpose.
const WRONG_CHECKSUMS: [(&str, &str); 4] = [
    ("kame/kame-errors/106-cnd-cksum.pcap", "a HoTI with a spoilt checksum"),
    ("kame/kame-errors/65-had-cksum.pcap", "a BU with a spoilt checksum"),
    ("kame/kame-errors/66-had-cksum-coa.pcap", "a BU summed over the care-of instead of the home address"),
    (
        "kame/kame-mn-errors/22-mh-proto-rh2.pcap",
        "an ICMPv6 error that quotes a BA after its routing header was consumed, with the care-of address put \
         back as destination and in the routing header, so that the home address is lost",
    ),
];

/// Stimuli that must not decode, and the errors they must give, for the stimulus and for each quotation.
const MALFORMED: [(&str, &str, ErrorKind, usize, usize); 5] = [
    (
        "kame/kame-errors/41-had-altcoa-badlen.pcap",
        "an alternate care-of address of 14 octets",
        ErrorKind::BadOptionLength,
        15,
        1,
    ),
    (
        "kame/kame-errors/58-had-hao-badlen.pcap",
        "a home address option of 15 octets",
        ErrorKind::BadOptionLength,
        47,
        1,
    ),
    ("kame/kame-errors/62-had-len-short.pcap", "a BU with Header Len 0", ErrorKind::BadLength, 1, 2),
    ("kame/kame-errors/78-cnd-hoti-short.pcap", "a HoTI with Header Len 0", ErrorKind::BadLength, 1, 2),
    ("kame/kame-errors/63-had-len-short-be.pcap", "a BE with Header Len 1", ErrorKind::BadLength, 1, 2),
];

fn pcaps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps")
}

/// The IPv6 packets of a capture, without link layer.
fn packets(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
    let link = reader.header().datalink;
    let mut packets = Vec::new();
    while let Some(record) = reader.next_packet() {
        let frame = record.unwrap().data.into_owned();
        let packet = match link {
            DataLink::ETHERNET if frame[12..14] == [0x86, 0xdd] => frame[14..].to_vec(),
            DataLink::ETHERNET => continue,
            DataLink::RAW => frame,
            other => panic!("{}: link type {other:?}", path.display()),
        };
        if packet[0] >> 4 == 6 {
            packets.push(packet);
        }
    }
    packets
}

#[derive(Default)]
struct Tally {
    counts: BTreeMap<String, usize>,
    errors: Vec<Error>,
}

impl Tally {
    fn add(&mut self, key: impl Into<String>) {
        *self.counts.entry(key.into()).or_default() += 1;
    }

    /// Decodes and encodes one packet and what is inside it.
    fn visit(&mut self, bytes: &[u8], place: &str) {
        let packet = match Packet::parse(bytes) {
            Ok(packet) => packet,
            Err(error) => return self.errors.push(error),
        };
        assert_eq!(packet.header.emit(), bytes[..HEADER_LENGTH], "{place}");
        for header in &packet.headers {
            let octets = &bytes[header.offset..header.offset + header.length];
            match header.kind {
                DESTINATION_OPTIONS => {
                    self.add("dst");
                    let (options, length) = DestinationOptions::parse(octets).unwrap();
                    assert_eq!((options.emit().as_slice(), length), (octets, header.length), "{place}");
                    let homes = options
                        .options
                        .iter()
                        .filter(|option| matches!(option, DestinationOption::HomeAddress(_)));
                    homes.for_each(|_| self.add("hao"));
                }
                ROUTING => {
                    let (routing, length) = RoutingHeader::parse(octets).unwrap();
                    assert_eq!((routing.emit().as_slice(), length), (octets, header.length), "{place}");
                    if routing.kind == 2 {
                        self.add("rh2");
                        assert_eq!(
                            routing.home_address(),
                            packet.routing2.map(|found| found.address),
                            "{place}"
                        );
                    }
                }
                _ => {}
            }
        }
        if packet.upper.protocol == FRAGMENT || packet.headers.iter().any(|header| header.kind == FRAGMENT) {
            return;
        }
        let (source, destination) = (packet.final_source(), packet.final_destination());
        let payload = packet.payload();
        match packet.upper.protocol {
            MOBILITY => self.visit_mobility(payload, source, destination, place),
            ICMPV6 => self.visit_icmpv6(payload, source, destination, place),
            IPV6 => {
                self.add("tunnel");
                self.visit(payload, place);
            }
            _ => {}
        }
    }

    fn visit_mobility(&mut self, payload: &[u8], source: Ipv6Addr, destination: Ipv6Addr, place: &str) {
        self.add(format!("mh{}", payload[2]));
        let valid = checksum_is_valid(payload, &source, &destination);
        if !valid {
            self.add("mh-bad");
        }
        match MobilityHeader::parse(payload) {
            Ok(header) => {
                let emitted = header.emit();
                assert_eq!(emitted, payload[..header.length()], "{place}");
                assert_eq!(MobilityHeader::parse(&emitted), Ok(header.clone()), "{place}");
                assert_eq!(header.emit_for(&source, &destination) == emitted, valid, "{place}");
            }
            Err(error) => self.errors.push(error),
        }
    }

    fn visit_icmpv6(&mut self, payload: &[u8], source: Ipv6Addr, destination: Ipv6Addr, place: &str) {
        self.add(format!("icmp{}", payload[0]));
        assert_eq!(ipv6::checksum(&source, &destination, ICMPV6, payload), 0, "{place}");
        let icmpv6 = Icmpv6::parse(payload).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(icmpv6.emit(), payload, "{place}");
        assert_eq!(icmpv6.emit_for(&source, &destination), payload, "{place}");
        if let Some(invoking) = icmpv6.message.invoking() {
            match Packet::parse(invoking) {
                Err(Error { kind: ErrorKind::Truncated, .. }) => {}
                _ => {
                    self.add("quoted");
                    self.visit(invoking, place);
                }
            }
        }
    }
}

fn expected() -> BTreeMap<String, BTreeMap<String, usize>> {
    let text = include_str!("golden/captures.txt");
    let line = |line: &str| {
        let (name, counts) = line.split_once(' ').unwrap();
        let counts = counts.split(' ').map(|count| count.split_once('=').unwrap());
        (name.to_owned(), counts.map(|(key, value)| (key.to_owned(), value.parse().unwrap())).collect())
    };
    text.lines().map(line).collect()
}

#[test]
fn every_packet_decodes_encodes_and_sums_as_counted_by_scapy() {
    let expected = expected();
    assert_eq!(expected.len(), 170);
    let mut headers = 0;
    for (name, mut counts) in expected {
        let mut tally = Tally::default();
        for (index, packet) in packets(&pcaps().join(&name)).iter().enumerate() {
            tally.add("ip");
            tally.visit(packet, &format!("{name} packet {}", index + 1));
        }
        let malformed = MALFORMED.iter().find(|(file, ..)| *file == name);
        let errors =
            malformed.map_or(Vec::new(), |&(_, _, kind, offset, count)| vec![Error { kind, offset }; count]);
        assert_eq!(tally.errors, errors, "{name} {:?}", malformed.map(|(_, reason, ..)| reason));
        if name.ends_with("58-had-hao-badlen.pcap") {
            // The packet ends for us where the option is wrong; scapy reads on.
            counts = BTreeMap::from([("ip".to_owned(), 1)]);
        }
        let reason = WRONG_CHECKSUMS.iter().find(|(file, _)| *file == name);
        assert_eq!(tally.counts.contains_key("mh-bad"), reason.is_some(), "{name} {reason:?}");
        assert_eq!(tally.counts, counts, "{name}");
        let mobility = counts.iter().filter(|(key, _)| key.starts_with("mh") && *key != "mh-bad");
        headers += mobility.map(|(_, count)| count).sum::<usize>();
    }
    // As many as tshark finds too (`mip6.mhtype`), less the one behind the malformed option.
    assert_eq!(headers, 1330);
}

#[test]
fn a_line_tells_faults_of_the_faulty_stimuli_and_of_no_other_packet() {
    for name in expected().into_keys() {
        let (mut malformed, mut wrong) = (0, false);
        for packet in packets(&pcaps().join(&name)) {
            let told = line(&packet);
            malformed += usize::from(told.contains("[malformed:"));
            wrong |= told.contains("[bad checksum]");
            assert!(!told.contains("[truncated"), "{name}: {told}");
        }
        let known = MALFORMED.iter().find(|(file, ..)| *file == name).map_or(0, |&(.., count)| count);
        assert_eq!(malformed, known, "{name}");
        assert_eq!(wrong, WRONG_CHECKSUMS.iter().any(|(file, _)| *file == name), "{name}");
    }
}

/// Takes every header that KAME and UMIP inserted out and puts it in again.
#[test]
fn rewrites_and_tunnels_insert_what_kame_and_umip_insert() {
    let (mut homes, mut routings, mut tunnels) = (0, 0, 0);
    for name in expected().into_keys() {
        for octets in packets(&pcaps().join(&name)) {
            let Ok(packet) = Packet::parse(&octets) else { continue };
            let length = HEADER_LENGTH + usize::from(packet.header.payload_length);
            let octets = &octets[..length];
            if packet.home_address.is_some() && !packet.duplicate_home_address {
                let mut buffer = PacketBuffer::new(octets);
                let care_of = rewrite::strip_home_address(&mut buffer).unwrap();
                assert_eq!(buffer.len() + 24, length, "{name}");
                rewrite::insert_home_address(&mut buffer, &care_of).unwrap();
                assert_eq!(buffer.as_slice(), octets, "{name}");
                homes += 1;
            }
            if packet.routing2.is_some() {
                let mut buffer = PacketBuffer::new(octets);
                let care_of = rewrite::strip_routing2(&mut buffer).unwrap();
                assert_eq!(buffer.len() + 24, length, "{name}");
                rewrite::insert_routing2(&mut buffer, &care_of).unwrap();
                buffer.as_mut_slice()[7] += 1;
                assert_eq!(buffer.as_slice(), octets, "{name}");
                routings += 1;
            }
            if packet.upper.protocol == IPV6 {
                let mut buffer = PacketBuffer::new(octets);
                let outer = tunnel::decapsulate(&mut buffer).unwrap();
                tunnel::encapsulate(&mut buffer, &outer.source, &outer.destination, outer.hop_limit);
                // Linux copies the inner flow label to the outer header; the traffic class is zero in all of them.
                let mut expected = octets.to_vec();
                expected[..4].copy_from_slice(&[0x60, 0, 0, 0]);
                assert_eq!(buffer.as_slice(), expected, "{name}");
                tunnels += 1;
            }
        }
    }
    assert_eq!((homes, routings, tunnels), (1560, 1735, 1406));
}

#[test]
fn every_capture_has_its_counts() {
    let expected = expected();
    let mut found = 0;
    let mut folders = vec![pcaps()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "pcap") {
                let name = path.strip_prefix(pcaps()).unwrap().to_str().unwrap().to_owned();
                assert!(expected.contains_key(&name), "{name} is not counted");
                found += 1;
            }
        }
    }
    assert_eq!(found, expected.len());
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// RFC 3775 section 6.2.7 over what KAME put on the wire, with the keys that its log tells.
#[test]
fn the_authenticators_of_kame_cover_the_authorization_input() {
    let folder = pcaps().join("kame/kame-rr-vectors");
    let vectors = fs::read_to_string(folder.join("vectors.txt")).unwrap();
    let after = |label: &str| {
        let (_, rest) = vectors.split_once(label).unwrap();
        bytes(rest.split_whitespace().next().unwrap())
    };
    let home_token = after("home keygen token ");
    let both = after("Kbm ");
    let home_only = Sha1::digest(&home_token).to_vec();
    let (care_of, correspondent): (Ipv6Addr, Ipv6Addr) =
        ("2001:db8:0:4::2".parse().unwrap(), "2001:db8:0:2::2".parse().unwrap());
    let mut keys = Vec::new();
    for octets in packets(&folder.join("exchange.pcap")) {
        let packet = Packet::parse(&octets).unwrap();
        let Some(input) = authorization_input(packet.payload()) else { continue };
        let header = MobilityHeader::parse(packet.payload()).unwrap();
        let Some(MobilityOption::BindingAuthorizationData(authenticator)) = header.message.options().last()
        else {
            panic!("the last option is the authorization");
        };
        let fits = |key: &[u8]| {
            let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap();
            mac.update(&care_of.octets());
            mac.update(&correspondent.octets());
            mac.update(&input);
            mac.finalize().into_bytes()[..12] == authenticator[..]
        };
        keys.push((header.message.kind(), fits(&both), fits(&home_only)));
    }
    // BU and BA 0, BU and BA 135, then the deletion whose key comes from the home token alone.
    let (with_both, with_home) = ((true, false), (false, true));
    let seen: Vec<_> = keys.iter().map(|&(kind, both, home)| (kind, (both, home))).collect();
    assert_eq!(
        seen,
        [(5, with_both), (6, with_both), (5, with_both), (6, with_both), (5, with_home), (6, with_home)]
    );
}
