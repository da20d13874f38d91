//! What is left of the leased codes. In memory only; the leases themselves are in [`super::store`].

use std::collections::VecDeque;

use linklog::Code7;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::lease::LeaseId;

/// Whether codes can be expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Supply {
    /// A key pool answered when last asked, or is being asked for the first time.
    Up,
    /// None answered when last asked, or there is none.
    Down,
}

struct Block {
    lease: LeaseId,
    codes: VecDeque<Code7>,
}

#[derive(Default)]
struct Blocks {
    /// Oldest first; none of them is empty.
    blocks: VecDeque<Block>,
    /// Codes that were taken and not needed.
    returned: Vec<Code7>,
    /// All of them together.
    left: usize,
    /// Leases whose last code was taken, whose files may go.
    finished: Vec<LeaseId>,
}

/// The stock.
pub struct Stock {
    /// Held for the copying of at most a batch of codes.
    blocks: Mutex<Blocks>,
    low_watermark: usize,
    wanted: Notify,
    supply: watch::Sender<Supply>,
}

impl Stock {
    /// Returns an empty stock and what tells of arrivals and of the supply's state.
    pub fn new(low_watermark: usize) -> (Stock, watch::Receiver<Supply>) {
        let (supply, changes) = watch::channel(Supply::Up);
        (Stock { blocks: Mutex::default(), low_watermark, wanted: Notify::new(), supply }, changes)
    }

    /// Takes up to `count` codes, those of the oldest lease first.
    pub fn take(&self, count: usize) -> Vec<Code7> {
        let mut stock = self.blocks.lock();
        let mut codes = Vec::with_capacity(count.min(stock.left));
        while codes.len() < count {
            if let Some(code) = stock.returned.pop() {
                codes.push(code);
                continue;
            }
            let Some(block) = stock.blocks.front_mut() else { break };
            let some = (count - codes.len()).min(block.codes.len());
            codes.extend(block.codes.drain(..some));
            if block.codes.is_empty() {
                let lease = block.lease;
                stock.blocks.pop_front();
                stock.finished.push(lease);
            }
        }
        stock.left -= codes.len();
        if stock.left < self.low_watermark || codes.len() < count {
            self.wanted.notify_one();
        }
        codes
    }

    /// Gives back codes that were taken and not used.
    pub fn give_back(&self, codes: impl IntoIterator<Item = Code7>) {
        let mut stock = self.blocks.lock();
        let before = stock.returned.len();
        stock.returned.extend(codes);
        stock.left += stock.returned.len() - before;
    }

    /// Adds the codes of a lease that is on disk.
    pub fn add(&self, lease: LeaseId, codes: Vec<Code7>) {
        {
            let mut stock = self.blocks.lock();
            stock.left += codes.len();
            if codes.is_empty() {
                stock.finished.push(lease);
            } else {
                stock.blocks.push_back(Block { lease, codes: codes.into() });
            }
        }
        self.supply.send_replace(Supply::Up);
    }

    /// Notes that no key pool answers.
    pub fn set_down(&self) {
        self.supply.send_if_modified(|supply| std::mem::replace(supply, Supply::Down) != Supply::Down);
    }

    /// Returns the codes that are left.
    pub fn codes(&self) -> Vec<Code7> {
        let stock = self.blocks.lock();
        let blocks = stock.blocks.iter().flat_map(|block| &block.codes);
        blocks.chain(&stock.returned).copied().collect()
    }

    /// Says how many codes are left.
    pub fn left(&self) -> usize {
        self.blocks.lock().left
    }

    /// Says whether the next lease should be asked for.
    pub fn is_low(&self) -> bool {
        self.left() < self.low_watermark.max(1)
    }

    /// Waits until somebody has found the stock low.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Returns leases whose codes are all taken, each once.
    pub fn finished(&self) -> Vec<LeaseId> {
        std::mem::take(&mut self.blocks.lock().finished)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::lease::PoolId;
    use super::*;

    fn lease(number: u64) -> LeaseId {
        LeaseId { pool: PoolId([1; 16]), number }
    }
    fn codes(range: std::ops::Range<u64>) -> Vec<Code7> {
        range.map(|n| Code7::new(n).unwrap()).collect()
    }

    #[test]
    fn codes_come_in_the_order_of_their_leases_and_each_once() {
        let (stock, _) = Stock::new(0);
        stock.add(lease(1), codes(0..3));
        stock.add(lease(2), codes(3..6));
        assert_eq!(stock.take(2), codes(0..2));
        assert_eq!(stock.finished(), []);
        assert_eq!(stock.take(3), codes(2..5));
        assert_eq!(stock.finished(), [lease(1)]);
        assert_eq!((stock.take(9), stock.left()), (codes(5..6), 0));
        assert_eq!(stock.finished(), [lease(2)]);
        assert_eq!(stock.take(1), []);
    }

    #[test]
    fn a_code_given_back_is_given_out_again() {
        let (stock, _) = Stock::new(0);
        stock.add(lease(1), codes(0..2));
        let taken = stock.take(1);
        stock.give_back(taken.clone());
        assert_eq!(stock.left(), 2);
        assert_eq!(stock.take(2), [taken, codes(1..2)].concat());
    }

    #[test]
    fn taking_below_the_watermark_wakes_who_refills() {
        let (stock, _) = Stock::new(2);
        stock.add(lease(1), codes(0..3));
        let mut wanted = tokio_test(stock.wanted());
        assert!(!wanted());
        stock.take(1);
        assert!(!wanted());
        stock.take(1);
        assert!(stock.is_low());
        assert!(wanted());
    }

    /// Polls a future by hand: true when it has ended.
    fn tokio_test<'a>(future: impl Future<Output = ()> + 'a) -> impl FnMut() -> bool + 'a {
        let mut future = Box::pin(future);
        move || {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            future.as_mut().poll(&mut context).is_ready()
        }
    }
}
