//! Takes a packet apart into the fields of a tree: the IPv6 header, the chain behind it, tunnels in tunnels (RFC 8200
//! section 4, RFC 2473), and hands what the chain ends in to the file that knows it.
//! Called by `Tree::of_packet` and `Tree::of_frame`.

use std::net::Ipv6Addr;

use super::extension::FRAGMENT_FLAGS;
use super::names::protocol_name;
use super::transport::lower_port;
use super::{Field, Kind, Role, Summary, Tree, Unit, Value};
use crate::wire::chain::Walk;
use crate::wire::ipv6::{HEADER_LENGTH, Ipv6Header, next_header};
use crate::wire::{Error, ErrorKind};

/// Packets inside packets that are taken apart; what lies deeper is one field of octets.
pub(super) const DEPTH: u8 = 8;

/// The upper layer of a packet, with what its checksum and length need.
pub(super) struct Upper<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) base: usize,
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    /// No fragment, nothing cut off.
    pub(super) complete: bool,
}

pub(super) struct Builder {
    pub(super) fields: Vec<Field>,
    pub(super) depth: u8,
    pub(super) packets: u8,
    pub(super) quoted: bool,
    pub(super) summary: Summary,
}

impl Builder {
    pub(super) fn new(expected: usize) -> Builder {
        let nowhere = Ipv6Addr::UNSPECIFIED;
        let summary = Summary {
            kind: Kind::Malformed,
            tunnels: 0,
            source: nowhere,
            destination: nowhere,
            final_source: nowhere,
            final_destination: nowhere,
            mobile: false,
            upper_offset: 0,
            end: 0,
            quotes_mobile: false,
            neighbor: None,
        };
        Builder { fields: Vec::with_capacity(expected.min(64)), depth: 0, packets: 0, quoted: false, summary }
    }

    pub(super) fn finish(mut self, packet: &[u8]) -> Tree {
        self.packet("ipv6", packet, 0);
        Tree { fields: self.fields, summary: self.summary }
    }

    pub(super) fn push(&mut self, name: &'static str, value: Value, offset: usize, role: Role, unit: Unit) {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        self.fields.push(Field { depth: self.depth, name, value, unit, role, quoted: self.quoted, offset });
    }

    pub(super) fn plain(&mut self, name: &'static str, value: Value, offset: usize) {
        self.push(name, value, offset, Role::Plain, Unit::Plain);
    }

    pub(super) fn number(&mut self, name: &'static str, number: impl Into<u64>, offset: usize) {
        self.plain(name, Value::Number(number.into()), offset);
    }

    pub(super) fn with_unit(
        &mut self,
        name: &'static str,
        number: impl Into<u64>,
        offset: usize,
        unit: Unit,
    ) {
        self.push(name, Value::Number(number.into()), offset, Role::Plain, unit);
    }

    pub(super) fn address(&mut self, name: &'static str, address: Ipv6Addr, offset: usize) {
        self.plain(name, Value::Address(address), offset);
    }

    pub(super) fn group(&mut self, name: &'static str, offset: usize) {
        self.plain(name, Value::Group, offset);
    }

    pub(super) fn malformed(&mut self, error: Error, base: usize) {
        self.plain("malformed", Value::Malformed(error.kind), base + error.offset);
    }

    pub(super) fn within(&mut self, name: &'static str, offset: usize, parts: impl FnOnce(&mut Self)) {
        self.group(name, offset);
        self.depth += 1;
        parts(self);
        self.depth -= 1;
    }

    pub(super) fn packet(&mut self, name: &'static str, bytes: &[u8], base: usize) {
        if self.packets >= DEPTH {
            return self.plain("deeper", Value::Octets(bytes.to_vec()), base);
        }
        self.packets += 1;
        self.within(name, base, |this| match (Ipv6Header::parse(bytes), Walk::quoted(bytes)) {
            (Ok(header), Ok(walk)) => this.chain(&header, walk, bytes, base),
            (Err(error), _) | (_, Err(error)) => {
                if !this.quoted {
                    this.summary.kind = Kind::Malformed;
                    this.summary.end = base + bytes.len();
                }
                this.malformed(error, base);
            }
        });
        self.packets -= 1;
    }

    pub(super) fn chain(&mut self, header: &Ipv6Header, mut walk: Walk<'_>, bytes: &[u8], base: usize) {
        let end = HEADER_LENGTH + usize::from(header.payload_length);
        self.plain("traffic-class", Value::Bits(header.traffic_class.into(), 2), base);
        let label = Value::Bits(header.flow_label.into(), 5);
        self.push("flow-label", label, base + 1, Role::FlowLabel, Unit::Plain);
        self.number("payload-length", header.payload_length, base + 4);
        self.with_unit("next-header", header.next_header, base + 6, protocol_name(header.next_header));
        let hop_limit = Value::Number(header.hop_limit.into());
        self.push("hop-limit", hop_limit, base + 7, Role::HopLimit, Unit::Plain);
        self.address("source", header.source, base + 8);
        self.address("destination", header.destination, base + 24);
        let (mut source, mut destination, mut fragment) = (header.source, header.destination, false);
        let mut mobile = false;
        if !self.quoted {
            self.summary.kind = Kind::Malformed;
            (self.summary.source, self.summary.destination) = (source, destination);
            (self.summary.final_source, self.summary.final_destination) = (source, destination);
            self.summary.end = base + end.min(bytes.len());
            self.summary.tunnels = self.packets - 1;
        }
        let mut broken = None;
        while let Some(extension) = walk.next() {
            match extension {
                Ok(extension) => {
                    fragment |= extension.kind == next_header::FRAGMENT;
                    match self.extension(&walk, &extension, bytes, base) {
                        Ok((home, last)) => {
                            mobile |= home.is_some() || last.is_some();
                            source = home.unwrap_or(source);
                            destination = last.unwrap_or(destination);
                        }
                        Err(error) => broken = Some(error),
                    }
                }
                Err(error) => broken = Some(error),
            }
            if broken.is_some() {
                break;
            }
        }
        let upper = walk.upper();
        if self.quoted {
            let about = mobile
                || matches!(upper.protocol, next_header::MOBILITY | next_header::IPV6)
                || broken.is_some_and(|error| error.kind == ErrorKind::BadOptionLength);
            self.summary.quotes_mobile |= about;
        } else {
            self.summary.mobile |= mobile;
            (self.summary.final_source, self.summary.final_destination) = (source, destination);
            self.summary.upper_offset = base + upper.offset;
        }
        match broken {
            Some(error) => self.malformed(error, base),
            None => {
                let complete = !fragment && bytes.len() >= end;
                let bytes = walk.rest();
                let upper_layer = Upper { bytes, base: base + upper.offset, source, destination, complete };
                self.upper(upper.protocol, &upper_layer);
            }
        }
        if bytes.len() < end {
            self.plain("missing", Value::Missing((end - bytes.len()) as u64), base + bytes.len());
        }
    }

    pub(super) fn upper(&mut self, protocol: u8, upper: &Upper<'_>) {
        let (bytes, base) = (upper.bytes, upper.base);
        let kind = match protocol {
            next_header::MOBILITY => Kind::Mobility(bytes.get(2).copied().unwrap_or(u8::MAX)),
            next_header::ICMPV6 => Kind::Icmpv6(bytes.first().copied().unwrap_or(0)),
            next_header::TCP => Kind::Tcp(lower_port(bytes)),
            next_header::UDP => Kind::Udp(lower_port(bytes)),
            next_header::FRAGMENT => Kind::Fragment,
            other => Kind::Other(other),
        };
        if !self.quoted {
            self.summary.kind = kind;
        }
        match protocol {
            next_header::IPV6 => self.packet("ipv6", bytes, base),
            next_header::MOBILITY => self.within("mobility", base, |this| this.mobility(upper)),
            next_header::ICMPV6 => self.within("icmpv6", base, |this| this.icmpv6(upper)),
            next_header::TCP => self.within("tcp", base, |this| this.tcp(upper)),
            next_header::UDP => self.within("udp", base, |this| this.udp(upper)),
            next_header::ESP => self.within("esp", base, |this| {
                let Some((spi, rest)) = bytes.split_first_chunk::<4>() else {
                    return this.malformed(Error::new(ErrorKind::Truncated, bytes.len()), base);
                };
                this.plain("spi", Value::Bits(u32::from_be_bytes(*spi).into(), 8), base);
                this.security(rest, base + 4);
            }),
            next_header::FRAGMENT => self.within("fragment", base, |this| {
                let &[next, reserved, c, d, e, f, g, h, ref data @ ..] = bytes else {
                    return this.malformed(Error::new(ErrorKind::Truncated, bytes.len()), base);
                };
                let (word, id) = (u16::from_be_bytes([c, d]), u32::from_be_bytes([e, f, g, h]));
                this.with_unit("next-header", next, base, protocol_name(next));
                this.plain("reserved", Value::Bits(reserved.into(), 2), base + 1);
                this.number("fragment-offset", word & !7, base + 2);
                this.plain("flags", Value::Flags(u64::from(word & 7), 1, FRAGMENT_FLAGS), base + 3);
                let id = Value::Bits(id.into(), 8);
                this.push("identification", id, base + 4, Role::FragmentIdentification, Unit::Plain);
                this.payload(data, base + 8);
            }),
            next_header::NO_NEXT_HEADER if bytes.is_empty() => {}
            _ => self.payload(bytes, base),
        }
    }

    pub(super) fn payload(&mut self, data: &[u8], at: usize) {
        self.push("data", Value::Octets(data.to_vec()), at, Role::Payload, Unit::Plain);
    }

    pub(super) fn checksum(&mut self, sum: u16, right: bool, complete: bool, at: usize) {
        let right = complete.then_some(right);
        self.push("checksum", Value::Checksum(sum, right), at, Role::Checksum, Unit::Plain);
    }
}
