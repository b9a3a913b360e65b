//! Where the comparison takes place: a host of thesis Figure 11 in a namespace with one link and a tunnel device, the
//! rules of a role in both executors, and what a packet meets on its way through user space besides the rules.
//! Called by every test here.

use std::net::Ipv6Addr;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use mga_node::forwarding::ebpf::{Device, FastPath, Hook, NextHop, Programs, Station};
use mga_node::forwarding::user::{Direction, Fate, Forwarder};
use mga_node::platform::netns::{self, NetworkNamespace, WireEnd};
use mga_node::protocol::action::Rule;
use mga_node::protocol::clock::Instant;
use mga_node::wire::PacketBuffer;

const fn at(network: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host)
}

pub const ANYCAST: Ipv6Addr = at(1, 0xa);
pub const OTHER_ANYCAST: Ipv6Addr = at(1, 0xb);
pub const AGENT: Ipv6Addr = at(1, 2);
pub const AI1: Ipv6Addr = at(2, 2);
pub const AI2: Ipv6Addr = at(3, 2);
pub const AR1: Ipv6Addr = at(4, 2);
pub const AR2: Ipv6Addr = at(5, 2);
/// Octets that fit the link, and the tunnel device.
pub const LINK_MTU: u32 = 1500;
pub const TUNNEL_MTU: u32 = 1460;

const OWN_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The link-layer header of a frame for this host.
pub const LINK: [u8; 14] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];

/// The rules at the host that a hook belongs to.
pub fn rules(hook: Hook) -> Vec<Rule> {
    let (anycast, agent, care_of) = (ANYCAST, AGENT, AR1);
    match hook {
        Hook::AgentXdp | Hook::AgentTc => vec![
            Rule::TunnelToResponder { anycast, agent, care_of },
            Rule::TunnelFromResponder { anycast, agent, care_of },
            Rule::TunnelToResponder { anycast: OTHER_ANYCAST, agent, care_of: AR2 },
            Rule::TunnelFromResponder { anycast: OTHER_ANYCAST, agent, care_of: AR2 },
        ],
        Hook::ResponderIn | Hook::ResponderOut => vec![
            Rule::ReverseTunnelOut { anycast, care_of, agent },
            Rule::ReverseTunnelIn { anycast, care_of, agent },
            Rule::MidwayTunnelIn { anycast, care_of, agent: at(2, 1) },
            Rule::RoutingHeaderIn { anycast, care_of },
            Rule::HomeAddressOut { anycast, initiator: AI2, care_of },
        ],
        Hook::InitiatorIn | Hook::InitiatorOut => vec![
            Rule::RoutingHeaderOut { anycast, own: AI2, care_of },
            Rule::HomeAddressIn { anycast, own: AI2, care_of },
        ],
    }
}

pub struct World {
    hook: Hook,
    host: NetworkNamespace,
    _router: NetworkNamespace,
    pub device: u32,
    /// Room for fixed sources.
    pub sources: u32,
}

impl World {
    pub fn new(hook: Hook) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let tag = format!("mgaf-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let make = |name| NetworkNamespace::create(&format!("{tag}-{name}")).expect("this needs root");
        let (host, router) = (make("host"), make("rt"));
        for (name, other, low) in [("eth0", "n1", 0), ("mga0", "n2", 1)] {
            netns::connect(
                WireEnd { namespace: &host, interface: name, link_address: [2, 0, 0, 0, low, 2] },
                WireEnd { namespace: &router, interface: other, link_address: [2, 0, 0, 0, low, 1] },
            )
            .expect("a wire");
        }
        host.add_address("eth0", AGENT, 64).expect("an address");
        host.set_forwarding().expect("forwarding");
        let gateway = at(1, 1);
        host.set_default_route(gateway).expect("a route");
        let gateway = gateway.to_string();
        for line in [
            vec![
                "-6",
                "neigh",
                "add",
                &gateway,
                "lladdr",
                "02:00:00:00:00:01",
                "dev",
                "eth0",
                "nud",
                "permanent",
            ],
            vec![
                "-6",
                "neigh",
                "add",
                "fe80::1",
                "lladdr",
                "02:00:00:00:01:01",
                "dev",
                "mga0",
                "nud",
                "permanent",
            ],
            vec!["-6", "route", "add", &ANYCAST.to_string(), "via", "fe80::1", "dev", "mga0"],
            vec!["-6", "route", "add", &OTHER_ANYCAST.to_string(), "via", "fe80::1", "dev", "mga0"],
        ] {
            host.ip(&line).expect("ip does it");
        }
        let device = index(&host, "eth0");
        Self { hook, host, _router: router, device, sources: 1000 }
    }

    /// Runs `work` at the host, with the programs of the hook's role loaded and its rules in force.
    pub fn run<T: Send>(&self, work: impl FnOnce(&mut FastPath) -> T + Send) -> T {
        let programs = match self.hook {
            Hook::AgentXdp | Hook::AgentTc => Programs::Agent,
            Hook::ResponderIn | Hook::ResponderOut => Programs::Responder,
            Hook::InitiatorIn | Hook::InitiatorOut => Programs::Initiator,
        };
        let device = |name: &str, mtu, link_address| Device {
            index: index(&self.host, name),
            name: name.to_owned(),
            mtu,
            link_address: Some(link_address),
            // A trial at XDP needs an interface that is ready for it.
            is_software: self.hook != Hook::AgentXdp,
        };
        let station = Station {
            programs,
            link: device("eth0", LINK_MTU, OWN_ADDRESS),
            tunnel: device("mga0", TUNNEL_MTU, [2, 0, 0, 0, 1, 2]),
            identity: None,
            sources: self.sources,
        };
        let way = NextHop { device: self.device, neighbour: at(1, 1), mtu: LINK_MTU };
        let work = move || {
            let mut fast = FastPath::start(&station).expect("the kernel takes the programs");
            for rule in rules(self.hook) {
                fast.install(&rule, None, |_| Some(way)).expect("the kernel takes a rule");
            }
            work(&mut fast)
        };
        self.host.run(work).expect("the namespace")
    }

    /// The packet as it leaves, or reaches the stack, when user space has it; `None` when user space does something else
    /// with it. Where the kernel forwards it on the way, it is one hop older.
    pub fn by_user(&self, hook: Hook, packet: &[u8]) -> Option<Vec<u8>> {
        let mut forwarder = Forwarder::new();
        for rule in rules(hook) {
            forwarder.install(rule);
        }
        let tunnelled = packet.get(6) == Some(&41);
        let (direction, forwarded_first, forwarded_last) = match hook {
            Hook::AgentXdp | Hook::AgentTc if tunnelled => (Direction::Inbound, false, true),
            Hook::AgentXdp | Hook::AgentTc => (Direction::Outbound, true, false),
            Hook::ResponderIn | Hook::InitiatorIn => (Direction::Inbound, false, false),
            Hook::ResponderOut | Hook::InitiatorOut => (Direction::Outbound, false, false),
        };
        let mut buffer = PacketBuffer::new(packet);
        if forwarded_first {
            buffer.as_mut_slice()[7] -= 1;
        }
        let fate = forwarder.forward(Instant::START, direction, &mut buffer, &mut Vec::new());
        let expected = if direction == Direction::Outbound { Fate::Send } else { Fate::Deliver };
        if forwarded_last {
            buffer.as_mut_slice()[7] -= 1;
        }
        (fate == expected).then(|| buffer.as_slice().to_vec())
    }
}

fn index(host: &NetworkNamespace, name: &str) -> u32 {
    host.run(|| nix::net::if_::if_nametoindex(name)).expect("the namespace").expect("an interface")
}
