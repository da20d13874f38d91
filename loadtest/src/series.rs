//! What happened in each second of a run: the progress line while it runs, a row of `run.json` afterwards.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::figures::{count, duration};
use crate::latency::{Latency, Record, Summary};
use crate::processors::{CALM_STEAL_PERCENT_BELOW, StealMeter};

/// One second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Second {
    pub at_s: u64,
    pub done: u64,
    pub errors: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
    /// Processor time that was stolen from this machine, in percent; `null` when the system does not tell.
    pub steal_percent: Option<f64>,
}

/// The latencies of the measured seconds in which next to no processor time was stolen from this machine.
///
/// Seconds are those of the series: to a tenth of a second, and an answer belongs to the second it came in, however long it took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calm {
    /// A second with less steal is calm, in percent.
    pub steal_percent_below: f64,
    /// Calm seconds.
    pub seconds: u64,
    /// Seconds measured, as far as they were whole.
    pub of_seconds: u64,
    /// From the intended start to the answer read, of answers that came in calm seconds.
    pub latency: Record,
}

impl Calm {
    /// The latencies and what they are of, for people.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { steal_percent_below, seconds, of_seconds, latency } = self;
        let of = format!("{seconds} of {of_seconds} s, those with < {steal_percent_below} % steal");
        if *seconds == 0 { of } else { format!("{}  ({of})", latency.summary.line()) }
    }
}

/// The second that is running, and those before it; shared by the threads of a run.
#[derive(Clone, Debug)]
pub struct Series(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    done: u64,
    errors: u64,
    latency: Latency,
    seconds: Vec<Second>,
    steal: StealMeter,
    warm_up_s: u64,
    calm: Latency,
    calm_seconds: u64,
    measured_seconds: u64,
}

impl Series {
    /// A series whose first `warm_up_s` seconds are not measured, though shown.
    #[must_use]
    pub fn new(warm_up_s: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            done: 0,
            errors: 0,
            latency: Latency::coarse(),
            seconds: Vec::new(),
            steal: StealMeter::start(),
            warm_up_s,
            calm: Latency::default(),
            calm_seconds: 0,
            measured_seconds: 0,
        })))
    }

    /// Counts one answer that stands for `done` pieces of work.
    pub fn answered(&self, done: u64, latency_ns: u64) {
        self.with(|state| {
            state.done += done;
            state.latency.record(latency_ns);
        });
    }

    /// Counts errors.
    pub fn failed(&self, errors: u64) {
        self.with(|state| state.errors += errors);
    }

    /// Adds what a thread counted by itself, unless that means waiting for another: then false, and nothing is added.
    #[must_use]
    pub fn try_add(&self, done: u64, errors: u64, latency: &Latency) -> bool {
        let Ok(mut state) = self.0.try_lock() else { return false };
        state.done += done;
        state.errors += errors;
        state.latency.merge(latency);
        true
    }

    /// Ends the running second and says it in a line.
    #[must_use]
    pub fn tick(&self, elapsed: Duration) -> String {
        let steal_percent = self.with(|state| state.steal.look());
        self.tick_with(elapsed, steal_percent)
    }

    fn tick_with(&self, elapsed: Duration, steal_percent: Option<f64>) -> String {
        self.with(|state| {
            let latency = mem::replace(&mut state.latency, Latency::coarse());
            let (done, errors) = (mem::take(&mut state.done), mem::take(&mut state.errors));
            let Summary { p50_us, p99_us, max_us, .. } = latency.summary();
            let at_s = elapsed.as_secs();
            state.seconds.push(Second { at_s, done, errors, p50_us, p99_us, max_us, steal_percent });
            if at_s > state.warm_up_s {
                state.measured_seconds += 1;
                if steal_percent.is_some_and(|percent| percent < CALM_STEAL_PERCENT_BELOW) {
                    state.calm_seconds += 1;
                    state.calm.merge(&latency);
                }
            }
            let steal = steal_percent.map_or(String::new(), |percent| format!("  steal {percent:.1} %"));
            format!(
                "{at_s:4} s  {}/s  p50 {}  p99 {}  max {}  errors {}{steal}",
                count(done),
                duration(latency.percentile_ns(50.0)),
                duration(latency.percentile_ns(99.0)),
                duration(latency.max_ns()),
                count(errors)
            )
        })
    }

    /// The seconds that have ended.
    #[must_use]
    pub fn seconds(&self) -> Vec<Second> {
        self.with(|state| state.seconds.clone())
    }

    /// The latencies of the calm seconds among those that have ended.
    #[must_use]
    pub fn calm(&self) -> Calm {
        self.with(|state| Calm {
            steal_percent_below: CALM_STEAL_PERCENT_BELOW,
            seconds: state.calm_seconds,
            of_seconds: state.measured_seconds,
            latency: state.calm.record_of(),
        })
    }

    fn with<T>(&self, use_state: impl FnOnce(&mut State) -> T) -> T {
        // Plain counters: a thread that panicked while holding them left them usable.
        use_state(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_starts_from_nothing() {
        let series = Series::new(0);
        series.answered(3, 2_000_000);
        series.failed(1);
        let line = series.tick_with(Duration::from_secs(1), Some(2.5));
        assert!(
            line.starts_with("   1 s  3/s  p50 2.0") && line.ends_with("errors 1  steal 2.5 %"),
            "{line}"
        );
        let _ = series.tick_with(Duration::from_secs(2), None);
        let seconds = series.seconds();
        assert_eq!((seconds[0].done, seconds[0].errors), (3, 1));
        let empty = Second {
            at_s: 2,
            done: 0,
            errors: 0,
            p50_us: 0.0,
            p99_us: 0.0,
            max_us: 0.0,
            steal_percent: None,
        };
        assert_eq!(seconds[1], empty);
    }

    #[test]
    fn only_measured_seconds_without_steal_are_calm() {
        let series = Series::new(1);
        for (at_s, latency_ns, steal_percent) in
            [(1, 1_000, Some(0.0)), (2, 2_000, Some(0.99)), (3, 3_000_000, Some(1.0)), (4, 4_000_000, None)]
        {
            series.answered(1, latency_ns);
            let _ = series.tick_with(Duration::from_secs(at_s), steal_percent);
        }
        let calm = series.calm();
        assert_eq!((calm.seconds, calm.of_seconds, calm.latency.summary.count), (1, 3, 1));
        assert_eq!(calm.latency.summary.max_us, 2.0);
        assert!(calm.line().ends_with("(1 of 3 s, those with < 1 % steal)"), "{}", calm.line());
    }
}
