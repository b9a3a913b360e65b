//! What the captures of a run say: registrations, echo exchanges, telnet sessions, return routability tests.
//! It reads thesis section 5's conversations (RFC 3775 sections 5.2, 10.4, 11.6) out of passages and judges nothing.
//! `lab::claims` asks the questions.

use std::{net::Ipv6Addr, time::Duration};

use super::figure11::{ANYCAST, Node};
use crate::{
    pcap::{
        passage::{Passage, Trace},
        view::{Segment, View},
    },
    wire::mobility::{Message, MobilityOption, UpdateFlags},
};

/// How a packet between an initiator and A_Any travels on this part of its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the initiator, towards the home network.
    ToAgent,
    /// From the agent to this responder's care-of address, in a tunnel (RFC 2473).
    TunnelTo(Node),
    /// From this responder to the agent, in a tunnel.
    TunnelFrom(Node),
    /// Out of the tunnel, from the agent to the initiator.
    FromAgent,
    /// From the initiator to this responder with a type 2 routing header.
    DirectTo(Node),
    /// From this responder to the initiator with a home address option.
    DirectFrom(Node),
    /// In no way that the thesis knows.
    Astray,
}

/// A packet between an initiator and A_Any.
#[derive(Debug, Clone, Copy)]
pub struct Carried<'a> {
    /// The initiator.
    pub peer: Node,
    /// How it goes.
    pub way: Way,
    /// The packet.
    pub passage: &'a Passage,
    /// The packet looked at.
    pub view: &'a View,
}

/// A home registration message.
#[derive(Debug, Clone, Copy)]
pub struct Home<'a> {
    /// The responder that sent it or that it is for.
    pub responder: Node,
    /// What it says.
    pub message: HomeMessage,
    /// The packet.
    pub passage: &'a Passage,
}

/// Binding Update or Acknowledgement of a home registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HomeMessage {
    /// A Binding Update with the home registration bit.
    Update {
        /// Its sequence number.
        sequence: u16,
    },
    /// A Binding Acknowledgement.
    Acknowledgement {
        /// Its status (RFC 3775 section 6.1.8).
        status: u8,
        /// The sequence number in it.
        sequence: u16,
        /// True when the lifetime is not zero.
        lives: bool,
    },
}

/// A time in which the agent's binding cache has one responder for A_Any.
#[derive(Debug, Clone, Copy)]
pub struct Reign<'a> {
    /// The responder.
    pub responder: Node,
    /// From when, since the Unix epoch.
    pub begin: Duration,
    /// Until when, since the Unix epoch; [`Duration::MAX`] for the last.
    pub end: Duration,
    /// The acknowledgement that began it.
    pub acknowledgement: &'a Passage,
}

impl Reign<'_> {
    /// True when `at` is in it.
    pub fn covers(&self, at: Duration) -> bool {
        (self.begin..self.end).contains(&at)
    }
}

/// An echo request and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange<'a> {
    /// The initiator that asked.
    pub peer: Node,
    /// Identifier and sequence number.
    pub id: (u16, u16),
    /// Every packet of it in order.
    pub packets: Vec<Carried<'a>>,
}

impl Exchange<'_> {
    /// When it was asked, since the Unix epoch.
    pub fn at(&self) -> Duration {
        self.packets.first().map_or(Duration::ZERO, |carried| carried.passage.at())
    }

    fn went(&self, ways: &[Way]) -> bool {
        self.packets.iter().map(|carried| carried.way).eq(ways.iter().copied())
    }

    /// True when both directions went through the agent and `responder` answered.
    pub fn went_through_agent(&self, responder: Node) -> bool {
        self.went(&[Way::ToAgent, Way::TunnelTo(responder), Way::TunnelFrom(responder), Way::FromAgent])
    }

    /// True when both directions went directly and `responder` answered.
    pub fn went_directly(&self, responder: Node) -> bool {
        self.went(&[Way::DirectTo(responder), Way::DirectFrom(responder)])
    }
}

/// A TCP connection from an initiator to port 23 of A_Any.
#[derive(Debug, Clone)]
pub struct Session<'a> {
    /// The initiator.
    pub peer: Node,
    /// Its port, which tells its sessions apart.
    pub port: u16,
    /// Every packet of it in order.
    pub packets: Vec<(Carried<'a>, Segment)>,
}

impl<'a> Session<'a> {
    /// When it was opened: its SYN and, later, the answer to it; `None` when either is missing.
    pub fn opened(&self) -> Option<Duration> {
        let (syn, _) = self.packets.iter().find(|(carried, segment)| {
            segment.has(Segment::SYN) && !segment.has(Segment::ACK) && carried.is_towards_anycast()
        })?;
        self.packets.iter().find(|(carried, segment)| {
            segment.has(Segment::SYN) && segment.has(Segment::ACK) && !carried.is_towards_anycast()
        })?;
        Some(syn.passage.at())
    }

    /// The first payload from the initiator in `[begin, end)` with the first payload back after it.
    pub fn question_and_answer(&self, begin: Duration, end: Duration) -> Option<[&Carried<'a>; 2]> {
        let payload = |towards: bool, after: Duration| {
            self.packets.iter().find(move |(carried, segment)| {
                segment.payload > 0
                    && carried.is_towards_anycast() == towards
                    && (after..end).contains(&carried.passage.at())
            })
        };
        let (question, _) = payload(true, begin)?;
        let (answer, _) = payload(false, question.passage.at())?;
        Some([question, answer])
    }

    /// The first packet with this control bit.
    pub fn first_with(&self, flag: u8) -> Option<&Carried<'a>> {
        self.packets.iter().find(|(_, segment)| segment.has(flag)).map(|(carried, _)| carried)
    }
}

impl Carried<'_> {
    /// True from the initiator to A_Any, false back.
    pub fn is_towards_anycast(&self) -> bool {
        self.view.inner().final_destination() == ANYCAST
    }
}

/// The packets of a return routability procedure up to the Binding Update, in the order of RFC 3775 section 5.2.5.
#[derive(Debug, Clone, Copy)]
pub struct ReturnRoutability<'a> {
    /// HoTI in the tunnel to the agent.
    pub home_test_init: &'a Passage,
    /// CoTI straight to the initiator.
    pub care_of_test_init: &'a Passage,
    /// HoT from the initiator.
    pub home_test: &'a Passage,
    /// HoT in the tunnel to the responder.
    pub home_test_tunnelled: &'a Passage,
    /// CoT straight to the responder.
    pub care_of_test: &'a Passage,
    /// The Binding Update to the initiator.
    pub update: &'a Passage,
}

impl<'a> ReturnRoutability<'a> {
    /// The packets in the order of RFC 3775.
    pub fn packets(&self) -> [&'a Passage; 6] {
        [
            self.home_test_init,
            self.care_of_test_init,
            self.home_test,
            self.home_test_tunnelled,
            self.care_of_test,
            self.update,
        ]
    }
}

/// The captures of one step, to be asked.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The captures.
    pub trace: &'a Trace,
}

impl<'a> Observation<'a> {
    /// When `node` saw the packet, or when it was first seen if that node was not captured or did not see it.
    pub fn at(&self, node: Node, passage: &Passage) -> Duration {
        let there = self.trace.node(node.name()).and_then(|node| passage.at_node(node));
        there.unwrap_or_else(|| passage.at())
    }

    /// True when the packet set out from `node`.
    pub fn is_from(&self, node: Node, passage: &Passage) -> bool {
        passage.from.is_some() && passage.from == self.trace.node(node.name())
    }

    /// Every packet that could be looked at, in order.
    pub fn packets(&self) -> impl Iterator<Item = (&'a Passage, &'a View)> {
        self.trace.packets()
    }

    /// Home registration messages between responders and the agent, in order.
    pub fn home_messages(&self) -> Vec<Home<'a>> {
        let mut messages = Vec::new();
        for (passage, view) in self.packets() {
            if view.is_tunnel() {
                continue;
            }
            let (other, message) = match view.mobility() {
                Some(Message::BindingUpdate(update))
                    if update.flags.contains(UpdateFlags::HOME_REGISTRATION)
                        && view.outer.destination == Node::Haa.address() =>
                {
                    (view.outer.source, HomeMessage::Update { sequence: update.sequence })
                }
                Some(Message::BindingAcknowledgement(message))
                    if view.outer.source == Node::Haa.address() =>
                {
                    let (status, sequence) = (message.status.0, message.sequence);
                    let lives = message.lifetime.seconds() > 0;
                    (view.outer.destination, HomeMessage::Acknowledgement { status, sequence, lives })
                }
                _ => continue,
            };
            if let Some(responder) = responder(other) {
                messages.push(Home { responder, message, passage });
            }
        }
        messages
    }

    /// Who held A_Any and when, by the acknowledgements alone. A refresh does not begin a new reign.
    pub fn reigns(&self) -> Vec<Reign<'a>> {
        let mut reigns: Vec<Reign<'a>> = Vec::new();
        for home in self.home_messages() {
            let HomeMessage::Acknowledgement { status, lives, .. } = home.message else { continue };
            if status >= 128 || !lives {
                continue;
            }
            if reigns.last().is_some_and(|last| last.responder == home.responder) {
                continue;
            }
            let begin = home.passage.at();
            if let Some(last) = reigns.last_mut() {
                last.end = begin;
            }
            let acknowledgement = home.passage;
            reigns.push(Reign { responder: home.responder, begin, end: Duration::MAX, acknowledgement });
        }
        reigns
    }

    /// Packets between initiators and A_Any, in order.
    pub fn carried(&self) -> Vec<Carried<'a>> {
        self.packets()
            .filter_map(|(passage, view)| {
                let (peer, way) = way(view)?;
                Some(Carried { peer, way, passage, view })
            })
            .collect()
    }

    /// The echo requests of an initiator to A_Any with all that followed from each.
    pub fn exchanges(&self, peer: Node) -> Vec<Exchange<'a>> {
        let mut exchanges: Vec<Exchange<'a>> = Vec::new();
        for carried in self.carried().into_iter().filter(|carried| carried.peer == peer) {
            let Some(id) = carried.view.echo_request().or_else(|| carried.view.echo_reply()) else {
                continue;
            };
            match exchanges.iter_mut().find(|exchange| exchange.id == id) {
                Some(exchange) => exchange.packets.push(carried),
                None => exchanges.push(Exchange { peer, id, packets: vec![carried] }),
            }
        }
        exchanges
    }

    /// The telnet sessions of an initiator with A_Any.
    pub fn sessions(&self, peer: Node) -> Vec<Session<'a>> {
        let mut sessions: Vec<Session<'a>> = Vec::new();
        for carried in self.carried().into_iter().filter(|carried| carried.peer == peer) {
            let Some(segment) = carried.view.tcp().copied() else { continue };
            let (port, server) = match carried.is_towards_anycast() {
                true => (segment.source_port, segment.destination_port),
                false => (segment.destination_port, segment.source_port),
            };
            if server != 23 {
                continue;
            }
            match sessions.iter_mut().find(|session| session.port == port) {
                Some(session) => session.packets.push((carried, segment)),
                None => sessions.push(Session { peer, port, packets: vec![(carried, segment)] }),
            }
        }
        sessions
    }

    /// The Binding Updates a responder sent to an initiator.
    pub fn updates_to(&self, peer: Node) -> Vec<&'a Passage> {
        self.packets()
            .filter(|(_, view)| {
                matches!(view.mobility(), Some(Message::BindingUpdate(_)))
                    && view.inner().final_destination() == peer.address()
            })
            .map(|(passage, _)| passage)
            .collect()
    }

    /// HoTI (as it leaves the agent) and CoTI from `responder` for `peer`. Two responders' HoTIs look alike outside
    /// the tunnel, so those inside are taken.
    pub fn test_inits(&self, responder: Node, peer: Node) -> Vec<(&'a Passage, &'a View)> {
        self.packets()
            .filter(|(_, view)| match view.mobility() {
                Some(Message::HomeTestInit(_)) => way(view) == Some((peer, Way::TunnelFrom(responder))),
                Some(Message::CareOfTestInit(_)) => {
                    (view.outer.source, view.outer.destination) == (responder.address(), peer.address())
                }
                _ => false,
            })
            .collect()
    }

    /// The HoTs of `peer` that came to `responder` through the tunnel.
    pub fn home_tests(&self, responder: Node, peer: Node) -> Vec<&'a Passage> {
        let through = self.packets().filter(|(_, view)| {
            matches!(view.mobility(), Some(Message::HomeTest(_)))
                && way(view) == Some((peer, Way::TunnelTo(responder)))
        });
        through.map(|(passage, _)| passage).collect()
    }

    /// The first complete return routability procedure between `responder` and `peer`: cookies returned, nonce
    /// indices and a 96-bit authenticator in the Binding Update.
    ///
    /// # Errors
    /// The name of the first message that is missing or out of order.
    pub fn return_routability(
        &self,
        responder: Node,
        peer: Node,
    ) -> Result<ReturnRoutability<'a>, &'static str> {
        let mut failure = "no HoTI in the tunnel to the agent";
        for (init, view) in self.test_inits(responder, peer) {
            let Some(Message::HomeTestInit(message)) = view.mobility() else { continue };
            match self.return_routability_from(init, message.cookie, responder, peer) {
                Ok(procedure) => return Ok(procedure),
                Err(missing) => failure = missing,
            }
        }
        Err(failure)
    }

    fn return_routability_from(
        &self,
        home_test_init: &'a Passage,
        home_cookie: [u8; 8],
        responder: Node,
        peer: Node,
    ) -> Result<ReturnRoutability<'a>, &'static str> {
        let by_way = |wanted: Way| move |view: &View| way(view) == Some((peer, wanted));
        let straight = |from: Node, to: Node| {
            move |view: &View| {
                !view.is_tunnel()
                    && (view.outer.source, view.outer.destination) == (from.address(), to.address())
            }
        };
        let home = |message: &Message| match message {
            Message::HomeTest(message) if message.cookie == home_cookie => Some(message.nonce_index),
            _ => None,
        };
        let (home_test, home_index) = self
            .find(home_test_init.at(), by_way(Way::ToAgent), home)
            .ok_or("no HoT with the cookie of the HoTI")?;
        let (home_test_tunnelled, _) = self
            .find(home_test.at(), by_way(Way::TunnelTo(responder)), home)
            .ok_or("the HoT did not come through the tunnel to the responder")?;
        let inits: Vec<_> = self
            .test_inits(responder, peer)
            .into_iter()
            .filter_map(|(passage, view)| match view.mobility() {
                Some(Message::CareOfTestInit(message)) => Some((passage, message.cookie)),
                _ => None,
            })
            .collect();
        if inits.is_empty() {
            return Err("no CoTI straight to the initiator");
        }
        let (care_of_test_init, (care_of_test, care_of_index)) = inits
            .into_iter()
            .find_map(|(init, cookie)| {
                let test = self.find(init.at(), straight(peer, responder), |message| match message {
                    Message::CareOfTest(message) if message.cookie == cookie => Some(message.nonce_index),
                    _ => None,
                })?;
                Some((init, test))
            })
            .ok_or("no CoT with the cookie of a CoTI")?;
        let both = self.at(responder, home_test_tunnelled).max(self.at(responder, care_of_test));
        let (update, ()) = self
            .find(home_test_init.at(), by_way(Way::DirectFrom(responder)), |message| match message {
                Message::BindingUpdate(update) => {
                    let indices = MobilityOption::NonceIndices { home: home_index, care_of: care_of_index };
                    let authenticated = matches!(
                        update.options.last(),
                        Some(MobilityOption::BindingAuthorizationData(data)) if data.len() == 12
                    );
                    (update.options.contains(&indices) && authenticated).then_some(())
                }
                _ => None,
            })
            .ok_or("no Binding Update with the nonce indices of HoT and CoT and an authenticator")?;
        if self.at(responder, update) < both {
            return Err("the Binding Update left before HoT and CoT had arrived");
        }
        Ok(ReturnRoutability {
            home_test_init,
            care_of_test_init,
            home_test,
            home_test_tunnelled,
            care_of_test,
            update,
        })
    }

    /// The ICMPv6 Parameter Problems of code 1 by which `peer` says that it does not know the Mobility Header, each with
    /// the cookie of the HoTI or CoTI it quotes. The pointer must be at the Next Header field (RFC 4443 section 3.4).
    pub fn refusals(&self, peer: Node) -> Vec<(&'a Passage, [u8; 8])> {
        self.packets()
            .filter(|(_, view)| !view.is_tunnel() && view.outer.source == peer.address())
            .filter_map(|(passage, view)| {
                let (code, pointer, quoted) = view.parameter_problem()?;
                let quoted = View::parse(quoted).ok()?;
                match quoted.mobility()? {
                    Message::HomeTestInit(message) | Message::CareOfTestInit(message)
                        if (code, pointer) == (1, 6) =>
                    {
                        Some((passage, message.cookie))
                    }
                    _ => None,
                }
            })
            .collect()
    }

    fn find<T>(
        &self,
        after: Duration,
        place: impl Fn(&View) -> bool,
        pick: impl Fn(&Message) -> Option<T>,
    ) -> Option<(&'a Passage, T)> {
        self.packets()
            .filter(|(passage, view)| passage.at() >= after && place(view))
            .find_map(|(passage, view)| Some((passage, pick(view.mobility()?)?)))
    }
}

/// The responder with this care-of address.
pub fn responder(care_of: Ipv6Addr) -> Option<Node> {
    [Node::Ar1, Node::Ar2].into_iter().find(|node| node.address() == care_of)
}

fn initiator(address: Ipv6Addr) -> Option<Node> {
    [Node::Ai1, Node::Ai2].into_iter().find(|node| node.address() == address)
}

/// For a packet between an initiator and A_Any: which initiator, and how the packet travels.
pub fn way(view: &View) -> Option<(Node, Way)> {
    let (outer, inner) = (&view.outer, view.inner());
    let agent = Node::Haa.address();
    let one_tunnel = view.tunnelled.len() == 1 && inner.routing2.is_none() && inner.home_address.is_none();
    if inner.final_destination() == ANYCAST {
        let peer = initiator(inner.final_source())?;
        let way = match responder(outer.destination) {
            Some(responder) if one_tunnel && outer.source == agent => Way::TunnelTo(responder),
            Some(responder) if !view.is_tunnel() && outer.routing2 == Some(ANYCAST) => {
                Way::DirectTo(responder)
            }
            None if !view.is_tunnel() && outer.destination == ANYCAST => Way::ToAgent,
            _ => Way::Astray,
        };
        return Some((peer, way));
    }
    if inner.final_source() == ANYCAST {
        let peer = initiator(inner.final_destination())?;
        let way = match responder(outer.source) {
            Some(responder) if one_tunnel && outer.destination == agent => Way::TunnelFrom(responder),
            Some(responder) if !view.is_tunnel() && outer.home_address == Some(ANYCAST) => {
                Way::DirectFrom(responder)
            }
            None if !view.is_tunnel() && outer.source == ANYCAST => Way::FromAgent,
            _ => Way::Astray,
        };
        return Some((peer, way));
    }
    None
}
