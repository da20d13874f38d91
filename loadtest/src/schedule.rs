//! When each request of an open-loop run is meant to start.
//!
//! Invariant: the schedule never looks at how the system answers. A slow answer delays what is sent later, and that
//! delay belongs to the latency, which is why the intended start is where every measurement begins. No clock here:
//! offsets are nanoseconds from the start of the run.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const NS_PER_S: u128 = 1_000_000_000;

/// The intended start of request `index` at a constant `rate`: `index / rate` seconds, in ns, without drift.
///
/// `rate` is in requests per second, at least 0.001 and at most 10⁹ (both kept to by [`Rate`]).
#[must_use]
pub fn constant_offset_ns(index: u64, rate: Rate) -> u64 {
    let offset = u128::from(index) * NS_PER_S * 1000 / u128::from(rate.milli);
    u64::try_from(offset).unwrap_or(u64::MAX)
}

/// Requests per second, kept in thousandths so that offsets are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    milli: u64,
}

impl Rate {
    /// `per_second` in 0.001 to 10⁹; what is outside (or not a number) is `None`.
    #[must_use]
    pub fn new(per_second: f64) -> Option<Self> {
        let allowed = (0.001..=1e9).contains(&per_second);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        allowed.then(|| Self { milli: (per_second * 1000.0).round() as u64 })
    }

    /// The rate as a number.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.milli as f64 / 1000.0
    }

    /// How many requests start within `duration_ns` at a constant rate.
    #[must_use]
    pub fn count_within(self, duration_ns: u64) -> u64 {
        let scaled = u128::from(duration_ns) * u128::from(self.milli);
        u64::try_from(scaled.div_ceil(NS_PER_S * 1000)).unwrap_or(u64::MAX)
    }

    /// The rate of requests that carry `links` links each: never below 0.001.
    #[must_use]
    pub fn in_batches_of(self, links: u64) -> Self {
        Self { milli: (self.milli / links.max(1)).max(1) }
    }
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: f64 =
            text.replace([',', '_'], "").parse().map_err(|_| format!("{text} is not a number"))?;
        Self::new(number).ok_or_else(|| format!("{text} is outside 0.001 to 1e9 per second"))
    }
}

/// How the requests are spread in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Evenly spaced.
    Constant,
    /// Independent of each other, as visitors are: exponential gaps of the same mean.
    Poisson,
}

/// The intended starts of one thread of a run, in order.
#[derive(Debug)]
pub struct Schedule {
    rate: Rate,
    next: u64,
    step: u64,
    poisson: Option<(SmallRng, f64)>,
}

impl Schedule {
    /// The share of thread `thread` of `threads` (0-based) in a run at `rate`: with constant arrivals every
    /// `threads`-th request, with Poisson arrivals an independent stream of `rate / threads`.
    #[must_use]
    pub fn new(rate: Rate, arrivals: Arrivals, thread: u64, threads: u64, seed: u64) -> Self {
        let poisson = match arrivals {
            Arrivals::Constant => None,
            Arrivals::Poisson => Some((SmallRng::seed_from_u64(seed ^ (thread << 32)), 0.0)),
        };
        Self { rate, next: thread, step: threads.max(1), poisson }
    }

    /// The next intended start, in ns from the start of the run; never below the one before.
    pub fn next_offset_ns(&mut self) -> u64 {
        let index = self.next;
        self.next = self.next.saturating_add(self.step);
        let Some((random, at_ns)) = &mut self.poisson else {
            return constant_offset_ns(index, self.rate);
        };
        let uniform: f64 = random.random();
        let mean_ns = 1e9 * self.step as f64 / self.rate.per_second();
        *at_ns += -(1.0 - uniform).ln() * mean_ns;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let offset = *at_ns as u64;
        offset
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rate(per_second: f64) -> Rate {
        Rate::new(per_second).unwrap()
    }

    #[test]
    fn constant_arrivals_do_not_drift_however_long_the_run() {
        assert_eq!(constant_offset_ns(0, rate(3.0)), 0);
        assert_eq!(constant_offset_ns(1, rate(3.0)), 333_333_333);
        assert_eq!(constant_offset_ns(3_000_000_000, rate(3.0)), 1_000_000_000_000_000_000);
        assert_eq!(constant_offset_ns(7, rate(0.5)), 14_000_000_000);
    }

    #[test]
    fn threads_share_a_constant_schedule_without_gaps_or_doubles() {
        let mut offsets: Vec<u64> = (0..3)
            .flat_map(|thread| {
                let mut schedule = Schedule::new(rate(1000.0), Arrivals::Constant, thread, 3, 0);
                (0..4).map(move |_| schedule.next_offset_ns()).collect::<Vec<_>>()
            })
            .collect();
        offsets.sort_unstable();
        assert_eq!(offsets, (0..12).map(|index| index * 1_000_000).collect::<Vec<_>>());
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_and_repeat_with_the_seed() {
        let run = |seed| {
            let mut schedule = Schedule::new(rate(10_000.0), Arrivals::Poisson, 1, 2, seed);
            (0..50_000).map(|_| schedule.next_offset_ns()).collect::<Vec<_>>()
        };
        let offsets = run(7);
        assert!(offsets.is_sorted());
        // 50,000 arrivals at 5,000/s: 10 s, with a standard deviation of 0.45 %.
        let seconds = *offsets.last().unwrap() as f64 / 1e9;
        assert!((9.8..10.2).contains(&seconds), "{seconds}");
        assert_eq!(offsets, run(7));
        assert_ne!(offsets, run(8));
    }

    #[test]
    fn a_rate_counts_the_requests_that_start_within_a_duration() {
        assert_eq!(rate(500.0).count_within(2_000_000_000), 1000);
        assert_eq!(rate(3.0).count_within(1_000_000_001), 4);
        assert_eq!(rate(50_000.0).in_batches_of(1000), rate(50.0));
    }

    #[test]
    fn rates_are_read_with_separators_and_refused_outside_the_range() {
        assert_eq!("10,000".parse::<Rate>().unwrap(), rate(10_000.0));
        assert_eq!("0.5".parse::<Rate>().unwrap(), rate(0.5));
        for wrong in ["0", "-1", "nan", "inf", "fast", ""] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
