//! The anycast responder (thesis 4.2, RFC 3775 section 11) with one given and one discovered agent, against packets,
//! waiting times, what its data path notices, and commands. Beside what holds for every role: it rewrites only for its
//! own anycast addresses and a shutdown ends in time. Run by `cargo fuzz run ar`.
#![no_main]

use std::net::Ipv6Addr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mga_node::protocol::action::{Action, Observation};
use mga_node::protocol::ar::{AnycastConfig, Ar, ArCommand, ArConfig, ReverseTunnelEnd, ServiceConfig};
use mga_node::protocol::auth::membership::MembershipConfig;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::measure::{GaugeConfig, HealthConfig};
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::mobility::{Grant, Lifetime};
use mga_node_fuzz::peer::{clock, credentials};
use mga_node_fuzz::stage::{AGENT, AI2, ANYCAST, AR1, AR2, OTHER_ANYCAST, Role, World, play};

struct Responder(Ar);

impl Role for Responder {
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
    fn command(&mut self, now: Instant, octet: u8, only: Option<Ipv6Addr>) {
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
        self.0.handle_command(now, &command);
    }
    fn shut_down(&mut self, now: Instant) {
        self.0.handle_command(now, &ArCommand::Shutdown);
    }
    fn check(&self, now: Instant, world: &World) {
        // Two home agents, and for one address as many midway agents as a grant can name beside the one configured.
        assert!((2..=3 + Grant::MOST_AGENTS).contains(&self.0.registrations(now).len()));
        for rule in world.rules() {
            let anycast = rule.key().anycast;
            assert!(anycast == ANYCAST || anycast == OTHER_ANYCAST, "{rule:?}");
        }
        assert!(self.0.correspondents(now).len() <= 2 * 64);
    }
    fn check_end(&self, now: Instant) {
        assert!(self.0.is_finished(), "{:?} {:?}", self.0.registrations(now), self.0.correspondents(now));
        assert_eq!(self.deadline(), None);
    }
}

fuzz_target!(|octets: &[u8]| {
    let Some((first, steps)) = octets.split_first() else { return };
    let served = |anycast, agent| AnycastConfig {
        anycast,
        agent,
        home_prefix_length: 64,
        lifetime: Lifetime(if first & 1 != 0 { 2 } else { 30 }),
        initial_sequence: Some(200),
    };
    let config = ArConfig {
        care_of: if first & 2 != 0 { AR2 } else { AR1 },
        anycast: vec![served(ANYCAST, Some(AGENT)), served(OTHER_ANYCAST, None)],
        route_optimisation: first & 4 == 0,
        reverse_tunnel_end: if first & 8 != 0 { ReverseTunnelEnd::Anycast } else { ReverseTunnelEnd::Agent },
    };
    let membership =
        (first & 16 != 0).then(|| MembershipConfig { credentials: credentials(), clock: clock() });
    let service = ServiceConfig {
        advanced: true,
        midway_agents: vec![AI2],
        metric: Some(GaugeConfig::default()),
        health: (first & 64 != 0).then(HealthConfig::default),
        ..ServiceConfig::default()
    };
    let services = [(ANYCAST, service)].into_iter().filter(|_| first & 32 != 0).collect();
    let random = Box::new(SeededRandom::new(7));
    let ar = Ar::with_keys(config, services, membership, Instant::START, random);
    play(Responder(ar), steps);
});
