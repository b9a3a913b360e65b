//! Why a node could not start or had to end, as its operator reads it. The configuration's own mistakes are told apart
//! from these in `config` (design section 5). Returned by everything that `event_loop::run` calls, printed by `cli`.

use super::keys::KeyError;
use crate::forwarding::ebpf::Refusal;
use crate::platform;

/// Why a node could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Platform(#[from] platform::Error),
    #[error("control socket {path}: {source}")]
    Control { path: String, source: std::io::Error },
    #[error("{0}")]
    Address(String),
    #[error("--forwarding ebpf is not possible: {0}")]
    FastPath(Refusal),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the event loop failed: {0}")]
    Loop(std::io::Error),
    #[error("the interface {0} is gone")]
    InterfaceGone(String),
}

impl Error {
    /// True when a node that had been running well had to give up, false when it never started.
    pub fn ended_a_running_node(&self) -> bool {
        matches!(self, Self::Loop(_) | Self::InterfaceGone(_))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::FastPath(refusal)
    }
}
