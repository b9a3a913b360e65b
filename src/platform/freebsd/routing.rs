//! The kernel's routing table, its neighbours and what happens to its interfaces, by the routing socket (route(4)).
//! Proxy neighbour discovery (RFC 3775 10.4.1) and the routes into the tunnel device are made here.
//! Called by the rest of `platform::freebsd`.

use super::{
    abi::{
        AF_INET6, CTL_NET, IFT_ETHER, IFT_PPP, NET_RT_FLAGS, PF_ROUTE, RTF_ANNOUNCE, RTF_BLACKHOLE, RTF_HOST,
        RTF_LLDATA, RTF_PROTO1, RTF_REJECT, RTF_STATIC, RTF_UP, RTM_ADD, RTM_DELETE, RTM_GET,
    },
    routing_socket::{For, LinkAddress, Message, Route, Sockaddr, messages},
    sys,
};
use std::{
    fs::File,
    io::{self, Read, Write},
    net::Ipv6Addr,
    os::fd::{AsFd, BorrowedFd},
    process,
    time::{Duration, Instant},
};

/// The kernel answers a question while it is asked; this is for the day it does not.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than any message.
const LONGEST_MESSAGE: usize = 4096;

/// Makes requests, one at a time.
pub struct Routing {
    sequence: i32,
}

impl Routing {
    /// Nothing is asked yet.
    pub fn new() -> Self {
        Self { sequence: 0 }
    }

    /// A route of ours to `destination` by the tunnel device `device`; it must not exist.
    pub fn add_route(&mut self, destination: Ipv6Addr, device: u32) -> io::Result<()> {
        self.request(into_device(RTM_ADD, destination, device)).map(drop)
    }

    /// Removes such a route.
    pub fn remove_route(&mut self, destination: Ipv6Addr, device: u32) -> io::Result<()> {
        self.request(into_device(RTM_DELETE, destination, device)).map(drop)
    }

    /// Answers solicitations for `address` on an interface from now on, with that interface's link-layer address.
    pub fn add_proxied(&mut self, address: Ipv6Addr, interface: u32, own: [u8; 6]) -> io::Result<()> {
        self.request(neighbour(RTM_ADD, address, interface, &own)).map(drop)
    }

    /// Answers no more.
    pub fn remove_proxied(&mut self, address: Ipv6Addr, interface: u32) -> io::Result<()> {
        self.request(neighbour(RTM_DELETE, address, interface, &[])).map(drop)
    }

    /// The addresses an interface answers solicitations for although they are not its own.
    pub fn proxied(interface: u32) -> io::Result<Vec<Ipv6Addr>> {
        let listed = sys::listing(&[CTL_NET, PF_ROUTE, 0, i32::from(AF_INET6), NET_RT_FLAGS, RTF_LLDATA])?;
        let proxied = messages(&listed).filter_map(|message| match message {
            Ok(Message::Route(route)) if route.flags & RTF_ANNOUNCE != 0 => {
                let link = route.addresses[For::Gateway].as_ref()?.as_link()?;
                let (address, _) = route.addresses[For::Destination].as_ref()?.as_ipv6()?;
                (u32::from(link.index) == interface).then_some(address)
            }
            _ => None,
        });
        Ok(proxied.collect())
    }

    /// The interface and the neighbour that packets to `destination` go by; `None` when there is no route.
    pub fn next_hop(&mut self, destination: Ipv6Addr) -> io::Result<Option<(u32, Ipv6Addr)>> {
        let mut question = Route { kind: RTM_GET, flags: RTF_UP | RTF_HOST, ..Route::default() };
        question.addresses[For::Destination] = Some(Sockaddr::ipv6(destination, 0));
        // Without room for it the answer does not name the interface.
        let anyone = LinkAddress { index: 0, kind: 0, octets: Vec::new() };
        question.addresses[For::Interface] = Some(Sockaddr::link(&anyone));
        let answer = match self.request(question) {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ESRCH | libc::ENETUNREACH | libc::EHOSTUNREACH)
                ) =>
            {
                return Ok(None);
            }
            answer => answer?,
        };
        let gateway = answer.addresses[For::Gateway].as_ref().and_then(Sockaddr::as_ipv6);
        let neighbour = gateway.map_or(destination, |(gateway, _)| gateway);
        Ok((answer.flags & (RTF_REJECT | RTF_BLACKHOLE) == 0).then_some((u32::from(answer.index), neighbour)))
    }

    /// Sends one request and waits for the kernel's answer to it.
    fn request(&mut self, mut route: Route) -> io::Result<Route> {
        self.sequence = self.sequence.wrapping_add(1);
        route.sequence = self.sequence;
        // A socket for each question: whatever else happens meanwhile is not waiting in it.
        let mut socket = File::from(sys::raw_socket(PF_ROUTE, i32::from(AF_INET6))?);
        let message = Message::Route(route);
        tracing::trace!(?message, "asking the routing socket");
        socket.write_all(&message.emit())?;
        let end = Instant::now() + PATIENCE;
        let mut octets = [0; LONGEST_MESSAGE];
        loop {
            let length = match socket.read(&mut octets) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= end {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    wait(socket.as_fd(), end.saturating_duration_since(Instant::now()))?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for message in messages(octets.get(..length).unwrap_or_default()) {
                tracing::trace!(?message, "the routing socket says");
                let Ok(Message::Route(answer)) = message else { continue };
                if answer.sequence == self.sequence && u32::try_from(answer.process) == Ok(process::id()) {
                    return match answer.error {
                        0 => Ok(answer),
                        number => Err(io::Error::from_raw_os_error(number)),
                    };
                }
            }
        }
    }
}

/// Waits until the descriptor is readable, or the time is over.
fn wait(fd: BorrowedFd<'_>, at_most: Duration) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::ZERO);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Only link-local addresses have a scope.
fn scope_of(address: Ipv6Addr, interface: u32) -> u32 {
    if address.is_unicast_link_local() { interface } else { 0 }
}

/// Interface numbers have 16 bits in these messages.
fn number(interface: u32) -> u16 {
    u16::try_from(interface).unwrap_or(0)
}

fn into_device(kind: u8, destination: Ipv6Addr, device: u32) -> Route {
    let flags = RTF_UP | RTF_HOST | RTF_STATIC | RTF_PROTO1;
    let mut route = Route { kind, index: number(device), flags, ..Route::default() };
    route.addresses[For::Destination] = Some(Sockaddr::ipv6(destination, 0));
    let link = LinkAddress { index: number(device), kind: IFT_PPP, octets: Vec::new() };
    route.addresses[For::Gateway] = Some(Sockaddr::link(&link));
    route
}

/// What `ndp -s ADDRESS LINK-ADDRESS proxy` asks for.
fn neighbour(kind: u8, address: Ipv6Addr, interface: u32, own: &[u8]) -> Route {
    let flags = RTF_HOST | RTF_STATIC | RTF_LLDATA | RTF_ANNOUNCE;
    let mut route = Route { kind, index: number(interface), flags, ..Route::default() };
    route.addresses[For::Destination] = Some(Sockaddr::ipv6(address, scope_of(address, interface)));
    let link = LinkAddress { index: number(interface), kind: IFT_ETHER, octets: own.to_vec() };
    route.addresses[For::Gateway] = Some(Sockaddr::link(&link));
    route
}

/// What happened since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// To the state or the addresses of the node's interface.
    pub here: bool,
    /// To the addresses of any interface.
    pub anywhere: bool,
}

/// Tells when the addresses or the state of interfaces change.
pub struct Events {
    socket: File,
    interface: u32,
}

impl Events {
    /// Listens, with most interest in the interface of this number.
    pub fn open(interface: u32) -> io::Result<Self> {
        Ok(Self { socket: File::from(sys::raw_socket(PF_ROUTE, i32::from(AF_INET6))?), interface })
    }

    /// Readable when something happened.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes everything that waits.
    pub fn take(&mut self) -> io::Result<Happened> {
        let mut happened = Happened::default();
        let mut octets = [0; LONGEST_MESSAGE];
        loop {
            let length = match self.socket.read(&mut octets) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(happened),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Messages were lost: look at everything again.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    happened = Happened { here: true, anywhere: true };
                    continue;
                }
                Err(error) => return Err(error),
            };
            for message in messages(octets.get(..length).unwrap_or_default()) {
                tracing::trace!(?message, "the routing socket tells");
                let index = match message {
                    Ok(Message::Address(change)) => change.index,
                    Ok(Message::Interface(state)) => state.index,
                    Ok(Message::Arrival(arrival)) => arrival.index,
                    // Routes are not followed, and other types mean nothing to a node.
                    Ok(_) => continue,
                    Err(malformed) => {
                        tracing::debug!(%malformed, "the routing socket cannot be understood");
                        continue;
                    }
                };
                happened.anywhere = true;
                happened.here |= u32::from(index) == self.interface;
            }
        }
    }
}
