//! Which packets are taken from the link, said twice in the same words: to the kernel's classic BPF (what
//! we get) and to nftables at the ingress of the device (what the kernel never sees). RFC 3775 6.1, 6.3,
//! 6.4 and RFC 2473 define the classes; called by `platform::linux::Host` and its packet socket.

use super::super::{error::Error, program::Program, selection::Selection};
use libc::sock_filter;
use std::{collections::HashSet, fmt::Write as _, net::Ipv6Addr};

/// Longest program the kernel takes.
const LONGEST_PROGRAM: usize = 4096;
/// Runs before every other chain of its hook that an operator is likely to have, and before the kernel reassembles
/// fragments (-400), which are told by their own header.
const CHAIN_PRIORITY: i32 = -500;
const IPV6_HEADER: usize = 40;
const ICMPV6: u8 = 58;

/// Where the kernel drops what is stolen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DropAt {
    /// At the ingress of the device, as early as can be.
    #[default]
    Ingress,
    /// After the device's traffic control, which may have taken packets of these classes for itself.
    Prerouting,
}

impl Selection {
    /// True when the kernel sees everything.
    pub fn steals_nothing(&self) -> bool {
        self.stolen.is_empty()
    }

    /// The program for a packet socket whose frames begin with `link_header` octets of link-layer header.
    pub fn program(&self, link_header: usize) -> Vec<sock_filter> {
        let mut blocks = Blocks { code: Vec::new(), link_header };
        blocks.ipv6_or_reject();
        for (next_header, source, destination) in &self.stolen {
            blocks.accept_class(*next_header, *source, Some(*destination));
        }
        for destination in &self.tapped {
            blocks.accept_icmpv6(&[(1, 4), (129, 129), (144, 147)], Some(*destination));
        }
        if self.neighbor_discovery {
            blocks.accept_icmpv6(&[(134, 136)], None);
        }
        if blocks.code.len() >= LONGEST_PROGRAM {
            // Take more than needed; `classify` sorts it out exactly.
            blocks = Blocks { code: Vec::new(), link_header };
            blocks.ipv6_or_reject();
            let next_headers: HashSet<u8> =
                self.stolen.iter().map(|(next_header, ..)| *next_header).collect();
            for next_header in next_headers {
                blocks.accept_class(next_header, None, None);
            }
            blocks.accept_icmpv6(&[(1, 4), (129, 129), (134, 136), (144, 147)], None);
        }
        blocks.reject();
        blocks.code
    }

    /// The nftables input that replaces our whole table in one transaction.
    fn ruleset(&self, table: &str, interface: &str, place: DropAt) -> String {
        let mut text = removal(table);
        if self.stolen.is_empty() {
            return text;
        }
        let (mut by_destination, mut by_both) = (Vec::new(), Vec::new());
        for (next_header, source, destination) in &self.stolen {
            match source {
                None => by_destination.push(format!("{next_header} . {destination}")),
                Some(source) => by_both.push(format!("{next_header} . {source} . {destination}")),
            }
        }
        // Sorted, so that a listing reads the same from run to run.
        by_destination.sort_unstable();
        by_both.sort_unstable();
        let (family, hook, from) = match place {
            DropAt::Ingress => ("netdev", format!("ingress device \"{interface}\""), String::new()),
            DropAt::Prerouting => ("ip6", "prerouting".to_owned(), format!("iifname \"{interface}\" ")),
        };
        let mut rules = String::new();
        // Writing to a String cannot fail.
        if !by_destination.is_empty() {
            let _ =
                writeln!(rules, "    {from}ip6 nexthdr . ip6 daddr {{ {} }} drop", by_destination.join(", "));
        }
        if !by_both.is_empty() {
            let _ = writeln!(
                rules,
                "    {from}ip6 nexthdr . ip6 saddr . ip6 daddr {{ {} }} drop",
                by_both.join(", ")
            );
        }
        let _ = writeln!(
            text,
            "table {family} {table} {{\n  chain stolen {{\n    type filter hook {hook} priority {CHAIN_PRIORITY}; \
             policy accept;\n{rules}  }}\n}}"
        );
        text
    }

    /// Makes the kernel drop exactly the stolen classes on `interface`.
    pub fn install_table(&self, table: &str, interface: &str, place: DropAt) -> Result<(), Error> {
        run_nft(&self.ruleset(table, interface, place))
    }
}

/// The name of our nftables table for the node `name`.
pub fn table_name(name: &str) -> String {
    let name = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
    format!("mga_{}", name.collect::<String>())
}

/// Removes our table, if it is there.
pub fn remove_table(table: &str) -> Result<(), Error> {
    run_nft(&removal(table))
}

/// nftables input that removes a table whether it exists or not.
fn removal(table: &str) -> String {
    ["netdev", "ip6"]
        .map(|family| format!("add table {family} {table}\ndelete table {family} {table}\n"))
        .concat()
}

/// Has `nft` carry out `input` as one transaction.
fn run_nft(input: &str) -> Result<(), Error> {
    const NFT: Program = Program { name: "nft", remedy: "install the package nftables" };
    NFT.run(&["-f", "-"], input).map(drop)
}

/// A classic BPF program under construction. Every block either accepts the packet or falls through to
/// the next block, so that no jump is longer than a block.
struct Blocks {
    code: Vec<sock_filter>,
    link_header: usize,
}

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_OCTET: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const JUMP_NOT_LESS: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Where a program finds the packet's protocol, as nftables' `meta protocol` sees it.
const PACKET_PROTOCOL: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL).cast_unsigned();
/// More octets than any packet has.
const WHOLE_PACKET: u32 = 0x4_0000;

impl Blocks {
    fn push(&mut self, code: u16, if_true: u8, if_false: u8, operand: u32) {
        self.code.push(sock_filter { code, jt: if_true, jf: if_false, k: operand });
    }

    /// An octet offset in the IPv6 packet as an offset in the frame.
    fn offset(&self, octet: usize) -> u32 {
        // Both are far below 2^16.
        (self.link_header + octet) as u32
    }

    fn reject(&mut self) {
        self.push(RETURN, 0, 0, 0);
    }

    fn ipv6_or_reject(&mut self) {
        self.push(LOAD_WORD, 0, 0, PACKET_PROTOCOL);
        self.push(JUMP_EQUAL, 1, 0, libc::ETH_P_IPV6.cast_unsigned());
        self.reject();
    }

    /// Accepts packets with this next header and these addresses.
    fn accept_class(&mut self, next_header: u8, source: Option<Ipv6Addr>, destination: Option<Ipv6Addr>) {
        let addresses = 8 * (usize::from(source.is_some()) + usize::from(destination.is_some()));
        self.push(LOAD_OCTET, 0, 0, self.offset(6));
        self.push(JUMP_EQUAL, 0, addresses as u8 + 1, u32::from(next_header));
        self.match_addresses(source, destination);
        self.push(RETURN, 0, 0, WHOLE_PACKET);
    }

    /// Accepts ICMPv6 messages with a type in one of the ascending `ranges` to this destination.
    fn accept_icmpv6(&mut self, ranges: &[(u8, u8)], destination: Option<Ipv6Addr>) {
        let addresses = 8 * u8::from(destination.is_some());
        // Instructions from here to the end of the block, without the one that jumps.
        let mut left = 2 * ranges.len() as u8 + addresses + 2;
        self.push(LOAD_OCTET, 0, 0, self.offset(6));
        self.push(JUMP_EQUAL, 0, left, u32::from(ICMPV6));
        self.push(LOAD_OCTET, 0, 0, self.offset(IPV6_HEADER));
        left -= 1;
        for (range, (first, last)) in ranges.iter().enumerate() {
            let is_last = range + 1 == ranges.len();
            // Below this range, and so in none: out of the block.
            left -= 1;
            self.push(JUMP_NOT_LESS, 0, left, u32::from(*first));
            left -= 1;
            let to_addresses = 2 * (ranges.len() - range - 1) as u8;
            self.push(JUMP_GREATER, if is_last { left } else { 0 }, to_addresses, u32::from(*last));
        }
        self.match_addresses(None, destination);
        self.push(RETURN, 0, 0, WHOLE_PACKET);
    }

    /// Leaves the block unless the addresses match; one more instruction must follow in the block.
    fn match_addresses(&mut self, source: Option<Ipv6Addr>, destination: Option<Ipv6Addr>) {
        let words = |address: Ipv6Addr, at: usize| {
            let bits = address.to_bits();
            (0..4_usize).map(move |word| (at + 4 * word, (bits >> (96 - 32 * word)) as u32))
        };
        let wanted: Vec<(usize, u32)> = source
            .into_iter()
            .flat_map(|address| words(address, 8))
            .chain(destination.into_iter().flat_map(|address| words(address, 24)))
            .collect();
        for (position, (at, word)) in wanted.iter().enumerate() {
            let left = 2 * (wanted.len() - position - 1) as u8 + 1;
            self.push(LOAD_WORD, 0, 0, self.offset(*at));
            self.push(JUMP_EQUAL, 0, left, *word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::intake::{Intake, Steal},
        *,
    };
    use proptest::prelude::*;

    fn address(number: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, number / 7, 0, number % 3, 0, number)
    }

    /// What the kernel's interpreter says about an IPv6 frame: true when it is accepted.
    fn accepts(program: &[sock_filter], frame: &[u8]) -> bool {
        let (mut accumulator, mut at) = (0_u32, 0);
        loop {
            let step = program[at];
            at += 1;
            let offset = step.k as usize;
            let jump = |condition| usize::from(if condition { step.jt } else { step.jf });
            match step.code {
                LOAD_WORD if step.k == PACKET_PROTOCOL => accumulator = libc::ETH_P_IPV6.cast_unsigned(),
                LOAD_WORD => match frame.get(offset..offset + 4) {
                    Some(word) => accumulator = u32::from_be_bytes(word.try_into().expect("4 octets")),
                    None => return false,
                },
                LOAD_OCTET => match frame.get(offset) {
                    Some(octet) => accumulator = u32::from(*octet),
                    None => return false,
                },
                JUMP_EQUAL => at += jump(accumulator == step.k),
                JUMP_GREATER => at += jump(accumulator > step.k),
                JUMP_NOT_LESS => at += jump(accumulator >= step.k),
                RETURN => return step.k != 0,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn class() -> impl Strategy<Value = Steal> {
        (0..4_u8, prop::option::of(0..9_u16), 0..9_u16).prop_map(|(kind, source, to)| {
            let destination = address(to);
            match kind {
                0 => Steal::Tunnel { source: source.map(address), destination },
                1 => Steal::MobilityHeader { destination },
                2 => Steal::DestinationOptions { destination },
                _ => Steal::RoutingHeader { destination },
            }
        })
    }

    proptest! {
        #[test]
        fn the_program_and_the_classification_agree(
            classes in prop::collection::vec(class(), 0..40),
            tapped in prop::collection::vec(0..9_u16, 0..4),
            neighbor_discovery: bool,
            link_header in prop::sample::select(vec![0_usize, 14]),
            packets in prop::collection::vec(
                (
                    prop::sample::select(vec![41_u8, 43, 58, 60, 135, 6]),
                    0..9_u16,
                    0..9_u16,
                    prop::sample::select(vec![0_u8, 1, 4, 5, 128, 129, 130, 133, 134, 135, 136, 137, 143, 144, 147, 148, 255]),
                    30..48_usize,
                ),
                30,
            ),
        ) {
            let mut filter = Selection::default();
            filter.set_stolen(&classes);
            filter.set_tapped(&tapped.into_iter().map(address).collect::<Vec<_>>(), neighbor_discovery);
            let program = filter.program(link_header);
            prop_assert!(program.len() <= LONGEST_PROGRAM);
            for (next_header, source, destination, kind, length) in packets {
                let mut packet = vec![0x60, 0, 0, 8, 0, 0, next_header, 64];
                packet.extend(address(source).octets());
                packet.extend(address(destination).octets());
                packet.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
                packet.truncate(length);
                let frame = [vec![0xee; link_header], packet.clone()].concat();
                prop_assert_eq!(accepts(&program, &frame), filter.classify(&packet).is_some());
            }
        }
    }

    #[test]
    fn too_many_classes_make_a_coarse_program_that_still_fits() {
        let classes: Vec<_> = (0..5000)
            .map(|number| Steal::Tunnel { source: Some(address(number)), destination: address(1) })
            .collect();
        let mut filter = Selection::default();
        filter.set_stolen(&classes);
        let program = filter.program(14);
        assert!(program.len() < 40, "{}", program.len());
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 41, 64];
        packet.extend(address(4999).octets());
        packet.extend(address(1).octets());
        let frame = [vec![0; 14], packet.clone()].concat();
        assert!(accepts(&program, &frame));
        assert_eq!(filter.classify(&packet), Some(Intake::Steal));
    }

    #[test]
    fn a_table_name_is_a_name_to_nft_whatever_the_node_is_called() {
        assert_eq!(table_name("haa-eth0.5 \"; flush ruleset"), "mga_haa_eth0_5____flush_ruleset");
    }
}
