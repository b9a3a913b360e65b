//! What every lab is from beginning to end: programs looked for, networks built, each step played and captured, its
//! captures judged and drawn, and the report. What is done and what is claimed of it comes with the [`Lab`].
//! Called for section 5 (`section5`), Figure 10 (`figure10`) and the advanced model (`advanced`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    Error, Interruption, LabOptions, MissingProgram, Outcome, Trying,
    machine::Machine,
    node::Launcher,
    second_opinion,
    stage::Stage,
    topology::{Plan, Topology},
};
use crate::{
    pcap::{
        capture,
        ladder::{Ladder, Mark},
        passage::Trace,
        report::{Finding, Report, Step, Verdict},
        view::View,
    },
    platform::netns,
};

/// A lab: what it shows, and in which steps.
pub struct Lab {
    /// The report's heading.
    pub title: &'static str,
    /// The report's first paragraph.
    pub summary: &'static str,
    /// Programs it drives beside those that every lab does.
    pub programs: &'static [MissingProgram],
    /// The steps in order.
    pub scripts: Vec<Script>,
    /// Which packets the ladder diagrams show.
    pub drawn: fn(&View) -> bool,
    /// What was measured in the steps together: name and value.
    pub measured: Box<dyn Fn() -> Vec<(String, String)>>,
}

/// Judges the captures of a step.
pub type Judging = Box<dyn Fn(&Trace) -> Vec<Finding>>;

/// One step of a lab.
pub struct Script {
    /// A short name, which its directory has too.
    pub name: String,
    /// What it shows.
    pub title: &'static str,
    /// On which networks.
    pub plan: fn() -> Plan,
    /// Does what is to be done.
    pub play: fn(&mut Stage<'_>) -> Result<(), Error>,
    /// Judges the captures of it.
    pub judge: Judging,
}

/// Programs that every lab drives.
const PROGRAMS: [MissingProgram; 5] = [
    MissingProgram { program: "ip", purpose: "makes the network namespaces", package: "iproute2" },
    MissingProgram {
        program: "nft",
        purpose: "keeps the kernel off the packets of a node",
        package: "nftables",
    },
    MissingProgram { program: "ping", purpose: "one-shot traffic", package: "iputils-ping" },
    MissingProgram { program: "telnet", purpose: "continuous traffic", package: "telnet" },
    MissingProgram { program: "telnetd", purpose: "answers telnet", package: "inetutils-telnetd" },
];

/// Plays a lab on this machine, prints what happens, and writes captures, ladders, `outcome.json` and `report.html` to
/// [`LabOptions::out`].
///
/// # Errors
/// When it cannot begin on this machine, or is interrupted. A step that fails is a finding, not an error.
pub fn run(lab: &Lab, options: &LabOptions) -> Result<Outcome, Error> {
    let begin = Instant::now();
    let telnetd = required_programs(lab.programs)?;
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotPermitted);
    }
    let interruption = Interruption::watch().trying(|| "watch for Ctrl-C".to_owned())?;
    // Ctrl-C reaches the programs the lab runs, too; whatever failed with them failed of that.
    play(lab, options, begin, &telnetd, &interruption).or_else(|error| interruption.check().and(Err(error)))
}

fn play(
    lab: &Lab,
    options: &LabOptions,
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
    for (place, script) in lab.scripts.iter().enumerate() {
        say.heading(&format!("{} {}", script.name, script.title));
        // A fresh one for each step: a connection that one step broke must not be heard of in the next.
        let plan = (script.plan)();
        let mut topology = Topology::build(plan.clone())?;
        say.line(&format!("{} stands: {} in network namespaces", plan.figure, plan.machines.join(", ")));
        let launcher = Launcher { logs: logs.clone(), forwarding: options.forwarding.clone(), interruption };
        let machines = (plan.machines.iter())
            .map(|name| Ok(Box::new(topology.machine(name, &program, telnetd)?) as Box<dyn Machine>))
            .collect::<Result<Vec<_>, Error>>()?;
        let stage = Stage::open(&launcher, &plan, &machines, &options.out.join(&script.name), say)?;
        steps.push(perform(lab, &plan, script, stage, &options.out)?);
        interruption.check()?;
        if options.keep && place + 1 == lab.scripts.len() {
            topology.keep();
            let agent = topology.namespace("HAA").name();
            say.line(&format!("the namespaces stay: ip netns exec {agent} sh"));
        }
    }
    let findings: Vec<Finding> = steps.iter().flat_map(|step| step.findings.clone()).collect();
    let mut report = Report {
        title: lab.title.to_owned(),
        summary: lab.summary.to_owned(),
        facts: facts(lab, options),
        steps,
    };
    let took = begin.elapsed();
    for (name, value) in (lab.measured)() {
        say.text(&format!("{name}: {value}\n"));
        report.facts.push((name, value));
    }
    report.facts.push(("Took".to_owned(), format!("{:.1} s", took.as_secs_f64())));
    let path = options.out.join("report.html");
    write(&path, &report.html())?;
    let outcome = Outcome { findings, report: path, seconds: took.as_secs_f64() };
    let json = options.out.join("outcome.json");
    let text = serde_json::to_string_pretty(&outcome).map_err(std::io::Error::other);
    write(&json, &text.trying(|| format!("write {}", json.display()))?)?;
    say.outcome(&outcome);
    Ok(outcome)
}

/// Plays a script, stops its captures, and judges them.
fn perform(lab: &Lab, plan: &Plan, script: &Script, mut stage: Stage<'_>, out: &Path) -> Result<Step, Error> {
    let say = stage.say;
    let played = (script.play)(&mut stage);
    let scenario = match played {
        Ok(()) => scenario(script, Verdict::Pass, format!("{} actions", stage.actions.len())),
        Err(error) if error.ends_step_only() => {
            stage.launcher.interruption.check()?;
            say.line(&format!("the step ends here: {error}"));
            scenario(script, Verdict::Fail, error.to_string())
        }
        Err(error) => return Err(error),
    };
    let actions = std::mem::take(&mut stage.actions);
    let (recorded, marks) = stage.close()?;
    let directory = out.join(&script.name);
    let nodes = recorded
        .iter()
        .map(|recorded| Ok((recorded.machine.clone(), capture::read(&recorded.file)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let trace = Trace::new(nodes, &plan.owners());
    let lost: u32 = recorded.iter().map(|recorded| recorded.lost).sum();
    let seen: usize = trace.passages.iter().map(|passage| passage.sightings.len()).sum();
    say.line(&format!("  {seen} IPv6 packets captured at {} nodes, {lost} lost", recorded.len()));
    let mut drawn = trace.clone();
    drawn.passages.retain(|passage| passage.view.as_ref().ok().is_none_or(lab.drawn));
    let whole = Ladder::new(&drawn, Duration::ZERO, Duration::MAX, &marks, plan.anycast);
    say.text(&whole.text());
    write(&directory.join("ladder.txt"), &whole.text())?;
    write(&directory.join("ladder.svg"), &whole.svg(script.title))?;
    let mut findings = vec![scenario];
    findings.extend((script.judge)(&trace));
    let files: Vec<PathBuf> = recorded.iter().map(|recorded| recorded.file.clone()).collect();
    let merged = directory.join("all.pcapng");
    findings.push(second_opinion::tshark(&script.name, &files, &merged)?);
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
        name: script.name.clone(),
        title: script.title.to_owned(),
        actions,
        findings,
        ladders: ladders(&drawn, &marks, plan),
        captures,
    })
}

fn scenario(script: &Script, verdict: Verdict, seen: String) -> Finding {
    Finding {
        step: script.name.clone(),
        name: "scenario".to_owned(),
        claim: "every action of the step could be carried out".to_owned(),
        verdict,
        seen,
        evidence: Vec::new(),
    }
}

/// One diagram per figure.
fn ladders(trace: &Trace, marks: &[Mark], plan: &Plan) -> Vec<(String, String)> {
    let ends = marks.iter().skip(1).map(|mark| mark.at).chain([Duration::MAX]);
    marks
        .iter()
        .zip(ends)
        .map(|(mark, end)| {
            let ladder = Ladder::new(trace, mark.at, end, &[], plan.anycast);
            (mark.text.clone(), ladder.svg(&mark.text))
        })
        .collect()
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).trying(|| format!("write {}", path.display()))
}

/// What is printed while the lab runs.
#[derive(Debug, Clone, Copy)]
pub struct Say {
    /// When the lab began.
    pub begin: Instant,
    /// Nothing is printed then.
    pub quiet: bool,
}

impl Say {
    /// A line with the time since the beginning.
    pub fn line(self, text: &str) {
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

/// Looks for all programs and returns the telnet server.
fn required_programs(further: &[MissingProgram]) -> Result<PathBuf, Error> {
    let telnetd = find_program("telnetd").or_else(|| find_program("in.telnetd"));
    let missing: Vec<MissingProgram> = (PROGRAMS.iter().chain(further))
        .filter(|needed| match needed.program {
            "telnetd" => telnetd.is_none(),
            program => find_program(program).is_none(),
        })
        .cloned()
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

/// A directory for the logs without those of another run.
fn fresh_logs(logs: &Path) -> Result<(), Error> {
    let what = || format!("make {} an empty directory", logs.display());
    fs::create_dir_all(logs).trying(what)?;
    for entry in fs::read_dir(logs).trying(what)? {
        let file = entry.trying(what)?.path();
        if file.extension().is_some_and(|extension| extension == "log") {
            fs::remove_file(&file).trying(what)?;
        }
    }
    Ok(())
}

/// What was run, and on what.
fn facts(lab: &Lab, options: &LabOptions) -> Vec<(String, String)> {
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
    let own = lab.programs.iter().map(|needed| (needed.program, "--version"));
    let common = [("ping", "-V"), ("telnet", "--version"), ("telnetd", "--version"), ("tshark", "--version")];
    for (program, argument) in common.into_iter().chain(own) {
        if let Some(version) = first_line(program, argument) {
            facts.push((program.to_owned(), version));
        }
    }
    facts
}
