//! The home anycast agent against the catalogue's section 3 (RFC 3775 9.5.1, 10.3 to 10.5, thesis 4.2).
//! Each test gives a fresh agent its stimulus and reads its answers and its cache.
//! The names are the catalogue's case ids.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::action::{Action, Rule, RuleKey, RuleKind};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{BindingView, Haa, HaaCommand, HaaConfig};
use mga_node::protocol::home_link::{ALL_NODES, solicited_node_group};
use mga_node::wire::icmpv6::{Icmpv6Message, NeighborOption};
use mga_node::wire::mobility::{Lifetime, MobilityOption, Status, UpdateFlags};

use crate::stimulus::*;

const LINK_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];

pub fn config() -> HaaConfig {
    HaaConfig {
        agent: AGENT,
        link_local: None,
        link_address: LINK_ADDRESS,
        home_prefixes: vec!["2001:db8:0:1::/64".parse().expect("a prefix")],
        anycast: Vec::new(),
        max_lifetime: Lifetime::from_seconds(262_140),
        max_bindings: 16,
        duplicate_address_detection: false,
    }
}

/// An agent and its clock.
struct Bench {
    haa: Haa,
    now: Instant,
    done: Vec<Action>,
}

impl Bench {
    fn new() -> Self {
        Self::with(config())
    }

    fn probing() -> Self {
        Self::with(HaaConfig { duplicate_address_detection: true, ..config() })
    }

    fn with(config: HaaConfig) -> Self {
        let mut haa = Haa::new(config);
        haa.actions();
        Self { haa, now: at(100.0), done: Vec::new() }
    }

    /// The acknowledgement of `update`.
    fn update(&mut self, update: &Update) -> Option<Signal> {
        self.packet(&update.packet())
    }

    fn packet(&mut self, packet: &[u8]) -> Option<Signal> {
        self.haa.handle_packet(self.now, packet);
        self.done = self.haa.actions();
        signal(&sent(&self.done))
    }

    fn verdict(&mut self, update: &Update) -> (u8, u16, u16) {
        self.update(update).expect("an acknowledgement").verdict()
    }

    fn is_silent(&mut self, update: &Update) -> bool {
        let before = self.bindings();
        let answer = self.update(update);
        let acted = self.done.iter().any(|action| !matches!(action, Action::Report(_)));
        answer.is_none() && !acted && before == self.bindings()
    }

    fn pass(&mut self, seconds: f64) -> Vec<Action> {
        self.now = self.now + Duration::from_secs_f64(seconds);
        self.haa.pass(self.now).into_iter().map(|(_, action)| action).collect()
    }

    fn bindings(&self) -> Vec<BindingView> {
        self.haa.bindings(self.now)
    }

    fn bound(&self) -> Vec<(Ipv6Addr, Ipv6Addr, u16)> {
        self.bindings().iter().map(|b| (b.anycast, b.care_of, b.sequence)).collect()
    }
}

fn alternate(address: Ipv6Addr) -> Vec<MobilityOption> {
    vec![MobilityOption::AlternateCareOfAddress(address)]
}

#[test]
fn h001_a_valid_update_is_bound_acknowledged_and_tunnelled() {
    let mut bench = Bench::new();
    let answer = bench.update(&Update::home(200)).expect("an acknowledgement");
    assert_eq!((answer.source, answer.destination, answer.routing2), (AGENT, AR1, Some(ANYCAST)));
    assert_eq!(answer.verdict(), (0, 200, 10));
    let rule = Rule::TunnelToResponder { anycast: ANYCAST, agent: AGENT, care_of: AR1 };
    assert!(bench.done.contains(&Action::InstallRule(rule)));
    assert!(bench.done.contains(&Action::CaptureAddress(ANYCAST)));
    assert_eq!(bench.bound(), [(ANYCAST, AR1, 200)]);
}

#[test]
fn h002_without_the_a_flag_a_home_registration_is_acknowledged_too() {
    let update = Update { flags: UpdateFlags::HOME_REGISTRATION, ..Update::home(5) };
    assert_eq!(Bench::new().verdict(&update), (0, 5, 10));
}

#[test]
fn h003_h004_h005_a_foreign_home_address_gets_132_at_the_packets_source() {
    for flags in [AH, UpdateFlags::HOME_REGISTRATION] {
        let mut bench = Bench::new();
        let update = Update { home_address: Some(STRANGER), flags, ..Update::home(5) };
        let answer = bench.update(&update).expect("an acknowledgement");
        assert_eq!(answer.verdict().0, 132);
        assert_eq!((answer.destination, answer.routing2), (AR1, Some(STRANGER)));
        assert!(bench.bindings().is_empty());
    }
}

#[test]
fn h007_no_home_registration_and_no_return_routability_is_silent() {
    assert!(Bench::new().is_silent(&Update { flags: UpdateFlags::ACKNOWLEDGE, ..Update::home(5) }));
    assert!(Bench::new().is_silent(&Update { flags: UpdateFlags::empty(), ..Update::home(5) }));
}

#[test]
fn h008_nonce_indices_in_a_home_registration_are_silent() {
    let options = vec![MobilityOption::NonceIndices { home: 1, care_of: 1 }];
    assert!(Bench::new().is_silent(&Update { options, ..Update::home(5) }));
}

#[test]
fn h009_a_home_address_that_is_no_routable_unicast_is_silent() {
    let mapped = "::ffff:1.2.3.4".parse().expect("an address");
    for home in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, GROUP, LINK_LOCAL, mapped] {
        assert!(Bench::new().is_silent(&Update { home_address: Some(home), ..Update::home(5) }), "{home}");
    }
}

#[test]
fn h010_h087_a_multicast_or_unspecified_source_is_silent() {
    for source in [GROUP, Ipv6Addr::UNSPECIFIED] {
        assert!(Bench::new().is_silent(&Update { source, ..Update::home(5) }), "{source}");
        let update = Update { source, options: alternate(AR1), ..Update::home(5) };
        assert!(Bench::new().is_silent(&update), "{source}");
    }
}

#[test]
fn h011_an_alternate_care_of_address_that_is_no_routable_unicast_is_silent() {
    let mapped = "::ffff:1.2.3.4".parse().expect("an address");
    for care_of in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, GROUP, LINK_LOCAL, mapped, AGENT] {
        let update = Update { options: alternate(care_of), ..Update::home(5) };
        assert!(Bench::new().is_silent(&update), "{care_of}");
    }
}

#[test]
fn h012_the_binding_is_to_the_alternate_address_and_the_answer_goes_to_the_source() {
    let mut bench = Bench::new();
    let answer = bench.update(&Update { options: alternate(AR2), ..Update::home(5) }).expect("an answer");
    assert_eq!((answer.destination, answer.verdict().0), (AR1, 0));
    assert_eq!(bench.bound(), [(ANYCAST, AR2, 5)]);
}

#[test]
fn h013_a_care_of_address_that_is_a_bound_home_address_is_silent() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    let circular =
        Update { home_address: Some(OTHER_ANYCAST), options: alternate(ANYCAST), ..Update::home(5) };
    assert!(bench.is_silent(&circular));
}

#[test]
fn h014_two_home_addresses_cannot_become_a_circle() {
    let one = Update { options: alternate(OTHER_ANYCAST), ..Update::home(5) };
    let other = Update { home_address: Some(OTHER_ANYCAST), options: alternate(ANYCAST), ..Update::home(5) };
    let mut bench = Bench::new();
    bench.update(&one);
    assert!(bench.is_silent(&other));
    // And neither while the first is still being probed.
    let mut bench = Bench::probing();
    bench.update(&one);
    assert!(bench.is_silent(&other));
    bench.pass(2.0);
    assert_eq!(bench.bound(), [(ANYCAST, OTHER_ANYCAST, 5)]);
}

#[test]
fn h015_h075_h076_h086_an_update_from_home_deregisters_whatever_its_lifetime() {
    for lifetime in [0, 10] {
        let mut bench = Bench::new();
        bench.update(&Update::home(5));
        let home = Update { source: ANYCAST, home_address: None, lifetime, ..Update::home(6) };
        let answer = bench.update(&home).expect("an acknowledgement");
        assert_eq!(answer.verdict(), (0, 6, 0));
        assert_eq!((answer.destination, answer.routing2), (ANYCAST, None));
        assert!(bench.bindings().is_empty());
    }
}

#[test]
fn h016_a_registration_away_from_home_needs_the_home_address_option() {
    let update = Update { home_address: None, options: alternate(AR1), ..Update::home(5) };
    assert!(Bench::new().is_silent(&Update { source: ANYCAST, ..update }));
}

#[test]
fn h018_a_home_binding_does_not_become_another_one() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    assert_eq!(bench.verdict(&Update { flags: UpdateFlags::ACKNOWLEDGE, ..Update::home(6) }).0, 139);
    assert_eq!(bench.bound(), [(ANYCAST, AR1, 5)]);
}

#[test]
fn h020_beyond_the_capacity_is_130_and_what_is_bound_stays() {
    for probing in [false, true] {
        let duplicate_address_detection = probing;
        let mut bench = Bench::with(HaaConfig { max_bindings: 2, duplicate_address_detection, ..config() });
        let other = |host: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host);
        for host in [0x10, 0x11] {
            bench.update(&Update { home_address: Some(other(host)), ..Update::home(5) });
        }
        assert_eq!(bench.verdict(&Update { home_address: Some(other(0x12)), ..Update::home(5) }).0, 130);
        bench.pass(2.0);
        assert_eq!(bench.bindings().len(), 2);
        assert_eq!(bench.verdict(&Update { home_address: Some(other(0x10)), ..Update::home(6) }).0, 0);
    }
}

#[test]
fn h021_an_address_that_is_not_served_gets_129() {
    let mut bench = Bench::with(HaaConfig { anycast: vec![ANYCAST], ..config() });
    assert_eq!(bench.verdict(&Update { home_address: Some(OTHER_ANYCAST), ..Update::home(5) }).0, 129);
    assert_eq!(bench.verdict(&Update::home(5)).0, 0);
    for own in [AGENT, HOME_AGENTS] {
        let update = Update { home_address: Some(own), ..Update::home(5) };
        assert_eq!(Bench::new().verdict(&update).0, 129, "{own}");
    }
}

#[test]
fn h024_h090_a_refused_refresh_keeps_the_binding_and_is_answered_at_its_source() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    let stale = Update { source: AR2, ..Update::home(5) };
    let answer = bench.update(&stale).expect("an acknowledgement");
    assert_eq!((answer.destination, answer.verdict().0), (AR2, 135));
    assert_eq!(bench.bound(), [(ANYCAST, AR1, 5)]);
}

#[test]
fn h025_a_refresh_restarts_the_lifetime_and_touches_no_rule() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    bench.pass(30.0);
    assert_eq!(bench.verdict(&Update::home(6)), (0, 6, 10));
    assert!(!bench.done.iter().any(|action| matches!(action, Action::InstallRule(_))));
    assert!(bench.pass(39.0).is_empty());
    assert_eq!(bench.bindings().len(), 1);
}

#[test]
fn h026_h027_the_last_update_moves_the_tunnel() {
    let mut bench = Bench::new();
    bench.update(&Update::home(200));
    assert_eq!(bench.verdict(&Update { source: AR2, ..Update::home(202) }), (0, 202, 10));
    for rule in [
        Rule::TunnelToResponder { anycast: ANYCAST, agent: AGENT, care_of: AR2 },
        Rule::TunnelFromResponder { anycast: ANYCAST, agent: AGENT, care_of: AR2 },
    ] {
        assert!(bench.done.contains(&Action::InstallRule(rule)), "{rule:?}");
    }
    assert_eq!(bench.bound(), [(ANYCAST, AR2, 202)]);
}

#[test]
fn h028_h029_x002_the_smaller_number_gets_135_and_the_retry_wins() {
    for step in [1, 2] {
        let mut bench = Bench::new();
        bench.update(&Update::home(200));
        assert_eq!(bench.verdict(&Update { source: AR2, ..Update::home(100) }), (135, 200, 10));
        assert_eq!(bench.bound(), [(ANYCAST, AR1, 200)]);
        assert_eq!(bench.verdict(&Update { source: AR2, ..Update::home(200 + step) }).0, 0);
        assert_eq!(bench.bound(), [(ANYCAST, AR2, 200 + step)]);
    }
}

#[test]
fn h031_key_management_is_not_offered() {
    let flags = AH | UpdateFlags::KEY_MANAGEMENT;
    let answer = Bench::new().update(&Update { flags, ..Update::home(5) }).expect("an acknowledgement");
    assert_eq!(answer.acknowledgement().flags.bits(), 0);
}

#[test]
fn h033_unknown_flags_are_ignored() {
    let flags = UpdateFlags::from_bits_retain(0xcfff);
    assert_eq!(Bench::new().verdict(&Update { flags, ..Update::home(5) }).0, 0);
}

#[test]
fn h034_bindings_at_two_own_addresses_do_not_cut_each_other_off() {
    let second: Ipv6Addr = "2001:db8:0:7::2".parse().expect("an address");
    let mut bench = Bench::new();
    bench.update(&Update { lifetime: 5, ..Update::home(5) });
    assert_eq!(bench.verdict(&Update { destination: second, source: AR2, ..Update::home(5) }).0, 0);
    assert_eq!(bench.bindings().len(), 2);
    let done = bench.pass(21.0);
    let rule = Rule::TunnelToResponder { anycast: ANYCAST, agent: second, care_of: AR2 };
    assert!(done.contains(&Action::InstallRule(rule)), "the other binding has the tunnel now");
    assert!(!done.contains(&Action::ReleaseAddress(ANYCAST)));
    assert!(bench.pass(20.0).contains(&Action::ReleaseAddress(ANYCAST)));
}

/// Found by fuzzing: a refresh with an unchanged care-of address left the tunnel to the other binding's responder.
#[test]
fn h034_a_refresh_at_one_own_address_takes_the_tunnel_back() {
    let second: Ipv6Addr = "2001:db8:0:7::2".parse().expect("an address");
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    bench.update(&Update { destination: second, source: AR2, lifetime: 5, ..Update::home(5) });
    bench.update(&Update::home(6));
    let rule = Rule::TunnelToResponder { anycast: ANYCAST, agent: AGENT, care_of: AR1 };
    assert!(bench.done.contains(&Action::InstallRule(rule)), "the last Binding Update wins");
    let done = bench.pass(21.0);
    let elsewhere = |action: &&Action| {
        matches!(action, Action::InstallRule(Rule::TunnelToResponder { care_of: AR2, .. }))
    };
    assert_eq!(done.iter().find(elsewhere), None);
    assert_eq!(bench.bound(), [(ANYCAST, AR1, 6)]);
}

/// Found by fuzzing: an error from `::`.
#[test]
fn no_error_goes_from_or_to_an_address_that_is_nobodys() {
    let mut bench = Bench::new();
    let mut answers = |source, destination| {
        let packet = tunnel(source, destination, &ping(ANYCAST, AI1));
        bench.haa.answers(bench.now, &packet).len()
    };
    assert_eq!(answers(STRANGER, AGENT), 1);
    for nobody in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, GROUP] {
        assert_eq!((answers(STRANGER, nobody), answers(nobody, AGENT)), (0, 0), "{nobody}");
    }
}

#[test]
fn h035_one_unit_is_four_seconds() {
    let mut bench = Bench::new();
    assert_eq!(bench.verdict(&Update { lifetime: 1, ..Update::home(5) }), (0, 5, 1));
    bench.pass(3.9);
    assert_eq!(bench.bindings().len(), 1);
    bench.pass(0.1);
    assert!(bench.bindings().is_empty());
}

#[test]
fn h036_the_longest_lifetime_does_not_overflow() {
    let mut bench = Bench::new();
    assert_eq!(bench.verdict(&Update { lifetime: 0xffff, ..Update::home(5) }), (0, 5, 0xffff));
    assert_eq!(bench.bindings()[0].remaining, 262_140);
}

#[test]
fn h037_the_configured_maximum_is_granted() {
    let mut bench = Bench::with(HaaConfig { max_lifetime: Lifetime(20), ..config() });
    assert_eq!(bench.verdict(&Update { lifetime: 21, ..Update::home(5) }), (0, 5, 20));
    assert_eq!(bench.bindings()[0].remaining, 80);
}

#[test]
fn h043_expiry_removes_rules_and_address() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    let done = bench.pass(40.0);
    for kind in [RuleKind::TunnelToResponder, RuleKind::TunnelFromResponder] {
        assert!(done.contains(&Action::RemoveRule(RuleKey::of(kind, ANYCAST))));
    }
    let option = RuleKey::between(RuleKind::HomeAddressIn, ANYCAST, AGENT);
    assert!(done.contains(&Action::RemoveRule(option)));
    assert!(done.contains(&Action::ReleaseAddress(ANYCAST)));
}

#[test]
fn h046_h047_h063_without_a_binding_any_number_is_accepted() {
    for sequence in [0, 1, 32768, 65535] {
        assert_eq!(Bench::new().verdict(&Update::home(sequence)).0, 0);
        let mut bench = Bench::new();
        bench.update(&Update::home(100));
        bench.pass(40.0);
        assert_eq!(bench.verdict(&Update::home(sequence)).0, 0, "after expiry");
        bench.update(&Update { lifetime: 0, ..Update::home(sequence.wrapping_add(1)) });
        assert_eq!(bench.verdict(&Update::home(sequence)).0, 0, "after deletion");
    }
}

macro_rules! sequence_cases {
    ($($name:ident: $stored:literal then $number:literal is $status:literal;)*) => {$(
        #[test]
        fn $name() {
            let mut bench = Bench::new();
            bench.update(&Update::home($stored));
            let (status, sequence, _) = bench.verdict(&Update { source: AR2, ..Update::home($number) });
            let (accepted, care_of) = if $status == 0 { ($number, AR2) } else { ($stored, AR1) };
            assert_eq!((status, sequence), ($status, accepted), "H061: 135 carries the stored number");
            assert_eq!(bench.bound(), [(ANYCAST, care_of, accepted)]);
        }
    )*};
}

sequence_cases! {
    h048_15_then_16: 15 then 16 is 0;
    h049_15_then_32782: 15 then 32782 is 0;
    h050_15_then_32783: 15 then 32783 is 135;
    h051_15_then_14: 15 then 14 is 135;
    h052_15_then_15: 15 then 15 is 135;
    h053_15_then_32784: 15 then 32784 is 135;
    h054_32783_then_32784: 32783 then 32784 is 0;
    h055_32783_then_14: 32783 then 14 is 0;
    h056_32783_then_15: 32783 then 15 is 135;
    h057_32783_then_32782: 32783 then 32782 is 135;
    h058_32783_then_32783: 32783 then 32783 is 135;
    h059_32783_then_16: 32783 then 16 is 135;
    h060_65535_then_0: 65535 then 0 is 0;
}

#[test]
fn h061_h062_135_is_sent_without_the_a_flag_and_changes_nothing() {
    let mut bench = Bench::new();
    bench.update(&Update::home(15));
    let flags = UpdateFlags::HOME_REGISTRATION;
    assert_eq!(bench.verdict(&Update { flags, ..Update::home(9) }), (135, 15, 10));
    assert_eq!(bench.verdict(&Update::home(16)).0, 0);
}

#[test]
fn h064_a_duplicate_on_the_way_gets_135_and_changes_nothing() {
    let mut bench = Bench::new();
    bench.update(&Update::home(15));
    let before = bench.bindings();
    assert_eq!(bench.verdict(&Update::home(15)), (135, 15, 10));
    assert_eq!(bench.bindings(), before);
}

#[test]
fn h065_the_number_of_a_refused_update_is_not_stored() {
    let mut bench = Bench::new();
    bench.update(&Update::home(15));
    bench.update(&Update { flags: UpdateFlags::ACKNOWLEDGE, ..Update::home(100) });
    assert_eq!(bench.verdict(&Update::home(16)).0, 0);
}

/// The target of the duplicate address probe among `actions`.
fn probed(actions: &[Action]) -> Option<Ipv6Addr> {
    let packets = sent(actions);
    let (source, destination, message) = icmpv6_answer(&packets)?;
    match message {
        Icmpv6Message::NeighborSolicitation { target, options, .. } => {
            assert_eq!((source, destination), (Ipv6Addr::UNSPECIFIED, solicited_node_group(&target)));
            assert!(options.is_empty(), "RFC 4862 5.4.2: no source link-layer address from `::`");
            Some(target)
        }
        other => panic!("not a solicitation: {other:?}"),
    }
}

#[test]
fn h066_a_first_registration_is_probed_before_it_is_acknowledged() {
    let mut bench = Bench::probing();
    bench.haa.handle_packet(bench.now, &Update::home(5).packet());
    assert_eq!(probed(&bench.haa.actions()), Some(ANYCAST));
    assert!(bench.bindings().is_empty());
    assert!(bench.pass(0.9).is_empty());
    let done = bench.pass(0.1);
    let acknowledged = sent(&done).iter().filter_map(|packet| Signal::of(packet)).next();
    assert_eq!(acknowledged.expect("an acknowledgement").verdict(), (0, 5, 10));
    assert_eq!(bench.bindings()[0].remaining, 40, "the lifetime begins with the acknowledgement");
}

fn advertisement(target: Ipv6Addr, hop_limit: u8) -> Vec<u8> {
    let message =
        Icmpv6Message::NeighborAdvertisement { code: 0, flags: 0x2000_0000, target, options: Vec::new() };
    icmpv6(target, ALL_NODES, hop_limit, message)
}

fn solicitation(target: Ipv6Addr, hop_limit: u8) -> Vec<u8> {
    let message = Icmpv6Message::NeighborSolicitation { code: 0, reserved: 0, target, options: Vec::new() };
    icmpv6(Ipv6Addr::UNSPECIFIED, solicited_node_group(&target), hop_limit, message)
}

#[test]
fn h068_h070_a_conflict_while_probing_is_134() {
    for conflict in [advertisement, solicitation] {
        let mut bench = Bench::probing();
        bench.update(&Update::home(5));
        assert_eq!(bench.packet(&conflict(ANYCAST, 255)).expect("an acknowledgement").verdict().0, 134);
        bench.pass(5.0);
        assert!(bench.bindings().is_empty());
        assert_eq!(bench.haa.poll_timeout(), None);
    }
}

#[test]
fn h068_nobody_off_the_link_and_nobody_elses_address_is_a_conflict() {
    let mut bench = Bench::probing();
    bench.update(&Update::home(5));
    assert!(bench.packet(&advertisement(ANYCAST, 254)).is_none());
    assert!(bench.packet(&advertisement(OTHER_ANYCAST, 255)).is_none());
    bench.pass(1.0);
    assert_eq!(bench.bound(), [(ANYCAST, AR1, 5)]);
}

#[test]
fn h071_updates_while_probing_make_one_answer_for_the_newest() {
    let mut bench = Bench::probing();
    bench.update(&Update::home(5));
    bench.now = bench.now + Duration::from_millis(500);
    for sequence in [7, 6] {
        assert!(bench.update(&Update { source: AR2, ..Update::home(sequence) }).is_none());
        assert!(sent(&bench.done).is_empty(), "no second probe");
    }
    let done = bench.pass(0.5);
    let answers: Vec<_> = sent(&done).iter().filter_map(|packet| Signal::of(packet)).collect();
    assert_eq!(answers.iter().map(Signal::verdict).collect::<Vec<_>>(), [(0, 7, 10)]);
    assert_eq!(bench.bound(), [(ANYCAST, AR2, 7)]);
}

#[test]
fn h072_a_refresh_is_not_probed() {
    let mut bench = Bench::probing();
    bench.update(&Update::home(5));
    bench.pass(1.0);
    assert_eq!(bench.verdict(&Update { source: AR2, ..Update::home(6) }).0, 0);
}

#[test]
fn h073_without_detection_the_answer_is_immediate() {
    assert_eq!(Bench::new().verdict(&Update::home(5)).0, 0);
}

#[test]
fn h074_a_deregistration_from_abroad_deletes() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    let answer = bench.update(&Update { lifetime: 0, ..Update::home(6) }).expect("an acknowledgement");
    assert_eq!((answer.verdict(), answer.routing2), ((0, 6, 0), Some(ANYCAST)));
    assert!(bench.bindings().is_empty());
}

#[test]
fn h077_a_home_address_option_equal_to_the_source_is_at_home_too() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    let home = Update { source: ANYCAST, lifetime: 0, options: alternate(ANYCAST), ..Update::home(6) };
    let answer = bench.update(&home).expect("an acknowledgement");
    assert_eq!((answer.verdict(), answer.routing2), ((0, 6, 0), None));
    assert!(bench.bindings().is_empty());
}

#[test]
fn h078_nothing_to_deregister_is_133() {
    assert_eq!(Bench::new().verdict(&Update { lifetime: 0, ..Update::home(6) }), (133, 6, 0));
}

#[test]
fn h079_an_old_deregistration_is_135_and_keeps_the_binding() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    assert_eq!(bench.verdict(&Update { lifetime: 0, ..Update::home(5) }), (135, 5, 0));
    assert_eq!(bench.bound(), [(ANYCAST, AR1, 5)]);
    // Nor does it end a probe.
    let mut bench = Bench::probing();
    bench.update(&Update::home(5));
    assert_eq!(bench.verdict(&Update { lifetime: 0, ..Update::home(4) }), (135, 5, 0));
    bench.pass(1.0);
    assert_eq!(bench.bound(), [(ANYCAST, AR1, 5)]);
}

#[test]
fn h080_the_address_is_released_before_the_deregistration_is_acknowledged() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    bench.update(&Update { lifetime: 0, ..Update::home(6) });
    let place = |wanted: &dyn Fn(&Action) -> bool| bench.done.iter().position(wanted).expect("an action");
    let released = place(&|action| *action == Action::ReleaseAddress(ANYCAST));
    assert!(released < place(&|action| matches!(action, Action::Send(_))));
}

#[test]
fn h083_no_refresh_advice_is_given() {
    let mut bench = Bench::new();
    for (update, status) in [(Update::home(5), 0), (Update { lifetime: 0, ..Update::home(6) }, 0)] {
        let answer = bench.update(&update).expect("an acknowledgement");
        assert_eq!(answer.verdict().0, status);
        let only_padding = |option: &MobilityOption| matches!(option, MobilityOption::PadN(_));
        assert!(answer.acknowledgement().options.iter().all(only_padding));
    }
}

#[test]
fn h084_x016_a_newer_deregistration_by_another_responder_removes_the_whole_binding() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    assert_eq!(bench.verdict(&Update { source: AR2, lifetime: 0, ..Update::home(6) }), (0, 6, 0));
    assert!(bench.bindings().is_empty());
}

#[test]
fn h085_an_update_with_the_option_is_answered_with_the_routing_header() {
    for update in [Update::home(5), Update { home_address: Some(STRANGER), ..Update::home(5) }] {
        let answer = Bench::new().update(&update).expect("an acknowledgement");
        assert_eq!(answer.routing2, update.home_address);
    }
}

#[test]
fn h089_a_status_below_128_means_bound() {
    let cases = [
        (Update::home(5), true),
        (Update { home_address: Some(STRANGER), ..Update::home(5) }, false),
        (Update { home_address: Some(AGENT), ..Update::home(5) }, false),
        (Update { lifetime: 0, ..Update::home(5) }, false),
    ];
    for (update, bound) in cases {
        let mut bench = Bench::new();
        assert_eq!(bench.verdict(&update).0 < 128, bound);
        assert_eq!(!bench.bindings().is_empty(), bound);
    }
    assert_eq!(
        [0, 1, 127, 128, 255].map(|status| Status(status).is_accepted()),
        [true, true, true, false, false]
    );
}

#[test]
fn h092_u6_the_address_is_announced_once_to_all_nodes() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    let announced: Vec<_> =
        sent(&bench.done).into_iter().filter(|packet| Signal::of(packet).is_none()).collect();
    assert_eq!(announced[0][7], 255, "hop limit");
    let (source, destination, message) = icmpv6_answer(&announced).expect("an advertisement");
    assert_eq!((source, destination), (AGENT, ALL_NODES));
    let options = vec![NeighborOption::TargetLinkLayerAddress(LINK_ADDRESS.to_vec())];
    let expected =
        Icmpv6Message::NeighborAdvertisement { code: 0, flags: 0x2000_0000, target: ANYCAST, options };
    assert_eq!(message, expected, "O=1, S=0, R=0");
    bench.update(&Update { source: AR2, ..Update::home(6) });
    assert_eq!(sent(&bench.done).len(), 1, "a move is not announced, the address stays here");
}

// covers: X207
#[test]
fn h104_h106_a_tunnel_from_anyone_but_the_bound_responder_is_refused() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    for (outer, inner) in [(AR2, ANYCAST), (AR1, OTHER_ANYCAST)] {
        let answers = bench.haa.answers(bench.now, &tunnel(outer, AGENT, &ping(inner, AI1)));
        assert_eq!(parameter_problem(&answers), Some((outer, 1, 6)));
    }
}

#[test]
fn h202_group_memberships_through_the_tunnel_are_silently_ignored() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    // By the link-local address that RFC 3810 wants and by the anycast address, from the bound responder and others.
    for (outer, inner) in [(AR1, LINK_LOCAL), (AR1, ANYCAST), (AR2, LINK_LOCAL)] {
        bench.haa.actions();
        bench.haa.handle_packet(bench.now, &tunnel(outer, AGENT, &group_membership(inner)));
        let done = bench.haa.actions();
        assert!(done.iter().all(|action| matches!(action, Action::Report(_))), "{outer} {inner}: {done:?}");
    }
    let counted = bench.haa.counters().iter().find(|(name, _)| *name == "multicast-membership.ignored");
    assert_eq!(counted.map(|(_, times)| times), Some(3));
}

#[test]
fn h107_an_error_about_our_tunnel_is_told_to_the_sender_inside_and_no_other_error_is() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    let inner = ping(AI1, ANYCAST);
    let error = |invoking: Vec<u8>| {
        let message = Icmpv6Message::DestinationUnreachable { code: 0, unused: 0, invoking };
        icmpv6(STRANGER, AGENT, 60, message)
    };
    let ours = error(tunnel(AGENT, AR1, &inner));
    match icmpv6_answer(&bench.haa.answers(bench.now, &ours)) {
        Some((AGENT, AI1, Icmpv6Message::DestinationUnreachable { code: 3, invoking, .. })) => {
            assert_eq!(invoking, inner);
        }
        other => panic!("{other:?}"),
    }
    for forged in [tunnel(AGENT, AR2, &inner), tunnel(STRANGER, AR1, &inner), inner.clone()] {
        assert!(bench.haa.answers(bench.now, &error(forged)).is_empty());
    }
}

#[test]
fn h109_a_home_address_option_without_binding_is_a_binding_error_1() {
    let mut bench = Bench::new();
    let packet = with_home_address(AR1, AGENT, Some(ANYCAST), 17, &[0; 8]);
    let answer = bench.packet(&packet).expect("a Binding Error");
    assert_eq!((answer.destination, answer.routing2), (AR1, None));
    assert_eq!((answer.error().status, answer.error().home_address), (1, ANYCAST));
}

fn discovery(destination: Ipv6Addr, code: u8, reserved: u16) -> Vec<u8> {
    let message = Icmpv6Message::HomeAgentDiscoveryRequest { code, identifier: 0x1234, reserved };
    icmpv6(AR1, destination, 64, message)
}

#[test]
fn h119_h137_discovery_is_answered_from_the_unicast_address_whatever_is_reserved() {
    for reserved in [0, 0x8000, 0xffff] {
        let answers = Bench::new().haa.answers(at(1.0), &discovery(HOME_AGENTS, 0, reserved));
        let home_agents = vec![AGENT];
        let reply =
            Icmpv6Message::HomeAgentDiscoveryReply { code: 0, identifier: 0x1234, reserved: 0, home_agents };
        assert_eq!(icmpv6_answer(&answers), Some((AGENT, AR1, reply)));
    }
}

#[test]
fn h135_h136_discovery_of_another_address_another_code_or_cut_short_is_ignored() {
    let mut short = discovery(HOME_AGENTS, 0, 0);
    short.truncate(44);
    short[5] = 4;
    for packet in [discovery(AGENT, 0, 0), discovery(HOME_AGENTS, 1, 0), short] {
        assert!(Bench::new().haa.answers(at(1.0), &packet).is_empty());
    }
}

#[test]
fn an_update_to_the_home_agents_anycast_address_is_silent() {
    assert!(Bench::new().is_silent(&Update { destination: HOME_AGENTS, ..Update::home(5) }));
}

#[test]
fn the_end_leaves_nothing_behind() {
    let mut bench = Bench::probing();
    bench.update(&Update::home(5));
    bench.pass(1.0);
    bench.update(&Update { home_address: Some(OTHER_ANYCAST), ..Update::home(5) });
    bench.haa.handle_command(bench.now, &HaaCommand::Shutdown);
    let done = bench.haa.actions();
    assert!(done.contains(&Action::ReleaseAddress(ANYCAST)));
    assert!(done.contains(&Action::ReleaseAddress(HOME_AGENTS)));
    assert!(bench.bindings().is_empty());
    assert_eq!(bench.haa.poll_timeout(), None);
}

#[test]
fn h088_what_is_discarded_is_never_acknowledged() {
    let valid = Update::home(5);
    let nonces = vec![MobilityOption::NonceIndices { home: 1, care_of: 1 }];
    let discarded = [
        Update { flags: UpdateFlags::ACKNOWLEDGE, ..valid.clone() },
        Update { options: nonces, ..valid.clone() },
        Update { home_address: Some(LINK_LOCAL), ..valid.clone() },
        Update { options: alternate(GROUP), ..valid.clone() },
        Update { options: alternate(Ipv6Addr::UNSPECIFIED), ..valid.clone() },
        Update { source: GROUP, ..valid.clone() },
    ];
    for update in discarded {
        let mut bench = Bench::new();
        assert!(update.flags.contains(UpdateFlags::ACKNOWLEDGE));
        assert!(bench.is_silent(&update), "{update:?}");
        assert_eq!(bench.verdict(&valid).0, 0, "the agent acknowledges what it does not discard");
    }
}

#[test]
fn q1_a_deregistration_from_home_may_say_everything_twice() {
    // KAME: a home address option equal to the source and an alternate care-of address equal to both.
    let mut bench = Bench::new();
    bench.verdict(&Update::home(5));
    let options = alternate(ANYCAST);
    let home = Update { source: ANYCAST, lifetime: 0, options, ..Update::home(6) };
    assert_eq!(home.home_address, Some(ANYCAST));
    let answer = bench.update(&home).expect("an acknowledgement");
    assert_eq!((answer.destination, answer.routing2, answer.verdict()), (ANYCAST, None, (0, 6, 0)));
    assert_eq!(bench.bound(), []);
}

#[test]
fn q7_q8_what_kames_agent_takes_unseen_is_not_taken() {
    // Without flag H and without any proof; and for an address that is not of this home link.
    let mut bench = Bench::new();
    assert!(bench.is_silent(&Update { flags: UpdateFlags::ACKNOWLEDGE, ..Update::home(5) }));
    let foreign = Update { home_address: Some(STRANGER), ..Update::home(5) };
    assert_eq!(bench.verdict(&foreign).0, 132);
    assert_eq!(bench.bound(), []);
}

// covers: X205
#[test]
fn q12_discovery_that_never_stops_is_answered_every_time_and_remembered_never() {
    let mut bench = Bench::new();
    for number in 0..100_u16 {
        bench.now = bench.now + Duration::from_secs(48);
        let asked = Icmpv6Message::HomeAgentDiscoveryRequest { code: 0, identifier: number, reserved: 0 };
        bench.packet(&icmpv6(AR1, HOME_AGENTS, 64, asked));
        let (_, _, answer) = icmpv6_answer(&sent(&bench.done)).expect("a reply");
        let Icmpv6Message::HomeAgentDiscoveryReply { identifier, home_agents, .. } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!((identifier, home_agents), (number, vec![AGENT]));
        assert_eq!(bench.haa.poll_timeout(), None, "nothing is kept");
    }
}

#[test]
fn u4_a_number_that_is_not_newer_is_135_and_nothing_that_blocks_a_responder_for_minutes() {
    // UMIP leaves the home address alone for 420 s after any other error.
    for (stored, said) in [(200, 100), (200, 200), (15, 32_783)] {
        let mut bench = Bench::new();
        bench.verdict(&Update::home(stored));
        assert_eq!(bench.verdict(&Update { source: AR2, ..Update::home(said) }).0, 135);
    }
}
