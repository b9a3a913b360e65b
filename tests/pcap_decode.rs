//! `mga-node decode` against tshark, whose decoder of RFC 3775 section 6 is not ours, over every reference capture and
//! the packets of the advanced model that scapy built.
//! And what the command line promises: pcapng, standard input, malformed packets, exit codes.
//! Run by cargo.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mga_node::pcap::capture;
use mga_node::pcap::tree::{Field, Tree, Value};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use serde_json::Value as Json;

/// tshark's name of a field, and the message type and path end that it has here.
const FIELDS: [(&str, Option<u8>, &str); 40] = [
    ("ipv6.src", None, "source"),
    ("ipv6.dst", None, "destination"),
    ("ipv6.hlim", None, "hop-limit"),
    ("ipv6.plen", None, "payload-length"),
    ("ipv6.flow", None, "flow-label"),
    ("ipv6.opt.mipv6.home_address", None, "destination-options.home-address"),
    ("ipv6.routing.mipv6.home_address", None, "routing.home-address"),
    ("ipv6.routing.segleft", None, "routing.segments-left"),
    ("mip6.proto", None, "mobility.payload-proto"),
    ("mip6.hlen", None, "mobility.header-length"),
    ("mip6.mhtype", None, "mobility.type"),
    ("mip6.csum", None, "mobility.checksum"),
    ("mip6.hoti.cookie", Some(1), "mobility.home-init-cookie"),
    ("mip6.coti.cookie", Some(2), "mobility.care-of-init-cookie"),
    ("mip6.hot.nindex", Some(3), "mobility.home-nonce-index"),
    ("mip6.hot.cookie", Some(3), "mobility.home-init-cookie"),
    // tshark has one name for both tokens.
    ("mip6.hot.token", None, "keygen-token"),
    ("mip6.cot.nindex", Some(4), "mobility.care-of-nonce-index"),
    ("mip6.cot.cookie", Some(4), "mobility.care-of-init-cookie"),
    ("mip6.bu.seqnr", Some(5), "mobility.sequence"),
    ("mip6.bu.lifetime", Some(5), "mobility.lifetime"),
    ("mip6.ba.status", Some(6), "mobility.status"),
    ("mip6.ba.seqnr", Some(6), "mobility.sequence"),
    ("mip6.ba.lifetime", Some(6), "mobility.lifetime"),
    ("mip6.be.status", Some(7), "mobility.status"),
    ("mip6.be.haddr", Some(7), "mobility.home-address"),
    ("mip6.bra.interval", None, "mobility.refresh-interval"),
    ("mip6.acoa.acoa", None, "mobility.alternate-care-of-address"),
    ("mip6.ni.hni", None, "nonce-indices.home"),
    ("mip6.ni.cni", None, "nonce-indices.care-of"),
    ("mip6.bad.auth", None, "mobility.authenticator"),
    ("mip6.bi.bid", None, "binding-identifier.bid"),
    ("mip6.mnid.subtype", None, "mobile-node-identifier.subtype"),
    ("mip6.mnid.identifier", None, "mobile-node-identifier.identifier"),
    ("mip6.auth.subtype", None, "message-authentication.subtype"),
    // The authenticator is not compared: tshark 4 leaves its last two octets out.
    ("mip6.auth.mobility_spi", None, "message-authentication.spi"),
    ("icmpv6.type", None, "icmpv6.type"),
    ("icmpv6.code", None, "icmpv6.code"),
    ("icmpv6.mip6.home_agent_address", None, "icmpv6.home-agent"),
    ("icmpv6.opt.prefix.valid_lifetime", None, "prefix-information.valid-lifetime"),
];

/// Stimuli that are malformed on purpose, where the two decoders stop at different places.
const MALFORMED: [&str; 5] = [
    "41-had-altcoa-badlen.pcap",
    "58-had-hao-badlen.pcap",
    "62-had-len-short.pcap",
    "63-had-len-short-be.pcap",
    "78-cnd-hoti-short.pcap",
];

fn captures() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "pcap") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert_eq!(found.len(), 170);
    found
}

/// A capture of those packets in `tests/golden/packets.txt` that have options of the advanced model.
fn advanced_model(folder: &Path) -> PathBuf {
    let path = folder.join("advanced.pcapng");
    let advanced = ["advanced-", "keyed-", "binding-identifiers "];
    let lines = include_str!("golden/packets.txt").lines();
    let packets = lines.filter(|line| advanced.iter().any(|name| line.starts_with(name))).map(|line| {
        let hex = line.split_once(' ').unwrap().1;
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    });
    fs::write(&path, pcapng(packets.map(|packet| (Duration::ZERO, packet)))).unwrap();
    path
}

fn pcapng(packets: impl Iterator<Item = (Duration, Vec<u8>)>) -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let linktype = DataLink::RAW;
    writer
        .write_pcapng_block(InterfaceDescriptionBlock { linktype, snaplen: 0, options: Vec::new() })
        .unwrap();
    for (at, packet) in packets {
        writer
            .write_pcapng_block(EnhancedPacketBlock {
                interface_id: 0,
                // Units of the interface, microseconds, in a field that the crate calls nanoseconds.
                timestamp: Duration::from_nanos(u64::try_from(at.as_micros()).unwrap()),
                original_len: u32::try_from(packet.len()).unwrap(),
                data: packet.into(),
                options: Vec::new(),
            })
            .unwrap();
    }
    writer.into_inner()
}

/// A value in tshark's words: numbers in decimal, octets in hexadecimal.
fn told(field: &Field) -> String {
    match &field.value {
        Value::Number(number) => number.to_string(),
        Value::Bits(bits, _) | Value::Flags(bits, ..) => bits.to_string(),
        Value::Checksum(sum, _) => sum.to_string(),
        Value::Address(address) => address.to_string(),
        Value::Octets(octets) => octets.iter().map(|octet| format!("{octet:02x}")).collect(),
        other => panic!("{}: {other:?}", field.name),
    }
}

/// A value of tshark's, hexadecimal numbers made decimal.
fn plain(value: &str) -> String {
    match value.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16)) {
        Some(Ok(number)) => number.to_string(),
        _ => value.to_owned(),
    }
}

/// A text as the octets that it is.
fn octets(text: &str) -> String {
    text.bytes().map(|octet| format!("{octet:02x}")).collect()
}

fn ours(tree: &Tree) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new(); FIELDS.len()];
    for (at, field) in tree.fields.iter().enumerate() {
        if field.value == Value::Group || field.depth == 0 {
            continue;
        }
        let path = tree.path(at).split('.').map(strip_count).collect::<Vec<_>>().join(".");
        // The MH Type stands two fields before the checksum of the message that a field belongs to.
        let mh_type = tree
            .fields
            .iter()
            .take(at)
            .rev()
            .find(|earlier| earlier.name == "type" && earlier.depth <= field.depth && earlier.depth > 1);
        for ((_, wanted, end), values) in FIELDS.iter().zip(&mut found) {
            let fits = match !end.contains('.') {
                true if *end == "keygen-token" => path.ends_with("-keygen-token"),
                true => {
                    let (group, name) = path.rsplit_once('.').unwrap();
                    name == *end && (group.ends_with("ipv6") || group.ends_with("invoking-packet"))
                }
                false => path.ends_with(&format!(".{end}")),
            };
            let of_type = wanted.is_none_or(|wanted| {
                mh_type.is_some_and(|field| field.value == Value::Number(wanted.into()))
            });
            if fits && of_type {
                values.push(told(field));
            }
        }
    }
    found
}

fn strip_count(part: &str) -> &str {
    part.split_once('#').map_or(part, |(name, _)| name)
}

#[test]
fn every_field_is_what_tshark_says() {
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("skipped: tshark is not installed");
        return;
    }
    let mut compared: BTreeMap<&str, usize> = BTreeMap::new();
    let folder = std::env::temp_dir().join(format!("mga-node-decode-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for path in captures().into_iter().chain([advanced_model(&folder)]) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if MALFORMED.contains(&name) {
            continue;
        }
        let mut tshark = Command::new("tshark");
        tshark
            .args(["-n", "-Y", "ipv6", "-T", "fields", "-E", "separator=;", "-E", "aggregator=,", "-r"])
            .arg(&path);
        // Ours takes packets apart one by one.
        tshark.args(["-o", "ipv6.defragment:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE"]);
        tshark.args(FIELDS.iter().flat_map(|(field, ..)| ["-e", field]));
        let output = tshark.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let theirs = String::from_utf8(output.stdout).unwrap();
        let frames = capture::read(&path).unwrap();
        let origin = frames.first().map_or(Duration::ZERO, |frame| frame.at);
        assert_eq!(theirs.lines().count(), frames.len(), "{name}");
        for (number, (line, frame)) in (1..).zip(theirs.lines().zip(&frames)) {
            let tree = Tree::of_frame(frame, origin);
            for (((field, ..), theirs), ours) in FIELDS.iter().zip(line.split(';')).zip(ours(&tree)) {
                let plain: fn(&str) -> String = if *field == "mip6.mnid.identifier" { octets } else { plain };
                let theirs: Vec<String> =
                    theirs.split(',').filter(|value| !value.is_empty()).map(plain).collect();
                assert_eq!(ours, theirs, "{name} packet {number} {field}\n{}", tree.text());
                *compared.entry(field).or_default() += ours.len();
            }
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    for (field, ..) in FIELDS {
        let rare = ["mip6.bra", "mip6.bi", "mip6.mnid", "mip6.auth"].iter().any(|of| field.starts_with(of));
        let wanted = if rare { 1 } else { 4 };
        assert!(compared.get(field).is_some_and(|count| *count >= wanted), "{field}: {compared:?}");
    }
}

fn decode(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mga-node"))
        .arg("decode")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that is given a file does not read this; that it does not is no failure.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

const SECTION_5_1: &str = "pcaps/kame/kame-section5.1/haa.pcap";

#[test]
fn standard_input_and_pcapng_give_the_lines_of_the_file() {
    let from_file = decode(&[SECTION_5_1], &[]);
    assert_eq!(from_file.status.code(), Some(0));
    assert!(text(&from_file).contains("mobility: BA status=135 seq#=200"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SECTION_5_1);
    assert_eq!(decode(&["-"], &fs::read(&path).unwrap()).stdout, from_file.stdout);
    let frames = capture::read(&path).unwrap();
    let again = pcapng(frames.into_iter().map(|frame| (frame.at, frame.ipv6)));
    assert_eq!(text(&decode(&["-"], &again)), text(&from_file));
}

#[test]
fn a_tree_and_its_json_tell_every_field() {
    let tree = text(&decode(&[SECTION_5_1, "--tree", "--filter", "ba"], &[]));
    for line in ["      home-address: 2001:db8:0:1::a", "      status: 135 (Sequence number out of window)"] {
        assert!(tree.lines().any(|found| found == line), "{line}\n{tree}");
    }
    let output = decode(&[SECTION_5_1, "--json", "--filter", "bu", "--filter", "2001:db8:0:5::2"], &[]);
    let first: Json = serde_json::from_str(text(&output).lines().next().unwrap()).unwrap();
    let part = |list: &Json, name: &str| {
        list.as_array().unwrap().iter().find(|field| field["name"] == name).unwrap().clone()
    };
    let mobility = part(&part(&first["tree"], "ipv6")["fields"], "mobility");
    assert_eq!(part(&mobility["fields"], "sequence")["value"], 100);
    assert_eq!(part(&mobility["fields"], "lifetime")["note"], "40 s");
    assert_eq!(part(&mobility["fields"], "flags")["note"], "AH");
    assert_eq!((&first["message"], &first["number"]), (&Json::from("Binding Update"), &Json::from(20)));
}

#[test]
fn a_malformed_packet_is_told_with_kind_and_offset_and_is_no_failure() {
    let output = decode(&["pcaps/kame/kame-errors/41-had-altcoa-badlen.pcap", "--tree"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("    malformed: bad option length at octet 79"), "{}", text(&output));
}

#[test]
fn what_cannot_be_read_ends_with_2_and_says_why() {
    for (arguments, input, words) in [
        (["no-such-file"], &[][..], "no-such-file: No such file"),
        (["-"], &b"GIF89a and more"[..], "neither"),
        (["-"], &b""[..], "damaged"),
        (["--no-such-option"], &[][..], "--no-such-option"),
    ] {
        let output = decode(&arguments, input);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words) || said.contains("not a pcap or pcapng file"), "{said}");
    }
    // What was read before the damage is told all the same.
    let mut bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(SECTION_5_1)).unwrap();
    bytes.truncate(bytes.len() - 7);
    let output = decode(&["-"], &bytes);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output).lines().count(), 50);
}
