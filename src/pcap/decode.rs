//! `mga-node decode`: the packets of a capture for people (a line or a tree each) and for programs (JSON).
//! Lines are those of the dissection, trees those of RFC 3775 section 6 and the formats around it.
//! Called by the command line.

use std::fmt;
use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

use serde_json::json;

use super::capture::{Error, Frame};
use super::tree::{Kind, Summary, Tree};
use crate::wire::dissect;

/// How packets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line per packet.
    Line,
    /// The line, and under it every field.
    Tree,
    /// A JSON object per packet, on one line.
    Json,
}

/// Which packets are shown: a word of the list that [`Filter::from_str`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Mobility Headers.
    Mobility,
    /// What has to do with Mobile IPv6, see [`is_related`].
    Related,
    /// ICMPv6.
    Icmpv6,
    /// A packet in a packet.
    Tunnelled,
    /// Malformed somewhere.
    Malformed,
    /// Mobility Headers of this MH Type.
    MhType(u8),
    /// From or to this address, in any of its headers.
    Address(Ipv6Addr),
}

/// A word that is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no filter: say mobility, related, icmpv6, tunnelled, malformed, brr, hoti, coti, hot, cot, bu, ba, be \
     or an address"
)]
pub struct UnknownFilter(String);

impl FromStr for Filter {
    type Err = UnknownFilter;

    fn from_str(word: &str) -> Result<Self, UnknownFilter> {
        Ok(match word {
            "mobility" => Filter::Mobility,
            "related" => Filter::Related,
            "icmpv6" => Filter::Icmpv6,
            "tunnelled" => Filter::Tunnelled,
            "malformed" => Filter::Malformed,
            word => {
                let known = ["brr", "hoti", "coti", "hot", "cot", "bu", "ba", "be"];
                match (0..).zip(known).find(|(_, name)| *name == word) {
                    Some((mh_type, _)) => Filter::MhType(mh_type),
                    None => Filter::Address(word.parse().map_err(|_| UnknownFilter(word.to_owned()))?),
                }
            }
        })
    }
}

impl Filter {
    fn keeps(self, tree: &Tree) -> bool {
        use super::tree::Value;
        match self {
            Filter::Mobility => matches!(tree.summary.kind, Kind::Mobility(_)),
            Filter::Related => is_related(&tree.summary),
            Filter::Icmpv6 => matches!(tree.summary.kind, Kind::Icmpv6(_)),
            Filter::Tunnelled => tree.summary.tunnels > 0,
            Filter::Malformed => tree.fields.iter().any(|field| matches!(field.value, Value::Malformed(_))),
            Filter::MhType(wanted) => tree.summary.kind == Kind::Mobility(wanted),
            Filter::Address(wanted) => tree.fields.iter().any(|field| field.value == Value::Address(wanted)),
        }
    }
}

/// True for what has to do with Mobile IPv6 by itself: Mobility Headers, packets with a home address option or a
/// type 2 routing header, tunnelled packets, home agent discovery and mobile prefixes (RFC 3775 sections 6.5 to
/// 6.8), ICMPv6 errors about any of them, and packets whose headers are malformed.
pub fn is_related(summary: &Summary) -> bool {
    let discovery = matches!(summary.kind, Kind::Icmpv6(144..=147));
    let message = matches!(summary.kind, Kind::Mobility(_) | Kind::Malformed);
    message || discovery || summary.mobile || summary.tunnels > 0 || summary.quotes_mobile
}

/// Shows the packets of a capture on `out` and returns how many were shown.
///
/// # Errors
/// [`Stop::Capture`] when the capture breaks off (what was before it has been shown), [`Stop::Output`] when `out`
/// takes no more.
pub fn decode(
    frames: impl Iterator<Item = Result<Frame, Error>>,
    form: Form,
    filters: &[Filter],
    out: &mut impl Write,
) -> Result<u64, Stop> {
    let (mut origin, mut shown) = (None, 0);
    for (number, frame) in (1u64..).zip(frames) {
        let frame = frame?;
        let origin = *origin.get_or_insert(frame.at);
        let tree = match (form, filters) {
            (Form::Line, []) => None,
            _ => Some(Tree::of_frame(&frame, origin)),
        };
        if let Some(tree) = &tree
            && !filters.iter().all(|filter| filter.keeps(tree))
        {
            continue;
        }
        shown += 1;
        let line = dissect::line(&frame.ipv6);
        let time = Seconds(frame.at.saturating_sub(origin));
        match (form, tree) {
            (Form::Json, Some(tree)) => {
                let object = json!({
                    "number": number,
                    "time": frame.at.as_secs_f64(),
                    "message": tree.summary.kind.to_string(),
                    "line": line,
                    "cut": frame.cut,
                    "tree": tree.json(),
                });
                writeln!(out, "{object}")?;
            }
            (_, tree) => {
                let cut = if frame.cut { " [cut by the capture]" } else { "" };
                writeln!(out, "{time} {line}{cut}")?;
                if let (Form::Tree, Some(tree)) = (form, tree) {
                    out.write_all(tree.text().as_bytes())?;
                }
            }
        }
    }
    Ok(shown)
}

/// Why decoding stopped before the end.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The capture cannot be read on.
    #[error(transparent)]
    Capture(#[from] Error),
    /// Nobody takes the output.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

/// Seconds with six digits, in a column.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}
