//! How much of its limits a token has used up: requests of this second, links of this period, and when it was last used.
//!
//! Periods are counted from the Unix epoch, so all periods of a day begin at midnight UTC. Pure: the time comes in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// What a token has used; shared by all versions of its record.
#[derive(Debug, Default)]
pub struct Usage {
    creates: Mutex<Period>,
    last_used_ms: AtomicU64,
}

/// Links made in one period.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Period {
    /// When it began, seconds since the Unix epoch.
    pub start_s: u64,
    /// How long it is, in seconds; 0: nothing was counted yet.
    pub length_s: u64,
    /// How many were made.
    pub count: u64,
}

/// The quota does not allow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsedUp {
    /// When the next period begins.
    pub retry_after: Duration,
}

/// Returns when the period began that `now_ms` lies in, seconds since the Unix epoch.
pub const fn period_start_s(now_ms: u64, period_s: u64) -> u64 {
    let now_s = now_ms / 1000;
    now_s - now_s % period_s
}

impl Usage {
    /// Notes a request.
    pub fn touch(&self, now_ms: u64) {
        self.last_used_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// Returns when the last request was, milliseconds since the Unix epoch.
    pub fn last_used_ms(&self) -> Option<u64> {
        Some(self.last_used_ms.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Takes `n` links out of a quota of `(count, seconds)`, all of them or none.
    ///
    /// # Errors
    /// There are not as many left in this period.
    pub fn take(&self, (count, period_s): (u64, u64), n: u64, now_ms: u64) -> Result<(), UsedUp> {
        let mut period = self.creates.lock();
        period.enter(now_ms, period_s);
        let after = period.count.saturating_add(n);
        if after > count {
            let end_ms = (period.start_s + period_s) * 1000;
            return Err(UsedUp { retry_after: Duration::from_millis(end_ms.saturating_sub(now_ms)) });
        }
        period.count = after;
        Ok(())
    }

    /// Gives back what was taken at `taken_ms` and not made.
    pub fn give_back(&self, n: u64, taken_ms: u64) {
        let mut period = self.creates.lock();
        if period.length_s > 0 && period.start_s == period_start_s(taken_ms, period.length_s) {
            period.count = period.count.saturating_sub(n);
        }
    }

    /// Returns how many links are left, and how long until there are all of them again.
    pub fn left(&self, (count, period_s): (u64, u64), now_ms: u64) -> (u64, Duration) {
        let mut period = self.creates.lock();
        period.enter(now_ms, period_s);
        let end_ms = (period.start_s + period_s) * 1000;
        (count.saturating_sub(period.count), Duration::from_millis(end_ms.saturating_sub(now_ms)))
    }

    /// Sets what was used before this process began.
    pub fn restore(&self, period: Period, last_used_ms: u64) {
        *self.creates.lock() = period;
        self.touch(last_used_ms);
    }
}

impl Period {
    /// Moves on to the period of `length_s` seconds that `now_ms` lies in; the past does not come back, whatever the clock says. What was
    /// counted goes over into a longer period, which it lies in too.
    pub fn enter(&mut self, now_ms: u64, length_s: u64) {
        let start_s = period_start_s(now_ms, length_s);
        if length_s > self.length_s {
            self.start_s -= self.start_s % length_s;
        }
        if start_s > self.start_s {
            *self = Period { start_s, length_s, count: 0 };
        }
        self.length_s = length_s;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: (u64, u64) = (3, 60);

    #[test]
    fn a_quota_is_used_up_and_comes_back_with_the_next_period() {
        let usage = Usage::default();
        assert_eq!(usage.take(QUOTA, 2, 61_000), Ok(()));
        assert_eq!(usage.take(QUOTA, 2, 62_000), Err(UsedUp { retry_after: Duration::from_secs(58) }));
        assert_eq!(usage.take(QUOTA, 1, 62_000), Ok(()));
        assert_eq!(usage.left(QUOTA, 119_999), (0, Duration::from_millis(1)));
        assert_eq!(usage.take(QUOTA, 3, 120_000), Ok(()));
    }

    #[test]
    fn what_was_not_made_is_given_back_within_its_period() {
        let usage = Usage::default();
        assert_eq!(usage.take(QUOTA, 3, 61_000), Ok(()));
        usage.give_back(2, 61_000);
        assert_eq!(usage.left(QUOTA, 61_000).0, 2);
        assert_eq!(usage.take(QUOTA, 3, 121_000), Ok(()));
        usage.give_back(2, 61_000);
        assert_eq!(usage.left(QUOTA, 121_000).0, 0, "another period's");
    }

    #[test]
    fn a_period_that_is_made_longer_keeps_its_count_and_takes_back_what_was_not_made() {
        let (usage, hour) = (Usage::default(), (5, 3600));
        assert_eq!(usage.take(QUOTA, 3, 7_261_000), Ok(()));
        assert_eq!(usage.left(hour, 7_262_000), (2, Duration::from_secs(3538)));
        usage.give_back(1, 7_261_000);
        assert_eq!(usage.left(hour, 7_262_000).0, 3);
        assert_eq!(usage.left(hour, 10_800_000).0, 5, "the next hour");
        assert_eq!(usage.take(hour, 1, 10_801_000), Ok(()));
        assert_eq!(usage.left(QUOTA, 10_802_000).0, 2, "shorter again");
        assert_eq!(usage.left(QUOTA, 10_860_000).0, 3);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_back() {
        let usage = Usage::default();
        assert_eq!(usage.take(QUOTA, 3, 121_000), Ok(()));
        assert!(usage.take(QUOTA, 1, 61_000).is_err());
    }
}
