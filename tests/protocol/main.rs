//! The protocol core against the conformance catalogue (RFC 3775, thesis section 5), KAME's published keys and
//! random input, all in virtual time. A test is named after the catalogue's case, letter and number first.
//! Run by `cargo test --test protocol`.

mod advanced;
mod agent;
mod forwarding;
mod home_link;
mod initiator;
mod kame;
mod members;
mod membership;
mod midway;
mod mobility_header;
mod network;
mod random_input;
mod responder;
mod scenes;
mod stimulus;
