//! The networks of Figure 10 (thesis 4.3.3) as a plan, and the routing daemons on their routers.
//! Network A is the home network and in the middle; C and E have a midway agent, and F is reached through C.
//! Built and started by `figure10`; every router runs BIRD with OSPFv3, and so do the midway agents' hosts.

use std::{fs::File, net::Ipv6Addr};

use crate::lab::{
    Error, Trying,
    figure11::ANYCAST,
    machine::Process,
    stage::Stage,
    topology::{End, Plan, Wire},
};

/// The home agent in network A.
pub const HAA: Ipv6Addr = host(1);
/// The midway agent in network C.
pub const MAAC: Ipv6Addr = host(3);
/// The midway agent in network E.
pub const MAAE: Ipv6Addr = host(5);
/// The initiator in network D.
pub const AID: Ipv6Addr = host(4);
/// The initiator in network E.
pub const AIE: Ipv6Addr = host(7);
/// The initiator in network F.
pub const AIF: Ipv6Addr = host(6);
/// The responder in network B.
pub const AR1: Ipv6Addr = host(2);
/// The responder in network D.
pub const AR2: Ipv6Addr = host(8);

/// The hosts: name, the router of their network, and the number of the wire between them.
const HOSTS: [(&str, &str, u16); 8] = [
    ("HAA", "RA", 1),
    ("AR1", "RB", 2),
    ("MAAC", "RC", 3),
    ("AID", "RD", 4),
    ("MAAE", "RE", 5),
    ("AIF", "RF", 6),
    ("AIE", "RE", 7),
    ("AR2", "RD", 8),
];

/// The wires between routers, the nearer one to the home network first, each with its number.
const LINKS: [(&str, &str, u16); 5] =
    [("RA", "RB", 101), ("RA", "RC", 102), ("RA", "RD", 103), ("RA", "RE", 104), ("RC", "RF", 105)];

/// The routers, one for each network.
pub const ROUTERS: [&str; 6] = ["RA", "RB", "RC", "RD", "RE", "RF"];

/// The midway agents' hosts.
pub const MIDWAY: [&str; 2] = ["MAAC", "MAAE"];

const fn host(network: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, 2)
}

/// Figure 10.
pub fn plan() -> Plan {
    let end = |machine, interface, address| End { machine, interface, address };
    let to_host = |(name, router, network)| {
        let gateway = Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, 1);
        let router = end(router, format!("n{network}"), Some(gateway));
        Wire { network, ends: [router, end(name, "eth0".to_owned(), Some(host(network)))], delay: None }
    };
    let between = |(nearer, farther, network): (&'static str, &'static str, u16)| {
        let farther_end = end(farther, format!("to-{}", nearer.to_lowercase()), None);
        Wire {
            network,
            ends: [end(nearer, format!("to-{}", farther.to_lowercase()), None), farther_end],
            delay: None,
        }
    };
    let recorded = ["AIF", "AIE", "AID", "MAAC", "MAAE", "HAA", "AR1", "AR2"];
    Plan {
        figure: "Figure 10",
        machines: [recorded.as_slice(), &ROUTERS].concat(),
        routers: ROUTERS.to_vec(),
        recorded: recorded.to_vec(),
        wires: HOSTS.map(to_host).into_iter().chain(LINKS.map(between)).collect(),
        routes: Vec::new(),
        anycast: ANYCAST,
        attracted: vec![(ANYCAST, "HAA")],
    }
}

/// The daemon's configurations, which are the examples of the documentation.
const OF_ROUTER: &str = include_str!("../../../docs/examples/bird-router.conf");
const OF_HOME_ROUTER: &str = include_str!("../../../docs/examples/bird-home-router.conf");
const OF_MIDWAY_AGENT: &str = include_str!("../../../docs/examples/bird-midway.conf");

/// The router's identity in the examples; no two routers may have the same.
const IDENTITY: &str = "router id 192.0.2.1;";

/// Starts BIRD on every router and on the midway agents' hosts. They run until the values are dropped.
///
/// # Errors
/// When one cannot be started.
pub fn start_routing(stage: &Stage<'_>) -> Result<Vec<Process>, Error> {
    let names = ROUTERS.iter().chain(&MIDWAY);
    names.zip(1..).map(|(name, number)| start_bird(stage, name, number)).collect()
}

fn start_bird(stage: &Stage<'_>, name: &str, number: u8) -> Result<Process, Error> {
    let machine = stage.machine(name)?;
    let example = match name {
        "RA" => OF_HOME_ROUTER,
        name if MIDWAY.contains(&name) => OF_MIDWAY_AGENT,
        _ => OF_ROUTER,
    };
    let text = example.replace(IDENTITY, &format!("router id 192.0.2.{number};"));
    let place = machine.file_name();
    let file = machine.write_script(&format!("{place}.bird"), &text)?.display().to_string();
    let socket = machine.directory().join(format!("{place}.birdc")).display().to_string();
    let log = stage.launcher.logs.join(format!("{place}-bird.log"));
    let output = File::create(&log).trying(|| format!("write {}", log.display()))?;
    let errors = output.try_clone().trying(|| format!("write {}", log.display()))?;
    machine.start(&["bird", "-f", "-c", &file, "-s", &socket], output.into(), errors.into())
}

/// The interface through which a router sends packets to A_Any at the moment.
///
/// # Errors
/// When it cannot be asked.
pub fn way_to_anycast(stage: &Stage<'_>, router: &str) -> Result<Option<String>, Error> {
    let told = stage.machine(router)?.run(&["ip", "-6", "-o", "route", "get", &ANYCAST.to_string()]);
    let told = match told {
        // No route at all is said as an error.
        Err(Error::Step(_)) => return Ok(None),
        told => told?,
    };
    let mut words = told.split_whitespace().skip_while(|word| *word != "dev");
    Ok(words.nth(1).map(str::to_owned))
}
