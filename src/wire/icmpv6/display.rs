//! ICMPv6 messages as text, in the order and words of tcpdump, without the packet that an error quotes.
//! The fields are those of RFC 4443, RFC 4861 and RFC 3775 sections 6.5 to 6.8; discovery options are told
//! where they are about mobility. Used by the dissection and by whoever logs a message.

use std::fmt;

use super::{Icmpv6Message, NeighborOption, neighbor_flags, prefix_flags, router_flags};

/// The flags that are set, one letter each.
fn letters<T: Copy + PartialEq + std::ops::BitAnd<Output = T>>(flags: T, known: &[(T, char)]) -> String {
    known.iter().filter(|(flag, _)| flags & *flag == *flag).map(|(_, letter)| letter).collect()
}

impl fmt::Display for Icmpv6Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DestinationUnreachable { code, .. } => match code {
                0 => write!(f, "destination unreachable, unreachable route"),
                1 => write!(f, "destination unreachable, unreachable prohibited"),
                2 => write!(f, "destination unreachable, beyond scope"),
                3 => write!(f, "destination unreachable, unreachable address"),
                4 => write!(f, "destination unreachable, unreachable port"),
                code => write!(f, "destination unreachable, code-#{code}"),
            },
            Self::PacketTooBig { mtu, .. } => write!(f, "packet too big, mtu {mtu}"),
            Self::TimeExceeded { code: 0, .. } => write!(f, "time exceeded in-transit"),
            Self::TimeExceeded { code: 1, .. } => write!(f, "ip reassembly time exceeded"),
            Self::TimeExceeded { code, .. } => write!(f, "time exceeded, code-#{code}"),
            Self::ParameterProblem { code, pointer, .. } => match code {
                0 => write!(f, "parameter problem, erroneous - octet {pointer}"),
                1 => write!(f, "parameter problem, next header - octet {pointer}"),
                2 => write!(f, "parameter problem, option - octet {pointer}"),
                code => write!(f, "parameter problem, code-#{code} - octet {pointer}"),
            },
            Self::EchoRequest { identifier, sequence, .. } => {
                write!(f, "echo request, id {identifier}, seq {sequence}")
            }
            Self::EchoReply { identifier, sequence, .. } => {
                write!(f, "echo reply, id {identifier}, seq {sequence}")
            }
            Self::RouterSolicitation { .. } => write!(f, "router solicitation"),
            Self::RouterAdvertisement { flags, lifetime, options, .. } => {
                let known = [
                    (router_flags::MANAGED, 'M'),
                    (router_flags::OTHER, 'O'),
                    (router_flags::HOME_AGENT, 'H'),
                ];
                write!(f, "router advertisement, flags [{}], lifetime {lifetime}s", letters(*flags, &known))?;
                options.iter().try_for_each(|option| write!(f, "{option}"))
            }
            Self::NeighborSolicitation { target, .. } => write!(f, "neighbor solicitation, who has {target}"),
            Self::NeighborAdvertisement { flags, target, .. } => {
                let known = [
                    (neighbor_flags::ROUTER, 'R'),
                    (neighbor_flags::SOLICITED, 'S'),
                    (neighbor_flags::OVERRIDE, 'O'),
                ];
                write!(f, "neighbor advertisement, tgt is {target}, flags [{}]", letters(*flags, &known))
            }
            Self::Redirect { target, destination, .. } => write!(f, "redirect, {destination} to {target}"),
            Self::HomeAgentDiscoveryRequest { identifier, .. } => {
                write!(f, "ha discovery request, id 0x{identifier:04x}")
            }
            Self::HomeAgentDiscoveryReply { identifier, home_agents, .. } => {
                write!(f, "ha discovery reply, id 0x{identifier:04x}")?;
                home_agents.iter().try_for_each(|address| write!(f, ", {address}"))
            }
            Self::MobilePrefixSolicitation { identifier, .. } => {
                write!(f, "mobile prefix solicitation, id 0x{identifier:04x}")
            }
            Self::MobilePrefixAdvertisement { identifier, options, .. } => {
                write!(f, "mobile prefix advertisement, id 0x{identifier:04x}")?;
                options.iter().try_for_each(|option| write!(f, "{option}"))
            }
            Self::Unknown { kind, code, .. } => write!(f, "type-#{kind}, code {code}"),
        }
    }
}

impl fmt::Display for NeighborOption {
    /// Begins with a comma, and is empty for options that say nothing about mobility.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrefixInformation {
                prefix_length,
                flags,
                valid_lifetime,
                preferred_lifetime,
                prefix,
                ..
            } => {
                let known = [
                    (prefix_flags::ON_LINK, 'L'),
                    (prefix_flags::AUTONOMOUS, 'A'),
                    (prefix_flags::ROUTER_ADDRESS, 'R'),
                ];
                let flags = letters(*flags, &known);
                write!(
                    f,
                    ", prefix {prefix}/{prefix_length} [{flags}] valid {valid_lifetime}s preferred {preferred_lifetime}s"
                )
            }
            Self::AdvertisementInterval { milliseconds, .. } => write!(f, ", interval {milliseconds}ms"),
            Self::HomeAgentInformation { preference, lifetime, .. } => {
                write!(f, ", home agent preference {preference} lifetime {lifetime}s")
            }
            _ => Ok(()),
        }
    }
}
