//! Octets as an ICMPv6 message: errors (RFC 4443), neighbour discovery (RFC 4861) and the four messages of
//! RFC 3775 section 6.5 to 6.8. What parses is emitted again octet for octet and can be told; what does not names an
//! octet of the input. Called by the target `wire`.

use std::net::Ipv6Addr;

use mga_node::wire::Packet;
use mga_node::wire::icmpv6::Icmpv6;
use mga_node::wire::ipv6::{checksum, next_header};

const HERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
const THERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2);

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    match Icmpv6::parse(octets) {
        Ok(icmpv6) => {
            assert_eq!(icmpv6.emit(), octets);
            let summed = icmpv6.emit_for(&THERE, &HERE);
            assert_eq!(checksum(&THERE, &HERE, next_header::ICMPV6, &summed), 0);
            assert_eq!((icmpv6.message.kind(), icmpv6.message.code()), (octets[0], octets[1]));
            assert!(!icmpv6.message.to_string().is_empty());
            if let Some(invoking) = icmpv6.message.invoking() {
                let _ = Packet::parse_quoted(invoking);
            }
        }
        Err(error) => assert!(error.offset <= octets.len()),
    }
}
