//! A node's own ipfw(8) rules, as text: which packets go to its divert socket, and where in the list they stand.
//! RFC 3775 6.3 and 6.4 define what the kernel would refuse; design section 3 has the rules swept and removed.
//! Called by `platform::freebsd::divert`, which hands the text to ipfw.

use super::super::selection::Selection;
use crate::wire::ipv6::next_header;
use std::{collections::BTreeSet, net::Ipv6Addr};

/// The first rule number a node may use. An operator's rules decide about what they match, so ours stand before those
/// of any usual configuration, whose first is 100.
const FIRST: u16 = 10;
/// So many nodes can run on one host.
const NODES: u16 = 20;
/// Rule numbers of one node.
const PER_NODE: u16 = 4;
/// An ipfw rule has a limited length; so many addresses are far below.
const ADDRESSES_IN_RULE: usize = 8;

/// How the comment of every rule of ours begins.
const MARK: &str = "// mga-node ";

/// The rule numbers of one node: two for each kind of packet, because a new set of rules is made before the old one is
/// removed, so that no packet slips through in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    first: u16,
}

/// For what a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Packets that come in by the link.
    In,
    /// Packets that this host sends.
    Out,
}

impl Numbers {
    /// Numbers that no rule of `listing`, what `ipfw list` prints, has.
    pub fn free(listing: &[Listed]) -> Option<Self> {
        let taken: BTreeSet<u16> = listing.iter().map(|rule| rule.number).collect();
        let firsts = (0..NODES).map(|node| FIRST + node * PER_NODE);
        firsts
            .map(|first| Self { first })
            .find(|numbers| numbers.all().all(|number| !taken.contains(&number)))
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = u16> {
        self.first..self.first + PER_NODE
    }

    /// The number of this kind's rules in a generation, even or odd.
    pub fn of(self, direction: Direction, generation: u8) -> u16 {
        let kind = match direction {
            Direction::In => 0,
            Direction::Out => 2,
        };
        self.first + kind + u16::from(generation % 2)
    }

    /// Which kind of rule has this number.
    pub fn direction(self, number: u16) -> Option<Direction> {
        match number.checked_sub(self.first)? {
            0 | 1 => Some(Direction::In),
            2 | 3 => Some(Direction::Out),
            _ => None,
        }
    }

    /// What is sent as if it had met this rule meets none of ours again: ipfw goes on behind it.
    pub fn last(self) -> u16 {
        self.first + PER_NODE - 1
    }
}

/// One rule as `ipfw list` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub number: u16,
    /// What it does, with its comment.
    pub text: String,
}

impl Listed {
    /// A rule of any node of ours.
    pub fn is_ours(&self) -> bool {
        self.text.contains(MARK)
    }
}

/// Reads what `ipfw list` prints; a line that is no rule is passed over.
pub fn listing(printed: &str) -> Vec<Listed> {
    let rule = |line: &str| {
        let (number, text) = line.trim().split_once(' ')?;
        Some(Listed { number: number.parse().ok()?, text: text.trim().to_owned() })
    };
    printed.lines().filter_map(rule).collect()
}

/// The comment that marks the rules of the node `name`.
pub fn comment(name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
    format!("mga-node {}", name.chars().map(plain).collect::<String>())
}

/// The numbers of the rules that an earlier run of the node with this comment left.
pub fn left_over(listing: &[Listed], comment: &str) -> BTreeSet<u16> {
    let ours = |rule: &&Listed| rule.text.rsplit_once("// ").is_some_and(|(_, last)| last.trim() == comment);
    listing.iter().filter(ours).map(|rule| rule.number).collect()
}

/// True when ipfw drops everything that is not ours: its last rule denies and nothing stands before it. Whoever loads the
/// module without rules is cut off, and so would the node's packets be.
pub fn denies_everything(listing: &[Listed]) -> bool {
    let mut foreign = listing.iter().filter(|rule| !rule.is_ours());
    matches!((foreign.next(), foreign.next()), (Some(last), None) if last.text.starts_with("deny "))
}

/// The rules that take what is stolen from the link. Mobility Headers and tunnels come by raw sockets instead: a kernel
/// with such a socket has no complaint about them.
pub fn intake(selection: &Selection, interface: &str, port: u16, number: u16, comment: &str) -> Vec<String> {
    let mut rules = Vec::new();
    for (kind, words) in
        [(next_header::DESTINATION_OPTIONS, "ext6hdr dstopt"), (next_header::ROUTING, "ext6hdr rthdr2")]
    {
        let destinations = selection.destinations(kind);
        for to in chunks(&destinations) {
            rules.push(format!(
                "add {number} divert {port} ip6 from any to {to} {words} in recv {interface} // {comment}"
            ));
        }
    }
    rules
}

/// The rules that take what this host sends from an address in `assigned` or to one in `redirected`. What stays inside the
/// host is not sent.
pub fn outlet(
    assigned: &BTreeSet<Ipv6Addr>,
    redirected: &BTreeSet<Ipv6Addr>,
    port: u16,
    number: u16,
    comment: &str,
) -> Vec<String> {
    let rule = |from: &str, to: &str| {
        format!("add {number} divert {port} ip6 from {from} to {to} out not xmit lo0 // {comment}")
    };
    let from = chunks(assigned).map(|from| rule(&from, "any"));
    let to = chunks(redirected).map(|to| rule("any", &to));
    from.chain(to).collect()
}

/// Address lists short enough for a rule.
fn chunks(addresses: &BTreeSet<Ipv6Addr>) -> impl Iterator<Item = String> {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let lists: Vec<_> = texts.chunks(ADDRESSES_IN_RULE).map(|some| some.join(",")).collect();
    lists.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Steal;

    const LIST: &str = "00010 divert 20001 ip6 from any to 2001:db8:0:3::2 ext6hdr dstopt in recv em0 // mga-node ai-em0\n\
        00100 allow ip from any to any via lo0\n65535 deny ip from any to any\n";

    fn address(number: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, number)
    }

    #[test]
    fn a_node_gets_numbers_before_the_operators_rules_that_nobody_has() {
        let list = listing(LIST);
        assert_eq!(list.len(), 3);
        let numbers = Numbers::free(&list).expect("numbers");
        assert_eq!(numbers.all().collect::<Vec<_>>(), [14, 15, 16, 17]);
        for generation in 0..3 {
            for direction in [Direction::In, Direction::Out] {
                assert_eq!(numbers.direction(numbers.of(direction, generation)), Some(direction));
            }
        }
        assert_ne!(numbers.of(Direction::In, 0), numbers.of(Direction::In, 1));
        assert_eq!((numbers.direction(13), numbers.direction(18), numbers.last()), (None, None, 17));
        let full: Vec<_> = (FIRST..100)
            .map(|number| Listed { number, text: "count ip from any to any".to_owned() })
            .collect();
        assert_eq!(Numbers::free(&full), None);
        const { assert!(FIRST + NODES * PER_NODE <= 100) };
    }

    #[test]
    fn only_rules_of_the_same_node_are_left_over() {
        let list = listing(LIST);
        assert_eq!(left_over(&list, &comment("ai-em0")), BTreeSet::from([10]));
        assert_eq!(left_over(&list, &comment("ai-em")), BTreeSet::new());
        assert_eq!(comment("haa-vlan0.5 \"; flush"), "mga-node haa-vlan0.5----flush");
    }

    #[test]
    fn a_firewall_without_rules_that_denies_is_noticed() {
        assert!(!denies_everything(&listing(LIST)));
        assert!(denies_everything(&listing(
            "00010 divert 2 ip6 from any to me6 // mga-node x\n65535 deny ip from any to any"
        )));
        assert!(!denies_everything(&listing("65535 allow ip from any to any")));
    }

    #[test]
    fn the_classes_the_kernel_refuses_are_diverted_on_the_link_only() {
        let mut selection = Selection::default();
        let mut classes: Vec<_> =
            (0..9).map(|n| Steal::DestinationOptions { destination: address(n) }).collect();
        classes.push(Steal::RoutingHeader { destination: address(1) });
        classes.push(Steal::MobilityHeader { destination: address(1) });
        classes.push(Steal::Tunnel { source: None, destination: address(1) });
        selection.set_stolen(&classes);
        let rules = intake(&selection, "vtnet1", 20_001, 10, "mga-node ar-vtnet1");
        assert_eq!(rules.len(), 3, "{rules:#?}");
        assert_eq!(
            rules[1],
            "add 10 divert 20001 ip6 from any to 2001:db8:0:1::8 ext6hdr dstopt in recv vtnet1 // mga-node ar-vtnet1"
        );
        assert_eq!(
            rules[2],
            "add 10 divert 20001 ip6 from any to 2001:db8:0:1::1 ext6hdr rthdr2 in recv vtnet1 // mga-node ar-vtnet1"
        );
    }

    #[test]
    fn what_the_host_sends_is_diverted_on_its_way_out() {
        let (assigned, redirected) =
            (BTreeSet::from([address(0xa)]), BTreeSet::from([address(1), address(2)]));
        assert_eq!(
            outlet(&assigned, &redirected, 7, 12, "mga-node ar-em0"),
            [
                "add 12 divert 7 ip6 from 2001:db8:0:1::a to any out not xmit lo0 // mga-node ar-em0",
                "add 12 divert 7 ip6 from any to 2001:db8:0:1::1,2001:db8:0:1::2 out not xmit lo0 // mga-node ar-em0",
            ]
        );
        assert!(outlet(&BTreeSet::new(), &BTreeSet::new(), 7, 12, "x").is_empty());
    }
}
