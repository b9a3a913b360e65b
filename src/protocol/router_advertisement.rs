//! What the agent reads in a Router Advertisement of its home link (RFC 3775 7.1 to 7.4, RFC 4861 4.2): whether the
//! sender is a home agent and how good a one, and which prefixes the link has for how long. Nothing is taken from
//! an advertisement that RFC 4861 6.1.2 calls invalid. Made by `haa`, read by `home_agents` and `home_prefixes`.

use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;

use super::clock::Instant;
use super::limits::NEIGHBOR_DISCOVERY_HOP_LIMIT;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{Icmpv6Message, NeighborOption, prefix_flags, router_flags};

/// The lifetime of a prefix that stands for ever, in seconds (RFC 4861 4.6.2).
pub const INFINITE_LIFETIME: u32 = u32::MAX;

/// The end of something that may also have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// It ends then.
    At(Instant),
    /// It does not end.
    Never,
}

impl Until {
    /// The end of a lifetime of so many seconds that begins at `now`; all ones is for ever.
    pub fn after(now: Instant, seconds: u32) -> Self {
        match seconds {
            INFINITE_LIFETIME => Self::Never,
            seconds => Self::At(now + Duration::from_secs(u64::from(seconds))),
        }
    }

    /// Whole seconds left at `now`; all ones for ever.
    pub fn remaining(self, now: Instant) -> u32 {
        match self {
            Self::Never => INFINITE_LIFETIME,
            Self::At(end) => {
                u32::try_from(end.saturating_since(now).as_secs()).unwrap_or(INFINITE_LIFETIME - 1)
            }
        }
    }

    /// True when it has ended at `now`.
    pub fn is_over(self, now: Instant) -> bool {
        matches!(self, Self::At(end) if end <= now)
    }

    /// The moment, unless there is none.
    pub fn at(self) -> Option<Instant> {
        match self {
            Self::At(end) => Some(end),
            Self::Never => None,
        }
    }
}

/// One Prefix Information option (RFC 4861 4.6.2, RFC 3775 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertisedPrefix {
    pub prefix: Ipv6Net,
    /// See [`prefix_flags`], without reserved bits.
    pub flags: u8,
    /// The router's whole address, when the R flag says that the option holds it.
    pub router_address: Option<Ipv6Addr>,
    /// Seconds; all ones is for ever.
    pub valid_lifetime: u32,
    /// Seconds, not above `valid_lifetime`; all ones is for ever.
    pub preferred_lifetime: u32,
}

/// A valid Router Advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// The sender's link-local address.
    pub router: Ipv6Addr,
    /// The H bit.
    pub is_home_agent: bool,
    /// Of the Home Agent Information option, or 0 (RFC 3775 10.5.1).
    pub preference: i16,
    /// Seconds for which the sender serves as a home agent: of the Home Agent Information option, or the router
    /// lifetime (RFC 3775 10.5.1); 0 ends it.
    pub home_agent_lifetime: u16,
    pub prefixes: Vec<AdvertisedPrefix>,
}

impl RouterAdvertisement {
    /// Reads `message`, which came in `packet` and whose checksum is right. `None` for another message and for an
    /// advertisement that is not valid (RFC 4861 6.1.2): not from a link-local address, forwarded by a router, or
    /// with a code.
    pub fn of(packet: &Packet<'_>, message: &Icmpv6Message) -> Option<Self> {
        let Icmpv6Message::RouterAdvertisement { code: 0, flags, lifetime, options, .. } = message else {
            return None;
        };
        let router = packet.header.source;
        if !router.is_unicast_link_local() || packet.header.hop_limit != NEIGHBOR_DISCOVERY_HOP_LIMIT {
            return None;
        }
        let information = options.iter().find_map(|option| match option {
            NeighborOption::HomeAgentInformation { preference, lifetime, .. } => {
                Some((*preference, *lifetime))
            }
            _ => None,
        });
        let (preference, home_agent_lifetime) = information.unwrap_or((0, *lifetime));
        Some(Self {
            router,
            is_home_agent: flags & router_flags::HOME_AGENT != 0,
            preference,
            home_agent_lifetime,
            prefixes: options.iter().filter_map(AdvertisedPrefix::of).collect(),
        })
    }
}

impl AdvertisedPrefix {
    /// `None` for another option, the link-local prefix, a group, and lifetimes that contradict each other
    /// (RFC 4862 5.5.3).
    fn of(option: &NeighborOption) -> Option<Self> {
        let NeighborOption::PrefixInformation {
            prefix_length,
            flags,
            valid_lifetime,
            preferred_lifetime,
            prefix: field,
            ..
        } = option
        else {
            return None;
        };
        let usable = !field.is_unicast_link_local() && !field.is_multicast() && !field.is_unspecified();
        if !usable || preferred_lifetime > valid_lifetime {
            return None;
        }
        let known = prefix_flags::ON_LINK | prefix_flags::AUTONOMOUS | prefix_flags::ROUTER_ADDRESS;
        Some(Self {
            prefix: Ipv6Net::new(*field, *prefix_length).ok()?.trunc(),
            flags: flags & known,
            router_address: (flags & prefix_flags::ROUTER_ADDRESS != 0).then_some(*field),
            valid_lifetime: *valid_lifetime,
            preferred_lifetime: *preferred_lifetime,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::home_link::{ALL_NODES, icmpv6_packet};
    use crate::wire::icmpv6::Icmpv6;

    const ROUTER: &str = "fe80::1";

    fn message(options: Vec<NeighborOption>) -> Icmpv6Message {
        Icmpv6Message::RouterAdvertisement {
            code: 0,
            hop_limit: 64,
            flags: router_flags::HOME_AGENT,
            lifetime: 1800,
            reachable_time: 0,
            retransmission_timer: 0,
            options,
        }
    }

    fn read(source: &str, hop_limit: u8, message: Icmpv6Message) -> Option<RouterAdvertisement> {
        let source = source.parse().expect("an address");
        let bytes = icmpv6_packet(&source, &ALL_NODES, hop_limit, message);
        let packet = Packet::parse(&bytes).expect("a packet");
        RouterAdvertisement::of(&packet, &Icmpv6::parse(packet.payload()).expect("a message").message)
    }

    fn prefix(field: &str, flags: u8, valid_lifetime: u32, preferred_lifetime: u32) -> NeighborOption {
        let prefix = field.parse().expect("an address");
        NeighborOption::PrefixInformation {
            prefix_length: 64,
            flags,
            valid_lifetime,
            preferred_lifetime,
            reserved: 0,
            prefix,
        }
    }

    #[test]
    fn h131_without_home_agent_information_the_preference_is_0_for_the_router_lifetime() {
        let read = read(ROUTER, 255, message(Vec::new())).expect("a valid advertisement");
        assert_eq!((read.is_home_agent, read.preference, read.home_agent_lifetime), (true, 0, 1800));
    }

    #[test]
    fn h114_h132_home_agent_information_tells_a_signed_preference_and_seconds() {
        let information = NeighborOption::HomeAgentInformation { reserved: 9, preference: -3, lifetime: 60 };
        let read = read(ROUTER, 255, message(vec![information])).expect("a valid advertisement");
        assert_eq!((read.preference, read.home_agent_lifetime), (-3, 60));
    }

    #[test]
    fn h115_home_agent_information_outside_router_advertisements_is_nothing() {
        let options = vec![NeighborOption::HomeAgentInformation { reserved: 0, preference: 3, lifetime: 60 }];
        let solicitation = Icmpv6Message::RouterSolicitation { code: 0, reserved: 0, options };
        assert_eq!(read(ROUTER, 255, solicitation), None);
    }

    #[test]
    fn h117_an_advertisement_interval_changes_nothing() {
        let interval = NeighborOption::AdvertisementInterval { reserved: 0, milliseconds: 1500 };
        assert_eq!(read(ROUTER, 255, message(vec![interval])), read(ROUTER, 255, message(Vec::new())));
    }

    #[test]
    fn what_is_no_valid_advertisement_is_not_read() {
        assert_eq!(read("2001:db8:0:1::1", 255, message(Vec::new())), None);
        assert_eq!(read(ROUTER, 254, message(Vec::new())), None);
        let Icmpv6Message::RouterAdvertisement { hop_limit, flags, lifetime, options, .. } =
            message(Vec::new())
        else {
            panic!("it is one");
        };
        let coded = Icmpv6Message::RouterAdvertisement {
            code: 1,
            hop_limit,
            flags,
            lifetime,
            reachable_time: 0,
            retransmission_timer: 0,
            options,
        };
        assert_eq!(read(ROUTER, 255, coded), None);
    }

    #[test]
    fn prefixes_are_cut_to_their_length_and_contradictions_are_left_out() {
        let options = vec![
            prefix("2001:db8:0:1::3", 0xff, 600, 300),
            prefix("2001:db8:0:2::", 0xc0, 300, 600),
            prefix("fe80::", 0xc0, 600, 300),
            prefix("ff02::1", 0xc0, 600, 300),
        ];
        let read = read(ROUTER, 255, message(options)).expect("a valid advertisement");
        let expected = AdvertisedPrefix {
            prefix: "2001:db8:0:1::/64".parse().expect("a prefix"),
            flags: 0xe0,
            router_address: "2001:db8:0:1::3".parse().ok(),
            valid_lifetime: 600,
            preferred_lifetime: 300,
        };
        assert_eq!(read.prefixes, [expected]);
    }

    #[test]
    fn all_ones_last_for_ever_and_nothing_else_does() {
        let now = Instant::from_start(Duration::from_secs(1000));
        assert_eq!(Until::after(now, u32::MAX), Until::Never);
        assert_eq!(Until::Never.remaining(now), u32::MAX);
        assert_eq!(Until::after(now, 600).remaining(now + Duration::from_millis(500)), 599);
        assert!(Until::after(now, 0).is_over(now));
        assert!(!Until::after(now, u32::MAX - 1).is_over(now));
        assert!(Until::after(now, u32::MAX - 1) < Until::Never);
    }
}
