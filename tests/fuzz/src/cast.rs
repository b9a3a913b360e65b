//! The roles as the fuzz targets set them up; one octet picks the configuration. An agent and a responder are of the basic
//! model (RFC 3775 sections 10 and 11), with or without keys (RFC 4285), or of the advanced one (thesis 4.3).
//! Called by `fuzz_targets/{haa,ar,ai}.rs` and, so that seeds fit, by `examples/seeds.rs`.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::ai::{Ai, AiConfig};
use mga_node::protocol::ar::{AnycastConfig, Ar, ArConfig, ReverseTunnelEnd, ServiceConfig};
use mga_node::protocol::auth::members::{CLOSE_ENOUGH, MemberConfig, Members};
use mga_node::protocol::auth::membership::MembershipConfig;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{GroupConfig, Haa, HaaConfig};
use mga_node::protocol::liveness::Probing;
use mga_node::protocol::measure::{GaugeConfig, HealthConfig};
use mga_node::protocol::random::SeededRandom;
use mga_node::protocol::select::{Affinity, Criterion};
use mga_node::wire::mobility::Lifetime;

use crate::peer::{clock, credentials};
use crate::stage::{AGENT, AI2, ANYCAST, AR1, AR2, CAPACITY, OTHER_ANYCAST};

/// Has an agent serve [`ANYCAST`] as a group, and a responder take part in it.
pub const ADVANCED: u8 = 32;

/// An agent.
pub fn agent(first: u8) -> Haa {
    let config = HaaConfig {
        agent: AGENT,
        link_local: (first & 1 != 0).then_some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)),
        link_address: [2, 0, 0, 0, 1, 2],
        home_prefixes: vec!["2001:db8:0:1::/64".parse().expect("a prefix")],
        anycast: if first & 2 != 0 { vec![ANYCAST, OTHER_ANYCAST] } else { Vec::new() },
        max_lifetime: if first & 4 != 0 { Lifetime(10) } else { Lifetime(u16::MAX) },
        max_bindings: CAPACITY,
        duplicate_address_detection: first & 8 != 0,
    };
    let mut agent = Haa::new(config);
    if first & 16 != 0 {
        let member = MemberConfig {
            credentials: credentials(),
            anycast: Vec::new(),
            care_of: Vec::new(),
            max_weight: 10,
            min_metric: 100,
            enabled: true,
        };
        agent = agent.with_members(Members::new(clock(), CLOSE_ENOUGH, vec![member]));
    }
    if first & ADVANCED != 0 {
        let criteria = [Criterion::Weighted, Criterion::Metric, Criterion::Distance, Criterion::Preference];
        let criterion = criteria[usize::from(first >> 6)];
        let affinity = Affinity { interval: Duration::from_secs(10), renewed: true, capacity: 16 };
        let group = GroupConfig {
            criterion,
            preference: vec![AR2, AR1],
            affinity: Some(affinity).filter(|_| criterion != Criterion::Preference),
            probing: Probing { interval: Duration::from_secs(2), ..Probing::default() },
            agents: vec![AI2],
            ..GroupConfig::default()
        };
        agent = agent.with_groups([(ANYCAST, group)].into(), Box::new(SeededRandom::new(9)));
    }
    agent
}

/// A responder with one given and one discovered agent.
pub fn responder(first: u8) -> Ar {
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
    let services = [(ANYCAST, service)].into_iter().filter(|_| first & ADVANCED != 0).collect();
    Ar::with_keys(config, services, membership, Instant::START, Box::new(SeededRandom::new(7)))
}

/// An initiator.
pub fn initiator() -> Ai {
    Ai::new(&AiConfig { max_bindings: CAPACITY }, Box::new(SeededRandom::new(1)))
}
