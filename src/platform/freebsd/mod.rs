//! FreeBSD: what a node needs of it without asking its kernel, compiled and tested on every system.
//! The routing messages serve RFC 3775 10.4.1 and thesis section 4.
//! Called through `platform` only.

pub mod abi;
pub mod routing_socket;
