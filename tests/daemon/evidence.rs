//! What others say of the packets that nodes sent: tshark's decoder and a reader of checksums that shares no code
//! with the crate (RFC 3775 6.1.1, RFC 4443 2.3: the sums are over home addresses and final destinations).
//! Asked by the tests of the running program with a capture of what one node said.

use std::{
    path::Path,
    process::{Command, Stdio},
};

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
