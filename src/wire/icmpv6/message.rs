//! The ICMPv6 messages as values.
//! RFC 4443 sections 3 and 4, RFC 4861 section 4, RFC 3775 sections 6.5 to 6.8 and 7.1.
//! Called by `protocol` on the payload of a packet whose chain ends in protocol 58.

use std::net::Ipv6Addr;

use super::neighbor::NeighborOption;
use crate::wire::ipv6::{self, next_header};
use crate::wire::reader::Reader;
use crate::wire::{Error, ErrorKind, Result};

/// ICMPv6 types.
pub mod kind {
    /// Destination Unreachable.
    pub const DESTINATION_UNREACHABLE: u8 = 1;
    /// Packet Too Big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time Exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter Problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo Request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo Reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Router Solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router Advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbor Solicitation.
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// Neighbor Advertisement.
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
    /// Home Agent Address Discovery Request.
    pub const HOME_AGENT_DISCOVERY_REQUEST: u8 = 144;
    /// Home Agent Address Discovery Reply.
    pub const HOME_AGENT_DISCOVERY_REPLY: u8 = 145;
    /// Mobile Prefix Solicitation.
    pub const MOBILE_PREFIX_SOLICITATION: u8 = 146;
    /// Mobile Prefix Advertisement.
    pub const MOBILE_PREFIX_ADVERTISEMENT: u8 = 147;
}

/// The flags of a Router Advertisement.
pub mod router_flags {
    /// M: addresses by DHCPv6.
    pub const MANAGED: u8 = 0x80;
    /// O: other configuration by DHCPv6.
    pub const OTHER: u8 = 0x40;
    /// H: the router is a home agent (RFC 3775 section 7.1).
    pub const HOME_AGENT: u8 = 0x20;
}

/// The flags of a Neighbor Advertisement.
pub mod neighbor_flags {
    /// R: the sender is a router.
    pub const ROUTER: u32 = 0x8000_0000;
    /// S: answers a solicitation.
    pub const SOLICITED: u32 = 0x4000_0000;
    /// O: replaces a cached link-layer address.
    pub const OVERRIDE: u32 = 0x2000_0000;
}

/// An ICMPv6 message with its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmpv6 {
    /// As it stands on the wire.
    pub checksum: u16,
    /// The message.
    pub message: Icmpv6Message,
}

/// What an ICMPv6 message says. `code` is 0 where nothing else is said; reserved fields are 0 from anyone
/// conforming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Icmpv6Message {
    /// RFC 4443 section 3.1; `invoking` is as much of the packet as was quoted.
    DestinationUnreachable { code: u8, unused: u32, invoking: Vec<u8> },
    /// RFC 4443 section 3.2; `mtu` in octets.
    PacketTooBig { code: u8, mtu: u32, invoking: Vec<u8> },
    /// RFC 4443 section 3.3.
    TimeExceeded { code: u8, unused: u32, invoking: Vec<u8> },
    /// RFC 4443 section 3.4; `pointer` is the offending octet of the invoking packet.
    ParameterProblem { code: u8, pointer: u32, invoking: Vec<u8> },
    /// RFC 4443 section 4.1.
    EchoRequest { code: u8, identifier: u16, sequence: u16, data: Vec<u8> },
    /// RFC 4443 section 4.2.
    EchoReply { code: u8, identifier: u16, sequence: u16, data: Vec<u8> },
    /// RFC 4861 section 4.1.
    RouterSolicitation { code: u8, reserved: u32, options: Vec<NeighborOption> },
    /// RFC 4861 section 4.2, RFC 3775 section 7.1; `flags` see [`router_flags`], `lifetime` in seconds,
    /// `reachable_time` and `retransmission_timer` in milliseconds.
    RouterAdvertisement {
        code: u8,
        hop_limit: u8,
        flags: u8,
        lifetime: u16,
        reachable_time: u32,
        retransmission_timer: u32,
        options: Vec<NeighborOption>,
    },
    /// RFC 4861 section 4.3.
    NeighborSolicitation { code: u8, reserved: u32, target: Ipv6Addr, options: Vec<NeighborOption> },
    /// RFC 4861 section 4.4; `flags` see [`neighbor_flags`].
    NeighborAdvertisement { code: u8, flags: u32, target: Ipv6Addr, options: Vec<NeighborOption> },
    /// RFC 4861 section 4.5.
    Redirect {
        code: u8,
        reserved: u32,
        target: Ipv6Addr,
        destination: Ipv6Addr,
        options: Vec<NeighborOption>,
    },
    /// RFC 3775 section 6.5.
    HomeAgentDiscoveryRequest { code: u8, identifier: u16, reserved: u16 },
    /// RFC 3775 section 6.6; the best home agent first.
    HomeAgentDiscoveryReply { code: u8, identifier: u16, reserved: u16, home_agents: Vec<Ipv6Addr> },
    /// RFC 3775 section 6.7.
    MobilePrefixSolicitation { code: u8, identifier: u16, reserved: u16, options: Vec<NeighborOption> },
    /// RFC 3775 section 6.8; in `flags` M is 0x8000 and O is 0x4000.
    MobilePrefixAdvertisement { code: u8, identifier: u16, flags: u16, options: Vec<NeighborOption> },
    /// Any other type; `body` is what follows the checksum.
    Unknown { kind: u8, code: u8, body: Vec<u8> },
}

/// Where the checksum stands.
const CHECKSUM: std::ops::Range<usize> = 2..4;

impl Icmpv6 {
    /// Reads a message that fills `bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`]; [`ErrorKind::BadOptionLength`] for an option of length zero or one that
    /// overruns the message; [`ErrorKind::LengthMismatch`] for octets left over where the type has no room
    /// for them.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let [kind, code] = reader.array()?;
        let checksum = reader.u16()?;
        Ok(Self { checksum, message: Icmpv6Message::parse(kind, code, &mut reader, bytes)? })
    }

    /// The octets of the message, the checksum as stored.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = vec![self.message.kind(), self.message.code()];
        out.extend(self.checksum.to_be_bytes());
        self.message.emit_into(&mut out);
        out
    }

    /// Like [`Self::emit`] with the right checksum, for the home address when there is a home address option
    /// and the final destination when there is a type 2 routing header.
    pub fn emit_for(&self, source: &Ipv6Addr, destination: &Ipv6Addr) -> Vec<u8> {
        let mut out = self.emit();
        out[CHECKSUM].fill(0);
        let checksum = ipv6::checksum(source, destination, next_header::ICMPV6, &out);
        out[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        out
    }
}

impl From<Icmpv6Message> for Icmpv6 {
    /// With checksum zero.
    fn from(message: Icmpv6Message) -> Self {
        Self { checksum: 0, message }
    }
}

impl Icmpv6Message {
    /// The ICMPv6 type.
    pub fn kind(&self) -> u8 {
        match self {
            Self::DestinationUnreachable { .. } => kind::DESTINATION_UNREACHABLE,
            Self::PacketTooBig { .. } => kind::PACKET_TOO_BIG,
            Self::TimeExceeded { .. } => kind::TIME_EXCEEDED,
            Self::ParameterProblem { .. } => kind::PARAMETER_PROBLEM,
            Self::EchoRequest { .. } => kind::ECHO_REQUEST,
            Self::EchoReply { .. } => kind::ECHO_REPLY,
            Self::RouterSolicitation { .. } => kind::ROUTER_SOLICITATION,
            Self::RouterAdvertisement { .. } => kind::ROUTER_ADVERTISEMENT,
            Self::NeighborSolicitation { .. } => kind::NEIGHBOR_SOLICITATION,
            Self::NeighborAdvertisement { .. } => kind::NEIGHBOR_ADVERTISEMENT,
            Self::Redirect { .. } => kind::REDIRECT,
            Self::HomeAgentDiscoveryRequest { .. } => kind::HOME_AGENT_DISCOVERY_REQUEST,
            Self::HomeAgentDiscoveryReply { .. } => kind::HOME_AGENT_DISCOVERY_REPLY,
            Self::MobilePrefixSolicitation { .. } => kind::MOBILE_PREFIX_SOLICITATION,
            Self::MobilePrefixAdvertisement { .. } => kind::MOBILE_PREFIX_ADVERTISEMENT,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// The ICMPv6 code.
    pub fn code(&self) -> u8 {
        match self {
            Self::DestinationUnreachable { code, .. }
            | Self::PacketTooBig { code, .. }
            | Self::TimeExceeded { code, .. }
            | Self::ParameterProblem { code, .. }
            | Self::EchoRequest { code, .. }
            | Self::EchoReply { code, .. }
            | Self::RouterSolicitation { code, .. }
            | Self::RouterAdvertisement { code, .. }
            | Self::NeighborSolicitation { code, .. }
            | Self::NeighborAdvertisement { code, .. }
            | Self::Redirect { code, .. }
            | Self::HomeAgentDiscoveryRequest { code, .. }
            | Self::HomeAgentDiscoveryReply { code, .. }
            | Self::MobilePrefixSolicitation { code, .. }
            | Self::MobilePrefixAdvertisement { code, .. }
            | Self::Unknown { code, .. } => *code,
        }
    }

    /// The packet that an error message quotes.
    pub fn invoking(&self) -> Option<&[u8]> {
        match self {
            Self::DestinationUnreachable { invoking, .. }
            | Self::PacketTooBig { invoking, .. }
            | Self::TimeExceeded { invoking, .. }
            | Self::ParameterProblem { invoking, .. } => Some(invoking),
            _ => None,
        }
    }

    fn parse(kind: u8, code: u8, reader: &mut Reader<'_>, bytes: &[u8]) -> Result<Self> {
        Ok(match kind {
            kind::DESTINATION_UNREACHABLE => {
                Self::DestinationUnreachable { code, unused: reader.u32()?, invoking: reader.rest().to_vec() }
            }
            kind::PACKET_TOO_BIG => {
                Self::PacketTooBig { code, mtu: reader.u32()?, invoking: reader.rest().to_vec() }
            }
            kind::TIME_EXCEEDED => {
                Self::TimeExceeded { code, unused: reader.u32()?, invoking: reader.rest().to_vec() }
            }
            kind::PARAMETER_PROBLEM => {
                Self::ParameterProblem { code, pointer: reader.u32()?, invoking: reader.rest().to_vec() }
            }
            kind::ECHO_REQUEST => {
                let (identifier, sequence) = (reader.u16()?, reader.u16()?);
                Self::EchoRequest { code, identifier, sequence, data: reader.rest().to_vec() }
            }
            kind::ECHO_REPLY => {
                let (identifier, sequence) = (reader.u16()?, reader.u16()?);
                Self::EchoReply { code, identifier, sequence, data: reader.rest().to_vec() }
            }
            kind::ROUTER_SOLICITATION => {
                let reserved = reader.u32()?;
                Self::RouterSolicitation { code, reserved, options: options(reader, bytes)? }
            }
            kind::ROUTER_ADVERTISEMENT => Self::RouterAdvertisement {
                code,
                hop_limit: reader.u8()?,
                flags: reader.u8()?,
                lifetime: reader.u16()?,
                reachable_time: reader.u32()?,
                retransmission_timer: reader.u32()?,
                options: options(reader, bytes)?,
            },
            kind::NEIGHBOR_SOLICITATION => Self::NeighborSolicitation {
                code,
                reserved: reader.u32()?,
                target: reader.address()?,
                options: options(reader, bytes)?,
            },
            kind::NEIGHBOR_ADVERTISEMENT => Self::NeighborAdvertisement {
                code,
                flags: reader.u32()?,
                target: reader.address()?,
                options: options(reader, bytes)?,
            },
            kind::REDIRECT => Self::Redirect {
                code,
                reserved: reader.u32()?,
                target: reader.address()?,
                destination: reader.address()?,
                options: options(reader, bytes)?,
            },
            kind::HOME_AGENT_DISCOVERY_REQUEST => {
                let (identifier, reserved) = (reader.u16()?, reader.u16()?);
                if !reader.is_empty() {
                    return Err(Error::new(ErrorKind::LengthMismatch, reader.offset()));
                }
                Self::HomeAgentDiscoveryRequest { code, identifier, reserved }
            }
            kind::HOME_AGENT_DISCOVERY_REPLY => {
                let (identifier, reserved) = (reader.u16()?, reader.u16()?);
                let mut home_agents = Vec::new();
                while !reader.is_empty() {
                    let mismatch = Error::new(ErrorKind::LengthMismatch, reader.offset());
                    home_agents.push(reader.address().map_err(|_| mismatch)?);
                }
                Self::HomeAgentDiscoveryReply { code, identifier, reserved, home_agents }
            }
            kind::MOBILE_PREFIX_SOLICITATION => Self::MobilePrefixSolicitation {
                code,
                identifier: reader.u16()?,
                reserved: reader.u16()?,
                options: options(reader, bytes)?,
            },
            kind::MOBILE_PREFIX_ADVERTISEMENT => Self::MobilePrefixAdvertisement {
                code,
                identifier: reader.u16()?,
                flags: reader.u16()?,
                options: options(reader, bytes)?,
            },
            kind => Self::Unknown { kind, code, body: reader.rest().to_vec() },
        })
    }

    /// Appends what follows the checksum.
    fn emit_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::DestinationUnreachable { unused: word, invoking, .. }
            | Self::PacketTooBig { mtu: word, invoking, .. }
            | Self::TimeExceeded { unused: word, invoking, .. }
            | Self::ParameterProblem { pointer: word, invoking, .. } => {
                out.extend(word.to_be_bytes());
                out.extend(invoking);
            }
            Self::EchoRequest { identifier, sequence, data, .. }
            | Self::EchoReply { identifier, sequence, data, .. } => {
                out.extend(identifier.to_be_bytes());
                out.extend(sequence.to_be_bytes());
                out.extend(data);
            }
            Self::RouterSolicitation { reserved, .. } => out.extend(reserved.to_be_bytes()),
            Self::RouterAdvertisement {
                hop_limit,
                flags,
                lifetime,
                reachable_time,
                retransmission_timer,
                ..
            } => {
                out.extend([*hop_limit, *flags]);
                out.extend(lifetime.to_be_bytes());
                out.extend(reachable_time.to_be_bytes());
                out.extend(retransmission_timer.to_be_bytes());
            }
            Self::NeighborSolicitation { reserved: word, target, .. }
            | Self::NeighborAdvertisement { flags: word, target, .. } => {
                out.extend(word.to_be_bytes());
                out.extend(target.octets());
            }
            Self::Redirect { reserved, target, destination, .. } => {
                out.extend(reserved.to_be_bytes());
                out.extend(target.octets());
                out.extend(destination.octets());
            }
            Self::HomeAgentDiscoveryRequest { identifier, reserved: field, .. }
            | Self::HomeAgentDiscoveryReply { identifier, reserved: field, .. }
            | Self::MobilePrefixSolicitation { identifier, reserved: field, .. }
            | Self::MobilePrefixAdvertisement { identifier, flags: field, .. } => {
                out.extend(identifier.to_be_bytes());
                out.extend(field.to_be_bytes());
            }
            Self::Unknown { body, .. } => out.extend(body),
        }
        match self {
            Self::HomeAgentDiscoveryReply { home_agents, .. } => {
                home_agents.iter().for_each(|address| out.extend(address.octets()));
            }
            Self::RouterSolicitation { options, .. }
            | Self::RouterAdvertisement { options, .. }
            | Self::NeighborSolicitation { options, .. }
            | Self::NeighborAdvertisement { options, .. }
            | Self::Redirect { options, .. }
            | Self::MobilePrefixSolicitation { options, .. }
            | Self::MobilePrefixAdvertisement { options, .. } => {
                options.iter().for_each(|option| option.emit_into(out));
            }
            _ => {}
        }
    }
}

fn options(reader: &Reader<'_>, bytes: &[u8]) -> Result<Vec<NeighborOption>> {
    NeighborOption::parse_all(bytes, reader.offset())
}
