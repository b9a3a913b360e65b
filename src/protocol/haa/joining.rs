//! What a Binding Update to an address of the advanced model says of its sender (thesis 4.3.1; RFC 5648 section 5,
//! RFC 5096): who it is among the responders, what it offers and what it wants. Read by `registration`, used by
//! `membership`.

use std::net::{IpAddr, Ipv6Addr};

use super::Haa;
use crate::protocol::binding::members::Responder;
use crate::wire::chain::Packet;
use crate::wire::mobility::{
    BindingIdentifier, Experimental, Extensions, MobilityOption, Offer, Status, option_kind,
};

/// The sender of a Binding Update as a member.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    pub(super) responder: Responder,
    /// As it stood in the update; an acknowledgement repeats it.
    pub(super) identifier: Option<BindingIdentifier>,
    pub(super) offer: Option<Offer>,
    /// Why the update cannot be accepted, whatever else it says.
    pub(super) defect: Option<(Status, &'static str)>,
}

impl Haa {
    /// The care-of address that a Binding Update registers: the one that its last Alternate Care-of Address option names
    /// (RFC 3775 6.2.5), or in the advanced model its Binding Identifier option (RFC 5648 5.3), else its source.
    pub(super) fn care_of_registered(&self, packet: &Packet<'_>, options: &[MobilityOption]) -> Ipv6Addr {
        let is_advanced = self.services.contains_key(&packet.final_source());
        let named = options.iter().rev().find_map(|option| match option {
            MobilityOption::AlternateCareOfAddress(address) => Some(*address),
            MobilityOption::BindingIdentifier(BindingIdentifier {
                care_of: Some(IpAddr::V6(care_of)),
                ..
            }) if is_advanced => Some(*care_of),
            _ => None,
        });
        named.unwrap_or(packet.header.source)
    }
}

impl Joining {
    /// Reads `options` of an update for `care_of`.
    pub(super) fn of(options: &[MobilityOption], care_of: Ipv6Addr) -> Self {
        let (mut identifier, mut offer, mut name, mut defect) = (None, None, None, None);
        for option in options {
            match option {
                MobilityOption::BindingIdentifier(_) if identifier.is_some() => {
                    let reason = "several Binding Identifier options in one Binding Update";
                    defect = Some((Status::MCOA_BULK_PROHIBITED, reason));
                }
                MobilityOption::BindingIdentifier(found) => {
                    identifier = Some(*found);
                    if found.bid == 0 || matches!(found.care_of, Some(IpAddr::V4(_))) {
                        let reason = "a Binding Identifier of zero, or one with an IPv4 care-of address";
                        defect = Some((Status::MCOA_MALFORMED, reason));
                    } else if found.home_and_foreign {
                        let reason = "at home and away at once";
                        defect = Some((Status::MCOA_HOME_AND_FOREIGN_PROHIBITED, reason));
                    }
                }
                MobilityOption::Unknown { kind: option_kind::BINDING_IDENTIFIER, .. } => {
                    let reason = "a Binding Identifier option of a length that it cannot have";
                    defect = Some((Status::MCOA_MALFORMED, reason));
                }
                MobilityOption::Experimental(Experimental::Offer(found)) => offer = Some(found.clone()),
                MobilityOption::MobileNodeIdentifier(found) => name = Some(found.identifier.clone()),
                _ => {}
            }
        }
        // Without both, the sender knows nothing of the advanced model.
        let identifier = identifier.filter(|_| offer.is_some());
        let responder = match (identifier, name) {
            (Some(of), Some(identifier)) => Responder::Named { identifier, bid: of.bid },
            (Some(of), None) => Responder::Identified { care_of, bid: of.bid },
            (None, _) => Responder::Legacy { care_of },
        };
        Self { responder, offer: offer.filter(|_| identifier.is_some()), identifier, defect }
    }

    /// Of what the agent can do, what is on for this member: what it wants, or, for one that cannot say, all that needs
    /// nothing of it.
    pub(super) fn granted(&self, possible: Extensions) -> Extensions {
        match &self.offer {
            Some(offer) => offer.extensions & possible,
            None => possible.difference(Extensions::AGENTS),
        }
    }
}
