//! What every lab is from beginning to end: programs looked for, networks built, each step played and captured, its
//! captures judged and drawn, and the report. What is done and what is claimed of it comes with the [`Lab`].
//! Called for section 5 (`section5`), Figure 10 (`figure10`) and the advanced model (`advanced`).

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Error, Interruption, LabOptions, Outcome, Trying,
    ground::Ground,
    machine::Guest,
    node::Launcher,
    say::Say,
    script::{Lab, Script},
    second_opinion,
    stage::Stage,
    topology::Plan,
};
use crate::pcap::{
    capture, clocks,
    ladder::{Ladder, Mark},
    passage::Trace,
    report::{Finding, Report, Step, Verdict},
};

/// Plays a lab, prints what happens, and writes captures, ladders, `outcome.json` and `report.html` to
/// [`LabOptions::out`].
///
/// # Errors
/// When it cannot begin on this machine or the others, or is interrupted. A step that fails is a finding, not an error.
pub fn run(lab: &Lab, options: &LabOptions) -> Result<Outcome, Error> {
    let begin = Instant::now();
    let interruption = Interruption::watch().trying(|| "watch for Ctrl-C".to_owned())?;
    // Ctrl-C reaches the programs the lab runs, too; whatever failed with them failed of that.
    play(lab, options, begin, &interruption).or_else(|error| interruption.check().and(Err(error)))
}

fn play(
    lab: &Lab,
    options: &LabOptions,
    begin: Instant,
    interruption: &Interruption,
) -> Result<Outcome, Error> {
    let ground = Ground::prepare(lab, options, interruption)?;
    let logs = options.out.join("logs");
    fresh_logs(&logs)?;
    let say = Say { begin, quiet: options.quiet };
    let launcher = Launcher { logs, forwarding: options.forwarding.clone(), interruption };
    let mut steps = Vec::new();
    for (place, script) in lab.scripts.iter().enumerate() {
        say.heading(&format!("{} {}", script.name, script.title));
        let plan = (script.plan)();
        let mut built = ground.build(&plan)?;
        say.line(&format!("{} stands: {} {}", plan.figure, plan.machines.join(", "), ground.words()));
        let directory = options.out.join(&script.name);
        let stage = Stage::open(&launcher, &plan, ground.machines(&built), &directory, say)?;
        steps.push(perform(lab, &plan, script, stage, &options.out)?);
        interruption.check()?;
        if options.keep
            && place + 1 == lab.scripts.len()
            && let Some(namespace) = built.keep()
        {
            say.line(&format!("the namespaces stay: ip netns exec {namespace} sh"));
        }
    }
    let findings: Vec<Finding> = steps.iter().flat_map(|step| step.findings.clone()).collect();
    let mut report = Report {
        title: lab.title.to_owned(),
        summary: format!("{} It was played {}.", lab.summary, ground.words()),
        facts: ground.facts(lab, options),
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
    let guests = stage.guests();
    let (recorded, marks) = stage.close()?;
    let directory = out.join(&script.name);
    let mut nodes = recorded
        .iter()
        .map(|recorded| Ok((recorded.machine.clone(), capture::read(&recorded.file)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    if recorded.iter().any(|recorded| recorded.end.ahead.is_some()) {
        let guesses: Vec<_> = recorded.iter().map(|recorded| recorded.end.ahead.unwrap_or(0)).collect();
        let ahead = clocks::align(&mut nodes, &plan.owners(), &guesses);
        for (recorded, ahead) in recorded.iter().zip(ahead) {
            capture::shift(&recorded.file, -ahead)?;
        }
    }
    let trace = Trace::new(nodes, &plan.owners());
    let lost: u32 = recorded.iter().map(|recorded| recorded.end.lost).sum();
    let seen: usize = trace.passages.iter().map(|passage| passage.sightings.len()).sum();
    say.line(&format!("  {seen} IPv6 packets captured at {} nodes, {lost} lost", recorded.len()));
    let mut drawn = trace.clone();
    drawn.passages.retain(|passage| passage.view.as_ref().ok().is_none_or(lab.drawn));
    let whole = Ladder::new(&drawn, Duration::ZERO, Duration::MAX, &marks, plan.anycast);
    say.text(&whole.text());
    write(&directory.join("ladder.txt"), &whole.text())?;
    write(&directory.join("ladder.svg"), &whole.svg(script.title))?;
    let mut findings = vec![scenario];
    findings.extend((script.judge)(&trace).into_iter().map(|finding| excused(finding, &guests)));
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

/// What a real guest cannot be told is nobody's failure: the sequence number it begins with.
fn excused(mut finding: Finding, guests: &[(&str, &Guest)]) -> Finding {
    let of_numbers = ["first-200", "refused-100", "retry-202"].contains(&finding.name.as_str());
    let guest = guests.iter().find(|(machine, _)| machine.starts_with("AR"));
    if let Some((machine, Guest { is, .. })) = guest
        && of_numbers
        && finding.verdict == Verdict::Fail
    {
        finding.verdict = Verdict::Skipped;
        finding.seen =
            format!("{is} at {machine} chooses its first sequence number itself: {}", finding.seen);
    }
    finding
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
