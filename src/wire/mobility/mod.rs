//! The Mobility Header: its messages and its options.
//! RFC 3775 sections 6.1 and 6.2.
//! Used by `protocol` for all signalling, and by captures and the dissection.

mod display;
mod header;
mod messages;
mod options;

pub use header::{MobilityHeader, authorization_input, checksum_is_valid, kind, minimum_length};
pub use messages::{
    AcknowledgementFlags, BindingAcknowledgement, BindingError, BindingRefreshRequest, BindingUpdate,
    Lifetime, Message, Status, Test, TestInit, UpdateFlags,
};
pub use options::{MobilityOption, align, option_kind};
