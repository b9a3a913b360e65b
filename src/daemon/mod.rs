//! A running node: the only event loop, configuration, the control socket. It carries the core's actions out and
//! feeds it packets, time and commands (design section 2, the protocol contract). Called by `cli`.

pub mod config;
pub mod control;
mod data_path;
pub mod doctor;
mod error;
mod event_log;
mod event_loop;
mod groups;
pub mod keys;
pub mod node;
pub mod polling;
pub mod show;
mod start;

pub use error::Error;
pub use event_loop::run;
