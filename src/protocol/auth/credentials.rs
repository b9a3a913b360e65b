//! What makes somebody a member: identifier, SPI and shared key (RFC 4283, RFC 4285 section 5.1), the options that say
//! so, and the proof over a Binding Update or Acknowledgement. Values only, no time and no state.
//! Used by `members` at the agent and by `membership` at the responder.

use std::fmt;
use std::net::Ipv6Addr;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::tokens::hmac_sha1;
use crate::wire::mobility::{
    MessageAuthentication, MobilityHeader, MobilityOption, NodeIdentifier, Timestamp,
    message_authentication_input,
};

/// Octets of an authenticator: First (96, ...).
const AUTHENTICATOR: usize = 12;

/// A shared key. It stays in one place, is wiped from there when it goes, and is never printed.
#[derive(Clone)]
pub struct Key(Box<Zeroizing<[u8; Key::OCTETS]>>);

impl Key {
    /// Octets of a key (RFC 4285 section 5.1).
    pub const OCTETS: usize = 16;

    /// The key that 32 hexadecimal digits say; `None` when they are not that.
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        let mut octets = Box::new(Zeroizing::new([0; Key::OCTETS]));
        if digits.len() != 2 * Key::OCTETS {
            return None;
        }
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                *octet = *octet << 4 | u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
            }
        }
        Some(Self(octets))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The shared-key-based mobility security association of RFC 4285 section 5.1, as far as both ends have it in common.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Network Access Identifier of the responder.
    pub identifier: String,
    /// 256 or more; smaller ones are reserved.
    pub spi: u32,
    pub key: Key,
}

/// What a message says of its sender.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    pub identifier: &'a [u8],
    pub spi: u32,
    pub timestamp: Option<Timestamp>,
    authenticator: &'a [u8],
}

impl<'a> Claim<'a> {
    /// The claim in the options of a message; `None` without Network Access Identifier or with more than one
    /// identifier, or when the last option that is not padding is no MN-HA authentication.
    pub fn of(options: &'a [MobilityOption]) -> Option<Self> {
        let mut identifiers = options.iter().filter_map(|option| match option {
            MobilityOption::MobileNodeIdentifier(node) => Some(node),
            _ => None,
        });
        let (Some(node), None) = (identifiers.next(), identifiers.next()) else { return None };
        if node.subtype != NodeIdentifier::NAI {
            return None;
        }
        let identifier = node.identifier.as_slice();
        let timestamp = options.iter().find_map(|option| match option {
            MobilityOption::ReplayProtection(timestamp) => Some(*timestamp),
            _ => None,
        });
        match options.iter().rfind(|option| !option.is_padding())? {
            MobilityOption::MessageAuthentication(proof) if proof.subtype == MessageAuthentication::MN_HA => {
                Some(Self { identifier, spi: proof.spi, timestamp, authenticator: &proof.data })
            }
            _ => None,
        }
    }
}

impl Credentials {
    /// The options that a message of this member needs beside its others, the authenticator still empty.
    pub fn options(&self, timestamp: Option<Timestamp>) -> impl Iterator<Item = MobilityOption> + use<> {
        let proof = MessageAuthentication {
            subtype: MessageAuthentication::MN_HA,
            spi: self.spi,
            data: vec![0; AUTHENTICATOR],
        };
        let identifier = NodeIdentifier::nai(&self.identifier);
        [
            Some(MobilityOption::MobileNodeIdentifier(identifier)),
            timestamp.map(MobilityOption::ReplayProtection),
        ]
        .into_iter()
        .flatten()
        .chain([MobilityOption::MessageAuthentication(proof)])
    }

    /// Fills in the authenticator of `header`, which has these [`Credentials::options`]. `care_of` is the address
    /// that the update registers, or that the acknowledged update registered.
    pub fn prove(&self, header: &mut MobilityHeader, care_of: &Ipv6Addr, home_address: &Ipv6Addr) {
        let Some(authenticator) = self.authenticator(&header.emit(), care_of, home_address) else { return };
        let options = header.message.options_mut().into_iter().flatten();
        if let Some(MobilityOption::MessageAuthentication(proof)) = options.last() {
            proof.data = authenticator.to_vec();
        }
    }

    /// True when `mh`, a whole Mobility Header that makes this `claim`, was made with this key.
    pub fn prove_true(
        &self,
        claim: &Claim<'_>,
        mh: &[u8],
        care_of: &Ipv6Addr,
        home_address: &Ipv6Addr,
    ) -> bool {
        match self.authenticator(mh, care_of, home_address) {
            Some(expected) => expected.as_slice().ct_eq(claim.authenticator).into(),
            None => false,
        }
    }

    /// True when `claim` names this identifier and SPI.
    pub fn are_named_by(&self, claim: &Claim<'_>) -> bool {
        claim.identifier == self.identifier.as_bytes() && claim.spi == self.spi
    }

    /// RFC 4285 5.1: `First (96, HMAC_SHA1 (key, care-of address | home address | MH Data))`.
    fn authenticator(
        &self,
        mh: &[u8],
        care_of: &Ipv6Addr,
        home_address: &Ipv6Addr,
    ) -> Option<[u8; AUTHENTICATOR]> {
        let input = message_authentication_input(mh)?;
        let digest = hmac_sha1(&**self.key.0, &[&care_of.octets(), &home_address.octets(), &input]);
        digest.first_chunk().copied()
    }
}
