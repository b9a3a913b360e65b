//! The protocol constants of RFC 3775 section 12 (and RFC 2473, RFC 4443 where they apply), by their RFC names.
//! Nothing here is tunable: what an operator may change is configuration. Used by the roles.

use std::time::Duration;

/// RFC 3775 section 12: Home-agent address discovery is tried this often before the node slows down.
pub const DHAAD_RETRIES: u32 = 4;
/// RFC 3775 section 12: first wait for a Home Agent Address Discovery Reply; doubled every time (11.4.1).
pub const INITIAL_DHAAD_TIMEOUT: Duration = Duration::from_secs(3);
/// RFC 3775 section 12: first wait for a Binding Acknowledgement after a refresh; doubled every time (11.8).
pub const INITIAL_BINDACK_TIMEOUT: Duration = Duration::from_secs(1);
/// RFC 3775 section 13: first wait for a Binding Acknowledgement when there is no binding yet (11.8).
pub const INITIAL_BINDACK_TIMEOUT_FIRST_REGISTRATION: Duration = Duration::from_millis(1500);
/// RFC 3775 section 12: the back-off of Binding Updates and test messages stops growing here.
pub const MAX_BINDACK_TIMEOUT: Duration = Duration::from_secs(32);
/// RFC 3775 section 12: nonces older than this are never accepted.
pub const MAX_NONCE_LIFETIME: Duration = Duration::from_secs(240);
/// RFC 3775 section 12: a keygen token may be used this long after it was received.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(210);
/// RFC 3775 section 12: the longest lifetime of a binding authorised by return routability, in seconds.
pub const MAX_RR_BINDING_LIFETIME: Duration = Duration::from_secs(420);
/// RFC 3775 section 12: at most this many Binding Updates to one node in a second.
pub const MAX_UPDATE_RATE: u32 = 3;
/// How long an initiator that answered mobility messages with an error is left alone (RFC 3775 11.3.5 leaves
/// the time open; it is the lifetime that a binding with it could have had).
pub const PLAIN_PEER_MEMORY: Duration = MAX_RR_BINDING_LIFETIME;
/// Default hop limit of every header the node builds (RFC 2473 6.3 leaves it to the tunnel entry point).
pub const HOP_LIMIT: u8 = 64;
/// RFC 4861 section 7.1: neighbour discovery messages travel with this hop limit.
pub const NEIGHBOR_DISCOVERY_HOP_LIMIT: u8 = 255;
/// RFC 4862 section 5.1 and RFC 4861 RetransTimer: how long an answer to a duplicate address probe is waited for.
pub const DUPLICATE_ADDRESS_WAIT: Duration = Duration::from_secs(1);
