//! A captured packet as one looks at it: tunnel headers taken apart, the message inside, and a few words for it.
//! It follows RFC 2473 tunnels inwards and RFC 3775 section 6.3 and 6.4 headers to the addresses the ends mean.
//! The ladder takes its labels from it, the lab's claims their facts.

use std::{fmt, net::Ipv6Addr};

use crate::wire::{
    self, Packet,
    destination_options::{DestinationOption, DestinationOptions},
    icmpv6::{Icmpv6, Icmpv6Message},
    ipv6::{self, next_header},
    mobility::{self, Message, MobilityHeader, MobilityOption},
};

/// One IPv6 header with what Mobile IPv6 put beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Source address in the header.
    pub source: Ipv6Addr,
    /// Destination address in the header.
    pub destination: Ipv6Addr,
    /// Hop limit where the packet was captured.
    pub hop_limit: u8,
    /// The home address option (RFC 3775 section 6.3).
    pub home_address: Option<Ipv6Addr>,
    /// The options of the header that the home address option stands in, in order.
    pub options: Vec<DestinationOption>,
    /// The address in a type 2 routing header with a segment left (RFC 3775 section 6.4).
    pub routing2: Option<Ipv6Addr>,
}

impl Layer {
    /// The source as upper layers see it.
    pub fn final_source(&self) -> Ipv6Addr {
        self.home_address.unwrap_or(self.source)
    }

    /// The destination as upper layers see it.
    pub fn final_destination(&self) -> Ipv6Addr {
        self.routing2.unwrap_or(self.destination)
    }
}

/// A TCP header's facts (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// The eight control bits, CWR first and FIN last.
    pub flags: u8,
    /// Octets of payload.
    pub payload: usize,
}

impl Segment {
    /// FIN.
    pub const FIN: u8 = 1;
    /// SYN.
    pub const SYN: u8 = 2;
    /// RST.
    pub const RST: u8 = 4;
    /// ACK.
    pub const ACK: u8 = 16;

    /// True when `flag` is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What is inside the innermost IPv6 header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A Mobility Header; is its checksum right over the home address and the final destination?
    Mobility(MobilityHeader, bool),
    /// An ICMPv6 message; is its checksum right?
    Icmpv6(Icmpv6, bool),
    /// A TCP segment.
    Tcp(Segment),
    /// A UDP datagram: source and destination port, octets of payload.
    Udp(u16, u16, usize),
    /// A fragment other than the first.
    Fragment,
    /// Another protocol.
    Other(u8),
    /// Octets that are not what their header says; offset from the start of that message.
    Malformed(u8, wire::Error),
}

/// A packet looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The outermost header.
    pub outer: Layer,
    /// The headers of the packets tunnelled in it, outermost first.
    pub tunnelled: Vec<Layer>,
    /// What the innermost carries.
    pub content: Content,
}

impl View {
    /// Looks at a whole IPv6 packet.
    ///
    /// # Errors
    /// Where the IPv6 or extension headers of the packet, or of a tunnelled one, cannot be walked. A bad message
    /// behind good headers is [`Content::Malformed`] instead.
    pub fn parse(bytes: &[u8]) -> wire::Result<View> {
        let packet = Packet::parse(bytes)?;
        let outer = layer(&packet)?;
        if packet.upper.protocol == next_header::IPV6 {
            let View { outer: inner, mut tunnelled, content } = View::parse(packet.payload())
                .map_err(|error| wire::Error { offset: error.offset + packet.upper.offset, ..error })?;
            tunnelled.insert(0, inner);
            return Ok(View { outer, tunnelled, content });
        }
        let content = content(&packet);
        Ok(View { outer, tunnelled: Vec::new(), content })
    }

    /// The innermost header: that of the packet the ends sent.
    pub fn inner(&self) -> &Layer {
        self.tunnelled.last().unwrap_or(&self.outer)
    }

    /// True when another packet is inside.
    pub fn is_tunnel(&self) -> bool {
        !self.tunnelled.is_empty()
    }

    /// The mobility message, if it is one.
    pub fn mobility(&self) -> Option<&Message> {
        match &self.content {
            Content::Mobility(header, _) => Some(&header.message),
            _ => None,
        }
    }

    /// The ICMPv6 message, if it is one.
    pub fn icmpv6(&self) -> Option<&Icmpv6Message> {
        match &self.content {
            Content::Icmpv6(message, _) => Some(&message.message),
            _ => None,
        }
    }

    /// The TCP segment, if it is one.
    pub fn tcp(&self) -> Option<&Segment> {
        match &self.content {
            Content::Tcp(segment) => Some(segment),
            _ => None,
        }
    }

    /// Identifier and sequence number of an echo request.
    pub fn echo_request(&self) -> Option<(u16, u16)> {
        match self.icmpv6()? {
            Icmpv6Message::EchoRequest { identifier, sequence, .. } => Some((*identifier, *sequence)),
            _ => None,
        }
    }

    /// Identifier and sequence number of an echo reply.
    pub fn echo_reply(&self) -> Option<(u16, u16)> {
        match self.icmpv6()? {
            Icmpv6Message::EchoReply { identifier, sequence, .. } => Some((*identifier, *sequence)),
            _ => None,
        }
    }

    /// Code, pointer and quoted packet of an ICMPv6 Parameter Problem (RFC 4443 section 3.4).
    pub fn parameter_problem(&self) -> Option<(u8, u32, &[u8])> {
        match self.icmpv6()? {
            Icmpv6Message::ParameterProblem { code, pointer, invoking } => Some((*code, *pointer, invoking)),
            _ => None,
        }
    }

    /// True for what applications send: echo, TCP and UDP.
    pub fn is_data(&self) -> bool {
        self.echo_request().is_some()
            || self.echo_reply().is_some()
            || matches!(self.content, Content::Tcp(_) | Content::Udp(..))
    }

    /// True for an ICMPv6 error, a message that is not what it says, or a reset connection.
    pub fn is_trouble(&self) -> bool {
        match &self.content {
            Content::Malformed(..) => true,
            Content::Tcp(segment) => segment.has(Segment::RST),
            Content::Icmpv6(_, false) | Content::Mobility(_, false) => true,
            Content::Icmpv6(message, true) => matches!(
                message.message,
                Icmpv6Message::DestinationUnreachable { .. }
                    | Icmpv6Message::PacketTooBig { .. }
                    | Icmpv6Message::TimeExceeded { .. }
                    | Icmpv6Message::ParameterProblem { .. }
            ),
            Content::Mobility(header, true) => match &header.message {
                Message::BindingAcknowledgement(message) => !message.status.is_accepted(),
                Message::BindingError(_) => true,
                _ => false,
            },
            _ => false,
        }
    }
}

/// A few words, as on a ladder diagram: `tunnel[HoTI]`, `BA 135 seq 200 (RH2)`, `echo request`.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for _ in &self.tunnelled {
            f.write_str("tunnel[")?;
        }
        write_content(f, &self.content)?;
        let inner = self.inner();
        match (inner.routing2, inner.home_address) {
            (Some(_), Some(_)) => f.write_str(" (RH2, HAO)")?,
            (Some(_), None) => f.write_str(" (RH2)")?,
            (None, Some(_)) => f.write_str(" (HAO)")?,
            (None, None) => {}
        }
        for _ in &self.tunnelled {
            f.write_str("]")?;
        }
        Ok(())
    }
}

fn layer(packet: &Packet<'_>) -> wire::Result<Layer> {
    let options = match packet.home_address {
        Some(at) => {
            DestinationOptions::parse(packet.bytes.get(at.header_offset..).unwrap_or_default())
                .map_err(|error| wire::Error { offset: error.offset + at.header_offset, ..error })?
                .0
                .options
        }
        None => Vec::new(),
    };
    Ok(Layer {
        source: packet.header.source,
        destination: packet.header.destination,
        hop_limit: packet.header.hop_limit,
        home_address: packet.home_address.map(|at| at.address),
        options,
        routing2: packet.routing2.filter(|at| at.segments_left == 1).map(|at| at.address),
    })
}

fn content(packet: &Packet<'_>) -> Content {
    let payload = packet.payload();
    let (source, destination) = (packet.final_source(), packet.final_destination());
    match packet.upper.protocol {
        next_header::MOBILITY => match MobilityHeader::parse(payload) {
            Ok(header) => {
                let valid = mobility::checksum_is_valid(payload, &source, &destination);
                Content::Mobility(header, valid)
            }
            Err(error) => Content::Malformed(next_header::MOBILITY, error),
        },
        next_header::ICMPV6 => match Icmpv6::parse(payload) {
            Ok(message) => {
                let valid = ipv6::checksum(&source, &destination, next_header::ICMPV6, payload) == 0;
                Content::Icmpv6(message, valid)
            }
            Err(error) => Content::Malformed(next_header::ICMPV6, error),
        },
        next_header::TCP => match segment(payload) {
            Some(segment) => Content::Tcp(segment),
            None => Content::Malformed(next_header::TCP, truncated(payload)),
        },
        next_header::UDP => match payload {
            [a, b, c, d, _, _, _, _, data @ ..] => {
                Content::Udp(u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]), data.len())
            }
            _ => Content::Malformed(next_header::UDP, truncated(payload)),
        },
        next_header::FRAGMENT => Content::Fragment,
        other => Content::Other(other),
    }
}

fn truncated(bytes: &[u8]) -> wire::Error {
    wire::Error { kind: wire::ErrorKind::Truncated, offset: bytes.len() }
}

fn segment(bytes: &[u8]) -> Option<Segment> {
    let (header, rest) = bytes.split_first_chunk::<20>()?;
    let [a, b, c, d, s0, s1, s2, s3, _, _, _, _, offset, flags, ..] = *header;
    let options = usize::from(offset >> 4).checked_sub(5)? * 4;
    Some(Segment {
        source_port: u16::from_be_bytes([a, b]),
        destination_port: u16::from_be_bytes([c, d]),
        sequence: u32::from_be_bytes([s0, s1, s2, s3]),
        flags,
        payload: rest.len().checked_sub(options)?,
    })
}

fn write_content(f: &mut fmt::Formatter<'_>, content: &Content) -> fmt::Result {
    match content {
        Content::Mobility(header, valid) => {
            write_mobility(f, &header.message)?;
            f.write_str(if *valid { "" } else { " BAD CHECKSUM" })
        }
        Content::Icmpv6(message, valid) => {
            write_icmpv6(f, &message.message)?;
            f.write_str(if *valid { "" } else { " BAD CHECKSUM" })
        }
        Content::Tcp(segment) => {
            write!(f, "TCP {}→{} ", segment.source_port, segment.destination_port)?;
            f.write_str(match segment {
                segment if segment.has(Segment::RST) => "RST",
                segment if segment.has(Segment::SYN) && segment.has(Segment::ACK) => "SYN ACK",
                segment if segment.has(Segment::SYN) => "SYN",
                segment if segment.has(Segment::FIN) => "FIN",
                segment if segment.payload > 0 => "data",
                _ => "ACK",
            })
        }
        Content::Udp(source, destination, _) => write!(f, "UDP {source}→{destination}"),
        Content::Fragment => f.write_str("fragment"),
        Content::Other(protocol) => write!(f, "protocol {protocol}"),
        Content::Malformed(protocol, error) => write!(f, "malformed (protocol {protocol}: {error})"),
    }
}

fn write_mobility(f: &mut fmt::Formatter<'_>, message: &Message) -> fmt::Result {
    match message {
        Message::BindingRefreshRequest(_) => f.write_str("BRR"),
        Message::HomeTestInit(_) => f.write_str("HoTI"),
        Message::CareOfTestInit(_) => f.write_str("CoTI"),
        Message::HomeTest(_) => f.write_str("HoT"),
        Message::CareOfTest(_) => f.write_str("CoT"),
        Message::BindingUpdate(update) => {
            write!(f, "BU seq {}", update.sequence)?;
            if update.lifetime == mobility::Lifetime::ZERO {
                f.write_str(" lifetime 0")?;
            }
            for option in &update.options {
                if let MobilityOption::NonceIndices { home, care_of } = option {
                    write!(f, " nonces {home},{care_of}")?;
                }
            }
            Ok(())
        }
        Message::BindingAcknowledgement(message) => {
            write!(f, "BA {} seq {}", message.status.0, message.sequence)
        }
        Message::BindingError(error) => write!(f, "BE {}", error.status),
        Message::Unknown { kind, .. } => write!(f, "Mobility Header type {kind}"),
    }
}

fn write_icmpv6(f: &mut fmt::Formatter<'_>, message: &Icmpv6Message) -> fmt::Result {
    let (name, code, invoking) = match message {
        Icmpv6Message::DestinationUnreachable { code, invoking, .. } => ("Unreachable", *code, invoking),
        Icmpv6Message::PacketTooBig { mtu, invoking, .. } => {
            write!(f, "Packet Too Big {mtu}")?;
            return write_quoted(f, invoking);
        }
        Icmpv6Message::TimeExceeded { code, invoking, .. } => ("Time Exceeded", *code, invoking),
        Icmpv6Message::ParameterProblem { code, invoking, .. } => ("Parameter Problem", *code, invoking),
        Icmpv6Message::EchoRequest { .. } => return f.write_str("echo request"),
        Icmpv6Message::EchoReply { .. } => return f.write_str("echo reply"),
        Icmpv6Message::RouterSolicitation { .. } => return f.write_str("RS"),
        Icmpv6Message::RouterAdvertisement { .. } => return f.write_str("RA"),
        Icmpv6Message::NeighborSolicitation { target, .. } => return write!(f, "NS {target}"),
        Icmpv6Message::NeighborAdvertisement { target, flags, .. } => {
            let override_flag = flags & 0x2000_0000 != 0;
            return write!(f, "NA {target}{}", if override_flag { " override" } else { "" });
        }
        Icmpv6Message::Redirect { .. } => return f.write_str("Redirect"),
        Icmpv6Message::HomeAgentDiscoveryRequest { .. } => return f.write_str("DHAAD request"),
        Icmpv6Message::HomeAgentDiscoveryReply { .. } => return f.write_str("DHAAD reply"),
        Icmpv6Message::MobilePrefixSolicitation { .. } => return f.write_str("MPS"),
        Icmpv6Message::MobilePrefixAdvertisement { .. } => return f.write_str("MPA"),
        Icmpv6Message::Unknown { kind, .. } => return write!(f, "ICMPv6 type {kind}"),
    };
    write!(f, "{name} {code}")?;
    write_quoted(f, invoking)
}

/// What an ICMPv6 error is about, when enough of it is quoted to tell.
fn write_quoted(f: &mut fmt::Formatter<'_>, invoking: &[u8]) -> fmt::Result {
    match View::parse(invoking) {
        Ok(view) => write!(f, " {{{view}}}"),
        Err(_) => Ok(()),
    }
}
