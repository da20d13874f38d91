//! The hash of the tables on the way of a request: xxh3 with a seed of this process, so that nobody who may choose codes or hosts
//! can choose which of them collide.

use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Makes hashers with one random seed.
#[derive(Clone, Copy, Debug)]
pub struct SeededXxh3 {
    seed: u64,
}

impl SeededXxh3 {
    /// Draws a seed.
    pub fn random() -> SeededXxh3 {
        SeededXxh3 { seed: rand::random() }
    }
}

impl Default for SeededXxh3 {
    fn default() -> Self {
        SeededXxh3::random()
    }
}

impl BuildHasher for SeededXxh3 {
    type Hasher = Xxh3Hasher;

    fn build_hasher(&self) -> Xxh3Hasher {
        Xxh3Hasher(self.seed)
    }
}

/// Hashes what is written, each piece seeded with what came before it.
#[derive(Clone, Copy, Debug)]
pub struct Xxh3Hasher(u64);

impl Hasher for Xxh3Hasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_same_within_a_table_and_differ_between_tables() {
        let (a, b) = (SeededXxh3::random(), SeededXxh3::random());
        assert_eq!(a.hash_one(7u64), a.hash_one(7u64));
        assert_ne!(a.hash_one(7u64), a.hash_one(8u64));
        assert_ne!(a.hash_one(7u64), b.hash_one(7u64));
    }
}
