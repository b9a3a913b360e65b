//! The policies by which new sources are given to responders (thesis 3.1.4, 4.3.1), one per anycast address: the
//! nearest, the first in an order of preference, the one with the least service-specific metric, shares by weight, or
//! equal shares. Each comes down to weights for the rendezvous. To add one is a variant and its line in `judge`.
//! Used by `haa`.

use std::net::Ipv6Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rendezvous::{Contender, slots};

/// What new sources are given out by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Topological distance: the least round-trip time between agent and responder.
    Distance,
    /// Accessibility: of those that can be reached the first in the operator's order.
    Preference,
    /// Service-specific: the least metric that responders report.
    Metric,
    /// Shares by the weights that responders report.
    #[default]
    Weighted,
    /// Equal shares.
    Hash,
}

/// What is known of a responder that may take new sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Number of the membership at this agent.
    pub number: u32,
    pub care_of: Ipv6Addr,
    /// Its Binding Identifier; zero for none.
    pub bid: u16,
    /// Smoothed round-trip time through the tunnel.
    pub distance: Option<Duration>,
    /// As reported, in thousandths; less is better.
    pub metric: Option<u32>,
    /// As reported, or one.
    pub weight: u16,
}

/// What a criterion says of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// The candidate with the least cost takes all: microseconds, place in the order (from zero), or thousandths of
    /// the metric. `None` is unknown and worse than any cost.
    Cost(Option<u64>),
    /// The candidate takes this share.
    Share(u32),
}

/// The policy of one anycast address, with the choice that it keeps to.
#[derive(Clone, Debug)]
pub struct Selector {
    criterion: Criterion,
    /// Care-of addresses in the order of [`Criterion::Preference`]; who is not named comes after them.
    preference: Vec<Ipv6Addr>,
    /// By how many percent another candidate must be better than the one chosen, so that measurements that tremble
    /// move nobody.
    margin: u32,
    chosen: Option<u32>,
}

/// Distances that differ by less are the same: a millisecond, in microseconds.
const INDIFFERENT: u64 = 1000;

impl Selector {
    /// A policy that has chosen nobody yet. `margin` is in percent.
    pub fn new(criterion: Criterion, preference: Vec<Ipv6Addr>, margin: u32) -> Self {
        Self { criterion, preference, margin: margin.min(99), chosen: None }
    }

    /// What this policy goes by.
    pub fn criterion(&self) -> Criterion {
        self.criterion
    }

    /// The number of the one that takes all new sources, under a policy that has one.
    pub fn chosen(&self) -> Option<u32> {
        self.chosen
    }

    /// What the policy says of `candidate`.
    pub fn judge(&self, candidate: &Candidate) -> Judgement {
        match self.criterion {
            Criterion::Distance => Judgement::Cost(
                candidate.distance.map(|of| u64::try_from(of.as_micros()).unwrap_or(u64::MAX)),
            ),
            Criterion::Preference => Judgement::Cost(
                self.preference
                    .iter()
                    .position(|preferred| *preferred == candidate.care_of)
                    .map(|place| place as u64),
            ),
            Criterion::Metric => Judgement::Cost(candidate.metric.map(u64::from)),
            Criterion::Weighted => Judgement::Share(u32::from(candidate.weight)),
            Criterion::Hash => Judgement::Share(1),
        }
    }

    /// The table of slots for `candidates`: indices into them.
    pub fn slots(&mut self, candidates: &[Candidate]) -> Vec<u16> {
        let weights = self.weights(candidates);
        let contenders: Vec<_> = candidates
            .iter()
            .zip(weights)
            .map(|(candidate, weight)| Contender { care_of: candidate.care_of, bid: candidate.bid, weight })
            .collect();
        slots(&contenders)
    }

    /// The weight of each candidate. Where the best takes all, the one chosen before stays until another is better by
    /// the margin.
    pub fn weights(&mut self, candidates: &[Candidate]) -> Vec<u32> {
        let mut shares = Vec::with_capacity(candidates.len());
        let mut costs = Vec::new();
        for candidate in candidates {
            match self.judge(candidate) {
                Judgement::Share(share) => shares.push(share),
                Judgement::Cost(cost) => costs.push((cost.unwrap_or(u64::MAX), candidate)),
            }
        }
        if costs.is_empty() {
            self.chosen = None;
            return or_equal(shares);
        }
        let best = costs.iter().min_by_key(|(cost, candidate)| (*cost, candidate.care_of, candidate.bid));
        let held = costs.iter().find(|(_, candidate)| Some(candidate.number) == self.chosen);
        let stays = match (held, best) {
            (Some((held, _)), Some((best, _))) => !self.is_worth_a_change(*held, *best),
            _ => false,
        };
        if !stays {
            self.chosen = best.map(|(_, candidate)| candidate.number);
        }
        candidates.iter().map(|candidate| u32::from(Some(candidate.number) == self.chosen)).collect()
    }

    /// The weight of each candidate where all of them are full: they share as they do otherwise, or, where the best would
    /// take all, by the weights that they report. Nobody is the chosen one then.
    pub fn weights_of_full(&mut self, candidates: &[Candidate]) -> Vec<u32> {
        self.chosen = None;
        let share = |candidate: &Candidate| match self.judge(candidate) {
            Judgement::Share(share) => share,
            Judgement::Cost(_) => u32::from(candidate.weight),
        };
        or_equal(candidates.iter().map(share).collect())
    }

    fn is_worth_a_change(&self, held: u64, best: u64) -> bool {
        let gain = held.saturating_sub(best);
        match self.criterion {
            // An order is exact.
            Criterion::Preference => gain > 0,
            Criterion::Distance if gain < INDIFFERENT => false,
            _ => u128::from(gain) * 100 > u128::from(held) * u128::from(self.margin),
        }
    }
}

/// These shares; where everybody says that it wants nothing, somebody has to, and all get the same.
fn or_equal(shares: Vec<u32>) -> Vec<u32> {
    let all_zero = shares.iter().all(|share| *share == 0);
    if all_zero { vec![1; shares.len()] } else { shares }
}
