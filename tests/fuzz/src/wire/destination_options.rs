//! Octets as a destination options header (RFC 8200 section 4.6) with the home address option (RFC 3775 6.3).
//! What parses is emitted again octet for octet and can be told; what does not names an octet of the input.
//! Called by the target `wire`.

use mga_node::wire::destination_options::DestinationOptions;

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    match DestinationOptions::parse(octets) {
        Ok((header, length)) => {
            assert_eq!(header.emit(), octets[..length]);
            for option in &header.options {
                assert!(!option.to_string().is_empty());
            }
        }
        Err(error) => assert!(error.offset <= octets.len()),
    }
}
