//! The agent in the place of KAME's `had` and of UMIP as home agent (RFC 3775 section 10).
//! Its configuration is that of the recorded one: lifetimes, detection of duplicates, the part on the home link.
//! Called by the one test of this program.

use std::net::Ipv6Addr;

use mga_node::protocol::clock::Instant;
use mga_node::protocol::haa::{Haa, HaaConfig, HomeLinkConfig};
use mga_node::wire::mobility::Lifetime;

use crate::adapt::AsRecorded;
use crate::judge::{Cast, Judge};
use crate::recording::{Recording, source_of};
use crate::replayer::{Gap, Replayer, Stack};

pub const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);

/// UMIP's kernel answered alone then.
const OFF: &str = "no daemon ran, only its kernel answered";

/// KAME granted what it was asked for and did not probe.
pub fn kame() -> (HaaConfig, HomeLinkConfig) {
    (config(Lifetime(u16::MAX), false), HomeLinkConfig::default())
}

/// UMIP granted `seconds` at most and probed.
fn umip(seconds: u16) -> (HaaConfig, HomeLinkConfig) {
    (config(Lifetime(seconds / 4), true), HomeLinkConfig { preference: 10, ..HomeLinkConfig::default() })
}

fn config(max_lifetime: Lifetime, duplicate_address_detection: bool) -> HaaConfig {
    HaaConfig {
        agent: AGENT,
        link_local: None,
        link_address: [0; 6],
        home_prefixes: vec!["2001:db8:0:1::/64".parse().expect("a prefix")],
        anycast: Vec::new(),
        max_lifetime,
        max_bindings: 100,
        duplicate_address_detection,
    }
}

pub fn replay(judge: &mut Judge) {
    let no_gap: &[Gap] = &[];
    let recordings = [
        ("kame/kame-section5.1", kame(), no_gap),
        ("kame/kame-registration", kame(), no_gap),
        ("kame/kame-dereg-foreign", kame(), &[(20.0, 20.1, "the daemon was restarted")]),
        ("kame/kame-section5.2", kame(), no_gap),
        ("kame/kame-section5.3", kame(), no_gap),
        ("kame/kame-cn", kame(), no_gap),
        ("umip/umip-section5.1-seq200-100", umip(60), no_gap),
        ("umip/umip-section5.1", umip(60), no_gap),
        ("umip/umip-ha-registration", umip(28), &[(119.0, f64::MAX, OFF)]),
        ("umip/umip-ha-registration-dhaad-move", umip(60), no_gap),
        ("umip/umip-5.2", umip(60), no_gap),
        ("umip/umip-5.3", umip(60), no_gap),
        ("umip/umip-5.3-both-optimized", umip(60), no_gap),
        ("umip/umip-cn-lifetime-brr", umip(400), &[(220.0, f64::MAX, OFF)]),
        ("umip/umip-restart-be", umip(400), &[(40.5, 60.0, OFF)]),
    ];
    for (folder, (config, home_link), gaps) in recordings {
        let recording = Recording::open(&format!("{folder}/haa"), AGENT);
        replay_one(judge, &recording, config, home_link, gaps);
    }
}

fn replay_one(
    judge: &mut Judge,
    recording: &Recording,
    mut config: HaaConfig,
    home_link: HomeLinkConfig,
    gaps: &[Gap],
) {
    config.link_address = *recording.link_addresses.first().expect("an interface");
    let own_link_local = |frame| source_of(frame).filter(Ipv6Addr::is_unicast_link_local);
    config.link_local =
        recording.frames.iter().filter(|frame| recording.is_sent(frame)).find_map(own_link_local);
    let own: Vec<_> = [AGENT].into_iter().chain(config.link_local).collect();
    let agent = |_| Haa::on_home_link(config.clone(), home_link);
    let node = Replayer::new(agent(Instant::START), recording, &own);
    let (expected, actual) = node.live(gaps, agent, Stack::Router, &mut AsRecorded, Vec::new());
    judge.compare(Cast { name: &recording.name, role: "agent", gaps }, expected, actual);
}
