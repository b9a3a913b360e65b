//! A packet as one line of text, in the field order and words of tcpdump as far as it has any.
//! Every format of RFC 3775 section 6, RFC 4443, RFC 4861 and RFC 2473 is told, quoted packets in braces.
//! Called by the decoder of captures and by whoever logs a packet.

use std::fmt::{self, Write};
use std::net::Ipv6Addr;

use etherparse::TcpHeaderSlice;

use super::chain::{ExtensionHeader, Routing, Walk, home_address_at};
use super::destination_options::DestinationOption;
use super::icmpv6::Icmpv6;
use super::ipv6::{HEADER_LENGTH, Ipv6Header, checksum, next_header};
use super::mobility::{MobilityHeader, checksum_is_valid};
use super::reader::Reader;
use super::{Error, ErrorKind, Result};

/// Packets inside packets that are told; what lies deeper is left out.
const DEPTH: usize = 8;
/// Octets of an ICMPv6 error in front of what it quotes.
const ERROR_HEADER_LENGTH: usize = 8;

/// One line about a whole IPv6 packet. What is malformed is told as `[malformed: REASON at octet N]`, the
/// offset counted from the start of `packet`; a wrong checksum as `[bad checksum]`.
pub fn line(packet: &[u8]) -> String {
    let mut dissection = Dissection { out: String::new(), depth: 0, quoted: false };
    dissection.packet(packet, 0);
    dissection.out
}

struct Dissection {
    out: String,
    depth: usize,
    /// Inside an ICMPv6 error, where the tail may be missing.
    quoted: bool,
}

/// An upper layer and what its checksum and its length need.
struct Payload<'a> {
    bytes: &'a [u8],
    /// Octets there should be.
    promised: usize,
    /// As the upper layer sees it.
    source: Ipv6Addr,
    /// As the upper layer sees it.
    destination: Ipv6Addr,
    /// All of it is there: no fragment, nothing cut off.
    complete: bool,
    /// Where it begins in the outermost packet.
    base: usize,
}

impl Dissection {
    fn say(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(text);
    }

    fn malformed(&mut self, error: Error, base: usize) {
        self.say(format_args!("[malformed: {}]", Error::new(error.kind, base + error.offset)));
    }

    fn packet(&mut self, bytes: &[u8], base: usize) {
        if self.depth >= DEPTH {
            return self.say(format_args!("..."));
        }
        let (header, walk) = match (Ipv6Header::parse(bytes), Walk::quoted(bytes)) {
            (Ok(header), Ok(walk)) => (header, walk),
            (Err(error), _) | (_, Err(error)) => return self.malformed(error, base),
        };
        self.depth += 1;
        if let Err(error) = self.chain(&header, walk, bytes, base) {
            self.malformed(error, base);
        }
        let end = HEADER_LENGTH + usize::from(header.payload_length);
        if !self.quoted && bytes.len() < end {
            self.say(format_args!(" [truncated, {} octets missing]", end - bytes.len()));
        }
        self.depth -= 1;
    }

    fn chain(&mut self, header: &Ipv6Header, mut walk: Walk<'_>, bytes: &[u8], base: usize) -> Result<()> {
        let end = HEADER_LENGTH + usize::from(header.payload_length);
        let (mut source, mut destination, mut fragment) = (header.source, header.destination, false);
        let first = walk.upper();
        let ports = match first.protocol {
            next_header::TCP | next_header::UDP => ports(walk.rest()),
            _ => None,
        };
        match ports {
            Some((from, to)) => self.say(format_args!("{source}.{from} > {destination}.{to}: ")),
            None => self.say(format_args!("{source} > {destination}: ")),
        }
        while let Some(extension) = walk.next() {
            let extension = extension?;
            fragment |= extension.kind == next_header::FRAGMENT;
            let (home_address, final_destination) = self.extension(&walk, &extension, bytes, end)?;
            source = home_address.unwrap_or(source);
            destination = final_destination.unwrap_or(destination);
        }
        let upper = walk.upper();
        let payload = Payload {
            bytes: walk.rest(),
            promised: end.saturating_sub(upper.offset),
            source,
            destination,
            complete: !fragment && bytes.len() >= end,
            base: base + upper.offset,
        };
        if let (true, next_header::TCP | next_header::UDP) = (upper != first, upper.protocol)
            && let Some((from, to)) = self::ports(payload.bytes)
        {
            self.say(format_args!("{from} > {to}: "));
        }
        let told = self.upper(upper.protocol, &payload);
        told.map_err(|error| Error::new(error.kind, upper.offset + error.offset))
    }

    /// Tells an extension header and returns the home address and the final destination it holds.
    fn extension(
        &mut self,
        walk: &Walk<'_>,
        header: &ExtensionHeader,
        bytes: &[u8],
        end: usize,
    ) -> Result<(Option<Ipv6Addr>, Option<Ipv6Addr>)> {
        let (mut home_address, mut final_destination) = (None, None);
        let mut reader = Reader::new(bytes.get(header.offset..).unwrap_or_default());
        match header.kind {
            next_header::HOP_BY_HOP => self.say(format_args!("HBH ")),
            next_header::DESTINATION_OPTIONS => {
                self.say(format_args!("DSTOPT "));
                let start = self.out.len();
                for option in walk.options(header) {
                    let option = option?;
                    if let Some(found) = home_address_at(header, option)? {
                        home_address = home_address.or(Some(found.address));
                    }
                    if !option.is_padding() {
                        self.say(format_args!("{}", DestinationOption::from_tlv(option)?));
                    }
                }
                if self.out.len() > start {
                    self.say(format_args!(" "));
                }
            }
            next_header::ROUTING => {
                let [_, length, kind, left] = reader.array()?;
                self.say(format_args!("RT6 (len={length}, type={kind}, segleft={left}"));
                match walk.routing(header) {
                    Routing::Type2(found) => {
                        self.say(format_args!(", [0]{}", found.address));
                        final_destination = (found.segments_left == 1).then_some(found.address);
                    }
                    Routing::MalformedType2 => self.say(format_args!(", malformed")),
                    Routing::Other { .. } => {}
                }
                self.say(format_args!(") "));
            }
            next_header::FRAGMENT => {
                self.say(format_args!("frag (0|{}) ", end.saturating_sub(header.offset + header.length)));
            }
            _ => {
                let [_, spi, sequence] = [reader.u32()?, reader.u32()?, reader.u32()?];
                self.say(format_args!("AH(spi=0x{spi:08x},seq=0x{sequence:x}) "));
            }
        }
        Ok((home_address, final_destination))
    }

    fn upper(&mut self, protocol: u8, payload: &Payload<'_>) -> Result<()> {
        let mut reader = Reader::new(payload.bytes);
        match protocol {
            next_header::MOBILITY => self.mobility(payload)?,
            next_header::ICMPV6 => self.icmpv6(payload)?,
            next_header::TCP => self.tcp(payload)?,
            next_header::UDP => {
                reader.take(4)?;
                self.say(format_args!("UDP, length {}", payload.promised.saturating_sub(8)));
            }
            next_header::FRAGMENT => {
                let [_, offset] = [reader.u16()?, reader.u16()? & !7];
                self.say(format_args!("frag ({offset}|{})", payload.promised.saturating_sub(8)));
            }
            next_header::ESP => {
                let (spi, sequence) = (reader.u32()?, reader.u32()?);
                self.say(format_args!(
                    "ESP(spi=0x{spi:08x},seq=0x{sequence:x}), length {}",
                    payload.promised
                ));
            }
            next_header::IPV6 => {
                self.say(format_args!("IP6 "));
                self.packet(payload.bytes, payload.base);
            }
            next_header::NO_NEXT_HEADER => self.say(format_args!("no next header")),
            protocol => self.say(format_args!("ip-proto-{protocol} {}", payload.promised)),
        }
        Ok(())
    }

    fn mobility(&mut self, payload: &Payload<'_>) -> Result<()> {
        let header = MobilityHeader::parse(payload.bytes)?;
        self.say(format_args!("{header}"));
        if header.payload_proto != next_header::NO_NEXT_HEADER {
            self.say(format_args!(" next-header {}", header.payload_proto));
        }
        if payload.complete && !checksum_is_valid(payload.bytes, &payload.source, &payload.destination) {
            self.say(format_args!(" [bad checksum]"));
        }
        Ok(())
    }

    fn icmpv6(&mut self, payload: &Payload<'_>) -> Result<()> {
        let icmpv6 = Icmpv6::parse(payload.bytes)?;
        self.say(format_args!("ICMP6, {}, length {}", icmpv6.message, payload.promised));
        let sum = checksum(&payload.source, &payload.destination, next_header::ICMPV6, payload.bytes);
        if payload.complete && sum != 0 {
            self.say(format_args!(" [bad checksum]"));
        }
        if let Some(invoking) = icmpv6.message.invoking() {
            self.say(format_args!(" {{ "));
            let quoted = std::mem::replace(&mut self.quoted, true);
            self.packet(invoking, payload.base + ERROR_HEADER_LENGTH);
            self.quoted = quoted;
            self.say(format_args!(" }}"));
        }
        Ok(())
    }

    fn tcp(&mut self, payload: &Payload<'_>) -> Result<()> {
        Reader::new(payload.bytes).take(20)?;
        // A quotation may stop short of the options, whose length is wanted all the same.
        let mut octets = [0; 60];
        octets.iter_mut().zip(payload.bytes).for_each(|(to, from)| *to = *from);
        let tcp = TcpHeaderSlice::from_slice(&octets).map_err(|_| Error::new(ErrorKind::BadLength, 12))?;
        let letters = [
            (tcp.fin(), 'F'),
            (tcp.syn(), 'S'),
            (tcp.rst(), 'R'),
            (tcp.psh(), 'P'),
            (tcp.ack(), '.'),
            (tcp.urg(), 'U'),
            (tcp.ece(), 'E'),
            (tcp.cwr(), 'W'),
        ];
        let flags: String = letters.iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect();
        self.say(format_args!("Flags [{}]", if flags.is_empty() { "none" } else { &flags }));
        let (sequence, length) = (tcp.sequence_number(), payload.promised.saturating_sub(tcp.slice().len()));
        if length > 0 {
            let last = sequence.wrapping_add(u32::try_from(length).unwrap_or(u32::MAX));
            self.say(format_args!(", seq {sequence}:{last}"));
        } else if tcp.syn() || tcp.fin() || tcp.rst() {
            self.say(format_args!(", seq {sequence}"));
        }
        if tcp.ack() {
            self.say(format_args!(", ack {}", tcp.acknowledgment_number()));
        }
        self.say(format_args!(", win {}, length {length}", tcp.window_size()));
        Ok(())
    }
}

/// The ports of TCP or UDP.
fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    let mut reader = Reader::new(bytes);
    Some((reader.u16().ok()?, reader.u16().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::destination_options::home_address_header;
    use super::super::ipv6::packet;
    use super::super::mobility::{BindingUpdate, Lifetime, Message, MobilityOption, UpdateFlags, align};
    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn update() -> Vec<u8> {
        let (care_of, agent) = (address("2001:db8:0:4::2"), address("2001:db8:0:1::2"));
        let home_address = address("2001:db8:0:1::a");
        let update = MobilityHeader::new(Message::BindingUpdate(BindingUpdate {
            sequence: 200,
            flags: UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION,
            lifetime: Lifetime::from_seconds(40),
            options: align(12, &[MobilityOption::AlternateCareOfAddress(care_of)]),
        }));
        let mut payload = home_address_header(next_header::MOBILITY, &home_address).to_vec();
        payload.extend(update.emit_for(&home_address, &agent));
        packet(Ipv6Header::new(next_header::DESTINATION_OPTIONS, 64, care_of, agent), &payload)
    }

    #[test]
    fn a_binding_update_is_told_as_tcpdump_does() {
        assert_eq!(
            line(&update()),
            "2001:db8:0:4::2 > 2001:db8:0:1::2: DSTOPT (homeaddr: 2001:db8:0:1::a) \
             mobility: BU seq#=200 AH lifetime=40 (alt-CoA: 2001:db8:0:4::2)"
        );
    }

    #[test]
    fn offsets_count_from_the_outermost_packet() {
        let mut inner = update();
        // The length of the alternate care-of address: 40 + 24 + 15.
        inner[79] = 14;
        let header = Ipv6Header::new(next_header::IPV6, 64, address("::3"), address("::4"));
        let told = line(&packet(header, &inner));
        assert!(told.starts_with("::3 > ::4: IP6 2001:db8:0:4::2 > 2001:db8:0:1::2: DSTOPT"), "{told}");
        assert!(told.ends_with("[malformed: bad option length at octet 119]"), "{told}");
    }

    #[test]
    fn a_wrong_checksum_and_a_missing_tail_are_told() {
        let mut bytes = update();
        bytes[64 + 7] ^= 1;
        assert!(line(&bytes).ends_with("(alt-CoA: 2001:db8:0:4::2) [bad checksum]"));
        bytes.truncate(80);
        assert!(line(&bytes).ends_with("[malformed: truncated at octet 80] [truncated, 16 octets missing]"));
        assert_eq!(line(&[]), "[malformed: truncated at octet 0]");
    }

    #[test]
    fn tunnels_are_told_to_a_limited_depth() {
        let header = Ipv6Header::new(next_header::IPV6, 64, address("::3"), address("::4"));
        let nested = (0..1000).fold(update(), |inner, _| packet(header, &inner));
        assert_eq!(line(&nested), "::3 > ::4: IP6 ".repeat(DEPTH) + "...");
    }
}
