//! The form of a Binding Acknowledgement (RFC 3775 9.5.4): where it goes, with which routing header, padding and
//! authenticator. An error is acknowledged in the same form as a success, and never by way of the binding cache.
//! Used by `haa` and `ai`.

use std::net::Ipv6Addr;

use super::auth::credentials::Credentials;
use super::auth::members::Proof;
use super::auth::seal::{SealKey, seal};
use super::limits::HOP_LIMIT;
use crate::wire::chain::Packet;
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
    /// Who sent it, where members have keys (RFC 4285).
    pub proof: Option<Proof>,
}

impl Answered {
    /// The update in `packet`, whose sender is not known by a key.
    pub fn of(packet: &Packet<'_>) -> Self {
        let (own, source) = (packet.header.destination, packet.header.source);
        Self { own, source, home_address: packet.final_source(), proof: None }
    }
}

/// What an acknowledgement is authenticated with.
#[derive(Clone, Copy)]
pub enum Seal<'a> {
    Nothing,
    /// The binding management key (RFC 3775 6.2.7).
    ReturnRoutability(SealKey<'a>),
    /// The key of the member that sent the update (RFC 4285 5.1).
    Member {
        credentials: &'a Credentials,
        proof: Proof,
    },
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
    let seal = key.map_or(Seal::Nothing, Seal::ReturnRoutability);
    packet_with(answered, status, sequence, lifetime, Vec::new(), seal)
}

/// Like [`packet`] with mobility options before the authenticator, such as Binding Refresh Advice, and any seal.
pub fn packet_with(
    answered: Answered,
    status: Status,
    sequence: u16,
    lifetime: Lifetime,
    mut options: Vec<MobilityOption>,
    authentication: Seal<'_>,
) -> Vec<u8> {
    match authentication {
        Seal::Nothing => {}
        Seal::ReturnRoutability(_) => options.push(MobilityOption::BindingAuthorizationData(vec![0; 12])),
        Seal::Member { credentials, proof } => options.extend(credentials.options(proof.timestamp)),
    }
    let options = align(FIXED_PART, &options);
    let flags = AcknowledgementFlags::empty();
    let message = Message::BindingAcknowledgement(BindingAcknowledgement {
        status,
        flags,
        sequence,
        lifetime,
        options,
    });
    let mut header = MobilityHeader::new(message);
    match authentication {
        Seal::Nothing => {}
        Seal::ReturnRoutability(key) => seal(&mut header, key),
        Seal::Member { credentials, proof } => {
            credentials.prove(&mut header, &proof.care_of, &answered.home_address);
        }
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
