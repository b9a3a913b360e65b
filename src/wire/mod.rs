//! Bytes to values and back: everything RFC 3775 section 6 puts on the wire, and the IPv6, ICMPv6 and
//! RFC 2473 formats around it. Total (any bytes parse or give an [`Error`] with an offset) and lossless
//! (`emit(parse(b)) == b`, unknown types and options kept). Called by every other room, calls none.

pub mod buffer;

pub use buffer::PacketBuffer;
