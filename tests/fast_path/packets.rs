//! Packets of every kind a hook may meet, good ones and ones that differ from a good one in something: made from a
//! number, so that a failure can be repeated. Used by the comparison.

use std::net::Ipv6Addr;

use mga_node::forwarding::ebpf::Hook;
use mga_node::wire::ipv6::{self, Ipv6Header};

use super::world::{AGENT, AI1, AI2, ANYCAST, AR1, AR2, OTHER_ANYCAST};

/// Makes one packet out of one number.
pub struct Maker(u64);

/// A UDP packet that the program at `hook` takes.
pub fn plainest(hook: Hook) -> Vec<u8> {
    // The number does not matter: nothing is drawn from it.
    Maker::new(0).carrying(hook, 17, &[0, 7, 0, 7, 0, 12, 0x12, 0x34, 1, 2, 3, 4], 64)
}

impl Maker {
    pub fn new(number: u64) -> Self {
        Self(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// A number below `bound` (xorshift).
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// True once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    fn address(&mut self) -> Ipv6Addr {
        let special = [
            "::",
            "::1",
            "fe80::5",
            "ff02::1",
            "ff0e::9",
            "2001:db8:0:1::1",
            "2001:db8:0:1::77",
            "2001:db8:0:2::1",
        ];
        match self.below(3) {
            0 => self.one_of(&special).parse().expect("an address"),
            1 => self.one_of(&[ANYCAST, OTHER_ANYCAST, AGENT]),
            _ => self.one_of(&[AI1, AI2, AR1, AR2]),
        }
    }

    /// What stands behind all other headers, as (protocol, octets).
    fn upper(&mut self) -> (u8, Vec<u8>) {
        let length = self.one_of(&[
            0, 1, 7, 8, 12, 20, 64, 200, 1200, 1380, 1396, 1400, 1420, 1421, 1436, 1437, 1460, 1461, 2000,
        ]);
        let protocols =
            [6, 6, 6, 17, 17, 58, 58, 58, 132, 50, 47, 33, 136, 59, 135, 4, 44, 0, 43, 60, 51, 253, 41];
        let protocol = self.one_of(&protocols);
        let mut body = self.octets(length);
        if let Some(first) = body.first_mut() {
            match protocol {
                58 => {
                    *first = self.one_of(&[
                        1, 2, 3, 4, 127, 128, 129, 130, 132, 133, 135, 137, 138, 143, 144, 147, 148, 200, 255,
                    ])
                }
                44 => *first = self.one_of(&[6, 17, 58, 60, 135, 41]),
                _ => {}
            }
        }
        if protocol == 44 && body.len() > 3 {
            // First, later and only fragments.
            let offset = self.one_of(&[[0, 0], [0, 1], [5, 0xa9]]);
            body[2..4].copy_from_slice(&offset);
        }
        (protocol, body)
    }

    /// A packet as the hook's host gets it with this data in it.
    fn carrying(&mut self, hook: Hook, protocol: u8, body: &[u8], hops: u8) -> Vec<u8> {
        let plain =
            |source, destination| ipv6::packet(Ipv6Header::new(protocol, hops, source, destination), body);
        let extended = |next, words: [u8; 7], source, destination| {
            let extension = [&[protocol][..], &words, &ANYCAST.octets(), body].concat();
            ipv6::packet(Ipv6Header::new(next, hops, source, destination), &extension)
        };
        let tunnel = |source, destination, inner: Vec<u8>| {
            ipv6::packet(Ipv6Header::new(41, 64, source, destination), &inner)
        };
        match hook {
            Hook::AgentXdp | Hook::AgentTc => match self.below(2) {
                0 => plain(AI1, ANYCAST),
                _ => tunnel(AR1, AGENT, plain(ANYCAST, AI1)),
            },
            Hook::ResponderIn => match self.below(2) {
                0 => tunnel(AGENT, AR1, plain(AI1, ANYCAST)),
                _ => extended(43, [2, 2, 1, 0, 0, 0, 0], AI2, AR1),
            },
            Hook::ResponderOut => plain(ANYCAST, if self.once_in(2) { AI1 } else { AI2 }),
            Hook::InitiatorIn => extended(60, [2, 1, 2, 0, 0, 201, 16], AR1, AI2),
            Hook::InitiatorOut => plain(AI2, ANYCAST),
        }
    }

    /// A packet that the hook may or may not take.
    pub fn packet(&mut self, hook: Hook) -> Vec<u8> {
        let (protocol, body) = self.upper();
        let hops = self.one_of(&[0, 1, 2, 3, 64, 64, 64, 255]);
        let mut packet = self.carrying(hook, protocol, &body, hops);
        // A traffic class and a flow label, inside and outside.
        packet[1] = self.below(256) as u8;
        if self.once_in(3) {
            let at = self.one_of(&[8, 24, 48, 64]);
            let address = self.address().octets();
            if let Some(field) = packet.get_mut(at..at + 16) {
                field.copy_from_slice(&address);
            }
        }
        if self.once_in(8) {
            let at = self.below(packet.len().min(100));
            packet[at] ^= 1 << self.below(8);
        }
        if self.once_in(16) {
            let length = packet.len() - self.below(packet.len().min(80));
            packet.truncate(length);
        }
        if self.once_in(16) {
            let more = self.below(20);
            packet.extend(self.octets(more));
        }
        packet
    }
}
