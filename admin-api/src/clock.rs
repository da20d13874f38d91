//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time in microseconds since the Unix epoch; 0 if the clock stands before it.
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Returns the time in milliseconds since the Unix epoch; 0 if the clock stands before it.
pub fn now_ms() -> u64 {
    now_us() / 1000
}
