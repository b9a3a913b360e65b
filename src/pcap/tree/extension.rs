//! The fields of extension headers and their options. RFC 8200 section 4, RFC 3775 6.3 and 6.4, RFC 2473 4.1.1, and what is
//! in the clear of AH and ESP (RFC 4302, 4303).
//! Called by the builder for every header of a packet's chain.

use std::net::Ipv6Addr;

use super::builder::Builder;
use super::names::protocol_name;
use super::{Role, Unit, Value};
use crate::wire::chain::{ExtensionHeader, Walk, home_address_at};
use crate::wire::destination_options::DestinationOption;
use crate::wire::ipv6::next_header;
use crate::wire::routing::TYPE2;
use crate::wire::{Error, ErrorKind};

pub(super) const FRAGMENT_FLAGS: &[(u64, char)] = &[(1, 'M')];

impl Builder {
    /// One extension header; the results are the home address and the final destination in it.
    pub(super) fn extension(
        &mut self,
        walk: &Walk<'_>,
        header: &ExtensionHeader,
        bytes: &[u8],
        base: usize,
    ) -> crate::wire::Result<(Option<Ipv6Addr>, Option<Ipv6Addr>)> {
        let name = match header.kind {
            next_header::HOP_BY_HOP => "hop-by-hop-options",
            next_header::DESTINATION_OPTIONS => "destination-options",
            next_header::ROUTING => "routing",
            next_header::FRAGMENT => "fragment",
            _ => "authentication",
        };
        let octets = bytes.get(header.offset..header.offset + header.length).unwrap_or_default();
        let at = base + header.offset;
        self.group(name, at);
        self.depth += 1;
        let result = self.extension_fields(walk, header, octets, at);
        self.depth -= 1;
        result
    }

    pub(super) fn extension_fields(
        &mut self,
        walk: &Walk<'_>,
        header: &ExtensionHeader,
        octets: &[u8],
        at: usize,
    ) -> crate::wire::Result<(Option<Ipv6Addr>, Option<Ipv6Addr>)> {
        // The walk yields no header shorter than eight octets.
        let &[next, length, c, d, e, f, g, h, ..] = octets else { return Ok((None, None)) };
        let word = u32::from_be_bytes([e, f, g, h]);
        self.with_unit("next-header", next, at, protocol_name(next));
        match header.kind {
            next_header::HOP_BY_HOP | next_header::DESTINATION_OPTIONS => {
                self.number("header-length", length, at + 1);
                let mut home = None;
                for option in walk.options(header) {
                    let option = option?;
                    if header.kind == next_header::DESTINATION_OPTIONS
                        && let Some(found) = home_address_at(header, option)?
                    {
                        home = home.or(Some(found.address));
                    }
                    let place = at + option.offset - header.offset;
                    self.destination_option(DestinationOption::from_tlv(option)?, place);
                }
                Ok((home, None))
            }
            next_header::ROUTING => {
                self.number("header-length", length, at + 1);
                self.number("routing-type", c, at + 2);
                self.number("segments-left", d, at + 3);
                self.plain("reserved", Value::Bits(word.into(), 8), at + 4);
                let data = octets.get(8..).unwrap_or_default();
                match <[u8; 16]>::try_from(data) {
                    Ok(address) if c == TYPE2 => {
                        self.address("home-address", address.into(), at + 8);
                        Ok((None, (d == 1).then_some(address.into())))
                    }
                    _ => {
                        self.plain("data", Value::Octets(data.to_vec()), at + 8);
                        Ok((None, None))
                    }
                }
            }
            next_header::FRAGMENT => {
                self.plain("reserved", Value::Bits(length.into(), 2), at + 1);
                let word_of_offset = u16::from_be_bytes([c, d]);
                self.number("fragment-offset", word_of_offset & !7, at + 2);
                self.plain("flags", Value::Flags(u64::from(word_of_offset & 7), 1, FRAGMENT_FLAGS), at + 3);
                let value = Value::Bits(word.into(), 8);
                self.push("identification", value, at + 4, Role::FragmentIdentification, Unit::Plain);
                Ok((None, None))
            }
            _ => {
                self.number("payload-length", length, at + 1);
                self.plain("reserved", Value::Bits(u64::from(u16::from_be_bytes([c, d])), 4), at + 2);
                self.plain("spi", Value::Bits(word.into(), 8), at + 4);
                self.security(octets.get(8..).unwrap_or_default(), at + 8);
                Ok((None, None))
            }
        }
    }

    /// Sequence number and the rest of AH and ESP.
    pub(super) fn security(&mut self, rest: &[u8], at: usize) {
        let Some((sequence, data)) = rest.split_first_chunk::<4>() else {
            return self.malformed(Error::new(ErrorKind::Truncated, rest.len()), at);
        };
        let sequence = Value::Number(u32::from_be_bytes(*sequence).into());
        self.push("sequence", sequence, at, Role::SecuritySequence, Unit::Plain);
        self.push("data", Value::Octets(data.to_vec()), at + 4, Role::SecurityData, Unit::Plain);
    }

    pub(super) fn destination_option(&mut self, option: DestinationOption, at: usize) {
        match option {
            DestinationOption::Pad1 => self.plain("pad-1", Value::Octets(Vec::new()), at),
            DestinationOption::PadN(data) => self.plain("pad-n", Value::Octets(data), at),
            DestinationOption::TunnelEncapsulationLimit(limit) => {
                self.number("tunnel-encapsulation-limit", limit, at);
            }
            DestinationOption::HomeAddress(address) => self.address("home-address", address, at),
            DestinationOption::Unknown { kind, data } => self.unknown_option(kind, data, at),
        }
    }

    pub(super) fn unknown_option(&mut self, kind: u8, data: Vec<u8>, at: usize) {
        self.within("option", at, |this| {
            this.number("type", kind, at);
            this.plain("data", Value::Octets(data), at + 2);
        });
    }
}
