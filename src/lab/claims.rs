//! What thesis section 5 claims, judged on captures alone: never on what our own processes say of themselves.
//! Sections 5.1 (Figure 12), 5.2 (Figure 13) and 5.3 (Figure 14), with the forms RFC 3775 gives the messages.
//! The lab judges its own runs with it, and the tests judge the captures of the KAME daemons.

use std::{collections::BTreeSet, net::Ipv6Addr, time::Duration};

use super::{
    figure11::{ANYCAST, Node},
    judge::{Judge, Judgement, Seen, all, milliseconds},
    observation::{Carried, Exchange, HomeMessage, Observation, Reign, Session, Way},
};
use crate::{
    pcap::{
        passage::{Passage, Trace},
        report::Finding,
        view::Segment,
    },
    wire::{
        destination_options::DestinationOption,
        icmpv6::Icmpv6Message,
        mobility::{Message, MobilityOption, UpdateFlags},
    },
};

/// How soon "immediately" is, for the retry after a refusal (thesis 5.1).
const AT_ONCE: Duration = Duration::from_millis(100);

/// Section 5.1 and Figure 12: two responders update the anycast binding.
pub fn section5_1(trace: &Trace) -> Vec<Finding> {
    let mut judge = Judge::new("5.1", trace);
    let observation = Observation { trace };
    judge.claim(
        "first-200",
        "AR1 registers with sequence number 200 and HAA accepts it",
        accepted(&observation, Node::Ar1, 200),
    );
    judge.claim(
        "refused-100",
        "AR2's sequence number 100 is refused with status 135 carrying 200",
        refused(&observation, Node::Ar2, 100, 200),
    );
    judge.claim(
        "retry-202",
        "AR2 tries again at once with 202 and HAA accepts it",
        retried(&observation, Node::Ar2, 200, 202),
    );
    judge.claim(
        "bound-to-ar2",
        "after that a packet to A_Any is tunnelled to PUA2 and answered by AR2",
        follows(&observation, Node::Ar2),
    );
    judge.claim(
        "update-form",
        "every Binding Update to HAA carries PadN(4) and the Home Address option, flags A and H, PadN(2) and its \
         Alternate Care-of Address",
        update_form(&observation),
    );
    judge.claim(
        "acknowledgement-form",
        "every Binding Acknowledgement goes to the Binding Update's source with a type 2 routing header to A_Any",
        acknowledgement_form(&observation),
    );
    judge.claim(
        "neighbor-advertisement",
        "HAA claims A_Any on the home link: Neighbor Advertisement to ff02::1 with Override",
        claimed_on_link(&observation),
    );
    judge.findings()
}

/// Section 5.2 and Figure 13: neither initiator knows Mobile IPv6.
pub fn section5_2(trace: &Trace) -> Vec<Finding> {
    let mut judge = Judge::new("5.2", trace);
    let observation = Observation { trace };
    let reigns = observation.reigns();
    judge.claim(
        "figure-13a",
        "Figure 13 (a): AI1 and AI2 reach AR1 through HAA, and its answers come back through HAA",
        served(&observation, reign(&reigns, 0, Node::Ar1)),
    );
    judge.claim(
        "plain-kernels",
        "the initiators' kernels answer HoTI and CoTI with ICMPv6 Parameter Problem code 1",
        all([Node::Ai1, Node::Ai2].map(|peer| {
            refused_by_kernel(&observation, peer, &[Node::Ar1, Node::Ar2])
                .and_then(|_| nothing_but_refusals(&observation, peer))
        })),
    );
    judge.claim(
        "left-alone",
        "a responder asks such an initiator once per registration and sends it no Binding Update",
        left_alone(&observation, &[Node::Ai1, Node::Ai2]),
    );
    judge.claim(
        "rebinding",
        "AR2 takes the binding over: 100 is refused with 135 carrying 200, 202 is accepted",
        refused(&observation, Node::Ar2, 100, 200).and_then(|_| retried(&observation, Node::Ar2, 200, 202)),
    );
    judge.claim(
        "figure-13b",
        "Figure 13 (b): AI1 and AI2 now reach AR2 through HAA, and its answers come back through HAA",
        served(&observation, reign(&reigns, 1, Node::Ar2)),
    );
    judge.claim(
        "telnet-ends",
        "AI1's telnet session with AR1 does not survive the change to AR2",
        session_ends(&observation, &reigns),
    );
    judge.claim(
        "rebinding-again",
        "AR1 registers again and every initiator is served by AR1 again",
        served(&observation, reign(&reigns, 2, Node::Ar1)),
    );
    judge.findings()
}

/// Section 5.3 and Figure 14: first AI2 knows Mobile IPv6, then AI1 too.
pub fn section5_3(trace: &Trace) -> Vec<Finding> {
    let mut judge = Judge::new("5.3", trace);
    let observation = Observation { trace };
    let reigns = observation.reigns();
    let first = || reign(&reigns, 0, Node::Ar2);
    let second = || reign(&reigns, 1, Node::Ar1);
    let third = || reign(&reigns, 2, Node::Ar2);
    // From when on AI1 knows Mobile IPv6: its first Mobility Header.
    let learnt = observation
        .packets()
        .find(|(passage, view)| {
            view.mobility().is_some() && !view.is_tunnel() && observation.is_from(Node::Ai1, passage)
        })
        .map(|(passage, _)| passage.at());
    judge.claim(
        "return-routability-ai2",
        "AR2 and AI2: HoTI by the tunnel, CoTI directly, HoT, CoT, then a Binding Update with their nonce indices and an \
         authenticator",
        routability(&observation, Node::Ar2, Node::Ai2),
    );
    judge.claim(
        "figure-14a-ai2",
        "Figure 14 (a): from then on AI2 and AR2 talk directly, with type 2 routing header and Home Address option",
        first().and_then(|reign| direct(&observation, Node::Ai2, Node::Ar2, reign.begin, reign.end)),
    );
    judge.claim(
        "figure-14a-ai1",
        "Figure 14 (a): AI1 talks to AR2 through HAA",
        first().and_then(|reign| through_agent(&observation, Node::Ai1, Node::Ar2, reign.begin, reign.end)),
    );
    judge.claim(
        "plain-kernel",
        "AI1, not yet knowing Mobile IPv6, answers HoTI and CoTI of both responders with Parameter Problem code 1",
        refused_by_kernel(&observation, Node::Ai1, &[Node::Ar2, Node::Ar1]),
    );
    let changed = learnt.unwrap_or(Duration::MAX);
    judge.claim(
        "figure-14b-ai1",
        "Figure 14 (b): AR1 registers, and AI1 talks to AR1 through HAA",
        second().and_then(|reign| {
            through_agent(&observation, Node::Ai1, Node::Ar1, reign.begin, changed.min(reign.end))
        }),
    );
    judge.claim(
        "figure-14b-ai2",
        "Figure 14 (b): AI2 stays with AR2, directly",
        second().and_then(|reign| {
            direct(&observation, Node::Ai2, Node::Ar2, reign.begin, changed.min(reign.end))
        }),
    );
    judge.claim(
        "telnet-ai2",
        "AI2's telnet session, opened before that, goes on with AR2 over the same ports",
        second().and_then(|reign| {
            survives(
                &observation,
                Node::Ai2,
                Node::Ar2,
                reign.begin,
                &[(reign.begin, changed.min(reign.end))],
            )
        }),
    );
    judge.claim(
        "return-routability-ai1",
        "AR1 and AI1, which has learnt Mobile IPv6: HoTI, CoTI, HoT, CoT, Binding Update",
        routability(&observation, Node::Ar1, Node::Ai1),
    );
    judge.claim(
        "figure-14c-ai1",
        "Figure 14 (c): AI1 and AR1 talk directly",
        second().and_then(|reign| direct(&observation, Node::Ai1, Node::Ar1, changed, reign.end)),
    );
    judge.claim(
        "figure-14c-ai2",
        "Figure 14 (c): AI2 and AR2 talk directly",
        second().and_then(|reign| direct(&observation, Node::Ai2, Node::Ar2, changed, reign.end)),
    );
    let later: Vec<(Duration, Duration)> =
        reigns.iter().skip(2).map(|reign| (reign.begin, reign.end)).collect();
    for (name, claim, peer, responder) in [
        ("stays-ai1", "AR2 takes HAA's binding again: AI1 stays with AR1, directly", Node::Ai1, Node::Ar1),
        ("stays-ai2", "AR2 takes HAA's binding again: AI2 stays with AR2, directly", Node::Ai2, Node::Ar2),
    ] {
        let judgement = third().and_then(|_| {
            let each = later.iter().map(|(begin, end)| direct(&observation, peer, responder, *begin, *end));
            all(each)
        });
        judge.claim(name, claim, judgement);
    }
    judge.claim(
        "telnet-survives-ai1",
        "AI1's telnet session, opened while Figure 14 (c) held, survives every later rebinding",
        third().and_then(|reign| survives(&observation, Node::Ai1, Node::Ar1, reign.begin, &later)),
    );
    judge.claim(
        "telnet-survives-ai2",
        "AI2's telnet session, opened in Figure 14 (a), survives every rebinding",
        second().and_then(|reign| {
            let every: Vec<_> = reigns.iter().skip(1).map(|reign| (reign.begin, reign.end)).collect();
            third()?;
            survives(&observation, Node::Ai2, Node::Ar2, reign.begin, &every)
        }),
    );
    judge.findings()
}

/// The reign at this place, if it is this responder's.
fn reign<'a, 'r>(reigns: &'r [Reign<'a>], place: usize, responder: Node) -> Result<&'r Reign<'a>, Seen<'a>> {
    match reigns.get(place) {
        Some(reign) if reign.responder == responder => Ok(reign),
        Some(reign) => Err(Seen::new(
            format!("registration {} is {}'s, not {}'s", place + 1, reign.responder.name(), responder.name()),
            [reign.acknowledgement],
        )),
        None => Err(Seen::nothing(format!(
            "only {} registrations took effect; {}'s is missing",
            reigns.len(),
            responder.name()
        ))),
    }
}

/// What the home registration messages of one responder are at and after a place.
fn next_of<'o, 'a>(
    messages: &'o [super::observation::Home<'a>],
    after: usize,
    responder: Node,
) -> Option<(usize, &'o super::observation::Home<'a>)> {
    messages.iter().enumerate().skip(after + 1).find(|(_, home)| home.responder == responder)
}

/// `responder` sends this sequence number, and the agent's answer to it is status 0 with the same number.
fn accepted<'a>(observation: &Observation<'a>, responder: Node, sequence: u16) -> Judgement<'a> {
    answered(observation, responder, sequence, 0, sequence).map(|(update, answer)| {
        let lead = answer.at().saturating_sub(update.at());
        Seen::new(
            format!("BU {sequence}, BA 0 with {sequence} after {}", milliseconds(lead)),
            [update, answer],
        )
    })
}

/// `responder` sends this sequence number, and the agent's answer is status 135 with the stored one.
fn refused<'a>(observation: &Observation<'a>, responder: Node, sequence: u16, stored: u16) -> Judgement<'a> {
    answered(observation, responder, sequence, 135, stored)
        .map(|(update, answer)| Seen::new(format!("BU {sequence}, BA 135 with {stored}"), [update, answer]))
}

/// After the refusal that carried `stored`, `responder` sends `sequence` at once and is accepted.
fn retried<'a>(observation: &Observation<'a>, responder: Node, stored: u16, sequence: u16) -> Judgement<'a> {
    let messages = observation.home_messages();
    let refusal = messages.iter().enumerate().find(|(_, home)| {
        home.responder == responder
            && matches!(home.message, HomeMessage::Acknowledgement { status: 135, sequence, .. } if sequence == stored)
    });
    let Some((place, refusal)) = refusal else {
        return Err(Seen::nothing(format!("no BA 135 with {stored} for {}", responder.name())));
    };
    let Some((_, retry)) = next_of(&messages, place, responder) else {
        return Err(Seen::new(
            format!("{} sent nothing after the refusal", responder.name()),
            [refusal.passage],
        ));
    };
    if retry.message != (HomeMessage::Update { sequence }) {
        let words = format!("after the refusal came {}, not BU {sequence}", describe(retry.message));
        return Err(Seen::new(words, [refusal.passage, retry.passage]));
    }
    let arrived = observation.at(responder, refusal.passage);
    let pause = observation.at(responder, retry.passage).saturating_sub(arrived);
    if pause > AT_ONCE {
        let words = format!("BU {sequence} came {} after the refusal", milliseconds(pause));
        return Err(Seen::new(words, [refusal.passage, retry.passage]));
    }
    answered(observation, responder, sequence, 0, sequence).map(|(update, answer)| {
        Seen::new(
            format!("BU {sequence} {} after the refusal, BA 0 with {sequence}", milliseconds(pause)),
            [refusal.passage, update, answer],
        )
    })
}

/// The first Binding Update of `responder` with this number, and the agent's answer if it is the expected one.
fn answered<'a>(
    observation: &Observation<'a>,
    responder: Node,
    sequence: u16,
    status: u8,
    carrying: u16,
) -> Result<(&'a Passage, &'a Passage), Seen<'a>> {
    let messages = observation.home_messages();
    let update = messages
        .iter()
        .enumerate()
        .find(|(_, home)| home.responder == responder && home.message == HomeMessage::Update { sequence });
    let Some((place, update)) = update else {
        return Err(Seen::nothing(format!("{} sent no BU {sequence}", responder.name())));
    };
    let Some((_, answer)) = next_of(&messages, place, responder) else {
        return Err(Seen::new(format!("BU {sequence} was not answered"), [update.passage]));
    };
    match answer.message {
        HomeMessage::Acknowledgement { status: s, sequence: n, .. } if (s, n) == (status, carrying) => {
            Ok((update.passage, answer.passage))
        }
        other => Err(Seen::new(
            format!("after BU {sequence} came {}, not BA {status} with {carrying}", describe(other)),
            [update.passage, answer.passage],
        )),
    }
}

fn describe(message: HomeMessage) -> String {
    match message {
        HomeMessage::Update { sequence } => format!("BU {sequence}"),
        HomeMessage::Acknowledgement { status, sequence, .. } => format!("BA {status} with {sequence}"),
    }
}

/// The first echo request to A_Any in `responder`'s reign is tunnelled to it and answered by it.
fn follows<'a>(observation: &Observation<'a>, responder: Node) -> Judgement<'a> {
    let reigns = observation.reigns();
    let Some(reign) = reigns.iter().find(|reign| reign.responder == responder) else {
        return Err(Seen::nothing(format!("{} was never accepted", responder.name())));
    };
    let first = [Node::Ai1, Node::Ai2]
        .into_iter()
        .flat_map(|peer| observation.exchanges(peer))
        .filter(|exchange| reign.covers(exchange.at()))
        .min_by_key(Exchange::at);
    match first {
        Some(exchange) if exchange.went_through_agent(responder) => Ok(Seen::new(
            format!("an echo request of {} took that way", exchange.peer.name()),
            passages(&exchange.packets),
        )),
        Some(exchange) => Err(Seen::new(took(&exchange), passages(&exchange.packets))),
        None => Err(Seen::nothing("no packet to A_Any was captured after that")),
    }
}

fn passages<'a>(packets: &[Carried<'a>]) -> Vec<&'a Passage> {
    packets.iter().map(|carried| carried.passage).collect()
}

/// The way an echo exchange took, in words.
fn took(exchange: &Exchange<'_>) -> String {
    let ways: Vec<String> = exchange
        .packets
        .iter()
        .map(|carried| match carried.way {
            Way::ToAgent => "to HAA".to_owned(),
            Way::TunnelTo(responder) => format!("tunnel to {}", responder.name()),
            Way::TunnelFrom(responder) => format!("tunnel from {}", responder.name()),
            Way::FromAgent => "from HAA".to_owned(),
            Way::DirectTo(responder) => format!("directly to {}", responder.name()),
            Way::DirectFrom(responder) => format!("directly from {}", responder.name()),
            Way::Astray => "astray".to_owned(),
        })
        .collect();
    format!("echo {} of {} went: {}", exchange.id.1, exchange.peer.name(), ways.join(", "))
}

fn update_form<'a>(observation: &Observation<'a>) -> Judgement<'a> {
    let mut right = Vec::new();
    for home in observation.home_messages() {
        let (HomeMessage::Update { sequence }, Ok(view)) = (home.message, &home.passage.view) else {
            continue;
        };
        let Some(Message::BindingUpdate(update)) = view.mobility() else { continue };
        let wrong = |what: &str| Seen::new(format!("BU {sequence}: {what}"), [home.passage]);
        if view.outer.options
            != [DestinationOption::PadN(vec![0, 0]), DestinationOption::HomeAddress(ANYCAST)]
        {
            return Err(wrong(
                "the destination options are not PadN(4) and the Home Address option with A_Any",
            ));
        }
        if !update.flags.contains(UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION) {
            return Err(wrong("flag A or H is missing"));
        }
        let care_of = MobilityOption::AlternateCareOfAddress(view.outer.source);
        if update.options != [MobilityOption::PadN(Vec::new()), care_of] {
            return Err(wrong("the mobility options are not PadN(2) and the Alternate Care-of Address"));
        }
        right.push(home.passage);
    }
    match right.len() {
        0 => Err(Seen::nothing("there is no Binding Update to HAA")),
        count => Ok(Seen::new(format!("{count} Binding Updates"), right.into_iter().take(1))),
    }
}

fn acknowledgement_form<'a>(observation: &Observation<'a>) -> Judgement<'a> {
    let mut right = Vec::new();
    for home in observation.home_messages() {
        let (HomeMessage::Acknowledgement { sequence, .. }, Ok(view)) = (home.message, &home.passage.view)
        else {
            continue;
        };
        // `home_messages` takes only acknowledgements to a care-of address from which Binding Updates come.
        if view.outer.routing2 != Some(ANYCAST) {
            let words = format!("BA with {sequence} has no type 2 routing header to A_Any");
            return Err(Seen::new(words, [home.passage]));
        }
        right.push(home.passage);
    }
    let stray = observation.packets().find(|(_, view)| {
        let to = view.outer.destination;
        matches!(view.mobility(), Some(Message::BindingAcknowledgement(_)))
            && view.outer.source == Node::Haa.address()
            && super::observation::responder(to).is_none()
    });
    if let Some((passage, _)) = stray {
        return Err(Seen::new("a Binding Acknowledgement went to no care-of address", [passage]));
    }
    match right.len() {
        0 => Err(Seen::nothing("there is no Binding Acknowledgement from HAA")),
        count => Ok(Seen::new(format!("{count} Binding Acknowledgements"), right.into_iter().take(1))),
    }
}

fn claimed_on_link<'a>(observation: &Observation<'a>) -> Judgement<'a> {
    const SOLICITED: u32 = 0x4000_0000;
    const OVERRIDE: u32 = 0x2000_0000;
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let found = observation.packets().find(|(_, view)| match view.icmpv6() {
        Some(Icmpv6Message::NeighborAdvertisement { target, flags, .. }) => {
            *target == ANYCAST
                && view.outer.destination == all_nodes
                && view.outer.hop_limit == 255
                && flags & (SOLICITED | OVERRIDE) == OVERRIDE
        }
        _ => false,
    });
    let first = observation.reigns().first().map(|reign| reign.acknowledgement);
    match (found, first) {
        (Some((passage, _)), Some(first)) => {
            let (early, late) = (passage.at().min(first.at()), passage.at().max(first.at()));
            if late - early > Duration::from_secs(1) {
                let words = "the advertisement did not come with the first registration";
                return Err(Seen::new(words, [passage, first]));
            }
            Ok(Seen::new(format!("{} from the first acknowledgement", milliseconds(late - early)), [passage]))
        }
        _ => Err(Seen::nothing("there is no such advertisement with a first registration")),
    }
}

/// Both initiators' echo requests in a reign went through the agent to its responder and back.
fn served<'a>(observation: &Observation<'a>, reign: Result<&Reign<'a>, Seen<'a>>) -> Judgement<'a> {
    let reign = reign?;
    all([Node::Ai1, Node::Ai2]
        .map(|peer| through_agent(observation, peer, reign.responder, reign.begin, reign.end)))
}

/// All echo requests of `peer` in `[begin, end)` went through the agent to `responder` and back, and there are some. One
/// that was still on its way at the end is not judged: its answer may take the new way.
fn through_agent<'a>(
    observation: &Observation<'a>,
    peer: Node,
    responder: Node,
    begin: Duration,
    end: Duration,
) -> Judgement<'a> {
    let mut exchanges = in_time(observation, peer, begin, end);
    exchanges.retain(|exchange| exchange.packets.iter().all(|carried| carried.passage.at() < end));
    all_answered(&exchanges, peer, responder, |exchange| exchange.went_through_agent(responder))
}

/// All of these echo requests of `peer` went the right way to `responder` and back, and there are some.
fn all_answered<'a>(
    exchanges: &[Exchange<'a>],
    peer: Node,
    responder: Node,
    right_way: impl Fn(&Exchange<'a>) -> bool,
) -> Judgement<'a> {
    if let Some(other) = exchanges.iter().find(|exchange| !right_way(exchange)) {
        return Err(Seen::new(took(other), passages(&other.packets)));
    }
    match exchanges.first() {
        Some(first) => Ok(Seen::new(
            format!("{} echo requests of {} answered by {}", exchanges.len(), peer.name(), responder.name()),
            passages(&first.packets),
        )),
        None => Err(Seen::nothing(format!("no echo request of {} was captured in that time", peer.name()))),
    }
}

fn in_time<'a>(
    observation: &Observation<'a>,
    peer: Node,
    begin: Duration,
    end: Duration,
) -> Vec<Exchange<'a>> {
    let mut exchanges = observation.exchanges(peer);
    exchanges.retain(|exchange| (begin..end).contains(&exchange.at()));
    exchanges
}

/// Once `peer` has the Binding Update of `responder`, everything applications send between them in `[begin, end)`
/// goes directly, echo requests are among it, and they are answered.
fn direct<'a>(
    observation: &Observation<'a>,
    peer: Node,
    responder: Node,
    begin: Duration,
    end: Duration,
) -> Judgement<'a> {
    let update = observation
        .updates_to(peer)
        .into_iter()
        .find(|passage| matches!(&passage.view, Ok(view) if view.outer.source == responder.address()));
    let Some(update) = update else {
        let words = format!("{} sent no Binding Update to {}", responder.name(), peer.name());
        return Err(Seen::nothing(words));
    };
    let begin = begin.max(observation.at(peer, update));
    let sent_by_an_end = |carried: &Carried<'_>| {
        [peer, Node::Ar1, Node::Ar2].iter().any(|end| observation.is_from(*end, carried.passage))
    };
    let detour = observation.carried().into_iter().find(|carried| {
        carried.peer == peer
            && carried.view.is_data()
            && (begin..end).contains(&carried.passage.at())
            && sent_by_an_end(carried)
            && carried.way != Way::DirectTo(responder)
            && carried.way != Way::DirectFrom(responder)
    });
    if let Some(detour) = detour {
        let words = format!("a packet went another way: {}", detour.view);
        return Err(Seen::new(words, [detour.passage]));
    }
    let exchanges = in_time(observation, peer, begin, end);
    all_answered(&exchanges, peer, responder, |exchange| exchange.went_directly(responder))
}

/// `peer` refused a HoTI and a CoTI of each of these responders, being a plain kernel.
fn refused_by_kernel<'a>(observation: &Observation<'a>, peer: Node, responders: &[Node]) -> Judgement<'a> {
    let refusals = observation.refusals(peer);
    let mut packets = Vec::new();
    for responder in responders {
        let (mut home, mut care_of) = (None, None);
        for (_, view) in observation.test_inits(*responder, peer) {
            let (cookie, place) = match view.mobility() {
                Some(Message::HomeTestInit(message)) => (message.cookie, &mut home),
                Some(Message::CareOfTestInit(message)) => (message.cookie, &mut care_of),
                _ => continue,
            };
            if let Some((passage, _)) = refusals.iter().find(|(_, quoted)| *quoted == cookie) {
                place.get_or_insert(*passage);
            }
        }
        for (name, refusal) in [("HoTI", home), ("CoTI", care_of)] {
            match refusal {
                Some(passage) => packets.push(passage),
                None => {
                    let (responder, peer) = (responder.name(), peer.name());
                    return Err(Seen::new(
                        format!("no {name} of {responder} was refused by {peer}"),
                        packets,
                    ));
                }
            }
        }
    }
    Ok(Seen::new(format!("{}: {} refusals", peer.name(), refusals.len()), packets))
}

/// Every HoTI and CoTI that `peer` got was refused, and it sent no Mobility Header.
fn nothing_but_refusals<'a>(observation: &Observation<'a>, peer: Node) -> Judgement<'a> {
    let refusals = observation.refusals(peer);
    for responder in [Node::Ar1, Node::Ar2] {
        for (passage, view) in observation.test_inits(responder, peer) {
            let Some(Message::HomeTestInit(message) | Message::CareOfTestInit(message)) = view.mobility()
            else {
                continue;
            };
            if !refusals.iter().any(|(_, quoted)| *quoted == message.cookie) {
                return Err(Seen::new(format!("{view} was not refused by {}", peer.name()), [passage]));
            }
        }
    }
    let own = observation
        .packets()
        .find(|(_, view)| view.mobility().is_some() && view.inner().final_source() == peer.address());
    match own {
        Some((passage, view)) => Err(Seen::new(format!("{} sent {view}", peer.name()), [passage])),
        None => Ok(Seen::new(
            format!("{} refused all {} it got", peer.name(), refusals.len()),
            refusals.into_iter().map(|(passage, _)| passage),
        )),
    }
}

/// At most one HoTI and one CoTI per responder, initiator and registration, and no Binding Update.
fn left_alone<'a>(observation: &Observation<'a>, peers: &[Node]) -> Judgement<'a> {
    let messages = observation.home_messages();
    let mut count = 0;
    for responder in [Node::Ar1, Node::Ar2] {
        let registrations: Vec<Duration> = messages
            .iter()
            .filter(|home| home.responder == responder)
            .filter(|home| matches!(home.message, HomeMessage::Acknowledgement { status: 0..128, .. }))
            .map(|home| home.passage.at())
            .collect();
        for peer in peers {
            let mut asked: BTreeSet<(usize, bool)> = BTreeSet::new();
            for (passage, view) in observation.test_inits(responder, *peer) {
                let during = registrations.iter().filter(|at| **at <= passage.at()).count();
                let home = matches!(view.mobility(), Some(Message::HomeTestInit(_)));
                if !asked.insert((during, home)) {
                    let words = format!("{} asked {} again: {view}", responder.name(), peer.name());
                    return Err(Seen::new(words, [passage]));
                }
                count += 1;
            }
        }
    }
    if let Some(update) = peers.iter().find_map(|peer| observation.updates_to(*peer).first().copied()) {
        return Err(Seen::new("a Binding Update went to an initiator", [update]));
    }
    match count {
        0 => Err(Seen::nothing("no HoTI or CoTI was captured at all")),
        count => Ok(Seen::nothing(format!("{count} HoTI and CoTI in all, none repeated, no Binding Update"))),
    }
}

/// The telnet session AI1 opened in the first reign: what becomes of it in the second.
fn session_ends<'a>(observation: &Observation<'a>, reigns: &[Reign<'a>]) -> Judgement<'a> {
    let first = reign(reigns, 0, Node::Ar1)?;
    let second = reign(reigns, 1, Node::Ar2)?;
    let sessions = observation.sessions(Node::Ai1);
    let session = sessions.iter().find(|session| {
        session.opened().is_some_and(|at| first.covers(at))
            && session.question_and_answer(first.begin, first.end).is_some()
    });
    let Some(session) = session else {
        return Err(Seen::nothing("AI1 had no telnet session with AR1"));
    };
    if let Some(packets) = session.question_and_answer(second.begin, Duration::MAX) {
        let words = format!("the session from port {} was still answered after the change", session.port);
        return Err(Seen::new(words, packets.map(|carried| carried.passage)));
    }
    let after = |way: Way, flag: Option<u8>| {
        session.packets.iter().find(|(carried, segment)| {
            carried.way == way
                && carried.passage.at() >= second.begin
                && flag.is_none_or(|flag| segment.has(flag))
        })
    };
    let Some((tried, _)) = after(Way::TunnelTo(Node::Ar2), None) else {
        return Err(Seen::nothing(format!(
            "the session from port {} was not tried after the change",
            session.port
        )));
    };
    match (after(Way::TunnelFrom(Node::Ar2), Some(Segment::RST)), after(Way::FromAgent, Some(Segment::RST))) {
        (Some((reset, _)), Some((arrives, _))) => {
            let pause = arrives.passage.at().saturating_sub(tried.passage.at());
            Ok(Seen::new(
                format!(
                    "the session from port {} was reset by AR2 after {}",
                    session.port,
                    milliseconds(pause)
                ),
                [tried.passage, reset.passage, arrives.passage],
            ))
        }
        _ => Ok(Seen::new(
            format!("the session from port {} was not answered any more, nor reset", session.port),
            [tried.passage],
        )),
    }
}

fn routability<'a>(observation: &Observation<'a>, responder: Node, peer: Node) -> Judgement<'a> {
    match observation.return_routability(responder, peer) {
        Ok(procedure) => {
            let took = procedure.update.at().saturating_sub(procedure.home_test_init.at());
            Ok(Seen::new(format!("complete in {}", milliseconds(took)), procedure.packets()))
        }
        Err(missing) => Err(Seen::nothing(missing)),
    }
}

/// A telnet session of `peer` that was opened before `before` is used and answered directly by `responder` in each of
/// the times, and is neither reset nor closed before the last answer.
fn survives<'a>(
    observation: &Observation<'a>,
    peer: Node,
    responder: Node,
    before: Duration,
    times: &[(Duration, Duration)],
) -> Judgement<'a> {
    let sessions = observation.sessions(peer);
    let Some(session) = sessions.iter().find(|session| session.opened().is_some_and(|at| at < before)) else {
        return Err(Seen::nothing(format!("{} had no telnet session open before that", peer.name())));
    };
    let mut packets = Vec::new();
    let mut last = Duration::ZERO;
    for (begin, end) in times {
        match used_directly(session, responder, *begin, *end) {
            Some(pair) => {
                last = pair[1].passage.at();
                packets.extend(pair.map(|carried| carried.passage));
            }
            None => {
                let words = format!(
                    "the session from port {} was not used and answered directly by {} after {:.3} s",
                    session.port,
                    responder.name(),
                    begin.saturating_sub(observation.trace.start()).as_secs_f64()
                );
                return Err(Seen::new(words, packets));
            }
        }
    }
    for (flag, name) in [(Segment::RST, "reset"), (Segment::FIN, "closed")] {
        if let Some(end) = session.first_with(flag).filter(|carried| carried.passage.at() <= last) {
            return Err(Seen::new(
                format!("the session from port {} was {name}", session.port),
                [end.passage],
            ));
        }
    }
    let changes = match times.len() {
        1 => "the change".to_owned(),
        count => format!("each of {count} changes"),
    };
    Ok(Seen::new(format!("port {}, answered after {changes}", session.port), packets))
}

fn used_directly<'s, 'a>(
    session: &'s Session<'a>,
    responder: Node,
    begin: Duration,
    end: Duration,
) -> Option<[&'s Carried<'a>; 2]> {
    let pair = session.question_and_answer(begin, end)?;
    let ways = [Way::DirectTo(responder), Way::DirectFrom(responder)];
    (pair.map(|carried| carried.way) == ways).then_some(pair)
}
