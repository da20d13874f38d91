//! A standby: the whole log, journal and state, as another writer makes it, so that it can go on in that one's place.
//!
//! Invariants: records, state and head of a frame are one fsynced batch, so what is acknowledged is durable; the layout is the
//! [`crate::writer`]'s, which opens the same directory after a promotion; an epoch that was accepted ([`Standby::fence`]) is fsynced before
//! anybody hears of it, and no record of a lower one is applied afterwards; a log that follows says so on disk, and no writer opens it.
//!
//! Not here: who is asked before a promotion. That takes the network.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::frame;
use crate::codec::record::{self, Sections};
use crate::digest::{Digest, SlotSum};
use crate::journal::{
    Guarded, HeadFile, HeadFileError, JournalReader, NewRecord, OpenError, RocksJournal, check_recovered,
    open_damaged, open_following,
};
use crate::limits::OUTCOME_KEPT_MS;
use crate::position::{Epoch, Head, Position};
use crate::replica::{ApplyError, Mismatch, Replica};
use crate::slot::Slot;
use crate::store::{
    Contents, Reader, Store, StoreError, StoreOptions, forget_outcomes, read_epoch, read_head, role,
};
use crate::writer::{Commit, Shared, WriterHandle, level_of};

/// Most outcomes forgotten in one go.
const FORGET_MAX: usize = 20_000;

/// How a standby is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StandbyOptions {
    /// Memory and threads of the database.
    pub store: StoreOptions,
    /// How many bytes of records the journal keeps at least.
    pub journal_bytes_kept: u64,
}

/// Why a standby can do no more.
#[derive(Debug, thiserror::Error)]
pub enum StandbyFailure {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HEAD file.
    #[error(transparent)]
    HeadFile(#[from] HeadFileError),
    /// Acknowledged records are missing.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No epoch was accepted that is above the log's own.
    #[error(
        "a log is promoted to an epoch that it has accepted before; the highest is {accepted}, its own {own}"
    )]
    NotFenced {
        /// The log's epoch.
        own: Epoch,
        /// The highest accepted.
        accepted: Epoch,
    },
}

/// Why a frame was not added.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The frame.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The HEAD file: fatal, like a failed write of the database.
    #[error(transparent)]
    HeadFile(#[from] HeadFileError),
}

impl FollowError {
    /// Says whether the disk failed: end the process and recover by starting again.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, FollowError::HeadFile(_) | FollowError::Apply(ApplyError::Store(_)))
    }

    /// Says whether the histories differ: this log is not the beginning of the writer's.
    pub const fn is_divergence(&self) -> bool {
        matches!(self, FollowError::Apply(error) if error.is_divergence())
    }
}

/// What adding a frame did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Followed {
    /// The last record, fsynced.
    pub head: Head,
    /// How many records were added.
    pub records: usize,
    /// The writer's clock at the last of them, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Whether anything but links may have changed: members, tokens, domains, people.
    pub beyond_links: bool,
}

/// A log that is followed. One owner; any number of readers.
pub struct Standby {
    dir: PathBuf,
    replica: Replica,
    journal: RocksJournal,
    head_file: HeadFile,
    store: Arc<Store>,
    shared: Arc<Shared>,
    level: u8,
    last_at_ms: u64,
    promised: Head,
    journal_bytes_kept: u64,
}

impl Standby {
    /// Opens the log in `dir` to follow, making an empty one if there is none. From then on no writer opens it until it is promoted.
    ///
    /// # Errors
    /// A database that cannot be opened; a journal that ends before the HEAD file says it did.
    pub fn open(dir: &Path, options: &StandbyOptions) -> Result<Standby, OpenError> {
        let standby = Standby::over(dir, open_following(dir, Contents::Full, &options.store)?, options)?;
        role::follow(&standby.store)?;
        Ok(standby)
    }

    /// Opens a writer's log to add what it has lost: also one that ends before its HEAD file says it did. [`Standby::promote`] refuses as
    /// long as anything of that is missing.
    ///
    /// # Errors
    /// A database that cannot be opened.
    pub fn open_for_recovery(dir: &Path, options: &StandbyOptions) -> Result<Standby, OpenError> {
        Standby::over(dir, open_damaged(dir, Contents::Full, &options.store)?, options)
    }

    fn over(dir: &Path, guarded: Guarded, options: &StandbyOptions) -> Result<Standby, OpenError> {
        let last_at_ms = guarded.last_time()?;
        let Guarded { journal, head_file, store, promised } = guarded;
        let standby = Standby {
            dir: dir.to_owned(),
            replica: Replica::in_store(store.clone(), Contents::Full)?,
            journal,
            head_file,
            level: level_of(&store)?,
            store,
            shared: Arc::new(Shared::of_standby()),
            last_at_ms,
            promised,
            journal_bytes_kept: options.journal_bytes_kept,
        };
        standby.announce(0);
        Ok(standby)
    }

    /// Returns the journal of a log that nobody has open, and the highest epoch it has accepted. Its state is not read, and may be damaged.
    ///
    /// # Errors
    /// As [`Standby::open`].
    pub fn journal_and_promise(
        dir: &Path,
        options: &StoreOptions,
    ) -> Result<(JournalReader, Epoch), OpenError> {
        let Guarded { journal, store, .. } = open_following(dir, Contents::Full, options)?;
        Ok((journal.concrete_reader(), read_epoch(&store)?))
    }

    /// Says whether the log in `dir` was promoted and is still the newest epoch's: it is to be opened by a writer, whatever else it is
    /// configured as.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn was_promoted(dir: &Path, options: &StoreOptions) -> Result<bool, StoreError> {
        let Some(store) = Store::open_read_only(&dir.join("db"), Contents::Full, options)? else {
            return Ok(false);
        };
        let promoted = role::promoted(&store)?;
        let head = read_head(&store, crate::store::HEAD)?;
        Ok(promoted > Epoch(0)
            && !role::is_following(&store)?
            && promoted == read_epoch(&store)?
            && promoted == head.position.epoch)
    }

    /// Returns the last record, fsynced.
    pub const fn head(&self) -> Head {
        self.replica.head()
    }

    /// Returns the highest epoch accepted; records of lower ones are refused.
    pub const fn highest_epoch(&self) -> Epoch {
        self.replica.highest_epoch()
    }

    /// Returns a reader of the state.
    pub fn reader(&self) -> Reader {
        self.replica.reader()
    }

    /// Returns a reader of the journal.
    pub fn journal(&self) -> JournalReader {
        self.journal.concrete_reader()
    }

    /// Returns a handle that shows how far the log is and refuses every proposal.
    pub fn handle(&self) -> WriterHandle {
        WriterHandle::of_standby(self.shared.clone())
    }

    /// Compares the log with what the writer says about the same position.
    ///
    /// # Errors
    /// What differs.
    pub fn check(
        &self,
        position: Position,
        digest: Digest,
        serve_sum: Option<SlotSum>,
    ) -> Result<(), Mismatch> {
        self.replica.check(position, digest, serve_sum)
    }

    /// Adds a frame with managed parts: all of it, fsynced, or nothing. `writer`: the epoch of the writer that sends it. One that was replaced,
    /// as far as is known here, is refused; any other may send records of earlier epochs too, for this log may have accepted an epoch before it
    /// has all that the epoch began with. `now_us`: the clock, for what is shown.
    ///
    /// # Errors
    /// As [`Replica::apply`]. After a fatal one the process has to end.
    pub fn follow(&mut self, frame: &[u8], writer: Epoch, now_us: u64) -> Result<Followed, FollowError> {
        match self.replica.highest_epoch() {
            highest if writer < highest => self.add(frame, highest, now_us),
            _ => self.adopt(frame, now_us),
        }
    }

    /// As [`Standby::follow`], for what others have beyond this log before the epoch that was accepted begins: records of the epochs before it
    /// are taken.
    ///
    /// # Errors
    /// As [`Standby::follow`].
    pub fn adopt(&mut self, frame: &[u8], now_us: u64) -> Result<Followed, FollowError> {
        self.add(frame, self.replica.head().position.epoch, now_us)
    }

    fn add(&mut self, bytes: &[u8], accepted: Epoch, now_us: u64) -> Result<Followed, FollowError> {
        let frame = frame::decode(bytes).map_err(ApplyError::from)?;
        let mut prepared = self.replica.prepare(&frame, accepted)?;
        let place = self.journal.place();
        let mut beyond_links = false;
        for record in &frame.records {
            // Both are there, or the record would have been refused.
            let (Some(serve), Some(manage)) = (record.serve.bytes(), record.manage.bytes()) else {
                self.journal.return_to(place);
                return Err(ApplyError::MissingSection { at: record.position }.into());
            };
            beyond_links |= record.header.slot == Slot::EVERYWHERE;
            let sections = Sections { header: record.header, serve: serve.to_vec(), manage: manage.to_vec() };
            let new = NewRecord { sections, conflict: record.conflict };
            self.journal.stage_at(&mut prepared.writes, record.position, &new);
        }
        self.journal.stage_head(&mut prepared.writes);
        let applied = self.replica.commit(prepared, true).map_err(ApplyError::from)?;
        self.journal.publish();
        if beyond_links {
            self.level = level_of(&self.store).map_err(ApplyError::from)?;
        }
        self.last_at_ms = applied.at_ms;
        self.announce(now_us);
        self.head_file.write(&applied.head, now_us / 1000)?;
        Ok(Followed { head: applied.head, records: applied.records, at_ms: applied.at_ms, beyond_links })
    }

    fn announce(&self, synced_at_us: u64) {
        let (head, serve_sum) = (self.replica.head(), self.replica.serve_sum());
        self.shared.set_commit(Commit { head, serve_sum, synced_at_us, format_level: self.level });
    }

    /// Accepts an epoch: records of lower ones are refused from now on, whatever happens to this process. False if one at least as high
    /// was accepted before.
    ///
    /// # Errors
    /// A failed write: fatal.
    pub fn fence(&mut self, epoch: Epoch) -> Result<bool, StoreError> {
        if epoch <= self.replica.highest_epoch() {
            return Ok(false);
        }
        self.replica.accept_epoch(epoch)?;
        Ok(true)
    }

    /// Fsyncs the HEAD file, trims the journal and forgets old outcomes; about once a second.
    ///
    /// # Errors
    /// A failed write: fatal.
    pub fn housekeeping(&mut self) -> Result<(), StandbyFailure> {
        use crate::journal::Journal;
        self.head_file.sync()?;
        self.journal.trim(self.journal_bytes_kept)?;
        let mut batch = rocksdb::WriteBatch::default();
        let before_ms = self.last_at_ms.saturating_sub(OUTCOME_KEPT_MS);
        if forget_outcomes(&self.store, &mut batch, before_ms, FORGET_MAX)? > 0 {
            self.store.write(batch, false)?;
        }
        Ok(())
    }

    /// Begins the highest accepted epoch with a record of its own: from now on a writer opens this log. `now_ms`: the clock.
    ///
    /// # Errors
    /// No higher epoch was accepted; acknowledged records are missing; a failed write.
    pub fn promote(mut self, now_ms: u64) -> Result<Position, StandbyFailure> {
        let (own, accepted) = (self.journal.epoch(), self.replica.highest_epoch());
        if accepted <= own {
            return Err(StandbyFailure::NotFenced { own, accepted });
        }
        check_recovered(&self.dir, &self.journal, self.promised)?;
        // A log that is a writer's has its HEAD file, whatever happens before the one below is written.
        self.head_file.write(&self.journal.head(), now_ms)?;
        self.head_file.sync()?;
        let sections = record::epoch_start(self.journal.staged(), self.level, now_ms.max(self.last_at_ms));
        self.journal.enter_epoch(accepted);
        let mut batch = rocksdb::WriteBatch::default();
        let position = self.journal.stage(&mut batch, &NewRecord { sections, conflict: false });
        self.journal.stage_head(&mut batch);
        role::promote(&self.store, &mut batch, accepted);
        self.store.write(batch, true)?;
        self.head_file.write(&self.journal.publish(), now_ms)?;
        self.head_file.sync()?;
        Ok(position)
    }
}

#[cfg(test)]
mod tests;
