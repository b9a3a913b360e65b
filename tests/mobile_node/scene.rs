//! A responder or initiator under test with what it does and what its partners say, at the addresses of the thesis's
//! Figure 11. Every packet that is emitted is taken apart and its checksum verified (RFC 3775 6.1.1).
//! Used by every file of this test.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::action::{Action, Observation};
use mga_node::protocol::ar::{AnycastConfig, Ar, ArConfig, ArPolicy, ReverseTunnelEnd, ServiceConfig};
use mga_node::protocol::auth::seal::{SealKey, seal};
use mga_node::protocol::auth::tokens::binding_management_key;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::random::SeededRandom;
pub use mga_node::protocol::role::Role;
use mga_node::wire::icmpv6::{Icmpv6, Icmpv6Message};
use mga_node::wire::ipv6::{self, Ipv6Header, next_header};
use mga_node::wire::mobility::{
    AcknowledgementFlags, BindingAcknowledgement, BindingUpdate, Experimental, Extensions, Grant, Lifetime,
    Message, MobilityHeader, MobilityOption, Offer, Status, Test, align, checksum_is_valid,
};
use mga_node::wire::routing::type2_header;
use mga_node::wire::tunnel::decapsulate;
use mga_node::wire::{Packet, PacketBuffer};

const fn figure11(link: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, link, 0, 0, 0, host)
}

pub const AGENT: Ipv6Addr = figure11(1, 2);
pub const SECOND_AGENT: Ipv6Addr = figure11(1, 3);
pub const ANYCAST: Ipv6Addr = figure11(1, 0xa);
pub const AI1: Ipv6Addr = figure11(2, 2);
pub const AI2: Ipv6Addr = figure11(3, 2);
pub const AR1: Ipv6Addr = figure11(4, 2);
pub const AR2: Ipv6Addr = figure11(5, 2);
pub const HOME_TOKEN: [u8; 8] = [1; 8];
pub const CARE_OF_TOKEN: [u8; 8] = [2; 8];
pub const LINK_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 9];

pub fn at(seconds: f64) -> Instant {
    Instant::from_start(Duration::from_secs_f64(seconds))
}

/// A packet that left, taken apart; `tunnel` are the outer addresses of a reverse tunnel.
#[derive(Clone, Debug)]
pub struct Sent {
    pub tunnel: Option<(Ipv6Addr, Ipv6Addr)>,
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub home_address: Option<Ipv6Addr>,
    pub hop_limit: u8,
    pub upper: Upper,
}

#[derive(Clone, Debug)]
pub enum Upper {
    Mobility(MobilityHeader),
    Icmpv6(Icmpv6Message),
    Other,
}

impl Sent {
    pub fn of(bytes: &[u8]) -> Self {
        let mut buffer = PacketBuffer::new(bytes);
        let tunnel = decapsulate(&mut buffer).ok().map(|outer| (outer.source, outer.destination));
        let packet = Packet::parse(buffer.as_slice()).expect("an emitted packet parses");
        let (from, to, payload) = (packet.final_source(), packet.final_destination(), packet.payload());
        let upper = match packet.upper.protocol {
            next_header::MOBILITY => {
                assert!(checksum_is_valid(payload, &from, &to), "M015, M020");
                Upper::Mobility(MobilityHeader::parse(payload).expect("a good message"))
            }
            next_header::ICMPV6 => {
                assert_eq!(ipv6::checksum(&from, &to, next_header::ICMPV6, payload), 0);
                Upper::Icmpv6(Icmpv6::parse(payload).expect("a good message").message)
            }
            _ => Upper::Other,
        };
        Self {
            tunnel,
            source: packet.header.source,
            destination: packet.header.destination,
            home_address: packet.home_address.as_ref().map(|option| option.address),
            hop_limit: packet.header.hop_limit,
            upper,
        }
    }

    pub fn update(&self) -> Option<&BindingUpdate> {
        match &self.upper {
            Upper::Mobility(MobilityHeader { message: Message::BindingUpdate(update), .. }) => Some(update),
            _ => None,
        }
    }

    /// What a Binding Update offers to an agent of the advanced model.
    pub fn offer(&self) -> Option<&Offer> {
        self.update()?.options.iter().find_map(|option| match option {
            MobilityOption::Experimental(Experimental::Offer(offer)) => Some(offer),
            _ => None,
        })
    }

    pub fn acknowledgement(&self) -> Option<&BindingAcknowledgement> {
        match &self.upper {
            Upper::Mobility(MobilityHeader { message: Message::BindingAcknowledgement(a), .. }) => Some(a),
            _ => None,
        }
    }

    pub fn icmpv6(&self) -> Option<&Icmpv6Message> {
        match &self.upper {
            Upper::Icmpv6(message) => Some(message),
            _ => None,
        }
    }

    /// The cookie of a Home Test Init.
    pub fn home_cookie(&self) -> Option<[u8; 8]> {
        match &self.upper {
            Upper::Mobility(MobilityHeader { message: Message::HomeTestInit(init), .. }) => Some(init.cookie),
            _ => None,
        }
    }

    /// The cookie of a Care-of Test Init.
    pub fn care_of_cookie(&self) -> Option<[u8; 8]> {
        match &self.upper {
            Upper::Mobility(MobilityHeader { message: Message::CareOfTestInit(init), .. }) => {
                Some(init.cookie)
            }
            _ => None,
        }
    }
}

pub fn config() -> ArConfig {
    ArConfig {
        care_of: AR1,
        anycast: vec![AnycastConfig {
            anycast: ANYCAST,
            agent: Some(AGENT),
            home_prefix_length: 64,
            lifetime: Lifetime(1000),
            initial_sequence: Some(500),
        }],
        route_optimisation: true,
        reverse_tunnel_end: ReverseTunnelEnd::Agent,
    }
}

/// The packets among everything that is to be done now.
pub fn sent(ar: &mut Ar) -> Vec<Sent> {
    packets(&actions(ar))
}

pub fn actions(ar: &mut Ar) -> Vec<Action> {
    std::iter::from_fn(|| ar.poll_action()).collect()
}

pub fn packets(actions: &[Action]) -> Vec<Sent> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send(packet) => Some(Sent::of(packet)),
        _ => None,
    });
    sent.collect()
}

/// The words of the reports among `actions`.
pub fn events(actions: &[Action]) -> Vec<&'static str> {
    let events = actions.iter().filter_map(|action| match action {
        Action::Report(report) => Some(report.event),
        _ => None,
    });
    events.collect()
}

/// Lets time pass up to `now`, timer by timer; the packets sent with their times in seconds.
pub fn pass(ar: &mut Ar, now: f64) -> Vec<(f64, Sent)> {
    let mut done = Vec::new();
    for _ in 0..10_000 {
        let Some((due, _)) = ar.poll_timeout().filter(|(due, _)| *due <= at(now)) else { return done };
        ar.handle_timeout(due);
        done.extend(sent(ar).into_iter().map(|packet| (due.since_start().as_secs_f64(), packet)));
    }
    panic!("a timer spins: {:?}", ar.poll_timeout());
}

/// A responder that has just asked [`AGENT`] with number 500.
pub fn started(config: ArConfig, policy: ArPolicy) -> Ar {
    Ar::new(config, at(0.0), Box::new(SeededRandom::new(7))).with_policy(policy)
}

/// A responder of the advanced model that has just asked [`AGENT`] with number 500.
pub fn asking(service: ServiceConfig) -> Ar {
    let services = BTreeMap::from([(ANYCAST, ServiceConfig { advanced: true, ..service })]);
    Ar::serving(config(), services, at(0.0), Box::new(SeededRandom::new(7)))
}

/// One of several responders, registered with [`AGENT`] for 4000 s with number 500, at 0 s.
pub fn member(service: ServiceConfig) -> Ar {
    let mut ar = asking(service);
    ar.handle_packet(at(0.0), &granted(AGENT, 0, 500, 1000, &[]));
    actions(&mut ar);
    ar
}

/// A responder registered for 4000 s with number 500, at 0 s.
pub fn registered(policy: ArPolicy) -> Ar {
    let mut ar = started(config(), policy);
    ar.handle_packet(at(0.0), &acknowledged(AGENT, AR1, 0, 500, 1000));
    actions(&mut ar);
    ar
}

fn answer(status: u8, sequence: u16, lifetime: u16, options: &[MobilityOption]) -> MobilityHeader {
    MobilityHeader::new(Message::BindingAcknowledgement(BindingAcknowledgement {
        status: Status(status),
        flags: AcknowledgementFlags::empty(),
        sequence,
        lifetime: Lifetime(lifetime),
        options: align(12, options),
    }))
}

/// `upper` with a type 2 routing header for [`ANYCAST`].
pub fn routed(source: Ipv6Addr, care_of: Ipv6Addr, protocol: u8, upper: &[u8]) -> Vec<u8> {
    let mut payload = type2_header(protocol, &ANYCAST).to_vec();
    payload.extend_from_slice(upper);
    ipv6::packet(Ipv6Header::new(next_header::ROUTING, 64, source, care_of), &payload)
}

/// A Binding Acknowledgement to a node away from home.
pub fn acknowledged(
    source: Ipv6Addr,
    care_of: Ipv6Addr,
    status: u8,
    sequence: u16,
    lifetime: u16,
) -> Vec<u8> {
    let header = answer(status, sequence, lifetime, &[]).emit_for(&source, &ANYCAST);
    routed(source, care_of, next_header::MOBILITY, &header)
}

/// A Binding Acknowledgement with these options.
pub fn acknowledged_with(status: u8, sequence: u16, lifetime: u16, options: &[MobilityOption]) -> Vec<u8> {
    let header = answer(status, sequence, lifetime, options).emit_for(&AGENT, &ANYCAST);
    routed(AGENT, AR1, next_header::MOBILITY, &header)
}

/// All that docs/advanced-wire.md names.
pub fn every_extension() -> Extensions {
    Extensions::from_bits_retain(0xf800)
}

/// A Binding Acknowledgement of an agent that grants every extension and names these midway agents.
pub fn granted(
    source: Ipv6Addr,
    status: u8,
    sequence: u16,
    lifetime: u16,
    midway_agents: &[Ipv6Addr],
) -> Vec<u8> {
    granted_at(AR1, source, status, sequence, lifetime, midway_agents)
}

/// The same to this care-of address.
pub fn granted_at(
    care_of: Ipv6Addr,
    source: Ipv6Addr,
    status: u8,
    sequence: u16,
    lifetime: u16,
    midway_agents: &[Ipv6Addr],
) -> Vec<u8> {
    let grant = Grant { extensions: every_extension(), agents: midway_agents.to_vec(), ..Grant::default() };
    let options = [MobilityOption::Experimental(grant.into())];
    let header = answer(status, sequence, lifetime, &options).emit_for(&source, &ANYCAST);
    routed(source, care_of, next_header::MOBILITY, &header)
}

/// A Binding Acknowledgement to a node at home: straight to the anycast address.
pub fn acknowledged_at_home(status: u8, sequence: u16) -> Vec<u8> {
    mobility(AGENT, ANYCAST, answer(status, sequence, 0, &[]).message)
}

/// A Binding Acknowledgement of [`AI2`], sealed with the key of both tokens.
pub fn sealed_acknowledgement(care_of: Ipv6Addr, status: u8, sequence: u16, lifetime: u16) -> Vec<u8> {
    let option = MobilityOption::BindingAuthorizationData(vec![0; 12]);
    let mut header = answer(status, sequence, lifetime, &[option]);
    let key = binding_management_key(&HOME_TOKEN, Some(&CARE_OF_TOKEN));
    seal(&mut header, SealKey { binding_management_key: &key, care_of, correspondent: AI2 });
    routed(AI2, care_of, next_header::MOBILITY, &header.emit_for(&AI2, &ANYCAST))
}

pub fn mobility(source: Ipv6Addr, destination: Ipv6Addr, message: Message) -> Vec<u8> {
    let header = MobilityHeader::new(message).emit_for(&source, &destination);
    ipv6::packet(Ipv6Header::new(next_header::MOBILITY, 64, source, destination), &header)
}

pub fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, message: Icmpv6Message) -> Vec<u8> {
    let body = Icmpv6::from(message).emit_for(&source, &destination);
    ipv6::packet(Ipv6Header::new(next_header::ICMPV6, hop_limit, source, destination), &body)
}

pub fn ping(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let message = Icmpv6Message::EchoRequest { code: 0, identifier: 7, sequence: 1, data: b"hello".to_vec() };
    icmpv6(source, destination, 64, message)
}

/// [`AI2`] exchanged a packet with the anycast address through the tunnel.
pub fn tunnelled(ar: &mut Ar, now: f64) -> Vec<Sent> {
    ar.handle_observation(at(now), Observation::TunnelledPeer { anycast: ANYCAST, peer: AI2 });
    sent(ar)
}

/// [`AI2`] answers the Home Test Init with this cookie.
pub fn home_test(ar: &mut Ar, now: f64, cookie: [u8; 8]) -> Vec<Action> {
    let test = Test { nonce_index: 3, cookie, token: HOME_TOKEN, options: Vec::new() };
    ar.handle_packet(at(now), &mobility(AI2, ANYCAST, Message::HomeTest(test)));
    actions(ar)
}

/// [`AI2`] answers the Care-of Test Init with this cookie.
pub fn care_of_test(ar: &mut Ar, now: f64, care_of: Ipv6Addr, cookie: [u8; 8]) -> Vec<Action> {
    let test = Test { nonce_index: 4, cookie, token: CARE_OF_TOKEN, options: Vec::new() };
    ar.handle_packet(at(now), &mobility(AI2, care_of, Message::CareOfTest(test)));
    actions(ar)
}

/// Return routability with [`AI2`] at [`AR1`]; what the second test brought about.
pub fn optimise(ar: &mut Ar, now: f64) -> Vec<Action> {
    let inits = tunnelled(ar, now);
    let home = inits.iter().find_map(Sent::home_cookie).expect("a Home Test Init");
    let care_of = inits.iter().find_map(Sent::care_of_cookie).expect("a Care-of Test Init");
    assert!(packets(&home_test(ar, now, home)).is_empty(), "one test is not enough");
    care_of_test(ar, now, AR1, care_of)
}
