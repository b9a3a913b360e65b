//! The fields of a Mobility Header, its message and its options. RFC 3775 sections 6.1 and 6.2, RFC 4283, 4285 and
//! 5648, and our experiment in RFC 5096's option (docs/advanced-wire.md).
//! Called by the tree when a packet's chain ends in protocol 135.

use std::net::IpAddr;

use super::builder::{Builder, Upper};
use super::names::{mobility_name, protocol_name};
use super::{Role, Unit, Value};
use crate::wire::mobility::{
    BindingIdentifier, Experimental, Extensions, Message, MobilityHeader, MobilityOption, Status,
    checksum_is_valid, kind,
};

const UPDATE_FLAGS: &[(u64, char)] =
    &[(0x8000, 'A'), (0x4000, 'H'), (0x2000, 'L'), (0x1000, 'K'), (0x0400, 'R'), (0x0040, 'O')];
const ACKNOWLEDGEMENT_FLAGS: &[(u64, char)] = &[(0x80, 'K'), (0x40, 'R')];
const BINDING_IDENTIFIER_FLAGS: &[(u64, char)] = &[(0x80, 'H')];
const OFFER_FLAGS: &[(u64, char)] = &[(0x80, 'D')];
const EXTENSIONS: &[(u64, char)] =
    &[(0x8000, 'S'), (0x4000, 'A'), (0x2000, 'P'), (0x1000, 'T'), (0x0800, 'M')];

impl Builder {
    pub(super) fn mobility(&mut self, upper: &Upper<'_>) {
        let (bytes, base) = (upper.bytes, upper.base);
        let parsed = MobilityHeader::parse(bytes);
        if let &[proto, length, mh_type, reserved, high, low, ..] = bytes {
            self.with_unit("payload-proto", proto, base, protocol_name(proto));
            self.number("header-length", length, base + 1);
            let unit = mobility_name(mh_type).map_or(Unit::Plain, Unit::Named);
            self.with_unit("type", mh_type, base + 2, unit);
            self.plain("reserved", Value::Bits(reserved.into(), 2), base + 3);
            let right = checksum_is_valid(bytes, &upper.source, &upper.destination);
            self.checksum(u16::from_be_bytes([high, low]), right, upper.complete, base + 4);
        }
        match parsed {
            Ok(header) => {
                let length = header.length();
                self.message(header.message, base);
                if let Some(rest) = bytes.get(length..).filter(|rest| !rest.is_empty()) {
                    self.plain("trailing", Value::Octets(rest.to_vec()), base + length);
                }
            }
            Err(error) => self.malformed(error, base),
        }
    }

    fn message(&mut self, message: Message, base: usize) {
        let at = |offset| base + offset;
        let stamped = match message.kind() {
            kind::BINDING_ACKNOWLEDGEMENT => Role::EchoedTimestamp,
            _ => Role::NewTimestamp,
        };
        let cookie = |cookie: [u8; 8]| Value::Bits(u64::from_be_bytes(cookie), 16);
        let options = match message {
            Message::BindingRefreshRequest(request) => {
                self.plain("reserved-2", Value::Bits(request.reserved.into(), 4), at(6));
                (request.options, 8)
            }
            Message::HomeTestInit(ref init) | Message::CareOfTestInit(ref init) => {
                let name = match message {
                    Message::HomeTestInit(_) => "home-init-cookie",
                    _ => "care-of-init-cookie",
                };
                self.plain("reserved-2", Value::Bits(init.reserved.into(), 4), at(6));
                self.push(name, cookie(init.cookie), at(8), Role::NewCookie, Unit::Plain);
                (init.options.clone(), 16)
            }
            Message::HomeTest(ref test) | Message::CareOfTest(ref test) => {
                let [index, init, token] = match message {
                    Message::HomeTest(_) => ["home-nonce-index", "home-init-cookie", "home-keygen-token"],
                    _ => ["care-of-nonce-index", "care-of-init-cookie", "care-of-keygen-token"],
                };
                let nonce = Value::Number(test.nonce_index.into());
                self.push(index, nonce, at(6), Role::NewNonce, Unit::Plain);
                self.push(init, cookie(test.cookie), at(8), Role::EchoedCookie, Unit::Plain);
                self.push(token, cookie(test.token), at(16), Role::Token, Unit::Plain);
                (test.options.clone(), 24)
            }
            Message::BindingUpdate(update) => {
                let sequence = Value::Number(update.sequence.into());
                self.push("sequence", sequence, at(6), Role::UpdateSequence, Unit::Plain);
                self.plain("flags", Value::Flags(update.flags.bits().into(), 4, UPDATE_FLAGS), at(8));
                self.with_unit("lifetime", update.lifetime.0, at(10), Unit::FourSeconds);
                (update.options, 12)
            }
            Message::BindingAcknowledgement(answer) => {
                let phrase = Status(answer.status.0).phrase().map_or(Unit::Plain, Unit::Named);
                self.with_unit("status", answer.status.0, at(6), phrase);
                let flags = Value::Flags(answer.flags.bits().into(), 2, ACKNOWLEDGEMENT_FLAGS);
                self.plain("flags", flags, at(7));
                let sequence = Value::Number(answer.sequence.into());
                self.push("sequence", sequence, at(8), Role::AcknowledgedSequence, Unit::Plain);
                self.with_unit("lifetime", answer.lifetime.0, at(10), Unit::FourSeconds);
                (answer.options, 12)
            }
            Message::BindingError(error) => {
                let name = match error.status {
                    1 => Unit::Named("unknown binding for home address option"),
                    2 => Unit::Named("unrecognised MH Type"),
                    _ => Unit::Plain,
                };
                self.with_unit("status", error.status, at(6), name);
                self.plain("reserved-2", Value::Bits(error.reserved.into(), 2), at(7));
                self.address("home-address", error.home_address, at(8));
                (error.options, 24)
            }
            Message::Unknown { data, .. } => {
                return self.plain("message-data", Value::Octets(data), at(6));
            }
        };
        let (options, mut offset) = options;
        for option in options {
            let length = option.length();
            self.mobility_option(option, at(offset), stamped);
            offset += length;
        }
    }

    /// One option at `place`; `stamped` is what a timestamp in this message is.
    fn mobility_option(&mut self, option: MobilityOption, place: usize, stamped: Role) {
        match option {
            MobilityOption::Pad1 => self.plain("pad-1", Value::Octets(Vec::new()), place),
            MobilityOption::PadN(data) => self.plain("pad-n", Value::Octets(data), place),
            MobilityOption::BindingRefreshAdvice(interval) => {
                self.with_unit("refresh-interval", interval.0, place, Unit::FourSeconds);
            }
            MobilityOption::AlternateCareOfAddress(address) => {
                self.address("alternate-care-of-address", address, place);
            }
            MobilityOption::NonceIndices { home, care_of } => {
                self.within("nonce-indices", place, |this| {
                    let (home, care_of) = (Value::Number(home.into()), Value::Number(care_of.into()));
                    this.push("home", home, place + 2, Role::UsedHomeNonce, Unit::Plain);
                    this.push("care-of", care_of, place + 4, Role::UsedCareOfNonce, Unit::Plain);
                });
            }
            MobilityOption::BindingAuthorizationData(data) => {
                self.push("authenticator", Value::Octets(data), place, Role::Authenticator, Unit::Plain);
            }
            MobilityOption::MobileNodeIdentifier(node) => {
                self.within("mobile-node-identifier", place, |this| {
                    this.number("subtype", node.subtype, place + 2);
                    this.plain("identifier", Value::Octets(node.identifier), place + 3);
                });
            }
            MobilityOption::MessageAuthentication(proof) => {
                self.within("message-authentication", place, |this| {
                    this.number("subtype", proof.subtype, place + 2);
                    this.number("spi", proof.spi, place + 3);
                    let data = Value::Octets(proof.data);
                    this.push("authentication-data", data, place + 7, Role::SecurityData, Unit::Plain);
                });
            }
            MobilityOption::ReplayProtection(timestamp) => {
                self.push("timestamp", Value::Bits(timestamp.0, 16), place, stamped, Unit::Plain);
            }
            MobilityOption::BindingIdentifier(identifier) => self.binding_identifier(identifier, place),
            MobilityOption::Experimental(content) => self.experimental(content, place),
            MobilityOption::Unknown { kind, data } => self.unknown_option(kind, data, place),
        }
    }

    fn binding_identifier(&mut self, option: BindingIdentifier, place: usize) {
        self.within("binding-identifier", place, |this| {
            this.number("bid", option.bid, place + 2);
            // Not `status`, which is the message's.
            let phrase = option.status.phrase().filter(|_| option.status.0 != 0);
            this.with_unit("bid-status", option.status.0, place + 4, phrase.map_or(Unit::Plain, Unit::Named));
            let flag = if option.home_and_foreign { 0x80 } else { 0 };
            this.plain("bid-flags", Value::Flags(flag, 2, BINDING_IDENTIFIER_FLAGS), place + 5);
            this.plain("reserved", Value::Bits(option.reserved.into(), 2), place + 5);
            match option.care_of {
                Some(IpAddr::V6(address)) => this.address("care-of-address", address, place + 6),
                Some(IpAddr::V4(address)) => {
                    this.plain("care-of-address", Value::Octets(address.octets().to_vec()), place + 6);
                }
                None => {}
            }
        });
    }

    fn experimental(&mut self, content: Experimental, place: usize) {
        let more = |this: &mut Self, data: Vec<u8>, at| {
            if !data.is_empty() {
                this.plain("more", Value::Octets(data), at);
            }
        };
        match content {
            Experimental::Offer(offer) => self.within("offer", place, |this| {
                let flags = Value::Flags(offer.flags.bits().into(), 2, OFFER_FLAGS);
                this.plain("offer-flags", flags, place + 7);
                this.plain("extensions", extensions(offer.extensions), place + 8);
                this.number("metric", offer.metric, place + 10);
                this.number("capacity", offer.capacity, place + 14);
                this.number("weight", offer.weight, place + 18);
                more(this, offer.more, place + 20);
            }),
            Experimental::Grant(grant) => self.within("grant", place, |this| {
                this.plain("extensions", extensions(grant.extensions), place + 8);
                let mut at = place + 10;
                for agent in grant.agents {
                    this.address("agent", agent, at);
                    at += 16;
                }
                more(this, grant.more, at);
            }),
            Experimental::Other(data) => self.plain("experimental", Value::Octets(data), place),
        }
    }
}

fn extensions(extensions: Extensions) -> Value {
    Value::Flags(extensions.bits().into(), 4, EXTENSIONS)
}
