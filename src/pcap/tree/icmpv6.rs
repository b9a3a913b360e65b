//! The fields of ICMPv6 messages and of the options of neighbour discovery. RFC 4443, RFC 4861 section 4, RFC 3775 6.5 to
//! 6.8 and 7.2 to 7.4; a quoted packet is a tree inside.
//! Called by the builder when a packet's chain ends in protocol 58.

use super::builder::{Builder, Upper};
use super::names::icmpv6_name;
use super::{Role, Unit, Value};
use crate::wire::icmpv6::{Icmpv6, Icmpv6Message, NeighborOption};
use crate::wire::ipv6::{checksum, next_header};

const ROUTER_FLAGS: &[(u64, char)] = &[(0x80, 'M'), (0x40, 'O'), (0x20, 'H')];
const NEIGHBOR_FLAGS: &[(u64, char)] = &[(0x8000_0000, 'R'), (0x4000_0000, 'S'), (0x2000_0000, 'O')];
const PREFIX_FLAGS: &[(u64, char)] = &[(0x80, 'L'), (0x40, 'A'), (0x20, 'R')];
const MOBILE_PREFIX_FLAGS: &[(u64, char)] = &[(0x8000, 'M'), (0x4000, 'O')];

impl Builder {
    pub(super) fn icmpv6(&mut self, upper: &Upper<'_>) {
        let (bytes, base) = (upper.bytes, upper.base);
        if let &[icmpv6_type, code, high, low, ..] = bytes {
            let unit = icmpv6_name(icmpv6_type).map_or(Unit::Plain, Unit::Named);
            self.with_unit("type", icmpv6_type, base, unit);
            self.number("code", code, base + 1);
            let sum = checksum(&upper.source, &upper.destination, next_header::ICMPV6, bytes);
            self.checksum(u16::from_be_bytes([high, low]), sum == 0, upper.complete, base + 2);
        }
        let message = match Icmpv6::parse(bytes) {
            Ok(icmpv6) => icmpv6.message,
            Err(error) => return self.malformed(error, base),
        };
        let about = match &message {
            Icmpv6Message::NeighborSolicitation { target, .. }
            | Icmpv6Message::NeighborAdvertisement { target, .. } => Some(*target),
            _ => None,
        };
        if !self.quoted {
            self.summary.neighbor = about;
        }
        self.icmpv6_fields(message, base);
    }

    pub(super) fn icmpv6_fields(&mut self, message: Icmpv6Message, base: usize) {
        let at = |offset| base + offset;
        let identifier = |this: &mut Self, identifier: u16, role| {
            this.push("identifier", Value::Number(identifier.into()), base + 4, role, Unit::Plain);
        };
        let (options, mut offset) = match message {
            Icmpv6Message::DestinationUnreachable { unused, invoking, .. }
            | Icmpv6Message::TimeExceeded { unused, invoking, .. } => {
                self.plain("unused", Value::Bits(unused.into(), 8), at(4));
                return self.quotation(&invoking, at(8));
            }
            Icmpv6Message::PacketTooBig { mtu, invoking, .. } => {
                self.number("mtu", mtu, at(4));
                return self.quotation(&invoking, at(8));
            }
            Icmpv6Message::ParameterProblem { pointer, invoking, .. } => {
                self.number("pointer", pointer, at(4));
                return self.quotation(&invoking, at(8));
            }
            Icmpv6Message::EchoRequest { identifier: id, sequence, data, .. } => {
                identifier(self, id, Role::NewIdentifier);
                self.number("sequence", sequence, at(6));
                return self.payload(&data, at(8));
            }
            Icmpv6Message::EchoReply { identifier: id, sequence, data, .. } => {
                identifier(self, id, Role::EchoedIdentifier);
                self.number("sequence", sequence, at(6));
                return self.payload(&data, at(8));
            }
            Icmpv6Message::RouterSolicitation { reserved, options, .. } => {
                self.plain("reserved", Value::Bits(reserved.into(), 8), at(4));
                (options, 8)
            }
            Icmpv6Message::RouterAdvertisement {
                hop_limit,
                flags,
                lifetime,
                reachable_time,
                retransmission_timer,
                options,
                ..
            } => {
                self.number("current-hop-limit", hop_limit, at(4));
                self.plain("flags", Value::Flags(flags.into(), 2, ROUTER_FLAGS), at(5));
                self.with_unit("router-lifetime", lifetime, at(6), Unit::Seconds);
                self.with_unit("reachable-time", reachable_time, at(8), Unit::Milliseconds);
                self.with_unit("retransmission-timer", retransmission_timer, at(12), Unit::Milliseconds);
                (options, 16)
            }
            Icmpv6Message::NeighborSolicitation { reserved, target, options, .. } => {
                self.plain("reserved", Value::Bits(reserved.into(), 8), at(4));
                self.address("target", target, at(8));
                (options, 24)
            }
            Icmpv6Message::NeighborAdvertisement { flags, target, options, .. } => {
                self.plain("flags", Value::Flags(flags.into(), 8, NEIGHBOR_FLAGS), at(4));
                self.address("target", target, at(8));
                (options, 24)
            }
            Icmpv6Message::Redirect { reserved, target, destination, options, .. } => {
                self.plain("reserved", Value::Bits(reserved.into(), 8), at(4));
                self.address("target", target, at(8));
                self.address("redirected-destination", destination, at(24));
                (options, 40)
            }
            Icmpv6Message::HomeAgentDiscoveryRequest { identifier: id, reserved, .. } => {
                identifier(self, id, Role::NewIdentifier);
                self.plain("reserved", Value::Bits(reserved.into(), 4), at(6));
                (Vec::new(), 8)
            }
            Icmpv6Message::HomeAgentDiscoveryReply { identifier: id, reserved, home_agents, .. } => {
                identifier(self, id, Role::EchoedIdentifier);
                self.plain("reserved", Value::Bits(reserved.into(), 4), at(6));
                for (index, agent) in home_agents.into_iter().enumerate() {
                    self.address("home-agent", agent, at(8 + index * 16));
                }
                (Vec::new(), 8)
            }
            Icmpv6Message::MobilePrefixSolicitation { identifier: id, reserved, options, .. } => {
                identifier(self, id, Role::NewIdentifier);
                self.plain("reserved", Value::Bits(reserved.into(), 4), at(6));
                (options, 8)
            }
            Icmpv6Message::MobilePrefixAdvertisement { identifier: id, flags, options, .. } => {
                identifier(self, id, Role::EchoedIdentifier);
                self.plain("flags", Value::Flags(flags.into(), 4, MOBILE_PREFIX_FLAGS), at(6));
                (options, 8)
            }
            Icmpv6Message::Unknown { body, .. } => {
                return self.plain("body", Value::Octets(body), at(4));
            }
        };
        for option in options {
            offset += self.neighbor_option(option, at(offset));
        }
    }

    /// One option of neighbour discovery; the result is its length in octets.
    pub(super) fn neighbor_option(&mut self, option: NeighborOption, at: usize) -> usize {
        match option {
            NeighborOption::SourceLinkLayerAddress(address) => {
                let length = address.len() + 2;
                let value = Value::Octets(address);
                self.push("source-link-layer-address", value, at, Role::LinkAddress, Unit::Plain);
                length
            }
            NeighborOption::TargetLinkLayerAddress(address) => {
                let length = address.len() + 2;
                let value = Value::Octets(address);
                self.push("target-link-layer-address", value, at, Role::LinkAddress, Unit::Plain);
                length
            }
            NeighborOption::PrefixInformation {
                prefix_length,
                flags,
                valid_lifetime,
                preferred_lifetime,
                reserved,
                prefix,
            } => {
                self.within("prefix-information", at, |this| {
                    this.number("prefix-length", prefix_length, at + 2);
                    this.plain("flags", Value::Flags(flags.into(), 2, PREFIX_FLAGS), at + 3);
                    this.with_unit("valid-lifetime", valid_lifetime, at + 4, Unit::Seconds);
                    this.with_unit("preferred-lifetime", preferred_lifetime, at + 8, Unit::Seconds);
                    this.plain("reserved", Value::Bits(reserved.into(), 8), at + 12);
                    this.address("prefix", prefix, at + 16);
                });
                32
            }
            NeighborOption::RedirectedHeader { packet, .. } => {
                let length = packet.len() + 8;
                self.within("redirected-header", at, |this| this.quotation(&packet, at + 8));
                length
            }
            NeighborOption::Mtu { reserved, mtu } => {
                self.within("mtu-option", at, |this| {
                    this.plain("reserved", Value::Bits(reserved.into(), 4), at + 2);
                    this.number("mtu", mtu, at + 4);
                });
                8
            }
            NeighborOption::AdvertisementInterval { reserved, milliseconds } => {
                self.within("advertisement-interval", at, |this| {
                    this.plain("reserved", Value::Bits(reserved.into(), 4), at + 2);
                    this.with_unit("interval", milliseconds, at + 4, Unit::Milliseconds);
                });
                8
            }
            NeighborOption::HomeAgentInformation { reserved, preference, lifetime } => {
                self.within("home-agent-information", at, |this| {
                    this.plain("reserved", Value::Bits(reserved.into(), 4), at + 2);
                    // Two's complement, as on the wire; negative preferences are legal and rare.
                    this.number("preference", preference.cast_unsigned(), at + 4);
                    this.with_unit("lifetime", lifetime, at + 6, Unit::Seconds);
                });
                8
            }
            NeighborOption::Unknown { kind, data } => {
                let length = data.len() + 2;
                self.unknown_option(kind, data, at);
                length
            }
        }
    }

    pub(super) fn quotation(&mut self, invoking: &[u8], at: usize) {
        let quoted = std::mem::replace(&mut self.quoted, true);
        self.packet("invoking-packet", invoking, at);
        self.quoted = quoted;
    }
}
