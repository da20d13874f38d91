//! A bound on bytes a second, shared by everybody who sends.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Time that was not used is not made up for beyond this: the bound holds over every second.
const BURST: Duration = Duration::from_millis(100);

/// Gives out the right to send.
#[derive(Debug)]
pub(super) struct Throttle {
    /// 0: no bound.
    bytes_per_s: u64,
    /// When everything given out so far will have been sent.
    sent_at: Mutex<Instant>,
}

impl Throttle {
    pub(super) fn new(bytes_per_s: u64) -> Throttle {
        Throttle { bytes_per_s, sent_at: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` more may be sent.
    pub(super) async fn take(&self, bytes: usize) {
        if self.bytes_per_s == 0 {
            return;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        let begins = {
            let mut sent_at = self.sent_at.lock();
            let begins = (*sent_at).max(Instant::now() - BURST);
            *sent_at = begins + takes;
            begins
        };
        sleep_until(begins).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everybody_together_sends_no_more_than_the_bound() {
        let throttle = std::sync::Arc::new(Throttle::new(1_000_000));
        let begun = Instant::now();
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let throttle = throttle.clone();
                tokio::spawn(async move {
                    for _ in 0..25 {
                        throttle.take(100_000).await;
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        let took = begun.elapsed();
        assert!((9_700..=10_000).contains(&took.as_millis()), "{took:?}");
        Throttle::new(0).take(usize::MAX).await;
        assert_eq!(begun.elapsed(), took);
    }
}
