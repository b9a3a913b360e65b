//! Packets to put into a role and values to read out of its answers, with the addresses of the thesis's Figure 11.
//! Every answer is taken apart by the wire room and its checksum verified (RFC 3775 6.1.1).
//! Used by every file of this test.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::action::Action;
use mga_node::protocol::auth::seal::{SealKey, is_sealed_by, seal};
use mga_node::protocol::clock::Instant;
pub use mga_node::protocol::role::Role;
use mga_node::wire::Packet;
use mga_node::wire::destination_options::home_address_header;
use mga_node::wire::icmpv6::{Icmpv6, Icmpv6Message};
use mga_node::wire::ipv6::{self, Ipv6Header, next_header};
use mga_node::wire::mobility::{
    BindingAcknowledgement, BindingError, BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption,
    Test, TestInit, UpdateFlags, align, checksum_is_valid,
};
use mga_node::wire::routing::type2_header;

const fn figure11(link: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, link, 0, 0, 0, host)
}

/// HAA.
pub const AGENT: Ipv6Addr = figure11(1, 2);
/// A_Any.
pub const ANYCAST: Ipv6Addr = figure11(1, 0xa);
pub const OTHER_ANYCAST: Ipv6Addr = figure11(1, 0xb);
/// The home agents' anycast address of the home link.
pub const HOME_AGENTS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe);
pub const AI1: Ipv6Addr = figure11(2, 2);
pub const AI2: Ipv6Addr = figure11(3, 2);
pub const AR1: Ipv6Addr = figure11(4, 2);
pub const AR2: Ipv6Addr = figure11(5, 2);
/// Somebody who is nobody in Figure 11.
pub const STRANGER: Ipv6Addr = figure11(9, 2);
pub const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
pub const GROUP: Ipv6Addr = Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 1);
/// Flags of a home registration.
pub const AH: UpdateFlags = UpdateFlags::ACKNOWLEDGE.union(UpdateFlags::HOME_REGISTRATION);

pub fn at(seconds: f64) -> Instant {
    Instant::from_start(Duration::from_secs_f64(seconds))
}

/// What tests do with every role.
pub trait Driven: Role {
    /// Everything that is to be done now.
    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.poll_action()).collect()
    }

    /// The packets that answer `bytes`; everything else is dropped.
    fn answers(&mut self, now: Instant, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.actions();
        self.handle_packet(now, bytes);
        sent(&self.actions())
    }

    /// Lets time pass up to `now`, timer by timer, and gives back what was done, with the times.
    fn pass(&mut self, now: Instant) -> Vec<(Instant, Action)> {
        let mut done = Vec::new();
        for _ in 0..100_000 {
            done.extend(self.actions().into_iter().map(|action| (now, action)));
            let Some((due, _)) = self.poll_timeout().filter(|(due, _)| *due <= now) else { return done };
            self.handle_timeout(due);
            done.extend(self.actions().into_iter().map(|action| (due, action)));
        }
        panic!("a timer spins at {:?}", self.poll_timeout());
    }
}

impl<R: Role + ?Sized> Driven for R {}

/// The packets among `actions`.
pub fn sent(actions: &[Action]) -> Vec<Vec<u8>> {
    let packets = actions.iter().filter_map(|action| match action {
        Action::Send(packet) => Some(packet.clone()),
        _ => None,
    });
    packets.collect()
}

/// A packet with a Mobility Header of these octets, whose checksum is made right for the home address.
pub fn raw_mobility(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    home_address: Option<Ipv6Addr>,
    octets: &[u8],
) -> Vec<u8> {
    let mut octets = octets.to_vec();
    let final_source = home_address.unwrap_or(source);
    if let Some(field) = octets.get_mut(4..6) {
        field.fill(0);
        let sum = ipv6::checksum(&final_source, &destination, next_header::MOBILITY, &octets);
        octets[4..6].copy_from_slice(&sum.to_be_bytes());
    }
    with_home_address(source, destination, home_address, next_header::MOBILITY, &octets)
}

/// A report of RFC 3810 with its Router Alert: `source` listens to [`GROUP`].
pub fn group_membership(source: Ipv6Addr) -> Vec<u8> {
    const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
    let mut report = vec![143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0];
    report.extend(GROUP.octets());
    let sum = ipv6::checksum(&source, &ALL_ROUTERS, next_header::ICMPV6, &report);
    report[2..4].copy_from_slice(&sum.to_be_bytes());
    let router_alert = [next_header::ICMPV6, 0, 5, 2, 0, 0, 1, 0];
    let payload = [router_alert.as_slice(), &report].concat();
    ipv6::packet(Ipv6Header::new(next_header::HOP_BY_HOP, 1, source, ALL_ROUTERS), &payload)
}

/// A packet with this upper layer, and a home address option if there is a home address.
pub fn with_home_address(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    home_address: Option<Ipv6Addr>,
    protocol: u8,
    upper: &[u8],
) -> Vec<u8> {
    let Some(home_address) = home_address else {
        return ipv6::packet(Ipv6Header::new(protocol, 64, source, destination), upper);
    };
    let mut payload = home_address_header(protocol, &home_address).to_vec();
    payload.extend_from_slice(upper);
    ipv6::packet(Ipv6Header::new(next_header::DESTINATION_OPTIONS, 64, source, destination), &payload)
}

/// A packet with this message.
pub fn mobility(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    home_address: Option<Ipv6Addr>,
    message: Message,
) -> Vec<u8> {
    raw_mobility(source, destination, home_address, &MobilityHeader::new(message).emit())
}

/// A packet `source` -> `care_of` with a type 2 routing header for `home_address` and this message.
pub fn routed(
    source: Ipv6Addr,
    care_of: Ipv6Addr,
    home_address: Ipv6Addr,
    header: &MobilityHeader,
) -> Vec<u8> {
    let mut payload = type2_header(next_header::MOBILITY, &home_address).to_vec();
    payload.extend_from_slice(&header.emit_for(&source, &home_address));
    ipv6::packet(Ipv6Header::new(next_header::ROUTING, 64, source, care_of), &payload)
}

/// A packet with this ICMPv6 message.
pub fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, message: Icmpv6Message) -> Vec<u8> {
    let body = Icmpv6::from(message).emit_for(&source, &destination);
    ipv6::packet(Ipv6Header::new(next_header::ICMPV6, hop_limit, source, destination), &body)
}

/// An echo request.
pub fn ping(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let message = Icmpv6Message::EchoRequest { code: 0, identifier: 7, sequence: 1, data: b"hello".to_vec() };
    icmpv6(source, destination, 64, message)
}

/// `inner` in a tunnel packet.
pub fn tunnel(source: Ipv6Addr, destination: Ipv6Addr, inner: &[u8]) -> Vec<u8> {
    ipv6::packet(Ipv6Header::new(next_header::IPV6, 64, source, destination), inner)
}

/// A Binding Update to be sent.
#[derive(Clone, Debug)]
pub struct Update {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub home_address: Option<Ipv6Addr>,
    pub sequence: u16,
    pub flags: UpdateFlags,
    pub lifetime: u16,
    pub options: Vec<MobilityOption>,
    pub key: Option<[u8; 20]>,
}

impl Update {
    /// A home registration of [`ANYCAST`] from [`AR1`] for 10 units, without Alternate Care-of Address.
    pub fn home(sequence: u16) -> Self {
        Self {
            source: AR1,
            destination: AGENT,
            home_address: Some(ANYCAST),
            sequence,
            flags: AH,
            lifetime: 10,
            options: Vec::new(),
            key: None,
        }
    }

    /// The care-of address that the update names.
    pub fn care_of(&self) -> Ipv6Addr {
        let alternate = self.options.iter().find_map(|option| match option {
            MobilityOption::AlternateCareOfAddress(address) => Some(*address),
            _ => None,
        });
        alternate.unwrap_or(self.source)
    }

    pub fn packet(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.extend(self.key.map(|_| MobilityOption::BindingAuthorizationData(vec![0; 12])));
        let mut header = MobilityHeader::new(Message::BindingUpdate(BindingUpdate {
            sequence: self.sequence,
            flags: self.flags,
            lifetime: Lifetime(self.lifetime),
            options: align(12, &options),
        }));
        if let Some(key) = &self.key {
            let correspondent = self.destination;
            seal(
                &mut header,
                SealKey { binding_management_key: key, care_of: self.care_of(), correspondent },
            );
        }
        raw_mobility(self.source, self.destination, self.home_address, &header.emit())
    }
}

/// A packet with a Mobility Header, taken apart.
#[derive(Clone, Debug)]
pub struct Signal {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub home_address: Option<Ipv6Addr>,
    pub routing2: Option<Ipv6Addr>,
    pub header: MobilityHeader,
    pub octets: Vec<u8>,
}

impl Signal {
    /// Takes a packet apart; its form (RFC 3775 6.1.1) is checked on the way.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let packet = Packet::parse(bytes).expect("an emitted packet parses");
        if packet.upper.protocol != next_header::MOBILITY {
            return None;
        }
        let octets = packet.payload().to_vec();
        assert!(
            checksum_is_valid(&octets, &packet.final_source(), &packet.final_destination()),
            "M020: the checksum is over home address and final destination"
        );
        let header = MobilityHeader::parse(&octets).expect("an emitted message parses");
        assert_eq!((header.payload_proto, header.reserved, octets.len() % 8), (59, 0, 0), "M020, M028");
        Some(Self {
            source: packet.header.source,
            destination: packet.header.destination,
            home_address: packet.home_address.map(|found| found.address),
            routing2: packet.routing2.map(|found| found.address),
            header,
            octets,
        })
    }

    pub fn acknowledgement(&self) -> &BindingAcknowledgement {
        match &self.header.message {
            Message::BindingAcknowledgement(message) => message,
            other => panic!("not a Binding Acknowledgement: {other:?}"),
        }
    }

    pub fn update(&self) -> &BindingUpdate {
        match &self.header.message {
            Message::BindingUpdate(message) => message,
            other => panic!("not a Binding Update: {other:?}"),
        }
    }

    pub fn error(&self) -> &BindingError {
        match &self.header.message {
            Message::BindingError(message) => message,
            other => panic!("not a Binding Error: {other:?}"),
        }
    }

    pub fn test(&self) -> &Test {
        match &self.header.message {
            Message::HomeTest(test) | Message::CareOfTest(test) => test,
            other => panic!("not a test: {other:?}"),
        }
    }

    pub fn init(&self) -> &TestInit {
        match &self.header.message {
            Message::HomeTestInit(init) | Message::CareOfTestInit(init) => init,
            other => panic!("not a test init: {other:?}"),
        }
    }

    /// Status, number and lifetime in units, of an acknowledgement.
    pub fn verdict(&self) -> (u8, u16, u16) {
        let message = self.acknowledgement();
        (message.status.0, message.sequence, message.lifetime.0)
    }

    pub fn is_sealed_by(&self, key: &[u8; 20], care_of: Ipv6Addr, correspondent: Ipv6Addr) -> bool {
        is_sealed_by(
            &self.header,
            &self.octets,
            SealKey { binding_management_key: key, care_of, correspondent },
        )
    }
}

/// The only Mobility Header among `packets`, if there is one.
pub fn signal(packets: &[Vec<u8>]) -> Option<Signal> {
    let mut signals = packets.iter().filter_map(|packet| Signal::of(packet));
    let first = signals.next();
    assert!(signals.next().is_none(), "one answer at most");
    first
}

/// The only packet among `packets`, an ICMPv6 message with a right checksum, with its addresses.
pub fn icmpv6_answer(packets: &[Vec<u8>]) -> Option<(Ipv6Addr, Ipv6Addr, Icmpv6Message)> {
    let [bytes] = packets else {
        assert!(packets.is_empty(), "one answer at most");
        return None;
    };
    let packet = Packet::parse(bytes).expect("an emitted packet parses");
    let (source, destination) = (packet.header.source, packet.header.destination);
    assert_eq!(packet.upper.protocol, next_header::ICMPV6);
    assert_eq!(ipv6::checksum(&source, &destination, next_header::ICMPV6, packet.payload()), 0);
    Some((source, destination, Icmpv6::parse(packet.payload()).expect("an emitted message parses").message))
}

/// Code and pointer of a Parameter Problem.
pub fn parameter_problem(packets: &[Vec<u8>]) -> Option<(Ipv6Addr, u8, u32)> {
    match icmpv6_answer(packets)? {
        (_, destination, Icmpv6Message::ParameterProblem { code, pointer, .. }) => {
            Some((destination, code, pointer))
        }
        other => panic!("not a Parameter Problem: {other:?}"),
    }
}
