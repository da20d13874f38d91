//! Deciding and committing a group.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::entry::ENTRY_LEVEL;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use linklog::codec::record;
use linklog::journal::{Guarded, HeadFile, Journal, NewRecord, OpenError, RocksJournal};
use linklog::store::{RowReader, RowTable};

use super::{
    AccountsCounts, AccountsError, AccountsFailure, AccountsOptions, LEDGERS_MAX, Outcome, Pending, Shared,
    Work, read_totals,
};
use crate::account::{Account, Totals, Verdict, row_of};
use crate::batch::{Batch, LedgerId};
use crate::cell::Subject;
use crate::entry::{Introduction, encode_batch};

/// How often, at most, the HEAD file is fsynced and the journal is trimmed.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);
/// Most cells counted in one group; a group may exceed it by its last batch. Bounds the memory of a group and what it delays.
const GROUP_CELLS_MAX: usize = 65_536;
/// Most messages decided in one group.
const GROUP_MESSAGES_MAX: usize = 4_096;

/// Everything the accounts' thread owns.
pub(super) struct Clerk {
    journal: RocksJournal,
    head_file: HeadFile,
    rows: RowReader,
    shared: Arc<Shared>,
    counts: AccountsCounts,
    last_at_ms: u64,
    journal_bytes_kept: u64,
    clock_ms: Box<dyn Fn() -> u64 + Send>,
    next_housekeeping: Instant,
}

type OnFatal = Box<dyn FnOnce(&AccountsFailure) + Send>;

/// What a group changes, before it is durable.
#[derive(Default)]
struct Group {
    records: Vec<NewRecord>,
    /// Accounts as they will be.
    accounts: HashMap<LedgerId, Account>,
    /// Which of them have a row to write.
    written: Vec<LedgerId>,
    /// What is added to links.
    added: HashMap<Subject, Totals>,
    counts: AccountsCounts,
    /// In the order of the messages; answered when the group is durable.
    introduced: Vec<(Pending<Account>, Result<Account, AccountsError>)>,
    counted: Vec<(Pending<Outcome>, Result<Outcome, AccountsError>)>,
}

impl Clerk {
    pub(super) fn new(
        guarded: Guarded,
        options: AccountsOptions,
        shared: Arc<Shared>,
    ) -> Result<(Clerk, OnFatal), OpenError> {
        let last_at_ms = guarded.last_time()?;
        let clerk = Clerk {
            rows: guarded.journal.row_reader(),
            journal: guarded.journal,
            head_file: guarded.head_file,
            shared,
            counts: AccountsCounts::default(),
            last_at_ms,
            journal_bytes_kept: options.journal_bytes_kept,
            clock_ms: options.clock_ms,
            next_housekeeping: Instant::now(),
        };
        Ok((clerk, options.on_fatal))
    }

    /// Works until the queue says stop.
    ///
    /// # Errors
    /// A failed write: nothing may be acknowledged any more.
    pub(super) fn run(mut self, queue: &Receiver<Option<Work>>) -> Result<(), AccountsFailure> {
        loop {
            let (group, stop) = gather(queue);
            if !group.is_empty() {
                self.commit_group(group)?;
            }
            if stop {
                return Ok(self.head_file.sync()?);
            }
            self.housekeeping()?;
        }
    }

    fn commit_group(&mut self, work: Vec<Work>) -> Result<(), AccountsFailure> {
        let at_ms = self.last_at_ms.max((self.clock_ms)());
        let mut group = Group { counts: self.counts, ..Group::default() };
        // An early return drops the replies, which then say "unknown": the group may have become durable or not.
        for work in work {
            match work {
                Work::Introduce(introduction, mut pending) => {
                    pending.if_dropped = AccountsError::Unknown;
                    let account = group.introduce(&self.shared, &introduction, at_ms);
                    group.introduced.push((pending, account));
                }
                Work::Count(batch, mut pending) => {
                    pending.if_dropped = AccountsError::Unknown;
                    let outcome = group.count(&self.shared, &batch, at_ms);
                    group.counted.push((pending, outcome));
                }
                Work::UpTo(ledger, complete_until_ms) => {
                    if let Some(account) = group.account(&self.shared, ledger) {
                        account.completed(complete_until_ms, at_ms);
                    }
                }
            }
        }
        let announced = if group.records.is_empty() { Ok(()) } else { self.write(&mut group, at_ms) };
        if let Err(failure @ AccountsFailure::Store(_)) = announced {
            return Err(failure);
        }
        self.shared.accounts.write().extend(group.accounts);
        self.counts = group.counts;
        *self.shared.counts.write() = self.counts;
        for (pending, account) in group.introduced {
            pending.answer(account);
        }
        for (pending, outcome) in group.counted {
            pending.answer(outcome);
        }
        announced
    }

    /// Makes a group durable.
    fn write(&mut self, group: &mut Group, at_ms: u64) -> Result<(), AccountsFailure> {
        let mut rows = self.journal.rows();
        let subjects: Vec<Subject> = group.added.keys().copied().collect();
        let before = read_totals(&self.rows, &subjects)?;
        for (subject, mut totals) in subjects.iter().zip(before) {
            let more = group.added[subject];
            totals.add(&more.counts, more.last_click_ms);
            rows.put(RowTable::Points, &row_of(subject), &totals.encode());
        }
        group.written.sort_unstable();
        group.written.dedup();
        for ledger in &group.written {
            rows.put(RowTable::Few, &ledger.0, &group.accounts[ledger].encode());
        }
        self.journal.append_with(&group.records, rows)?;
        self.last_at_ms = at_ms;
        group.counts.groups += 1;
        Ok(self.head_file.write(&self.journal.head(), at_ms)?)
    }

    fn housekeeping(&mut self) -> Result<(), AccountsFailure> {
        let now = Instant::now();
        if now >= self.next_housekeeping {
            self.next_housekeeping = now + HOUSEKEEPING_EVERY;
            self.head_file.sync()?;
            self.journal.trim(self.journal_bytes_kept)?;
        }
        Ok(())
    }
}

impl Group {
    /// Returns an account as this group leaves it so far.
    fn account(&mut self, shared: &Shared, ledger: LedgerId) -> Option<&mut Account> {
        match self.accounts.entry(ledger) {
            Entry::Occupied(account) => Some(account.into_mut()),
            Entry::Vacant(place) => Some(place.insert(shared.accounts.read().get(&ledger)?.clone())),
        }
    }

    fn introduce(
        &mut self,
        shared: &Shared,
        introduction: &Introduction,
        at_ms: u64,
    ) -> Result<Account, AccountsError> {
        let ledger = introduction.ledger;
        let is_newest = self.is_newest(shared, introduction);
        if self.account(shared, ledger).is_none() {
            if shared.accounts.read().len() + self.accounts.len() >= LEDGERS_MAX {
                return Err(AccountsError::TooManyLedgers);
            }
            self.accounts.insert(ledger, Account::default());
        }
        let account = self.accounts.get_mut(&ledger).expect("looked up or inserted above");
        let is_news = account.introduce(introduction, at_ms);
        if !is_newest {
            account.introduced_at_ms = at_ms;
        }
        let account = account.clone();
        if is_news || !is_newest {
            self.written.push(ledger);
            self.enter(introduction.encode(), at_ms);
        }
        Ok(account)
    }

    /// Says whether a ledger is the one its member introduced last.
    fn is_newest(&self, shared: &Shared, introduction: &Introduction) -> bool {
        let settled = shared.accounts.read();
        let current = settled.iter().filter(|(ledger, _)| !self.accounts.contains_key(ledger));
        let of_member =
            current.chain(&self.accounts).filter(|(_, account)| account.member == introduction.member);
        let newest = of_member.max_by_key(|(ledger, account)| (account.introduced_at_ms, **ledger));
        newest.is_some_and(|(ledger, _)| *ledger == introduction.ledger)
    }

    fn count(&mut self, shared: &Shared, batch: &Batch, at_ms: u64) -> Result<Outcome, AccountsError> {
        let account = self.account(shared, batch.ledger).ok_or(AccountsError::UnknownLedger)?;
        match account.judge(batch.number) {
            Verdict::Duplicate => {
                let watermark = account.watermark;
                self.counts.duplicates += 1;
                Ok(Outcome::Duplicate(watermark))
            }
            Verdict::Gap { expected } => {
                self.counts.gaps += 1;
                Ok(Outcome::Gap(expected))
            }
            Verdict::Count => {
                account.watermark = batch.number;
                account.completed(batch.complete_until_ms, at_ms);
                account.unseen = account.unseen.saturating_add(batch.dropped);
                for cell in batch.cells() {
                    self.added.entry(cell.subject).or_default().add(&cell.counts, cell.last_click_ms);
                    self.counts.clicks.merge(&cell.counts);
                }
                self.counts.batches += 1;
                self.written.push(batch.ledger);
                // Encoding gives back the bytes it was read from.
                self.enter(encode_batch(&batch.encode()), at_ms);
                Ok(Outcome::Counted(batch.number))
            }
        }
    }

    fn enter(&mut self, entry: Vec<u8>, at_ms: u64) {
        let sections = record::entry(ENTRY_LEVEL, at_ms, entry);
        self.records.push(NewRecord { sections, conflict: false });
    }
}

/// Waits for messages and takes all that are there, up to a group's limits. True: the queue has been closed.
fn gather(queue: &Receiver<Option<Work>>) -> (Vec<Work>, bool) {
    let first = match queue.recv_timeout(HOUSEKEEPING_EVERY) {
        Ok(Some(first)) => first,
        Err(RecvTimeoutError::Timeout) => return (Vec::new(), false),
        Ok(None) | Err(RecvTimeoutError::Disconnected) => return (Vec::new(), true),
    };
    let size = |work: &Work| match work {
        Work::Count(batch, _) => batch.cells().len(),
        Work::Introduce(..) | Work::UpTo(..) => 0,
    };
    let mut cells = size(&first);
    let mut group = vec![first];
    while cells < GROUP_CELLS_MAX && group.len() < GROUP_MESSAGES_MAX {
        match queue.try_recv() {
            Ok(Some(work)) => {
                cells += size(&work);
                group.push(work);
            }
            Ok(None) => return (group, true),
            Err(_) => break,
        }
    }
    (group, false)
}
