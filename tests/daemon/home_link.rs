//! Agents on one home link with the radvd of the distribution on their hosts (RFC 3775 7, 10.5), and what an agent
//! itself says to its responder (10.4.2). Questions come from a raw socket of this test, not from our encoder.
//! Run by `cargo test --test daemon home_link`; needs radvd and tcpdump.

use std::{
    fs, io,
    net::{IpAddr, Ipv6Addr, UdpSocket},
    process::{Command, Stdio},
    time::Duration,
};

use mga_node::platform::netns;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::figure11::{AGENT, At, Background, Figure11, Node, PATIENCE, until};

const ONE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 3);
const HOME_AGENTS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe);

/// Moves the host of AI1 onto the home link, where it is [`OTHER`].
fn put_ai1_on_the_home_link(network: &Figure11) {
    let (one, other) = (At::Haa.router_interface(), At::Ai1.router_interface());
    for line in [
        "link add br0 type bridge mcast_snooping 0".to_owned(),
        format!("addr del 2001:db8:0:1::1/64 dev {one}"),
        format!("link set {one} master br0"),
        format!("link set {other} master br0"),
        "addr add 2001:db8:0:1::1/64 dev br0 nodad".to_owned(),
        "link set br0 up".to_owned(),
    ] {
        network.router.ip(&line.split(' ').collect::<Vec<_>>()).expect("the bridge is made");
    }
    for line in [
        "-6 addr flush dev eth0 scope global".to_owned(),
        format!("addr add {OTHER}/64 dev eth0 nodad"),
        "-6 route replace default via 2001:db8:0:1::1".to_owned(),
    ] {
        network.host(At::Ai1).ip(&line.split(' ').collect::<Vec<_>>()).expect("the host moves");
    }
}

/// The configuration of radvd for a home agent.
fn configure_radvd(network: &Figure11, at: At, address: Ipv6Addr, preference: i16) -> String {
    let path = network.scratch.join(format!("radvd-{at:?}.conf"));
    let text = format!(
        "interface eth0 {{ AdvSendAdvert on; IgnoreIfMissing off; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;\n\
         AdvDefaultLifetime 0; AdvHomeAgentFlag on; AdvHomeAgentInfo on; HomeAgentLifetime 1800;\n\
         HomeAgentPreference {preference};\n\
         prefix {address}/64 {{ AdvOnLink on; AdvAutonomous off; AdvRouterAddr on; }}; }};\n"
    );
    fs::write(&path, text).expect("written");
    path.to_str().expect("a path of letters").to_owned()
}

fn start_radvd(network: &Figure11, at: At, address: Ipv6Addr, preference: i16) -> Background {
    let configuration = configure_radvd(network, at, address, preference);
    let process = network.scratch.join(format!("radvd-{at:?}.pid"));
    let log = fs::File::create(network.scratch.join(format!("radvd-{at:?}.log"))).expect("a log");
    let child = network
        .command(at, "radvd")
        .args(["-n", "-C", &configuration, "-m", "stderr", "-p"])
        .arg(process)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("radvd runs");
    Background(child)
}

/// Asks the home agents' anycast address from the place of AR1: who answers, and whom it names.
fn discover(network: &Figure11, identifier: u16) -> (Ipv6Addr, Vec<Ipv6Addr>) {
    let answer = network.host(At::Ar1).run(|| {
        // Only its reads and writes are used, which are the same for a raw socket.
        let socket = UdpSocket::from(Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?);
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let [high, low] = identifier.to_be_bytes();
        for _ in 0..20 {
            // The kernel computes the checksum.
            socket.send_to(&[144, 0, 0, 0, high, low, 0, 0], (HOME_AGENTS, 0))?;
            let mut octets = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut octets) {
                let octets = &octets[..length];
                if octets.starts_with(&[145, 0]) && octets.get(4..6) == Some(&[high, low]) {
                    return Ok((from.ip(), octets.to_vec()));
                }
            }
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    });
    let (from, octets) = answer.expect("the namespace").expect("discovery is answered");
    let address = |octets: &[u8]| Ipv6Addr::from(<[u8; 16]>::try_from(octets).expect("16 octets"));
    let IpAddr::V6(from) = from else { panic!("{from} is no IPv6 address") };
    (from, octets[8..].chunks_exact(16).map(address).collect())
}

fn agent(network: &Figure11, at: At, address: Ipv6Addr, preference: &str) -> Node {
    let address = address.to_string();
    network.start(
        at,
        &["--role", "haa", "--agent", &address, "--authentication", "none", "--preference", preference],
    )
}

#[test]
fn h113_h119_h120_h121_agents_learn_each_other_from_radvd_and_name_each_other_by_preference() {
    let network = Figure11::new();
    put_ai1_on_the_home_link(&network);
    let one = agent(&network, At::Haa, ONE, "10");
    let other = agent(&network, At::Ai1, OTHER, "20");
    let alone = discover(&network, 1);
    assert!([(ONE, vec![ONE]), (OTHER, vec![OTHER])].contains(&alone), "{alone:?}");

    let _radvd_of_one = start_radvd(&network, At::Haa, ONE, 10);
    let radvd_of_other = start_radvd(&network, At::Ai1, OTHER, 20);
    let found = |node: &Node| node.log().contains("home-agent-found");
    let learned = until(PATIENCE, || found(&one) && found(&other));
    let said = fs::read_to_string(network.scratch.join("radvd-Haa.log")).expect("a log");
    assert!(learned, "{}\n{}\n{said}", one.log(), other.log());
    let (from, named) = discover(&network, 2);
    assert!([ONE, OTHER].contains(&from), "{from}");
    assert_eq!(named, [OTHER, ONE]);

    // With one agent gone the other one answers, and goes on naming it as long as its radvd advertises it.
    other.stop();
    network.router.ip(&["neigh", "flush", "dev", "br0"]).expect("flushed");
    assert_eq!(discover(&network, 3), (ONE, vec![OTHER, ONE]));
    configure_radvd(&network, At::Ai1, OTHER, 5);
    kill(Pid::from_raw(radvd_of_other.0.id() as i32), Signal::SIGHUP).expect("radvd reads again");
    let reordered = until(PATIENCE, || discover(&network, 4) == (ONE, vec![ONE, OTHER]));
    assert!(reordered, "{:?}", discover(&network, 5));
    one.stop();
}

#[test]
fn h108_an_agents_own_echo_reply_reaches_the_responder_by_routing_header() {
    let network = Figure11::new();
    let agent = network.start(At::Haa, &AGENT);
    let _responder = network.start_responder(At::Ar1, &agent);
    let capture = network.scratch.join("n4.pcap");
    let mut command = Command::new("tcpdump");
    netns::in_namespace(&mut command, &network.router).expect("a descriptor");
    let interface = At::Ar1.router_interface();
    // Type 2 with an ICMPv6 echo reply behind its 24 octets.
    let wanted = "ip6[6] == 43 and ip6[40] == 58 and ip6[42] == 2 and ip6[64] == 129";
    let child = command
        .args(["-i", &interface, "-U", "-n", "-c", "2", "-w"])
        .arg(&capture)
        .arg(wanted)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("tcpdump runs");
    let mut tcpdump = Background(child);
    assert!(until(PATIENCE, || capture.exists()), "tcpdump does not listen");
    let ping = ["ping", "-c", "3", "-W", "2", "-I", "2001:db8:0:1::a", "2001:db8:0:1::2"];
    let said = network.run(At::Ar1, &ping);
    assert!(said.contains(" 0% packet loss"), "{said}");
    let seen = until(PATIENCE, || tcpdump.0.try_wait().expect("its state").is_some());
    assert!(seen, "no echo reply with a type 2 routing header");
}
