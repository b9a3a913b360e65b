//! The other side as far as a fuzzer cannot guess it: it remembers the cookies, tokens, nonce indices and sequence
//! numbers that a role sent, and completes packets with them (RFC 3775 5.2, 6.1.7, 6.2.6, 6.2.7); and it has the key of
//! a member (RFC 4285).
//! It knows whom return routability authorised, which is what `stage` holds an initiator to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use mga_node::protocol::auth::credentials::{Credentials, Key};
use mga_node::protocol::auth::seal::{SealKey, seal};
use mga_node::protocol::auth::time_of_day::TimeOfDay;
use mga_node::protocol::auth::tokens::binding_management_key;
use mga_node::wire::Packet;
use mga_node::wire::ipv6::{self, next_header};
use mga_node::wire::mobility::{Lifetime, Message, MobilityHeader, MobilityOption, Timestamp};

/// A keygen token and the index of its nonce.
type Token = (u16, [u8; 8]);

/// The member of docs/advanced-wire.md, by whom roles with keys know their peer.
pub fn credentials() -> Credentials {
    let key = Key::from_hex(b"000102030405060708090a0b0c0d0e0f").expect("a key");
    Credentials { identifier: "ar1@example.net".to_owned(), spi: 256, key }
}

/// Three seconds before the update there was sent.
pub fn clock() -> TimeOfDay {
    TimeOfDay::new(Timestamp(0xeeb6_923d_4000_0000))
}

/// What a role has sent to everybody.
#[derive(Default)]
pub struct Peer {
    home_cookies: BTreeMap<Ipv6Addr, [u8; 8]>,
    care_of_cookies: BTreeMap<Ipv6Addr, [u8; 8]>,
    sequences: BTreeMap<Ipv6Addr, u16>,
    home_tokens: BTreeMap<Ipv6Addr, Token>,
    care_of_tokens: BTreeMap<Ipv6Addr, Token>,
    stamps: BTreeMap<Ipv6Addr, Timestamp>,
    /// The tokens that completed tests carried, by the correspondent they were said to be from.
    given: BTreeMap<Ipv6Addr, [Option<[u8; 8]>; 2]>,
    /// Home and care-of addresses that a completed Binding Update had both tokens for.
    pub authorised: BTreeSet<(Ipv6Addr, Ipv6Addr)>,
}

impl Peer {
    /// Remembers what a packet with a Mobility Header, sent by the role, tells.
    pub fn learn(&mut self, packet: &Packet<'_>, header: &MobilityHeader) {
        let to = packet.final_destination();
        match &header.message {
            Message::HomeTestInit(init) => drop(self.home_cookies.insert(to, init.cookie)),
            Message::CareOfTestInit(init) => drop(self.care_of_cookies.insert(to, init.cookie)),
            Message::HomeTest(test) => drop(self.home_tokens.insert(to, (test.nonce_index, test.token))),
            Message::CareOfTest(test) => drop(self.care_of_tokens.insert(to, (test.nonce_index, test.token))),
            Message::BindingUpdate(update) => {
                self.sequences.insert(to, update.sequence);
                for option in &update.options {
                    if let MobilityOption::ReplayProtection(timestamp) = option {
                        self.stamps.insert(to, *timestamp);
                    }
                }
            }
            _ => {}
        }
    }

    /// `octets` with what only a taking-part peer knows filled in, where there is a place for it, also in a tunnel.
    pub fn complete(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut octets = octets.to_vec();
        self.complete_in_place(&mut octets);
        sum(&mut octets);
        octets
    }

    fn complete_in_place(&mut self, octets: &mut [u8]) {
        let Ok(packet) = Packet::parse(octets) else { return };
        let (offset, payload) = (packet.upper.offset, packet.payload());
        match packet.upper.protocol {
            // A Home Test reaches a responder through its agent (RFC 3775 10.4.2).
            next_header::IPV6 => {
                let end = offset + payload.len();
                self.complete_in_place(&mut octets[offset..end]);
            }
            next_header::MOBILITY => {
                let Ok(mut header) = MobilityHeader::parse(payload) else { return };
                let length = header.length();
                self.fill_in(&packet, &mut header);
                self.prove(&packet, &mut header);
                let completed = header.emit();
                if completed.len() == length {
                    octets[offset..offset + length].copy_from_slice(&completed);
                }
            }
            _ => {}
        }
    }

    /// RFC 4285: the proof of a message that has a place for one, and an acknowledgement's repeated timestamp.
    fn prove(&self, packet: &Packet<'_>, header: &mut MobilityHeader) {
        let (from, to) = (packet.final_source(), packet.final_destination());
        match &mut header.message {
            Message::BindingUpdate(update) => {
                let alternate = update.options.iter().rev().find_map(|option| match option {
                    MobilityOption::AlternateCareOfAddress(address) => Some(*address),
                    _ => None,
                });
                credentials().prove(header, &alternate.unwrap_or(packet.header.source), &from);
            }
            Message::BindingAcknowledgement(answer) => {
                for option in &mut answer.options {
                    if let MobilityOption::ReplayProtection(timestamp) = option {
                        *timestamp = self.stamps.get(&from).copied().unwrap_or(*timestamp);
                    }
                }
                credentials().prove(header, &packet.header.destination, &to);
            }
            _ => {}
        }
    }

    fn fill_in(&mut self, packet: &Packet<'_>, header: &mut MobilityHeader) {
        let (from, to) = (packet.final_source(), packet.final_destination());
        let (key, care_of, correspondent) = match &mut header.message {
            Message::HomeTest(test) => {
                test.cookie = self.home_cookies.get(&from).copied().unwrap_or(test.cookie);
                self.given.entry(from).or_default()[0] = Some(test.token);
                return;
            }
            Message::CareOfTest(test) => {
                test.cookie = self.care_of_cookies.get(&from).copied().unwrap_or(test.cookie);
                self.given.entry(from).or_default()[1] = Some(test.token);
                return;
            }
            Message::BindingAcknowledgement(message) => {
                message.sequence = self.sequences.get(&from).copied().unwrap_or(message.sequence);
                let Some([Some(home), care_of]) = self.given.get(&from) else { return };
                (binding_management_key(home, care_of.as_ref()), packet.header.destination, from)
            }
            Message::BindingUpdate(update) => {
                let mut care_of = packet.header.source;
                for option in &update.options {
                    if let MobilityOption::AlternateCareOfAddress(alternate) = option {
                        care_of = *alternate;
                    }
                }
                let Some((home_index, home)) = self.home_tokens.get(&from).copied() else { return };
                let tested = self.care_of_tokens.get(&care_of).copied();
                let leaves = update.lifetime == Lifetime::ZERO || care_of == from;
                let tested = tested.filter(|_| !leaves);
                for option in &mut update.options {
                    if let MobilityOption::NonceIndices { home, care_of } = option {
                        *home = home_index;
                        *care_of = tested.map_or(*care_of, |(index, _)| index);
                    }
                }
                if tested.is_some() {
                    self.authorised.insert((from, care_of));
                }
                (binding_management_key(&home, tested.map(|(_, token)| token).as_ref()), care_of, to)
            }
            _ => return,
        };
        seal(header, SealKey { binding_management_key: &key, care_of, correspondent });
    }
}

/// Makes the checksums of a Mobility Header or an ICMPv6 message right, also inside a tunnel.
pub fn sum(octets: &mut [u8]) {
    let Ok(packet) = Packet::parse(octets) else { return };
    let (protocol, offset, payload) = (packet.upper.protocol, packet.upper.offset, packet.payload());
    let (length, field) = match (protocol, payload) {
        (next_header::IPV6, _) => {
            let end = offset + payload.len();
            return sum(&mut octets[offset..end]);
        }
        (next_header::MOBILITY, [_, units, ..]) => (((usize::from(*units) + 1) * 8).min(payload.len()), 4),
        (next_header::ICMPV6, _) => (payload.len(), 2),
        _ => return,
    };
    let (source, destination) = (packet.final_source(), packet.final_destination());
    let summed = &mut octets[offset..offset + length];
    if let Some(place) = summed.get_mut(field..field + 2) {
        place.fill(0);
        let checksum = ipv6::checksum(&source, &destination, protocol, summed);
        summed[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}
