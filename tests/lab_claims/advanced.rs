//! The whole of `mga-node lab advanced` with the built binary: every claim must hold, and each must fail when its packets
//! are taken out of the captures or changed.
//! Needs root, as the lab does; without it the test says that it was skipped.
//! Run by `cargo test --test lab_claims advanced -- --nocapture` to watch it.

use std::{net::Ipv6Addr, path::Path};

use mga_node::{
    lab::{
        self,
        advanced::{claims, is_source},
        figure11::{self, Node},
    },
    pcap::{passage::Trace, report::Finding, view::View},
    wire::mobility::{Experimental, Message, MobilityOption, OfferFlags, Status, UpdateFlags},
};

use crate::{
    doctoring::{self, Captures, Dose, drop_if, with_message},
    played,
};

/// A step's captures and its judge.
struct Step {
    genuine: Captures,
    judge: fn(&Trace) -> Vec<Finding>,
}

impl Step {
    fn of(out: &Path, name: &str, judge: fn(&Trace) -> Vec<Finding>) -> Self {
        let nodes = Node::ALL.map(Node::name);
        Step { genuine: doctoring::captures(&out.join(name), &nodes), judge }
    }

    fn fails(&self, claim: &str, doctor: impl Fn(&View, &[u8]) -> Dose) {
        doctoring::fails_when(self.judge, &self.genuine, &figure11::owners(), claim, doctor);
    }

    /// The first that is picked out of the packets of a node.
    fn first<T>(&self, pick: impl Fn(&View) -> Option<T>) -> T {
        let frames = self.genuine.iter().flat_map(|(_, frames)| frames);
        frames.filter_map(|frame| pick(&View::parse(&frame.ipv6).ok()?)).next().unwrap()
    }

    /// None of the claims that are not about order holds when nothing was captured.
    fn fails_on_nothing(&self) {
        let nothing = Node::ALL.iter().map(|node| (node.name().to_owned(), Vec::new())).collect();
        let findings = doctoring::judge(self.judge, nothing, &figure11::owners());
        assert_eq!(doctoring::failed(&findings).len(), findings.len(), "nothing captured, nothing held");
    }
}

fn between(view: &View, one: Node, other: Node) -> bool {
    let ends = (view.outer.source, view.outer.destination);
    ends == (one.address(), other.address()) || ends == (other.address(), one.address())
}

/// A request of the load in the tunnel to this responder.
fn is_given_to(view: &View, responder: Node) -> bool {
    view.is_tunnel()
        && view.outer.destination == responder.address()
        && view.echo_request().is_some()
        && is_source(view.inner().source)
}

fn readdressed(packet: &[u8], at: usize, address: Ipv6Addr) -> Dose {
    let mut bytes = packet.to_vec();
    bytes[at..at + 16].copy_from_slice(&address.octets());
    Dose::Replace(bytes)
}

/// Requests of every source, or only those whose address ends in a number below this, given to another responder.
fn given_away(to: Node, below: u16) -> impl Fn(&View, &[u8]) -> Dose {
    move |view, packet| {
        let source = view.inner().source.segments()[7];
        let given = Node::ALL.into_iter().any(|node| node != to && is_given_to(view, node));
        if given && source < below { readdressed(packet, 24, to.address()) } else { Dose::Keep }
    }
}

fn answers(view: &View) -> bool {
    view.echo_reply().is_some() && !view.is_tunnel() && is_source(view.inner().destination)
}

fn is_accepted(view: &View, responder: Node) -> bool {
    view.outer.destination == responder.address()
        && matches!(view.mobility(), Some(Message::BindingAcknowledgement(answer)) if answer.status.is_accepted())
}

fn refused(view: &View, packet: &[u8], responder: Node, status: u8) -> Dose {
    match is_accepted(view, responder) {
        true => with_message(packet, |message| {
            let Message::BindingAcknowledgement(message) = message else { unreachable!() };
            message.status = Status(status);
        }),
        false => Dose::Keep,
    }
}

#[test]
fn several_responders_serve_one_address_and_every_claim_can_fail() {
    let Some(out) = played("advanced", lab::advanced) else { return };
    let step = |name: &str, judge| Step::of(&out, name, judge);

    let figure9 = step("figure9", claims::figure9);
    figure9.fails("own-numbers", |view, packet| refused(view, packet, Node::Ar2, 135));
    figure9.fails("own-numbers", |view, _| drop_if(is_accepted(view, Node::Ar1)));
    figure9.fails("kept", given_away(Node::Ar2, u16::MAX));
    figure9.fails("kept", |view, _| drop_if(is_given_to(view, Node::Ar1)));
    // Half of the requests of a source to one, half to the other.
    figure9.fails("fixed", |view, packet| match view.echo_request() {
        Some((_, sequence)) if is_given_to(view, Node::Ar1) && sequence % 80 < 40 => {
            readdressed(packet, 24, Node::Ar2.address())
        }
        _ => Dose::Keep,
    });
    figure9.fails("answered", |view, _| drop_if(answers(view)));
    figure9.fails_on_nothing();

    for (name, judge, wrong) in [
        ("hash", claims::spread_hash as fn(&Trace) -> Vec<Finding>, Node::Ar2),
        ("weighted", claims::spread_weighted, Node::Ar2),
        ("preference", claims::spread_preference, Node::Ar1),
        ("metric", claims::spread_metric, Node::Ar1),
        ("distance", claims::spread_distance, Node::Ar1),
    ] {
        let spread = step(name, judge);
        spread.fails("share", given_away(wrong, 120));
        if wrong == Node::Ar1 {
            // All means all.
            spread.fails("share", given_away(wrong, 2));
        }
        spread.fails("share", |view, _| drop_if(view.inner().source.segments()[7] == 1));
        spread.fails("answered", |view, _| drop_if(answers(view)));
        spread.fails_on_nothing();
    }

    let telnet = step("telnet", claims::telnet);
    telnet.fails("survives", |view, _| drop_if(view.tcp().is_some_and(|segment| segment.has(2))));
    telnet.fails("survives", |view, packet| {
        let tunnelled = view.tcp().is_some_and(|segment| segment.payload > 0) && view.is_tunnel();
        match [Node::Ar1, Node::Ar2].into_iter().find(|node| view.outer.destination == node.address()) {
            Some(Node::Ar1) if tunnelled => readdressed(packet, 24, Node::Ar2.address()),
            Some(_) if tunnelled => readdressed(packet, 24, Node::Ar1.address()),
            _ => Dose::Keep,
        }
    });
    // Nothing is answered any more.
    telnet.fails("survives", |view, _| {
        let to_initiator = view.inner().destination == Node::Ai1.address();
        drop_if(to_initiator && view.tcp().is_some_and(|segment| segment.payload > 0))
    });
    telnet.fails("drained", |view, packet| match view.mobility() {
        Some(Message::BindingUpdate(update)) if drains(&update.options) => with_message(packet, |message| {
            let Message::BindingUpdate(update) = message else { unreachable!() };
            for option in &mut update.options {
                if let MobilityOption::Experimental(Experimental::Offer(offer)) = option {
                    offer.flags.remove(OfferFlags::DRAIN);
                }
            }
        }),
        _ => Dose::Keep,
    });
    let drained =
        telnet.first(|view| view.tcp().filter(|_| view.is_tunnel()).map(|_| view.outer.destination));
    telnet.fails("drained", given_away(responder(drained), u16::MAX));
    telnet.fails_on_nothing();

    let killed = step("killed", |trace| claims::killed("killed", trace));
    // Sources that ask once are behind the others.
    killed.fails("new-sources", |view, _| {
        drop_if(answers(view) && view.inner().destination.segments()[6] == 1)
    });
    killed.fails("new-sources", |view, _| drop_if(answers(view)));
    killed.fails("old-sources", |view, _| {
        drop_if(view.is_tunnel() && view.outer.source == Node::Ar1.address())
    });
    killed.fails("undisturbed", |view, _| {
        drop_if(view.is_tunnel() && view.outer.source == Node::Ar2.address())
    });
    killed.fails_on_nothing();

    let left = step("left", |trace| claims::left("left", trace));
    left.fails("nothing-lost", |view, _| {
        drop_if(answers(view) && view.echo_reply().is_some_and(|(_, n)| n % 100 == 7))
    });
    left.fails("nothing-lost", |view, _| {
        let gone = matches!(view.mobility(), Some(Message::BindingAcknowledgement(answer)) if answer.lifetime.0 == 0);
        drop_if(gone)
    });
    left.fails_on_nothing();

    let optimised = step("optimised", claims::optimised);
    let updates_initiator = |view: &View| {
        view.outer.destination == Node::Ai1.address()
            && matches!(view.mobility(), Some(Message::BindingUpdate(_)))
    };
    optimised.fails("renewed", |view, _| {
        drop_if(matches!(view.mobility(), Some(Message::HomeTest(_))) && view.is_tunnel())
    });
    optimised.fails("renewed", |view, packet| match updates_initiator(view) {
        true => with_message(packet, |message| {
            let Message::BindingUpdate(update) = message else { unreachable!() };
            update.options.retain(|option| !matches!(option, MobilityOption::NonceIndices { .. }));
            update.options.push(MobilityOption::PadN(vec![0; 4]));
        }),
        false => Dose::Keep,
    });
    // As if the optimising one had been the only one.
    let optimiser = optimised.first(|view| updates_initiator(view).then_some(view.outer.source));
    let other = if responder(optimiser) == Node::Ar1 { Node::Ar2 } else { Node::Ar1 };
    optimised.fails("renewed", |view, _| {
        let home = matches!(view.mobility(), Some(Message::BindingUpdate(update))
            if update.flags.contains(UpdateFlags::HOME_REGISTRATION));
        let answer = matches!(view.mobility(), Some(Message::BindingAcknowledgement(_)));
        drop_if((home || answer) && between(view, Node::Haa, other))
    });
    optimised
        .fails("direct", |view, _| drop_if(view.outer.home_address.is_some() && view.echo_reply().is_some()));
    optimised.fails_on_nothing();

    let mixed = step("mixed", claims::mixed);
    mixed.fails("kinds", |view, packet| match view.mobility() {
        Some(Message::BindingUpdate(_)) => with_message(packet, |message| {
            let Message::BindingUpdate(update) = message else { unreachable!() };
            for option in &mut update.options {
                if matches!(option, MobilityOption::BindingIdentifier(_)) {
                    *option = MobilityOption::PadN(vec![0; 4]);
                }
            }
        }),
        _ => Dose::Keep,
    });
    mixed.fails("share", given_away(Node::Ar2, u16::MAX));
    mixed.fails("answered", |view, _| drop_if(answers(view)));
    mixed.fails_on_nothing();

    let keys = step("keys", claims::keys);
    keys.fails("proved", |view, packet| match view.mobility() {
        Some(Message::BindingUpdate(_)) if view.outer.source == Node::Ar1.address() => without_proof(packet),
        _ => Dose::Keep,
    });
    keys.fails("intruder", |view, packet| match view.mobility() {
        Some(Message::BindingAcknowledgement(_)) if view.outer.destination == Node::Ar2.address() => {
            with_message(packet, |message| {
                let Message::BindingAcknowledgement(message) = message else { unreachable!() };
                message.status = Status::ACCEPTED;
            })
        }
        _ => Dose::Keep,
    });
    // As if the refusal had been for the update without a key.
    keys.fails("intruder", |view, packet| match view.mobility() {
        Some(Message::BindingUpdate(_)) if view.outer.source == Node::Ar2.address() => without_proof(packet),
        _ => Dose::Keep,
    });
    keys.fails("intruder", given_away(Node::Ar2, 20));
    keys.fails_on_nothing();
}

/// A Binding Update without its proof.
fn without_proof(packet: &[u8]) -> Dose {
    with_message(packet, |message| {
        let Message::BindingUpdate(update) = message else { unreachable!() };
        update.options.retain(|option| !matches!(option, MobilityOption::MessageAuthentication(_)));
        mga_node::wire::mobility::align(12, &update.options).clone_into(&mut update.options);
    })
}

fn drains(options: &[MobilityOption]) -> bool {
    options.iter().any(|option| {
        matches!(option, MobilityOption::Experimental(Experimental::Offer(offer)) if offer.flags.contains(OfferFlags::DRAIN))
    })
}

fn responder(address: Ipv6Addr) -> Node {
    [Node::Ar1, Node::Ar2].into_iter().find(|node| node.address() == address).unwrap()
}
