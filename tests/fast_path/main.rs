//! One semantics (design section 3): packet by packet, what the programs in the kernel do is what the user-space rules
//! do, and every packet is taken or left as `prediction` says. Thousands of made packets for each hook and every packet
//! of every capture in the repository, through BPF_PROG_TEST_RUN and `forwarding::user`. Needs root and the feature.

#![cfg(mga_ebpf)]

mod crowd;
mod groups;
mod packets;
mod prediction;
mod world;

use std::path::Path;
use std::time::Duration;

use mga_node::forwarding::ebpf::{FastPath, Hook, Verdict, since_boot};
use mga_node::pcap::capture;
use packets::Maker;
use world::{LINK, World};

/// Made packets for each hook.
const MADE: u64 = 4000;

/// What the packets of one run came to.
#[derive(Debug, Default)]
struct Tally {
    taken: usize,
    left: usize,
}

/// Holds the program at `hook` against user space and against the prediction for one packet.
fn compare(world: &World, fast: &mut FastPath, hook: Hook, packet: &[u8], tally: &mut Tally) {
    // The kernel tries no program of traffic control on less than an IPv6 header.
    if packet.len() < 40 && hook != Hook::AgentXdp {
        return;
    }
    let frame = [&LINK[..], packet].concat();
    // The first packet to a next hop teaches XDP the way, and goes by traffic control.
    for _ in 0..usize::from(hook == Hook::AgentXdp) {
        let (verdict, _) = fast.try_out(hook, world.device, &frame).expect("the kernel runs it");
        assert!(matches!(verdict, Verdict::Left | Verdict::Taken), "{hook:?} {verdict:?}: {packet:02x?}");
    }
    let (verdict, after) = fast.try_out(hook, world.device, &frame).expect("the kernel runs it");
    let predicted = prediction::takes(hook, packet);
    match verdict {
        Verdict::Taken => {
            let expected = world.by_user(hook, packet);
            assert_eq!(
                after.get(LINK.len()..),
                expected.as_deref(),
                "{hook:?} rewrites another way than user space: {packet:02x?}"
            );
            assert!(predicted, "{hook:?} takes {packet:02x?}");
            tally.taken += 1;
        }
        Verdict::Left => {
            assert_eq!(after, frame, "{hook:?} leaves a changed packet");
            assert!(!predicted, "{hook:?} leaves {packet:02x?}");
            tally.left += 1;
        }
        Verdict::Lost(number) => panic!("{hook:?} loses ({number}) {packet:02x?}"),
    }
}

fn every_capture(folder: &Path, each: &mut impl FnMut(&[u8])) -> usize {
    let mut count = 0;
    for entry in folder.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            count += every_capture(&path, each);
        } else if path.extension().is_some_and(|extension| extension == "pcap") {
            for frame in capture::read(&path).expect("a capture") {
                each(&frame.ipv6);
                count += 1;
            }
        }
    }
    count
}

/// Runs everything that there is against one hook.
fn hold_against_user_space(hook: Hook) {
    let world = World::new(hook);
    let (made, captured, read) = world.run(|fast| {
        let (mut made, mut captured) = (Tally::default(), Tally::default());
        for number in 0..MADE {
            let packet = Maker::new(number).packet(hook);
            compare(&world, fast, hook, &packet, &mut made);
        }
        let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps");
        let read = every_capture(&captures, &mut |packet| {
            compare(&world, fast, hook, packet, &mut captured);
        });
        (made, captured, read)
    });
    println!("{hook:?}: made {made:?}, captured {captured:?}");
    // Enough of both, or the comparison says little.
    assert!(made.taken > MADE as usize / 10 && made.left > MADE as usize / 10, "{made:?}");
    assert!(read > 1000 && captured.taken > 0, "{captured:?} of {read}");
}

#[test]
fn at_the_agents_driver() {
    hold_against_user_space(Hook::AgentXdp);
}

#[test]
fn at_the_agents_traffic_control() {
    hold_against_user_space(Hook::AgentTc);
}

#[test]
fn at_the_responders_link() {
    hold_against_user_space(Hook::ResponderIn);
}

#[test]
fn at_the_responders_tunnel_device() {
    hold_against_user_space(Hook::ResponderOut);
}

#[test]
fn at_the_initiators_link() {
    hold_against_user_space(Hook::InitiatorIn);
}

#[test]
fn at_the_initiators_tunnel_device() {
    hold_against_user_space(Hook::InitiatorOut);
}

#[test]
fn frames_for_others_and_padded_frames_are_left() {
    for hook in [Hook::AgentXdp, Hook::AgentTc, Hook::ResponderIn, Hook::InitiatorIn] {
        let world = World::new(hook);
        world.run(|fast| {
            let packet = packets::plainest(hook);
            compare(&world, fast, hook, &packet, &mut Tally::default());
            let whole = [&LINK[..], &packet].concat();
            let mut stranger = whole.clone();
            stranger[5] ^= 1;
            let padded = [&whole[..], &[0; 6]].concat();
            for frame in [stranger, padded] {
                let outcome = fast.try_out(hook, world.device, &frame).expect("the kernel runs it");
                assert_eq!(outcome, (Verdict::Left, frame), "{hook:?}");
            }
        });
    }
}

#[test]
fn a_rule_ends_with_its_binding_though_nobody_ends_it() {
    for hook in [Hook::ResponderIn, Hook::ResponderOut, Hook::InitiatorIn, Hook::InitiatorOut] {
        let world = World::new(hook);
        world.run(|fast| {
            let frame = [&LINK[..], &packets::plainest(hook)].concat();
            let verdict = |fast: &mut FastPath, until| {
                for rule in world::rules(hook) {
                    fast.hold(&rule.key(), until).expect("the kernel changes a rule");
                }
                fast.try_out(hook, world.device, &frame).expect("the kernel runs it").0
            };
            let (now, second) = (since_boot(), Duration::from_secs(1));
            assert_eq!(verdict(fast, now + 3600 * second), Verdict::Taken, "{hook:?}");
            // The programs' clock goes by ticks.
            assert_eq!(verdict(fast, now - second), Verdict::Left, "{hook:?}");
        });
    }
}
