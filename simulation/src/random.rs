//! The one source of chance of a run.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A generator that is the same for the same seed.
pub struct Random(StdRng);

impl Random {
    /// Returns the generator of a seed.
    pub fn of_seed(seed: u64) -> Random {
        Random(StdRng::seed_from_u64(seed))
    }

    /// Returns a number from 0 to below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64().checked_rem(n).unwrap_or(0)
    }

    /// Returns a number from `least` to below `below`.
    pub fn between(&mut self, least: u64, below: u64) -> u64 {
        least + self.below(below.saturating_sub(least))
    }

    /// Says yes so many times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns 16 random bytes.
    pub fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
