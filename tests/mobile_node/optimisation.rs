//! Policy and tokens of route optimisation (RFC 3775 5.2.7, 8.5, 11.7.2, 11.7.3; catalogue N030, N043, N052, N057 to
//! N059, N076). The initiator acknowledges, refuses single nonces, or is excluded by the operator.
//! Run by this test's `main`.

use mga_node::protocol::action::{Action, Rule};
use mga_node::protocol::ar::{Ar, ArConfig, ArPolicy, PeerPolicy};
use mga_node::wire::mobility::{Lifetime, MobilityOption, UpdateFlags};

use crate::scene::*;

const OPTIMISED: Action =
    Action::InstallRule(Rule::HomeAddressOut { anycast: ANYCAST, initiator: AI2, care_of: AR1 });

fn peers(entries: &[(&str, bool)]) -> ArPolicy {
    let entry = |(prefix, allow): &(&str, bool)| PeerPolicy {
        prefix: prefix.parse().expect("a prefix"),
        allow: *allow,
    };
    ArPolicy { peers: entries.iter().map(entry).collect(), ..ArPolicy::default() }
}

fn acknowledging() -> ArPolicy {
    ArPolicy { acknowledged_optimisation: true, ..ArPolicy::default() }
}

fn sequence(actions: &[Action]) -> u16 {
    packets(actions).iter().find_map(|p| p.update().map(|update| update.sequence)).expect("a Binding Update")
}

fn state(ar: &Ar, now: f64) -> &'static str {
    ar.correspondents(at(now)).first().map_or("forgotten", |view| view.state)
}

#[test]
fn n076_the_longest_prefix_that_holds_a_peer_decides() {
    let cases = [
        (vec![], true),
        (vec![("2001:db8:0:3::/64", false)], false),
        (vec![("2001:db8:0:2::/64", false)], true),
        (vec![("2001:db8::/32", false), ("2001:db8:0:3::/64", true)], true),
        (vec![("2001:db8:0:3::2/128", false), ("2001:db8:0:3::/64", true)], false),
        (vec![("::/0", false)], false),
    ];
    for (entries, allowed) in cases {
        let mut ar = registered(peers(&entries));
        assert_eq!(!tunnelled(&mut ar, 1.0).is_empty(), allowed, "{entries:?}");
    }
    let mut ar =
        started(ArConfig { route_optimisation: false, ..config() }, peers(&[("2001:db8:0:3::/64", true)]));
    ar.handle_packet(at(0.0), &acknowledged(AGENT, AR1, 0, 500, 1000));
    actions(&mut ar);
    assert_eq!(tunnelled(&mut ar, 1.0).len(), 2, "allowed where the general rule says no");
}

#[test]
fn n052_with_flag_a_packets_go_directly_when_the_initiator_has_acknowledged() {
    let mut ar = registered(acknowledging());
    let done = optimise(&mut ar, 1.0);
    let update = packets(&done)[0].update().cloned().expect("a Binding Update");
    assert_eq!(update.flags, UpdateFlags::ACKNOWLEDGE);
    assert!(!done.contains(&OPTIMISED));
    for (source, packet) in [
        ("without authenticator", acknowledged(AI2, AR1, 0, update.sequence, 105)),
        ("another number", sealed_acknowledgement(AR1, 0, update.sequence.wrapping_add(1), 105)),
    ] {
        ar.handle_packet(at(1.1), &packet);
        assert!(actions(&mut ar).is_empty(), "N059: {source}");
    }
    ar.handle_packet(at(1.2), &sealed_acknowledgement(AR1, 0, update.sequence, 50));
    assert!(actions(&mut ar).contains(&OPTIMISED));
    assert_eq!(ar.correspondents(at(1.2))[0].remaining, 200, "N028: as long as the initiator says");
}

#[test]
fn n052_an_unacknowledged_update_is_repeated_with_new_numbers_and_given_up() {
    let mut ar = registered(acknowledging());
    let first = sequence(&optimise(&mut ar, 1.0));
    let again = pass(&mut ar, 60.0);
    let repeated: Vec<_> = again.iter().filter_map(|(t, p)| Some((*t, p.update()?.sequence))).collect();
    let expected = [2.0, 4.0, 8.0, 16.0, 32.0];
    let numbers = (1..).map(|step| first.wrapping_add(step));
    assert_eq!(repeated, expected.into_iter().zip(numbers).collect::<Vec<_>>());
    pass(&mut ar, 64.0);
    assert_eq!(state(&ar, 64.0), "plain");
}

#[test]
fn n052_without_the_option_no_acknowledgement_is_asked_for() {
    let mut ar = registered(ArPolicy::default());
    let done = optimise(&mut ar, 1.0);
    assert_eq!(packets(&done)[0].update().map(|update| update.flags), Some(UpdateFlags::empty()));
    assert!(done.contains(&OPTIMISED));
}

#[test]
fn n058_only_the_test_whose_nonce_is_named_is_repeated() {
    for (status, home, care_of) in [(136, true, false), (137, false, true), (138, true, true)] {
        let mut ar = registered(ArPolicy::default());
        let number = sequence(&optimise(&mut ar, 1.0));
        ar.handle_packet(at(2.0), &acknowledged(AI2, AR1, status, number, 0));
        let inits = sent(&mut ar);
        let asked = |half: fn(&Sent) -> Option<[u8; 8]>| inits.iter().any(|init| half(init).is_some());
        assert_eq!((asked(Sent::home_cookie), asked(Sent::care_of_cookie)), (home, care_of), "{status}");
        // The exchange completes with the token that was kept.
        let mut done = Vec::new();
        if let Some(cookie) = inits.iter().find_map(Sent::home_cookie) {
            done.extend(home_test(&mut ar, 2.1, cookie));
        }
        if let Some(cookie) = inits.iter().find_map(Sent::care_of_cookie) {
            done.extend(care_of_test(&mut ar, 2.2, AR1, cookie));
        }
        assert_eq!(sequence(&done), number.wrapping_add(1), "{status}");
    }
}

#[test]
fn n058_a_kept_token_that_is_too_old_is_asked_for_as_well() {
    let mut ar = registered(ArPolicy::default());
    let number = sequence(&optimise(&mut ar, 1.0));
    ar.handle_packet(at(212.0), &acknowledged(AI2, AR1, 137, number, 0));
    assert_eq!(sent(&mut ar).len(), 2);
}

#[test]
fn n030_n043_refresh_advice_of_an_initiator_and_an_authenticator_that_is_not_last_change_nothing() {
    let mut ar = registered(ArPolicy::default());
    let number = sequence(&optimise(&mut ar, 1.0));
    let before = ar.correspondents(at(2.0));
    ar.handle_packet(at(2.0), &sealed_acknowledgement(AR1, 0, number, 1));
    let options = [
        MobilityOption::BindingAuthorizationData(vec![0; 12]),
        MobilityOption::BindingRefreshAdvice(Lifetime(1)),
    ];
    ar.handle_packet(at(2.0), &acknowledged_with(0, number, 1, &options));
    assert!(packets(&actions(&mut ar)).is_empty());
    assert_eq!(ar.correspondents(at(2.0)), before);
}

#[test]
fn n053_a_renewal_follows_three_quarters_of_the_lifetime_with_both_tests() {
    let mut ar = registered(ArPolicy::default());
    optimise(&mut ar, 1.0);
    let rule = mga_node::protocol::action::RuleKey::between(
        mga_node::protocol::action::RuleKind::HomeAddressOut,
        ANYCAST,
        AI2,
    );
    ar.handle_observation(at(300.0), mga_node::protocol::action::Observation::InUse(rule));
    let renewal = pass(&mut ar, 316.0);
    assert_eq!(renewal.len(), 2);
    assert!(renewal.iter().all(|(time, _)| *time == 316.0), "{renewal:?}");
}
