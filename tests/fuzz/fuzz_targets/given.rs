//! Octets as anything that people and programs give a node, through its readers.
//! What must hold is said in `src/given`. Run by `cargo fuzz run given`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| mga_node_fuzz::given::check(octets));
