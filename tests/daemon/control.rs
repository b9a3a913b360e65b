//! The control socket, as operators use it and as broken programs abuse it.
//! The command line and exit codes of the design's section 5; no RFC is concerned.
//! Run by `cargo test --test daemon control`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::Ipv6Addr,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::figure11::{
    AGENT, ANYCAST, At, Background, Figure11, INITIATOR, Node, PATIENCE, PROGRAM, RESPONDER, until,
};

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).expect("UTF-8")
}

/// Exit code, standard output and standard error.
fn told(output: &Output) -> (Option<i32>, &str, &str) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_show_has_a_text_and_a_json_form() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let initiator = network.start(At::Ai2, &INITIATOR);
    let responder = network.start_responder(At::Ar1, &agent);
    network.run(At::Ai2, &["ping", "-c", "2", "-i", "0.2", "-W", "3", "2001:db8:0:1::a"]);
    assert!(until(PATIENCE, || initiator.show("bindings").as_array().is_some_and(|list| list.len() == 1)));

    for node in [&agent, &initiator] {
        let bindings = node.ask(&["show", "bindings"]);
        let (code, table, error) = told(&bindings);
        assert_eq!((code, error), (Some(0), ""));
        assert!(table.starts_with("anycast          care-of          agent"), "{table}");
        assert!(table.contains("2001:db8:0:1::a  2001:db8:0:4::2"), "{table}");
        let list = node.show("bindings");
        assert_eq!(list[0]["anycast"], json!(ANYCAST.to_string()));
        assert_eq!(list[0]["care_of"], json!("2001:db8:0:4::2"));
        let timers = node.show("timers");
        assert!(timers.as_array().expect("a list").iter().any(|timer| timer["anycast"] == "2001:db8:0:1::a"));
    }
    let updates = responder.show("updates");
    assert_eq!(updates["agents"][0]["sequence"], 200);
    assert_eq!(updates["agents"][0]["lifetime"], 96);
    assert_eq!(updates["initiators"][0]["initiator"], json!("2001:db8:0:3::2"));
    let table = responder.ask(&["show", "updates"]);
    assert!(told(&table).1.contains("2001:db8:0:3::2"), "{}", told(&table).1);

    for (node, kinds) in [
        (&agent, ["tunnel-to-responder", "tunnel-from-responder"]),
        (&responder, ["reverse-tunnel-out", "home-address-out"]),
        (&initiator, ["home-address-in", "routing-header-out"]),
    ] {
        let table = node.ask(&["show", "rules"]);
        let rules = node.show("rules");
        for kind in kinds {
            assert!(told(&table).1.contains(kind), "{kind} is missing: {}", told(&table).1);
            let rule = rules.as_array().expect("a list").iter().find(|rule| rule["rule"] == kind);
            assert!(rule.is_some_and(|rule| rule["packets"].is_u64()), "{kind} is missing: {rules}");
        }
        for (what, words) in [("stats", "protocol"), ("timers", "timer"), ("config", "role = ")] {
            let output = node.ask(&["show", what]);
            let (code, words_there, error) = told(&output);
            assert_eq!((code, error), (Some(0), ""), "{what}");
            assert!(words_there.contains(words), "{what}: {words_there}");
        }
        assert!(node.counted() > 0);
    }
    let refused = responder.ask(&["show", "bindings"]);
    let (code, out, error) = told(&refused);
    assert_eq!((code, out), (Some(1), ""));
    assert_eq!(error, "mga-node: a responder keeps no binding cache; see `show updates`\n");
}

#[test]
fn orders_are_carried_out_or_refused_and_watch_tells() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let responder = network.start_responder(At::Ar1, &agent);
    let mut watch = network.watch(&agent);

    assert_eq!(told(&responder.ask(&["deregister"])), (Some(0), "", ""));
    assert!(until(PATIENCE, || agent.show("bindings") == json!([])), "{}", responder.log());
    assert_eq!(told(&responder.ask(&["register", "--anycast", "2001:db8:0:1::a"])), (Some(0), "", ""));
    assert!(until(PATIENCE, || agent.show("bindings") != json!([])), "{}", responder.log());
    assert_eq!(told(&responder.ask(&["flush"])), (Some(0), "", ""));
    assert_eq!(told(&responder.ask(&["flush", "--peer", "2001:db8:0:2::2"])), (Some(0), "", ""));
    let stranger = responder.ask(&["register", "--anycast", "2001:db8::bad"]);
    assert_eq!(told(&stranger), (Some(1), "", "mga-node: this responder does not serve the address\n"));
    for (order, why) in [
        ("register", "only a responder (role ar) knows this command"),
        ("flush", "no source is fixed to a responder: no address of the advanced model has one"),
    ] {
        let refused = agent.ask(&[order]);
        assert_eq!(told(&refused), (Some(1), "", format!("mga-node: {why}\n").as_str()));
    }
    assert_eq!(told(&agent.ask(&["deregister", "--anycast", "2001:db8:0:1::a"])), (Some(0), "", ""));
    assert_eq!(agent.show("bindings"), json!([]));
    assert_eq!(agent.ask(&["deregister", "--anycast", "2001:db8:0:1::a"]).status.code(), Some(1));

    agent.stop();
    let events = watch.rest();
    let words: Vec<_> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    let mut from = words.iter();
    for wanted in ["binding-removed", "binding-created", "binding-removed"] {
        assert!(from.any(|word| *word == wanted), "no {wanted} in its place in {words:?}");
    }
    let asked = events.iter().find(|event| event["event"] == "binding-removed").expect("an event");
    assert_eq!(asked["care_of"], "2001:db8:0:4::2");
    assert_eq!(asked["clause"], "RFC 3775 10.3.2");
}

#[test]
fn watch_prints_a_line_per_event_and_ends_with_the_node() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let mut watch = Background(
        Command::new(PROGRAM)
            .args(["watch", "--control"])
            .arg(&agent.control)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs"),
    );
    assert!(until(PATIENCE, || agent.show("config")["running"]["watchers"] == 1));
    let responder = network.start_responder(At::Ar1, &agent);
    let mut line = String::new();
    let mut lines = BufReader::new(watch.0.stdout.take().expect("a pipe"));
    lines.read_line(&mut line).expect("a line");
    let created =
        "binding-created anycast 2001:db8:0:1::a care-of 2001:db8:0:4::2 sequence 200 lifetime 96\n";
    assert!(line.ends_with(created), "{line}");
    responder.stop();
    agent.stop();
    assert!(until(PATIENCE, || watch
        .0
        .try_wait()
        .expect("its state")
        .is_some_and(|status| status.success())));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let network = Figure11::new();
    let agent = network.start_agent();
    for words in ["show config", "show stats --json", "show bindings"] {
        let line = format!(
            "{PROGRAM} {words} --control {} | true; echo ${{PIPESTATUS[0]}}",
            agent.control.display()
        );
        let output = Command::new("bash").args(["-c", &line]).output().expect("bash runs");
        assert_eq!(told(&output), (Some(0), "0\n", ""), "{words}");
    }
    let help =
        Command::new("bash").args(["-c", &format!("{PROGRAM} --help | head -1")]).output().expect("bash");
    assert_eq!(told(&help).2, "");
}

#[test]
fn only_the_owner_may_connect() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let mode = fs::metadata(&agent.control).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Our program may lie where only root may look, so somebody else asks in another language.
    let line = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ntry: s.connect(sys.argv[1])\n\
                except PermissionError: print('refused')";
    let other = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", line])
        .arg(&agent.control)
        .output()
        .expect("setpriv runs");
    assert!(text(&other.stdout) == "refused\n", "{:?}", told(&other));
}

/// Sends octets and returns everything that comes back until the node closes or `lines` lines are there.
fn converse(node: &Node, octets: &[u8], lines: usize) -> Vec<Value> {
    let mut stream = UnixStream::connect(&node.control).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // The node may cut a speaker off in mid-speech.
    let _ = stream.write_all(octets);
    let mut answers = Vec::new();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while answers.len() < lines && reader.read_line(&mut line).is_ok_and(|count| count > 0) {
        answers.push(serde_json::from_str(&line).expect("JSON"));
        line.clear();
    }
    answers
}

#[test]
fn garbage_on_the_socket_harms_nobody() {
    let network = Figure11::new();
    let mut agent = network.start_agent();
    for garbage in [&b"\0\xff\xfe\n"[..], b"{}\n", b"[[[[\n", b"null\n"] {
        let answers = converse(&agent, garbage, 1);
        assert!(
            answers[0]["error"].as_str().is_some_and(|error| error.starts_with("not a request")),
            "{answers:?}"
        );
    }
    let nested = [vec![b'['; 60_000], b"\n".to_vec()].concat();
    assert!(converse(&agent, &nested, 1)[0]["error"].is_string());
    let huge = vec![b'x'; 3 << 20];
    let answers = converse(&agent, &huge, 1);
    assert!(answers.iter().all(|answer| answer["error"] == "the request is too long"), "{answers:?}");
    // Two requests at once, in two halves, and with the other side closed at once.
    let two = b"{\"request\":\"show-bindings\"}\n{\"request\":\"show-bindings\"}\n";
    assert_eq!(converse(&agent, two, 2), [json!({ "ok": [] }), json!({ "ok": [] })]);
    let mut half = UnixStream::connect(&agent.control).expect("connected");
    half.write_all(two).expect("sent");
    half.shutdown(std::net::Shutdown::Write).expect("closed");
    let mut answers = String::new();
    half.read_to_string(&mut answers).expect("the answers");
    assert_eq!(answers, "{\"ok\":[]}\n{\"ok\":[]}\n");
    // A crowd that says nothing does not lock the operator out, nor does it cost time.
    let crowd: Vec<_> = (0..200).map(|_| UnixStream::connect(&agent.control).expect("connected")).collect();
    assert_eq!(agent.show("bindings"), json!([]));
    let busy = processor_time(&agent);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(processor_time(&agent) - busy <= 2, "the node spins");
    drop(crowd);
    assert!(agent.is_alive());
}

/// Clock ticks (10 ms) the process has used.
fn processor_time(node: &Node) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.pid())).expect("its state");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks")
}

#[test]
fn two_nodes_are_ambiguous_and_none_is_unreachable() {
    let network = Figure11::new();
    // A run directory of our own: a mount namespace that lives as long as this shell.
    let room = "mkdir -p /run/mga-node && mount -t tmpfs none /run/mga-node && echo ready && exec cat";
    let mut holder = Background(
        Command::new("unshare")
            .args(["--mount", "sh", "-c", room])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs"),
    );
    let mut line = String::new();
    BufReader::new(holder.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let target = holder.0.id().to_string();
    let inside = |at: At| {
        let mut command = network.command(at, "nsenter");
        command.args(["--mount", "--target", &target, PROGRAM]);
        command
    };
    let show = || inside(At::Haa).args(["show", "stats"]).output().expect("it runs");

    let none = show();
    assert_eq!(none.status.code(), Some(3), "{:?}", told(&none));
    assert!(told(&none).2.starts_with("mga-node: no running node"), "{:?}", told(&none));
    let start = |at: At, arguments: &[&str]| {
        let mut command = inside(at);
        command.args(arguments).args(["--interface", "eth0"]).stderr(Stdio::null());
        Background(command.spawn().expect("it runs"))
    };
    let one = start(At::Haa, &AGENT);
    assert!(until(PATIENCE, || show().status.code() == Some(0)), "{:?}", told(&show()));
    let two = start(At::Ar1, &RESPONDER);
    assert!(until(PATIENCE, || show().status.code() == Some(2)), "{:?}", told(&show()));
    let ambiguous = show();
    let (_, _, error) = told(&ambiguous);
    assert_eq!(
        error,
        "mga-node: more than one node runs here; name one with --control: \
         /run/mga-node/ar-eth0.sock, /run/mga-node/haa-eth0.sock\n"
    );
    drop((one, two));
    // Dead sockets are no nodes.
    assert_eq!(show().status.code(), Some(3));
    let named =
        inside(At::Haa).args(["show", "stats", "--control", "/nowhere/x.sock"]).output().expect("it runs");
    assert_eq!(named.status.code(), Some(3));
    assert!(told(&named).2.starts_with("mga-node: no running node at /nowhere/x.sock: "));
}

#[test]
fn a_file_says_the_same_as_the_flags_and_show_config_says_it_again() {
    let network = Figure11::new();
    let files = [
        (
            At::Haa,
            "role = 'haa'\ninterface = 'eth0'\nagent = '2001:db8:0:1::2'\nauthentication = 'none'\n\
             duplicate-address-detection = false\nhome-prefix = ['2001:db8:0:1::/64']\nmax-lifetime = 60\n\
             max-bindings = 10\nforwarding = 'user'\n[[anycast]]\naddress = '2001:db8:0:1::a'\n[[anycast]]\n\
             address = '2001:db8:0:1::b'\nmodel = 'basic'\n",
        ),
        (
            At::Ar1,
            "role = 'ar'\ninterface = 'eth0'\ncare-of = '2001:db8:0:4::2'\nauthentication = 'none'\n\
             route-optimisation = false\nreverse-tunnel-end = 'agent'\nhome-prefix-length = 64\n\
             [[anycast]]\naddress = '2001:db8:0:1::a'\nagent = '2001:db8:0:1::2'\nlifetime = 40\n\
             initial-sequence = 7\n[[anycast]]\naddress = '2001:db8:0:1::b'\nagent = '2001:db8:0:1::2'\n\
             lifetime = 80\n",
        ),
        (At::Ai1, "role = 'ai'\ninterface = 'eth0'\nmax-bindings = 5\n"),
    ];
    let mut nodes = Vec::new();
    for (at, words) in files {
        let file = network.scratch.join(format!("{at:?}.toml"));
        fs::write(&file, words).expect("written");
        let file = file.to_str().expect("UTF-8");
        let check = network.program(at, &["check", file]);
        let (code, said, error) = told(&check);
        assert_eq!((code, error), (Some(0), ""));
        assert!(said.contains("a good configuration"), "{said}");

        let node = network.start(at, &["--config", file]);
        let shown = node.ask(&["show", "config"]);
        fs::write(file, told(&shown).1).expect("written");
        assert_eq!(network.program(at, &["check", file]).status.code(), Some(0), "{}", told(&shown).1);
        let config = node.show("config");
        node.stop();
        let again = network.start(at, &["--config", file]);
        assert_eq!(again.show("config")["config"], config["config"], "{at:?}");
        nodes.push(again);
    }
    let registered = |sequence, address: Ipv6Addr, lifetime| {
        let bindings = nodes[0].show("bindings");
        bindings.as_array().is_some_and(|list| {
            list.iter().any(|binding| {
                binding["anycast"] == json!(address.to_string())
                    && binding["lifetime"] == lifetime
                    && (sequence == Value::Null || binding["sequence"] == sequence)
            })
        })
    };
    let second = Ipv6Addr::from_bits(ANYCAST.to_bits() + 1);
    let both = || registered(json!(7), ANYCAST, 40) && registered(Value::Null, second, 60);
    assert!(until(PATIENCE, both), "{}\n{}", nodes[0].show("bindings"), nodes[1].log());
}
