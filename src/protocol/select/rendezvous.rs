//! Who gets which slot: weighted rendezvous hashing (the highest of one pseudo-random draw per member and slot), in
//! integers only, so that agents that know the same members fill their tables alike on every machine, and a member that
//! goes leaves only its own slots to others (thesis 4.3.1). Used by the selectors.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::group::{SLOTS, mix};

/// Binary digits behind the point of the logarithms below.
const FRACTION: u32 = 24;

/// A member that slots are given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// What names the member at every agent: its care-of address and its Binding Identifier, zero for none.
    pub care_of: Ipv6Addr,
    pub bid: u16,
    /// Its share against the others' weights; zero gets no slot.
    pub weight: u32,
}

impl Contender {
    fn key(&self) -> u64 {
        let bits = u128::from(self.care_of);
        mix(mix(mix((bits >> 64) as u64) ^ bits as u64) ^ u64::from(self.bid))
    }
}

/// Contenders of one weight: index and key of each.
type Class<'a> = (u32, Vec<(u16, u64, &'a Contender)>);

/// For each of the [`SLOTS`] slots the index of the contender that gets it; nothing when none has a weight.
pub fn slots(contenders: &[Contender]) -> Vec<u16> {
    let mut classes: BTreeMap<u32, Vec<(u16, u64, &Contender)>> = BTreeMap::new();
    for (index, contender) in (0..=u16::MAX).zip(contenders).filter(|(_, contender)| contender.weight > 0) {
        classes.entry(contender.weight).or_default().push((index, contender.key(), contender));
    }
    let classes: Vec<Class<'_>> = classes.into_iter().collect();
    match classes.as_slice() {
        [] => Vec::new(),
        [(_, only)] if only.len() == 1 => vec![only[0].0; SLOTS],
        _ => (0..SLOTS as u64).map(|slot| winner(mix(slot), &classes)).collect(),
    }
}

/// With u drawn evenly from (0, 1], the member with the least -log(u) / weight wins as often as its weight says. Among
/// equals that is the one with the highest draw, and only these need a logarithm.
fn winner(slot: u64, classes: &[Class<'_>]) -> u16 {
    let highest = classes.iter().filter_map(|(weight, members)| {
        let draws = members.iter().map(|(index, key, contender)| (mix(slot ^ key), *contender, *index));
        let (draw, contender, index) = draws.max_by_key(|(draw, of, _)| (*draw, of.care_of, of.bid))?;
        Some((negative_log2(draw), u128::from(*weight), (contender.care_of, contender.bid), index))
    });
    let first = highest.min_by(|(wait, weight, name, _), (other_wait, other_weight, other_name, _)| {
        (wait * other_weight).cmp(&(other_wait * weight)).then_with(|| name.cmp(other_name))
    });
    first.map_or(0, |(.., index)| index)
}

/// -log2 of `(draw + 1) / 2^64`, in units of 2^-[`FRACTION`]: digit after digit by squaring.
fn negative_log2(draw: u64) -> u128 {
    let Some(value) = draw.checked_add(1) else { return 0 };
    let shift = value.leading_zeros();
    let mut mantissa = value << shift;
    let mut digits = u64::from(63 - shift);
    for _ in 0..FRACTION {
        let square = u128::from(mantissa) * u128::from(mantissa);
        let carries = square >> 127 == 1;
        digits = digits << 1 | u64::from(carries);
        mantissa = (square >> if carries { 64 } else { 63 }) as u64;
    }
    u128::from((64 << FRACTION) - digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(last: u16, weight: u32) -> Contender {
        Contender { care_of: Ipv6Addr::new(0x2001, 0xdb8, 0, 4, 0, 0, 0, last), bid: 0, weight }
    }

    #[test]
    fn the_logarithm_is_one() {
        for draw in [0, 1, 2, 1000, u64::MAX / 3, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let exact = 64.0 - (draw as f64 + 1.0).log2();
            let got = negative_log2(draw) as f64 / f64::from(1 << FRACTION);
            assert!((got - exact).abs() < 1e-6, "{draw}: {got} {exact}");
        }
    }

    #[test]
    fn a_table_is_the_same_on_every_machine() {
        let table = slots(&[contender(1, 3), contender(2, 1), contender(3, 7)]);
        let sum = table.iter().enumerate().fold(0u64, |sum, (at, index)| {
            sum.wrapping_mul(31).wrapping_add(at as u64 * (u64::from(*index) + 1))
        });
        assert_eq!(sum, GOLDEN, "{:?}", &table[..8]);
    }

    /// From a computation in floating point elsewhere. Another number means that agents of two versions disagree.
    const GOLDEN: u64 = 6_997_003_897_177_159_851;
}
