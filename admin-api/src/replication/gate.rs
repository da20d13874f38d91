//! Requests waiting for a seq to be reached.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::sync::oneshot;

/// Lets waiters through in the order of their seqs as the reached seq rises.
#[derive(Default)]
pub(super) struct Gate {
    reached: u64,
    waiting: BinaryHeap<Waiter>,
    /// How many waiters there may be before those that gave up are looked for.
    purge_at: usize,
}

/// The fewest waiters worth looking through.
const PURGE_AT_LEAST: usize = 1_024;

struct Waiter {
    seq: Reverse<u64>,
    through: oneshot::Sender<()>,
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Waiter) -> bool {
        self.seq == other.seq
    }
}
impl Eq for Waiter {}
impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Waiter) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiter {
    fn cmp(&self, other: &Waiter) -> std::cmp::Ordering {
        self.seq.cmp(&other.seq)
    }
}

impl Gate {
    /// Returns what resolves when `seq` is reached; `None` if it is already.
    pub(super) fn wait(&mut self, seq: u64) -> Option<oneshot::Receiver<()>> {
        if seq <= self.reached {
            return None;
        }
        if self.waiting.len() >= self.purge_at.max(PURGE_AT_LEAST) {
            // The seq they wait for may never be reached; those who gave up must not pile up.
            self.waiting.retain(|waiter| !waiter.through.is_closed());
            self.purge_at = self.waiting.len() * 2;
        }
        let (through, receiver) = oneshot::channel();
        self.waiting.push(Waiter { seq: Reverse(seq), through });
        Some(receiver)
    }

    /// Notes how far everybody who counts has come: it falls when one who is behind joins.
    pub(super) fn set_reached(&mut self, seq: u64) {
        self.reached = seq;
        while self.waiting.peek().is_some_and(|waiter| waiter.seq.0 <= seq) {
            if let Some(waiter) = self.waiting.pop() {
                // A waiter that timed out is gone; that is fine.
                let _ = waiter.through.send(());
            }
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
