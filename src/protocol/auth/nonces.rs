//! The initiator's node key Kcn and its ring of nonces (RFC 3775 5.2.1, 5.2.2, 9.4.3): tokens are recomputed from
//! them, so that test messages create no state. A nonce is handed out only while a token made from it can still
//! be used for its whole life (MAX_TOKEN_LIFETIME), and accepted until it is MAX_NONCE_LIFETIME old.
//! Used by `ai`.

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv6Addr;

use super::tokens::{TokenKind, keygen_token};
use crate::protocol::clock::Instant;
use crate::protocol::limits::{MAX_NONCE_LIFETIME, MAX_TOKEN_LIFETIME};
use crate::protocol::random::Random;

struct Nonce {
    index: u16,
    value: [u8; 8],
    made: Instant,
}

/// Kcn and the nonces that are still valid, newest last.
pub struct NonceRing {
    node_key: [u8; 20],
    nonces: VecDeque<Nonce>,
    next_index: u16,
}

impl NonceRing {
    /// A new node key and no nonce yet; the first index will be 1, as both reference stacks have it.
    pub fn new(random: &mut dyn Random) -> Self {
        let mut node_key = [0; 20];
        random.fill(&mut node_key);
        Self { node_key, nonces: VecDeque::new(), next_index: 1 }
    }

    /// The token for `address` from the nonce in use, with its index (RFC 3775 5.2.5). Makes a new nonce when the
    /// newest is too old for a token to live MAX_TOKEN_LIFETIME.
    pub fn issue(
        &mut self,
        now: Instant,
        random: &mut dyn Random,
        address: &Ipv6Addr,
        kind: TokenKind,
    ) -> (u16, [u8; 8]) {
        while self.nonces.front().is_some_and(|nonce| Self::expired(nonce, now)) {
            self.nonces.pop_front();
        }
        let handing_out = MAX_NONCE_LIFETIME - MAX_TOKEN_LIFETIME;
        let usable = |nonce: &&Nonce| now.saturating_since(nonce.made) < handing_out;
        let (index, value) = match self.nonces.back().filter(usable) {
            Some(nonce) => (nonce.index, nonce.value),
            None => {
                let nonce = Nonce { index: self.next_index, value: random.octets8(), made: now };
                self.next_index = self.next_index.wrapping_add(1);
                let made = (nonce.index, nonce.value);
                self.nonces.push_back(nonce);
                made
            }
        };
        (index, keygen_token(&self.node_key, address, &value, kind))
    }

    /// Makes every token issued so far useless (RFC 3775 5.2.8).
    pub fn revoke(&mut self) {
        self.nonces.clear();
    }

    /// The token that was issued for `address` with nonce `index`, while the nonce is valid (9.5.1).
    pub fn recall(&self, now: Instant, index: u16, address: &Ipv6Addr, kind: TokenKind) -> Option<[u8; 8]> {
        let nonce = self.nonces.iter().find(|nonce| nonce.index == index && !Self::expired(nonce, now))?;
        Some(keygen_token(&self.node_key, address, &nonce.value, kind))
    }

    /// True while the nonce `index` is accepted.
    pub fn is_valid(&self, now: Instant, index: u16) -> bool {
        self.nonces.iter().any(|nonce| nonce.index == index && !Self::expired(nonce, now))
    }

    fn expired(nonce: &Nonce, now: Instant) -> bool {
        now.saturating_since(nonce.made) > MAX_NONCE_LIFETIME
    }
}

impl fmt::Debug for NonceRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NonceRing").field("nonces", &self.nonces.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::random::SeededRandom;

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn c012_a_token_lives_210_seconds_and_its_nonce_dies_after_240() {
        let mut random = SeededRandom::new(1);
        let mut ring = NonceRing::new(&mut random);
        let address = Ipv6Addr::LOCALHOST;
        let (index, token) = ring.issue(at(0), &mut random, &address, TokenKind::Home);
        assert_eq!(index, 1);
        let (late, _) = ring.issue(at(29), &mut random, &address, TokenKind::Home);
        assert_eq!(late, index, "still the same nonce");
        let (next, _) = ring.issue(at(30), &mut random, &address, TokenKind::Home);
        assert_eq!(next, 2, "a token from the old one would outlive it");
        assert_eq!(ring.recall(at(240), index, &address, TokenKind::Home), Some(token));
        assert_eq!(ring.recall(at(241), index, &address, TokenKind::Home), None);
        assert!(!ring.is_valid(at(241), index));
    }

    #[test]
    fn c011_issuing_tokens_makes_no_state_beyond_the_ring() {
        let mut random = SeededRandom::new(1);
        let mut ring = NonceRing::new(&mut random);
        for step in 0..100_000_u64 {
            let address = Ipv6Addr::from(u128::from(step));
            ring.issue(
                Instant::from_start(Duration::from_millis(step * 10)),
                &mut random,
                &address,
                TokenKind::CareOf,
            );
        }
        assert!(ring.nonces.len() <= 9, "one nonce every 30 s, each kept 240 s: {}", ring.nonces.len());
    }

    #[test]
    fn c013_the_node_key_is_20_octets_of_the_random_source_and_not_printed() {
        let mut octets = [0; 20];
        SeededRandom::new(9).fill(&mut octets);
        let ring = NonceRing::new(&mut SeededRandom::new(9));
        assert_eq!(ring.node_key, octets);
        assert_ne!(NonceRing::new(&mut SeededRandom::new(10)).node_key, octets);
        assert_eq!(format!("{ring:?}"), "NonceRing { nonces: 0, .. }");
    }
}
