//! Probes on the wire and what follows from their answers (thesis 3.1.4, 4.3.1): who is out of the group, who comes
//! back, which way answers may take, and that nobody can give them unseen.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::action::Action;
use mga_node::protocol::haa::GroupConfig;
use mga_node::protocol::select::Criterion;
use mga_node::wire::icmpv6::{Icmpv6, Icmpv6Message};
use mga_node::wire::mobility::{Extensions, MobilityOption, Offer};
use mga_node::wire::{Packet, PacketBuffer, tunnel::decapsulate};

use super::membership::{Bench, advanced, legacy};
use crate::agent;
use crate::stimulus::*;

/// The care-of addresses that probes went to, and the probes.
fn probes(done: &[Action]) -> Vec<(Ipv6Addr, Icmpv6Message)> {
    let probe = |packet: Vec<u8>| {
        let mut buffer = PacketBuffer::new(&packet);
        let outer = decapsulate(&mut buffer).ok()?;
        let inner = Packet::parse(buffer.as_slice()).expect("an inner packet");
        assert_eq!((outer.source, inner.header.source, inner.header.destination), (AGENT, AGENT, ANYCAST));
        Some((outer.destination, Icmpv6::parse(inner.payload()).expect("a message").message))
    };
    sent(done).into_iter().filter_map(probe).collect()
}

fn reply(probe: &Icmpv6Message) -> Vec<u8> {
    let Icmpv6Message::EchoRequest { identifier, sequence, data, .. } = probe.clone() else {
        panic!("not an echo request: {probe:?}")
    };
    icmpv6(ANYCAST, AGENT, 64, Icmpv6Message::EchoReply { code: 0, identifier, sequence, data })
}

/// Lets time pass in steps of 10 ms; the members named answer as many milliseconds later as is said.
fn live(bench: &mut Bench, milliseconds: u64, answering: &[(Ipv6Addr, u64)]) -> Vec<Action> {
    let mut waiting: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut all = Vec::new();
    for passed in (10..=milliseconds).step_by(10) {
        bench.pass(0.01);
        let done = bench.done.clone();
        for (care_of, probe) in probes(&done) {
            for (_, delay) in answering.iter().filter(|(member, _)| *member == care_of) {
                waiting.push((passed + delay, tunnel(care_of, AGENT, &reply(&probe))));
            }
        }
        all.extend(done);
        waiting.sort();
        while waiting.first().is_some_and(|(when, _)| *when <= passed) {
            bench.packet(&waiting.remove(0).1);
            all.extend(bench.done.clone());
        }
    }
    all
}

fn events(done: &[Action]) -> Vec<(&'static str, Option<Ipv6Addr>)> {
    let reports = done.iter().filter_map(|action| match action {
        Action::Report(report) if report.event.starts_with("member-") => Some((report.event, report.care_of)),
        _ => None,
    });
    reports.collect()
}

#[test]
fn a_dead_member_is_out_within_a_second_and_its_binding_stays() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 1));
    bench.verdict(&advanced(AR2, 1, Offer::default()));
    let done = live(&mut bench, 3000, &[(AR1, 20), (AR2, 20)]);
    assert_eq!((events(&done), probes(&done).len()), (Vec::new(), 20));
    let done = live(&mut bench, 990, &[(AR2, 20)]);
    assert_eq!(events(&done), [("member-lost", Some(AR1))]);
    assert_eq!(bench.group(), [(AR2, true)]);
    assert_eq!(bench.bound(), [(AR1, 1), (AR2, 1)]);
    let done = live(&mut bench, 2000, &[(AR1, 20), (AR2, 20)]);
    assert_eq!(events(&done), [("member-returned", Some(AR1))]);
    assert_eq!(bench.group(), [(AR1, true), (AR2, true)]);
}

#[test]
fn a_lost_member_that_registers_anew_still_has_to_answer() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 1));
    live(&mut bench, 2000, &[]);
    assert_eq!(bench.verdict(&legacy(AR1, 2)).0, 0);
    assert!(bench.group().is_empty());
    live(&mut bench, 1300, &[(AR1, 20)]);
    assert_eq!(bench.group(), [(AR1, true)]);
}

#[test]
fn packets_of_a_lost_member_are_still_taken_out_of_the_tunnel() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 1));
    live(&mut bench, 2000, &[]);
    let inner = ping(ANYCAST, AI1);
    bench.packet(&tunnel(AR1, AGENT, &inner));
    assert!(bench.done.contains(&Action::Deliver(inner)));
}

#[test]
fn an_answer_may_come_by_way_of_another_agent_but_not_from_who_has_not_seen_the_question() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 1));
    for round in 0..12 {
        bench.pass(0.3);
        let sent = probes(&bench.done);
        let [(_, probe)] = sent.as_slice() else { panic!("one probe: {sent:?}") };
        bench.packet(&reply(probe));
        assert_eq!(bench.group().len(), 1, "round {round}");
    }
    // The right number, the wrong content.
    for _ in 0..4 {
        bench.pass(0.3);
        for (_, probe) in probes(&bench.done.clone()) {
            let Icmpv6Message::EchoRequest { identifier, sequence, .. } = probe else { panic!("a probe") };
            let data = vec![0; 8];
            let forged = Icmpv6Message::EchoReply { code: 0, identifier, sequence, data };
            bench.packet(&tunnel(AR1, AGENT, &icmpv6(ANYCAST, AGENT, 64, forged)));
        }
    }
    assert!(bench.group().is_empty());
}

#[test]
fn echo_replies_that_answer_no_probe_are_the_hosts() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 1));
    let mine = Icmpv6Message::EchoReply { code: 0, identifier: 7, sequence: 1, data: vec![1; 8] };
    let mine = icmpv6(ANYCAST, AGENT, 64, mine);
    bench.packet(&tunnel(AR1, AGENT, &mine));
    assert!(bench.done.contains(&Action::Deliver(mine)));
}

#[test]
fn a_member_that_does_not_want_probes_gets_none_and_counts_as_alive() {
    let mut bench = Bench::new();
    let mut update = advanced(AR1, 1, Offer::default());
    let extensions = Extensions::all().difference(Extensions::PROBING);
    update.options[1] = MobilityOption::Experimental(Offer { extensions, ..Offer::default() }.into());
    bench.verdict(&update);
    assert!(probes(&live(&mut bench, 3000, &[])).is_empty());
    assert_eq!(bench.group(), [(AR1, true)]);
}

#[test]
fn the_nearest_by_round_trip_time_takes_the_new_sources() {
    let by_distance = GroupConfig { criterion: Criterion::Distance, ..GroupConfig::default() };
    let mut bench = Bench::with(agent::config(), by_distance);
    bench.verdict(&legacy(AR1, 1));
    bench.verdict(&legacy(AR2, 1));
    live(&mut bench, 1500, &[(AR1, 40), (AR2, 20)]);
    assert_eq!(bench.slots(), [0, 4096]);
    // Trembling moves nobody; the smoothed distance follows what stays.
    live(&mut bench, 600, &[(AR1, 10), (AR2, 20)]);
    assert_eq!(bench.slots(), [0, 4096]);
    let done = live(&mut bench, 9000, &[(AR1, 10), (AR2, 20)]);
    assert_eq!(bench.slots(), [4096, 0]);
    let changes = done.iter().filter(|action| matches!(action, Action::InstallGroup(_))).count();
    assert_eq!(changes, 1);
}

#[test]
fn probes_are_bounded_however_many_members_there_are() {
    let many = mga_node::protocol::haa::HaaConfig { max_bindings: 1000, ..agent::config() };
    let criterion = Criterion::Preference;
    let mut bench = Bench::with(many, GroupConfig { criterion, ..GroupConfig::default() });
    for host in 0..600 {
        bench.verdict(&legacy(Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 1, host), 1));
    }
    bench.pass(0.3);
    let mut count = 0;
    for _ in 0..30 {
        bench.now = bench.now + Duration::from_millis(100);
        let done = bench.haa.pass(bench.now);
        count += probes(&done.into_iter().map(|(_, action)| action).collect::<Vec<_>>()).len();
    }
    assert!((2400..=3600).contains(&count), "{count} probes in three seconds");
}
