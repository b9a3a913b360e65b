//! How a node starts: finds the addresses it will speak from, tells the host what to take in, and makes the role.
//! RFC 3775 8 says what each role must be able to receive; the settings say the rest. Called by the event loop, which
//! also comes back here when the interface's addresses change.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use ipnet::Ipv6Net;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::config::{
    ArSettings, CaptureSettings, HaaSettings, HomeLinkSettings, IdentitySettings, MembersSettings,
    RoleSettings, ServiceSettings, Settings,
};
use super::error::Error;
use super::keys;
use super::node::Node;
use super::polling::{Polling, Purpose};
use crate::platform::{self, Host, InterfaceAddress, Steal, signals::Signals};
use crate::protocol::ai::{Ai, AiConfig, AiPolicy};
use crate::protocol::ar::{AnycastConfig, Ar, ArConfig, ArPolicy, ServiceConfig};
use crate::protocol::auth::members::Members;
use crate::protocol::auth::membership::MembershipConfig;
use crate::protocol::auth::time_of_day::TimeOfDay;
use crate::protocol::clock::Instant;
use crate::protocol::haa::{Haa, HaaConfig, HomeLinkConfig};
use crate::protocol::maa;
use crate::protocol::prefix_discovery::AdvertisementWindow;
use crate::protocol::random::Random;
use crate::wire::mobility::{Lifetime, Timestamp};

/// So long a starting node waits for an address whose duplicate address detection is not finished.
const ADDRESS_WAIT: Duration = Duration::from_secs(4);
/// It looks this often, in milliseconds.
const ADDRESS_POLL: u8 = 100;

/// The operating system's random octets.
struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, into: &mut [u8]) {
        // Without randomness there are no secrets: no packet may be answered then.
        getrandom::fill(into).expect("the operating system gives random octets");
    }
}

/// The addresses this node speaks from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// The agent's address, fixed for the node's life.
    Fixed(Ipv6Addr),
    /// The responder's care-of address; with `follow` another address of the interface takes over when it goes.
    /// `home` are the anycast addresses whose home prefix is on the interface.
    CareOf { address: Ipv6Addr, follow: bool, home: BTreeSet<Ipv6Addr> },
    /// Every global address of the interface, whatever they are at the moment.
    Interface(Vec<Ipv6Addr>),
}

/// [`resolve`], but when the interface is still making its addresses usable (RFC 4862 5.4), as when a machine
/// starts, it is given the time for that.
pub(super) fn resolve_in_time(
    host: &Host,
    settings: &mut Settings,
    signals: &mut Signals,
) -> Result<Vec<InterfaceAddress>, Error> {
    let end = std::time::Instant::now() + ADDRESS_WAIT;
    loop {
        let result = resolve(host, settings);
        let may_change = result.is_err() && host.addresses()?.iter().any(|address| address.tentative);
        if !may_change || std::time::Instant::now() >= end {
            return result;
        }
        let mut fds = [PollFd::new(signals.poll_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, PollTimeout::from(ADDRESS_POLL)), Ok(0)) && signals.take() {
            return result;
        }
    }
}

/// Begins to ask the applications that a responder's settings name.
///
/// # Errors
/// When the system has no threads or descriptors left.
pub(super) fn ask_applications(settings: &Settings) -> std::io::Result<Polling> {
    let mut polling = Polling::new()?;
    if let RoleSettings::Ar(settings) = &settings.role {
        for (anycast, service) in &settings.services {
            let metric = service.metric.iter().map(|poll| (Purpose::Metric, poll));
            for (purpose, poll) in metric.chain(service.health.iter().map(|poll| (Purpose::Health, poll))) {
                polling.ask(*anycast, purpose, poll.clone())?;
            }
        }
    }
    Ok(polling)
}

/// Those that a node may speak from: their duplicate address detection is over (RFC 3775 11.5.2).
pub(super) fn usable(mut addresses: Vec<InterfaceAddress>) -> Vec<InterfaceAddress> {
    addresses.retain(|address| !address.tentative);
    addresses
}

/// Fills in what the interface tells, and checks what it contradicts; returns the interface's usable addresses.
fn resolve(host: &Host, settings: &mut Settings) -> Result<Vec<InterfaceAddress>, Error> {
    let addresses = usable(host.addresses()?);
    let interface = &settings.interface;
    let choose = |field: &str, wanted: Option<Ipv6Addr>| match wanted {
        Some(address) if addresses.iter().any(|a| a.address == address) => Ok(address),
        Some(address) => {
            let known: Vec<_> = addresses.iter().map(|a| a.address.to_string()).collect();
            let known = if known.is_empty() { "no global address".to_owned() } else { known.join(", ") };
            Err(Error::Address(format!(
                "{field} {address} is not an address of {interface}, which has {known}"
            )))
        }
        None => addresses.iter().find(|a| !a.deprecated).map(|a| a.address).ok_or_else(|| {
            Error::Address(format!("{interface} has no global IPv6 address: give it one first"))
        }),
    };
    let anycast: Vec<Ipv6Addr> = match &mut settings.role {
        RoleSettings::Haa(HaaSettings { agent, anycast, home_prefixes, capture, .. }) => {
            *agent = Some(choose("agent", *agent)?);
            if home_prefixes.is_empty() && matches!(capture, CaptureSettings::Route { .. }) {
                *home_prefixes = anycast.iter().map(|address| Ipv6Net::from(*address)).collect();
            }
            if home_prefixes.is_empty() {
                let nets = addresses
                    .iter()
                    .filter(|a| a.prefix_length < 128)
                    .filter_map(|a| Ipv6Net::new(a.address, a.prefix_length).ok().map(|net| net.trunc()));
                *home_prefixes = nets.collect::<BTreeSet<_>>().into_iter().collect();
            }
            anycast.clone()
        }
        RoleSettings::Ar(ArSettings { care_of, anycast, .. }) => {
            *care_of = Some(choose("care-of", *care_of)?);
            anycast.iter().map(|entry| entry.address).collect()
        }
        RoleSettings::Ai(_) => {
            choose("the initiator's address", None)?;
            Vec::new()
        }
    };
    match anycast.iter().find(|anycast| addresses.iter().any(|a| a.address == **anycast)) {
        Some(taken) => Err(Error::Address(format!(
            "anycast {taken} is an address of {interface} already: remove it there, the node sees to it itself"
        ))),
        None => Ok(addresses),
    }
}

/// Tells the host what to take in, and makes the role.
pub(super) fn prepare(
    host: &mut Host,
    settings: &Settings,
    addresses: &[InterfaceAddress],
) -> Result<(Node, Own), Error> {
    let now = Instant::START;
    let unresolved = || Error::Address(format!("{} has no address to speak from", settings.interface));
    let interface = host.interface().clone();
    match &settings.role {
        RoleSettings::Haa(settings) => {
            let agent = settings.agent.ok_or_else(unresolved)?;
            let members = settings.members.as_ref().map(members).transpose()?;
            if matches!(settings.capture, CaptureSettings::HomeLink(_)) && interface.link_address.is_none() {
                let message = format!("{} has no link-layer address; an agent needs one", interface.name);
                return Err(Error::Address(message));
            }
            host.steal(&[
                Steal::MobilityHeader { destination: agent },
                Steal::DestinationOptions { destination: agent },
                Steal::RoutingHeader { destination: agent },
                Steal::Tunnel { source: None, destination: agent },
            ])?;
            let config = HaaConfig {
                agent,
                link_local: host.link_local()?,
                link_address: interface.link_address.unwrap_or_default(),
                home_prefixes: settings.home_prefixes.clone(),
                anycast: settings.anycast.clone(),
                max_lifetime: Lifetime::from_seconds(settings.max_lifetime),
                max_bindings: settings.max_bindings,
                duplicate_address_detection: false,
            };
            let haa = match settings.capture {
                CaptureSettings::HomeLink(home_link) => {
                    host.become_router()?;
                    host.tap(&[agent], true)?;
                    let duplicate_address_detection = home_link.duplicate_address_detection;
                    let config = HaaConfig { duplicate_address_detection, ..config };
                    Haa::on_home_link(config, home_link_config(&home_link))
                }
                CaptureSettings::Route { .. } => {
                    host.forward_packets()?;
                    host.tap(&[agent], false)?;
                    maa::agent(config)
                }
            };
            let haa = haa.with_groups(settings.groups.clone(), Box::new(SystemRandom));
            let haa = match members {
                Some(members) => haa.with_members(members),
                None => haa,
            };
            Ok((Node::Haa(Box::new(haa)), Own::Fixed(agent)))
        }
        RoleSettings::Ar(settings) => {
            let care_of = settings.care_of.ok_or_else(unresolved)?;
            let membership = settings.identity.as_ref().map(membership).transpose()?;
            for entry in &settings.anycast {
                host.assign(entry.address)?;
            }
            let home_prefix_length = settings.home_prefix_length;
            let home = at_home(settings.basic(), home_prefix_length, addresses);
            let anycast = settings
                .anycast
                .iter()
                .map(|entry| AnycastConfig {
                    anycast: entry.address,
                    agent: Some(entry.agent.unwrap_or(settings.agent))
                        .filter(|agent| !agent.is_unspecified()),
                    home_prefix_length,
                    lifetime: Lifetime::from_seconds(entry.lifetime.unwrap_or(settings.lifetime)),
                    initial_sequence: entry.initial_sequence.or(settings.initial_sequence),
                })
                .collect();
            let config = ArConfig {
                care_of,
                anycast,
                route_optimisation: settings.route_optimisation,
                reverse_tunnel_end: settings.reverse_tunnel_end,
            };
            let policy = ArPolicy {
                peers: settings.route_optimisation_peers.clone(),
                acknowledged_optimisation: settings.acknowledged_optimisation,
                other_agents: settings.other_agents.clone(),
                refresh_percent: settings.refresh_percent,
            };
            take_in_for_responder(host, &[care_of], &home)?;
            let service = |(anycast, service): (&Ipv6Addr, &ServiceSettings)| {
                let link_address = interface.link_address.filter(|_| home.contains(anycast));
                (*anycast, ServiceConfig { home: link_address, ..service.config.clone() })
            };
            let services = settings.services.iter().map(service).collect();
            let random = Box::new(SystemRandom);
            let ar = Ar::with_keys(config, services, membership, now, random).with_policy(policy);
            Ok((Node::Ar(Box::new(ar)), Own::CareOf { address: care_of, follow: true, home }))
        }
        RoleSettings::Ai(settings) => {
            let own: Vec<_> = addresses.iter().map(|a| a.address).collect();
            take_in_for_initiator(host, &own)?;
            let config = AiConfig { max_bindings: settings.max_bindings };
            let policy = AiPolicy { route_optimisation: settings.route_optimisation };
            let ai = Ai::new(&config, Box::new(SystemRandom)).with_policy(policy);
            Ok((Node::Ai(Box::new(ai)), Own::Interface(own)))
        }
    }
}

/// The members of an agent, with their keys.
fn members(settings: &MembersSettings) -> Result<Members, Error> {
    let members = settings.members.iter().map(keys::member).collect::<Result<_, _>>()?;
    let close_enough = Duration::from_secs(settings.clock_tolerance.into());
    Ok(Members::new(time_of_day(), close_enough, members))
}

/// What a responder proves itself with, and the time it does so at.
fn membership(settings: &IdentitySettings) -> Result<MembershipConfig, Error> {
    Ok(MembershipConfig { credentials: keys::identity(settings)?, clock: time_of_day() })
}

/// The clock of a node that starts now. A host that thinks it is before 1970 is told the time by its agent.
fn time_of_day() -> TimeOfDay {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TimeOfDay::new(Timestamp::from_unix(since))
}

fn home_link_config(settings: &HomeLinkSettings) -> HomeLinkConfig {
    let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
    HomeLinkConfig {
        preference: settings.preference,
        refresh_advice: settings.refresh_advice.map(Lifetime::from_seconds),
        prefix_advertisements: settings.mobile_prefix_advertisements.then(|| AdvertisementWindow {
            least: seconds(settings.min_prefix_interval),
            most: seconds(settings.max_prefix_interval),
        }),
        seed: u64::from_be_bytes(SystemRandom.octets8()),
    }
}

/// What a responder needs: its signalling and its data at every care-of address that is still good, and at home what
/// comes to the anycast addresses themselves, with the neighbour discovery about them.
pub(super) fn take_in_for_responder(
    host: &mut Host,
    care_of: &[Ipv6Addr],
    home: &BTreeSet<Ipv6Addr>,
) -> Result<(), platform::Error> {
    let mut classes: Vec<_> = care_of
        .iter()
        .flat_map(|&destination| {
            [
                Steal::MobilityHeader { destination },
                Steal::RoutingHeader { destination },
                Steal::Tunnel { source: None, destination },
            ]
        })
        .collect();
    classes.extend(home.iter().map(|&destination| Steal::MobilityHeader { destination }));
    host.steal(&classes)?;
    host.tap(care_of, !home.is_empty())
}

/// Those of `anycast` whose home prefix an address of the interface is in (RFC 3775 11.5.4).
pub(super) fn at_home(
    anycast: impl Iterator<Item = Ipv6Addr>,
    home_prefix_length: u8,
    addresses: &[InterfaceAddress],
) -> BTreeSet<Ipv6Addr> {
    let on_link = |anycast: &Ipv6Addr| {
        Ipv6Net::new(*anycast, home_prefix_length)
            .is_ok_and(|prefix| addresses.iter().any(|a| prefix.contains(&a.address)))
    };
    anycast.filter(on_link).collect()
}

pub(super) fn take_in_for_initiator(host: &mut Host, own: &[Ipv6Addr]) -> Result<(), platform::Error> {
    let classes: Vec<_> = own
        .iter()
        .flat_map(|&destination| {
            [
                Steal::MobilityHeader { destination },
                Steal::DestinationOptions { destination },
                Steal::RoutingHeader { destination },
            ]
        })
        .collect();
    host.steal(&classes)?;
    host.tap(own, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n008_a_tentative_address_is_no_care_of_address_yet() {
        let address = |last: u16, tentative| InterfaceAddress {
            address: Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, last),
            prefix_length: 64,
            tentative,
            deprecated: false,
        };
        assert_eq!(usable(vec![address(3, true), address(2, false)]), [address(2, false)]);
    }
}
