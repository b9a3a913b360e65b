//! Octets as a routing header (RFC 8200 section 4.4), the type 2 one of RFC 3775 section 6.4 among them.
//! What parses is emitted again octet for octet; a home address is told only for type 2; what does not parse names
//! an octet of the input. Called by the target `wire`.

use mga_node::wire::routing::{RoutingHeader, TYPE2, type2_header};

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    match RoutingHeader::parse(octets) {
        Ok((header, length)) => {
            assert_eq!(header.emit(), octets[..length]);
            if let Some(home_address) = header.home_address() {
                assert_eq!(header.kind, TYPE2);
                assert_eq!(octets[8..24], home_address.octets());
                let ours = type2_header(octets[0], &home_address);
                assert_eq!(
                    RoutingHeader::parse(&ours).map(|(ours, _)| ours.home_address()),
                    Ok(Some(home_address))
                );
            }
        }
        Err(error) => assert!(error.offset <= octets.len()),
    }
}
