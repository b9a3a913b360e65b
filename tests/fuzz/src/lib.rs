//! What is fuzzed, and for the roles what they are fuzzed in: the thesis's Figure 11 with one role in it, and how octets
//! become packets and waiting times for it. Follows thesis section 4 and RFC 3775 sections 5.2, 6 and 9 to 11.
//! Called by `fuzz_targets`; `examples/seeds.rs` writes the same form.

pub mod cast;
pub mod given;
pub mod input;
pub mod peer;
pub mod stage;
pub mod wire;
