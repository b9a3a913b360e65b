//! Octets as messages of FreeBSD's routing socket (route(4)), on any system. What parses is the same after emitting and
//! parsing again, and reading a whole buffer ends; what does not parse names an octet of the input.
//! Run by `cargo fuzz run routing_socket`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mga_node::platform::freebsd::routing_socket::{Message, messages};

fuzz_target!(|octets: &[u8]| {
    match Message::parse(octets) {
        Ok((message, length)) => {
            assert!(length <= octets.len());
            assert!(!format!("{message:?}").is_empty());
            assert_eq!(Message::parse(&message.emit()).map(|(again, _)| again), Ok(message));
        }
        Err(malformed) => assert!(malformed.offset <= octets.len()),
    }
    assert!(messages(octets).count() <= octets.len() / 4 + 1);
});
