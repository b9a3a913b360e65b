//! Replays the recordings of KAME and UMIP (pcaps/): what came in to a recorded node goes in to our role of that
//! kind, and what ours sends is compared as protocol with what the recorded node sent (RFC 3775 sections 8 to 11).
//! Run by `cargo test --test replay`; differences are allowed only by an entry in `allowed.toml`.
//!
//! Packets go in at their recorded times, in virtual time, and are in both captures, so that what an answer refers
//! to can be seen. What answers a secret of the recorded node is made to answer ours: [`adapt`] says how.

mod adapt;
mod agent;
mod initiator;
mod judge;
mod recording;
mod replayer;
mod responder;
mod stimuli;
mod table;

use judge::Judge;

/// One test, because an entry of `allowed.toml` that no recording needs is an error too.
#[test]
fn our_roles_answer_the_recorded_packets_as_kame_and_umip_did() {
    let mut judge = Judge::new();
    agent::replay(&mut judge);
    initiator::replay(&mut judge);
    responder::replay(&mut judge);
    stimuli::replay(&mut judge);
    judge.verdict();
}
