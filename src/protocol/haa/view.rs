//! A binding as an operator sees it (`show bindings`): the cache entry of RFC 3775 9.1 in seconds and letters.
//! Made by `haa` and `ai` for the daemon.

use std::net::Ipv6Addr;

use serde::Serialize;

use crate::protocol::binding::cache::Binding;
use crate::protocol::clock::Instant;
use crate::wire::mobility::UpdateFlags;

/// One binding as `show bindings` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BindingView {
    pub anycast: Ipv6Addr,
    pub care_of: Ipv6Addr,
    /// The address the responder registered at.
    pub agent: Ipv6Addr,
    pub sequence: u16,
    /// A H L K as in the Binding Update.
    pub flags: String,
    /// Seconds, as granted.
    pub lifetime: u32,
    /// Seconds until it ends.
    pub remaining: u64,
}

impl BindingView {
    /// The view of `binding` at `now`.
    pub fn of(binding: &Binding, now: Instant) -> Self {
        let letters = [
            (UpdateFlags::ACKNOWLEDGE, 'A'),
            (UpdateFlags::HOME_REGISTRATION, 'H'),
            (UpdateFlags::LINK_LOCAL, 'L'),
            (UpdateFlags::KEY_MANAGEMENT, 'K'),
        ];
        Self {
            anycast: binding.home_address,
            care_of: binding.care_of,
            agent: binding.own_address,
            sequence: binding.sequence,
            flags: letters
                .iter()
                .filter(|(flag, _)| binding.flags.contains(*flag))
                .map(|(_, c)| *c)
                .collect(),
            lifetime: binding.lifetime.seconds(),
            remaining: binding.expires.saturating_since(now).as_secs(),
        }
    }
}
