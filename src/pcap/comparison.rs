//! `mga-node pcap-diff`: runs a comparison and tells it, as text, as JSON (an object per line) and as an HTML page with
//! both captures' ladders side by side. The conversations are those of RFC 3775; exit codes are those of diff(1).
//! Called by the command line.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::Ipv6Addr;

use serde_json::{Value as Json, json};

use super::allow::Allowed;
use super::capture::{Error, Frame};
use super::decode::Seconds;
use super::diff::{self, Conversation, Options, Outcome, Packet, Totals, Trouble};
use super::ladder::{Arrow, Kind, Ladder, Row, escape};
use super::view::View;

/// Pairs that the HTML page shows at most; a page for people, not an archive.
const DRAWN: usize = 2000;

/// How a comparison is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// A JSON object per outcome and one for the whole.
    Json,
    /// Not at all; the result says it.
    Quiet,
}

/// What a comparison came to.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The counts, allowed differences included.
    pub totals: Totals,
    /// How many of the outcomes were allowed.
    pub allowed: u64,
    /// Allowed differences that did not occur, by name.
    pub unmatched: Vec<String>,
    /// The HTML page, if it was asked for.
    pub html: Option<String>,
}

impl Verdict {
    /// True when every difference was allowed.
    pub fn is_same(&self) -> bool {
        self.totals.different + self.totals.missing + self.totals.extra == self.allowed
    }
}

/// Two captures and what they are called.
pub struct Captures<'a, E, A> {
    /// The one that is right.
    pub expected: E,
    /// The one to be judged.
    pub actual: A,
    /// Their names, in this order.
    pub names: [&'a str; 2],
}

/// A comparison stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// A capture cannot be read.
    #[error(transparent)]
    Capture(#[from] Trouble),
    /// Nobody takes the output.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

/// Compares two captures and tells the outcomes on `out`, each as soon as it is decided; with
/// `html` the verdict has a page.
///
/// # Errors
/// [`Stop`]; what was decided before has been told.
pub fn run<E, A>(
    captures: Captures<'_, E, A>,
    options: &Options,
    allowed: &mut Allowed,
    form: Form,
    html: bool,
    out: &mut dyn Write,
) -> Result<Verdict, Stop>
where
    E: Iterator<Item = Result<Frame, Error>> + Send,
    A: Iterator<Item = Result<Frame, Error>> + Send,
{
    let Captures { expected, actual, names } = captures;
    let options = Options { report_same: options.report_same || html, ..options.clone() };
    let mut page = html.then(Page::default);
    let mut count = 0;
    let mut written = Ok(());
    let totals = diff::compare(expected, actual, &options, &mut |conversation, outcome| {
        let permit = allowed.judge(&outcome);
        count += u64::from(permit.is_some());
        if written.is_ok() && !matches!(outcome, Outcome::Same { .. }) {
            written = match form {
                Form::Text => write_text(out, &outcome, permit.as_deref()),
                Form::Json => writeln!(out, "{}", outcome_json(conversation, &outcome, permit.as_deref())),
                Form::Quiet => Ok(()),
            };
        }
        if let Some(page) = &mut page {
            page.add(conversation, &outcome, permit);
        }
    })?;
    written?;
    let unmatched: Vec<String> = allowed.unmatched().map(|entry| entry.name.clone()).collect();
    let mut verdict = Verdict { totals, allowed: count, unmatched, html: None };
    verdict.html = page.map(|page| page.html(names, &verdict, allowed));
    match form {
        Form::Text => write_summary(out, &verdict, allowed)?,
        Form::Json => writeln!(out, "{}", verdict.json())?,
        Form::Quiet => {}
    }
    Ok(verdict)
}

fn write_text(out: &mut dyn Write, outcome: &Outcome, permit: Option<&[String]>) -> io::Result<()> {
    let permit = permit.map_or(String::new(), |names| format!(" (allowed: {})", names.join(", ")));
    let line = |out: &mut dyn Write, sign: char, packet: &Packet| {
        writeln!(out, "{sign} #{:<5}{} {}", packet.number, Seconds(packet.at), packet.line())
    };
    match outcome {
        Outcome::Same { .. } => Ok(()),
        Outcome::Missing(packet) => {
            writeln!(out, "missing {}{permit}", packet.message())?;
            line(out, '-', packet)
        }
        Outcome::Extra(packet) => {
            writeln!(out, "extra {}{permit}", packet.message())?;
            line(out, '+', packet)
        }
        Outcome::Different { expected, actual, fields } => {
            writeln!(out, "different {}{permit}", expected.message())?;
            line(out, '-', expected)?;
            line(out, '+', actual)?;
            for difference in fields {
                let told = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
                let (expected, actual) = (told(&difference.expected), told(&difference.actual));
                writeln!(out, "    {}: {expected} -> {actual}", difference.field)?;
            }
            Ok(())
        }
    }
}

fn write_summary(out: &mut dyn Write, verdict: &Verdict, allowed: &Allowed) -> io::Result<()> {
    let Totals { expected, actual, compared, same, different, missing, extra, decided_early } =
        verdict.totals;
    for entry in allowed.unmatched() {
        writeln!(out, "allowed but not seen: {} ({}: {})", entry.name, entry.clause, entry.reason)?;
    }
    let word = if verdict.is_same() { "same" } else { "different" };
    writeln!(
        out,
        "{word}: {same} pairs alike, {different} different, {missing} missing, {extra} extra, {} of these allowed \
         ({compared} packets compared of {expected} expected; {actual} actual)",
        verdict.allowed
    )?;
    if decided_early > 0 {
        writeln!(
            out,
            "note: {decided_early} packets were decided before their conversation was complete, because too many \
             waited for a partner"
        )?;
    }
    Ok(())
}

fn packet_json(packet: &Packet) -> Json {
    json!({ "number": packet.number, "time": packet.at.as_secs_f64(), "line": packet.line() })
}

fn outcome_json(conversation: &Conversation, outcome: &Outcome, permit: Option<&[String]>) -> Json {
    let (what, message, expected, actual, fields) = match outcome {
        Outcome::Same { expected, actual } => {
            ("same", expected.message(), Some(expected), Some(actual), None)
        }
        Outcome::Missing(packet) => ("missing", packet.message(), Some(packet), None, None),
        Outcome::Extra(packet) => ("extra", packet.message(), None, Some(packet), None),
        Outcome::Different { expected, actual, fields } => {
            ("different", expected.message(), Some(expected), Some(actual), Some(fields))
        }
    };
    let fields = fields.map(|fields| {
        let field = |difference: &diff::Difference| {
            json!({
                "field": difference.field,
                "expected": difference.expected,
                "actual": difference.actual,
            })
        };
        fields.iter().map(field).collect::<Vec<_>>()
    });
    json!({
        "what": what,
        "message": message,
        "between": [conversation.one.to_string(), conversation.other.to_string()],
        "expected": expected.map(packet_json),
        "actual": actual.map(packet_json),
        "fields": fields,
        "allowed": permit,
    })
}

impl Verdict {
    fn json(&self) -> Json {
        let Totals { expected, actual, compared, same, different, missing, extra, decided_early } =
            self.totals;
        json!({
            "what": "verdict",
            "same": self.is_same(),
            "packets": { "expected": expected, "actual": actual, "compared": compared },
            "pairs": { "alike": same, "different": different },
            "missing": missing,
            "extra": extra,
            "allowed": self.allowed,
            "allowed-but-not-seen": self.unmatched,
            "decided-early": decided_early,
        })
    }
}

/// The HTML page in the making.
#[derive(Default)]
struct Page {
    rows: Vec<PageRow>,
    /// Number of the expected packet that each conversation came to, which is where an extra one is drawn.
    reached: BTreeMap<Conversation, u64>,
    left_out: u64,
}

struct PageRow {
    /// Number of the expected packet, or of the one before it in its conversation.
    place: u64,
    expected: Option<Drawn>,
    actual: Option<Drawn>,
    /// What to say under the pair; empty when they are alike.
    words: Vec<String>,
    allowed: bool,
}

/// A packet as the ladder needs it.
struct Drawn {
    number: u64,
    at: std::time::Duration,
    from: Ipv6Addr,
    to: Ipv6Addr,
    label: String,
    kind: Kind,
}

impl Drawn {
    fn of(packet: &Packet) -> Drawn {
        let summary = packet.tree().summary;
        let (label, kind) = match View::parse(packet.octets()) {
            Ok(view) if view.is_trouble() => (view.to_string(), Kind::Trouble),
            Ok(view) if view.is_data() => (view.to_string(), Kind::Data),
            Ok(view) => (view.to_string(), Kind::Signalling),
            Err(error) => (format!("malformed: {error}"), Kind::Trouble),
        };
        let (from, to) = (summary.source, summary.destination);
        Drawn { number: packet.number, at: packet.at, from, to, label, kind }
    }
}

impl Page {
    fn add(&mut self, conversation: &Conversation, outcome: &Outcome, permit: Option<Vec<String>>) {
        if self.rows.len() >= DRAWN {
            self.left_out += 1;
            return;
        }
        let allowed = permit.is_some();
        let mut words = Vec::new();
        let (expected, actual) = match outcome {
            Outcome::Same { expected, actual } => (Some(expected), Some(actual)),
            Outcome::Missing(packet) => {
                words.push("missing".to_owned());
                (Some(packet), None)
            }
            Outcome::Extra(packet) => {
                words.push("extra".to_owned());
                (None, Some(packet))
            }
            Outcome::Different { expected, actual, fields } => {
                let told = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
                words.extend(fields.iter().map(|difference| {
                    format!(
                        "{}: {} → {}",
                        difference.field,
                        told(&difference.expected),
                        told(&difference.actual)
                    )
                }));
                (Some(expected), Some(actual))
            }
        };
        if let Some(names) = permit {
            words.push(format!("allowed: {}", names.join(", ")));
        }
        let reached = self.reached.entry(*conversation).or_default();
        if let Some(packet) = expected {
            *reached = packet.number;
        }
        let place = *reached;
        let (expected, actual) = (expected.map(Drawn::of), actual.map(Drawn::of));
        self.rows.push(PageRow { place, expected, actual, words, allowed });
    }

    fn html(mut self, names: [&str; 2], verdict: &Verdict, allowed: &Allowed) -> String {
        self.rows.sort_by_key(|row| row.place);
        let ladders = [self.ladder(|row| row.expected.as_ref()), self.ladder(|row| row.actual.as_ref())];
        let Totals { same, different, missing, extra, .. } = verdict.totals;
        let word = if verdict.is_same() { "The same protocol" } else { "Different" };
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{word}: {0} and {1}\
             </title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{word}</h1>\n<p>{same} pairs alike, \
             {different} different, {missing} missing, {extra} extra, {2} of these allowed.</p>\n",
            escape(names[0]),
            escape(names[1]),
            verdict.allowed,
        );
        if self.left_out > 0 {
            html += &format!("<p>{} more are not drawn.</p>\n", self.left_out);
        }
        for entry in allowed.unmatched() {
            html += &format!(
                "<p>Allowed but not seen: <b>{}</b> ({}): {}</p>\n",
                escape(&entry.name),
                escape(&entry.clause),
                escape(&entry.reason)
            );
        }
        html += "<div class=\"sides\">";
        for (name, ladder) in names.iter().zip(&ladders) {
            html +=
                &format!("<figure><figcaption>{0}</figcaption>{1}</figure>", escape(name), ladder.svg(name));
        }
        html += "</div>\n<h2>Differences</h2>\n<ol>\n";
        for (at, row) in (1..).zip(&self.rows).filter(|(_, row)| !row.words.is_empty()) {
            let class = if row.allowed { "allowed" } else { "differs" };
            html += &format!("<li value=\"{at}\" class=\"{class}\">");
            for (sign, drawn) in [('−', &row.expected), ('+', &row.actual)] {
                if let Some(drawn) = drawn {
                    html += &format!(
                        "<code>{sign} #{} {:.6} {} → {}: {}</code>",
                        drawn.number,
                        drawn.at.as_secs_f64(),
                        drawn.from,
                        drawn.to,
                        escape(&drawn.label)
                    );
                }
            }
            for words in &row.words {
                html += &format!("<p>{}</p>", escape(words));
            }
            html += "</li>\n";
        }
        html += "</ol>\n</main>\n</body>\n</html>\n";
        html
    }

    /// One side's ladder: a column per address and a row per pair, so that partners stand at one height.
    fn ladder<'a>(&'a self, side: impl Fn(&'a PageRow) -> Option<&'a Drawn>) -> Ladder {
        let mut columns: BTreeMap<String, usize> = BTreeMap::new();
        for drawn in self.rows.iter().flat_map(|row| [&row.expected, &row.actual]).flatten() {
            columns.insert(column_of(drawn.from), 0);
            columns.insert(column_of(drawn.to), 0);
        }
        for (place, column) in columns.values_mut().enumerate() {
            *column = place;
        }
        let column = |address| columns.get(&column_of(address)).copied().unwrap_or(0);
        let rows = (1..).zip(&self.rows).map(|(at, row)| {
            let sign = match (row.words.is_empty(), row.allowed) {
                (true, _) => String::new(),
                (false, true) => format!("[{at} allowed] "),
                (false, false) => format!("[{at}] "),
            };
            match side(row) {
                None => Row::Mark(format!("{sign}—")),
                Some(drawn) => Row::Arrow(Arrow {
                    first: drawn.at,
                    last: drawn.at,
                    from: column(drawn.from),
                    to: column(drawn.to),
                    label: format!("{sign}{}", drawn.label),
                    conversation: Some((drawn.from, drawn.to)),
                    count: 1,
                    kind: if sign.is_empty() || row.allowed { drawn.kind } else { Kind::Trouble },
                }),
            }
        });
        Ladder { rows: rows.collect(), columns: columns.into_keys().collect() }
    }
}

/// The ladder's column of an address; those that mean nobody in particular share one.
fn column_of(address: Ipv6Addr) -> String {
    match address.is_unspecified() || address.is_multicast() || address.is_unicast_link_local() {
        true => "on the link".to_owned(),
        false => address.to_string(),
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2733;--line:#d7dee6;--bad:#b3261e;--soft:#5b6875}\
@media(prefers-color-scheme:dark){:root{--paper:#12181f;--ink:#e4eaf0;--line:#33404c;--bad:#ff8a80;--soft:#9fb0bf}}\
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 ui-sans-serif,system-ui,'DejaVu Sans',sans-serif}\
main{padding:24px 20px 60px}.sides{display:flex;gap:16px;overflow-x:auto;align-items:flex-start}\
figure{margin:0;flex:1 1 0;min-width:560px}figcaption{font-weight:600}svg{display:block;width:100%;height:auto;border:1px solid var(--line)}\
.node{display:none}.name{font-size:9px!important}li{margin:10px 0}li p{margin:0 0 0 16px}\
.differs p{color:var(--bad)}.allowed{color:var(--soft)}\
code{display:block;font:12px ui-monospace,'DejaVu Sans Mono',monospace;white-space:pre-wrap}";
