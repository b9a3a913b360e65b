//! A packet as a tree of fields: every header, message, option and field with its name, value and place.
//! The names are those of RFC 8200, 4443, 4861, 9293 and 3775 section 6; tunnels (RFC 2473) and quoted packets nest.
//! `decode` shows the tree, and the comparison of captures compares it field by field.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use super::capture::{Frame, Link};
use crate::wire::ErrorKind;
use builder::Builder;
use names::{icmpv6_name, mobility_name};

mod builder;
mod extension;
mod icmpv6;
mod mobility;
mod names;
mod told;
mod transport;

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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::builder::DEPTH;
    use super::*;
    use crate::wire::ipv6::{Ipv6Header, next_header, packet};

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
