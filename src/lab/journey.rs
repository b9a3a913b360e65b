//! Echo requests to A_Any followed from capture to capture: which agent tunnelled each to which responder, and by which
//! way the answer came back. With several agents and responders (thesis 4.3) that is what there is to be judged.
//! The claims of Figure 10 and of the advanced model read it; it judges nothing.

use std::{collections::BTreeMap, net::Ipv6Addr, time::Duration};

use crate::pcap::{
    passage::{Passage, Trace},
    view::View,
};

/// One part of the way of a packet between a source and A_Any. Agents and responders go by their unicast addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// From the source, towards an agent.
    ToAgent,
    /// In a tunnel from an agent to a responder.
    TunnelTo { agent: Ipv6Addr, responder: Ipv6Addr },
    /// In a tunnel from a responder to an agent.
    TunnelFrom { responder: Ipv6Addr, agent: Ipv6Addr },
    /// Out of the tunnel, from an agent to the source.
    FromAgent,
    /// From the source to a responder with a type 2 routing header.
    DirectTo { responder: Ipv6Addr },
    /// From a responder to the source with a home address option.
    DirectFrom { responder: Ipv6Addr },
}

/// An echo request and all that came of it.
#[derive(Debug, Clone)]
pub struct Journey<'a> {
    /// Who asked.
    pub source: Ipv6Addr,
    /// The parts of the way, in order of time, each with the packet as it was there.
    pub legs: Vec<(Leg, &'a Passage)>,
}

impl<'a> Journey<'a> {
    /// When it was asked, since the Unix epoch.
    pub fn at(&self) -> Duration {
        self.legs.first().map_or(Duration::ZERO, |(_, passage)| passage.at())
    }

    /// The packets of it.
    pub fn packets(&self) -> Vec<&'a Passage> {
        self.legs.iter().map(|(_, passage)| *passage).collect()
    }

    /// The agent and the responder of its first tunnel.
    pub fn tunnelled(&self) -> Option<(Ipv6Addr, Ipv6Addr)> {
        self.legs.iter().find_map(|(leg, _)| match *leg {
            Leg::TunnelTo { agent, responder } => Some((agent, responder)),
            _ => None,
        })
    }

    /// True when it went by no agent.
    pub fn is_direct(&self) -> bool {
        matches!(self.legs.first(), Some((Leg::DirectTo { .. }, _)))
    }

    /// The responder that answered, if it went there and back without detours: through `agent` and back through
    /// `home`, or directly both ways.
    pub fn answered_by(&self, home: Ipv6Addr) -> Option<Ipv6Addr> {
        let legs: Vec<Leg> = self.legs.iter().map(|(leg, _)| *leg).collect();
        match *legs.as_slice() {
            [
                Leg::ToAgent,
                Leg::TunnelTo { responder, .. },
                Leg::TunnelFrom { responder: answers, agent },
                Leg::FromAgent,
            ] if responder == answers && agent == home => Some(responder),
            [Leg::DirectTo { responder }, Leg::DirectFrom { responder: answers }] if responder == answers => {
                Some(responder)
            }
            _ => None,
        }
    }
}

/// Every echo request to `anycast`, in the order in which they were asked.
pub fn journeys(trace: &Trace, anycast: Ipv6Addr) -> Vec<Journey<'_>> {
    let mut journeys: Vec<Journey<'_>> = Vec::new();
    let mut places: BTreeMap<(Ipv6Addr, (u16, u16)), usize> = BTreeMap::new();
    for passage in &trace.passages {
        let Ok(view) = &passage.view else { continue };
        let Some((source, leg)) = leg(view, anycast) else { continue };
        let Some(id) = view.echo_request().or_else(|| view.echo_reply()) else { continue };
        let place = *places.entry((source, id)).or_insert_with(|| {
            journeys.push(Journey { source, legs: Vec::new() });
            journeys.len() - 1
        });
        if let Some(journey) = journeys.get_mut(place) {
            journey.legs.push((leg, passage));
        }
    }
    journeys
}

/// For a packet between a source and `anycast`: which source, and which part of its way this is.
pub fn leg(view: &View, anycast: Ipv6Addr) -> Option<(Ipv6Addr, Leg)> {
    let (outer, inner) = (&view.outer, view.inner());
    let plain = inner.home_address.is_none() && inner.routing2.is_none();
    if inner.final_destination() == anycast {
        let leg = match (view.tunnelled.len(), outer.routing2) {
            (0, Some(_)) => Leg::DirectTo { responder: outer.destination },
            (0, None) => Leg::ToAgent,
            (1, _) if plain => Leg::TunnelTo { agent: outer.source, responder: outer.destination },
            _ => return None,
        };
        return Some((inner.final_source(), leg));
    }
    if inner.final_source() == anycast {
        let leg = match (view.tunnelled.len(), outer.home_address) {
            (0, Some(_)) => Leg::DirectFrom { responder: outer.source },
            (0, None) => Leg::FromAgent,
            (1, _) if plain => Leg::TunnelFrom { responder: outer.source, agent: outer.destination },
            _ => return None,
        };
        return Some((inner.final_destination(), leg));
    }
    None
}
