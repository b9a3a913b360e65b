//! Bytes to values and back: everything RFC 3775 section 6 puts on the wire, and the IPv6, ICMPv6 and
//! RFC 2473 formats around it. Total (any bytes parse or give an [`Error`] with an offset) and lossless
//! (`emit(parse(b)) == b`, unknown types and options kept). Called by every other room, calls none.

pub mod buffer;
pub mod chain;
pub mod destination_options;
pub mod dissect;
pub mod icmpv6;
pub mod ipv6;
pub mod mobility;
mod reader;
pub mod rewrite;
pub mod routing;
mod tlv;
pub mod tunnel;

pub use buffer::PacketBuffer;
pub use chain::Packet;
pub use ipv6::Ipv6Header;

/// Why octets are not what they were taken for, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at octet {offset}")]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The offending octet, counted from the start of the slice that was parsed; it serves as the Pointer
    /// of an ICMPv6 Parameter Problem.
    pub offset: usize,
}

impl Error {
    pub(crate) const fn new(kind: ErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }
}

/// The ways in which octets can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The octets end before the field or header does; the offset is where they end.
    #[error("truncated")]
    Truncated,
    /// The IP version is not 6 (RFC 8200 section 3).
    #[error("version is not 6")]
    BadVersion,
    /// A header's length field is smaller than its type allows (RFC 3775 section 9.2); the offset is that
    /// of the length field.
    #[error("bad header length")]
    BadLength,
    /// An option's length field contradicts its type or overruns its header; the offset is that of the
    /// length field.
    #[error("bad option length")]
    BadOptionLength,
    /// The message's size is not one that its type can have.
    #[error("message size does not fit its type")]
    LengthMismatch,
    /// A size would leave the 16 bits of the payload length field (RFC 8200 section 3).
    #[error("packet too long")]
    TooLong,
    /// There is no home address option to work on (RFC 3775 section 6.3).
    #[error("no home address option")]
    NoHomeAddress,
    /// There is no type 2 routing header with one segment left to work on (RFC 3775 section 6.4).
    #[error("no type 2 routing header")]
    NoRouting2,
    /// A routing header with segments left is in the way of a new one.
    #[error("routing header already present")]
    RoutingPresent,
    /// The hop limit would reach zero (RFC 8200 section 4.4).
    #[error("hop limit exceeded")]
    HopLimitExceeded,
    /// The payload is not an IPv6 packet in an IPv6 tunnel (RFC 2473 section 3).
    #[error("not an IPv6 tunnel packet")]
    NotATunnelPacket,
}

/// What parsing gives.
pub type Result<T> = std::result::Result<T, Error>;
