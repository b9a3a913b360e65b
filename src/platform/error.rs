//! What can go wrong between this node and the operating system, each with the remedy an operator needs.
//! No RFC defines these; the texts follow the house rule that one line says what failed and what to do.
//! Made by every file of `platform`, printed by `daemon` and `lab`.

use std::{io, path::PathBuf};

/// A failure of the operating system, or of our use of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configured interface does not exist (any more).
    #[error("there is no interface {name:?}; this host has {}", .known.join(", "))]
    NoSuchInterface {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// The interface exists, but its link layer cannot carry what a node needs.
    #[error("interface {name} cannot be used: {why}")]
    UnusableInterface {
        /// The interface's name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The kernel refused for lack of privilege.
    #[error("not permitted to {what}: {remedy}")]
    NotPermitted {
        /// What was being tried, as an infinitive.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A program that must be installed is not.
    #[error("the program {program} is missing: {remedy}")]
    MissingProgram {
        /// The program's name.
        program: &'static str,
        /// How to get it.
        remedy: &'static str,
    },
    /// The kernel lacks something a node needs.
    #[error("this system lacks {what}: {remedy}")]
    Lacking {
        /// What is missing.
        what: &'static str,
        /// The command that mends it.
        remedy: &'static str,
    },
    /// A program ran and refused its input.
    #[error("{program} failed: {message}")]
    ProgramFailed {
        /// The program's name.
        program: &'static str,
        /// What it wrote to its standard error, on one line.
        message: String,
    },
    /// Another living process runs this very node.
    #[error(
        "a node with the journal {} is already running{}; stop it first",
        .journal.display(),
        .owner.map(|owner| format!(" as process {owner}")).unwrap_or_default()
    )]
    Busy {
        /// The journal both want.
        journal: PathBuf,
        /// The other process, when it could be told.
        owner: Option<u32>,
    },
    /// A living process runs a node of this name, wherever its journal is.
    #[error("a node named {name} is already running on this host; stop it first")]
    NameTaken {
        /// The name both want.
        name: String,
    },
    /// Any other refusal of the kernel.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was being tried, as an infinitive.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Remedy of every [`Error::NotPermitted`].
#[cfg(target_os = "linux")]
const PRIVILEGE_REMEDY: &str = "run as root or with CAP_NET_ADMIN and CAP_NET_RAW";
/// As above.
#[cfg(not(target_os = "linux"))]
const PRIVILEGE_REMEDY: &str = "run as root";

impl Error {
    /// Names what failed: lack of privilege becomes [`Error::NotPermitted`], the rest [`Error::Io`].
    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted { what, remedy: PRIVILEGE_REMEDY },
            _ => Self::Io { what, source },
        }
    }
}

/// Adds to an [`io::Result`] what was being tried.
pub(super) trait Trying<T> {
    /// Turns an error into [`Error`]; `what` is an infinitive ("open the tunnel device").
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Trying<T> for io::Result<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::io(what(), source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_line_with_a_remedy() {
        let refused = Error::io("open the tunnel device", io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(
            refused.to_string(),
            format!("not permitted to open the tunnel device: {PRIVILEGE_REMEDY}")
        );
        let busy = Error::Busy { journal: "/run/x.undo".into(), owner: Some(7) };
        assert_eq!(
            busy.to_string(),
            "a node with the journal /run/x.undo is already running as process 7; stop it first"
        );
        let missing = Error::NoSuchInterface { name: "eth9".into(), known: vec!["lo".into(), "eth0".into()] };
        assert_eq!(missing.to_string(), "there is no interface \"eth9\"; this host has lo, eth0");
    }
}
