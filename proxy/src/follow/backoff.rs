//! How long to wait before the next try: longer each time, and never in step with the other proxies.
//!
//! A hundred proxies that lose their writer at the same instant try again spread over the whole of each pause ("full jitter"), so a writer
//! that comes back meets some at a time, whatever brought them into step.

use std::time::Duration;

/// The first pause, at most.
pub const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
pub const LONGEST: Duration = Duration::from_secs(5);
/// The shortest pause: nobody tries again at once.
pub const SHORTEST: Duration = Duration::from_millis(10);
/// Over how long proxies spread that have to fetch another replica for the same reason.
const BOOTSTRAPS_SPREAD: Duration = Duration::from_secs(3);

/// Counts tries. Pure: the randomness is passed in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next pause: anything from [`SHORTEST`] to a time that doubles from [`FIRST`] to [`LONGEST`]. `random` is from 0 to 1.
    pub fn next(&mut self, random: f64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        whole.mul_f64(random.clamp(0.0, 1.0)).max(SHORTEST)
    }

    /// The pause after a refusal, which will not pass within milliseconds: between half and the whole of [`LONGEST`].
    pub fn slow(random: f64) -> Duration {
        LONGEST.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
    }

    /// How long to wait before another replica is fetched that many may need at once: a log that was restored is another one to all of them.
    pub fn before_bootstrap(random: f64) -> Duration {
        BOOTSTRAPS_SPREAD.mul_f64(random.clamp(0.0, 1.0))
    }

    /// Something worked: the next pause is a first one.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn pauses_double_to_five_seconds_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..7).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        backoff.reset();
        assert_eq!(backoff.next(1.0).as_millis(), 250);
        let mut long = Backoff { tries: u32::MAX };
        assert_eq!([long.next(0.5), long.next(0.0)].map(|pause| pause.as_millis()), [2_500, 10]);
        assert_eq!([0.0, 1.0].map(Backoff::slow).map(|pause| pause.as_millis()), [2_500, 5_000]);
    }

    /// Tries of a hundred proxies that lose their writer at once, milliseconds after that.
    fn tries(seed: u64, tries_each: usize) -> Vec<u64> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut all = Vec::new();
        for _ in 0..100 {
            let (mut backoff, mut at) = (Backoff::default(), Duration::ZERO);
            for _ in 0..tries_each {
                at += backoff.next(random.random());
                all.push(at.as_millis() as u64);
            }
        }
        all
    }

    #[test]
    fn a_hundred_proxies_that_lose_their_writer_at_once_spread_their_tries() {
        for seed in 0..50 {
            // The first tries: every fifth of the first pause has its share of them, none has half.
            let first = tries(seed, 1);
            for fifth in 0..5 {
                let share = first.iter().filter(|at| **at / 50 == fifth).count();
                assert!((5..45).contains(&share), "seed {seed}: {share} of 100 in fifth {fifth}");
            }
            // A writer that comes back after ten seconds is tried by no more than a few in any tenth of one.
            let late: Vec<u64> = tries(seed, 12).into_iter().filter(|at| *at >= 10_000).collect();
            for tenth in 100..150 {
                let share = late.iter().filter(|at| **at / 100 == tenth).count();
                assert!(share <= 20, "seed {seed}: {share} tries in one tenth of a second");
            }
        }
    }

    #[test]
    fn proxies_that_all_need_another_replica_do_not_all_ask_at_once() {
        let mut random = SmallRng::seed_from_u64(7);
        let mut seconds = [0; 3];
        for _ in 0..300 {
            seconds[Backoff::before_bootstrap(random.random()).as_secs().min(2) as usize] += 1;
        }
        assert!(seconds.iter().all(|share| (60..140).contains(share)), "{seconds:?}");
    }
}
