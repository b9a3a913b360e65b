//! What a responder says of its service for one anycast address (thesis 3.1.4, 4.3.1; the advanced model): metric,
//! weight and capacity, whether its application is well, and how it is drained before it leaves.
//! Called by the responder, which tells the agents.

use std::net::Ipv6Addr;
use std::time::Duration;

use serde::Serialize;

use super::Ar;
use crate::protocol::clock::Instant;
use crate::protocol::measure::{Gauge, GaugeConfig, Health, HealthConfig};
use crate::protocol::report::Report;
use crate::wire::mobility::{Extensions, Offer, OfferFlags};

/// So long after a drain began, agents have heard of it and what they had sent on has arrived.
const DRAIN_SETTLES: Duration = Duration::from_secs(2);
/// A service that no packet has reached for this long has no sources left.
const DRAIN_QUIET: Duration = Duration::from_secs(5);

/// What a responder of the advanced model asks for: everything that this version knows.
const WANTED: Extensions = Extensions::SEVERAL
    .union(Extensions::AFFINITY)
    .union(Extensions::PROBING)
    .union(Extensions::STEERING)
    .union(Extensions::AGENTS);

/// How an anycast address is served beyond what RFC 3775 knows.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceConfig {
    /// Ask the agents for the advanced model.
    pub advanced: bool,
    /// Midway agents to register with, beside those that the home agent names (thesis 4.3.3).
    pub midway_agents: Vec<Ipv6Addr>,
    /// Share of new sources against the other responders'.
    pub weight: u16,
    /// Sources wanted from each agent at most; zero sets no bound.
    pub capacity: u32,
    /// How samples of the application become the metric.
    pub metric: Option<GaugeConfig>,
    /// How checks of the application bring the responder in and take it out; without, it is always in.
    pub health: Option<HealthConfig>,
    /// The node's own link-layer address, when the home link is its link from the start: the address is then not
    /// registered, but probed and used there (RFC 3775 11.5.4).
    pub home: Option<[u8; 6]>,
}

impl Default for ServiceConfig {
    /// The basic model.
    fn default() -> Self {
        Self {
            advanced: false,
            midway_agents: Vec::new(),
            weight: 1,
            capacity: 0,
            metric: None,
            health: None,
            home: None,
        }
    }
}

/// What is known of the connections of a service that is being drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connections {
    /// They are being counted.
    Awaited,
    Counted(u64),
    /// This system cannot count them.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Drain {
    since: Instant,
    until: Option<Instant>,
    connections: Connections,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    /// No new sources; left when the last one is gone.
    Draining(Drain),
    /// An operator took it out.
    Out,
}

/// The service of one anycast address.
#[derive(Clone, Debug)]
pub struct Service {
    pub config: ServiceConfig,
    /// The midway agents that the home agent named last.
    pub named: Vec<Ipv6Addr>,
    gauge: Option<Gauge>,
    health: Option<Health>,
    /// The metric last told, in thousandths.
    metric: Option<u32>,
    /// An operator's word, which stands above what is measured.
    ordered: Option<u32>,
    weight: u16,
    stage: Stage,
    /// When a packet of a source last passed.
    traffic: Option<Instant>,
}

/// One service as `show updates` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceView {
    pub anycast: Ipv6Addr,
    pub model: &'static str,
    /// `serving`, `draining` or `out`.
    pub stage: &'static str,
    /// `well` or `failed`; `unchecked` before the first check, absent when nothing is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<&'static str>,
    /// As last told to the agents, in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// Share of new sources against the other responders'.
    pub weight: u16,
    /// Sources wanted from each agent at most; zero is no bound.
    pub capacity: u32,
    /// Established connections, while a drain counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
}

impl Service {
    /// A service that nothing has been said about yet.
    pub fn new(config: ServiceConfig) -> Self {
        Self {
            gauge: config.metric.map(Gauge::new),
            health: config.health.map(Health::new),
            weight: config.weight,
            config,
            named: Vec::new(),
            metric: None,
            ordered: None,
            stage: Stage::Serving,
            traffic: None,
        }
    }

    /// What the agents are told.
    pub fn offer(&self) -> Offer {
        let drain = matches!(self.stage, Stage::Draining(_));
        Offer {
            flags: if drain { OfferFlags::DRAIN } else { OfferFlags::empty() },
            extensions: WANTED,
            metric: self.ordered.or(self.metric).unwrap_or(Offer::NO_METRIC),
            capacity: self.config.capacity,
            weight: self.weight,
            ..Offer::default()
        }
    }

    /// True when the responder is to be registered: its application is well, and no operator took it out.
    pub fn is_in(&self) -> bool {
        let well = self.health.as_ref().is_none_or(|health| health.is_well() == Some(true));
        well && self.stage != Stage::Out
    }

    fn view(&self, anycast: Ipv6Addr) -> ServiceView {
        let connections = match self.stage {
            Stage::Draining(Drain { connections: Connections::Counted(count), .. }) => Some(count),
            _ => None,
        };
        ServiceView {
            anycast,
            model: if self.config.advanced { "advanced" } else { "basic" },
            stage: match self.stage {
                Stage::Serving => "serving",
                Stage::Draining(_) => "draining",
                Stage::Out => "out",
            },
            health: self.health.as_ref().map(|health| match health.is_well() {
                Some(true) => "well",
                Some(false) => "failed",
                None => "unchecked",
            }),
            metric: self.ordered.or(self.metric),
            weight: self.weight,
            capacity: self.config.capacity,
            connections,
        }
    }

    /// True when there is more to tell of this service than that it is there.
    fn is_remarkable(&self) -> bool {
        self.config.advanced || self.health.is_some() || self.stage != Stage::Serving
    }

    /// Why the drain is over, if it is.
    fn drained(&self, now: Instant) -> Option<&'static str> {
        let Stage::Draining(drain) = self.stage else { return None };
        if drain.until.is_some_and(|until| until <= now) {
            return Some("the deadline of the drain passed");
        }
        let gone = matches!(drain.connections, Connections::Counted(0) | Connections::Unknown);
        (gone && self.quiet_at(drain) <= now).then_some("its last source is gone")
    }

    /// When a service without connections counts as quiet, if nothing more comes.
    fn quiet_at(&self, drain: Drain) -> Instant {
        let settled = drain.since + DRAIN_SETTLES;
        self.traffic.map_or(settled, |traffic| settled.max(traffic + DRAIN_QUIET))
    }

    /// When [`Ar::service_timeouts`] must look again.
    pub fn deadline(&self) -> Option<Instant> {
        let drain = match self.stage {
            Stage::Draining(drain) => {
                let gone = !matches!(drain.connections, Connections::Awaited | Connections::Counted(1..));
                drain.until.into_iter().chain(gone.then(|| self.quiet_at(drain))).min()
            }
            _ => None,
        };
        let told = self.gauge.as_ref().and_then(Gauge::deadline);
        drain.into_iter().chain(told).min()
    }
}

impl Ar {
    /// What there is to tell of the services beyond the basic model.
    pub fn services(&self) -> Vec<ServiceView> {
        let remarkable = self.services.iter().filter(|(_, service)| service.is_remarkable());
        remarkable.map(|(anycast, service)| service.view(*anycast)).collect()
    }

    /// The anycast addresses whose connections are to be counted because they are being drained.
    pub fn draining(&self) -> Vec<Ipv6Addr> {
        let draining = |service: &Service| matches!(service.stage, Stage::Draining(_));
        self.services.iter().filter(|(_, service)| draining(service)).map(|(anycast, _)| *anycast).collect()
    }

    /// The application gave a sample of its metric.
    pub(super) fn measured(&mut self, now: Instant, anycast: Ipv6Addr, value: f64) {
        let gauge = self.services.get_mut(&anycast).and_then(|service| service.gauge.as_mut());
        if let Some(metric) = gauge.and_then(|gauge| gauge.sample(now, value)) {
            self.tell_metric(now, anycast, metric);
        }
    }

    fn tell_metric(&mut self, now: Instant, anycast: Ipv6Addr, metric: u32) {
        let Some(service) = self.services.get_mut(&anycast) else { return };
        // The largest number says that there is none.
        let metric = metric.min(Offer::NO_METRIC - 1);
        if service.metric.replace(metric) == Some(metric) || service.ordered.is_some() {
            return;
        }
        self.counters.count("metric.changed");
        self.report(Report::info("metric-changed").anycast(anycast).metric(metric));
        self.signal(now, anycast);
    }

    /// The application was checked: only who works is a candidate (thesis 3.1.4, accessibility).
    pub(super) fn checked(&mut self, now: Instant, anycast: Ipv6Addr, well: bool) {
        let health = self.services.get_mut(&anycast).and_then(|service| service.health.as_mut());
        match health.and_then(|health| health.check(well)) {
            Some(true) => {
                self.report(Report::info("healthy").anycast(anycast));
                if self.services.get(&anycast).is_some_and(Service::is_in) && self.shutdown_deadline.is_none()
                {
                    self.enter(now, anycast);
                }
            }
            Some(false) => {
                let report = Report::warning("withdrawn").anycast(anycast);
                self.report(report.because("the health check fails", "thesis 3.1.4"));
                self.leave(now, anycast);
            }
            None => {}
        }
    }

    /// An operator's order to register: it ends a drain and a time out.
    pub(super) fn take_in(&mut self, now: Instant, anycast: Ipv6Addr) {
        if let Some(service) = self.services.get_mut(&anycast) {
            service.stage = Stage::Serving;
        }
        self.enter(now, anycast);
    }

    /// An operator's order to leave.
    pub(super) fn take_out(&mut self, now: Instant, anycast: Ipv6Addr) {
        if let Some(service) = self.services.get_mut(&anycast) {
            service.stage = Stage::Out;
        }
        self.leave(now, anycast);
    }

    /// No new sources from now on; leaves when those there are gone, or at the deadline. Agents of the basic model
    /// cannot be told, and send new sources until then.
    pub(super) fn drain(&mut self, now: Instant, anycast: Ipv6Addr, within: Option<Duration>) {
        let bound = self.is_registered(anycast);
        let Some(service) = self.services.get_mut(&anycast) else { return };
        let until = within.map(|within| now + within);
        match &mut service.stage {
            Stage::Draining(drain) => drain.until = until,
            Stage::Out => return,
            Stage::Serving if !bound => return self.take_out(now, anycast),
            stage @ Stage::Serving => {
                *stage = Stage::Draining(Drain { since: now, until, connections: Connections::Awaited });
                self.report(Report::info("draining").anycast(anycast));
                self.signal(now, anycast);
            }
        }
        self.service_timeouts(now);
    }

    /// Takes new sources again.
    pub(super) fn undrain(&mut self, now: Instant, anycast: Ipv6Addr) {
        let Some(service) = self.services.get_mut(&anycast) else { return };
        let before = std::mem::replace(&mut service.stage, Stage::Serving);
        if before == Stage::Serving {
            return;
        }
        self.report(Report::info("undrained").anycast(anycast));
        match before {
            Stage::Out if self.services.get(&anycast).is_some_and(Service::is_in) => self.enter(now, anycast),
            _ => self.signal(now, anycast),
        }
    }

    /// So many connections of the anycast address are established; `None` when this system cannot tell.
    pub(super) fn established(&mut self, now: Instant, anycast: Ipv6Addr, count: Option<u64>) {
        if let Some(Stage::Draining(drain)) =
            self.services.get_mut(&anycast).map(|service| &mut service.stage)
        {
            drain.connections = count.map_or(Connections::Unknown, Connections::Counted);
            self.service_timeouts(now);
        }
    }

    /// An operator's metric in thousandths, which stands until it is taken back with `None`.
    pub(super) fn order_metric(&mut self, now: Instant, anycast: Ipv6Addr, metric: Option<u32>) {
        if let Some(service) = self.services.get_mut(&anycast) {
            service.ordered = metric.map(|metric| metric.min(Offer::NO_METRIC - 1));
            self.signal(now, anycast);
        }
    }

    /// An operator's weight.
    pub(super) fn order_weight(&mut self, now: Instant, anycast: Ipv6Addr, weight: u16) {
        if let Some(service) = self.services.get_mut(&anycast) {
            service.weight = weight;
            self.signal(now, anycast);
        }
    }

    /// A source's packet passed.
    pub(super) fn note_traffic(&mut self, now: Instant, anycast: Ipv6Addr) {
        if let Some(service) = self.services.get_mut(&anycast) {
            service.traffic = Some(now);
        }
    }

    /// Metrics that have settled, and drains that are over.
    pub(super) fn service_timeouts(&mut self, now: Instant) {
        if self.shutdown_deadline.is_some() {
            return;
        }
        let settled: Vec<_> = self
            .services
            .iter_mut()
            .filter_map(|(anycast, service)| Some((*anycast, service.gauge.as_mut()?.timeout(now)?)))
            .collect();
        for (anycast, metric) in settled {
            self.tell_metric(now, anycast, metric);
        }
        let drained: Vec<_> = self
            .services
            .iter()
            .filter_map(|(anycast, service)| Some((*anycast, service.drained(now)?)))
            .collect();
        for (anycast, reason) in drained {
            self.report(Report::info("drained").anycast(anycast).because(reason, "thesis 4.3.2"));
            self.take_out(now, anycast);
        }
    }
}
