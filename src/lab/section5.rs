//! The scenario: what is done in which order to show sections 5.1, 5.2 and 5.3 of the thesis.
//! Each step starts fresh nodes on Figure 11, waits only for things it sees in the captures, and is judged when it ends.
//! `mga-node lab section5` runs all three.

use super::{
    Error, LabOptions, Outcome, claims, figure11, run,
    script::{Lab, Script},
    stage::Stage,
};
use crate::pcap::{passage::Trace, report::Finding};

/// The steps in order.
fn scripts() -> Vec<Script> {
    let script = |name: &str, title, play, judge: fn(&Trace) -> Vec<Finding>| Script {
        name: name.to_owned(),
        title,
        plan: figure11::plan,
        play,
        judge: Box::new(judge),
    };
    vec![
        script(
            "5.1",
            "Updating an anycast binding cache (Figure 12)",
            updating_the_binding,
            claims::section5_1,
        ),
        script(
            "5.2",
            "Communication without route optimization (Figure 13)",
            without_route_optimization,
            claims::section5_2,
        ),
        script(
            "5.3",
            "Communication with route optimization (Figure 14)",
            with_route_optimization,
            claims::section5_3,
        ),
    ]
}

fn updating_the_binding(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("Figure 12: AR1 registers with sequence number 200");
    stage.start_agent()?;
    stage.start_responder("AR1", 200)?;

    stage.figure("Figure 12: AR2 registers with 100 and, told 200, with 202");
    stage.start_responder("AR2", 100)?;

    stage.figure("A packet to A_Any now reaches AR2");
    stage.ping("AI1", 3)
}

fn without_route_optimization(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("Figure 13 (a): AR1 corresponds");
    stage.serve_telnet()?;
    stage.start_agent()?;
    stage.start_responder("AR1", 200)?;
    stage.ping("AI1", 4)?;
    stage.ping("AI2", 4)?;
    stage.open_telnet("AI1", "AR1")?;

    stage.figure("Figure 13 (b): AR2 corresponds");
    stage.start_responder("AR2", 100)?;
    stage.lose_telnet("AI1")?;
    stage.ping("AI1", 4)?;
    stage.ping("AI2", 4)?;

    stage.figure("AR1 registers again: every initiator goes with it");
    stage.register("AR1")?;
    stage.ping("AI1", 4)?;
    stage.ping("AI2", 4)
}

fn with_route_optimization(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("Figure 14 (a): AI2 knows Mobile IPv6, AI1 does not; AR2 corresponds");
    stage.serve_telnet()?;
    stage.start_agent()?;
    stage.start_initiator("AI2")?;
    stage.start_responder("AR2", 100)?;
    stage.ping("AI1", 4)?;
    stage.ping("AI2", 5)?;
    stage.optimised("AI2", "AR2")?;
    stage.open_telnet("AI2", "AR2")?;

    stage.figure("Figure 14 (b): AR1 takes the binding; AI1 goes with it, AI2 stays");
    stage.start_responder("AR1", 200)?;
    stage.use_telnet("AI2", "AR2")?;
    stage.ping("AI1", 4)?;
    stage.ping("AI2", 4)?;
    stage.use_telnet("AI2", "AR2")?;

    stage.figure("Figure 14 (c): AI1 learns Mobile IPv6, AR1 starts afresh");
    stage.start_initiator("AI1")?;
    // A responder leaves an initiator that refused it alone for 420 s; a fresh one asks it, as in the KAME captures.
    stage.end("AR1")?;
    stage.start_responder("AR1", 200)?;
    stage.ping("AI1", 5)?;
    stage.optimised("AI1", "AR1")?;
    stage.open_telnet("AI1", "AR1")?;
    stage.ping("AI1", 3)?;
    stage.ping("AI2", 3)?;
    stage.use_telnet("AI2", "AR2")?;

    for responder in ["AR2", "AR1"] {
        stage.figure(&format!("{} takes the binding again; both initiators stay", responder));
        stage.register(responder)?;
        stage.use_telnet("AI1", "AR1")?;
        stage.use_telnet("AI2", "AR2")?;
        stage.ping("AI1", 3)?;
        stage.ping("AI2", 3)?;
    }
    stage.close_telnet("AI1")?;
    stage.close_telnet("AI2")
}

/// Runs section 5 of the thesis.
///
/// # Errors
/// As the run of any lab.
pub fn section5(options: &LabOptions) -> Result<Outcome, Error> {
    let lab = Lab {
        title: "Section 5 of the thesis on real packets",
        summary: "Mobile IPv6 as anycast: the experiments of section 5, with real nodes, real ping and real telnet. \
                  Every verdict was read from the captures beside this file.",
        programs: &[],
        scripts: scripts(),
        drawn: |_| true,
        measured: Box::new(Vec::new),
    };
    run::run(&lab, options)
}
