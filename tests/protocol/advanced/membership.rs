//! The multi-responder binding cache at the agent (thesis 4.3.1, Figure 9; RFC 5648): a Binding Update adds, each member
//! has its own lifetime and numbers and ends alone, responders of either model together.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::action::{Action, Observation};
use mga_node::protocol::binding::cache::Binding;
use mga_node::protocol::binding::members::{MemberCache, Membership, Responder};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{GroupConfig, Haa, HaaCommand, HaaConfig};
use mga_node::protocol::home_link::icmpv6_packet;
use mga_node::protocol::maa;
use mga_node::protocol::random::SeededRandom;
use mga_node::protocol::select::{Criterion, Group, Takes};
use mga_node::wire::icmpv6::Icmpv6Message;
use mga_node::wire::mobility::{
    BindingIdentifier, Experimental, Extensions, Grant, Lifetime, MobilityOption, NodeIdentifier, Offer,
    OfferFlags, UpdateFlags,
};
use proptest::prelude::*;

use crate::agent;
use crate::stimulus::*;

/// An agent that serves [`ANYCAST`] by the advanced model, and its clock.
pub struct Bench {
    pub haa: Haa,
    pub now: Instant,
    pub done: Vec<Action>,
    group: Option<Group>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(agent::config(), GroupConfig::default())
    }

    pub fn with(config: HaaConfig, group: GroupConfig) -> Self {
        Self::of(Haa::new(config).with_groups([(ANYCAST, group)].into(), Box::new(SeededRandom::new(9))))
    }

    fn of(mut haa: Haa) -> Self {
        haa.actions();
        Self { haa, now: at(100.0), done: Vec::new(), group: None }
    }

    pub fn packet(&mut self, packet: &[u8]) -> Option<Signal> {
        self.haa.handle_packet(self.now, packet);
        let done = self.haa.actions();
        self.take(done);
        signal(&sent(&self.done))
    }

    pub fn verdict(&mut self, update: &Update) -> (u8, u16, u16) {
        self.packet(&update.packet()).expect("an acknowledgement").verdict()
    }

    pub fn pass(&mut self, seconds: f64) {
        self.now = self.now + Duration::from_secs_f64(seconds);
        let done = self.haa.pass(self.now).into_iter().map(|(_, action)| action).collect();
        self.take(done);
    }

    pub fn command(&mut self, command: &HaaCommand) {
        self.haa.handle_command(self.now, command);
        let done = self.haa.actions();
        self.take(done);
    }

    pub fn observe(&mut self, observation: Observation) {
        self.haa.handle_observation(self.now, observation);
        let done = self.haa.actions();
        self.take(done);
    }

    fn take(&mut self, done: Vec<Action>) {
        for action in &done {
            match action {
                Action::InstallGroup(group) => self.group = Some(group.clone()),
                Action::RemoveGroup(_) => self.group = None,
                _ => {}
            }
        }
        self.done = done;
    }

    /// The group that the data path has: where the members are, and whether they take new sources.
    pub fn group(&self) -> Vec<(Ipv6Addr, bool)> {
        let members = self.group.iter().flat_map(|group| &group.members);
        members.map(|member| (member.care_of, member.takes == Takes::New)).collect()
    }

    fn numbers(&self) -> Vec<u32> {
        self.group.iter().flat_map(|group| &group.members).map(|member| member.number).collect()
    }

    /// How many slots each member has.
    pub fn slots(&self) -> Vec<usize> {
        let Some(group) = &self.group else { return Vec::new() };
        let of = |at: usize| group.slots.iter().filter(|index| usize::from(**index) == at).count();
        (0..group.members.len()).map(of).collect()
    }

    pub fn bound(&self) -> Vec<(Ipv6Addr, u16)> {
        self.haa.bindings(self.now).iter().map(|binding| (binding.care_of, binding.sequence)).collect()
    }

    pub fn reported(&self, event: &str) -> bool {
        self.done.iter().any(|action| matches!(action, Action::Report(report) if report.event == event))
    }
}

/// A Binding Update of a responder of the basic model.
pub fn legacy(care_of: Ipv6Addr, sequence: u16) -> Update {
    Update { source: care_of, ..Update::home(sequence) }
}

/// A Binding Update of a responder of the advanced model.
pub fn advanced(care_of: Ipv6Addr, sequence: u16, offer: Offer) -> Update {
    let extensions = Extensions::all();
    let options = vec![
        MobilityOption::BindingIdentifier(BindingIdentifier::of(1)),
        MobilityOption::Experimental(Offer { extensions, ..offer }.into()),
    ];
    Update { options, ..legacy(care_of, sequence) }
}

fn leaving(update: Update) -> Update {
    Update { lifetime: 0, ..update }
}

/// A responder that says who it is.
fn named(care_of: Ipv6Addr, sequence: u16, name: &str) -> Update {
    let mut update = advanced(care_of, sequence, Offer::default());
    update.options.push(MobilityOption::MobileNodeIdentifier(NodeIdentifier::nai(name)));
    update
}

#[test]
fn figure9_a_binding_update_adds() {
    let mut bench = Bench::new();
    assert_eq!(bench.verdict(&legacy(AR1, 200)), (0, 200, 10));
    assert!(bench.done.contains(&Action::CaptureAddress(ANYCAST)));
    assert!(!bench.done.iter().any(|action| matches!(action, Action::InstallRule(_))));
    // No 135: the second responder has numbers of its own.
    assert_eq!(bench.verdict(&legacy(AR2, 100)), (0, 100, 10));
    assert!(!bench.done.contains(&Action::CaptureAddress(ANYCAST)));
    assert_eq!(bench.bound(), [(AR1, 200), (AR2, 100)]);
    assert_eq!(bench.group(), [(AR1, true), (AR2, true)]);
    let slots = bench.slots();
    assert!(slots.iter().all(|count| (1900..2200).contains(count)), "{slots:?}");
}

#[test]
fn each_member_has_its_own_sequence_numbers() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 200));
    bench.verdict(&advanced(AR2, 100, Offer::default()));
    assert_eq!(bench.verdict(&legacy(AR1, 150)), (135, 200, 10));
    assert_eq!(bench.verdict(&advanced(AR2, 100, Offer::default())), (135, 100, 10));
    assert_eq!(bench.verdict(&leaving(legacy(AR1, 200))).0, 135);
    assert_eq!(bench.verdict(&advanced(AR2, 101, Offer::default())).0, 0);
    assert_eq!(bench.bound(), [(AR1, 200), (AR2, 101)]);
}

#[test]
fn expiry_ends_only_the_member_whose_lifetime_is_over() {
    let probing = GroupConfig { probing: mute(), ..GroupConfig::default() };
    let mut bench = Bench::with(agent::config(), probing);
    bench.verdict(&Update { lifetime: 2, ..legacy(AR1, 1) });
    bench.verdict(&legacy(AR2, 1));
    bench.pass(9.0);
    assert!(bench.reported("member-expired"));
    assert_eq!(bench.group(), [(AR2, true)]);
    assert!(!bench.done.contains(&Action::ReleaseAddress(ANYCAST)));
    bench.pass(40.0);
    assert!(bench.done.contains(&Action::RemoveGroup(ANYCAST)));
    assert!(bench.done.contains(&Action::ReleaseAddress(ANYCAST)));
    assert!(bench.bound().is_empty());
}

#[test]
fn a_member_that_moves_to_where_another_is_ends_that_one_and_its_probes() {
    let mut bench = Bench::new();
    bench.verdict(&named(AR1, 1, "one"));
    bench.verdict(&named(AR2, 1, "two"));
    assert_eq!(bench.group(), [(AR1, true), (AR2, true)]);
    bench.verdict(&named(AR2, 2, "one"));
    assert!(bench.reported("member-removed"));
    assert_eq!(bench.group(), [(AR2, true)]);
    bench.command(&HaaCommand::Shutdown);
    assert_eq!(bench.haa.poll_timeout(), None, "nobody is left to be probed");
}

/// Nobody is probed.
fn mute() -> mga_node::protocol::liveness::Probing {
    mga_node::protocol::liveness::Probing { interval: Duration::ZERO, ..Default::default() }
}

#[test]
fn deregistration_ends_only_the_member_that_asks_for_it() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 1));
    bench.verdict(&advanced(AR2, 1, Offer::default()));
    assert_eq!(bench.verdict(&leaving(advanced(AR2, 2, Offer::default()))), (0, 2, 0));
    assert_eq!(bench.group(), [(AR1, true)]);
    assert_eq!(bench.verdict(&leaving(legacy(STRANGER, 2))).0, 133);
    assert_eq!(bench.group(), [(AR1, true)]);
    bench.verdict(&leaving(legacy(AR1, 2)));
    assert!(bench.done.contains(&Action::ReleaseAddress(ANYCAST)));
}

#[test]
fn packets_in_flight_of_a_member_that_left_are_accepted_for_a_second() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 1));
    bench.verdict(&legacy(AR2, 1));
    bench.verdict(&leaving(legacy(AR1, 2)));
    let inner = ping(ANYCAST, AI1);
    bench.pass(0.9);
    bench.packet(&tunnel(AR1, AGENT, &inner));
    assert!(bench.done.contains(&Action::Deliver(inner.clone())));
    bench.pass(0.2);
    bench.packet(&tunnel(AR1, AGENT, &inner));
    assert!(!bench.done.contains(&Action::Deliver(inner.clone())));
    assert!(parameter_problem(&sent(&bench.done)).is_some());
    // One that only expired said nothing, and a stranger never was a member.
    bench.pass(60.0);
    for care_of in [AR2, STRANGER] {
        bench.packet(&tunnel(care_of, AGENT, &inner));
        assert!(!bench.done.contains(&Action::Deliver(inner.clone())), "{care_of}");
    }
}

#[test]
fn an_acknowledgement_repeats_the_identifier_and_says_what_is_granted() {
    let agents = vec![STRANGER];
    let mut bench = Bench::with(agent::config(), GroupConfig { agents, ..GroupConfig::default() });
    let options = |bench: &mut Bench, update: &Update| {
        let answer = bench.packet(&update.packet()).expect("an acknowledgement");
        let mut options = answer.acknowledgement().options.clone();
        options.retain(|option| !option.is_padding());
        options
    };
    let granted = |extensions, agents| {
        let grant = Grant { extensions, agents, more: Vec::new() };
        vec![
            MobilityOption::BindingIdentifier(BindingIdentifier::of(1)),
            MobilityOption::Experimental(Experimental::Grant(grant)),
        ]
    };
    let known = Extensions::SEVERAL
        | Extensions::AFFINITY
        | Extensions::PROBING
        | Extensions::STEERING
        | Extensions::AGENTS;
    let all = advanced(AR1, 1, Offer::default());
    assert_eq!(options(&mut bench, &all), granted(known, vec![STRANGER]));
    let mut some = advanced(AR1, 2, Offer::default());
    let extensions = Extensions::SEVERAL | Extensions::PROBING;
    some.options[1] = MobilityOption::Experimental(Offer { extensions, ..Offer::default() }.into());
    assert_eq!(options(&mut bench, &some), granted(extensions, Vec::new()));
    assert!(options(&mut bench, &legacy(AR2, 1)).is_empty());
    let views = bench.haa.bindings(bench.now);
    let words: Vec<_> = views.iter().map(|view| view.member.clone().expect("a member")).collect();
    assert_eq!(
        (words[0].bid, words[0].extensions.join(" ")),
        (None, "several affinity probing steering".into())
    );
    assert_eq!((words[1].bid, words[1].extensions.join(" ")), (Some(1), "several probing".into()));
}

#[test]
fn an_agent_of_the_basic_model_skips_all_of_it() {
    let mut bench = Bench::of(Haa::new(agent::config()));
    let answer = bench.packet(&advanced(AR1, 1, Offer::default()).packet()).expect("an acknowledgement");
    assert!(answer.acknowledgement().options.iter().all(MobilityOption::is_padding));
    bench.packet(&advanced(AR2, 2, Offer::default()).packet());
    assert_eq!(bench.bound(), [(AR2, 2)]);
    assert!(bench.haa.bindings(bench.now)[0].member.is_none());
}

#[test]
fn rfc5648_an_identifier_that_cannot_be_is_refused_and_changes_nothing() {
    let identifier = |of| vec![MobilityOption::BindingIdentifier(of)];
    let twice = [BindingIdentifier::of(1), BindingIdentifier::of(2)].map(MobilityOption::BindingIdentifier);
    let at_home = BindingIdentifier { home_and_foreign: true, ..BindingIdentifier::of(1) };
    let version4 = BindingIdentifier { care_of: Some([192, 0, 2, 1].into()), ..BindingIdentifier::of(1) };
    for (options, status) in [
        (identifier(BindingIdentifier::of(0)), 164),
        (identifier(version4), 164),
        (vec![MobilityOption::Unknown { kind: 35, data: vec![0; 5] }], 164),
        (twice.to_vec(), 168),
        (identifier(at_home), 169),
    ] {
        let mut bench = Bench::new();
        assert_eq!(bench.verdict(&Update { options, ..legacy(AR1, 1) }).0, status);
        assert!(bench.bound().is_empty() && bench.group().is_empty());
    }
}

#[test]
fn rfc5648_an_identifier_may_carry_the_care_of_address() {
    let mut update = advanced(AR1, 1, Offer::default());
    let identifier = BindingIdentifier { care_of: Some(AR2.into()), ..BindingIdentifier::of(1) };
    update.options[0] = MobilityOption::BindingIdentifier(identifier);
    let mut bench = Bench::new();
    bench.verdict(&update);
    assert_eq!(bench.group(), [(AR2, true)]);
}

#[test]
fn what_a_responder_offers_is_heeded() {
    let mut bench = Bench::new();
    let offer = |weight, flags| Offer { weight, flags, ..Offer::default() };
    bench.verdict(&advanced(AR1, 1, offer(3, OfferFlags::empty())));
    bench.verdict(&legacy(AR2, 1));
    let slots = bench.slots();
    assert!((2900..3250).contains(&slots[0]), "three to one: {slots:?}");
    bench.verdict(&advanced(AR1, 2, offer(3, OfferFlags::DRAIN)));
    assert_eq!(bench.group(), [(AR1, false), (AR2, true)]);
    assert_eq!(bench.slots(), [0, 4096]);
    bench.verdict(&advanced(AR1, 3, offer(3, OfferFlags::empty())));
    assert_eq!(bench.slots(), slots);
}

// covers: X008
#[test]
fn a_change_of_metric_changes_whom_new_sources_go_to() {
    let by_metric = GroupConfig { criterion: Criterion::Metric, ..GroupConfig::default() };
    let mut bench = Bench::with(agent::config(), by_metric);
    let loaded = |metric| Offer { metric, ..Offer::default() };
    bench.verdict(&advanced(AR1, 1, loaded(500)));
    bench.verdict(&advanced(AR2, 1, loaded(900)));
    assert_eq!(bench.slots(), [4096, 0]);
    bench.verdict(&advanced(AR1, 2, loaded(2000)));
    assert_eq!(bench.slots(), [0, 4096]);
    // A refresh that says nothing new is nothing new.
    bench.verdict(&advanced(AR1, 3, loaded(2000)));
    assert!(!bench.done.iter().any(|action| matches!(action, Action::InstallGroup(_))));
}

#[test]
fn a_member_that_moves_stays_the_same_member() {
    let mut bench = Bench::new();
    bench.verdict(&named(AR1, 1, "one@example.net"));
    bench.verdict(&named(AR2, 1, "two@example.net"));
    let numbers = bench.numbers();
    bench.verdict(&named(STRANGER, 2, "one@example.net"));
    assert!(bench.reported("member-moved"));
    assert_eq!((bench.group(), bench.numbers()), (vec![(STRANGER, true), (AR2, true)], numbers));
}

#[test]
fn another_name_at_the_same_address_is_the_same_member() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 7));
    let numbers = bench.numbers();
    // It was restarted by the advanced model, with numbers of its own.
    bench.verdict(&advanced(AR1, 1, Offer::default()));
    assert_eq!((bench.bound(), bench.numbers()), (vec![(AR1, 1)], numbers));
}

#[test]
fn a_membership_that_ended_gives_its_number_to_nobody() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 1));
    let first = bench.numbers();
    bench.verdict(&leaving(legacy(AR1, 2)));
    bench.verdict(&legacy(AR1, 3));
    assert_ne!(bench.numbers(), first);
}

#[test]
fn all_who_wait_for_one_probe_of_the_address_are_answered_after_it() {
    let probing = HaaConfig { duplicate_address_detection: true, ..agent::config() };
    for conflict in [false, true] {
        let mut bench = Bench::with(probing.clone(), GroupConfig::default());
        assert!(bench.packet(&legacy(AR1, 5).packet()).is_none());
        assert!(bench.packet(&advanced(AR2, 9, Offer::default()).packet()).is_none());
        // Repeated, and one that leaves before it came.
        assert!(bench.packet(&legacy(AR1, 6).packet()).is_none());
        assert!(bench.packet(&legacy(STRANGER, 1).packet()).is_none());
        assert_eq!(bench.verdict(&leaving(legacy(STRANGER, 2))).0, 133);
        if conflict {
            let target = ANYCAST;
            let claim =
                Icmpv6Message::NeighborSolicitation { code: 0, reserved: 0, target, options: Vec::new() };
            let group = mga_node::protocol::home_link::solicited_node_group(&ANYCAST);
            let claim = icmpv6_packet(&Ipv6Addr::UNSPECIFIED, &group, 255, claim);
            bench.haa.handle_packet(bench.now, &claim);
            let done = bench.haa.actions();
            bench.take(done);
        } else {
            bench.pass(2.0);
        }
        let answers = sent(&bench.done);
        let mut verdicts: Vec<_> = answers.iter().filter_map(|packet| Signal::of(packet)).collect();
        verdicts.sort_by_key(|signal| signal.destination);
        let verdicts: Vec<_> = verdicts
            .iter()
            .map(|signal| (signal.destination, signal.verdict().0, signal.verdict().1))
            .collect();
        let status = if conflict { 134 } else { 0 };
        assert_eq!(verdicts, [(AR1, status, 6), (AR2, status, 9)]);
        assert_eq!(bench.bound().len(), if conflict { 0 } else { 2 });
    }
}

#[test]
fn one_more_member_of_an_address_that_is_the_agents_needs_no_probe() {
    let probing = HaaConfig { duplicate_address_detection: true, ..agent::config() };
    let mut bench = Bench::with(probing, GroupConfig { probing: mute(), ..GroupConfig::default() });
    bench.packet(&legacy(AR1, 5).packet());
    bench.pass(2.0);
    assert_eq!(bench.verdict(&legacy(AR2, 5)).0, 0);
}

#[test]
fn members_count_against_the_capacity() {
    let small = HaaConfig { max_bindings: 2, ..agent::config() };
    let mut bench = Bench::with(small, GroupConfig::default());
    bench.verdict(&legacy(AR1, 1));
    bench.verdict(&advanced(AR2, 1, Offer::default()));
    assert_eq!(bench.verdict(&legacy(STRANGER, 1)).0, 130);
    assert_eq!(bench.verdict(&legacy(AR1, 2)).0, 0);
}

#[test]
fn what_is_no_home_registration_is_refused_as_in_the_basic_model() {
    let mut bench = Bench::new();
    let no_home = Update { flags: UpdateFlags::ACKNOWLEDGE, ..legacy(AR1, 1) };
    assert!(bench.packet(&no_home.packet()).is_none());
    bench.verdict(&legacy(AR1, 1));
    assert_eq!(bench.verdict(&Update { sequence: 2, ..no_home }).0, 139);
    // A circle is none.
    let circle = Update { home_address: Some(OTHER_ANYCAST), ..legacy(ANYCAST, 1) };
    assert!(bench.packet(&circle.packet()).is_none());
}

#[test]
fn an_operator_drains_and_removes_members() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 1));
    bench.verdict(&legacy(AR2, 1));
    bench.command(&HaaCommand::Drain { anycast: None, care_of: AR1 });
    assert_eq!(bench.group(), [(AR1, false), (AR2, true)]);
    // A refresh does not undo it.
    bench.verdict(&legacy(AR1, 2));
    assert_eq!(bench.group(), [(AR1, false), (AR2, true)]);
    bench.command(&HaaCommand::Undrain { anycast: Some(ANYCAST), care_of: AR1 });
    assert_eq!(bench.group(), [(AR1, true), (AR2, true)]);
    bench.command(&HaaCommand::Deregister(Some(ANYCAST)));
    assert!(bench.bound().is_empty());
    assert!(bench.done.contains(&Action::RemoveGroup(ANYCAST)));
}

#[test]
fn who_finds_nobody_is_told_so() {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 1));
    bench.command(&HaaCommand::Drain { anycast: None, care_of: AR1 });
    bench.packet(&ping(AI1, ANYCAST));
    let (source, destination, message) = icmpv6_answer(&sent(&bench.done)).expect("an answer");
    assert_eq!((source, destination), (ANYCAST, AI1));
    assert!(matches!(message, Icmpv6Message::DestinationUnreachable { code: 3, .. }));
    // A neighbour that asks whether the address is still there is answered by the host.
    let target = ANYCAST;
    let asks = Icmpv6Message::NeighborSolicitation { code: 0, reserved: 0, target, options: Vec::new() };
    bench.packet(&icmpv6(AI1, ANYCAST, 255, asks));
    assert!(bench.done.is_empty(), "{:?}", bench.done);
}

#[test]
fn moved_sources_are_reported_with_their_number() {
    let mut bench = Bench::new();
    let moved = Observation::MemberLeft { anycast: ANYCAST, member: 1, sources: 7 };
    bench.haa.handle_observation(bench.now, moved);
    let report = bench.haa.actions().into_iter().find_map(|action| match action {
        Action::Report(report) => Some(report.to_string()),
        _ => None,
    });
    let expected = "sources-moved anycast 2001:db8:0:1::a sources 7: their responder is gone (thesis 4.3.2)";
    assert_eq!(report.as_deref(), Some(expected));
    bench
        .haa
        .handle_observation(bench.now, Observation::MemberLeft { anycast: ANYCAST, member: 1, sources: 0 });
    assert!(bench.haa.actions().is_empty());
}

#[test]
fn thesis_4_3_3_a_midway_agent_captures_while_somebody_lives() {
    let groups = [(ANYCAST, GroupConfig::default())].into();
    let haa = maa::agent(agent::config()).with_groups(groups, Box::new(SeededRandom::new(9)));
    let mut bench = Bench::of(haa);
    bench.verdict(&legacy(AR1, 1));
    assert!(bench.done.contains(&Action::RouteAddress(ANYCAST)));
    // Nobody answers its probes.
    bench.pass(2.0);
    assert!(bench.done.contains(&Action::UnrouteAddress(ANYCAST)));
    assert_eq!(bench.bound(), [(AR1, 1)]);
}

/// What can be done to the cache.
#[derive(Clone, Debug)]
enum Step {
    Store { who: u8, at: u8, lifetime: u16 },
    Remove { who: u8, at: u8 },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..6u8, 0..4u8, 1..20u16).prop_map(|(who, at, lifetime)| Step::Store { who, at, lifetime }),
        1 => (0..6u8, 0..4u8).prop_map(|(who, at)| Step::Remove { who, at }),
        2 => (1..30u64).prop_map(Step::Pass),
    ]
}

fn responder(who: u8, care_of: Ipv6Addr) -> Responder {
    match who {
        0 | 1 => Responder::Named { identifier: vec![who], bid: 1 },
        2..=4 => Responder::Identified { care_of, bid: u16::from(who) },
        _ => Responder::Legacy { care_of },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// One member per responder and one per care-of address; a number is one membership's and never comes back; nobody
    /// outlives its lifetime, and nobody ends before it but by its own doing.
    #[test]
    fn the_cache_keeps_its_promises(steps in prop::collection::vec(step(), 1..120)) {
        let mut cache = MemberCache::default();
        let mut now = at(0.0);
        let mut ended = std::collections::BTreeSet::new();
        for step in steps {
            let place = |at: u8| Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(at));
            match step {
                Step::Store { who, at, lifetime } => {
                    let lifetime = Lifetime(lifetime);
                    let binding = Binding {
                        home_address: ANYCAST,
                        own_address: AGENT,
                        care_of: place(at),
                        sequence: 1,
                        flags: AH,
                        lifetime,
                        expires: now + lifetime.duration(),
                        owner: None,
                    };
                    let responder = responder(who, place(at));
                    let before: Vec<u32> = cache.of(&ANYCAST).map(|member| member.number).collect();
                    let (offer, granted) = (None, Extensions::empty());
                    let stored = cache.store(Membership { responder, binding, offer, granted });
                    prop_assert!(!ended.contains(&stored.number));
                    prop_assert_eq!(before.contains(&stored.number), stored.was_at.is_some());
                    let after: Vec<u32> = cache.of(&ANYCAST).map(|member| member.number).collect();
                    ended.extend(before.into_iter().filter(|number| !after.contains(number)));
                }
                Step::Remove { who, at } => {
                    let others = cache.len();
                    let gone = cache.remove(&(ANYCAST, responder(who, place(at))));
                    prop_assert_eq!(cache.len(), others - usize::from(gone.is_some()));
                    ended.extend(gone.map(|member| member.number));
                }
                Step::Pass(seconds) => {
                    now = now + Duration::from_secs(seconds);
                    while let Some(gone) = cache.take_expired(now) {
                        prop_assert!(gone.binding().expires <= now);
                        ended.insert(gone.number);
                    }
                }
            }
            let members: Vec<_> = cache.of(&ANYCAST).collect();
            prop_assert_eq!(members.len(), cache.len());
            let unique = |of: Vec<String>| of.iter().collect::<std::collections::BTreeSet<_>>().len();
            prop_assert_eq!(unique(members.iter().map(|m| m.number.to_string()).collect()), members.len());
            prop_assert_eq!(unique(members.iter().map(|m| m.care_of().to_string()).collect()), members.len());
            prop_assert!(members.iter().all(|member| member.binding().expires > now));
            prop_assert_eq!(cache.next_expiry(), members.iter().map(|member| member.binding().expires).min());
        }
    }
}
