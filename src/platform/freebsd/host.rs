//! This host, as a node on FreeBSD needs it: what `platform::linux::Host` offers, made of ipfw divert, raw sockets, a
//! tunnel device, the routing socket and bpf. It gives RFC 3775 and thesis section 4 the packets the stock kernel refuses,
//! and restores everything. Called by `daemon` and `forwarding`.

use super::{
    super::{
        RUN_DIRECTORY,
        changes::unless_gone,
        error::{Error, Trying},
        groups::Groups,
        intake::{Options, Received, SendReport, Steal, is_message_to},
        interface::{self, Interface, InterfaceAddress, NextHop},
        journal::NameLock,
        pool::Pool,
        probe,
        selection::Selection,
    },
    changes::{Changes, Kernel, Undo},
    checks,
    divert::Divert,
    interfaces::Interfaces,
    raw::RawIntake,
    routing::{Events, Happened, Routing},
    sender::Sender,
    sys,
    tunnel::Tunnel,
};
use crate::wire::{PacketBuffer, ipv6::next_header};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Ipv6Addr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

/// The kinds of packets that come by raw sockets.
const RAW: [u8; 3] = [next_header::MOBILITY, next_header::IPV6, next_header::ICMPV6];

/// This host, as a node needs it.
pub struct Host {
    interface: Interface,
    // In this order on drop: the device is closed before it is removed, which would wait for ever otherwise.
    tunnel: Tunnel,
    changes: Changes,
    divert: Divert,
    raw: Vec<RawIntake>,
    sender: Sender,
    events: Events,
    groups: Groups,
    // Held as long as anything of this node is in the system.
    _name: NameLock,
    selection: Selection,
    pool: Pool,
    /// Every address of this host.
    locals: BTreeSet<Ipv6Addr>,
    owned: BTreeSet<Ipv6Addr>,
    /// The addresses owned by a route only.
    routed: BTreeSet<Ipv6Addr>,
    assigned: BTreeSet<Ipv6Addr>,
    redirected: BTreeMap<Ipv6Addr, Ipv6Addr>,
    malformed: u64,
    happened: Happened,
}

impl Host {
    /// Checks what the system has, takes the node's lock, takes back what a killed run of the same node left, and makes
    /// the tunnel device, the intakes (which receive nothing yet) and the sender.
    ///
    /// # Errors
    /// [`Error::NoSuchInterface`], [`Error::NotPermitted`], [`Error::Lacking`], [`Error::Busy`] when the node runs
    /// already; nothing is left behind then.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let what = || "open a socket".to_owned();
        let interfaces = Interfaces::open().trying(what)?;
        let interface = interfaces.usable(&options.interface)?;
        let index = interface.index;
        // The sockets come first: without privilege they fail before anything is on the disk.
        let raw = RAW.into_iter().map(|kind| RawIntake::open(kind, index)).collect::<Result<_, _>>();
        let raw = raw.trying(|| "open a raw socket".to_owned())?;
        checks::check()?;
        let sender = Sender::open(&interface).trying(|| format!("open bpf on {}", interface.name))?;
        let events = Events::open(index).trying(|| "watch the interfaces".to_owned())?;
        let groups = Groups::open(index).trying(what)?;
        // Two nodes of one name would take each other's rules for what a killed run left. Before any sweep, or what the
        // one that lives has made would be taken back from under it.
        let lock = Path::new(RUN_DIRECTORY).join(format!("{}.name", options.name));
        let name = match NameLock::take(&lock) {
            Err(Error::Busy { .. }) => {
                Changes::refuse_busy(&options.journal)?;
                return Err(Error::NameTaken { name: options.name.clone() });
            }
            name => name?,
        };
        let mut changes = Changes::open(&options.journal, Kernel { interfaces, routing: Routing::new() })?;
        let divert = Divert::open(&options.name, &interface.name, interface.tunnel_mtu())?;
        let tunnel = Tunnel::create(&mut changes, interface.tunnel_mtu())?;
        let pool = Pool::new(interface.buffer_room());
        let mut host = Self {
            interface,
            tunnel,
            changes,
            divert,
            raw,
            sender,
            events,
            groups,
            _name: name,
            selection: Selection::default(),
            pool,
            locals: BTreeSet::new(),
            owned: BTreeSet::new(),
            routed: BTreeSet::new(),
            assigned: BTreeSet::new(),
            redirected: BTreeMap::new(),
            malformed: 0,
            happened: Happened::default(),
        };
        host.look_for_locals()?;
        Ok(host)
    }

    /// The interface, as it was when the host was opened.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The name of the tunnel device.
    pub fn tunnel_name(&self) -> &str {
        self.tunnel.name()
    }

    /// The tunnel device.
    pub fn tunnel(&self) -> Interface {
        Interface {
            index: self.tunnel.index(),
            name: self.tunnel.name().to_owned(),
            mtu: self.interface.tunnel_mtu(),
            link_address: None,
            is_software: true,
        }
    }

    /// Where packets of ours to `destination` go next; `None` when there is no route.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next_hop(&self, destination: Ipv6Addr) -> Result<Option<NextHop>, Error> {
        let way =
            Routing::new().next_hop(destination).trying(|| format!("find the route to {destination}"))?;
        let Some((device, neighbour)) = way else { return Ok(None) };
        Ok(Some(NextHop { device, neighbour, mtu: self.route_mtu(destination)? }))
    }

    /// Names this node among all of this machine.
    ///
    /// # Errors
    /// None here.
    pub fn identity(&self) -> Result<String, Error> {
        Ok(format!("{} {}", self.interface.name, self.interface.index))
    }

    /// There are no classifiers on this system: nothing asks for it, and nothing is to be done.
    ///
    /// # Errors
    /// None on this system.
    pub fn stand_behind_classifiers(&mut self, _behind: bool) -> Result<(), Error> {
        Ok(())
    }

    /// Nothing of ours stays in this system's kernel.
    ///
    /// # Errors
    /// None on this system.
    pub fn leave_pinned(&mut self, _folder: &Path) -> Result<(), Error> {
        Ok(())
    }

    /// As above: without programs that forward, the device is of no use.
    ///
    /// # Errors
    /// None on this system.
    pub fn leave_tunnel(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// As above.
    ///
    /// # Errors
    /// None on this system.
    pub fn leave_nothing(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// As above: everything was taken back when the host was opened.
    ///
    /// # Errors
    /// None on this system.
    pub fn end_taking_over(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Nothing goes on for a killed node here, whose own next start takes back what there is of it.
    ///
    /// # Errors
    /// None on this system.
    pub fn take_back(_journal: &Path) -> Result<(), Error> {
        Ok(())
    }

    /// Nothing in FreeBSD's kernel forwards for a node, so nobody must learn of new routes.
    pub fn take_route_changes(&mut self) -> bool {
        false
    }

    /// How many packets were dropped because they are none or belong to nobody.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// The interface's global IPv6 addresses, read afresh.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn addresses(&self) -> Result<Vec<InterfaceAddress>, Error> {
        Ok(interface::global(self.all_addresses()?))
    }

    /// The interface's link-local address, once it may be used.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn link_local(&self) -> Result<Option<Ipv6Addr>, Error> {
        Ok(interface::link_local(&self.all_addresses()?))
    }

    fn all_addresses(&self) -> Result<Vec<InterfaceAddress>, Error> {
        let name = &self.interface.name;
        self.changes.kernel.interfaces.addresses(name).trying(|| format!("list the addresses of {name}"))
    }

    /// The address of its own that the kernel would put into a packet of ours to `destination` (RFC 6724); `None` when
    /// there is no route.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn source_towards(&self, destination: Ipv6Addr) -> Result<Option<Ipv6Addr>, Error> {
        let what = || format!("find the route to {destination}");
        match self.probe(destination).trying(what)? {
            Some(socket) => probe::chosen_source(&socket).trying(what),
            None => Ok(None),
        }
    }

    /// The path MTU in octets the kernel knows for our packets to `destination`: what Packet Too Big told it
    /// (RFC 8201), else the outgoing device's; the interface's MTU when there is no route.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn route_mtu(&self, destination: Ipv6Addr) -> Result<u32, Error> {
        let what = || format!("find the path MTU to {destination}");
        match self.probe(destination).trying(what)? {
            Some(socket) => sys::path_mtu(socket.as_fd()).trying(what),
            None => Ok(self.interface.mtu),
        }
    }

    /// A socket towards `destination` that asks the kernel's routing what a packet would meet; `None` without a route.
    fn probe(&self, destination: Ipv6Addr) -> io::Result<Option<UdpSocket>> {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        probe::towards(socket, destination, self.interface.index)
    }

    /// Makes this host forward IPv6 packets and answer for the addresses it owns (RFC 3775 10.4.1), which FreeBSD's
    /// kernel does at once and without a switch.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn become_router(&mut self) -> Result<(), Error> {
        self.forward_packets()
    }

    /// Makes this host forward IPv6 packets. Interfaces that learn their routes from Router Advertisements go on doing
    /// so.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forward_packets(&mut self) -> Result<(), Error> {
        // First, or a default router that advertises in between is forgotten.
        self.changes.set_parameter("net.inet6.ip6.rfc6204w3", "1")?;
        self.changes.set_parameter("net.inet6.ip6.forwarding", "1")
    }

    /// Takes over `address`, which is no address of this kernel (thesis 4.2): answers Neighbor Solicitations for it on
    /// the link, and packets to it come in by [`Intake::Own`](super::super::Intake::Own). Packets to a link-local
    /// address do not come in: the kernel does with them what RFC 3775 10.4.2 wants.
    ///
    /// # Errors
    /// What the kernel says; nothing is changed then.
    pub fn own(&mut self, address: Ipv6Addr) -> Result<(), Error> {
        if self.owned.contains(&address) {
            return Ok(());
        }
        let what = || format!("own {address}");
        self.groups.join(address).trying(what)?;
        self.owned.insert(address);
        // The neighbour comes before the route: the kernel looks whether its address is on the link.
        let result = self.proxy(address).and_then(|()| self.route_into_tunnel(address).trying(what));
        if result.is_err() {
            // The first error is the one that explains.
            let _ = self.disown(address);
        }
        result
    }

    /// Has the kernel answer for an address; an entry the operator made is left alone, now and on the way out.
    fn proxy(&mut self, address: Ipv6Addr) -> Result<(), Error> {
        let index = self.interface.index;
        let what = || format!("answer for {address}");
        let Some(own) = self.interface.link_address else {
            let why = "it has no link-layer address to answer solicitations with";
            return Err(Error::UnusableInterface { name: self.interface.name.clone(), why });
        };
        if Routing::proxied(index).trying(what)?.contains(&address) {
            return Ok(());
        }
        let undo = Undo::Proxied { interface: index, address };
        let add = |kernel: &mut Kernel| kernel.routing.add_proxied(address, index, own).trying(what);
        if self.changes.in_force(&undo) {
            add(&mut self.changes.kernel)
        } else {
            self.changes.make(undo, add)
        }
    }

    fn route_into_tunnel(&mut self, address: Ipv6Addr) -> io::Result<()> {
        // The kernel looks link-local addresses up on the link they came from only.
        if address.is_unicast_link_local() {
            return Ok(());
        }
        self.changes.kernel.routing.add_route(address, self.tunnel.index())
    }

    fn unroute_from_tunnel(&mut self, address: Ipv6Addr) -> io::Result<()> {
        if address.is_unicast_link_local() {
            return Ok(());
        }
        unless_gone(self.changes.kernel.routing.remove_route(address, self.tunnel.index()))
    }

    /// Gives up an address taken by [`Host::own`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn disown(&mut self, address: Ipv6Addr) -> Result<(), Error> {
        if !self.owned.remove(&address) {
            return Ok(());
        }
        let what = || format!("disown {address}");
        let proxied = self.changes.undo(&Undo::Proxied { interface: self.interface.index, address });
        let route = self.unroute_from_tunnel(address).trying(what);
        let group = self.groups.leave(address).trying(what);
        proxied.and(route).and(group)
    }

    /// Takes over `address`, which is no address of this kernel, by a route alone (thesis 4.3.3): what this host
    /// forwards to it comes in by [`Intake::Own`](super::super::Intake::Own). FreeBSD's routes have no protocol number:
    /// a routing daemon knows ours by the flag RTF_PROTO1. The route ends with [`Host::unroute`] or with the device.
    ///
    /// # Errors
    /// What the kernel says; nothing is changed then.
    pub fn route(&mut self, address: Ipv6Addr, _protocol: u8) -> Result<(), Error> {
        if self.routed.contains(&address) {
            return Ok(());
        }
        self.route_into_tunnel(address).trying(|| format!("route {address} to this node"))?;
        self.routed.insert(address);
        Ok(())
    }

    /// Gives up an address taken by [`Host::route`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unroute(&mut self, address: Ipv6Addr) -> Result<(), Error> {
        if !self.routed.remove(&address) {
            return Ok(());
        }
        self.unroute_from_tunnel(address).trying(|| format!("end the route of {address} to this node"))
    }

    /// Gives this host the anycast address (thesis 4.1): programs may use it, the kernel never chooses it by itself, and
    /// what is sent from it comes in by [`Intake::Own`](super::super::Intake::Own).
    ///
    /// # Errors
    /// What the kernel says; nothing is changed then.
    pub fn assign(&mut self, address: Ipv6Addr) -> Result<(), Error> {
        if !self.assigned.insert(address) {
            return Ok(());
        }
        let result = self.divert_outgoing().and_then(|()| {
            let device = self.tunnel.name();
            let added = self.changes.kernel.interfaces.add_address(device, address, 128, true);
            added.trying(|| format!("assign {address}"))
        });
        if result.is_err() {
            // The first error is the one that explains.
            let _ = self.unassign(address);
        }
        result
    }

    /// Takes back an address given by [`Host::assign`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unassign(&mut self, address: Ipv6Addr) -> Result<(), Error> {
        if !self.assigned.remove(&address) {
            return Ok(());
        }
        let gone = self.changes.kernel.interfaces.remove_address(self.tunnel.name(), address);
        let gone = unless_gone(gone).trying(|| format!("unassign {address}"));
        gone.and(self.divert_outgoing())
    }

    /// Has what this host sends to `destination` come in by [`Intake::Own`](super::super::Intake::Own); what
    /// [`Host::send`] sends is not touched. FreeBSD has no source address by route: a program that chose none speaks from
    /// the address that the kernel prefers (RFC 6724), whatever `source` is.
    ///
    /// # Errors
    /// What the kernel says; nothing is changed then.
    pub fn redirect(&mut self, destination: Ipv6Addr, source: Ipv6Addr) -> Result<(), Error> {
        if self.redirected.insert(destination, source).is_some() {
            return Ok(());
        }
        let result = self.divert_outgoing();
        if result.is_err() {
            self.redirected.remove(&destination);
        }
        result
    }

    /// Ends a [`Host::redirect`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unredirect(&mut self, destination: Ipv6Addr) -> Result<(), Error> {
        match self.redirected.remove(&destination) {
            Some(_) => self.divert_outgoing(),
            None => Ok(()),
        }
    }

    /// Diverts what is sent from an assigned address or to a redirected one.
    fn divert_outgoing(&mut self) -> Result<(), Error> {
        let redirected: BTreeSet<_> = self.redirected.keys().copied().collect();
        if !self.assigned.is_empty() || !redirected.is_empty() {
            // The firewall sees what TCP leaves to the network card to cut: packets of many segments, which no tunnel
            // takes.
            self.changes.set_parameter("net.inet.tcp.tso", "0")?;
        }
        self.divert.set_outlet(&mut self.changes, &self.assigned, &redirected)
    }

    /// Takes these classes of packets from the link before the kernel sees them, and no others any more; they come in by
    /// [`Intake::Steal`](super::super::Intake::Steal).
    ///
    /// # Errors
    /// What the kernel or ipfw says; the former set stays then.
    pub fn steal(&mut self, classes: &[Steal]) -> Result<(), Error> {
        let mut wanted = self.selection.clone();
        wanted.set_stolen(classes);
        if !classes.is_empty() {
            // ipfw takes a Mobility Header for an unknown extension header, and drops those silently by default.
            self.changes.set_parameter("net.inet6.ip6.fw.deny_unknown_exthdrs", "0")?;
        }
        self.divert.set_intake(&mut self.changes, &wanted)?;
        self.selection = wanted;
        Ok(())
    }

    /// Copies ICMPv6 errors, echo replies and mobility messages to one of `addresses`, and with `neighbor_discovery` all
    /// Router Advertisements, Neighbor Solicitations and Neighbor Advertisements that the kernel accepts; replaces the
    /// former choice. They come in by [`Intake::Tap`](super::super::Intake::Tap).
    ///
    /// # Errors
    /// None on this system.
    pub fn tap(&mut self, addresses: &[Ipv6Addr], neighbor_discovery: bool) -> Result<(), Error> {
        self.selection.set_tapped(addresses, neighbor_discovery);
        Ok(())
    }

    /// Descriptors to wait for; when one is readable, call [`Host::receive`] and [`Host::take_changes`].
    pub fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        let raw = self.raw.iter().map(RawIntake::as_fd);
        [self.divert.as_fd(), self.events.as_fd()].into_iter().chain(self.tunnel.as_fd()).chain(raw).collect()
    }

    /// Takes one batch from every intake without blocking, and returns how many packets came; 0 means that nothing more
    /// waits.
    ///
    /// # Errors
    /// When an intake is gone for good.
    pub fn receive(&mut self, into: &mut Vec<Received>) -> io::Result<usize> {
        self.listen()?;
        let (diverted, malformed) = self.divert.receive(&mut self.pool, into)?;
        self.malformed += malformed as u64;
        let mut count = diverted + self.tunnel.receive(&mut self.pool, into)?;
        for raw in &mut self.raw {
            count += raw.receive(&self.selection, &mut self.pool, into)?;
        }
        Ok(count)
    }

    /// Gives a packet's buffer back for the packets to come.
    pub fn recycle(&mut self, packet: PacketBuffer) {
        self.pool.give(packet.into_storage().0);
    }

    /// Sends whole IPv6 packets, as they are, by the kernel's routes; our redirections do not catch them. A message of
    /// the node's own to an address that it owns is for whoever has that address on the link (RFC 3775 10.3.2).
    /// Drains `packets`.
    pub fn send(&mut self, packets: &mut Vec<PacketBuffer>) -> SendReport {
        let owned = &self.owned;
        self.sender.send(&self.divert, packets, |packet| is_message_to(packet, owned), &mut self.pool)
    }

    /// Has this host's kernel receive `packets` as if they came out of a tunnel: it takes those to its own addresses and
    /// forwards the others if it is a router. Drains `packets`; returns how many it took.
    ///
    /// # Errors
    /// The kernel's first refusal; the other packets were delivered.
    pub fn deliver(&mut self, packets: &mut Vec<PacketBuffer>) -> io::Result<usize> {
        let mut outcome = Ok(0);
        for mut packet in packets.drain(..) {
            // The kernel drops what comes from outside with an address of its own as the source
            // (net.inet6.ip6.source_address_validation); what is sent goes by the loopback device and is no outsider.
            let delivered = match source(&packet) {
                Some(own) if self.locals.contains(&own) => self.divert.send(packet.as_slice()),
                _ => self.tunnel.deliver(&mut packet),
            };
            self.pool.give(packet.into_storage().0);
            outcome = match (outcome, delivered) {
                (Ok(count), Ok(())) => Ok(count + 1),
                (Err(first), _) => Err(first),
                (Ok(_), Err(error)) => Err(error),
            };
        }
        outcome
    }

    /// True when the interface's state or addresses may have changed since the last call.
    pub fn take_changes(&mut self) -> bool {
        if let Err(error) = self.listen() {
            // A broken event socket must not hide changes: look again rather than never.
            tracing::warn!(%error, "the routing socket is not heard");
            self.happened = Happened { here: true, anywhere: true };
        }
        let happened = std::mem::take(&mut self.happened);
        if happened.anywhere
            && let Err(error) = self.look_for_locals()
        {
            tracing::warn!(%error, "the addresses of this host are not known");
        }
        if happened.here
            && let Err(error) = self.answer_again()
        {
            tracing::warn!(%error, "the addresses owned are not answered for");
        }
        happened.here
    }

    fn listen(&mut self) -> io::Result<()> {
        let happened = self.events.take()?;
        self.happened.here |= happened.here;
        self.happened.anywhere |= happened.anywhere;
        Ok(())
    }

    fn look_for_locals(&mut self) -> Result<(), Error> {
        self.locals = Interfaces::all_addresses().trying(|| "list the addresses of this host".to_owned())?;
        Ok(())
    }

    /// Has the kernel answer for the owned addresses again: it forgets them when the interface goes down.
    fn answer_again(&mut self) -> Result<(), Error> {
        let proxied = Routing::proxied(self.interface.index).trying(|| "list the neighbors".to_owned())?;
        let forgotten: Vec<_> =
            self.owned.iter().filter(|address| !proxied.contains(address)).copied().collect();
        for address in forgotten {
            let what = || format!("answer for {address} again");
            // The neighbour comes before the route, as in the beginning.
            self.unroute_from_tunnel(address).trying(what)?;
            let answered = self.proxy(address);
            self.route_into_tunnel(address).trying(what)?;
            answered?;
        }
        Ok(())
    }

    /// Takes back every change of the system and removes the journal. Dropping does the same, but can only log what
    /// fails.
    ///
    /// # Errors
    /// The first change that could not be taken back; it stays in the journal for the next run.
    pub fn close(mut self) -> Result<(), Error> {
        self.tunnel.close();
        self.changes.close()
    }
}

/// The source address of a packet.
fn source(packet: &PacketBuffer) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = packet.as_slice().get(8..24)?.try_into().ok()?;
    Some(octets.into())
}
