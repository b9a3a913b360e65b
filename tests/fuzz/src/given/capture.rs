//! Octets as a capture file, pcap or pcapng.
//! Reading ends: with at most one error, after fewer packets than the file has octets, holding no more than the file
//! held. Called by the target `given`.

use mga_node::pcap::capture::Capture;

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    let Ok(capture) = Capture::new(octets) else { return };
    let (mut packets, mut held, mut failed) = (0, 0, false);
    for frame in capture {
        assert!(!failed, "nothing comes after an error");
        match frame {
            Ok(frame) => {
                assert_eq!(frame.ipv6.first().map(|octet| octet >> 4), Some(6));
                packets += 1;
                held += frame.ipv6.len();
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                failed = true;
            }
        }
        assert!(packets <= octets.len() && held <= octets.len());
    }
}
