//! The Mobility Header: its messages and its options.
//! RFC 3775 sections 6.1 and 6.2; options of RFC 4283, 4285, 5096 and 5648.
//! Used by `protocol` for all signalling, and by captures and the dissection.

mod authentication;
mod binding_identifier;
mod display;
mod experimental;
mod header;
mod lifetime;
mod messages;
mod options;
mod signed;
mod status;

pub use authentication::{MessageAuthentication, NodeIdentifier, Timestamp};
pub use binding_identifier::BindingIdentifier;
pub use experimental::{Experimental, Extensions, Grant, Offer, OfferFlags};
pub use header::{MobilityHeader, checksum_is_valid, minimum_length};
pub use lifetime::Lifetime;
pub use messages::{
    AcknowledgementFlags, BindingAcknowledgement, BindingError, BindingRefreshRequest, BindingUpdate,
    Message, Test, TestInit, UpdateFlags, kind,
};
pub use options::{MobilityOption, align, option_kind};
pub use signed::{authorization_input, message_authentication_input};
pub use status::Status;
