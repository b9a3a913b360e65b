//! The control socket: a Unix stream socket that takes one JSON request per line and answers each with one JSON
//! line; after `watch` it sends one line per event. Server and client side of `mga-node show`, `watch`, `register`
//! and `deregister` (design section 5). Called by the event loop and by `cli`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{MemberEntry, RUN_DIRECTORY};

/// A client that lets more than this many octets pile up is cut off.
const MAX_BACKLOG: usize = 1 << 20;
/// A request longer than this is nonsense.
const MAX_REQUEST: usize = 64 << 10;
const MAX_CLIENTS: usize = 64;

/// What an operator can ask of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    ShowBindings,
    ShowUpdates,
    /// haa, maa
    ShowMembers,
    /// haa, maa: at most so many sources of each anycast address
    ShowAffinity {
        most: usize,
    },
    ShowRules,
    ShowKernelRules,
    ShowStats,
    ShowTimers,
    ShowConfig,
    Watch,
    Register {
        anycast: Option<Ipv6Addr>,
    },
    Deregister {
        anycast: Option<Ipv6Addr>,
    },
    Explain {
        source: Ipv6Addr,
        destination: Ipv6Addr,
    },
    /// haa, maa: the member at this care-of address.
    DrainMember {
        anycast: Option<Ipv6Addr>,
        care_of: Ipv6Addr,
    },
    UndrainMember {
        anycast: Option<Ipv6Addr>,
        care_of: Ipv6Addr,
    },
    FlushPeers {
        peer: Option<Ipv6Addr>,
    },
    Move {
        care_of: Ipv6Addr,
    },
    /// `deadline` is in seconds from now.
    Drain {
        anycast: Option<Ipv6Addr>,
        deadline: Option<u64>,
    },
    Undrain {
        anycast: Option<Ipv6Addr>,
    },
    /// In thousandths; without one the measured metric counts again.
    Metric {
        anycast: Option<Ipv6Addr>,
        metric: Option<u32>,
    },
    Weight {
        anycast: Option<Ipv6Addr>,
        weight: u16,
    },
    /// The key is in a file on the node's host, and never in a request.
    AddMember {
        member: MemberEntry,
    },
    DisableMember {
        identifier: String,
    },
    EnableMember {
        identifier: String,
    },
    RemoveMember {
        identifier: String,
    },
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Respond {
    Value(Value),
    /// A negative answer, for people.
    Error(String),
    /// Events follow.
    Watch,
}

/// Names a client between its request and the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(u64);

struct Client {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    watching: bool,
    state: State,
}

/// How far a client is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Requests may come.
    Open,
    /// No more requests; what waits for it is still sent.
    Closing,
    /// Nothing more in either direction.
    Cut,
}

/// The directory of the control socket and the undo journal; what had to be made of it goes on drop, if it is
/// empty then.
pub struct ControlDirectory {
    made: Vec<PathBuf>,
}

impl ControlDirectory {
    /// Makes the directory that `socket` is in, with its parents.
    ///
    /// # Errors
    /// When it cannot be made; nothing is left behind then.
    pub fn make(socket: &Path) -> io::Result<Self> {
        let mut directory = Self { made: Vec::new() };
        let Some(parent) = socket.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
            return Ok(directory);
        };
        let mut missing: Vec<_> = parent.ancestors().take_while(|path| !path.exists()).collect();
        while let Some(path) = missing.pop() {
            if path.as_os_str().is_empty() {
                continue;
            }
            match std::fs::create_dir(path) {
                Ok(()) => directory.made.push(path.to_owned()),
                // Another node starts at the same moment.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let remedy = match error.kind() {
                        io::ErrorKind::PermissionDenied => {
                            "; run as root, or name another place with --control"
                        }
                        _ => "",
                    };
                    let message = format!("cannot make the directory {}: {error}{remedy}", path.display());
                    return Err(io::Error::new(error.kind(), message));
                }
            }
        }
        Ok(directory)
    }
}

impl Drop for ControlDirectory {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // Another node lives there now.
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// The server side.
pub struct Control {
    path: PathBuf,
    listener: UnixListener,
    clients: BTreeMap<ClientId, Client>,
    next: u64,
}

impl Control {
    /// Listens at `path`, replacing a socket that nobody listens on any more; only the owner may connect.
    ///
    /// # Errors
    /// When another process listens there, or the socket cannot be made.
    pub fn listen(path: &Path) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "there is a file that is no socket",
                ));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "a running node answers there"));
            }
            _ => {}
        }
        // Made under another name, so that nobody can connect before the mode is set.
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        let placed = std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&fresh, path));
        if let Err(error) = placed {
            // The first error is the one that explains.
            let _ = std::fs::remove_file(&fresh);
            return Err(error);
        }
        listener.set_nonblocking(true)?;
        Ok(Self { path: path.to_owned(), listener, clients: BTreeMap::new(), next: 0 })
    }

    /// What to wait for.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let clients = self.clients.values().map(|client| {
            let mut flags = PollFlags::empty();
            // A client that has closed its side stays readable for ever.
            flags.set(PollFlags::POLLIN, client.state == State::Open);
            flags.set(PollFlags::POLLOUT, !client.outgoing.is_empty());
            PollFd::new(client.stream.as_fd(), flags)
        });
        std::iter::once(PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)).chain(clients)
    }

    /// Moves octets and returns the requests that are complete; one that is not understood comes as its error.
    pub fn take_requests(&mut self) -> Vec<(ClientId, Result<Request, String>)> {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.make_room();
                self.next += 1;
                let client = Client {
                    stream,
                    incoming: Vec::new(),
                    outgoing: Vec::new(),
                    watching: false,
                    state: State::Open,
                };
                self.clients.insert(ClientId(self.next), client);
            }
        }
        let mut requests = Vec::new();
        for (id, client) in &mut self.clients {
            client.receive();
            let Some(end) = client.incoming.iter().rposition(|octet| *octet == b'\n') else {
                if client.incoming.len() > MAX_REQUEST {
                    client.incoming.clear();
                    client.queue(&json!({ "error": "the request is too long" }));
                    client.state = client.state.max(State::Closing);
                }
                continue;
            };
            let complete: Vec<u8> = client.incoming.drain(..=end).collect();
            for line in complete.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
                let request = serde_json::from_slice(line).map_err(|error| format!("not a request: {error}"));
                requests.push((*id, request));
            }
        }
        requests
    }

    /// Sends what waits, and lets the clients go that are through.
    pub fn flush(&mut self) {
        for client in self.clients.values_mut() {
            client.flush();
        }
        self.clients.retain(|_, client| match client.state {
            State::Open => true,
            State::Closing => !client.outgoing.is_empty(),
            State::Cut => false,
        });
    }

    /// How many want to know of events.
    pub fn watchers(&self) -> usize {
        self.clients.values().filter(|client| client.watching).count()
    }

    /// A crowd of clients must not lock the operator out: the oldest that only sits there goes first.
    fn make_room(&mut self) {
        if self.clients.len() < MAX_CLIENTS {
            return;
        }
        let idle = self.clients.iter().find(|(_, client)| !client.watching);
        if let Some(id) = idle.or(self.clients.iter().next()).map(|(id, _)| *id) {
            self.clients.remove(&id);
        }
    }

    /// Answers a request.
    pub fn respond(&mut self, id: ClientId, answer: &Respond) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let line = match answer {
            Respond::Value(value) => json!({ "ok": value }),
            Respond::Error(message) => json!({ "error": message }),
            Respond::Watch => {
                client.watching = true;
                json!({ "ok": { "watching": true } })
            }
        };
        client.queue(&line);
    }

    /// Sends an event to everybody who watches.
    pub fn publish(&mut self, event: &Value) {
        for client in self.clients.values_mut().filter(|client| client.watching) {
            client.queue(event);
            client.flush();
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Client {
    /// Reads what has come, at most one longest request more than is there, so that no client can keep the node
    /// from its packets.
    fn receive(&mut self) {
        let mut octets = [0; 4096];
        while self.state == State::Open && self.incoming.len() <= MAX_REQUEST {
            match self.stream.read(&mut octets) {
                Ok(0) => self.state = State::Closing,
                Ok(count) => self.incoming.extend_from_slice(octets.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.cut(),
            }
        }
    }

    fn queue(&mut self, line: &Value) {
        if self.state == State::Cut {
            return;
        }
        self.outgoing.extend_from_slice(line.to_string().as_bytes());
        self.outgoing.push(b'\n');
        if self.outgoing.len() > MAX_BACKLOG {
            // What fits into the socket may be the end of a long answer, not the backlog of a client that sleeps.
            self.flush();
            if self.watching && self.outgoing.len() > MAX_BACKLOG {
                tracing::warn!("a watcher does not read what it asked for: cut off");
                self.cut();
            }
        }
    }

    fn flush(&mut self) {
        let mut sent = 0;
        while let Some(rest) = self.outgoing.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) if count > 0 => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                _ => return self.cut(),
            }
        }
        self.outgoing.drain(..sent);
    }

    fn cut(&mut self) {
        self.state = State::Cut;
        self.watching = false;
        self.outgoing = Vec::new();
        self.incoming = Vec::new();
    }
}

/// Why a node could not be asked, or what it said no to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no running node at {path}: {source}")]
    Unreachable { path: String, source: io::Error },
    #[error("no running node: there is no control socket in {RUN_DIRECTORY}; name one with --control")]
    NoSocket,
    #[error("more than one node runs here; name one with --control: {0}")]
    Ambiguous(String),
    #[error("the node went away in mid-answer")]
    Gone,
    #[error("{0}")]
    Refused(String),
}

/// The client side: one connection to a running node.
pub struct Connection {
    reader: BufReader<UnixStream>,
}

impl Connection {
    /// Connects to the node at `path`, or to the only one in the run directory.
    ///
    /// # Errors
    /// When there is none, or more than one to choose from.
    pub fn open(path: Option<&Path>) -> Result<Self, ClientError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => the_only_socket()?,
        };
        let stream = UnixStream::connect(&path)
            .map_err(|source| ClientError::Unreachable { path: path.display().to_string(), source })?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The node's own refusal, or that it went away.
    pub fn ask(&mut self, request: &Request) -> Result<Value, ClientError> {
        let line = serde_json::to_string(request).map_err(|_| ClientError::Gone)? + "\n";
        self.reader.get_mut().write_all(line.as_bytes()).map_err(|_| ClientError::Gone)?;
        let mut answer = self.next_line()?.ok_or(ClientError::Gone)?;
        if let Some(message) = answer.get("error").and_then(Value::as_str) {
            return Err(ClientError::Refused(message.to_owned()));
        }
        Ok(answer.get_mut("ok").map(Value::take).unwrap_or_default())
    }

    /// The next event after `watch`; `None` when the node ended.
    ///
    /// # Errors
    /// When what arrives is no JSON.
    pub fn next_line(&mut self) -> Result<Option<Value>, ClientError> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_str(&line).map(Some).map_err(|_| ClientError::Gone),
            Err(_) => Err(ClientError::Gone),
        }
    }
}

fn the_only_socket() -> Result<PathBuf, ClientError> {
    let entries = std::fs::read_dir(RUN_DIRECTORY).map_err(|_| ClientError::NoSocket)?;
    let mut sockets: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        // One that we may not talk to is a node nevertheless; its refusal is the message to see.
        .filter(|path| match UnixStream::connect(path) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        })
        .collect();
    sockets.sort();
    match sockets.len() {
        0 => Err(ClientError::NoSocket),
        1 => Ok(sockets.remove(0)),
        _ => Err(ClientError::Ambiguous(
            sockets.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
        )),
    }
}
