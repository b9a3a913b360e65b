//! The fast path in running nodes (design section 3): packets go by the kernel, user space counts none of them, a killed
//! agent's forwarding goes on and is taken over, an ended one's is gone. Needs the feature `ebpf`.
//! Run by `cargo test --features ebpf --test daemon fast_path`.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::advanced::{agent_with, becomes, explained, responder, text};
use crate::figure11::{
    AGENT, ANYCAST, At, Background, Figure11, INITIATOR, Node, PATIENCE, PROGRAM, RESPONDER, until,
};

const EBPF: [&str; 2] = ["--forwarding", "ebpf"];

fn with<'a>(role: &[&'a str]) -> Vec<&'a str> {
    [role, &EBPF].concat()
}

/// The rows of `show rules --kernel`; it must find what the node believes.
fn in_kernel(node: &Node) -> Vec<Value> {
    let output = node.ask(&["show", "rules", "--kernel", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    answer["rules"].as_array().expect("rows").clone()
}

fn carried(node: &Node, rule: &str) -> u64 {
    let rows = in_kernel(node);
    let row = rows.iter().find(|row| row["rule"] == rule).unwrap_or_else(|| panic!("no {rule}: {rows:?}"));
    row["packets"].as_u64().expect("a counter")
}

#[test]
fn packets_go_by_the_kernel_through_the_tunnel_and_directly() {
    let network = Figure11::new();
    let agent = network.start(At::Haa, &with(&AGENT));
    let initiator = network.start(At::Ai2, &with(&INITIATOR));
    let responder = network.start_responder(At::Ar1, &agent);
    let ping = ["ping", "-c", "5", "-i", "0.1", "-W", "5", "2001:db8:0:1::a"];
    assert!(network.run(At::Ai1, &ping).contains(" 0% packet loss"));
    for (node, rule) in [
        (&agent, "tunnel-to-responder"),
        (&agent, "tunnel-from-responder"),
        (&responder, "reverse-tunnel-in"),
        (&responder, "reverse-tunnel-out"),
    ] {
        // The first packet may find a neighbour unknown, and go by user space.
        assert!(carried(node, rule) >= 4, "{rule}: {:?}", in_kernel(node));
    }
    network.run(At::Ai2, &ping);
    let optimised = || initiator.show("bindings").as_array().is_some_and(|bindings| bindings.len() == 1);
    assert!(until(PATIENCE, optimised), "{}", responder.log());
    assert!(network.run(At::Ai2, &ping).contains(" 0% packet loss"));
    for (node, rule) in [
        (&initiator, "routing-header-out"),
        (&responder, "routing-header-in"),
        (&responder, "home-address-out"),
        (&initiator, "home-address-in"),
    ] {
        assert!(carried(node, rule) >= 4, "{rule}: {:?}", in_kernel(node));
    }
}

/// 50 echo requests a second to the anycast address, and what became of them.
struct Steady(Child);

impl Steady {
    fn start(network: &Figure11, at: At, count: u32) -> Self {
        let mut ping = network.command(at, "ping");
        ping.args(["-i", "0.02", "-c", &count.to_string(), "-W", "5", "2001:db8:0:1::a"]);
        Self(ping.stdout(Stdio::piped()).spawn().expect("ping runs"))
    }

    /// Waits for the end; every request must have been answered, once.
    fn all_answered(self, log: impl Fn() -> String) {
        let output = self.0.wait_with_output().expect("ping ends");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(" 0% packet loss") && !said.contains("duplicates"), "{said}\n{}", log());
    }
}

/// A connection to an echo service on the anycast address, over which something goes all the time.
struct Conversation {
    said: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
    client: thread::JoinHandle<std::io::Result<()>>,
}

impl Conversation {
    /// Serves at [`At::Ar1`] and talks from `at`.
    fn start(network: &Figure11, at: At) -> Self {
        let listener = network
            .host(At::Ar1)
            .run(|| TcpListener::bind((ANYCAST, 7)))
            .expect("the namespace")
            .expect("the anycast address is the host's");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let mut word = [0; 4];
            loop {
                stream.read_exact(&mut word)?;
                stream.write_all(&word)?;
            }
            #[expect(unreachable_code, reason = "it ends with its connection")]
            Ok::<_, std::io::Error>(())
        });
        let connect = || TcpStream::connect_timeout(&SocketAddr::from((ANYCAST, 7)), PATIENCE);
        let mut stream = network.host(at).run(connect).expect("the namespace").expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (said, over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&said), Arc::clone(&over));
        let client = thread::spawn(move || {
            let mut word = [0; 4];
            while !end.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                stream.write_all(&number.to_be_bytes())?;
                stream.read_exact(&mut word)?;
                assert_eq!(word, number.to_be_bytes());
                count.store(number + 1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        });
        Self { said, over, client }
    }

    /// True when something more has been said and answered, within patience.
    fn goes_on(&self) -> bool {
        let before = self.said.load(Ordering::Relaxed);
        until(PATIENCE, || self.said.load(Ordering::Relaxed) > before + 10)
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.client.join().expect("what was said came back").expect("the connection lived");
    }
}

/// What is attached to the link at a place: a node may leave it besides what [`Figure11::system`] tells.
fn attached(network: &Figure11, at: At) -> Vec<String> {
    let query = || SchedClassifier::query_tcx("eth0", TcAttachType::Ingress);
    let (_, programs) = network.host(at).run(query).expect("the namespace").expect("the kernel tells");
    programs.iter().filter_map(|program| program.name_as_str().map(str::to_owned)).collect()
}

/// The folder in which a node of which only the journal is left has pinned what outlives it.
fn pinned(network: &Figure11, at: At) -> PathBuf {
    let journal = fs::read_to_string(network.control(at).with_extension("undo")).expect("a journal");
    let steps = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut folders =
        steps.filter_map(|step| Some(step.pointer("/change/undo/pinned/folder")?.as_str()?.to_owned()));
    folders.next().expect("something is pinned").into()
}

#[test]
fn a_killed_agents_forwarding_goes_on_and_its_successor_takes_it_over() {
    let network = Figure11::new();
    let agent = network.start(At::Haa, &with(&AGENT));
    let _responder = network.start_responder(At::Ar1, &agent);
    assert!(network.reaches(At::Ai1), "{}", agent.log());
    let ping = Steady::start(&network, At::Ai1, 150);
    let before = carried(&agent, "tunnel-to-responder");
    assert!(until(PATIENCE, || carried(&agent, "tunnel-to-responder") > before + 20));
    agent.signal(Signal::SIGKILL);
    drop(agent);
    let agent = network.start(At::Haa, &with(&AGENT));
    assert!(agent.log().contains("adopted=2"), "{}", agent.log());
    ping.all_answered(|| agent.log());
    // The counters went on, too.
    assert!(carried(&agent, "tunnel-to-responder") >= 150, "{:?}", in_kernel(&agent));
    let folder = pinned(&network, At::Haa);
    assert!(folder.is_dir() && attached(&network, At::Haa) == ["agent_tc"], "{}", agent.log());
    agent.stop();
    assert!(!folder.exists() && attached(&network, At::Haa).is_empty());
}

/// The files of the node at [`At::Ar1`].
fn left_files(network: &Figure11) -> Vec<PathBuf> {
    let folder = network.control(At::Ar1).parent().expect("a folder").to_owned();
    network.files().into_iter().filter(|file| file.starts_with(&folder)).collect()
}

#[test]
fn a_killed_responders_forwarding_goes_on_and_its_successor_takes_it_over() {
    let network = Figure11::new();
    let agent = network.start(At::Haa, &with(&AGENT));
    let initiator = network.start(At::Ai2, &with(&INITIATOR));
    let before = (network.system(At::Ar1), attached(&network, At::Ar1));
    let responder = network.start(At::Ar1, &with(&RESPONDER));
    assert!(network.reaches(At::Ai1) && network.reaches(At::Ai2), "{}", responder.log());
    let optimised = || initiator.show("bindings").as_array().is_some_and(|bindings| bindings.len() == 1);
    assert!(until(PATIENCE, optimised), "{}", responder.log());
    // One speaks through the tunnel, the other directly.
    let conversation = Conversation::start(&network, At::Ai1);
    let pings = [At::Ai1, At::Ai2].map(|at| Steady::start(&network, at, 300));
    let directly = || carried(&initiator, "home-address-in");
    let later = |more: u64| {
        let before = (carried(&agent, "tunnel-to-responder"), directly());
        until(PATIENCE, || carried(&agent, "tunnel-to-responder") > before.0 + more)
            && until(PATIENCE, || directly() > before.1 + more)
    };
    assert!(later(40));
    responder.signal(Signal::SIGKILL);
    drop(responder);
    // Nobody is there now.
    assert!(later(60) && conversation.goes_on());
    let responder = network.start(At::Ar1, &with(&RESPONDER));
    assert!(responder.log().contains("adopted=4"), "{}", responder.log());
    let updates = || responder.show("updates");
    assert!(until(PATIENCE, || updates()["agents"][0]["state"] == "registered"), "{}", responder.log());
    let has_optimised = || {
        let updates = updates();
        let initiators = updates["initiators"].as_array().cloned().unwrap_or_default();
        initiators.iter().any(|initiator| initiator["state"] == "optimised")
    };
    // What it has only taken over, it makes its own by a binding of its own.
    assert!(until(PATIENCE, has_optimised), "{}", responder.log());
    assert!(conversation.goes_on());
    for ping in pings {
        ping.all_answered(|| responder.log());
    }
    conversation.end();
    for rule in ["reverse-tunnel-out", "reverse-tunnel-in", "home-address-out", "routing-header-in"] {
        assert!(carried(&responder, rule) >= 290, "{rule}: {:?}", in_kernel(&responder));
    }
    responder.stop();
    assert_eq!((network.system(At::Ar1), attached(&network, At::Ar1)), before);
    assert!(left_files(&network).is_empty(), "{:?}", left_files(&network));
}

#[test]
fn a_killed_initiators_optimised_route_goes_on_and_its_successor_takes_it_over() {
    let network = Figure11::new();
    let _agent = network.start(At::Haa, &with(&AGENT));
    let before = (network.system(At::Ai2), attached(&network, At::Ai2));
    let initiator = network.start(At::Ai2, &with(&INITIATOR));
    let responder = network.start(At::Ar1, &with(&RESPONDER));
    assert!(network.reaches(At::Ai2), "{}", responder.log());
    let optimised = || initiator.show("bindings").as_array().is_some_and(|bindings| bindings.len() == 1);
    assert!(until(PATIENCE, optimised), "{}", responder.log());
    let conversation = Conversation::start(&network, At::Ai2);
    let ping = Steady::start(&network, At::Ai2, 300);
    let direct = || carried(&responder, "home-address-out");
    let later = |more: u64| {
        let now = direct();
        until(PATIENCE, || direct() > now + more)
    };
    assert!(later(50));
    initiator.signal(Signal::SIGKILL);
    drop(initiator);
    assert!(later(100) && conversation.goes_on());
    let initiator = network.start(At::Ai2, &with(&INITIATOR));
    assert!(initiator.log().contains("adopted=2"), "{}", initiator.log());
    assert!(later(50) && conversation.goes_on());
    ping.all_answered(|| initiator.log());
    // Directly all the time.
    assert!(carried(&initiator, "routing-header-out") >= 250, "{:?}", in_kernel(&initiator));
    assert!(carried(&initiator, "home-address-in") >= 250, "{:?}", in_kernel(&initiator));
    conversation.end();
    initiator.stop();
    assert_eq!((network.system(At::Ai2), attached(&network, At::Ai2)), before);
}

#[test]
fn a_start_with_other_settings_takes_back_what_a_killed_responder_left() {
    let network = Figure11::new();
    let before = network.system(At::Ar1);
    let shorter: Vec<&str> = with(&RESPONDER).iter().map(|w| if *w == "96" { "92" } else { *w }).collect();
    let user = [&RESPONDER[..], &["--forwarding", "user"]].concat();
    for other in [user, shorter, with(&INITIATOR)] {
        let responder = network.start(At::Ar1, &with(&RESPONDER));
        let device = responder.show("config")["running"]["device"].as_str().expect("a name").to_owned();
        responder.signal(Signal::SIGKILL);
        drop(responder);
        let folder = pinned(&network, At::Ar1);
        assert!(folder.is_dir() && attached(&network, At::Ar1) == ["responder_in"], "{other:?}");
        let link = || network.run(At::Ar1, &["ip", "-6", "-o", "addr", "show", "dev", &device]);
        let left = link();
        assert!(left.contains("2001:db8:0:1::a"), "{left}");
        let node = network.start(At::Ar1, &other);
        // It has the name again, but is another device.
        let number = |line: &str| line.split(':').next().map(str::to_owned);
        let now = network.run(At::Ar1, &["ip", "-o", "link", "show", "dev", &device]);
        assert_ne!(number(&now), number(&left), "{other:?}: {now}");
        node.stop();
        assert!(!folder.exists() && attached(&network, At::Ar1).is_empty(), "{other:?}");
        assert_eq!(network.system(At::Ar1), before, "{other:?}");
        assert!(left_files(&network).is_empty(), "{other:?}: {:?}", left_files(&network));
    }
}

#[test]
fn another_role_on_the_interface_takes_back_what_a_killed_responder_left() {
    let network = Figure11::new();
    let before = network.system(At::Ar1);
    let start = |role: &[&str], name: &str| {
        let control = network.scratch.join("run").join(name);
        let words = [&with(role)[..], &["--interface", "eth0", "--control"]].concat();
        let mut command = network.command(At::Ar1, PROGRAM);
        let child = command.args(words).arg(&control).stderr(Stdio::null()).spawn().expect("it runs");
        let node = Background(child);
        let runs =
            || network.command(At::Ar1, PROGRAM).args(["show", "config", "--control"]).arg(&control).output();
        assert!(until(PATIENCE, || runs().expect("it runs").status.success()), "{name}");
        node
    };
    // At control sockets of the usual names.
    let responder = start(&RESPONDER, "ar-eth0.sock");
    let initiator = start(&INITIATOR, "ai-eth0.sock");
    assert_eq!(attached(&network, At::Ar1), ["responder_in", "initiator_in"], "they live side by side");
    drop(initiator);
    drop(responder);
    assert_eq!(attached(&network, At::Ar1), ["responder_in", "initiator_in"], "both were killed");
    let mut initiator = start(&INITIATOR, "ai-eth0.sock");
    assert_eq!(attached(&network, At::Ar1), ["initiator_in"]);
    kill(Pid::from_raw(initiator.0.id() as i32), Signal::SIGINT).expect("signalled");
    assert!(initiator.0.wait().expect("its end").success());
    assert!(attached(&network, At::Ar1).is_empty());
    assert_eq!(network.system(At::Ar1), before);
}

#[test]
fn what_a_restarted_responder_cannot_renew_ends_with_its_binding() {
    let network = Figure11::new();
    let agent = network.start(At::Haa, &with(&AGENT));
    let short: Vec<&str> = with(&RESPONDER).iter().map(|w| if *w == "96" { "16" } else { *w }).collect();
    let responder = network.start(At::Ar1, &short);
    assert!(network.reaches(At::Ai1), "{}", responder.log());
    agent.signal(Signal::SIGKILL);
    responder.signal(Signal::SIGKILL);
    drop((agent, responder));
    let responder = network.start(At::Ar1, &short);
    assert!(responder.log().contains("adopted=3"), "{}", responder.log());
    let rules = in_kernel(&responder);
    assert!(rules.len() == 3 && rules.iter().all(|rule| rule["ends_in"].as_u64() <= Some(16)), "{rules:?}");
    let ended = || in_kernel(&responder).is_empty() && responder.show("rules") == serde_json::json!([]);
    assert!(until(3 * PATIENCE, ended), "{:?}", in_kernel(&responder));
    responder.stop();
}

#[test]
fn a_kill_in_the_middle_of_the_start_leaves_nothing_that_the_next_start_does_not_clean() {
    let network = Figure11::new();
    let before = network.system(At::Ar1);
    for milliseconds in (0..200).step_by(10) {
        let node = network.start_without_waiting(At::Ar1, &with(&RESPONDER));
        thread::sleep(Duration::from_millis(milliseconds));
        node.signal(Signal::SIGKILL);
        drop(node);
    }
    // Each of those has gone on with what the one before it had left.
    network.start(At::Ar1, &with(&RESPONDER)).stop();
    assert!(attached(&network, At::Ar1).is_empty());
    assert_eq!(network.system(At::Ar1), before);
    assert!(left_files(&network).is_empty(), "{:?}", left_files(&network));
}

/// Whether a source is fixed to the member at a place, however its slot may name another one.
fn is_fixed(agent: &Node, from: At, to: At) {
    let told = explained(agent, from);
    assert!(told["by"] == "affinity" && told["to"] == json!(to.address()), "{told}\n{}", agent.log());
}

#[test]
fn a_killed_agents_groups_go_on_and_sources_stay_when_their_members_join_anew() {
    let network = Figure11::new();
    let agent = agent_with(&network, &EBPF);
    let first = responder(&network, At::Ar1, "advanced");
    becomes(&agent, At::Ar1, "alive");
    assert!(network.reaches(At::Ai1), "{}", agent.log());
    let second = responder(&network, At::Ar2, "advanced");
    becomes(&agent, At::Ar2, "alive");
    text(agent.ask(&["drain", "--member", &At::Ar1.address().to_string()]));
    // The answer comes before the kernel knows.
    becomes(&agent, At::Ar1, "draining");
    assert!(network.reaches(At::Ai2), "{}", agent.log());
    text(agent.ask(&["undrain", "--member", &At::Ar1.address().to_string()]));
    is_fixed(&agent, At::Ai1, At::Ar1);
    is_fixed(&agent, At::Ai2, At::Ar2);

    let ping = Steady::start(&network, At::Ai1, 150);
    let sent = || {
        let members = agent.show("members");
        let members = members.pointer("/groups/0/members").and_then(Value::as_array).cloned();
        let sent = |member: &Value| member.pointer("/carried/packets_to").and_then(Value::as_u64);
        members.iter().flatten().filter_map(sent).sum::<u64>()
    };
    let before = sent();
    assert!(until(PATIENCE, || sent() > before + 20), "{}", agent.show("members"));
    agent.signal(Signal::SIGKILL);
    drop(agent);
    let agent = agent_with(&network, &EBPF);
    assert!(agent.log().contains("a group goes on"), "{}", agent.log());
    ping.all_answered(|| agent.log());

    // Nobody has joined anew yet, then one, then both.
    let mut joined = Vec::new();
    for (gone, at) in [(None, At::Ar1), (Some(first), At::Ar1), (Some(second), At::Ar2)] {
        if let Some(gone) = gone {
            gone.signal(Signal::SIGKILL);
            drop(gone);
            let again = responder(&network, at, "advanced");
            becomes(&agent, at, "alive");
            joined.push(again);
        }
        for (from, to) in [(At::Ai1, At::Ar1), (At::Ai2, At::Ar2)] {
            is_fixed(&agent, from, to);
            assert!(network.reaches(from), "{}", agent.log());
            is_fixed(&agent, from, to);
        }
    }
    assert!(!agent.log().contains("sources-moved"), "{}", agent.log());
    // Who leaves has as many sources as the kernel has fixed to it.
    joined.pop().expect("the second").stop();
    assert!(until(PATIENCE, || agent.log().contains("sources-moved")), "{}", agent.log());
    let log = agent.log();
    let told = log.lines().find(|line| line.contains("sources-moved")).expect("it is told");
    assert!(told.contains(" sources 1"), "{told}");
}

#[test]
fn a_bpffs_that_a_node_mounts_goes_with_it() {
    let network = Figure11::new();
    // In a mount namespace of its own, where there is no bpffs.
    let script = "umount -l /run/mga-node/bpf; umount -l /sys/fs/bpf
        mounted() { grep -c ' /run/mga-node/bpf ' /proc/self/mountinfo; }
        \"$@\" & node=$!
        tries=0
        while [ \"$(mounted)\" = 0 ] && [ $tries -lt 200 ]; do sleep 0.1; tries=$((tries + 1)); done
        echo \"during $(mounted)\"
        tries=0
        until [ -S \"$CONTROL\" ] || [ $tries = 200 ]; do sleep 0.1; tries=$((tries + 1)); done
        kill -TERM $node; wait $node
        echo \"after $(mounted)\"";
    let control = network.control(At::Haa);
    let mut shell = network.command(At::Haa, "unshare");
    shell.env("CONTROL", &control).args(["--mount", "sh", "-c", script, "sh", PROGRAM]).args(with(&AGENT));
    shell.args(["--interface", "eth0", "--control"]).arg(&control);
    let output = shell.output().expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = said.lines().filter(|line| line.starts_with(['d', 'a'])).collect();
    assert_eq!(lines, ["during 1", "after 0"], "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_killed_agents_programs_end_when_its_successor_forwards_in_user_space() {
    let network = Figure11::new();
    let before = network.system(At::Haa);
    let agent = network.start(At::Haa, &with(&AGENT));
    agent.signal(Signal::SIGKILL);
    drop(agent);
    let folder = pinned(&network, At::Haa);
    assert!(folder.is_dir() && attached(&network, At::Haa) == ["agent_tc"]);
    let agent = network.start(At::Haa, &[&AGENT[..], &["--forwarding", "user"]].concat());
    assert!(!folder.exists() && attached(&network, At::Haa).is_empty(), "{}", agent.log());
    let _responder = network.start_responder(At::Ar1, &agent);
    assert!(network.reaches(At::Ai1), "{}", agent.log());
    agent.stop();
    assert_eq!(network.system(At::Haa), before);
}
