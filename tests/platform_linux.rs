//! The platform room on a real Linux kernel, each test in network namespaces of its own.
//! What is checked is what thesis section 4 and RFC 3775 sections 6 and 10.4 need of a host.
//! Run by `cargo test` as root; without root every test fails rather than pretends.
#![cfg(target_os = "linux")]

use mga_node::{
    platform::{
        Error, Host, Intake, Options, Received, Steal,
        netns::{self, NetworkNamespace, WireEnd},
    },
    wire::PacketBuffer,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    fs,
    io::{Read, Write},
    net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 9, 0, 0, 0, 1);
const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 9, 0, 0, 0, 0xa);
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough for an ICMPv6 error on a wire without delay.
const SILENCE: Duration = Duration::from_millis(300);

/// Two namespaces on one wire: `host` is where the node lives, `peer` is everybody else.
struct Wire {
    host: NetworkNamespace,
    peer: NetworkNamespace,
    scratch: PathBuf,
}

impl Wire {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let tag = format!("mga-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let scratch = std::env::temp_dir().join(&tag);
        fs::create_dir_all(&scratch).expect("a scratch directory");
        let wire = Self {
            host: NetworkNamespace::create(&format!("{tag}-host")).expect("these tests need root"),
            peer: NetworkNamespace::create(&format!("{tag}-peer")).expect("a namespace"),
            scratch,
        };
        netns::connect(
            WireEnd { namespace: &wire.host, interface: "eth0", link_address: HOST_MAC },
            WireEnd { namespace: &wire.peer, interface: "eth0", link_address: [2, 0, 0, 0, 1, 1] },
        )
        .expect("a wire");
        wire.host.add_address("eth0", HOST, 64).expect("an address");
        wire.peer.add_address("eth0", PEER, 64).expect("an address");
        wire.host.set_default_route(PEER).expect("a route");
        wire.peer.set_default_route(HOST).expect("a route");
        wire
    }

    fn options(&self, name: &str) -> Options {
        Options {
            interface: "eth0".into(),
            journal: self.scratch.join(format!("{name}.undo")),
            name: name.into(),
            settings: None,
        }
    }

    /// Runs `work` in the host's namespace with an open node there, and closes the node.
    fn with_node<T: Send>(&self, work: impl FnOnce(&mut Host) -> T + Send) -> T {
        self.host
            .run(|| {
                let mut node = Host::open(&self.options("node-eth0")).expect("the node opens");
                let result = work(&mut node);
                node.close().expect("the node closes");
                result
            })
            .expect("the namespace")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.scratch).expect("the scratch directory is ours");
    }
}

/// Waits until the node has received what `wanted` looks for.
fn wait_for<T>(node: &mut Host, mut wanted: impl FnMut(&Received) -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    let mut batch = Vec::new();
    while Instant::now() < end {
        wait_readable(node, 50);
        node.receive(&mut batch).expect("the node receives");
        for received in batch.drain(..) {
            if let Some(found) = wanted(&received) {
                return Some(found);
            }
            node.recycle(received.packet);
        }
    }
    None
}

fn wait_readable(node: &Host, milliseconds: u16) {
    let mut fds: Vec<_> = node.poll_fds().into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    poll(&mut fds, PollTimeout::from(milliseconds)).expect("poll");
}

/// Everything the node receives until nothing new has come for [`SILENCE`].
fn drain(node: &mut Host) -> Vec<Received> {
    let mut batch = Vec::new();
    let mut last = Instant::now();
    while last.elapsed() < SILENCE {
        wait_readable(node, 50);
        if node.receive(&mut batch).expect("the node receives") > 0 {
            last = Instant::now();
        }
    }
    batch
}

fn address(packet: &[u8], at: usize) -> Ipv6Addr {
    Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("16 octets"))
}

fn source(packet: &[u8]) -> Ipv6Addr {
    address(packet, 8)
}

fn destination(packet: &[u8]) -> Ipv6Addr {
    address(packet, 24)
}

/// An IPv6 packet with this payload.
fn ipv6(next_header: u8, source: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// The one's complement sum over pseudo header and upper-layer packet; 0xffff when its checksum is right.
fn upper_layer_sum(protocol: u8, source: Ipv6Addr, destination: Ipv6Addr, upper: &[u8]) -> u16 {
    let mut octets = Vec::new();
    octets.extend(source.octets());
    octets.extend(destination.octets());
    octets.extend((upper.len() as u32).to_be_bytes());
    octets.extend([0, 0, 0, protocol]);
    octets.extend(upper);
    let mut sum = 0_u32;
    for pair in octets.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Fills the checksum of an upper-layer packet in.
fn checksummed(protocol: u8, at: usize, from: Ipv6Addr, to: Ipv6Addr, mut upper: Vec<u8>) -> Vec<u8> {
    let sum = !upper_layer_sum(protocol, from, to, &upper);
    upper[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    upper
}

fn udp(from: Ipv6Addr, to: Ipv6Addr, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(ports.0.to_be_bytes());
    datagram.extend(ports.1.to_be_bytes());
    datagram.extend((8 + data.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    checksummed(17, 6, from, to, datagram)
}

/// Sends whole packets, by other means than those under test.
fn send_raw(packets: &[Vec<u8>]) {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(255))).expect("a raw socket");
    for packet in packets {
        let to = SockAddr::from(SocketAddrV6::new(destination(packet), 0, 0, 0));
        socket.send_to(packet, &to).expect("sent");
    }
}

/// A socket that sees the ICMPv6 errors a namespace receives.
fn icmp_socket() -> Socket {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).expect("a raw socket");
    socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
    socket
}

/// The (type, code) of the errors that come within [`SILENCE`] of each other.
fn icmp_errors(socket: &Socket) -> Vec<(u8, u8)> {
    let (mut reader, mut octets, mut errors) = (socket, [0; 2048], Vec::new());
    while let Ok(length) = reader.read(&mut octets) {
        if length >= 8 && octets[0] < 128 {
            errors.push((octets[0], octets[1]));
        }
    }
    errors
}

fn run_in(namespace: &NetworkNamespace, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    netns::in_namespace(&mut command, namespace).expect("the namespace").output().expect("the program runs")
}

fn spawn_in(namespace: &NetworkNamespace, program: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    netns::in_namespace(&mut command, namespace).expect("the namespace").spawn().expect("the program runs")
}

/// Whether a child that must end soon ends well.
fn finish(mut child: Child) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.success();
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
    false
}

/// Everything of the network an operator can list, and every IPv6 parameter.
fn snapshot(namespace: &NetworkNamespace) -> String {
    let mut text = String::new();
    for arguments in [
        &["-d", "link"][..],
        &["-6", "addr"],
        &["-6", "route", "show", "table", "all"],
        &["-6", "rule"],
        &["-6", "neigh", "show", "proxy"],
        &["-6", "maddr"],
    ] {
        text += &namespace.ip(arguments).expect("ip lists");
    }
    text += &String::from_utf8_lossy(&run_in(namespace, "nft", &["list", "ruleset"]).stdout);
    namespace
        .run(|| {
            let mut parameters = Vec::new();
            list_parameters(Path::new("/proc/sys/net/ipv6"), &mut parameters);
            parameters.sort_unstable();
            text += &parameters.join("\n");
        })
        .expect("the namespace");
    text
}

fn list_parameters(directory: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory of parameters") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            list_parameters(&path, into);
        } else if let Ok(value) = fs::read_to_string(&path) {
            into.push(format!("{} = {}", path.display(), value.trim_end()));
        }
    }
}

/// Asserts that nothing differs, and else shows only what does.
fn assert_same(now: &str, before: &str) {
    let lines = |text: &str, other: &str| {
        let missing = text.lines().filter(|line| !other.lines().any(|there| there == *line));
        missing.collect::<Vec<_>>().join("\n")
    };
    assert!(now == before, "appeared:\n{}\nvanished:\n{}", lines(now, before), lines(before, now));
}

#[test]
fn h094_an_owned_address_is_answered_for_on_the_link_and_its_packets_come_to_us() {
    let wire = Wire::new();
    wire.with_node(|node| {
        node.become_router().expect("a router");
        node.own(ANYCAST).expect("owned");
        let ping = spawn_in(&wire.peer, "ping", &["-c", "1", "-W", "4", &ANYCAST.to_string()]);
        let mut request = wait_for(node, |received| {
            let packet = received.packet.as_slice();
            let is_request = received.intake == Intake::Own && packet[6] == 58 && packet[40] == 128;
            is_request.then(|| packet.to_vec())
        })
        .expect("the echo request comes in");
        assert_eq!((source(&request), destination(&request)), (PEER, ANYCAST));
        assert_eq!(request[7], 63, "the kernel has forwarded it");

        // Answer it by hand: that also shows the way out.
        request[8..24].copy_from_slice(&ANYCAST.octets());
        request[24..40].copy_from_slice(&PEER.octets());
        request[40] = 129;
        request[42..44].fill(0);
        let reply = checksummed(58, 2, ANYCAST, PEER, request[40..].to_vec());
        request[40..].copy_from_slice(&reply);
        let report = node.send(&mut vec![PacketBuffer::new(&request)]);
        assert_eq!((report.sent, report.failed.len()), (1, 0));
        assert!(finish(ping), "ping has its reply");

        let neighbor = || {
            let arguments = ["-6", "neigh", "show", &ANYCAST.to_string(), "dev", "eth0"];
            wire.peer.ip(&arguments).expect("a neighbor")
        };
        assert!(neighbor().contains("lladdr 02:00:00:00:01:02"), "{}", neighbor());

        // A unicast solicitation is answered by the kernel, too, and not handed to us.
        wire.peer
            .ip(&["neigh", "change", &ANYCAST.to_string(), "dev", "eth0", "nud", "probe"])
            .expect("the peer doubts its neighbor");
        let to_us = drain(node);
        assert!(to_us.iter().all(|received| received.packet.as_slice()[6] != 58), "{to_us:?}");
        assert!(neighbor().contains("REACHABLE"), "{}", neighbor());

        // The tunnel's MTU is the kernel's business: Packet Too Big, and nothing for us.
        let large = ["-c", "1", "-W", "1", "-M", "do", "-s", "1452", &ANYCAST.to_string()];
        assert!(!run_in(&wire.peer, "ping", &large).status.success());
        let route = wire.peer.ip(&["-6", "route", "get", &ANYCAST.to_string()]).expect("a route");
        assert!(route.contains("mtu 1460"), "{route}");
        assert!(drain(node).is_empty());

        node.disown(ANYCAST).expect("disowned");
        wire.peer.ip(&["neigh", "flush", "dev", "eth0"]).expect("flushed");
        let gone = run_in(&wire.peer, "ping", &["-c", "1", "-W", "1", &ANYCAST.to_string()]);
        assert!(!gone.status.success());
        assert!(drain(node).is_empty());
    });
}

/// Thesis 4.3.3: a midway agent changes the routing of its network and nothing on its link.
#[test]
fn a_routed_address_is_owned_by_its_route_alone_under_a_number_of_its_own() {
    let wire = Wire::new();
    wire.peer.ip(&["-6", "route", "add", &format!("{FAR}/128"), "via", &HOST.to_string()]).expect("a route");
    wire.with_node(|node| {
        node.forward_packets().expect("it forwards");
        node.route(FAR, 78).expect("routed");
        node.route(FAR, 78).expect("routed already");
        let listed = || wire.host.ip(&["-6", "route", "show", "proto", "78"]).expect("a listing");
        let line = listed();
        assert!(line.starts_with(&format!("{FAR} dev {} metric 1 ", node.tunnel_name())), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(wire.host.ip(&["-6", "neigh", "show", "proxy"]).expect("a listing"), "");
        let ping = spawn_in(&wire.peer, "ping", &["-c", "1", "-W", "1", &FAR.to_string()]);
        let came = wait_for(node, |received| {
            (received.intake == Intake::Own).then(|| destination(received.packet.as_slice()))
        });
        assert_eq!(came, Some(FAR));
        finish(ping);
        node.unroute(FAR).expect("given up");
        assert_eq!(listed(), "");
        node.unroute(FAR).expect("given up already");
    });
}

#[test]
fn h096_a_probe_for_an_owned_address_is_answered_to_all_nodes() {
    let wire = Wire::new();
    wire.with_node(|node| {
        node.become_router().expect("a router");
        node.own(ANYCAST).expect("owned");
        for (name, value) in [("accept_dad", "1"), ("dad_transmits", "1")] {
            wire.peer.set_parameter(&format!("net/ipv6/conf/eth0/{name}"), value).expect("a parameter");
        }
        // A probe has no source, so an answer can only reach the peer at the group of all nodes.
        wire.peer.ip(&["addr", "add", &format!("{ANYCAST}/64"), "dev", "eth0"]).expect("the peer tries");
        let verdict = || wire.peer.ip(&["-6", "addr", "show", "dev", "eth0", "to", &ANYCAST.to_string()]);
        let begin = Instant::now();
        while !verdict().expect("its addresses").contains("dadfailed") {
            assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", verdict());
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn stolen_classes_are_ours_alone_and_all_others_stay_with_the_kernel() {
    const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 3);
    let wire = Wire::new();
    wire.host.add_address("eth0", OTHER, 64).expect("a second address");
    // ICMPv6 errors are rate-limited, and this test counts them.
    wire.host.set_parameter("net/ipv6/icmp/ratelimit", "0").expect("no limit");
    // Home address option, type 2 routing header, Mobility Header (HoTI), tunnelled UDP.
    let mut with_option = vec![17, 2, 1, 2, 0, 0, 0xc9, 16];
    with_option.extend(ELSEWHERE.octets());
    with_option.extend(udp(ELSEWHERE, HOST, (5, 6), b"x"));
    let mut with_routing = vec![17, 2, 2, 1, 0, 0, 0, 0];
    with_routing.extend(ANYCAST.octets());
    with_routing.extend(udp(PEER, ANYCAST, (5, 6), b"x"));
    let mobility = |to| checksummed(135, 4, PEER, to, vec![59, 1, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let inner = ipv6(17, ELSEWHERE, ANYCAST, &udp(ELSEWHERE, ANYCAST, (5, 6), b"x"));
    let packets = |to| {
        vec![
            ipv6(60, PEER, to, &with_option),
            ipv6(43, PEER, to, &with_routing),
            ipv6(135, PEER, to, &mobility(to)),
            ipv6(41, PEER, to, &inner),
        ]
    };
    let errors_to = |to| {
        wire.peer
            .run(|| {
                let errors = icmp_socket();
                send_raw(&packets(to));
                icmp_errors(&errors)
            })
            .expect("the namespace")
    };
    let refused = [(4, 2), (4, 0), (4, 1), (4, 1)];
    let lists_no_table = || run_in(&wire.host, "nft", &["list", "ruleset"]).stdout.is_empty();

    wire.with_node(|node| {
        assert_eq!(errors_to(HOST), refused, "a stock kernel refuses all four");
        let all = [
            Steal::DestinationOptions { destination: HOST },
            Steal::RoutingHeader { destination: HOST },
            Steal::MobilityHeader { destination: HOST },
            Steal::Tunnel { source: Some(PEER), destination: HOST },
        ];
        node.steal(&all).expect("stolen");
        assert_eq!(errors_to(HOST), [], "the kernel sees none of them");
        let stolen = drain(node);
        assert!(stolen.iter().all(|received| received.intake == Intake::Steal));
        let stolen: Vec<_> = stolen.iter().map(|received| received.packet.as_slice().to_vec()).collect();
        assert_eq!(stolen, packets(HOST), "whole, in order, hop limit and all");

        assert_eq!(errors_to(OTHER), refused, "another address is none of ours");
        assert_eq!(drain(node).len(), 0);
        let ping = run_in(&wire.peer, "ping", &["-c", "1", "-W", "2", &HOST.to_string()]);
        assert!(ping.status.success(), "plain packets pass");

        // A set replaces the former one; a tunnel from somebody else is nobody's.
        let others = [
            Steal::MobilityHeader { destination: OTHER },
            Steal::Tunnel { source: Some(ELSEWHERE), destination: HOST },
        ];
        node.steal(&others).expect("stolen");
        assert_eq!(errors_to(HOST), refused);
        assert_eq!(drain(node).len(), 0);
        assert_eq!(errors_to(OTHER), [(4, 2), (4, 0), (4, 1)]);
        assert_eq!(drain(node).len(), 1);

        // More classes than a filter program has room for.
        let many: Vec<_> = (0..600_u16)
            .map(|number| Steal::Tunnel {
                source: Some(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, number)),
                destination: HOST,
            })
            .chain(all)
            .collect();
        node.steal(&many).expect("stolen");
        assert_eq!(errors_to(HOST), []);
        assert_eq!(drain(node).len(), 4);
        assert_eq!(errors_to(OTHER), refused);
        assert_eq!(drain(node).len(), 0);

        assert!(!lists_no_table());
        node.steal(&[]).expect("nothing stolen");
        assert!(lists_no_table());
        assert_eq!(errors_to(HOST), refused);
        assert_eq!(drain(node).len(), 0);
    });
}

#[test]
fn a_packet_given_back_reaches_the_program_it_was_for() {
    let wire = Wire::new();
    wire.with_node(|node| {
        node.steal(&[Steal::DestinationOptions { destination: HOST }]).expect("stolen");
        let program = UdpSocket::bind((HOST, 4242)).expect("a socket");
        program.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // Destination options with nothing but padding: not ours after all.
        let mut payload = vec![17, 0, 1, 4, 0, 0, 0, 0];
        payload.extend(udp(PEER, HOST, (99, 4242), b"hello"));
        wire.peer.run(|| send_raw(&[ipv6(60, PEER, HOST, &payload)])).expect("the namespace");
        let packet = wait_for(node, |received| Some(received.packet.clone())).expect("stolen");
        let mut back = vec![packet];
        assert_eq!(node.deliver(&mut back).expect("delivered"), 1);
        assert!(back.is_empty());
        let mut octets = [0; 64];
        let (length, from) = program.recv_from(&mut octets).expect("the datagram");
        assert_eq!((&octets[..length], from.ip()), (&b"hello"[..], PEER.into()));
    });
}

#[test]
fn an_assigned_address_serves_programs_and_is_never_chosen_by_the_kernel() {
    let wire = Wire::new();
    wire.with_node(|node| {
        node.assign(ANYCAST).expect("assigned");
        assert!(node.addresses().expect("addresses").iter().all(|entry| entry.address != ANYCAST));
        assert_eq!(node.source_towards(ELSEWHERE).expect("a route"), Some(HOST));
        let socket = UdpSocket::bind("[::]:0").expect("a socket");
        socket.connect((ELSEWHERE, 9)).expect("connected");
        assert_eq!(socket.local_addr().expect("bound").ip(), HOST, "an ordinary program gets the PUA");

        let listener = TcpListener::bind("[::]:8080").expect("a server");
        let mut syn =
            vec![0x30, 0x39, 0x1f, 0x90, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0];
        syn = checksummed(6, 16, ELSEWHERE, ANYCAST, syn);
        node.deliver(&mut vec![PacketBuffer::new(&ipv6(6, ELSEWHERE, ANYCAST, &syn))]).expect("delivered");
        let reply = wait_for(node, |received| Some(received.clone())).expect("the server answers");
        assert_eq!(reply.intake, Intake::Own);
        let packet = reply.packet.as_slice();
        assert_eq!((source(packet), destination(packet)), (ANYCAST, ELSEWHERE));
        assert_eq!(packet[40 + 13], 0x12, "SYN and ACK");
        assert_eq!(upper_layer_sum(6, ANYCAST, ELSEWHERE, &packet[40..]), 0xffff);
        drop(listener);
        drain(node);

        let from_anycast = ["-c", "1", "-W", "1", "-I", &ANYCAST.to_string(), &ELSEWHERE.to_string()];
        let ping = spawn_in(&wire.host, "ping", &from_anycast);
        let request =
            wait_for(node, |received| (received.packet.as_slice()[6] == 58).then(|| received.packet.clone()))
                .expect("the echo request comes in");
        assert_eq!(source(request.as_slice()), ANYCAST);
        finish(ping);

        // However many destinations, the kernel's small neighbor table holds one entry for the tunnel.
        let speaker = UdpSocket::bind((ANYCAST, 0)).expect("a socket");
        for number in 0..50 {
            let to = Ipv6Addr::new(0x2001, 0xdb8, 0, 8, 0, 0, 0, number);
            speaker.send_to(b"x", (to, 9)).expect("sent");
        }
        assert_eq!(drain(node).len(), 50);
        let neighbors = ["-6", "neigh", "show", "nud", "all", "dev", node.tunnel_name()];
        assert_eq!(wire.host.ip(&neighbors).expect("neighbors").lines().count(), 1);

        // What leaves by our own sender with this source goes to the link.
        let catcher = wire.peer.run(|| UdpSocket::bind((PEER, 4243))).expect("in").expect("a socket");
        catcher.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let packet = ipv6(17, ANYCAST, PEER, &udp(ANYCAST, PEER, (7, 4243), b"out"));
        let report = node.send(&mut vec![PacketBuffer::new(&packet)]);
        assert_eq!(report.sent, 1, "{report:?}");
        assert_eq!(catcher.recv_from(&mut [0; 16]).expect("the datagram").1.ip(), ANYCAST);
        node.unassign(ANYCAST).expect("unassigned");
        assert!(!wire.host.ip(&["-6", "addr"]).expect("addresses").contains(&format!("{ANYCAST}/")));
    });
}

#[test]
fn h095_h099_an_owned_link_local_address_is_answered_for_and_its_packets_are_unreachable() {
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xa);
    let wire = Wire::new();
    wire.with_node(|node| {
        node.become_router().expect("a router");
        node.own(ANYCAST).expect("owned");
        node.own(link_local).expect("owned, with the group of the other");
        let ping = || {
            let output = run_in(&wire.peer, "ping", &["-c", "2", "-W", "1", &format!("{link_local}%eth0")]);
            assert!(!output.status.success());
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let neighbors = || wire.peer.ip(&["-6", "neigh", "show", "dev", "eth0"]).expect("neighbors");
        let said = ping();
        assert!(said.contains("Destination unreachable: Address unreachable"), "{said}");
        assert!(neighbors().contains("fe80::a lladdr 02:00:00:00:01:02"), "{}", neighbors());
        assert!(drain(node).is_empty(), "nothing that could get into a tunnel");

        node.disown(link_local).expect("disowned");
        wire.peer.ip(&["neigh", "flush", "dev", "eth0"]).expect("flushed");
        let still = spawn_in(&wire.peer, "ping", &["-c", "1", "-W", "1", &ANYCAST.to_string()]);
        let came = wait_for(node, |received| (received.intake == Intake::Own).then_some(()));
        assert!(came.is_some(), "the group is still listened to for the other address");
        finish(still);
        ping();
        assert!(!neighbors().contains("fe80::a lladdr"), "{}", neighbors());
    });
}

#[test]
fn router_advertisements_are_copied_with_neighbor_discovery_only() {
    let wire = Wire::new();
    wire.with_node(|node| {
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let body = vec![134, 0, 0, 0, 64, 0x20, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let advertisement = ipv6(58, PEER, all_nodes, &checksummed(58, 2, PEER, all_nodes, body));
        for (neighbor_discovery, expected) in [(true, 1), (false, 0)] {
            node.tap(&[HOST], neighbor_discovery).expect("tapped");
            drain(node);
            wire.peer.run(|| send_raw(std::slice::from_ref(&advertisement))).expect("the namespace");
            let seen = drain(node);
            assert_eq!(seen.iter().filter(|r| r.packet.as_slice()[40] == 134).count(), expected);
        }
    });
}

#[test]
fn a_redirection_catches_programs_but_not_our_own_packets() {
    const SECOND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 9, 0, 0, 0, 2);
    let wire = Wire::new();
    wire.with_node(|node| {
        // Twice, because the kernel treats the first policy rule of a namespace differently.
        for destination_address in [SECOND, ELSEWHERE] {
            wire.peer.add_address("lo", destination_address, 128).expect("an address");
            // Conversations that began before the redirection must follow it, too.
            let old = UdpSocket::bind("[::]:0").expect("a socket");
            old.connect((destination_address, 4244)).expect("connected");
            old.send(b"before").expect("sent");
            let listener = wire
                .peer
                .run(|| TcpListener::bind((destination_address, 4246)))
                .expect("in")
                .expect("a server");
            let mut stream = TcpStream::connect((destination_address, 4246)).expect("connected");
            stream.write_all(b"before").expect("written");
            let (mut accepted, _) = listener.accept().expect("accepted");
            accepted.read_exact(&mut [0; 6]).expect("read");
            // The stream of the round before goes on dying in its own redirection.
            let to_here = |received: &Received| {
                let packet = received.packet.as_slice();
                (destination(packet) == destination_address).then(|| packet.to_vec())
            };
            assert!(drain(node).iter().all(|received| to_here(received).is_none()));

            node.redirect(destination_address, HOST).expect("redirected");
            let new = UdpSocket::bind("[::]:0").expect("a socket");
            new.connect((destination_address, 4244)).expect("connected");
            for (program, word) in [(&new, &b"new"[..]), (&old, b"old")] {
                // Errors of what was sent before (nobody listens) arrive at the next call.
                while program.send(word).is_err() {}
                let packet = wait_for(node, to_here)
                    .unwrap_or_else(|| panic!("{} was not caught", String::from_utf8_lossy(word)));
                assert_eq!(source(&packet), HOST);
                assert_eq!(&packet[48..], word);
                assert_eq!(upper_layer_sum(17, HOST, destination_address, &packet[40..]), 0xffff);
                drain(node);
            }
            stream.write_all(b"more").expect("written");
            let segment = wait_for(node, to_here).expect("the stream follows");
            assert!(segment.ends_with(b"more"));
            let report = node.send(&mut vec![PacketBuffer::new(&segment)]);
            assert_eq!(report.sent, 1);
            accepted.read_exact(&mut [0; 4]).expect("our sender is not redirected");
            drain(node);
            assert_eq!(node.source_towards(destination_address).expect("a route"), Some(HOST));
        }

        let catcher = wire.peer.run(|| UdpSocket::bind((ELSEWHERE, 4245))).expect("in").expect("a socket");
        catcher.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let new = UdpSocket::bind("[::]:0").expect("a socket");
        new.connect((ELSEWHERE, 4245)).expect("connected");
        new.send(b"caught").expect("sent");
        let caught = wait_for(node, |received| received.packet.as_slice().ends_with(b"caught").then_some(()));
        assert!(caught.is_some());
        node.unredirect(ELSEWHERE).expect("unredirected");
        new.send(b"after").expect("sent");
        let mut octets = [0; 16];
        let (length, _) = catcher.recv_from(&mut octets).expect("the program is on the wire again");
        assert_eq!(&octets[..length], b"after");
    });
}

#[test]
fn a_packet_longer_than_the_mtu_comes_back_from_send_and_the_others_leave() {
    let wire = Wire::new();
    wire.with_node(|node| {
        let packet = |length: usize| {
            PacketBuffer::new(&ipv6(17, HOST, PEER, &udp(HOST, PEER, (1, 2), &vec![0; length - 48])))
        };
        let mut packets: Vec<_> = (0..150).map(|number| packet(100 + number)).collect();
        packets[3] = packet(1501);
        packets[100] = packet(2000);
        let report = node.send(&mut packets);
        assert!(packets.is_empty());
        assert_eq!(report.sent, 148);
        let failed: Vec<_> =
            report.failed.iter().map(|(packet, error)| (packet.len(), error.raw_os_error())).collect();
        assert_eq!(failed, [(1501, Some(libc::EMSGSIZE)), (2000, Some(libc::EMSGSIZE))]);
        assert_eq!(node.route_mtu(PEER).expect("a route"), 1500);
        let narrow = ["-6", "route", "add", &ELSEWHERE.to_string(), "via", &PEER.to_string(), "mtu", "1400"];
        wire.host.ip(&narrow).expect("a route");
        assert_eq!(node.route_mtu(ELSEWHERE).expect("a route"), 1400);
    });
}

#[test]
fn a_path_mtu_the_kernel_learnt_is_known() {
    let wire = Wire::new();
    wire.with_node(|node| {
        let program = UdpSocket::bind((HOST, 4247)).expect("a socket");
        program.connect((ELSEWHERE, 4248)).expect("connected");
        let sent = ipv6(17, HOST, ELSEWHERE, &udp(HOST, ELSEWHERE, (4247, 4248), &[0; 1000]));
        let too_big = [&[2, 0, 0, 0, 0, 0, 0x05, 0x46], sent.as_slice()].concat();
        let error = ipv6(58, PEER, HOST, &checksummed(58, 2, PEER, HOST, too_big));
        assert_eq!(node.route_mtu(ELSEWHERE).expect("a route"), 1500);
        node.tap(&[HOST], false).expect("tapped");
        wire.peer.run(|| send_raw(std::slice::from_ref(&error))).expect("the namespace");
        let tapped = wait_for(node, |received| Some(received.packet.clone())).expect("the error is tapped");
        assert_eq!(tapped.as_slice(), error);
        assert_eq!(node.route_mtu(ELSEWHERE).expect("a route"), 0x546);
    });
}

#[test]
fn packets_leave_by_the_link_whatever_their_scope_and_a_router_forwards_what_is_delivered() {
    let wire = Wire::new();
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x101);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    wire.with_node(|node| {
        node.become_router().expect("a router");
        node.own(ANYCAST).expect("owned");
        let catcher = wire.peer.run(|| UdpSocket::bind("[::]:4249")).expect("in").expect("a socket");
        catcher.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let caught = || {
            let mut octets = [0; 16];
            let (length, from) = catcher.recv_from(&mut octets).expect("a datagram");
            (octets[..length].to_vec(), from.ip())
        };
        for to in [link_local, all_nodes, PEER] {
            let packet = ipv6(17, ANYCAST, to, &udp(ANYCAST, to, (7, 4249), b"direct"));
            let report = node.send(&mut vec![PacketBuffer::new(&packet)]);
            assert_eq!(report.sent, 1, "{to}: {report:?}");
            assert_eq!(caught(), (b"direct".to_vec(), ANYCAST.into()), "{to}");
        }
        // What a responder sent through the tunnel goes on to the initiator as a forwarded packet.
        let packet = ipv6(17, ANYCAST, PEER, &udp(ANYCAST, PEER, (7, 4249), b"inner"));
        assert_eq!(node.deliver(&mut vec![PacketBuffer::new(&packet)]).expect("delivered"), 1);
        assert_eq!(caught(), (b"inner".to_vec(), ANYCAST.into()));
        assert!(drain(node).is_empty(), "nothing of that comes back to us");
    });
}

#[test]
fn taps_copy_what_they_are_asked_for_and_the_kernel_still_answers() {
    let wire = Wire::new();
    wire.with_node(|node| {
        let ping_again = || {
            wire.host.ip(&["neigh", "flush", "dev", "eth0"]).expect("flushed");
            wire.peer.ip(&["neigh", "flush", "dev", "eth0"]).expect("flushed");
            assert!(run_in(&wire.peer, "ping", &["-c", "1", "-W", "2", &HOST.to_string()]).status.success());
        };
        node.tap(&[HOST], true).expect("tapped");
        ping_again();
        let solicitation =
            |to| ipv6(58, PEER, to, &checksummed(58, 2, PEER, to, vec![146, 0, 0, 0, 0, 1, 0, 0]));
        wire.peer.run(|| send_raw(&[solicitation(HOST), solicitation(ELSEWHERE)])).expect("the namespace");
        let seen = drain(node);
        assert!(seen.iter().all(|received| received.intake == Intake::Tap));
        let types: Vec<_> = seen.iter().map(|received| received.packet.as_slice()[40]).collect();
        assert!(types.contains(&135), "{types:?}");
        assert_eq!(types.iter().filter(|kind| **kind == 146).count(), 1, "{types:?}");
        assert!(types.iter().all(|kind| [135, 136, 146].contains(kind)), "no echo request: {types:?}");

        node.tap(&[HOST], false).expect("tapped");
        ping_again();
        assert!(drain(node).is_empty());
    });
}

#[test]
fn address_changes_are_told_and_only_those_of_our_interface() {
    let wire = Wire::new();
    wire.with_node(|node| {
        let told = |node: &mut Host| {
            let end = Instant::now() + Duration::from_millis(200);
            let mut any = false;
            while Instant::now() < end {
                any |= node.take_changes();
                thread::sleep(Duration::from_millis(10));
            }
            any
        };
        told(node);
        wire.host.add_address("lo", ELSEWHERE, 128).expect("an address");
        assert!(!told(node), "the loopback interface is not ours");
        wire.host.add_address("eth0", ANYCAST, 64).expect("an address");
        assert!(told(node));
        let addresses = node.addresses().expect("addresses");
        let mut found: Vec<_> = addresses.iter().map(|entry| (entry.address, entry.prefix_length)).collect();
        found.sort_unstable();
        assert_eq!(found, [(HOST, 64), (ANYCAST, 64)]);
        assert!(addresses.iter().all(|entry| !entry.tentative && !entry.deprecated));
        assert_eq!((node.interface().mtu, node.interface().link_address), (1500, Some(HOST_MAC)));
    });
}

/// One end of an IPv6-in-IPv6 tunnel in user space, until `stop`; returns (packets in, longest packet).
fn tunnel_end(node: &mut Host, from: Ipv6Addr, to: Ipv6Addr, stop: &AtomicBool) -> (usize, usize) {
    let (mut batch, mut outside, mut inside) = (Vec::new(), Vec::new(), Vec::new());
    let (mut count, mut longest) = (0, 0);
    let outer = ipv6(41, from, to, &[]);
    while !stop.load(Ordering::Relaxed) {
        wait_readable(node, 20);
        node.receive(&mut batch).expect("the node receives");
        for Received { mut packet, intake } in batch.drain(..) {
            count += 1;
            longest = longest.max(packet.len());
            if intake == Intake::Own {
                let length = packet.len() as u16;
                packet.prepend(40).copy_from_slice(&outer);
                packet.as_mut_slice()[4..6].copy_from_slice(&length.to_be_bytes());
                outside.push(packet);
            } else {
                packet.strip(40);
                inside.push(packet);
            }
        }
        let report = node.send(&mut outside);
        assert!(report.failed.is_empty(), "{:?}", report.failed.first());
        node.deliver(&mut inside).expect("delivered");
    }
    (count, longest)
}

/// A TCP stream from a redirected initiator to an assigned anycast address through two nodes; every octet
/// must arrive, which it cannot when a checksum or a segment is wrong.
fn carry_a_stream(wire: &Wire, megabytes: usize) {
    let stop = AtomicBool::new(false);
    let ready = AtomicU32::new(0);
    let end = |namespace: &NetworkNamespace, name: &str, prepare: fn(&mut Host), from, to| {
        let run = || {
            let mut node = Host::open(&wire.options(name)).expect("the node opens");
            prepare(&mut node);
            node.steal(&[Steal::Tunnel { source: Some(to), destination: from }]).expect("stolen");
            ready.fetch_add(1, Ordering::Relaxed);
            let seen = tunnel_end(&mut node, from, to, &stop);
            assert_eq!(node.malformed(), 0);
            node.close().expect("closed");
            seen
        };
        namespace.run(run).expect("the namespace")
    };
    let prepare_peer = |node: &mut Host| node.assign(ELSEWHERE).expect("assigned");
    let prepare_host = |node: &mut Host| node.redirect(ELSEWHERE, HOST).expect("redirected");
    thread::scope(|scope| {
        let peer = scope.spawn(|| end(&wire.peer, "ar-eth0", prepare_peer, PEER, HOST));
        let host = scope.spawn(|| end(&wire.host, "ai-eth0", prepare_host, HOST, PEER));
        while ready.load(Ordering::Relaxed) < 2 {
            assert!(!peer.is_finished() && !host.is_finished(), "a node failed to start");
            thread::sleep(Duration::from_millis(10));
        }
        let listener = wire.peer.run(|| TcpListener::bind("[::]:7000")).expect("in").expect("a server");
        let server = scope.spawn(move || {
            let (mut stream, from) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let (mut buffer, mut total, mut wrong) = (vec![0; 1 << 16], 0_usize, 0);
            loop {
                let length = stream.read(&mut buffer).expect("the stream");
                if length == 0 {
                    break;
                }
                let octets = buffer[..length].iter().zip(total..);
                wrong += octets.filter(|(octet, at)| **octet != (at % 251) as u8).count();
                total += length;
            }
            stream.write_all(b"thanks").expect("answered");
            (total, wrong, from.ip())
        });
        let answer = wire.host.run(|| {
            let mut stream = TcpStream::connect((ELSEWHERE, 7000))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let chunk: Vec<u8> = (0..251 * 4096).map(|at| (at % 251) as u8).collect();
            for _ in 0..megabytes {
                stream.write_all(&chunk)?;
            }
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        });
        stop.store(true, Ordering::Relaxed);
        assert_eq!(answer.expect("the namespace").expect("the stream"), "thanks");
        let (total, wrong, from) = server.join().expect("the server");
        assert_eq!((total, wrong, from), (megabytes * 251 * 4096, 0, HOST.into()));
        for (count, longest) in [peer.join().expect("the responder"), host.join().expect("the initiator")] {
            assert!(count > 100, "the stream went through us");
            assert!(longest <= 1500, "no packet is longer than the link's MTU, but one had {longest}");
        }
    });
}

#[test]
fn a_tcp_stream_survives_the_transmit_offloads() {
    carry_a_stream(&Wire::new(), 20);
}

#[test]
fn a_tcp_stream_survives_the_receive_offloads() {
    let wire = Wire::new();
    for namespace in [&wire.host, &wire.peer] {
        let offloads = ["-K", "eth0", "gro", "on", "rx-udp-gro-forwarding", "on"];
        let set = run_in(namespace, "ethtool", &offloads);
        assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
        // Only a thread finds more than one packet to merge on a wire without delay.
        let threaded = "echo 1 > /sys/class/net/eth0/threaded";
        let set = run_in(namespace, "ip", &["netns", "exec", namespace.name(), "sh", "-c", threaded]);
        assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    }
    let stop = AtomicBool::new(false);
    let merged = thread::scope(|scope| {
        let sniffer = scope.spawn(|| wire.peer.run(|| merged_tunnel_frames(&stop)).expect("the namespace"));
        carry_a_stream(&wire, 20);
        stop.store(true, Ordering::Relaxed);
        sniffer.join().expect("the sniffer")
    });
    assert!(merged > 0, "the link has merged tunnelled segments");
}

/// Counts the frames on Ethernet that carry more than one tunnelled packet's worth.
fn merged_tunnel_frames(stop: &AtomicBool) -> usize {
    let every_protocol = i32::from(0x0003_u16.to_be());
    let socket =
        Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(every_protocol))).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let (mut reader, mut frame, mut merged) = (&socket, vec![0; 1 << 16], 0);
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = reader.read(&mut frame) else { continue };
        merged += usize::from(length > 1514 && frame[12..14] == [0x86, 0xdd] && frame[20] == 41);
    }
    merged
}

#[test]
fn a_node_outlives_its_interface_going_down() {
    let wire = Wire::new();
    wire.with_node(|node| {
        node.become_router().expect("a router");
        node.own(ANYCAST).expect("owned");
        node.steal(&[Steal::MobilityHeader { destination: HOST }]).expect("stolen");
        drain(node);
        node.take_changes();
        for state in ["down", "up"] {
            wire.host.ip(&["link", "set", "eth0", state]).expect("set");
            drain(node);
            assert!(node.take_changes(), "{state} is a change");
        }
        wire.host.add_address("eth0", HOST, 64).expect("the operator's part");
        wire.peer.ip(&["neigh", "flush", "dev", "eth0"]).expect("flushed");
        let ping = spawn_in(&wire.peer, "ping", &["-c", "1", "-W", "1", &ANYCAST.to_string()]);
        assert!(wait_for(node, |received| (received.intake == Intake::Own).then_some(())).is_some());
        finish(ping);
        let message = checksummed(135, 4, PEER, HOST, vec![59, 0, 1, 0, 0, 0, 0, 0]);
        wire.peer.run(|| send_raw(&[ipv6(135, PEER, HOST, &message)])).expect("the namespace");
        assert!(wait_for(node, |received| (received.intake == Intake::Steal).then_some(())).is_some());
    });
}

#[test]
fn closing_restores_the_system_to_the_letter() {
    const PROXIED_BEFORE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x77);
    let wire = Wire::new();
    // What the operator had before must still be there afterwards.
    wire.host
        .ip(&["-6", "neigh", "add", "proxy", &PROXIED_BEFORE.to_string(), "dev", "eth0"])
        .expect("a proxy entry");
    wire.host.set_parameter("net/ipv6/conf/eth0/forwarding", "1").expect("set");
    let table = "table ip6 operator { chain forward { type filter hook forward priority 0; }; }";
    assert!(run_in(&wire.host, "nft", &[table]).status.success());
    let before = snapshot(&wire.host);
    let busy = || {
        let mut node = Host::open(&wire.options("haa-eth0")).expect("the node opens");
        node.become_router().expect("a router");
        node.own(ANYCAST).expect("owned");
        node.own(PROXIED_BEFORE).expect("owned");
        node.assign(ELSEWHERE).expect("assigned");
        node.redirect(PEER, HOST).expect("redirected");
        node.steal(&[Steal::MobilityHeader { destination: HOST }]).expect("stolen");
        node.tap(&[HOST], true).expect("tapped");
        node
    };
    wire.host
        .run(|| {
            let node = busy();
            let during = snapshot(&wire.host);
            for sign in ["fwmark 0", "mga_haa_eth0", "proto 77", "all/forwarding = 1", "all/proxy_ndp = 1"] {
                assert!(during.contains(sign), "{sign} is missing in {during}");
            }
            node.close().expect("closed");
        })
        .expect("the namespace");
    assert_same(&snapshot(&wire.host), &before);
    assert_eq!(fs::read_dir(&wire.scratch).expect("the directory").count(), 0, "journal and lock are gone");
    wire.host.run(|| drop(busy())).expect("the namespace");
    // Dropping is closing.
    assert_same(&snapshot(&wire.host), &before);
}

#[test]
fn an_interface_that_learns_its_routes_goes_on_learning_as_a_router() {
    let wire = Wire::new();
    wire.with_node(|node| {
        let key = "/proc/sys/net/ipv6/conf/eth0/accept_ra";
        let before = fs::read_to_string(key).expect("a parameter");
        node.become_router().expect("a router");
        let during = fs::read_to_string(key).expect("a parameter");
        assert_eq!((before.trim(), during.trim()), ("1", "2"));
    });
}

/// A node that changes everything and waits to be killed; the child process of the tests below.
#[test]
#[ignore = "is the child process of other tests"]
fn child_process() {
    let journal = std::env::var_os("MGA_TEST_JOURNAL").expect("only other tests run this one").into();
    let options = Options { interface: "eth0".into(), journal, name: "crash-eth0".into(), settings: None };
    let mut node = Host::open(&options).unwrap_or_else(|error| panic!("refused: {error}\n"));
    node.become_router().expect("a router");
    node.own(ANYCAST).expect("owned");
    node.assign(ELSEWHERE).expect("assigned");
    node.redirect(PEER, HOST).expect("redirected");
    node.route(FAR, 78).expect("routed");
    node.steal(&[Steal::MobilityHeader { destination: HOST }]).expect("stolen");
    println!("ready");
    loop {
        thread::park();
    }
}

const CHILD: [&str; 4] = ["--exact", "child_process", "--ignored", "--nocapture"];

#[test]
fn what_a_killed_node_left_is_swept_by_the_next_and_two_cannot_run_at_once() {
    let wire = Wire::new();
    let options = Options { name: "crash-eth0".into(), ..wire.options("crash") };
    let before = snapshot(&wire.host);
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(CHILD).env("MGA_TEST_JOURNAL", &options.journal).stdout(Stdio::piped());
    let mut child = netns::in_namespace(&mut command, &wire.host)
        .expect("the namespace")
        .spawn()
        .expect("the child runs");
    let mut output = child.stdout.take().expect("its output");
    let (mut text, mut octets) = (String::new(), [0; 256]);
    while !text.contains("ready") {
        let length = output.read(&mut octets).expect("its output");
        assert!(length > 0, "the child ended early: {text}");
        text += &String::from_utf8_lossy(&octets[..length]);
    }
    wire.host
        .run(|| match Host::open(&options) {
            Err(Error::Busy { owner, .. }) => assert_eq!(owner, Some(child.id())),
            Err(other) => panic!("unexpected: {other}"),
            Ok(_) => panic!("two nodes run at once"),
        })
        .expect("the namespace");
    child.kill().expect("killed");
    child.wait().expect("killed");
    let after = snapshot(&wire.host);
    for leftover in ["fwmark 0", "table netdev mga_crash_eth0", "proxy proto 77", "all/forwarding = 1"] {
        assert!(after.contains(leftover), "{leftover} did not survive the crash: {after}");
    }
    assert!(!after.contains(&FAR.to_string()), "nobody is drawn to a dead agent: {after}");
    wire.host
        .run(|| {
            let node = Host::open(&options).expect("the next run opens");
            let swept = snapshot(&wire.host);
            assert!(!swept.contains("mga_crash_eth0") && !swept.contains("fwmark 0"), "{swept}");
            node.close().expect("closed");
        })
        .expect("the namespace");
    assert_same(&snapshot(&wire.host), &before);
}

#[test]
fn without_privilege_nothing_happens_but_one_line() {
    let wire = Wire::new();
    // Everybody may write there, so that only the kernel can refuse.
    let directory = wire.scratch.join("journals");
    fs::create_dir(&directory).expect("a directory");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("permissions");
    let program = wire.scratch.join("program");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("a copy anybody may run");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program).args(CHILD);
    command.env("MGA_TEST_JOURNAL", directory.join("crash.undo"));
    let output = netns::in_namespace(&mut command, &wire.host).expect("in").output().expect("the child runs");
    let text = String::from_utf8_lossy(&output.stderr);
    let line =
        "refused: not permitted to open a raw socket: run as root or with CAP_NET_ADMIN and CAP_NET_RAW\n";
    assert!(text.contains(line), "{text}{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(fs::read_dir(&directory).expect("the directory").count(), 0, "nothing is left behind");
}

#[test]
fn a_missing_interface_is_answered_with_those_that_exist() {
    let wire = Wire::new();
    let options = Options { interface: "eth7".into(), ..wire.options("none") };
    match wire.host.run(|| Host::open(&options).map(drop)).expect("the namespace") {
        Err(Error::NoSuchInterface { name, known }) => {
            assert_eq!(name, "eth7");
            assert!(known.contains(&"eth0".to_owned()) && known.contains(&"lo".to_owned()), "{known:?}");
        }
        other => panic!("unexpected: {other:?}"),
    }
}

#[test]
fn the_kernel_tells_what_it_has_of_mobile_ipv6() {
    let facts = netns::facts();
    let release = Command::new("uname").arg("-r").output().expect("uname runs");
    assert_eq!(facts.release, String::from_utf8_lossy(&release.stdout).trim());
    // A kernel that has a tunnel device kind can make one; one that is known to lack it cannot.
    let wire = Wire::new();
    if let Some(has_tunnels) = facts.ipv6_tunnel {
        let made = wire.host.ip(&["link", "add", "probe", "type", "ip6tnl", "remote", &PEER.to_string()]);
        assert_eq!(made.is_ok(), has_tunnels, "{facts:?}: {made:?}");
    }
    // A kernel without Mobile IPv6 refuses a type 2 routing header with Parameter Problem code 0.
    if facts.mobile_ipv6 == Some(false) {
        let mut routed = vec![59, 2, 2, 1, 0, 0, 0, 0];
        routed.extend(ANYCAST.octets());
        let errors = wire.peer.run(|| {
            let errors = icmp_socket();
            send_raw(&[ipv6(43, PEER, HOST, &routed)]);
            icmp_errors(&errors)
        });
        assert_eq!(errors.expect("the namespace"), [(4, 0)]);
    }
}
