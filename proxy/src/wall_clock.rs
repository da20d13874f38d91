//! The wall clock at full resolution, for comparing with the writer's. Requests use [`crate::http::clock`].

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns microseconds since the Unix epoch.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
