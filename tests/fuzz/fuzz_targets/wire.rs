//! Octets as anything that comes by the network, through every decoder of `wire` and its neighbours.
//! What must hold is said in `src/wire`. Run by `cargo fuzz run wire`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| mga_node_fuzz::wire::check(octets));
