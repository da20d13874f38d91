//! What happened in each second of a run: the progress line while it runs, a row of `run.json` afterwards.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::figures::{count, duration};
use crate::latency::{Latency, Summary};

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
}

/// The second that is running, and those before it; shared by the threads of a run.
#[derive(Clone, Debug, Default)]
pub struct Series(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    done: u64,
    errors: u64,
    latency: Latency,
    seconds: Vec<Second>,
}

impl Default for State {
    fn default() -> Self {
        Self { done: 0, errors: 0, latency: Latency::coarse(), seconds: Vec::new() }
    }
}

impl Series {
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
        self.with(|state| {
            let latency = mem::replace(&mut state.latency, Latency::coarse());
            let (done, errors) = (mem::take(&mut state.done), mem::take(&mut state.errors));
            let Summary { p50_us, p99_us, max_us, .. } = latency.summary();
            state.seconds.push(Second { at_s: elapsed.as_secs(), done, errors, p50_us, p99_us, max_us });
            format!(
                "{:4} s  {}/s  p50 {}  p99 {}  max {}  errors {}",
                elapsed.as_secs(),
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
        let series = Series::default();
        series.answered(3, 2_000_000);
        series.failed(1);
        let line = series.tick(Duration::from_secs(1));
        assert!(line.starts_with("   1 s  3/s  p50 2.0") && line.ends_with("errors 1"), "{line}");
        let _ = series.tick(Duration::from_secs(2));
        let seconds = series.seconds();
        assert_eq!((seconds[0].done, seconds[0].errors), (3, 1));
        assert_eq!(seconds[1], Second { at_s: 2, done: 0, errors: 0, p50_us: 0.0, p99_us: 0.0, max_us: 0.0 });
    }
}
