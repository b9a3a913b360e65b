//! What an independent program says of the captures: Wireshark's decoder, where it is installed.
//! A decoder that is not ours sees what ours takes for granted in the packets of thesis section 5.
//! `lab::run` asks it after each step.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Error, Trying};
use crate::pcap::report::{Evidence, Finding, Verdict};

/// Malformed packets, wrong ICMPv6 checksums, anything Wireshark itself counts as an error, and what it does not know:
/// messages, options, whatever it leaves undecoded.
const FAULTS: &str = "_ws.malformed || icmpv6.checksum.status == 0 || _ws.expert.severity >= 8388608 || \
                      _ws.expert.group == 83886080 || mip6.unknown_type_data";

/// Merges the captures of a step into one file beside them and has tshark look for faults in it.
///
/// # Errors
/// When tshark is there but cannot be run.
pub fn tshark(step: &str, files: &[PathBuf], merged: &Path) -> Result<Finding, Error> {
    let finding = |verdict, seen: String, evidence| Finding {
        step: step.to_owned(),
        name: "tshark".to_owned(),
        claim: "tshark finds no malformed packet, no wrong ICMPv6 checksum and nothing that it does not know"
            .to_owned(),
        verdict,
        seen,
        evidence,
    };
    if super::ground::find_program("tshark").is_none() || super::ground::find_program("mergecap").is_none() {
        let seen = "tshark is not installed (apt install tshark)".to_owned();
        return Ok(finding(Verdict::Skipped, seen, Vec::new()));
    }
    let output = Command::new("mergecap").arg("-w").arg(merged).args(files).stdin(Stdio::null()).output();
    let output = output.trying(|| "run mergecap".to_owned())?;
    if !output.status.success() {
        let seen = format!("mergecap: {}", String::from_utf8_lossy(&output.stderr).trim());
        return Ok(finding(Verdict::Fail, seen, Vec::new()));
    }
    let answers = (lines(merged, &["-T", "fields", "-e", "frame.number"])?, lines(merged, &["-Y", FAULTS])?);
    let (count, faults) = match answers {
        (Ok(all), Ok(faults)) => (all.len(), faults),
        (Err(seen), _) | (_, Err(seen)) => return Ok(finding(Verdict::Fail, seen, Vec::new())),
    };
    if faults.is_empty() {
        return Ok(finding(Verdict::Pass, format!("{count} packets in all captures"), Vec::new()));
    }
    let seen = format!("{} of {count} packets", faults.len());
    let evidence = |line: &String| Evidence {
        node: "all".to_owned(),
        at: std::time::Duration::ZERO,
        line: line.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    Ok(finding(Verdict::Fail, seen, faults.iter().take(8).map(evidence).collect()))
}

/// What tshark prints, or what it says against the file.
fn lines(file: &Path, arguments: &[&str]) -> Result<Result<Vec<String>, String>, Error> {
    let output =
        Command::new("tshark").arg("-n").arg("-r").arg(file).args(arguments).stdin(Stdio::null()).output();
    let output = output.trying(|| "run tshark".to_owned())?;
    if !output.status.success() {
        return Ok(Err(format!("tshark: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_of(capture: &Path) -> Finding {
        let merged = std::env::temp_dir().join(format!("mgad-{}-merged.pcapng", std::process::id()));
        let finding = tshark("step", &[capture.to_owned()], &merged).expect("tshark runs");
        std::fs::remove_file(merged).expect("removed");
        finding
    }

    #[test]
    fn an_unknown_option_and_a_wrong_checksum_fail_and_nothing_else_does() {
        let kame = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps/kame");
        let unknown = said_of(&kame.join("kame-errors/39-had-unknown-opt.pcap"));
        assert_eq!((unknown.verdict, unknown.evidence.len()), (Verdict::Fail, 1), "{unknown}");
        let whole = kame.join("kame-section5.3/ai1.pcap");
        assert_eq!(said_of(&whole).verdict, Verdict::Pass);
        let mut octets = std::fs::read(&whole).expect("a capture");
        // The last octet of the last frame, which is neighbour discovery.
        *octets.last_mut().expect("octets") ^= 1;
        let spoilt = std::env::temp_dir().join(format!("mgad-{}-one-wrong.pcap", std::process::id()));
        std::fs::write(&spoilt, octets).expect("written");
        let wrong = said_of(&spoilt);
        std::fs::remove_file(spoilt).expect("removed");
        assert_eq!((wrong.verdict, wrong.evidence.len()), (Verdict::Fail, 1), "{wrong}");
    }
}
