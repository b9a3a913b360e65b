//! `mga-node decode` and `mga-node pcap-diff`: captures as lines, trees or JSON, and two of them compared.
//! docs/pcap-diff.md says what may differ.
//! Called by `cli`.

use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use mga_node::pcap::allow::Allowed;
use mga_node::pcap::capture::Capture;
use mga_node::pcap::comparison;
use mga_node::pcap::decode::{self, Filter, Form, Stop};
use mga_node::pcap::diff::Options;
use mga_node::pcap::normalise::{AddressMap, Normalisation, Strict};

use super::{Failure, NEGATIVE, USAGE, print};

#[derive(Args)]
pub(super) struct PcapDiffArguments {
    /// The capture that is right; - for standard input
    #[arg(required_unless_present = "list_normalisations")]
    expected: Option<PathBuf>,
    /// The capture to be judged
    #[arg(required_unless_present = "list_normalisations")]
    actual: Option<PathBuf>,
    /// Do not apply this normalisation (`all`: none of them); repeatable
    #[arg(long, value_name = "NAME")]
    strict: Vec<Strict>,
    /// Tell what may differ between two runs, and end
    #[arg(long)]
    list_normalisations: bool,
    /// Address or prefix A of the expected capture is B in the actual one; repeatable
    #[arg(long, value_name = "A=B")]
    map: Vec<AddressMap>,
    /// TOML file of differences that are allowed, each with its clause
    #[arg(long, value_name = "FILE")]
    allow: Option<PathBuf>,
    /// Compare what has nothing to do with Mobile IPv6 too
    #[arg(long)]
    all: bool,
    /// Leave unanswered messages that were sent again out of both captures
    #[arg(long)]
    tolerate_retransmissions: bool,
    /// Packets per conversation that are aligned at once
    #[arg(long, value_name = "PACKETS", default_value_t = 512, value_parser = clap::value_parser!(u16).range(2..=4096))]
    window: u16,
    /// One JSON object per difference, and one for the whole
    #[arg(long)]
    json: bool,
    /// Nothing on standard output; the exit code says it
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Write a page with both captures' ladders side by side
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct DecodeArguments {
    /// The capture; - for standard input
    file: PathBuf,
    /// Every field of every packet
    #[arg(long, conflicts_with = "json")]
    tree: bool,
    /// One JSON object per packet
    #[arg(long)]
    json: bool,
    /// Only such packets: mobility, related, icmpv6, tunnelled, malformed, brr, hoti, coti, hot, cot, bu, ba, be or
    /// an address; repeatable, all must hold
    #[arg(long, value_name = "WORD")]
    filter: Vec<Filter>,
}

pub(super) fn decode(arguments: &DecodeArguments) -> Result<(), Failure> {
    let form = match (arguments.tree, arguments.json) {
        (true, _) => Form::Tree,
        (_, true) => Form::Json,
        _ => Form::Line,
    };
    let name = arguments.file.display().to_string();
    let trouble = |error: &dyn std::error::Error| Failure::new(USAGE, format!("{name}: {error}"));
    let frames = capture(&arguments.file)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let done = decode::decode(frames, form, &arguments.filter, &mut out);
    let done = done.and_then(|_| Ok(out.flush()?));
    match done {
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(trouble(&error)),
        Ok(()) => Ok(()),
    }
}

pub(super) fn pcap_diff(arguments: &PcapDiffArguments) -> Result<(), Failure> {
    if arguments.list_normalisations {
        let line = |normalisation: Normalisation| format!("{normalisation:<26}{}\n", normalisation.meaning());
        return print(&Normalisation::ALL.map(line).concat());
    }
    let (Some(expected), Some(actual)) = (&arguments.expected, &arguments.actual) else {
        return Err(Failure::new(USAGE, "name two captures"));
    };
    let names = [expected.display().to_string(), actual.display().to_string()];
    let mut allowed = match &arguments.allow {
        Some(file) => Allowed::open(file).map_err(|error| Failure::new(USAGE, error))?,
        None => Allowed::default(),
    };
    let options = Options {
        strict: arguments.strict.iter().fold(Strict::default(), |all, one| all.and(*one)),
        maps: arguments.map.clone(),
        all: arguments.all,
        tolerate_retransmissions: arguments.tolerate_retransmissions,
        window: arguments.window.into(),
        ..Options::default()
    };
    let form = match (arguments.json, arguments.quiet) {
        (true, _) => comparison::Form::Json,
        (_, true) => comparison::Form::Quiet,
        _ => comparison::Form::Text,
    };
    let (expected, actual) = (capture(expected)?, capture(actual)?);
    let captures = comparison::Captures { expected, actual, names: [&names[0], &names[1]] };
    let mut out = BufWriter::new(io::stdout().lock());
    let html = arguments.html.is_some();
    let done = comparison::run(captures, &options, &mut allowed, form, html, &mut out);
    let done = done.and_then(|verdict| out.flush().map(|()| verdict).map_err(comparison::Stop::Output));
    let verdict = match done {
        Err(comparison::Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            // Whoever closed the pipe knows already that there is a difference.
            return Err(Failure::new(NEGATIVE, ""));
        }
        done => done.map_err(|error| Failure::new(USAGE, error))?,
    };
    if let (Some(file), Some(page)) = (&arguments.html, &verdict.html) {
        std::fs::write(file, page)
            .map_err(|error| Failure::new(USAGE, format!("{}: {error}", file.display())))?;
    }
    if verdict.is_same() { Ok(()) } else { Err(Failure::new(NEGATIVE, "")) }
}

/// A capture file, or standard input for `-`.
fn capture(file: &Path) -> Result<Capture<Box<dyn io::Read + Send>>, Failure> {
    let reader: Box<dyn io::Read + Send> = if file == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let opened = std::fs::File::open(file)
            .map_err(|error| Failure::new(USAGE, format!("{}: {error}", file.display())))?;
        Box::new(BufReader::with_capacity(1 << 18, opened))
    };
    Capture::new(reader).map_err(|error| Failure::new(USAGE, format!("{}: {error}", file.display())))
}
