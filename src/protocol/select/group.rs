//! A group: one anycast address, the responders behind it and the table by which a source without a fixed responder
//! gets one (thesis 4.3.1 and 4.3.2). The table is the same at every agent that knows the same members, and the same
//! in user space and in eBPF, so it is data and [`slot_of`] is all the arithmetic there is.
//! Built by the selectors, carried out by `forwarding`.

use std::net::Ipv6Addr;
use std::time::Duration;

use serde::Serialize;

/// Slots in a group's table; a power of two.
pub const SLOTS: usize = 4096;

/// Which sources a member of a group takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takes {
    /// Its own and new ones.
    New,
    /// Only those that are fixed to it: it is being drained, or full.
    Kept,
}

/// One responder of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GroupMember {
    /// Names the membership for as long as it lasts, and no other one ever after at this agent: a source that is fixed
    /// to a number that is no longer in the group has lost its responder.
    pub number: u32,
    /// The peer unicast address, far end of the tunnel.
    pub care_of: Ipv6Addr,
    pub takes: Takes,
}

/// For how long the first packet of a source fixes it to a responder (thesis 4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Affinity {
    pub interval: Duration,
    /// Every packet begins the interval anew; else it ends this long after the first.
    pub renewed: bool,
    /// Sources held at most; the one idle longest makes room.
    pub capacity: usize,
}

impl Default for Affinity {
    /// Five minutes of silence, a million sources.
    fn default() -> Self {
        Self { interval: Duration::from_secs(300), renewed: true, capacity: 1_000_000 }
    }
}

/// What the data path does for one anycast address of the advanced model, in both directions: a packet to `anycast`
/// goes to the member its source is fixed to, else to the one its slot names, through a tunnel from `agent`; a packet
/// from `anycast` in a tunnel from any member to `agent` is taken out and sent on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    pub anycast: Ipv6Addr,
    /// The agent's own address, near end of every tunnel.
    pub agent: Ipv6Addr,
    /// Ordered by number.
    pub members: Vec<GroupMember>,
    /// [`SLOTS`] indices into `members`, or nothing when no member takes new sources.
    #[serde(skip)]
    pub slots: Vec<u16>,
    /// Without one, every packet goes by its slot.
    pub affinity: Option<Affinity>,
}

impl Group {
    /// The member that a source without a fixed responder gets.
    pub fn by_slot(&self, source: &Ipv6Addr) -> Option<&GroupMember> {
        let index = self.slots.get(slot_of(source))?;
        self.members.get(usize::from(*index))
    }

    /// The member with this number.
    pub fn member(&self, number: u32) -> Option<&GroupMember> {
        let at = self.members.binary_search_by_key(&number, |member| member.number).ok()?;
        self.members.get(at)
    }
}

/// The slot of a source: the upper twelve bits of a mix of its two halves. Every bit of the address moves every bit of
/// the result; it is no secret, since agents that share no key must agree.
pub fn slot_of(source: &Ipv6Addr) -> usize {
    let bits = u128::from(*source);
    let (upper, lower) = ((bits >> 64) as u64, bits as u64);
    let mixed = mix(mix(upper) ^ lower);
    (mixed >> (64 - SLOTS.trailing_zeros())) as usize
}

/// A bijection of 64 bits in which every bit depends on every other.
pub fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_spread_evenly_over_the_slots_whichever_half_differs() {
        for shift in [0, 64] {
            let mut counts = vec![0u32; SLOTS];
            for number in 0..(SLOTS as u128 * 64) {
                counts[slot_of(&Ipv6Addr::from((0x2001_0db8_u128 << 96) ^ (number << shift)))] += 1;
            }
            // 64 each on average; eight standard deviations either way.
            assert!(counts.iter().all(|count| (1..=128).contains(count)), "shift {shift}");
        }
    }

    #[test]
    fn a_member_is_found_by_number_and_a_source_by_slot() {
        let member = |number, last| GroupMember {
            number,
            care_of: Ipv6Addr::from(0x2001_0db8_u128 << 96 | last),
            takes: Takes::New,
        };
        let group = Group {
            anycast: Ipv6Addr::LOCALHOST,
            agent: Ipv6Addr::LOCALHOST,
            members: vec![member(3, 1), member(9, 2)],
            slots: vec![1; SLOTS],
            affinity: None,
        };
        assert_eq!(group.member(9).map(|m| m.number), Some(9));
        assert_eq!(group.member(4), None);
        assert_eq!(group.by_slot(&Ipv6Addr::LOCALHOST).map(|m| m.number), Some(9));
    }
}
