//! The home agents list (RFC 3775 10.1, 10.5.1): who on the home link says in its Router Advertisements that it is a
//! home agent, how much it is preferred and for how long; and in which order a Home Agent Address Discovery Reply
//! names them. One list belongs to one home link. Kept by `haa`.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use serde::Serialize;

use super::clock::Instant;
use super::input::is_routable_unicast;
use super::random::{Random, SeededRandom};
use super::router_advertisement::{RouterAdvertisement, Until};

/// Addresses that fit with an IPv6 header and a reply's eight octets into 1280 octets (RFC 3775 10.5.1).
pub const MOST_ADDRESSES: usize = (1280 - 40 - 8) / 16;
/// Other home agents remembered; what lies beyond could not be named in a reply anyway.
const MOST_AGENTS: usize = MOST_ADDRESSES;
/// Global addresses remembered of one home agent.
const MOST_ADDRESSES_EACH: usize = 16;

/// Another home agent.
#[derive(Clone, Debug)]
struct Entry {
    preference: i16,
    expires: Instant,
    /// Its global addresses, each as long as its prefix is valid.
    addresses: BTreeMap<Ipv6Addr, Until>,
}

/// What an advertisement did to the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Nothing that an operator need hear of.
    Nothing,
    /// A home agent that was not known.
    Added,
    /// It is a home agent no more.
    Removed,
}

/// One home agent as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HomeAgentView {
    /// Its link-local address; absent for this agent itself.
    pub router: Option<Ipv6Addr>,
    pub preference: i16,
    /// Seconds; absent for this agent itself.
    pub remaining: Option<u64>,
    pub addresses: Vec<Ipv6Addr>,
}

/// The list of one home link.
#[derive(Clone, Debug)]
pub struct HomeAgents {
    own: Ipv6Addr,
    preference: i16,
    /// By link-local address.
    entries: BTreeMap<Ipv6Addr, Entry>,
    random: SeededRandom,
}

impl HomeAgents {
    /// A list with this agent only. `seed` begins the row that orders agents of equal preference.
    pub fn new(own: Ipv6Addr, preference: i16, seed: u64) -> Self {
        Self { own, preference, entries: BTreeMap::new(), random: SeededRandom::new(seed) }
    }

    /// Takes an advertisement in by the steps of RFC 3775 10.5.1.
    pub fn learn(&mut self, now: Instant, heard: &RouterAdvertisement) -> Learned {
        if !heard.is_home_agent || heard.home_agent_lifetime == 0 {
            return match self.entries.remove(&heard.router) {
                Some(_) => Learned::Removed,
                None => Learned::Nothing,
            };
        }
        let known = self.entries.contains_key(&heard.router);
        if !known && self.entries.len() >= MOST_AGENTS {
            return Learned::Nothing;
        }
        let expires = now + Duration::from_secs(u64::from(heard.home_agent_lifetime));
        let entry = self.entries.entry(heard.router).or_insert_with(|| Entry {
            preference: heard.preference,
            expires,
            addresses: BTreeMap::new(),
        });
        entry.preference = heard.preference;
        entry.expires = expires;
        for prefix in &heard.prefixes {
            let Some(address) = prefix.router_address.filter(is_routable_unicast) else { continue };
            if prefix.valid_lifetime == 0 {
                entry.addresses.remove(&address);
            } else if entry.addresses.contains_key(&address) || entry.addresses.len() < MOST_ADDRESSES_EACH {
                entry.addresses.insert(address, Until::after(now, prefix.valid_lifetime));
            }
        }
        if known { Learned::Nothing } else { Learned::Added }
    }

    /// Forgets the agents whose lifetime is over, which are returned, and the addresses whose prefix is no longer
    /// valid (RFC 3775 10.1).
    pub fn expire(&mut self, now: Instant) -> Vec<Ipv6Addr> {
        let over = self.entries.iter().filter(|(_, entry)| entry.expires <= now);
        let gone: Vec<_> = over.map(|(router, _)| *router).collect();
        self.entries.retain(|_, entry| entry.expires > now);
        for entry in self.entries.values_mut() {
            entry.addresses.retain(|_, until| !until.is_over(now));
        }
        gone
    }

    /// When [`HomeAgents::expire`] next has something to do.
    pub fn next_expiry(&self) -> Option<Instant> {
        let ends = self
            .entries
            .values()
            .flat_map(|entry| entry.addresses.values().filter_map(|until| until.at()).chain([entry.expires]));
        ends.min()
    }

    /// The addresses of a reply: the most preferred agents first, equal ones in another order every time, an
    /// agent's own addresses too, and no more than fit (RFC 3775 10.5.1).
    pub fn in_order(&mut self) -> Vec<Ipv6Addr> {
        let own = self.own;
        let others = self.entries.values().map(|entry| {
            (entry.preference, entry.addresses.keys().copied().filter(|address| *address != own).collect())
        });
        let mut agents: Vec<(i16, Vec<Ipv6Addr>)> = others.chain([(self.preference, vec![own])]).collect();
        self.shuffle(&mut agents);
        // Stable, so that equal agents keep the order that chance gave them.
        agents.sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
        let mut addresses = Vec::new();
        for (_, mut of_agent) in agents {
            self.shuffle(&mut of_agent);
            addresses.extend(of_agent);
        }
        addresses.truncate(MOST_ADDRESSES);
        addresses
    }

    /// This agent and the others, by link-local address.
    pub fn views(&self, now: Instant) -> Vec<HomeAgentView> {
        let own = HomeAgentView {
            router: None,
            preference: self.preference,
            remaining: None,
            addresses: vec![self.own],
        };
        let others = self.entries.iter().map(|(router, entry)| HomeAgentView {
            router: Some(*router),
            preference: entry.preference,
            remaining: Some(entry.expires.saturating_since(now).as_secs()),
            addresses: entry.addresses.keys().copied().collect(),
        });
        [own].into_iter().chain(others).collect()
    }

    /// Fisher and Yates.
    fn shuffle<T>(&mut self, row: &mut [T]) {
        for last in (1..row.len()).rev() {
            row.swap(last, usize::from(self.random.number16()) % (last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::protocol::router_advertisement::AdvertisedPrefix;

    const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
    const HA1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x11);
    const HA2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x12);

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    fn link_local(address: Ipv6Addr) -> Ipv6Addr {
        Ipv6Addr::from_bits((0xfe80 << 112) | u128::from(address.to_bits() as u64))
    }

    /// What `address` says of itself, with a prefix that is valid for an hour.
    fn says(address: Ipv6Addr, preference: i16, home_agent_lifetime: u16) -> RouterAdvertisement {
        RouterAdvertisement {
            router: link_local(address),
            is_home_agent: true,
            preference,
            home_agent_lifetime,
            prefixes: vec![AdvertisedPrefix {
                prefix: "2001:db8:0:1::/64".parse().expect("a prefix"),
                flags: 0xe0,
                router_address: Some(address),
                valid_lifetime: 3600,
                preferred_lifetime: 3600,
            }],
        }
    }

    fn list(own: i16, others: &[(Ipv6Addr, i16)]) -> HomeAgents {
        let mut list = HomeAgents::new(OWN, own, 1);
        for (address, preference) in others {
            assert_eq!(list.learn(at(0), &says(*address, *preference, 1800)), Learned::Added);
        }
        list
    }

    #[test]
    fn h119_alone_the_agent_names_itself() {
        assert_eq!(list(0, &[]).in_order(), [OWN]);
    }

    #[test]
    fn h120_h121_a_preferred_agent_is_first_and_another_one_last() {
        assert_eq!(list(0, &[(HA1, 10)]).in_order(), [HA1, OWN]);
        assert_eq!(list(10, &[(HA1, 0)]).in_order(), [OWN, HA1]);
    }

    #[test]
    fn h122_h123_h124_h125_h126_h127_three_agents_stand_in_the_order_of_preference() {
        for (own, first, second, expected) in [
            (30, 20, 10, [OWN, HA1, HA2]),
            (30, 10, 20, [OWN, HA2, HA1]),
            (20, 30, 10, [HA1, OWN, HA2]),
            (20, 10, 30, [HA2, OWN, HA1]),
            (10, 30, 20, [HA1, HA2, OWN]),
            (10, 20, 30, [HA2, HA1, OWN]),
        ] {
            assert_eq!(list(own, &[(HA1, first), (HA2, second)]).in_order(), expected);
        }
    }

    #[test]
    fn h128_a_lifetime_of_0_or_no_h_bit_removes_an_agent_at_once() {
        let mut agents = list(0, &[(HA1, 10)]);
        assert_eq!(agents.learn(at(1), &says(HA1, 10, 0)), Learned::Removed);
        assert_eq!(agents.in_order(), [OWN]);
        assert_eq!(agents.learn(at(2), &says(HA1, 10, 0)), Learned::Nothing, "and never adds one");
        assert_eq!(agents.in_order(), [OWN]);
        agents.learn(at(3), &says(HA1, 10, 60));
        let plain = RouterAdvertisement { is_home_agent: false, ..says(HA1, 10, 60) };
        assert_eq!(agents.learn(at(4), &plain), Learned::Removed);
        assert_eq!(agents.in_order(), [OWN]);
    }

    #[test]
    fn h116_home_agent_information_without_the_h_bit_makes_no_home_agent() {
        let mut agents = list(0, &[]);
        let plain = RouterAdvertisement { is_home_agent: false, ..says(HA1, 10, 60) };
        assert_eq!(agents.learn(at(0), &plain), Learned::Nothing);
        assert_eq!(agents.in_order(), [OWN]);
    }

    #[test]
    fn h129_an_agent_that_is_silent_for_its_lifetime_is_forgotten() {
        let mut agents = HomeAgents::new(OWN, 0, 1);
        agents.learn(at(0), &says(HA1, 10, 60));
        agents.learn(at(30), &says(HA1, -10, 60));
        assert_eq!(agents.in_order(), [OWN, HA1], "the preference is that of the latest advertisement");
        assert_eq!(agents.next_expiry(), Some(at(90)));
        assert!(agents.expire(at(89)).is_empty());
        assert_eq!(agents.expire(at(90)), [link_local(HA1)]);
        assert_eq!(agents.in_order(), [OWN]);
        assert_eq!(agents.next_expiry(), None);
    }

    #[test]
    fn h130_an_address_goes_with_its_prefix() {
        let mut agents = HomeAgents::new(OWN, 0, 1);
        let mut heard = says(HA1, 10, 1800);
        let second = AdvertisedPrefix {
            prefix: "2001:db8:0:9::/64".parse().expect("a prefix"),
            router_address: Some(HA2),
            valid_lifetime: 100,
            ..heard.prefixes[0]
        };
        heard.prefixes.push(second);
        agents.learn(at(0), &heard);
        assert_eq!(agents.in_order().len(), 3);
        agents.expire(at(100));
        assert_eq!(agents.in_order(), [HA1, OWN]);
        heard.prefixes[0].valid_lifetime = 0;
        heard.prefixes.truncate(1);
        agents.learn(at(101), &heard);
        assert_eq!(agents.in_order(), [OWN]);
    }

    #[test]
    fn h132_a_negative_preference_is_below_0() {
        assert_eq!(list(0, &[(HA1, -1), (HA2, 1)]).in_order(), [HA2, OWN, HA1]);
    }

    #[test]
    fn h133_equal_agents_take_turns_and_never_pass_a_better_one() {
        let mut agents = list(0, &[(HA1, 0), (HA2, 0)]);
        let best: Ipv6Addr = "2001:db8:0:1::b".parse().expect("an address");
        agents.learn(at(0), &says(best, 5, 1800));
        let replies: BTreeSet<_> = (0..200).map(|_| agents.in_order()).collect();
        assert!(replies.iter().all(|reply| reply.first() == Some(&best)));
        assert_eq!(replies.len(), 6, "every order of three equal agents");
    }

    #[test]
    fn h134_a_reply_fits_1280_octets_and_the_best_stay() {
        let mut agents = HomeAgents::new(OWN, 1000, 1);
        for number in 0..60_u16 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 1, number);
            let mut heard = says(address, number.cast_signed(), 1800);
            let other = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 1, number);
            heard.prefixes.push(AdvertisedPrefix { router_address: Some(other), ..heard.prefixes[0] });
            agents.learn(at(0), &heard);
        }
        let reply = agents.in_order();
        assert_eq!((reply.len(), reply[0]), (77, OWN));
        assert!(reply[1..].iter().all(|address| address.segments()[7] >= 22));
    }

    #[test]
    fn h138_two_home_links_have_two_lists() {
        let (mut one, mut other) = (list(0, &[(HA1, 1)]), list(0, &[(HA2, 1)]));
        assert_eq!((one.in_order(), other.in_order()), (vec![HA1, OWN], vec![HA2, OWN]));
    }

    #[test]
    fn a_flood_of_agents_is_remembered_only_so_far_and_our_address_is_ours() {
        let mut agents = HomeAgents::new(OWN, 0, 1);
        for number in 0..10_000_u128 {
            let address = Ipv6Addr::from_bits(HA1.to_bits() + (number << 16));
            agents.learn(at(0), &says(address, 1, 1800));
        }
        assert_eq!(agents.entries.len(), MOST_AGENTS);
        let mut agents = list(0, &[]);
        agents.learn(at(0), &says(OWN, 100, 1800));
        assert_eq!(agents.in_order(), [OWN]);
    }
}
