//! Membership with keys at the agent (RFC 4285 5 and 6; docs/membership.md): who may join, steer, drain and remove, and
//! what everybody else gets. Hostile messages are made from good ones, as somebody on the path would make them.
//! Run by `cargo test --test protocol members`.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::action::Action;
use mga_node::protocol::auth::credentials::{Claim, Credentials, Key};
use mga_node::protocol::auth::members::{CLOSE_ENOUGH, MemberChange, MemberConfig, MemberError, Members};
use mga_node::protocol::auth::time_of_day::TimeOfDay;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{GroupConfig, Haa, HaaConfig};
use mga_node::protocol::random::SeededRandom;
use mga_node::protocol::select::{Criterion, Group, Takes};
use mga_node::wire::mobility::{
    BindingIdentifier, BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption, NodeIdentifier,
    Offer, OfferFlags, Timestamp, align,
};

use crate::advanced::membership::advanced;
use crate::agent;
use crate::stimulus::*;

/// 100 seconds after this, when the tests begin, it is noon.
const START: Duration = Duration::from_millis(1_795_953_500_250);

pub fn clock() -> TimeOfDay {
    TimeOfDay::new(Timestamp::from_unix(START))
}

pub fn credentials(name: &str, spi: u32, key: u8) -> Credentials {
    let key = Key::from_hex(format!("{key:02x}").repeat(Key::OCTETS).as_bytes()).expect("a key");
    Credentials { identifier: format!("{name}@example.net"), spi, key }
}

pub fn first() -> Credentials {
    credentials("ar1", 256, 1)
}

pub fn second() -> Credentials {
    credentials("ar2", 257, 2)
}

pub fn member(credentials: Credentials) -> MemberConfig {
    let (anycast, care_of) = (Vec::new(), Vec::new());
    MemberConfig { credentials, anycast, care_of, max_weight: 10, min_metric: 100, enabled: true }
}

pub fn guarded(config: HaaConfig, members: Vec<MemberConfig>) -> Haa {
    Haa::new(config).with_members(Members::new(clock(), CLOSE_ENOUGH, members))
}

/// A Binding Update in somebody's name.
#[derive(Clone)]
struct Keyed {
    update: Update,
    credentials: Credentials,
    timestamp: Option<Timestamp>,
    /// What it is proven for, when not for the address that the update names.
    care_of: Option<Ipv6Addr>,
}

impl Keyed {
    fn header(&self) -> MobilityHeader {
        let mut options = self.update.options.clone();
        options.extend(self.credentials.options(self.timestamp));
        let mut header = MobilityHeader::new(Message::BindingUpdate(BindingUpdate {
            sequence: self.update.sequence,
            flags: self.update.flags,
            lifetime: Lifetime(self.update.lifetime),
            options: align(12, &options),
        }));
        let home = self.update.home_address.unwrap_or(self.update.source);
        let care_of = self.care_of.unwrap_or(self.update.care_of());
        self.credentials.prove(&mut header, &care_of, &home);
        header
    }

    fn packet(&self) -> Vec<u8> {
        self.changed(|_| {})
    }

    /// The packet with something changed after it was proven.
    fn changed(&self, change: impl FnOnce(&mut BindingUpdate)) -> Vec<u8> {
        let mut header = self.header();
        let Message::BindingUpdate(update) = &mut header.message else { unreachable!() };
        change(update);
        let Update { source, destination, home_address, .. } = self.update;
        raw_mobility(source, destination, home_address, &header.emit())
    }
}

/// The first member's Binding Update, stamped so many milliseconds after the clock's start.
pub fn keyed_update(sequence: u16, lifetime: u16, milliseconds: u64) -> Vec<u8> {
    let timestamp = Some(clock().at(Instant::from_start(Duration::from_millis(milliseconds))));
    let update = Update { lifetime, ..Update::home(sequence) };
    Keyed { update, credentials: first(), timestamp, care_of: None }.packet()
}

/// An agent with two members, and its clock.
struct Bench {
    haa: Haa,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::with(vec![member(first()), member(second())])
    }

    fn with(members: Vec<MemberConfig>) -> Self {
        let mut haa = guarded(agent::config(), members);
        haa.actions();
        Self { haa, now: at(100.0) }
    }

    /// The first member's update, stamped now.
    fn update(&self, sequence: u16) -> Keyed {
        let timestamp = Some(clock().at(self.now));
        Keyed { update: Update::home(sequence), credentials: first(), timestamp, care_of: None }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now = self.now + Duration::from_millis(milliseconds);
        self.haa.pass(self.now);
    }

    fn answer(&mut self, packet: &[u8]) -> Option<Signal> {
        signal(&self.haa.answers(self.now, packet))
    }

    /// The status of the answer.
    fn status(&mut self, packet: &[u8]) -> Option<u8> {
        self.answer(packet).map(|answer| answer.verdict().0)
    }

    /// What a packet is answered that must change nothing.
    fn refused(&mut self, packet: &[u8]) -> Option<u8> {
        let before = self.bound();
        let status = self.status(packet);
        assert_eq!(self.bound(), before);
        status
    }

    fn bound(&self) -> Vec<(Ipv6Addr, Ipv6Addr, u16)> {
        self.haa.bindings(self.now).iter().map(|b| (b.anycast, b.care_of, b.sequence)).collect()
    }

    fn counted(&self, name: &str) -> u64 {
        self.haa.counters().get(name)
    }
}

fn identity_of(answer: &Signal) -> Claim<'_> {
    Claim::of(&answer.acknowledgement().options).expect("the acknowledgement is proven")
}

#[test]
fn a_proven_update_is_bound_and_its_acknowledgement_is_proven_too() {
    let mut bench = Bench::new();
    let update = bench.update(200);
    let answer = bench.answer(&update.packet()).expect("an acknowledgement");
    assert_eq!(answer.verdict(), (0, 200, 10));
    let claim = identity_of(&answer);
    assert!(first().are_named_by(&claim) && claim.timestamp == update.timestamp);
    assert!(first().prove_true(&claim, &answer.octets, &AR1, &ANYCAST));
    assert!(!second().prove_true(&claim, &answer.octets, &AR1, &ANYCAST));
    assert_eq!(bench.bound(), [(ANYCAST, AR1, 200)]);
}

#[test]
fn the_care_of_address_proven_is_the_one_registered() {
    let mut bench = Bench::new();
    let mut update = bench.update(200);
    update.update.options = vec![MobilityOption::AlternateCareOfAddress(AR2)];
    let answer = bench.answer(&update.packet()).expect("an acknowledgement");
    assert_eq!(bench.bound(), [(ANYCAST, AR2, 200)]);
    assert!(first().prove_true(&identity_of(&answer), &answer.octets, &AR2, &ANYCAST));
}

// covers: X201
#[test]
fn without_key_identifier_or_proof_there_is_silence() {
    let mut bench = Bench::new();
    assert_eq!(bench.refused(&Update::home(200).packet()), None);
    let update = bench.update(200);
    let nameless = update.changed(|update| {
        update.options.retain(|option| !matches!(option, MobilityOption::MobileNodeIdentifier(_)));
    });
    assert_eq!(bench.refused(&nameless), None);
    let unproven = update.changed(|update| {
        update.options.retain(|option| !matches!(option, MobilityOption::MessageAuthentication(_)));
    });
    assert_eq!(bench.refused(&unproven), None);
    let other = update.changed(|update| match update.options.last_mut() {
        Some(MobilityOption::MessageAuthentication(proof)) => proof.subtype = 2,
        other => panic!("{other:?}"),
    });
    assert_eq!(bench.refused(&other), None);
    let not_last =
        update.changed(|update| update.options.push(MobilityOption::Unknown { kind: 200, data: vec![] }));
    assert_eq!(bench.refused(&not_last), None);
    let twice = update.changed(|update| {
        let other = NodeIdentifier::nai("ar2@example.net");
        update.options.insert(0, MobilityOption::MobileNodeIdentifier(other));
    });
    assert_eq!(bench.refused(&twice), None);
    assert_eq!(bench.counted("binding-update.unauthenticated"), 6);
}

#[test]
fn a_name_or_spi_that_is_nobodys_gets_silence() {
    let mut bench = Bench::new();
    let stranger = Keyed { credentials: credentials("stranger", 256, 1), ..bench.update(200) };
    assert_eq!(bench.refused(&stranger.packet()), None);
    for spi in [0, 3, 255, 257, u32::MAX] {
        let credentials = Credentials { spi, ..first() };
        let wrong = Keyed { credentials, ..bench.update(200) };
        assert_eq!(bench.refused(&wrong.packet()), None, "SPI {spi}");
    }
    assert_eq!(bench.counted("binding-update.unknown-member"), 1);
    assert_eq!(bench.counted("binding-update.unknown-spi"), 5);
}

#[test]
fn a_member_cannot_speak_in_anothers_name() {
    let mut bench = Bench::new();
    let good = bench.update(200).packet();
    assert_eq!(bench.status(&good), Some(0));
    bench.pass(10);
    // The second member's key under the first one's name and SPI.
    let forger = Credentials { key: second().key, ..first() };
    for lifetime in [10, 0] {
        let mut forged = Keyed { credentials: forger.clone(), ..bench.update(201) };
        forged.update.lifetime = lifetime;
        assert_eq!(bench.refused(&forged.packet()), Some(146));
    }
    // And in its own name it cannot remove what the first one bound.
    let mut removal = Keyed { credentials: second(), ..bench.update(201) };
    removal.update.lifetime = 0;
    assert_eq!(bench.refused(&removal.packet()), Some(129));
}

// covers: X201
#[test]
fn nothing_that_was_proven_can_be_changed_on_the_way() {
    let mut bench = Bench::new();
    let good = bench.update(200).packet();
    assert_eq!(bench.status(&good), Some(0));
    bench.pass(2000);
    let mut update = bench.update(201);
    let offer = Offer { weight: 3, ..Offer::default() };
    update.update.options =
        vec![MobilityOption::AlternateCareOfAddress(AR1), MobilityOption::Experimental(offer.into())];
    let changes: [fn(&mut BindingUpdate); 5] = [
        |update| update.lifetime = Lifetime(0),
        |update| update.lifetime = Lifetime(11),
        |update| update.sequence = 202,
        |update| {
            for option in &mut update.options {
                match option {
                    MobilityOption::AlternateCareOfAddress(address) => *address = STRANGER,
                    MobilityOption::Experimental(content) => {
                        *content = Offer { weight: 9, ..Offer::default() }.into()
                    }
                    _ => {}
                }
            }
        },
        |update| {
            for option in &mut update.options {
                if let MobilityOption::ReplayProtection(timestamp) = option {
                    timestamp.0 += 1;
                }
            }
        },
    ];
    for change in changes {
        assert_eq!(bench.refused(&update.changed(change)), Some(146));
    }
    // The care-of address of an update without alternate is the packet's source.
    let stolen = Keyed { update: Update::home(201), ..update.clone() }.header();
    let moved = raw_mobility(STRANGER, AGENT, Some(ANYCAST), &stolen.emit());
    assert_eq!(bench.refused(&moved), Some(146));
    assert_eq!(bench.status(&update.packet()), Some(0), "the original still counts");
}

// covers: H010 H087
#[test]
fn what_is_refused_is_not_answered_to_what_is_no_unicast_address() {
    let mut bench = Bench::new();
    let mut packet = bench.update(1).changed(|update| update.sequence += 1);
    assert_eq!(bench.refused(&packet), Some(146));
    // The source is in no proof and no checksum: the home address is, and the care-of address that is registered.
    for source in ["ff0e::1", "::", "::1", "fe80::9"] {
        let source: Ipv6Addr = source.parse().expect("an address");
        packet[8..24].copy_from_slice(&source.octets());
        bench.pass(1000);
        assert!(bench.answer(&packet).is_none(), "{source}");
    }
}

#[test]
fn a_replay_is_refused_with_the_agents_seconds_and_the_updates_fraction() {
    let mut bench = Bench::new();
    let mut update = bench.update(200);
    update.update.lifetime = 100;
    assert_eq!(bench.status(&update.packet()), Some(0));
    for milliseconds in [0, 1200, 60_000] {
        bench.pass(milliseconds);
        let answer = bench.answer(&update.packet()).expect("an answer");
        assert_eq!(answer.verdict().0, 144);
        let claim = identity_of(&answer);
        assert!(first().prove_true(&claim, &answer.octets, &AR1, &ANYCAST));
        let (told, sent) = (claim.timestamp.expect("a timestamp"), update.timestamp.expect("stamped"));
        assert_eq!(told, clock().at(bench.now).with_fraction_of(sent));
    }
    // After a removal, too, when there is no sequence number to compare with any more.
    let mut removal = bench.update(201);
    removal.update.lifetime = 0;
    assert_eq!(bench.status(&removal.packet()), Some(0));
    assert_eq!(bench.refused(&update.packet()), Some(144));
    assert!(bench.bound().is_empty());
}

#[test]
fn a_timestamp_must_be_close_enough_and_greater_than_all_before() {
    for (shift, status) in [(-8.0, 144), (-6.9, 0), (6.9, 0), (7.1, 144), (3600.0, 144)] {
        let mut bench = Bench::new();
        let mut update = bench.update(200);
        update.timestamp = Some(clock().at(at(100.0 + shift)));
        assert_eq!(bench.status(&update.packet()), Some(status), "shifted by {shift} s");
    }
    let mut bench = Bench::new();
    let older = bench.update(200);
    bench.pass(20);
    let newer = bench.update(201);
    assert_eq!(bench.status(&newer.packet()), Some(0));
    assert_eq!(bench.refused(&older.packet()), Some(144), "overtaken on the way");
    bench.pass(1);
    let stampless = Keyed { timestamp: None, ..bench.update(202) };
    assert_eq!(bench.refused(&stampless.packet()), Some(145));
}

#[test]
fn what_was_recorded_before_the_agent_started_is_refused() {
    let mut bench = Bench::new();
    bench.now = at(1.0);
    let mut update = bench.update(200);
    update.timestamp = Some(Timestamp(clock().at(at(0.0)).0 - 1));
    assert_eq!(bench.refused(&update.packet()), Some(144));
    update.timestamp = Some(Timestamp(clock().at(at(0.0)).0 + 1));
    assert_eq!(bench.status(&update.packet()), Some(0));
}

/// The first member in a group, and what it says of itself.
fn offering(bench: &Bench, sequence: u16, offer: Offer) -> Keyed {
    let mut update = bench.update(sequence);
    update.update.options = advanced(AR1, sequence, offer).options;
    update
}

/// An agent of the advanced model with the group that its data path has.
fn group_bench(group: GroupConfig) -> Bench {
    let haa = guarded(agent::config(), vec![member(first()), member(second())]);
    let mut haa = haa.with_groups([(ANYCAST, group)].into(), Box::new(SeededRandom::new(9)));
    haa.actions();
    Bench { haa, now: at(100.0) }
}

/// Lets the agent have a packet; the status it answered, and the group it then handed to its data path.
fn grouped(bench: &mut Bench, packet: &Keyed) -> (Option<u8>, Option<Group>) {
    grouped_by(bench, &packet.packet())
}

fn grouped_by(bench: &mut Bench, packet: &[u8]) -> (Option<u8>, Option<Group>) {
    bench.haa.handle_packet(bench.now, packet);
    let actions = bench.haa.actions();
    let group = actions.iter().rev().find_map(|action| match action {
        Action::InstallGroup(group) => Some(group.clone()),
        _ => None,
    });
    (signal(&sent(&actions)).map(|answer| answer.verdict().0), group)
}

#[test]
fn nobody_joins_drains_or_leaves_a_group_in_a_members_name() {
    let mut bench = group_bench(GroupConfig::default());
    let update = offering(&bench, 200, Offer::default());
    let (status, group) = grouped(&mut bench, &update);
    assert_eq!((status, group.map(|group| group.members.len())), (Some(0), Some(1)));
    bench.pass(1);
    let drain = Offer { flags: OfferFlags::DRAIN, ..Offer::default() };
    let forger = Credentials { key: second().key, ..first() };
    let unkeyed = advanced(AR1, 201, drain.clone()).packet();
    let mut hostile = vec![(unkeyed, None)];
    for lifetime in [10, 0] {
        for (credentials, status) in [(forger.clone(), Some(146)), (second(), Some(129))] {
            bench.pass(1);
            // From the member's own care-of address, and from elsewhere for it.
            let mut update = Keyed { credentials, ..offering(&bench, 201, drain.clone()) };
            update.update.lifetime = lifetime;
            hostile.push((update.packet(), status));
            update.update.source = STRANGER;
            update.update.options.push(MobilityOption::AlternateCareOfAddress(AR1));
            update.timestamp = update.timestamp.map(|stamp| Timestamp(stamp.0 + 1));
            hostile.push((update.packet(), status));
        }
    }
    let changed = offering(&bench, 201, Offer::default()).changed(|update| {
        for option in &mut update.options {
            if let MobilityOption::Experimental(content) = option {
                *content = drain.clone().into();
            }
        }
    });
    hostile.push((changed, Some(146)));
    for (packet, expected) in hostile {
        assert_eq!(grouped_by(&mut bench, &packet), (expected, None), "the group stays as it is");
        assert_eq!(bench.bound(), [(ANYCAST, AR1, 200)]);
    }
    bench.pass(1);
    let update = offering(&bench, 201, drain);
    let (status, group) = grouped(&mut bench, &update);
    let takes: Vec<_> = group.iter().flat_map(|group| &group.members).map(|member| member.takes).collect();
    assert_eq!((status, takes), (Some(0), vec![Takes::Kept]), "the member itself may drain");
}

/// RFC 5648 5.3: a Binding Identifier may carry the care-of address; that one is proven and bounded too.
#[test]
fn a_care_of_address_in_a_binding_identifier_is_no_way_around_the_bounds() {
    let prefix = "2001:db8:0:4::/64".parse().expect("a prefix");
    let bounded = MemberConfig { care_of: vec![prefix], ..member(first()) };
    let groups = [(ANYCAST, GroupConfig::default())].into();
    let haa = guarded(agent::config(), vec![bounded]).with_groups(groups, Box::new(SeededRandom::new(9)));
    let mut bench = Bench { haa, now: at(100.0) };
    bench.haa.actions();
    for (at, status) in [(STRANGER, 129), (AR1, 0)] {
        bench.pass(1);
        let mut update = offering(&bench, 200, Offer::default());
        let identifier = BindingIdentifier { care_of: Some(at.into()), ..BindingIdentifier::of(1) };
        update.update.options[0] = MobilityOption::BindingIdentifier(identifier);
        // Proven for the address that it names, as it must be.
        update.care_of = Some(at);
        assert_eq!(grouped(&mut bench, &update).0, Some(status), "{at}");
        update.care_of = Some(AI1);
        update.timestamp = update.timestamp.map(|stamp| Timestamp(stamp.0 + 1));
        assert_eq!(grouped(&mut bench, &update).0, Some(146), "proven for another address than it names");
    }
    assert_eq!(bench.bound(), [(ANYCAST, AR1, 200)]);
}

#[test]
fn a_lying_member_gets_no_more_of_a_group_than_its_bounds_allow() {
    let weighted = GroupConfig { criterion: Criterion::Weighted, ..GroupConfig::default() };
    let mut bench = group_bench(weighted);
    let honest = Offer { weight: 10, metric: 1000, ..Offer::default() };
    let mut update = Keyed { credentials: second(), ..offering(&bench, 1, honest) };
    update.update.source = AR2;
    grouped(&mut bench, &update);
    let lie = Offer { weight: u16::MAX, metric: 0, ..Offer::default() };
    let update = offering(&bench, 1, lie);
    let (status, group) = grouped(&mut bench, &update);
    let group = group.expect("a group");
    let lying = group.members.iter().position(|member| member.care_of == AR1).expect("a member");
    let share = group.slots.iter().filter(|index| usize::from(**index) == lying).count();
    assert_eq!(status, Some(0));
    assert!((1800..2300).contains(&share), "its weight counts 10, like the other's: {share} of 4096");
}

#[test]
fn a_member_that_is_switched_off_leaves_its_group_alone() {
    let mut bench = group_bench(GroupConfig::default());
    let update = offering(&bench, 1, Offer::default());
    grouped(&mut bench, &update);
    let mut update = Keyed { credentials: second(), ..offering(&bench, 1, Offer::default()) };
    update.update.source = AR2;
    grouped(&mut bench, &update);
    bench
        .haa
        .change_member(bench.now, MemberChange::Disable("ar1@example.net".to_owned()))
        .expect("a member");
    let group = bench.haa.actions().into_iter().find_map(|action| match action {
        Action::InstallGroup(group) => Some(group),
        _ => None,
    });
    let left: Vec<_> = group.iter().flat_map(|group| &group.members).map(|member| member.care_of).collect();
    assert_eq!(left, [AR2]);
}

/// Thesis 5.1, Figure 12, with keys: numbers are counted beside the timestamps.
#[test]
fn thesis_5_1_comes_out_number_by_number_with_keys() {
    let mut bench = Bench::new();
    let good = bench.update(200).packet();
    assert_eq!(bench.status(&good), Some(0));
    for (sequence, verdict) in [(100, (135, 200)), (202, (0, 202))] {
        bench.pass(500);
        let mut update = Keyed { credentials: second(), ..bench.update(sequence) };
        update.update.source = AR2;
        let answer = bench.answer(&update.packet()).expect("an answer");
        let (status, number, _) = answer.verdict();
        assert_eq!((status, number), verdict);
        assert!(second().prove_true(&identity_of(&answer), &answer.octets, &AR2, &ANYCAST));
    }
    assert_eq!(bench.bound(), [(ANYCAST, AR2, 202)]);
}

#[test]
fn a_member_serves_only_the_addresses_it_may() {
    let config = MemberConfig { anycast: vec![OTHER_ANYCAST], ..member(first()) };
    let mut bench = Bench::with(vec![config]);
    let refused = bench.update(200).packet();
    assert_eq!(bench.refused(&refused), Some(129));
    bench.pass(1);
    let mut allowed = bench.update(201);
    allowed.update.home_address = Some(OTHER_ANYCAST);
    assert_eq!(bench.status(&allowed.packet()), Some(0));
}

#[test]
fn a_member_is_only_where_it_may_be() {
    let prefix = "2001:db8:0:4::/64".parse().expect("a prefix");
    let mut bench = Bench::with(vec![MemberConfig { care_of: vec![prefix], ..member(first()) }]);
    let mut elsewhere = bench.update(200);
    elsewhere.update.options = vec![MobilityOption::AlternateCareOfAddress(STRANGER)];
    assert_eq!(bench.refused(&elsewhere.packet()), Some(129));
    bench.pass(1);
    let there = bench.update(201).packet();
    assert_eq!(bench.status(&there), Some(0));
    bench.pass(1);
    let mut home = bench.update(202);
    home.update = Update { source: ANYCAST, home_address: None, lifetime: 0, ..home.update };
    assert_eq!(bench.status(&home.packet()), Some(0), "it may always go home");
    assert!(bench.bound().is_empty());
}

#[test]
fn floods_of_bad_authenticators_are_answered_at_a_bounded_rate_and_hold_nobody_up() {
    let mut bench = Bench::new();
    let forger = Credentials { key: second().key, ..first() };
    let mut answers = 0;
    for sequence in 0..1000 {
        bench.pass(1);
        let forged = Keyed { credentials: forger.clone(), ..bench.update(sequence) };
        answers += usize::from(bench.refused(&forged.packet()).is_some());
    }
    assert!((1..=41).contains(&answers), "20 at once and 20 a second: {answers}");
    assert_eq!(bench.counted("binding-update.refused.146"), 1000);
    let good = bench.update(200);
    assert_eq!(bench.status(&good.packet()), Some(0));
    let replays = (0..1000).filter(|_| bench.answer(&good.packet()).is_some()).count();
    assert!((1..=20).contains(&replays), "{replays}");
    bench.pass(1);
    let mut other = Keyed { credentials: second(), ..bench.update(300) };
    other.update.source = AR2;
    assert_eq!(bench.status(&other.packet()), Some(0), "the other member is not held up");
}

#[test]
fn members_are_added_switched_and_removed_while_the_agent_runs() {
    let mut bench = Bench::with(vec![member(first())]);
    let second_update = |bench: &Bench, sequence| {
        let mut update = Keyed { credentials: second(), ..bench.update(sequence) };
        update.update.home_address = Some(OTHER_ANYCAST);
        update.packet()
    };
    assert_eq!(bench.refused(&second_update(&bench, 1)), None);
    let early = second_update(&bench, 1);
    bench.pass(1000);
    let now = bench.now;
    bench.haa.change_member(now, MemberChange::Add(member(second()))).expect("a new member");
    assert_eq!(bench.refused(&early), Some(144), "recorded before it was a member");
    assert_eq!(bench.status(&bench.update(200).packet()), Some(0));
    bench.pass(1);
    assert_eq!(bench.status(&second_update(&bench, 2)), Some(0));
    assert_eq!(bench.bound().len(), 2);

    let name = || "ar2@example.net".to_owned();
    let again = MemberChange::Add(member(second()));
    assert_eq!(bench.haa.change_member(bench.now, again), Err(MemberError::Known(name())));
    bench.haa.change_member(bench.now, MemberChange::Disable(name())).expect("a member");
    assert_eq!(bench.bound(), [(ANYCAST, AR1, 200)], "its bindings end, nobody else's");
    bench.pass(1);
    let while_off = second_update(&bench, 3);
    assert_eq!(bench.refused(&while_off), None);
    bench.pass(1);
    bench.haa.change_member(bench.now, MemberChange::Enable(name())).expect("a member");
    assert_eq!(bench.refused(&while_off), Some(144), "recorded while it was switched off");
    bench.pass(1);
    assert_eq!(bench.status(&second_update(&bench, 4)), Some(0));

    bench.haa.change_member(bench.now, MemberChange::Remove(name())).expect("a member");
    assert_eq!(bench.bound(), [(ANYCAST, AR1, 200)]);
    bench.pass(1);
    assert_eq!(bench.refused(&second_update(&bench, 5)), None);
    for change in [MemberChange::Disable(name()), MemberChange::Enable(name()), MemberChange::Remove(name())]
    {
        assert_eq!(bench.haa.change_member(bench.now, change), Err(MemberError::Unknown(name())));
    }
    let views = bench.haa.members();
    assert_eq!(views.len(), 1);
    assert_eq!(
        (views[0].identifier.as_str(), views[0].accepted, views[0].refused),
        ("ar1@example.net", 1, 0)
    );
}

#[test]
fn a_registration_that_waits_for_the_probe_ends_with_its_member() {
    let config = HaaConfig { duplicate_address_detection: true, ..agent::config() };
    let mut bench = Bench { haa: guarded(config, vec![member(first())]), now: at(100.0) };
    bench.haa.actions();
    let update = bench.update(200).packet();
    assert_eq!(bench.status(&update), None, "the probe first");
    bench.haa.change_member(bench.now, MemberChange::Remove("ar1@example.net".to_owned())).expect("a member");
    bench.haa.actions();
    bench.pass(5000);
    assert!(bench.bound().is_empty());
}

#[test]
fn an_agent_without_keys_has_no_members_to_change() {
    let mut haa = Haa::new(agent::config());
    let change = MemberChange::Add(member(first()));
    assert_eq!(haa.change_member(at(1.0), change), Err(MemberError::NoKeys));
    assert!(haa.members().is_empty());
}

#[test]
fn what_a_member_says_of_itself_counts_within_its_bounds() {
    let mut members = Members::new(clock(), CLOSE_ENOUGH, vec![member(first())]);
    let options: Vec<_> = first().options(Some(clock().at(at(100.0)))).collect();
    let mut header = MobilityHeader::new(Message::BindingUpdate(BindingUpdate {
        options: align(12, &options),
        ..BindingUpdate::default()
    }));
    first().prove(&mut header, &AR1, &ANYCAST);
    let received = mga_node::protocol::auth::members::Received {
        options: header.message.options(),
        bytes: &header.emit(),
        home_address: ANYCAST,
        care_of: AR1,
    };
    let proof = members.judge(at(100.0), &received).expect("proven");
    for ((weight, metric), bounded) in
        [((3, 1500), (3, 1500)), ((u16::MAX, 0), (10, 100)), ((0, Offer::NO_METRIC), (0, Offer::NO_METRIC))]
    {
        let offer = members.bounded(proof.member, Offer { weight, metric, ..Offer::default() });
        assert_eq!((offer.weight, offer.metric), bounded);
    }
}

#[test]
fn keys_are_not_printed() {
    let told = format!(
        "{:?} {:?}",
        member(credentials("ar1", 256, 0xab)),
        guarded(agent::config(), vec![member(first())])
    );
    assert!(told.contains("Key(..)") && !told.contains("171"), "{told}");
}
