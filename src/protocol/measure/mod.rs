//! What a responder's application says of itself (thesis 3.1.4 "service-specific information"; the advanced model),
//! before it becomes a metric in a Binding Update: noisy samples in, few and settled decisions out.
//! Called by the responder, with samples that `daemon` takes from files, commands, HTTP and the operating system.

mod gauge;
mod health;

pub use gauge::{Gauge, GaugeConfig};
pub use health::{Health, HealthConfig};
