//! The return routability exchange of KAME's `cnd` whose keys are published (`pcaps/kame/kame-rr-vectors`): its tokens,
//! Kbm and authenticators recomputed (RFC 3775 5.2.5, 5.2.6, 6.2.7). What the recorded daemons sent is compared with
//! what our roles send by the replays (`tests/replay`); run by this test's `main`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mga_node::protocol::auth::tokens::{authenticator, binding_management_key};
use mga_node::wire::Packet;
use mga_node::wire::mobility::{MobilityHeader, MobilityOption};
use pcap_file::pcap::PcapReader;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps/kame").join(name)
}

/// The octets of every packet of a capture.
fn packets(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(File::open(path).expect("the capture")).expect("a capture");
    let mut packets = Vec::new();
    while let Some(record) = reader.next_packet() {
        packets.push(record.expect("a record").data.into_owned());
    }
    packets
}

fn octets<const N: usize>(hex: &str) -> [u8; N] {
    let digits: Vec<_> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16)).collect();
    let octets: Result<Vec<_>, _> = digits.into_iter().collect();
    octets.expect("hexadecimal").try_into().expect("the right length")
}

#[test]
fn n054_n055_c045_the_published_vectors_of_one_kame_exchange() {
    let text = fs::read_to_string(folder("kame-rr-vectors").join("vectors.txt")).expect("the vectors");
    let word = |after: &str| {
        let at = text.find(after).expect("a field") + after.len();
        text[at..].split_whitespace().next().expect("a word").to_owned()
    };
    let home: [u8; 8] = octets(&word("home keygen token "));
    let care_of: [u8; 8] = octets(&word("care-of keygen token "));
    let kbm = binding_management_key(&home, Some(&care_of));
    assert_eq!(kbm, octets::<20>(&word("Kbm ")));
    let published: Vec<[u8; 12]> =
        text.match_indices("050c").map(|(at, found)| octets(&text[at + found.len()..][..24])).collect();
    assert_eq!(published.len(), 3);
    let mut verified = Vec::new();
    for bytes in packets(&folder("kame-rr-vectors").join("exchange.pcap")) {
        let ethernet = bytes.get(12..14) == Some(&[0x86, 0xdd]);
        let bytes = if ethernet { &bytes[14..] } else { bytes.as_slice() };
        let Ok(packet) = Packet::parse(bytes) else { continue };
        let Ok(header) = MobilityHeader::parse(packet.payload()) else { continue };
        let Some(MobilityOption::BindingAuthorizationData(received)) = header.message.options().last() else {
            continue;
        };
        let is_update = header.message.kind() == 5;
        let (source, destination) = (packet.header.source, packet.header.destination);
        let (node, correspondent) = if is_update { (source, destination) } else { (destination, source) };
        let keys = [kbm, binding_management_key(&home, None)];
        let mut computed =
            keys.iter().filter_map(|key| authenticator(key, &node, &correspondent, packet.payload()));
        let right = computed.any(|value| value == received.as_slice());
        if right && !is_update {
            verified.push(received.clone());
        }
        assert!(right, "an authenticator of the exchange");
    }
    let published: Vec<_> = published.iter().map(|value| value.to_vec()).collect();
    assert_eq!(verified, published);
}
