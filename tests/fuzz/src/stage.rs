//! One role with its forwarder in virtual time, and what must hold whatever it is given (thesis section 4, RFC 3775
//! sections 9 to 11 and 15): what it sends parses and goes to somebody, answers are few, state is bounded and agrees
//! with the rules installed, timers do not spin, and a shutdown leaves nothing behind. Run by the three role targets.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::forwarding::user::{Direction, Fate, Forwarder};
use mga_node::protocol::action::{Action, Observation, Rule, RuleKey, RuleKind};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::input::is_unicast;
use mga_node::protocol::role::Role;
use mga_node::wire::icmpv6::{Icmpv6, Icmpv6Message, kind};
use mga_node::wire::ipv6::{Ipv6Header, checksum, next_header};
use mga_node::wire::mobility::{Message, MobilityHeader, checksum_is_valid};
use mga_node::wire::{Packet, PacketBuffer};

use crate::input::{Operation, Step, steps};
use crate::peer::{Peer, sum};

const fn figure11(link: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, link, 0, 0, 0, host)
}

/// HAA.
pub const AGENT: Ipv6Addr = figure11(1, 2);
/// A_Any.
pub const ANYCAST: Ipv6Addr = figure11(1, 0xa);
/// Another address of the home link.
pub const OTHER_ANYCAST: Ipv6Addr = figure11(1, 0xb);
/// AI1.
pub const AI1: Ipv6Addr = figure11(2, 2);
/// AI2.
pub const AI2: Ipv6Addr = figure11(3, 2);
/// AR1.
pub const AR1: Ipv6Addr = figure11(4, 2);
/// AR2.
pub const AR2: Ipv6Addr = figure11(5, 2);
/// The home agents' anycast address of the home link.
pub const HOME_AGENTS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe);
/// Whom observations and commands are about: those of Figure 11 and some that should not be there.
const ADDRESSES: [Ipv6Addr; 10] = [
    ANYCAST,
    AI1,
    AI2,
    OTHER_ANYCAST,
    AGENT,
    AR1,
    HOME_AGENTS,
    Ipv6Addr::UNSPECIFIED,
    Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9),
];
/// Bindings that an agent or initiator may hold.
pub const CAPACITY: usize = 6;
/// Binding Errors, and Parameter Problems, at once; and how long until there may be one more
/// (`protocol::input::AnswerLimits`).
const BURST: u32 = 20;
const INTERVAL: Duration = Duration::from_millis(50);
/// Packets that one packet may call forth.
const MAX_ANSWERS: usize = 8;

/// A role with what an operator tells it and what must hold for it, beside what must for every role.
pub struct Part<R> {
    pub role: R,
    /// Gives the command that the octet picks, about this address or everything.
    pub command: fn(&mut R, Instant, u8, Option<Ipv6Addr>),
    /// Gives the command to end.
    pub shut_down: fn(&mut R, Instant),
    /// Panics where something does not hold between steps.
    pub check: fn(&R, Instant, &World),
    /// Panics where something does not hold after the end.
    pub check_end: fn(&R, Instant),
}

/// What is around the role.
#[derive(Default)]
pub struct World {
    /// Where its rules are.
    pub forwarder: Forwarder,
    /// Everybody else.
    pub peer: Peer,
    /// Addresses attracted on the home link.
    pub captured: BTreeSet<Ipv6Addr>,
    /// The packet that the role was given last.
    given: Vec<u8>,
    /// What the data path noticed and the role has not been told yet.
    seen: Vec<Observation>,
    binding_errors: u32,
    parameter_problems: u32,
}

impl World {
    /// Carries out an action and checks it; true for a packet sent.
    fn carry_out(&mut self, now: Instant, action: Action) -> bool {
        match action {
            Action::Send(octets) => {
                self.check_sent(&octets);
                return true;
            }
            Action::Deliver(octets) => assert!(Packet::parse(&octets).is_ok(), "what is delivered parses"),
            Action::InstallRule(rule) => self.forwarder.install(rule),
            Action::RemoveRule(key) => drop(self.forwarder.remove(&key)),
            Action::CaptureAddress(address) | Action::RouteAddress(address) => {
                self.captured.insert(address);
            }
            Action::ReleaseAddress(address) | Action::UnrouteAddress(address) => {
                self.captured.remove(&address);
            }
            Action::InstallGroup(group) => {
                self.forwarder.install_group(now, group, &mut self.seen);
            }
            Action::RemoveGroup(anycast) => self.forwarder.remove_group(&anycast),
            Action::CountSources(anycast) => {
                let of = self.forwarder.sources_per_member(now, &anycast);
                self.seen.push(Observation::Sources { anycast, of });
            }
            Action::SendToGroup(octets) => {
                self.forwarder.send_to_group(now, &mut PacketBuffer::new(&octets));
            }
            Action::Report(report) => assert!(!report.to_string().is_empty()),
        }
        false
    }

    fn check_sent(&mut self, octets: &[u8]) {
        let packet = Packet::parse(octets).expect("a packet we send parses");
        assert_eq!(packet.bytes.len(), 40 + usize::from(packet.header.payload_length));
        let Ipv6Header { source, destination, hop_limit, .. } = packet.header;
        assert!(!source.is_multicast() && !destination.is_unspecified(), "{source} > {destination}");
        let neighbor_discovery = hop_limit == 255 && packet.upper.protocol == next_header::ICMPV6;
        assert!(
            neighbor_discovery || (is_unicast(&source) && is_unicast(&destination)),
            "{source} > {destination}"
        );
        let (from, to, payload) = (packet.final_source(), packet.final_destination(), packet.payload());
        match packet.upper.protocol {
            next_header::MOBILITY => {
                assert!(checksum_is_valid(payload, &from, &to), "checksum of {octets:02x?}");
                let header = MobilityHeader::parse(payload).expect("a message we send parses");
                assert_eq!((header.payload_proto, header.reserved, header.length()), (59, 0, payload.len()));
                self.binding_errors += u32::from(matches!(header.message, Message::BindingError(_)));
                self.peer.learn(&packet, &header);
            }
            next_header::ICMPV6 => {
                assert_eq!(checksum(&from, &to, next_header::ICMPV6, payload), 0);
                let icmpv6 = Icmpv6::parse(payload).expect("a message we send parses");
                if let Some(invoking) = icmpv6.message.invoking() {
                    assert!(octets.len() <= 1280 && !invoking.is_empty());
                    let problem = matches!(icmpv6.message, Icmpv6Message::ParameterProblem { .. });
                    self.parameter_problems += u32::from(problem);
                }
            }
            // What somebody else has sent is passed on as it came.
            next_header::IPV6 if self.given.ends_with(payload) => {}
            next_header::IPV6 => self.check_sent(payload),
            other => panic!("protocol {other} sent"),
        }
    }

    /// Kinds of rule in force, with the addresses in them, in order.
    pub fn rules(&self) -> impl Iterator<Item = Rule> {
        self.forwarder.rules().into_iter().map(|installed| installed.rule)
    }
}

/// A role on its stage.
struct Stage<R> {
    part: Part<R>,
    world: World,
    now: Instant,
}

/// Plays `octets` to a role and checks it on the way.
pub fn play<R: Role>(part: Part<R>, octets: &[u8]) {
    let mut stage = Stage { part, world: World::default(), now: Instant::START };
    stage.settle();
    for step in steps(octets) {
        stage.pass(step.wait);
        stage.take(&step);
        let rules = stage.world.forwarder.rules().len();
        assert!(rules <= 3 * CAPACITY + 3 * 64, "{rules} rules");
        stage.check_rates();
        (stage.part.check)(&stage.part.role, stage.now, &stage.world);
    }
    (stage.part.shut_down)(&mut stage.part.role, stage.now);
    stage.settle();
    stage.pass(Duration::from_secs(10));
    (stage.part.check_end)(&stage.part.role, stage.now);
    assert!(stage.world.rules().next().is_none(), "rules are left: {:?}", stage.world.forwarder.rules());
    assert!(!stage.world.forwarder.has_groups(), "groups are left");
    assert!(stage.world.captured.is_empty(), "attracted still: {:?}", stage.world.captured);
}

impl<R: Role> Stage<R> {
    /// Does what the role wants done, and tells it what came of that; the number of packets sent.
    fn settle(&mut self) -> usize {
        let mut sent = 0;
        loop {
            while let Some(action) = self.part.role.poll_action() {
                sent += usize::from(self.world.carry_out(self.now, action));
            }
            if self.world.seen.is_empty() {
                return sent;
            }
            for observation in std::mem::take(&mut self.world.seen) {
                self.part.role.handle_observation(self.now, observation);
            }
        }
    }

    fn pass(&mut self, wait: Duration) {
        self.now = self.now + wait;
        for _ in 0..20_000 {
            let Some((due, _)) = self.part.role.poll_timeout().filter(|(due, _)| *due <= self.now) else {
                return;
            };
            self.part.role.handle_timeout(due);
            self.settle();
        }
        panic!("a timer spins at {:?}, now {:?}", self.part.role.poll_timeout(), self.now);
    }

    fn take(&mut self, step: &Step<'_>) {
        let octets = step.octets;
        match step.operation {
            Operation::Packet => self.packet(octets),
            Operation::Summed => {
                let mut octets = octets.to_vec();
                sum(&mut octets);
                self.packet(&octets);
            }
            Operation::Completed => {
                let octets = self.world.peer.complete(octets);
                self.packet(&octets);
            }
            Operation::Inbound => self.forward(Direction::Inbound, octets),
            Operation::CompletedInbound => {
                let octets = self.world.peer.complete(octets);
                self.forward(Direction::Inbound, &octets);
            }
            Operation::Outbound => self.forward(Direction::Outbound, octets),
            Operation::Observation => {
                let pick = |at: usize| {
                    ADDRESSES[usize::from(octets.get(at).copied().unwrap_or(0)) % ADDRESSES.len()]
                };
                let (anycast, peer) = (pick(1), pick(2));
                let observation = match octets.first().copied().unwrap_or(0) % 4 {
                    0 => Observation::InUse(RuleKey::between(RuleKind::HomeAddressOut, anycast, peer)),
                    1 => Observation::InUse(RuleKey::between(RuleKind::HomeAddressIn, anycast, peer)),
                    2 => Observation::TunnelledPeer { anycast, peer },
                    _ => {
                        let pairs = octets.get(2..).unwrap_or_default().chunks_exact(2);
                        let of = pairs.map(|of| (u32::from(of[0]), usize::from(of[1]))).collect();
                        Observation::Sources { anycast, of }
                    }
                };
                self.part.role.handle_observation(self.now, observation);
                self.settle();
            }
            Operation::Command => {
                let only = octets.get(1).and_then(|at| ADDRESSES.get(usize::from(*at))).copied();
                (self.part.command)(
                    &mut self.part.role,
                    self.now,
                    octets.first().copied().unwrap_or(0),
                    only,
                );
                self.settle();
            }
        }
    }

    fn packet(&mut self, octets: &[u8]) {
        let given = Packet::parse(octets).map(|packet| packet.bytes).unwrap_or_default();
        self.world.given = given.to_vec();
        self.part.role.handle_packet(self.now, octets);
        let answers = self.settle();
        self.world.given.clear();
        if let Ok(packet) = Packet::parse(octets)
            && !is_unicast(&packet.header.source)
        {
            // A conflicting probe, which has no source, is told to whoever waits for the probed address.
            let discovery = matches!(
                packet.payload().first(),
                Some(&kind::NEIGHBOR_SOLICITATION | &kind::NEIGHBOR_ADVERTISEMENT)
            );
            assert!(answers == 0 || discovery, "{} was answered", packet.header.source);
        }
        assert!(answers <= MAX_ANSWERS, "{answers} answers to one packet");
    }

    fn forward(&mut self, direction: Direction, octets: &[u8]) {
        let (mut packet, mut seen) = (PacketBuffer::new(octets), Vec::new());
        let fate = self.world.forwarder.forward(self.now, direction, &mut packet, &mut seen);
        assert!(packet.len() <= octets.len() + 64, "a packet grows by a header or two");
        for observation in seen {
            self.part.role.handle_observation(self.now, observation);
            self.settle();
        }
        match fate {
            Fate::Role | Fate::DeliverAndRole => {
                let packet = packet.as_slice().to_vec();
                self.packet(&packet);
            }
            Fate::Send => {
                if let Some(error) = self.world.forwarder.too_big(&packet, 1280, &AGENT) {
                    assert!(Packet::parse(&error).is_ok_and(|error| error.bytes.len() <= 1280));
                }
            }
            Fate::Deliver | Fate::Drop(_) => {}
        }
    }

    /// RFC 4443 2.4(f), RFC 3775 9.3.3.
    fn check_rates(&self) {
        let passed = self.now.since_start().as_millis() / INTERVAL.as_millis();
        let most = BURST.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
        assert!(self.world.binding_errors <= most, "{} Binding Errors", self.world.binding_errors);
        assert!(
            self.world.parameter_problems <= most,
            "{} Parameter Problems",
            self.world.parameter_problems
        );
    }
}
