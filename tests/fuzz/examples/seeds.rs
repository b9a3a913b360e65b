//! Makes the seeds of every fuzz target from the captures of KAME and UMIP (`pcaps`), the packets that scapy built and
//! FreeBSD's routing messages (`tests/golden`), the example in `docs/configuration.md` and the words of the control
//! socket, into `corpus/TARGET`, so that nothing is stored twice. Packets of one form count once. Run by `replay.sh`
//! before everything else.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

// The instrumentation that everything here is built with calls into libFuzzer.
use libfuzzer_sys as _;
use mga_node::daemon::config::Given;
use mga_node::daemon::control::Request;
use mga_node::pcap::capture::{self, Frame};
use mga_node::protocol::action::Action;
use mga_node::protocol::clock::Instant;
use mga_node::protocol::role::Role;
use mga_node::wire::Packet;
use mga_node::wire::ipv6::next_header;
use mga_node_fuzz::cast;
use mga_node_fuzz::input::{Operation, Step, write};
use mga_node_fuzz::stage::{AGENT, AI1, AI2, ANYCAST, AR1, AR2, HOME_AGENTS};

/// Steps of a seed for a role.
const STEPS: usize = 24;
/// Octets of a packet that a seed is made of: all signalling is shorter, and long inputs slow a fuzzer down.
const LONGEST: usize = 400;
/// Octets of a capture that a seed for the capture reader is made of.
const LONGEST_CAPTURE: usize = 1000;

/// The folder of all corpora, and the forms that were already written.
struct Corpora {
    folder: PathBuf,
    forms: BTreeSet<(&'static str, Vec<u8>)>,
    written: usize,
}

impl Corpora {
    /// Writes a seed, unless there is one of this kind and of the same `form`.
    fn add(
        &mut self,
        target: &'static str,
        kind: &'static str,
        form: Vec<u8>,
        octets: &[u8],
    ) -> std::io::Result<()> {
        if !self.forms.insert((kind, form)) {
            return Ok(());
        }
        let folder = self.folder.join(target);
        fs::create_dir_all(&folder)?;
        self.written += 1;
        fs::write(folder.join(format!("seed-{:04}", self.written)), octets)
    }

    /// A packet, and its parts for the decoders of parts.
    fn add_packet(&mut self, octets: &[u8]) -> std::io::Result<()> {
        if octets.len() > LONGEST {
            return Ok(());
        }
        let quoted = Packet::parse_quoted(octets);
        let mut form = vec![octets.len().div_ceil(16) as u8];
        if let Ok(packet) = &quoted {
            form.extend(packet.headers.iter().map(|header| header.kind));
            form.push(packet.upper.protocol);
            form.extend(packet.payload().iter().take(3));
        }
        self.add("wire", "packet", form, octets)?;
        let Ok(packet) = quoted else { return Ok(()) };
        for header in &packet.headers {
            let part = &octets[header.offset..header.offset + header.length];
            let form = part[1..].iter().take(3).copied().chain([part.len() as u8]).collect();
            match header.kind {
                next_header::DESTINATION_OPTIONS => self.add("wire", "destination options", form, part)?,
                next_header::ROUTING => self.add("wire", "routing", form, part)?,
                _ => {}
            }
        }
        let payload = packet.payload();
        let mut form: Vec<_> = payload.iter().take(3).copied().collect();
        match packet.upper.protocol {
            next_header::MOBILITY => {
                // The first option makes a difference too, and how many there are.
                form.extend(payload.get(12..14).unwrap_or_default());
                form.push(payload.len().div_ceil(16) as u8);
                self.add("wire", "mobility", form, payload)
            }
            next_header::ICMPV6 => {
                form.truncate(2);
                form.push(payload.len().div_ceil(32) as u8);
                self.add("wire", "icmpv6", form, payload)
            }
            next_header::IPV6 => self.add_packet(payload),
            _ => Ok(()),
        }
    }

    /// What one node of a capture got, and sent as far as its forwarder would see it, in pieces.
    fn add_play(
        &mut self,
        target: &'static str,
        first: u8,
        own: &[Ipv6Addr],
        frames: &[Frame],
    ) -> std::io::Result<()> {
        let (mut input, mut steps, mut before) = (vec![first], 0, Duration::ZERO);
        let mut signals = 0;
        for frame in frames.iter().filter(|frame| frame.ipv6.len() <= LONGEST) {
            let Ok(packet) = Packet::parse(&frame.ipv6) else { continue };
            let mine = |address: &Ipv6Addr| own.contains(address);
            let (operation, octets) =
                if mine(&packet.header.destination) || packet.header.destination.is_multicast() {
                    (Operation::CompletedInbound, &frame.ipv6[..])
                } else if mine(&packet.header.source) && packet.upper.protocol == next_header::IPV6 {
                    (Operation::Outbound, packet.payload())
                } else {
                    continue;
                };
            // Data packets are all alike; a few between the signals are enough.
            let signal = matches!(packet.upper.protocol, next_header::MOBILITY);
            if !signal && steps > 3 * (signals + 1) {
                continue;
            }
            let wait = if before.is_zero() { Duration::ZERO } else { frame.at.saturating_sub(before) };
            before = frame.at;
            write(&mut input, &Step { operation, wait, octets });
            (steps, signals) = (steps + 1, signals + usize::from(signal));
            if steps == STEPS {
                self.add(target, target, input.clone(), &input)?;
                (input, steps, signals) = (vec![first], 0, 0);
            }
        }
        if steps > 0 { self.add(target, target, input.clone(), &input) } else { Ok(()) }
    }

    /// What an agent of the advanced model and one of its responders say to each other in their first minutes: no capture
    /// of KAME or UMIP has that.
    fn add_talk(&mut self, keys: u8) -> std::io::Result<()> {
        let first = cast::ADVANCED | keys;
        let (mut agent, mut responder) = (cast::agent(first), cast::responder(first));
        let (mut to_agent, mut to_responder) = (vec![first], vec![first]);
        let (mut now, mut before) = (Instant::START, [Instant::START; 2]);
        let sent = |role: &mut dyn Role| -> Vec<Vec<u8>> {
            let actions = std::iter::from_fn(|| role.poll_action());
            let packets = actions.filter_map(|action| match action {
                Action::Send(packet) => Some(packet),
                _ => None,
            });
            packets.collect()
        };
        for _ in 0..STEPS {
            for packet in sent(&mut responder) {
                let wait = now.saturating_since(std::mem::replace(&mut before[0], now));
                write(&mut to_agent, &Step { operation: Operation::Completed, wait, octets: &packet });
                agent.handle_packet(now, &packet);
            }
            for packet in sent(&mut agent) {
                let wait = now.saturating_since(std::mem::replace(&mut before[1], now));
                write(&mut to_responder, &Step { operation: Operation::Completed, wait, octets: &packet });
                responder.handle_packet(now, &packet);
            }
            let due = [agent.poll_timeout(), responder.poll_timeout()].into_iter().flatten().min();
            let Some((due, _)) = due else { break };
            now = now.max(due);
            agent.handle_timeout(now);
            responder.handle_timeout(now);
        }
        self.add("haa", "talk", to_agent.clone(), &to_agent)?;
        self.add("ar", "talk", to_responder.clone(), &to_responder)
    }

    fn add_capture(&mut self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let octets = fs::read(path)?;
        let frames = capture::read(path)?;
        for frame in &frames {
            self.add_packet(&frame.ipv6)?;
        }
        let form = octets.iter().take(4).copied().chain([octets[20], (frames.len().min(3)) as u8]).collect();
        let beginning = &octets[..octets.len().min(LONGEST_CAPTURE)];
        // Against itself without its last packets.
        let length = u16::try_from(beginning.len())?.to_be_bytes();
        let pair = [&length, beginning, &beginning[..beginning.len() / 2]].concat();
        self.add("given", "two captures", Vec::clone(&form), &pair)?;
        self.add("given", "capture", form, beginning)?;

        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder =
            path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let (haa, ai) = ([AGENT, ANYCAST, HOME_AGENTS], [AI1, AI2]);
        if folder == "kame-mn-errors" || name.starts_with("ar1") {
            self.add_play("ar", 0, &[AR1], &frames)?;
        } else if name.starts_with("ar2") {
            self.add_play("ar", 2, &[AR2], &frames)?;
        } else if name.starts_with("haa") || name.contains("-had-") {
            for first in [0, 8] {
                self.add_play("haa", first, &haa, &frames)?;
            }
        } else if name.starts_with("ai") || name.contains("-cnd-") || folder == "kame-rr-vectors" {
            self.add_play("ai", 0, &ai, &frames)?;
        }
        Ok(())
    }

    /// One packet of every message and option, and the routing messages that FreeBSD's headers laid out.
    fn add_golden(&mut self, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
        for octets in golden(&folder.join("packets.txt"))? {
            self.add_packet(&octets)?;
        }
        for octets in golden(&folder.join("freebsd_routing.txt"))? {
            self.add("wire", "routing socket", octets.clone(), &octets)?;
        }
        Ok(())
    }

    fn add_words(&mut self, root: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let text = fs::read_to_string(root.join("docs/configuration.md"))?;
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            self.add("given", "settings", block.into(), block.as_bytes())?;
        }
        for role in [
            "role = 'haa'\ninterface = 'e'\nauthentication = 'none'\nhome-prefix = ['2001:db8:0:1::/64']\n",
            "role = 'ar'\ninterface = 'e'\nauthentication = 'none'\nagent = '::'\n[[anycast]]\naddress = '2001:db8::a'\n",
            "role = 'ai'\ninterface = 'e'\n",
        ] {
            let given: Given = toml::from_str(role)?;
            // Every key of the role with its default.
            let words = toml::to_string(&given.settle()?.words())?;
            self.add("given", "settings", words.clone().into(), words.as_bytes())?;
        }
        let mut all = vec![40];
        for request in [
            Request::ShowBindings,
            Request::ShowUpdates,
            Request::ShowRules,
            Request::ShowStats,
            Request::ShowTimers,
            Request::ShowConfig,
            Request::Watch,
            Request::Register { anycast: None },
            Request::Deregister { anycast: Some(ANYCAST) },
            Request::FlushPeers { peer: Some(AI1) },
            Request::DisableMember { identifier: "ar1@example.net".to_owned() },
        ] {
            let mut line = serde_json::to_vec(&request)?;
            line.push(b'\n');
            all.extend(&line);
            line.insert(0, 12);
            self.add("given", "requests", line.clone(), &line)?;
        }
        self.add("given", "requests", all.clone(), &all)?;
        Ok(())
    }
}

fn captures(folder: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            captures(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "pcap") {
            into.push(path);
        }
    }
    into.sort();
    Ok(())
}

/// The octets of every line `NAME HEX` of a file.
fn golden(path: &Path) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    let mut all = Vec::new();
    for line in fs::read_to_string(path)?.lines() {
        let hex = line.split_once(' ').ok_or("a line without octets")?.1;
        let octets: Result<_, _> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16)).collect();
        all.push(octets?);
    }
    Ok(all)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../..");
    let mut corpora = Corpora { folder: here.join("corpus"), forms: BTreeSet::new(), written: 0 };
    let mut paths = Vec::new();
    captures(&root.join("pcaps"), &mut paths)?;
    for path in &paths {
        corpora.add_capture(path)?;
    }
    for keys in [0, 16] {
        corpora.add_talk(keys)?;
    }
    corpora.add_golden(&root.join("tests/golden"))?;
    corpora.add_words(&root)?;
    println!("{} seeds of {} captures in {}", corpora.written, paths.len(), corpora.folder.display());
    Ok(())
}
