//! The form of a Binding Acknowledgement (RFC 3775 9.5.4): where it goes, with which routing header, padding and
//! authenticator. An error is acknowledged in the same form as a success, and never by way of the binding cache.
//! Used by `haa` and `ai`.

use std::net::Ipv6Addr;

use super::auth::seal::{SealKey, seal};
use super::limits::HOP_LIMIT;
use crate::wire::ipv6::{self, Ipv6Header, next_header};
use crate::wire::mobility::{
    AcknowledgementFlags, BindingAcknowledgement, Lifetime, Message, MobilityHeader, MobilityOption, Status,
    align,
};
use crate::wire::routing::type2_header;

/// Octets of a Binding Acknowledgement before its options.
const FIXED_PART: usize = 12;

/// The Binding Update that is answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// The address of ours that it was sent to.
    pub own: Ipv6Addr,
    /// Its IPv6 source: the acknowledgement goes there, never to an Alternate Care-of Address.
    pub source: Ipv6Addr,
    pub home_address: Ipv6Addr,
}

/// The whole packet that acknowledges an update. It carries a type 2 routing header with the home address unless
/// the update came from the home address itself, and an authenticator when there is a key.
pub fn packet(
    answered: Answered,
    status: Status,
    sequence: u16,
    lifetime: Lifetime,
    key: Option<SealKey<'_>>,
) -> Vec<u8> {
    let authorization = key.map(|_| MobilityOption::BindingAuthorizationData(vec![0; 12]));
    let options = align(FIXED_PART, authorization.as_slice());
    let flags = AcknowledgementFlags::empty();
    let message = Message::BindingAcknowledgement(BindingAcknowledgement {
        status,
        flags,
        sequence,
        lifetime,
        options,
    });
    let mut header = MobilityHeader::new(message);
    if let Some(key) = key {
        seal(&mut header, key);
    }
    // The checksum is over the final destination, which is the home address (6.1.1).
    let mobility = header.emit_for(&answered.own, &answered.home_address);
    if answered.source == answered.home_address {
        let outer = Ipv6Header::new(next_header::MOBILITY, HOP_LIMIT, answered.own, answered.source);
        return ipv6::packet(outer, &mobility);
    }
    let payload =
        [type2_header(next_header::MOBILITY, &answered.home_address).as_slice(), &mobility].concat();
    ipv6::packet(Ipv6Header::new(next_header::ROUTING, HOP_LIMIT, answered.own, answered.source), &payload)
}
