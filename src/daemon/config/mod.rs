//! What a node is told: the words of the TOML file and of the command line over it, the settings they amount to, and
//! the checks in between. The words are the same in both (design section 5); an unknown key, a wrong value or a
//! missing one is an error that names the field, the value and the remedy. Called by `cli` and `daemon`.

use std::path::PathBuf;

mod application;
mod checks;
mod group;
mod membership;
mod settings;
mod words;

pub use application::{ApplicationWords, BuiltIn, ServiceSettings};
pub use group::AffinityWord;
pub use membership::{IdentitySettings, MemberEntry, MembersSettings};
pub use settings::{
    AiSettings, ArSettings, CaptureSettings, HaaSettings, HomeLinkSettings, RoleSettings, Settings,
};
pub use words::{AnycastEntry, Authentication, Forwarding, Given, Model, Role};

pub use crate::platform::RUN_DIRECTORY;

/// A configuration that cannot be used; the text names the field, the value and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}:{column}: {message}", .path.display())]
    Malformed { path: PathBuf, line: usize, column: usize, message: String },
    #[error("{field} is missing: {remedy}")]
    Missing { field: &'static str, remedy: &'static str },
    #[error("{field} = {value}: {remedy}")]
    Wrong { field: &'static str, value: String, remedy: String },
    #[error("{field} means nothing to role {role}: leave it out")]
    NotForRole { field: String, role: Role },
    #[error("{field} means nothing with authentication = \"none\": leave it out, or say rfc4285")]
    NotWithoutKeys { field: &'static str },
}
