//! The initiator in the place of KAME's `cnd` and of UMIP as correspondent node (RFC 3775 section 9).
//! The host's own echo and TCP are recorded and go through our forwarder in the plain.
//! Called by the one test of this program.

use std::net::Ipv6Addr;

use mga_node::protocol::ai::{Ai, AiConfig, AiPolicy};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::random::SeededRandom;

use crate::adapt::Tokens;
use crate::judge::{Cast, Judge};
use crate::recording::Recording;
use crate::replayer::{Gap, Replayer, Stack};

const AI1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 2);
const AI2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 3, 0, 0, 0, 2);

pub fn replay(judge: &mut Judge) {
    let no_gap: &[Gap] = &[];
    let recordings = [
        ("kame/kame-section5.3/ai2", AI2, no_gap),
        ("kame/kame-section5.3/ai1", AI1, &[(0.0, 20.0, "it was a plain host until then")]),
        ("kame/kame-cn/ai1", AI1, no_gap),
        ("umip/umip-5.3/ai2", AI2, no_gap),
        ("umip/umip-5.3-both-optimized/ai1", AI1, no_gap),
        ("umip/umip-5.3-both-optimized/ai2", AI2, no_gap),
        ("umip/umip-cn-lifetime-brr/ai2", AI2, &[(165.0, f64::MAX, "the daemon was killed")]),
        ("umip/umip-restart-be/ai2", AI2, &[(4.0, 11.6, "the daemon was restarted")]),
    ];
    for (name, own, gaps) in recordings {
        replay_one(judge, name, own, gaps, AiPolicy::default(), "initiator");
    }
    // Hosts that never heard of Mobile IPv6, and an initiator that is told to be one of them.
    let plain = AiPolicy { route_optimisation: false };
    for (name, own) in [
        ("kame/kame-section5.2/ai1", AI1),
        ("kame/kame-section5.2/ai2", AI2),
        ("umip/umip-5.2/ai1", AI1),
        ("umip/umip-5.2/ai2", AI2),
        ("umip/umip-5.3/ai1", AI1),
        ("umip/umip-cn-lifetime-brr/ai1", AI1),
        ("umip/umip-restart-be/ai1", AI1),
    ] {
        replay_one(judge, name, own, no_gap, plain, "initiator without route optimisation");
    }
}

fn replay_one(
    judge: &mut Judge,
    name: &str,
    own: Ipv6Addr,
    gaps: &[Gap],
    policy: AiPolicy,
    role: &'static str,
) {
    let recording = Recording::open(name, own);
    let initiator = |_| {
        let random = Box::new(SeededRandom::new(0x3775));
        Ai::new(&AiConfig { max_bindings: 100 }, random).with_policy(policy)
    };
    let node = Replayer::new(initiator(Instant::START), &recording, &[own]);
    let (expected, actual) = node.live(gaps, initiator, Stack::Host, &mut Tokens::default(), Vec::new());
    judge.compare(Cast { name, role, gaps }, expected, actual);
}
