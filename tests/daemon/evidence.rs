//! What others say of the packets that nodes sent: tshark's decoder and a reader of checksums that shares no code
//! with the crate (RFC 3775 6.1.1, RFC 4443 2.3: the sums are over home addresses and final destinations).
//! Asked by every network of the tests of the running program about everything that its hosts sent.

use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use mga_node::platform::netns::NetworkNamespace;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// What is recorded: everything but TCP, whose sums the kernels leave to the hardware that there is none of, whether
/// it is bare, in a tunnel, or behind a home address option or routing header.
#[cfg(not(mga_ebpf))]
const RECORDED: &str = "ip6 and ip6[6] != 6 and not (ip6[6] == 41 and ip6[46] == 6) and \
                        not ((ip6[6] == 60 or ip6[6] == 43) and ip6[40] == 6)";

/// The same with UDP, whose sums are left open, too, where the kernel itself rewrites what it sends.
#[cfg(mga_ebpf)]
const RECORDED: &str = "ip6 and ip6[6] != 6 and ip6[6] != 17 and \
                        not (ip6[6] == 41 and (ip6[46] == 6 or ip6[46] == 17)) and \
                        not ((ip6[6] == 60 or ip6[6] == 43) and (ip6[40] == 6 or ip6[40] == 17))";

/// How long a recorder sleeps at most before it looks whether it shall stop.
const WAKE_MILLISECONDS: u8 = 20;

/// Writes what comes in to a namespace.
pub struct Recorder {
    pub capture: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Records what comes in by one interface, or by `any`. Packets count from the return of this on.
    pub fn start(namespace: &NetworkNamespace, interface: &str, capture: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn({
            let (namespace, interface) = (namespace.handle().expect("a handle"), interface.to_owned());
            let (capture, stop) = (capture.clone(), Arc::clone(&stop));
            move || namespace.run(|| record(&interface, &capture, &stop, &tell)).expect("the namespace")
        });
        let recorder = Self { capture, stop, thread: Some(thread) };
        told.recv().expect("it records");
        recorder
    }

    /// Stops when everything that has come in is written; the capture stays where it is.
    pub fn stop(mut self) -> PathBuf {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().expect("it has recorded");
        self.capture.clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Runs in the namespace until told to stop.
fn record(interface: &str, file: &Path, stop: &AtomicBool, ready: &mpsc::Sender<()>) {
    let capture = pcap::Capture::from_device(interface).expect("an interface");
    let capture = capture.immediate_mode(true).snaplen(65_535).buffer_size(16 << 20).open().expect("libpcap");
    let mut capture = capture.setnonblock().expect("libpcap");
    capture.filter(RECORDED, true).expect("a filter");
    capture.direction(pcap::Direction::In).expect("a direction");
    let mut file = capture.savefile(file).expect("a file");
    ready.send(()).expect("somebody waits");
    loop {
        // Read before looking for packets: what came in before the request to stop is still taken.
        let stopping = stop.load(Ordering::Relaxed);
        match capture.next_packet() {
            Ok(packet) => file.write(&packet),
            Err(pcap::Error::TimeoutExpired) if stopping => break,
            Err(pcap::Error::TimeoutExpired) => {
                let mut readable = [PollFd::new(capture.as_fd(), PollFlags::POLLIN)];
                match poll(&mut readable, PollTimeout::from(WAKE_MILLISECONDS)) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    file.flush().expect("written");
    assert_eq!(capture.stats().expect("statistics").dropped, 0, "packets were not recorded");
}

/// What tshark counts as an error, and what it does not know: messages, options, whatever it leaves undecoded.
const FAULTS: &str = "_ws.malformed || icmpv6.checksum.status == 0 || udp.checksum.status == 0 || \
                      _ws.expert.severity >= 8388608 || _ws.expert.group == 83886080 || mip6.unknown_type_data";

/// What a program says when it is asked about a capture.
fn ask(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect(program);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// The packets of the capture that tshark finds fault with.
fn faults(capture: &Path) -> String {
    let capture = capture.to_str().expect("a path of letters");
    ask("tshark", &["-n", "-r", capture, "-o", "udp.check_checksum:TRUE", "-Y", FAULTS])
}

/// Fails when tshark or the checksum reader finds fault with a packet of the capture.
pub fn judge(capture: &Path) {
    assert_eq!(faults(capture), "", "tshark finds fault");
    let sums = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/peer/sums.py");
    let file = |path: &Path| path.to_str().expect("a path of letters").to_owned();
    let wrong = ask("python3", &["-B", &file(&sums), &file(capture)]);
    assert_eq!(wrong, "", "a checksum is wrong");
}

#[test]
fn what_tshark_does_not_know_is_found() {
    let stimulus =
        |name: &str| faults(&Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps/kame/kame-errors").join(name));
    assert_eq!(stimulus("01-had-accept.pcap"), "");
    assert_eq!(stimulus("39-had-unknown-opt.pcap").lines().count(), 1, "the update with an unknown option");
}

#[test]
fn a_wrong_checksum_is_found_and_no_right_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let whole = root.join("pcaps/kame/kame-section5.3/ai2.pcap");
    judge(&whole);
    let mut octets = std::fs::read(&whole).expect("a capture");
    // The last octet of the last frame, which has a checksum over it.
    *octets.last_mut().expect("octets") ^= 1;
    let spoilt = std::env::temp_dir().join(format!("mgad-{}-spoilt.pcap", std::process::id()));
    std::fs::write(&spoilt, octets).expect("written");
    let found = std::panic::catch_unwind(|| judge(&spoilt));
    std::fs::remove_file(&spoilt).expect("removed");
    assert!(found.is_err(), "nothing was found");
}

#[test]
fn what_a_host_sends_is_recorded() {
    let network = crate::figure11::Figure11::new();
    let capture = network.scratch.join("one.pcap");
    let recorder = Recorder::start(&network.router, "any", capture);
    network
        .run(crate::figure11::At::Ai1, &["ping", "-c", "1", "-W", "10", "-p", "6d6761", "2001:db8:0:2::1"]);
    let octets = fs::read(recorder.stop()).expect("a capture");
    assert!(octets.windows(6).any(|window| window == b"mgamga"), "{} octets", octets.len());
}
