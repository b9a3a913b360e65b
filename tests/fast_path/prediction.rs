//! Which packets the programs take, said a second time and from the documentation (docs/fast-path.md), not from the
//! programs: whole packets of plain data between global addresses that match a rule and fit their path.
//! Called by the comparison for every packet.

use std::net::Ipv6Addr;

use mga_node::forwarding::ebpf::Hook;

use super::world::{AGENT, AI2, ANYCAST, AR1, AR2, LINK_MTU, OTHER_ANYCAST, TUNNEL_MTU};

const OUTER: usize = 40;
const EXTENSION: usize = 24;

struct Header<'a> {
    next: u8,
    hops: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    rest: &'a [u8],
}

/// A whole packet's header, nothing behind it.
fn header(packet: &[u8]) -> Option<Header<'_>> {
    let (fixed, rest) = packet.split_at_checked(OUTER)?;
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&fixed[at..at + 16]).expect("16 octets"));
    let promised = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    (fixed[0] >> 4 == 6 && promised == rest.len()).then(|| Header {
        next: fixed[6],
        hops: fixed[7],
        source: address(8),
        destination: address(24),
        rest,
    })
}

fn is_global(address: Ipv6Addr) -> bool {
    !address.is_multicast()
        && !address.is_unicast_link_local()
        && address.segments()[..4].iter().any(|segment| *segment != 0)
}

/// Upper layers and fragments of the two that are fragmented; ICMPv6 that is nobody's but the two ends'.
fn is_data(protocol: u8, body: &[u8]) -> bool {
    match protocol {
        6 | 17 | 33 | 47 | 50 | 132 | 136 => true,
        58 => matches!(body.first(), Some(128..=132 | 138..=143 | 148..)),
        44 => body.len() >= 8 && matches!(body[0], 6 | 17),
        _ => false,
    }
}

/// Whether the program at `hook` takes the packet.
pub fn takes(hook: Hook, packet: &[u8]) -> bool {
    let Some(ip) = header(packet) else { return false };
    match hook {
        Hook::AgentXdp | Hook::AgentTc if ip.next == 41 => {
            let Some(inner) = header(ip.rest) else { return false };
            let bound = [(ANYCAST, AR1), (OTHER_ANYCAST, AR2)].contains(&(inner.source, ip.source));
            bound
                && ip.destination == AGENT
                && inner.hops > 1
                && is_global(inner.destination)
                // Neither to the agent itself, nor to its other anycast addresses.
                && ![AGENT, ANYCAST, OTHER_ANYCAST].contains(&inner.destination)
                && is_routed(inner.destination)
                && is_data(inner.next, inner.rest)
                && ip.rest.len() <= LINK_MTU as usize
        }
        Hook::AgentXdp | Hook::AgentTc => {
            [ANYCAST, OTHER_ANYCAST].contains(&ip.destination)
                && ip.source != AGENT
                && is_global(ip.source)
                && ip.hops > 1
                && is_data(ip.next, ip.rest)
                && packet.len() <= TUNNEL_MTU as usize
        }
        Hook::ResponderIn if ip.next == 41 => {
            let midway = "2001:db8:0:2::1".parse::<Ipv6Addr>().expect("an address");
            let Some(inner) = header(ip.rest) else { return false };
            inner.destination == ANYCAST
                && ip.destination == AR1
                && [AGENT, midway].contains(&ip.source)
                && is_data(inner.next, inner.rest)
        }
        Hook::ResponderIn => {
            let Some((routing, body)) = ip.rest.split_at_checked(EXTENSION) else { return false };
            ip.next == 43
                && routing[1..4] == [2, 2, 1]
                && routing[8..] == ANYCAST.octets()
                && ip.destination == AR1
                && ip.hops > 1
                && routing[0] != 44
                && is_data(routing[0], body)
        }
        Hook::ResponderOut => {
            let direct = ip.destination == AI2;
            let added = if direct { EXTENSION } else { OUTER };
            ip.source == ANYCAST
                && is_global(ip.destination)
                && is_data(ip.next, ip.rest)
                && !(direct && ip.next == 44)
                && packet.len() + added <= LINK_MTU as usize
        }
        Hook::InitiatorIn => {
            let Some((options, body)) = ip.rest.split_at_checked(EXTENSION) else { return false };
            ip.next == 60
                && options[1..4] == [2, 1, 2]
                && options[6..8] == [201, 16]
                && options[8..] == ANYCAST.octets()
                && (ip.source, ip.destination) == (AR1, AI2)
                && options[0] != 44
                && is_data(options[0], body)
        }
        Hook::InitiatorOut => {
            (ip.source, ip.destination) == (AI2, ANYCAST)
                && ip.next != 44
                && is_data(ip.next, ip.rest)
                && packet.len() + EXTENSION <= LINK_MTU as usize
        }
    }
}

/// What the host knows a neighbour for: everything off its link, by the router, and the router.
fn is_routed(destination: Ipv6Addr) -> bool {
    let on_link = destination.segments()[..4] == AGENT.segments()[..4];
    !on_link || destination == "2001:db8:0:1::1".parse::<Ipv6Addr>().expect("an address")
}
