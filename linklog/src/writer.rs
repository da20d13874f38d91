//! The writer: the one thread that orders changes.
//!
//! It takes everything that is waiting, decides each change against the state *and the earlier changes of the same group*, puts
//! records, state, outcomes, sums and head into one batch, fsyncs it, and then answers all of them. There is no artificial delay: the
//! fsync of a group is the window in which the next one gathers.
//!
//! Invariants: nobody is answered before the batch with their change is durable; after a failed write nobody is answered "done"
//! any more and the process has to end.

mod group;
mod open;
#[cfg(feature = "simulation")]
mod stepped;

pub(crate) use group::level_of;
#[cfg(feature = "simulation")]
pub use stepped::SteppedWriter;

pub use crate::journal::OpenError;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, TrySendError, bounded};
use parking_lot::RwLock;

use crate::apply::{Conflict, NewStamps};
use crate::change::{Change, InvalidChange};
use crate::digest::SlotSum;
use crate::journal::{HeadFileError, JournalReader};
use crate::limits::PROPOSAL_CHANGES_MAX;
use crate::position::{Epoch, Head, Position};
use crate::store::{Outcome, Reader, StoreError, StoreOptions};

/// What became of one proposed change.
// The large variant is the common one; boxing it would cost an allocation per record.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It is durable and visible here.
    Applied {
        /// Its record.
        position: Position,
        /// The writer's time of the record, milliseconds since the Unix epoch.
        at_ms: u64,
        /// The stamps of its parts' keys.
        stamps: NewStamps,
    },
    /// A precondition failed; nothing was changed.
    Conflict(Conflict),
    /// A command with this id was decided before; this is what became of it then.
    Replayed(Outcome),
    /// It breaks a rule that needs no state.
    Invalid(InvalidChange),
}

/// Why a proposal was not decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// Too many proposals are waiting.
    #[error("the writer's queue is full")]
    Busy,
    /// The writer is closing or has failed; nothing was done.
    #[error("the writer is not running")]
    Closed,
    /// The write failed: the change may or may not be found after recovery.
    #[error("the write failed; whether it took place is known after the next start")]
    Unknown,
    /// Another writer with a higher epoch is known: this one must not write any more.
    #[error("this writer has been replaced by one of a higher epoch")]
    Fenced,
    /// A sync member has records that this writer has lost: it must not use their places again.
    #[error("this writer has lost records that a sync member has: stop it and run `signpost-admin recover`")]
    Behind,
    /// Fewer sync members are connected than have to confirm a change: nothing was done.
    #[error("fewer sync members are connected than have to confirm a change")]
    NoReplica,
    /// This is a standby: it follows another writer.
    #[error("this server is a standby and follows another writer")]
    Standby,
    /// The writer was told to take no more for now ([`WriterHandle::hold_back`]); nothing was done.
    #[error("the writer's disk is nearly full")]
    NoRoom,
    /// More changes than one proposal may carry.
    #[error("a proposal has at most {PROPOSAL_CHANGES_MAX} changes")]
    TooMany,
}

/// Receives the decisions of a proposal, in its order, exactly once. Called on the writer's thread: it must not block.
pub type Reply = Box<dyn FnOnce(Result<Vec<Decision>, ProposeError>) + Send>;

struct Proposal {
    changes: Vec<Change>,
    /// Those that break a rule that needs no state, by their place; found out by whoever proposes, so that the writer's thread has less to do.
    invalid: Vec<(usize, InvalidChange)>,
    pending: Pending,
}

/// A reply that goes out exactly once: what is dropped unanswered answers by itself.
struct Pending {
    reply: Option<Reply>,
    if_dropped: ProposeError,
}

impl Pending {
    fn answer(mut self, decided: Result<Vec<Decision>, ProposeError>) {
        if let Some(reply) = self.reply.take() {
            reply(decided);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply(Err(self.if_dropped));
        }
    }
}

/// Why the writer's thread ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WriterFailure {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HEAD file.
    #[error(transparent)]
    HeadFile(#[from] HeadFileError),
    /// A bug.
    #[error("the writer's thread panicked; the message is on standard error")]
    Panicked,
}

/// The newest durable state, as announced to followers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Commit {
    /// The last durable record.
    pub head: Head,
    /// The sum over the served state of all slots there.
    pub serve_sum: SlotSum,
    /// When its fsync returned, microseconds since the Unix epoch.
    pub synced_at_us: u64,
    /// The level of the byte format records are written at.
    pub format_level: u8,
}

/// Counts for metrics; all of them only rise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriterCounts {
    /// Groups written.
    pub groups: u64,
    /// Records written.
    pub records: u64,
    /// Changes refused for a failed precondition.
    pub conflicts: u64,
    /// Time spent in fsynced writes, microseconds.
    pub write_us: u64,
}

/// How a writer is set up.
pub struct WriterOptions {
    /// Memory and threads of the database.
    pub store: StoreOptions,
    /// How many bytes of records the journal keeps at least for followers that come back.
    pub journal_bytes_kept: u64,
    /// How many proposals may wait.
    pub queue_max: usize,
    /// The clock, microseconds since the Unix epoch.
    pub clock_us: Box<dyn Fn() -> u64 + Send>,
    /// 16 random bytes for each record ([`crate::codec::record::Envelope::nonce`]).
    pub nonce: Box<dyn FnMut() -> [u8; 16] + Send>,
    /// Called on the writer's thread after every group, before the answers go out. Must not block.
    pub on_commit: Box<dyn Fn(&Commit) + Send>,
    /// Called once, before everything else on the writer's thread: how it is scheduled, say.
    pub at_start: Box<dyn FnOnce() + Send>,
    /// Called once if the writer's thread ends by a failure: the process must end and recover by starting again.
    pub on_fatal: Box<dyn FnOnce(&WriterFailure) + Send>,
}

/// The state shared between the writer's thread and everybody who looks on.
#[derive(Default)]
pub(crate) struct Shared {
    commit: RwLock<Commit>,
    counts: RwLock<WriterCounts>,
    /// The epoch of the writer that has taken over; 0: none has.
    replaced_by: AtomicU32,
    /// Somebody says that another writer has taken over, who may be wrong: nothing is noted on disk.
    claimed: AtomicBool,
    /// A follower has what this writer has lost.
    behind: AtomicBool,
    /// The log is followed, not written.
    standby: bool,
    held_back: AtomicBool,
}

impl Shared {
    /// For a log that is followed.
    pub(crate) fn of_standby() -> Shared {
        Shared { standby: true, ..Shared::default() }
    }

    pub(crate) fn set_commit(&self, commit: Commit) {
        *self.commit.write() = commit;
    }

    /// Why nothing is written any more, if that is so.
    fn stopped(&self) -> Option<ProposeError> {
        if self.standby {
            Some(ProposeError::Standby)
        } else if self.replaced_by.load(Ordering::Acquire) > 0 || self.claimed.load(Ordering::Acquire) {
            Some(ProposeError::Fenced)
        } else if self.behind.load(Ordering::Acquire) {
            Some(ProposeError::Behind)
        } else {
            None
        }
    }
}

/// The running writer. Dropping it waits until everything accepted is answered.
pub struct Writer {
    handle: WriterHandle,
    thread: Option<JoinHandle<()>>,
    reader: Reader,
    journal: JournalReader,
}

/// Proposes changes to a [`Writer`]; cheap to clone.
#[derive(Clone)]
pub struct WriterHandle {
    queue: Sender<Option<Proposal>>,
    shared: Arc<Shared>,
}

impl Writer {
    /// Opens the log in `dir`, making an empty one in epoch 1 if there is none, and starts the writer's thread.
    ///
    /// # Errors
    /// A database that cannot be opened; a journal that ends before the HEAD file says it did.
    pub fn open(dir: &Path, options: WriterOptions) -> Result<Writer, OpenError> {
        let (queue, waiting) = bounded(options.queue_max.max(1));
        let shared = Arc::new(Shared::default());
        let opened = open::open(dir, options)?;
        *shared.commit.write() = opened.first_commit;
        let (reader, journal) = (opened.engine.reader(), opened.engine.journal_reader());
        let (engine, group::OnThread { at_start, on_fatal }) = (opened.engine, opened.on_thread);
        let on_thread = shared.clone();
        let run = move || {
            at_start();
            let work = std::panic::AssertUnwindSafe(|| engine.run(&waiting, &on_thread));
            match std::panic::catch_unwind(work) {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => on_fatal(&failure),
                Err(_) => on_fatal(&WriterFailure::Panicked),
            }
        };
        let thread = std::thread::Builder::new().name("writer".into()).spawn(run);
        let thread = Some(thread.map_err(OpenError::Thread)?);
        Ok(Writer { handle: WriterHandle { queue, shared }, thread, reader, journal })
    }

    /// Returns a handle for proposing changes.
    pub fn handle(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// Returns a reader of the state; it sees a change when, or just before, its decision is answered.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Returns a reader of the journal.
    pub fn journal(&self) -> JournalReader {
        self.journal.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Everything sent before this is answered; everything after is refused.
        let _ = self.handle.queue.send(None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl WriterHandle {
    /// Queues changes to be decided in this order, each on its own. `reply` is called exactly once, also on errors.
    pub fn propose(&self, changes: Vec<Change>, reply: Reply) {
        if changes.len() > PROPOSAL_CHANGES_MAX {
            return reply(Err(ProposeError::TooMany));
        }
        if let Some(refusal) = self.shared.stopped() {
            return reply(Err(refusal));
        }
        if self.shared.held_back.load(Ordering::Relaxed) {
            return reply(Err(ProposeError::NoRoom));
        }
        let invalid = |(place, change): (usize, &Change)| Some((place, change.validate().err()?));
        let invalid = changes.iter().enumerate().filter_map(invalid).collect();
        let pending = Pending { reply: Some(reply), if_dropped: ProposeError::Closed };
        // What cannot be sent is dropped, and answers by that.
        if let Err(TrySendError::Full(Some(mut proposal))) =
            self.queue.try_send(Some(Proposal { changes, invalid, pending }))
        {
            proposal.pending.if_dropped = ProposeError::Busy;
        }
    }

    /// Stops this writer for good: a writer of epoch `by` is known. What is queued is refused, and the epoch is noted on disk, within a
    /// second at the latest.
    pub fn fence(&self, by: u32) {
        self.shared.replaced_by.fetch_max(by, Ordering::AcqRel);
    }

    /// Stops this writer until it is started again: somebody who need not be believed says that another has taken over.
    pub fn fence_for_now(&self) {
        self.shared.claimed.store(true, Ordering::Release);
    }

    /// Says why nothing is taken any more, if that is so.
    pub fn refusal(&self) -> Option<ProposeError> {
        self.shared.stopped()
    }

    /// Returns the highest epoch known: another writer's, or its own.
    pub fn highest_epoch(&self) -> Epoch {
        let own = self.commit().head.position.epoch;
        own.max(Epoch(self.shared.replaced_by.load(Ordering::Acquire)))
    }

    /// As [`WriterHandle::fence`], and waits until that is on disk: the head returned is the last there will be. May block.
    pub fn fence_and_wait(&self, by: u32) -> Head {
        self.fence(by);
        let (sender, receiver) = bounded(1);
        let reply: Reply = Box::new(move |_| {
            let _ = sender.send(());
        });
        let pending = Pending { reply: Some(reply), if_dropped: ProposeError::Closed };
        // Past the check that refuses others: its answer says that everything queued before it is dealt with.
        if self.queue.send(Some(Proposal { changes: Vec::new(), invalid: Vec::new(), pending })).is_ok() {
            let _ = receiver.recv();
        }
        self.commit().head
    }

    /// Stops this writer until it is started again: a follower has records that it has lost.
    pub fn stop_behind(&self) {
        self.shared.behind.store(true, Ordering::Release);
    }

    /// Returns a handle on a log that is followed: everything proposed is refused.
    pub(crate) fn of_standby(shared: Arc<Shared>) -> WriterHandle {
        // Nobody takes anything out of it, and nothing gets in.
        WriterHandle { queue: bounded(1).0, shared }
    }

    /// Says whether the writer is to refuse changes for now, because there is no room for them. What is already queued is still decided.
    pub fn hold_back(&self, held_back: bool) {
        self.shared.held_back.store(held_back, Ordering::Relaxed);
    }

    /// Proposes and waits for the decisions; for tools and tests.
    ///
    /// # Errors
    /// As the reply's.
    pub fn propose_and_wait(&self, changes: Vec<Change>) -> Result<Vec<Decision>, ProposeError> {
        let (sender, receiver) = bounded(1);
        self.propose(changes, Box::new(move |decisions| drop(sender.send(decisions))));
        receiver.recv().unwrap_or(Err(ProposeError::Unknown))
    }

    /// Returns the newest durable state.
    pub fn commit(&self) -> Commit {
        *self.shared.commit.read()
    }

    /// Returns what the writer has done so far.
    pub fn counts(&self) -> WriterCounts {
        *self.shared.counts.read()
    }
}

#[cfg(test)]
pub(crate) mod tests;
