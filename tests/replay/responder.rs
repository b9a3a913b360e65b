//! The responder in the place of KAME's `mnd` and of UMIP as mobile node (RFC 3775 section 11), abroad and at home.
//! It asks for an agent, registers with the recorded lifetime and first number, and moves when the recorded one did.
//! Called by the one test of this program.

use std::net::Ipv6Addr;

use mga_node::protocol::ar::{
    AnycastConfig, Ar, ArCommand, ArConfig, ArPolicy, DEFAULT_REFRESH_PERCENT, ReverseTunnelEnd,
};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::limits::DUPLICATE_ADDRESS_WAIT;
use mga_node::protocol::random::SeededRandom;
use mga_node::wire::Packet;
use mga_node::wire::mobility::{BindingUpdate, Lifetime, Message, MobilityHeader};

use crate::adapt::Questions;
use crate::judge::{Cast, Judge};
use crate::recording::Recording;
use crate::replayer::{Gap, Order, Replayer, Stack, instant};

const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);
const AR1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2);
const AR1_MOVED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 0x22);
/// What UMIP made of the prefixes that it met.
const UMIP_MOVING: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0xff, 0xfe00, 0x402);
const UMIP_MOVED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 5, 0, 0xff, 0xfe00, 0x402);
const AR2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 5, 0, 0, 0, 2);

const STOPPED: &str = "the daemon was stopped";
/// How a recorded mobile node was started.
struct Story {
    /// The view of its interface abroad.
    name: &'static str,
    own: Ipv6Addr,
    /// Asked for, in units of 4 seconds.
    lifetime: u16,
    /// The first number of each life of the daemon.
    firsts: &'static [u16],
    /// Where a life ended and when the next began.
    gaps: &'static [Gap],
    optimises: bool,
    /// The view of its interface at home, if it has one of its own.
    home: Option<&'static str>,
    comes_home: bool,
    /// Correspondents answer ours although they were not asked: the recorded node had tokens that were still good.
    uses_tokens_again: bool,
}

const KAME: Story = Story {
    name: "",
    own: AR1,
    lifetime: 10,
    firsts: &[],
    gaps: &[],
    optimises: true,
    home: None,
    comes_home: false,
    uses_tokens_again: false,
};
const UMIP: Story = Story { lifetime: 15, optimises: false, ..KAME };

const STORIES: [Story; 23] = [
    Story { name: "kame/kame-section5.1/ar1", firsts: &[200], ..KAME },
    Story { name: "kame/kame-section5.1/ar2", own: AR2, firsts: &[100], ..KAME },
    Story {
        name: "kame/kame-registration/ar1",
        firsts: &[12275],
        home: Some("kame/kame-registration/ar1-home0"),
        comes_home: true,
        ..KAME
    },
    Story { name: "kame/kame-dereg-foreign/ar1", firsts: &[6694], ..KAME },
    Story {
        name: "kame/kame-section5.2/ar1",
        lifetime: 30,
        firsts: &[200],
        gaps: &[(25.7, f64::MAX, STOPPED)],
        ..KAME
    },
    Story { name: "kame/kame-section5.2/ar2", own: AR2, lifetime: 30, firsts: &[100], ..KAME },
    Story {
        name: "kame/kame-section5.3/ar1",
        lifetime: 24,
        firsts: &[200, 46403],
        gaps: &[(16.3, 16.37, "the daemon was restarted")],
        ..KAME
    },
    Story { name: "kame/kame-section5.3/ar2", own: AR2, lifetime: 24, firsts: &[100], ..KAME },
    Story {
        name: "kame/kame-cn/ar1",
        firsts: &[52150],
        home: Some("kame/kame-cn/ar1-home0"),
        comes_home: true,
        ..KAME
    },
    Story { name: "umip/umip-section5.1-seq200-100/ar1", lifetime: 5, firsts: &[200], ..UMIP },
    Story { name: "umip/umip-section5.1-seq200-100/ar2", own: AR2, lifetime: 5, firsts: &[100], ..UMIP },
    Story { name: "umip/umip-section5.1/ar1", lifetime: 5, ..UMIP },
    Story { name: "umip/umip-section5.1/ar2", own: AR2, lifetime: 5, ..UMIP },
    Story {
        name: "umip/umip-ha-registration/ar1",
        firsts: &[22496, 11719],
        gaps: &[(76.2, 83.2, "the daemon was restarted")],
        ..UMIP
    },
    Story {
        name: "umip/umip-ha-registration-dhaad-move/ar1",
        own: UMIP_MOVING,
        lifetime: 10,
        comes_home: true,
        ..UMIP
    },
    Story { name: "umip/umip-5.2/ar1", optimises: true, ..UMIP },
    Story { name: "umip/umip-5.2/ar2", own: AR2, optimises: true, ..UMIP },
    Story { name: "umip/umip-5.3/ar1", optimises: true, ..UMIP },
    Story { name: "umip/umip-5.3-both-optimized/ar1", optimises: true, ..UMIP },
    Story {
        name: "umip/umip-5.3-both-optimized/ar2",
        own: AR2,
        optimises: true,
        uses_tokens_again: true,
        gaps: &[(
            57.0,
            f64::MAX,
            "from here on UMIP has given up AI1's optimisation, which RFC 3775 11.7.2 leaves to it",
        )],
        ..UMIP
    },
    Story { name: "umip/umip-5.3/ar2", own: AR2, optimises: true, uses_tokens_again: true, ..UMIP },
    Story {
        name: "umip/umip-cn-lifetime-brr/ar1",
        lifetime: 100,
        optimises: true,
        uses_tokens_again: true,
        gaps: &[(165.0, f64::MAX, "its correspondent and its agent were killed")],
        ..UMIP
    },
    Story { name: "umip/umip-restart-be/ar1", optimises: true, uses_tokens_again: true, ..UMIP },
];

pub fn replay(judge: &mut Judge) {
    STORIES.iter().for_each(|story| retell(judge, story));
}

fn retell(judge: &mut Judge, story: &Story) {
    let (name, own) = (story.name, story.own);
    let recording = Recording::open(name, own);
    let recording = match story.home {
        Some(home) => recording.with_interface(Recording::open(home, ANYCAST)),
        None => recording,
    };
    let begin = recording.frames.iter().find(|frame| recording.is_sent(frame) && is_first(&frame.ipv6));
    let begin = begin.expect("the responder's first message");
    // What was started with its agent's address does not ask for one.
    let agent = registered_from(&begin.ipv6).map(|_| AGENT);
    let recorded_first = recording.frames.iter().find_map(|frame| registered_from(&frame.ipv6));
    let mut firsts = story.firsts.iter().copied().chain(recorded_first.map(|update| update.sequence));
    let mut responder = |now| {
        let anycast = AnycastConfig {
            anycast: ANYCAST,
            agent,
            home_prefix_length: 64,
            lifetime: Lifetime(story.lifetime),
            initial_sequence: firsts.next(),
        };
        let config = ArConfig {
            care_of: own,
            anycast: vec![anycast],
            route_optimisation: story.optimises,
            reverse_tunnel_end: ReverseTunnelEnd::Agent,
        };
        // UMIP asked correspondents for acknowledgements, KAME did not; UMIP refreshed in the last moments.
        let is_umip = name.starts_with("umip");
        let policy = ArPolicy {
            acknowledged_optimisation: is_umip,
            refresh_percent: if is_umip { 95 } else { DEFAULT_REFRESH_PERCENT },
            ..ArPolicy::default()
        };
        Ar::new(config, now, Box::new(SeededRandom::new(0x3775))).with_policy(policy)
    };
    let first_life = responder(instant(&recording, begin.at));
    let own = [own, ANYCAST, AR1_MOVED, UMIP_MOVED];
    let node = Replayer::new(first_life, &recording, &own);
    let orders = orders(story, &recording);
    let mut questions =
        if story.uses_tokens_again { Questions::answered_again() } else { Questions::default() };
    let (expected, actual) = node.live(story.gaps, responder, Stack::Host, &mut questions, orders);
    let cast = Cast { name, role: "responder", gaps: story.gaps };
    if story.comes_home {
        judge.compare_at_home(cast, ANYCAST, expected, actual);
    } else {
        judge.compare(cast, expected, actual);
    }
}

/// What the recorded node's operator did, by what the node sent then.
fn orders(story: &Story, recording: &Recording) -> Vec<Order<Ar>> {
    let mut orders: Vec<Order<Ar>> = Vec::new();
    let (mut care_of, mut is_deregistered, mut last) = (story.own, false, 0.0);
    for frame in recording.frames.iter().filter(|frame| recording.is_sent(frame)) {
        let seconds = recording.seconds(frame);
        let Some(update) = registered_from(&frame.ipv6) else { continue };
        if story.gaps.iter().any(|(from, to, _)| (*from..*to).contains(&seconds)) {
            continue;
        }
        // A new life registers by itself.
        let is_new_life = story.gaps.iter().any(|(from, ..)| (last..seconds).contains(from));
        is_deregistered &= !is_new_life;
        last = seconds;
        let mut order = |at, command: ArCommand| {
            let act = move |role: &mut Ar, now: Instant| role.handle_command(now, &command);
            orders.push(Order { at, act: Box::new(act) });
        };
        let ends = update.lifetime == Lifetime::ZERO;
        let is_news = update.care_of != care_of || ends != is_deregistered;
        if update.care_of == ANYCAST {
            if is_news {
                // The recorded node told the agent at once; ours first asks the link for a second who answers.
                let link_address = *recording.link_addresses.last().expect("an interface");
                order(
                    frame.at - DUPLICATE_ADDRESS_WAIT,
                    ArCommand::ReturnHome { anycast: ANYCAST, link_address },
                );
            }
            (care_of, is_deregistered) = (ANYCAST, false);
            continue;
        }
        if update.care_of != care_of {
            order(frame.at, ArCommand::Move(update.care_of));
        }
        if ends != is_deregistered {
            order(frame.at, if ends { ArCommand::Deregister(None) } else { ArCommand::Register(None) });
        }
        (care_of, is_deregistered) = (update.care_of, ends);
        if !is_news && story.name.starts_with("umip") {
            // UMIP counts in whole seconds: it refreshed some moments earlier than ours would.
            let act = |role: &mut Ar, now: Instant| {
                if role.registrations(now).iter().any(|registration| registration.state == "registered") {
                    role.handle_command(now, &ArCommand::Register(None));
                }
            };
            orders.push(Order { at: frame.at, act: Box::new(act) });
        }
    }
    orders
}

/// A request for an agent, or an update.
fn is_first(bytes: &[u8]) -> bool {
    let asks = |packet: Packet<'_>| packet.payload().first() == Some(&144);
    registered_from(bytes).is_some() || Packet::parse(bytes).is_ok_and(asks)
}

/// An update that the recorded node sent its agent.
struct Registered {
    care_of: Ipv6Addr,
    lifetime: Lifetime,
    sequence: u16,
}

fn registered_from(bytes: &[u8]) -> Option<Registered> {
    let packet = Packet::parse(bytes).ok()?;
    match MobilityHeader::parse(packet.payload()).ok()?.message {
        Message::BindingUpdate(update)
            if packet.header.destination == AGENT && packet.final_source() == ANYCAST =>
        {
            let BindingUpdate { lifetime, sequence, .. } = update;
            Some(Registered { care_of: packet.header.source, lifetime, sequence })
        }
        _ => None,
    }
}
