//! Figure 10 of the thesis (4.3.3): midway agents take initiators over from the home agent, as far as routing sends
//! them there, and give them back when they stop. Real BIRD on every router makes it so.
//! `mga-node lab figure10` runs it.

pub mod claims;
pub mod network;

use std::time::Duration;

use super::{
    Error, LabOptions, MissingProgram, Outcome,
    figure11::ANYCAST,
    run,
    script::{Lab, Script},
    stage::Stage,
};
use network::{HAA, MAAC, MAAE};

/// How long routing may take to follow, beginning with nothing: neighbours are found by hellos, one in a second.
const CONVERGENCE: Duration = Duration::from_secs(40);

fn midway_agents_come_and_go(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("HAA, MAAC and MAAE run, and both responders register with all of them");
    let _routing = network::start_routing(stage)?;
    stage.done("RA to RF and the midway agents' hosts run BIRD".to_owned());
    follows(stage, &[("RF", "to-rc"), ("RC", "to-ra"), ("RE", "to-ra"), ("RD", "to-ra")])?;
    start_agent(stage, "HAA")?;
    start_agent(stage, "MAAC")?;
    start_agent(stage, "MAAE")?;
    start_responder(stage, "AR1")?;
    start_responder(stage, "AR2")?;

    stage.figure("Figure 10: AI-D goes to HAA, AI-E to MAAE, AI-F to MAAC");
    follows(stage, &[("RF", "to-rc"), ("RC", "n3"), ("RE", "n5"), ("RD", "to-ra")])?;
    ping_from_everywhere(stage)?;

    stage.figure("MAAC stops: AI-F falls back to HAA");
    stage.end("MAAC")?;
    follows(stage, &[("RC", "to-ra")])?;
    ping_from_everywhere(stage)?;

    stage.figure("MAAC returns, and AI-F with it");
    start_agent(stage, "MAAC")?;
    for responder in ["AR1", "AR2"] {
        stage.register(responder)?;
    }
    follows(stage, &[("RC", "n3")])?;
    ping_from_everywhere(stage)?;

    stage.figure("MAAE is killed: AI-E falls back to HAA");
    stage.kill("MAAE")?;
    follows(stage, &[("RE", "to-ra")])?;
    ping_from_everywhere(stage)
}

/// An agent of the advanced model. The home agent tells responders of the midway agents.
fn start_agent(stage: &mut Stage<'_>, name: &'static str) -> Result<(), Error> {
    let (role, node, anycast) = match name {
        "HAA" => (
            "haa",
            "duplicate-address-detection = false\n",
            format!("midway-agents = [\"{MAAC}\", \"{MAAE}\"]\n"),
        ),
        _ => ("maa", "", String::new()),
    };
    let text = format!(
        "authentication = \"none\"\n{node}[[anycast]]\naddress = \"{ANYCAST}\"\nmodel = \"advanced\"\n{anycast}"
    );
    stage.start_configured(name, role, &text)?;
    stage.done(format!("{name} runs"));
    Ok(())
}

/// A responder knows the home agent, and registers with every agent.
fn start_responder(stage: &mut Stage<'_>, name: &'static str) -> Result<(), Error> {
    let text = format!(
        "agent = \"{HAA}\"\nlifetime = 96\nauthentication = \"none\"\n\
         [[anycast]]\naddress = \"{ANYCAST}\"\nmodel = \"advanced\"\n"
    );
    stage.start_configured(name, "ar", &text)?;
    for agent in [HAA, MAAC, MAAE] {
        stage.accepted_by(name, agent)?;
    }
    stage.done(format!("{name} is registered with HAA, MAAC and MAAE"));
    Ok(())
}

/// Waits until each router sends packets to A_Any through this interface.
fn follows(stage: &mut Stage<'_>, ways: &[(&str, &str)]) -> Result<(), Error> {
    for (router, interface) in ways {
        let what = format!("{router}'s route to A_Any through {interface}");
        stage.launcher.interruption.wait_for(&what, CONVERGENCE, || {
            let way = network::way_to_anycast(stage, router)?;
            Ok((way.as_deref() == Some(*interface)).then_some(()))
        })?;
    }
    let told: Vec<String> =
        ways.iter().map(|(router, interface)| format!("{router} by {interface}")).collect();
    stage.done(format!("A_Any is reached from {}", told.join(", ")));
    Ok(())
}

fn ping_from_everywhere(stage: &mut Stage<'_>) -> Result<(), Error> {
    for initiator in ["AID", "AIE", "AIF"] {
        stage.ping(initiator, 4)?;
    }
    Ok(())
}

/// Plays Figure 10 on this machine.
///
/// # Errors
/// As [`section5`](super::section5).
pub fn figure10(options: &LabOptions) -> Result<Outcome, Error> {
    let lab = Lab {
        title: "Figure 10 of the thesis on real packets",
        summary: "Midway anycast agents in the networks of Figure 10, with real nodes, real ping and a real routing daemon \
                  on every router. Every verdict was read from the captures beside this file.",
        programs: &[MissingProgram {
            program: "bird",
            purpose: "routes the networks of Figure 10",
            package: "bird2",
        }],
        scripts: vec![Script {
            name: "figure10".to_owned(),
            title: "Load balancing with midway anycast agents (Figure 10)",
            plan: network::plan,
            play: midway_agents_come_and_go,
            judge: Box::new(claims::figure10),
        }],
        drawn: |_| true,
        measured: Box::new(Vec::new),
    };
    run::run(&lab, options)
}
