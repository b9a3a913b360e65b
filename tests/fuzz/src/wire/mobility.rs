//! Octets as a Mobility Header (RFC 3775 section 6.1) with its options (6.2).
//! What parses is emitted again octet for octet and can be told; what does not names an octet of the input; the
//! authenticator's input (6.2.7, and RFC 4285 5.1) is found exactly where the last option is one. Called by the target `wire`.

use std::net::Ipv6Addr;

use mga_node::wire::mobility::{
    Message, MessageAuthentication, MobilityHeader, MobilityOption, align, authorization_input,
    checksum_is_valid, message_authentication_input,
};

const HERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
const THERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, 2);

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    let input = authorization_input(octets);
    match MobilityHeader::parse(octets) {
        Ok(header) => {
            let emitted = header.emit();
            assert_eq!(emitted, octets[..header.length()]);
            assert!(emitted.len().is_multiple_of(8));
            let sealed = header.emit_for(&THERE, &HERE);
            assert!(checksum_is_valid(&sealed, &THERE, &HERE));
            assert!(!header.to_string().is_empty());
            let may_be_signed =
                matches!(header.message, Message::BindingUpdate(_) | Message::BindingAcknowledgement(_));
            let options = header.message.options();
            let signed = matches!(options.last(), Some(MobilityOption::BindingAuthorizationData(_)));
            assert_eq!(input.is_some(), may_be_signed && signed);
            assert!(input.is_none_or(|input| input.len() <= emitted.len()));
            let proof = options.iter().rfind(|option| !option.is_padding());
            let proven = matches!(proof, Some(MobilityOption::MessageAuthentication(proof))
                if proof.subtype == MessageAuthentication::MN_HA);
            let input = message_authentication_input(octets);
            assert_eq!(input.is_some(), may_be_signed && proven);
            assert!(input.is_none_or(|input| input.len() <= emitted.len()));
            let aligned = align(12, header.message.options());
            assert_eq!(align(12, &aligned), aligned);
        }
        Err(error) => assert!(error.offset <= octets.len()),
    }
    let _ = checksum_is_valid(octets, &THERE, &HERE);
}
