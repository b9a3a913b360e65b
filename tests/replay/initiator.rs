//! The initiator in the place of KAME's `cnd` and of UMIP as correspondent node (RFC 3775 section 9).
//! The host's own echo and TCP are recorded and go through our forwarder in the plain.
//! Called by the one test of this program.

use std::net::Ipv6Addr;

use mga_node::protocol::ai::{Ai, AiConfig};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::random::SeededRandom;

use crate::adapt::Tokens;
use crate::judge::Judge;
use crate::recording::Recording;
use crate::replayer::{Replayer, Stack};

const AI1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 2);
const AI2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 3, 0, 0, 0, 2);

pub fn replay(judge: &mut Judge) {
    // From when to when, in seconds, the recorded node was plain.
    let no_gap: &[(f64, f64)] = &[];
    let recordings = [
        ("kame/kame-section5.3/ai2", AI2, no_gap),
        ("kame/kame-section5.3/ai1", AI1, &[(0.0, 20.0)]),
        ("kame/kame-cn/ai1", AI1, no_gap),
        ("umip/umip-5.3/ai2", AI2, no_gap),
        ("umip/umip-5.3-both-optimized/ai1", AI1, no_gap),
        ("umip/umip-5.3-both-optimized/ai2", AI2, no_gap),
        ("umip/umip-cn-lifetime-brr/ai2", AI2, &[(165.0, f64::MAX)]),
        ("umip/umip-restart-be/ai2", AI2, &[(4.0, 11.6)]),
    ];
    for (name, own, gaps) in recordings {
        let recording = Recording::open(name, own);
        let initiator = |_| Ai::new(&AiConfig { max_bindings: 100 }, Box::new(SeededRandom::new(0x3775)));
        let node = Replayer::new(initiator(Instant::START), &recording, &[own]);
        let (expected, actual) =
            node.live(gaps, initiator, Stack::Host, &mut Tokens::default(), |_, _, _| {});
        judge.compare(name, expected, actual);
    }
}
