//! Checksums and segmentation offload: what unchanged programs say in packets of every kind of size arrives as it went,
//! through the tunnel and directly, by user space and by the kernel, with the adapters' offload on and off, and no kernel
//! counts a wrong sum (RFC 8200 8.1: sums are over the home address and the final destination).
//! Run by `cargo test --test daemon sums`.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use crate::figure11::{AGENT, At, Background, Figure11, INITIATOR, PATIENCE, RESPONDER, until};

const HOSTS: [At; 4] = [At::Haa, At::Ai1, At::Ai2, At::Ar1];

fn talk() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/peer/talk.py")
}

/// The packets that a host's kernel refused for their sums.
fn wrong_sums(network: &Figure11, at: At) -> u64 {
    let told = network.run(at, &["cat", "/proc/net/snmp6", "/proc/net/snmp"]);
    let six = told
        .lines()
        .filter(|line| line.starts_with("Udp6InCsumErrors") || line.starts_with("Icmp6InCsumErrors"));
    let six = six.map(|line| line.split_whitespace().next_back().and_then(|count| count.parse::<u64>().ok()));
    // A line of names, then one of values.
    let mut tcp = told.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
    let (names, values) = (tcp.next().expect("names"), tcp.next().expect("values"));
    let of_tcp =
        names.zip(values).find(|(name, _)| *name == "InCsumErrors").map(|(_, count)| count.parse().ok());
    let counts: Vec<_> = six.chain(of_tcp).map(|count| count.expect("a count")).collect();
    assert_eq!(counts.len(), 3, "{told}");
    counts.iter().sum()
}

/// Both initiators talk with the responder, one through the tunnel and one directly.
fn arrives_as_it_went(forwarding: &str, offload: bool) {
    let network = Figure11::unjudged();
    if !offload {
        for at in HOSTS {
            let off = ["tx", "rx", "sg", "tso", "gso", "gro"].map(|feature| [feature, "off"]).concat();
            network.run(at, &[&["ethtool", "-K", "eth0"][..], &off].concat());
        }
    }
    let chosen = ["--forwarding", forwarding];
    let agent = network.start(At::Haa, &[&AGENT[..], &chosen].concat());
    let initiator = network.start(At::Ai2, &[&INITIATOR[..], &chosen].concat());
    let responder = network.start(At::Ar1, &[&RESPONDER[..], &chosen].concat());
    assert!(network.reaches(At::Ai1) && network.reaches(At::Ai2), "{}", responder.log());
    let optimised = || initiator.show("bindings").as_array().is_some_and(|bindings| bindings.len() == 1);
    assert!(until(PATIENCE, optimised), "{}", responder.log());
    let mut serve = network.command(At::Ar1, "python3");
    let serve = serve.arg("-B").arg(talk()).args(["serve", "2001:db8:0:1::a"]).stdout(Stdio::piped());
    let mut server = Background(serve.spawn().expect("python3 runs"));
    let mut said = String::new();
    BufReader::new(server.0.stdout.take().expect("a pipe")).read_line(&mut said).expect("a word");
    assert_eq!(said, "listening\n");
    for at in [At::Ai1, At::Ai2] {
        let ask =
            network.command(at, "python3").arg("-B").arg(talk()).args(["ask", "2001:db8:0:1::a"]).output();
        let ask = ask.expect("python3 runs");
        let said = String::from_utf8_lossy(&ask.stderr);
        assert!(ask.status.success(), "{at:?}: {said}\n{}\n{}", responder.log(), responder.show("stats"));
    }
    for at in HOSTS {
        assert_eq!(wrong_sums(&network, at), 0, "{at:?}");
    }
    // Both ways were gone by both.
    for (node, rule) in [
        (&responder, "reverse-tunnel-in"),
        (&responder, "reverse-tunnel-out"),
        (&responder, "routing-header-in"),
        (&responder, "home-address-out"),
        (&initiator, "routing-header-out"),
        (&initiator, "home-address-in"),
    ] {
        let told = node.show("rules");
        let row = told.as_array().expect("rows").iter().find(|row| row["rule"] == rule);
        assert!(row.is_some_and(|row| row["packets"].as_u64() > Some(1000)), "{rule}: {told}");
    }
    responder.stop();
    initiator.stop();
    agent.stop();
}

#[test]
fn what_is_said_arrives_as_it_went_by_user_space() {
    arrives_as_it_went("user", true);
}

#[test]
fn what_is_said_arrives_as_it_went_by_user_space_without_offload() {
    arrives_as_it_went("user", false);
}

#[cfg(mga_ebpf)]
#[test]
fn what_is_said_arrives_as_it_went_by_the_kernel() {
    arrives_as_it_went("ebpf", true);
}

#[cfg(mga_ebpf)]
#[test]
fn what_is_said_arrives_as_it_went_by_the_kernel_without_offload() {
    arrives_as_it_went("ebpf", false);
}
