//! The whole of `mga-node lab figure10` with the built binary and real BIRD: every claim must hold, and each
//! must fail when its packets are taken out of the captures or changed.
//! Needs root and bird2, as the lab does; without root the test says that it was skipped.
//! Run by `cargo test --test lab_claims figure10 -- --nocapture` to watch it.

use std::{net::Ipv6Addr, time::Duration};

use crate::{
    doctoring::{self, Dose, drop_if, with_message},
    played,
};
use mga_node::{
    lab::{
        self,
        figure10::{
            claims,
            network::{self, AIE, AIF, HAA, MAAC, MAAE},
        },
        figure11::ANYCAST,
    },
    pcap::view::View,
    wire::{
        icmpv6::Icmpv6Message,
        mobility::{Message, Status},
    },
};

#[test]
fn midway_agents_are_near_their_networks_and_every_claim_can_fail() {
    let Some(out) = played("figure10", lab::figure10) else { return };
    let plan = network::plan();
    let genuine = doctoring::captures(&out.join("figure10"), &plan.recorded);
    let fails = |claim: &str, doctor: &dyn Fn(&View, &[u8]) -> Dose| {
        doctoring::fails_when(claims::figure10, &genuine, &plan.owners(), claim, doctor);
    };
    fails("registered", &|view, packet| match view.mobility() {
        Some(Message::BindingAcknowledgement(_)) if view.outer.source == MAAE => {
            with_message(packet, |message| {
                let Message::BindingAcknowledgement(message) = message else { unreachable!() };
                message.status = Status(129);
            })
        }
        _ => Dose::Keep,
    });
    // As if the home agent had taken a request in place of the midway agent, and the other way round.
    let by = |from: Ipv6Addr, source: Ipv6Addr, to: Ipv6Addr| {
        move |view: &View, packet: &[u8]| {
            let tunnelled = view.is_tunnel() && view.outer.source == from && view.inner().source == source;
            match tunnelled && view.echo_request().is_some() {
                true => {
                    let mut bytes = packet.to_vec();
                    bytes[8..24].copy_from_slice(&to.octets());
                    Dose::Replace(bytes)
                }
                false => Dose::Keep,
            }
        }
    };
    fails("midway-f", &by(MAAC, AIF, HAA));
    fails("midway-e", &by(HAA, AIE, MAAE));
    fails("home-d", &by(HAA, network::AID, MAAC));
    fails("independent", &by(MAAE, AIE, HAA));
    // Nobody answered.
    let unanswered = |source: Ipv6Addr| {
        move |view: &View, _: &[u8]| {
            drop_if(view.echo_reply().is_some() && view.inner().destination == source && !view.is_tunnel())
        }
    };
    fails("midway-f", &unanswered(AIF));
    fails("midway-e", &unanswered(AIE));
    fails("home-d", &unanswered(network::AID));
    // The first requests only: MAAC never stopped.
    fails("midway-f", &|view, _| {
        drop_if(view.is_tunnel() && view.outer.source == HAA && view.inner().source == AIF)
    });
    fails("back-through-home", &|view, packet| match view.is_tunnel()
        && view.outer.destination == HAA
        && view.echo_reply().is_some()
    {
        true => {
            let mut bytes = packet.to_vec();
            bytes[24..40].copy_from_slice(&MAAC.octets());
            Dose::Replace(bytes)
        }
        false => Dose::Keep,
    });
    let claims_anycast = |view: &View| matches!(view.icmpv6(), Some(Icmpv6Message::NeighborAdvertisement { target, .. }) if *target == ANYCAST);
    fails("routing-only", &|view, _| drop_if(claims_anycast(view)));
    let mut elsewhere = genuine.clone();
    let home = elsewhere.iter().find(|(node, _)| node == "HAA").unwrap();
    let advertised = home.1.iter().find(|frame| claims_anycast(&View::parse(&frame.ipv6).unwrap()));
    let mut advertised = advertised.unwrap().clone();
    advertised.at += Duration::from_secs(3);
    elsewhere.iter_mut().find(|(node, _)| node == "MAAC").unwrap().1.push(advertised);
    let findings = doctoring::judge(claims::figure10, elsewhere, &plan.owners());
    assert_eq!(doctoring::failed(&findings), ["routing-only"]);
}
