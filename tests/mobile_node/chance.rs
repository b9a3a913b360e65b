//! A responder of the advanced model under whatever may come in any order: acknowledgements of every status from every
//! agent, samples, checks, drains, moves, silence. What it promises holds all the same, and it ends in time.
//! Run by this test's `main`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use mga_node::protocol::action::{Action, RuleKey};
use mga_node::protocol::ar::{Ar, ArCommand, ServiceConfig};
use mga_node::protocol::clock::Instant;
use mga_node::protocol::measure::{GaugeConfig, HealthConfig};
use mga_node::protocol::random::{Random, SeededRandom};

use crate::scene::*;

const MIDWAY: [Ipv6Addr; 3] = [AI1, AI2, SECOND_AGENT];

const SEEDS: u64 = 100;

/// What a run has seen.
#[derive(Default)]
struct Record {
    /// When which agent was sent a Binding Update.
    updates: BTreeMap<Ipv6Addr, Vec<Instant>>,
    /// The number of the last one.
    numbers: BTreeMap<Ipv6Addr, u16>,
    rules: BTreeSet<RuleKey>,
    /// Every rule there ever was.
    ever: BTreeSet<RuleKey>,
}

impl Record {
    fn take(&mut self, ar: &mut Ar, now: Instant) {
        for action in actions(ar) {
            match action {
                Action::Send(packet) => {
                    let packet = Sent::of(&packet);
                    if let Some(update) = packet.update() {
                        self.updates.entry(packet.destination).or_default().push(now);
                        self.numbers.insert(packet.destination, update.sequence);
                    }
                }
                Action::InstallRule(rule) => {
                    self.rules.insert(rule.key());
                    self.ever.insert(rule.key());
                }
                Action::RemoveRule(key) => {
                    self.rules.remove(&key);
                }
                _ => {}
            }
        }
    }
}

fn command(dice: &mut impl Random) -> ArCommand {
    let [what, octet, ..] = dice.octets8();
    let flag = octet & 1 != 0;
    match what % 12 {
        0 => ArCommand::Register(None),
        1 => ArCommand::Deregister(None),
        2..=4 => ArCommand::Measured { anycast: ANYCAST, value: f64::from(octet) },
        5 | 6 => ArCommand::Checked { anycast: ANYCAST, well: octet > 50 },
        7 => ArCommand::Established { anycast: ANYCAST, count: flag.then_some(u64::from(octet / 128)) },
        8 => ArCommand::Drain { anycast: None, within: flag.then_some(Duration::from_secs(octet.into())) },
        9 => ArCommand::Undrain(None),
        10 => ArCommand::Move(if flag { AR1 } else { AR2 }),
        _ => ArCommand::Weight { anycast: None, weight: octet.into() },
    }
}

fn acknowledgement(dice: &mut impl Random, record: &Record) -> Vec<u8> {
    let [who, how, number, lifetime, names, care_of, ..] = dice.octets8();
    let agent = [AGENT, AGENT, MIDWAY[0], MIDWAY[1], MIDWAY[2]][usize::from(who % 5)];
    let sent = record.numbers.get(&agent).copied().unwrap_or_default();
    let status = [0, 0, 0, 0, 1, 128, 130, 133, 135, 135, 164, 166][usize::from(how % 12)];
    // Mostly the number that is waited for.
    let sequence = if number < 200 { sent } else { sent.wrapping_add(u16::from(number) - 200) };
    let care_of = if care_of & 1 == 0 { AR1 } else { AR2 };
    if how & 0x80 == 0 {
        let named = &MIDWAY[..usize::from(names % 4)];
        return granted_at(care_of, agent, status, sequence, lifetime.into(), named);
    }
    acknowledged(agent, care_of, status, sequence, lifetime.into())
}

/// One life; the rules it had.
fn live(seed: u64) -> BTreeSet<RuleKey> {
    let mut dice = SeededRandom::new(seed);
    let mut ar = asking(ServiceConfig {
        midway_agents: vec![MIDWAY[0]],
        metric: Some(GaugeConfig::default()),
        health: (seed.is_multiple_of(3)).then(HealthConfig::default),
        ..ServiceConfig::default()
    });
    let (mut now, mut record) = (at(0.0), Record::default());
    for _ in 0..300 {
        record.take(&mut ar, now);
        match dice.octets8()[0] % 4 {
            0 => ar.handle_command(now, &command(&mut dice)),
            1 | 2 => ar.handle_packet(now, &acknowledgement(&mut dice, &record)),
            _ => {
                let until = now + Duration::from_millis(u64::from(dice.number16()) / 4);
                now = pass_until(&mut ar, &mut record, until);
            }
        }
    }
    record.take(&mut ar, now);
    ar.handle_command(now, &ArCommand::Shutdown);
    record.take(&mut ar, now);
    now = pass_until(&mut ar, &mut record, now + Duration::from_millis(2500));
    assert!(ar.is_finished(), "seed {seed} at {now:?}: {:?}", ar.registrations(now));
    assert_eq!(ar.poll_timeout(), None, "seed {seed}");
    assert_eq!(record.rules, BTreeSet::new(), "seed {seed}: nothing is left");
    for (agent, times) in record.updates {
        // RFC 3775 12: MAX_UPDATE_RATE is 3.
        let crowded =
            times.windows(4).find(|four| four[3].saturating_since(four[0]) < Duration::from_secs(1));
        assert_eq!(crowded, None, "seed {seed}: {agent}");
    }
    record.ever
}

fn pass_until(ar: &mut Ar, record: &mut Record, until: Instant) -> Instant {
    for _ in 0..10_000 {
        let Some((due, _)) = ar.poll_timeout().filter(|(due, _)| *due <= until) else { return until };
        ar.handle_timeout(due);
        record.take(ar, due);
    }
    panic!("a timer spins: {:?}", ar.poll_timeout());
}

#[test]
fn whatever_comes_the_rate_is_kept_and_the_end_comes_in_time_and_leaves_nothing() {
    let ever: BTreeSet<_> = (0..SEEDS).flat_map(live).collect();
    // Two directions and the routing header with the home agent, and a tunnel from each of the others.
    assert_eq!(ever.len(), 3 + MIDWAY.len(), "all of it has happened: {ever:?}");
}
