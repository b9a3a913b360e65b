//! A small Internet in virtual time: nodes made of a role and its user-space forwarder, plain hosts that answer a
//! Mobility Header as every IPv6 stack does, and links that lose what a script says. Deterministic: no clock, no
//! thread, seeded randomness. Used by the scenes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::forwarding::user::{Direction, Fate, Forwarder};
use mga_node::protocol::action::{Action, Observation, RuleKind};
use mga_node::protocol::clock::Instant;
use mga_node::wire::icmpv6::{ErrorReason, Icmpv6, Icmpv6Message, error_packet};
use mga_node::wire::ipv6::next_header;
use mga_node::wire::{Packet, PacketBuffer};

use crate::stimulus::*;

/// One way over the small Internet.
const DELAY: Duration = Duration::from_millis(10);

/// A node with a role.
pub struct Node<R> {
    pub role: R,
    pub forwarder: Forwarder,
    pub captured: BTreeSet<Ipv6Addr>,
}

impl<R: Role> Node<R> {
    pub fn new(role: R) -> Self {
        Self { role, forwarder: Forwarder::new(), captured: BTreeSet::new() }
    }
}

/// What the network needs of a node whatever its role.
pub trait Host {
    fn role(&mut self) -> &mut dyn Role;
    fn forwarder(&mut self) -> &mut Forwarder;
    fn captured(&mut self) -> &mut BTreeSet<Ipv6Addr>;
}

impl<R: Role> Host for Node<R> {
    fn role(&mut self) -> &mut dyn Role {
        &mut self.role
    }
    fn forwarder(&mut self) -> &mut Forwarder {
        &mut self.forwarder
    }
    fn captured(&mut self) -> &mut BTreeSet<Ipv6Addr> {
        &mut self.captured
    }
}

/// A packet on its way, and what was seen on the wire.
#[derive(Clone, Debug)]
pub struct Seen {
    pub when: Instant,
    /// The node that sent it, by its unicast address.
    pub from: Ipv6Addr,
    pub packet: Vec<u8>,
}

/// The whole network. Nodes are known by their unicast addresses; every other address is a plain host.
pub struct Network<'a> {
    pub now: Instant,
    nodes: BTreeMap<Ipv6Addr, &'a mut dyn Host>,
    /// By arrival time and order of sending.
    on_the_way: BTreeMap<(Instant, u64), Seen>,
    count: u64,
    /// Everything that was sent into the network.
    pub seen: Vec<Seen>,
    /// What hosts' stacks were given: receiver and packet.
    pub delivered: Vec<(Ipv6Addr, Vec<u8>)>,
    /// Says which packets the links lose.
    pub loses: Box<dyn FnMut(&Seen) -> bool>,
}

impl<'a> Network<'a> {
    pub fn new(nodes: Vec<(Ipv6Addr, &'a mut dyn Host)>) -> Self {
        Self {
            now: at(0.0),
            nodes: nodes.into_iter().collect(),
            on_the_way: BTreeMap::new(),
            count: 0,
            seen: Vec::new(),
            delivered: Vec::new(),
            loses: Box::new(|_| false),
        }
    }

    /// The network without its nodes, so that somebody can talk to them; what is on the way stays there.
    pub fn pause(self) -> Network<'static> {
        Network { nodes: BTreeMap::new(), ..self }
    }

    /// The network goes on with these nodes.
    pub fn with(self, nodes: Vec<(Ipv6Addr, &mut dyn Host)>) -> Network<'_> {
        Network { nodes: nodes.into_iter().collect(), ..self }
    }

    /// Sends an echo request and does not wait.
    pub fn ask(&mut self, from: Ipv6Addr, to: Ipv6Addr) {
        self.send_from_stack(from, ping(from, to));
    }

    /// Echo replies from `to` that `from` has got.
    pub fn replies(&self, from: Ipv6Addr, to: Ipv6Addr) -> usize {
        let is_reply = |packet: &[u8]| {
            Packet::parse(packet)
                .is_ok_and(|packet| packet.header.source == to && packet.payload().first() == Some(&129))
        };
        self.delivered.iter().filter(|(host, packet)| *host == from && is_reply(packet)).count()
    }

    /// Sends an echo request and lets the network run for a second; true when the reply came back.
    pub fn ping(&mut self, from: Ipv6Addr, to: Ipv6Addr) -> bool {
        self.delivered.clear();
        self.send_from_stack(from, ping(from, to));
        self.run(Duration::from_secs(1));
        self.delivered.iter().any(|(host, packet)| {
            let parsed = Packet::parse(packet).expect("a delivered packet");
            *host == from && parsed.header.source == to && parsed.payload().first() == Some(&129)
        })
    }

    /// The unicast addresses of the nodes whose stacks were given echo requests since the last ping.
    pub fn answered_by(&self) -> BTreeSet<Ipv6Addr> {
        let requests = self.delivered.iter().filter(|(_, packet)| {
            Packet::parse(packet).is_ok_and(|packet| packet.payload().first() == Some(&128))
        });
        requests.map(|(host, _)| *host).collect()
    }

    /// Lets `time` pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let arrival = self.on_the_way.first_key_value().map(|((when, _), _)| *when);
            let timer = self
                .nodes
                .values_mut()
                .filter_map(|node| node.role().poll_timeout().map(|(due, _)| due))
                .min();
            let next = [arrival, timer].into_iter().flatten().min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.on_the_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let seen = entry.remove();
                self.arrive(seen);
            }
            let now = self.now;
            for node in self.nodes.values_mut() {
                if node.role().poll_timeout().is_some_and(|(due, _)| due <= now) {
                    node.role().handle_timeout(now);
                }
            }
        }
        self.now = end;
    }

    /// Carries out everything that roles want done.
    fn settle(&mut self) {
        let mut packets = VecDeque::new();
        for (address, node) in &mut self.nodes {
            while let Some(action) = node.role().poll_action() {
                match action {
                    Action::Send(packet) => packets.push_back((*address, true, packet)),
                    Action::Deliver(packet) => packets.push_back((*address, false, packet)),
                    Action::InstallRule(rule) => node.forwarder().install(rule),
                    Action::RemoveRule(key) => {
                        node.forwarder().remove(&key);
                    }
                    Action::InstallGroup(group) => {
                        let mut seen = Vec::new();
                        node.forwarder().install_group(self.now, group, &mut seen);
                        for observation in seen {
                            node.role().handle_observation(self.now, observation);
                        }
                    }
                    Action::RemoveGroup(anycast) => node.forwarder().remove_group(&anycast),
                    Action::CountSources(anycast) => {
                        let of = node.forwarder().sources_per_member(self.now, &anycast);
                        node.role().handle_observation(self.now, Observation::Sources { anycast, of });
                    }
                    Action::SendToGroup(packet) => {
                        let mut buffer = PacketBuffer::new(&packet);
                        if node.forwarder().send_to_group(self.now, &mut buffer) == Fate::Send {
                            packets.push_back((*address, true, buffer.as_slice().to_vec()));
                        }
                    }
                    Action::CaptureAddress(captured) | Action::RouteAddress(captured) => {
                        node.captured().insert(captured);
                    }
                    Action::ReleaseAddress(released) | Action::UnrouteAddress(released) => {
                        node.captured().remove(&released);
                    }
                    Action::Report(_) => {}
                }
            }
        }
        for (address, into_network, packet) in packets {
            if into_network { self.transmit(address, packet) } else { self.deliver(address, packet) }
        }
    }

    fn transmit(&mut self, from: Ipv6Addr, packet: Vec<u8>) {
        let seen = Seen { when: self.now, from, packet };
        self.seen.push(seen.clone());
        if (self.loses)(&seen) {
            return;
        }
        self.count += 1;
        self.on_the_way.insert((self.now + DELAY, self.count), seen);
    }

    /// A packet of a host's own stack, or one that a node's stack forwards.
    fn send_from_stack(&mut self, host: Ipv6Addr, packet: Vec<u8>) {
        let parsed = Packet::parse(&packet).expect("a packet of a stack");
        let (source, destination) = (parsed.header.source, parsed.header.destination);
        let Some(node) = self.nodes.get_mut(&host) else { return self.transmit(host, packet) };
        // What an `own` device takes: captured addresses, the responder's anycast address as source, and what an
        // initiator has a binding for.
        let rules = node.forwarder().rules();
        let takes = |kind, anycast| {
            rules.iter().any(|rule| rule.rule.key().kind == kind && rule.rule.key().anycast == anycast)
        };
        let owned = node.captured().contains(&destination)
            || takes(RuleKind::ReverseTunnelOut, source)
            || takes(RuleKind::RoutingHeaderOut, destination);
        if !owned {
            return self.transmit(host, packet);
        }
        self.decide(host, Direction::Outbound, packet);
    }

    fn decide(&mut self, host: Ipv6Addr, direction: Direction, packet: Vec<u8>) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&host) else { return };
        let (mut buffer, mut observed) = (PacketBuffer::new(&packet), Vec::new());
        let fate = node.forwarder().forward(now, direction, &mut buffer, &mut observed);
        let packet = buffer.as_slice().to_vec();
        if matches!(fate, Fate::Role | Fate::DeliverAndRole) {
            node.role().handle_packet(now, &packet);
        }
        for observation in observed {
            node.role().handle_observation(now, observation);
        }
        match fate {
            Fate::Send => self.transmit(host, packet),
            Fate::Deliver | Fate::DeliverAndRole => self.deliver(host, packet),
            Fate::Role | Fate::Drop(_) => {}
        }
    }

    /// Who has this address: a node that captured it, or whose unicast address it is.
    fn arrive(&mut self, seen: Seen) {
        let destination = Packet::parse(&seen.packet).expect("a packet on the way").header.destination;
        if destination.is_multicast() {
            return;
        }
        let holder = self.nodes.iter_mut().find_map(|(address, node)| {
            (*address == destination || node.captured().contains(&destination)).then_some(*address)
        });
        match holder {
            None => self.deliver(destination, seen.packet),
            Some(host) if host == destination => {
                // The classes that the nodes steal from their stacks.
                match seen.packet.get(6) {
                    Some(
                        &(next_header::MOBILITY
                        | next_header::DESTINATION_OPTIONS
                        | next_header::ROUTING
                        | next_header::IPV6),
                    ) => self.decide(host, Direction::Inbound, seen.packet),
                    _ => self.deliver(host, seen.packet),
                }
            }
            Some(host) => self.decide(host, Direction::Outbound, seen.packet),
        }
    }

    /// Hands a packet to a host's stack, which forwards, answers echo requests and knows no Mobility Header.
    fn deliver(&mut self, host: Ipv6Addr, packet: Vec<u8>) {
        let parsed = Packet::parse(&packet).expect("a packet for a stack");
        let destination = parsed.header.destination;
        let is_mine = destination == host || destination == ANYCAST && host != AGENT;
        if !is_mine {
            return self.send_from_stack(host, packet);
        }
        self.delivered.push((host, packet.clone()));
        if parsed.upper.protocol == next_header::MOBILITY {
            let pointer = u32::try_from(parsed.upper.next_header_offset).expect("a short packet");
            let problem = ErrorReason::ParameterProblem { code: 1, pointer };
            let error = error_packet(&destination, &packet, problem).expect("an error");
            return self.send_from_stack(host, error);
        }
        if parsed.upper.protocol != next_header::ICMPV6 {
            return;
        }
        if let Ok(Icmpv6 { message: Icmpv6Message::EchoRequest { identifier, sequence, data, .. }, .. }) =
            Icmpv6::parse(parsed.payload())
        {
            let reply = Icmpv6Message::EchoReply { code: 0, identifier, sequence, data };
            return self.send_from_stack(host, icmpv6(destination, parsed.header.source, 64, reply));
        }
        // ICMPv6 errors reach the role too, as the tap hands it a copy.
        let now = self.now;
        if parsed.payload().first().is_some_and(|kind| *kind < 128)
            && destination == host
            && let Some(node) = self.nodes.get_mut(&host)
        {
            node.role().handle_packet(now, &packet);
        }
    }

    /// The Mobility Headers sent since the start, tunnelled ones too, with the sending node.
    pub fn signals(&self) -> Vec<(Instant, Ipv6Addr, Signal)> {
        let inner = |seen: &Seen| {
            let mut packet = PacketBuffer::new(&seen.packet);
            while mga_node::wire::tunnel::decapsulate(&mut packet).is_ok() {}
            Some((seen.when, seen.from, Signal::of(packet.as_slice())?))
        };
        self.seen.iter().filter_map(inner).collect()
    }
}
