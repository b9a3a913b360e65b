//! Who may change a binding: nonces, keygen tokens and authenticators of return routability (RFC 3775 5.2).
//! Every comparison of secrets takes constant time, and nothing here is printed. Used by the responder and
//! the initiator.

pub mod nonces;
pub mod seal;
pub mod tokens;
