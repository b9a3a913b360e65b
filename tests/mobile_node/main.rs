//! The responder as a full mobile node and the initiator as a full correspondent (RFC 3775 sections 9 and 11), with
//! scripted partners in virtual time. Tests are named after the ids of the conformance catalogue.
//! Run by `cargo test --test mobile_node`; needs nothing of the system.

mod agents;
mod chance;
mod correspondent;
mod home;
mod member;
mod midway;
mod movement;
mod optimisation;
mod prefixes;
mod quirks;
mod scene;
mod service;
