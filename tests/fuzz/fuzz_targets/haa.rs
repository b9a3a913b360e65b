//! The home anycast agent (thesis 4.2, RFC 3775 section 10) against packets, waiting times and commands.
//! Beside what holds for every role: its cache is no larger than configured and every address in it has one tunnel, to
//! one it is bound to, and every care-of address may stand in a binding; a group has the members that are bound, and no
//! other. Run by `cargo fuzz run haa`.
#![no_main]

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use libfuzzer_sys::fuzz_target;
use mga_node::protocol::action::Rule;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{GroupStatus, Haa, HaaCommand};
use mga_node::protocol::input::is_routable_unicast;
use mga_node::protocol::role::Role;
use mga_node::protocol::select::Takes;
use mga_node_fuzz::cast::agent;
use mga_node_fuzz::stage::{AR1, AR2, CAPACITY, Part, World, play};

fn command(agent: &mut Haa, now: Instant, octet: u8, only: Option<Ipv6Addr>) {
    let (anycast, care_of) = (None, if octet & 0x80 != 0 { AR1 } else { AR2 });
    let command = match octet % 3 {
        0 => HaaCommand::Deregister(only),
        1 => HaaCommand::Drain { anycast, care_of },
        _ => HaaCommand::Undrain { anycast, care_of },
    };
    agent.handle_command(now, &command);
}

fn shut_down(agent: &mut Haa, now: Instant) {
    agent.handle_command(now, &HaaCommand::Shutdown);
}

fn check(agent: &Haa, now: Instant, world: &World) {
    let bindings = agent.bindings(now);
    assert!(bindings.len() <= CAPACITY);
    for binding in &bindings {
        assert!(is_routable_unicast(&binding.care_of) && is_routable_unicast(&binding.anycast));
        assert!(u64::from(binding.lifetime) >= binding.remaining && binding.lifetime > 0);
        assert!(world.captured.contains(&binding.anycast), "{} is attracted", binding.anycast);
    }
    let groups = agent.groups();
    for group in &groups {
        check_group(group, world);
    }
    let bound: BTreeSet<_> = bindings
        .iter()
        .filter(|found| groups.iter().all(|group| group.anycast != found.anycast))
        .map(|found| (found.anycast, found.agent, found.care_of))
        .collect();
    let of_rules = |pick: fn(Rule) -> Option<(Ipv6Addr, Ipv6Addr, Ipv6Addr)>| -> BTreeSet<_> {
        world.rules().filter_map(pick).collect()
    };
    let out = of_rules(|rule| match rule {
        Rule::TunnelToResponder { anycast, agent, care_of } => Some((anycast, agent, care_of)),
        _ => None,
    });
    let back = of_rules(|rule| match rule {
        Rule::TunnelFromResponder { anycast, agent, care_of } => Some((anycast, agent, care_of)),
        _ => None,
    });
    let options = of_rules(|rule| match rule {
        Rule::HomeAddressIn { anycast, own, care_of } => Some((anycast, own, care_of)),
        _ => None,
    });
    assert_eq!(options, bound);
    // An anycast address bound at two addresses of the agent has the tunnel of one of them.
    assert_eq!(out, back);
    assert!(out.is_subset(&bound), "{out:?} {bound:?}");
    let tunnelled: BTreeSet<_> = out.iter().map(|(anycast, ..)| anycast).collect();
    assert_eq!(tunnelled, bound.iter().map(|(anycast, ..)| anycast).collect());
}

/// The data path has the members that are bound, unless they are lost, and new sources go to those that take them.
fn check_group(group: &GroupStatus, world: &World) {
    let Some(installed) = world.forwarder.group(&group.anycast) else {
        return assert!(group.members.is_empty(), "{group:?}");
    };
    assert!(!group.members.is_empty());
    let installed = installed.group();
    for member in &installed.members {
        let bound = group.members.iter().find(|bound| bound.view.member == member.number);
        assert_eq!(bound.map(|bound| bound.care_of), Some(member.care_of), "{group:?}");
    }
    for slot in &installed.slots {
        let member = installed.members.get(usize::from(*slot)).expect("a slot is a member's");
        assert_eq!(member.takes, Takes::New, "{installed:?}");
    }
}

fn check_end(agent: &Haa, now: Instant) {
    assert!(agent.bindings(now).is_empty());
    // What was learnt of the home link ages by itself, served or not.
    let learnt = ["home agent lifetime", "prefix lifetime"];
    let waiting = agent.poll_timeout().filter(|(_, reason)| !learnt.contains(reason));
    assert_eq!(waiting, None);
}

fuzz_target!(|octets: &[u8]| {
    let Some((first, steps)) = octets.split_first() else { return };
    play(Part { role: agent(*first), command, shut_down, check, check_end }, steps);
});
