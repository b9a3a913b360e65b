//! Selection with affinity (thesis 4.3.2) in a group with a million fixed sources: what a packet of a known source
//! costs, what the first packet of a new one, and how many octets a source takes. Reproduce with
//! `cargo bench --bench affinity`.

use std::hint::black_box;
use std::net::Ipv6Addr;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use mga_node::forwarding::groups::InstalledGroup;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::select::{Affinity, Contender, Group, GroupMember, Takes, slots};
use mga_node::wire::ipv6::{self, Ipv6Header, next_header};

const SOURCES: u32 = 1_000_000;
const CAPACITY: usize = 1_300_000;
const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);
const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);

fn source(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_0000_0002_u128 << 64 | u128::from(number))
}

fn group() -> Group {
    let care_of = |number| Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, number);
    let contenders: Vec<_> =
        (2..12).map(|number| Contender { care_of: care_of(number), bid: 1, weight: number.into() }).collect();
    let members = (2..12).map(|number| GroupMember {
        number: number.into(),
        care_of: care_of(number),
        takes: Takes::New,
    });
    let affinity = Affinity { interval: Duration::from_secs(300), renewed: true, capacity: CAPACITY };
    Group {
        anycast: ANYCAST,
        agent: AGENT,
        members: members.collect(),
        slots: slots(&contenders),
        affinity: Some(affinity),
    }
}

/// The group after the first packet of every source, and the packet.
fn filled() -> (InstalledGroup, Vec<u8>) {
    let packet = ipv6::packet(Ipv6Header::new(next_header::UDP, 64, source(0), ANYCAST), &[0; 64]);
    let mut installed = InstalledGroup::new(group());
    for number in 0..SOURCES {
        installed.choose(Instant::START, &source(number), &packet);
    }
    (installed, packet)
}

/// A row of numbers without any order that the cache could know.
fn scattered(number: &mut u32, below: u32) -> u32 {
    *number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    ((u64::from(*number) * u64::from(below)) >> 32) as u32
}

fn affinity(criterion: &mut Criterion) {
    let (mut installed, packet) = filled();
    let view = installed.view(Instant::START);
    println!(
        "{} sources in {} octets: {:.1} each",
        view.sources,
        view.octets,
        view.octets as f64 / view.sources as f64
    );
    let (mut row, mut now) = (1, Instant::START);
    criterion.bench_function("a packet of a known source among 1,000,000", |bench| {
        bench.iter(|| {
            let source = source(scattered(&mut row, SOURCES));
            // A million packets per second.
            now = now + Duration::from_micros(1);
            black_box(installed.choose(now, &source, &packet))
        });
    });
    let mut next = SOURCES;
    criterion.bench_function("the first packet of a source, another one making room", |bench| {
        bench.iter(|| {
            next = next.wrapping_add(1);
            now = now + Duration::from_micros(1);
            black_box(installed.choose(now, &source(next), &packet))
        });
    });
    criterion.bench_function("a table of slots for ten members", |bench| {
        let contenders: Vec<_> = group()
            .members
            .iter()
            .map(|member| Contender { care_of: member.care_of, bid: 1, weight: member.number })
            .collect();
        bench.iter(|| slots(black_box(&contenders)));
    });
}

criterion_group!(benches, affinity);
criterion_main!(benches);
