//! What others say of the packets that nodes sent: tshark's decoder and a reader of checksums that shares no code
//! with the crate (RFC 3775 6.1.1, RFC 4443 2.3: the sums are over home addresses and final destinations).
//! Asked by every network of the tests of the running program about everything that its hosts sent.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use mga_node::platform::netns::{self, NetworkNamespace};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::figure11::{Background, PATIENCE, until};

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

/// A tcpdump that writes what comes in to a namespace.
pub struct Recorder {
    tcpdump: Background,
    pub capture: PathBuf,
    log: PathBuf,
}

impl Recorder {
    /// Records one interface, or `any`; `extra` are further words of tcpdump. Packets count from the return of this on.
    pub fn start(namespace: &NetworkNamespace, interface: &str, extra: &[&str], capture: PathBuf) -> Self {
        let log = capture.with_extension("log");
        let mut command = Command::new("tcpdump");
        netns::in_namespace(&mut command, namespace).expect("a descriptor");
        let child = command
            .args(["-i", interface, "-U", "-n", "--immediate-mode", "-s", "0", "-B", "16384"])
            .args(extra)
            .arg("-w")
            .arg(&capture)
            .arg(RECORDED)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("tcpdump runs");
        let recorder = Self { tcpdump: Background(child), capture, log };
        assert!(until(PATIENCE, || recorder.said().contains("listening on")), "{}", recorder.said());
        recorder
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops when what has come in is written; the capture stays where it is.
    pub fn stop(mut self) -> PathBuf {
        kill(Pid::from_raw(self.tcpdump.0.id() as i32), Signal::SIGINT).expect("signalled");
        let ended = until(PATIENCE, || self.tcpdump.0.try_wait().expect("its state").is_some());
        assert!(ended, "tcpdump goes on: {}", self.said());
        self.capture.clone()
    }
}

/// What tshark counts as an error. Its own words for a message it does not know are among them.
const FAULTS: &str = "_ws.malformed || icmpv6.checksum.status == 0 || udp.checksum.status == 0 || \
                      _ws.expert.severity >= 8388608";

/// Fails when tshark or the checksum reader finds fault with a packet of the capture.
pub fn judge(capture: &Path) {
    let ask = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect(program);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("text")
    };
    let capture = capture.to_str().expect("a path of letters");
    let faults = ask("tshark", &["-n", "-r", capture, "-o", "udp.check_checksum:TRUE", "-Y", FAULTS]);
    assert_eq!(faults, "", "tshark finds fault");
    let sums = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/peer/sums.py");
    let wrong = ask("python3", &["-B", sums.to_str().expect("a path of letters"), capture]);
    assert_eq!(wrong, "", "a checksum is wrong");
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
    let network = crate::figure11::Figure11::unjudged();
    let capture = network.scratch.join("one.pcap");
    let recorder = Recorder::start(&network.router, "any", &["-Q", "in"], capture);
    network
        .run(crate::figure11::At::Ai1, &["ping", "-c", "1", "-W", "10", "-p", "6d6761", "2001:db8:0:2::1"]);
    let octets = fs::read(recorder.stop()).expect("a capture");
    assert!(octets.windows(6).any(|window| window == b"mgamga"), "{} octets", octets.len());
}
