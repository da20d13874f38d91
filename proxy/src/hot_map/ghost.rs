//! Shadows of links that were evicted: a bounded memory of words, without the links.
//!
//! A table of buckets with four fingerprints each, the newest first. A shadow that falls out of its bucket is forgotten: on
//! average the table remembers as many links as it has places, which is all the policy needs. 4 bytes a place.

/// Fingerprints of one bucket, newest first; 0 is an empty place.
type Bucket = [u32; 4];

#[derive(Debug)]
pub(super) struct Ghost {
    buckets: Box<[Bucket]>,
}

impl Ghost {
    /// Makes a table of at least `shadows` places.
    pub(super) fn new(shadows: usize) -> Ghost {
        Ghost { buckets: vec![Bucket::default(); shadows.div_ceil(4).max(1)].into() }
    }

    /// How many places there are.
    pub(super) const fn len(&self) -> usize {
        self.buckets.len() * 4
    }

    /// Remembers a word.
    pub(super) fn put(&mut self, word: u64) {
        let (bucket, fingerprint) = self.place(word);
        bucket.rotate_right(1);
        bucket[0] = fingerprint;
    }

    /// Says whether a word is remembered, and forgets it.
    pub(super) fn take(&mut self, word: u64) -> bool {
        let (bucket, fingerprint) = self.place(word);
        let Some(at) = bucket.iter().position(|found| *found == fingerprint) else { return false };
        bucket[at..].rotate_left(1);
        bucket[3] = 0;
        true
    }

    fn place(&mut self, word: u64) -> (&mut Bucket, u32) {
        // Fibonacci hashing; the high half of the product, taken as a fraction of all buckets, is the place.
        let mixed = (word ^ word >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let index = (((mixed >> 32) * self.buckets.len() as u64) >> 32) as usize;
        (&mut self.buckets[index], mixed as u32 | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_is_found_once() {
        let mut ghost = Ghost::new(64);
        ghost.put(7);
        assert!(!ghost.take(8));
        assert!(ghost.take(7));
        assert!(!ghost.take(7));
    }

    #[test]
    fn the_newest_shadows_are_kept_and_old_ones_forgotten() {
        let mut ghost = Ghost::new(1_000);
        (0..100_000).for_each(|word| ghost.put(word));
        let newest = (99_700..100_000).filter(|word| ghost.take(*word)).count();
        let oldest = (0..90_000).filter(|word| ghost.take(*word)).count();
        assert!(newest > 270, "{newest} of 300");
        assert!(oldest < 50, "{oldest} of 90,000");
    }
}
