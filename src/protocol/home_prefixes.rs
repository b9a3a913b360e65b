//! The prefixes of the home link and how long they are good (RFC 3775 10.3.1, 10.6.1, 10.6.4; RFC 4861's Prefix
//! List): those of the configuration, for ever until an advertisement says otherwise, and those that routers of
//! the link advertise. They decide which anycast address is at home here, how long a binding may live and when
//! status 1 is due. Kept by `haa`, told to responders by `prefix_discovery`.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;

use super::clock::Instant;
use super::router_advertisement::{INFINITE_LIFETIME, RouterAdvertisement, Until};
use crate::wire::icmpv6::{NeighborOption, prefix_flags};
use crate::wire::mobility::{Lifetime, Status};

/// Prefixes that fit with their 32 octets each into one Mobile Prefix Advertisement of 1280 octets: less the IPv6
/// header, the type 2 routing header and eight octets of ICMPv6.
const MOST_PREFIXES: usize = (1280 - 40 - 24 - 8) / 32;
/// Lifetimes that run down with time may differ by this much without being a change.
const CLOCK_SLACK: Duration = Duration::from_secs(5);
/// The flags of a prefix that nobody has advertised yet.
const CONFIGURED_FLAGS: u8 = prefix_flags::ON_LINK | prefix_flags::AUTONOMOUS;

/// One prefix of the home link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HomePrefix {
    flags: u8,
    valid: Until,
    preferred: Until,
    /// The last lifetimes advertised, in seconds.
    advertised: (u32, u32),
    /// It comes back with the next advertisement, and is no news to be added.
    configured: bool,
    /// Its end has been dealt with.
    has_ended: bool,
}

/// The prefixes of one home link.
#[derive(Clone, Debug)]
pub struct HomePrefixes {
    prefixes: BTreeMap<Ipv6Net, HomePrefix>,
}

impl HomePrefixes {
    /// The configured prefixes, valid and preferred for ever.
    pub fn new(configured: &[Ipv6Net]) -> Self {
        let endless = HomePrefix {
            flags: CONFIGURED_FLAGS,
            valid: Until::Never,
            preferred: Until::Never,
            advertised: (INFINITE_LIFETIME, INFINITE_LIFETIME),
            configured: true,
            has_ended: false,
        };
        Self { prefixes: configured.iter().map(|prefix| (prefix.trunc(), endless)).collect() }
    }

    /// Takes the on-link prefixes of an advertisement in. Returns those that are new or whose flags or lifetimes
    /// changed otherwise than by time passing (RFC 3775 10.6.2).
    pub fn learn(&mut self, now: Instant, heard: &RouterAdvertisement) -> Vec<Ipv6Net> {
        let mut changed = Vec::new();
        for found in &heard.prefixes {
            let has_room = self.prefixes.len() < MOST_PREFIXES;
            if found.flags & prefix_flags::ON_LINK == 0 {
                continue;
            }
            let advertised = (found.valid_lifetime, found.preferred_lifetime);
            let (valid, preferred) = (Until::after(now, advertised.0), Until::after(now, advertised.1));
            let flags = found.flags & CONFIGURED_FLAGS;
            match self.prefixes.get_mut(&found.prefix) {
                Some(known) => {
                    let was_over = known.valid.is_over(now);
                    let runs_down = is_about(known.valid, valid) && is_about(known.preferred, preferred);
                    let same = known.flags == flags && (known.advertised == advertised || runs_down);
                    if !same || was_over != valid.is_over(now) {
                        changed.push(found.prefix);
                    }
                    let configured = known.configured;
                    *known = HomePrefix { flags, valid, preferred, advertised, configured, has_ended: false };
                }
                None if found.valid_lifetime > 0 && has_room => {
                    let new = HomePrefix {
                        flags,
                        valid,
                        preferred,
                        advertised,
                        configured: false,
                        has_ended: false,
                    };
                    self.prefixes.insert(found.prefix, new);
                    changed.push(found.prefix);
                }
                None => {}
            }
        }
        changed
    }

    /// Forgets prefixes that were only learned and are no longer valid. True when one has ended since the last call.
    pub fn expire(&mut self, now: Instant) -> bool {
        let mut ended = false;
        for prefix in self.prefixes.values_mut().filter(|prefix| !prefix.has_ended) {
            prefix.has_ended = prefix.valid.is_over(now);
            ended |= prefix.has_ended;
        }
        self.prefixes.retain(|_, prefix| prefix.configured || !prefix.has_ended);
        ended
    }

    /// When the next prefix ends that [`HomePrefixes::expire`] has not seen end.
    pub fn next_expiry(&self) -> Option<Instant> {
        let lasting = self.prefixes.values().filter(|prefix| !prefix.has_ended);
        lasting.filter_map(|prefix| prefix.valid.at()).min()
    }

    /// The longest valid prefix that `address` is in.
    pub fn of(&self, now: Instant, address: &Ipv6Addr) -> Option<Ipv6Net> {
        self.find(now, address).map(|(prefix, _)| prefix)
    }

    /// What a binding of `address` is granted that asks for `wanted`: never more than the prefix is valid, and
    /// status 1 when the prefix is deprecated before the binding ends or ends with it; all compared in units of
    /// four seconds (RFC 3775 10.3.1). The preferred lifetime does not shorten the binding. `None` when the
    /// address is in no valid prefix, or in one that has less than a unit left.
    pub fn grant(&self, now: Instant, address: &Ipv6Addr, wanted: Lifetime) -> Option<(Lifetime, Status)> {
        let (_, prefix) = self.find(now, address)?;
        let Until::At(_) = prefix.valid.min(prefix.preferred) else {
            return Some((wanted, Status::ACCEPTED));
        };
        // Lifetimes that the 16-bit field cannot hold are longer than any binding.
        let units = |until: Until| until.remaining(now) / Lifetime::UNIT;
        let (valid, preferred) = (units(prefix.valid), units(prefix.preferred));
        let granted = wanted.min(Lifetime(u16::try_from(valid).unwrap_or(u16::MAX)));
        if granted == Lifetime::ZERO {
            return None;
        }
        let binding = u32::from(granted.0);
        let discovery_needed = preferred < binding || valid <= binding;
        let status = if discovery_needed { Status::ACCEPTED_PREFIX_DISCOVERY } else { Status::ACCEPTED };
        Some((granted, status))
    }

    /// The shortest preferred lifetime left among the valid prefixes, in seconds; all ones for ever.
    pub fn shortest_preferred(&self, now: Instant) -> u32 {
        let valid = self.prefixes.values().filter(|prefix| !prefix.valid.is_over(now));
        valid.map(|prefix| prefix.preferred.remaining(now)).min().unwrap_or(INFINITE_LIFETIME)
    }

    /// The Prefix Information options of a Mobile Prefix Advertisement (RFC 3775 6.8, 10.6.3): every valid prefix
    /// with the lifetimes left, and with the R flag and the agent's whole address where the agent has one.
    pub fn options(&self, now: Instant, agent: &Ipv6Addr) -> Vec<NeighborOption> {
        let valid = self.prefixes.iter().filter(|(_, state)| !state.valid.is_over(now));
        let option = |(prefix, state): (&Ipv6Net, &HomePrefix)| {
            let of_agent = prefix.contains(agent);
            NeighborOption::PrefixInformation {
                prefix_length: prefix.prefix_len(),
                flags: if of_agent { state.flags | prefix_flags::ROUTER_ADDRESS } else { state.flags },
                valid_lifetime: state.valid.remaining(now),
                preferred_lifetime: state.preferred.remaining(now),
                reserved: 0,
                prefix: if of_agent { *agent } else { prefix.network() },
            }
        };
        valid.map(option).take(MOST_PREFIXES).collect()
    }

    fn find(&self, now: Instant, address: &Ipv6Addr) -> Option<(Ipv6Net, &HomePrefix)> {
        let valid = self.prefixes.iter().filter(|(_, state)| !state.valid.is_over(now));
        let holding = valid.filter(|(prefix, _)| prefix.contains(address));
        holding.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(prefix, state)| (*prefix, state))
    }
}

/// True for ends that are the same but for the clocks and the delays of a link.
fn is_about(one: Until, other: Until) -> bool {
    match (one, other) {
        (Until::At(one), Until::At(other)) => {
            one.saturating_since(other).max(other.saturating_since(one)) <= CLOCK_SLACK
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::router_advertisement::AdvertisedPrefix;

    const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
    const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    fn net(text: &str) -> Ipv6Net {
        text.parse().expect("a prefix")
    }

    fn says(prefix: &str, valid_lifetime: u32, preferred_lifetime: u32) -> RouterAdvertisement {
        RouterAdvertisement {
            router: "fe80::1".parse().expect("an address"),
            is_home_agent: false,
            preference: 0,
            home_agent_lifetime: 0,
            prefixes: vec![AdvertisedPrefix {
                prefix: net(prefix),
                flags: CONFIGURED_FLAGS,
                router_address: None,
                valid_lifetime,
                preferred_lifetime,
            }],
        }
    }

    fn home() -> HomePrefixes {
        HomePrefixes::new(&[net("2001:db8:0:1::/64")])
    }

    /// The seconds granted and the status, of 400 seconds asked for at second 0.
    fn grant(valid: u32, preferred: u32) -> Option<(u32, u8)> {
        let mut prefixes = home();
        prefixes.learn(at(0), &says("2001:db8:0:1::/64", valid, preferred));
        let granted = prefixes.grant(at(0), &ANYCAST, Lifetime::from_seconds(400));
        granted.map(|(lifetime, status)| (lifetime.seconds(), status.0))
    }

    #[test]
    fn a_configured_prefix_shortens_nothing() {
        let longest = Lifetime(u16::MAX);
        assert_eq!(home().grant(at(0), &ANYCAST, longest), Some((longest, Status::ACCEPTED)));
        assert_eq!(home().grant(at(0), &"2001:db8:0:2::a".parse().expect("an address"), longest), None);
    }

    #[test]
    fn h038_a_binding_ends_with_its_prefix_and_then_needs_prefix_discovery() {
        assert_eq!(grant(1000, 1000), Some((400, 0)));
        assert_eq!(grant(103, 103), Some((100, 1)), "in whole units of four seconds");
        assert_eq!(grant(401, 401), Some((400, 1)), "the prefix becomes invalid at the binding's end");
        assert_eq!(grant(404, 404), Some((400, 0)));
        assert_eq!(grant(3, 3), None);
        assert_eq!(grant(0, 0), None);
        assert_eq!(grant(u32::MAX, u32::MAX), Some((400, 0)));
        assert_eq!(grant(u32::MAX - 1, u32::MAX - 1), Some((400, 0)));
    }

    #[test]
    fn h040_h041_h042_a_deprecated_prefix_is_status_1_and_shortens_nothing() {
        assert_eq!(grant(1000, 300), Some((400, 1)));
        assert_eq!(grant(1000, 0), Some((400, 1)));
        assert_eq!(grant(u32::MAX, 0), Some((400, 1)));
        assert_eq!(grant(1000, 400), Some((400, 0)));
    }

    #[test]
    fn lifetimes_that_are_repeated_or_run_down_are_no_change() {
        let mut prefixes = home();
        let heard = |seconds| says("2001:db8:0:1::/64", seconds, seconds / 2);
        assert_eq!(prefixes.learn(at(0), &heard(86_400)).len(), 1, "for ever became a day");
        assert!(prefixes.learn(at(600), &heard(86_400)).is_empty());
        let mut running = home();
        running.learn(at(0), &says("2001:db8:0:1::/64", 9000, 8000));
        assert!(running.learn(at(598), &says("2001:db8:0:1::/64", 8400, 7400)).is_empty());
        assert_eq!(running.learn(at(600), &says("2001:db8:0:1::/64", 8400, 60)).len(), 1);
        let mut flagged = says("2001:db8:0:1::/64", 8400, 60);
        flagged.prefixes[0].flags = prefix_flags::ON_LINK;
        assert_eq!(running.learn(at(600), &flagged).len(), 1);
    }

    #[test]
    fn a_new_prefix_is_learned_told_and_forgotten_and_a_configured_one_comes_back() {
        let mut prefixes = home();
        let other: Ipv6Addr = "2001:db8:0:9::a".parse().expect("an address");
        assert_eq!(prefixes.learn(at(0), &says("2001:db8:0:9::/64", 100, 50)), [net("2001:db8:0:9::/64")]);
        assert!(prefixes.of(at(99), &other).is_some());
        assert_eq!(prefixes.next_expiry(), Some(at(100)));
        assert!(!prefixes.expire(at(99)) && prefixes.expire(at(100)) && !prefixes.expire(at(100)));
        assert!(prefixes.of(at(100), &other).is_none());
        assert!(prefixes.learn(at(101), &says("2001:db8:0:9::/64", 0, 0)).is_empty());
        assert_eq!(prefixes.learn(at(101), &says("2001:db8:0:1::/64", 0, 0)).len(), 1);
        prefixes.expire(at(101));
        assert!(prefixes.of(at(101), &ANYCAST).is_none());
        assert_eq!(prefixes.learn(at(102), &says("2001:db8:0:1::/64", 60, 60)).len(), 1);
        assert_eq!(prefixes.of(at(102), &ANYCAST), Some(net("2001:db8:0:1::/64")));
    }

    #[test]
    fn h144_the_agents_own_prefix_carries_its_whole_address_and_the_r_flag() {
        let mut prefixes = home();
        prefixes.learn(at(0), &says("2001:db8:0:9::/64", 100, 50));
        let told: Vec<_> = prefixes.options(at(10), &AGENT);
        let expected = [
            NeighborOption::PrefixInformation {
                prefix_length: 64,
                flags: 0xe0,
                valid_lifetime: u32::MAX,
                preferred_lifetime: u32::MAX,
                reserved: 0,
                prefix: AGENT,
            },
            NeighborOption::PrefixInformation {
                prefix_length: 64,
                flags: 0xc0,
                valid_lifetime: 90,
                preferred_lifetime: 40,
                reserved: 0,
                prefix: "2001:db8:0:9::".parse().expect("an address"),
            },
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_flood_of_prefixes_is_remembered_only_so_far() {
        let mut prefixes = home();
        for number in 0..1000 {
            prefixes.learn(at(0), &says(&format!("2001:db8:{number:x}::/64"), 100, 50));
        }
        assert_eq!(prefixes.options(at(0), &AGENT).len(), MOST_PREFIXES);
        assert!(prefixes.of(at(0), &ANYCAST).is_some());
    }
}
