//! A writer's accounts: what is durable, and a group of changes that is not yet.

use std::collections::BTreeMap;

use clicklog::account::{Account, Verdict};
use clicklog::entry::Introduction;
use clicklog::{BatchNumber, LedgerId};

use super::Event;
use super::ledger::{Batch, BatchId};

/// What was counted.
#[derive(Clone, Default, Debug)]
pub(super) struct Accounts {
    pub ledgers: BTreeMap<LedgerId, Account>,
    /// How often each batch was.
    pub counted: BTreeMap<BatchId, u64>,
    pub clicks: u64,
}

impl Accounts {
    pub(super) fn watermark(&self, ledger: LedgerId) -> BatchNumber {
        self.ledgers.get(&ledger).map_or(BatchNumber(0), |account| account.watermark)
    }

    pub(super) fn introduce(&mut self, introduction: &Introduction, now_ms: u64) -> BatchNumber {
        let account = self.ledgers.entry(introduction.ledger).or_default();
        account.introduce(introduction, now_ms);
        account.watermark
    }

    /// Counts a batch if it is the next one, or if `anyway`.
    pub(super) fn count(&mut self, ledger: LedgerId, batch: &Batch, anyway: bool) -> Option<Verdict> {
        let account = self.ledgers.get_mut(&ledger)?;
        let verdict = account.judge(batch.number);
        if verdict == Verdict::Count || anyway {
            account.watermark = account.watermark.max(batch.number);
            account.unseen += batch.dropped;
            *self.counted.entry(batch.id).or_default() += 1;
            self.clicks += batch.clicks;
        }
        Some(verdict)
    }
}

/// A writer, over its starts.
#[derive(Default)]
pub(super) struct Writer {
    /// Counts starts; what was on the way to an earlier one is lost.
    pub start: u64,
    pub durable: Accounts,
    /// The group that is being written: how everything will be, and who is answered then.
    staged: Option<(u64, Accounts, Vec<Event>)>,
    groups: u64,
    /// The stream of each proxy that is listened to.
    streams: BTreeMap<usize, u64>,
}

impl Writer {
    /// Starts again with what was durable, here or elsewhere.
    pub(super) fn start_with(&mut self, durable: Accounts) {
        *self = Writer { start: self.start + 1, durable, groups: self.groups, ..Writer::default() };
    }

    /// Listens to a stream from now on, and to no other one of its proxy.
    pub(super) fn listen(&mut self, proxy: usize, stream: u64) {
        self.streams.insert(proxy, stream);
    }

    /// Listens to a proxy no more.
    pub(super) fn hang_up(&mut self, proxy: usize) {
        self.streams.remove(&proxy);
    }

    pub(super) fn hears(&self, proxy: usize, stream: u64) -> bool {
        self.streams.get(&proxy) == Some(&stream)
    }

    /// Changes the accounts; what `work` returns is sent when that is durable. A number: the group was begun by this.
    pub(super) fn change(&mut self, work: impl FnOnce(&mut Accounts) -> Option<Event>) -> Option<u64> {
        let begins = self.staged.is_none();
        let (number, accounts, answers) = self.staged.get_or_insert_with(|| {
            self.groups += 1;
            (self.groups, self.durable.clone(), Vec::new())
        });
        answers.extend(work(accounts));
        begins.then_some(*number)
    }

    /// A group is durable, if it was not lost.
    pub(super) fn synced(&mut self, group: u64) -> Vec<Event> {
        match self.staged.take_if(|(number, ..)| *number == group) {
            Some((_, accounts, answers)) => {
                self.durable = accounts;
                answers
            }
            None => Vec::new(),
        }
    }
}
