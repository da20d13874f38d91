//! What sends the next request: its time, or the answer to the one before.
//!
//! Invariant: in an open loop the next intended start never depends on answers; in a closed loop it is always now, until there is
//! nothing more to ask for.

use crate::schedule::Schedule;

/// How a thread of `redirect` is paced.
#[derive(Debug)]
pub(super) enum Pace {
    /// Requests have their time.
    Open(Schedule),
    /// A connection that has its answer sends again at once.
    Closed,
}

impl Pace {
    /// The intended start of the next request at `now_ns`, in ns from the start of the run.
    pub(super) fn next_ns(&mut self, now_ns: u64) -> u64 {
        match self {
            Self::Open(schedule) => schedule.next_offset_ns(),
            Self::Closed => now_ns,
        }
    }

    /// Whether requests wait for answers.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }
}

/// Which key is asked for next.
#[derive(Debug)]
pub(super) enum Order {
    /// Any, again and again.
    Random,
    /// Every `step`-th from `next` on, each once.
    Once {
        /// The index of the next.
        next: usize,
        /// The number of threads that share the keys.
        step: usize,
    },
}

impl Order {
    /// Whether all `keys` have been asked for.
    pub(super) fn is_over(&self, keys: usize) -> bool {
        matches!(self, Self::Once { next, .. } if *next >= keys)
    }

    /// The index of the next of `keys`, before it [is over](Self::is_over).
    pub(super) fn next(&mut self, random: impl FnOnce() -> usize) -> usize {
        match self {
            Self::Random => random(),
            Self::Once { next, step } => {
                let index = *next;
                *next += *step;
                index
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_out_all_keys_and_then_it_is_over() {
        let mut orders = [Order::Once { next: 0, step: 2 }, Order::Once { next: 1, step: 2 }];
        let mut taken = Vec::new();
        for order in &mut orders {
            while !order.is_over(5) {
                taken.push(order.next(|| unreachable!("nothing is random here")));
            }
        }
        assert_eq!(taken, [0, 2, 4, 1, 3]);
        assert_eq!((Order::Random.is_over(0), Order::Random.next(|| 7)), (false, 7));
    }
}
