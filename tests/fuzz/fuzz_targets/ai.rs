//! The anycast initiator (thesis 4.2, RFC 3775 section 9) against packets, waiting times and commands.
//! Beside what holds for every role: its cache is no larger than configured, has rules for every binding and no other,
//! and binds nobody but whom return routability authorised (RFC 3775 5.2, 15.4). Run by `cargo fuzz run ai`.
#![no_main]

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use libfuzzer_sys::fuzz_target;
use mga_node::protocol::action::Rule;
use mga_node::protocol::ai::{Ai, AiCommand};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::role::Role;
use mga_node_fuzz::cast::initiator;
use mga_node_fuzz::stage::{CAPACITY, Part, World, play};

fn command(ai: &mut Ai, now: Instant, _octet: u8, only: Option<Ipv6Addr>) {
    ai.handle_command(now, &AiCommand::Deregister(only));
}

fn shut_down(ai: &mut Ai, now: Instant) {
    ai.handle_command(now, &AiCommand::Shutdown);
}

fn check(ai: &Ai, now: Instant, world: &World) {
    let bindings = ai.bindings(now);
    assert!(bindings.len() <= CAPACITY);
    for binding in &bindings {
        let pair = (binding.anycast, binding.care_of);
        assert!(world.peer.authorised.contains(&pair), "{pair:?} is bound without return routability");
        assert!(binding.lifetime <= 420 && binding.lifetime > 0);
    }
    let bound: BTreeSet<_> =
        bindings.iter().map(|found| (found.anycast, found.agent, found.care_of)).collect();
    let rules: BTreeSet<_> = world
        .rules()
        .filter_map(|rule| match rule {
            Rule::HomeAddressIn { anycast, own, care_of } => Some((anycast, own, care_of)),
            _ => None,
        })
        .collect();
    assert_eq!(rules, bound);
}

fn check_end(ai: &Ai, now: Instant) {
    assert!(ai.bindings(now).is_empty());
    assert_eq!(ai.poll_timeout(), None);
}

fuzz_target!(|octets: &[u8]| {
    let Some((_, steps)) = octets.split_first() else { return };
    play(Part { role: initiator(), command, shut_down, check, check_end }, steps);
});
