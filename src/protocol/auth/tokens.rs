//! The computations of return routability (RFC 3775 5.2.5, 5.2.6, 6.2.7): keygen tokens, the binding management
//! key Kbm and the authenticator of Binding Updates and Acknowledgements. Values only, no time and no state.
//! Used by `nonces`, `ar` and `ai`.

use std::net::Ipv6Addr;

use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use crate::wire::mobility::authorization_input;

/// Which of the two tokens (RFC 3775 5.2.5: the last octet of the input).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Home,
    CareOf,
}

/// HMAC_SHA1 over the parts, one after the other.
pub(super) fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    // HMAC takes keys of every length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key) else { return [0; 20] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// `First (64, HMAC_SHA1 (Kcn, (address | nonce | 0 or 1)))`, RFC 3775 5.2.5.
pub fn keygen_token(node_key: &[u8; 20], address: &Ipv6Addr, nonce: &[u8; 8], kind: TokenKind) -> [u8; 8] {
    let last = [match kind {
        TokenKind::Home => 0,
        TokenKind::CareOf => 1,
    }];
    let digest = hmac_sha1(node_key, &[&address.octets(), nonce, &last]);
    let mut token = [0; 8];
    token.copy_from_slice(&digest[..8]);
    token
}

/// `Kbm = SHA1 (home keygen token | care-of keygen token)`; a binding is deleted with the home token alone
/// (RFC 3775 5.2.6).
pub fn binding_management_key(home: &[u8; 8], care_of: Option<&[u8; 8]>) -> [u8; 20] {
    let mut digest = Sha1::new();
    digest.update(home);
    if let Some(token) = care_of {
        digest.update(token);
    }
    digest.finalize().into()
}

/// The 12-octet authenticator of the Mobility Header `mh` between `care_of` and `correspondent`
/// (RFC 3775 6.2.7); `None` when `mh` has no Binding Authorization Data as its last option.
pub fn authenticator(
    key: &[u8; 20],
    care_of: &Ipv6Addr,
    correspondent: &Ipv6Addr,
    mh: &[u8],
) -> Option<[u8; 12]> {
    let input = authorization_input(mh)?;
    let digest = hmac_sha1(key, &[&care_of.octets(), &correspondent.octets(), &input]);
    let mut first96 = [0; 12];
    first96.copy_from_slice(&digest[..12]);
    Some(first96)
}

/// True when `mh` ends with the right authenticator.
pub fn authenticator_is_valid(
    key: &[u8; 20],
    care_of: &Ipv6Addr,
    correspondent: &Ipv6Addr,
    mh: &[u8],
    received: &[u8],
) -> bool {
    match authenticator(key, care_of, correspondent, mh) {
        Some(expected) => expected.as_slice().ct_eq(received).into(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's `hmac` from Kcn 00..13, nonce 30..37 and 2001:db8:0:1::a.
    #[test]
    fn c009_c010_tokens_are_the_first_64_bits_with_0_for_home_and_1_for_care_of() {
        let node_key: [u8; 20] = std::array::from_fn(|at| at as u8);
        let nonce = [0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37];
        let address = "2001:db8:0:1::a".parse().expect("an address");
        let token = |kind| u64::from_be_bytes(keygen_token(&node_key, &address, &nonce, kind));
        assert_eq!(token(TokenKind::Home), 0x7672_fb8f_ff4c_f31b);
        assert_eq!(token(TokenKind::CareOf), 0x17ef_47b6_6bc1_7be8);
    }
}
