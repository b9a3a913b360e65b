//! What people and programs give a node, beside packets: capture files, a configuration file, requests to the control
//! socket (design sections 5 and 6). Each reader gets the same octets, and turns away at their beginning those of another.
//! Called by `fuzz_targets/given.rs`.

mod capture;
mod comparison;
mod configuration;
mod control;

/// Panics where a reader does not keep its promises.
pub fn check(octets: &[u8]) {
    capture::check(octets);
    comparison::check(octets);
    configuration::check(octets);
    control::check(octets);
}
