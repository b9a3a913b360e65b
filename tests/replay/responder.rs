//! The responder in the place of KAME's `mnd` (RFC 3775 section 11), away from home.
//! It asks for an agent, registers with the recorded lifetime and first number, and moves when the recorded one did.
//! Called by the one test of this program.

use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::ar::{AnycastConfig, Ar, ArCommand, ArConfig, ReverseTunnelEnd};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::Packet;
use mga_node::wire::mobility::{Lifetime, Message, MobilityHeader};

use crate::adapt::Questions;
use crate::judge::Judge;
use crate::recording::Recording;
use crate::replayer::{Replayer, Stack, instant};

const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);
const AR1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2);
const AR1_MOVED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 0x22);
const AR2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 5, 0, 0, 0, 2);

pub fn replay(judge: &mut Judge) {
    // The lifetime asked for in units of 4 seconds, and the first number.
    let recordings = [
        ("kame/kame-section5.1/ar1", AR1, 10, 200),
        ("kame/kame-section5.1/ar2", AR2, 10, 100),
        ("kame/kame-registration/ar1", AR1, 10, 12275),
        ("kame/kame-section5.3/ar2", AR2, 24, 100),
        ("kame/kame-cn/ar1", AR1, 10, 52150),
    ];
    for (name, own, lifetime, first) in recordings {
        let recording = Recording::open(name, own);
        let is_first = |frame: &&mga_node::pcap::capture::Frame| {
            recording.is_sent(frame)
                && Packet::parse(&frame.ipv6).is_ok_and(|packet| packet.payload().first() == Some(&144))
        };
        let begin = recording.frames.iter().find(is_first).map_or(Duration::ZERO, |frame| frame.at);
        let begin = instant(&recording, begin);
        let responder = || {
            let anycast = AnycastConfig {
                anycast: ANYCAST,
                agent: None,
                home_prefix_length: 64,
                lifetime: Lifetime(lifetime),
                initial_sequence: Some(first),
            };
            let config = ArConfig {
                care_of: own,
                anycast: vec![anycast],
                route_optimisation: true,
                reverse_tunnel_end: ReverseTunnelEnd::Agent,
            };
            Ar::new(config, begin, Box::new(SeededRandom::new(0x3775)))
        };
        let node = Replayer::new(responder(), &recording, &[own, ANYCAST, AR1_MOVED]);
        let mut care_of = own;
        let operate = |role: &mut Ar, now: Instant, packet: &[u8]| {
            if let Some(new) = registered_from(packet).filter(|new| *new != care_of) {
                care_of = new;
                role.handle_command(now, &ArCommand::Move(new));
            }
        };
        let (expected, actual) = node.live(&[], responder, Stack::Host, &mut Questions::default(), operate);
        judge.compare(name, expected, actual);
    }
}

/// The care-of address of an update that the recorded node sent.
fn registered_from(bytes: &[u8]) -> Option<Ipv6Addr> {
    let packet = Packet::parse(bytes).ok()?;
    let header = MobilityHeader::parse(packet.payload()).ok()?;
    let is_update = packet.home_address.is_some() && matches!(header.message, Message::BindingUpdate(_));
    is_update.then_some(packet.header.source)
}
