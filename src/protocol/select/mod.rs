//! Which responder serves a packet to an anycast address with several of them (thesis 3.1.4, 4.3.1; the advanced
//! model). A role turns what it knows of its members into a [`Group`], which the data path then carries out for every
//! packet without asking. Made by `haa`, carried out by `forwarding`.

mod group;
mod rendezvous;
mod selector;

pub use group::{Affinity, Group, GroupMember, SLOTS, Takes, mix, slot_of};
pub use rendezvous::{Contender, slots};
pub use selector::{Candidate, Criterion, Judgement, Selector};
