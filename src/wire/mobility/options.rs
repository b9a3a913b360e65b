//! The options of mobility messages, and the padding that their alignment needs.
//! RFC 3775 section 6.2, and the options of RFC 4283, 4285, 5096 and 5648, whose content has files of its own.
//! Built and read by `protocol`; parsed and emitted through the messages.

use std::net::Ipv6Addr;

use super::authentication::{MessageAuthentication, NodeIdentifier, Timestamp};
use super::binding_identifier::BindingIdentifier;
use super::experimental::Experimental;
use super::lifetime::Lifetime;
use crate::wire::Result;
use crate::wire::reader::Reader;
use crate::wire::tlv::{self, PAD1, PADN, Tlv, Tlvs};

/// The mobility option types this crate knows.
pub mod option_kind {
    /// Binding Refresh Advice (RFC 3775 section 6.2.4).
    pub const BINDING_REFRESH_ADVICE: u8 = 2;
    /// Alternate Care-of Address (RFC 3775 section 6.2.5).
    pub const ALTERNATE_CARE_OF_ADDRESS: u8 = 3;
    /// Nonce Indices (RFC 3775 section 6.2.6).
    pub const NONCE_INDICES: u8 = 4;
    /// Binding Authorization Data (RFC 3775 section 6.2.7).
    pub const BINDING_AUTHORIZATION_DATA: u8 = 5;
    /// Mobile Network Prefix (RFC 3963 section 4.3); known by its alignment only.
    pub const MOBILE_NETWORK_PREFIX: u8 = 6;
    /// Mobile Node Identifier (RFC 4283 section 3).
    pub const MOBILE_NODE_IDENTIFIER: u8 = 8;
    /// Mobility Message Authentication (RFC 4285 section 5).
    pub const MESSAGE_AUTHENTICATION: u8 = 9;
    /// Mobility Message Replay Protection (RFC 4285 section 6).
    pub const REPLAY_PROTECTION: u8 = 10;
    /// Experimental (RFC 5096 section 4).
    pub const EXPERIMENTAL: u8 = 18;
    /// Binding Identifier (RFC 5648 section 4.3).
    pub const BINDING_IDENTIFIER: u8 = 35;
}

/// An option of a mobility message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MobilityOption {
    /// One octet of padding.
    Pad1,
    /// Padding: the octets after type and length, zero if the sender is well-behaved.
    PadN(Vec<u8>),
    /// When the mobile node should refresh the binding.
    BindingRefreshAdvice(Lifetime),
    /// The care-of address, when it is not the packet's source.
    AlternateCareOfAddress(Ipv6Addr),
    /// Which nonces made the keygen tokens.
    NonceIndices {
        /// Home nonce index.
        home: u16,
        /// Care-of nonce index.
        care_of: u16,
    },
    /// The authenticator, 12 octets in return routability; the last option of its message.
    BindingAuthorizationData(Vec<u8>),
    /// Who sends the message (RFC 4283).
    MobileNodeIdentifier(NodeIdentifier),
    /// The proof of who sent it, the last option of its message (RFC 4285).
    MessageAuthentication(MessageAuthentication),
    /// When it was sent (RFC 4285).
    ReplayProtection(Timestamp),
    /// Content of an experiment, perhaps ours (RFC 5096).
    Experimental(Experimental),
    /// Which of several bindings this is about (RFC 5648).
    BindingIdentifier(BindingIdentifier),
    /// Any other option, which a receiver skips; of the options of RFC 4283, 4285 and 5648 those too whose length
    /// is not one that their type has.
    Unknown {
        /// Option type, above 5.
        kind: u8,
        /// At most 255 octets.
        data: Vec<u8>,
    },
}

impl MobilityOption {
    /// The option type.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Pad1 => PAD1,
            Self::PadN(_) => PADN,
            Self::BindingRefreshAdvice(_) => option_kind::BINDING_REFRESH_ADVICE,
            Self::AlternateCareOfAddress(_) => option_kind::ALTERNATE_CARE_OF_ADDRESS,
            Self::NonceIndices { .. } => option_kind::NONCE_INDICES,
            Self::BindingAuthorizationData(_) => option_kind::BINDING_AUTHORIZATION_DATA,
            Self::MobileNodeIdentifier(_) => option_kind::MOBILE_NODE_IDENTIFIER,
            Self::MessageAuthentication(_) => option_kind::MESSAGE_AUTHENTICATION,
            Self::ReplayProtection(_) => option_kind::REPLAY_PROTECTION,
            Self::Experimental(_) => option_kind::EXPERIMENTAL,
            Self::BindingIdentifier(_) => option_kind::BINDING_IDENTIFIER,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// True for Pad1 and PadN.
    pub fn is_padding(&self) -> bool {
        matches!(self, Self::Pad1 | Self::PadN(_))
    }

    /// The options of `header` from `start` to its end.
    pub(super) fn parse_all(header: &[u8], start: usize) -> Result<Vec<Self>> {
        Tlvs::new(header, start).map(|option| Self::from_tlv(option?)).collect()
    }

    fn from_tlv(option: Tlv<'_>) -> Result<Self> {
        let data = option.data;
        let mut reader = Reader::new(data);
        let wants = |length| if data.len() == length { Ok(()) } else { Err(option.bad_length()) };
        Ok(match option.kind {
            PAD1 => Self::Pad1,
            PADN => Self::PadN(data.to_vec()),
            option_kind::BINDING_REFRESH_ADVICE => {
                wants(2)?;
                Self::BindingRefreshAdvice(Lifetime(reader.u16()?))
            }
            option_kind::ALTERNATE_CARE_OF_ADDRESS => {
                wants(16)?;
                Self::AlternateCareOfAddress(reader.address()?)
            }
            option_kind::NONCE_INDICES => {
                wants(4)?;
                Self::NonceIndices { home: reader.u16()?, care_of: reader.u16()? }
            }
            option_kind::BINDING_AUTHORIZATION_DATA => Self::BindingAuthorizationData(data.to_vec()),
            kind => {
                Self::of_later_rfc(kind, data).unwrap_or_else(|| Self::Unknown { kind, data: data.to_vec() })
            }
        })
    }

    /// The options that a node of RFC 3775 alone skips, and that therefore cannot be wrong: one whose length does not
    /// fit is none of these.
    fn of_later_rfc(kind: u8, data: &[u8]) -> Option<Self> {
        match kind {
            option_kind::MOBILE_NODE_IDENTIFIER => {
                NodeIdentifier::parse(data).map(Self::MobileNodeIdentifier)
            }
            option_kind::MESSAGE_AUTHENTICATION => {
                MessageAuthentication::parse(data).map(Self::MessageAuthentication)
            }
            option_kind::REPLAY_PROTECTION => {
                let octets = data.try_into().ok()?;
                Some(Self::ReplayProtection(Timestamp(u64::from_be_bytes(octets))))
            }
            option_kind::EXPERIMENTAL => Some(Self::Experimental(Experimental::parse(data))),
            option_kind::BINDING_IDENTIFIER => BindingIdentifier::parse(data).map(Self::BindingIdentifier),
            _ => None,
        }
    }

    /// Appends type, length and data; data beyond 255 octets is cut off.
    pub(super) fn emit_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::Pad1 => out.push(PAD1),
            Self::PadN(data) | Self::BindingAuthorizationData(data) | Self::Unknown { data, .. } => {
                tlv::push(out, self.kind(), data);
            }
            Self::BindingRefreshAdvice(interval) => tlv::push(out, self.kind(), &interval.0.to_be_bytes()),
            Self::AlternateCareOfAddress(address) => tlv::push(out, self.kind(), &address.octets()),
            Self::NonceIndices { home, care_of } => {
                let [[a, b], [c, d]] = [home.to_be_bytes(), care_of.to_be_bytes()];
                tlv::push(out, self.kind(), &[a, b, c, d]);
            }
            Self::MobileNodeIdentifier(content) => tlv::push(out, self.kind(), &content.emit()),
            Self::MessageAuthentication(content) => tlv::push(out, self.kind(), &content.emit()),
            Self::ReplayProtection(timestamp) => tlv::push(out, self.kind(), &timestamp.0.to_be_bytes()),
            Self::Experimental(content) => tlv::push(out, self.kind(), &content.emit()),
            Self::BindingIdentifier(content) => tlv::push(out, self.kind(), &content.emit()),
        }
    }

    /// Octets on the wire.
    pub fn length(&self) -> usize {
        let mut out = Vec::new();
        self.emit_into(&mut out);
        out.len()
    }

    /// The x and y of "xn + y", the place where the option may begin.
    fn alignment(&self) -> (usize, usize) {
        match self {
            Self::AlternateCareOfAddress(_) => (8, 6),
            Self::NonceIndices { .. } | Self::BindingRefreshAdvice(_) => (2, 0),
            // It ends the message, so it must end on a multiple of eight: at 8n + 2 for twelve octets.
            Self::BindingAuthorizationData(_) => (8, tlv::to_eight(self.length())),
            // At 4n + 1, so that the SPI is aligned; and with its twelve octets it ends the message: 8n + 5.
            Self::MessageAuthentication(content) if content.data.len() == 12 => (8, 5),
            Self::MessageAuthentication(_) => (4, 1),
            Self::ReplayProtection(_) => (8, 2),
            Self::Experimental(_) => (4, 2),
            Self::BindingIdentifier(content) if content.care_of.is_some() => (8, 2),
            Self::BindingIdentifier(_) => (2, 0),
            Self::Unknown { kind: option_kind::MOBILE_NETWORK_PREFIX, .. } => (8, 4),
            _ => (1, 0),
        }
    }
}

/// The options with the padding that their alignment needs (RFC 3775 section 6.2) when they follow a fixed
/// part of `offset` octets, counted from the start of the Mobility Header, and padding to a multiple of
/// eight after them. Padding among `options` is dropped first, and authentication goes last, where it must be: that
/// of RFC 4285 before a Binding Authorization Data option.
pub fn align(offset: usize, options: &[MobilityOption]) -> Vec<MobilityOption> {
    let place = |option: &&MobilityOption| match option {
        MobilityOption::BindingAuthorizationData(_) => 2,
        MobilityOption::MessageAuthentication(_) => 1,
        _ => 0,
    };
    let mut ordered: Vec<_> = options.iter().filter(|option| !option.is_padding()).collect();
    ordered.sort_by_key(place);
    let (mut at, mut aligned) = (offset, Vec::new());
    let pad = |aligned: &mut Vec<MobilityOption>, count: usize| match count {
        0 => {}
        1 => aligned.push(MobilityOption::Pad1),
        _ => aligned.push(MobilityOption::PadN(vec![0; count - 2])),
    };
    for option in ordered {
        let (modulus, remainder) = option.alignment();
        let padding = (modulus + remainder - at % modulus) % modulus;
        pad(&mut aligned, padding);
        at += padding + option.length();
        aligned.push(option.clone());
    }
    pad(&mut aligned, tlv::to_eight(at));
    aligned
}

#[cfg(test)]
mod tests {
    use super::MobilityOption::*;
    use super::*;

    #[test]
    fn an_alternate_care_of_address_begins_at_8n_plus_6() {
        let address = AlternateCareOfAddress(Ipv6Addr::LOCALHOST);
        let aligned = align(12, std::slice::from_ref(&address));
        assert_eq!(aligned, [PadN(vec![]), address]);
    }

    #[test]
    fn nonce_indices_and_authorization_fill_an_update_without_padding() {
        let options = [NonceIndices { home: 1, care_of: 2 }, BindingAuthorizationData(vec![7; 12])];
        assert_eq!(align(12, &options), options);
    }

    #[test]
    fn authorization_alone_is_preceded_by_six_octets_and_followed_by_none() {
        let authorization = BindingAuthorizationData(vec![7; 12]);
        let aligned = align(12, std::slice::from_ref(&authorization));
        assert_eq!(aligned, [PadN(vec![0; 4]), authorization]);
    }

    #[test]
    fn authorization_goes_last_and_ends_on_a_multiple_of_eight_whatever_its_length() {
        for length in 0..=40 {
            let options = [BindingAuthorizationData(vec![7; length]), BindingRefreshAdvice(Lifetime(3))];
            let aligned = align(12, &options);
            assert_eq!(aligned.last(), options.first());
            assert_eq!((12 + aligned.iter().map(MobilityOption::length).sum::<usize>()) % 8, 0);
        }
    }

    #[test]
    fn the_tail_is_padded_and_padding_given_is_dropped() {
        let options = [Pad1, BindingRefreshAdvice(Lifetime(5)), PadN(vec![0; 9])];
        assert_eq!(align(12, &options), [BindingRefreshAdvice(Lifetime(5))]);
        let odd = Unknown { kind: 200, data: vec![1] };
        let options = [odd.clone(), BindingRefreshAdvice(Lifetime(5))];
        let aligned = align(12, &options);
        assert_eq!(aligned, [odd, Pad1, BindingRefreshAdvice(Lifetime(5)), PadN(vec![0; 2])]);
    }

    #[test]
    fn a_binding_identifier_is_aligned_by_whether_it_carries_an_address() {
        let bare = BindingIdentifier(super::BindingIdentifier::of(7));
        assert_eq!(align(12, std::slice::from_ref(&bare)), [bare, PadN(vec![0; 4])]);
        let care_of = Some(Ipv6Addr::LOCALHOST.into());
        let full = BindingIdentifier(super::BindingIdentifier { care_of, ..super::BindingIdentifier::of(7) });
        assert_eq!(align(12, std::slice::from_ref(&full)), [PadN(vec![0; 4]), full]);
    }

    #[test]
    fn a_length_that_its_type_does_not_have_leaves_an_option_unknown() {
        for (kind, lengths) in
            [(8, vec![0]), (9, vec![0, 4]), (10, vec![0, 7, 9]), (35, vec![0, 3, 5, 19, 21])]
        {
            for length in lengths {
                let mut header = vec![kind, length];
                header.resize(2 + usize::from(length), 0xa5);
                let data = vec![0xa5; length.into()];
                assert_eq!(MobilityOption::parse_all(&header, 0), Ok(vec![Unknown { kind, data }]));
            }
        }
    }

    #[test]
    fn the_proof_is_aligned_and_ends_the_message() {
        let proof = super::MessageAuthentication { subtype: 1, spi: 256, data: vec![7; 12] };
        let proof = MessageAuthentication(proof);
        for length in 0..=9 {
            let before = Unknown { kind: 200, data: vec![0; length] };
            let aligned = align(12, &[proof.clone(), before]);
            assert_eq!(aligned.last(), Some(&proof));
            let end = 12 + aligned.iter().map(MobilityOption::length).sum::<usize>();
            assert_eq!((end % 8, (end - proof.length()) % 4), (0, 1));
        }
    }
}
