//! The eight messages of the Mobility Header.
//! RFC 3775 sections 6.1.2 to 6.1.9, with the mobile router flags of RFC 3963.
//! Built and read by `protocol`; parsed and emitted through the header.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::header::kind;
use super::options::MobilityOption;
use crate::wire::Result;
use crate::wire::reader::Reader;

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

/// A time on the wire, in units of 4 seconds (RFC 3775 section 6.1.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(pub u16);

impl Lifetime {
    /// No time: deletes a binding.
    pub const ZERO: Self = Self(0);
    /// Seconds in a unit.
    pub const UNIT: u32 = 4;

    /// As many units as fit into `seconds`, at most 65535 (262140 seconds).
    pub fn from_seconds(seconds: u32) -> Self {
        Self(u16::try_from(seconds / Self::UNIT).unwrap_or(u16::MAX))
    }

    /// In seconds.
    pub fn seconds(self) -> u32 {
        u32::from(self.0) * Self::UNIT
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.seconds().into())
    }
}

impl fmt::Display for Lifetime {
    /// In seconds, with their unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.seconds())
    }
}

/// The status of a Binding Acknowledgement (RFC 3775 section 6.1.8; RFC 4285 section 8, RFC 5648 section 4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(pub u8);

impl Status {
    /// Binding Update accepted.
    pub const ACCEPTED: Self = Self(0);
    /// Accepted but prefix discovery necessary.
    pub const ACCEPTED_PREFIX_DISCOVERY: Self = Self(1);
    /// MCOA NOTCOMPLETE: not all of several bindings were accepted.
    pub const MCOA_NOT_COMPLETE: Self = Self(4);
    /// MCOA RETURNHOME WO/NDP: the home address must not be used with neighbour discovery.
    pub const MCOA_RETURN_HOME_WITHOUT_NDP: Self = Self(5);
    /// Reason unspecified.
    pub const REASON_UNSPECIFIED: Self = Self(128);
    /// Administratively prohibited.
    pub const ADMINISTRATIVELY_PROHIBITED: Self = Self(129);
    /// Insufficient resources.
    pub const INSUFFICIENT_RESOURCES: Self = Self(130);
    /// Home registration not supported.
    pub const HOME_REGISTRATION_NOT_SUPPORTED: Self = Self(131);
    /// Not home subnet.
    pub const NOT_HOME_SUBNET: Self = Self(132);
    /// Not home agent for this mobile node.
    pub const NOT_HOME_AGENT: Self = Self(133);
    /// Duplicate Address Detection failed.
    pub const DUPLICATE_ADDRESS: Self = Self(134);
    /// Sequence number out of window; the sequence number is the last one accepted.
    pub const SEQUENCE_OUT_OF_WINDOW: Self = Self(135);
    /// Expired home nonce index.
    pub const EXPIRED_HOME_NONCE: Self = Self(136);
    /// Expired care-of nonce index.
    pub const EXPIRED_CARE_OF_NONCE: Self = Self(137);
    /// Expired nonces.
    pub const EXPIRED_NONCES: Self = Self(138);
    /// Registration type change disallowed.
    pub const REGISTRATION_TYPE_CHANGE: Self = Self(139);
    /// MIPV6-ID-MISMATCH: the timestamp is not close enough, or not greater than all before it.
    pub const ID_MISMATCH: Self = Self(144);
    /// MIPV6-MESG-ID-REQD: a timestamp is required.
    pub const MESSAGE_ID_REQUIRED: Self = Self(145);
    /// MIPV6-AUTH-FAIL: the proof is wrong.
    pub const AUTHENTICATION_FAILED: Self = Self(146);
    /// MCOA MALFORMED: the Binding Identifier option is not formed as it should be.
    pub const MCOA_MALFORMED: Self = Self(164);
    /// MCOA NON-MCOA BINDING EXISTS: there is a binding without Binding Identifier.
    pub const MCOA_NON_MCOA_BINDING_EXISTS: Self = Self(165);
    /// MCOA PROHIBITED: several bindings are administratively prohibited.
    pub const MCOA_PROHIBITED: Self = Self(166);
    /// MCOA UNKNOWN COA: no care-of address is given nor known for this Binding Identifier.
    pub const MCOA_UNKNOWN_CARE_OF: Self = Self(167);
    /// MCOA BULK REGISTRATION PROHIBITED: several bindings in one message are not supported.
    pub const MCOA_BULK_PROHIBITED: Self = Self(168);
    /// MCOA SIMULTANEOUS HOME AND FOREIGN PROHIBITED.
    pub const MCOA_HOME_AND_FOREIGN_PROHIBITED: Self = Self(169);

    /// True below 128.
    pub fn is_accepted(self) -> bool {
        self.0 < 128
    }

    /// The words of RFC 3775 section 6.1.8, RFC 4285 section 8 and RFC 5648 section 4.4, for the values they define.
    pub fn phrase(self) -> Option<&'static str> {
        Some(match self {
            Self::ACCEPTED => "Binding Update accepted",
            Self::ACCEPTED_PREFIX_DISCOVERY => "Accepted but prefix discovery necessary",
            Self::MCOA_NOT_COMPLETE => "MCOA NOTCOMPLETE",
            Self::MCOA_RETURN_HOME_WITHOUT_NDP => "MCOA RETURNHOME WO/NDP",
            Self::REASON_UNSPECIFIED => "Reason unspecified",
            Self::ADMINISTRATIVELY_PROHIBITED => "Administratively prohibited",
            Self::INSUFFICIENT_RESOURCES => "Insufficient resources",
            Self::HOME_REGISTRATION_NOT_SUPPORTED => "Home registration not supported",
            Self::NOT_HOME_SUBNET => "Not home subnet",
            Self::NOT_HOME_AGENT => "Not home agent for this mobile node",
            Self::DUPLICATE_ADDRESS => "Duplicate Address Detection failed",
            Self::SEQUENCE_OUT_OF_WINDOW => "Sequence number out of window",
            Self::EXPIRED_HOME_NONCE => "Expired home nonce index",
            Self::EXPIRED_CARE_OF_NONCE => "Expired care-of nonce index",
            Self::EXPIRED_NONCES => "Expired nonces",
            Self::REGISTRATION_TYPE_CHANGE => "Registration type change disallowed",
            Self::ID_MISMATCH => "MIPV6-ID-MISMATCH",
            Self::MESSAGE_ID_REQUIRED => "MIPV6-MESG-ID-REQD",
            Self::AUTHENTICATION_FAILED => "MIPV6-AUTH-FAIL",
            Self::MCOA_MALFORMED => "MCOA MALFORMED",
            Self::MCOA_NON_MCOA_BINDING_EXISTS => "MCOA NON-MCOA BINDING EXISTS",
            Self::MCOA_PROHIBITED => "MCOA PROHIBITED",
            Self::MCOA_UNKNOWN_CARE_OF => "MCOA UNKNOWN COA",
            Self::MCOA_BULK_PROHIBITED => "MCOA BULK REGISTRATION PROHIBITED",
            Self::MCOA_HOME_AND_FOREIGN_PROHIBITED => "MCOA SIMULTANEOUS HOME AND FOREIGN PROHIBITED",
            _ => return None,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.phrase() {
            Some(phrase) => write!(f, "{phrase} ({})", self.0),
            None if self.is_accepted() => write!(f, "Accepted ({})", self.0),
            None => write!(f, "Refused ({})", self.0),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_counts_units_of_four_seconds_rounded_down() {
        assert_eq!(Lifetime::from_seconds(43), Lifetime(10));
        assert_eq!(Lifetime(10).seconds(), 40);
        assert_eq!(Lifetime::from_seconds(3), Lifetime::ZERO);
        assert_eq!(Lifetime::from_seconds(u32::MAX), Lifetime(u16::MAX));
        assert_eq!(Lifetime(u16::MAX).duration(), Duration::from_secs(262_140));
    }

    #[test]
    fn statuses_are_told_in_the_words_of_the_rfc() {
        assert_eq!(Status(135).to_string(), "Sequence number out of window (135)");
        assert_eq!(Status(0).to_string(), "Binding Update accepted (0)");
        assert_eq!(Status(127).to_string(), "Accepted (127)");
        assert_eq!(Status(255).to_string(), "Refused (255)");
        assert!(Status(127).is_accepted() && !Status(128).is_accepted());
    }
}
