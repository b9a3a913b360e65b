//! Who may change a binding. Between responder and initiator: nonces, keygen tokens and authenticators of return
//! routability (RFC 3775 5.2). Between responder and agent: members with keys (RFC 4283, RFC 4285; docs/membership.md).
//! Every comparison of secrets takes constant time, and nothing secret is printed. Used by the roles.

pub mod credentials;
pub mod members;
pub mod membership;
pub mod nonces;
pub mod seal;
pub mod time_of_day;
pub mod tokens;
