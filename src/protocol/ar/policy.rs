//! What an operator decides about a responder beyond its addresses: with whom it optimises routes, whether initiators
//! acknowledge, and which agents stand in for the first (RFC 3775 8.5, 11.7.1, 11.7.2). Values only.
//! Set by `daemon`, asked by the responder.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

/// Whether route optimisation is offered to the initiators of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerPolicy {
    /// The initiators meant; the longest prefix that holds an address decides.
    pub prefix: Ipv6Net,
    /// False keeps their packets in the tunnel.
    pub allow: bool,
}

/// Everything that has a default which suits most responders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArPolicy {
    /// Exceptions from the general rule on route optimisation.
    pub peers: Vec<PeerPolicy>,
    /// Ask initiators to acknowledge Binding Updates (flag A, RFC 3775 11.7.2), and optimise only when they have.
    pub acknowledged_optimisation: bool,
    /// Agents tried, in this order and over again, when the configured or discovered ones fail (RFC 3775 11.7.1).
    pub other_agents: Vec<Ipv6Addr>,
    /// How much of a granted lifetime passes before the binding is refreshed where the agent advises nothing, in
    /// percent (RFC 3775 11.7.1 leaves that to the node: KAME refreshed after 50, UMIP after 95).
    pub refresh_percent: u8,
}

/// Of a lifetime; half of it leaves time for every retransmission.
pub const DEFAULT_REFRESH_PERCENT: u8 = 50;

impl Default for ArPolicy {
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            acknowledged_optimisation: false,
            other_agents: Vec::new(),
            refresh_percent: DEFAULT_REFRESH_PERCENT,
        }
    }
}

impl ArPolicy {
    /// Whether route optimisation may be offered to `peer`, where `otherwise` is the general rule.
    pub fn allows(&self, peer: &Ipv6Addr, otherwise: bool) -> bool {
        let holding = self.peers.iter().filter(|policy| policy.prefix.contains(peer));
        holding.max_by_key(|policy| policy.prefix.prefix_len()).map_or(otherwise, |policy| policy.allow)
    }
}
