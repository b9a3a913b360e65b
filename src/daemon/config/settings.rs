//! What a node runs with (design section 5): the settings of its role, complete but for what the interface tells.
//! They can be said in the words of a file again, every default spelled out.
//! Made by `checks`; read by the event loop and by what starts a node.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use ipnet::Ipv6Net;

use super::application::ServiceSettings;
use super::membership::{IdentitySettings, MembersSettings, no_keys};
use super::words::{AnycastEntry, Forwarding, Given, Model, Role};
use crate::protocol::ar::{PeerPolicy, ReverseTunnelEnd};
use crate::protocol::haa::GroupConfig;

/// Settings that every role has.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub interface: String,
    pub control: PathBuf,
    pub forwarding: Forwarding,
    pub role: RoleSettings,
}

/// Settings of one role; addresses that the interface can tell are still open.
#[derive(Clone, Debug, PartialEq)]
pub enum RoleSettings {
    Haa(HaaSettings),
    Ar(ArSettings),
    Ai(AiSettings),
}

/// Settings of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaaSettings {
    pub agent: Option<Ipv6Addr>,
    pub anycast: Vec<Ipv6Addr>,
    /// Those of them that are of the advanced model.
    pub groups: BTreeMap<Ipv6Addr, GroupConfig>,
    /// Whose Binding Updates are taken; `None`: everybody's.
    pub members: Option<MembersSettings>,
    pub home_prefixes: Vec<Ipv6Net>,
    /// Seconds.
    pub max_lifetime: u32,
    pub max_bindings: usize,
    pub capture: CaptureSettings,
}

/// What makes an agent a home or a midway one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureSettings {
    /// A home anycast agent, on its home link.
    HomeLink(HomeLinkSettings),
    /// A midway anycast agent (thesis 4.3.3), with the protocol number of its routes.
    Route { protocol: u8 },
}

/// An agent's part among the agents and prefixes of its home link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeLinkSettings {
    pub duplicate_address_detection: bool,
    pub preference: i16,
    /// Seconds.
    pub refresh_advice: Option<u32>,
    pub mobile_prefix_advertisements: bool,
    /// Seconds.
    pub min_prefix_interval: u32,
    /// Seconds.
    pub max_prefix_interval: u32,
}

/// Settings of a responder.
#[derive(Clone, Debug, PartialEq)]
pub struct ArSettings {
    pub care_of: Option<Ipv6Addr>,
    pub anycast: Vec<AnycastEntry>,
    /// What the entries of `anycast` amount to.
    pub services: BTreeMap<Ipv6Addr, ServiceSettings>,
    pub agent: Ipv6Addr,
    /// Who this responder is, where agents know their members by keys.
    pub identity: Option<IdentitySettings>,
    /// Seconds.
    pub lifetime: u32,
    pub initial_sequence: Option<u16>,
    pub home_prefix_length: u8,
    pub route_optimisation: bool,
    pub reverse_tunnel_end: ReverseTunnelEnd,
    pub route_optimisation_peers: Vec<PeerPolicy>,
    pub acknowledged_optimisation: bool,
    pub other_agents: Vec<Ipv6Addr>,
    /// Of a granted lifetime.
    pub refresh_percent: u8,
}

/// Settings of an initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AiSettings {
    pub max_bindings: usize,
    pub route_optimisation: bool,
}

impl Settings {
    /// The settings in the words of a configuration file, every default spelled out; [`Given::settle`] of the
    /// result is these settings again.
    pub fn words(&self) -> Given {
        let of_role = match self.role.clone() {
            RoleSettings::Haa(settings) => settings.words(),
            RoleSettings::Ar(settings) => settings.words(),
            RoleSettings::Ai(settings) => settings.words(),
        };
        Given {
            role: Some(self.role.role()),
            interface: Some(self.interface.clone()),
            control: Some(self.control.clone()),
            forwarding: Some(self.forwarding),
            ..of_role
        }
    }
}

impl RoleSettings {
    /// Which role these are for.
    pub fn role(&self) -> Role {
        match self {
            RoleSettings::Haa(HaaSettings { capture: CaptureSettings::Route { .. }, .. }) => Role::Maa,
            RoleSettings::Haa(_) => Role::Haa,
            RoleSettings::Ar(_) => Role::Ar,
            RoleSettings::Ai(_) => Role::Ai,
        }
    }
}

impl HaaSettings {
    fn words(mut self) -> Given {
        let of_capture = match self.capture {
            CaptureSettings::HomeLink(home_link) => home_link.words(),
            CaptureSettings::Route { protocol } => {
                Given { route_protocol: Some(protocol), ..Given::default() }
            }
        };
        let of_members = self.members.map_or_else(no_keys, MembersSettings::words);
        Given {
            agent: self.agent,
            anycast: self
                .anycast
                .iter()
                .map(|address| match self.groups.remove(address) {
                    Some(group) => AnycastEntry::of_group(AnycastEntry::of(*address), group),
                    None => AnycastEntry::of(*address),
                })
                .collect(),
            authentication: of_members.authentication,
            member: of_members.member,
            clock_tolerance: of_members.clock_tolerance,
            home_prefix: self.home_prefixes,
            max_lifetime: Some(self.max_lifetime),
            max_bindings: Some(self.max_bindings),
            ..of_capture
        }
    }
}

impl HomeLinkSettings {
    fn words(self) -> Given {
        Given {
            duplicate_address_detection: Some(self.duplicate_address_detection),
            preference: Some(self.preference),
            refresh_advice: self.refresh_advice,
            mobile_prefix_advertisements: Some(self.mobile_prefix_advertisements),
            min_prefix_interval: Some(self.min_prefix_interval),
            max_prefix_interval: Some(self.max_prefix_interval),
            ..Given::default()
        }
    }
}

impl ArSettings {
    /// The anycast addresses of the basic model, for which there is such a thing as being at home (RFC 3775 11.5.4).
    pub fn basic(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.anycast.iter().filter(|entry| entry.model == Model::Basic).map(|entry| entry.address)
    }

    fn words(self) -> Given {
        Given {
            care_of: self.care_of,
            anycast: self.anycast,
            agent: Some(self.agent),
            lifetime: Some(self.lifetime),
            initial_sequence: self.initial_sequence,
            home_prefix_length: Some(self.home_prefix_length),
            route_optimisation: Some(self.route_optimisation),
            reverse_tunnel_end: Some(self.reverse_tunnel_end),
            route_optimisation_peers: self.route_optimisation_peers,
            acknowledged_optimisation: Some(self.acknowledged_optimisation),
            other_agents: self.other_agents,
            refresh_percent: Some(self.refresh_percent),
            ..self.identity.map_or_else(no_keys, IdentitySettings::words)
        }
    }
}

impl AiSettings {
    fn words(self) -> Given {
        Given {
            max_bindings: Some(self.max_bindings),
            route_optimisation: Some(self.route_optimisation),
            ..Given::default()
        }
    }
}
