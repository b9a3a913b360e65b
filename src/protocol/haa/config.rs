//! What a home anycast agent is told: at its start, about its home link (RFC 3775 10) and about addresses of the
//! advanced model (thesis 4.3), and by an operator while it runs.
//! Values only; the daemon makes them from its configuration. Read by the other files of `haa`.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use crate::protocol::liveness::Probing;
use crate::protocol::prefix_discovery::AdvertisementWindow;
use crate::protocol::select::{Affinity, Criterion};
use crate::wire::mobility::Lifetime;

/// What the agent is told at its start.
#[derive(Clone, Debug)]
pub struct HaaConfig {
    /// The agent's own global address on the home link; responders register there and tunnels end there.
    pub agent: Ipv6Addr,
    /// The agent's link-local address, from which it advertises on the home link; without one, `agent` is used.
    pub link_local: Option<Ipv6Addr>,
    /// Link-layer address on the home link.
    pub link_address: [u8; 6],
    /// Prefixes of the home link: an anycast address outside them is refused with status 132.
    pub home_prefixes: Vec<Ipv6Net>,
    /// The anycast addresses served; empty serves every address in the home prefixes. Others get status 129.
    pub anycast: Vec<Ipv6Addr>,
    /// The longest lifetime granted, in units of 4 seconds.
    pub max_lifetime: Lifetime,
    /// Bindings held at most; beyond it status 130.
    pub max_bindings: usize,
    /// Probe a new anycast address on the home link before the first acknowledgement (RFC 3775 10.3.1).
    pub duplicate_address_detection: bool,
}

/// How an agent draws the packets of the anycast addresses to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Neighbour discovery on the home link (RFC 3775 10.4.1), with all that an agent does for that link.
    HomeLink,
    /// The routing of the network it is in (thesis 4.3.3), which is not the home link.
    Route,
}

/// What the agent is told about its part among the agents and prefixes of the home link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeLinkConfig {
    /// This agent's own place in discovery replies; higher is preferred. The same number belongs into the Home Agent
    /// Information option of the Router Advertisements that the host sends (RFC 3775 7.4).
    pub preference: i16,
    /// The Refresh Interval advised in acknowledgements, in units of 4 seconds, where it is less than the lifetime
    /// (RFC 3775 6.2.4); `None` advises nothing.
    pub refresh_advice: Option<Lifetime>,
    /// Between which moments unsolicited Mobile Prefix Advertisements are sent; `None` sends none at all, and
    /// answers no solicitation.
    pub prefix_advertisements: Option<AdvertisementWindow>,
    /// Begins the row that orders equal agents and spreads advertisements; no two agents should share it.
    pub seed: u64,
}

impl Default for HomeLinkConfig {
    fn default() -> Self {
        let prefix_advertisements = Some(AdvertisementWindow::default());
        Self { preference: 0, refresh_advice: None, prefix_advertisements, seed: 0 }
    }
}

/// How an anycast address of the advanced model is served (thesis 4.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// What new sources are given to responders by.
    pub criterion: Criterion,
    /// Care-of addresses in the order of [`Criterion::Preference`].
    pub preference: Vec<Ipv6Addr>,
    /// By how many percent a responder must be better than the one chosen to take its place.
    pub margin: u32,
    /// For how long a source stays with its responder; `None` chooses for every packet.
    pub affinity: Option<Affinity>,
    pub probing: Probing,
    /// Further agents that responders of this address should register with (thesis 4.3.3).
    pub agents: Vec<Ipv6Addr>,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            criterion: Criterion::default(),
            preference: Vec::new(),
            margin: 20,
            affinity: Some(Affinity::default()),
            probing: Probing::default(),
            agents: Vec::new(),
        }
    }
}

/// What an operator tells a running agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HaaCommand {
    /// Remove the binding of this anycast address, or all.
    Deregister(Option<Ipv6Addr>),
    /// Give the member at this care-of address no new sources, at this anycast address or all.
    Drain { anycast: Option<Ipv6Addr>, care_of: Ipv6Addr },
    /// Undo that.
    Undrain { anycast: Option<Ipv6Addr>, care_of: Ipv6Addr },
    /// End: remove everything.
    Shutdown,
}
