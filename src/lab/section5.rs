//! The scenario: what is done in which order to show sections 5.1, 5.2 and 5.3 of the thesis, and the run around it.
//! Each step starts fresh nodes on Figure 11, waits only for things it sees in the captures, and is judged when it ends.
//! `mga-node lab section5` runs all three.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    Error, Interruption, MissingProgram, Outcome, Section5Options, Trying,
    capturing::Captures,
    claims,
    machine::{Machine, TelnetService},
    node::{Launcher, Running},
    second_opinion,
    topology::{self, Node, Topology},
    traffic::{self, Telnet},
};
use crate::{
    pcap::{
        capture,
        ladder::{Ladder, Mark},
        passage::Trace,
        report::{Finding, Report, Step, Verdict},
    },
    platform::netns,
    wire::mobility::{Message, Status},
};

/// How long something that packets cause may take to be seen.
const SOON: Duration = Duration::from_secs(5);

/// The six machines of Figure 11.
type Machines = BTreeMap<Node, Box<dyn Machine>>;

/// The steps in order.
const SCRIPTS: [Script; 3] = [
    Script {
        name: "5.1",
        title: "Updating an anycast binding cache (Figure 12)",
        play: updating_the_binding,
        judge: claims::section5_1,
    },
    Script {
        name: "5.2",
        title: "Communication without route optimization (Figure 13)",
        play: without_route_optimization,
        judge: claims::section5_2,
    },
    Script {
        name: "5.3",
        title: "Communication with route optimization (Figure 14)",
        play: with_route_optimization,
        judge: claims::section5_3,
    },
];

struct Script {
    name: &'static str,
    title: &'static str,
    play: fn(&mut Stage<'_>) -> Result<(), Error>,
    judge: fn(&Trace) -> Vec<Finding>,
}

fn updating_the_binding(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("Figure 12: AR1 registers with sequence number 200");
    stage.start_agent()?;
    stage.start_responder(Node::Ar1, 200)?;

    stage.figure("Figure 12: AR2 registers with 100 and, told 200, with 202");
    stage.start_responder(Node::Ar2, 100)?;

    stage.figure("A packet to A_Any now reaches AR2");
    stage.ping(Node::Ai1, 3)
}

fn without_route_optimization(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("Figure 13 (a): AR1 corresponds");
    stage.serve_telnet()?;
    stage.start_agent()?;
    stage.start_responder(Node::Ar1, 200)?;
    stage.ping(Node::Ai1, 4)?;
    stage.ping(Node::Ai2, 4)?;
    stage.open_telnet(Node::Ai1, Node::Ar1)?;

    stage.figure("Figure 13 (b): AR2 corresponds");
    stage.start_responder(Node::Ar2, 100)?;
    stage.lose_telnet(Node::Ai1)?;
    stage.ping(Node::Ai1, 4)?;
    stage.ping(Node::Ai2, 4)?;

    stage.figure("AR1 registers again: every initiator goes with it");
    stage.register(Node::Ar1)?;
    stage.ping(Node::Ai1, 4)?;
    stage.ping(Node::Ai2, 4)
}

fn with_route_optimization(stage: &mut Stage<'_>) -> Result<(), Error> {
    stage.figure("Figure 14 (a): AI2 knows Mobile IPv6, AI1 does not; AR2 corresponds");
    stage.serve_telnet()?;
    stage.start_agent()?;
    stage.start_initiator(Node::Ai2)?;
    stage.start_responder(Node::Ar2, 100)?;
    stage.ping(Node::Ai1, 4)?;
    stage.ping(Node::Ai2, 5)?;
    stage.optimised(Node::Ai2, Node::Ar2)?;
    stage.open_telnet(Node::Ai2, Node::Ar2)?;

    stage.figure("Figure 14 (b): AR1 takes the binding; AI1 goes with it, AI2 stays");
    stage.start_responder(Node::Ar1, 200)?;
    stage.use_telnet(Node::Ai2, Node::Ar2)?;
    stage.ping(Node::Ai1, 4)?;
    stage.ping(Node::Ai2, 4)?;
    stage.use_telnet(Node::Ai2, Node::Ar2)?;

    stage.figure("Figure 14 (c): AI1 learns Mobile IPv6, AR1 starts afresh");
    stage.start_initiator(Node::Ai1)?;
    // A responder leaves an initiator that refused it alone for 420 s; a fresh one asks it, as in the KAME captures.
    stage.end(Node::Ar1)?;
    stage.start_responder(Node::Ar1, 200)?;
    stage.ping(Node::Ai1, 5)?;
    stage.optimised(Node::Ai1, Node::Ar1)?;
    stage.open_telnet(Node::Ai1, Node::Ar1)?;
    stage.ping(Node::Ai1, 3)?;
    stage.ping(Node::Ai2, 3)?;
    stage.use_telnet(Node::Ai2, Node::Ar2)?;

    for responder in [Node::Ar2, Node::Ar1] {
        stage.figure(&format!("{} takes the binding again; both initiators stay", responder.name()));
        stage.register(responder)?;
        stage.use_telnet(Node::Ai1, Node::Ar1)?;
        stage.use_telnet(Node::Ai2, Node::Ar2)?;
        stage.ping(Node::Ai1, 3)?;
        stage.ping(Node::Ai2, 3)?;
    }
    stage.close_telnet(Node::Ai1)?;
    stage.close_telnet(Node::Ai2)
}

/// Runs section 5 of the thesis on this machine, prints what happens, and writes captures, ladders, `outcome.json` and
/// `report.html` to [`Section5Options::out`].
///
/// # Errors
/// When it cannot begin on this machine, or is interrupted. A step that fails is a finding, not an error.
pub fn section5(options: &Section5Options) -> Result<Outcome, Error> {
    let begin = Instant::now();
    let telnetd = required_programs()?;
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotPermitted);
    }
    let interruption = Interruption::watch().trying(|| "watch for Ctrl-C".to_owned())?;
    // Ctrl-C reaches the programs the lab runs, too; whatever failed with them failed of that.
    run(options, begin, &telnetd, &interruption).or_else(|error| interruption.check().and(Err(error)))
}

fn run(
    options: &Section5Options,
    begin: Instant,
    telnetd: &Path,
    interruption: &Interruption,
) -> Result<Outcome, Error> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().trying(|| "find this program".to_owned())?,
    };
    let logs = options.out.join("logs");
    fresh_logs(&logs)?;
    let say = Say { begin, quiet: options.quiet };
    let mut steps = Vec::new();
    for (place, script) in SCRIPTS.iter().enumerate() {
        say.heading(&format!("{} {}", script.name, script.title));
        // A fresh one for each step: a connection that one step broke must not be heard of in the next.
        let mut topology = Topology::build()?;
        say.line("Figure 11 stands: RT, HAA, AI1, AI2, AR1 and AR2 in network namespaces");
        let launcher = Launcher { logs: logs.clone(), forwarding: options.forwarding.clone(), interruption };
        let machines: Machines = Node::ALL
            .into_iter()
            .map(|node| Ok((node, Box::new(topology.machine(node, &program, telnetd)?) as Box<dyn Machine>)))
            .collect::<Result<_, Error>>()?;
        let stage = Stage::open(&launcher, &machines, &options.out, script.name, say)?;
        steps.push(perform(script, stage, &options.out)?);
        interruption.check()?;
        if options.keep && place + 1 == SCRIPTS.len() {
            topology.keep();
            say.line(&format!(
                "the namespaces stay: ip netns exec {} sh",
                topology.namespace(Node::Haa).name()
            ));
        }
    }
    let findings: Vec<Finding> = steps.iter().flat_map(|step| step.findings.clone()).collect();
    let mut report = Report {
        title: "Section 5 of the thesis on real packets".to_owned(),
        summary: "Mobile IPv6 as anycast: the experiments of section 5, with real nodes, real ping and real telnet in \
                  network namespaces. Every verdict was read from the captures beside this file."
            .to_owned(),
        facts: facts(options),
        steps,
    };
    let took = begin.elapsed();
    report.facts.push(("Took".to_owned(), format!("{:.1} s", took.as_secs_f64())));
    let path = options.out.join("report.html");
    fs::write(&path, report.html()).trying(|| format!("write {}", path.display()))?;
    let outcome = Outcome { findings, report: path, seconds: took.as_secs_f64() };
    let json = options.out.join("outcome.json");
    let text = serde_json::to_string_pretty(&outcome).map_err(std::io::Error::other);
    text.and_then(|text| fs::write(&json, text)).trying(|| format!("write {}", json.display()))?;
    say.outcome(&outcome);
    Ok(outcome)
}

/// Plays a script, stops its captures, and judges them.
fn perform(script: &Script, mut stage: Stage<'_>, out: &Path) -> Result<Step, Error> {
    let played = (script.play)(&mut stage);
    let scenario = match played {
        Ok(()) => scenario(script, Verdict::Pass, format!("{} actions", stage.actions.len())),
        Err(error) if error.ends_step_only() => {
            stage.launcher.interruption.check()?;
            stage.say.line(&format!("the step ends here: {error}"));
            scenario(script, Verdict::Fail, error.to_string())
        }
        Err(error) => return Err(error),
    };
    let Stage { captures, running, sessions, actions, marks, say, .. } = stage;
    // The recording ends first: what follows from the nodes' ending is no part of the step.
    let recorded = captures.stop()?;
    drop(sessions);
    let mut findings = vec![scenario];
    for (node, process) in running.into_iter().rev() {
        if let Err(error) = process.end() {
            say.line(&format!("{}: {error}", node.name()));
        }
    }
    let directory = out.join(script.name);
    let nodes = recorded
        .iter()
        .map(|recorded| Ok((recorded.machine.clone(), capture::read(&recorded.file)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let trace = Trace::new(nodes, &topology::owners());
    let lost: u32 = recorded.iter().map(|recorded| recorded.lost).sum();
    let seen: usize = trace.passages.iter().map(|passage| passage.sightings.len()).sum();
    say.line(&format!("  {seen} IPv6 packets captured at {} nodes, {lost} lost", recorded.len()));
    let whole = Ladder::new(&trace, Duration::ZERO, Duration::MAX, &marks, topology::ANYCAST);
    say.text(&whole.text());
    write(&directory.join("ladder.txt"), &whole.text())?;
    write(&directory.join("ladder.svg"), &whole.svg(script.title))?;
    findings.extend((script.judge)(&trace));
    let files: Vec<PathBuf> = recorded.iter().map(|recorded| recorded.file.clone()).collect();
    let merged = directory.join("all.pcapng");
    findings.push(second_opinion::tshark(script.name, &files, &merged)?);
    for finding in &findings {
        say.text(&format!("{finding}\n"));
    }
    let mut captures: Vec<(String, String)> = recorded
        .iter()
        .map(|recorded| {
            let file = recorded.file.file_name().unwrap_or_default().to_string_lossy();
            (recorded.machine.clone(), format!("{}/{file}", script.name))
        })
        .collect();
    if merged.exists() {
        captures.push(("all".to_owned(), format!("{}/all.pcapng", script.name)));
    }
    Ok(Step {
        name: script.name.to_owned(),
        title: script.title.to_owned(),
        actions,
        findings,
        ladders: ladders(&trace, &marks),
        captures,
    })
}

fn scenario(script: &Script, verdict: Verdict, seen: String) -> Finding {
    Finding {
        step: script.name.to_owned(),
        name: "scenario".to_owned(),
        claim: "every action of the step could be carried out".to_owned(),
        verdict,
        seen,
        evidence: Vec::new(),
    }
}

/// One diagram per figure.
fn ladders(trace: &Trace, marks: &[Mark]) -> Vec<(String, String)> {
    let ends = marks.iter().skip(1).map(|mark| mark.at).chain([Duration::MAX]);
    marks
        .iter()
        .zip(ends)
        .map(|(mark, end)| {
            let ladder = Ladder::new(trace, mark.at, end, &[], topology::ANYCAST);
            (mark.text.clone(), ladder.svg(&mark.text))
        })
        .collect()
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).trying(|| format!("write {}", path.display()))
}

/// One step being played: its nodes, sessions and captures.
struct Stage<'a> {
    launcher: &'a Launcher<'a>,
    machines: &'a Machines,
    captures: Captures,
    running: BTreeMap<Node, Running<'a>>,
    sessions: BTreeMap<Node, Telnet>,
    servers: Vec<Box<dyn TelnetService>>,
    actions: Vec<(Duration, String)>,
    marks: Vec<Mark>,
    say: Say,
}

impl<'a> Stage<'a> {
    fn open(
        launcher: &'a Launcher<'a>,
        machines: &'a Machines,
        out: &Path,
        name: &str,
        say: Say,
    ) -> Result<Self, Error> {
        let captures = Captures::start(machines.values().map(Box::as_ref), &out.join(name))?;
        Ok(Stage {
            launcher,
            machines,
            captures,
            running: BTreeMap::new(),
            sessions: BTreeMap::new(),
            servers: Vec::new(),
            actions: Vec::new(),
            marks: Vec::new(),
            say,
        })
    }

    fn machine(&self, node: Node) -> Result<&'a dyn Machine, Error> {
        let missing = || Error::Step(format!("there is no machine for {}", node.name()));
        self.machines.get(&node).map(Box::as_ref).ok_or_else(missing)
    }

    /// A heading for what follows, here and in the diagrams.
    fn figure(&mut self, text: &str) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.marks.push(Mark { at, text: text.to_owned() });
        self.say.line(text);
    }

    fn done(&mut self, action: String) {
        self.say.line(&format!("  {action}"));
        self.actions.push((self.say.begin.elapsed(), action));
    }

    fn start_agent(&mut self) -> Result<(), Error> {
        let agent = self.launcher.agent(self.machine(Node::Haa)?, Node::Haa.address())?;
        self.running.insert(Node::Haa, agent);
        self.done("HAA runs".to_owned());
        Ok(())
    }

    fn start_responder(&mut self, node: Node, sequence: u16) -> Result<(), Error> {
        let before = self.captures.count(node.name());
        let responder = self.launcher.responder(self.machine(node)?, node.address(), sequence)?;
        self.running.insert(node, responder);
        let accepted = self.wait_for_acceptance(node, before)?;
        self.done(format!("{} runs, begins with {sequence} and is accepted with {accepted}", node.name()));
        Ok(())
    }

    fn start_initiator(&mut self, node: Node) -> Result<(), Error> {
        let initiator = self.launcher.initiator(self.machine(node)?)?;
        self.running.insert(node, initiator);
        self.done(format!("{} runs mga-node and knows Mobile IPv6", node.name()));
        Ok(())
    }

    fn end(&mut self, node: Node) -> Result<(), Error> {
        if let Some(process) = self.running.remove(&node) {
            process.end()?;
        }
        self.done(format!("{} ends", node.name()));
        Ok(())
    }

    fn register(&mut self, node: Node) -> Result<(), Error> {
        let before = self.captures.count(node.name());
        match self.running.get(&node) {
            Some(process) => process.register()?,
            None => return Err(Error::Step(format!("{} does not run", node.name()))),
        }
        let accepted = self.wait_for_acceptance(node, before)?;
        self.done(format!("{} registers again and is accepted with {accepted}", node.name()));
        Ok(())
    }

    /// Waits for a positive Binding Acknowledgement at the responder and returns its sequence number.
    fn wait_for_acceptance(&self, node: Node, from: usize) -> Result<u16, Error> {
        let what = format!("the registration of {}", node.name());
        self.launcher.interruption.wait_for(&what, SOON, || {
            Ok(self.captures.find(node.name(), from, |view| match view.mobility() {
                Some(Message::BindingAcknowledgement(message)) if message.status == Status::ACCEPTED => {
                    Some(message.sequence)
                }
                _ => None,
            }))
        })
    }

    /// Waits until the initiator has got the responder's Binding Update.
    fn optimised(&mut self, node: Node, responder: Node) -> Result<(), Error> {
        let what = format!("the Binding Update of {} to {}", responder.name(), node.name());
        self.launcher.interruption.wait_for(&what, SOON, || {
            Ok(self.captures.find(node.name(), 0, |view| match view.mobility() {
                Some(Message::BindingUpdate(_)) if view.outer.source == responder.address() => Some(()),
                _ => None,
            }))
        })?;
        self.done(format!("{} has a binding of A_Any to {}", node.name(), responder.name()));
        Ok(())
    }

    fn ping(&mut self, node: Node, count: u16) -> Result<(), Error> {
        let log = self.launcher.logs.join(format!("ping-{}.log", node.file_name()));
        let answered = traffic::ping(self.machine(node)?, count, &log, self.launcher.interruption)?;
        self.done(format!("{} pings A_Any: {answered} of {count} answered", node.name()));
        Ok(())
    }

    fn serve_telnet(&mut self) -> Result<(), Error> {
        for node in [Node::Ar1, Node::Ar2] {
            let server = traffic::serve_telnet(self.machine(node)?)?;
            self.servers.push(server);
        }
        self.done("AR1 and AR2 serve telnet".to_owned());
        Ok(())
    }

    fn open_telnet(&mut self, node: Node, expected: Node) -> Result<(), Error> {
        let session = Telnet::open(self.machine(node)?)?;
        self.sessions.insert(node, session);
        self.done(format!("{} opens a telnet session with A_Any", node.name()));
        self.use_telnet(node, expected)
    }

    fn use_telnet(&mut self, node: Node, expected: Node) -> Result<(), Error> {
        self.launcher.interruption.check()?;
        let answer = self.session(node)?.ask()?;
        self.done(format!("{}'s telnet session is answered by {answer}", node.name()));
        if answer != expected.name() {
            return Err(Error::Step(format!("{answer} answered in place of {}", expected.name())));
        }
        Ok(())
    }

    fn lose_telnet(&mut self, node: Node) -> Result<(), Error> {
        let last = self.session(node)?.type_until_closed()?;
        self.sessions.remove(&node);
        self.done(format!("{}'s telnet session ends: {last}", node.name()));
        Ok(())
    }

    fn close_telnet(&mut self, node: Node) -> Result<(), Error> {
        if let Some(session) = self.sessions.remove(&node) {
            session.close()?;
        }
        self.done(format!("{} leaves its telnet session", node.name()));
        Ok(())
    }

    fn session(&mut self, node: Node) -> Result<&mut Telnet, Error> {
        let missing = || Error::Step(format!("{} has no telnet session", node.name()));
        self.sessions.get_mut(&node).ok_or_else(missing)
    }
}

/// What is printed while the lab runs.
#[derive(Debug, Clone, Copy)]
struct Say {
    begin: Instant,
    quiet: bool,
}

impl Say {
    fn line(self, text: &str) {
        self.text(&format!("{:6.2} s  {text}\n", self.begin.elapsed().as_secs_f64()));
    }

    fn heading(self, text: &str) {
        self.text(&format!("\n== {text}\n"));
    }

    fn text(self, text: &str) {
        use std::io::Write;
        if !self.quiet {
            // Whoever reads this may have gone; the run goes on for its files.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
        }
    }

    fn outcome(self, outcome: &Outcome) {
        let count = |verdict| outcome.findings.iter().filter(|finding| finding.verdict == verdict).count();
        self.text(&format!(
            "\n{} claims held, {} failed, {} skipped in {:.1} s; report: {}\n",
            count(Verdict::Pass),
            count(Verdict::Fail),
            count(Verdict::Skipped),
            outcome.seconds,
            outcome.report.display()
        ));
    }
}

/// Programs the lab drives, with the package of Debian that has each. Returns the telnet server.
fn required_programs() -> Result<PathBuf, Error> {
    let needed = [
        ("ip", "makes the network namespaces", "iproute2"),
        ("nft", "keeps the kernel off the packets of a node", "nftables"),
        ("ping", "one-shot traffic", "iputils-ping"),
        ("telnet", "continuous traffic", "telnet"),
        ("telnetd", "answers telnet", "inetutils-telnetd"),
    ];
    let telnetd = find_program("telnetd").or_else(|| find_program("in.telnetd"));
    let missing: Vec<MissingProgram> = needed
        .into_iter()
        .filter(|(program, ..)| match *program {
            "telnetd" => telnetd.is_none(),
            program => find_program(program).is_none(),
        })
        .map(|(program, purpose, package)| MissingProgram { program, purpose, package })
        .collect();
    match telnetd {
        Some(telnetd) if missing.is_empty() => Ok(telnetd),
        _ => Err(Error::Missing(missing)),
    }
}

/// Looks for a program where it may be: servers and tools of the administrator are not on everybody's path.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let further = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/libexec"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(further)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// An empty directory for the logs, as far as it is ours.
fn fresh_logs(logs: &Path) -> Result<(), Error> {
    fs::create_dir_all(logs).trying(|| format!("create {}", logs.display()))?;
    for node in Node::ALL {
        for name in [format!("{}.log", node.file_name()), format!("ping-{}.log", node.file_name())] {
            let file = logs.join(name);
            if file.exists() {
                fs::remove_file(&file).trying(|| format!("remove {}", file.display()))?;
            }
        }
    }
    Ok(())
}

/// What was run, and on what.
fn facts(options: &Section5Options) -> Vec<(String, String)> {
    let kernel = netns::facts();
    let known = |fact: Option<bool>| match fact {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().map(str::to_owned)
    };
    let mut facts = vec![
        ("Node".to_owned(), format!("mga-node {}", env!("CARGO_PKG_VERSION"))),
        ("Forwarding".to_owned(), options.forwarding.clone()),
        ("Kernel".to_owned(), kernel.release.clone()),
        ("Mobile IPv6 in the kernel".to_owned(), known(kernel.mobile_ipv6).to_owned()),
        ("IPv6 tunnels in the kernel".to_owned(), known(kernel.ipv6_tunnel).to_owned()),
    ];
    for (program, argument) in
        [("ping", "-V"), ("telnet", "--version"), ("telnetd", "--version"), ("tshark", "--version")]
    {
        if let Some(version) = first_line(program, argument) {
            facts.push((program.to_owned(), version));
        }
    }
    facts
}
