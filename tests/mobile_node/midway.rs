//! Several agents for one anycast address (thesis 4.3.3, Figure 10): a responder registers with the home agent and with
//! midway agents, with each for itself.
//! Run by this test's `main`.

use std::net::Ipv6Addr;

use mga_node::protocol::action::{Action, Rule, RuleKey, RuleKind};
use mga_node::protocol::ar::{Ar, ArCommand, ServiceConfig};

use crate::scene::*;

const MIDWAY_C: Ipv6Addr = AI1;
const MIDWAY_E: Ipv6Addr = AI2;

fn configured(agents: &[Ipv6Addr]) -> ServiceConfig {
    ServiceConfig { midway_agents: agents.to_vec(), ..ServiceConfig::default() }
}

/// When which agent was sent which number with which lifetime.
fn updates(sent: &[(f64, Sent)]) -> Vec<(f64, Ipv6Addr, u16, u16)> {
    let of = |(time, packet): &(f64, Sent)| {
        packet.update().map(|update| (*time, packet.destination, update.sequence, update.lifetime.0))
    };
    sent.iter().filter_map(of).collect()
}

fn sent_to(ar: &mut Ar, agent: Ipv6Addr) -> Option<(u16, u16)> {
    let to = sent(ar).into_iter().find(|packet| packet.destination == agent)?;
    to.update().map(|update| (update.sequence, update.lifetime.0))
}

/// A responder bound at [`AGENT`] and at [`MIDWAY_C`], which its configuration names, with the number of the last
/// Binding Update to the latter.
fn bound_at_both() -> (Ar, u16) {
    let mut ar = asking(configured(&[MIDWAY_C]));
    let (number, _) = sent_to(&mut ar, MIDWAY_C).expect("the midway agent is asked");
    ar.handle_packet(at(0.0), &granted(AGENT, 0, 500, 1000, &[]));
    ar.handle_packet(at(0.0), &granted(MIDWAY_C, 0, number, 1000, &[]));
    actions(&mut ar);
    (ar, number)
}

fn out(agent: Ipv6Addr) -> Action {
    Action::InstallRule(Rule::ReverseTunnelOut { anycast: ANYCAST, care_of: AR1, agent })
}

fn states(ar: &Ar, now: f64) -> Vec<(Option<Ipv6Addr>, &'static str)> {
    ar.registrations(at(now)).iter().map(|view| (view.agent, view.state)).collect()
}

#[test]
fn configured_midway_agents_are_asked_at_the_start_and_only_the_tunnel_in_is_theirs() {
    let mut ar = asking(configured(&[MIDWAY_C]));
    let (number, _) = sent_to(&mut ar, MIDWAY_C).expect("the midway agent is asked");
    ar.handle_packet(at(0.0), &granted(AGENT, 0, 500, 1000, &[]));
    assert!(actions(&mut ar).contains(&out(AGENT)));
    ar.handle_packet(at(0.1), &granted(MIDWAY_C, 0, number, 1000, &[]));
    let done = actions(&mut ar);
    let tunnel = Rule::MidwayTunnelIn { anycast: ANYCAST, care_of: AR1, agent: MIDWAY_C };
    assert!(done.contains(&Action::InstallRule(tunnel)));
    let other_way = |action: &Action| {
        matches!(action, Action::InstallRule(Rule::ReverseTunnelOut { .. } | Rule::RoutingHeaderIn { .. }))
    };
    assert!(!done.iter().any(other_way), "{done:?}");
    assert_eq!(states(&ar, 0.1), [(Some(AGENT), "registered"), (Some(MIDWAY_C), "registered")]);
    assert_eq!(ar.registrations(at(0.1)).iter().map(|view| view.midway).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn midway_agents_that_the_home_agent_names_are_registered_with_and_left_when_named_no_longer() {
    let mut ar = asking(ServiceConfig::default());
    actions(&mut ar);
    // Neither the agent itself, nor the responder, nor an address that cannot be one.
    let named = [MIDWAY_C, AGENT, AR1, ANYCAST, Ipv6Addr::LOCALHOST, MIDWAY_E];
    ar.handle_packet(at(0.0), &granted(AGENT, 0, 500, 1000, &named));
    let asked = sent(&mut ar);
    assert_eq!(asked.iter().map(|packet| packet.destination).collect::<Vec<_>>(), [MIDWAY_C, MIDWAY_E]);
    for packet in &asked {
        let number = packet.update().expect("a Binding Update").sequence;
        ar.handle_packet(at(0.1), &granted(packet.destination, 0, number, 1000, &[]));
    }
    actions(&mut ar);
    ar.handle_command(at(1.0), &ArCommand::Register(None));
    actions(&mut ar);
    ar.handle_packet(at(1.0), &granted(AGENT, 0, 501, 1000, &[MIDWAY_E]));
    let (number, lifetime) = sent_to(&mut ar, MIDWAY_C).expect("left");
    assert_eq!(lifetime, 0);
    ar.handle_packet(at(1.1), &granted(MIDWAY_C, 0, number, 0, &[]));
    actions(&mut ar);
    assert_eq!(
        states(&ar, 1.2).iter().map(|(agent, _)| *agent).collect::<Vec<_>>(),
        [Some(AGENT), Some(MIDWAY_E)]
    );
}

#[test]
fn an_acknowledgement_that_is_not_waited_for_names_no_agents() {
    let mut ar = member(ServiceConfig::default());
    ar.handle_packet(at(1.0), &granted(AGENT, 0, 500, 1000, &[MIDWAY_C]));
    ar.handle_packet(at(1.0), &granted(AGENT, 0, 700, 1000, &[MIDWAY_C]));
    assert!(sent(&mut ar).is_empty());
    assert_eq!(ar.registrations(at(1.0)).len(), 1);
}

#[test]
fn a_silent_midway_agent_is_asked_with_back_off_and_disturbs_nothing() {
    let mut ar = asking(configured(&[MIDWAY_C]));
    actions(&mut ar);
    ar.handle_packet(at(0.0), &granted(AGENT, 0, 500, 1000, &[]));
    actions(&mut ar);
    let tried = updates(&pass(&mut ar, 500.0));
    assert!(tried.iter().all(|(_, agent, ..)| *agent == MIDWAY_C), "the home registration rests");
    let times: Vec<_> = tried.iter().map(|(time, ..)| *time).collect();
    assert_eq!(times[..5], [1.5, 4.5, 10.5, 22.5, 46.5]);
    assert!(times[5..].windows(2).all(|two| two[1] - two[0] == 32.0), "{times:?}");
    assert!(tried.windows(2).all(|two| two[1].2 == two[0].2.wrapping_add(1)), "numbers of its own");
    assert_eq!(states(&ar, 500.0)[0], (Some(AGENT), "registered"));
}

#[test]
fn each_agent_has_its_own_lifetime_and_numbers() {
    let mut ar = asking(configured(&[MIDWAY_C]));
    let (number, _) = sent_to(&mut ar, MIDWAY_C).expect("the midway agent is asked");
    ar.handle_packet(at(0.0), &granted(AGENT, 0, 500, 1000, &[]));
    // 40 s from the midway agent, and its number is refused first.
    ar.handle_packet(at(0.0), &granted(MIDWAY_C, 135, number.wrapping_add(40), 0, &[]));
    let (retried, _) = sent_to(&mut ar, MIDWAY_C).expect("tried again");
    assert_eq!(retried, number.wrapping_add(42));
    ar.handle_packet(at(0.0), &granted(MIDWAY_C, 0, retried, 10, &[]));
    actions(&mut ar);
    let refreshed = updates(&pass(&mut ar, 21.0));
    assert_eq!(refreshed[0], (20.0, MIDWAY_C, retried.wrapping_add(1), 1000));
    assert!(refreshed.iter().all(|(_, agent, ..)| *agent == MIDWAY_C));
}

#[test]
fn a_midway_agent_that_is_lost_takes_only_its_own_tunnel_with_it() {
    let (mut ar, _) = bound_at_both();
    let mut done = Vec::new();
    while let Some((due, _)) = ar.poll_timeout().filter(|(due, _)| *due <= at(4000.0)) {
        ar.handle_timeout(due);
        for packet in sent_and_rest(&mut ar, &mut done) {
            // The home agent answers every refresh, the midway agent none.
            if packet.destination == AGENT {
                let number = packet.update().expect("a refresh").sequence;
                ar.handle_packet(due, &granted(AGENT, 0, number, 1000, &[]));
            }
        }
    }
    let gone = RuleKey::between(RuleKind::MidwayTunnelIn, ANYCAST, MIDWAY_C);
    assert!(done.contains(&Action::RemoveRule(gone)));
    assert!(!done.contains(&Action::RemoveRule(RuleKey::of(RuleKind::ReverseTunnelOut, ANYCAST))));
    assert_eq!(states(&ar, 4000.0), [(Some(AGENT), "registered"), (Some(MIDWAY_C), "registering")]);
}

/// The packets sent; what else is to be done goes into `rest`.
fn sent_and_rest(ar: &mut Ar, rest: &mut Vec<Action>) -> Vec<Sent> {
    let done = actions(ar);
    let sent = packets(&done);
    rest.extend(done);
    sent
}

#[test]
fn losing_the_home_agent_keeps_the_midway_registrations_and_answers_go_through_one() {
    let (mut ar, number) = bound_at_both();
    ar.handle_command(at(10.0), &ArCommand::Register(None));
    actions(&mut ar);
    ar.handle_packet(at(10.0), &granted(MIDWAY_C, 0, number.wrapping_add(1), 1000, &[]));
    ar.handle_packet(at(10.0), &granted(AGENT, 130, 501, 0, &[]));
    let done = actions(&mut ar);
    assert!(events(&done).contains(&"registration-lost"));
    assert!(done.contains(&out(MIDWAY_C)), "{done:?}");
    assert_eq!(states(&ar, 10.0), [(Some(AGENT), "refused"), (Some(MIDWAY_C), "registered")]);
    // A minute later the home agent has room again, and has the answers back.
    pass(&mut ar, 71.0);
    ar.handle_packet(at(71.0), &granted(AGENT, 0, 502, 1000, &[]));
    assert!(actions(&mut ar).contains(&out(AGENT)));
}

#[test]
fn leaving_leaves_every_agent() {
    let (mut ar, number) = bound_at_both();
    ar.handle_command(at(10.0), &ArCommand::Shutdown);
    let left: Vec<_> = sent(&mut ar)
        .iter()
        .filter_map(|packet| packet.update().map(|update| (packet.destination, update.lifetime.0)))
        .collect();
    assert_eq!(left, [(AGENT, 0), (MIDWAY_C, 0)]);
    ar.handle_packet(at(10.1), &granted(AGENT, 0, 501, 0, &[]));
    ar.handle_packet(at(10.1), &granted(MIDWAY_C, 0, number.wrapping_add(1), 0, &[]));
    actions(&mut ar);
    assert!(!ar.is_finished(), "what is in flight is answered");
    pass(&mut ar, 10.5);
    assert!(ar.is_finished());
}

#[test]
fn a_move_is_told_to_every_agent() {
    let (mut ar, number) = bound_at_both();
    ar.handle_command(at(10.0), &ArCommand::Move(AR2));
    let told: Vec<_> = sent(&mut ar)
        .iter()
        .filter_map(|packet| Some((packet.source, packet.destination, packet.update()?.sequence)))
        .collect();
    assert_eq!(told, [(AR2, AGENT, 501), (AR2, MIDWAY_C, number.wrapping_add(1))]);
}

#[test]
fn an_end_waits_for_all_silent_agents_at_once() {
    for silent_since in [0.0, 3000.0] {
        let (mut ar, _) = bound_at_both();
        let now = 1.0 + silent_since;
        pass(&mut ar, now);
        ar.handle_command(at(now), &ArCommand::Shutdown);
        actions(&mut ar);
        pass(&mut ar, now + 2.5);
        assert!(ar.is_finished(), "{:?}", states(&ar, now + 2.5));
        assert_eq!(ar.poll_timeout(), None);
    }
}

#[test]
fn the_answer_to_a_deregistration_names_nobody_to_register_with() {
    let mut ar = member(ServiceConfig::default());
    ar.handle_command(at(10.0), &ArCommand::Shutdown);
    actions(&mut ar);
    ar.handle_packet(at(10.1), &granted(AGENT, 0, 501, 0, &[MIDWAY_C]));
    assert!(sent(&mut ar).is_empty());
    pass(&mut ar, 11.0);
    assert!(ar.is_finished());
}
