//! The six packet rewrites of thesis 4.2.1 as rules, and who carries them out (design: one action vocabulary, two
//! executors). The rules are made by `protocol`, the packets come from `platform`'s intakes; what a packet's fate is
//! comes back as a value. Called by `daemon`.

pub mod affinity;
pub mod ebpf;
pub mod explain;
pub mod groups;
pub mod user;
