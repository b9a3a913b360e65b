//! Packets that answer secrets or numbers of the recorded node, made to answer ours (RFC 3775 sections 5.2.5, 5.2.6).
//! A Binding Update is sealed with the tokens that our initiator issued where the recorded one issued its own: the
//! tests that answered the same cookie. Nothing else about a packet is changed; [`crate::replayer`] calls it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use mga_node::protocol::auth::seal::{SealKey, is_sealed_by, seal};
use mga_node::protocol::auth::tokens::binding_management_key;
use mga_node::wire::Packet;
use mga_node::wire::ipv6::next_header;
use mga_node::wire::mobility::{Message, MobilityHeader, MobilityOption, Test};

/// Sees what both nodes send, and makes what comes in fit ours.
pub trait Adapt {
    /// The recorded node sent this.
    fn recorded_sent(&mut self, packet: &[u8]);
    /// Ours sent this.
    fn ours_sent(&mut self, packet: &[u8]);
    /// This comes in.
    fn received(&mut self, packet: Vec<u8>) -> Vec<u8>;
}

/// Nothing needs to fit: an agent has no secrets, and gives back the numbers that it is given.
pub struct AsRecorded;

impl Adapt for AsRecorded {
    fn recorded_sent(&mut self, _: &[u8]) {}
    fn ours_sent(&mut self, _: &[u8]) {}
    fn received(&mut self, packet: Vec<u8>) -> Vec<u8> {
        packet
    }
}

/// A home or a care-of test.
type IsHome = bool;

/// The tokens that the recorded initiator and ours issued for the same cookies.
#[derive(Default)]
pub struct Tokens {
    /// By kind, receiver and nonce index.
    recorded: BTreeMap<(IsHome, Ipv6Addr, u16), Test>,
    /// By kind and cookie.
    ours: BTreeMap<(IsHome, [u8; 8]), Test>,
}

fn test_of(packet: &[u8]) -> Option<(IsHome, Ipv6Addr, Test)> {
    let packet = Packet::parse(packet).ok()?;
    match mobility_of(&packet)?.message {
        Message::HomeTest(test) => Some((true, packet.final_destination(), test)),
        Message::CareOfTest(test) => Some((false, packet.final_destination(), test)),
        _ => None,
    }
}

fn mobility_of(packet: &Packet<'_>) -> Option<MobilityHeader> {
    (packet.upper.protocol == next_header::MOBILITY)
        .then(|| MobilityHeader::parse(packet.payload()).ok())
        .flatten()
}

impl Tokens {
    /// What the recorded initiator issued under this index, and ours instead of it.
    fn both(&self, is_home: IsHome, address: Ipv6Addr, index: u16) -> Option<(&Test, &Test)> {
        let recorded = self.recorded.get(&(is_home, address, index))?;
        Some((recorded, self.ours.get(&(is_home, recorded.cookie))?))
    }

    fn sealed_anew(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let packet = Packet::parse(bytes).ok()?;
        let mut header = mobility_of(&packet)?;
        let (home_address, correspondent) = (packet.final_source(), packet.header.destination);
        let original = header.clone();
        let Message::BindingUpdate(update) = &mut header.message else { return None };
        let alternate = update.options.iter().find_map(|option| match option {
            MobilityOption::AlternateCareOfAddress(address) => Some(*address),
            _ => None,
        });
        let care_of = alternate.unwrap_or(packet.header.source);
        let indices = update.options.iter_mut().find_map(|option| match option {
            MobilityOption::NonceIndices { home, care_of } => Some((home, care_of)),
            _ => None,
        });
        let (home_index, care_of_index) = indices?;
        let (recorded_home, home) = self.both(true, home_address, *home_index)?;
        let care_of_test = self.both(false, care_of, *care_of_index);
        // A deletion is sealed by the home token alone (RFC 3775 9.5.3), but UMIP's mobile node takes both. What
        // was sealed in neither way must stay wrong.
        let sealed_by = [None, care_of_test].into_iter().find(|care_of_test| {
            let key = binding_management_key(
                &recorded_home.token,
                care_of_test.map(|(recorded, _)| &recorded.token),
            );
            let key = SealKey { binding_management_key: &key, care_of, correspondent };
            is_sealed_by(&original, packet.payload(), key)
        })?;
        *home_index = home.nonce_index;
        if let Some((_, ours)) = care_of_test {
            *care_of_index = ours.nonce_index;
        }
        let key = binding_management_key(&home.token, sealed_by.map(|(_, ours)| &ours.token));
        seal(&mut header, SealKey { binding_management_key: &key, care_of, correspondent });
        let mut adapted = bytes.get(..packet.upper.offset)?.to_vec();
        adapted.extend(header.emit_for(&home_address, &packet.final_destination()));
        Some(adapted)
    }
}

impl Adapt for Tokens {
    fn recorded_sent(&mut self, packet: &[u8]) {
        if let Some((is_home, to, test)) = test_of(packet) {
            self.recorded.insert((is_home, to, test.nonce_index), test);
        }
    }

    fn ours_sent(&mut self, packet: &[u8]) {
        if let Some((is_home, _, test)) = test_of(packet) {
            self.ours.insert((is_home, test.cookie), test);
        }
    }

    fn received(&mut self, packet: Vec<u8>) -> Vec<u8> {
        self.sealed_anew(&packet).unwrap_or(packet)
    }
}
