//! Octets as what a client writes into the control socket (design section 5), in two writes, over a real socket.
//! Every line that is not empty is a request or an error, in order and the same whether it came in one piece or two,
//! and every one is answered by one line of JSON. Called by the target `given`.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use mga_node::daemon::control::{Control, Request, Respond};
use serde_json::{Value, json};

/// More requests than this could have more answers than a socket holds before anybody reads them.
const MAX_OCTETS: usize = 1024;

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    let Some((first, octets)) = octets.split_first() else { return };
    let octets = &octets[..octets.len().min(MAX_OCTETS)];
    let (one, two) = octets.split_at(usize::from(*first).min(octets.len()));
    let path = std::env::temp_dir().join(format!("mga-node-fuzz-{}.sock", std::process::id()));
    let mut control = Control::listen(&path).expect("a socket");
    let mut client = UnixStream::connect(&path).expect("the node listens");
    let mut requests = Vec::new();
    client.write_all(one).expect("the node reads");
    requests.extend(control.take_requests());
    client.write_all(two).expect("the node reads");
    client.shutdown(Shutdown::Write).expect("an open socket");
    requests.extend(control.take_requests());

    let complete = octets.iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1);
    let lines = octets[..complete].split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
    let expected: Vec<Option<Request>> = lines.map(|line| serde_json::from_slice(line).ok()).collect();
    let understood: Vec<_> = requests.iter().map(|(_, request)| request.clone().ok()).collect();
    assert_eq!(understood, expected);
    for request in expected.iter().flatten() {
        let text = serde_json::to_string(request).expect("a request has words");
        assert_eq!(serde_json::from_str::<Request>(&text).as_ref().ok(), Some(request));
    }

    for (id, request) in &requests {
        let answer = match request {
            Ok(Request::Watch) => Respond::Watch,
            Ok(request) => Respond::Value(json!(request)),
            Err(error) => Respond::Error(error.clone()),
        };
        control.respond(*id, &answer);
    }
    control.flush();
    assert_eq!(control.watchers(), 0, "a client that is through does not watch");
    drop(control);
    let mut answers = 0;
    for line in BufReader::new(client).lines() {
        let line = line.expect("the node's answers are text");
        serde_json::from_str::<Value>(&line).expect("the node's answers are JSON");
        answers += 1;
    }
    assert_eq!(answers, requests.len());
}
