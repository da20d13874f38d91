//! What Pingora has to say about its sockets, in our log and within bounds.
//!
//! Pingora logs through `log`. Most of it concerns single requests and connections, which is for anybody on the internet to cause,
//! and is dropped. Its services' warnings are kept: that connections cannot be accepted (no file descriptors left) is said nowhere
//! else. One line in a while, with the number of those left out.

use std::sync::atomic::{AtomicU64, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::http::clock::now_ms;

/// Where the lines come from that are kept.
const SERVICES: &str = "pingora_core::services";
/// At most one line in this time, in milliseconds.
const EVERY_MS: u64 = 10_000;

#[derive(Default)]
struct FrameworkLog {
    last_ms: AtomicU64,
    left_out: AtomicU64,
}

/// Begins to listen to Pingora. Only the first call counts.
pub(crate) fn init() {
    let log = Box::leak(Box::new(FrameworkLog::default()));
    if log::set_logger(log).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

impl FrameworkLog {
    /// Returns how many lines were left out before this one, or `None` if it is one of them.
    fn admit(&self, now_ms: u64) -> Option<u64> {
        let last = self.last_ms.load(Ordering::Relaxed);
        let due = last == 0 || now_ms.saturating_sub(last) >= EVERY_MS;
        let first =
            due && self.last_ms.compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if first {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Log for FrameworkLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn && metadata.target().starts_with(SERVICES)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata())
            && let Some(left_out) = self.admit(now_ms())
        {
            tracing::warn!(problem = %record.args(), left_out, "trouble with connections");
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_while_is_let_through_with_the_number_of_those_left_out() {
        let log = FrameworkLog::default();
        let admitted: Vec<Option<u64>> =
            [1_000, 1_001, 10_999, 11_000, 11_001, 30_000].map(|now_ms| log.admit(now_ms)).into();
        assert_eq!(admitted, [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn only_warnings_of_the_services_are_kept() {
        let log = FrameworkLog::default();
        for (target, level, kept) in [
            ("pingora_core::services::listening", Level::Error, true),
            ("pingora_core::services::listening", Level::Info, false),
            ("pingora_core::protocols::http::v1::server", Level::Error, false),
            ("h2::proto", Level::Error, false),
        ] {
            let metadata = Metadata::builder().target(target).level(level).build();
            assert_eq!(log.enabled(&metadata), kept, "{target} {level}");
        }
    }
}
