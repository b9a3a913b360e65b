//! The advanced model (thesis 4.3) in virtual time: groups in the data path, affinity, and below them the agent's
//! membership, selection, liveness and steering. A test's name says the promise it holds to.
//! Run by `cargo test --test protocol advanced`.

mod affinity;
mod capacity;
mod data_path;
mod explain;
mod liveness;
pub mod membership;
mod probing;
mod selection;
mod steering;
mod together;
