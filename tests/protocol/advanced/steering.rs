//! Return routability with several responders at one address (RFC 3775 5.2.5; thesis 4.2.3 with 4.3.1): a Home Test finds
//! the member that asked for it, everything else follows its source.

use std::net::Ipv6Addr;

use mga_node::protocol::action::Action;
use mga_node::wire::mobility::{Message, Test, TestInit};

use super::membership::{Bench, legacy};
use crate::stimulus::*;

fn init(initiator: Ipv6Addr, cookie: u8) -> Vec<u8> {
    let init = TestInit { reserved: 0, cookie: [cookie; 8], options: Vec::new() };
    mobility(ANYCAST, initiator, None, Message::HomeTestInit(init))
}

fn test(initiator: Ipv6Addr, cookie: u8) -> Vec<u8> {
    let test = Test { nonce_index: 1, cookie: [cookie; 8], token: [3; 8], options: Vec::new() };
    mobility(initiator, ANYCAST, None, Message::HomeTest(test))
}

fn both() -> Bench {
    let mut bench = Bench::new();
    bench.verdict(&legacy(AR1, 1));
    bench.verdict(&legacy(AR2, 1));
    bench
}

/// Member `care_of` sends a Home Test Init, which goes on to the initiator.
fn asks(bench: &mut Bench, care_of: Ipv6Addr, initiator: Ipv6Addr, cookie: u8) {
    let inner = init(initiator, cookie);
    bench.haa.handle_packet(bench.now, &tunnel(care_of, AGENT, &inner));
    assert!(bench.haa.actions().contains(&Action::Deliver(inner)));
}

fn arrives(bench: &mut Bench, packet: &[u8]) -> Vec<Action> {
    bench.haa.handle_packet(bench.now, packet);
    bench.haa.actions()
}

#[test]
fn a_home_test_goes_to_the_member_that_asked_whoever_registered_last() {
    let mut bench = both();
    asks(&mut bench, AR1, AI1, 1);
    asks(&mut bench, AR2, AI1, 2);
    asks(&mut bench, AR2, AI2, 1);
    for (initiator, cookie, member) in [(AI1, 1, AR1), (AI1, 2, AR2), (AI2, 1, AR2)] {
        let packet = test(initiator, cookie);
        let steered = Action::Send(tunnel(AGENT, member, &packet));
        assert_eq!(arrives(&mut bench, &packet), [steered], "{initiator} {cookie}");
    }
}

#[test]
fn octets_behind_a_packet_go_nowhere_with_it() {
    let mut bench = both();
    asks(&mut bench, AR1, AI1, 1);
    for (cookie, sent) in
        [(1, Action::Send(tunnel(AGENT, AR1, &test(AI1, 1)))), (2, Action::SendToGroup(test(AI1, 2)))]
    {
        let padded = [test(AI1, cookie), vec![0xee; 6]].concat();
        assert_eq!(arrives(&mut bench, &padded), [sent]);
    }
}

#[test]
fn a_home_test_that_nobody_asked_for_and_everything_else_follow_their_source() {
    let mut bench = both();
    asks(&mut bench, AR1, AI1, 1);
    let refresh = mobility(AI1, ANYCAST, None, Message::BindingRefreshRequest(Default::default()));
    for packet in [test(AI1, 2), test(AI2, 1), refresh] {
        assert_eq!(arrives(&mut bench, &packet), [Action::SendToGroup(packet)]);
    }
    // After its time the exchange is forgotten.
    bench.now = bench.now + std::time::Duration::from_secs(32);
    let late = test(AI1, 1);
    assert_eq!(arrives(&mut bench, &late), [Action::SendToGroup(late)]);
}

#[test]
fn a_home_test_init_of_somebody_else_steers_nothing() {
    let mut bench = both();
    let forged = tunnel(STRANGER, AGENT, &init(AI1, 1));
    assert!(!arrives(&mut bench, &forged).iter().any(|action| matches!(action, Action::Deliver(_))));
    let packet = test(AI1, 1);
    assert_eq!(arrives(&mut bench, &packet), [Action::SendToGroup(packet)]);
}

#[test]
fn what_a_member_asked_for_ends_with_its_membership() {
    let mut bench = both();
    asks(&mut bench, AR1, AI1, 1);
    bench.verdict(&Update { lifetime: 0, ..legacy(AR1, 2) });
    let packet = test(AI1, 1);
    assert_eq!(arrives(&mut bench, &packet), [Action::SendToGroup(packet)]);
}
