//! Unchanged programs talk through the nodes: a web server on the anycast address, ping, large transfers.
//! Thesis 5.2 and 5.3 (through the agent, and directly), RFC 2473 7.1 (Packet Too Big), RFC 3775 11.3.
//! Run by `cargo test --test daemon traffic`.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
};

use crate::figure11::{AGENT, ANYCAST, At, Background, Figure11, INITIATOR, PATIENCE, until};

const PORT: u16 = 8000;
const LARGE: usize = 20 << 20;

/// The web server of the Python installation, bound to every address of the host.
fn web_server(network: &Figure11, at: At) -> Background {
    let directory = network.scratch.join("www");
    fs::create_dir_all(&directory).expect("a directory");
    let octets: Vec<u8> = (0..LARGE).map(|position| (position % 251) as u8).collect();
    fs::write(directory.join("large"), octets).expect("written");
    let child = network
        .command(at, "python3")
        .args(["-m", "http.server", &PORT.to_string(), "--bind", "::"])
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 runs");
    let server = Background(child);
    let listening = || network.run(at, &["ss", "-Htln6"]).contains(&format!(":{PORT}"));
    assert!(until(PATIENCE, listening), "the web server does not listen");
    server
}

/// Fetches the large file from the anycast address and compares it; a stall is an error.
fn fetch(network: &Figure11, at: At) {
    let answer = network
        .host(at)
        .run(|| {
            let server = SocketAddr::from((ANYCAST, PORT));
            let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET /large HTTP/1.0\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        })
        .expect("the namespace")
        .expect("the web server answers on the anycast address");
    let body = answer.len().checked_sub(LARGE).and_then(|start| answer.get(start..)).expect("the whole file");
    assert!(body.iter().enumerate().all(|(position, octet)| *octet == (position % 251) as u8));
}

fn ping(network: &Figure11, at: At, count: u32, size: u32) -> String {
    let (count, size) = (count.to_string(), size.to_string());
    let arguments = ["-c", &count, "-i", "0.2", "-W", "2", "-s", &size, "2001:db8:0:1::a"];
    let output = network.command(at, "ping").args(arguments).output().expect("ping runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn forwarding(network: &Figure11, at: At) -> String {
    network.run(at, &["cat", "/proc/sys/net/ipv6/conf/all/forwarding"])
}

// covers: H001 H097 H098 H103 N066 N068
#[test]
fn a_plain_client_reaches_an_unchanged_server_through_the_agent() {
    let network = Figure11::new();
    assert_eq!(forwarding(&network, At::Ar1), "0\n");
    // With duplicate address detection on, as an agent runs unless told otherwise.
    let agent = network.start(At::Haa, &AGENT[..8]);
    let responder = network.start_responder(At::Ar1, &agent);
    let _server = web_server(&network, At::Ar1);
    fetch(&network, At::Ai1);
    // 1452 octets of data make a packet of 1500 octets, 40 too many for the tunnel.
    let said = ping(&network, At::Ai1, 4, 1452);
    assert!(said.contains(" 0% packet loss") || said.contains("3 received"), "{said}");
    let route = network.run(At::Ai1, &["ip", "-6", "route", "get", "2001:db8:0:1::a"]);
    assert!(route.contains("mtu 1460"), "{route}");
    fetch(&network, At::Ai1);
    let rules = agent.show("rules");
    for name in ["tunnel-to-responder", "tunnel-from-responder"] {
        let rule = rules.as_array().expect("a list").iter().find(|rule| rule["rule"] == name);
        assert!(rule.is_some_and(|rule| rule["packets"].as_u64() > Some(100)), "{name}: {rules}");
    }
    assert_eq!(forwarding(&network, At::Ar1), "0\n");
    for node in [&agent, &responder] {
        assert_eq!(node.show("stats")["dropped"]["unsendable"], 0, "{}", node.log());
    }
    assert!(!responder.log().contains("ERROR"), "{}", responder.log());
}

// covers: C001 C004 C067 C075 N065 N070
#[test]
fn an_initiator_talks_directly_without_its_kernel_forwarding() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let initiator = network.start(At::Ai2, &INITIATOR);
    let responder = network.start_responder(At::Ar1, &agent);
    let _server = web_server(&network, At::Ar1);
    ping(&network, At::Ai2, 2, 56);
    let optimised = || initiator.show("bindings").as_array().is_some_and(|bindings| bindings.len() == 1);
    assert!(until(PATIENCE, optimised), "{}", responder.log());
    let through_agent = |name: &str| -> u64 {
        let rules = agent.show("rules");
        let rule = rules.as_array().expect("a list").iter().find(|rule| rule["rule"] == name).cloned();
        rule.and_then(|rule| rule["packets"].as_u64()).expect("a counter")
    };
    let plain = ["ping", "-c", "2", "-i", "0.2", "-W", "3", "2001:db8:0:3::2"];
    let said = network.run(At::Ai1, &plain);
    assert!(said.contains("2 received"), "an initiator is a host like any other: {said}");
    // Return routability is repeated through the agent, data is not.
    let before = through_agent("tunnel-to-responder");
    fetch(&network, At::Ai2);
    let said = ping(&network, At::Ai2, 4, 1452);
    assert!(said.contains(" 0% packet loss") || said.contains("3 received"), "{said}");
    fetch(&network, At::Ai2);
    assert!(through_agent("tunnel-to-responder") - before < 20, "the data goes by the agent");
    for at in [At::Ai2, At::Ar1] {
        assert_eq!(forwarding(&network, at), "0\n", "{at:?}");
    }
}

#[test]
fn h027_h028_h029_a_rebinding_moves_a_plain_client_to_the_other_responder() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let _first = network.start_responder(At::Ar1, &agent);
    assert!(ping(&network, At::Ai1, 2, 56).contains("2 received"));
    // The second begins with the number the agent already has and must go on from there (thesis 5.1).
    let _second = network.start_responder(At::Ar2, &agent);
    assert!(ping(&network, At::Ai1, 2, 56).contains("2 received"));
    let bindings = agent.show("bindings");
    assert_eq!(bindings[0]["care_of"], "2001:db8:0:5::2");
    assert_eq!(bindings[0]["sequence"], 202);
    let log = agent.log();
    assert!(
        log.lines().any(|line| {
            line.contains(" INFO ")
                && line.contains("binding-update-refused anycast 2001:db8:0:1::a")
                && line.contains("peer 2001:db8:0:5::2 sequence 200 status 135: ")
                && line.contains("(RFC 3775 ")
        }),
        "{log}"
    );
}

/// That the shell tools are there is a matter of the machine, not of the program.
#[test]
fn the_tools_these_tests_use_are_installed() {
    for program in ["ip", "nft", "ping", "ss", "python3", "setpriv", "unshare", "nsenter", "bash"] {
        let found =
            Command::new("sh").args(["-c", &format!("command -v {program}")]).output().expect("sh runs");
        assert!(found.status.success(), "{program} is missing");
    }
}
