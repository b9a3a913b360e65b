//! The anycast initiator against the catalogue's section 4 (RFC 3775 5.2, 9.3 to 9.6).
//! Each test goes through return routability as a responder would and reads what comes back.
//! The names are the catalogue's case ids.

use std::net::Ipv6Addr;

use mga_node::protocol::action::{Action, Observation, Rule, RuleKey, RuleKind};
use mga_node::protocol::ai::{Ai, AiConfig};
use mga_node::protocol::auth::tokens::binding_management_key;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::icmpv6::Icmpv6Message;
use mga_node::wire::mobility::{Message, MobilityOption, TestInit, UpdateFlags};
use mga_node::wire::routing::type2_header;

use crate::stimulus::*;

const COOKIE: [u8; 8] = *b"a cookie";

fn initiator() -> Ai {
    Ai::new(&AiConfig { max_bindings: 16 }, Box::new(SeededRandom::new(1)))
}

fn init(home: bool) -> Message {
    let init = TestInit { reserved: 0, cookie: COOKIE, options: Vec::new() };
    if home { Message::HomeTestInit(init) } else { Message::CareOfTestInit(init) }
}

/// Nonce index and token that the initiator gives to `address`.
fn token(ai: &mut Ai, now: Instant, address: Ipv6Addr, home: bool) -> (u16, [u8; 8]) {
    let answers = ai.answers(now, &mobility(address, AI1, None, init(home)));
    let answer = signal(&answers).expect("a test");
    assert_eq!((answer.source, answer.destination), (AI1, address));
    assert_eq!((answer.routing2, answer.home_address), (None, None), "M029");
    assert_eq!(answer.test().cookie, COOKIE);
    (answer.test().nonce_index, answer.test().token)
}

/// The tokens of one return routability.
#[derive(Clone, Copy)]
pub struct Tokens {
    pub home: (u16, [u8; 8]),
    pub care_of: (u16, [u8; 8]),
}

impl Tokens {
    fn of(ai: &mut Ai, now: Instant, home_address: Ipv6Addr, care_of: Ipv6Addr) -> Self {
        Self { home: token(ai, now, home_address, true), care_of: token(ai, now, care_of, false) }
    }

    fn key(&self) -> [u8; 20] {
        binding_management_key(&self.home.1, Some(&self.care_of.1))
    }

    /// An update with these tokens: [`ANYCAST`] at [`AR1`], flag A, 10 units.
    fn update(&self, sequence: u16) -> Update {
        let indices = MobilityOption::NonceIndices { home: self.home.0, care_of: self.care_of.0 };
        Update {
            destination: AI1,
            flags: UpdateFlags::ACKNOWLEDGE,
            options: vec![indices],
            key: Some(self.key()),
            ..Update::home(sequence)
        }
    }

    /// A deletion with the home token alone.
    fn deletion(&self, sequence: u16) -> Update {
        let indices = MobilityOption::NonceIndices { home: self.home.0, care_of: 0 };
        let key = Some(binding_management_key(&self.home.1, None));
        Update { lifetime: 0, options: vec![indices], key, ..self.update(sequence) }
    }
}

/// An initiator that has [`ANYCAST`] bound at [`AR1`] with number 15 since 1 s, and the tokens.
pub fn authorised() -> (Ai, Tokens) {
    let mut ai = initiator();
    let tokens = Tokens::of(&mut ai, at(1.0), ANYCAST, AR1);
    let answer = signal(&ai.answers(at(1.0), &tokens.update(15).packet())).expect("an acknowledgement");
    assert_eq!(answer.verdict(), (0, 15, 10));
    (ai, tokens)
}

/// One of every Mobility Header that an initiator sends.
pub fn emitted() -> Vec<Signal> {
    let (mut ai, tokens) = authorised();
    let stray = with_home_address(AR2, AI1, Some(ANYCAST), 17, &[0; 8]);
    let mut emitted = Vec::new();
    for said in [
        mobility(ANYCAST, AI1, None, init(true)),
        mobility(AR1, AI1, None, init(false)),
        tokens.update(16).packet(),
        stray,
    ] {
        emitted.extend(signal(&ai.answers(at(2.0), &said)));
    }
    ai.handle_observation(
        at(30.0),
        Observation::InUse(RuleKey::between(RuleKind::RoutingHeaderOut, ANYCAST, AI1)),
    );
    let later: Vec<Action> = ai.pass(at(38.0)).into_iter().map(|(_, action)| action).collect();
    emitted.extend(signal(&sent(&later)));
    emitted
}

fn bound(ai: &Ai, now: Instant) -> Vec<(Ipv6Addr, u16)> {
    ai.bindings(now).iter().map(|binding| (binding.care_of, binding.sequence)).collect()
}

/// Checks that `update` is not answered and changes nothing.
fn is_silent(ai: &mut Ai, now: Instant, update: &Update) -> bool {
    let before = ai.bindings(now);
    ai.actions();
    ai.handle_packet(now, &update.packet());
    let acted = ai.actions().iter().any(|action| !matches!(action, Action::Report(_)));
    !acted && ai.bindings(now) == before
}

fn verdict(ai: &mut Ai, now: Instant, update: &Update) -> (u8, u16, u16) {
    signal(&ai.answers(now, &update.packet())).expect("an acknowledgement").verdict()
}

#[test]
fn c002_c003_tests_are_answered_with_cookie_token_and_index() {
    let mut ai = initiator();
    let (home, home_token) = token(&mut ai, at(1.0), ANYCAST, true);
    let (care_of, care_of_token) = token(&mut ai, at(1.0), AR1, false);
    assert_eq!((home, care_of), (1, 1), "both reference stacks begin with index 1");
    assert_ne!(home_token, care_of_token);
    assert_eq!(token(&mut ai, at(2.0), ANYCAST, true), (1, home_token), "nothing is remembered");
}

#[test]
fn c004_c016_return_routability_authorises_an_update() {
    let mut ai = initiator();
    let tokens = Tokens::of(&mut ai, at(1.0), ANYCAST, AR1);
    ai.handle_packet(at(2.0), &tokens.update(15).packet());
    let done = ai.actions();
    let answer = signal(&sent(&done)).expect("an acknowledgement");
    assert_eq!((answer.destination, answer.routing2, answer.verdict()), (AR1, Some(ANYCAST), (0, 15, 10)));
    assert!(answer.is_sealed_by(&tokens.key(), AR1, AI1));
    for rule in [
        Rule::RoutingHeaderOut { anycast: ANYCAST, own: AI1, care_of: AR1 },
        Rule::HomeAddressIn { anycast: ANYCAST, own: AI1, care_of: AR1 },
    ] {
        assert!(done.contains(&Action::InstallRule(rule)));
    }
}

#[test]
fn c005_c006_tests_with_a_home_address_option_or_routing_header_are_silent() {
    for home in [true, false] {
        assert!(initiator().answers(at(1.0), &mobility(AR1, AI1, Some(ANYCAST), init(home))).is_empty());
        let plain = mobility(AR1, AI1, None, init(home));
        let mut payload = type2_header(135, &AI1).to_vec();
        payload.extend_from_slice(&plain[40..]);
        let header = mga_node::wire::Ipv6Header::new(43, 64, AR1, AI1);
        assert!(initiator().answers(at(1.0), &mga_node::wire::ipv6::packet(header, &payload)).is_empty());
    }
}

#[test]
fn c007_c008_m029_a_binding_does_not_change_the_way_of_tests() {
    let (mut ai, _) = authorised();
    token(&mut ai, at(2.0), ANYCAST, true);
    token(&mut ai, at(2.0), AR1, false);
}

#[test]
fn c011_c054_floods_leave_no_state() {
    let (mut ai, tokens) = authorised();
    for step in 0..20_000_u32 {
        let source = Ipv6Addr::from(u128::from(STRANGER) + u128::from(step) + 1);
        let now = at(2.0 + f64::from(step) / 1e4);
        ai.handle_packet(now, &mobility(source, AI1, None, init(step % 2 == 0)));
        let mut key = tokens.key();
        key[..4].copy_from_slice(&step.to_be_bytes());
        ai.handle_packet(now, &Update { source, key: Some(key), ..tokens.update(16) }.packet());
        ai.actions();
    }
    assert_eq!(bound(&ai, at(4.0)), [(AR1, 15)]);
}

#[test]
fn c012_c025_c026_c027_tokens_live_210_seconds_and_die_by_240() {
    let fresh = |ai: &mut Ai, now| (token(ai, now, ANYCAST, true), token(ai, now, AR1, false));
    let mut ai = initiator();
    let old = Tokens::of(&mut ai, at(1.0), ANYCAST, AR1);
    assert_eq!(verdict(&mut ai, at(211.0), &old.update(1)).0, 0);
    let mut ai = initiator();
    let old = Tokens::of(&mut ai, at(1.0), ANYCAST, AR1);
    let (home, care_of) = fresh(&mut ai, at(200.0));
    for (tokens, status) in [
        (Tokens { care_of, ..old }, 136),
        (Tokens { home, ..old }, 137),
        (old, 138),
        (Tokens { home, care_of }, 0),
    ] {
        let answer = signal(
            &ai.answers(at(242.0), &Update { flags: UpdateFlags::empty(), ..tokens.update(1) }.packet()),
        );
        match (status, answer) {
            (0, None) => assert_eq!(bound(&ai, at(242.0)), [(AR1, 1)]),
            (status, Some(answer)) => {
                assert_eq!(answer.verdict().0, status, "without the A flag too");
                let sealed = |o: &MobilityOption| matches!(o, MobilityOption::BindingAuthorizationData(_));
                assert!(!answer.acknowledgement().options.iter().any(sealed));
                assert!(ai.bindings(at(242.0)).is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn c014_after_a_restart_all_tokens_are_unknown() {
    let (_, tokens) = authorised();
    let mut restarted = Ai::new(&AiConfig { max_bindings: 16 }, Box::new(SeededRandom::new(2)));
    assert_eq!(verdict(&mut restarted, at(2.0), &tokens.update(16)).0, 138);
    // Even when the index is in use again, the token is another one.
    token(&mut restarted, at(2.0), ANYCAST, true);
    assert!(is_silent(&mut restarted, at(2.0), &tokens.update(16)));
}

#[test]
fn c015_tests_with_unknown_options_are_answered() {
    let options = vec![MobilityOption::Unknown { kind: 200, data: vec![0; 6] }];
    let message = Message::HomeTestInit(TestInit { reserved: 0, cookie: COOKIE, options });
    assert!(signal(&initiator().answers(at(1.0), &mobility(ANYCAST, AI1, None, message))).is_some());
}

#[test]
fn c017_without_the_a_flag_success_is_silent_and_effective() {
    let mut ai = initiator();
    let tokens = Tokens::of(&mut ai, at(1.0), ANYCAST, AR1);
    let update = Update { flags: UpdateFlags::empty(), ..tokens.update(15) };
    assert!(ai.answers(at(1.0), &update.packet()).is_empty());
    assert_eq!(bound(&ai, at(1.0)), [(AR1, 15)]);
}

#[test]
fn c018_c019_a_home_registration_with_nonce_indices_is_silent() {
    let mut ai = initiator();
    let tokens = Tokens::of(&mut ai, at(1.0), ANYCAST, AR1);
    for flags in [AH, UpdateFlags::HOME_REGISTRATION] {
        assert!(is_silent(&mut ai, at(1.0), &Update { flags, ..tokens.update(15) }));
    }
}

#[test]
fn c020_h006_c047_h019_u10_a_home_registration_gets_131_or_139() {
    let update = Update { destination: AI1, ..Update::home(16) };
    assert_eq!(verdict(&mut initiator(), at(1.0), &update).0, 131);
    let (mut ai, _) = authorised();
    assert_eq!(verdict(&mut ai, at(2.0), &update).0, 139);
    assert_eq!(bound(&ai, at(2.0)), [(AR1, 15)]);
}

#[test]
fn c021_c022_c023_c024_c030_an_incomplete_or_wrong_authorisation_is_silent() {
    let (mut ai, tokens) = authorised();
    let right = tokens.update(16);
    let mut wrong_key = tokens.key();
    wrong_key[0] ^= 1;
    for wrong in [
        Update { options: Vec::new(), ..right.clone() },
        Update { key: None, ..right.clone() },
        Update { key: Some(wrong_key), ..right.clone() },
        Update { home_address: Some(OTHER_ANYCAST), ..right.clone() },
        Update { source: AR2, ..right.clone() },
    ] {
        assert!(is_silent(&mut ai, at(2.0), &wrong), "{wrong:?}");
    }
    // The authenticator followed by padding.
    let mut octets = right.packet()[64..].to_vec();
    octets[1] += 1;
    octets.extend([1, 6, 0, 0, 0, 0, 0, 0]);
    ai.handle_packet(at(2.0), &raw_mobility(AR1, AI1, Some(ANYCAST), &octets));
    assert!(sent(&ai.actions()).is_empty());
    assert_eq!(bound(&ai, at(2.0)), [(AR1, 15)]);
    assert_eq!(verdict(&mut ai, at(2.0), &right).0, 0);
}

#[test]
fn x202_an_update_of_which_anything_was_changed_does_nothing() {
    let (mut ai, tokens) = authorised();
    let before = ai.bindings(at(2.0));
    for right in [tokens.update(16), Update { source: AR1, ..tokens.deletion(16) }] {
        let message = right.packet()[64..].to_vec();
        // Everything but the checksum, which anybody can make right.
        for bit in (0..8 * message.len()).filter(|bit| !(32..48).contains(bit)) {
            let mut changed = message.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            ai.handle_packet(at(2.0), &raw_mobility(AR1, AI1, Some(ANYCAST), &changed));
            assert_eq!(ai.bindings(at(2.0)), before, "bit {bit} of {message:?}");
        }
        for bit in 0..128 {
            let other = |address: Ipv6Addr| Ipv6Addr::from_bits(address.to_bits() ^ 1 << bit);
            for (source, destination, home_address) in
                [(other(AR1), AI1, ANYCAST), (AR1, other(AI1), ANYCAST), (AR1, AI1, other(ANYCAST))]
            {
                ai.handle_packet(at(2.0), &raw_mobility(source, destination, Some(home_address), &message));
                assert_eq!(ai.bindings(at(2.0)), before, "bit {bit} of an address");
            }
        }
    }
    ai.actions();
    assert_eq!(verdict(&mut ai, at(2.0), &tokens.update(16)), (0, 16, 10), "unchanged it does what it says");
}

#[test]
fn c028_c029_an_alternate_care_of_address_is_what_must_have_been_tested() {
    let mut ai = initiator();
    let tokens = Tokens::of(&mut ai, at(1.0), ANYCAST, AR2);
    let mut update = tokens.update(15);
    update.options.insert(0, MobilityOption::AlternateCareOfAddress(AR2));
    let answer = signal(&ai.answers(at(1.0), &update.packet())).expect("an acknowledgement");
    assert_eq!((answer.destination, answer.verdict().0), (AR1, 0));
    assert!(answer.is_sealed_by(&tokens.key(), AR2, AI1));
    assert_eq!(bound(&ai, at(1.0)), [(AR2, 15)]);
    let tested = Tokens::of(&mut ai, at(1.0), ANYCAST, AR1);
    let mut untested = tested.update(16);
    untested.options.insert(0, MobilityOption::AlternateCareOfAddress(STRANGER));
    assert!(is_silent(&mut ai, at(1.0), &untested));
}

#[test]
fn c031_a_binding_lives_420_seconds_at_most() {
    let mut ai = initiator();
    let tokens = Tokens::of(&mut ai, at(1.0), ANYCAST, AR1);
    assert_eq!(verdict(&mut ai, at(1.0), &Update { lifetime: 1000, ..tokens.update(15) }), (0, 15, 105));
    assert_eq!(ai.bindings(at(1.0))[0].remaining, 420);
    ai.pass(at(421.0));
    assert!(ai.bindings(at(421.0)).is_empty());
}

macro_rules! sequence_cases {
    ($($name:ident: $stored:literal then $number:literal is $status:literal;)*) => {$(
        #[test]
        fn $name() {
            for flags in [UpdateFlags::ACKNOWLEDGE, UpdateFlags::empty()] {
                let mut ai = initiator();
                let tokens = Tokens::of(&mut ai, at(1.0), ANYCAST, AR1);
                assert_eq!(verdict(&mut ai, at(1.0), &tokens.update($stored)).0, 0);
                let update = Update { flags, ..tokens.update($number) };
                let answer = signal(&ai.answers(at(2.0), &update.packet()));
                let acknowledged = $status != 0 || flags.contains(UpdateFlags::ACKNOWLEDGE);
                let stored = if $status == 0 { $number } else { $stored };
                assert_eq!(
                    answer.as_ref().map(|answer| (answer.verdict().0, answer.verdict().1)),
                    acknowledged.then_some(($status, stored)),
                );
                assert!(answer.is_none_or(|a| a.is_sealed_by(&tokens.key(), AR1, AI1)), "C045");
                assert_eq!(bound(&ai, at(2.0)), [(AR1, stored)]);
            }
        }
    )*};
}

sequence_cases! {
    c032_c033_15_then_16: 15 then 16 is 0;
    c034_15_then_32782: 15 then 32782 is 0;
    c035_15_then_32783: 15 then 32783 is 135;
    c036_c037_15_then_14: 15 then 14 is 135;
    c038_15_then_15: 15 then 15 is 135;
    c039_15_then_32784: 15 then 32784 is 135;
    c040_32783_then_32784: 32783 then 32784 is 0;
    c041_32783_then_15: 32783 then 15 is 135;
    c042_32783_then_32782: 32783 then 32782 is 135;
    c043_32783_then_32783: 32783 then 32783 is 135;
    c044_32783_then_16: 32783 then 16 is 135;
}

#[test]
fn c046_nonces_are_looked_at_before_the_number() {
    let (mut ai, tokens) = authorised();
    let mut update = tokens.update(3);
    update.options = vec![MobilityOption::NonceIndices { home: 999, care_of: tokens.care_of.0 }];
    let answer = signal(&ai.answers(at(2.0), &update.packet())).expect("an acknowledgement");
    assert_eq!(answer.verdict(), (136, 3, 10));
}

#[test]
fn c048_c050_addresses_that_cannot_be_bound_are_silent() {
    let (mut ai, tokens) = authorised();
    for address in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, GROUP, LINK_LOCAL] {
        assert!(is_silent(&mut ai, at(2.0), &Update { home_address: Some(address), ..tokens.update(16) }));
        let mut update = tokens.update(16);
        update.options.insert(0, MobilityOption::AlternateCareOfAddress(address));
        assert!(is_silent(&mut ai, at(2.0), &update), "{address}");
    }
    // A circle: another home address at the bound one, with tokens for both.
    let circle = Tokens::of(&mut ai, at(2.0), OTHER_ANYCAST, ANYCAST);
    let mut update = Update { home_address: Some(OTHER_ANYCAST), ..circle.update(1) };
    update.options.insert(0, MobilityOption::AlternateCareOfAddress(ANYCAST));
    assert!(is_silent(&mut ai, at(2.0), &update));
}

#[test]
fn c049_c065_a_full_cache_is_130_and_pushes_nobody_out() {
    let mut ai = Ai::new(&AiConfig { max_bindings: 1 }, Box::new(SeededRandom::new(1)));
    let tokens = Tokens::of(&mut ai, at(1.0), ANYCAST, AR1);
    assert_eq!(verdict(&mut ai, at(1.0), &tokens.update(15)).0, 0);
    let other = Tokens::of(&mut ai, at(1.0), OTHER_ANYCAST, AR1);
    let update = Update { home_address: Some(OTHER_ANYCAST), ..other.update(1) };
    assert_eq!(verdict(&mut ai, at(1.0), &update).0, 130);
    assert_eq!(bound(&ai, at(1.0)), [(AR1, 15)]);
}

#[test]
fn c051_flags_k_and_l_are_ignored() {
    let (mut ai, tokens) = authorised();
    let flags = UpdateFlags::ACKNOWLEDGE | UpdateFlags::KEY_MANAGEMENT | UpdateFlags::LINK_LOCAL;
    let answer = signal(&ai.answers(at(2.0), &Update { flags, ..tokens.update(16) }.packet()));
    assert_eq!(answer.expect("an acknowledgement").acknowledgement().flags.bits(), 0);
}

// covers: X203
#[test]
fn c052_no_update_of_a_binding_that_is_gone_can_be_replayed() {
    // By deletion: the first update used an older nonce than the last.
    let (mut ai, first) = authorised();
    let later = Tokens::of(&mut ai, at(35.0), ANYCAST, AR1);
    assert_ne!(later.home.0, first.home.0);
    assert_eq!(verdict(&mut ai, at(35.0), &later.update(16)).0, 0);
    assert_eq!(verdict(&mut ai, at(36.0), &later.deletion(17)), (0, 17, 0));
    for replayed in [first.update(15), later.update(16)] {
        assert_eq!(verdict(&mut ai, at(37.0), &replayed).0, 138);
    }
    let fresh = Tokens::of(&mut ai, at(70.0), ANYCAST, AR1);
    assert_eq!(verdict(&mut ai, at(70.0), &fresh.update(1)).0, 0, "a new nonce authorises again");
    // By expiry.
    let (mut ai, tokens) = authorised();
    ai.pass(at(41.0));
    assert!(ai.bindings(at(41.0)).is_empty());
    assert_eq!(verdict(&mut ai, at(42.0), &tokens.update(15)).0, 138);
    assert!(ai.bindings(at(42.0)).is_empty());
}

// covers: C201
#[test]
fn c052_whoever_comes_back_at_once_gets_a_token_that_still_authorises() {
    let (mut ai, first) = authorised();
    assert_eq!(verdict(&mut ai, at(2.5), &first.deletion(16)), (0, 16, 0));
    // The nonce of the first exchange is 1.5 s old and would be handed out for 28 s more.
    let again = Tokens::of(&mut ai, at(2.5), ANYCAST, AR1);
    assert_ne!(again.home.0, first.home.0);
    assert_eq!(verdict(&mut ai, at(2.6), &again.update(1)).0, 0);
    assert_eq!(verdict(&mut ai, at(2.7), &again.deletion(2)), (0, 2, 0));
    // Sooner than the next nonce may be made, no token is better than one that authorises nothing.
    let asked = mobility(ANYCAST, AI1, None, init(true));
    assert_eq!(ai.answers(at(2.8), &asked), [[0; 0]; 0]);
    let third = Tokens::of(&mut ai, at(3.5), ANYCAST, AR1);
    assert_eq!(verdict(&mut ai, at(3.5), &third.update(1)).0, 0);
    for replayed in [first.update(15), again.update(1)] {
        assert_eq!(verdict(&mut ai, at(3.6), &replayed).0, 138);
    }
}

#[test]
fn c053_the_same_home_token_serves_another_care_of_address() {
    let (mut ai, tokens) = authorised();
    let care_of = token(&mut ai, at(2.0), AR2, false);
    let moved = Tokens { care_of, ..tokens };
    assert_eq!(verdict(&mut ai, at(2.0), &Update { source: AR2, ..moved.update(16) }).0, 0);
    assert_eq!(bound(&ai, at(2.0)), [(AR2, 16)]);
}

#[test]
fn c055_c060_c079_a_deletion_needs_the_home_token_alone() {
    let (mut ai, tokens) = authorised();
    let answer = signal(&ai.answers(at(2.0), &tokens.deletion(16).packet())).expect("an acknowledgement");
    assert_eq!(answer.verdict(), (0, 16, 0));
    assert!(answer.is_sealed_by(&binding_management_key(&tokens.home.1, None), AR1, AI1));
    let data = with_home_address(AR1, AI1, Some(ANYCAST), 17, &[0; 8]);
    let error = signal(&ai.answers(at(2.0), &data)).expect("a Binding Error");
    assert_eq!((error.error().status, error.error().home_address), (1, ANYCAST));
}

#[test]
fn c056_to_c059_a_deletion_from_home_with_and_without_the_option() {
    for home_address in [Some(ANYCAST), None] {
        for lifetime in [0, 10] {
            let (mut ai, tokens) = authorised();
            let update = Update { source: ANYCAST, home_address, lifetime, ..tokens.deletion(16) };
            let answer = signal(&ai.answers(at(2.0), &update.packet())).expect("an acknowledgement");
            assert_eq!((answer.verdict(), answer.routing2), ((0, 16, 0), None));
            assert!(ai.bindings(at(2.0)).is_empty());
        }
    }
}

#[test]
fn c061_a_deletion_of_nothing_is_accepted() {
    let mut ai = initiator();
    let tokens = Tokens::of(&mut ai, at(1.0), ANYCAST, AR1);
    assert_eq!(verdict(&mut ai, at(1.0), &tokens.deletion(24)), (0, 24, 0));
}

#[test]
fn c062_expiry_removes_both_rules() {
    let (mut ai, _) = authorised();
    let done: Vec<_> = ai.pass(at(41.0)).into_iter().map(|(_, action)| action).collect();
    for kind in [RuleKind::RoutingHeaderOut, RuleKind::HomeAddressIn] {
        assert!(done.contains(&Action::RemoveRule(RuleKey::between(kind, ANYCAST, AI1))));
    }
}

#[test]
fn c063_a_binding_in_use_is_asked_to_be_refreshed_twice_through_the_agent() {
    let (mut ai, tokens) = authorised();
    ai.handle_observation(
        at(30.0),
        Observation::InUse(RuleKey::between(RuleKind::RoutingHeaderOut, ANYCAST, AI1)),
    );
    let asked = |done: Vec<(Instant, Action)>| -> Vec<Instant> {
        let requests = done.into_iter().filter_map(|(when, action)| match action {
            Action::Send(packet) => Some((when, Signal::of(&packet).expect("a Mobility Header"))),
            _ => None,
        });
        let check = |(when, request): (Instant, Signal)| {
            assert!(matches!(request.header.message, Message::BindingRefreshRequest(_)));
            assert_eq!((request.destination, request.routing2), (ANYCAST, None), "M029");
            when
        };
        requests.map(check).collect()
    };
    assert_eq!(asked(ai.pass(at(36.5))), [at(36.0)], "an eighth of 40 s is left");
    assert_eq!(verdict(&mut ai, at(37.0), &tokens.update(16)).0, 0);
    assert_eq!(asked(ai.pass(at(77.0))), [at(72.0), at(74.5)], "the refresh stopped the first row");
    let tokens = Tokens::of(&mut ai, at(80.0), ANYCAST, AR1);
    assert_eq!(verdict(&mut ai, at(110.0), &Update { lifetime: 100, ..tokens.update(17) }).0, 0);
    assert_eq!(asked(ai.pass(at(600.0))), [], "an idle binding just ends");
    assert!(ai.bindings(at(600.0)).is_empty());
}

fn unreachable() -> Vec<u8> {
    let mut payload = type2_header(17, &ANYCAST).to_vec();
    payload.extend([0; 8]);
    let header = mga_node::wire::Ipv6Header::new(43, 64, AI1, AR1);
    let invoking = mga_node::wire::ipv6::packet(header, &payload);
    let message = Icmpv6Message::DestinationUnreachable { code: 3, unused: 0, invoking };
    icmpv6(STRANGER, AI1, 60, message)
}

#[test]
fn c064_persistent_unreachability_ends_a_binding_and_a_burst_does_not() {
    let (mut ai, _) = authorised();
    for _ in 0..100 {
        ai.handle_packet(at(2.0), &unreachable());
    }
    assert_eq!(bound(&ai, at(2.0)), [(AR1, 15)]);
    for second in 3..=5 {
        ai.handle_packet(at(f64::from(second)), &unreachable());
    }
    assert!(ai.bindings(at(5.0)).is_empty());
}

// covers: X208
#[test]
fn c066_c068_c069_c070_an_option_that_matches_no_binding_is_a_binding_error_1() {
    let (mut ai, _) = authorised();
    for (source, home_address) in [(AR2, ANYCAST), (AR1, OTHER_ANYCAST), (AR1, GROUP)] {
        let answer =
            signal(&ai.answers(at(2.0), &with_home_address(source, AI1, Some(home_address), 17, &[0; 8])))
                .expect("a Binding Error");
        assert_eq!((answer.destination, answer.routing2), (source, None));
        assert_eq!((answer.error().status, answer.error().home_address), (1, home_address));
    }
    assert_eq!(bound(&ai, at(2.0)), [(AR1, 15)]);
    let from_group = with_home_address(GROUP, AI1, Some(ANYCAST), 17, &[0; 8]);
    assert!(ai.answers(at(2.0), &from_group).is_empty());
}
