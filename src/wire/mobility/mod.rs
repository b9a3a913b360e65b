//! The Mobility Header: its messages and its options.
//! RFC 3775 sections 6.1 and 6.2; options of RFC 4283, 4285, 5096 and 5648.
//! Used by `protocol` for all signalling, and by captures and the dissection.

mod authentication;
mod binding_identifier;
mod display;
mod experimental;
mod header;
mod messages;
mod options;

pub use authentication::{MessageAuthentication, NodeIdentifier, Timestamp, message_authentication_input};
pub use binding_identifier::BindingIdentifier;
pub use experimental::{Experimental, Extensions, Grant, Offer, OfferFlags};
pub use header::{MobilityHeader, authorization_input, checksum_is_valid, kind, minimum_length};
pub use messages::{
    AcknowledgementFlags, BindingAcknowledgement, BindingError, BindingRefreshRequest, BindingUpdate,
    Lifetime, Message, Status, Test, TestInit, UpdateFlags,
};
pub use options::{MobilityOption, align, option_kind};
