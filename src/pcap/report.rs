//! Findings about captures, and the report that shows them: one HTML file that needs nothing from outside.
//! Each finding is a claim of thesis section 5 with its verdict and the packets that are the evidence.
//! The lab writes one beside its captures.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::ladder::escape;

/// A claim, what became of it, and by which packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The step it belongs to, such as `5.1`.
    pub step: String,
    /// A short name, unique within the step, such as `retry-202`.
    pub name: String,
    /// The claim in one sentence.
    pub claim: String,
    /// Whether it held.
    pub verdict: Verdict,
    /// What was seen, in one sentence: the numbers if it held, what is wrong if not.
    pub seen: String,
    /// The packets it was decided by.
    pub evidence: Vec<Evidence>,
}

/// Whether a claim held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It held.
    Pass,
    /// It did not.
    Fail,
    /// It was not judged, for a reason that is given.
    Skipped,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::Skipped => "SKIP",
        })
    }
}

/// One line on a terminal: `PASS 5.1 retry-202: ...`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { verdict, step, claim, seen, .. } = self;
        match verdict {
            Verdict::Pass => write!(f, "{verdict} {step} {claim} ({seen})"),
            Verdict::Fail | Verdict::Skipped => write!(f, "{verdict} {step} {claim}: {seen}"),
        }
    }
}

/// A packet in a capture file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The node that captured it.
    pub node: String,
    /// When, in seconds since the first packet of the step.
    #[serde(serialize_with = "as_seconds")]
    pub at: Duration,
    /// One line of dissection.
    pub line: String,
}

fn as_seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// What a report shows.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The heading.
    pub title: String,
    /// One paragraph under it.
    pub summary: String,
    /// What was run and on what: name and value.
    pub facts: Vec<(String, String)>,
    /// The steps in order.
    pub steps: Vec<Step>,
}

/// One step of what was run.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// Its name, such as `5.1`; findings refer to it.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The actions taken, with seconds since the beginning of the run.
    pub actions: Vec<(Duration, String)>,
    /// Its findings.
    pub findings: Vec<Finding>,
    /// Its ladder diagrams: title and SVG.
    pub ladders: Vec<(String, String)>,
    /// Its captures: node, and the file relative to the report.
    pub captures: Vec<(String, String)>,
}

impl Report {
    /// The report as one HTML file with inline style and SVG.
    pub fn html(&self) -> String {
        let count = |verdict| {
            self.steps
                .iter()
                .flat_map(|step| &step.findings)
                .filter(|finding| finding.verdict == verdict)
                .count()
        };
        let (pass, fail, skipped) = (count(Verdict::Pass), count(Verdict::Fail), count(Verdict::Skipped));
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p class=\"lead\">{summary}</p>\n\
             <p class=\"score\"><span class=\"pass\">{pass} passed</span> \
             <span class=\"{fail_class}\">{fail} failed</span> <span class=\"{skipped_class}\">{skipped} skipped</span></p>\n",
            title = escape(&self.title),
            summary = escape(&self.summary),
            fail_class = if fail == 0 { "none" } else { "fail" },
            skipped_class = if skipped == 0 { "none" } else { "skipped" },
        );
        html += "<h2>Verdicts</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>Step</th><th>Verdict</th>\
                 <th>Claim</th><th>Seen</th></tr></thead>\n<tbody>\n";
        for finding in self.steps.iter().flat_map(|step| &step.findings) {
            html += &format!(
                "<tr><td>{}</td><td class=\"{}\">{}</td><td><a href=\"#{}\">{}</a></td><td>{}</td></tr>\n",
                escape(&finding.step),
                class(finding.verdict),
                finding.verdict,
                anchor(finding),
                escape(&finding.claim),
                escape(&finding.seen),
            );
        }
        html += "</tbody></table></div>\n<h2>What was run</h2>\n<dl>\n";
        for (name, value) in &self.facts {
            html += &format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value));
        }
        html += "</dl>\n";
        for step in &self.steps {
            step.write(&mut html);
        }
        html += "</main>\n</body>\n</html>\n";
        html
    }
}

impl Step {
    fn write(&self, html: &mut String) {
        *html += &format!("<section>\n<h2>{} {}</h2>\n", escape(&self.name), escape(&self.title));
        if !self.actions.is_empty() {
            *html += "<details><summary>What was done</summary><ol class=\"actions\">\n";
            for (at, action) in &self.actions {
                *html += &format!("<li><time>{:.1} s</time> {}</li>\n", at.as_secs_f64(), escape(action));
            }
            *html += "</ol></details>\n";
        }
        for (title, svg) in &self.ladders {
            *html += &format!(
                "<figure><figcaption>{}</figcaption><div class=\"wide\">{svg}</div></figure>\n",
                escape(title)
            );
        }
        if !self.captures.is_empty() {
            *html += "<p>Captures:";
            for (node, file) in &self.captures {
                *html += &format!(" <a href=\"{}\">{}</a>", escape(file), escape(node));
            }
            *html += "</p>\n";
        }
        *html += "<h3>Evidence</h3>\n";
        for finding in &self.findings {
            *html += &format!(
                "<article id=\"{}\"><h4><span class=\"{}\">{}</span> {}</h4><p>{}</p>\n",
                anchor(finding),
                class(finding.verdict),
                finding.verdict,
                escape(&finding.claim),
                escape(&finding.seen),
            );
            if !finding.evidence.is_empty() {
                *html += "<div class=\"wide\"><table class=\"evidence\"><tbody>\n";
                for evidence in &finding.evidence {
                    let file = self.captures.iter().find(|(node, _)| *node == evidence.node);
                    let node = escape(&evidence.node);
                    let node = match file {
                        Some((_, file)) => format!("<a href=\"{}\">{node}</a>", escape(file)),
                        None => node,
                    };
                    *html += &format!(
                        "<tr><td>{node}</td><td class=\"time\">{:.6}</td><td><code>{}</code></td></tr>\n",
                        evidence.at.as_secs_f64(),
                        escape(&evidence.line),
                    );
                }
                *html += "</tbody></table></div>\n";
            }
            *html += "</article>\n";
        }
        *html += "</section>\n";
    }
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Skipped => "skipped",
    }
}

fn anchor(finding: &Finding) -> String {
    escape(&format!("{}-{}", finding.step, finding.name)).replace(' ', "-")
}

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2733;--soft:#5b6875;--line:#d7dee6;--band:#f3f6f9;\
--link:#0b5cad;--pass:#1a7f37;--fail:#b3261e;--skip:#8a6100}\
@media(prefers-color-scheme:dark){:root{--paper:#12181f;--ink:#e4eaf0;--soft:#9fb0bf;--line:#33404c;\
--band:#1a232c;--link:#7cb8ff;--pass:#5fd37a;--fail:#ff8a80;--skip:#e3b341}}\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);\
font:15px/1.5 ui-sans-serif,system-ui,'DejaVu Sans',sans-serif}\
main{max-width:1240px;margin:0 auto;padding:24px 20px 60px}h1{font-size:26px;margin:0 0 6px}\
h2{font-size:20px;margin:36px 0 10px;border-bottom:1px solid var(--line);padding-bottom:4px}\
h3{font-size:16px;margin:22px 0 6px}h4{font-size:14px;margin:0}a{color:var(--link)}\
.lead{color:var(--soft);margin:0 0 12px;max-width:80ch}\
.score span{display:inline-block;padding:2px 10px;border:1px solid var(--line);border-radius:12px;margin-right:6px}\
.pass{color:var(--pass);font-weight:600}.fail{color:var(--fail);font-weight:600}.skipped{color:var(--skip);font-weight:600}\
.none{color:var(--soft)}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:5px 10px;border-bottom:1px solid var(--line);vertical-align:top}\
th{font-size:13px;color:var(--soft)}tbody tr:hover{background:var(--band)}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px;margin:0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\
figure{margin:16px 0}figcaption{font-weight:600;margin-bottom:6px}svg{max-width:none;display:block}\
.wide svg{border:1px solid var(--line);border-radius:6px}\
details{margin:6px 0}summary{cursor:pointer;color:var(--link)}time,.time{font-variant-numeric:tabular-nums;color:var(--soft)}\
article{border:1px solid var(--line);border-radius:6px;padding:10px 14px;margin:10px 0}\
article p{margin:2px 0 6px;color:var(--soft)}.evidence td{padding:2px 8px;font-size:12.5px}\
code{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:12px;white-space:pre-wrap;overflow-wrap:anywhere}";
