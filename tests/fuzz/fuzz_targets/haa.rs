//! The home anycast agent (thesis 4.2, RFC 3775 section 10) against packets, waiting times and commands.
//! Beside what holds for every role: its cache is no larger than configured and every address in it has one tunnel, to
//! one it is bound to, and every care-of address may stand in a binding. Run by `cargo fuzz run haa`.
#![no_main]

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use libfuzzer_sys::fuzz_target;
use mga_node::protocol::action::{Action, Observation, Rule};
use mga_node::protocol::auth::members::{CLOSE_ENOUGH, MemberConfig, Members};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{Haa, HaaCommand, HaaConfig};
use mga_node::protocol::input::is_routable_unicast;
use mga_node::wire::mobility::Lifetime;
use mga_node_fuzz::peer::{clock, credentials};
use mga_node_fuzz::stage::{AGENT, ANYCAST, CAPACITY, OTHER_ANYCAST, Role, World, play};

struct Agent(Haa);

impl Role for Agent {
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
        self.0.handle_command(now, &HaaCommand::Deregister(only));
    }
    fn shut_down(&mut self, now: Instant) {
        self.0.handle_command(now, &HaaCommand::Shutdown);
    }
    fn check(&self, now: Instant, world: &World) {
        let bindings = self.0.bindings(now);
        assert!(bindings.len() <= CAPACITY);
        for binding in &bindings {
            assert!(is_routable_unicast(&binding.care_of) && is_routable_unicast(&binding.anycast));
            assert!(u64::from(binding.lifetime) >= binding.remaining && binding.lifetime > 0);
            assert!(world.captured.contains(&binding.anycast), "{} is attracted", binding.anycast);
        }
        let bound: BTreeSet<_> =
            bindings.iter().map(|found| (found.anycast, found.agent, found.care_of)).collect();
        let of_rules = |pick: fn(Rule) -> Option<(Ipv6Addr, Ipv6Addr, Ipv6Addr)>| -> BTreeSet<_> {
            world.rules().filter_map(pick).collect()
        };
        let out = of_rules(|rule| match rule {
            Rule::TunnelToResponder { anycast, agent, care_of } => Some((anycast, agent, care_of)),
            _ => None,
        });
        let back = of_rules(|rule| match rule {
            Rule::TunnelFromResponder { anycast, agent, care_of } => Some((anycast, agent, care_of)),
            _ => None,
        });
        let options = of_rules(|rule| match rule {
            Rule::HomeAddressIn { anycast, own, care_of } => Some((anycast, own, care_of)),
            _ => None,
        });
        assert_eq!(options, bound);
        // An anycast address bound at two addresses of the agent has the tunnel of one of them.
        assert_eq!(out, back);
        assert!(out.is_subset(&bound), "{out:?} {bound:?}");
        let tunnelled: BTreeSet<_> = out.iter().map(|(anycast, ..)| anycast).collect();
        assert_eq!(tunnelled, bound.iter().map(|(anycast, ..)| anycast).collect());
    }
    fn check_end(&self, now: Instant) {
        assert!(self.0.bindings(now).is_empty());
        // What was learnt of the home link ages by itself, served or not.
        let learnt = ["home agent lifetime", "prefix lifetime"];
        let waiting = self.0.poll_timeout().filter(|(_, reason)| !learnt.contains(reason));
        assert_eq!(waiting, None);
    }
}

fuzz_target!(|octets: &[u8]| {
    let Some((first, steps)) = octets.split_first() else { return };
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
    play(Agent(agent), steps);
});
