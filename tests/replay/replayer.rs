//! One node in virtual time: a role, its user-space forwarder and as much of a host's stack as the recorded node
//! needed to forward and to send data (RFC 3775 sections 9.3, 10.4 and 11.3).
//! Recorded packets go in at their times; what comes out is kept as a capture.
//! The replays of every role drive it.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::forwarding::user::{Direction, Fate, Forwarder};
use mga_node::pcap::capture::Frame;
use mga_node::protocol::action::{Action, RuleKind};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::role::Role;
use mga_node::wire::ipv6::next_header;
use mga_node::wire::rewrite::{strip_home_address, strip_routing2};
use mga_node::wire::tunnel::decapsulate;
use mga_node::wire::{Packet, PacketBuffer};

use crate::adapt::Adapt;
use crate::recording::{Recording, source_of};

/// Octets that the recorded links took.
const LINK_MTU: usize = 1500;

/// What a node's stack does beside Mobile IPv6.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// It sends data of its own.
    Host,
    /// It forwards, and sends data from its own address.
    Router,
}

/// From when to when, in seconds of the recording, nothing is replayed, and why.
pub type Gap = (f64, f64, &'static str);

/// What an operator tells a node, and when: since the epoch of the recording.
pub struct Order<R> {
    pub at: Duration,
    pub act: Act<R>,
}

/// What is done to a role, and when for it.
pub type Act<R> = Box<dyn Fn(&mut R, Instant)>;

/// A node that lives through a recording.
pub struct Replayer<'a, R> {
    role: R,
    recording: &'a Recording,
    /// Whose errors are about packets that do not fit.
    address: Ipv6Addr,
    own: BTreeSet<Ipv6Addr>,
    forwarder: Forwarder,
    captured: BTreeSet<Ipv6Addr>,
    /// What is on the link: incoming as it went in, outgoing as ours.
    capture: Vec<Frame>,
    /// So many of them have been told to who adapts.
    told: usize,
}

impl<'a, R: Role> Replayer<'a, R> {
    pub fn new(role: R, recording: &'a Recording, own: &[Ipv6Addr]) -> Self {
        Self {
            address: *own.first().expect("an address of the node"),
            role,
            recording,
            own: own.iter().copied().collect(),
            forwarder: Forwarder::new(),
            captured: BTreeSet::new(),
            capture: Vec::new(),
            told: 0,
        }
    }

    fn instant(&self, at: Duration) -> Instant {
        instant(self.recording, at)
    }

    fn moment(&self, now: Instant) -> Duration {
        let start = self.recording.frames.first().map_or(Duration::ZERO, |frame| frame.at);
        start + now.since_start().saturating_sub(Duration::from_secs(1000))
    }

    /// Lives through the recording. In a gap no daemon ran, and neither does ours; after it a new one starts from
    /// `start`, which is told when. `orders` are what its operator does, in order. Gives back what the recorded node
    /// saw, and what ours did, without the gaps.
    pub fn live(
        mut self,
        gaps: &[Gap],
        mut start: impl FnMut(Instant) -> R,
        stack: Stack,
        adapt: &mut dyn Adapt,
        orders: Vec<Order<R>>,
    ) -> (Vec<Frame>, Vec<Frame>) {
        let mut expected = Vec::new();
        let mut orders = orders.into_iter().peekable();
        let mut last = 0.0;
        for frame in &self.recording.frames {
            let seconds = self.recording.seconds(frame);
            let is_due = |order: &Order<R>| order.at <= frame.at;
            if gaps.iter().any(|(from, to, _)| (*from..*to).contains(&seconds)) {
                while orders.next_if(is_due).is_some() {}
                continue;
            }
            if gaps.iter().any(|(from, ..)| (last..seconds).contains(from)) {
                self.restart(start(self.instant(frame.at)));
            }
            last = seconds;
            while let Some(order) = orders.next_if(is_due) {
                self.pass(order.at, adapt);
                let now = self.instant(order.at);
                (order.act)(&mut self.role, now);
                self.tell(order.at, adapt);
            }
            self.pass(frame.at, adapt);
            self.tell(frame.at, adapt);
            if self.recording.is_received(frame) {
                expected.push(frame.clone());
                if let Some(ipv6) = adapt.received(frame.ipv6.clone()) {
                    self.receive(Frame { ipv6, ..frame.clone() });
                }
            } else if self.recording.is_sent(frame) {
                expected.push(frame.clone());
                adapt.recorded_sent(&frame.ipv6);
                self.send_as_recorded(frame, stack);
            }
            self.tell(frame.at, adapt);
        }
        let is_over = gaps.iter().any(|(_, to, _)| *to == f64::MAX);
        if !is_over && let Some(last) = self.recording.frames.last() {
            self.pass(last.at, adapt);
        }
        (expected, self.capture)
    }

    /// Does what the role wants, tells what ours sent, and takes in what somebody says to it who is not recorded.
    fn tell(&mut self, at: Duration, adapt: &mut dyn Adapt) {
        self.settle(self.instant(at));
        while let Some(frame) = self.capture.get(self.told).cloned() {
            self.told += 1;
            if !self.recording.is_sent(&frame) {
                continue;
            }
            adapt.ours_sent(&frame.ipv6);
            for ipv6 in adapt.instead(&frame.ipv6) {
                let link = self.recording.incoming_link();
                self.receive(Frame { at, link, ipv6, cut: false });
            }
        }
    }

    /// What the recorded node's stack said, ours says at that time.
    fn send_as_recorded(&mut self, frame: &Frame, stack: Stack) {
        if is_router_advertisement(&frame.ipv6) {
            return self.hear_own(frame);
        }
        // A router also forwards, which our node does by itself.
        let is_own = source_of(frame).is_some_and(|source| self.own.contains(&source));
        if (is_own || stack == Stack::Host)
            && let Some(packet) = stack_packet(frame, stack == Stack::Host)
        {
            self.send_from_stack(frame.at, packet);
        }
    }

    /// The daemon ended without a word, and this one starts in its place with nothing known.
    fn restart(&mut self, role: R) {
        self.role = role;
        self.forwarder = Forwarder::new();
        self.captured.clear();
    }

    /// Lets timers run until `at`.
    fn pass(&mut self, at: Duration, adapt: &mut dyn Adapt) {
        let until = self.instant(at);
        for _ in 0..100_000 {
            let Some((due, _)) = self.role.poll_timeout().filter(|(due, _)| *due <= until) else { return };
            self.role.handle_timeout(due);
            self.tell(self.moment(due), adapt);
        }
        panic!("a timer spins at {:?}", self.role.poll_timeout());
    }

    /// A packet comes in from the link.
    fn receive(&mut self, frame: Frame) {
        let now = self.instant(frame.at);
        let packet = frame.ipv6.clone();
        self.capture.push(frame);
        let Ok(parsed) = Packet::parse(&packet) else { return };
        let (first, destination) = (parsed.header.next_header, parsed.header.destination);
        if self.captured.contains(&destination) && !self.own.contains(&destination) {
            // The stack forwards it to the node as a router, and says itself that its hops are used up.
            let Some(packet) = one_hop_further(packet) else { return };
            self.decide(now, Direction::Outbound, packet);
        } else if matches!(
            first,
            next_header::MOBILITY
                | next_header::DESTINATION_OPTIONS
                | next_header::ROUTING
                | next_header::IPV6
        ) {
            self.decide(now, Direction::Inbound, packet);
        } else if first == next_header::ICMPV6 && !matches!(parsed.payload().first(), Some(128 | 129)) {
            // The copy that the tap takes.
            self.role.handle_packet(now, &packet);
        }
        self.settle(now);
    }

    /// The host's stack has a packet to send at the time of `frame`.
    fn send_from_stack(&mut self, at: Duration, packet: Vec<u8>) {
        let now = self.instant(at);
        self.route(now, packet);
        self.settle(now);
    }

    /// What the node's own host said to everybody on its link, which the node hears too.
    fn hear_own(&mut self, frame: &Frame) {
        let now = self.instant(frame.at);
        self.role.handle_packet(now, &frame.ipv6);
        self.settle(now);
    }

    fn route(&mut self, now: Instant, packet: Vec<u8>) {
        let Ok(parsed) = Packet::parse(&packet) else { return };
        let (source, destination) = (parsed.header.source, parsed.header.destination);
        let rules = self.forwarder.rules();
        let takes = |kind, anycast| {
            rules.iter().any(|rule| rule.rule.key().kind == kind && rule.rule.key().anycast == anycast)
        };
        let is_taken = self.captured.contains(&destination)
            || takes(RuleKind::ReverseTunnelOut, source)
            || takes(RuleKind::RoutingHeaderOut, destination);
        if is_taken {
            self.decide(now, Direction::Outbound, packet);
        } else {
            self.transmit(now, packet);
        }
    }

    fn decide(&mut self, now: Instant, direction: Direction, packet: Vec<u8>) {
        let (mut buffer, mut observed) = (PacketBuffer::new(&packet), Vec::new());
        let fate = self.forwarder.forward(now, direction, &mut buffer, &mut observed);
        let packet = buffer.as_slice().to_vec();
        if matches!(fate, Fate::Role | Fate::DeliverAndRole) {
            self.role.handle_packet(now, &packet);
        }
        for observation in observed {
            self.role.handle_observation(now, observation);
        }
        match fate {
            Fate::Send if packet.len() > LINK_MTU => {
                if let Some(error) = self.forwarder.too_big(&buffer, LINK_MTU as u32, &self.address) {
                    self.transmit(now, error);
                }
            }
            Fate::Send => self.transmit(now, packet),
            Fate::Deliver | Fate::DeliverAndRole => self.deliver(now, packet),
            Fate::Role | Fate::Drop(_) => {}
        }
    }

    /// The host's stack forwards what is for others. What is its own it answers; those answers are recorded, and
    /// come as [`Replayer::send_from_stack`].
    fn deliver(&mut self, now: Instant, packet: Vec<u8>) {
        let Ok(parsed) = Packet::parse(&packet) else { return };
        if !self.own.contains(&parsed.header.destination)
            && let Some(packet) = one_hop_further(packet)
        {
            self.route(now, packet);
        }
    }

    fn transmit(&mut self, now: Instant, ipv6: Vec<u8>) {
        let link = self.recording.link();
        self.capture.push(Frame { at: self.moment(now), link, ipv6, cut: false });
    }

    /// Does what the role wants done.
    fn settle(&mut self, now: Instant) {
        while let Some(action) = self.role.poll_action() {
            match action {
                Action::Send(packet) => self.transmit(now, packet),
                Action::Deliver(packet) => self.deliver(now, packet),
                Action::InstallRule(rule) => self.forwarder.install(rule),
                Action::RemoveRule(key) => {
                    self.forwarder.remove(&key);
                }
                Action::CaptureAddress(address) | Action::RouteAddress(address) => {
                    self.captured.insert(address);
                }
                Action::ReleaseAddress(address) | Action::UnrouteAddress(address) => {
                    self.captured.remove(&address);
                }
                Action::Report(_) => {}
                Action::InstallGroup(_)
                | Action::RemoveGroup(_)
                | Action::CountSources(_)
                | Action::SendToGroup(_) => {
                    panic!("the recorded stacks know the basic model only")
                }
            }
        }
    }
}

/// The moment in a node's life at which something was recorded; not from zero, so that nothing rests on the clock's
/// beginning.
pub fn instant(recording: &Recording, at: Duration) -> Instant {
    let start = recording.frames.first().map_or(Duration::ZERO, |frame| frame.at);
    Instant::from_start(Duration::from_secs(1000) + at.saturating_sub(start))
}

/// What the recorded node's stack sent before its Mobile IPv6 rewrote it: echo, TCP and UDP, with the tunnel, the
/// home address option and the routing header taken off. `None` for what is not the stack's.
fn stack_packet(frame: &Frame, tunnelled: bool) -> Option<Vec<u8>> {
    let mut buffer = PacketBuffer::new(&frame.ipv6);
    let parsed = Packet::parse(&frame.ipv6).ok()?;
    if parsed.upper.protocol == next_header::IPV6 {
        if !tunnelled {
            return None;
        }
        decapsulate(&mut buffer).ok()?;
    } else {
        if parsed.routing2.is_some() {
            strip_routing2(&mut buffer).ok()?;
        }
        if parsed.home_address.is_some() {
            strip_home_address(&mut buffer).ok()?;
        }
    }
    let plain = Packet::parse(buffer.as_slice()).ok()?;
    let is_data = match plain.upper.protocol {
        // The first piece of a packet is told by what it begins with, a later one by its header.
        6 | 17 | next_header::FRAGMENT => true,
        next_header::ICMPV6 => matches!(plain.payload().first(), Some(128 | 129)),
        _ => false,
    };
    is_data.then(|| buffer.as_slice().to_vec())
}

/// The packet as a router passes it on; `None` when it has come as far as it may.
fn one_hop_further(mut packet: Vec<u8>) -> Option<Vec<u8>> {
    let hop_limit = packet.get_mut(7)?;
    *hop_limit = hop_limit.checked_sub(1).filter(|left| *left > 0)?;
    Some(packet)
}

/// The host's own advertisements, which the agent reads for the prefixes of the home link.
fn is_router_advertisement(bytes: &[u8]) -> bool {
    Packet::parse(bytes).is_ok_and(|packet| {
        packet.upper.protocol == next_header::ICMPV6 && packet.payload().first() == Some(&134)
    })
}
