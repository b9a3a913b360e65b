//! Links, addresses, routes, policy rules and proxied neighbours by rtnetlink, one request at a time.
//! It is what RFC 3775 section 10.4.1 (proxy neighbour discovery) and thesis section 4 ask of a host.
//! Called by the rest of `platform::linux`; nothing here touches packets.

use super::super::interface::{InterfaceAddress, ROUTE_PROTOCOL};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo},
    link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    os::fd::{AsRawFd, BorrowedFd},
};

/// Multicast groups of rtnetlink that tell of links and of IPv6 addresses (`RTNLGRP_*` as masks).
const EVENT_GROUPS: u32 = 1 | 1 << (libc::RTNLGRP_IPV6_IFADDR - 1);

/// Multicast groups that tell of everything a next hop depends on.
const ROUTE_GROUPS: u32 = 1
    | 1 << (libc::RTNLGRP_NEIGH - 1)
    | 1 << (libc::RTNLGRP_IPV6_IFADDR - 1)
    | 1 << (libc::RTNLGRP_IPV6_ROUTE - 1)
    | 1 << (libc::RTNLGRP_IPV6_RULE - 1);

/// One interface as the kernel lists it.
#[derive(Debug)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
    pub kind: LinkLayerType,
    pub address: Vec<u8>,
    /// What somebody has called it besides, for people.
    pub alias: String,
    /// It is of a kind that software makes, not an adapter's.
    pub is_software: bool,
}

/// A policy rule: traffic that matches is looked up in `table`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub priority: u32,
    pub table: u32,
    /// Packets whose mark has one of these bits set do not match.
    pub unless_marked: u32,
    pub source: Option<Ipv6Addr>,
    pub destination: Option<Ipv6Addr>,
}

/// Stands for whoever is at the far end of the tunnel device. With a gateway the kernel keeps one neighbour
/// for the device instead of one for every destination: its table is small (1024) and shared by all
/// namespaces.
const FAR_END: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// A route into the tunnel device; to everywhere when there is no destination, else to that one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub table: u32,
    pub destination: Option<Ipv6Addr>,
    pub device: u32,
    pub preferred_source: Option<Ipv6Addr>,
    pub kind: RouteKind,
}

/// Whom a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Ours alone.
    Own,
    /// For a routing daemon to pass on, which knows it by this protocol number. Such a daemon distrusts a gateway on a
    /// device without addresses, so there is none.
    Redistributed(u8),
}

/// A socket for requests, each answered before the next is made.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens the socket in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one request and collects its answers until the kernel says it is done.
    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut octets = vec![0; request.buffer_len()];
        request.serialize(&mut octets);
        self.socket.send(&octets, 0)?;

        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
                let length = usize::try_from(answer.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) => return Ok(answers),
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    _ => {}
                }
            }
        }
    }

    /// Every interface of the namespace.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        let links = answers.into_iter().filter_map(|answer| {
            let RouteNetlinkMessage::NewLink(message) = answer else { return None };
            let mut link = Link {
                index: message.header.index,
                name: String::new(),
                mtu: 0,
                kind: message.header.link_layer_type,
                address: Vec::new(),
                alias: String::new(),
                is_software: false,
            };
            for attribute in message.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => link.name = name,
                    LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                    LinkAttribute::Address(address) => link.address = address,
                    LinkAttribute::IfAlias(alias) => link.alias = alias,
                    LinkAttribute::LinkInfo(infos) => {
                        link.is_software = infos.iter().any(|info| matches!(info, LinkInfo::Kind(_)));
                    }
                    _ => {}
                }
            }
            Some(link)
        });
        Ok(links.collect())
    }

    /// Sets the MTU of a link and brings it up.
    pub fn bring_up(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    /// Calls a link by another name besides its own, for people.
    pub fn set_alias(&mut self, index: u32, alias: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    /// Removes a link.
    pub fn remove_link(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.request(RouteNetlinkMessage::DelLink(message), NLM_F_ACK).map(drop)
    }

    /// The global IPv6 addresses of an interface.
    pub fn addresses(&mut self, index: u32) -> io::Result<Vec<InterfaceAddress>> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet6;
        message.header.index = index;
        let answers = self.request(RouteNetlinkMessage::GetAddress(message), NLM_F_DUMP)?;
        let addresses = answers.into_iter().filter_map(|answer| {
            let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
            // Kernels without strict checking answer with the addresses of all interfaces.
            if message.header.index != index
                || !matches!(message.header.scope, AddressScope::Universe | AddressScope::Link)
            {
                return None;
            }
            let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
            let (mut address, mut local) = (None, None);
            for attribute in &message.attributes {
                match attribute {
                    AddressAttribute::Address(IpAddr::V6(found)) => address = Some(*found),
                    AddressAttribute::Local(IpAddr::V6(found)) => local = Some(*found),
                    AddressAttribute::Flags(found) => flags = *found,
                    _ => {}
                }
            }
            Some(InterfaceAddress {
                address: local.or(address)?,
                prefix_length: message.header.prefix_len,
                tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
                deprecated: flags.contains(AddressFlags::Deprecated),
            })
        });
        Ok(addresses.collect())
    }

    /// Gives a device an address /128 that takes part in no duplicate address detection and that the
    /// kernel never chooses by itself (its preferred lifetime is over).
    pub fn add_address(&mut self, device: u32, address: Ipv6Addr) -> io::Result<()> {
        let mut message = address_message(device, address);
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute));
        let mut lifetimes = CacheInfo::default();
        lifetimes.ifa_valid = u32::MAX;
        message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.request(RouteNetlinkMessage::NewAddress(message), flags).map(drop)
    }

    /// Takes the address away again.
    pub fn remove_address(&mut self, device: u32, address: Ipv6Addr) -> io::Result<()> {
        self.request(RouteNetlinkMessage::DelAddress(address_message(device, address)), NLM_F_ACK).map(drop)
    }

    /// Whether packets to `address` are this host's by its routing table.
    pub fn is_local(&mut self, address: Ipv6Addr) -> io::Result<bool> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.destination_prefix_length = 128;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet6(address)));
        match self.request(RouteNetlinkMessage::GetRoute(message), NLM_F_ACK) {
            Ok(answers) => Ok(answers.iter().any(|answer| {
                matches!(answer, RouteNetlinkMessage::NewRoute(route) if route.header.kind == RouteType::Local)
            })),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The interface and the neighbour that packets with this mark to `destination` go by; `None` when there is no
    /// route or it leads nowhere.
    pub fn next_hop(&mut self, destination: Ipv6Addr, mark: u32) -> io::Result<Option<(u32, Ipv6Addr)>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.destination_prefix_length = 128;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet6(destination)));
        message.attributes.push(RouteAttribute::Mark(mark));
        let answers = match self.request(RouteNetlinkMessage::GetRoute(message), NLM_F_ACK) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => {
                return Ok(None);
            }
            answers => answers?,
        };
        let way = answers.into_iter().find_map(|answer| {
            let RouteNetlinkMessage::NewRoute(route) = answer else { return None };
            let (mut device, mut neighbour) = (None, destination);
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Oif(index) => device = Some(*index),
                    RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => neighbour = *gateway,
                    _ => {}
                }
            }
            device.filter(|_| route.header.kind == RouteType::Unicast).map(|device| (device, neighbour))
        });
        Ok(way)
    }

    /// Adds a route; it must not exist.
    pub fn add_route(&mut self, route: &Route) -> io::Result<()> {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.request(RouteNetlinkMessage::NewRoute(route_message(route)), flags).map(drop)
    }

    /// Adds a route in place of the one to the same destination, if there is one.
    pub fn put_route(&mut self, route: &Route) -> io::Result<()> {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.request(RouteNetlinkMessage::NewRoute(route_message(route)), flags).map(drop)
    }

    /// Removes a route.
    pub fn remove_route(&mut self, route: &Route) -> io::Result<()> {
        self.request(RouteNetlinkMessage::DelRoute(route_message(route)), NLM_F_ACK).map(drop)
    }

    /// Adds a policy rule; it must not exist.
    pub fn add_rule(&mut self, rule: &Rule) -> io::Result<()> {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.request(RouteNetlinkMessage::NewRule(rule_message(rule)), flags).map(drop)
    }

    /// Removes a policy rule.
    pub fn remove_rule(&mut self, rule: &Rule) -> io::Result<()> {
        self.request(RouteNetlinkMessage::DelRule(rule_message(rule)), NLM_F_ACK).map(drop)
    }

    /// The addresses an interface answers Neighbor Solicitations for although they are not its own.
    pub fn proxied(&mut self, index: u32) -> io::Result<Vec<Ipv6Addr>> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet6;
        message.header.flags = NeighbourFlags::Proxy;
        let answers = self.request(RouteNetlinkMessage::GetNeighbour(message), NLM_F_DUMP)?;
        let proxied = answers.into_iter().filter_map(|answer| {
            let RouteNetlinkMessage::NewNeighbour(message) = answer else { return None };
            if message.header.ifindex != index {
                return None;
            }
            message.attributes.into_iter().find_map(|attribute| match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(address),
                _ => None,
            })
        });
        Ok(proxied.collect())
    }

    /// Answers Neighbor Solicitations for `address` on an interface from now on.
    pub fn add_proxied(&mut self, index: u32, address: Ipv6Addr) -> io::Result<()> {
        let message = proxied_message(index, address);
        self.request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_ACK | NLM_F_CREATE).map(drop)
    }

    /// Answers no more.
    pub fn remove_proxied(&mut self, index: u32, address: Ipv6Addr) -> io::Result<()> {
        self.request(RouteNetlinkMessage::DelNeighbour(proxied_message(index, address)), NLM_F_ACK).map(drop)
    }
}

fn address_message(device: u32, address: Ipv6Addr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = 128;
    message.header.scope = AddressScope::Universe;
    message.header.index = device;
    message.attributes.push(AddressAttribute::Local(address.into()));
    message
}

fn route_message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.table = RouteHeader::RT_TABLE_UNSPEC;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Table(route.table));
    message.attributes.push(RouteAttribute::Oif(route.device));
    message.header.protocol = match route.kind {
        RouteKind::Own => {
            message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet6(FAR_END)));
            RouteProtocol::Other(ROUTE_PROTOCOL)
        }
        RouteKind::Redistributed(protocol) => {
            // Better than what that daemon has learnt of other agents.
            message.attributes.push(RouteAttribute::Priority(1));
            RouteProtocol::from(protocol)
        }
    };
    if let Some(destination) = route.destination {
        message.header.destination_prefix_length = 128;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet6(destination)));
    }
    if let Some(source) = route.preferred_source {
        message.attributes.push(RouteAttribute::PrefSource(RouteAddress::Inet6(source)));
    }
    message
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.action = RuleAction::ToTable;
    message.attributes.push(RuleAttribute::Priority(rule.priority));
    message.attributes.push(RuleAttribute::Table(rule.table));
    // "Mark and mask is 0" is the only way to say "unless marked": `not` would invert the addresses too.
    message.attributes.push(RuleAttribute::FwMark(0));
    message.attributes.push(RuleAttribute::FwMask(rule.unless_marked));
    message.attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL)));
    if let Some(source) = rule.source {
        message.header.src_len = 128;
        message.attributes.push(RuleAttribute::Source(source.into()));
    }
    if let Some(destination) = rule.destination {
        message.header.dst_len = 128;
        message.attributes.push(RuleAttribute::Destination(destination.into()));
    }
    message
}

fn proxied_message(index: u32, address: Ipv6Addr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Proxy;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)));
    message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL)));
    message
}

/// Tells when a route, a policy rule, an address, a link or a neighbour changes.
pub struct RouteEvents(Socket);

impl RouteEvents {
    /// Subscribes.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, ROUTE_GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Readable when [`RouteEvents::take`] has something to read.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is owned by the socket, which outlives the borrow of self.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }

    /// Reads everything there is and says whether there was anything; what it was does not matter.
    pub fn take(&mut self) -> bool {
        let mut changed = false;
        loop {
            match self.0.recv_from_full() {
                Ok(_) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return changed,
                // The kernel lost messages because we were slow.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }
}

/// Tells when the addresses or the state of one interface change.
pub struct Events {
    socket: Socket,
    index: u32,
}

impl Events {
    /// Subscribes to what happens to the interface `index`.
    pub fn open(index: u32) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, EVENT_GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, index })
    }

    /// Readable when [`Events::take`] has something to read.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is owned by the socket, which outlives the borrow of self.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }

    /// Reads everything there is and says whether any of it concerned the interface.
    pub fn take(&mut self) -> io::Result<bool> {
        let mut changed = false;
        loop {
            let datagram = match self.socket.recv_from_full() {
                Ok((datagram, _)) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                // The kernel lost messages because we were slow: look at everything again.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    changed = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut rest = datagram.as_slice();
            while let Ok(event) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
                let length = usize::try_from(event.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                changed |= match event.payload {
                    NetlinkPayload::InnerMessage(
                        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
                    ) => link.header.index == self.index,
                    NetlinkPayload::InnerMessage(
                        RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address),
                    ) => address.header.index == self.index,
                    _ => false,
                };
            }
        }
    }
}
