//! The Experimental mobility option and what this crate puts into it: what a responder offers and asks for in a
//! Binding Update, and what an agent grants in a Binding Acknowledgement. RFC 5096 section 4; thesis 4.3;
//! docs/advanced-wire.md is the specification.
//! Parsed and emitted through the options; built and read by `protocol` for the advanced model.

use std::net::Ipv6Addr;

use crate::wire::reader::Reader;
use crate::wire::{Error, ErrorKind, Result};

/// What tells this experiment from others of the same option type.
const MAGIC: [u8; 3] = *b"MGA";
/// The version that this crate speaks. What a later version adds behind the known fields keeps the number.
const VERSION: u8 = 1;
/// The content of an [`Offer`].
const OFFER: u8 = 1;
/// The content of a [`Grant`].
const GRANT: u8 = 2;

/// The content of an Experimental option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Experimental {
    /// In a Binding Update.
    Offer(Offer),
    /// In a Binding Acknowledgement.
    Grant(Grant),
    /// Somebody else's experiment, another version or content of this one, or one cut short: to be skipped.
    Other(Vec<u8>),
}

bitflags::bitflags! {
    /// Extensions of the basic model, wanted or granted; unknown bits are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Extensions: u16 {
        /// Several responders at once: a Binding Update adds (thesis 4.3.1).
        const SEVERAL = 0x8000;
        /// A source stays with the responder that served it first (thesis 4.3.2).
        const AFFINITY = 0x4000;
        /// The agent probes the responder through the tunnel and takes a dead one out.
        const PROBING = 0x2000;
        /// Return routability is steered to the responder that began it.
        const STEERING = 0x1000;
        /// The responder registers with further agents that the acknowledgement names (thesis 4.3.3).
        const AGENTS = 0x0800;
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// What a responder says of itself; unknown bits are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct OfferFlags: u8 {
        /// D: no new sources, please; those that are fixed to this responder stay.
        const DRAIN = 0x80;
        const _ = !0;
    }
}

/// What a responder tells an agent about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub flags: OfferFlags,
    /// What the responder wants switched on.
    pub extensions: Extensions,
    /// The service's own measure, in thousandths; less is better. [`Offer::NO_METRIC`]: none.
    pub metric: u32,
    /// Sources served at most; zero sets no bound.
    pub capacity: u32,
    /// Share of new sources against the other responders'; zero takes none by weight.
    pub weight: u16,
    /// What a later version put behind; kept as it is.
    pub more: Vec<u8>,
}

impl Offer {
    /// No metric is known.
    pub const NO_METRIC: u32 = u32::MAX;
}

impl Default for Offer {
    /// Nothing special: no metric, no bound, weight 1.
    fn default() -> Self {
        Self {
            flags: OfferFlags::empty(),
            extensions: Extensions::empty(),
            metric: Self::NO_METRIC,
            capacity: 0,
            weight: 1,
            more: Vec::new(),
        }
    }
}

/// What an agent answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// What is switched on for this binding.
    pub extensions: Extensions,
    /// Further agents to register with, at most [`Grant::MOST_AGENTS`].
    pub agents: Vec<Ipv6Addr>,
    /// What a later version put behind; kept as it is.
    pub more: Vec<u8>,
}

impl Grant {
    /// So many addresses fit into the option.
    pub const MOST_AGENTS: usize = 15;
}

impl Experimental {
    pub(super) fn parse(data: &[u8]) -> Self {
        Self::understand(data).unwrap_or_else(|_| Self::Other(data.to_vec()))
    }

    /// The content in our own terms, or why it is not ours.
    fn understand(data: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(data);
        let foreign = Error::new(ErrorKind::BadOptionLength, 0);
        if reader.array()? != MAGIC || reader.u8()? != VERSION {
            return Err(foreign);
        }
        let (content, octet, extensions) =
            (reader.u8()?, reader.u8()?, Extensions::from_bits_retain(reader.u16()?));
        match content {
            OFFER => Ok(Self::Offer(Offer {
                flags: OfferFlags::from_bits_retain(octet),
                extensions,
                metric: reader.u32()?,
                capacity: reader.u32()?,
                weight: reader.u16()?,
                more: reader.rest().to_vec(),
            })),
            GRANT => Ok(Self::Grant(Grant {
                extensions,
                agents: (0..octet).map(|_| reader.address()).collect::<Result<_>>()?,
                more: reader.rest().to_vec(),
            })),
            _ => Err(foreign),
        }
    }

    pub(super) fn emit(&self) -> Vec<u8> {
        let mut out = [&MAGIC[..], &[VERSION]].concat();
        match self {
            Self::Offer(offer) => {
                out.extend([OFFER, offer.flags.bits()]);
                out.extend(offer.extensions.bits().to_be_bytes());
                out.extend(offer.metric.to_be_bytes());
                out.extend(offer.capacity.to_be_bytes());
                out.extend(offer.weight.to_be_bytes());
                out.extend(&offer.more);
            }
            Self::Grant(grant) => {
                let agents = || grant.agents.iter().take(Grant::MOST_AGENTS);
                let count = u8::try_from(agents().count()).unwrap_or(u8::MAX);
                out.extend([GRANT, count]);
                out.extend(grant.extensions.bits().to_be_bytes());
                out.extend(agents().flat_map(Ipv6Addr::octets));
                out.extend(&grant.more);
            }
            Self::Other(data) => return data.clone(),
        }
        out
    }
}

impl From<Offer> for Experimental {
    fn from(offer: Offer) -> Self {
        Self::Offer(offer)
    }
}

impl From<Grant> for Experimental {
    fn from(grant: Grant) -> Self {
        Self::Grant(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets of one address.
    const ADDRESS: usize = 16;
    const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 6, 0, 0, 0, 2);

    fn offer() -> Vec<u8> {
        Experimental::from(Offer { metric: 1500, weight: 3, ..Offer::default() }).emit()
    }

    #[test]
    fn what_is_not_ours_or_is_cut_short_is_kept_as_octets() {
        let other = |data: &[u8]| assert_eq!(Experimental::parse(data), Experimental::Other(data.to_vec()));
        for (at, value) in [(0, b'm'), (3, 2), (4, 0), (4, 3)] {
            let mut data = offer();
            data[at] = value;
            other(&data);
        }
        for cut in 0..offer().len() {
            other(&offer()[..cut]);
        }
        let grant = Experimental::from(Grant { agents: vec![AGENT; 2], ..Grant::default() }).emit();
        for cut in 0..grant.len() {
            other(&grant[..cut]);
        }
    }

    #[test]
    fn what_a_later_version_adds_survives() {
        let mut data = offer();
        data.extend([7, 7, 7]);
        let parsed = Experimental::parse(&data);
        let expected = Offer { metric: 1500, weight: 3, more: vec![7; 3], ..Offer::default() };
        assert_eq!(parsed, Experimental::Offer(expected));
        assert_eq!(parsed.emit(), data);
        data[5] |= 0x01;
        data[7] |= 0x01;
        assert_eq!(Experimental::parse(&data).emit(), data, "unknown flags and extensions too");
    }

    #[test]
    fn a_grant_names_at_most_as_many_agents_as_fit() {
        let grant = Grant { agents: vec![AGENT; 20], ..Grant::default() };
        let data = Experimental::Grant(grant).emit();
        assert_eq!(data.len(), 8 + Grant::MOST_AGENTS * ADDRESS);
        assert!(data.len() + ADDRESS > usize::from(u8::MAX));
        let Experimental::Grant(grant) = Experimental::parse(&data) else { panic!("a grant") };
        assert_eq!(grant.agents, [AGENT; Grant::MOST_AGENTS]);
    }
}
