//! The status of a Binding Acknowledgement, by number and in words.
//! RFC 3775 section 6.1.8, RFC 4285 section 8, RFC 5648 section 4.4.
//! Chosen by the agents and initiators of `protocol`, read by its responders and by the dissection.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_in_the_words_of_the_rfc() {
        assert_eq!(Status(135).to_string(), "Sequence number out of window (135)");
        assert_eq!(Status(0).to_string(), "Binding Update accepted (0)");
        assert_eq!(Status(127).to_string(), "Accepted (127)");
        assert_eq!(Status(255).to_string(), "Refused (255)");
        assert!(Status(127).is_accepted() && !Status(128).is_accepted());
    }
}
