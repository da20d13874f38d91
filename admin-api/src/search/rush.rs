//! Whether so many links come at the moment that the index waits until they have come: an import, whose writer is to have the processor.

use std::time::{Duration, Instant};

use linklog::Seq;

/// So many records a second are a rush; programs that make links one by one stay below it.
const RECORDS_PER_S: f64 = 10_000.0;
/// How long a rush has to be over: an import that waits for the disk for a moment is still one.
const OVER_AFTER: Duration = Duration::from_secs(1);
/// Over what time is measured, at least.
const MEASURED: Duration = Duration::from_millis(50);
/// How far behind it may leave the index, in records; some 700 MB of the journal.
const BEHIND_MAX: u64 = 2_000_000;

/// How fast the log grows.
#[derive(Debug)]
pub(super) struct Rush {
    looked_at: Instant,
    head: Seq,
    until: Option<Instant>,
}

impl Rush {
    /// Begins to look on, `now` that the log ends with `head`.
    pub(super) fn new(now: Instant, head: Seq) -> Rush {
        Rush { looked_at: now, head, until: None }
    }

    /// Says whether the index is to wait, which reaches to `done`, while the journal holds the records from `first` to `head`: there is a rush, and
    /// the index is not so far behind that the journal might leave it.
    pub(super) fn waits(&mut self, now: Instant, done: Seq, first: Seq, head: Seq) -> bool {
        let passed = now.saturating_duration_since(self.looked_at);
        if passed >= MEASURED {
            if head.0.saturating_sub(self.head.0) as f64 > RECORDS_PER_S * passed.as_secs_f64() {
                self.until = Some(now + OVER_AFTER);
            }
            (self.looked_at, self.head) = (now, head);
        }
        let is_near = head.0.saturating_sub(done.0) <= BEHIND_MAX;
        // Where records were trimmed, more will be.
        let is_kept = first <= Seq(1) || done.0 >= first.0 + head.0.saturating_sub(first.0) / 2;
        self.until.is_some_and(|until| now < until) && is_near && is_kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Seq = Seq(1);

    /// Looks every 50 ms, `times` times, while the log grows by `per_look`; how often the index was to wait that reaches to `done`.
    fn looks(
        rush: &mut Rush,
        at: &mut Instant,
        head: &mut u64,
        per_look: u64,
        times: u32,
        done: Option<u64>,
    ) -> u32 {
        let mut waited = 0;
        for _ in 0..times {
            *at += MEASURED;
            *head += per_look;
            let done = Seq(done.unwrap_or(*head));
            waited += u32::from(rush.waits(*at, done, FIRST, Seq(*head)));
        }
        waited
    }

    #[test]
    fn the_index_waits_for_imports_and_for_nothing_slower() {
        let (mut at, mut head) = (Instant::now(), 1000);
        let mut rush = Rush::new(at, Seq(head));
        assert_eq!(looks(&mut rush, &mut at, &mut head, 499, 100, None), 0);
        assert_eq!(looks(&mut rush, &mut at, &mut head, 2000, 100, None), 100);
        // One that pauses is still an import, for a second.
        assert_eq!(looks(&mut rush, &mut at, &mut head, 0, 40, None), 19);
    }

    #[test]
    fn an_index_far_behind_does_not_wait() {
        let (mut at, mut head) = (Instant::now(), 10_000_000);
        let mut rush = Rush::new(at, Seq(head));
        assert_eq!(looks(&mut rush, &mut at, &mut head, 2000, 10, Some(8_100_000)), 10);
        assert_eq!(looks(&mut rush, &mut at, &mut head, 2000, 10, Some(7_900_000)), 0);
    }

    #[test]
    fn an_index_that_the_journal_might_leave_does_not_wait() {
        let at = Instant::now();
        let mut rush = Rush::new(at, Seq(100_000));
        let mut look = |n: u32, done, first| {
            rush.waits(at + MEASURED * n, Seq(done), Seq(first), Seq(100_000 + u64::from(n) * 2000))
        };
        assert!(look(1, 60_000, 1));
        assert!(!look(2, 60_000, 50_000));
        assert!(look(3, 90_000, 50_000));
    }
}
