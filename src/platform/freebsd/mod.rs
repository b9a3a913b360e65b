//! FreeBSD: ipfw divert, raw sockets, a tunnel device, the routing socket and bpf.
//! It gives RFC 3775 and thesis section 4 the packets the stock kernel refuses, and restores everything.
//! Called through `platform` only; `platform::linux` offers the same `Host`. What asks no kernel is compiled on every
//! system, so that it can be tested on every system.

pub mod abi;
#[cfg(any(target_os = "freebsd", test))]
mod connections;
pub mod routing_socket;
#[cfg(any(target_os = "freebsd", test))]
mod rules;
#[cfg(any(target_os = "freebsd", test))]
mod shape;

#[cfg(target_os = "freebsd")]
mod application;
#[cfg(target_os = "freebsd")]
mod changes;
#[cfg(target_os = "freebsd")]
mod checks;
#[cfg(target_os = "freebsd")]
mod divert;
#[cfg(target_os = "freebsd")]
pub mod doctor;
#[cfg(target_os = "freebsd")]
mod host;
#[cfg(target_os = "freebsd")]
mod interfaces;
#[cfg(target_os = "freebsd")]
mod raw;
#[cfg(target_os = "freebsd")]
mod routing;
#[cfg(target_os = "freebsd")]
mod sender;
#[cfg(target_os = "freebsd")]
mod sys;
#[cfg(target_os = "freebsd")]
mod tunnel;

#[cfg(target_os = "freebsd")]
pub use application::{die_with_parent, established_connections};
#[cfg(target_os = "freebsd")]
pub use host::Host;
