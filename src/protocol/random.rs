//! Where unpredictable octets come from: cookies, nonces, Kcn and first sequence numbers (RFC 3775 5.2, 11.7.2).
//! The core only knows the trait, so that a test can seed it and a run can be repeated.
//! `daemon` hands in the operating system's source.

/// A source of random octets.
pub trait Random {
    /// Fills `into` with octets nobody can guess (or, in a test, with the next ones of a fixed row).
    fn fill(&mut self, into: &mut [u8]);

    /// Eight random octets: a cookie or a nonce (RFC 3775 5.2.2, 5.2.4).
    fn octets8(&mut self) -> [u8; 8] {
        let mut octets = [0; 8];
        self.fill(&mut octets);
        octets
    }

    /// A random 16-bit number: a first sequence number or an identifier.
    fn number16(&mut self) -> u16 {
        let mut octets = [0; 2];
        self.fill(&mut octets);
        u16::from_be_bytes(octets)
    }
}

/// A repeatable row of numbers for tests, simulations and benchmarks, and for what need only be spread and
/// not be secret; never for a secret of a node on a network.
#[derive(Clone, Debug)]
pub struct SeededRandom(u64);

impl SeededRandom {
    /// The row that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, into: &mut [u8]) {
        for octet in into {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *octet = (self.0 >> 56) as u8;
        }
    }
}
