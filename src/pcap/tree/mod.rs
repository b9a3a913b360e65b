//! A packet as a tree of fields: every header, message, option and field with its name, value and place.
//! The names are those of RFC 8200, 4443, 4861, 9293 and 3775 section 6; tunnels (RFC 2473) and quoted packets nest.
//! `decode` shows the tree, and the comparison of captures compares it field by field.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::net::Ipv6Addr;

use etherparse::TcpHeaderSlice;
use serde_json::{Value as Json, json};

use crate::wire::chain::{ExtensionHeader, Walk, home_address_at};
use crate::wire::destination_options::DestinationOption;
use crate::wire::icmpv6::{Icmpv6, Icmpv6Message, NeighborOption};
use crate::wire::ipv6::{HEADER_LENGTH, Ipv6Header, checksum, next_header};
use crate::wire::mobility::{Lifetime, kind};
use crate::wire::routing::TYPE2;
use crate::wire::{Error, ErrorKind};

use super::capture::{Frame, Link};

mod mobility;

/// Packets inside packets that are taken apart; what lies deeper is one field of octets.
const DEPTH: u8 = 8;

/// What a field says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing itself: the fields one deeper that follow it are its parts.
    Group,
    /// A number, told in decimal.
    Number(u64),
    /// A number whose bits matter, and its width in hexadecimal digits.
    Bits(u64, u8),
    /// Flags and the letters of those that have one.
    Flags(u64, u8, &'static [(u64, char)]),
    /// A checksum and whether it is right; `None` where that cannot be told (fragments, what was cut off).
    Checksum(u16, Option<bool>),
    /// An address.
    Address(Ipv6Addr),
    /// Octets without inner structure.
    Octets(Vec<u8>),
    /// The octets here are not what their place wants: kind of fault; the field's offset is that of the fault.
    Malformed(ErrorKind),
    /// Octets that the capture or the quotation lacks.
    Missing(u64),
}

/// How a number is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// As it stands.
    Plain,
    /// In units of 4 seconds (RFC 3775 section 6.1.7).
    FourSeconds,
    /// In seconds.
    Seconds,
    /// In milliseconds.
    Milliseconds,
    /// The number has this name.
    Named(&'static str),
}

/// What a field is to a comparison: the reason why its value may differ between two runs of the same protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// None: the value is the protocol.
    Plain,
    /// Time of capture.
    Time,
    /// A link-layer address.
    LinkAddress,
    /// IPv6 flow label.
    FlowLabel,
    /// IPv6 hop limit.
    HopLimit,
    /// A checksum over other fields.
    Checksum,
    /// Binding Update sequence number.
    UpdateSequence,
    /// Sequence number in a Binding Acknowledgement.
    AcknowledgedSequence,
    /// Init cookie of a test init.
    NewCookie,
    /// Init cookie repeated by a test.
    EchoedCookie,
    /// Keygen token.
    Token,
    /// Nonce index in a test.
    NewNonce,
    /// Home nonce index in a Binding Update.
    UsedHomeNonce,
    /// Care-of nonce index in a Binding Update.
    UsedCareOfNonce,
    /// Authenticator of a binding message.
    Authenticator,
    /// Timestamp of a Binding Update.
    NewTimestamp,
    /// Timestamp that a Binding Acknowledgement repeats, or corrects.
    EchoedTimestamp,
    /// Identifier of an ICMPv6 request.
    NewIdentifier,
    /// Identifier of an ICMPv6 reply.
    EchoedIdentifier,
    /// Fragment identification.
    FragmentIdentification,
    /// TCP or UDP port.
    Port,
    /// TCP sequence number.
    TcpSequence,
    /// TCP acknowledgement number.
    TcpAcknowledgement,
    /// TCP window, options and urgent pointer.
    TcpPacing,
    /// Octets of an application.
    Payload,
    /// Sequence number of ESP or AH.
    SecuritySequence,
    /// What ESP hides and AH proves.
    SecurityData,
}

/// A field of a packet. The tree is the list of its fields in order, each with its depth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// 0 for the outermost groups.
    pub depth: u8,
    /// Name, of small letters and hyphens.
    pub name: &'static str,
    /// Value.
    pub value: Value,
    /// How a number is read.
    pub unit: Unit,
    /// What it is to a comparison.
    pub role: Role,
    /// It stands in a packet that an ICMPv6 error quotes.
    pub quoted: bool,
    /// First octet, from the start of the outermost IPv6 header; 0 in the group `frame`.
    pub offset: u32,
}

/// What kind of message the innermost packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A Mobility Header of this MH Type.
    Mobility(u8),
    /// ICMPv6 of this type.
    Icmpv6(u8),
    /// TCP, with the lower port.
    Tcp(u16),
    /// UDP, with the lower port.
    Udp(u16),
    /// A fragment other than the first.
    Fragment,
    /// Another protocol.
    Other(u8),
    /// A packet whose headers cannot be walked.
    Malformed,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Kind::Mobility(kind) => match mobility_name(kind) {
                Some(name) => f.write_str(name),
                None => write!(f, "Mobility Header type {kind}"),
            },
            Kind::Icmpv6(kind) => match icmpv6_name(kind) {
                Some(name) => f.write_str(name),
                None => write!(f, "ICMPv6 type {kind}"),
            },
            Kind::Tcp(port) => write!(f, "TCP port {port}"),
            Kind::Udp(port) => write!(f, "UDP port {port}"),
            Kind::Fragment => f.write_str("fragment"),
            Kind::Other(protocol) => write!(f, "protocol {protocol}"),
            Kind::Malformed => f.write_str("malformed packet"),
        }
    }
}

/// What a packet is about, from its innermost headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The message.
    pub kind: Kind,
    /// IPv6 headers around the innermost packet.
    pub tunnels: u8,
    /// Source of the innermost IPv6 header.
    pub source: Ipv6Addr,
    /// Destination of the innermost IPv6 header.
    pub destination: Ipv6Addr,
    /// As upper layers see it: the home address when there is a home address option.
    pub final_source: Ipv6Addr,
    /// As upper layers see it: the home address of a type 2 routing header.
    pub final_destination: Ipv6Addr,
    /// A home address option or a type 2 routing header is there.
    pub mobile: bool,
    /// Where the innermost upper layer begins.
    pub upper_offset: usize,
    /// Where it ends.
    pub end: usize,
    /// An ICMPv6 error quotes a packet that has to do with Mobile IPv6.
    pub quotes_mobile: bool,
    /// What a Neighbor Solicitation or Advertisement is about.
    pub neighbor: Option<Ipv6Addr>,
}

/// A packet taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The fields in wire order, groups before their parts.
    pub fields: Vec<Field>,
    /// What it is about.
    pub summary: Summary,
}

impl Tree {
    /// Takes a whole IPv6 packet apart. Total: what is malformed becomes a field that says how and where.
    pub fn of_packet(packet: &[u8]) -> Tree {
        Builder::new(packet.len() / 4).finish(packet)
    }

    /// Takes a captured packet apart, with a group for what the capture says about it. Times count from `origin`.
    pub fn of_frame(frame: &Frame, origin: std::time::Duration) -> Tree {
        let mut builder = Builder::new(frame.ipv6.len() / 4);
        builder.group("frame", 0);
        builder.depth += 1;
        let since = frame.at.saturating_sub(origin);
        let nanoseconds = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        builder.push("time", Value::Number(nanoseconds), 0, Role::Time, Unit::Named("ns"));
        if let Link::Ethernet { source, destination } = frame.link {
            for (name, address) in [("link-source", source), ("link-destination", destination)] {
                builder.push(name, Value::Octets(address.to_vec()), 0, Role::LinkAddress, Unit::Plain);
            }
        }
        builder.depth -= 1;
        builder.finish(&frame.ipv6)
    }

    /// The name of the field at `index` with those of the groups around it: `ipv6.mobility.sequence`. The second
    /// and later of fields with one name in one group are counted: `ipv6.destination-options.pad-1#2`.
    pub fn path(&self, index: usize) -> String {
        let mut parts: Vec<Cow<'static, str>> = Vec::new();
        let mut wanted = usize::MAX;
        for (at, field) in self.fields.iter().enumerate().take(index + 1).rev() {
            if at == index || usize::from(field.depth) < wanted {
                wanted = usize::from(field.depth);
                let earlier = self
                    .fields
                    .iter()
                    .take(at)
                    .rev()
                    .take_while(|other| other.depth >= field.depth)
                    .filter(|other| other.depth == field.depth && other.name == field.name)
                    .count();
                parts.push(match earlier {
                    0 => field.name.into(),
                    earlier => format!("{}#{}", field.name, earlier + 1).into(),
                });
            }
        }
        parts.reverse();
        parts.join(".")
    }

    /// The first field with this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The tree as text, a line per field, two blanks per depth.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for field in &self.fields {
            let indent = usize::from(field.depth) * 2 + 2;
            let _ = match &field.value {
                // Writing to a string cannot fail.
                Value::Group if field.name == "frame" => writeln!(text, "{:indent$}{}", "", field.name),
                Value::Group => writeln!(text, "{:indent$}{} @{}", "", field.name, field.offset),
                _ => writeln!(text, "{:indent$}{}: {field}", "", field.name),
            };
        }
        text
    }

    /// The tree as JSON: an array of objects with `name`, `offset`, and `value` or `fields`.
    pub fn json(&self) -> Json {
        fn children(fields: &[Field], at: &mut usize, depth: u8) -> Vec<Json> {
            let mut list = Vec::new();
            while let Some(field) = fields.get(*at).filter(|field| field.depth >= depth) {
                *at += 1;
                let mut object = json!({ "name": field.name, "offset": field.offset });
                match field.json() {
                    None => object["fields"] = Json::Array(children(fields, at, field.depth + 1)),
                    Some(value) => object["value"] = value,
                }
                if let Some(note) = field.note() {
                    object["note"] = Json::String(note);
                }
                list.push(object);
            }
            list
        }
        Json::Array(children(&self.fields, &mut 0, 0))
    }
}

impl Field {
    /// The value as JSON; `None` for a group.
    pub fn json(&self) -> Option<Json> {
        Some(match &self.value {
            Value::Group => return None,
            // JSON readers commonly keep 53 bits only, too few for cookies and tokens.
            Value::Bits(bits, 9..) => json!(format!("0x{bits:016x}")),
            Value::Number(number) | Value::Bits(number, _) | Value::Flags(number, ..) => json!(number),
            Value::Missing(number) => json!(number),
            Value::Checksum(sum, _) => json!(sum),
            Value::Address(address) => json!(address.to_string()),
            Value::Octets(octets) => json!(hex(octets)),
            Value::Malformed(kind) => json!(kind.to_string()),
        })
    }

    /// What a person wants to know beside the value: seconds, a name, the letters of flags, a wrong checksum.
    pub fn note(&self) -> Option<String> {
        match (&self.value, self.unit) {
            (Value::Number(units), Unit::FourSeconds) => {
                Some(format!("{} s", units * u64::from(Lifetime::UNIT)))
            }
            (Value::Number(_), Unit::Seconds) => Some("s".to_owned()),
            (Value::Number(_), Unit::Milliseconds) => Some("ms".to_owned()),
            (Value::Number(_), Unit::Named(name)) => Some(name.to_owned()),
            (Value::Flags(bits, _, letters), _) => {
                let set: String =
                    letters.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| letter).collect();
                (!set.is_empty()).then_some(set)
            }
            (Value::Checksum(_, Some(true)), _) => Some("right".to_owned()),
            (Value::Checksum(_, Some(false)), _) => Some("WRONG".to_owned()),
            _ => None,
        }
    }
}

/// The value, as [`Tree::text`] shows it behind the name.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Group => f.write_str("present"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Bits(bits, digits) | Value::Flags(bits, digits, _) => {
                write!(f, "0x{bits:0width$x}", width = usize::from(*digits))
            }
            Value::Checksum(sum, _) => write!(f, "0x{sum:04x}"),
            Value::Address(address) => write!(f, "{address}"),
            Value::Octets(octets) if octets.is_empty() => f.write_str("(no octets)"),
            Value::Octets(octets) if octets.len() > 64 => {
                write!(f, "{}... ({} octets)", hex(octets.get(..64).unwrap_or_default()), octets.len())
            }
            Value::Octets(octets) => f.write_str(&hex(octets)),
            Value::Malformed(kind) => write!(f, "{kind} at octet {}", self.offset),
            Value::Missing(count) => write!(f, "{count} octets"),
        }?;
        match self.note() {
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}

fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

const ROUTER_FLAGS: &[(u64, char)] = &[(0x80, 'M'), (0x40, 'O'), (0x20, 'H')];
const NEIGHBOR_FLAGS: &[(u64, char)] = &[(0x8000_0000, 'R'), (0x4000_0000, 'S'), (0x2000_0000, 'O')];
const PREFIX_FLAGS: &[(u64, char)] = &[(0x80, 'L'), (0x40, 'A'), (0x20, 'R')];
const MOBILE_PREFIX_FLAGS: &[(u64, char)] = &[(0x8000, 'M'), (0x4000, 'O')];
const FRAGMENT_FLAGS: &[(u64, char)] = &[(1, 'M')];
const TCP_FLAGS: &[(u64, char)] =
    &[(1, 'F'), (2, 'S'), (4, 'R'), (8, 'P'), (16, '.'), (32, 'U'), (64, 'E'), (128, 'W')];

fn mobility_name(mh_type: u8) -> Option<&'static str> {
    Some(match mh_type {
        kind::BINDING_REFRESH_REQUEST => "Binding Refresh Request",
        kind::HOME_TEST_INIT => "Home Test Init",
        kind::CARE_OF_TEST_INIT => "Care-of Test Init",
        kind::HOME_TEST => "Home Test",
        kind::CARE_OF_TEST => "Care-of Test",
        kind::BINDING_UPDATE => "Binding Update",
        kind::BINDING_ACKNOWLEDGEMENT => "Binding Acknowledgement",
        kind::BINDING_ERROR => "Binding Error",
        _ => return None,
    })
}

fn icmpv6_name(icmpv6_type: u8) -> Option<&'static str> {
    use crate::wire::icmpv6::kind::*;
    Some(match icmpv6_type {
        DESTINATION_UNREACHABLE => "Destination Unreachable",
        PACKET_TOO_BIG => "Packet Too Big",
        TIME_EXCEEDED => "Time Exceeded",
        PARAMETER_PROBLEM => "Parameter Problem",
        ECHO_REQUEST => "Echo Request",
        ECHO_REPLY => "Echo Reply",
        ROUTER_SOLICITATION => "Router Solicitation",
        ROUTER_ADVERTISEMENT => "Router Advertisement",
        NEIGHBOR_SOLICITATION => "Neighbor Solicitation",
        NEIGHBOR_ADVERTISEMENT => "Neighbor Advertisement",
        REDIRECT => "Redirect",
        HOME_AGENT_DISCOVERY_REQUEST => "Home Agent Address Discovery Request",
        HOME_AGENT_DISCOVERY_REPLY => "Home Agent Address Discovery Reply",
        MOBILE_PREFIX_SOLICITATION => "Mobile Prefix Solicitation",
        MOBILE_PREFIX_ADVERTISEMENT => "Mobile Prefix Advertisement",
        _ => return None,
    })
}

fn protocol_name(protocol: u8) -> Unit {
    match protocol {
        next_header::HOP_BY_HOP => Unit::Named("hop-by-hop options"),
        next_header::TCP => Unit::Named("TCP"),
        next_header::UDP => Unit::Named("UDP"),
        next_header::IPV6 => Unit::Named("IPv6"),
        next_header::ROUTING => Unit::Named("routing"),
        next_header::FRAGMENT => Unit::Named("fragment"),
        next_header::ESP => Unit::Named("ESP"),
        next_header::AUTHENTICATION => Unit::Named("AH"),
        next_header::ICMPV6 => Unit::Named("ICMPv6"),
        next_header::NO_NEXT_HEADER => Unit::Named("none"),
        next_header::DESTINATION_OPTIONS => Unit::Named("destination options"),
        next_header::MOBILITY => Unit::Named("mobility"),
        _ => Unit::Plain,
    }
}

/// The upper layer of a packet, with what its checksum and length need.
struct Upper<'a> {
    bytes: &'a [u8],
    base: usize,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    /// No fragment, nothing cut off.
    complete: bool,
}

struct Builder {
    fields: Vec<Field>,
    depth: u8,
    packets: u8,
    quoted: bool,
    summary: Summary,
}

impl Builder {
    fn new(expected: usize) -> Builder {
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

    fn finish(mut self, packet: &[u8]) -> Tree {
        self.packet("ipv6", packet, 0);
        Tree { fields: self.fields, summary: self.summary }
    }

    fn push(&mut self, name: &'static str, value: Value, offset: usize, role: Role, unit: Unit) {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        self.fields.push(Field { depth: self.depth, name, value, unit, role, quoted: self.quoted, offset });
    }

    fn plain(&mut self, name: &'static str, value: Value, offset: usize) {
        self.push(name, value, offset, Role::Plain, Unit::Plain);
    }

    fn number(&mut self, name: &'static str, number: impl Into<u64>, offset: usize) {
        self.plain(name, Value::Number(number.into()), offset);
    }

    fn with_unit(&mut self, name: &'static str, number: impl Into<u64>, offset: usize, unit: Unit) {
        self.push(name, Value::Number(number.into()), offset, Role::Plain, unit);
    }

    fn address(&mut self, name: &'static str, address: Ipv6Addr, offset: usize) {
        self.plain(name, Value::Address(address), offset);
    }

    fn group(&mut self, name: &'static str, offset: usize) {
        self.plain(name, Value::Group, offset);
    }

    fn malformed(&mut self, error: Error, base: usize) {
        self.plain("malformed", Value::Malformed(error.kind), base + error.offset);
    }

    fn within(&mut self, name: &'static str, offset: usize, parts: impl FnOnce(&mut Self)) {
        self.group(name, offset);
        self.depth += 1;
        parts(self);
        self.depth -= 1;
    }

    fn packet(&mut self, name: &'static str, bytes: &[u8], base: usize) {
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

    fn chain(&mut self, header: &Ipv6Header, mut walk: Walk<'_>, bytes: &[u8], base: usize) {
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

    /// One extension header; the results are the home address and the final destination in it.
    fn extension(
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

    fn extension_fields(
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
    fn security(&mut self, rest: &[u8], at: usize) {
        let Some((sequence, data)) = rest.split_first_chunk::<4>() else {
            return self.malformed(Error::new(ErrorKind::Truncated, rest.len()), at);
        };
        let sequence = Value::Number(u32::from_be_bytes(*sequence).into());
        self.push("sequence", sequence, at, Role::SecuritySequence, Unit::Plain);
        self.push("data", Value::Octets(data.to_vec()), at + 4, Role::SecurityData, Unit::Plain);
    }

    fn destination_option(&mut self, option: DestinationOption, at: usize) {
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

    fn unknown_option(&mut self, kind: u8, data: Vec<u8>, at: usize) {
        self.within("option", at, |this| {
            this.number("type", kind, at);
            this.plain("data", Value::Octets(data), at + 2);
        });
    }

    fn upper(&mut self, protocol: u8, upper: &Upper<'_>) {
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

    fn payload(&mut self, data: &[u8], at: usize) {
        self.push("data", Value::Octets(data.to_vec()), at, Role::Payload, Unit::Plain);
    }

    fn checksum(&mut self, sum: u16, right: bool, complete: bool, at: usize) {
        let right = complete.then_some(right);
        self.push("checksum", Value::Checksum(sum, right), at, Role::Checksum, Unit::Plain);
    }

    fn icmpv6(&mut self, upper: &Upper<'_>) {
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

    fn icmpv6_fields(&mut self, message: Icmpv6Message, base: usize) {
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
    fn neighbor_option(&mut self, option: NeighborOption, at: usize) -> usize {
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

    fn quotation(&mut self, invoking: &[u8], at: usize) {
        let quoted = std::mem::replace(&mut self.quoted, true);
        self.packet("invoking-packet", invoking, at);
        self.quoted = quoted;
    }

    fn tcp(&mut self, upper: &Upper<'_>) {
        let (bytes, base) = (upper.bytes, upper.base);
        // A quotation may stop short of the options, whose length is wanted all the same.
        let mut octets = [0; 60];
        octets.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        if bytes.len() < 20 {
            return self.malformed(Error::new(ErrorKind::Truncated, bytes.len()), base);
        }
        let Ok(tcp) = TcpHeaderSlice::from_slice(&octets) else {
            return self.malformed(Error::new(ErrorKind::BadLength, 12), base);
        };
        let header = tcp.slice().len();
        let port = |port: u16| Value::Number(port.into());
        self.push("source-port", port(tcp.source_port()), base, Role::Port, Unit::Plain);
        self.push("destination-port", port(tcp.destination_port()), base + 2, Role::Port, Unit::Plain);
        let sequence = Value::Number(tcp.sequence_number().into());
        self.push("sequence", sequence, base + 4, Role::TcpSequence, Unit::Plain);
        let acknowledged = Value::Number(tcp.acknowledgment_number().into());
        self.push("acknowledgement", acknowledged, base + 8, Role::TcpAcknowledgement, Unit::Plain);
        let flags = bytes.get(13).copied().unwrap_or(0);
        self.plain("flags", Value::Flags(flags.into(), 2, TCP_FLAGS), base + 13);
        self.push("window", Value::Number(tcp.window_size().into()), base + 14, Role::TcpPacing, Unit::Plain);
        let sum = checksum(&upper.source, &upper.destination, next_header::TCP, bytes);
        self.checksum(tcp.checksum(), sum == 0, upper.complete, base + 16);
        let urgent = Value::Number(tcp.urgent_pointer().into());
        self.push("urgent", urgent, base + 18, Role::TcpPacing, Unit::Plain);
        if header > 20 {
            let options = Value::Octets(bytes.get(20..header.min(bytes.len())).unwrap_or_default().to_vec());
            self.push("options", options, base + 20, Role::TcpPacing, Unit::Plain);
        }
        match bytes.get(header..) {
            Some(data) => self.payload(data, base + header),
            // A quotation ends where it likes.
            None if self.quoted => {}
            None => self.malformed(Error::new(ErrorKind::Truncated, bytes.len()), base),
        }
    }

    fn udp(&mut self, upper: &Upper<'_>) {
        let (bytes, base) = (upper.bytes, upper.base);
        let &[a, b, c, d, e, f, g, h, ref data @ ..] = bytes else {
            return self.malformed(Error::new(ErrorKind::Truncated, bytes.len()), base);
        };
        let number = |high, low| Value::Number(u16::from_be_bytes([high, low]).into());
        self.push("source-port", number(a, b), base, Role::Port, Unit::Plain);
        self.push("destination-port", number(c, d), base + 2, Role::Port, Unit::Plain);
        self.plain("length", number(e, f), base + 4);
        let sum = checksum(&upper.source, &upper.destination, next_header::UDP, bytes);
        self.checksum(u16::from_be_bytes([g, h]), sum == 0, upper.complete, base + 6);
        self.payload(data, base + 8);
    }
}

/// The lower of two ports: the service of an ordinary connection.
fn lower_port(bytes: &[u8]) -> u16 {
    match *bytes {
        [a, b, c, d, ..] => u16::from_be_bytes([a, b]).min(u16::from_be_bytes([c, d])),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::ipv6::packet;

    fn tunnels(count: usize, inner: Vec<u8>) -> Vec<u8> {
        let header = Ipv6Header::new(next_header::IPV6, 64, Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        (0..count).fold(inner, |inner, _| packet(header, &inner))
    }

    #[test]
    fn tunnels_nest_to_a_limited_depth() {
        let tree = Tree::of_packet(&tunnels(1000, Vec::new()));
        assert_eq!(tree.fields.iter().filter(|field| field.name == "ipv6").count(), usize::from(DEPTH));
        let last = tree.fields.len() - 1;
        assert_eq!(tree.path(last), ["ipv6"; DEPTH as usize].join(".") + ".deeper");
    }

    #[test]
    fn fields_of_one_name_are_counted_within_their_group() {
        let options = [next_header::NO_NEXT_HEADER, 0, 0, 0, 1, 0, 0, 0];
        let header = Ipv6Header::new(60, 64, Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        let tree = Tree::of_packet(&tunnels(1, packet(header, &options)));
        let paths: Vec<String> = (0..tree.fields.len()).map(|at| tree.path(at)).collect();
        let paddings: Vec<&str> =
            paths.iter().filter_map(|path| path.rsplit_once("options.")).map(|p| p.1).collect();
        assert_eq!(
            paddings,
            ["next-header", "header-length", "pad-1", "pad-1#2", "pad-n", "pad-1#3", "pad-1#4"]
        );
        assert!(paths.iter().any(|path| path == "ipv6.ipv6.destination-options.pad-1"));
    }

    #[test]
    fn offsets_count_from_the_outermost_header() {
        let mut inner = packet(
            Ipv6Header::new(next_header::MOBILITY, 64, Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
            &[59, 0, 5, 0, 0, 0, 0, 0],
        );
        inner.push(0);
        let tree = Tree::of_packet(&tunnels(1, inner));
        let fault = tree.fields.iter().find(|field| matches!(field.value, Value::Malformed(_))).unwrap();
        assert_eq!((fault.to_string().as_str(), fault.offset), ("bad header length at octet 81", 81));
        assert_eq!(tree.summary.kind, Kind::Mobility(5));
    }

    proptest! {
        #[test]
        fn any_octets_have_a_tree_whose_places_are_in_them(
            head in prop::sample::select(vec![0u8, 6, 17, 41, 43, 44, 50, 51, 58, 60, 135]),
            mut octets in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let [first, _, _, _, high, _, next, ..] = octets.as_mut_slice() {
                (*first, *high, *next) = (0x60, 0, head);
            }
            let tree = Tree::of_packet(&octets);
            for (at, field) in tree.fields.iter().enumerate() {
                prop_assert!(field.offset as usize <= octets.len(), "{} {}", tree.path(at), field.offset);
                prop_assert_eq!(tree.path(at).split('.').count(), usize::from(field.depth) + 1);
            }
            prop_assert_eq!(tree.text().lines().count(), tree.fields.len());
            prop_assert!(tree.json().is_array());
        }
    }
}
