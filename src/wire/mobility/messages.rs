//! The eight messages of the Mobility Header.
//! RFC 3775 sections 6.1.2 to 6.1.9, with the mobile router flags of RFC 3963.
//! Built and read by `protocol`; parsed and emitted through the header.

use std::net::Ipv6Addr;

use super::lifetime::Lifetime;
use super::options::MobilityOption;
use super::status::Status;
use crate::wire::Result;
use crate::wire::reader::Reader;

/// The MH Type values of RFC 3775 sections 6.1.2 to 6.1.9.
pub mod kind {
    /// Binding Refresh Request.
    pub const BINDING_REFRESH_REQUEST: u8 = 0;
    /// Home Test Init.
    pub const HOME_TEST_INIT: u8 = 1;
    /// Care-of Test Init.
    pub const CARE_OF_TEST_INIT: u8 = 2;
    /// Home Test.
    pub const HOME_TEST: u8 = 3;
    /// Care-of Test.
    pub const CARE_OF_TEST: u8 = 4;
    /// Binding Update.
    pub const BINDING_UPDATE: u8 = 5;
    /// Binding Acknowledgement.
    pub const BINDING_ACKNOWLEDGEMENT: u8 = 6;
    /// Binding Error.
    pub const BINDING_ERROR: u8 = 7;
}

/// What a Mobility Header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Section 6.1.2.
    BindingRefreshRequest(BindingRefreshRequest),
    /// Section 6.1.3; its cookie is the home init cookie.
    HomeTestInit(TestInit),
    /// Section 6.1.4; its cookie is the care-of init cookie.
    CareOfTestInit(TestInit),
    /// Section 6.1.5.
    HomeTest(Test),
    /// Section 6.1.6.
    CareOfTest(Test),
    /// Section 6.1.7.
    BindingUpdate(BindingUpdate),
    /// Section 6.1.8.
    BindingAcknowledgement(BindingAcknowledgement),
    /// Section 6.1.9.
    BindingError(BindingError),
    /// An MH Type that RFC 3775 does not know.
    Unknown {
        /// The MH Type, above 7.
        kind: u8,
        /// What follows the checksum: 2 + 8n octets, at most 2042.
        data: Vec<u8>,
    },
}

/// Asks for a Binding Update (RFC 3775 section 6.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingRefreshRequest {
    /// Zero from anyone conforming.
    pub reserved: u16,
    /// In order, padding included.
    pub options: Vec<MobilityOption>,
}

/// Home Test Init or Care-of Test Init (RFC 3775 sections 6.1.3 and 6.1.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestInit {
    /// Zero from anyone conforming.
    pub reserved: u16,
    /// The home or care-of init cookie.
    pub cookie: [u8; 8],
    /// In order, padding included.
    pub options: Vec<MobilityOption>,
}

/// Home Test or Care-of Test (RFC 3775 sections 6.1.5 and 6.1.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Test {
    /// Home or care-of nonce index.
    pub nonce_index: u16,
    /// The cookie of the Test Init that is answered.
    pub cookie: [u8; 8],
    /// The home or care-of keygen token.
    pub token: [u8; 8],
    /// In order, padding included.
    pub options: Vec<MobilityOption>,
}

/// Registers a care-of address (RFC 3775 section 6.1.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingUpdate {
    /// Compared modulo 2^16.
    pub sequence: u16,
    /// The flags and the reserved bits with them.
    pub flags: UpdateFlags,
    /// Zero deletes the binding.
    pub lifetime: Lifetime,
    /// In order, padding included.
    pub options: Vec<MobilityOption>,
}

/// Answers a Binding Update (RFC 3775 section 6.1.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingAcknowledgement {
    /// Accepted or refused, and why.
    pub status: Status,
    /// The flags and the reserved bits with them.
    pub flags: AcknowledgementFlags,
    /// Of the Binding Update, or the last one accepted when the status is 135.
    pub sequence: u16,
    /// Granted; of no meaning when refused.
    pub lifetime: Lifetime,
    /// In order, padding included.
    pub options: Vec<MobilityOption>,
}

/// Reports a home address option without binding, or an unknown MH Type (RFC 3775 section 6.1.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingError {
    /// [`BindingError::UNKNOWN_BINDING`] or [`BindingError::UNRECOGNIZED_KIND`].
    pub status: u8,
    /// Zero from anyone conforming.
    pub reserved: u8,
    /// Of the home address option, or unspecified.
    pub home_address: Ipv6Addr,
    /// In order, padding included.
    pub options: Vec<MobilityOption>,
}

impl BindingError {
    /// Status 1: unknown binding for a home address destination option.
    pub const UNKNOWN_BINDING: u8 = 1;
    /// Status 2: unrecognised MH Type value.
    pub const UNRECOGNIZED_KIND: u8 = 2;
}

bitflags::bitflags! {
    /// The flags of a Binding Update; reserved bits are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct UpdateFlags: u16 {
        /// A: a Binding Acknowledgement is wanted.
        const ACKNOWLEDGE = 0x8000;
        /// H: the receiver shall be the home agent.
        const HOME_REGISTRATION = 0x4000;
        /// L: the home address has the interface identifier of the link-local address.
        const LINK_LOCAL = 0x2000;
        /// K: the IPsec key management survives movement.
        const KEY_MANAGEMENT = 0x1000;
        /// R: the sender is a mobile router (RFC 3963 section 4.1).
        const MOBILE_ROUTER = 0x0400;
        /// O: this binding replaces all others of the home address (RFC 5648 section 4.2).
        const OVERWRITE = 0x0040;
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// The flags of a Binding Acknowledgement; reserved bits are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AcknowledgementFlags: u8 {
        /// K: the IPsec key management survives movement.
        const KEY_MANAGEMENT = 0x80;
        /// R: the home agent supports mobile routers (RFC 3963 section 4.2).
        const MOBILE_ROUTER = 0x40;
        const _ = !0;
    }
}

impl Message {
    /// The MH Type.
    pub fn kind(&self) -> u8 {
        match self {
            Self::BindingRefreshRequest(_) => kind::BINDING_REFRESH_REQUEST,
            Self::HomeTestInit(_) => kind::HOME_TEST_INIT,
            Self::CareOfTestInit(_) => kind::CARE_OF_TEST_INIT,
            Self::HomeTest(_) => kind::HOME_TEST,
            Self::CareOfTest(_) => kind::CARE_OF_TEST,
            Self::BindingUpdate(_) => kind::BINDING_UPDATE,
            Self::BindingAcknowledgement(_) => kind::BINDING_ACKNOWLEDGEMENT,
            Self::BindingError(_) => kind::BINDING_ERROR,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// The options; none for an unknown type, whose layout is unknown too.
    pub fn options(&self) -> &[MobilityOption] {
        match self {
            Self::BindingRefreshRequest(message) => &message.options,
            Self::HomeTestInit(message) | Self::CareOfTestInit(message) => &message.options,
            Self::HomeTest(message) | Self::CareOfTest(message) => &message.options,
            Self::BindingUpdate(message) => &message.options,
            Self::BindingAcknowledgement(message) => &message.options,
            Self::BindingError(message) => &message.options,
            Self::Unknown { .. } => &[],
        }
    }

    /// The options, to be changed; `None` for an unknown type.
    pub fn options_mut(&mut self) -> Option<&mut Vec<MobilityOption>> {
        match self {
            Self::BindingRefreshRequest(message) => Some(&mut message.options),
            Self::HomeTestInit(message) | Self::CareOfTestInit(message) => Some(&mut message.options),
            Self::HomeTest(message) | Self::CareOfTest(message) => Some(&mut message.options),
            Self::BindingUpdate(message) => Some(&mut message.options),
            Self::BindingAcknowledgement(message) => Some(&mut message.options),
            Self::BindingError(message) => Some(&mut message.options),
            Self::Unknown { .. } => None,
        }
    }

    /// `reader` stands after the checksum of `header`.
    pub(super) fn parse(kind: u8, mut reader: Reader<'_>, header: &[u8]) -> Result<Self> {
        let reader = &mut reader;
        Ok(match kind {
            kind::BINDING_REFRESH_REQUEST => Self::BindingRefreshRequest(BindingRefreshRequest {
                reserved: reader.u16()?,
                options: MobilityOption::parse_all(header, reader.offset())?,
            }),
            kind::HOME_TEST_INIT => Self::HomeTestInit(TestInit::parse(reader, header)?),
            kind::CARE_OF_TEST_INIT => Self::CareOfTestInit(TestInit::parse(reader, header)?),
            kind::HOME_TEST => Self::HomeTest(Test::parse(reader, header)?),
            kind::CARE_OF_TEST => Self::CareOfTest(Test::parse(reader, header)?),
            kind::BINDING_UPDATE => Self::BindingUpdate(BindingUpdate {
                sequence: reader.u16()?,
                flags: UpdateFlags::from_bits_retain(reader.u16()?),
                lifetime: Lifetime(reader.u16()?),
                options: MobilityOption::parse_all(header, reader.offset())?,
            }),
            kind::BINDING_ACKNOWLEDGEMENT => Self::BindingAcknowledgement(BindingAcknowledgement {
                status: Status(reader.u8()?),
                flags: AcknowledgementFlags::from_bits_retain(reader.u8()?),
                sequence: reader.u16()?,
                lifetime: Lifetime(reader.u16()?),
                options: MobilityOption::parse_all(header, reader.offset())?,
            }),
            kind::BINDING_ERROR => Self::BindingError(BindingError {
                status: reader.u8()?,
                reserved: reader.u8()?,
                home_address: reader.address()?,
                options: MobilityOption::parse_all(header, reader.offset())?,
            }),
            kind => Self::Unknown { kind, data: reader.rest().to_vec() },
        })
    }

    /// Appends what follows the checksum, as far as `limit` octets in all.
    pub(super) fn emit_into(&self, out: &mut Vec<u8>, limit: usize) {
        match self {
            Self::BindingRefreshRequest(message) => out.extend(message.reserved.to_be_bytes()),
            Self::HomeTestInit(message) | Self::CareOfTestInit(message) => {
                out.extend(message.reserved.to_be_bytes());
                out.extend(message.cookie);
            }
            Self::HomeTest(message) | Self::CareOfTest(message) => {
                out.extend(message.nonce_index.to_be_bytes());
                out.extend(message.cookie);
                out.extend(message.token);
            }
            Self::BindingUpdate(message) => {
                out.extend(message.sequence.to_be_bytes());
                out.extend(message.flags.bits().to_be_bytes());
                out.extend(message.lifetime.0.to_be_bytes());
            }
            Self::BindingAcknowledgement(message) => {
                out.extend([message.status.0, message.flags.bits()]);
                out.extend(message.sequence.to_be_bytes());
                out.extend(message.lifetime.0.to_be_bytes());
            }
            Self::BindingError(message) => {
                out.extend([message.status, message.reserved]);
                out.extend(message.home_address.octets());
            }
            Self::Unknown { data, .. } => out.extend(data.iter().take(limit.saturating_sub(out.len()))),
        }
        for option in self.options() {
            let before = out.len();
            option.emit_into(out);
            if out.len() > limit {
                out.truncate(before);
                break;
            }
        }
    }
}

impl TestInit {
    fn parse(reader: &mut Reader<'_>, header: &[u8]) -> Result<Self> {
        Ok(Self {
            reserved: reader.u16()?,
            cookie: reader.array()?,
            options: MobilityOption::parse_all(header, reader.offset())?,
        })
    }
}

impl Test {
    fn parse(reader: &mut Reader<'_>, header: &[u8]) -> Result<Self> {
        Ok(Self {
            nonce_index: reader.u16()?,
            cookie: reader.array()?,
            token: reader.array()?,
            options: MobilityOption::parse_all(header, reader.offset())?,
        })
    }
}
