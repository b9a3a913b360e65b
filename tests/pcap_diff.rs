//! `mga-node pcap-diff`: what it finds between captures of KAME, of UMIP and of doctored packets, and nothing else.
//! The captures are those of thesis section 5 and of RFC 3775 return routability; properties are tested with proptest.
//! Run by cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use mga_node::pcap::allow::Allowed;
use mga_node::pcap::capture::{self, Frame, Link};
use mga_node::pcap::diff::{Options, Outcome, Totals, compare};
use mga_node::pcap::normalise::{Normalisation, Strict};
use mga_node::wire::Packet;
use mga_node::wire::ipv6::{checksum, next_header};
use proptest::prelude::*;
use serde_json::Value as Json;

const SECTION_5_1: &str = "kame/kame-section5.1/haa.pcap";
const SECTION_5_3: &str = "kame/kame-section5.3/ai2.pcap";
const VECTORS: &str = "kame/kame-rr-vectors/exchange.pcap";
const BINDING_UPDATE: u8 = 5;
const BINDING_ACKNOWLEDGEMENT: u8 = 6;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps").join(name)
}

fn frames(name: &str) -> Vec<Frame> {
    capture::read(&path(name)).unwrap()
}

/// What was found, one entry per missing or extra packet or differing field, in the order told.
fn found(expected: &[Frame], actual: &[Frame], options: &Options) -> (Totals, Vec<String>) {
    let mut list = Vec::new();
    let (expected, actual) = (expected.iter().cloned().map(Ok), actual.iter().cloned().map(Ok));
    let totals = compare(expected, actual, options, &mut |_, outcome| match outcome {
        Outcome::Same { .. } => {}
        Outcome::Missing(packet) => list.push(format!("missing {}", packet.message())),
        Outcome::Extra(packet) => list.push(format!("extra {}", packet.message())),
        Outcome::Different { expected, fields, .. } => {
            list.extend(fields.iter().map(|field| format!("{} {}", expected.message(), field.field)));
        }
    });
    (totals.unwrap(), list)
}

fn differences(expected: &[Frame], actual: &[Frame]) -> Vec<String> {
    found(expected, actual, &Options::default()).1
}

fn strict(words: &[&str]) -> Options {
    let strict =
        words.iter().map(|word| word.parse::<Strict>().unwrap()).fold(Strict::default(), Strict::and);
    Options { strict, ..Options::default() }
}

/// Where the Mobility Header of this type begins.
fn mobility(frame: &Frame, mh_type: u8) -> Option<usize> {
    let packet = Packet::parse(&frame.ipv6).ok()?;
    let is_it = packet.upper.protocol == next_header::MOBILITY && packet.payload().get(2) == Some(&mh_type);
    is_it.then_some(packet.upper.offset)
}

/// Makes the checksum of a Mobility Header right again.
fn right_checksum(frame: &mut Frame) {
    let packet = Packet::parse(&frame.ipv6).unwrap();
    let at = packet.upper.offset;
    let mut payload = packet.payload().to_vec();
    payload[4..6].fill(0);
    let sum = checksum(&packet.final_source(), &packet.final_destination(), next_header::MOBILITY, &payload);
    frame.ipv6[at + 4..at + 6].copy_from_slice(&sum.to_be_bytes());
}

/// The capture with one octet of the n-th message of a type replaced, checksum right.
fn doctored(frames: &[Frame], mh_type: u8, nth: usize, octet: usize, value: u8) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    let (at, frame) = frames
        .iter_mut()
        .filter_map(|frame| mobility(frame, mh_type).map(|at| (at, frame)))
        .nth(nth)
        .unwrap();
    assert_ne!(frame.ipv6[at + octet], value);
    frame.ipv6[at + octet] = value;
    right_checksum(frame);
    frames
}

fn pcap_diff(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mga-node"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps");
    command.arg("pcap-diff").args(arguments).current_dir(folder).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn every_reference_capture_is_the_same_as_itself_also_strictly() {
    for folder in ["kame", "umip"] {
        for entry in
            fs::read_dir(path(folder)).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir())
        {
            for file in fs::read_dir(entry.path()).unwrap().map(|file| file.unwrap().path()) {
                if file.extension().is_some_and(|extension| extension == "pcap") {
                    let frames = capture::read(&file).unwrap();
                    for options in [Options::default(), Options { all: true, ..strict(&["all"]) }] {
                        let (totals, list) = found(&frames, &frames, &options);
                        assert_eq!((list, totals.is_same()), (vec![], true), "{}", file.display());
                    }
                }
            }
        }
    }
}

#[test]
fn a_doctored_field_is_named_and_no_other() {
    let kame = frames(SECTION_5_1);
    for (mh_type, nth, octet, value, named) in [
        (BINDING_UPDATE, 0, 11, 11, "Binding Update ipv6.mobility.lifetime"),
        (BINDING_UPDATE, 1, 8, 0x80, "Binding Update ipv6.mobility.flags"),
        (BINDING_UPDATE, 2, 31, 9, "Binding Update ipv6.mobility.alternate-care-of-address"),
        (BINDING_ACKNOWLEDGEMENT, 0, 6, 1, "Binding Acknowledgement ipv6.mobility.status"),
        (BINDING_ACKNOWLEDGEMENT, 1, 9, 199, "Binding Acknowledgement ipv6.mobility.sequence"),
        (BINDING_ACKNOWLEDGEMENT, 0, 12, 2, "Binding Acknowledgement ipv6.mobility.pad-n"),
    ] {
        let actual = doctored(&kame, mh_type, nth, octet, value);
        let mut list = differences(&kame, &actual);
        if octet == 12 {
            // Another option type in its place: one field is gone and another is there.
            assert_eq!(list.len(), 2, "{list:?}");
            list.truncate(1);
        }
        if (mh_type, octet) == (BINDING_ACKNOWLEDGEMENT, 9) {
            // The responder answers with the number it was really told; that is a difference too.
            assert_eq!(list.get(1).map(String::as_str), Some("Binding Update ipv6.mobility.sequence"));
            list.truncate(1);
        }
        assert_eq!(list, [named]);
    }
}

#[test]
fn a_wrong_checksum_is_a_difference_and_another_right_one_is_not() {
    let kame = frames(SECTION_5_1);
    let mut actual = kame.clone();
    let (at, frame) =
        actual.iter_mut().find_map(|frame| mobility(frame, BINDING_UPDATE).map(|at| (at, frame))).unwrap();
    frame.ipv6[at + 4] ^= 1;
    assert_eq!(differences(&kame, &actual), ["Binding Update ipv6.mobility.checksum"]);
}

#[test]
fn cookies_and_nonces_may_be_others_but_must_belong_together() {
    let kame = frames(SECTION_5_3);
    // Another cookie in the test init and in its test: the same protocol.
    let both = doctored(&doctored(&kame, 2, 0, 15, 0x77), 4, 0, 15, 0x77);
    assert_eq!(differences(&kame, &both), [""; 0]);
    assert_eq!(
        found(&kame, &both, &strict(&["cookies"])).1,
        [
            "Care-of Test Init ipv6.mobility.care-of-init-cookie",
            "Care-of Test ipv6.mobility.care-of-init-cookie"
        ]
    );
    let one = doctored(&kame, 2, 0, 15, 0x77);
    assert_eq!(differences(&kame, &one), ["Care-of Test ipv6.mobility.care-of-init-cookie"]);
    // A nonce index in an update that no test carried: its authenticator cannot be checked, so only the index shows.
    let index = doctored(&kame, BINDING_UPDATE, 0, 15, 9);
    assert_eq!(differences(&kame, &index), ["Binding Update ipv6.mobility.nonce-indices.home"]);
}

#[test]
fn an_authenticator_is_checked_with_the_tokens_seen() {
    let kame = frames(VECTORS);
    for (mh_type, message) in
        [(BINDING_UPDATE, "Binding Update"), (BINDING_ACKNOWLEDGEMENT, "Binding Acknowledgement")]
    {
        let end =
            kame.iter().find_map(|frame| mobility(frame, mh_type).map(|at| frame.ipv6.len() - at)).unwrap();
        let wrong = doctored(&kame, mh_type, 0, end - 1, 0);
        assert_eq!(differences(&kame, &wrong), [format!("{message} ipv6.mobility.authenticator")]);
    }
    // Another token makes all authenticators after it wrong.
    let token = doctored(&kame, 3, 0, 23, 0);
    let list = differences(&kame, &token);
    assert_eq!(list.len(), 6, "{list:?}");
    assert!(list.iter().all(|line| line.ends_with(".authenticator")), "{list:?}");
}

/// Packets of `tests/golden/packets.txt` as a capture.
fn golden(names: &[&str]) -> Vec<Frame> {
    let lines = include_str!("golden/packets.txt").lines().filter_map(|line| line.split_once(' '));
    let packets: BTreeMap<_, _> = lines.collect();
    let frame = |name: &&str| {
        let hex = packets[name];
        let octets = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        Frame { at: Duration::ZERO, link: Link::Raw, ipv6: octets.collect(), cut: false }
    };
    names.iter().map(frame).collect()
}

/// RFC 4285: the time and the proofs of two runs differ, what an acknowledgement repeats does not.
#[test]
fn timestamps_may_be_others_but_must_belong_together() {
    let exchange = golden(&["keyed-update", "keyed-acknowledgement"]);
    let [update, answer] =
        ["Binding Update", "Binding Acknowledgement"].map(|of| format!("{of} ipv6.mobility.timestamp"));
    // The timestamp stands at the same place in both; seconds end with its fourth octet, the fraction begins after it.
    for octet in [87, 88] {
        let both = doctored(&doctored(&exchange, 5, 0, octet, 0x77), 6, 0, octet, 0x77);
        assert_eq!(differences(&exchange, &both), [""; 0]);
        assert_eq!(found(&exchange, &both, &strict(&["timestamps"])).1, [update.clone(), answer.clone()]);
        let one = doctored(&exchange, 6, 0, octet, 0x77);
        assert_eq!(differences(&exchange, &one), std::slice::from_ref(&answer));
    }
    // A refusal with the agent's own seconds is told from one that repeats nothing.
    let refused = golden(&["keyed-update", "keyed-acknowledgement-mismatch"]);
    let other_seconds = doctored(&refused, 6, 0, 47, 0x77);
    assert_eq!(differences(&refused, &other_seconds), [""; 0]);
    let other_fraction = doctored(&refused, 6, 0, 48, 0x77);
    assert_eq!(differences(&refused, &other_fraction), [answer]);
    let other_proof = doctored(&exchange, 5, 0, 111, 0x77);
    assert_eq!(differences(&exchange, &other_proof), [""; 0]);
    let told = found(&exchange, &other_proof, &strict(&["security"])).1;
    assert_eq!(told, ["Binding Update ipv6.mobility.message-authentication.authentication-data"]);
}

#[test]
fn the_same_traffic_from_another_place_is_the_same() {
    assert_eq!(differences(&frames(SECTION_5_1), &frames("kame/kame-section5.1/rt.pcap")), [""; 0]);
    // Registration as the responder's link and as the home link saw it, without what only one of them saw.
    let (far, near) = (frames("kame/kame-registration/ar1.pcap"), frames("kame/kame-registration/haa.pcap"));
    let only_near: BTreeSet<String> = differences(&far, &near).into_iter().collect();
    let wanted = ["extra Binding Acknowledgement", "extra Binding Update", "extra Neighbor Advertisement"];
    assert_eq!(only_near, wanted.map(String::from).into());
    let (totals, list) = found(&far, &near, &strict(&["hop-limit"]));
    assert_eq!(totals.same, 0);
    assert_eq!(list.iter().filter(|line| line.ends_with(".hop-limit")).count(), 12);
}

#[test]
fn kame_and_umip_differ_in_section_5_1_as_is_known() {
    let (kame, umip) = (frames(SECTION_5_1), frames("umip/umip-section5.1-seq200-100/haa.pcap"));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut retries = BTreeSet::new();
    let totals = compare(
        kame.into_iter().map(Ok),
        umip.into_iter().map(Ok),
        &Options::default(),
        &mut |_, outcome| match outcome {
            Outcome::Same { .. } => {}
            Outcome::Missing(packet) => {
                *counts.entry(format!("missing {}", packet.message())).or_default() += 1
            }
            Outcome::Extra(packet) => *counts.entry(format!("extra {}", packet.message())).or_default() += 1,
            Outcome::Different { expected, fields, .. } => {
                for field in fields {
                    let name = field.field.trim_start_matches("ipv6.");
                    *counts.entry(format!("{} {name}", expected.message())).or_default() += 1;
                    if name.ends_with("sequence") {
                        let told =
                            |value: Option<String>| value.unwrap().split_once(' ').unwrap().1.to_owned();
                        retries.insert((told(field.expected), told(field.actual)));
                    }
                }
            }
        },
    );
    let totals = totals.unwrap();
    assert_eq!((totals.same, totals.different, totals.missing, totals.extra), (1, 27, 5, 20));
    // KAME retries with the stored number + 2, UMIP with + 1; what each sends next is one more than its retry, which
    // is no difference of its own.
    let told = |offset: i32| format!("[the one told with status 135 {offset:+}]");
    assert_eq!(retries, BTreeSet::from([(told(2), told(1))]));
    let known = [
        // KAME was asked for 40 seconds, UMIP for 20; KAME repeats the lifetime in a refusal, UMIP sends 0.
        ("Binding Update mobility.lifetime", 13),
        ("Binding Acknowledgement mobility.lifetime", 13),
        ("Binding Update mobility.sequence", 6),
        // KAME discovered its agent, UMIP was told.
        ("missing Home Agent Address Discovery Request", 2),
        ("missing Home Agent Address Discovery Reply", 2),
        // UMIP probes for duplicates and KAME does not; their advertisements come from different addresses.
        ("extra Neighbor Solicitation", 1),
        ("missing Neighbor Advertisement", 1),
        ("extra Neighbor Advertisement", 1),
        // KAME advertises no lifetimes and no router address; the second responder asks at UMIP only.
        ("Mobile Prefix Advertisement icmpv6.prefix-information.flags", 1),
        ("Mobile Prefix Advertisement icmpv6.prefix-information.valid-lifetime", 1),
        ("Mobile Prefix Advertisement icmpv6.prefix-information.preferred-lifetime", 1),
        ("extra Mobile Prefix Solicitation", 1),
        ("extra Mobile Prefix Advertisement", 1),
        // UMIP's recording is longer, with de-registrations at its end.
        ("extra Binding Update", 8),
        ("extra Binding Acknowledgement", 8),
    ];
    let known: BTreeMap<String, usize> = known.map(|(name, count)| (name.to_owned(), count)).into();
    assert_eq!(counts, known);
}

#[test]
fn an_address_map_makes_another_topology_the_same() {
    let kame = frames(VECTORS);
    let nets = ["2", "4", "5"];
    let mut actual = kame.clone();
    for frame in actual.iter_mut() {
        // In headers and options alike.
        for net in nets {
            let address: Ipv6Addr = format!("2001:db8:0:{net}::2").parse().unwrap();
            while let Some(place) = frame.ipv6.windows(16).position(|octets| octets == address.octets()) {
                frame.ipv6[place + 7] += 0x40;
            }
        }
        right_checksum(frame);
    }
    assert!(!differences(&kame, &actual).is_empty());
    let prefixes = nets.map(|net| format!("2001:db8:0:{net}::/64=2001:db8:0:4{net}::/64"));
    let maps = prefixes.iter().map(|words| words.parse().unwrap()).collect();
    let options = Options { maps, ..Options::default() };
    // Authenticators cover the care-of address, so the moved ones are wrong; all the rest is the same.
    let (_, list) = found(&kame, &actual, &options);
    assert!(!list.is_empty() && list.iter().all(|line| line.ends_with(".authenticator")), "{list:?}");
}

#[test]
fn repetitions_are_differences_unless_tolerated() {
    let kame = frames(SECTION_5_1);
    let (place, at) =
        (0..).zip(&kame).find_map(|(place, frame)| Some((place, mobility(frame, BINDING_UPDATE)?))).unwrap();
    // The first update again with the next number, as a responder does that heard nothing (RFC 3775 11.8), and
    // the numbers after it one higher.
    let mut actual = kame.clone();
    actual.insert(place, kame[place].clone());
    for frame in actual.iter_mut().skip(place + 1) {
        for (mh_type, low) in [(BINDING_UPDATE, 7), (BINDING_ACKNOWLEDGEMENT, 9)] {
            if mobility(frame, mh_type) == Some(at) {
                frame.ipv6[at + low] += 1;
                right_checksum(frame);
            }
        }
    }
    let list = differences(&kame, &actual);
    assert_eq!(list, ["extra Binding Update", "Binding Update ipv6.mobility.sequence"]);
    let options = Options { tolerate_retransmissions: true, ..Options::default() };
    let (totals, list) = found(&kame, &actual, &options);
    assert_eq!(list, [""; 0]);
    assert_eq!(totals.expected + 1, totals.actual);
}

#[test]
fn a_small_memory_is_kept_and_said() {
    let kame = frames(SECTION_5_3);
    let options = Options { memory: 4096, window: 4, all: true, ..Options::default() };
    // Everything is missing, and much more than fits into the memory waits for a partner.
    let many: Vec<Frame> = std::iter::repeat_n(&kame, 20).flatten().cloned().collect();
    let (totals, list) = found(&many, &[], &options);
    assert_eq!(totals.missing, many.len() as u64);
    assert_eq!(list.len(), many.len());
    assert!(totals.decided_early > 0);
    assert_eq!(found(&many, &many, &options).0.same, many.len() as u64);
}

#[test]
fn a_packet_lost_in_a_long_conversation_is_the_only_difference() {
    let kame = frames(SECTION_5_3);
    let many: Vec<Frame> = std::iter::repeat_n(&kame, 30).flatten().cloned().collect();
    let mut less = many.clone();
    let place =
        many.len() / 2 + many.iter().skip(many.len() / 2).position(|f| mobility(f, 4).is_some()).unwrap();
    less.remove(place);
    let options = Options { all: true, ..Options::default() };
    assert_eq!(found(&many, &less, &options).1, ["missing Care-of Test"]);
    assert_eq!(found(&less, &many, &options).1, ["extra Care-of Test"]);
}

#[test]
fn exit_codes_are_those_of_diff() {
    let umip = "umip/umip-section5.1-seq200-100/haa.pcap";
    assert_eq!(pcap_diff(&[SECTION_5_1, "kame/kame-section5.1/rt.pcap"]).status.code(), Some(0));
    assert_eq!(pcap_diff(&[SECTION_5_1, umip]).status.code(), Some(1));
    let quiet = pcap_diff(&["--quiet", SECTION_5_1, umip]);
    assert_eq!((quiet.status.code(), quiet.stdout, quiet.stderr), (Some(1), vec![], vec![]));
    for trouble in [
        &["no-such-file", SECTION_5_1][..],
        &[SECTION_5_1],
        &["README.md", SECTION_5_1],
        &["--strict", "everything", SECTION_5_1, SECTION_5_1],
        &["--map", "::1", SECTION_5_1, SECTION_5_1],
        &["--map", "::1=::/64", SECTION_5_1, SECTION_5_1],
        &["--allow", "README.md", SECTION_5_1, SECTION_5_1],
    ] {
        let output = pcap_diff(trouble);
        assert_eq!(output.status.code(), Some(2), "{trouble:?}");
        assert!(!output.stderr.is_empty(), "{trouble:?}");
    }
    let list = text(&pcap_diff(&["--list-normalisations"]));
    assert!(Normalisation::ALL.iter().all(|normalisation| list.contains(normalisation.name())));
}

#[test]
fn text_json_and_page_tell_the_same() {
    let umip = "umip/umip-section5.1-seq200-100/haa.pcap";
    let page = std::env::temp_dir().join(format!("mga-node-pcap-diff-{}.html", std::process::id()));
    let words = text(&pcap_diff(&["--html", page.to_str().unwrap(), SECTION_5_1, umip]));
    let html = fs::read_to_string(&page).unwrap();
    fs::remove_file(&page).unwrap();
    let sequence = "ipv6.mobility.sequence: 202 [the one told with status 135 +2] -> 201 [the one told with status \
                    135 +1]";
    assert!(words.contains(sequence), "{words}");
    assert!(words.ends_with(
        "different: 1 pairs alike, 27 different, 5 missing, 20 extra, 0 of these allowed (33 packets compared of 51 \
         expected; 112 actual)\n"
    ));
    assert_eq!(html.matches("<svg").count(), 2);
    assert_eq!(html.matches("<li ").count(), 27 + 5 + 20);
    assert!(html.contains("status 135 +2] → 201"));
    let json = text(&pcap_diff(&["--json", SECTION_5_1, umip]));
    let objects: Vec<Json> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |what| objects.iter().filter(|object| object["what"] == what).count();
    assert_eq!([count("different"), count("missing"), count("extra"), count("verdict")], [27, 5, 20, 1]);
    let verdict = objects.last().unwrap();
    assert_eq!((&verdict["same"], &verdict["pairs"]["alike"]), (&Json::from(false), &Json::from(1)));
}

#[test]
fn allowed_differences_are_told_as_such_and_unused_entries_too() {
    let file = std::env::temp_dir().join(format!("mga-node-allow-{}.toml", std::process::id()));
    let entry = |name: &str, place: &str| {
        format!(
            "[[allow]]\nname = \"{name}\"\nclause = \"RFC 3775 9.5.1\"\nreason = \"a test\"\nwhere = {place}\n"
        )
    };
    let entries = [
        entry("lifetimes", "{ what = \"different\", field = \"ipv6.mobility.lifetime\" }"),
        entry(
            "retry",
            "{ message = \"Binding Update\", field = \"ipv6.mobility.seq*\", actual = \"135 +\" }",
        ),
        entry("discovery", "{ what = \"missing\", message = \"Home Agent Address Discovery Request\" }"),
        entry("discovery-answer", "{ what = \"missing\", from = \"2001:db8:0:1::2\" }"),
        entry("neighbours", "{ message = \"Neighbor Solicitation\" }"),
        entry("advertised", "{ message = \"Neighbor Advertisement\" }"),
        entry("prefixes", "{ message = \"Mobile Prefix Advertisement\" }"),
        entry("asked", "{ message = \"Mobile Prefix Solicitation\" }"),
        entry("longer", "{ what = \"extra\", message = \"Binding Update\" }"),
        entry("refusals", "{ what = \"extra\", message = \"Binding Acknowledgement\", status = 135 }"),
        entry("acceptances", "{ what = \"extra\", message = \"Binding Acknowledgement\", status = 0 }"),
        entry("never", "{ message = \"Binding Error\" }"),
    ];
    fs::write(&file, entries.concat()).unwrap();
    let umip = "umip/umip-section5.1-seq200-100/haa.pcap";
    let output = pcap_diff(&["--allow", file.to_str().unwrap(), SECTION_5_1, umip]);
    let words = text(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(words.contains("different Binding Update (allowed: retry, lifetimes)"), "{words}");
    assert!(words.contains("allowed but not seen: never (RFC 3775 9.5.1: a test)\nsame: "), "{words}");
    assert_eq!(words.matches("allowed but not seen").count(), 1);
    // Without one of them that difference counts again.
    fs::write(&file, entries[1..].concat()).unwrap();
    assert_eq!(pcap_diff(&["--allow", file.to_str().unwrap(), SECTION_5_1, umip]).status.code(), Some(1));
    fs::write(&file, [entry("one", "{}"), entry("one", "{}")].concat()).unwrap();
    let twice = Allowed::open(&file).unwrap_err().to_string();
    assert!(twice.ends_with("two entries are called `one`"), "{twice}");
    fs::write(&file, entry("one", "{ speed = 1 }")).unwrap();
    let unknown = Allowed::open(&file).unwrap_err().to_string();
    assert!(unknown.contains("line 5"), "{unknown}");
    fs::remove_file(&file).unwrap();
}

/// Frames of the reference captures, some of them with octets changed at random.
fn any_frames() -> impl Strategy<Value = Vec<Frame>> {
    let names =
        [SECTION_5_1, SECTION_5_3, VECTORS, "umip/umip-5.3/ai2.pcap", "umip/umip-restart-be/haa.pcap"];
    let all: Vec<Frame> = names.iter().flat_map(|name| frames(name)).collect();
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let one = (prop::sample::select(all), prop::option::of(change)).prop_map(|(mut frame, change)| {
        if let Some((place, value)) = change {
            let place = place.index(frame.ipv6.len());
            frame.ipv6[place] = value;
        }
        frame
    });
    prop::collection::vec(one, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_differs_from_itself_under_any_flags(
        frames in any_frames(),
        flags in prop::collection::vec(prop::sample::select(Normalisation::ALL.to_vec()), 0..6),
        all: bool,
        tolerate_retransmissions: bool,
        window in 2usize..20,
    ) {
        let strict = flags.into_iter().fold(Strict::default(), Strict::with);
        let options = Options { strict, all, tolerate_retransmissions, window, ..Options::default() };
        let (totals, list) = found(&frames, &frames, &options);
        prop_assert_eq!(list, Vec::<String>::new());
        prop_assert!(totals.is_same() && totals.decided_early == 0);
    }

    /// Several registrations of different responders, interleaved in two ways.
    #[test]
    fn the_order_of_independent_conversations_does_not_matter(
        left in prop::collection::vec(0u8..6, 0..60),
        right in prop::collection::vec(0u8..6, 0..60),
    ) {
        let whole = frames(VECTORS);
        let interleave = |choices: &[u8]| {
            let mut next = [0usize; 6];
            let mut list = Vec::new();
            for choice in choices.iter().copied().chain((0..6).flat_map(|who| std::iter::repeat_n(who, whole.len()))) {
                let at = &mut next[usize::from(choice)];
                if let Some(frame) = whole.get(*at) {
                    *at += 1;
                    list.push(of_site(frame, choice));
                }
            }
            list
        };
        let (left, right) = (interleave(&left), interleave(&right));
        prop_assert_eq!(left.len(), right.len());
        let (totals, list) = found(&left, &right, &Options::default());
        prop_assert_eq!(list, Vec::<String>::new());
        prop_assert_eq!(totals.same, left.len() as u64);
    }
}

/// The packet as it would be at another site: other addresses, so another conversation.
fn of_site(frame: &Frame, site: u8) -> Frame {
    let mut frame = frame.clone();
    for place in [8, 24] {
        frame.ipv6[place + 5] = site;
    }
    frame.link = Link::Raw;
    frame.at += Duration::from_secs(site.into());
    frame
}
