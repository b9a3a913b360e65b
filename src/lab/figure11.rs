//! Figure 11 of the thesis as values: five networks meet in one router, the home network with its agent, two
//! initiators', two responders'.
//! `lab::section5` and `lab::advanced` play on it, and their claims take its addresses from here.

use std::net::Ipv6Addr;

use super::topology::{End, Plan, Wire, file_name};

/// A node of Figure 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// Anycast initiator 1.
    Ai1,
    /// Anycast initiator 2.
    Ai2,
    /// The router between the five networks.
    Rt,
    /// The home anycast agent.
    Haa,
    /// Anycast responder 1.
    Ar1,
    /// Anycast responder 2.
    Ar2,
}

/// The anycast address A_Any, on the home network.
pub const ANYCAST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);

impl Node {
    /// All nodes, in the order in which they are drawn.
    pub const ALL: [Node; 6] = [Node::Ai1, Node::Ai2, Node::Rt, Node::Haa, Node::Ar1, Node::Ar2];

    /// The nodes that are one interface on one network.
    pub const HOSTS: [Node; 5] = [Node::Haa, Node::Ai1, Node::Ai2, Node::Ar1, Node::Ar2];

    /// As the thesis writes it.
    pub fn name(self) -> &'static str {
        match self {
            Node::Ai1 => "AI1",
            Node::Ai2 => "AI2",
            Node::Rt => "RT",
            Node::Haa => "HAA",
            Node::Ar1 => "AR1",
            Node::Ar2 => "AR2",
        }
    }

    /// As files are called after it.
    pub fn file_name(self) -> String {
        file_name(self.name())
    }

    /// Its network N, 2001:db8:0:N::/64; the router's is the home network, where it is captured.
    pub fn network(self) -> u16 {
        match self {
            Node::Rt | Node::Haa => 1,
            Node::Ai1 => 2,
            Node::Ai2 => 3,
            Node::Ar1 => 4,
            Node::Ar2 => 5,
        }
    }

    /// Its unicast address; a responder's is its care-of address (PUA).
    pub fn address(self) -> Ipv6Addr {
        match self {
            Node::Rt => router_address(1),
            node => Ipv6Addr::new(0x2001, 0xdb8, 0, node.network(), 0, 0, 0, 2),
        }
    }
}

/// The router's address on network `network`.
pub fn router_address(network: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, 1)
}

/// The address by which a responder discovers the agents of the home network (RFC 3775 section 5.3).
const HOME_AGENTS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xfdff, 0xffff, 0xffff, 0xfffe);

/// Figure 11. The router is captured where the home network is.
pub fn plan() -> Plan {
    let wires = Node::HOSTS.map(|node| {
        let network = node.network();
        let gateway = router_address(network);
        let router =
            End { machine: Node::Rt.name(), interface: format!("n{network}"), address: Some(gateway) };
        let host = End { machine: node.name(), interface: "eth0".to_owned(), address: Some(node.address()) };
        Wire { network, ends: [router, host], delay: None }
    });
    Plan {
        figure: "Figure 11",
        machines: Node::ALL.map(Node::name).to_vec(),
        routers: vec![Node::Rt.name()],
        recorded: Node::ALL.map(Node::name).to_vec(),
        wires: wires.to_vec(),
        routes: Vec::new(),
        anycast: ANYCAST,
        attracted: vec![(ANYCAST, Node::Haa.name()), (HOME_AGENTS, Node::Haa.name())],
    }
}

/// Whose address is whose.
pub fn owners() -> Vec<(Ipv6Addr, &'static str)> {
    plan().owners()
}
