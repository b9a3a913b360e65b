//! Whether a node will run here, found out by doing what a node does (thesis section 4, RFC 3775 section 8): taking in the
//! packets a stock kernel refuses, sending, forwarding, standing in for A_Any, on a scratch Ethernet with nobody else on it.
//! `daemon::doctor` prints what this finds; each system has the rest in its own `doctor`.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{Ipv6Addr, UdpSocket},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{Error, Host, Intake, Interface, InterfaceAddress, Options, Received, Steal, system};
use crate::wire::{
    PacketBuffer,
    ipv6::{self, Ipv6Header, next_header},
};

/// This host on the scratch Ethernet.
pub const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xd0c, 0, 0, 0, 0, 2);
/// The neighbour that the trial plays itself.
pub const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xd0c, 0, 0, 0, 0, 1);
/// The anycast address of the trial.
const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xd0c, 0, 0, 0, 0, 0xa);
/// Somebody elsewhere, whose packet is forwarded.
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xd0d, 0, 0, 0, 0, 1);
/// The neighbour's Ethernet address.
const PEER_LINK: [u8; 6] = [2, 0, 0, 0, 0xd0, 0xc1];
/// How long anything may take that happens at once when it happens.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the kernel is listened to for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(100);
/// The port of the trial's datagrams.
const PORT: u16 = 0xd0c;

/// What a node needs of its host, by what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A home or midway anycast agent.
    Agent,
    /// An anycast responder.
    Responder,
    /// An anycast initiator.
    Initiator,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// What was found.
    pub outcome: Outcome,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it must be, with what was seen.
    Good(String),
    /// A node will not run.
    Bad {
        /// What is wrong.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// Not looked at, and why.
    Skipped(String),
}

impl Check {
    /// It is as it must be.
    pub fn good(name: &'static str, seen: impl Into<String>) -> Self {
        Check { name, outcome: Outcome::Good(seen.into()) }
    }

    /// It is not.
    pub fn bad(name: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Check { name, outcome: Outcome::Bad { what: what.into(), remedy: remedy.into() } }
    }

    /// It was not looked at.
    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Check { name, outcome: Outcome::Skipped(why.into()) }
    }

    /// What a refusal of the operating system comes to.
    pub fn refused(name: &'static str, error: &Error) -> Self {
        match error {
            Error::NotPermitted { what, remedy } => {
                Check::bad(name, format!("not permitted to {what}"), *remedy)
            }
            Error::MissingProgram { program, remedy } => {
                Check::bad(name, format!("the program {program} is missing"), *remedy)
            }
            Error::Lacking { what, remedy } => Check::bad(name, format!("this system lacks {what}"), *remedy),
            Error::UnusableInterface { .. } => {
                Check::bad(name, error.to_string(), "use an Ethernet with an MTU of at least 1280 octets")
            }
            _ => Check::bad(name, error.to_string(), "see the system's log"),
        }
    }
}

/// The verdict about the addresses of the interface a node shall run on; `remedy` says how this system is given one.
pub(super) fn addressed(
    name: &'static str,
    interface: &Interface,
    addresses: &[InterfaceAddress],
    remedy: String,
) -> Check {
    let Interface { name: link, mtu, .. } = interface;
    match addresses.iter().find(|found| !found.address.is_unicast_link_local()) {
        Some(InterfaceAddress { address, prefix_length, tentative: false, .. }) => {
            Check::good(name, format!("{link} has {address}/{prefix_length}, MTU {mtu}"))
        }
        Some(found) => Check::bad(
            name,
            format!("{} on {link} is tentative, or somebody else has it", found.address),
            "wait a moment; if it stays so, another host has the address",
        ),
        None => Check::bad(name, format!("{link} has no global IPv6 address"), remedy),
    }
}

/// Looks at everything that the parts need, and tells `say` each finding as it is made. `interface` is one that a node
/// shall run on; it is looked at, not touched. `further` is asked once a host is open on the scratch Ethernet.
pub fn examine(
    interface: Option<&str>,
    parts: &[Part],
    mut further: impl FnMut(&mut Host) -> Option<Check> + Send,
    mut say: impl FnMut(Check) + Send,
) {
    let mut bad = false;
    system::circumstances(interface, parts, &mut |check| {
        bad |= matches!(check.outcome, Outcome::Bad { .. });
        say(check);
    });
    if bad {
        return say(Check::skipped("trial", "something that it needs is missing: see above"));
    }
    let tried = system::apart(|| {
        if let Err(check) = trial(parts, &mut further, &mut say) {
            say(check);
        }
    });
    if let Err(why) = tried {
        say(Check::skipped("trial", why));
    }
}

/// Plays a node's life on a scratch Ethernet; ends with the first thing that fails.
fn trial(
    parts: &[Part],
    further: &mut (impl FnMut(&mut Host) -> Option<Check> + Send),
    say: &mut (impl FnMut(Check) + Send),
) -> Result<(), Check> {
    let link = system::ScratchLink::make().map_err(|error| Check::refused("scratch-interface", &error))?;
    say(Check::good("scratch-interface", format!("an Ethernet of our own, {}", link.name())));
    let name = format!("doctor-{}", std::process::id());
    let journal = Journal::new(&name).map_err(|error| {
        Check::bad(
            "journal",
            format!("cannot make a directory: {error}"),
            "make the temporary directory writable",
        )
    })?;
    let interface = link.name().to_owned();
    let options = Options { interface, journal: journal.0.join("undo"), name, settings: None };
    let mut host = Host::open(&options).map_err(|error| Check::refused("open", &error))?;
    say(Check::good("open", format!("raw and packet sockets, tunnel device {}", host.tunnel_name())));
    let mut trial = Trial { link, host: &mut host };
    trial.intake(say)?;
    trial.sending(say)?;
    if parts.contains(&Part::Agent) {
        trial.standing_in(say)?;
        trial.forwarding(say)?;
    }
    if parts.contains(&Part::Responder) {
        trial.anycast_address(say)?;
    }
    if let Some(check) = further(trial.host) {
        say(check);
    }
    host.close().map_err(|error| Check::refused("clean-end", &error))?;
    say(Check::good("clean-end", "everything was taken back"));
    Ok(())
}

/// A directory for the undo journal of the trial.
struct Journal(PathBuf);

impl Journal {
    fn new(name: &str) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("mga-{name}"));
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // What is left of it harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Trial<'a> {
    link: system::ScratchLink,
    host: &'a mut Host,
}

type Done = Result<(), Check>;

impl Trial<'_> {
    /// A home address option is refused by every stock kernel; here it must come in, and no error go out.
    fn intake(&mut self, say: &mut impl FnMut(Check)) -> Done {
        const NAME: &str = "intake";
        let refused = |error: &Error| Check::refused(NAME, error);
        let classes = [
            Steal::DestinationOptions { destination: HOST },
            Steal::RoutingHeader { destination: HOST },
            Steal::MobilityHeader { destination: HOST },
            Steal::Tunnel { source: None, destination: HOST },
        ];
        self.host.steal(&classes).map_err(|error| refused(&error))?;
        for (what, next, payload) in [
            ("home address option", next_header::DESTINATION_OPTIONS, home_address_option()),
            ("type 2 routing header", next_header::ROUTING, routing_header()),
            ("Mobility Header", next_header::MOBILITY, vec![59, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            let packet = ipv6::packet(Ipv6Header::new(next, 64, PEER, HOST), &payload);
            self.put(NAME, &packet)?;
            let came = self.wait(NAME, |received| {
                received.intake == Intake::Steal && received.packet.as_slice() == packet
            })?;
            if !came {
                let remedy = "look for a firewall that drops extension headers (nft list ruleset, ipfw list)";
                return Err(Check::bad(NAME, format!("a {what} did not come in"), remedy));
            }
            if self.next_frame(NAME, SILENCE, is_icmpv6_error)?.is_some() {
                let what = format!("the kernel answered a {what} with an ICMPv6 error");
                return Err(Check::bad(
                    NAME,
                    what,
                    "see that the packet filter (nftables, ipfw) is in force",
                ));
            }
        }
        say(Check::good(
            NAME,
            "home address option, type 2 routing header and Mobility Header come in, unanswered",
        ));
        Ok(())
    }

    /// A whole packet with a header no socket option can make must leave as it is.
    fn sending(&mut self, say: &mut impl FnMut(Check)) -> Done {
        const NAME: &str = "sending";
        let header = Ipv6Header::new(next_header::DESTINATION_OPTIONS, 64, HOST, PEER);
        let packet = ipv6::packet(header, &home_address_option());
        let mut batch = vec![PacketBuffer::new(&packet)];
        let report = self.host.send(&mut batch);
        if let Some((_, error)) = report.failed.first() {
            return Err(Check::bad(
                NAME,
                format!("the kernel does not send it: {error}"),
                "look for a firewall that refuses what leaves (nft list ruleset, ipfw list); raw sockets need CAP_NET_RAW",
            ));
        }
        if self.next_frame(NAME, PATIENCE, |left| left == packet)?.is_none() {
            let remedy = "look for a firewall that drops what leaves (nft list ruleset, ipfw list)";
            return Err(Check::bad(NAME, "a packet with a home address option did not leave", remedy));
        }
        say(Check::good(NAME, "a whole packet with a home address option leaves as it is"));
        Ok(())
    }

    /// The agent answers for A_Any on the link, and what is sent to it comes in.
    fn standing_in(&mut self, say: &mut impl FnMut(Check)) -> Done {
        const NAME: &str = "standing-in";
        self.host.become_router().map_err(|error| Check::refused(NAME, &error))?;
        self.host.own(ANYCAST).map_err(|error| Check::refused(NAME, &error))?;
        self.put(NAME, &neighbor_solicitation(ANYCAST))?;
        let answered = self.next_frame(NAME, PATIENCE, |packet| {
            packet.get(40) == Some(&136) && packet.get(48..64) == Some(ANYCAST.octets().as_slice())
        })?;
        if answered.is_none() {
            let remedy = "let the kernel proxy neighbours: sysctl net.ipv6.conf.all.proxy_ndp=1; let ICMPv6 135 and 136 pass";
            return Err(Check::bad(NAME, "nobody answers for the anycast address on the link", remedy));
        }
        self.put(NAME, &datagram(PEER, ANYCAST))?;
        if !self
            .wait(NAME, |received| received.intake == Intake::Own && destination(received) == Some(ANYCAST))?
        {
            let remedy = "let IPv6 packets be forwarded: sysctl net.ipv6.conf.all.forwarding=1, and no firewall in the way";
            return Err(Check::bad(NAME, "a packet to the anycast address did not come in", remedy));
        }
        say(Check::good(NAME, "the kernel answers for the anycast address, and packets to it come in"));
        Ok(())
    }

    /// What comes out of a tunnel goes on to others.
    fn forwarding(&mut self, say: &mut impl FnMut(Check)) -> Done {
        const NAME: &str = "forwarding";
        let mut batch = vec![PacketBuffer::new(&datagram(ELSEWHERE, PEER))];
        self.host.deliver(&mut batch).map_err(|error| {
            Check::bad(NAME, format!("the tunnel device takes no packet: {error}"), "see the system's log")
        })?;
        let went = self
            .next_frame(NAME, PATIENCE, |packet| packet.get(8..24) == Some(ELSEWHERE.octets().as_slice()))?;
        match went.as_ref().and_then(|packet| packet.get(7)) {
            Some(63) => {}
            Some(hop_limit) => {
                let what = format!("a forwarded packet has hop limit {hop_limit}, not 63");
                return Err(Check::bad(NAME, what, "report this: it is not known to happen"));
            }
            None => {
                let remedy = "let IPv6 packets be forwarded: sysctl net.ipv6.conf.all.forwarding=1 (FreeBSD: \
                              net.inet6.ip6.forwarding=1), and no firewall in the way";
                return Err(Check::bad(NAME, "a packet out of the tunnel was not forwarded", remedy));
            }
        }
        say(Check::good(NAME, "a packet out of the tunnel goes on to the link"));
        Ok(())
    }

    /// Programs use A_Any, and what they send from it comes in.
    fn anycast_address(&mut self, say: &mut impl FnMut(Check)) -> Done {
        const NAME: &str = "anycast-address";
        let trouble = |what: &str, error: &io::Error| {
            Check::bad(NAME, format!("cannot {what}: {error}"), "see the system's log")
        };
        // The agent's part of the trial may have had it before.
        self.host.disown(ANYCAST).map_err(|error| Check::refused(NAME, &error))?;
        self.host.assign(ANYCAST).map_err(|error| Check::refused(NAME, &error))?;
        let socket =
            UdpSocket::bind((ANYCAST, PORT)).map_err(|error| trouble("use the anycast address", &error))?;
        socket
            .send_to(b"doctor", (PEER, PORT))
            .map_err(|error| trouble("send from the anycast address", &error))?;
        if !self
            .wait(NAME, |received| received.intake == Intake::Own && destination(received) == Some(PEER))?
        {
            let remedy =
                "see that no other policy rule comes first (ip -6 rule), and no firewall is in the way";
            return Err(Check::bad(
                NAME,
                "what a program sends from the anycast address does not come in",
                remedy,
            ));
        }
        let mut batch = vec![PacketBuffer::new(&datagram(PEER, ANYCAST))];
        self.host.deliver(&mut batch).map_err(|error| trouble("deliver a packet", &error))?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(|error| trouble("wait", &error))?;
        if let Err(error) = socket.recv(&mut [0; 64]) {
            let remedy = "see that no firewall drops what comes in by the tunnel device mga0";
            return Err(Check::bad(
                NAME,
                format!("a packet to the anycast address reaches no program: {error}"),
                remedy,
            ));
        }
        say(Check::good(NAME, "programs send from the anycast address and receive at it"));
        Ok(())
    }

    /// Puts a packet on the scratch Ethernet, from the neighbour to the host.
    fn put(&mut self, name: &'static str, packet: &[u8]) -> Done {
        let to = self.host.interface().link_address.unwrap_or([0xff; 6]);
        let frame = [to.as_slice(), &PEER_LINK, &[0x86, 0xdd], packet].concat();
        self.link.send(&frame).map_err(|error| broken(name, &error))
    }

    /// True when what is wanted comes in.
    fn wait(&mut self, name: &'static str, wanted: impl Fn(&Received) -> bool) -> Result<bool, Check> {
        let begin = Instant::now();
        let mut batch = Vec::new();
        while begin.elapsed() < PATIENCE {
            self.host.receive(&mut batch).map_err(|error| broken(name, &error))?;
            let came = batch.iter().any(&wanted);
            for received in batch.drain(..) {
                self.host.recycle(received.packet);
            }
            if came {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(false)
    }

    /// The next packet on the scratch Ethernet that is wanted. Meanwhile the neighbour answers for its address.
    fn next_frame(
        &mut self,
        name: &'static str,
        patience: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, Check> {
        let begin = Instant::now();
        while let Some(left) = patience.checked_sub(begin.elapsed()) {
            let frame = match self.link.receive(left) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(name, &error)),
            };
            let Some(packet) = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[0x86, 0xdd])) else {
                continue;
            };
            if wanted(packet) {
                return Ok(Some(packet.to_vec()));
            }
            let asks_for_peer =
                packet.get(40) == Some(&135) && packet.get(48..64) == Some(PEER.octets().as_slice());
            if let Some(asking) = packet.get(8..24).filter(|_| asks_for_peer) {
                let asking: [u8; 16] = asking.try_into().unwrap_or_default();
                self.put(name, &neighbor_advertisement(asking.into()))?;
            }
        }
        Ok(None)
    }
}

fn broken(name: &'static str, error: &io::Error) -> Check {
    Check::bad(name, format!("the scratch interface does not work: {error}"), "see the system's log")
}

fn destination(received: &Received) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = received.packet.as_slice().get(24..40)?.try_into().ok()?;
    Some(octets.into())
}

fn is_icmpv6_error(packet: &[u8]) -> bool {
    packet.get(6) == Some(&next_header::ICMPV6) && packet.get(40).is_some_and(|kind| *kind < 128)
}

/// Destination options with a home address (RFC 3775 section 6.3), and nothing after them.
fn home_address_option() -> Vec<u8> {
    [[59, 2, 1, 2, 0, 0, 201, 16].as_slice(), &ANYCAST.octets()].concat()
}

/// A type 2 routing header (RFC 3775 section 6.4), and nothing after it.
fn routing_header() -> Vec<u8> {
    [[59, 2, 2, 1, 0, 0, 0, 0].as_slice(), &ANYCAST.octets()].concat()
}

/// A datagram of UDP without contents.
fn datagram(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let [high, low] = PORT.to_be_bytes();
    with_checksum(17, 64, source, destination, vec![high, low, high, low, 0, 8, 0, 0], 6)
}

fn neighbor_solicitation(target: Ipv6Addr) -> Vec<u8> {
    let group =
        Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | target.to_bits() & 0x00ff_ffff);
    let body = [[135, 0, 0, 0, 0, 0, 0, 0].as_slice(), &target.octets(), &[1, 1], &PEER_LINK].concat();
    with_checksum(next_header::ICMPV6, 255, PEER, group, body, 2)
}

fn neighbor_advertisement(to: Ipv6Addr) -> Vec<u8> {
    // Solicited and Override.
    let body = [[136, 0, 0, 0, 0x60, 0, 0, 0].as_slice(), &PEER.octets(), &[2, 1], &PEER_LINK].concat();
    with_checksum(next_header::ICMPV6, 255, PEER, to, body, 2)
}

fn with_checksum(
    next: u8,
    hop_limit: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    mut body: Vec<u8>,
    at: usize,
) -> Vec<u8> {
    let sum = ipv6::checksum(&source, &destination, next, &body).to_be_bytes();
    if let Some(field) = body.get_mut(at..at + 2) {
        field.copy_from_slice(&sum);
    }
    ipv6::packet(Ipv6Header::new(next, hop_limit, source, destination), &body)
}
