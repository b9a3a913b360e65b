//! Whether a responder is alive, and how far away: probes through the tunnel at an interval, lost after some that are
//! not answered, back only after some that are, one after the other (thesis 3.1.4 accessibility and distance). Knows
//! no packet and no clock. One for each member, driven by `haa`.

use std::collections::VecDeque;
use std::time::Duration;

use super::clock::Instant;

/// How members of an anycast address are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// From probe to probe; zero probes nobody, and everybody who is bound is taken for alive.
    pub interval: Duration,
    /// Probes without an answer in a row after which a member is lost.
    pub fall: u32,
    /// Answers in a row after which a lost one is back.
    pub rise: u32,
}

impl Default for Probing {
    fn default() -> Self {
        Self { interval: Duration::from_millis(300), fall: 3, rise: 3 }
    }
}

/// A probe, as it must come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub sequence: u16,
    /// Nobody who does not see the probe can answer it.
    pub nonce: [u8; 8],
    sent: Instant,
}

/// What a member needs when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Probe(Probe),
    /// It has just been lost.
    Lost,
}

/// One member's.
#[derive(Clone, Debug)]
pub struct Liveness {
    alive: bool,
    /// Answers in a row while lost.
    answers: u32,
    /// Probes in the air, oldest first.
    open: VecDeque<Probe>,
    /// Probes since the last sign of life. Not those in the air: where the round trip is longer than the interval, there
    /// are always some.
    unanswered: u32,
    sequence: u16,
    distance: Option<Duration>,
    next: Instant,
    /// When the last of `fall` probes has waited long enough.
    verdict: Option<Instant>,
}

/// Probes in the air that are remembered: answers may be late, but not by much more.
const OPEN: usize = 8;

impl Liveness {
    /// Of a member that has just registered, which is a sign of life. Its first probe goes out after an interval.
    pub fn new(now: Instant, interval: Duration) -> Self {
        Self {
            alive: true,
            answers: 0,
            open: VecDeque::new(),
            unanswered: 0,
            sequence: 0,
            distance: None,
            next: now + interval,
            verdict: None,
        }
    }

    /// True unless it is lost.
    pub fn is_alive(&self) -> bool {
        self.alive
    }

    /// Round-trip time through the tunnel, smoothed as RFC 6298 section 2 does.
    pub fn distance(&self) -> Option<Duration> {
        self.distance
    }

    /// When [`Liveness::due`] wants to be called.
    pub fn deadline(&self) -> Instant {
        self.verdict.map_or(self.next, |verdict| verdict.min(self.next))
    }

    /// What is to be done now. `interval` may be longer than that of `probing`, where there are many to probe.
    pub fn due(
        &mut self,
        now: Instant,
        probing: &Probing,
        interval: Duration,
        nonce: [u8; 8],
    ) -> Option<Due> {
        if self.verdict.is_some_and(|verdict| verdict <= now) {
            self.verdict = None;
            self.alive = false;
            self.answers = 0;
            return Some(Due::Lost);
        }
        if self.next > now {
            return None;
        }
        // From the moment it was due, not from now: a busy node must not stretch the row.
        self.next = (self.next + interval).max(now);
        self.sequence = self.sequence.wrapping_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered > 1 {
            self.answers = 0;
        }
        if self.alive && self.unanswered >= probing.fall && self.verdict.is_none() {
            // The last of them gets less time than the others had, so that the default is done within a second.
            self.verdict = Some(now + interval / 6);
        }
        let probe = Probe { sequence: self.sequence, nonce, sent: now };
        if self.open.len() == OPEN {
            self.open.pop_front();
        }
        self.open.push_back(probe);
        Some(Due::Probe(probe))
    }

    /// True when an answer like this is waited for.
    pub fn awaits(&self, sequence: u16, nonce: &[u8]) -> bool {
        self.open.iter().any(|probe| probe.sequence == sequence && probe.nonce == *nonce)
    }

    /// An answer came; true when the member is back by it. One that answers no probe of ours changes nothing.
    pub fn answered(&mut self, now: Instant, sequence: u16, nonce: &[u8], probing: &Probing) -> bool {
        let is_it = |probe: &Probe| probe.sequence == sequence && probe.nonce == *nonce;
        let Some(at) = self.open.iter().position(is_it) else { return false };
        let Some(probe) = self.open.drain(..=at).next_back() else { return false };
        let sample = now.saturating_since(probe.sent);
        self.distance = Some(match self.distance {
            None => sample,
            Some(smoothed) => (smoothed * 7 + sample) / 8,
        });
        self.give_sign();
        if self.alive {
            return false;
        }
        self.answers += 1;
        self.alive = self.answers >= probing.rise;
        self.alive
    }

    /// A sign of life that answers no probe, such as a Binding Update.
    pub fn give_sign(&mut self) {
        self.unanswered = 0;
        self.verdict = None;
    }
}
