//! The operating system: links, addresses, routes, neighbour proxying, packet intake and packet output.
//! Thesis section 4 needs packets a stock kernel refuses, so this room takes them away from the kernel
//! (`Host::own`, `Host::steal`, `Host::assign`, `Host::redirect`) and gives packets back to it.
//! Called by `daemon`, `forwarding` and `lab`; this file is the only fence between operating systems.

mod changes;
pub mod doctor;
mod error;
pub mod freebsd;
mod groups;
mod intake;
mod interface;
mod journal;
mod load;
mod pool;
mod probe;
mod program;
mod selection;
pub mod signals;

#[cfg(target_os = "linux")]
mod linux;

pub use error::Error;
#[cfg(target_os = "freebsd")]
use freebsd::doctor as system;
#[cfg(target_os = "freebsd")]
pub use freebsd::{Host, die_with_parent, established_connections};
pub use intake::{Intake, Options, Received, SendReport, Steal};
pub use interface::{Interface, InterfaceAddress, NextHop, ROUTE_PROTOCOL};
#[cfg(target_os = "linux")]
use linux::doctor as system;
#[cfg(target_os = "linux")]
pub use linux::{Host, die_with_parent, established_connections, netns};
pub use load::load_average;

/// Where control sockets and journals live unless told otherwise: a folder that does not outlive the machine's boot.
#[cfg(target_os = "linux")]
pub const RUN_DIRECTORY: &str = "/run/mga-node";
/// As above.
#[cfg(not(target_os = "linux"))]
pub const RUN_DIRECTORY: &str = "/var/run/mga-node";
