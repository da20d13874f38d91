//! Metrics: what a service needs to declare its own in one file, and to answer `/metrics`.
//!
//! ```
//! use daemon::metrics::{Counter, Latency, Registry, render};
//!
//! let mut registry = Registry::with_prefix("signpost_keypool");
//! let (leases, lease_took) = (Counter::<u64>::default(), Latency::default());
//! registry.register("leases", "Leases handed out", leases.clone());
//! registry.register("lease_duration_seconds", "Time a lease took, the fsync included", lease_took.clone());
//! leases.inc();
//! assert!(render(&registry).contains("signpost_keypool_leases_total 1"));
//! ```
//!
//! A service that derives `EncodeLabelSet` for its labels depends on prometheus-client itself: the derived code names it.
//!
//! Rules: base units (seconds, bytes) in the name, labels from a bounded set only, and never a code, a URL or an
//! address in a label. Deliberately not here: the metrics themselves.

use std::array;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::{MetricType, TypedMetric};

pub use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::info::Info;
pub use prometheus_client::registry::{Registry, Unit};

/// The content type of what [`render`] writes (OpenMetrics 1.0, "Protocol Negotiation").
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of a [`Latency`], in seconds: 1-2-5 from 50 µs to 10 s, so that each of our aims
/// (1 ms, 5 ms, 20 ms) is a bound and not somewhere between two.
pub const LATENCY_BUCKETS_S: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
];

/// Renders a registry as OpenMetrics text.
pub fn render(registry: &Registry) -> String {
    let mut out = String::new();
    text::encode(&mut out, registry).expect("writing to a string cannot fail");
    out
}

/// A histogram of durations, in seconds. Clones count into the same one.
///
/// Unlike the library's, which takes a lock, observing is two relaxed atomic additions: it may stand on a hot path. In
/// return a scrape in the middle of an observation may see its bucket and not yet its share of the sum.
#[derive(Clone, Debug)]
pub struct Latency(Arc<Cells>);

#[derive(Debug)]
struct Cells {
    /// One for each bound, and one for what took longer than the last.
    counts: [AtomicU64; LATENCY_BUCKETS_S.len() + 1],
    /// Wraps after 584 years of observed time.
    sum_ns: AtomicU64,
}

impl Latency {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_BUCKETS_S.partition_point(|bound| *bound < seconds);
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.sum_ns.fetch_add(took_ns, Ordering::Relaxed);
    }

    /// Counts the time from `start` until now.
    pub fn observe_since(&self, start: Instant) {
        self.observe(start.elapsed());
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self(Arc::new(Cells { counts: array::from_fn(|_| AtomicU64::new(0)), sum_ns: AtomicU64::new(0) }))
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let bounds = LATENCY_BUCKETS_S.into_iter().chain([f64::INFINITY]);
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // Summed from the buckets, so that the count and the last bucket never disagree.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum_s = Duration::from_nanos(self.0.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum_s, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_in_the_bucket_whose_bound_it_does_not_exceed() {
        let mut registry = Registry::default();
        let latency = Latency::default();
        registry.register("took_seconds", "Time it took", latency.clone());
        for micros in [0, 50, 51, 1_000, 20_000, 11_000_000] {
            latency.observe(Duration::from_micros(micros));
        }
        let text = render(&registry);
        let expected = [
            "# TYPE took_seconds histogram",
            "took_seconds_sum 11.021101",
            "took_seconds_count 6",
            "took_seconds_bucket{le=\"0.00005\"} 2",
            "took_seconds_bucket{le=\"0.0001\"} 3",
            "took_seconds_bucket{le=\"0.001\"} 4",
            "took_seconds_bucket{le=\"0.01\"} 4",
            "took_seconds_bucket{le=\"0.02\"} 5",
            "took_seconds_bucket{le=\"10.0\"} 5",
            "took_seconds_bucket{le=\"+Inf\"} 6",
            "# EOF",
        ];
        for line in expected {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn a_family_of_latencies_has_one_histogram_for_each_label() {
        let family = Family::<[(&str, &str); 1], Latency>::default();
        let mut registry = Registry::with_prefix("signpost");
        registry.register("answer_seconds", "Time to answer", family.clone());
        family.get_or_create(&[("tier", "map")]).observe(Duration::from_millis(1));
        family.get_or_create(&[("tier", "disk")]).observe(Duration::from_millis(2));
        let text = render(&registry);
        assert!(text.contains("signpost_answer_seconds_count{tier=\"map\"} 1"), "{text}");
        assert!(text.contains("signpost_answer_seconds_count{tier=\"disk\"} 1"), "{text}");
    }
}
