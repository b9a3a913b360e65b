//! A metric from its samples: smoothed, and told only when it has moved far enough for long enough (thesis 3.1.4).
//! Without this every responder would send a Binding Update per sample, and sources would follow the noise.
//! Called by the responder with samples in virtual time.

use std::time::Duration;

use crate::protocol::clock::Instant;

/// The metric on the wire is a whole number of thousandths of what the application counts.
const THOUSANDTHS: f64 = 1000.0;

/// How samples become a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaugeConfig {
    /// The part of a new sample in the smoothed value, above 0 and up to 1, where 1 does not smooth.
    pub smoothing: f64,
    /// How far above the metric last told the smoothed value must be to be told, in the application's own unit; zero
    /// tells every rise.
    pub rise: f64,
    /// The same below it.
    pub fall: f64,
    /// For how long it must stay there.
    pub debounce: Duration,
}

impl Default for GaugeConfig {
    fn default() -> Self {
        Self { smoothing: 0.5, rise: 0.0, fall: 0.0, debounce: Duration::ZERO }
    }
}

/// Which way the smoothed value left the band around the metric last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// One metric.
#[derive(Clone, Debug)]
pub struct Gauge {
    config: GaugeConfig,
    smoothed: Option<f64>,
    told: Option<u32>,
    /// Outside the band, which way, and since when.
    outside: Option<(Way, Instant)>,
}

impl Gauge {
    /// A metric of which nothing is known yet.
    pub fn new(config: GaugeConfig) -> Self {
        Self { config, smoothed: None, told: None, outside: None }
    }

    /// Takes a sample in the application's own unit; gives the metric in thousandths when it is to be told. The first
    /// sample is told at once. What is no number is no sample.
    pub fn sample(&mut self, now: Instant, value: f64) -> Option<u32> {
        if !value.is_finite() {
            return None;
        }
        let smoothed =
            self.smoothed.map_or(value, |before| before + self.config.smoothing * (value - before));
        self.smoothed = Some(smoothed);
        let Some(told) = self.told else { return Some(self.tell(smoothed)) };
        let change = smoothed - f64::from(told) / THOUSANDTHS;
        let way = match thousandths(smoothed) {
            metric if metric == told => None,
            _ if change > self.config.rise => Some(Way::Up),
            _ if -change > self.config.fall => Some(Way::Down),
            _ => None,
        };
        self.outside = way.map(|way| match self.outside {
            Some((before, since)) if before == way => (way, since),
            _ => (way, now),
        });
        self.timeout(now)
    }

    /// The debounce may be over: gives the metric when it is to be told.
    pub fn timeout(&mut self, now: Instant) -> Option<u32> {
        self.deadline().filter(|due| *due <= now)?;
        self.smoothed.map(|smoothed| self.tell(smoothed))
    }

    /// When [`Gauge::timeout`] must be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.outside.map(|(_, since)| since + self.config.debounce)
    }

    fn tell(&mut self, smoothed: f64) -> u32 {
        let metric = thousandths(smoothed);
        self.told = Some(metric);
        self.outside = None;
        metric
    }
}

/// The nearest that the wire can carry.
fn thousandths(value: f64) -> u32 {
    // `as` saturates.
    (value * THOUSANDTHS).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::from_start(Duration::from_millis(milliseconds))
    }

    /// What is told at which millisecond for samples a second apart, timers included.
    fn told(config: GaugeConfig, samples: &[f64]) -> Vec<(u64, u32)> {
        let mut gauge = Gauge::new(config);
        let mut told = Vec::new();
        for (second, value) in (0_u64..).zip(samples) {
            let now = second * 1000;
            told.extend(gauge.sample(at(now), *value).map(|metric| (now, metric)));
            if let Some(due) = gauge.deadline().filter(|due| *due < at(now + 1000)) {
                assert_eq!(gauge.timeout(due - Duration::from_millis(1)), None, "not too soon");
                let metric = gauge.timeout(due).expect("due");
                told.push((due.since_start().as_millis() as u64, metric));
            }
        }
        told
    }

    #[test]
    fn the_first_sample_is_told_at_once_and_the_same_again_never() {
        assert_eq!(told(GaugeConfig::default(), &[7.0, 7.0, 7.0]), [(0, 7000)]);
    }

    #[test]
    fn samples_are_smoothed() {
        let config = GaugeConfig { smoothing: 0.5, ..GaugeConfig::default() };
        assert_eq!(told(config, &[0.0, 1.0, 1.0, 1.0]), [(0, 0), (1000, 500), (2000, 750), (3000, 875)]);
        let raw = GaugeConfig { smoothing: 1.0, ..config };
        assert_eq!(told(raw, &[0.0, 1.0, 0.03]), [(0, 0), (1000, 1000), (2000, 30)]);
    }

    #[test]
    fn a_change_within_the_thresholds_is_not_told_and_each_way_has_its_own() {
        let config = GaugeConfig { smoothing: 1.0, rise: 10.0, fall: 30.0, ..GaugeConfig::default() };
        let samples = [100.0, 110.0, 90.0, 111.0, 85.0, 80.0];
        assert_eq!(told(config, &samples), [(0, 100_000), (3000, 111_000), (5000, 80_000)]);
    }

    #[test]
    fn a_change_must_outlast_the_debounce() {
        let debounce = Duration::from_millis(2500);
        let config = GaugeConfig { smoothing: 1.0, rise: 5.0, fall: 5.0, debounce };
        // A spike of two samples is not told; a change that stays is, 2.5 s after it began.
        assert_eq!(told(config, &[10.0, 50.0, 50.0, 10.0, 10.0]), [(0, 10_000)]);
        assert_eq!(told(config, &[10.0, 50.0, 60.0, 60.0, 60.0]), [(0, 10_000), (3500, 60_000)]);
        // From above to below is another change.
        assert_eq!(told(config, &[10.0, 50.0, 0.0, 0.0, 0.0]), [(0, 10_000), (4500, 0)]);
    }

    #[test]
    fn what_the_wire_cannot_carry_is_bounded_and_what_is_no_number_is_no_sample() {
        let config = GaugeConfig { smoothing: 1.0, ..GaugeConfig::default() };
        assert_eq!(told(config, &[f64::NAN, f64::INFINITY, 0.25]), [(2000, 250)]);
        assert_eq!(told(config, &[-4.0]), [(0, 0)]);
        assert_eq!(told(config, &[1e12]), [(0, u32::MAX)]);
    }
}
