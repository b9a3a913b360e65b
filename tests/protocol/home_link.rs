//! The home anycast agent among the agents, prefixes and nodes of its home link, against the catalogue's sections
//! 3.2, 3.4 and 3.7 to 3.9 (RFC 3775 7, 10.3.1, 10.4.2, 10.5, 10.6). Each test gives a fresh agent what a router or
//! a responder says and reads its answers; the lists themselves are tested beside their code.
//! The names are the catalogue's case ids.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::forwarding::user::{Direction, Fate, Forwarder};
use mga_node::protocol::action::{Action, Rule};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{Haa, HaaCommand, HaaConfig, HomeLinkConfig};
use mga_node::protocol::home_link::{ALL_NODES, solicited_node_group};
use mga_node::protocol::prefix_discovery::AdvertisementWindow;
use mga_node::wire::destination_options::home_address_header;
use mga_node::wire::icmpv6::{Icmpv6, Icmpv6Message, NeighborOption, router_flags};
use mga_node::wire::ipv6::{self, Ipv6Header, next_header};
use mga_node::wire::mobility::{Lifetime, MobilityOption, UpdateFlags};
use mga_node::wire::{Packet, PacketBuffer};

use crate::agent::config;
use crate::stimulus::*;

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x11);
const OTHER_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x11);
/// What the L flag derives from [`ANYCAST`].
const ANYCAST_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xa);
const AHL: UpdateFlags = AH.union(UpdateFlags::LINK_LOCAL);
const EVER: u32 = u32::MAX;

/// An agent and its clock.
struct Bench {
    haa: Haa,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::with(config(), HomeLinkConfig::default())
    }

    fn probing() -> Self {
        let config = HaaConfig { duplicate_address_detection: true, ..config() };
        Self::with(config, HomeLinkConfig::default())
    }

    fn with(config: HaaConfig, home_link: HomeLinkConfig) -> Self {
        let mut haa = Haa::on_home_link(config, home_link);
        haa.actions();
        Self { haa, now: at(100.0) }
    }

    fn packet(&mut self, packet: &[u8]) -> Vec<Action> {
        self.haa.handle_packet(self.now, packet);
        self.haa.actions()
    }

    fn update(&mut self, update: &Update) -> Signal {
        signal(&sent(&self.packet(&update.packet()))).expect("an acknowledgement")
    }

    fn pass(&mut self, seconds: f64) -> Vec<(Instant, Action)> {
        self.now = self.now + Duration::from_secs_f64(seconds);
        self.haa.pass(self.now)
    }

    fn bound(&self) -> Vec<Ipv6Addr> {
        self.haa.bindings(self.now).iter().map(|binding| binding.anycast).collect()
    }

    /// The addresses of a discovery reply.
    fn discover(&mut self) -> Vec<Ipv6Addr> {
        let request = Icmpv6Message::HomeAgentDiscoveryRequest { code: 0, identifier: 9, reserved: 0xffff };
        let answer = icmpv6_answer(&sent(&self.packet(&icmpv6(AR1, HOME_AGENTS, 64, request))));
        match answer.expect("a reply") {
            (
                AGENT,
                AR1,
                Icmpv6Message::HomeAgentDiscoveryReply { code: 0, identifier: 9, reserved: 0, home_agents },
            ) => home_agents,
            other => panic!("{other:?}"),
        }
    }

    /// What a bound responder is told when it asks with this identifier.
    fn solicit(&mut self, identifier: u16) -> Vec<Advertisement> {
        advertisements(&self.packet(&solicitation(AR1, Some(ANYCAST), identifier)))
    }
}

fn solicitation(source: Ipv6Addr, home_address: Option<Ipv6Addr>, identifier: u16) -> Vec<u8> {
    let message = Icmpv6Message::MobilePrefixSolicitation {
        code: 0,
        identifier,
        reserved: 0xffff,
        options: vec![NeighborOption::Unknown { kind: 200, data: vec![1, 2, 3, 4, 5, 6] }],
    };
    let body = Icmpv6::from(message).emit_for(&home_address.unwrap_or(source), &AGENT);
    with_home_address(source, AGENT, home_address, next_header::ICMPV6, &body)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Advertisement {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    home_address: Ipv6Addr,
    identifier: u16,
    flags: u16,
    options: Vec<NeighborOption>,
}

/// The Mobile Prefix Advertisements among `actions`; their checksums must be right.
fn advertisements(actions: &[Action]) -> Vec<Advertisement> {
    let read = |bytes: Vec<u8>| {
        let packet = Packet::parse(&bytes).ok()?;
        let (source, home_address) = (packet.header.source, packet.final_destination());
        if packet.upper.protocol != next_header::ICMPV6 {
            return None;
        }
        let Icmpv6Message::MobilePrefixAdvertisement { code: 0, identifier, flags, options } =
            Icmpv6::parse(packet.payload()).ok()?.message
        else {
            return None;
        };
        assert_eq!(ipv6::checksum(&source, &home_address, next_header::ICMPV6, packet.payload()), 0);
        let destination = packet.header.destination;
        Some(Advertisement { source, destination, home_address, identifier, flags, options })
    };
    sent(actions).into_iter().filter_map(read).collect()
}

fn prefix(field: Ipv6Addr, flags: u8, valid_lifetime: u32, preferred_lifetime: u32) -> NeighborOption {
    NeighborOption::PrefixInformation {
        prefix_length: 64,
        flags,
        valid_lifetime,
        preferred_lifetime,
        reserved: 0,
        prefix: field,
    }
}

/// A Router Advertisement on the home link.
fn advertised(flags: u8, options: Vec<NeighborOption>) -> Vec<u8> {
    let message = Icmpv6Message::RouterAdvertisement {
        code: 0,
        hop_limit: 64,
        flags,
        lifetime: 1800,
        reachable_time: 0,
        retransmission_timer: 0,
        options,
    };
    icmpv6(ROUTER, ALL_NODES, 255, message)
}

/// One by another home agent of this preference.
fn home_agent(preference: i16, lifetime: u16) -> Vec<u8> {
    let information = NeighborOption::HomeAgentInformation { reserved: 0, preference, lifetime };
    advertised(router_flags::HOME_AGENT, vec![prefix(OTHER_AGENT, 0xe0, EVER, EVER), information])
}

/// One that gives the home prefix these lifetimes, in seconds.
fn home_prefix(valid: u32, preferred: u32) -> Vec<u8> {
    advertised(0, vec![prefix(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0), 0xc0, valid, preferred)])
}

fn neighbor_advertisement(target: Ipv6Addr) -> Vec<u8> {
    let message = Icmpv6Message::NeighborAdvertisement {
        code: 0,
        flags: 0x2000_0000,
        target,
        options: vec![NeighborOption::TargetLinkLayerAddress(vec![2, 0, 0, 0, 0, 9])],
    };
    icmpv6(target, ALL_NODES, 255, message)
}

/// The targets of the duplicate address probes among `actions`.
fn probed(actions: &[Action]) -> Vec<Ipv6Addr> {
    let target = |bytes: Vec<u8>| {
        let packet = Packet::parse(&bytes).ok()?;
        match Icmpv6::parse(packet.payload()).ok()?.message {
            Icmpv6Message::NeighborSolicitation { target, .. } => {
                assert_eq!(packet.header.source, Ipv6Addr::UNSPECIFIED);
                assert_eq!(packet.header.destination, solicited_node_group(&target));
                Some(target)
            }
            _ => None,
        }
    };
    sent(actions).into_iter().filter_map(target).collect()
}

/// The targets of the unsolicited Neighbor Advertisements among `actions`.
fn announced(actions: &[Action]) -> Vec<Ipv6Addr> {
    let target = |bytes: Vec<u8>| {
        let packet = Packet::parse(&bytes).ok()?;
        match Icmpv6::parse(packet.payload()).ok()?.message {
            Icmpv6Message::NeighborAdvertisement { target, flags: 0x2000_0000, .. } => {
                assert_eq!((packet.header.destination, packet.header.hop_limit), (ALL_NODES, 255));
                Some(target)
            }
            _ => None,
        }
    };
    sent(actions).into_iter().filter_map(target).collect()
}

fn done(passed: &[(Instant, Action)]) -> Vec<Action> {
    passed.iter().map(|(_, action)| action.clone()).collect()
}

#[test]
fn h030_h093_with_l_the_link_local_address_is_drawn_to_the_agent_too_and_let_go_with_the_binding() {
    let mut bench = Bench::new();
    let actions = bench.packet(&Update { flags: AHL, ..Update::home(5) }.packet());
    assert_eq!(announced(&actions), [ANYCAST, ANYCAST_LINK_LOCAL]);
    assert!(actions.contains(&Action::CaptureAddress(ANYCAST_LINK_LOCAL)));
    let refreshed = bench.packet(&Update { flags: AHL, ..Update::home(6) }.packet());
    assert!(announced(&refreshed).is_empty());
    let without = bench.packet(&Update::home(7).packet());
    assert!(without.contains(&Action::ReleaseAddress(ANYCAST_LINK_LOCAL)));
    assert!(!without.contains(&Action::ReleaseAddress(ANYCAST)));
    bench.packet(&Update { flags: AHL, ..Update::home(8) }.packet());
    bench.haa.handle_command(bench.now, &HaaCommand::Shutdown);
    let ended = bench.haa.actions();
    assert!(ended.contains(&Action::ReleaseAddress(ANYCAST_LINK_LOCAL)));
}

#[test]
fn h030_two_prefixes_with_one_identifier_have_one_link_local_address_between_them() {
    let second: Ipv6Addr = "2001:db8:0:7::a".parse().expect("an address");
    let home_prefixes =
        ["2001:db8:0:1::/64", "2001:db8:0:7::/64"].map(|text| text.parse().expect("a prefix"));
    let config = HaaConfig { home_prefixes: home_prefixes.to_vec(), ..config() };
    let mut bench = Bench::with(config, HomeLinkConfig::default());
    bench.packet(&Update { flags: AHL, ..Update::home(5) }.packet());
    let other = Update { flags: AHL, home_address: Some(second), ..Update::home(5) };
    assert_eq!(announced(&bench.packet(&other.packet())), [second]);
    let leave = |update: Update| Update { lifetime: 0, sequence: 6, ..update }.packet();
    assert!(!bench.packet(&leave(other)).contains(&Action::ReleaseAddress(ANYCAST_LINK_LOCAL)));
    let last = bench.packet(&leave(Update::home(6)));
    assert!(last.contains(&Action::ReleaseAddress(ANYCAST_LINK_LOCAL)));
}

#[test]
fn h030_without_l_no_link_local_address_is_touched() {
    let actions = Bench::probing().packet(&Update::home(5).packet());
    assert_eq!(probed(&actions), [ANYCAST]);
    assert_eq!(announced(&Bench::new().packet(&Update::home(5).packet())), [ANYCAST]);
}

#[test]
fn h067_with_l_both_addresses_are_probed_before_the_acknowledgement() {
    let mut bench = Bench::probing();
    let actions = bench.packet(&Update { flags: AHL, ..Update::home(5) }.packet());
    assert_eq!(probed(&actions), [ANYCAST, ANYCAST_LINK_LOCAL]);
    assert!(signal(&sent(&actions)).is_none());
    let after = done(&bench.pass(1.1));
    assert_eq!(announced(&after), [ANYCAST, ANYCAST_LINK_LOCAL]);
    assert_eq!(bench.bound(), [ANYCAST]);
}

#[test]
fn h069_somebody_with_the_link_local_address_means_134() {
    let mut bench = Bench::probing();
    bench.packet(&Update { flags: AHL, ..Update::home(5) }.packet());
    let answer = signal(&sent(&bench.packet(&neighbor_advertisement(ANYCAST_LINK_LOCAL))));
    assert_eq!(answer.expect("an acknowledgement").verdict(), (134, 5, 10));
    assert!(done(&bench.pass(5.0)).iter().all(|action| matches!(action, Action::Report(_))));
    assert!(bench.bound().is_empty());
    let mut bench = Bench::probing();
    bench.packet(&Update::home(5).packet());
    bench.packet(&neighbor_advertisement(ANYCAST_LINK_LOCAL));
    bench.pass(2.0);
    assert_eq!(bench.bound(), [ANYCAST], "without L the address is somebody else's to have");
}

#[test]
fn h069_the_agents_own_link_local_address_is_not_given_away() {
    let config = HaaConfig { link_local: Some(ANYCAST_LINK_LOCAL), ..config() };
    let mut bench = Bench::with(config, HomeLinkConfig::default());
    assert_eq!(bench.update(&Update { flags: AHL, ..Update::home(5) }).verdict().0, 134);
    assert_eq!(bench.update(&Update::home(6)).verdict().0, 0);
}

#[test]
fn h099_h100_packets_to_the_link_local_address_are_not_tunnelled_but_answered_with_code_3() {
    let mut bench = Bench::new();
    bench.update(&Update { flags: AHL, ..Update::home(5) });
    let invoking = ping(LINK_LOCAL, ANYCAST_LINK_LOCAL);
    let answer = icmpv6_answer(&sent(&bench.packet(&invoking)));
    let expected = Icmpv6Message::DestinationUnreachable { code: 3, unused: 0, invoking };
    assert_eq!(answer, Some((AGENT, LINK_LOCAL, expected)));
    assert!(sent(&bench.packet(&ping(GROUP, ANYCAST_LINK_LOCAL))).is_empty());
    let solicitation = Icmpv6Message::NeighborSolicitation {
        code: 0,
        reserved: 0,
        target: ANYCAST_LINK_LOCAL,
        options: Vec::new(),
    };
    assert!(sent(&bench.packet(&icmpv6(LINK_LOCAL, ANYCAST_LINK_LOCAL, 255, solicitation))).is_empty());
}

#[test]
fn h038_h040_a_grant_is_clipped_to_the_prefix_and_says_when_prefix_discovery_is_needed() {
    let mut bench = Bench::new();
    bench.packet(&home_prefix(30, 30));
    assert_eq!(bench.update(&Update::home(5)).verdict(), (1, 5, 7));
    bench.packet(&home_prefix(3000, 20));
    assert_eq!(bench.update(&Update::home(6)).verdict(), (1, 6, 10));
    bench.packet(&home_prefix(3000, 3000));
    assert_eq!(bench.update(&Update::home(7)).verdict(), (0, 7, 10));
}

#[test]
fn h038_the_clip_counts_from_the_end_of_the_probe() {
    let mut bench = Bench::probing();
    bench.packet(&home_prefix(30, 30));
    bench.packet(&Update::home(5).packet());
    let acknowledged = signal(&sent(&done(&bench.pass(3.0)))).expect("an acknowledgement");
    assert_eq!(acknowledged.verdict(), (1, 5, 7));
    bench.pass(26.0);
    assert!(bench.bound().is_empty());
    bench.packet(&home_prefix(4, 4));
    bench.packet(&Update::home(5).packet());
    let refused = signal(&sent(&done(&bench.pass(1.0)))).expect("an acknowledgement");
    assert_eq!(refused.verdict().0, 132, "less than a unit is left");
}

#[test]
fn h039_a_binding_ends_with_its_prefix() {
    let mut bench = Bench::new();
    bench.update(&Update { lifetime: 1000, ..Update::home(5) });
    bench.packet(&home_prefix(60, 60));
    assert_eq!(bench.bound(), [ANYCAST], "granted before the prefix was to end");
    let ended = done(&bench.pass(60.0));
    assert!(ended.contains(&Action::ReleaseAddress(ANYCAST)));
    assert!(bench.bound().is_empty());
    assert_eq!(bench.update(&Update::home(6)).verdict().0, 132);
}

#[test]
fn h024_h039_a_prefix_withdrawn_at_once_takes_its_bindings_along() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    assert!(bench.packet(&home_prefix(0, 0)).contains(&Action::ReleaseAddress(ANYCAST)));
    assert!(bench.bound().is_empty());
    assert_eq!(bench.update(&Update::home(6)).verdict().0, 132);
    bench.packet(&home_prefix(600, 600));
    assert_eq!(bench.update(&Update::home(7)).verdict().0, 0);
}

#[test]
fn h044_h083_refresh_advice_is_given_where_it_is_shorter_than_the_lifetime() {
    let home_link = HomeLinkConfig { refresh_advice: Some(Lifetime(4)), ..HomeLinkConfig::default() };
    let mut bench = Bench::with(config(), home_link);
    let advice = |signal: &Signal| -> Vec<u16> {
        let options = signal.acknowledgement().options.iter();
        let units = options.filter_map(|option| match option {
            MobilityOption::BindingRefreshAdvice(interval) => Some(interval.0),
            _ => None,
        });
        units.collect()
    };
    assert_eq!(advice(&bench.update(&Update::home(5))), [4]);
    assert!(advice(&bench.update(&Update { lifetime: 4, ..Update::home(6) })).is_empty());
    assert!(advice(&bench.update(&Update::home(6))).is_empty(), "an error advises nothing");
    assert!(advice(&bench.update(&Update { lifetime: 0, ..Update::home(7) })).is_empty());
}

#[test]
fn h031_without_keys_there_is_no_key_management_to_move() {
    let flags = AH.union(UpdateFlags::KEY_MANAGEMENT);
    let answer = Bench::new().update(&Update { flags, ..Update::home(5) });
    assert_eq!((answer.verdict().0, answer.acknowledgement().flags.bits()), (0, 0));
}

#[test]
fn h119_h120_h121_h128_discovery_names_the_agents_of_the_home_link_by_preference() {
    let home_link = HomeLinkConfig { preference: 10, ..HomeLinkConfig::default() };
    let mut bench = Bench::with(config(), home_link);
    assert_eq!(bench.discover(), [AGENT]);
    bench.packet(&home_agent(20, 60));
    assert_eq!(bench.discover(), [OTHER_AGENT, AGENT]);
    bench.packet(&home_agent(-20, 60));
    assert_eq!(bench.discover(), [AGENT, OTHER_AGENT]);
    bench.packet(&home_agent(20, 0));
    assert_eq!(bench.discover(), [AGENT]);
}

#[test]
fn h129_an_agent_that_falls_silent_leaves_the_replies() {
    let mut bench = Bench::new();
    bench.packet(&home_agent(20, 60));
    bench.pass(59.0);
    assert_eq!(bench.discover(), [OTHER_AGENT, AGENT]);
    bench.pass(1.0);
    assert_eq!(bench.discover(), [AGENT]);
}

#[test]
fn h115_h116_only_valid_router_advertisements_with_the_h_bit_make_a_home_agent() {
    let mut bench = Bench::new();
    let information = NeighborOption::HomeAgentInformation { reserved: 0, preference: 20, lifetime: 60 };
    let options = vec![prefix(OTHER_AGENT, 0xe0, EVER, EVER), information];
    bench.packet(&advertised(0, options.clone()));
    assert_eq!(bench.discover(), [AGENT]);
    let solicitation = Icmpv6Message::RouterSolicitation { code: 0, reserved: 0, options };
    bench.packet(&icmpv6(ROUTER, ALL_NODES, 255, solicitation));
    assert_eq!(bench.discover(), [AGENT]);
    let mut forwarded = home_agent(20, 60);
    forwarded[7] = 254;
    bench.packet(&forwarded);
    let mut spoilt = home_agent(20, 60);
    *spoilt.last_mut().expect("octets") ^= 1;
    bench.packet(&spoilt);
    assert_eq!(bench.discover(), [AGENT]);
}

#[test]
fn h139_h140_h143_h144_h145_a_bound_responder_is_told_the_prefixes() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    bench.packet(&home_prefix(600, 300));
    bench.pass(10.0);
    let told = bench.solicit(77);
    let expected = Advertisement {
        source: AGENT,
        destination: AR1,
        home_address: ANYCAST,
        identifier: 77,
        flags: 0,
        options: vec![prefix(AGENT, 0xe0, 590, 290)],
    };
    assert_eq!(told, [expected]);
}

#[test]
fn h141_nobody_else_is_told_anything() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    assert!(sent(&bench.packet(&solicitation(AR1, None, 1))).is_empty());
    assert!(advertisements(&bench.packet(&solicitation(AR2, Some(ANYCAST), 1))).is_empty());
    assert!(advertisements(&bench.packet(&solicitation(AR1, Some(OTHER_ANYCAST), 1))).is_empty());
    let mut spoilt = solicitation(AR1, Some(ANYCAST), 1);
    *spoilt.last_mut().expect("octets") ^= 1;
    assert!(sent(&bench.packet(&spoilt)).is_empty());
    assert_eq!(bench.solicit(2).len(), 1);
}

#[test]
fn h142_one_advertisement_in_a_second() {
    let mut bench = Bench::new();
    bench.update(&Update::home(5));
    assert_eq!(bench.solicit(1).len(), 1);
    assert!(bench.solicit(2).is_empty());
    bench.pass(0.5);
    assert!(bench.solicit(3).is_empty());
    let late = advertisements(&done(&bench.pass(1.0)));
    assert_eq!(late.iter().map(|told| told.identifier).collect::<Vec<_>>(), [3]);
}

#[test]
fn h146_h147_h148_a_change_is_told_within_the_window_and_again_until_it_is_acknowledged_or_the_binding_ends()
{
    let window = AdvertisementWindow { least: Duration::from_secs(5), most: Duration::from_secs(9) };
    let home_link = HomeLinkConfig { prefix_advertisements: Some(window), ..HomeLinkConfig::default() };
    let long = Update { lifetime: 10_000, ..Update::home(5) };
    let times = |passed: Vec<(Instant, Action)>| -> Vec<Instant> {
        let told = |(_, action): &(Instant, Action)| !advertisements(std::slice::from_ref(action)).is_empty();
        passed.into_iter().filter(told).map(|(when, _)| when).collect()
    };
    let fresh = || {
        let mut bench = Bench::with(config(), home_link);
        bench.update(&long);
        bench.solicit(1);
        bench.packet(&home_prefix(40_000, 30_000));
        bench
    };
    let mut bench = fresh();
    let start = bench.now;
    let told = times(bench.pass(40.0));
    let first = told.first().expect("the change is told").saturating_since(start);
    assert!((window.least..window.most).contains(&first), "{first:?}");
    let gaps: Vec<_> = told.windows(2).map(|pair| pair[1].saturating_since(pair[0]).as_secs()).collect();
    assert_eq!(gaps[..3], [3, 6, 12]);

    let mut acknowledged = fresh();
    let told = times(acknowledged.pass(10.0));
    assert!((1..=2).contains(&told.len()), "{told:?}");
    acknowledged.solicit(2);
    assert!(times(acknowledged.pass(3.9)).len() <= 1, "the answer alone");

    let mut ended = fresh();
    ended.pass(10.0);
    ended.update(&Update { lifetime: 0, ..Update::home(6) });
    assert!(times(ended.pass(1000.0)).is_empty());
}

#[test]
fn h149_told_not_to_the_agent_tells_no_prefixes() {
    let home_link = HomeLinkConfig { prefix_advertisements: None, ..HomeLinkConfig::default() };
    let mut bench = Bench::with(config(), home_link);
    bench.update(&Update { lifetime: u16::MAX, ..Update::home(5) });
    assert!(bench.solicit(1).is_empty());
    bench.packet(&home_prefix(400_000, 300_000));
    assert!(advertisements(&done(&bench.pass(200_000.0))).is_empty());
}

fn forward(direction: Direction, packet: &[u8]) -> (Fate, Vec<u8>) {
    let mut forwarder = Forwarder::new();
    forwarder.install(Rule::TunnelToResponder { anycast: ANYCAST, agent: AGENT, care_of: AR1 });
    forwarder.install(Rule::HomeAddressIn { anycast: ANYCAST, own: AGENT, care_of: AR1 });
    let mut buffer = PacketBuffer::new(packet);
    let fate = forwarder.forward(at(1.0), direction, &mut buffer, &mut Vec::new());
    (fate, buffer.as_slice().to_vec())
}

#[test]
fn h108_what_the_agent_itself_says_to_a_responder_goes_by_routing_header() {
    let reply = ping(AGENT, ANYCAST);
    let (fate, bytes) = forward(Direction::Outbound, &reply);
    let packet = Packet::parse(&bytes).expect("a packet");
    assert_eq!((fate, packet.header.source, packet.header.destination), (Fate::Send, AGENT, AR1));
    assert_eq!(packet.final_destination(), ANYCAST);
    assert_eq!(packet.payload(), &reply[40..]);
    let (_, tunnelled) = forward(Direction::Outbound, &ping(AI1, ANYCAST));
    assert_eq!(tunnelled, tunnel(AGENT, AR1, &ping(AI1, ANYCAST)));
}

#[test]
fn h108_h139_a_responders_direct_packets_reach_the_stack_and_its_prefix_solicitations_the_agent() {
    let asked = ping(ANYCAST, AGENT);
    let mut direct = home_address_header(next_header::ICMPV6, &ANYCAST).to_vec();
    direct.extend(&asked[40..]);
    let direct = ipv6::packet(Ipv6Header::new(next_header::DESTINATION_OPTIONS, 64, AR1, AGENT), &direct);
    assert_eq!(forward(Direction::Inbound, &direct), (Fate::Deliver, asked));
    let solicitation = solicitation(AR1, Some(ANYCAST), 1);
    assert_eq!(forward(Direction::Inbound, &solicitation), (Fate::Role, solicitation));
}
