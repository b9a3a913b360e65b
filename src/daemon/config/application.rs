//! The words by which a responder learns how its application is: `[anycast.metric]` and `[anycast.health]`, and what
//! they amount to (thesis 3.1.4; docs/advanced-responder.md).
//! Part of the words of an anycast address; turned into settings by `checks`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::checks::wrong_unless;
use super::words::{AnycastEntry, Model};
use crate::daemon::polling::{Poll, Source};
use crate::protocol::ar::ServiceConfig;
use crate::protocol::measure::{GaugeConfig, HealthConfig};

/// Seconds between two questions unless told otherwise.
const INTERVAL: f64 = 5.0;
/// Seconds that an answer may take unless told otherwise.
const TIMEOUT: f64 = 2.0;
/// Seconds in a day; nothing is asked less often.
const LONGEST: f64 = 86_400.0;

/// What the operating system tells without any application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuiltIn {
    /// Load average of the last minute.
    Load,
    /// Established TCP connections of the anycast address.
    Connections,
}

/// Where the answer comes from, how often, and what is made of it; everything may be left unsaid but where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ApplicationWords {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// A JSON pointer into the answer of `http` (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built_in: Option<BuiltIn>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<f64>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// metric: the part of a new sample, up to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<f64>,
    /// metric: how far it must rise to be told; health: good checks in a row that bring the responder back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rise: Option<f64>,
    /// metric: how far it must fall to be told; health: failed checks in a row that take the responder out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fall: Option<f64>,
    /// metric, seconds: for how long it must have changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debounce: Option<f64>,
}

/// What a responder does for one anycast address.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSettings {
    pub config: ServiceConfig,
    pub metric: Option<Poll>,
    pub health: Option<Poll>,
}

impl AnycastEntry {
    /// What the words of this entry amount to at a responder.
    ///
    /// # Errors
    /// For the first word that is wrong.
    pub(super) fn settle_service(&self) -> Result<ServiceSettings, ConfigError> {
        let advanced = self.model == Model::Advanced;
        let needs_advanced = [
            ("anycast.midway-agents", !self.midway_agents.is_empty()),
            ("anycast.weight", self.weight.is_some()),
            ("anycast.capacity", self.capacity.is_some()),
            ("anycast.metric", self.metric.is_some()),
        ];
        for (field, said) in needs_advanced {
            wrong_unless(
                advanced || !said,
                field,
                "given in the basic model",
                "only the advanced model knows it: say model = \"advanced\" too, or leave it out",
            )?;
        }
        for agent in &self.midway_agents {
            wrong_unless(
                crate::protocol::input::is_routable_unicast(agent) && *agent != self.address,
                "anycast.midway-agents",
                agent,
                "give global addresses of midway agents",
            )?;
        }
        let default = ServiceConfig::default();
        let metric = self.metric.as_ref().map(ApplicationWords::settle_metric).transpose()?;
        let health = self.health.as_ref().map(ApplicationWords::settle_health).transpose()?;
        let config = ServiceConfig {
            advanced,
            midway_agents: self.midway_agents.clone(),
            weight: self.weight.unwrap_or(default.weight),
            capacity: self.capacity.unwrap_or(default.capacity),
            metric: metric.as_ref().map(|(gauge, _)| *gauge),
            health: health.as_ref().map(|(health, _)| *health),
            ..default
        };
        Ok(ServiceSettings {
            config,
            metric: metric.map(|(_, poll)| poll),
            health: health.map(|(_, poll)| poll),
        })
    }
}

impl ApplicationWords {
    fn settle_metric(&self) -> Result<(GaugeConfig, Poll), ConfigError> {
        let default = GaugeConfig::default();
        let smoothing = self.smoothing.unwrap_or(default.smoothing);
        let right = smoothing > 0.0 && smoothing <= 1.0;
        wrong_unless(right, "anycast.metric.smoothing", smoothing, "give a part above 0 and up to 1")?;
        let amount = |field, said: Option<f64>| {
            let amount = said.unwrap_or(0.0);
            let right = amount.is_finite() && amount >= 0.0;
            wrong_unless(right, field, amount, "give an amount in the metric's own unit, 0 or more")?;
            Ok(amount)
        };
        let gauge = GaugeConfig {
            smoothing,
            rise: amount("anycast.metric.rise", self.rise)?,
            fall: amount("anycast.metric.fall", self.fall)?,
            debounce: seconds("anycast.metric.debounce", self.debounce.unwrap_or(0.0), 0.0)?,
        };
        Ok((gauge, self.settle_poll("anycast.metric")?))
    }

    fn settle_health(&self) -> Result<(HealthConfig, Poll), ConfigError> {
        let meaningless = [
            ("anycast.health.built-in", self.built_in.is_some()),
            ("anycast.health.smoothing", self.smoothing.is_some()),
            ("anycast.health.debounce", self.debounce.is_some()),
        ];
        for (field, said) in meaningless {
            wrong_unless(!said, field, "given", "it means nothing to a health check: leave it out")?;
        }
        let times = |field, said: Option<f64>, otherwise: u32| {
            let times = said.unwrap_or(f64::from(otherwise));
            let right = times.fract() == 0.0 && (1.0..=1000.0).contains(&times);
            wrong_unless(right, field, times, "give how many checks in a row decide, from 1 to 1000")?;
            // Whole and small, as just checked.
            Ok(times as u32)
        };
        let default = HealthConfig::default();
        let health = HealthConfig {
            rise: times("anycast.health.rise", self.rise, default.rise)?,
            fall: times("anycast.health.fall", self.fall, default.fall)?,
        };
        Ok((health, self.settle_poll("anycast.health")?))
    }

    fn settle_poll(&self, table: &'static str) -> Result<Poll, ConfigError> {
        let built_in = self.built_in.map(|built_in| match built_in {
            BuiltIn::Load => Source::LoadAverage,
            BuiltIn::Connections => Source::Connections,
        });
        let field = || self.field.clone();
        let sources = [
            self.file.clone().map(Source::File),
            self.command.clone().map(Source::Command),
            self.http.clone().map(|url| Source::Http { url, field: field() }),
            built_in,
        ];
        let said = sources.iter().flatten().count();
        wrong_unless(
            said == 1,
            table,
            format_args!("{said} sources"),
            "say exactly one of file, command, http and (for a metric) built-in",
        )?;
        let source = sources.into_iter().flatten().next();
        let source =
            source.ok_or(ConfigError::Missing { field: table, remedy: "say where it comes from" })?;
        match &source {
            Source::Command(words) => wrong_unless(
                words.first().is_some_and(|program| program.starts_with('/')),
                table,
                format_args!("command {words:?}"),
                "give a list that begins with the program's full path",
            )?,
            Source::Http { url, .. } => wrong_unless(
                url.starts_with("http://"),
                table,
                format_args!("http {url:?}"),
                "give a URL that begins with http://; TLS is not spoken",
            )?,
            _ => {}
        }
        let is_http = matches!(source, Source::Http { .. });
        let pointer = self.field.as_deref();
        wrong_unless(
            pointer.is_none_or(|field| is_http && field.starts_with('/')),
            table,
            format_args!("field {:?}", pointer.unwrap_or_default()),
            "give a JSON pointer such as /queue/length, with http only",
        )?;
        let (interval, timeout) = match table {
            "anycast.metric" => ("anycast.metric.interval", "anycast.metric.timeout"),
            _ => ("anycast.health.interval", "anycast.health.timeout"),
        };
        Ok(Poll {
            source,
            interval: seconds(interval, self.interval.unwrap_or(INTERVAL), 0.1)?,
            timeout: seconds(timeout, self.timeout.unwrap_or(TIMEOUT), 0.1)?,
        })
    }
}

fn seconds(field: &'static str, seconds: f64, least: f64) -> Result<Duration, ConfigError> {
    let right = (least..=LONGEST).contains(&seconds);
    let remedy = if least > 0.0 { "give seconds from 0.1 to 86400" } else { "give seconds from 0 to 86400" };
    wrong_unless(right, field, seconds, remedy)?;
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(text: &str) -> Result<ServiceSettings, String> {
        let entry: AnycastEntry =
            toml::from_str(&format!("address = '2001:db8::a'\n{text}")).expect("the test's words parse");
        entry.settle_service().map_err(|error| error.to_string())
    }

    #[test]
    fn a_metric_and_a_health_check_are_settled_with_their_defaults() {
        let text = "model = 'advanced'\nweight = 3\ncapacity = 200\nmidway-agents = ['2001:db8:6::2']\n\
                    metric = { http = 'http://[::1]:80/s', field = '/queue', rise = 0.5, interval = 0.5 }\n\
                    health = { command = ['/bin/check', '-q'], fall = 1 }";
        let service = settled(text).expect("good words");
        assert_eq!(service.config.metric, Some(GaugeConfig { rise: 0.5, ..GaugeConfig::default() }));
        assert_eq!(service.config.health, Some(HealthConfig { rise: 2, fall: 1 }));
        assert_eq!((service.config.weight, service.config.capacity), (3, 200));
        let expected = Poll {
            source: Source::Http { url: "http://[::1]:80/s".to_owned(), field: Some("/queue".to_owned()) },
            interval: Duration::from_millis(500),
            timeout: Duration::from_secs(2),
        };
        assert_eq!(service.metric, Some(expected));
        let words = vec!["/bin/check".to_owned(), "-q".to_owned()];
        assert_eq!(service.health.map(|poll| poll.source), Some(Source::Command(words)));
    }

    #[test]
    fn a_wrong_word_is_named_with_its_remedy() {
        for (words, begins) in [
            ("weight = 3", "anycast.weight = given in the basic model:"),
            ("metric = { file = '/m' }", "anycast.metric = given in the basic model:"),
            ("model = 'advanced'\nmetric = {}", "anycast.metric = 0 sources:"),
            (
                "model = 'advanced'\nmetric = { file = '/m', built-in = 'load' }",
                "anycast.metric = 2 sources:",
            ),
            ("health = { built-in = 'load' }", "anycast.health.built-in = given:"),
            ("health = { command = ['true'] }", "anycast.health = command [\"true\"]:"),
            ("health = { command = [] }", "anycast.health = command []:"),
            ("health = { http = 'https://a/' }", "anycast.health = http \"https://a/\":"),
            ("health = { file = '/m', field = '/a' }", "anycast.health = field \"/a\":"),
            ("health = { file = '/m', rise = 1.5 }", "anycast.health.rise = 1.5:"),
            ("health = { file = '/m', interval = 0 }", "anycast.health.interval = 0:"),
            ("model = 'advanced'\nmetric = { file = '/m', smoothing = 0 }", "anycast.metric.smoothing = 0:"),
            ("model = 'advanced'\nmetric = { file = '/m', fall = -1 }", "anycast.metric.fall = -1:"),
            ("model = 'advanced'\nmidway-agents = ['ff02::1']", "anycast.midway-agents = ff02::1:"),
        ] {
            let message = settled(words).expect_err(words);
            assert!(message.starts_with(begins), "{words}: {message}");
        }
    }

    #[test]
    fn a_health_check_needs_no_advanced_model() {
        let service = settled("health = { file = '/run/app/ready' }").expect("good words");
        assert!(!service.config.advanced && service.config.health.is_some());
    }
}
