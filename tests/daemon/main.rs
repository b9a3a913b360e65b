//! The built program as people run it: real processes on thesis Figure 11, in network namespaces of their own.
//! Thesis sections 4 and 5, RFC 3775 and the command line of the design are what is checked.
//! Run by `cargo test --test daemon` as root; needs iproute2, nftables, iputils and python3.
#![cfg(lab)]

mod advanced;
mod application;
mod control;
mod crowd;
mod evidence;
#[cfg(mga_ebpf)]
mod fast_path;
mod figure11;
mod garbage;
mod home_link;
mod journey;
mod lifecycle;
mod members;
mod midway;
mod mistakes;
mod movement;
mod scripted;
mod sums;
mod traffic;
