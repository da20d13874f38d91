//! What happens next: events on virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events by their time; of two at the same time the one that was put in first comes first.
pub struct Queue<T> {
    events: BinaryHeap<Reverse<Timed<T>>>,
    next: u64,
    now_us: u64,
}

struct Timed<T> {
    at_us: u64,
    number: u64,
    event: T,
}

impl<T> PartialEq for Timed<T> {
    fn eq(&self, other: &Timed<T>) -> bool {
        self.number == other.number
    }
}
impl<T> Eq for Timed<T> {}
impl<T> PartialOrd for Timed<T> {
    fn partial_cmp(&self, other: &Timed<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Timed<T> {
    fn cmp(&self, other: &Timed<T>) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { events: BinaryHeap::new(), next: 0, now_us: 0 }
    }
}

impl<T> Queue<T> {
    /// Returns the time, microseconds since the run began.
    pub const fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Puts in what happens `after_us` microseconds from now.
    pub fn after(&mut self, after_us: u64, event: T) {
        self.at(self.now_us + after_us, event);
    }

    /// Puts in what happens at a time, or now if that is over.
    pub fn at(&mut self, at_us: u64, event: T) {
        self.next += 1;
        let at_us = at_us.max(self.now_us);
        self.events.push(Reverse(Timed { at_us, number: self.next, event }));
    }

    /// Takes out what comes next, and lets the time pass until then.
    pub fn pop(&mut self) -> Option<T> {
        let Reverse(timed) = self.events.pop()?;
        self.now_us = timed.at_us;
        Some(timed.event)
    }
}
