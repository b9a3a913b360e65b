//! One responder among several (thesis 4.3.1, Figure 9; docs/advanced-wire.md): what it offers, what it does when an
//! agent grants it, and how it gets along with agents that do not know the advanced model.
//! Run by this test's `main`.

use std::time::Duration;

use mga_node::protocol::action::{Action, Rule, RuleKey, RuleKind};
use mga_node::protocol::ar::{Ar, ArCommand, ArPolicy, ServiceConfig};
use mga_node::wire::mobility::{BindingIdentifier, MobilityOption, Offer, OfferFlags};

use crate::scene::*;

/// Number and lifetime in units of 4 seconds of the Binding Updates among `sent`.
fn updates(sent: &[Sent]) -> Vec<(u16, u16)> {
    sent.iter()
        .filter_map(|packet| packet.update().map(|update| (update.sequence, update.lifetime.0)))
        .collect()
}

fn shut_down(ar: &mut Ar, now: f64) -> Vec<Sent> {
    ar.handle_command(at(now), &ArCommand::Shutdown);
    sent(ar)
}

#[test]
fn a_member_names_its_binding_and_what_it_offers() {
    let mut ar = asking(ServiceConfig { weight: 3, capacity: 200, ..ServiceConfig::default() });
    let asked = sent(&mut ar);
    let options = &asked[0].update().expect("a Binding Update").options;
    assert!(options.contains(&MobilityOption::AlternateCareOfAddress(AR1)));
    assert!(options.contains(&MobilityOption::BindingIdentifier(BindingIdentifier::of(1))));
    let expected = Offer {
        flags: OfferFlags::empty(),
        extensions: every_extension(),
        metric: Offer::NO_METRIC,
        capacity: 200,
        weight: 3,
        more: vec![],
    };
    assert_eq!(asked[0].offer(), Some(&expected));
}

#[test]
fn in_the_basic_model_neither_option_is_sent() {
    let asked = sent(&mut started(config(), ArPolicy::default()));
    let options = &asked[0].update().expect("a Binding Update").options;
    let padding_aside: Vec<_> = options.iter().filter(|option| !option.is_padding()).collect();
    assert_eq!(padding_aside, [&MobilityOption::AlternateCareOfAddress(AR1)]);
}

#[test]
fn what_the_agent_grants_is_shown_and_told() {
    let mut ar = asking(ServiceConfig::default());
    ar.handle_packet(at(0.1), &granted(AGENT, 0, 500, 1000, &[]));
    assert!(events(&actions(&mut ar)).contains(&"advanced-model-granted"));
    let view = &ar.registrations(at(0.1))[0];
    let extensions = view.extensions.as_ref().expect("granted");
    assert_eq!(extensions.join(" "), "several affinity probing steering agents");
}

#[test]
fn a_grant_that_was_not_asked_for_grants_nothing() {
    let mut ar = started(config(), ArPolicy::default());
    ar.handle_packet(at(0.1), &granted(AGENT, 0, 500, 1000, &[SECOND_AGENT]));
    let done = actions(&mut ar);
    assert!(events(&done).contains(&"registered"));
    assert!(!done.iter().any(|action| matches!(action, Action::InstallRule(Rule::MidwayTunnelIn { .. }))));
    assert_eq!(ar.registrations(at(0.1)).len(), 1);
    assert_eq!(ar.registrations(at(0.1))[0].extensions, None);
}

#[test]
fn an_agent_that_does_not_know_the_advanced_model_gets_the_basic_one() {
    let mut ar = asking(ServiceConfig::default());
    actions(&mut ar);
    // Thesis 5.1: another responder holds number 600.
    ar.handle_packet(at(0.1), &acknowledged(AGENT, AR1, 135, 600, 0));
    assert_eq!(updates(&sent(&mut ar)), [(602, 1000)]);
    ar.handle_packet(at(0.2), &acknowledged(AGENT, AR1, 0, 602, 1000));
    assert!(events(&actions(&mut ar)).contains(&"advanced-model-not-granted"));
    assert_eq!(ar.registrations(at(0.2))[0].extensions, None);
    // Displaced in the meantime: the other responder's binding is left alone.
    assert_eq!(updates(&shut_down(&mut ar, 10.0)), [(603, 0)]);
    ar.handle_packet(at(10.1), &acknowledged(AGENT, AR1, 135, 700, 0));
    assert!(updates(&sent(&mut ar)).is_empty());
    assert!(ar.is_finished(), "nor is there anything to linger for");
}

#[test]
fn after_an_agents_restart_the_model_is_the_one_it_grants_then() {
    let mut ar = asking(ServiceConfig::default());
    ar.handle_packet(at(0.1), &acknowledged(AGENT, AR1, 0, 500, 1000));
    actions(&mut ar);
    let refresh = pass(&mut ar, 2001.0);
    assert!(refresh[0].1.offer().is_some(), "offered again with every refresh");
    ar.handle_packet(at(2001.0), &granted(AGENT, 0, 501, 1000, &[]));
    assert!(events(&actions(&mut ar)).contains(&"advanced-model-granted"));
    ar.handle_command(at(2002.0), &ArCommand::Register(None));
    ar.handle_packet(at(2002.0), &acknowledged(AGENT, AR1, 0, 502, 1000));
    assert!(events(&actions(&mut ar)).contains(&"advanced-model-not-granted"));
    ar.handle_command(at(2003.0), &ArCommand::Register(None));
    ar.handle_packet(at(2003.0), &acknowledged(AGENT, AR1, 0, 503, 1000));
    assert!(!events(&actions(&mut ar)).contains(&"advanced-model-not-granted"), "told once");
}

#[test]
fn a_member_that_leaves_insists_because_the_numbers_are_its_own() {
    let mut ar = member(ServiceConfig::default());
    assert_eq!(updates(&shut_down(&mut ar, 10.0)), [(501, 0)]);
    ar.handle_packet(at(10.0), &granted(AGENT, 135, 900, 0, &[]));
    assert_eq!(updates(&sent(&mut ar)), [(902, 0)]);
    assert!(!ar.is_finished());
    ar.handle_packet(at(10.1), &granted(AGENT, 0, 902, 0, &[]));
    actions(&mut ar);
    pass(&mut ar, 10.5);
    assert!(ar.is_finished());
}

#[test]
fn a_member_that_leaves_before_its_first_acknowledgement_deregisters_too() {
    let mut ar = asking(ServiceConfig::default());
    actions(&mut ar);
    assert_eq!(updates(&shut_down(&mut ar, 0.2)), [(501, 0)]);
    // In the basic model there would be nothing to remove.
    let mut basic = started(config(), ArPolicy::default());
    actions(&mut basic);
    assert!(shut_down(&mut basic, 0.2).is_empty());
}

#[test]
fn a_member_answers_what_is_in_flight_for_300_ms_after_it_left() {
    let mut ar = member(ServiceConfig::default());
    shut_down(&mut ar, 10.0);
    ar.handle_packet(at(10.1), &granted(AGENT, 0, 501, 0, &[]));
    let removed = |actions: &[Action]| {
        actions.contains(&Action::RemoveRule(RuleKey::of(RuleKind::ReverseTunnelOut, ANYCAST)))
    };
    assert!(!removed(&actions(&mut ar)));
    assert!(!ar.is_finished());
    let (due, _) = ar.poll_timeout().expect("the end");
    assert_eq!(due, at(10.1) + Duration::from_millis(300));
    ar.handle_timeout(due);
    assert!(removed(&actions(&mut ar)));
    assert!(ar.is_finished());
}

#[test]
fn a_member_whose_agent_is_silent_ends_all_the_same() {
    let mut ar = member(ServiceConfig::default());
    shut_down(&mut ar, 10.0);
    let again = pass(&mut ar, 12.5);
    assert!(!again.is_empty(), "it tried");
    assert!(ar.is_finished());
    let ends = ar.poll_timeout();
    assert_eq!(ends, None, "nothing left to wait for");
}

#[test]
fn registering_again_during_the_last_answers_keeps_the_tunnel() {
    let mut ar = member(ServiceConfig::default());
    ar.handle_command(at(10.0), &ArCommand::Deregister(None));
    ar.handle_packet(at(10.0), &granted(AGENT, 0, 501, 0, &[]));
    actions(&mut ar);
    ar.handle_command(at(10.1), &ArCommand::Register(None));
    ar.handle_packet(at(10.1), &granted(AGENT, 0, 502, 1000, &[]));
    assert!(events(&actions(&mut ar)).contains(&"registered"));
    ar.handle_timeout(at(10.5));
    assert!(!actions(&mut ar).iter().any(|action| matches!(action, Action::RemoveRule(_))));
}

#[test]
fn on_its_home_link_a_member_stays_a_member() {
    let mut ar = member(ServiceConfig::default());
    ar.handle_command(at(5.0), &ArCommand::ReturnHome { anycast: ANYCAST, link_address: LINK_ADDRESS });
    assert!(actions(&mut ar).is_empty(), "the anycast address is the agent's, for the others");
}

#[test]
fn an_agent_that_refuses_binding_identifiers_is_asked_without() {
    for status in [164, 165, 166, 168] {
        let mut ar = asking(ServiceConfig::default());
        actions(&mut ar);
        ar.handle_packet(at(0.1), &acknowledged(AGENT, AR1, status, 500, 0));
        let again = sent(&mut ar);
        let identified = |packet: &Sent| {
            let options = &packet.update().expect("a Binding Update").options;
            options.iter().any(|option| matches!(option, MobilityOption::BindingIdentifier(_)))
        };
        assert_eq!(updates(&again), [(501, 1000)], "{status}");
        assert!(!identified(&again[0]) && again[0].offer().is_none(), "{status}");
        ar.handle_packet(at(0.2), &acknowledged(AGENT, AR1, 0, 501, 1000));
        actions(&mut ar);
        let refreshed = pass(&mut ar, 2001.0);
        assert!(!identified(&refreshed[0].1), "nor with a refresh");
        ar.handle_command(at(2002.0), &ArCommand::Register(None));
        assert!(identified(&sent(&mut ar)[0]), "but when somebody orders it");
    }
}

#[test]
fn a_member_that_moved_leaves_where_it_was() {
    let mut ar = member(ServiceConfig::default());
    ar.handle_command(at(10.0), &ArCommand::Move(AR2));
    assert_eq!(updates(&sent(&mut ar)), [(501, 1000)]);
    ar.handle_packet(at(10.1), &granted_at(AR2, AGENT, 0, 501, 1000, &[]));
    let left = sent(&mut ar);
    assert_eq!(updates(&left), [(501, 0)]);
    assert_eq!(left[0].source, AR2);
    let options = &left[0].update().expect("a Binding Update").options;
    assert!(options.contains(&MobilityOption::AlternateCareOfAddress(AR1)));
    // The answer to that is not one to the registration.
    ar.handle_packet(at(10.2), &granted_at(AR2, AGENT, 0, 501, 0, &[]));
    assert!(actions(&mut ar).is_empty());
    assert_eq!(ar.registrations(at(10.2))[0].state, "registered");
}

#[test]
fn in_the_basic_model_a_move_is_one_binding_update() {
    let mut ar = registered(ArPolicy::default());
    ar.handle_command(at(10.0), &ArCommand::Move(AR2));
    assert_eq!(updates(&sent(&mut ar)), [(501, 1000)]);
    ar.handle_packet(at(10.1), &acknowledged(AGENT, AR2, 0, 501, 1000));
    assert!(sent(&mut ar).is_empty());
}
