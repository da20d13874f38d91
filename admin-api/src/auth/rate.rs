//! A limit of requests per second: the generic cell rate algorithm (ITU-T I.371), one atomic word. Pure: the time comes in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// Allows so many requests a second, and as many at once after a second of silence.
#[derive(Debug)]
pub struct Rate {
    /// Nanoseconds one request uses up; 0: no limit.
    cost_ns: u64,
    /// Until when the past requests have used up the time, in nanoseconds.
    used_until_ns: AtomicU64,
}

impl Rate {
    /// Returns a limit; 0 means none.
    pub fn new(requests_per_s: u32) -> Rate {
        let cost_ns = SECOND_NS.checked_div(u64::from(requests_per_s)).unwrap_or(0);
        Rate { cost_ns, used_until_ns: AtomicU64::new(0) }
    }

    /// Returns how many requests a second are allowed, how many are left at `now`, and how long until all of them are; `None`: no limit.
    pub fn left(&self, now: Duration) -> Option<(u32, u32, Duration)> {
        let limit = SECOND_NS.checked_div(self.cost_ns)?;
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let used_ns = self.used_until_ns.load(Ordering::Relaxed).saturating_sub(now_ns);
        let left = (SECOND_NS.saturating_sub(used_ns)) / self.cost_ns;
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Some((number(limit), number(left), Duration::from_nanos(used_ns)))
    }

    /// Takes one request at `now`, a time since any fixed start.
    ///
    /// # Errors
    /// How long to wait until one is allowed.
    pub fn take(&self, now: Duration) -> Result<(), Duration> {
        if self.cost_ns == 0 {
            return Ok(());
        }
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let budget_end = now_ns.saturating_add(SECOND_NS);
        let next = |used_until: u64| {
            let after = used_until.max(now_ns).saturating_add(self.cost_ns);
            (after <= budget_end).then_some(after)
        };
        let taken = self.used_until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.map(drop).map_err(|used_until| {
            Duration::from_nanos(used_until.saturating_add(self.cost_ns).saturating_sub(budget_end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(rate: &Rate, at: Duration) -> usize {
        (0..1000).take_while(|_| rate.take(at).is_ok()).count()
    }

    #[test]
    fn a_second_of_silence_allows_a_second_of_requests_at_once() {
        let rate = Rate::new(10);
        assert_eq!(allowed(&rate, Duration::ZERO), 10);
        assert_eq!(allowed(&rate, Duration::from_millis(99)), 0);
        assert_eq!(allowed(&rate, Duration::from_millis(100)), 1);
        assert_eq!(allowed(&rate, Duration::from_millis(450)), 3);
        assert_eq!(allowed(&rate, Duration::from_secs(60)), 10);
    }

    #[test]
    fn a_refusal_says_how_long_to_wait_and_that_is_enough() {
        let rate = Rate::new(3);
        let mut now = Duration::from_secs(5);
        assert_eq!(allowed(&rate, now), 3);
        for _ in 0..20 {
            now += rate.take(now).expect_err("used up");
            assert_eq!(rate.take(now), Ok(()));
        }
    }

    #[test]
    fn what_is_left_is_what_can_be_taken() {
        let rate = Rate::new(4);
        assert_eq!(rate.left(Duration::ZERO), Some((4, 4, Duration::ZERO)));
        assert_eq!(rate.take(Duration::ZERO), Ok(()));
        assert_eq!(rate.left(Duration::ZERO), Some((4, 3, Duration::from_millis(250))));
        assert_eq!(allowed(&rate, Duration::ZERO), 3);
        assert_eq!(rate.left(Duration::ZERO), Some((4, 0, Duration::from_secs(1))));
        assert_eq!(Rate::new(0).left(Duration::ZERO), None);
    }

    #[test]
    fn without_a_limit_everything_is_allowed() {
        assert_eq!(allowed(&Rate::new(0), Duration::ZERO), 1000);
    }
}
