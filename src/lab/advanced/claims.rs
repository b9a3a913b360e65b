//! What thesis 4.3.1 and 4.3.2 claim of the advanced model, judged on captures alone: several responders kept at once,
//! sources spread and fixed, sessions that survive, responders that die or leave, members and strangers.
//! The lab judges its runs with it, and the tests show each claim to fail on captures that were tampered with.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    ops::RangeInclusive,
    time::Duration,
};

use super::{
    SOURCES,
    failover::{Failover, load_of},
};
use crate::{
    lab::{
        figure11::{ANYCAST, Node},
        journey::{Journey, journeys},
        judge::{Judge, Judgement, Seen, all, milliseconds},
        observation::{Home, HomeMessage, Observation, Way},
    },
    pcap::{
        passage::{Passage, Trace},
        report::Finding,
        view::Segment,
    },
    wire::mobility::{Experimental, Message, MobilityOption, OfferFlags, Status},
};

/// New sources must be served by the other responder this soon after one has died. The aim is a second, which a machine
/// with other work to do may miss; what was measured is told beside the verdict.
const SOON: Duration = Duration::from_secs(3);

const FIXED: &str = "every source stays with the responder that its first packet went to";

const ANSWERED: &str = "every request is answered, through HAA both ways";

/// The responders of Figure 11.
const RESPONDERS: [Node; 2] = [Node::Ar1, Node::Ar2];

/// What the claims read of one step.
struct Step<'a> {
    judge: Judge<'a>,
    observation: Observation<'a>,
    /// The echo requests of the load.
    load: Vec<Journey<'a>>,
}

impl<'a> Step<'a> {
    fn of(name: &str, trace: &'a Trace) -> Self {
        Step { judge: Judge::new(name, trace), observation: Observation { trace }, load: load_of(trace) }
    }

    fn claim(&mut self, name: &str, claim: &str, judge: impl FnOnce(&Self) -> Judgement<'a>) {
        let judgement = judge(self);
        self.judge.claim(name, claim, judgement);
    }

    /// The acceptances of home registrations of `responder`.
    fn accepted(&self, responder: Node) -> Vec<Home<'a>> {
        let mut messages = self.observation.home_messages();
        messages.retain(|home| {
            home.responder == responder
                && matches!(home.message, HomeMessage::Acknowledgement { status, lives: true, .. } if status < 128)
        });
        messages
    }

    /// When the first acceptance of each responder was there.
    fn both_from(&self) -> Result<Duration, Seen<'a>> {
        let mut from = Duration::ZERO;
        for responder in RESPONDERS {
            match self.accepted(responder).first() {
                Some(first) => from = from.max(first.passage.at()),
                None => return Err(Seen::nothing(format!("{} was not accepted", responder.name()))),
            }
        }
        Ok(from)
    }

    /// Every request of the load was answered by the responder that it was tunnelled to, through the home agent.
    fn answered(&self) -> Judgement<'a> {
        if self.load.is_empty() {
            return Err(Seen::nothing("nobody sent a request"));
        }
        let lost = self.load.iter().find(|journey| responder_of(journey).is_none());
        match lost {
            Some(lost) => Err(Seen::new("this request went another way or was not answered", lost.packets())),
            None => Ok(Seen::nothing(format!("{} requests", self.load.len()))),
        }
    }

    /// The sources that each responder served, by the first request of each.
    fn sources(&self) -> BTreeMap<Node, BTreeSet<Ipv6Addr>> {
        let mut sources: BTreeMap<Node, BTreeSet<Ipv6Addr>> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for journey in &self.load {
            if known.insert(journey.source)
                && let Some(responder) = tunnelled_to(journey)
            {
                sources.entry(responder).or_default().insert(journey.source);
            }
        }
        sources
    }

    /// AR1 served so many of a hundred sources, and AR2 all others.
    fn share(&self, percent: RangeInclusive<usize>) -> Judgement<'a> {
        let sources = self.sources();
        let count = |responder| sources.get(&responder).map_or(0, BTreeSet::len);
        let (first, second) = (count(Node::Ar1), count(Node::Ar2));
        let words = format!("AR1 {first}, AR2 {second} of {SOURCES} sources");
        if first + second != usize::from(SOURCES) {
            return Err(Seen::nothing(words));
        }
        // Not divided: one of two hundred is more than none.
        let of_all = |percent: &usize| percent * usize::from(SOURCES);
        match (of_all(percent.start())..=of_all(percent.end())).contains(&(first * 100)) {
            true => Ok(Seen::nothing(words)),
            false => Err(Seen::nothing(words)),
        }
    }

    /// Every source that asked several times was always served by the same responder.
    fn fixed(&self) -> Judgement<'a> {
        let mut served: BTreeMap<Ipv6Addr, (Node, usize)> = BTreeMap::new();
        for journey in &self.load {
            let Some(responder) = tunnelled_to(journey) else { continue };
            let (first, count) = served.entry(journey.source).or_insert((responder, 0));
            if *first != responder {
                let words = format!("{} went from {} to {}", journey.source, first.name(), responder.name());
                return Err(Seen::new(words, journey.packets()));
            }
            *count += 1;
        }
        let several = served.values().filter(|(_, count)| *count > 1).count();
        match several {
            0 => Err(Seen::nothing("no source asked twice")),
            several => Ok(Seen::nothing(format!("{several} sources"))),
        }
    }
}

fn node(address: Ipv6Addr) -> Option<Node> {
    RESPONDERS.into_iter().find(|node| node.address() == address)
}

/// The responder that the home agent tunnelled the request to first.
fn tunnelled_to(journey: &Journey<'_>) -> Option<Node> {
    let (agent, responder) = journey.tunnelled()?;
    node(responder).filter(|_| agent == Node::Haa.address())
}

/// The responder that served the request well.
fn responder_of(journey: &Journey<'_>) -> Option<Node> {
    node(journey.answered_by(Node::Haa.address())?)
}

/// Figure 9: the second Binding Update adds.
pub fn figure9(trace: &Trace) -> Vec<Finding> {
    let mut step = Step::of("figure9", trace);
    step.claim(
        "own-numbers",
        "each responder has a sequence space of its own: AR1's 200 and AR2's 100 are both accepted, nothing is refused",
        own_numbers,
    );
    step.claim("kept", "from then on HAA tunnels to both, whoever of them registers again", kept);
    step.claim("fixed", FIXED, Step::fixed);
    step.claim("answered", ANSWERED, Step::answered);
    step.judge.findings()
}

fn own_numbers<'a>(step: &Step<'a>) -> Judgement<'a> {
    let messages = step.observation.home_messages();
    let refused = messages
        .iter()
        .find(|home| matches!(home.message, HomeMessage::Acknowledgement { status, .. } if status >= 128));
    if let Some(refused) = refused {
        return Err(Seen::new("a refusal", [refused.passage]));
    }
    all([(Node::Ar1, 200), (Node::Ar2, 100)].map(|(responder, wanted)| {
        match step.accepted(responder).first() {
            Some(Home { message: HomeMessage::Acknowledgement { sequence, .. }, passage, .. })
                if *sequence == wanted =>
            {
                Ok(Seen::new(format!("{}'s {sequence}", responder.name()), [*passage]))
            }
            other => Err(Seen::new(
                format!("{}'s first acceptance is not of {wanted}", responder.name()),
                other.map(|home| home.passage),
            )),
        }
    }))
}

/// In each stretch between registrations both responders got requests.
fn kept<'a>(step: &Step<'a>) -> Judgement<'a> {
    let from = step.both_from()?;
    let mut ends: Vec<Duration> = RESPONDERS
        .iter()
        .flat_map(|responder| step.accepted(*responder))
        .map(|home| home.passage.at())
        .filter(|at| *at > from)
        .collect();
    ends.push(Duration::MAX);
    ends.sort_unstable();
    let mut begin = from;
    let mut stretches = 0;
    for end in ends {
        let stretch = step.load.iter().filter(|journey| (begin..end).contains(&journey.at()));
        let served: Vec<Node> = stretch.filter_map(tunnelled_to).collect();
        // Two messages of one registration follow each other at once.
        if !served.is_empty() {
            stretches += 1;
            if let Some(missing) = RESPONDERS.iter().find(|responder| !served.contains(responder)) {
                let words = format!("{} got nothing in stretch {stretches}", missing.name());
                return Err(Seen::nothing(words));
            }
        }
        begin = end;
    }
    match stretches {
        0..3 => Err(Seen::nothing(format!("only {stretches} stretches between registrations had requests"))),
        stretches => Ok(Seen::nothing(format!("in each of {stretches} stretches between registrations"))),
    }
}

/// Declares the judge of a spread: what it goes by, and how many of a hundred sources AR1 gets.
macro_rules! spread {
    ($name:ident, $step:literal, $claim:literal, $percent:expr) => {
        /// The spread of sources by this policy.
        pub fn $name(trace: &Trace) -> Vec<Finding> {
            let mut step = Step::of($step, trace);
            step.claim("share", $claim, |step| step.share($percent));
            step.claim("fixed", FIXED, Step::fixed);
            step.claim("answered", ANSWERED, Step::answered);
            step.judge.findings()
        }
    };
}

spread!(spread_hash, "hash", "by hash, each responder gets about half of the sources", 40..=60);
spread!(spread_weighted, "weighted", "by weights 3 and 1, AR1 gets about three of four sources", 68..=82);
spread!(
    spread_preference,
    "preference",
    "by preference, AR2, which is named first, gets every source",
    0..=0
);
spread!(
    spread_metric,
    "metric",
    "by the metric they report, AR2, whose metric is less, gets every source",
    0..=0
);
spread!(spread_distance, "distance", "by distance, AR2, which is nearer, gets every source", 0..=0);

/// A telnet session without route optimisation goes on whatever the responders signal.
pub fn telnet(trace: &Trace) -> Vec<Finding> {
    let mut step = Step::of("telnet", trace);
    step.claim(
        "survives",
        "AI1's telnet session, always through HAA, survives the other responder's registrations, refreshes and the drain \
         of its own responder",
        survives,
    );
    step.claim("drained", "a responder that is drained gets no new source; the other gets them all", drained);
    step.judge.findings()
}

/// AI1's session, with the responder that has it.
fn session<'a>(step: &Step<'a>) -> Result<(crate::lab::observation::Session<'a>, Node), Seen<'a>> {
    let session = step.observation.sessions(Node::Ai1).into_iter().find(|session| session.opened().is_some());
    let session = session.ok_or_else(|| Seen::nothing("AI1 opened no telnet session"))?;
    let to = session.packets.iter().find_map(|(carried, _)| match carried.way {
        Way::TunnelTo(responder) => Some(responder),
        _ => None,
    });
    let responder = to.ok_or_else(|| Seen::nothing("the session went through no tunnel"))?;
    Ok((session, responder))
}

fn survives<'a>(step: &Step<'a>) -> Judgement<'a> {
    let (session, responder) = session(step)?;
    let astray = session.packets.iter().find(|(carried, _)| match carried.way {
        Way::TunnelTo(of) | Way::TunnelFrom(of) => of != responder,
        Way::ToAgent | Way::FromAgent => false,
        _ => true,
    });
    if let Some((carried, _)) = astray {
        return Err(Seen::new("a packet of the session went another way", [carried.passage]));
    }
    let opened = session.opened().unwrap_or_default();
    let mut packets = Vec::new();
    for of in RESPONDERS {
        let mut later = step.accepted(of);
        later.retain(|home| home.passage.at() > opened);
        let Some(last) = later.last().filter(|_| later.len() >= 2) else {
            return Err(Seen::nothing(format!("{} registered {} times meanwhile", of.name(), later.len())));
        };
        let Some(pair) = session.question_and_answer(last.passage.at(), Duration::MAX) else {
            let words = format!("the session was not used after {}'s last registration", of.name());
            return Err(Seen::new(words, [last.passage]));
        };
        packets.extend([last.passage].into_iter().chain(pair.map(|carried| carried.passage)));
    }
    let last = packets.last().map_or(Duration::ZERO, |passage| passage.at());
    for flag in [Segment::RST, Segment::FIN] {
        if let Some(end) = session.first_with(flag).filter(|carried| carried.passage.at() <= last) {
            return Err(Seen::new("the session was closed", [end.passage]));
        }
    }
    Ok(Seen::new(format!("port {} with {} to the end", session.port, responder.name()), packets))
}

/// When the agent accepted that `responder` wants no new sources.
fn drain<'a>(step: &Step<'a>, responder: Node) -> Option<&'a Passage> {
    let mut asked = false;
    step.observation.packets().find_map(|(passage, view)| match view.mobility()? {
        Message::BindingUpdate(update) if view.outer.source == responder.address() => {
            asked |= update.options.iter().any(|option| {
                matches!(option, MobilityOption::Experimental(Experimental::Offer(offer)) if offer.flags.contains(OfferFlags::DRAIN))
            });
            None
        }
        Message::BindingAcknowledgement(message)
            if asked && message.status.is_accepted() && view.outer.destination == responder.address() =>
        {
            Some(passage)
        }
        _ => None,
    })
}

fn drained<'a>(step: &Step<'a>) -> Judgement<'a> {
    let (_, responder) = session(step)?;
    let Some(accepted) = drain(step, responder) else {
        return Err(Seen::nothing(format!("{} was never drained", responder.name())));
    };
    let known: BTreeSet<Ipv6Addr> = step
        .load
        .iter()
        .filter(|journey| journey.at() < accepted.at())
        .map(|journey| journey.source)
        .collect();
    let new: Vec<&Journey<'a>> = step
        .load
        .iter()
        .filter(|journey| journey.at() > accepted.at() && !known.contains(&journey.source))
        .collect();
    if let Some(wrong) = new.iter().find(|journey| responder_of(journey).is_none_or(|of| of == responder)) {
        return Err(Seen::new("a new source was not served by the other responder", wrong.packets()));
    }
    match new.len() {
        0 => Err(Seen::new("no new source came after the drain", [accepted])),
        count => Ok(Seen::new(
            format!("{count} requests of new sources after {} was drained", responder.name()),
            [accepted],
        )),
    }
}

/// A responder that is killed is left, and its sources with it.
pub fn killed(name: &str, trace: &Trace) -> Vec<Finding> {
    let mut step = Step::of(name, trace);
    let measured = Failover::of(&step.load, Node::Ar1);
    let soon = |time: Option<Duration>, who: &str| match (&measured, time) {
        (None, _) => Err(Seen::nothing("AR1 was not seen to serve and to stop")),
        (Some(_), None) => Err(Seen::nothing(format!("no request of {who} was answered afterwards"))),
        (Some(failover), Some(time)) => {
            let words =
                format!("{} after AR1's last packet, {} requests lost", milliseconds(time), failover.lost);
            if time <= SOON { Ok(Seen::nothing(words)) } else { Err(Seen::nothing(words)) }
        }
    };
    step.claim("new-sources", "new sources are all served by AR2 soon after AR1 was killed", |_| {
        soon(measured.as_ref().and_then(|failover| failover.new_served), "a new source")
    });
    step.claim("old-sources", "AR1's sources are all served by AR2 soon after AR1 was killed", |_| {
        soon(measured.as_ref().and_then(|failover| failover.old_served), "AR1's sources")
    });
    step.claim("undisturbed", "the sources of AR2 lose nothing and stay with it", undisturbed);
    step.judge.findings()
}

/// Sources that were AR2's before AR1 stopped.
fn undisturbed<'a>(step: &Step<'a>) -> Judgement<'a> {
    let stopped = step.load.iter().rfind(|journey| responder_of(journey) == Some(Node::Ar1));
    let Some(stopped) = stopped.map(Journey::at) else {
        return Err(Seen::nothing("AR1 served nobody"));
    };
    let theirs: BTreeSet<Ipv6Addr> = step
        .load
        .iter()
        .filter(|journey| journey.at() < stopped && responder_of(journey) == Some(Node::Ar2))
        .map(|journey| journey.source)
        .collect();
    let requests: Vec<&Journey<'a>> =
        step.load.iter().filter(|journey| theirs.contains(&journey.source)).collect();
    let later = requests.iter().filter(|journey| journey.at() > stopped).count();
    match requests.iter().find(|journey| responder_of(journey) != Some(Node::Ar2)) {
        Some(lost) => Err(Seen::new("a request of AR2's source was lost or moved", lost.packets())),
        None if later == 0 => Err(Seen::nothing("no source of AR2 asked again")),
        None => Ok(Seen::nothing(format!("{later} requests of {} sources afterwards", theirs.len()))),
    }
}

/// A responder that ends cleanly loses nobody a packet.
pub fn left(name: &str, trace: &Trace) -> Vec<Finding> {
    let mut step = Step::of(name, trace);
    step.claim(
        "nothing-lost",
        "AR1 ends cleanly in the midst of requests, and none of them is lost",
        left_cleanly,
    );
    step.judge.findings()
}

fn left_cleanly<'a>(step: &Step<'a>) -> Judgement<'a> {
    let gone = step.observation.home_messages().into_iter().find(|home| {
        home.responder == Node::Ar1
            && matches!(home.message, HomeMessage::Acknowledgement { status: 0, lives: false, .. })
    });
    let gone = gone.ok_or_else(|| Seen::nothing("AR1 was not seen to leave"))?;
    let before = step
        .load
        .iter()
        .any(|journey| journey.at() < gone.passage.at() && responder_of(journey) == Some(Node::Ar1));
    let after = step.load.iter().any(|journey| journey.at() > gone.passage.at());
    if !before || !after {
        return Err(Seen::new("there were no requests before and after", [gone.passage]));
    }
    let answered = step.answered()?;
    Ok(Seen::new(answered.words, [gone.passage]))
}

/// Route optimisation is renewed by a responder that is not the last registered.
pub fn optimised(trace: &Trace) -> Vec<Finding> {
    let mut step = Step::of("optimised", trace);
    step.claim(
        "renewed",
        "the responder that AI1 is fixed to renews AI1's binding, each time with a complete return routability procedure, \
         though the other one has registered since",
        renewed,
    );
    step.claim(
        "direct",
        "from the first Binding Update on AI1 and that responder talk directly, to the end",
        stays_direct,
    );
    step.judge.findings()
}

/// The responder that sent AI1 Binding Updates, and these.
fn optimiser<'a>(step: &Step<'a>) -> Result<(Node, Vec<&'a Passage>), Seen<'a>> {
    let updates = step.observation.updates_to(Node::Ai1);
    let sender = |passage: &Passage| passage.view.as_ref().ok().and_then(|view| node(view.outer.source));
    let Some(responder) = updates.first().and_then(|first| sender(first)) else {
        return Err(Seen::nothing("no responder sent AI1 a Binding Update"));
    };
    match updates.iter().find(|passage| sender(passage) != Some(responder)) {
        Some(other) => Err(Seen::new("a Binding Update of the other responder", [*other])),
        None => Ok((responder, updates)),
    }
}

fn renewed<'a>(step: &Step<'a>) -> Judgement<'a> {
    let (responder, updates) = optimiser(step)?;
    let homes = step.observation.home_tests(responder, Node::Ai1);
    let mut registrations: Vec<Home<'a>> = RESPONDERS.iter().flat_map(|of| step.accepted(*of)).collect();
    registrations.sort_by_key(|home| home.passage.at());
    let mut evidence = Vec::new();
    for pair in updates.windows(2) {
        // Each renewal rests on a HoT that this responder, and not the other, got through the agent's tunnel.
        let test = homes.iter().rfind(|test| (pair[0].at()..pair[1].at()).contains(&test.at()));
        let Some(test) = test else {
            return Err(Seen::new("a renewal without a new home test", [pair[1]]));
        };
        let last = registrations.iter().rfind(|home| home.passage.at() < test.at());
        if let Some(last) = last.filter(|home| home.responder != responder) {
            evidence.push([last.passage, *test, pair[1]]);
        }
    }
    let first = step.observation.return_routability(responder, Node::Ai1);
    first.map_err(|missing| Seen::new(missing, updates.clone()))?;
    let words = format!(
        "{} renewed {} times, {} of them with the other one as the last registered",
        responder.name(),
        updates.len() - 1,
        evidence.len()
    );
    let counts = evidence.len() >= 3;
    let seen = Seen::new(words, evidence.into_iter().flatten());
    if counts { Ok(seen) } else { Err(seen) }
}

fn stays_direct<'a>(step: &Step<'a>) -> Judgement<'a> {
    let (responder, updates) = optimiser(step)?;
    // What was on its way while the first update arrived may still have gone through the agent.
    let from = updates[0].at() + Duration::from_millis(100);
    let mut asked = journeys(step.observation.trace, ANYCAST);
    asked.retain(|journey| journey.source == Node::Ai1.address() && journey.at() > from);
    let last = updates.last().map_or(from, |passage| passage.at());
    let direct = |journey: &Journey<'_>| journey.is_direct() && responder_of(journey) == Some(responder);
    match asked.iter().find(|journey| !direct(journey)) {
        Some(other) => Err(Seen::new("a request went another way or was not answered", other.packets())),
        None if !asked.iter().any(|journey| journey.at() > last) => {
            Err(Seen::nothing("AI1 asked nothing after the last renewal"))
        }
        None => Ok(Seen::nothing(format!("{} requests", asked.len()))),
    }
}

/// A responder of the basic model and one of the advanced at one address.
pub fn mixed(trace: &Trace) -> Vec<Finding> {
    let mut step = Step::of("mixed", trace);
    step.claim(
        "kinds",
        "AR1 registers as RFC 3775 has it, AR2 with a Binding Identifier, and both are accepted",
        kinds,
    );
    step.claim("share", "both get sources", |step| step.share(20..=80));
    step.claim("fixed", FIXED, Step::fixed);
    step.claim("answered", ANSWERED, Step::answered);
    step.judge.findings()
}

fn kinds<'a>(step: &Step<'a>) -> Judgement<'a> {
    step.both_from()?;
    all([(Node::Ar1, false), (Node::Ar2, true)].map(|(responder, wanted)| {
        let mut updates = step.observation.packets().filter_map(|(passage, view)| match view.mobility()? {
            Message::BindingUpdate(update) if view.outer.source == responder.address() => Some((
                passage,
                update.options.iter().any(|option| matches!(option, MobilityOption::BindingIdentifier(_))),
            )),
            _ => None,
        });
        match updates.next() {
            Some((passage, identified)) if identified == wanted => {
                let how = if identified { "with" } else { "without" };
                Ok(Seen::new(format!("{} {how} Binding Identifier", responder.name()), [passage]))
            }
            other => Err(Seen::new(
                format!("{}'s first Binding Update is not so", responder.name()),
                other.map(|(passage, _)| passage),
            )),
        }
    }))
}

/// Members have keys, and who has none stays outside.
pub fn keys(trace: &Trace) -> Vec<Finding> {
    let mut step = Step::of("keys", trace);
    step.claim(
        "proved",
        "AR1 proves with its key who it is, and the agent proves its acknowledgement with the same",
        proved,
    );
    step.claim(
        "intruder",
        "AR2, first without a key and then with a wrong one, is refused and gets nothing",
        intruder,
    );
    step.claim("answered", ANSWERED, Step::answered);
    step.judge.findings()
}

fn has_proof(message: &Message) -> bool {
    message.options().iter().any(|option| matches!(option, MobilityOption::MessageAuthentication(_)))
}

fn proved<'a>(step: &Step<'a>) -> Judgement<'a> {
    let of_ar1 = step.observation.packets().filter(|(_, view)| {
        [view.outer.source, view.outer.destination].contains(&Node::Ar1.address()) && !view.is_tunnel()
    });
    let mut proofs = of_ar1.filter_map(|(passage, view)| {
        let message = view.mobility()?;
        let counts = match message {
            Message::BindingUpdate(_) => true,
            Message::BindingAcknowledgement(answer) => answer.status.is_accepted(),
            _ => false,
        };
        counts.then_some((passage, has_proof(message)))
    });
    let first: Vec<(&Passage, bool)> = proofs.by_ref().take(2).collect();
    match first.as_slice() {
        [(update, true), (answer, true)] => {
            Ok(Seen::new("Binding Update and Acknowledgement", [*update, *answer]))
        }
        other => Err(Seen::new(
            "a message of AR1's registration bears no proof",
            other.iter().map(|(passage, _)| *passage),
        )),
    }
}

fn intruder<'a>(step: &Step<'a>) -> Judgement<'a> {
    let messages: Vec<Home<'a>> =
        step.observation.home_messages().into_iter().filter(|home| home.responder == Node::Ar2).collect();
    let asked = messages.iter().find(|home| matches!(home.message, HomeMessage::Update { .. }));
    let asked = asked.ok_or_else(|| Seen::nothing("AR2 never asked"))?;
    if let Some(accepted) = step.accepted(Node::Ar2).first() {
        return Err(Seen::new("AR2 was accepted", [accepted.passage]));
    }
    let served = step.load.iter().find(|journey| tunnelled_to(journey) == Some(Node::Ar2));
    if let Some(served) = served {
        return Err(Seen::new("a request was tunnelled to AR2", served.packets()));
    }
    let refused = messages.iter().find(|home| {
        matches!(home.message, HomeMessage::Acknowledgement { status, .. }
            if Status(status) == Status::AUTHENTICATION_FAILED)
    });
    let update = |proven: bool| {
        step.observation.packets().find(|(_, view)| {
            view.outer.source == Node::Ar2.address()
                && view.mobility().is_some_and(|message| {
                    matches!(message, Message::BindingUpdate(_)) && has_proof(message) == proven
                })
        })
    };
    let without = update(false);
    let with = update(true).map_or(Duration::MAX, |(passage, _)| passage.at());
    let answer = messages
        .iter()
        .find(|home| matches!(home.message, HomeMessage::Acknowledgement { .. }) && home.passage.at() < with);
    if let Some(answer) = answer {
        return Err(Seen::new("an answer to an update without a key", [answer.passage]));
    }
    match (without, refused) {
        (Some((without, _)), Some(refused)) => {
            Ok(Seen::new("no answer without a key, 146 with a wrong one", [without, refused.passage]))
        }
        (None, _) => Err(Seen::new("AR2 did not try without a key", [asked.passage])),
        (_, None) => Err(Seen::new("AR2 was not refused for a wrong key", [asked.passage])),
    }
}
