//! What a node remembers of bindings (thesis 4.2.2 and Figure 7; RFC 3775 9.1, 11.1): the binding cache of agents
//! and initiators, and the sequence numbers both ends compare. The responder's update list lives with its state
//! machines in `ar`. Used by the roles.

pub mod cache;
pub mod members;
pub mod sequence;
