//! The words by which an agent learns how to serve an anycast address of the advanced model: selection, affinity and
//! probes, and what they amount to (thesis 4.3; docs/advanced-model.md).
//! Part of the words of an anycast address; turned into settings by `checks`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::checks::wrong_unless;
use super::words::{AnycastEntry, Model};
use crate::protocol::haa::GroupConfig;
use crate::protocol::input::is_routable_unicast;
use crate::protocol::liveness::Probing;
use crate::protocol::select::{Affinity, Criterion};
use crate::wire::mobility::Grant;

/// Seconds in a day: no interval of affinity is longer.
const LONGEST_AFFINITY: u32 = 86_400;
/// Fixed sources of an address at most: about 800 MB.
const MOST_SOURCES: usize = 1 << 24;
/// Milliseconds between probes.
const PROBE_INTERVALS: (u32, u32) = (50, 60_000);

/// When a source's interval begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AffinityWord {
    /// With its last packet.
    Renewed,
    /// With its first packet.
    Fixed,
    /// Never: every packet is chosen for anew.
    None,
}

impl AnycastEntry {
    /// The first word said that only an agent heeds.
    pub(super) fn agents_alone(&self) -> Option<&'static str> {
        let words = [
            ("anycast.selection", self.selection.is_some()),
            ("anycast.prefer", !self.prefer.is_empty()),
            ("anycast.margin", self.margin.is_some()),
            ("anycast.affinity", self.affinity.is_some()),
            ("anycast.affinity-interval", self.affinity_interval.is_some()),
            ("anycast.affinity-sources", self.affinity_sources.is_some()),
            ("anycast.probe-interval", self.probe_interval.is_some()),
            ("anycast.probe-fall", self.probe_fall.is_some()),
            ("anycast.probe-rise", self.probe_rise.is_some()),
        ];
        words.into_iter().find(|(_, said)| *said).map(|(word, _)| word)
    }

    /// How an agent serves this address, if it does so by the advanced model.
    ///
    /// # Errors
    /// For the first word that is wrong, or meaningless to the basic model.
    pub(super) fn settle_group(&self) -> Result<Option<GroupConfig>, ConfigError> {
        if self.model == Model::Basic {
            let agents = (!self.midway_agents.is_empty()).then_some("anycast.midway-agents");
            return match self.agents_alone().or(agents) {
                Some(field) => Err(ConfigError::Wrong {
                    field,
                    value: self.address.to_string(),
                    remedy: "say model = \"advanced\" for this address, or leave the word out".to_owned(),
                }),
                None => Ok(None),
            };
        }
        let usual = GroupConfig::default();
        let criterion = self.selection.unwrap_or_default();
        let has_order = criterion == Criterion::Preference;
        wrong_unless(
            has_order != self.prefer.is_empty(),
            "anycast.prefer",
            self.prefer.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            "with selection = \"preference\" give care-of addresses in order, and with no other one",
        )?;
        for care_of in &self.prefer {
            wrong_unless(
                is_routable_unicast(care_of),
                "anycast.prefer",
                care_of,
                "give care-of addresses of responders",
            )?;
        }
        let margin = self.margin.unwrap_or(usual.margin);
        wrong_unless(margin < 100, "anycast.margin", margin, "give percents from 0 to 99")?;
        let affinity = self.settle_affinity()?;
        let probing = self.settle_probing()?;
        for agent in &self.midway_agents {
            wrong_unless(
                is_routable_unicast(agent) && *agent != self.address,
                "anycast.midway-agents",
                agent,
                "give global addresses of midway agents",
            )?;
        }
        wrong_unless(
            self.midway_agents.len() <= Grant::MOST_AGENTS,
            "anycast.midway-agents",
            self.midway_agents.len(),
            "an acknowledgement names 15 agents at most",
        )?;
        Ok(Some(GroupConfig {
            criterion,
            preference: self.prefer.clone(),
            margin,
            affinity,
            probing,
            agents: self.midway_agents.clone(),
        }))
    }

    fn settle_affinity(&self) -> Result<Option<Affinity>, ConfigError> {
        let usual = Affinity::default();
        let word = self.affinity.unwrap_or(AffinityWord::Renewed);
        if word == AffinityWord::None {
            let said = self.affinity_interval.is_some() || self.affinity_sources.is_some();
            wrong_unless(
                !said,
                "anycast.affinity",
                "none",
                "leave affinity-interval and affinity-sources out, or have affinity",
            )?;
            return Ok(None);
        }
        let seconds = self.affinity_interval.unwrap_or(usual.interval.as_secs() as u32);
        wrong_unless(
            (1..=LONGEST_AFFINITY).contains(&seconds),
            "anycast.affinity-interval",
            seconds,
            "give seconds from 1 to 86400",
        )?;
        let capacity = self.affinity_sources.unwrap_or(usual.capacity);
        wrong_unless(
            (1..=MOST_SOURCES).contains(&capacity),
            "anycast.affinity-sources",
            capacity,
            "give a number of sources from 1 to 16777216",
        )?;
        let interval = Duration::from_secs(seconds.into());
        Ok(Some(Affinity { interval, renewed: word == AffinityWord::Renewed, capacity }))
    }

    fn settle_probing(&self) -> Result<Probing, ConfigError> {
        let usual = Probing::default();
        let milliseconds = self.probe_interval.unwrap_or(usual.interval.as_millis() as u32);
        let (least, most) = PROBE_INTERVALS;
        wrong_unless(
            milliseconds == 0 || (least..=most).contains(&milliseconds),
            "anycast.probe-interval",
            milliseconds,
            "give milliseconds from 50 to 60000, or 0 for no probes",
        )?;
        let count = |field, given: Option<u32>, usual: u32| {
            let count = given.unwrap_or(usual);
            wrong_unless((1..=100).contains(&count), field, count, "give a number of probes from 1 to 100")?;
            Ok(count)
        };
        Ok(Probing {
            interval: Duration::from_millis(milliseconds.into()),
            fall: count("anycast.probe-fall", self.probe_fall, usual.fall)?,
            rise: count("anycast.probe-rise", self.probe_rise, usual.rise)?,
        })
    }

    /// The entry that says `group`, every default spelled out.
    pub(super) fn of_group(entry: Self, group: GroupConfig) -> Self {
        let GroupConfig { criterion, preference, margin, affinity, probing, agents } = group;
        let word = match affinity {
            None => AffinityWord::None,
            Some(Affinity { renewed: true, .. }) => AffinityWord::Renewed,
            Some(_) => AffinityWord::Fixed,
        };
        Self {
            model: Model::Advanced,
            selection: Some(criterion),
            prefer: preference,
            margin: Some(margin),
            affinity: Some(word),
            affinity_interval: affinity.map(|of| of.interval.as_secs() as u32),
            affinity_sources: affinity.map(|of| of.capacity),
            probe_interval: Some(probing.interval.as_millis() as u32),
            probe_fall: Some(probing.fall),
            probe_rise: Some(probing.rise),
            midway_agents: agents,
            ..entry
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Given;
    use super::*;

    const AGENT: &str = "role = 'haa'\ninterface = 'eth0'\nauthentication = 'none'\n[[anycast]]\n\
                         address = '2001:db8:0:1::a'\n";

    fn settle(words: &str) -> Result<crate::daemon::config::Settings, ConfigError> {
        toml::from_str::<Given>(&format!("{AGENT}{words}")).expect("the test's file parses").settle()
    }

    #[test]
    fn an_advanced_address_is_settled_and_said_again() {
        for words in [
            "model = 'advanced'",
            "model = 'advanced'\nselection = 'preference'\nprefer = ['2001:db8:0:4::2', '2001:db8:0:5::2']",
            "model = 'advanced'\nselection = 'distance'\nmargin = 5\naffinity = 'fixed'\naffinity-interval = 7\n\
             affinity-sources = 9\nprobe-interval = 100\nprobe-fall = 5\nprobe-rise = 1\n\
             midway-agents = ['2001:db8:0:3::1']",
            "model = 'advanced'\naffinity = 'none'\nprobe-interval = 0",
            "model = 'basic'",
        ] {
            let settings = settle(words).expect("good settings");
            assert_eq!(settings.words().settle().expect("the same again"), settings, "{words}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_remedy() {
        for (words, beginning) in [
            ("selection = 'hash'", "anycast.selection = 2001:db8:0:1::a: say model"),
            ("midway-agents = ['2001:db8::1']", "anycast.midway-agents = 2001:db8:0:1::a: say model"),
            ("model = 'advanced'\nselection = 'preference'", "anycast.prefer = : with selection"),
            ("model = 'advanced'\nprefer = ['2001:db8::1']", "anycast.prefer = 2001:db8::1: with selection"),
            ("model = 'advanced'\nmargin = 100", "anycast.margin = 100: give percents"),
            ("model = 'advanced'\naffinity-interval = 0", "anycast.affinity-interval = 0: give seconds"),
            ("model = 'advanced'\naffinity = 'none'\naffinity-sources = 5", "anycast.affinity = none: leave"),
            ("model = 'advanced'\nprobe-interval = 10", "anycast.probe-interval = 10: give milliseconds"),
            ("model = 'advanced'\nprobe-fall = 0", "anycast.probe-fall = 0: give a number"),
            (
                "model = 'advanced'\nmidway-agents = ['ff02::1']",
                "anycast.midway-agents = ff02::1: give global",
            ),
            ("weight = 3", "anycast.weight means nothing to role haa"),
        ] {
            let message = settle(words).expect_err("wrong settings").to_string();
            assert!(message.starts_with(beginning), "{words}: {message}");
        }
        let responder = "role='ar'\ninterface='e'\nagent='::'\nauthentication='none'\n[[anycast]]\n\
                         address='2001:db8::a'\nmodel='advanced'\nselection='hash'";
        let message = toml::from_str::<Given>(responder).expect("it parses").settle().expect_err("wrong");
        assert_eq!(message.to_string(), "anycast.selection means nothing to role ar: leave it out");
    }
}
