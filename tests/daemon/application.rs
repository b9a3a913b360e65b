//! A responder that listens to its application: metric from a file, a program and an HTTP server, health, SIGUSR1, and
//! a drain that waits for a real connection (thesis 3.1.4, 4.3.1; the advanced model).
//! Run by `cargo test --test daemon application`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::figure11::{AGENT, At, Background, Figure11, Node, PATIENCE, until};

/// Starts a responder at [`At::Ar1`] whose only anycast address has these words too.
fn start(network: &Figure11, model: &str, words: &str) -> Node {
    let file = network.scratch.join("responder.toml");
    let text = format!(
        "role = 'ar'\nauthentication = 'none'\nagent = '2001:db8:0:1::2'\nlifetime = 96\n\
         [[anycast]]\naddress = '2001:db8:0:1::a'\nmodel = '{model}'\n{words}\n"
    );
    fs::write(&file, text).expect("a configuration");
    network.start(At::Ar1, &["--config", file.to_str().expect("a name")])
}

/// Replaces a file at once, as an application should that is being asked.
fn say(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).expect("written");
    fs::rename(fresh, path).expect("in its place");
}

fn service(node: &Node, key: &str) -> Value {
    node.show("updates").pointer(&format!("/services/0/{key}")).cloned().unwrap_or_default()
}

fn becomes(node: &Node, key: &str, expected: impl Into<Value>) -> bool {
    let expected = expected.into();
    until(PATIENCE, || service(node, key) == expected)
}

/// The agent has the binding, and the responder knows it.
fn comes_in(responder: &Node, agent: &Node) -> bool {
    let state = || responder.show("updates").pointer("/agents/0/state").cloned();
    until(PATIENCE, || is_bound(agent) && state() == Some("registered".into()))
}

fn is_bound(agent: &Node) -> bool {
    agent.show("bindings").as_array().is_some_and(|bindings| !bindings.is_empty())
}

#[test]
fn the_metric_follows_a_file() {
    let network = Figure11::new();
    let path = network.scratch.join("load");
    say(&path, "2.5\n");
    let metric = format!("metric = {{ file = '{}', interval = 0.1, smoothing = 1.0 }}", path.display());
    let responder = start(&network, "advanced", &metric);
    assert!(becomes(&responder, "metric", 2500), "{}", responder.log());
    say(&path, "7\n");
    assert!(becomes(&responder, "metric", 7000), "{}", responder.log());
    // What an operator orders stands above that.
    assert!(responder.ask(&["metric", "1.25"]).status.success());
    assert!(becomes(&responder, "metric", 1250));
    assert!(responder.ask(&["metric", "measured"]).status.success());
    assert!(becomes(&responder, "metric", 7000));
    assert!(responder.ask(&["weight", "9"]).status.success());
    assert_eq!(service(&responder, "weight"), 9);
    assert_eq!(responder.ask(&["weight", "9", "--anycast", "2001:db8::b"]).status.code(), Some(1));
    responder.stop();
}

#[test]
fn sigusr1_asks_a_program_at_once() {
    let network = Figure11::new();
    let path = network.scratch.join("queue");
    say(&path, "3");
    let command = format!("command = ['/bin/cat', '{}']", path.display());
    let metric = format!("metric = {{ {command}, interval = 3600, smoothing = 1.0 }}");
    let mut responder = start(&network, "advanced", &metric);
    assert!(becomes(&responder, "metric", 3000), "{}", responder.log());
    say(&path, "4");
    responder.signal(Signal::SIGUSR1);
    assert!(becomes(&responder, "metric", 4000), "{}", responder.log());
    assert!(responder.is_alive(), "the signal is no reason to end");
    responder.stop();
}

#[test]
fn the_metric_is_a_field_of_what_an_http_server_says() {
    let network = Figure11::new();
    let folder = network.scratch.join("www");
    fs::create_dir(&folder).expect("a folder");
    say(&folder.join("status.json"), r#"{"queue":{"length":12}}"#);
    let mut server = network.command(At::Ar1, "python3");
    server.args(["-m", "http.server", "--bind", "2001:db8:0:4::2", "8080"]).current_dir(&folder);
    let _server = Background(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server"));
    let responder = start(
        &network,
        "advanced",
        "metric = { http = 'http://[2001:db8:0:4::2]:8080/status.json', field = '/queue/length', \
         interval = 0.1, timeout = 5, smoothing = 1.0 }",
    );
    assert!(becomes(&responder, "metric", 12_000), "{}", responder.log());
    say(&folder.join("status.json"), r#"{"queue":{"length":1}}"#);
    assert!(becomes(&responder, "metric", 1000), "{}", responder.log());
    responder.stop();
}

#[test]
fn a_failing_health_check_withdraws_the_responder_at_an_agent_of_the_basic_model() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let ready = network.scratch.join("ready");
    let health = format!("health = {{ file = '{}', interval = 0.1, rise = 1, fall = 2 }}", ready.display());
    let responder = start(&network, "basic", &health);
    assert!(becomes(&responder, "health", "failed"), "{}", responder.log());
    assert!(!is_bound(&agent), "it is not ready yet");
    say(&ready, "");
    assert!(comes_in(&responder, &agent), "{}", responder.log());
    assert!(network.reaches(At::Ai1));
    fs::remove_file(&ready).expect("removed");
    assert!(until(PATIENCE, || !is_bound(&agent)), "{}", responder.log());
    say(&ready, "");
    assert!(comes_in(&responder, &agent), "{}", responder.log());
    responder.stop();
    assert!(!is_bound(&agent));
}

#[test]
fn a_drain_waits_for_the_last_connection_and_an_undrained_responder_comes_back() {
    let network = Figure11::new();
    let agent = network.start_agent();
    let responder = start(&network, "advanced", "");
    assert!(comes_in(&responder, &agent), "{}", responder.log());
    assert!(network.reaches(At::Ai1));
    let mut server = network.command(At::Ar1, "python3");
    server.args(["-c", SERVER]).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Background(server.spawn().expect("a server"));
    let mut client = network.command(At::Ai1, "python3");
    client.args(["-c", CLIENT]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Background(client.spawn().expect("a client"));
    let mut greeting = [0];
    let mut said = client.0.stdout.take().expect("a pipe");
    std::io::Read::read_exact(&mut said, &mut greeting).expect("connected");
    assert!(responder.ask(&["drain"]).status.success());
    assert_eq!(service(&responder, "stage"), "draining");
    assert!(becomes(&responder, "connections", 1), "{}", responder.log());
    assert!(is_bound(&agent), "the connection holds it");
    // The client hangs up.
    client.0.stdin.take().expect("a pipe").write_all(b"bye\n").expect("told");
    client.0.wait().expect("its end");
    assert!(until(2 * PATIENCE, || !is_bound(&agent)), "{}", responder.log());
    assert!(becomes(&responder, "stage", "out"));
    assert!(responder.ask(&["undrain", "2001:db8:0:1::a"]).status.success());
    assert!(comes_in(&responder, &agent), "{}", responder.log());
    // With a deadline nothing is waited for.
    assert!(responder.ask(&["drain", "--deadline", "1", "--wait"]).status.success());
    assert_eq!(service(&responder, "stage"), "out");
    assert!(until(PATIENCE, || !is_bound(&agent)), "{}", responder.log());
    assert_eq!(agent.ask(&["drain"]).status.code(), Some(1), "only a responder knows it");
    responder.stop();
}

/// Serves one connection after another until its client hangs up.
const SERVER: &str = "
import socket
server = socket.socket(socket.AF_INET6)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(('2001:db8:0:1::a', 7000))
server.listen()
while True:
    client, _ = server.accept()
    while client.recv(100): pass
    client.close()
";

/// Connects, says so, and hangs up when it hears anything.
const CLIENT: &str = "
import socket, sys, time
while True:
    try:
        connection = socket.create_connection(('2001:db8:0:1::a', 7000), timeout=2)
        break
    except OSError:
        time.sleep(0.1)
sys.stdout.write('+')
sys.stdout.flush()
sys.stdin.readline()
";

#[test]
fn a_killed_responder_takes_the_program_it_was_running_with_it() {
    let network = Figure11::new();
    let path = network.scratch.join("pid");
    let script = format!("echo $$ > {}; exec sleep 600", path.display());
    let health = format!("health = {{ command = ['/bin/sh', '-c', '{script}'], timeout = 600 }}");
    let mut responder = start(&network, "basic", &health);
    let number = || fs::read_to_string(&path).ok()?.trim().parse::<u32>().ok();
    assert!(until(PATIENCE, || number().is_some()), "{}", responder.log());
    let program = Path::new("/proc").join(number().expect("its number").to_string());
    responder.signal(Signal::SIGKILL);
    responder.ended(PATIENCE);
    let gone = || fs::read_to_string(program.join("stat")).map_or(true, |state| state.contains(") Z "));
    assert!(until(PATIENCE, gone), "the program lives on");
}

#[test]
fn an_agent_of_the_advanced_model_hears_of_a_change_at_once() {
    let network = Figure11::new();
    let agent = network.start(At::Haa, &[&AGENT[..], &["--model", "advanced"]].concat());
    let path = network.scratch.join("load");
    say(&path, "2");
    let metric = format!("metric = {{ file = '{}', interval = 0.1, smoothing = 1.0 }}", path.display());
    let responder = start(&network, "advanced", &metric);
    assert!(comes_in(&responder, &agent), "{}", responder.log());
    let granted = || responder.show("updates").pointer("/agents/0/extensions/0") == Some(&"several".into());
    assert!(until(PATIENCE, granted), "{}", responder.log());
    assert!(becomes(&responder, "metric", 2000), "{}", responder.log());
    let number = || responder.show("updates").pointer("/agents/0/sequence").and_then(Value::as_u64);
    let settled = || {
        let view = responder.show("updates");
        view.pointer("/agents/0/state") == Some(&"registered".into())
            && agent.show("bindings").pointer("/0/sequence") == view.pointer("/agents/0/sequence")
    };
    assert!(until(PATIENCE, settled), "{}", responder.log());
    let before = number();
    say(&path, "9");
    assert!(becomes(&responder, "metric", 9000), "{}", responder.log());
    assert!(until(PATIENCE, || settled() && number() != before), "{}", responder.log());
    responder.stop();
    assert!(!is_bound(&agent));
}
