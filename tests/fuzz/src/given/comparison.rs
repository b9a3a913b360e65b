//! Octets as two capture files that are compared as protocols, as `pcap-diff` does.
//! A capture is like itself; whatever the two are, every packet is in one pair or left over, and what is said is text
//! or JSON, line by line. Called by the target `given`.

use mga_node::pcap::allow::Allowed;
use mga_node::pcap::capture::{Capture, Frame};
use mga_node::pcap::comparison::{self, Captures, Form, Verdict};
use mga_node::pcap::diff::Options;

/// The packets up to the first error.
fn frames(octets: &[u8]) -> Vec<Frame> {
    Capture::new(octets).map(|capture| capture.map_while(Result::ok).collect()).unwrap_or_default()
}

fn compare(expected: &[Frame], actual: &[Frame], form: Form) -> (Verdict, String) {
    let captures = Captures {
        expected: expected.to_vec().into_iter().map(Ok),
        actual: actual.to_vec().into_iter().map(Ok),
        names: ["expected", "actual"],
    };
    let mut said = Vec::new();
    let (options, mut allowed) = (Options::default(), Allowed::default());
    let verdict = comparison::run(captures, &options, &mut allowed, form, false, &mut said);
    (verdict.expect("captures in memory"), String::from_utf8(said).expect("text"))
}

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    let Some((at, rest)) = octets.split_first_chunk::<2>() else { return };
    let at = usize::from(u16::from_be_bytes(*at)).min(rest.len());
    let (expected, actual) = (frames(&rest[..at]), frames(&rest[at..]));
    if expected.is_empty() && actual.is_empty() {
        // No packets: that takes as many threads as some do, and finds nothing new.
        return;
    }
    let (alike, _) = compare(&expected, &expected, Form::Quiet);
    assert!(alike.is_same(), "{:?}", alike.totals);
    let (verdict, said) = compare(&expected, &actual, Form::Json);
    assert!(said.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{said}");
    let (again, _) = compare(&expected, &actual, Form::Text);
    assert_eq!(verdict.totals, again.totals);
}
