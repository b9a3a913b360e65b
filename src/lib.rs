//! mga-node: Mobile IPv6 (RFC 3775) turned into Internet-wide anycast.
//!
//! Data walks through the rooms in this order, and answers come back as values:
//! intake (`platform`) -> [`wire`] -> [`protocol`] -> actions -> `daemon` -> [`forwarding`] or `platform`.
//! `tests/house.rs` checks that no room calls one it must not call.

pub mod daemon;
pub mod forwarding;
#[cfg(lab)]
pub mod lab;
pub mod pcap;
pub mod platform;
pub mod protocol;
pub mod wire;
