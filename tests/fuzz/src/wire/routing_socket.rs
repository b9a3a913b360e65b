//! Octets as messages of FreeBSD's routing socket (route(4)), on any system. What parses is the same after emitting and
//! parsing again, and reading a whole buffer ends; what does not parse names an octet of the input.
//! Called by the target `wire`.

use mga_node::platform::freebsd::routing_socket::{Message, messages};

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    match Message::parse(octets) {
        Ok((message, length)) => {
            assert!(length <= octets.len());
            assert!(!format!("{message:?}").is_empty());
            assert_eq!(Message::parse(&message.emit()).map(|(again, _)| again), Ok(message));
        }
        Err(malformed) => assert!(malformed.offset <= octets.len()),
    }
    assert!(messages(octets).count() <= octets.len() / 4 + 1);
}
