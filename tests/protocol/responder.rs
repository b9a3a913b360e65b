//! The anycast responder against the catalogue's section 5 (RFC 3775 11, thesis 4.2 and 5.1).
//! A scripted agent and a scripted initiator answer it; timers run in virtual time.
//! The names are the catalogue's case ids.

use std::net::Ipv6Addr;

use mga_node::protocol::action::{Action, Observation, Rule, RuleKey, RuleKind};
use mga_node::protocol::ar::{AnycastConfig, Ar, ArCommand, ArConfig, ArPolicy, ReverseTunnelEnd};
use mga_node::protocol::auth::seal::{SealKey, seal};
use mga_node::protocol::auth::tokens::binding_management_key;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::icmpv6::Icmpv6Message;
use mga_node::wire::mobility::{
    AcknowledgementFlags, BindingAcknowledgement, BindingError, BindingRefreshRequest, Lifetime, Message,
    MobilityHeader, MobilityOption, Status, Test, align,
};
use mga_node::wire::tunnel::decapsulate;
use mga_node::wire::{Packet, PacketBuffer};

use crate::stimulus::*;

pub fn config() -> ArConfig {
    ArConfig {
        care_of: AR1,
        anycast: vec![AnycastConfig {
            anycast: ANYCAST,
            agent: Some(AGENT),
            home_prefix_length: 64,
            lifetime: Lifetime(10),
            initial_sequence: Some(500),
        }],
        route_optimisation: true,
        reverse_tunnel_end: ReverseTunnelEnd::Agent,
    }
}

fn start(config: ArConfig) -> Ar {
    Ar::new(config, at(0.0), Box::new(SeededRandom::new(7)))
}

/// A Binding Acknowledgement from the agent.
pub fn acknowledgement(status: u8, sequence: u16, lifetime: u16) -> Vec<u8> {
    advised(status, sequence, lifetime, &[])
}

fn advised(status: u8, sequence: u16, lifetime: u16, options: &[MobilityOption]) -> Vec<u8> {
    routed(AGENT, AR1, ANYCAST, &MobilityHeader::new(answer(status, sequence, lifetime, options)))
}

fn answer(status: u8, sequence: u16, lifetime: u16, options: &[MobilityOption]) -> Message {
    Message::BindingAcknowledgement(BindingAcknowledgement {
        status: Status(status),
        flags: AcknowledgementFlags::empty(),
        sequence,
        lifetime: Lifetime(lifetime),
        options: align(12, options),
    })
}

/// A responder with a registration of 40 s, made at 0 s with number 500.
pub fn registered() -> Ar {
    with_lifetime(10)
}

fn with_lifetime(units: u16) -> Ar {
    let mut config = config();
    config.anycast[0].lifetime = Lifetime(units);
    let mut ar = start(config);
    ar.handle_packet(at(0.0), &acknowledgement(0, 500, units));
    ar.actions();
    ar
}

/// Times, numbers and lifetimes of the home registrations sent.
fn updates(done: &[(Instant, Action)]) -> Vec<(f64, u16, u16)> {
    let packets = done.iter().filter_map(|(when, action)| match action {
        Action::Send(packet) => Some((when.since_start().as_secs_f64(), Signal::of(packet)?)),
        _ => None,
    });
    let updates = packets.filter(|(_, signal)| signal.destination == AGENT);
    updates.map(|(when, signal)| (when, signal.update().sequence, signal.update().lifetime.0)).collect()
}

fn state(ar: &Ar, now: Instant) -> (&'static str, u16, u64) {
    let view = &ar.registrations(now)[0];
    (view.state, view.sequence, view.remaining)
}

#[test]
fn n016_n017_n019_the_registration_has_the_form_that_both_reference_stacks_send() {
    let update = signal(&sent(&start(config()).actions())).expect("a Binding Update");
    assert_eq!((update.source, update.destination, update.home_address), (AR1, AGENT, Some(ANYCAST)));
    let message = update.update();
    assert_eq!((message.sequence, message.flags, message.lifetime), (500, AH, Lifetime(10)));
    assert_eq!(message.options.last(), Some(&MobilityOption::AlternateCareOfAddress(AR1)));
    assert_eq!(update.octets.len(), 32);
}

#[test]
fn n021_n022_unanswered_updates_back_off_to_32_seconds_with_new_numbers() {
    let mut ar = start(config());
    let mut done = ar.pass(at(0.0));
    done.extend(ar.pass(at(130.0)));
    let sent = updates(&done);
    let times: Vec<_> = sent.iter().map(|(when, _, _)| *when).collect();
    assert_eq!(times, [0.0, 1.5, 4.5, 10.5, 22.5, 46.5, 78.5, 110.5]);
    assert_eq!(sent.iter().map(|(_, number, _)| *number).collect::<Vec<_>>(), (500..508).collect::<Vec<_>>());
}

#[test]
fn n021_a_refresh_begins_with_one_second() {
    let mut ar = registered();
    let times: Vec<_> = updates(&ar.pass(at(30.0))).iter().map(|(when, _, _)| *when).collect();
    assert_eq!(times, [20.0, 21.0, 23.0, 27.0]);
}

#[test]
fn n024_the_first_number_is_random() {
    let mut config = config();
    config.anycast[0].initial_sequence = None;
    let first = |seed| {
        let mut ar = Ar::new(config.clone(), at(0.0), Box::new(SeededRandom::new(seed)));
        updates(&ar.pass(at(0.0)))[0].1
    };
    assert_ne!(first(1), first(2));
}

// covers: X210
#[test]
fn n025_an_acknowledgement_without_routing_header_or_from_elsewhere_is_ignored() {
    let mut ar = start(config());
    let plain = mobility(AGENT, AR1, None, answer(0, 500, 10, &[]));
    let header = MobilityHeader::new(answer(0, 500, 10, &[]));
    for packet in [
        plain,
        routed(STRANGER, AR1, ANYCAST, &header),
        routed(AGENT, AR2, ANYCAST, &header),
        routed(AGENT, AR1, OTHER_ANYCAST, &header),
    ] {
        ar.handle_packet(at(0.1), &packet);
        assert_eq!(state(&ar, at(0.1)).0, "registering");
    }
}

// covers: X210
#[test]
fn n026_an_acknowledgement_of_another_number_is_ignored() {
    let mut ar = start(config());
    for sequence in [499, 501, 0] {
        ar.handle_packet(at(0.1), &acknowledgement(0, sequence, 10));
        assert_eq!(state(&ar, at(0.1)).0, "registering");
    }
    ar.pass(at(2.0));
    ar.handle_packet(at(2.0), &acknowledgement(0, 500, 10));
    assert_eq!(state(&ar, at(2.0)).0, "registering", "only the last number counts");
}

#[test]
fn n027_accepted_it_installs_its_rules_and_refreshes_at_half_time() {
    let mut ar = start(config());
    ar.handle_packet(at(0.1), &acknowledgement(0, 500, 10));
    let done = ar.actions();
    for rule in [
        Rule::ReverseTunnelOut { anycast: ANYCAST, care_of: AR1, agent: AGENT },
        Rule::ReverseTunnelIn { anycast: ANYCAST, care_of: AR1, agent: AGENT },
        Rule::RoutingHeaderIn { anycast: ANYCAST, care_of: AR1 },
    ] {
        assert!(done.contains(&Action::InstallRule(rule)), "{rule:?}");
    }
    assert_eq!(updates(&ar.pass(at(20.2))), [(20.1, 501, 10)]);
}

#[test]
fn n027_the_operator_says_how_much_of_a_lifetime_passes_before_a_refresh() {
    for (refresh_percent, seconds) in [(10, 4.0), (95, 38.0)] {
        let policy = ArPolicy { refresh_percent, ..ArPolicy::default() };
        let mut ar = start(config()).with_policy(policy);
        ar.handle_packet(at(0.0), &acknowledgement(0, 500, 10));
        ar.actions();
        assert_eq!(updates(&ar.pass(at(seconds))), [(seconds, 501, 10)]);
    }
}

#[test]
fn n028_a_shorter_grant_is_what_counts() {
    let mut ar = start(config());
    ar.handle_packet(at(0.0), &acknowledgement(0, 500, 4));
    assert_eq!(state(&ar, at(0.0)), ("registered", 500, 16));
    ar.actions();
    assert_eq!(updates(&ar.pass(at(8.0))), [(8.0, 501, 10)]);
}

#[test]
fn n029_advice_that_is_not_within_the_lifetime_is_none() {
    for interval in [0, 10, 11] {
        let mut ar = start(config());
        let advice = [MobilityOption::BindingRefreshAdvice(Lifetime(interval))];
        ar.handle_packet(at(0.0), &advised(0, 500, 10, &advice));
        ar.actions();
        assert_eq!(updates(&ar.pass(at(20.0))), [(20.0, 501, 10)], "half of the lifetime");
    }
}

#[test]
fn n029_refresh_advice_sets_the_interval() {
    let mut ar = start(config());
    let advice = [MobilityOption::BindingRefreshAdvice(Lifetime(2))];
    ar.handle_packet(at(0.0), &advised(0, 500, 10, &advice));
    ar.actions();
    assert_eq!(updates(&ar.pass(at(8.0))), [(8.0, 501, 10)]);
}

#[test]
fn n031_x001_135_is_answered_at_once_with_stored_plus_two() {
    let mut config = config();
    config.anycast[0].initial_sequence = Some(100);
    let mut ar = start(config);
    ar.actions();
    ar.handle_packet(at(0.2), &acknowledgement(135, 200, 10));
    assert_eq!(updates(&ar.pass(at(0.2))), [(0.2, 202, 10)]);
    ar.handle_packet(at(0.3), &acknowledgement(0, 202, 10));
    assert_eq!(state(&ar, at(0.3)).0, "registered");
}

#[test]
fn n032_135_for_an_earlier_number_makes_no_loop() {
    let mut ar = start(config());
    ar.pass(at(1.5));
    ar.handle_packet(at(1.6), &acknowledgement(135, 700, 10));
    assert_eq!(updates(&ar.pass(at(1.6))), [(1.6, 702, 10)]);
    for stored in [700, 501, 701, 40_000] {
        ar.handle_packet(at(1.7), &acknowledgement(135, stored, 10));
        assert_eq!(updates(&ar.pass(at(1.7))), [], "{stored}");
    }
}

#[test]
fn n007_x017_an_agent_that_always_answers_135_gets_three_updates_a_second_at_most() {
    let mut ar = start(config());
    let mut times = vec![0.0];
    ar.actions();
    for step in 0..2000 {
        let now = at(f64::from(step) / 100.0);
        let last = ar.registrations(now)[0].sequence;
        ar.handle_packet(now, &acknowledgement(135, last, 10));
        times.extend(updates(&ar.pass(now)).iter().map(|(when, _, _)| *when));
    }
    for window in times.windows(4) {
        assert!(window[3] - window[0] >= 0.999, "{window:?}");
    }
    assert!(times.len() < 15, "the back-off applies in the end: {} in 20 s", times.len());
}

#[test]
fn n033_to_n038_refusals() {
    // Status, whether it is tried again after a minute.
    for (status, again) in
        [(128, true), (129, false), (130, true), (132, false), (134, false), (139, true), (200, true)]
    {
        let mut ar = start(config());
        ar.pass(at(0.0));
        ar.handle_packet(at(0.1), &acknowledgement(status, 500, 0));
        let done = ar.actions();
        let refused = done.iter().any(|a| matches!(a, Action::Report(r) if r.status == Some(status)));
        assert!(refused, "the operator is told of {status}");
        assert_eq!(state(&ar, at(0.1)).0, "refused");
        let later = updates(&ar.pass(at(100.0)));
        assert_eq!(later.first().map(|(when, _, _)| *when), again.then_some(60.1), "{status}");
    }
}

#[test]
fn n040_an_unknown_status_below_128_is_success_and_a_grant_of_nothing_is_not() {
    let mut ar = start(config());
    ar.handle_packet(at(0.1), &acknowledgement(77, 500, 10));
    assert_eq!(state(&ar, at(0.1)).0, "registered");
    let mut ar = start(config());
    ar.handle_packet(at(0.1), &acknowledgement(0, 500, 0));
    assert_eq!(state(&ar, at(0.1)).0, "refused");
}

#[test]
fn n035_n036_n023_n094_n096_n098_another_agent_is_tried_after_a_refusal_and_its_tunnel_is_used() {
    let second: Ipv6Addr = "2001:db8:0:1::3".parse().expect("an address");
    let mut config = config();
    config.anycast[0].agent = None;
    let mut ar = start(config);
    let asked = sent(&ar.actions());
    let identifier = match icmpv6_answer(&asked) {
        Some((AR1, HOME_AGENTS, Icmpv6Message::HomeAgentDiscoveryRequest { identifier, .. })) => identifier,
        other => panic!("{other:?}"),
    };
    let reply = |identifier| {
        let home_agents = vec![AGENT, second];
        let message =
            Icmpv6Message::HomeAgentDiscoveryReply { code: 0, identifier, reserved: 0, home_agents };
        icmpv6(AGENT, AR1, 64, message)
    };
    ar.handle_packet(at(0.1), &reply(identifier.wrapping_add(1)));
    assert_eq!(state(&ar, at(0.1)).0, "discovering", "N096");
    ar.handle_packet(at(0.1), &reply(identifier));
    assert_eq!(updates(&ar.pass(at(0.1))), [(0.1, 500, 10)], "N094: the first of the list");
    ar.handle_packet(at(0.2), &acknowledgement(132, 500, 10));
    let done = ar.pass(at(1.7));
    let next = done.iter().find_map(|(when, action)| match action {
        Action::Send(packet) => Some((*when, Signal::of(packet).expect("a Binding Update").destination)),
        _ => None,
    });
    assert_eq!(next, Some((at(1.7), second)));
    let sequence = ar.registrations(at(1.8))[0].sequence;
    let header = MobilityHeader::new(answer(0, sequence, 10, &[]));
    ar.handle_packet(at(1.8), &routed(second, AR1, ANYCAST, &header));
    let rule = Rule::ReverseTunnelOut { anycast: ANYCAST, care_of: AR1, agent: second };
    assert!(ar.actions().contains(&Action::InstallRule(rule)));
}

#[test]
fn n095_n097_discovery_doubles_three_seconds_and_slows_down() {
    let mut config = config();
    config.anycast[0].agent = None;
    let mut ar = start(config);
    let empty = Icmpv6Message::HomeAgentDiscoveryReply {
        code: 0,
        identifier: 0,
        reserved: 0,
        home_agents: Vec::new(),
    };
    ar.handle_packet(at(0.0), &icmpv6(AGENT, AR1, 64, empty));
    let mut done = ar.pass(at(0.0));
    done.extend(ar.pass(at(220.0)));
    let times: Vec<_> = done
        .into_iter()
        .filter(|(_, action)| matches!(action, Action::Send(_)))
        .map(|(when, _)| when.since_start().as_secs_f64())
        .collect();
    assert_eq!(times, [0.0, 3.0, 9.0, 21.0, 45.0, 93.0, 153.0, 213.0]);
}

// covers: X210
#[test]
fn n042_n049_tests_and_acknowledgements_for_other_addresses_are_ignored() {
    let mut ar = registered();
    let before = state(&ar, at(1.0));
    let header = MobilityHeader::new(answer(135, 900, 10, &[]));
    ar.handle_packet(at(1.0), &routed(AGENT, AR1, OTHER_ANYCAST, &header));
    ar.handle_packet(at(1.0), &mobility(AI2, OTHER_ANYCAST, None, Message::HomeTest(Test::default())));
    assert_eq!(sent(&ar.actions()), Vec::<Vec<u8>>::new());
    assert_eq!(state(&ar, at(1.0)), before);
}

// ---- route optimisation ----

/// The initiator's side of return routability, as far as a responder sees it.
struct Exchange {
    home: [u8; 8],
    care_of: [u8; 8],
}

const HOME_TOKEN: [u8; 8] = [1; 8];
const CARE_OF_TOKEN: [u8; 8] = [2; 8];

/// What `packets` ask of an initiator, directly or through the tunnel.
fn asked(packets: &[Vec<u8>]) -> Vec<Signal> {
    let inner = |bytes: &Vec<u8>| {
        let mut packet = PacketBuffer::new(bytes);
        if let Ok(outer) = decapsulate(&mut packet) {
            assert_eq!((outer.source, outer.destination), (AR1, AGENT));
        }
        packet.as_slice().to_vec()
    };
    packets.iter().filter_map(|bytes| Signal::of(&inner(bytes))).collect()
}

impl Exchange {
    /// Starts one by a packet of the tunnel.
    fn begin(ar: &mut Ar, now: Instant) -> Self {
        ar.actions();
        ar.handle_observation(now, Observation::TunnelledPeer { anycast: ANYCAST, peer: AI2 });
        Self::read(&sent(&ar.actions())).expect("both test inits")
    }

    fn read(packets: &[Vec<u8>]) -> Option<Self> {
        let signals = asked(packets);
        let find = |source: Ipv6Addr| {
            signals.iter().find(|signal| signal.source == source && signal.destination == AI2)
        };
        Some(Self { home: find(ANYCAST)?.init().cookie, care_of: find(AR1)?.init().cookie })
    }

    fn home_test(&self) -> Vec<u8> {
        let test = Test { nonce_index: 3, cookie: self.home, token: HOME_TOKEN, options: Vec::new() };
        mobility(AI2, ANYCAST, None, Message::HomeTest(test))
    }

    fn care_of_test(&self) -> Vec<u8> {
        let test = Test { nonce_index: 4, cookie: self.care_of, token: CARE_OF_TOKEN, options: Vec::new() };
        mobility(AI2, AR1, None, Message::CareOfTest(test))
    }

    /// The Binding Update that both tests bring.
    fn finish(&self, ar: &mut Ar, now: Instant) -> (Signal, Vec<Action>) {
        ar.handle_packet(now, &self.home_test());
        assert!(sent(&ar.actions()).is_empty(), "one test is not enough");
        ar.handle_packet(now, &self.care_of_test());
        let done = ar.actions();
        (signal(&sent(&done)).expect("a Binding Update"), done)
    }
}

fn kbm() -> [u8; 20] {
    binding_management_key(&HOME_TOKEN, Some(&CARE_OF_TOKEN))
}

/// A responder with an optimised [`AI2`] since 1 s.
fn optimised() -> (Ar, u16) {
    let mut ar = with_lifetime(1000);
    let (update, _) = Exchange::begin(&mut ar, at(1.0)).finish(&mut ar, at(1.0));
    (ar, update.update().sequence)
}

/// One of every Mobility Header that a responder sends to get to an optimised initiator.
pub fn emitted() -> Vec<Signal> {
    let mut emitted = asked(&sent(&start(config()).actions()));
    let mut ar = with_lifetime(1000);
    ar.handle_observation(at(1.0), Observation::TunnelledPeer { anycast: ANYCAST, peer: AI2 });
    let inits = sent(&ar.actions());
    emitted.extend(asked(&inits));
    let exchange = Exchange::read(&inits).expect("both test inits");
    emitted.push(exchange.finish(&mut ar, at(1.0)).0);
    emitted
}

fn view(ar: &Ar, now: Instant) -> Option<&'static str> {
    ar.correspondents(now).first().map(|view| view.state)
}

#[test]
fn n045_n051_n052_n066_return_routability_and_the_update_to_the_initiator() {
    let mut ar = with_lifetime(1000);
    let exchange = Exchange::begin(&mut ar, at(1.0));
    let (update, done) = exchange.finish(&mut ar, at(1.0));
    assert_eq!((update.source, update.destination, update.home_address), (AR1, AI2, Some(ANYCAST)));
    let message = update.update();
    assert!(message.flags.is_empty());
    assert_eq!(message.options[0], MobilityOption::NonceIndices { home: 3, care_of: 4 });
    assert_eq!((message.options.len(), update.octets.len()), (2, 32), "nothing after the authenticator");
    assert!(update.is_sealed_by(&kbm(), AR1, AI2));
    let rule = Rule::HomeAddressOut { anycast: ANYCAST, initiator: AI2, care_of: AR1 };
    assert!(done.contains(&Action::InstallRule(rule)));
}

#[test]
fn n053_the_lifetime_is_420_seconds_and_what_is_left_of_the_registration() {
    for (units, expected) in [(1000, 105), (10, 9)] {
        let mut ar = with_lifetime(units);
        let (update, _) = Exchange::begin(&mut ar, at(1.0)).finish(&mut ar, at(1.0));
        assert_eq!(update.update().lifetime, Lifetime(expected));
    }
}

#[test]
fn n047_test_inits_back_off_with_new_cookies_and_end_in_a_plain_initiator() {
    let mut ar = with_lifetime(1000);
    let mut cookies = vec![Exchange::begin(&mut ar, at(1.0)).home];
    let done = ar.pass(at(70.0));
    let mut times = Vec::new();
    for (when, action) in &done {
        if let Action::Send(packet) = action {
            let signal = &asked(std::slice::from_ref(packet))[0];
            if signal.source == ANYCAST {
                times.push(when.since_start().as_secs_f64());
                cookies.push(signal.init().cookie);
            }
        }
    }
    assert_eq!(times, [2.0, 4.0, 8.0, 16.0, 32.0]);
    cookies.sort_unstable();
    cookies.dedup();
    assert_eq!(cookies.len(), 6, "every retransmission has a cookie of its own");
    assert_eq!(view(&ar, at(70.0)), Some("plain"));
}

// covers: X210
#[test]
fn n048_n050_a_wrong_cookie_is_ignored() {
    let mut ar = with_lifetime(1000);
    let right = Exchange::begin(&mut ar, at(1.0));
    let wrong = Exchange { home: right.care_of, care_of: right.home };
    ar.handle_packet(at(1.0), &wrong.home_test());
    ar.handle_packet(at(1.0), &wrong.care_of_test());
    assert!(sent(&ar.actions()).is_empty());
    right.finish(&mut ar, at(1.0));
    ar.handle_packet(at(1.1), &right.home_test());
    ar.handle_packet(at(1.1), &right.care_of_test());
    assert!(sent(&ar.actions()).is_empty(), "a cookie is good once");
}

#[test]
fn n056_n089_leaving_tells_initiators_with_the_home_token_alone_and_then_the_agent() {
    let (mut ar, sequence) = optimised();
    ar.handle_command(at(10.0), &ArCommand::Shutdown);
    let signals: Vec<_> = sent(&ar.actions()).iter().filter_map(|packet| Signal::of(packet)).collect();
    let [to_initiator, to_agent] = signals.as_slice() else { panic!("{signals:?}") };
    assert_eq!((to_initiator.destination, to_agent.destination), (AI2, AGENT));
    let message = to_initiator.update();
    assert_eq!((message.sequence, message.lifetime), (sequence + 1, Lifetime::ZERO));
    assert_eq!(message.options[0], MobilityOption::NonceIndices { home: 3, care_of: 0 });
    assert!(to_initiator.is_sealed_by(&binding_management_key(&HOME_TOKEN, None), AR1, AI2));
    assert_eq!((to_agent.update().sequence, to_agent.update().lifetime), (501, Lifetime::ZERO));
    assert!(!ar.is_finished());
    ar.handle_packet(at(10.1), &acknowledgement(0, 501, 0));
    let done = ar.actions();
    for kind in [RuleKind::ReverseTunnelOut, RuleKind::ReverseTunnelIn, RuleKind::RoutingHeaderIn] {
        assert!(done.contains(&Action::RemoveRule(RuleKey::of(kind, ANYCAST))));
    }
    assert!(ar.is_finished());
    assert_eq!(ar.poll_timeout(), None);
}

#[test]
fn n056_an_old_home_token_is_renewed_for_the_deletion_and_the_agent_hears_at_once() {
    let (mut ar, _) = optimised();
    ar.handle_command(at(230.0), &ArCommand::Deregister(None));
    let asked = asked(&sent(&ar.actions()));
    assert_eq!((asked.len(), asked[0].source), (1, ANYCAST), "a home test, nothing else");
    let exchange = Exchange { home: asked[0].init().cookie, care_of: [0; 8] };
    ar.handle_packet(at(230.1), &exchange.home_test());
    let done: Vec<_> =
        sent(&ar.actions()).iter().filter_map(|p| Signal::of(p)).map(|s| s.destination).collect();
    assert_eq!(done, [AI2, AGENT], "no timer is waited for between the two");
}

#[test]
fn a_shutdown_always_ends_even_if_nobody_answers() {
    for mut ar in [optimised().0, registered(), start(config()), {
        let mut config = config();
        config.anycast[0].agent = None;
        start(config)
    }] {
        ar.handle_command(at(300.0), &ArCommand::Shutdown);
        ar.handle_command(at(301.0), &ArCommand::Shutdown);
        ar.pass(at(302.6));
        assert!(ar.is_finished());
        assert_eq!(ar.poll_timeout(), None);
    }
}

#[test]
fn a_refresh_request_does_not_stop_a_shutdown() {
    let mut ar = registered();
    ar.handle_command(at(10.0), &ArCommand::Shutdown);
    ar.actions();
    let request = Message::BindingRefreshRequest(BindingRefreshRequest::default());
    ar.handle_packet(at(10.0), &routed(AGENT, AR1, ANYCAST, &MobilityHeader::new(request)));
    assert!(sent(&ar.actions()).is_empty());
    assert_eq!(state(&ar, at(10.0)).0, "deregistering");
}

#[test]
fn a_displaced_responder_that_leaves_does_not_insist() {
    let mut ar = registered();
    ar.handle_command(at(10.0), &ArCommand::Shutdown);
    ar.actions();
    ar.handle_packet(at(10.1), &acknowledgement(135, 900, 0));
    assert!(updates(&ar.pass(at(20.0))).is_empty());
    assert!(ar.is_finished());
}

#[test]
fn n058_expired_nonces_begin_return_routability_again_at_a_limited_rate() {
    let (mut ar, sequence) = optimised();
    let refused = |status| routed(AI2, AR1, ANYCAST, &MobilityHeader::new(answer(status, sequence, 0, &[])));
    ar.handle_packet(at(2.0), &refused(138));
    assert!(Exchange::read(&sent(&ar.actions())).is_some());
    ar.handle_packet(at(2.1), &refused(138));
    assert!(sent(&ar.actions()).is_empty());
}

// covers: X210
#[test]
fn n059_x014_135_from_an_initiator_counts_only_with_the_authenticator() {
    let (mut ar, sequence) = optimised();
    let forged = MobilityHeader::new(answer(135, 30_000, 0, &[]));
    ar.handle_packet(at(2.0), &routed(AI2, AR1, ANYCAST, &forged));
    assert!(sent(&ar.actions()).is_empty());
    let stored = sequence.wrapping_add(50);
    let empty = [MobilityOption::BindingAuthorizationData(vec![0; 12])];
    let mut header = MobilityHeader::new(answer(135, stored, 0, &empty));
    let key = kbm();
    seal(&mut header, SealKey { binding_management_key: &key, care_of: AR1, correspondent: AI2 });
    ar.handle_packet(at(2.0), &routed(AI2, AR1, ANYCAST, &header));
    let retry = signal(&sent(&ar.actions())).expect("a Binding Update");
    assert_eq!(retry.update().sequence, stored.wrapping_add(2));
}

/// A Parameter Problem from [`AI2`] about the Mobility Header of `packet`.
fn not_spoken(packet: &[u8]) -> Vec<u8> {
    let to = Packet::parse(packet).expect("a packet").header.source;
    let message = Icmpv6Message::ParameterProblem { code: 1, pointer: 6, invoking: packet.to_vec() };
    icmpv6(AI2, to, 64, message)
}

#[test]
fn n060_n062_a_parameter_problem_marks_a_plain_initiator_for_420_seconds() {
    let mut ar = with_lifetime(1000);
    ar.handle_observation(at(1.0), Observation::TunnelledPeer { anycast: ANYCAST, peer: AI2 });
    let care_of_init = sent(&ar.actions()).into_iter().find(|p| Signal::of(p).is_some()).expect("a CoTI");
    ar.handle_packet(at(1.1), &not_spoken(&care_of_init));
    assert_eq!(view(&ar, at(1.1)), Some("plain"));
    ar.actions();
    for second in 2..421 {
        ar.pass(at(f64::from(second)));
        ar.handle_observation(
            at(f64::from(second)),
            Observation::TunnelledPeer { anycast: ANYCAST, peer: AI2 },
        );
        assert!(sent(&ar.actions()).is_empty());
    }
    ar.pass(at(422.0));
    Exchange::begin(&mut ar, at(422.0));
}

#[test]
fn n060_nobody_off_the_path_can_make_an_initiator_plain() {
    let mut ar = with_lifetime(1000);
    Exchange::begin(&mut ar, at(1.0));
    let guess =
        mobility(AR1, AI2, None, Message::CareOfTestInit(mga_node::wire::mobility::TestInit::default()));
    ar.handle_packet(at(1.1), &not_spoken(&guess));
    assert_eq!(view(&ar, at(1.1)), Some("return-routability"));
}

#[test]
fn n061_a_parameter_problem_about_the_option_ends_the_optimisation() {
    let direct = with_home_address(AR1, AI2, Some(ANYCAST), 17, &[0; 8]);
    let option = Packet::parse(&direct).expect("a packet").home_address.expect("an option").option_offset;
    let option = u32::try_from(option).expect("a short packet");
    for (pointer, code, expected) in
        [(option, 2, "plain"), (option + 1, 2, "optimised"), (option, 0, "optimised")]
    {
        let (mut ar, _) = optimised();
        assert_eq!(view(&ar, at(2.0)), Some("optimised"));
        let message = Icmpv6Message::ParameterProblem { code, pointer, invoking: direct.clone() };
        ar.handle_packet(at(2.0), &icmpv6(AI2, AR1, 64, message));
        let done = ar.actions();
        assert_eq!(view(&ar, at(2.0)), Some(expected), "{pointer} {code}");
        let key = RuleKey::between(RuleKind::HomeAddressOut, ANYCAST, AI2);
        assert_eq!(done.contains(&Action::RemoveRule(key)), expected == "plain");
        if expected == "plain" {
            assert!(done.iter().any(|action| matches!(action, Action::Report(_))), "it is logged");
            ar.handle_observation(at(3.0), Observation::TunnelledPeer { anycast: ANYCAST, peer: AI2 });
            assert!(sent(&ar.actions()).is_empty(), "and left alone");
        }
    }
}

// covers: X210
#[test]
fn n064_an_error_about_an_unknown_peer_creates_nothing() {
    let mut ar = registered();
    ar.handle_packet(at(1.0), &not_spoken(&ping(ANYCAST, AI2)));
    assert!(ar.correspondents(at(1.0)).is_empty());
}

#[test]
fn n069_a_tunnel_to_the_anycast_address_from_anyone_else_is_dropped_and_other_tunnels_are_not_ours() {
    let mut ar = registered();
    let done = |ar: &mut Ar, packet: &[u8]| {
        ar.handle_packet(at(1.0), packet);
        ar.actions()
    };
    assert!(done(&mut ar, &tunnel(STRANGER, AR1, &ping(AI1, ANYCAST))).is_empty());
    let other = tunnel(STRANGER, AR1, &ping(AI1, AR2));
    assert_eq!(done(&mut ar, &other), [Action::Deliver(other)]);
}

#[test]
fn n072_c074_a_routing_header_for_another_address_is_silent_whatever_it_carries() {
    let mut ar = registered();
    for kind in [0, 5, 255] {
        let mut octets = vec![6, 3, kind, 0];
        octets.resize(32, 0);
        let packet = routed(AGENT, AR1, STRANGER, &MobilityHeader::new(Message::HomeTest(Test::default())));
        let mut bad = packet;
        bad.splice(64.., octets);
        bad[5] = 24 + 32;
        assert!(ar.answers(at(1.0), &bad).is_empty());
    }
}

#[test]
fn n012_the_anycast_address_is_not_used_before_it_is_bound() {
    let mut ar = start(config());
    ar.actions();
    ar.handle_packet(at(0.1), &ping(ANYCAST, AI1));
    assert!(ar.actions().is_empty());
}

#[test]
fn n067_n076_no_optimisation_with_the_agent_link_local_peers_or_when_disabled() {
    let mut ar = registered();
    for peer in [AGENT, LINK_LOCAL, GROUP, AR1] {
        ar.handle_observation(at(1.0), Observation::TunnelledPeer { anycast: ANYCAST, peer });
        assert!(ar.actions().is_empty(), "{peer}");
    }
    let mut ar = start(ArConfig { route_optimisation: false, ..config() });
    ar.handle_packet(at(0.0), &acknowledgement(0, 500, 10));
    ar.actions();
    ar.handle_observation(at(1.0), Observation::TunnelledPeer { anycast: ANYCAST, peer: AI2 });
    assert!(ar.actions().is_empty());
}

#[test]
fn n077_n078_n079_a_refresh_request_from_a_bound_initiator_begins_one_exchange() {
    let (mut ar, _) = optimised();
    let request = |from| {
        mobility(from, ANYCAST, None, Message::BindingRefreshRequest(BindingRefreshRequest::default()))
    };
    assert!(ar.answers(at(2.0), &request(AI1)).is_empty(), "nobody we know");
    let exchange = Exchange::read(&ar.answers(at(2.0), &request(AI2))).expect("both test inits");
    assert!(ar.answers(at(2.0), &request(AI2)).is_empty(), "one is under way");
    let (_, done) = exchange.finish(&mut ar, at(2.1));
    assert!(!done.iter().any(|action| matches!(action, Action::RemoveRule(_))));
}

fn binding_error(status: u8) -> Vec<u8> {
    let message = BindingError { status, reserved: 0, home_address: ANYCAST, options: Vec::new() };
    mobility(AI2, AR1, None, Message::BindingError(message))
}

#[test]
fn n080_n081_binding_error_1_ends_the_optimisation_and_the_next_packet_begins_again() {
    let mut ar = registered();
    ar.handle_packet(at(1.0), &binding_error(1));
    assert!(ar.correspondents(at(1.0)).is_empty());
    let (mut ar, _) = optimised();
    ar.handle_packet(at(2.0), &binding_error(1));
    let rule = RuleKey::between(RuleKind::HomeAddressOut, ANYCAST, AI2);
    assert!(ar.actions().contains(&Action::RemoveRule(rule)));
    ar.handle_observation(at(2.5), Observation::TunnelledPeer { anycast: ANYCAST, peer: AI2 });
    assert!(ar.actions().is_empty(), "not at once");
    Exchange::begin(&mut ar, at(3.1)).finish(&mut ar, at(3.1));
}

#[test]
fn n082_n083_binding_error_2_counts_only_as_an_answer() {
    let mut ar = with_lifetime(1000);
    Exchange::begin(&mut ar, at(1.0));
    ar.handle_packet(at(1.1), &binding_error(2));
    assert_eq!(view(&ar, at(1.1)), Some("plain"));
    let (mut ar, _) = optimised();
    ar.handle_packet(at(60.0), &binding_error(2));
    assert_eq!(view(&ar, at(60.0)), Some("optimised"));
}

#[test]
fn n084_a_binding_error_from_the_agent_keeps_the_registration() {
    let mut ar = registered();
    for status in [1, 2] {
        let message = BindingError { status, reserved: 0, home_address: ANYCAST, options: Vec::new() };
        ar.handle_packet(at(1.0), &mobility(AGENT, AR1, None, Message::BindingError(message)));
    }
    assert_eq!(state(&ar, at(1.0)).0, "registered");
    assert!(sent(&ar.actions()).is_empty());
}

#[test]
fn n007_test_inits_and_updates_to_an_initiator_keep_the_rate_too() {
    let (mut ar, _) = optimised();
    let request =
        mobility(AI2, ANYCAST, None, Message::BindingRefreshRequest(BindingRefreshRequest::default()));
    let mut times: Vec<Instant> = Vec::new();
    for step in 0..400 {
        let now = at(2.0 + f64::from(step) / 100.0);
        let mut packets = ar.answers(now, &request);
        packets.extend(sent(&ar.pass(now).into_iter().map(|(_, action)| action).collect::<Vec<_>>()));
        for signal in asked(&packets) {
            match &signal.header.message {
                Message::CareOfTestInit(_) => times.push(now),
                Message::HomeTestInit(init) => {
                    let exchange = Exchange { home: init.cookie, care_of: [0; 8] };
                    ar.handle_packet(now, &exchange.home_test());
                }
                _ => {}
            }
            if let Message::CareOfTestInit(init) = &signal.header.message {
                let exchange = Exchange { home: [0; 8], care_of: init.cookie };
                ar.handle_packet(now, &exchange.care_of_test());
            }
        }
    }
    assert!(times.len() >= 9, "{}", times.len());
    for window in times.windows(4) {
        assert!(window[3].saturating_since(window[0]).as_secs_f64() >= 0.999);
    }
}

#[test]
fn a_lost_registration_takes_its_optimisations_with_it() {
    let mut config = config();
    config.anycast[0].lifetime = Lifetime(10);
    let mut ar = registered();
    let exchange = Exchange::begin(&mut ar, at(1.0));
    exchange.finish(&mut ar, at(1.0));
    let done: Vec<_> = ar.pass(at(40.0)).into_iter().map(|(_, action)| action).collect();
    assert!(done.contains(&Action::RemoveRule(RuleKey::between(RuleKind::HomeAddressOut, ANYCAST, AI2))));
    assert!(done.contains(&Action::RemoveRule(RuleKey::of(RuleKind::ReverseTunnelOut, ANYCAST))));
    assert!(ar.correspondents(at(40.0)).is_empty());
}

#[test]
fn forged_sources_are_tested_at_a_bounded_rate_and_do_not_push_out_what_works() {
    let (mut ar, _) = optimised();
    let mut inits = 0;
    for step in 0..50_000_u32 {
        let now = at(2.0 + f64::from(step) / 5000.0);
        let peer = Ipv6Addr::from(u128::from(STRANGER) + u128::from(step) + 1);
        ar.handle_observation(now, Observation::TunnelledPeer { anycast: ANYCAST, peer });
        inits += sent(&ar.actions()).len();
    }
    assert!(inits <= 2 * (64 + 20 * 10 + 1), "{inits} messages for 10 s of forged sources");
    assert!(ar.correspondents(at(12.0)).iter().any(|c| c.initiator == AI2 && c.state == "optimised"));
}

#[test]
fn c073_a_malformed_type_2_routing_header_is_silent() {
    let unknown = raw_mobility(AI2, ANYCAST, None, &[59, 0, 255, 0, 0, 0, 0, 0]);
    let with = |protocol: u8, units: u8, segments_left: u8, packet: &[u8]| {
        let mut payload = vec![protocol, units, 2, segments_left, 0, 0, 0, 0];
        for _ in 0..units / 2 {
            payload.extend_from_slice(&ANYCAST.octets());
        }
        payload.resize((usize::from(units) + 1) * 8, 0);
        payload.extend_from_slice(&packet[40..]);
        mga_node::wire::ipv6::packet(mga_node::wire::Ipv6Header::new(43, 64, AI2, AR1), &payload)
    };
    assert!(!registered().answers(at(1.0), &with(135, 2, 1, &unknown)).is_empty(), "a good one is read");
    for (units, segments_left) in [(0, 1), (1, 1), (4, 1), (2, 2), (2, 255)] {
        for (protocol, packet) in [(58, ping(AI2, ANYCAST)), (135, unknown.clone())] {
            let mut ar = registered();
            ar.handle_packet(at(1.0), &with(protocol, units, segments_left, &packet));
            let done = ar.actions();
            let acted = done.iter().any(|action| !matches!(action, Action::Report(_)));
            assert!(!acted, "{units} {segments_left}: {done:?}");
        }
    }
}
