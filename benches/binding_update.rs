//! How long the home anycast agent takes from the octets of a Binding Update to those of its acknowledgement, with
//! 100,000 bindings held (RFC 3775 10.3.1; thesis 4.2.2). Three updates: a refresh, a move to another responder, and
//! one that is refused with status 135. Run by `cargo bench --bench binding_update`.

use std::hint::black_box;
use std::net::Ipv6Addr;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mga_node::protocol::action::Action;
use mga_node::protocol::binding::cache::Binding;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{Haa, HaaConfig};
use mga_node::protocol::role::Role;
use mga_node::wire::destination_options::home_address_header;
use mga_node::wire::ipv6::{self, Ipv6Header, next_header};
use mga_node::wire::mobility::{
    BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption, UpdateFlags, align,
};

const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
const BINDINGS: u32 = 100_000;

/// The home address of the binding `number`, spread over the prefix.
fn home_address(number: u32) -> Ipv6Addr {
    let [a, b, c, d] = number.wrapping_mul(2_654_435_761).to_be_bytes();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 1, high, low)
}

fn care_of(responder: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, responder)
}

fn update(home: Ipv6Addr, care_of: Ipv6Addr, sequence: u16) -> Vec<u8> {
    let header = MobilityHeader::new(Message::BindingUpdate(BindingUpdate {
        sequence,
        flags: UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION,
        lifetime: Lifetime(100),
        options: align(12, &[MobilityOption::AlternateCareOfAddress(care_of)]),
    }));
    let mut payload = home_address_header(next_header::MOBILITY, &home).to_vec();
    payload.extend_from_slice(&header.emit_for(&home, &AGENT));
    ipv6::packet(Ipv6Header::new(next_header::DESTINATION_OPTIONS, 64, care_of, AGENT), &payload)
}

fn loaded() -> Haa {
    let mut haa = Haa::new(HaaConfig {
        agent: AGENT,
        link_local: None,
        link_address: [2, 0, 0, 0, 0, 1],
        home_prefixes: vec!["2001:db8:0:1::/64".parse().expect("a prefix")],
        anycast: Vec::new(),
        max_lifetime: Lifetime::from_seconds(3600),
        max_bindings: BINDINGS as usize,
        duplicate_address_detection: false,
    });
    for number in 0..BINDINGS {
        let lifetime = Lifetime(100);
        haa.preload(Binding {
            home_address: home_address(number),
            own_address: AGENT,
            care_of: care_of(1),
            sequence: 0,
            flags: UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION,
            lifetime,
            expires: Instant::from_start(lifetime.duration() + Duration::from_micros(number.into())),
            owner: None,
        });
    }
    while haa.poll_action().is_some() {}
    assert_eq!(haa.bindings(Instant::START).len(), BINDINGS as usize);
    haa
}

/// Octets of the acknowledgement of `bytes`; everything else that is to be done is fetched too, as the daemon does.
fn acknowledge(haa: &mut Haa, now: Instant, bytes: &[u8]) -> usize {
    haa.handle_packet(now, black_box(bytes));
    let mut acknowledged = 0;
    while let Some(action) = haa.poll_action() {
        if let Action::Send(packet) = action {
            acknowledged += black_box(packet).len();
        }
    }
    assert_eq!(acknowledged, 80, "one acknowledgement with its routing header");
    acknowledged
}

fn binding_update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("binding-update");
    let mut haa = loaded();
    // Every update is of another binding and newer than its last, so that no two are alike to caches.
    let mut count = 0_u32;
    let mut next = |responders: u16| {
        count = count.wrapping_add(1);
        let round = u16::try_from(count / BINDINGS % 30_000).unwrap_or(0) + 1;
        let responder = if responders == 1 { 1 } else { 2 + round % 2 };
        (count, update(home_address(count.wrapping_mul(7919) % BINDINGS), care_of(responder), round))
    };
    let time = |count: u32| Instant::from_start(Duration::from_micros(count.into()));
    group.bench_function("refresh", |bencher| {
        bencher.iter_batched(
            || next(1),
            |(count, bytes)| acknowledge(&mut haa, time(count), &bytes),
            BatchSize::SmallInput,
        );
    });
    let mut haa = loaded();
    group.bench_function("move", |bencher| {
        bencher.iter_batched(
            || next(2),
            |(count, bytes)| acknowledge(&mut haa, time(count), &bytes),
            BatchSize::SmallInput,
        );
    });
    let stale: Vec<_> = (0..4096).map(|number| update(home_address(number * 24), care_of(9), 0)).collect();
    let mut haa = loaded();
    let mut turn = 0;
    group.bench_function("refused-135", |bencher| {
        bencher.iter(|| {
            turn = (turn + 1) % stale.len();
            acknowledge(&mut haa, Instant::START, &stale[turn])
        });
    });
    group.finish();
}

criterion_group!(benches, binding_update);
criterion_main!(benches);
