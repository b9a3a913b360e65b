//! The anycast responder (thesis 4.2, RFC 3775 section 11) with one given and one discovered agent, against packets,
//! waiting times, what its data path notices, and commands. Beside what holds for every role: it rewrites only for its
//! own anycast addresses and a shutdown ends in time. Run by `cargo fuzz run ar`.
#![no_main]

use std::net::Ipv6Addr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mga_node::protocol::ar::{Ar, ArCommand};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::role::Role;
use mga_node::wire::mobility::Grant;
use mga_node_fuzz::cast::responder;
use mga_node_fuzz::stage::{ANYCAST, AR1, AR2, OTHER_ANYCAST, Part, World, play};

fn command(ar: &mut Ar, now: Instant, octet: u8, only: Option<Ipv6Addr>) {
    let (anycast, well) = (ANYCAST, octet & 0x80 != 0);
    let command = match octet % 11 {
        0 => ArCommand::Register(only),
        1 => ArCommand::Deregister(only),
        2 => ArCommand::FlushPeers(only),
        3 => ArCommand::Measured { anycast, value: f64::from(octet) },
        4 => ArCommand::Checked { anycast, well },
        5 => ArCommand::Established { anycast, count: well.then_some(u64::from(octet & 1)) },
        6 => ArCommand::Drain { anycast: only, within: well.then_some(Duration::from_secs(3)) },
        7 => ArCommand::Undrain(only),
        8 => ArCommand::Metric { anycast: only, metric: well.then_some(u32::from(octet)) },
        9 => ArCommand::Weight { anycast: only, weight: u16::from(octet) },
        _ => ArCommand::Move(if well { AR1 } else { AR2 }),
    };
    ar.handle_command(now, &command);
}

fn shut_down(ar: &mut Ar, now: Instant) {
    ar.handle_command(now, &ArCommand::Shutdown);
}

fn check(ar: &Ar, now: Instant, world: &World) {
    // Two home agents, and for one address as many midway agents as a grant can name beside the one configured.
    assert!((2..=3 + Grant::MOST_AGENTS).contains(&ar.registrations(now).len()));
    for rule in world.rules() {
        let anycast = rule.key().anycast;
        assert!(anycast == ANYCAST || anycast == OTHER_ANYCAST, "{rule:?}");
    }
    assert!(ar.correspondents(now).len() <= 2 * 64);
}

fn check_end(ar: &Ar, now: Instant) {
    assert!(ar.is_finished(), "{:?} {:?}", ar.registrations(now), ar.correspondents(now));
    assert_eq!(ar.poll_timeout(), None);
}

fuzz_target!(|octets: &[u8]| {
    let Some((first, steps)) = octets.split_first() else { return };
    play(Part { role: responder(*first), command, shut_down, check, check_end }, steps);
});
