//! What to do: RFC 3775 sections 5 and 8 to 11 and thesis section 4, without sockets, clocks or threads.
//! Each role is a plain struct that is handed packets, observations, commands and the time, and is polled for
//! actions; handlers cannot fail, because a malformed packet is an input like any other. Driven by `daemon`,
//! by tests in virtual time and by fuzzers.

pub mod acknowledgement;
pub mod action;
pub mod ai;
pub mod ar;
pub mod auth;
pub mod binding;
pub mod clock;
pub mod counters;
pub mod haa;
pub mod home_agents;
pub mod home_link;
pub mod home_prefixes;
pub mod input;
pub mod limits;
pub mod liveness;
pub mod maa;
pub mod measure;
pub mod pace;
pub mod prefix_discovery;
pub mod random;
pub mod rate_limit;
pub mod report;
pub mod role;
pub mod router_advertisement;
pub mod select;
