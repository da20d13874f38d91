//! How long to wait before the next try: longer each time, and never in step with the other proxies.

use std::time::Duration;

/// The first pause, at most.
pub const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
pub const LONGEST: Duration = Duration::from_secs(5);

/// Counts tries. Pure: the randomness is passed in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next pause: between half and the whole of a time that doubles from [`FIRST`] to [`LONGEST`]. `random` is from 0 to 1.
    pub fn next(&mut self, random: f64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        jittered(whole, random)
    }

    /// The pause after a refusal, which will not pass within milliseconds.
    pub fn slow(random: f64) -> Duration {
        jittered(LONGEST, random)
    }

    /// Something worked: the next pause is a first one.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

fn jittered(whole: Duration, random: f64) -> Duration {
    whole.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_five_seconds_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        backoff.reset();
        assert_eq!(backoff.next(0.0).as_millis(), 50);
        let mut long = Backoff { tries: u32::MAX };
        assert_eq!(long.next(0.5).as_millis(), 3_750);
    }
}
