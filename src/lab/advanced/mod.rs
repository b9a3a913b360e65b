//! The advanced model of the thesis (4.3.1, 4.3.2) on Figure 11: several responders behind one anycast address, kept,
//! chosen among, drained, killed and left, with sessions and route optimisation that survive it.
//! `mga-node lab advanced` runs it; with `--rounds` it measures failovers instead.

pub mod claims;
pub mod failover;

use std::{cell::RefCell, net::Ipv6Addr, rc::Rc, time::Duration};

use ipnet::Ipv6Net;

use super::{
    Error, LabOptions, Outcome,
    figure11::{self, ANYCAST, Node},
    machine::Process,
    run,
    script::{Lab, Script},
    stage::Stage,
    topology::Plan,
};
use crate::{
    pcap::{passage::Trace, report::Finding},
    wire::mobility::Message,
};
use failover::Tally;

/// How many sources are spread over the responders.
pub const SOURCES: u16 = 200;

/// Where the sources of a load begin. Their network lies behind AI1.
const FIRST_SOURCE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0x12, 0, 0, 0, 1);

/// True for the addresses of that network.
pub fn is_source(address: Ipv6Addr) -> bool {
    address.segments()[..4] == FIRST_SOURCE.segments()[..4]
}

/// Requests per second in the steps, which a machine with other work to do can carry and capture.
const RATE: &str = "200";

/// Requests per second where failovers are measured.
const MEASURED_RATE: &str = "1000";

/// How long a load of the steps may take.
const LOAD_LIMIT: Duration = Duration::from_secs(30);

/// By how much AR1 is farther than AR2 where that matters.
const DETOUR: Duration = Duration::from_millis(20);

/// The lifetime that responders ask for where nothing is to be refreshed meanwhile, in seconds.
const LIFETIME: &str = "96";

/// The same where route optimisation is to be renewed several times.
const SHORT_LIFETIME: &str = "8";

/// The words of a node without keys.
const NO_KEYS: &str = "authentication = \"none\"";

/// The words of an agent that gives each responder the same share of sources.
const BY_HASH: &str = "selection = \"hash\"";

/// How long the last answers may be on their way.
const LATE: Duration = Duration::from_millis(500);

/// The steps in order.
fn scripts() -> Vec<Script> {
    let script = |name: &str, title, play, judge: fn(&Trace) -> Vec<Finding>| Script {
        name: name.to_owned(),
        title,
        plan,
        play,
        judge: Box::new(judge),
    };
    vec![
        script("figure9", "Two responders at once (Figure 9)", two_at_once, claims::figure9),
        script("hash", "200 sources spread by hash", by_hash, claims::spread_hash),
        script("weighted", "200 sources spread by weights 3 and 1", by_weight, claims::spread_weighted),
        script(
            "preference",
            "200 sources given to the responder that is named first",
            by_preference,
            claims::spread_preference,
        ),
        script(
            "metric",
            "200 sources given to the responder whose metric is less",
            by_metric,
            claims::spread_metric,
        ),
        Script {
            plan: with_detour,
            ..script(
                "distance",
                "200 sources given to the nearer responder",
                by_distance,
                claims::spread_distance,
            )
        },
        script("telnet", "A telnet session without route optimisation, and a drain", telnet, claims::telnet),
        script("killed", "A responder is killed", killed, |trace| claims::killed("killed", trace)),
        script("left", "A responder ends cleanly", left, |trace| claims::left("left", trace)),
        script(
            "optimised",
            "Route optimisation by a responder that is not the last registered",
            optimised,
            claims::optimised,
        ),
        script("mixed", "A responder of the basic model beside one of the advanced", mixed, claims::mixed),
        script("keys", "Members with keys, and a stranger", keys, claims::keys),
    ]
}

/// Figure 11, and a network of many sources behind AI1.
fn plan() -> Plan {
    let sources = Ipv6Net::new(FIRST_SOURCE, 64).map(|net| net.trunc());
    let route = sources.map(|sources| (Node::Rt.name(), sources, Node::Ai1.address()));
    Plan { routes: route.into_iter().collect(), ..figure11::plan() }
}

/// Figure 11 with a slow way to AR1.
fn with_detour() -> Plan {
    let mut plan = plan();
    for wire in plan.wires.iter_mut().filter(|wire| wire.network == Node::Ar1.network()) {
        wire.delay = Some(DETOUR);
    }
    plan
}

fn two_at_once(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("Figure 9: AR1 registers with 200, then AR2 with 100, and is added");
    start_all(stage, BY_HASH, LIFETIME, ["", ""])?;
    ask(stage, 40, 200)?;
    for responder in ["AR1", "AR2"] {
        stage.figure(&format!("{responder} registers again"));
        stage.register(responder)?;
        ask(stage, 40, 200)?;
    }
    Ok(())
}

fn by_hash(stage: &mut Stage<'_>) -> Result<(), Error> {
    spread(stage, BY_HASH, ["", ""])
}

fn by_weight(stage: &mut Stage<'_>) -> Result<(), Error> {
    spread(stage, "selection = \"weighted\"", ["weight = 3", "weight = 1"])
}

fn by_preference(stage: &mut Stage<'_>) -> Result<(), Error> {
    let order = format!("prefer = [\"{}\", \"{}\"]", Node::Ar2.address(), Node::Ar1.address());
    spread(stage, &format!("selection = \"preference\"\n{order}"), ["", ""])
}

fn by_metric(stage: &mut Stage<'_>) -> Result<(), Error> {
    let metric = |value| format!("[anycast.metric]\ncommand = [\"/bin/echo\", \"{value}\"]\ninterval = 1.0");
    register_both(stage, "selection = \"metric\"", [&metric(80), &metric(20)])?;
    for responder in ["AR1", "AR2"] {
        stage.reported(responder)?;
    }
    ask_twice(stage)
}

fn by_distance(stage: &mut Stage<'_>) -> Result<(), Error> {
    spread(stage, "selection = \"distance\"", ["", ""])
}

/// 200 sources ask twice each.
fn spread(stage: &mut Stage<'_>, selection: &str, services: [&str; 2]) -> Result<(), Error> {
    register_both(stage, selection, services)?;
    ask_twice(stage)
}

fn register_both(stage: &mut Stage<'_>, selection: &str, services: [&str; 2]) -> Result<(), Error> {
    stage.figure("AR1 and AR2 register");
    start_all(stage, selection, LIFETIME, services)?;
    settled(stage)
}

fn ask_twice(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure(&format!("{SOURCES} sources ask twice"));
    ask(stage, SOURCES, 2 * u32::from(SOURCES))
}

fn telnet(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("AI1 opens a telnet session");
    stage.serve_telnet()?;
    start_all(stage, BY_HASH, LIFETIME, ["", ""])?;
    let responder = stage.open_telnet_with_any("AI1")?;
    let other = if responder == "AR1" { "AR2" } else { "AR1" };
    ask(stage, 20, 20)?;
    for again in [other, other, responder] {
        stage.figure(&format!("{again} registers again"));
        stage.register(again)?;
        stage.use_telnet("AI1", responder)?;
    }
    stage.figure(&format!("{responder} is drained: its session goes on, new sources go to {other}"));
    stage.tell(responder, &["drain"])?;
    stage.use_telnet("AI1", responder)?;
    ask(stage, 60, 120)?;
    stage.use_telnet("AI1", responder)?;
    stage.register(other)?;
    stage.use_telnet("AI1", responder)?;
    stage.close_telnet("AI1")
}

fn killed(stage: &mut Stage<'_>) -> Result<(), Error> {
    kill_under(stage, RATE)
}

fn left(stage: &mut Stage<'_>) -> Result<(), Error> {
    end_under(stage, RATE)
}

/// AR1 is killed in the midst of so many requests per second.
fn kill_under(stage: &mut Stage<'_>, rate: &str) -> Result<(), Error> {
    start_both(stage)?;
    stage.figure("AR1 is killed in the midst of requests");
    let load = endless(stage, rate)?;
    stage.pass(Duration::from_secs(2))?;
    stage.kill("AR1")?;
    stage.pass(Duration::from_secs(4))?;
    drop(load);
    stage.pass(LATE)
}

/// AR1 ends cleanly in the midst of so many requests per second.
fn end_under(stage: &mut Stage<'_>, rate: &str) -> Result<(), Error> {
    start_both(stage)?;
    stage.figure("AR1 ends in the midst of requests");
    let load = endless(stage, rate)?;
    stage.pass(Duration::from_secs(2))?;
    stage.end("AR1")?;
    stage.pass(Duration::from_secs(2))?;
    drop(load);
    stage.pass(LATE)
}

fn optimised(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("AI1 knows Mobile IPv6; one of two responders optimises the route to it");
    start_all(stage, BY_HASH, SHORT_LIFETIME, ["", ""])?;
    stage.start_initiator("AI1")?;
    stage.ping("AI1", 5)?;
    let responder = stage.optimised_by_any("AI1")?;
    let other = if responder == "AR1" { "AR2" } else { "AR1" };
    stage.figure(&format!("{other} registers again and is the last one to; {responder} renews"));
    // Both refresh their registrations by themselves, too; so the other one is made to again and again.
    for _ in 0..25 {
        stage.register(other)?;
        stage.ping("AI1", 5)?;
    }
    Ok(())
}

fn mixed(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("AR1 knows the basic model only, AR2 the advanced");
    start_agent(stage, &[NO_KEYS, BY_HASH, ""])?;
    stage.start_responder("AR1", 200)?;
    start_responder(stage, "AR2", LIFETIME, &[NO_KEYS, "", ""])?;
    stage.figure(&format!("{SOURCES} sources ask twice"));
    ask(stage, SOURCES, 2 * u32::from(SOURCES))?;
    stage.register("AR1")?;
    ask(stage, SOURCES, u32::from(SOURCES))
}

fn keys(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("HAA knows AR1 and its key");
    let key = "000102030405060708090a0b0c0d0e0f";
    let file = stage.write_secret("HAA", "ar1.key", key)?;
    let members = format!("[[member]]\n{}\n", identity("ar1", &file));
    start_agent(stage, &["authentication = \"rfc4285\"", BY_HASH, &members])?;
    let file = stage.write_secret("AR1", "own.key", key)?;
    start_responder(stage, "AR1", LIFETIME, &[&with_key("ar1", &file), "", ""])?;

    stage.figure("AR2, whom HAA does not know, tries without a key, and with one of its own as AR1");
    stage.start_configured("AR2", "ar", &responder_words(LIFETIME, &[NO_KEYS, "", ""]))?;
    stage.wait_for_packets("AR2's attempt without a key", "HAA", 1, |view| {
        view.outer.source == Node::Ar2.address() && matches!(view.mobility(), Some(Message::BindingUpdate(_)))
    })?;
    stage.end("AR2")?;
    let file = stage.write_secret("AR2", "own.key", "ffffffffffffffffffffffffffffffff")?;
    stage.start_configured("AR2", "ar", &responder_words(LIFETIME, &[&with_key("ar1", &file), "", ""]))?;
    stage.refused("AR2", 1)?;
    ask(stage, SOURCES, u32::from(SOURCES))
}

fn identity(name: &str, key_file: &str) -> String {
    format!("identifier = \"{name}@example.net\"\nspi = 256\nkey-file = \"{key_file}\"")
}

fn with_key(name: &str, key_file: &str) -> String {
    format!("authentication = \"rfc4285\"\n{}", identity(name, key_file))
}

/// The home agent with one address of the advanced model. `words` are those of the node, those of its `[[anycast]]`
/// table, and other tables.
fn start_agent(stage: &mut Stage<'_>, words: &[&str; 3]) -> Result<(), Error> {
    let [node, anycast, tables] = words;
    let address = Node::Haa.address();
    let text = format!(
        "agent = \"{address}\"\nduplicate-address-detection = false\n{node}\n\
         [[anycast]]\naddress = \"{ANYCAST}\"\nmodel = \"advanced\"\n{anycast}\n{tables}\n"
    );
    stage.start_configured("HAA", "haa", &text)?;
    stage.done("HAA runs".to_owned());
    Ok(())
}

/// A responder of the advanced model, registered. `words` as for [`start_agent`].
fn start_responder(
    stage: &mut Stage<'_>,
    name: &'static str,
    lifetime: &str,
    words: &[&str; 3],
) -> Result<(), Error> {
    stage.start_configured(name, "ar", &responder_words(lifetime, words))?;
    stage.accepted_by(name, Node::Haa.address())?;
    stage.done(format!("{name} runs and is accepted"));
    Ok(())
}

fn responder_words(lifetime: &str, words: &[&str; 3]) -> String {
    let [node, anycast, tables] = words;
    let agent = Node::Haa.address();
    format!(
        "agent = \"{agent}\"\nlifetime = {lifetime}\n{node}\n\
         [[anycast]]\naddress = \"{ANYCAST}\"\nmodel = \"advanced\"\n{anycast}\n{tables}\n"
    )
}

/// The home agent, which chooses by hash, and both responders.
fn start_both(stage: &mut Stage<'_>) -> Result<(), Error> {
    start_all(stage, BY_HASH, LIFETIME, ["", ""])?;
    settled(stage)
}

fn start_all(
    stage: &mut Stage<'_>,
    selection: &str,
    lifetime: &str,
    services: [&str; 2],
) -> Result<(), Error> {
    start_agent(stage, &[NO_KEYS, selection, ""])?;
    for ((name, sequence), service) in [("AR1", 200), ("AR2", 100)].into_iter().zip(services) {
        let first = format!("initial-sequence = {sequence}\n{NO_KEYS}");
        start_responder(stage, name, lifetime, &[&first, service, ""])?;
    }
    Ok(())
}

/// Waits until the agent has measured both responders a few times.
fn settled(stage: &mut Stage<'_>) -> Result<(), Error> {
    for responder in [Node::Ar1, Node::Ar2] {
        let what = format!("the answers of {} to the agent's probes", responder.name());
        stage.wait_for_packets(&what, responder.name(), 3, |view| {
            view.is_tunnel() && view.echo_reply().is_some() && view.inner().destination == Node::Haa.address()
        })?;
    }
    Ok(())
}

/// So many requests from the first of the sources behind AI1, which take turns.
fn ask(stage: &mut Stage<'_>, sources: u16, count: u32) -> Result<(), Error> {
    let (sources, count) = (sources.to_string(), count.to_string());
    let words = ["--sources", &sources, "--count", &count, "--rate", RATE];
    let mut load = stage.load("AI1", FIRST_SOURCE, &words)?;
    stage.finished(&mut load, LOAD_LIMIT)?;
    stage.pass(LATE)
}

/// Requests without end: every second one is of a source that is new.
fn endless(stage: &mut Stage<'_>, rate: &str) -> Result<Process, Error> {
    stage.load("AI1", FIRST_SOURCE, &["--sources", "50", "--fresh", "--rate", rate])
}

/// Plays the advanced model on this machine.
///
/// # Errors
/// As [`section5`](super::section5).
pub fn advanced(options: &LabOptions) -> Result<Outcome, Error> {
    run::run(&lab(scripts(), Box::new(Vec::new)), options)
}

/// Kills a responder under 1,000 requests per second so many times, ends one cleanly as often, and tells what
/// was measured.
///
/// # Errors
/// As [`section5`](super::section5).
pub fn rounds(options: &LabOptions, count: u16) -> Result<Outcome, Error> {
    let tally: Rc<RefCell<Tally>> = Rc::default();
    let round = |number: u16| {
        let (kills, ends) = (Rc::clone(&tally), Rc::clone(&tally));
        let (killed, left) = (format!("killed-{number}"), format!("left-{number}"));
        let kill = Script {
            name: killed.clone(),
            title: "A responder is killed",
            plan,
            play: |stage| kill_under(stage, MEASURED_RATE),
            judge: Box::new(move |trace| {
                kills.borrow_mut().killed(trace);
                claims::killed(&killed, trace)
            }),
        };
        let end = Script {
            name: left.clone(),
            title: "A responder ends cleanly",
            plan,
            play: |stage| end_under(stage, MEASURED_RATE),
            judge: Box::new(move |trace| {
                ends.borrow_mut().left(trace);
                claims::left(&left, trace)
            }),
        };
        [kill, end]
    };
    let scripts = (1..=count).flat_map(round).collect();
    let told = Rc::clone(&tally);
    run::run(&lab(scripts, Box::new(move || told.borrow().told())), options)
}

fn lab(scripts: Vec<Script>, measured: Box<dyn Fn() -> Vec<(String, String)>>) -> Lab {
    Lab {
        title: "The advanced model on real packets",
        summary: "Several responders behind one anycast address, as section 4.3 of the thesis has it: with real nodes, real \
                  ping and real telnet in network namespaces. Every verdict was read from the captures beside this file.",
        programs: &[],
        scripts,
        measured,
        // Hundreds of sources do the same: a few are enough to see it.
        drawn: |view| {
            [view.inner().final_source(), view.inner().final_destination()]
                .into_iter()
                .all(|end| !is_source(end) || end.segments()[7] <= 3)
        },
    }
}
