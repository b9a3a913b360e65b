//! More initiators at one responder than the kernel's table of neighbours has room for (1024 by default, and one table
//! for all namespaces): whoever speaks through the tunnel device costs no entry of it. Thesis 4.1 (A_Any is for everybody).
//! Run by `cargo test --test daemon crowd`.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::figure11::{AGENT, ANYCAST, At, Figure11, Node, PATIENCE, RESPONDER, until};

/// Addresses that speak to the responder.
const CROWD: u16 = 1100;
/// So often each asks again.
const TRIES: u32 = 20;
const ECHO: u16 = 7;

fn source(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 1, 0, 0, number)
}

/// Answers everybody at the anycast address, for as long as the tests run.
fn echo(network: &Figure11) {
    let bind = || UdpSocket::bind((ANYCAST, ECHO));
    let server = network.host(At::Ar1).run(bind).expect("the namespace").expect("the responder's address");
    thread::spawn(move || {
        let mut data = [0; 64];
        loop {
            // Errors are those of senders that are gone.
            if let Ok((length, from)) = server.recv_from(&mut data) {
                let _ = server.send_to(&data[..length], from);
            }
        }
    });
}

/// True when the anycast address answers this source.
fn is_answered(number: u16) -> bool {
    let socket = UdpSocket::bind((source(number), 0)).expect("an address of the crowd");
    socket.connect(SocketAddr::from((ANYCAST, ECHO))).expect("a route");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    (0..TRIES).any(|_| {
        // What came back for an earlier try is as good.
        let sent = socket.send(&number.to_be_bytes());
        let mut data = [0; 64];
        sent.is_ok() && socket.recv(&mut data).is_ok_and(|length| data[..length] == number.to_be_bytes())
    })
}

/// The neighbours that the kernel has on a node's tunnel device.
fn neighbours(network: &Figure11, at: At, node: &Node) -> Vec<String> {
    let device = node.show("config")["running"]["device"].as_str().expect("a name").to_owned();
    let told = network.run(at, &["ip", "-6", "neigh", "show", "nud", "all", "dev", &device]);
    // Groups of the kernel's own are no neighbours that anybody has to look for.
    told.lines().filter(|line| !line.starts_with("ff")).map(str::to_owned).collect()
}

fn a_crowd_is_served(forwarding: &str) {
    let network = Figure11::unjudged();
    let chosen = ["--forwarding", forwarding];
    let agent = network.start(At::Haa, &[&AGENT[..], &chosen].concat());
    let responder = network.start(At::Ar1, &[&RESPONDER[..], &chosen].concat());
    assert!(network.reaches(At::Ai1), "{}", responder.log());
    // A prefix of the host's own: the router has one neighbour for all of it.
    network
        .router
        .ip(&["-6", "route", "add", "2001:db8:0:2:1::/80", "via", "2001:db8:0:2::2"])
        .expect("a route");
    network.run(At::Ai1, &["ip", "-6", "route", "add", "local", "2001:db8:0:2:1::/80", "dev", "lo"]);
    network.run(At::Ai1, &["sysctl", "-qw", "net.ipv6.ip_nonlocal_bind=1"]);
    echo(&network);
    let served = || (1..=CROWD).filter(|number| is_answered(*number)).count();
    let served = network.host(At::Ai1).run(served).expect("the namespace");
    assert_eq!(served, usize::from(CROWD), "{}\n{}", agent.log(), responder.log());
    for (at, node) in [(At::Haa, &agent), (At::Ar1, &responder)] {
        let neighbours = neighbours(&network, at, node);
        assert!(neighbours.len() <= 1, "{at:?} has {}: {neighbours:?}", neighbours.len());
    }
    assert!(until(PATIENCE, || responder.show("stats")["dropped"]["unsendable"] == 0));
    responder.stop();
    agent.stop();
}

#[test]
fn more_initiators_than_neighbours_are_served_by_user_space() {
    a_crowd_is_served("user");
}

#[cfg(mga_ebpf)]
#[test]
fn more_initiators_than_neighbours_are_served_by_the_kernel() {
    a_crowd_is_served("ebpf");
}
