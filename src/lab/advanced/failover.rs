//! How long it takes until everybody is served again after a responder has died, measured on packets.
//! The beginning is the last packet that the responder sent; the end is the last request after it that was not answered.
//! The claims of the step `killed` read it, and `--rounds` its median and its worst.

use std::{collections::BTreeSet, net::Ipv6Addr, time::Duration};

use super::is_source;
use crate::{
    lab::{
        figure11::{ANYCAST, Node},
        journey::{Journey, Leg, journeys},
    },
    pcap::passage::Trace,
};

/// The echo requests of a load.
pub fn load_of(trace: &Trace) -> Vec<Journey<'_>> {
    let mut load = journeys(trace, ANYCAST);
    load.retain(|journey| is_source(journey.source));
    load
}

/// What the captures say of one death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failover {
    /// From the responder's last packet until all new sources were served; `None` when they never were.
    pub new_served: Option<Duration>,
    /// The same for the sources that it had served.
    pub old_served: Option<Duration>,
    /// Requests without an answer.
    pub lost: usize,
}

impl Failover {
    /// What became of the requests of `load` when `dead` died; `None` when it is not in them or did not stop.
    pub fn of(load: &[Journey<'_>], dead: Node) -> Option<Failover> {
        let answered = |journey: &Journey<'_>| journey.answered_by(Node::Haa.address());
        let by_dead = |journey: &Journey<'_>| answered(journey) == Some(dead.address());
        let stopped = load.iter().flat_map(|journey| &journey.legs).filter_map(|(leg, passage)| match leg {
            Leg::TunnelFrom { responder, .. } if *responder == dead.address() => Some(passage.at()),
            _ => None,
        });
        let stopped = stopped.max()?;
        let before: BTreeSet<Ipv6Addr> =
            load.iter().filter(|journey| journey.at() <= stopped).map(|journey| journey.source).collect();
        let its: BTreeSet<Ipv6Addr> =
            load.iter().filter(|journey| by_dead(journey)).map(|journey| journey.source).collect();
        let served = |wanted: &dyn Fn(Ipv6Addr) -> bool| {
            let later: Vec<&Journey<'_>> =
                load.iter().filter(|journey| journey.at() > stopped && wanted(journey.source)).collect();
            let failed = later.iter().rposition(|journey| answered(journey).is_none());
            // The first request from which on every one was answered.
            let first = later.get(failed.map_or(0, |place| place + 1))?;
            Some(first.at() - stopped)
        };
        Some(Failover {
            new_served: served(&|source| !before.contains(&source)),
            old_served: served(&|source| its.contains(&source)),
            lost: load.iter().filter(|journey| answered(journey).is_none()).count(),
        })
    }
}

/// Several rounds of AR1 being killed, and of its ending cleanly.
#[derive(Debug, Default)]
pub struct Tally {
    /// Of each kill: until everybody was served; `None` when somebody never was.
    served: Vec<Option<Duration>>,
    /// Of each clean end: requests in all and requests lost.
    ends: Vec<(usize, usize)>,
}

impl Tally {
    /// Adds a kill.
    pub fn killed(&mut self, trace: &Trace) {
        let failover = Failover::of(&load_of(trace), Node::Ar1);
        self.served.push(failover.and_then(|of| Some(of.new_served?.max(of.old_served?))));
    }

    /// Adds a clean end.
    pub fn left(&mut self, trace: &Trace) {
        let load = load_of(trace);
        let lost = load.iter().filter(|journey| journey.answered_by(Node::Haa.address()).is_none()).count();
        self.ends.push((load.len(), lost));
    }

    /// Name and value of what the rounds came to.
    pub fn told(&self) -> Vec<(String, String)> {
        let mut served: Vec<Duration> = self.served.iter().flatten().copied().collect();
        served.sort_unstable();
        let never = self.served.len() - served.len();
        let seconds = |time: Option<&Duration>| {
            time.map_or("-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
        };
        let killed = format!(
            "median {}, worst {} of {}; never served: {never}",
            seconds(served.get(served.len() / 2)),
            seconds(served.last()),
            self.served.len(),
        );
        let lost = self.ends.iter().map(|(_, lost)| lost);
        let requests: usize = self.ends.iter().map(|(requests, _)| requests).sum();
        let ended = format!(
            "{} of {requests} requests lost, at most {} in one of {}",
            lost.clone().sum::<usize>(),
            lost.max().unwrap_or(&0),
            self.ends.len()
        );
        vec![
            ("Killed responder, until everybody is served".to_owned(), killed),
            ("Clean end of a responder".to_owned(), ended),
        ]
    }
}
