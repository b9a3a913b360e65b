//! What thesis 4.3.3 and Figure 10 claim of midway agents, judged on captures alone.
//! The order of events is that of the captures, too: an initiator's requests went through one agent after another.
//! The lab judges its runs with it, and the tests show each claim to fail on captures that were tampered with.

use std::{net::Ipv6Addr, time::Duration};

use super::network::{AID, AIE, AIF, AR1, AR2, HAA, MAAC, MAAE};
use crate::{
    lab::{
        figure11::ANYCAST,
        journey::{Journey, Leg, journeys, leg},
        judge::{Judge, Judgement, Seen, all},
    },
    pcap::{
        passage::{Passage, Trace},
        report::Finding,
    },
    wire::{
        icmpv6::Icmpv6Message,
        mobility::{Message, UpdateFlags},
    },
};

/// The responders.
const RESPONDERS: [Ipv6Addr; 2] = [AR1, AR2];
/// The agents.
const AGENTS: [Ipv6Addr; 3] = [HAA, MAAC, MAAE];

/// Figure 10.
pub fn figure10(trace: &Trace) -> Vec<Finding> {
    let mut judge = Judge::new("figure10", trace);
    judge.claim(
        "registered",
        "AR1 and AR2 register with HAA and, told by it, with every midway agent, each of which answers for itself",
        all(RESPONDERS.iter().flat_map(|responder| {
            AGENTS.iter().map(|agent| registered(trace, *responder, *agent)).collect::<Vec<_>>()
        })),
    );
    judge.claim(
        "home-d",
        "AI-D, with no midway agent on its way, is served by HAA all the time",
        served_by_turns(trace, AID, &[HAA]).map(|(seen, _)| seen),
    );
    judge.claim(
        "midway-f",
        "AI-F is served by MAAC, by HAA when MAAC has stopped, and by MAAC again when it is back",
        served_by_turns(trace, AIF, &[MAAC, HAA, MAAC]).map(|(seen, _)| seen),
    );
    judge.claim(
        "midway-e",
        "AI-E is served by MAAE, and by HAA when MAAE has been killed",
        served_by_turns(trace, AIE, &[MAAE, HAA]).map(|(seen, _)| seen),
    );
    judge.claim("independent", "while MAAC is away, AI-E stays with MAAE", independent(trace));
    judge.claim(
        "back-through-home",
        "whatever agent a request came through, the answer goes through HAA; no midway agent sees any",
        back_through_home(trace),
    );
    judge.claim(
        "routing-only",
        "the midway agents capture by routing alone: they claim A_Any on no link",
        routing_only(trace),
    );
    judge.findings()
}

/// `responder` sent `agent` a Binding Update for A_Any and was accepted with its number.
fn registered(trace: &Trace, responder: Ipv6Addr, agent: Ipv6Addr) -> Judgement<'_> {
    let mut updates: Vec<(u16, &Passage)> = Vec::new();
    for (passage, view) in trace.packets() {
        let ends = (view.outer.source, view.outer.destination);
        match view.mobility() {
            Some(Message::BindingUpdate(update))
                if ends == (responder, agent)
                    && view.outer.home_address == Some(ANYCAST)
                    && update.flags.contains(UpdateFlags::HOME_REGISTRATION) =>
            {
                updates.push((update.sequence, passage));
            }
            Some(Message::BindingAcknowledgement(message))
                if ends == (agent, responder) && message.status.is_accepted() =>
            {
                let asked = updates.iter().find(|(sequence, _)| *sequence == message.sequence);
                if let Some((_, update)) = asked {
                    return Ok(Seen::new(format!("{responder} at {agent}"), [*update, passage]));
                }
            }
            _ => {}
        }
    }
    Err(Seen::new(
        format!("no accepted Binding Update of {responder} at {agent}"),
        updates.into_iter().map(|(_, passage)| passage),
    ))
}

/// A stretch of time in which one agent served an initiator.
type Turn<'a> = (Ipv6Addr, Vec<Journey<'a>>);

/// Every request of `source` was answered, and the agents in the tunnels took these turns.
fn served_by_turns<'a>(
    trace: &'a Trace,
    source: Ipv6Addr,
    agents: &[Ipv6Addr],
) -> Result<(Seen<'a>, Vec<Turn<'a>>), Seen<'a>> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    for journey in journeys(trace, ANYCAST).into_iter().filter(|journey| journey.source == source) {
        let Some((agent, _)) = journey.tunnelled() else {
            return Err(Seen::new("no agent tunnelled this request", journey.packets()));
        };
        match journey.answered_by(HAA) {
            Some(responder) if RESPONDERS.contains(&responder) => {}
            _ => {
                return Err(Seen::new(
                    "this request went another way or was not answered",
                    journey.packets(),
                ));
            }
        }
        match turns.last_mut() {
            Some((last, turn)) if *last == agent => turn.push(journey),
            _ => turns.push((agent, vec![journey])),
        }
    }
    let told = |turns: &[Turn<'_>]| {
        let turns = turns.iter().map(|(agent, turn)| format!("{} through {agent}", turn.len()));
        turns.collect::<Vec<_>>().join(", then ")
    };
    let packets: Vec<&Passage> =
        turns.iter().filter_map(|(_, turn)| turn.first()).flat_map(Journey::packets).collect();
    let seen = Seen::new(format!("answered: {}", told(&turns)), packets);
    match turns.iter().map(|(agent, _)| agent).eq(agents) {
        true => Ok((seen, turns)),
        false => Err(seen),
    }
}

/// Requests of AI-E in the time that AI-F spent with HAA went through MAAE.
fn independent(trace: &Trace) -> Judgement<'_> {
    let (_, turns) = served_by_turns(trace, AIF, &[MAAC, HAA, MAAC])?;
    let times: Vec<Duration> = turns.iter().filter_map(|(_, turn)| turn.first()).map(Journey::at).collect();
    let last_before = turns.first().and_then(|(_, turn)| turn.last()).map(Journey::at);
    let (Some(begin), Some(end)) = (last_before, times.last().copied()) else {
        return Err(Seen::nothing("AI-F never changed"));
    };
    let meanwhile: Vec<Journey<'_>> = journeys(trace, ANYCAST)
        .into_iter()
        .filter(|journey| journey.source == AIE && (begin..end).contains(&journey.at()))
        .collect();
    let by_midway = |journey: &Journey<'_>| journey.tunnelled().is_some_and(|(agent, _)| agent == MAAE);
    let words = format!("{} requests of AI-E in that time", meanwhile.len());
    let packets = meanwhile.iter().flat_map(Journey::packets).collect::<Vec<_>>();
    match !meanwhile.is_empty() && meanwhile.iter().all(by_midway) {
        true => Ok(Seen::new(words, packets)),
        false => Err(Seen::new(words, packets)),
    }
}

/// Every tunnel from a responder ends at the home agent, and there are some.
fn back_through_home(trace: &Trace) -> Judgement<'_> {
    let mut answers = 0;
    for (passage, view) in trace.packets() {
        let Some((_, Leg::TunnelFrom { agent, .. })) = leg(view, ANYCAST) else { continue };
        if agent != HAA {
            return Err(Seen::new(format!("a tunnel to {agent}"), [passage]));
        }
        answers += 1;
    }
    match answers {
        0 => Err(Seen::nothing("no responder sent anything through a tunnel")),
        answers => Ok(Seen::nothing(format!("{answers} packets"))),
    }
}

/// Nobody but the home agent advertises A_Any as a neighbour; it does, which shows that it would be seen.
fn routing_only(trace: &Trace) -> Judgement<'_> {
    let midway: Vec<usize> = ["MAAC", "MAAE"].iter().filter_map(|name| trace.node(name)).collect();
    let claims: Vec<&Passage> = trace
        .packets()
        .filter(|(_, view)| {
            matches!(view.icmpv6(), Some(Icmpv6Message::NeighborAdvertisement { target, .. }) if *target == ANYCAST)
        })
        .map(|(passage, _)| passage)
        .collect();
    let elsewhere =
        claims.iter().find(|claim| claim.sightings.iter().any(|seen| midway.contains(&seen.node)));
    match (claims.first(), elsewhere) {
        (_, Some(elsewhere)) => Err(Seen::new("a midway agent's link saw A_Any advertised", [*elsewhere])),
        (None, None) => Err(Seen::nothing("not even HAA claimed A_Any")),
        (Some(claim), None) => {
            Ok(Seen::new(format!("{} advertisements, all of HAA", claims.len()), [*claim]))
        }
    }
}
