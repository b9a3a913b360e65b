//! Membership with keys at the responder (RFC 4285 5 and 6): which acknowledgements it believes, and how it finds the
//! agent's time. The good answers come from a real agent in a network of virtual time; the bad ones are made from them.
//! Run by `cargo test --test protocol membership`.

use std::collections::BTreeMap;
use std::time::Duration;

use mga_node::protocol::action::Action;
use mga_node::protocol::ar::{AnycastConfig, Ar, ArCommand, ArConfig, ReverseTunnelEnd};
use mga_node::protocol::auth::credentials::{Claim, Credentials};
use mga_node::protocol::auth::members::{CLOSE_ENOUGH, Members};
use mga_node::protocol::auth::membership::MembershipConfig;
use mga_node::protocol::auth::time_of_day::TimeOfDay;
use mga_node::protocol::haa::Haa;
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::mobility::{
    BindingAcknowledgement, Lifetime, Message, MobilityHeader, Status, Timestamp, align,
};

use crate::agent;
use crate::members::{clock, first, guarded, member, second};
use crate::network::{Host, Network, Node};
use crate::stimulus::*;

/// A clock that is so many seconds ahead of the tests' own.
fn ahead(seconds: i64) -> TimeOfDay {
    let start = clock().at(at(0.0)).0;
    TimeOfDay::new(Timestamp(start.wrapping_add((seconds << 32).cast_unsigned())))
}

pub fn responder(credentials: Credentials, clock: TimeOfDay) -> Ar {
    let anycast = AnycastConfig {
        anycast: ANYCAST,
        agent: Some(AGENT),
        home_prefix_length: 64,
        lifetime: Lifetime(10),
        initial_sequence: Some(200),
    };
    let config = ArConfig {
        care_of: AR1,
        anycast: vec![anycast],
        route_optimisation: false,
        reverse_tunnel_end: ReverseTunnelEnd::Agent,
    };
    let membership = MembershipConfig { credentials, clock };
    Ar::with_keys(config, BTreeMap::new(), Some(membership), at(1.0), Box::new(SeededRandom::new(7)))
}

/// A responder at one second after the start, and the Binding Update it sent.
struct Bench {
    ar: Ar,
    sent: Signal,
}

impl Bench {
    fn new() -> Self {
        let mut ar = responder(first(), clock());
        let sent = signal(&sent(&ar.actions())).expect("a Binding Update");
        Self { ar, sent }
    }

    fn stamp(&self) -> Timestamp {
        Claim::of(&self.sent.update().options).and_then(|claim| claim.timestamp).expect("it is stamped")
    }

    /// An acknowledgement of the update by whoever has these credentials.
    fn answer(&self, status: Status, credentials: &Credentials, timestamp: Option<Timestamp>) -> Vec<u8> {
        let options: Vec<_> = credentials.options(timestamp).collect();
        let mut header = MobilityHeader::new(Message::BindingAcknowledgement(BindingAcknowledgement {
            status,
            sequence: 200,
            lifetime: Lifetime(10),
            options: align(12, &options),
            ..BindingAcknowledgement::default()
        }));
        credentials.prove(&mut header, &AR1, &ANYCAST);
        routed(AGENT, AR1, ANYCAST, &header)
    }

    /// True when a packet leaves the registration as it is.
    fn is_dropped(&mut self, packet: &[u8]) -> bool {
        let before = self.ar.registrations(at(1.0));
        self.ar.handle_packet(at(1.0), packet);
        let acts = self.ar.actions().iter().any(|action| !matches!(action, Action::Report(_)));
        !acts && self.ar.registrations(at(1.0)) == before
    }

    fn is_bound(&mut self) -> bool {
        self.ar.registrations(at(1.0))[0].lifetime > 0
    }
}

#[test]
fn an_update_carries_identifier_timestamp_and_proof() {
    let bench = Bench::new();
    let claim = Claim::of(&bench.sent.update().options).expect("a claim");
    assert!(first().are_named_by(&claim));
    assert!(first().prove_true(&claim, &bench.sent.octets, &AR1, &ANYCAST));
    assert!(bench.stamp().distance(clock().at(at(1.0))) < Duration::from_millis(1));
}

#[test]
fn only_a_proven_acknowledgement_with_the_updates_timestamp_is_believed() {
    let mut bench = Bench::new();
    let stamp = bench.stamp();
    let plain = MobilityHeader::new(Message::BindingAcknowledgement(BindingAcknowledgement {
        sequence: 200,
        lifetime: Lifetime(10),
        options: align(12, &[]),
        ..BindingAcknowledgement::default()
    }));
    assert!(bench.is_dropped(&routed(AGENT, AR1, ANYCAST, &plain)), "without a proof");
    let forger = Credentials { key: second().key, ..first() };
    let forged = bench.answer(Status::ACCEPTED, &forger, Some(stamp));
    assert!(bench.is_dropped(&forged), "with another key");
    let others = bench.answer(Status::ACCEPTED, &second(), Some(stamp));
    assert!(bench.is_dropped(&others), "in another name");
    for timestamp in [None, Some(Timestamp(stamp.0 - 1)), Some(Timestamp(stamp.0 + (1 << 32)))] {
        let stale = bench.answer(Status::ACCEPTED, &first(), timestamp);
        assert!(bench.is_dropped(&stale), "{timestamp:?}");
    }
    let mut changed = bench.answer(Status::ACCEPTED, &first(), Some(stamp));
    let status = changed.len() - bench_options_length() + 6 - 12;
    changed[status] ^= 1;
    assert!(bench.is_dropped(&changed), "changed on the way");
    let good = bench.answer(Status::ACCEPTED, &first(), Some(stamp));
    assert!(!bench.is_dropped(&good) && bench.is_bound());
}

/// Octets of the options of an acknowledgement with credentials and nothing else.
fn bench_options_length() -> usize {
    let options: Vec<_> = first().options(Some(Timestamp(0))).collect();
    align(12, &options).iter().map(mga_node::wire::mobility::MobilityOption::length).sum()
}

#[test]
fn a_denied_key_is_told_once_for_an_update_and_never_acted_on() {
    let mut bench = Bench::new();
    let stamp = bench.stamp();
    let other_key = Credentials { key: second().key, ..first() };
    let mut told = 0;
    for _ in 0..10 {
        let denial = bench.answer(Status::AUTHENTICATION_FAILED, &other_key, Some(stamp));
        bench.ar.handle_packet(at(1.0), &denial);
        let reports = bench
            .ar
            .actions()
            .into_iter()
            .filter(|action| matches!(action, Action::Report(report) if report.event == "key-denied"));
        told += reports.count();
    }
    assert_eq!(told, 1);
    // Somebody who repeats the update with a wrong authenticator gets a proven one from the agent.
    let provoked = bench.answer(Status::AUTHENTICATION_FAILED, &first(), Some(stamp));
    assert!(bench.is_dropped(&provoked));
    let good = bench.answer(Status::ACCEPTED, &first(), Some(stamp));
    assert!(!bench.is_dropped(&good) && bench.is_bound());
    let provoked = bench.answer(Status::AUTHENTICATION_FAILED, &first(), Some(stamp));
    assert!(bench.is_dropped(&provoked) && bench.is_bound());
}

#[test]
fn a_told_time_is_taken_once_and_only_with_the_updates_fraction() {
    let mut bench = Bench::new();
    let stamp = bench.stamp();
    let told = Timestamp(stamp.0 + (3600 << 32));
    let other_fraction = bench.answer(Status::ID_MISMATCH, &first(), Some(Timestamp(told.0 ^ 1)));
    assert!(bench.is_dropped(&other_fraction));
    let forger = Credentials { key: second().key, ..first() };
    let forged = bench.answer(Status::ID_MISMATCH, &forger, Some(told));
    assert!(bench.is_dropped(&forged));
    let mismatch = bench.answer(Status::ID_MISMATCH, &first(), Some(told));
    bench.ar.handle_packet(at(1.0), &mismatch);
    let again = signal(&sent(&bench.ar.actions())).expect("the update again");
    let new = Claim::of(&again.update().options).and_then(|claim| claim.timestamp).expect("stamped");
    assert_eq!(again.update().sequence, 201);
    assert!(new.distance(Timestamp(clock().at(at(1.0)).0 + (3600 << 32))) <= Duration::from_secs(1));
    assert!(bench.is_dropped(&mismatch), "not twice");
}

#[test]
fn clocks_apart_are_brought_together_and_the_binding_is_refreshed() {
    for seconds in [-86_400, -8, -2, 0, 1, 8, 3600, 700_000_000] {
        let mut haa: Node<Haa> = Node::new(guarded(agent::config(), vec![member(first())]));
        let mut ar = Node::new(responder(first(), ahead(seconds)));
        let mut network = Network::new(vec![(AGENT, &mut haa as &mut dyn Host), (AR1, &mut ar)]);
        network.now = at(1.0);
        network.run(Duration::from_secs(5));
        assert!(network.ping(AI1, ANYCAST), "{seconds} s apart");
        network.run(Duration::from_secs(120));
        assert!(network.ping(AI1, ANYCAST), "{seconds} s apart, later");
        drop(network);
        let refused = haa.role.counters().get("binding-update.refused.144");
        // Two seconds are close enough, but that was before the agent started.
        assert_eq!(refused > 0, seconds.abs() >= 7 || seconds == -2, "{seconds} s apart: {refused}");
        ar.role.handle_command(at(130.0), &ArCommand::Deregister(None));
        let mut network = Network::new(vec![(AGENT, &mut haa as &mut dyn Host), (AR1, &mut ar)]);
        network.now = at(130.0);
        network.run(Duration::from_secs(5));
        drop(network);
        assert!(haa.role.bindings(at(135.0)).is_empty(), "{seconds} s apart: it left");
    }
}

#[test]
fn an_agent_that_starts_anew_is_registered_with_again() {
    let mut haa = Node::new(guarded(agent::config(), vec![member(first())]));
    let mut ar = Node::new(responder(first(), clock()));
    let mut network = Network::new(vec![(AGENT, &mut haa as &mut dyn Host), (AR1, &mut ar)]);
    network.now = at(1.0);
    network.run(Duration::from_secs(2));
    drop(network);
    // Its clock goes on; its time of start is later, and everything before it is refused.
    let members = Members::new(ahead(30), CLOSE_ENOUGH, vec![member(first())]);
    let mut haa = Node::new(Haa::new(agent::config()).with_members(members));
    let mut network = Network::new(vec![(AGENT, &mut haa as &mut dyn Host), (AR1, &mut ar)]);
    network.now = at(3.0);
    network.run(Duration::from_secs(60));
    assert!(network.ping(AI1, ANYCAST));
}
