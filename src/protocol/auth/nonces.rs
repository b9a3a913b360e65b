//! The initiator's node key Kcn and its ring of nonces (RFC 3775 5.2.1, 5.2.2, 9.4.3): tokens are recomputed from
//! them, so that test messages create no state. A nonce is handed out only while a token made from it can still
//! be used for its whole life (MAX_TOKEN_LIFETIME), and accepted until it is MAX_NONCE_LIFETIME old.
//! Used by `ai`.

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::tokens::{TokenKind, keygen_token};
use crate::protocol::binding::sequence::is_newer;
use crate::protocol::clock::Instant;
use crate::protocol::limits::{MAX_NONCE_LIFETIME, MAX_TOKEN_LIFETIME};
use crate::protocol::random::Random;

/// A nonce that was spent is replaced by a new one at most this often, so that the ring holds one for every second of
/// MAX_NONCE_LIFETIME at most.
const RENEWAL: Duration = Duration::from_secs(1);

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
    /// newest is too old for a token to live MAX_TOKEN_LIFETIME, or is not newer than `spent`, up to which nonces
    /// authorise nothing for this address. `None` when that is the case and the newest was made only a moment ago:
    /// whoever spends nonces must not make the ring grow without bound.
    pub fn issue(
        &mut self,
        now: Instant,
        random: &mut dyn Random,
        address: &Ipv6Addr,
        kind: TokenKind,
        spent: Option<u16>,
    ) -> Option<(u16, [u8; 8])> {
        while self.nonces.front().is_some_and(|nonce| Self::expired(nonce, now)) {
            self.nonces.pop_front();
        }
        let handing_out = MAX_NONCE_LIFETIME - MAX_TOKEN_LIFETIME;
        let newest = self.nonces.back().filter(|nonce| now.saturating_since(nonce.made) < handing_out);
        let is_unspent = |nonce: &&Nonce| spent.is_none_or(|spent| is_newer(nonce.index, spent));
        if newest.is_some_and(|nonce| !is_unspent(&nonce) && now.saturating_since(nonce.made) < RENEWAL) {
            return None;
        }
        let (index, value) = match newest.filter(is_unspent) {
            Some(nonce) => (nonce.index, nonce.value),
            None => {
                let nonce = Nonce { index: self.next_index, value: random.octets8(), made: now };
                self.next_index = self.next_index.wrapping_add(1);
                let made = (nonce.index, nonce.value);
                self.nonces.push_back(nonce);
                made
            }
        };
        Some((index, keygen_token(&self.node_key, address, &value, kind)))
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
        let (index, token) = ring.issue(at(0), &mut random, &address, TokenKind::Home, None).unwrap();
        assert_eq!(index, 1);
        let (late, _) = ring.issue(at(29), &mut random, &address, TokenKind::Home, None).unwrap();
        assert_eq!(late, index, "still the same nonce");
        let (next, _) = ring.issue(at(30), &mut random, &address, TokenKind::Home, None).unwrap();
        assert_eq!(next, 2, "a token from the old one would outlive it");
        assert_eq!(ring.recall(at(240), index, &address, TokenKind::Home), Some(token));
        assert_eq!(ring.recall(at(241), index, &address, TokenKind::Home), None);
        assert!(!ring.is_valid(at(241), index));
    }

    // covers: X204
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
                None,
            );
        }
        assert!(ring.nonces.len() <= 9, "one nonce every 30 s, each kept 240 s: {}", ring.nonces.len());
    }

    // covers: C201
    #[test]
    fn a_spent_nonce_is_not_handed_out_again_and_spending_does_not_fill_the_ring() {
        let mut random = SeededRandom::new(1);
        let mut ring = NonceRing::new(&mut random);
        let address = Ipv6Addr::LOCALHOST;
        let mut issue =
            |ms, spent| ring.issue(Instant::from_start(ms), &mut random, &address, TokenKind::Home, spent);
        let ms = Duration::from_millis;
        let (first, token) = issue(ms(0), None).unwrap();
        assert_eq!(issue(ms(999), Some(first)), None, "a moment's patience");
        let (second, other) = issue(ms(1000), Some(first)).unwrap();
        assert_eq!(second, first + 1);
        assert_ne!(token, other);
        assert_eq!(issue(ms(1001), None), Some((second, other)), "for everybody");
        let mut spent = second;
        for step in 0..100_000 {
            spent = issue(ms(1001 + 10 * step), Some(spent)).map_or(spent, |(index, _)| index);
        }
        assert!(ring.nonces.len() <= 242, "{}", ring.nonces.len());
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
