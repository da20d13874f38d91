//! Which link leaves when the map is full: S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023).
//!
//! A link comes into a small queue. Asked for again while there, it moves on to the main queue when its turn comes; otherwise it
//! goes, and only its shadow stays for a while: if it is asked for again soon, it comes straight into the main queue. So a scan of
//! links that are asked for once passes through the small queue and leaves the main one alone. A hit moves nothing: it counts in
//! the link, under the shared lock of its shard.
//!
//! One policy per shard, under the shard's lock. Links may vanish (deleted, superseded): their places in the queues are skipped,
//! and cleared out when they are too many.

use std::collections::{HashSet, VecDeque};

use super::ghost::Ghost;

/// One of so many links is in the small queue.
const SMALL_SHARE: usize = 20;
/// Shadows are kept for one link in so many. More would let links back in that are asked for too seldom (with as many shadows as
/// links, a Zipf load loses 0.4 points of hits), fewer would take longer to notice that other links have become popular.
const SHADOW_SHARE: usize = 2;
/// How many links are looked at for one that may go, before the next one has to. Bounds the time an insertion holds its shard.
const STEPS_MAX: usize = 128;
/// So many places of vanished links are left alone.
const VANISHED_MIN: usize = 256;

/// What the policy asks of the links in its shard.
pub(super) trait Residents {
    /// Hits of a link since it was last looked at; `None` if it is not there.
    fn hits(&self, word: u64) -> Option<u8>;
    /// Sets them.
    fn set_hits(&self, word: u64, hits: u8);
}

/// The queues of one shard.
#[derive(Debug)]
pub(super) struct S3Fifo {
    small: VecDeque<u64>,
    main: VecDeque<u64>,
    ghost: Ghost,
}

impl S3Fifo {
    /// Makes a policy for about `residents` links.
    pub(super) fn new(residents: usize) -> S3Fifo {
        let ghost = Ghost::new(residents / SHADOW_SHARE);
        S3Fifo { small: VecDeque::new(), main: VecDeque::new(), ghost }
    }

    /// Takes in a link that has just come into the map.
    pub(super) fn admit(&mut self, word: u64) {
        if self.ghost.take(word) { self.main.push_back(word) } else { self.small.push_back(word) }
    }

    /// Names the link that has to go, and takes it out of the queues; `None` if they are empty.
    pub(super) fn victim(&mut self, residents: &impl Residents) -> Option<u64> {
        for step in 0.. {
            let from_small = self.small.len() * SMALL_SHARE > self.places() || self.main.is_empty();
            let queue = if from_small { &mut self.small } else { &mut self.main };
            let word = queue.pop_front()?;
            let Some(hits) = residents.hits(word) else { continue };
            if hits == 0 || step >= STEPS_MAX {
                if from_small {
                    self.ghost.put(word);
                }
                return Some(word);
            }
            // From the small queue it starts anew, in the main one it has one chance less.
            residents.set_hits(word, if from_small { 0 } else { hits - 1 });
            self.main.push_back(word);
        }
        None
    }

    /// Clears out places of vanished links if they outnumber the `residents_len` links that are there.
    pub(super) fn tidy(&mut self, residents_len: usize, residents: &impl Residents) {
        if self.places() <= 2 * residents_len + VANISHED_MIN {
            return;
        }
        let mut seen = HashSet::with_capacity(residents_len);
        for queue in [&mut self.main, &mut self.small] {
            queue.retain(|word| residents.hits(*word).is_some() && seen.insert(*word));
            queue.shrink_to_fit();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        let ghost = Ghost::new(self.ghost.len());
        *self = S3Fifo { small: VecDeque::new(), main: VecDeque::new(), ghost };
    }

    /// Places in the queues: at least one for each link that is there.
    pub(super) fn places(&self) -> usize {
        self.small.len() + self.main.len()
    }
}

#[cfg(test)]
mod tests;
