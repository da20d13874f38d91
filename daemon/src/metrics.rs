//! Metrics: a registry as OpenMetrics text, and a histogram of latencies.

use std::time::Duration;

pub use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
pub use prometheus_client::registry::Registry;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric, histogram::Histogram};

/// Upper bounds of the latency buckets, in seconds.
pub const LATENCY_BUCKETS_S: [f64; 5] = [0.001, 0.005, 0.02, 0.1, 1.0];

/// A histogram of durations, in seconds.
#[derive(Clone, Debug)]
pub struct Latency(Histogram);

impl Latency {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new(LATENCY_BUCKETS_S))
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Latency {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Renders a registry as OpenMetrics text.
pub fn render(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("writing to a string cannot fail");
    text
}
