//! `mga-node doctor`: whether a node of these roles will run on this host, one line per check, each failure with its
//! remedy. What is needed follows from the roles of thesis section 4; the finding out is `platform::doctor`'s, and with
//! the feature `ebpf` the fast path is tried, too. Called by the command line.

use std::io::{self, Write};

use serde_json::json;

use super::config::Role;
use super::data_path;
use crate::platform::doctor::{self, Check, Outcome, Part};

/// What is examined.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    /// The interface a node shall run on; without one only what is the host's.
    pub interface: Option<String>,
    /// For this role; for all of them when `None`.
    pub role: Option<Role>,
    /// One JSON object per line instead of words.
    pub json: bool,
}

/// Examines this host and writes a line per check. Returns true when a node will run.
///
/// # Errors
/// When the lines cannot be written.
pub fn run(examination: &Examination, out: &mut (impl Write + Send)) -> io::Result<bool> {
    let roles = match examination.role {
        Some(role) => vec![role],
        None => vec![Role::Haa, Role::Ar, Role::Ai],
    };
    let mut parts: Vec<Part> = roles.iter().map(|role| part(*role)).collect();
    parts.dedup();
    let (mut healthy, mut written) = (true, Ok(()));
    doctor::examine(
        examination.interface.as_deref(),
        &parts,
        |host| data_path::fast_path(&roles, host),
        |check| {
            healthy &= !matches!(check.outcome, Outcome::Bad { .. });
            let line = if examination.json { in_json(&check) } else { in_words(&check) };
            if written.is_ok() {
                written = writeln!(out, "{line}").and_then(|()| out.flush());
            }
        },
    );
    written.map(|()| healthy)
}

fn part(role: Role) -> Part {
    match role {
        Role::Haa | Role::Maa => Part::Agent,
        Role::Ar => Part::Responder,
        Role::Ai => Part::Initiator,
    }
}

fn in_words(Check { name, outcome }: &Check) -> String {
    match outcome {
        Outcome::Good(seen) => format!("good     {name:18} {seen}"),
        Outcome::Bad { what, remedy } => format!("BAD      {name:18} {what}; remedy: {remedy}"),
        Outcome::Skipped(why) => format!("skipped  {name:18} {why}"),
    }
}

fn in_json(Check { name, outcome }: &Check) -> String {
    match outcome {
        Outcome::Good(seen) => json!({ "check": name, "outcome": "good", "seen": seen }),
        Outcome::Bad { what, remedy } => {
            json!({ "check": name, "outcome": "bad", "seen": what, "remedy": remedy })
        }
        Outcome::Skipped(why) => json!({ "check": name, "outcome": "skipped", "seen": why }),
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line_with_its_remedy() {
        let good = Check::good("nftables", "nftables v1.0.6");
        assert_eq!(in_words(&good), "good     nftables           nftables v1.0.6");
        let bad = Check::bad("nftables", "the program nft is missing", "install the package nftables");
        assert_eq!(
            in_words(&bad),
            "BAD      nftables           the program nft is missing; remedy: install the package nftables"
        );
        assert_eq!(
            in_json(&bad),
            r#"{"check":"nftables","outcome":"bad","remedy":"install the package nftables","seen":"the program nft is missing"}"#
        );
        assert_eq!(in_words(&Check::skipped("trial", "why")), "skipped  trial              why");
    }
}
