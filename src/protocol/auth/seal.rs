//! Putting the authenticator into a Binding Update or Acknowledgement and reading it there (RFC 3775 6.2.7): the
//! Binding Authorization Data option, always last, computed over the message without it. Used by `ar` for updates
//! to initiators and by `ai` for acknowledgements.

use std::net::Ipv6Addr;

use super::tokens::{authenticator, authenticator_is_valid};
use crate::wire::mobility::{MobilityHeader, MobilityOption};

/// What the authenticator of one message is computed from (RFC 3775 5.2.6): the key, the care-of address and the
/// correspondent's address.
#[derive(Clone, Copy)]
pub struct SealKey<'a> {
    pub binding_management_key: &'a [u8; 20],
    pub care_of: Ipv6Addr,
    pub correspondent: Ipv6Addr,
}

/// Replaces the authenticator of `header`, whose options end with Binding Authorization Data; other messages stay
/// as they are.
pub fn seal(header: &mut MobilityHeader, key: SealKey<'_>) {
    let bytes = header.emit();
    if let Some(value) = authenticator(key.binding_management_key, &key.care_of, &key.correspondent, &bytes)
        && let Some(MobilityOption::BindingAuthorizationData(data)) =
            header.message.options_mut().and_then(|options| options.last_mut())
    {
        *data = value.to_vec();
    }
}

/// True when `bytes`, one whole Mobility Header that parsed as `header`, ends with the authenticator of `key`.
pub fn is_sealed_by(header: &MobilityHeader, bytes: &[u8], key: SealKey<'_>) -> bool {
    let Some(MobilityOption::BindingAuthorizationData(received)) = header.message.options().last() else {
        return false;
    };
    authenticator_is_valid(key.binding_management_key, &key.care_of, &key.correspondent, bytes, received)
}
