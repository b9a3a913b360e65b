//! ICMPv6: errors, echo, neighbour discovery, and the four messages of Mobile IPv6.
//! RFC 4443, RFC 4861, RFC 3775 sections 6.5 to 6.8 and 7.
//! Used by `protocol` for discovery and errors, and by the tunnel, captures and dissection.

mod display;
mod errors;
mod message;
mod neighbor;

pub use errors::{ErrorReason, error_packet};
pub use message::{Icmpv6, Icmpv6Message, kind, neighbor_flags, router_flags};
pub use neighbor::{NeighborOption, option_kind, prefix_flags};
