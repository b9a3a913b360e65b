//! Echo requests to an anycast address from many sources at an even rate, for what one ping cannot show: how sources
//! spread over responders, and who is served when a responder ends (thesis 4.3).
//! A program of its own on a machine of the lab (`mga-node lab load`); the answers are for the captures only.

use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{
    protocol::{home_link::icmpv6_packet, limits::HOP_LIMIT},
    wire::icmpv6::Icmpv6Message,
};

/// The raw protocol: packets come with their IPv6 header.
const WHOLE_PACKETS: i32 = 255;

/// Fresh sources are this far behind the others in the prefix.
const FRESH: u128 = 0x1_0000;

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Where to.
    pub anycast: Ipv6Addr,
    /// Sources are this and the addresses after it; they must be routed to the machine, which drops the answers.
    pub first: Ipv6Addr,
    /// Sources that take turns.
    pub sources: u16,
    /// Every second request comes from a source that has never sent before.
    pub fresh: bool,
    /// Requests per second.
    pub rate: u32,
    /// Requests in all; without a number, until the process is ended.
    pub count: Option<u32>,
    /// The identifier in every request, which tells one load from another.
    pub identifier: u16,
}

impl Load {
    /// Sends it.
    ///
    /// # Errors
    /// Without the right to send raw packets, or when the system refuses one.
    pub fn send(&self) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(WHOLE_PACKETS)))?;
        let to = SockAddr::from(SocketAddrV6::new(self.anycast, 0, 0, 0));
        let begin = Instant::now();
        let pause = Duration::from_secs(1) / self.rate.max(1);
        for number in 0..self.count.unwrap_or(u32::MAX) {
            let due = begin + pause.saturating_mul(number);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            socket.send_to(&self.request(number), &to)?;
        }
        Ok(())
    }

    /// The request of this number. Source and sequence number make it unlike the others.
    fn request(&self, number: u32) -> Vec<u8> {
        let turns = u128::from(self.sources.max(1));
        let offset = match (self.fresh, number % 2) {
            (true, 1) => FRESH + u128::from(number / 2),
            (true, _) => u128::from(number / 2) % turns,
            (false, _) => u128::from(number) % turns,
        };
        let source = Ipv6Addr::from(u128::from(self.first) + offset);
        let [.., high, low] = number.to_be_bytes();
        let (identifier, sequence) = (self.identifier, u16::from_be_bytes([high, low]));
        let message = Icmpv6Message::EchoRequest { code: 0, identifier, sequence, data: vec![0; 8] };
        icmpv6_packet(&source, &self.anycast, HOP_LIMIT, message)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::pcap::view::View;

    #[test]
    fn sources_take_turns_and_every_second_request_is_from_a_fresh_one() {
        let load = Load {
            anycast: "2001:db8:0:1::a".parse().expect("an address"),
            first: "2001:db8:0:12::1".parse().expect("an address"),
            sources: 3,
            fresh: true,
            rate: 1000,
            count: None,
            identifier: 7,
        };
        let sent: Vec<_> = (0..6_000)
            .map(|number| {
                let view = View::parse(&load.request(number)).expect("a packet");
                (view.outer.source, view.echo_request().expect("an echo request"))
            })
            .collect();
        let old: BTreeSet<_> = sent.iter().step_by(2).map(|(source, _)| *source).collect();
        let fresh: BTreeSet<_> = sent.iter().skip(1).step_by(2).map(|(source, _)| *source).collect();
        assert_eq!((old.len(), fresh.len()), (3, 3_000));
        assert!(old.is_disjoint(&fresh));
        assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), sent.len());
    }
}
