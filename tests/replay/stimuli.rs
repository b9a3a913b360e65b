//! The crafted stimuli of `pcaps/kame/kame-errors` and `kame-mn-errors` (RFC 3775 sections 9.5, 10.3, 11.7): what was
//! sent to KAME's `had` and `cnd`, one after the other to one agent and one initiator of ours, and what a scripted
//! agent said to `mnd`, each to a responder of its own. Every capture is compared by itself.
//! Called by the one test of this program.

use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::Duration;

use mga_node::pcap::capture::Frame;
use mga_node::protocol::ai::{Ai, AiConfig};
use mga_node::protocol::ar::{AnycastConfig, Ar, ArConfig, ReverseTunnelEnd};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::Haa;
use mga_node::protocol::random::SeededRandom;
use mga_node::protocol::role::Role;
use mga_node::wire::Packet;
use mga_node::wire::destination_options::home_address_header;
use mga_node::wire::ipv6::{self, Ipv6Header, next_header};
use mga_node::wire::mobility::{BindingUpdate, Lifetime, Message, MobilityHeader, TestInit, UpdateFlags};

use crate::adapt::{AsRecorded, Questions, Tokens};
use crate::agent;
use crate::judge::{Cast, Judge};
use crate::recording::{Recording, frames};
use crate::replayer::{Order, Replayer, Stack, instant};

const AI1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 2);
const AR1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2);
/// Whose home address stands in what was sent to the correspondent.
const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 5, 0, 0, 0, 2);
const OTHER_HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 5, 0, 0, 0, 0x22);
const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);
/// Bound by a stimulus that was not kept; a later one is about its binding.
const BOUND_BEFORE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x17);
/// What is not recorded comes so long before the capture that wants it.
const BEFORE: Duration = Duration::from_millis(20);

/// The captures of `folder` whose names contain `which`, in the order of their numbers.
fn captures(folder: &str, which: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps").join(folder);
    let entries = fs::read_dir(path).expect("the folder").map(|entry| entry.expect("an entry").path());
    let stems = entries.filter(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    let stems = stems.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    let mut found: Vec<_> = stems.filter(|stem| stem.contains(which)).collect();
    found.sort_by_key(|stem| stem.split('-').next().and_then(|number| number.parse::<u32>().ok()));
    found.into_iter().map(|stem| format!("{folder}/{stem}")).collect()
}

pub fn replay(judge: &mut Judge) {
    to_the_agent(judge);
    to_the_initiator(judge);
    to_the_responder(judge);
    exchange(judge);
}

/// Compares capture by capture what one node said over all of them.
fn compare_each(
    judge: &mut Judge,
    role: &'static str,
    captures: &[String],
    both: (Vec<Frame>, Vec<Frame>),
    asides: &[Duration],
) {
    let begins: Vec<_> = captures.iter().map(|name| frames(name).first().expect("a stimulus").at).collect();
    for (index, name) in captures.iter().enumerate() {
        let end = begins.get(index + 1).copied().unwrap_or(Duration::MAX);
        let own = |all: &[Frame]| -> Vec<Frame> {
            let within = |frame: &&Frame| (begins[index]..end).contains(&frame.at);
            let is_aside = |frame: &&Frame| asides.contains(&frame.at);
            let own = all.iter().filter(within).filter(|frame| !is_aside(frame));
            own.filter(|frame| !is_for_the_link(&frame.ipv6)).cloned().collect()
        };
        judge.compare(Cast { name, role, gaps: &[] }, own(&both.0), own(&both.1));
    }
}

/// Multicast, which the captures do not show: they were made beyond a router.
fn is_for_the_link(packet: &[u8]) -> bool {
    Packet::parse_quoted(packet).is_ok_and(|packet| packet.header.destination.is_multicast())
}

/// A packet that was not kept goes in shortly before a capture.
fn aside<R: Role + 'static>(capture: &str, packet: Vec<u8>) -> Order<R> {
    let at = frames(capture).first().expect("a stimulus").at - BEFORE;
    Order { at, act: Box::new(move |role, now| role.handle_packet(now, &packet)) }
}

fn named<'a>(captures: &'a [String], stem: &str) -> &'a str {
    captures.iter().find(|name| name.ends_with(stem)).expect("a capture of this name")
}

fn to_the_agent(judge: &mut Judge) {
    let captures = captures("kame/kame-errors", "-had-");
    let recording = Recording::of_stimuli("kame/kame-errors/had", agent::AGENT, &captures);
    let (config, home_link) = agent::kame();
    let agent = |_| Haa::on_home_link(config.clone(), home_link);
    let node = Replayer::new(agent(Instant::START), &recording, &[agent::AGENT]);
    let update = BindingUpdate {
        sequence: 5,
        flags: UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION,
        lifetime: Lifetime(100),
        options: Vec::new(),
    };
    let bound_before = mobility(AR1, agent::AGENT, Some(BOUND_BEFORE), Message::BindingUpdate(update));
    let orders = vec![aside::<Haa>(named(&captures, "21-had-altcoa-eq-hoa"), bound_before)];
    let asides: Vec<_> = orders.iter().map(|order| order.at).collect();
    let both = node.live(&[], agent, Stack::Router, &mut AsRecorded, orders);
    compare_each(judge, "agent", &captures, both, &asides);
}

fn to_the_initiator(judge: &mut Judge) {
    let captures = captures("kame/kame-errors", "-cnd-");
    let recording = Recording::of_stimuli("kame/kame-errors/cnd", AI1, &captures);
    let initiator = |_| Ai::new(&AiConfig { max_bindings: 100 }, Box::new(SeededRandom::new(0x3775)));
    let node = Replayer::new(initiator(Instant::START), &recording, &[AI1]);
    // The tests that gave the second and the third nonce, and those for the other home address, were not kept.
    let init = |cookie: u8| TestInit { reserved: 0, cookie: [cookie; 8], options: Vec::new() };
    let home = |address| mobility(address, AI1, None, Message::HomeTestInit(init(1)));
    let care_of = || mobility(AR1, AI1, None, Message::CareOfTestInit(init(2)));
    let (other, second, third) = (
        named(&captures, "101-cnd-delete-unbound"),
        named(&captures, "107-cnd-fresh-accept"),
        named(&captures, "109-cnd-home-nonce-expired"),
    );
    let orders = vec![
        aside::<Ai>(other, home(OTHER_HOME)),
        aside(second, home(HOME)),
        aside(second, care_of()),
        aside(third, home(HOME)),
        aside(third, care_of()),
    ];
    let asides: Vec<_> = orders.iter().map(|order| order.at).collect();
    let both = node.live(&[], initiator, Stack::Host, &mut Tokens::also_unseen(), orders);
    compare_each(judge, "initiator", &captures, both, &asides);
}

/// The exchange whose keys are published, at the correspondent.
fn exchange(judge: &mut Judge) {
    let name = "kame/kame-rr-vectors/exchange";
    let recording = Recording::of_stimuli(name, AI1, &[name.to_owned()]);
    let initiator = |_| Ai::new(&AiConfig { max_bindings: 100 }, Box::new(SeededRandom::new(0x3775)));
    let node = Replayer::new(initiator(Instant::START), &recording, &[AI1]);
    let (expected, actual) = node.live(&[], initiator, Stack::Host, &mut Tokens::default(), Vec::new());
    judge.compare(Cast { name, role: "initiator", gaps: &[] }, expected, actual);
}

fn to_the_responder(judge: &mut Judge) {
    for name in captures("kame/kame-mn-errors", "") {
        let recording = Recording::of_stimuli(&name, AR1, std::slice::from_ref(&name));
        let responder = |now| {
            let anycast = AnycastConfig {
                anycast: ANYCAST,
                agent: Some(agent::AGENT),
                home_prefix_length: 64,
                lifetime: Lifetime(10),
                initial_sequence: Some(500),
            };
            let config = ArConfig {
                care_of: AR1,
                anycast: vec![anycast],
                route_optimisation: true,
                reverse_tunnel_end: ReverseTunnelEnd::Agent,
            };
            Ar::new(config, now, Box::new(SeededRandom::new(0x3775)))
        };
        let begin = recording.frames.first().expect("the first update").at;
        let node = Replayer::new(responder(instant(&recording, begin)), &recording, &[AR1, ANYCAST]);
        let (expected, actual) =
            node.live(&[], responder, Stack::Host, &mut Questions::default(), Vec::new());
        judge.compare(Cast { name: &name, role: "responder", gaps: &[] }, expected, actual);
    }
}

/// A packet with this message, its checksum over the home address if there is one.
fn mobility(from: Ipv6Addr, to: Ipv6Addr, home_address: Option<Ipv6Addr>, message: Message) -> Vec<u8> {
    let upper = MobilityHeader::new(message).emit_for(&home_address.unwrap_or(from), &to);
    let packet = match home_address {
        Some(home_address) => {
            let mut payload = home_address_header(next_header::MOBILITY, &home_address).to_vec();
            payload.extend(&upper);
            ipv6::packet(Ipv6Header::new(next_header::DESTINATION_OPTIONS, 64, from, to), &payload)
        }
        None => ipv6::packet(Ipv6Header::new(next_header::MOBILITY, 64, from, to), &upper),
    };
    assert!(Packet::parse(&packet).is_ok());
    packet
}
