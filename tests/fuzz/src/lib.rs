//! What the targets for the roles share: the thesis's Figure 11 with one role in it, and how octets become packets and
//! waiting times for it. Follows thesis section 4 and RFC 3775 sections 5.2 and 9 to 11.
//! Called by `fuzz_targets/{haa,ar,ai}.rs`; `examples/seeds.rs` writes the same form.

pub mod input;
pub mod peer;
pub mod stage;
