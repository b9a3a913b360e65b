//! The anycast initiator (thesis 4.2, RFC 3775 section 9) against packets, waiting times and commands.
//! Beside what holds for every role: its cache is no larger than configured, has rules for every binding and no other,
//! and binds nobody but whom return routability authorised (RFC 3775 5.2, 15.4). Run by `cargo fuzz run ai`.
#![no_main]

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use libfuzzer_sys::fuzz_target;
use mga_node::protocol::action::{Action, Observation, Rule};
use mga_node::protocol::ai::{Ai, AiCommand, AiConfig};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::random::SeededRandom;
use mga_node_fuzz::stage::{CAPACITY, Role, World, play};

struct Initiator(Ai);

impl Role for Initiator {
    fn packet(&mut self, now: Instant, octets: &[u8]) {
        self.0.handle_packet(now, octets);
    }
    fn observe(&mut self, now: Instant, observation: Observation) {
        self.0.handle_observation(now, observation);
    }
    fn timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
    }
    fn action(&mut self) -> Option<Action> {
        self.0.poll_action()
    }
    fn deadline(&self) -> Option<Instant> {
        self.0.poll_timeout().map(|(due, _)| due)
    }
    fn command(&mut self, now: Instant, _octet: u8, only: Option<Ipv6Addr>) {
        self.0.handle_command(now, &AiCommand::Deregister(only));
    }
    fn shut_down(&mut self, now: Instant) {
        self.0.handle_command(now, &AiCommand::Shutdown);
    }
    fn check(&self, now: Instant, world: &World) {
        let bindings = self.0.bindings(now);
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
    fn check_end(&self, now: Instant) {
        assert!(self.0.bindings(now).is_empty());
        assert_eq!(self.deadline(), None);
    }
}

fuzz_target!(|octets: &[u8]| {
    let Some((_, steps)) = octets.split_first() else { return };
    let ai = Ai::new(&AiConfig { max_bindings: CAPACITY }, Box::new(SeededRandom::new(1)));
    play(Initiator(ai), steps);
});
