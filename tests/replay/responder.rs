//! The responder in the place of KAME's `mnd` and of UMIP as mobile node (RFC 3775 section 11), away from home.
//! It asks for an agent, registers with the recorded lifetime and first number, and moves when the recorded one did.
//! Called by the one test of this program.

use std::net::Ipv6Addr;

use mga_node::protocol::ar::{AnycastConfig, Ar, ArCommand, ArConfig, ArPolicy, ReverseTunnelEnd};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::Packet;
use mga_node::wire::mobility::{Lifetime, Message, MobilityHeader};

use crate::adapt::Questions;
use crate::judge::Judge;
use crate::recording::Recording;
use crate::replayer::{Replayer, Stack, instant};

const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);
const AR1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2);
const AR1_MOVED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 0x22);
const AR2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 5, 0, 0, 0, 2);

pub fn replay(judge: &mut Judge) {
    // The lifetime asked for in units of 4 seconds, and the first number of each life of the daemon. Where a life
    // ended, in seconds.
    let one_life: &[(f64, f64)] = &[];
    let recordings: [(_, _, _, &[u16], _); 14] = [
        ("kame/kame-section5.1/ar1", AR1, 10, &[200], one_life),
        ("kame/kame-section5.1/ar2", AR2, 10, &[100], one_life),
        ("kame/kame-registration/ar1", AR1, 10, &[12275], one_life),
        ("kame/kame-dereg-foreign/ar1", AR1, 10, &[6694], one_life),
        ("kame/kame-section5.2/ar1", AR1, 30, &[200], &[(25.7, f64::MAX)]),
        ("kame/kame-section5.2/ar2", AR2, 30, &[100], one_life),
        ("kame/kame-section5.3/ar1", AR1, 24, &[200, 46403], &[(16.3, 16.37)]),
        ("kame/kame-section5.3/ar2", AR2, 24, &[100], one_life),
        ("kame/kame-cn/ar1", AR1, 10, &[52150], one_life),
        // UMIP refreshes in the last moments of a lifetime and ours in its middle, so that only what comes before
        // the middle of the first is the same story.
        ("umip/umip-section5.1-seq200-100/ar1", AR1, 5, &[200], &[(9.0, f64::MAX)]),
        ("umip/umip-section5.1-seq200-100/ar2", AR2, 5, &[100], &[(9.0, f64::MAX)]),
        ("umip/umip-ha-registration/ar1", AR1, 15, &[22496], &[(13.0, f64::MAX)]),
        ("umip/umip-5.3-both-optimized/ar2", AR2, 15, &[20118], &[(28.0, f64::MAX)]),
        ("umip/umip-5.3/ar2", AR2, 15, &[43680], &[(28.0, f64::MAX)]),
    ];
    for (name, own, lifetime, firsts, gaps) in recordings {
        let recording = Recording::open(name, own);
        let begin = recording.frames.iter().find(|frame| recording.is_sent(frame) && is_first(&frame.ipv6));
        let begin = begin.expect("the responder's first message");
        // What was started with its agent's address does not ask for one.
        let agent = registered_from(&begin.ipv6).map(|_| AGENT);
        let mut firsts = firsts.iter();
        let mut responder = |now| {
            let anycast = AnycastConfig {
                anycast: ANYCAST,
                agent,
                home_prefix_length: 64,
                lifetime: Lifetime(lifetime),
                initial_sequence: firsts.next().copied(),
            };
            let config = ArConfig {
                care_of: own,
                anycast: vec![anycast],
                // UMIP was configured without it but for 5.3.
                route_optimisation: name.starts_with("kame") || name.starts_with("umip/umip-5.3"),
                reverse_tunnel_end: ReverseTunnelEnd::Agent,
            };
            // UMIP asked correspondents for acknowledgements, KAME did not.
            let policy =
                ArPolicy { acknowledged_optimisation: name.starts_with("umip"), ..ArPolicy::default() };
            Ar::new(config, now, Box::new(SeededRandom::new(0x3775))).with_policy(policy)
        };
        let first_life = responder(instant(&recording, begin.at));
        let node = Replayer::new(first_life, &recording, &[own, ANYCAST, AR1_MOVED]);
        let (mut care_of, mut is_deregistered) = (own, false);
        let operate = |role: &mut Ar, now: Instant, packet: &[u8]| {
            let Some((new, lifetime)) = registered_from(packet) else { return };
            if new != care_of {
                care_of = new;
                role.handle_command(now, &ArCommand::Move(new));
            }
            let ends = lifetime == Lifetime::ZERO;
            if ends != is_deregistered {
                is_deregistered = ends;
                let command = if ends { ArCommand::Deregister(None) } else { ArCommand::Register(None) };
                role.handle_command(now, &command);
            }
        };
        let (expected, actual) = node.live(gaps, responder, Stack::Host, &mut Questions::default(), operate);
        judge.compare(name, expected, actual);
    }
}

/// A request for an agent, or an update.
fn is_first(bytes: &[u8]) -> bool {
    let asks = |packet: Packet<'_>| packet.payload().first() == Some(&144);
    registered_from(bytes).is_some() || Packet::parse(bytes).is_ok_and(asks)
}

/// The care-of address and the lifetime of an update that the recorded node sent its agent.
fn registered_from(bytes: &[u8]) -> Option<(Ipv6Addr, Lifetime)> {
    let packet = Packet::parse(bytes).ok()?;
    packet.home_address.as_ref()?;
    match MobilityHeader::parse(packet.payload()).ok()?.message {
        Message::BindingUpdate(update) if packet.header.destination == AGENT => {
            Some((packet.header.source, update.lifetime))
        }
        _ => None,
    }
}
