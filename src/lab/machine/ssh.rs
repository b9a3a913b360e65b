//! A machine of the lab that is reached by ssh: a computer of its own, Linux or FreeBSD, as in the thesis's section 5.
//! One connection per machine carries everything: programs, the packets tcpdump captures as they come, the terminal that
//! telnet wants. `lab::section5` makes one per host of the file that `--hosts` names.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, PoisonError, mpsc},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Guest, Machine, Process, Recording, RecordingEnd, Seen, System, TelnetService, quote};
use crate::{
    lab::{Error, Interruption, Trying, hosts::Host},
    pcap::capture::Capture,
};

/// How long a machine may take to answer the first time.
const CONNECT: Duration = Duration::from_secs(30);

/// How long a telnet server may take to listen.
const LISTEN: Duration = Duration::from_secs(10);

/// Where programs are looked for on the other machine: sudo and the login shells leave out some of it.
const PATH: &str =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/libexec:/usr/local/libexec";

/// Keeps a program until it ends or until standard input does, which is when we no longer want it, or are no longer
/// there: SIGTERM after $1 seconds, SIGKILL ten later. The exit status is the program's.
const KEEPER: &str = "grace=$1; shift; exec 3<&0; \"$@\" </dev/null 3<&- & child=$!; \
    { cat <&3; sleep $grace; kill -TERM $child; tries=0; \
    while kill -0 $child && test $tries -lt 10; do sleep 1; tries=$((tries+1)); done; kill -KILL $child; } \
    >/dev/null 2>&1 & watcher=$!; exec 3<&-; wait $child; status=$?; kill $watcher 2>/dev/null; exit $status";

/// Makes a directory, and tells it, the system, and which of the programs named are not there.
const LOOK: &str = "set -e; directory=$(mktemp -d /tmp/mga-lab.XXXXXX); chmod 711 $directory; \
    echo directory $directory; echo system $(uname -s); echo release $(uname -sr); \
    for program in \"$@\"; do command -v \"$program\" >/dev/null || echo missing \"$program\"; done";

/// tcpdump to standard output, packet by packet; FreeBSD 5's does not know --immediate-mode and does without.
const RECORD: &str = "if tcpdump --immediate-mode --version >/dev/null 2>&1; then now=--immediate-mode; else now=; fi; \
    exec tcpdump -n -i \"$1\" $now -U -s 65535 -w - ip6";

/// Whether anybody listens on port 23, by system.
const LISTENS_LINUX: &str = "grep -q ':0017 0*:0000 0A' /proc/net/tcp6";
const LISTENS_FREEBSD: &str = "netstat -an -f inet6 -p tcp | grep -Eq '[.]23 .*LISTEN'";

/// A host of the lab reached by ssh.
#[derive(Debug)]
pub struct SshMachine {
    host: Host,
    line: Arc<Line>,
    directory: PathBuf,
    release: String,
}

/// The connection that everything on one machine goes through. It is closed when this is dropped, and also when this
/// process is killed: what holds it open over there reads from us.
#[derive(Debug)]
struct Line {
    host: Host,
    socket: PathBuf,
    master: Process,
    /// What comes before every command: sudo, unless the user is root.
    become_root: Vec<&'static str>,
}

impl Line {
    /// ssh with what every use of it has in common.
    fn ssh(&self) -> Command {
        let mut ssh = ssh(&self.host, &self.socket);
        ssh.args(["-o", "ControlMaster=no"]);
        ssh
    }

    fn command(&self, terminal: bool, words: &[&str]) -> Result<Command, Error> {
        let words = [&self.become_root[..], &["env", PATH], words].concat();
        let line = quote::line(&words)?;
        let mut ssh = self.ssh();
        ssh.arg(if terminal { "-tt" } else { "-T" }).args(["--", &self.host.ssh, &line]);
        Ok(ssh)
    }

    fn run(&self, words: &[&str]) -> Result<String, Error> {
        let output = self.command(false, words)?.stdin(Stdio::null()).process_group(0).output();
        let output = output.trying(|| "run ssh".to_owned())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::Step(format!("{}: {}: {}", self.host.name, words.join(" "), said.trim())))
    }
}

/// ssh to this host over a shared connection. It asks nothing, for nobody is there to answer, and says only what is wrong.
fn ssh(host: &Host, socket: &Path) -> Command {
    let mut ssh = Command::new("ssh");
    if let Some(file) = &host.ssh_config {
        ssh.arg("-F").arg(file);
    }
    ssh.arg("-S").arg(socket).args(["-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]);
    ssh
}

impl SshMachine {
    /// Connects to the host, sees that what the lab needs is there, and makes a directory there. `local` is a directory
    /// here for the connection's socket.
    ///
    /// # Errors
    /// [`Error::Unreachable`] with what ssh says, [`Error::Unfit`] naming what is missing on the machine.
    pub fn connect(host: &Host, local: &Path, interruption: &Interruption) -> Result<Self, Error> {
        let unreachable = |why: String| Error::Unreachable { name: host.name.clone(), why };
        let socket = local.join(host.name.to_lowercase());
        let log = socket.with_extension("log");
        let errors = File::create(&log).trying(|| format!("write {}", log.display()))?;
        let mut master = ssh(host, &socket);
        master.args(["-M", "-T", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=10"]);
        master.args(["--", &host.ssh, "cat"]);
        // A group of its own: Ctrl-C is for the lab, which then ends things in order.
        master.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(errors);
        let master = Process::new(master.spawn().trying(|| "start ssh".to_owned())?);
        let mut line = Line { host: host.clone(), socket, master, become_root: Vec::new() };
        let connected = interruption.wait_for("", CONNECT, || {
            match line.master.exited().trying(|| "wait for ssh".to_owned())? {
                Some(_) => Err(Error::Step("ssh ended".to_owned())),
                None => Ok(line.socket.exists().then_some(())),
            }
        });
        let said = fs::read_to_string(&log).unwrap_or_default();
        match connected {
            Ok(()) => {}
            Err(Error::Step(_)) => {
                let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
                let none = format!("no answer within {} s", CONNECT.as_secs());
                return Err(unreachable(if said.is_empty() { none } else { said }));
            }
            Err(error) => return Err(error),
        }
        if line.run(&["id", "-u"]).map_err(|error| unreachable(error.to_string()))?.trim() != "0" {
            line.become_root = vec!["sudo", "-n"];
        }
        let wanted = required(host);
        let words = [["/bin/sh", "-c", LOOK, "sh"].as_slice(), &wanted].concat();
        let found = line.run(&words).map_err(|error| unreachable(error.to_string()))?;
        let told = |key: &str| {
            found.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).unwrap_or_default()
        };
        let machine = SshMachine {
            host: host.clone(),
            line: Arc::new(line),
            directory: PathBuf::from(told("directory")),
            release: told("release").to_owned(),
        };
        let unfit = |why: String| Err(Error::Unfit { name: host.name.clone(), why });
        if told("system") != host.system.kernel() {
            return unfit(format!("the file says {:?}, but it is {}", host.system, told("system")));
        }
        let missing: Vec<&str> = found.lines().filter_map(|line| line.strip_prefix("missing ")).collect();
        if !missing.is_empty() {
            return unfit(format!(
                "{} not found there; docs/vagrant.md says what to install",
                missing.join(", ")
            ));
        }
        Ok(machine)
    }

    /// Its system and release, as `uname -sr` prints them.
    pub fn release(&self) -> &str {
        &self.release
    }

    fn listens_on_telnet(&self) -> bool {
        let question = match self.host.system {
            System::Linux => LISTENS_LINUX,
            System::FreeBsd => LISTENS_FREEBSD,
        };
        self.line.run(&["/bin/sh", "-c", question]).is_ok()
    }

    /// Has the machine keep `words` running as long as the command's standard input is open, and `grace` seconds longer.
    fn keep(&self, grace: u8, words: &[&str]) -> Result<Command, Error> {
        let grace = grace.to_string();
        let keeper = ["/bin/sh", "-c", KEEPER, "sh", &grace];
        let mut command = self.line.command(false, &[&keeper, words].concat())?;
        command.process_group(0).stdin(Stdio::piped());
        Ok(command)
    }
}

/// Debian has several by the name inetd.
fn inetd(system: System) -> &'static str {
    match system {
        System::Linux => "inetutils-inetd",
        System::FreeBsd => "inetd",
    }
}

/// The programs the lab uses on a host.
fn required(host: &Host) -> Vec<&str> {
    let program = host.program.to_str().unwrap_or("mga-node");
    let node = host.guest.is_none().then_some(program);
    let server = [inetd(host.system), "telnetd"];
    let traffic: &[&str] = match (host.name.as_str(), host.system) {
        ("AI1" | "AI2", System::Linux) => &["ping", "telnet"],
        ("AI1" | "AI2", System::FreeBsd) => &["ping6", "telnet"],
        ("AR1" | "AR2", _) => &server,
        _ => &[],
    };
    let node = node.filter(|_| host.name != "RT");
    ["tcpdump"].into_iter().chain(node).chain(traffic.iter().copied()).collect()
}

impl Machine for SshMachine {
    fn name(&self) -> &str {
        &self.host.name
    }

    fn interface(&self) -> &str {
        &self.host.interface
    }

    fn directory(&self) -> &Path {
        &self.directory
    }

    fn program(&self) -> &Path {
        &self.host.program
    }

    fn system(&self) -> System {
        self.host.system
    }

    fn guest(&self) -> Option<&Guest> {
        self.host.guest.as_ref()
    }

    fn command(&self, words: &[&str]) -> Result<Command, Error> {
        let mut command = self.line.command(false, words)?;
        command.process_group(0);
        Ok(command)
    }

    fn terminal(&self, words: &[&str]) -> Result<Command, Error> {
        self.line.command(true, words)
    }

    fn start(&self, words: &[&str], output: OwnedFd, errors: OwnedFd) -> Result<Process, Error> {
        let child = self.keep(0, words)?.stdout(output).stderr(errors).spawn();
        child.map(Process::new).trying(|| "start ssh".to_owned())
    }

    fn record(&self, file: &Path, seen: &Seen) -> Result<Recording, Error> {
        // A second longer than asked: what the kernel still holds back for a fuller buffer comes out by then.
        let mut command = self.keep(1, &["/bin/sh", "-c", RECORD, "sh", &self.host.interface])?;
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .trying(|| "start ssh".to_owned())?;
        let (packets, words) = (child.stdout.take(), child.stderr.take());
        let mut input = child.stdin.take();
        let (tell, ready) = mpsc::channel();
        let (file, seen) = (file.to_owned(), Arc::clone(seen));
        let thread = std::thread::Builder::new()
            .name(format!("capture {}", self.host.name))
            .spawn(move || {
                // Whatever happens here, the child is waited for.
                let listener = words.map(|words| std::thread::spawn(move || listen(words, &tell)));
                let recorded = packets.map_or(Ok(None), |packets| record(packets, &file, &seen));
                let status = child.wait().map_err(|error| error.to_string())?;
                let said = listener.and_then(|listener| listener.join().ok()).unwrap_or_default();
                let ahead = recorded?;
                match status.success() {
                    true => Ok(RecordingEnd { lost: said.lost, ahead }),
                    false => Err(format!("tcpdump ended with {status}: {}", said.last)),
                }
            })
            .trying(|| "start a thread".to_owned())?;
        // Closing its input has the machine end tcpdump.
        let stop = Box::new(move || drop(input.take()));
        Ok(Recording { ready, stop, thread: Some(thread) })
    }

    fn serve_telnet(&self, shell: &Path) -> Result<Box<dyn TelnetService>, Error> {
        let failed = |why: &str| Error::Step(format!("{} cannot serve telnet: {why}", self.host.name));
        if self.listens_on_telnet() {
            return Err(failed("something there listens on port 23 already; stop it"));
        }
        let sessions = self.directory.join("sessions");
        let (sessions, shell) = (sessions.display().to_string(), shell.display());
        // telnetd is the parent of what it starts in place of login.
        let login =
            self.write_script("login", &format!("#!/bin/sh\necho $PPID >>{sessions}\nexec {shell}\n"))?;
        let telnetd = self.line.run(&["/bin/sh", "-c", "command -v telnetd"])?;
        let option = match self.host.system {
            System::Linux => "-E",
            System::FreeBsd => "-p",
        };
        let (telnetd, login) = (telnetd.trim(), login.display());
        let text = format!("telnet stream tcp6 nowait root {telnetd} telnetd -h {option} {login}\n");
        let configuration = self.write_script("inetd.conf", &text)?.display().to_string();
        let silent = || File::options().write(true).open("/dev/null").trying(|| "open /dev/null".to_owned());
        let words = [inetd(self.host.system), "-d", &configuration];
        let mut inetd = self.start(&words, silent()?.into(), silent()?.into())?;
        let begin = Instant::now();
        while !self.listens_on_telnet() {
            if inetd.exited().trying(|| "wait for inetd".to_owned())?.is_some() {
                return Err(failed("inetd ended at once"));
            }
            if begin.elapsed() > LISTEN {
                return Err(failed("inetd does not listen"));
            }
        }
        Ok(Box::new(Inetd { process: Some(inetd), line: Arc::clone(&self.line), sessions }))
    }
}

impl Drop for SshMachine {
    fn drop(&mut self) {
        let directory = self.directory.display().to_string();
        if directory.starts_with("/tmp/mga-lab.")
            && let Err(error) = self.line.run(&["rm", "-rf", &directory])
        {
            tracing::warn!(%error, directory, "could not be removed");
        }
    }
}

/// inetd on a responder; when this is dropped it is ended, and so are the sessions it began.
#[derive(Debug)]
struct Inetd {
    process: Option<Process>,
    line: Arc<Line>,
    sessions: String,
}

impl TelnetService for Inetd {}

impl Drop for Inetd {
    fn drop(&mut self) {
        drop(self.process.take());
        // Those that have ended are no longer there to be killed, and without any there is no file.
        let end = "test ! -e \"$1\" || { kill $(cat \"$1\") 2>/dev/null; rm -f \"$1\"; }";
        if let Err(error) = self.line.run(&["/bin/sh", "-c", end, "sh", &self.sessions]) {
            tracing::warn!(%error, "telnet sessions may go on");
        }
    }
}

/// Copies what tcpdump writes to the file, and its packets to `seen`, until it ends. Returns by how much the machine's
/// clock is ahead of ours at least, by the packet that was here soonest; `None` when there was none.
fn record(packets: impl Read, file: &Path, seen: &Seen) -> Result<Option<i128>, String> {
    let copy = File::create(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let capture = Capture::new(Copying { from: packets, copy }).map_err(|error| error.to_string())?;
    let mut ahead: Option<i128> = None;
    for frame in capture {
        let frame = frame.map_err(|error| error.to_string())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let lead = nanoseconds(frame.at) - nanoseconds(now);
        ahead = Some(ahead.map_or(lead, |ahead| ahead.max(lead)));
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
    }
    Ok(ahead)
}

fn nanoseconds(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

/// Hands on what it reads, and keeps a copy.
struct Copying<R> {
    from: R,
    copy: File,
}

impl<R: Read> Read for Copying<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.copy.write_all(into.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

/// What tcpdump said in words.
#[derive(Debug, Default)]
struct Said {
    lost: u32,
    last: String,
}

/// Tells when tcpdump has begun, and listens to it to its end.
fn listen(words: impl Read, ready: &mpsc::Sender<()>) -> Said {
    let mut said = Said::default();
    for line in BufReader::new(words).lines().map_while(Result::ok) {
        if line.contains("listening on") {
            // Nobody waits any more only when the whole lab is ending.
            let _ = ready.send(());
        } else if let Some(count) = line.strip_suffix(" packets dropped by kernel") {
            said.lost = count.trim().parse().unwrap_or(0);
        }
        said.last = line;
    }
    said
}
