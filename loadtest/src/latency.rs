//! Latencies: recording in nanoseconds, percentiles, and a form for `run.json`.
//!
//! Invariant: nothing is averaged away. What is recorded keeps three significant digits; what is written to a file
//! keeps two (an error of at most 1 %), as `[nanoseconds, count]` pairs that can be merged and drawn later.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::figures::duration;

/// The longest latency told apart, 120 s; longer ones count as this.
pub const LATENCY_NS_MAX: u64 = 120_000_000_000;

const DIGITS_RECORDED: u8 = 3;
const DIGITS_WRITTEN: u8 = 2;

/// A histogram of durations.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        Self { histogram: new_histogram(DIGITS_RECORDED) }
    }
}

fn new_histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_NS_MAX, digits)
        .expect("the bounds and digits are constants that are allowed")
}

impl Latency {
    /// A histogram of two digits: an eighth of the memory, for one second of a run.
    #[must_use]
    pub fn coarse() -> Self {
        Self { histogram: new_histogram(DIGITS_WRITTEN) }
    }

    /// Counts one duration, in ns.
    pub fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("both have the same largest value");
    }

    /// Forgets all that was counted.
    pub fn clear(&mut self) {
        self.histogram.reset();
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The duration that `percent` of all do not exceed, in ns; 0 when nothing was counted.
    #[must_use]
    pub fn percentile_ns(&self, percent: f64) -> u64 {
        self.histogram.value_at_percentile(percent)
    }

    /// The longest duration, in ns.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.histogram.max()
    }

    /// The figures people read, in microseconds.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let at = |percent| us(self.histogram.value_at_percentile(percent));
        Summary {
            count: self.count(),
            mean_us: (self.histogram.mean() / 100.0).round() / 10.0,
            min_us: us(if self.count() == 0 { 0 } else { self.histogram.min() }),
            p50_us: at(50.0),
            p90_us: at(90.0),
            p99_us: at(99.0),
            p99_9_us: at(99.9),
            p99_99_us: at(99.99),
            max_us: us(self.histogram.max()),
        }
    }

    /// The summary and the histogram itself.
    #[must_use]
    pub fn record_of(&self) -> Record {
        let mut written = new_histogram(DIGITS_WRITTEN);
        written.add(&self.histogram).expect("both have the same largest value");
        let buckets = written.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()));
        Record { summary: self.summary(), buckets_ns: buckets.collect() }
    }
}

/// Percentiles in microseconds, to a tenth.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Summary {
    pub count: u64,
    pub mean_us: f64,
    pub min_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub p99_99_us: f64,
    pub max_us: f64,
}

impl Summary {
    /// `p50 85.1 µs  p90 …`, for people.
    #[must_use]
    pub fn line(&self) -> String {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let text = |us: f64| duration((us * 1e3) as u64);
        let Self { p50_us, p90_us, p99_us, p99_9_us, max_us, .. } = *self;
        let [p50, p90, p99, p99_9, max] = [p50_us, p90_us, p99_us, p99_9_us, max_us].map(text);
        format!("p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p99_9}  max {max}")
    }
}

/// What `run.json` keeps of a histogram.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// The percentiles, from three digits.
    #[serde(flatten)]
    pub summary: Summary,
    /// `[upper end of the bucket in ns, durations in it]`, from two digits, empty buckets left out.
    pub buckets_ns: Vec<(u64, u64)>,
}

fn us(ns: u64) -> f64 {
    (ns as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_gives_percentiles_within_a_thousandth() {
        let mut latency = Latency::default();
        (1..=10_000).for_each(|us| latency.record(us * 1000));
        let summary = latency.summary();
        assert_eq!(summary.count, 10_000);
        for (got, want) in [
            (summary.p50_us, 5000.0),
            (summary.p99_us, 9900.0),
            (summary.p99_9_us, 9990.0),
            (summary.max_us, 10_000.0),
        ] {
            assert!((got - want).abs() <= want * 0.0015, "{got} for {want}");
        }
    }

    #[test]
    fn an_empty_histogram_is_all_zero_and_an_endless_wait_is_capped() {
        let mut latency = Latency::default();
        assert_eq!(
            (latency.summary().max_us, latency.summary().min_us, latency.record_of().buckets_ns),
            (0.0, 0.0, vec![])
        );
        latency.record(u64::MAX);
        assert_eq!(latency.count(), 1);
        assert!(latency.max_ns() >= LATENCY_NS_MAX);
    }

    #[test]
    fn the_written_buckets_hold_every_duration_within_a_hundredth() {
        let mut latency = Latency::default();
        let mut other = Latency::coarse();
        (0..1000).for_each(|index| latency.record(80_000 + index * 13));
        other.record(3_000_000);
        latency.merge(&other);
        let record = latency.record_of();
        assert_eq!(record.buckets_ns.iter().map(|bucket| bucket.1).sum::<u64>(), 1001);
        let (first, last) =
            (record.buckets_ns[0].0 as f64, record.buckets_ns[record.buckets_ns.len() - 1].0 as f64);
        assert!((80_000.0..80_900.0).contains(&first), "{first}");
        assert!((2_970_000.0..3_030_000.0).contains(&last), "{last}");
        assert!(record.buckets_ns.len() < 100);
    }
}
