//! Sequence numbers modulo 2^16 (RFC 3775 9.5.1) and the way out when two responders of one anycast address
//! disagree about them (thesis 5.1: 200, 100 -> 135, 202). Pure functions.
//! Used by the binding cache and by the responder.

/// True when `received` is newer than `stored`: not equal to it and not among the 32768 values before it.
pub fn is_newer(received: u16, stored: u16) -> bool {
    // The distance as a signed number: -32768 is among "the values before", as RFC 3775 9.5.1 counts them.
    (received.wrapping_sub(stored) as i16) > 0
}

/// The number of the retry after status 135 that carried `stored` (thesis 5.1: "for redundancy" plus two, which
/// is also what KAME does; UMIP adds one).
pub fn after_out_of_window(stored: u16) -> u16 {
    stored.wrapping_add(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_of_9_5_1_is_exact() {
        // (stored, received, newer): conformance H048-H060.
        for (stored, received, newer) in [
            (15, 16, true),
            (15, 32782, true),
            (15, 32783, false),
            (15, 14, false),
            (15, 15, false),
            (15, 32784, false),
            (32783, 32784, true),
            (32783, 14, true),
            (32783, 15, false),
            (32783, 32782, false),
            (32783, 32783, false),
            (32783, 16, false),
            (65535, 0, true),
        ] {
            assert_eq!(is_newer(received, stored), newer, "{stored} then {received}");
        }
    }

    #[test]
    fn the_retry_of_thesis_5_1_is_stored_plus_two() {
        assert_eq!(after_out_of_window(200), 202);
        assert_eq!(after_out_of_window(65535), 1);
    }
}
