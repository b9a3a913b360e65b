//! Linux: a tunnel device, a packet socket with a filter and nftables, a raw socket and rtnetlink.
//! It gives RFC 3775 and thesis section 4 the packets the stock kernel refuses, and restores everything.
//! Called through `platform` only; `platform::freebsd` offers the same `Host`.

mod application;
mod changes;
pub mod doctor;
mod fast_path;
mod filter;
mod link;
mod netlink;
pub mod netns;
mod reassembled;
mod segments;
mod sender;
mod sys;
mod tunnel;

use super::{
    changes::{Parameter, unless_gone},
    error::{Error, Trying},
    groups::Groups,
    intake::{Options, Received, SendReport, Steal, is_message_to},
    interface::{self, Interface, InterfaceAddress, LEAST_MTU},
    pool::Pool,
    probe,
    selection::Selection,
};
use crate::wire::PacketBuffer;
pub use application::{die_with_parent, established_connections};
use changes::{Changes, Undo, parameter};
use filter::DropAt;
use link::LinkIntake;
use netlink::{Events, Link, Netlink, Route, RouteEvents, RouteKind, Rule};
use netlink_packet_route::link::LinkLayerType;
use reassembled::Reassembled;
use sender::{MARK, Sender};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs, io,
    net::Ipv6Addr,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixDatagram,
    },
    thread,
    time::{Duration, Instant},
};
use tunnel::Tunnel;

/// Where the kernel keeps its IPv6 parameters, one directory for each interface, below `/proc/sys`.
const CONF: &str = "net/ipv6/conf";
/// The kernel's main routing table.
const MAIN_TABLE: u32 = 254;
/// Our tables are this and 24 bits of the node's name.
const TABLE_BASE: u32 = 0x6d00_0000;
/// Our policy rules stand between the kernel's local table (0) and its main table (32766).
const RULE_PRIORITY_BASE: u32 = 16_384;
/// How long the kernel may take to make a new address its own.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);

/// This host, as a node needs it. All methods must be called in the network namespace it was opened in.
pub struct Host {
    interface: Interface,
    name: String,
    // In this order on drop: first the intake stops, then the changes are taken back, then the device goes.
    link: LinkIntake,
    /// By the addresses where everybody's tunnels are taken away from the kernel: those that come in pieces.
    reassembled: BTreeMap<Ipv6Addr, Reassembled>,
    changes: Changes,
    tunnel: Tunnel,
    sender: Sender,
    events: Events,
    // There while a fast path wants to know.
    route_events: Option<RouteEvents>,
    groups: Groups,
    // Held as long as anything of this node is in the system.
    _claim: UnixDatagram,
    filter: Selection,
    drop_at: DropAt,
    /// Whoever starts with the same goes on with what a kill leaves of this run.
    settings: String,
    pool: Pool,
    owned: BTreeSet<Ipv6Addr>,
    /// The addresses owned by a route only, with its protocol number.
    routed: BTreeMap<Ipv6Addr, u8>,
    assigned: BTreeSet<Ipv6Addr>,
    redirected: BTreeMap<Ipv6Addr, Ipv6Addr>,
    malformed: u64,
    changed: bool,
}

impl Host {
    /// Takes the node's lock, takes back what a killed run of the same node left or goes on with it
    /// ([`Options::settings`]), and makes the tunnel device, the link intake (which receives nothing yet) and the sender.
    ///
    /// # Errors
    /// [`Error::NoSuchInterface`], [`Error::NotPermitted`], [`Error::Busy`] when the node runs already;
    /// nothing is left behind then.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let mut netlink = Netlink::open().trying(|| "talk to the kernel by netlink".to_owned())?;
        let links = netlink.links().trying(|| "list the interfaces".to_owned())?;
        let Some(found) = links.iter().find(|link| link.name == options.interface) else {
            let known = links.into_iter().map(|link| link.name).collect();
            return Err(Error::NoSuchInterface { name: options.interface.clone(), known });
        };
        let (interface, link_header) = usable(found)?;
        // The sockets come first: without privilege they fail before anything is on the disk.
        let sender =
            Sender::open(interface.index, &interface.name).trying(|| "open a raw socket".to_owned())?;
        let mut link = LinkIntake::open(interface.index, link_header)
            .trying(|| format!("open a packet socket on {}", interface.name))?;
        let events = Events::open(interface.index).trying(|| "watch the interfaces".to_owned())?;
        let groups = Groups::open(interface.index).trying(|| "open a socket".to_owned())?;
        // Two nodes of one name would share their filter table and their routing table. Before any sweep, or
        // what a killed run left would be taken back from under the node that lives.
        let claim = match sys::claim(&format!("mga-node/{}", options.name)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Changes::refuse_busy(&options.journal)?;
                return Err(Error::NameTaken { name: options.name.clone() });
            }
            claim => claim.trying(|| "take the node's name".to_owned())?,
        };
        let mut changes = Changes::go_on(&options.journal, netlink)?;
        let same = fast_path::is_left(&changes, options.settings.as_deref());
        changes.undo_but(|step| same && step.outlives())?;
        let tunnel = fast_path::tunnel(&mut changes, &options.name, interface.tunnel_mtu())?;
        let going_on = fast_path::is_left(&changes, options.settings.as_deref());
        if going_on {
            // What the programs of the killed run have taken is not to come in here, too.
            link.stand_behind_classifiers(true).trying(|| "bind the packet socket".to_owned())?;
        }
        let pool = Pool::new(interface.buffer_room());
        Ok(Self {
            interface,
            name: options.name.clone(),
            link,
            reassembled: BTreeMap::new(),
            changes,
            tunnel,
            sender,
            events,
            route_events: None,
            groups,
            _claim: claim,
            filter: Selection::default(),
            drop_at: if going_on { DropAt::Prerouting } else { DropAt::Ingress },
            settings: options.settings.clone().unwrap_or_default(),
            pool,
            owned: BTreeSet::new(),
            routed: BTreeMap::new(),
            assigned: BTreeSet::new(),
            redirected: BTreeMap::new(),
            malformed: 0,
            changed: false,
        })
    }

    /// The interface, as it was when the host was opened.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The name of the tunnel device.
    pub fn tunnel_name(&self) -> &str {
        self.tunnel.name()
    }

    /// How many packets were dropped because their headers contradict each other.
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
        let index = self.interface.index;
        Netlink::open()
            .and_then(|mut netlink| netlink.addresses(index))
            .trying(|| format!("list the addresses of {}", self.interface.name))
    }

    /// The address of its own that the kernel would put into a packet of ours to `destination`
    /// (RFC 6724); `None` when there is no route.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn source_towards(&self, destination: Ipv6Addr) -> Result<Option<Ipv6Addr>, Error> {
        let what = || format!("find the route to {destination}");
        match sender::probe(destination, self.interface.index).trying(what)? {
            Some(socket) => probe::chosen_source(&socket).trying(what),
            None => Ok(None),
        }
    }

    /// The path MTU in octets the kernel knows for our packets to `destination`: what Packet Too Big told
    /// it (RFC 8201), else the outgoing device's; the interface's MTU when there is no route.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn route_mtu(&self, destination: Ipv6Addr) -> Result<u32, Error> {
        let what = || format!("find the path MTU to {destination}");
        match sender::probe(destination, self.interface.index).trying(what)? {
            Some(socket) => sys::path_mtu(socket.as_fd()).trying(what),
            None => Ok(self.interface.mtu),
        }
    }

    /// Makes this host forward IPv6 packets and answer at once for the addresses it owns (RFC 3775 10.4.1).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn become_router(&mut self) -> Result<(), Error> {
        self.forward_packets()?;
        // "all" is what makes the kernel answer a unicast solicitation, too, instead of forwarding it.
        self.changes.set_parameter(&format!("{CONF}/all/proxy_ndp"), "1")?;
        let name = self.interface.name.clone();
        self.changes.set_parameter(&format!("{CONF}/{name}/proxy_ndp"), "1")?;
        self.changes.set_parameter(&format!("net/ipv6/neigh/{name}/proxy_delay"), "0")
    }

    /// Makes this host forward IPv6 packets. Interfaces that learn their routes from Router Advertisements go on doing
    /// so.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forward_packets(&mut self) -> Result<(), Error> {
        let all_forwarding = format!("{CONF}/all/forwarding");
        let what = || "look at the IPv6 parameters".to_owned();
        if parameter(&all_forwarding).trying(what)? == "1" {
            return Ok(());
        }
        let mut names: Vec<String> = fs::read_dir(format!("/proc/sys/{CONF}"))
            .trying(what)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name != "all" && *name != self.tunnel.name())
            .collect();
        names.sort_unstable();
        for name in names {
            // An interface can go away while we look.
            let accepts = parameter(&format!("{CONF}/{name}/accept_ra")).unwrap_or_default();
            if accepts == "1" {
                // 1 means "unless forwarding": the kernel would forget its default route.
                self.changes.set_parameter(&format!("{CONF}/{name}/accept_ra"), "2")?;
            }
            let key = format!("{CONF}/{name}/forwarding");
            let before = parameter(&key).unwrap_or_default();
            if before == "1" {
                // Turning all off again will turn this one off too.
                let undo = Undo::Parameter(Parameter { key, ours: None, before });
                self.changes.make(undo, |_| Ok(()))?;
            }
        }
        self.changes.set_parameter(&all_forwarding, "1")
    }

    /// Takes over `address`, which is no address of this kernel (thesis 4.2): answers Neighbor
    /// Solicitations for it on the link, and packets to it come in by [`Intake::Own`](super::Intake::Own). Packets to a
    /// link-local address do not come in: the kernel answers them with Destination Unreachable, as RFC 3775 10.4.2
    /// wants it.
    ///
    /// # Errors
    /// What the kernel says; nothing is changed then.
    pub fn own(&mut self, address: Ipv6Addr) -> Result<(), Error> {
        if self.owned.contains(&address) {
            return Ok(());
        }
        let index = self.interface.index;
        let what = || format!("own {address}");
        self.groups.join(address).trying(what)?;
        let result = self.route_into_tunnel(address, what).and_then(|()| {
            // An entry the operator made is left alone, now and on the way out.
            if self.changes.kernel.proxied(index).trying(what)?.contains(&address) {
                return Ok(());
            }
            let undo = Undo::Proxied { interface: index, address };
            self.changes.make(undo, |netlink| netlink.add_proxied(index, address).trying(what))
        });
        self.owned.insert(address);
        if result.is_err() {
            // The first error is the one that explains.
            let _ = self.disown(address);
        }
        result
    }

    fn route_into_tunnel(&mut self, address: Ipv6Addr, what: impl FnOnce() -> String) -> Result<(), Error> {
        // The kernel looks link-local addresses up on the link they came from only.
        if address.is_unicast_link_local() {
            return Ok(());
        }
        let route = self.owned_route(address, RouteKind::Own);
        self.changes.kernel.add_route(&route).trying(what)
    }

    fn owned_route(&self, address: Ipv6Addr, kind: RouteKind) -> Route {
        Route {
            table: MAIN_TABLE,
            destination: Some(address),
            device: self.tunnel.index(),
            preferred_source: None,
            kind,
        }
    }

    /// Takes over `address`, which is no address of this kernel, by a route alone (thesis 4.3.3): what this host
    /// forwards to it comes in by [`Intake::Own`](super::Intake::Own). A routing daemon that passes routes of the
    /// number `protocol` on makes the routers around send it here. The route ends with [`Host::unroute`] or with this
    /// process, whichever way that ends: it leads into our device.
    ///
    /// # Errors
    /// What the kernel says; nothing is changed then.
    pub fn route(&mut self, address: Ipv6Addr, protocol: u8) -> Result<(), Error> {
        if self.routed.contains_key(&address) {
            return Ok(());
        }
        let route = self.owned_route(address, RouteKind::Redistributed(protocol));
        self.changes.kernel.add_route(&route).trying(|| format!("route {address} to this node"))?;
        self.routed.insert(address, protocol);
        Ok(())
    }

    /// Gives up an address taken by [`Host::route`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unroute(&mut self, address: Ipv6Addr) -> Result<(), Error> {
        let Some(protocol) = self.routed.remove(&address) else { return Ok(()) };
        let route = self.owned_route(address, RouteKind::Redistributed(protocol));
        unless_gone(self.changes.kernel.remove_route(&route))
            .trying(|| format!("end the route of {address} to this node"))
    }

    /// Gives up an address taken by [`Host::own`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn disown(&mut self, address: Ipv6Addr) -> Result<(), Error> {
        if !self.owned.remove(&address) {
            return Ok(());
        }
        let index = self.interface.index;
        let what = || format!("disown {address}");
        let proxied = self.changes.undo(&Undo::Proxied { interface: index, address });
        let route = self.owned_route(address, RouteKind::Own);
        let route = unless_gone(self.changes.kernel.remove_route(&route)).trying(what);
        let group = self.groups.leave(address).trying(what);
        proxied.and(route).and(group)
    }

    /// Gives this host the anycast address (thesis 4.1): programs may use it, the kernel never chooses it
    /// by itself, and what is sent from it comes in by [`Intake::Own`](super::Intake::Own).
    ///
    /// # Errors
    /// What the kernel says; nothing is changed then.
    pub fn assign(&mut self, address: Ipv6Addr) -> Result<(), Error> {
        if self.assigned.contains(&address) {
            return Ok(());
        }
        let device = self.tunnel.index();
        let what = || format!("assign {address}");
        let route = self.table_route(None, None);
        let first = self.assigned.is_empty();
        self.assigned.insert(address);
        let result = (|| {
            if first {
                self.changes.kernel.put_route(&route).trying(what)?;
            }
            self.make_rule(self.rule(Some(address), None), what)?;
            // A device that was taken over has it already.
            unless_there(self.changes.kernel.add_address(device, address)).trying(what)?;
            wait_until_local(address).trying(what)
        })();
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
        let device = self.tunnel.index();
        let what = || format!("unassign {address}");
        let gone = unless_gone(self.changes.kernel.remove_address(device, address)).trying(what);
        let rule = self.changes.undo(&Undo::Rule(self.rule(Some(address), None)));
        let mut route = Ok(());
        if self.assigned.is_empty() {
            let default = self.table_route(None, None);
            route = unless_gone(self.changes.kernel.remove_route(&default)).trying(what);
        }
        gone.and(rule).and(route)
    }

    /// Has what this host sends to `destination` come in by [`Intake::Own`](super::Intake::Own), from the
    /// address `source` unless a program chose another; what [`Host::send`] sends is not touched.
    ///
    /// # Errors
    /// What the kernel says; nothing is changed then.
    pub fn redirect(&mut self, destination: Ipv6Addr, source: Ipv6Addr) -> Result<(), Error> {
        match self.redirected.get(&destination) {
            Some(present) if *present == source => return Ok(()),
            Some(_) => self.unredirect(destination)?,
            None => {}
        }
        let what = || format!("redirect {destination}");
        let route = self.table_route(Some(destination), Some(source));
        let rule = self.rule(None, Some(destination));
        self.redirected.insert(destination, source);
        let result = self.changes.kernel.put_route(&route).trying(what);
        let result = result.and_then(|()| self.make_rule(rule, what));
        if result.is_err() {
            // The first error is the one that explains.
            let _ = self.unredirect(destination);
        }
        result
    }

    /// Ends a [`Host::redirect`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unredirect(&mut self, destination: Ipv6Addr) -> Result<(), Error> {
        let Some(source) = self.redirected.remove(&destination) else { return Ok(()) };
        let what = || format!("end the redirection of {destination}");
        let rule = self.changes.undo(&Undo::Rule(self.rule(None, Some(destination))));
        let route = self.table_route(Some(destination), Some(source));
        let route = unless_gone(self.changes.kernel.remove_route(&route)).trying(what);
        rule.and(route)
    }

    /// Takes these classes of packets from the link before the kernel sees them, and no others any more;
    /// they come in by [`Intake::Steal`](super::Intake::Steal).
    ///
    /// # Errors
    /// [`Error::MissingProgram`] without nftables, else what the kernel says; the former set stays then.
    pub fn steal(&mut self, classes: &[Steal]) -> Result<(), Error> {
        let mut wanted = self.filter.clone();
        wanted.set_stolen(classes);
        let table = filter::table_name(&self.name);
        let undo = Undo::FilterTable(table.clone());
        if wanted.steals_nothing() {
            self.changes.undo(&undo)?;
        } else if self.changes.in_force(&undo) {
            wanted.install_table(&table, &self.interface.name, self.drop_at)?;
        } else {
            // nft works in transactions: when it refuses, there is no table to remove.
            let place = self.drop_at;
            self.changes.make(undo, |_| wanted.install_table(&table, &self.interface.name, place))?;
        }
        // The drop is in force before the copies flow: a packet is lost rather than judged by the kernel.
        self.set_filter(wanted)?;
        let ends: BTreeSet<Ipv6Addr> = classes
            .iter()
            .filter_map(|class| match class {
                Steal::Tunnel { source: None, destination } => Some(*destination),
                _ => None,
            })
            .collect();
        self.reassembled.retain(|address, _| ends.contains(address));
        for address in ends {
            if let Entry::Vacant(place) = self.reassembled.entry(address) {
                let socket = Reassembled::open(&self.interface.name, address);
                place.insert(socket.trying(|| format!("open a raw socket for tunnels to {address}"))?);
            }
        }
        Ok(())
    }

    /// Copies ICMPv6 errors and mobility messages (types 1-4, 129 and 144-147) to one of `addresses`, and with
    /// `neighbor_discovery` all Router Advertisements, Neighbor Solicitations and Neighbor Advertisements; replaces the
    /// former choice. They come in by [`Intake::Tap`](super::Intake::Tap).
    ///
    /// # Errors
    /// What the kernel says; the former choice stays then.
    pub fn tap(&mut self, addresses: &[Ipv6Addr], neighbor_discovery: bool) -> Result<(), Error> {
        let mut wanted = self.filter.clone();
        wanted.set_tapped(addresses, neighbor_discovery);
        self.set_filter(wanted)
    }

    fn set_filter(&mut self, wanted: Selection) -> Result<(), Error> {
        self.link.set_filter(&wanted).trying(|| "filter the packet socket".to_owned())?;
        self.filter = wanted;
        Ok(())
    }

    /// Descriptors to wait for; when one is readable, call [`Host::receive`], [`Host::take_changes`] and
    /// [`Host::take_route_changes`].
    pub fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        let fds = [self.tunnel.as_fd(), self.link.as_fd(), self.events.as_fd()];
        let reassembled = self.reassembled.values().map(Reassembled::as_fd);
        fds.into_iter().chain(reassembled).chain(self.route_events.as_ref().map(RouteEvents::as_fd)).collect()
    }

    /// Takes one batch from every intake without blocking, and returns how many packets came; 0 means
    /// that nothing more waits.
    ///
    /// # Errors
    /// When an intake is gone for good, for example with its interface.
    pub fn receive(&mut self, into: &mut Vec<Received>) -> io::Result<usize> {
        self.changed |= self.events.take()?;
        let (stolen, malformed_stolen) = self.link.receive(&self.filter, &mut self.pool, into)?;
        let (own, malformed_own) = self.tunnel.receive(&mut self.pool, into)?;
        self.malformed += (malformed_stolen + malformed_own) as u64;
        let mut whole = 0;
        for reassembled in self.reassembled.values_mut() {
            whole += reassembled.receive(into)?;
        }
        Ok(stolen + own + whole)
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
        let on_link = |packet: &PacketBuffer| is_message_to(packet, owned);
        self.sender.send(packets, on_link, &mut self.pool)
    }

    /// Has this host's kernel receive `packets` as if they came out of a tunnel: it takes those to its own
    /// addresses and forwards the others if it is a router. Drains `packets`; returns how many it took.
    ///
    /// # Errors
    /// The kernel's first refusal; the other packets were delivered.
    pub fn deliver(&mut self, packets: &mut Vec<PacketBuffer>) -> io::Result<usize> {
        self.tunnel.deliver(packets, &mut self.pool)
    }

    /// True when the interface's state or addresses may have changed since the last call.
    pub fn take_changes(&mut self) -> bool {
        // A broken event socket must not hide changes: look again rather than never.
        let now = self.events.take().unwrap_or(true);
        let changed = std::mem::take(&mut self.changed) | now;
        if changed && let Err(error) = self.answer_again() {
            tracing::warn!(%error, "the addresses owned are not answered for");
        }
        changed
    }

    /// Has the kernel answer for the owned addresses again: it forgets them when the interface goes down.
    fn answer_again(&mut self) -> Result<(), Error> {
        let index = self.interface.index;
        let proxied =
            self.changes.kernel.proxied(index).trying(|| "list the proxied neighbors".to_owned())?;
        for &address in self.owned.iter().filter(|address| !proxied.contains(address)) {
            let what = || format!("answer for {address} again");
            let undo = Undo::Proxied { interface: index, address };
            if self.changes.in_force(&undo) {
                self.changes.kernel.add_proxied(index, address).trying(what)?;
            } else {
                self.changes.make(undo, |netlink| netlink.add_proxied(index, address).trying(what))?;
            }
        }
        Ok(())
    }

    /// Takes back every change of the system and removes the journal. Dropping does the same, but can
    /// only log what fails.
    ///
    /// # Errors
    /// The first change that could not be taken back; it stays in the journal for the next run.
    pub fn close(mut self) -> Result<(), Error> {
        self.changes.close()
    }

    fn table(&self) -> u32 {
        TABLE_BASE | (fnv(&self.name) & 0x00ff_ffff)
    }

    fn table_route(&self, destination: Option<Ipv6Addr>, preferred_source: Option<Ipv6Addr>) -> Route {
        Route {
            table: self.table(),
            destination,
            device: self.tunnel.index(),
            preferred_source,
            kind: RouteKind::Own,
        }
    }

    /// Adds a policy rule, unless it is in force because a killed run had made it.
    fn make_rule(&mut self, rule: Rule, what: impl FnOnce() -> String) -> Result<(), Error> {
        let undo = Undo::Rule(rule.clone());
        if self.changes.in_force(&undo) {
            return Ok(());
        }
        self.changes.make(undo, |netlink| netlink.add_rule(&rule).trying(what))
    }

    fn rule(&self, source: Option<Ipv6Addr>, destination: Option<Ipv6Addr>) -> Rule {
        let priority = RULE_PRIORITY_BASE + self.interface.index % 1024;
        Rule { priority, table: self.table(), unless_marked: MARK, source, destination }
    }
}

/// Takes "it exists already" for success.
fn unless_there(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

/// Waits until packets to `address` are this host's: the kernel acknowledges a new address before a worker of
/// its own has put it into the routing table.
fn wait_until_local(address: Ipv6Addr) -> io::Result<()> {
    let end = Instant::now() + ADDRESS_PATIENCE;
    let mut netlink = Netlink::open()?;
    loop {
        if netlink.is_local(address)? {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The FNV-1a hash, which unlike the standard library's stays the same from version to version.
fn fnv(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193))
}

/// Checks that a node can live on a link; also tells the length of its link-layer header in octets.
fn usable(link: &Link) -> Result<(Interface, usize), Error> {
    let unusable = |why| Err(Error::UnusableInterface { name: link.name.clone(), why });
    let link_header = match link.kind {
        LinkLayerType::Ether => 14,
        LinkLayerType::None | LinkLayerType::Rawip | LinkLayerType::Ppp | LinkLayerType::Tunnel6 => 0,
        _ => return unusable("its link layer is neither Ethernet nor without headers"),
    };
    if link.mtu < LEAST_MTU {
        return unusable("its MTU is below the 1280 octets of RFC 8200");
    }
    let interface = Interface {
        index: link.index,
        name: link.name.clone(),
        mtu: link.mtu,
        link_address: link.address.as_slice().try_into().ok().filter(|_| link_header == 14),
        is_software: link.is_software,
    };
    Ok((interface, link_header))
}
