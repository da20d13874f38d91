//! The writer's click journal and the totals it leads to: every batch of every ledger, counted once.
//!
//! One thread takes everything that is waiting, decides each batch by its number against its ledger's account, and writes entries,
//! accounts and totals in one fsynced batch; then it answers. The journal is that of the links with rows beside it
//! ([`linklog::journal`]): dense, digest-chained, trimmed by bytes, readable by whoever follows it.
//!
//! Invariants: totals are the sum over exactly the batches up to each ledger's watermark; nobody is told that a batch is counted before
//! it is durable; a batch at or below the watermark changes nothing; after a failed write nobody is told anything any more and the
//! process has to end.

mod group;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::entry::ENTRY_LEVEL;
use crossbeam::channel::{Sender, TrySendError, bounded};
use linklog::journal::{HeadFileError, JournalReader, OpenError, open_guarded};
use linklog::store::{Contents, RowReader, RowTable, StoreError, StoreOptions};
use parking_lot::RwLock;

use crate::account::{Account, Totals, row_of, subject_of};
use crate::batch::{Batch, BatchNumber, LedgerId};
use crate::cell::{Counts, Subject};
use crate::entry::Introduction;
use group::Clerk;

/// Most ledgers there may ever have been: all of them are held in memory, and each is the directory of a proxy.
pub const LEDGERS_MAX: usize = 100_000;

/// How accounts are set up.
pub struct AccountsOptions {
    /// Memory and threads of the database.
    pub store: StoreOptions,
    /// How many bytes of entries the journal keeps at least.
    pub journal_bytes_kept: u64,
    /// How many messages may wait.
    pub queue_max: usize,
    /// The clock, milliseconds since the Unix epoch.
    pub clock_ms: Box<dyn Fn() -> u64 + Send>,
    /// Called once if the thread ends by a failure: the process must end and recover by starting again.
    pub on_fatal: Box<dyn FnOnce(&AccountsFailure) + Send>,
}

/// Why the thread ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum AccountsFailure {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HEAD file.
    #[error(transparent)]
    HeadFile(#[from] HeadFileError),
    /// A bug.
    #[error("the thread that counts clicks panicked; the message is on standard error")]
    Panicked,
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is counted and durable; this is its ledger's watermark now.
    Counted(BatchNumber),
    /// It had no effect, because it was counted or given up before; this is its ledger's watermark.
    Duplicate(BatchNumber),
    /// It was refused: this one is missing before it.
    Gap(BatchNumber),
}

/// Why something was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccountsError {
    /// Too much is waiting.
    #[error("too many batches are waiting to be counted")]
    Busy,
    /// The accounts are closing or have failed; nothing was done.
    #[error("the accounts are closed")]
    Closed,
    /// The write failed: it may or may not be found after recovery.
    #[error("the write failed; whether the batch is counted is known after the next start")]
    Unknown,
    /// The accounts were told to count no more for now ([`AccountsHandle::hold_back`]); nothing was done.
    #[error("the disk of the counts is nearly full")]
    NoRoom,
    /// There are [`LEDGERS_MAX`] ledgers.
    #[error("there are {LEDGERS_MAX} ledgers, and no more are taken")]
    TooManyLedgers,
    /// The ledger has not introduced itself.
    #[error("the ledger is not known")]
    UnknownLedger,
}

/// Receives an answer, exactly once. Called on the accounts' thread: it must not block.
pub type Reply<T> = Box<dyn FnOnce(Result<T, AccountsError>) + Send>;

/// A reply that goes out exactly once: what is dropped unanswered answers by itself.
struct Pending<T> {
    reply: Option<Reply<T>>,
    if_dropped: AccountsError,
}

impl<T> Pending<T> {
    fn new(reply: Reply<T>) -> Pending<T> {
        Pending { reply: Some(reply), if_dropped: AccountsError::Closed }
    }

    fn answer(mut self, answer: Result<T, AccountsError>) {
        if let Some(reply) = self.reply.take() {
            reply(answer);
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply(Err(self.if_dropped));
        }
    }
}

/// What the thread is asked to do.
enum Work {
    Introduce(Introduction, Pending<Account>),
    Count(Box<Batch>, Pending<Outcome>),
    /// Everything that was sent before is complete up to this time.
    UpTo(LedgerId, u64),
}

/// Counts for metrics, since the process started; all of them only rise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccountsCounts {
    /// Requests counted, by kind.
    pub clicks: Counts,
    /// Batches counted.
    pub batches: u64,
    /// Batches that had no effect because they were counted before.
    pub duplicates: u64,
    /// Batches refused because one is missing before them.
    pub gaps: u64,
    /// Groups written, each with one fsync.
    pub groups: u64,
}

#[derive(Default)]
struct Shared {
    accounts: RwLock<HashMap<LedgerId, Account>>,
    counts: RwLock<AccountsCounts>,
    held_back: AtomicBool,
}

/// The running accounts. Dropping them waits until everything accepted is answered.
pub struct Accounts {
    handle: AccountsHandle,
    thread: Option<JoinHandle<()>>,
    journal: JournalReader,
}

/// Sends to [`Accounts`] and reads from them; cheap to clone. The database stays open as long as one exists.
#[derive(Clone)]
pub struct AccountsHandle {
    queue: Sender<Option<Work>>,
    shared: Arc<Shared>,
    rows: RowReader,
}

impl Accounts {
    /// Opens the journal in `dir`, making an empty one if there is none, and starts the thread.
    ///
    /// # Errors
    /// A database that cannot be opened or holds rows that cannot be right; a journal that ends before the HEAD file says it did.
    pub fn open(dir: &Path, options: AccountsOptions) -> Result<Accounts, OpenError> {
        let (queue, waiting) = bounded(options.queue_max.max(1));
        let mut guarded = open_guarded(dir, Contents::Journal, &options.store)?;
        guarded.begin(ENTRY_LEVEL, (options.clock_ms)())?;
        let rows = guarded.journal.row_reader();
        let shared = Arc::new(Shared { accounts: RwLock::new(load(&rows)?), ..Shared::default() });
        let journal = guarded.journal.concrete_reader();
        let (clerk, on_fatal) = Clerk::new(guarded, options, shared.clone())?;
        let run = move || {
            let work = std::panic::AssertUnwindSafe(|| clerk.run(&waiting));
            match std::panic::catch_unwind(work) {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => on_fatal(&failure),
                Err(_) => on_fatal(&AccountsFailure::Panicked),
            }
        };
        let thread = std::thread::Builder::new().name("accounts".into()).spawn(run);
        let thread = Some(thread.map_err(OpenError::Thread)?);
        Ok(Accounts { handle: AccountsHandle { queue, shared, rows }, thread, journal })
    }

    /// Returns a handle.
    pub fn handle(&self) -> AccountsHandle {
        self.handle.clone()
    }

    /// Returns a reader of the journal of entries.
    pub fn journal(&self) -> JournalReader {
        self.journal.clone()
    }
}

impl Drop for Accounts {
    fn drop(&mut self) {
        // Everything sent before this is answered; everything after is refused.
        let _ = self.handle.queue.send(None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn load(rows: &RowReader) -> Result<HashMap<LedgerId, Account>, StoreError> {
    let mut accounts = HashMap::new();
    let mut damaged = None;
    rows.scan(RowTable::Few, |key, value| {
        let read = <[u8; 16]>::try_from(key)
            .map_err(|_| linklog::DecodeError::truncated(0, "ledger id"))
            .and_then(|id| Account::decode(value).map(|account| (LedgerId(id), account)));
        match read {
            Ok((ledger, account)) => drop(accounts.insert(ledger, account)),
            Err(source) => damaged = Some(StoreError::Damaged { what: "account of a ledger", source }),
        }
        damaged.is_none()
    })?;
    damaged.map_or(Ok(accounts), Err)
}

impl AccountsHandle {
    /// Introduces a ledger: its account is made or brought up to date, durably, and returned. `reply` is called exactly once.
    pub fn introduce(&self, introduction: Introduction, reply: Reply<Account>) {
        self.send(Work::Introduce(introduction, Pending::new(reply)));
    }

    /// Queues a batch. Batches of one ledger are decided in the order they are queued in. `reply` is called exactly once.
    pub fn count(&self, batch: Batch, reply: Reply<Outcome>) {
        if self.shared.held_back.load(Ordering::Relaxed) {
            return reply(Err(AccountsError::NoRoom));
        }
        self.send(Work::Count(Box::new(batch), Pending::new(reply)));
    }

    /// Returns what snapshots of the counts are made from.
    pub fn snapshot_source(&self) -> linklog::snapshot::Source {
        (&self.rows).into()
    }

    /// Says whether batches are to be refused for now, because there is no room for them: their ledgers keep them.
    pub fn hold_back(&self, held_back: bool) {
        self.shared.held_back.store(held_back, Ordering::Relaxed);
    }

    /// Notes that every click of a ledger answered before `complete_until_ms` is in what was queued before this. Forgotten if too much is
    /// waiting, and when the process ends: it is said again every second.
    pub fn up_to(&self, ledger: LedgerId, complete_until_ms: u64) {
        self.send(Work::UpTo(ledger, complete_until_ms));
    }

    fn send(&self, work: Work) {
        // What cannot be sent is dropped, and answers by that.
        if let Err(TrySendError::Full(Some(mut work))) = self.queue.try_send(Some(work)) {
            match &mut work {
                Work::Introduce(_, pending) => pending.if_dropped = AccountsError::Busy,
                Work::Count(_, pending) => pending.if_dropped = AccountsError::Busy,
                Work::UpTo(..) => {}
            }
        }
    }

    /// Counts a batch and waits for the outcome; for tools and tests.
    ///
    /// # Errors
    /// As the reply's.
    pub fn count_and_wait(&self, batch: Batch) -> Result<Outcome, AccountsError> {
        wait(|reply| self.count(batch, reply))
    }

    /// Introduces a ledger and waits; for tools and tests.
    ///
    /// # Errors
    /// As the reply's.
    pub fn introduce_and_wait(&self, introduction: Introduction) -> Result<Account, AccountsError> {
        wait(|reply| self.introduce(introduction, reply))
    }

    /// Returns what was counted on some links, in their order, all of it as of one moment. May wait for the disk.
    ///
    /// # Errors
    /// If the disk fails or holds bytes that cannot be right.
    pub fn totals(&self, subjects: &[Subject]) -> Result<Vec<Totals>, StoreError> {
        read_totals(&self.rows, subjects)
    }

    /// Calls `each` with every link that was ever clicked on and what was counted on it. Takes about a second for a million links.
    ///
    /// # Errors
    /// If the disk fails or holds bytes that cannot be right.
    pub fn for_each_total(&self, mut each: impl FnMut(&Subject, &Totals)) -> Result<(), StoreError> {
        let mut damaged = None;
        self.rows.scan(RowTable::Points, |row, value| {
            let totals = Totals::decode(value);
            match (subject_of(row), totals) {
                (Some(subject), Ok(totals)) => each(&subject, &totals),
                (None, _) => damaged = Some(linklog::DecodeError::invalid(0, "key of a total")),
                (_, Err(source)) => damaged = Some(source),
            }
            damaged.is_none()
        })?;
        damaged.map_or(Ok(()), |source| Err(StoreError::Damaged { what: "total of a link", source }))
    }

    /// Returns the account of a ledger, as of its last durable change.
    pub fn account(&self, ledger: LedgerId) -> Option<Account> {
        self.shared.accounts.read().get(&ledger).cloned()
    }

    /// Calls `each` with every account; not to be called with a lock held that the accounts' replies take.
    pub fn for_each_account(&self, mut each: impl FnMut(LedgerId, &Account)) {
        self.shared.accounts.read().iter().for_each(|(ledger, account)| each(*ledger, account));
    }

    /// Returns what was done so far.
    pub fn counts(&self) -> AccountsCounts {
        *self.shared.counts.read()
    }
}

fn wait<T: Send + 'static>(ask: impl FnOnce(Reply<T>)) -> Result<T, AccountsError> {
    let (sender, receiver) = bounded(1);
    ask(Box::new(move |answer| {
        // The other end is held below.
        let _ = sender.send(answer);
    }));
    receiver.recv().unwrap_or(Err(AccountsError::Unknown))
}

fn read_totals(rows: &RowReader, subjects: &[Subject]) -> Result<Vec<Totals>, StoreError> {
    let found = rows.get_many(RowTable::Points, subjects.iter().map(row_of))?;
    let read = |value: Option<Vec<u8>>| match value {
        None => Ok(Totals::default()),
        Some(value) => Totals::decode(&value),
    };
    let damaged = |source| StoreError::Damaged { what: "total of a link", source };
    found.into_iter().map(|value| read(value).map_err(damaged)).collect()
}

#[cfg(test)]
mod tests;
