//! Ladders, drawn of the real KAME captures of thesis section 5, against diagrams that were read over by hand and
//! compared with an independent decoder's listing of the same files.
//! A diagram that differs is left in the test's temporary directory for comparison.
//! Run by `cargo test --test pcap_ladder`.

use std::{fs, net::Ipv6Addr, path::Path, time::Duration};

use mga_node::pcap::{
    capture,
    ladder::{Kind, Ladder, Mark, Row},
    passage::Trace,
};

const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);

fn host(network: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host)
}

fn kame(section: &str) -> Trace {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps/kame").join(section);
    let nodes = ["AI1", "AI2", "RT", "HAA", "AR1", "AR2"]
        .into_iter()
        .map(|name| {
            let file = directory.join(format!("{}.pcap", name.to_lowercase()));
            let frames = if file.exists() { capture::read(&file).unwrap() } else { Vec::new() };
            (name.to_owned(), frames)
        })
        .collect();
    let mut owners = vec![(ANYCAST, "HAA"), (host(1, 2), "HAA"), (host(1, 1), "RT")];
    // The address by which a responder discovers its agents (RFC 2526).
    owners.push((Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe), "HAA"));
    owners.extend([(host(2, 2), "AI1"), (host(3, 2), "AI2"), (host(4, 2), "AR1"), (host(5, 2), "AR2")]);
    Trace::new(nodes, &owners)
}

fn whole(trace: &Trace, marks: &[Mark]) -> Ladder {
    Ladder::new(trace, Duration::ZERO, Duration::MAX, marks, ANYCAST)
}

/// The first ten seconds of 5.1: Figure 12.
fn figure_12() -> Ladder {
    let trace = kame("kame-section5.1");
    let end = trace.start() + Duration::from_secs(10);
    let marks = [Mark { at: trace.start(), text: "Figure 12: <AR1> & AR2".to_owned() }];
    Ladder::new(&trace, trace.start(), end, &marks, ANYCAST)
}

fn assert_golden(name: &str, actual: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pcap_golden").join(name);
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    if expected != actual {
        let here = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&here, actual).unwrap();
        panic!("{name} differs from tests/pcap_golden/{name}; what was drawn is in {}", here.display());
    }
}

#[test]
fn figure_12_as_text() {
    assert_golden("figure-12.txt", &figure_12().text());
}

#[test]
fn figure_12_as_svg() {
    let svg = figure_12().svg("Figure 12");
    assert_golden("figure-12.svg", &svg);
    assert!(svg.contains("Figure 12: &lt;AR1&gt; &amp; AR2"), "headings are escaped");
}

#[test]
fn figures_13_and_14_as_text() {
    assert_golden("figure-13.txt", &whole(&kame("kame-section5.2"), &[]).text());
    assert_golden("figure-14.txt", &whole(&kame("kame-section5.3"), &[]).text());
}

#[test]
fn no_line_is_wider_than_a_terminal() {
    for section in ["kame-section5.1", "kame-section5.2", "kame-section5.3", "kame-cn"] {
        let ladder = whole(&kame(section), &[]);
        assert!(ladder.rows.len() > 10, "{section}");
        for line in ladder.text().lines() {
            assert!(line.chars().count() <= 110, "{line}");
        }
    }
}

#[test]
fn a_packet_in_several_captures_is_one_row() {
    let trace = kame("kame-section5.1");
    let sightings: usize = trace.passages.iter().map(|passage| passage.sightings.len()).sum();
    assert!(
        sightings > 2 * trace.passages.len(),
        "{sightings} sightings of {} packets",
        trace.passages.len()
    );
    let signalling = |row: &&Row| matches!(row, Row::Arrow(arrow) if arrow.label.starts_with("B"));
    // 13 Binding Updates and as many Acknowledgements, by the independent decoder's count of the agent's capture.
    assert_eq!(whole(&trace, &[]).rows.iter().filter(signalling).count(), 26);
}

#[test]
fn only_application_data_is_folded() {
    let ladder = whole(&kame("kame-section5.3"), &[]);
    let mut folded = 0;
    for row in &ladder.rows {
        if let Row::Arrow(arrow) = row
            && arrow.count > 1
        {
            folded += 1;
            assert_eq!(arrow.kind, Kind::Data, "{arrow:?}");
            assert!(arrow.last > arrow.first);
            assert!(!arrow.label.contains("SYN") && !arrow.label.contains("FIN"), "{arrow:?}");
        }
    }
    assert!(folded > 5);
}
