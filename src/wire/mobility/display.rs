//! Mobility messages and options as text, in the order and words of tcpdump.
//! The fields are those of RFC 3775 sections 6.1 and 6.2; lifetimes are told in seconds, padding not at all.
//! Used by the dissection and by whoever logs a message.

use std::fmt;

use super::{
    AcknowledgementFlags, Experimental, Message, MobilityHeader, MobilityOption, OfferFlags, UpdateFlags,
};

/// Eight octets as two hexadecimal words.
struct Words([u8; 8]);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u64::from_be_bytes(self.0);
        write!(f, "{:08x}:{:08x}", value >> 32, value & 0xffff_ffff)
    }
}

impl fmt::Display for MobilityHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mobility: {}", self.message)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BindingRefreshRequest(_) => write!(f, "BRR")?,
            Self::HomeTestInit(init) => write!(f, "HoTI Home Init Cookie={}", Words(init.cookie))?,
            Self::CareOfTestInit(init) => write!(f, "CoTI Care-of Init Cookie={}", Words(init.cookie))?,
            Self::HomeTest(test) => write!(
                f,
                "HoT nonce id=0x{:x} Home Init Cookie={} Home Keygen Token={}",
                test.nonce_index,
                Words(test.cookie),
                Words(test.token)
            )?,
            Self::CareOfTest(test) => write!(
                f,
                "CoT nonce id=0x{:x} Care-of Init Cookie={} Care-of Keygen Token={}",
                test.nonce_index,
                Words(test.cookie),
                Words(test.token)
            )?,
            Self::BindingUpdate(update) => {
                write!(f, "BU seq#={}", update.sequence)?;
                let mut separator = " ";
                for (flag, letter) in [
                    (UpdateFlags::ACKNOWLEDGE, 'A'),
                    (UpdateFlags::HOME_REGISTRATION, 'H'),
                    (UpdateFlags::LINK_LOCAL, 'L'),
                    (UpdateFlags::KEY_MANAGEMENT, 'K'),
                    (UpdateFlags::MOBILE_ROUTER, 'R'),
                    (UpdateFlags::OVERWRITE, 'O'),
                ] {
                    if update.flags.contains(flag) {
                        write!(f, "{separator}{letter}")?;
                        separator = "";
                    }
                }
                write!(f, " lifetime={}", update.lifetime.seconds())?;
            }
            Self::BindingAcknowledgement(acknowledgement) => {
                write!(f, "BA status={}", acknowledgement.status.0)?;
                let mut separator = " ";
                for (flag, letter) in
                    [(AcknowledgementFlags::KEY_MANAGEMENT, 'K'), (AcknowledgementFlags::MOBILE_ROUTER, 'R')]
                {
                    if acknowledgement.flags.contains(flag) {
                        write!(f, "{separator}{letter}")?;
                        separator = "";
                    }
                }
                let (sequence, lifetime) = (acknowledgement.sequence, acknowledgement.lifetime.seconds());
                write!(f, " seq#={sequence} lifetime={lifetime}")?;
            }
            Self::BindingError(error) => {
                write!(f, "BE status={} homeaddr {}", error.status, error.home_address)?;
            }
            Self::Unknown { kind, data } => write!(f, "type-#{kind} len={}", data.len() + 6)?,
        }
        let mut separator = " ";
        for option in self.options().iter().filter(|option| !option.is_padding()) {
            write!(f, "{separator}{option}")?;
            separator = "";
        }
        Ok(())
    }
}

impl fmt::Display for MobilityOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pad1 => write!(f, "(pad1)"),
            Self::PadN(_) => write!(f, "(padn)"),
            Self::BindingRefreshAdvice(interval) => write!(f, "(refresh: {})", interval.seconds()),
            Self::AlternateCareOfAddress(address) => write!(f, "(alt-CoA: {address})"),
            Self::NonceIndices { home, care_of } => write!(f, "(ni: ho=0x{home:04x} co=0x{care_of:04x})"),
            Self::BindingAuthorizationData(_) => write!(f, "(auth)"),
            Self::MobileNodeIdentifier(node) => {
                write!(f, "(mn-id: {})", node.identifier.escape_ascii())
            }
            Self::MessageAuthentication(proof) => write!(f, "(mn-auth: spi={})", proof.spi),
            Self::ReplayProtection(timestamp) => write!(f, "(timestamp: {timestamp})"),
            Self::BindingIdentifier(identifier) => {
                write!(f, "(bid: {}", identifier.bid)?;
                if identifier.status.0 != 0 {
                    write!(f, " status={}", identifier.status.0)?;
                }
                match identifier.care_of {
                    Some(address) => write!(f, " CoA={address})"),
                    None => write!(f, ")"),
                }
            }
            Self::Experimental(Experimental::Offer(offer)) => {
                write!(f, "(offer: metric={} weight={}", offer.metric, offer.weight)?;
                f.write_str(if offer.flags.contains(OfferFlags::DRAIN) { " D)" } else { ")" })
            }
            Self::Experimental(Experimental::Grant(grant)) => {
                write!(f, "(grant: 0x{:04x}", grant.extensions.bits())?;
                grant.agents.iter().try_for_each(|agent| write!(f, " {agent}"))?;
                write!(f, ")")
            }
            Self::Experimental(Experimental::Other(data)) => write!(f, "(experimental: len={})", data.len()),
            Self::Unknown { kind, data } => write!(f, "(type-0x{kind:02x}: len={})", data.len()),
        }
    }
}
