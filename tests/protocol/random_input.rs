//! Random and mutated packets at every role: no panic, no answer to anything but a unicast address, nothing sent that
//! our own decoder rejects, no timer that spins, no state without bound (the catalogue's M030, C054).
//! The mutations start from the packets of the other tests, so that they come past the first checks.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::forwarding::user::{Direction, Forwarder};
use mga_node::protocol::action::{Action, Observation};
use mga_node::protocol::ai::{Ai, AiConfig};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{Haa, HaaConfig};
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::icmpv6::{Icmpv6, Icmpv6Message};
use mga_node::wire::ipv6::{self, next_header};
use mga_node::wire::mobility::{BindingRefreshRequest, Message, MobilityHeader, Test, TestInit};
use mga_node::wire::routing::type2_header;
use mga_node::wire::{Ipv6Header, Packet, PacketBuffer};
use proptest::prelude::*;

use crate::agent;
use crate::members::{self, clock, first, guarded, member, second};
use crate::membership::responder;
use crate::responder::{acknowledgement, registered};
use crate::stimulus::*;

const CAPACITY: usize = 8;

/// The roles with their forwarders, where their actions go.
struct Target {
    role: Box<dyn Role>,
    own: Ipv6Addr,
    forwarder: Forwarder,
}

fn targets() -> Vec<Target> {
    let limited = |probing| HaaConfig {
        max_bindings: CAPACITY,
        duplicate_address_detection: probing,
        ..agent::config()
    };
    let ai = Ai::new(&AiConfig { max_bindings: CAPACITY }, Box::new(SeededRandom::new(1)));
    let target = |role, own| Target { role, own, forwarder: Forwarder::new() };
    vec![
        target(Box::new(Haa::new(limited(false))), AGENT),
        target(Box::new(Haa::new(limited(true))), AGENT),
        target(Box::new(guarded(limited(false), vec![member(first()), member(second())])), AGENT),
        target(Box::new(registered()), AR1),
        target(Box::new(responder(first(), clock())), AR1),
        target(Box::new(ai), AI1),
    ]
}

impl Target {
    /// Takes what the role wants done and checks it.
    fn check(&mut self) {
        for action in self.role.actions() {
            match action {
                Action::Send(bytes) => {
                    let packet = Packet::parse(&bytes).expect("a packet we send parses");
                    assert!(!packet.header.source.is_multicast());
                    let discovery = packet.header.hop_limit == 255;
                    assert!(discovery || !packet.header.destination.is_multicast(), "{bytes:02x?}");
                    assert!(!packet.header.destination.is_unspecified(), "{bytes:02x?}");
                    match packet.upper.protocol {
                        next_header::MOBILITY => assert!(Signal::of(&bytes).is_some()),
                        next_header::ICMPV6 => {
                            Icmpv6::parse(packet.payload()).expect("a message we send parses");
                        }
                        next_header::IPV6 => {
                            Packet::parse(packet.payload()).expect("a packet in our tunnel parses");
                        }
                        other => panic!("protocol {other}"),
                    }
                }
                Action::InstallRule(rule) => self.forwarder.install(rule),
                Action::RemoveRule(key) => {
                    self.forwarder.remove(&key);
                }
                _ => {}
            }
        }
        assert!(self.forwarder.rules().len() <= 3 * CAPACITY + 3, "rules are bounded");
    }

    fn feed(&mut self, now: Instant, bytes: &[u8]) {
        self.role.handle_packet(now, bytes);
        self.check();
        for direction in [Direction::Inbound, Direction::Outbound] {
            let (mut packet, mut seen) = (PacketBuffer::new(bytes), Vec::new());
            self.forwarder.forward(now, direction, &mut packet, &mut seen);
            for observation in seen {
                self.role.handle_observation(now, observation);
            }
            self.check();
        }
    }

    fn wait(&mut self, now: Instant) {
        for _ in 0..10_000 {
            let Some((due, _)) = self.role.poll_timeout().filter(|(due, _)| *due <= now) else { return };
            self.role.handle_timeout(due);
            self.check();
        }
        panic!("a timer spins");
    }
}

/// An address of the scene, or one that should not be there.
fn address() -> impl Strategy<Value = Ipv6Addr> {
    prop::sample::select(vec![
        AGENT,
        ANYCAST,
        OTHER_ANYCAST,
        HOME_AGENTS,
        AI1,
        AI2,
        AR1,
        AR2,
        STRANGER,
        LINK_LOCAL,
        GROUP,
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::LOCALHOST,
    ])
}

/// A Mobility Header of any type with any content and a right checksum, in any wrapping.
fn signalling() -> impl Strategy<Value = Vec<u8>> {
    let octets = prop::collection::vec(any::<u8>(), 0..64);
    (address(), address(), prop::option::of(address()), any::<(u8, bool, bool)>(), octets, any::<u8>())
        .prop_map(|(source, destination, home_address, (kind, plain, fits), mut octets, wrapping)| {
            octets.splice(0..0, [59, 0, kind % 10, 0, 0, 0]);
            if !plain {
                octets[0] = kind;
            }
            octets.resize(octets.len().next_multiple_of(8), 0);
            octets[1] = u8::try_from(octets.len() / 8 - 1).expect("short").wrapping_add(u8::from(!fits));
            let packet = raw_mobility(source, destination, home_address, &octets);
            match wrapping % 4 {
                0 => tunnel(AGENT, AR1, &packet),
                1 => {
                    let mut payload = type2_header(135, &ANYCAST).to_vec();
                    payload.extend_from_slice(&octets);
                    ipv6::packet(Ipv6Header::new(43, 64, source, destination), &payload)
                }
                _ => packet,
            }
        })
}

/// A packet that some role understands.
fn understood() -> impl Strategy<Value = Vec<u8>> {
    let update = (any::<(u16, u16, u8)>(), address(), address()).prop_map(
        |((sequence, lifetime, host), source, to)| {
            let home_address = Some(Ipv6Addr::from(u128::from(ANYCAST) + u128::from(host)));
            Update { source, destination: to, home_address, lifetime: lifetime % 4, ..Update::home(sequence) }
                .packet()
        },
    );
    let others =
        (any::<(u16, u8, u16)>(), address(), address()).prop_map(|((sequence, status, pick), from, to)| {
            match pick % 9 {
                0 => acknowledgement(status, sequence, pick),
                1 => mobility(from, to, None, Message::HomeTestInit(TestInit::default())),
                2 => mobility(from, to, None, Message::CareOfTestInit(TestInit::default())),
                3 => mobility(from, to, None, Message::HomeTest(Test::default())),
                4 => {
                    mobility(from, to, None, Message::BindingRefreshRequest(BindingRefreshRequest::default()))
                }
                5 => routed(from, AR1, to, &MobilityHeader::new(Message::CareOfTest(Test::default()))),
                6 => {
                    let invoking = tunnel(AGENT, AR1, &ping(from, to));
                    let mtu = u32::from(sequence);
                    icmpv6(from, to, 60, Icmpv6Message::PacketTooBig { code: 0, mtu, invoking })
                }
                7 => {
                    let (code, pointer) = (status % 4, u32::from(sequence));
                    let invoking = acknowledgement(status, sequence, pick);
                    icmpv6(from, to, 60, Icmpv6Message::ParameterProblem { code, pointer, invoking })
                }
                _ => tunnel(from, to, &ping(to, from)),
            }
        });
    // Some of these are stamped when they arrive.
    let keyed = (any::<(u16, u16)>(), 0_u64..90_000)
        .prop_map(|((sequence, lifetime), stamped)| members::keyed_update(sequence, lifetime % 4, stamped));
    prop_oneof![2 => update, 2 => others, 1 => keyed]
}

/// One of these with some octets changed and perhaps its end missing.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..4);
    (prop_oneof![signalling(), understood()], changes, any::<u8>()).prop_map(|(mut packet, changes, cut)| {
        for (at, value) in changes {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        if cut > 240 {
            packet.truncate(packet.len() * usize::from(cut - 240) / 16);
        }
        packet
    })
}

fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..200),
        3 => signalling(),
        3 => understood(),
        3 => mutated(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    // covers: X204
    #[test]
    fn m030_c054_no_input_breaks_a_role(
        packets in prop::collection::vec((any_packet(), 0_u64..3000), 1..60),
    ) {
        for mut target in targets() {
            let mut now = at(1.0);
            for (packet, wait) in &packets {
                target.feed(now, packet);
                now = now + Duration::from_millis(*wait);
                target.wait(now);
            }
            // Whatever was left behind ends by itself.
            now = now + Duration::from_secs(300_000);
            if target.own != AR1 {
                target.wait(now);
                prop_assert_eq!(target.role.poll_timeout(), None);
                prop_assert!(target.forwarder.rules().is_empty());
            }
        }
    }

    #[test]
    fn without_a_key_no_input_binds_anything_at_an_agent_whose_members_have_keys(
        packets in prop::collection::vec((prop_oneof![signalling(), understood(), mutated()], 0_u64..3000), 1..60),
    ) {
        let mut agent = guarded(agent::config(), vec![member(second())]);
        let mut now = at(1.0);
        for (packet, wait) in &packets {
            agent.handle_packet(now, packet);
            prop_assert!(agent.bindings(now).is_empty());
            now = now + Duration::from_millis(*wait);
            agent.pass(now);
        }
    }

    #[test]
    fn no_observation_breaks_a_responder(
        seen in prop::collection::vec((address(), address(), 0_u64..500), 1..100),
    ) {
        let mut ar = registered();
        let mut now = at(1.0);
        for (anycast, peer, wait) in seen {
            ar.handle_observation(now, Observation::TunnelledPeer { anycast, peer });
            now = now + Duration::from_millis(wait);
            for (_, action) in ar.pass(now) {
                if let Action::Send(packet) = action {
                    let packet = Packet::parse(&packet).expect("a packet we send parses");
                    prop_assert!(!packet.header.destination.is_multicast());
                }
            }
        }
    }
}
