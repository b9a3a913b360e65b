//! Whole packets told as one line and as what the lab sees in them, for any octets at all.
//! A line is one line of printable text, and a view exists exactly for what parses. RFC 3775 section 6, RFC 4443,
//! RFC 2473. Called by the target `wire`.

use mga_node::pcap::view::View;
use mga_node::wire::dissect;

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    let line = dissect::line(octets);
    assert!(!line.is_empty());
    assert!(!line.chars().any(char::is_control), "{line:?}");
    if let Ok(view) = View::parse(octets) {
        assert!(!view.to_string().is_empty());
        let _ = (view.is_data(), view.is_trouble(), view.is_tunnel(), view.echo_reply(), view.tcp());
        assert!(!(view.echo_request().is_some() && view.mobility().is_some()));
    }
}
