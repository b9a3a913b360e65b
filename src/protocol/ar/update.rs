//! The form of a responder's Binding Updates (RFC 3775 6.1.7, 11.7.1). Pure functions, called for agents and for
//! initiators.

use std::net::Ipv6Addr;

use crate::protocol::limits::HOP_LIMIT;
use crate::wire::destination_options::home_address_header;
use crate::wire::ipv6::{self, Ipv6Header, next_header};
use crate::wire::mobility::{
    BindingIdentifier, BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption, Offer, UpdateFlags,
    align,
};

/// The Binding Identifier of every responder (RFC 5648): each has one care-of address at a time, and agents tell the
/// responders apart by care-of address and identifier, so a restarted one takes its own place again.
const BID: u16 = 1;

/// The Binding Update of a home registration, as KAME and UMIP lay it out: flags A and H, Alternate Care-of Address
/// (RFC 3775 11.7.1). What is offered to an agent of the advanced model goes behind that, where others skip it, and
/// then who says so (docs/advanced-wire.md).
pub(super) fn home_update(
    care_of: &Ipv6Addr,
    sequence: u16,
    lifetime: Lifetime,
    offer: Option<Offer>,
    identity: impl Iterator<Item = MobilityOption>,
) -> MobilityHeader {
    let mut options = vec![MobilityOption::AlternateCareOfAddress(*care_of)];
    if let Some(offer) = offer {
        options.push(MobilityOption::BindingIdentifier(BindingIdentifier::of(BID)));
        options.push(MobilityOption::Experimental(offer.into()));
    }
    options.extend(identity);
    MobilityHeader::new(Message::BindingUpdate(BindingUpdate {
        sequence,
        flags: UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION,
        lifetime,
        options: align(12, &options),
    }))
}

/// `care_of` -> `destination` with the home address option and this Binding Update; the checksum is over the home
/// address (RFC 3775 6.1.1).
pub(super) fn update_packet(
    care_of: &Ipv6Addr,
    destination: &Ipv6Addr,
    home_address: &Ipv6Addr,
    header: &MobilityHeader,
) -> Vec<u8> {
    if care_of == home_address {
        // At home (RFC 3775 11.5.4): the source is the home address already.
        let outer = Ipv6Header::new(next_header::MOBILITY, HOP_LIMIT, *care_of, *destination);
        return ipv6::packet(outer, &header.emit_for(home_address, destination));
    }
    let mut payload = home_address_header(next_header::MOBILITY, home_address).to_vec();
    payload.extend_from_slice(&header.emit_for(home_address, destination));
    let outer = Ipv6Header::new(next_header::DESTINATION_OPTIONS, HOP_LIMIT, *care_of, *destination);
    ipv6::packet(outer, &payload)
}
