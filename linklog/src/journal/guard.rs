//! Opening a journal for writing: is everything there that was acknowledged?

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{HeadFile, HeadFileError, Journal, JournalRead, ReadError, RocksJournal};
use crate::position::{Epoch, Head, Seq};
use crate::store::meta::{BASE_TIME, time_of};
use crate::store::{Contents, HIGHEST_EPOCH, META, Store, StoreError, StoreOptions};

/// Why the log cannot be opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made.
    #[error("cannot make {dir}: {source}")]
    Directory {
        /// Which directory.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HEAD file.
    #[error(transparent)]
    HeadFile(#[from] HeadFileError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// Acknowledged records are gone.
    #[error(
        "the journal in {dir} ends at record {}, but record {} had been written durably: acknowledged changes are missing, which a torn \
         write cannot explain. Do not start a writer on it. Keep the directory, look at the disk, and fetch what is missing from a sync \
         member that has record {} (`signpost-admin recover --from URL`), promote a standby, or restore a backup that has it",
        found.position, promised.position, promised.position
    )]
    Lost {
        /// Where the log lies.
        dir: PathBuf,
        /// How far the journal goes.
        found: Head,
        /// How far it went.
        promised: Head,
    },
    /// The file that would show a loss is not there.
    #[error(
        "{dir} holds a journal up to record {} but no HEAD file, so it cannot be told whether acknowledged records are missing. If the \
         file was left behind in a copy, bring it along; if it is lost, `signpost-admin recover --from URL` compares with a sync member \
         and goes on from there", found.position
    )]
    NoHeadFile {
        /// Where the log lies.
        dir: PathBuf,
        /// How far the journal goes.
        found: Head,
    },
    /// The log is a standby's.
    #[error(
        "the log in {dir} follows another writer and may lack what that one has acknowledged, so it is not written to. Start it with its \
         [standby] section; `signpost-admin promote` makes it the writer"
    )]
    Following {
        /// Where the log lies.
        dir: PathBuf,
    },
    /// Another writer has taken over.
    #[error(
        "the log in {dir} is of epoch {own}, and epoch {by} has begun elsewhere: another writer has taken over and this one writes no more. \
         To let it follow, give it a [standby] section; if it is refused there as diverged, move {dir} away first"
    )]
    Replaced {
        /// Where the log lies.
        dir: PathBuf,
        /// Its own epoch.
        own: Epoch,
        /// The one it has learned of.
        by: Epoch,
    },
    /// The writer's thread cannot be started.
    #[error("cannot start the writer's thread: {0}")]
    Thread(io::Error),
}

/// A journal in which nothing is missing that its HEAD file knows of.
pub struct Guarded {
    /// The journal; no epoch was started yet if it is new.
    pub journal: RocksJournal,
    /// To be written after every group.
    pub head_file: HeadFile,
    pub(crate) store: Arc<Store>,
    /// What the HEAD file said when it was opened.
    pub(crate) promised: Head,
}

/// Opens the journal in `dir` (its database in `dir/db`, its HEAD file beside that), making an empty one if there is none.
///
/// # Errors
/// A database that cannot be opened; a journal that ends before the HEAD file says it did.
pub fn open_guarded(dir: &Path, contents: Contents, options: &StoreOptions) -> Result<Guarded, OpenError> {
    let guarded = open_following(dir, contents, options)?;
    let found = guarded.journal.head();
    if guarded.promised == Head::EMPTY && found.position.seq > FIRST_RECORD {
        return Err(OpenError::NoHeadFile { dir: dir.to_owned(), found });
    }
    Ok(guarded)
}

/// As [`open_guarded`], for a log that another writer's records are added to many at a time: killed after the first of them, it has no
/// HEAD file yet, and what it has acknowledged is asked for again.
pub(crate) fn open_following(
    dir: &Path,
    contents: Contents,
    options: &StoreOptions,
) -> Result<Guarded, OpenError> {
    make(dir)?;
    let (head_file, promised) = HeadFile::open(&dir.join("HEAD"))?;
    let db = dir.join("db");
    if promised != Head::EMPTY {
        // Recovery throws away what lies behind damage. Look first, with a handle that writes nothing.
        let found = match Store::open_read_only(&db, contents, options)? {
            Some(store) => RocksJournal::in_store(Arc::new(store))?,
            None => return Err(OpenError::Lost { dir: dir.to_owned(), found: Head::EMPTY, promised }),
        };
        check_nothing_lost(dir, &found, promised)?;
    }
    let store = Store::open(&db, contents, options)?;
    sync_names(dir)?;
    let journal = RocksJournal::in_store(store.clone())?;
    check_nothing_lost(dir, &journal, promised)?;
    Ok(Guarded { journal, head_file, store, promised })
}

/// Opens a log whatever its HEAD file says, to add what it lacks: [`check_recovered`] is asked before anything else is done with it.
pub(crate) fn open_damaged(
    dir: &Path,
    contents: Contents,
    options: &StoreOptions,
) -> Result<Guarded, OpenError> {
    let (head_file, promised) = HeadFile::open(&dir.join("HEAD"))?;
    let store = Store::open(&dir.join("db"), contents, options)?;
    let journal = RocksJournal::in_store(store.clone())?;
    Ok(Guarded { journal, head_file, store, promised })
}

/// Says whether everything is there now that the HEAD file knew of when the log was opened.
///
/// # Errors
/// Acknowledged records are missing still.
pub(crate) fn check_recovered(dir: &Path, journal: &RocksJournal, promised: Head) -> Result<(), OpenError> {
    check_nothing_lost(dir, journal, promised)
}

fn make(dir: &Path) -> Result<(), OpenError> {
    #[cfg(feature = "simulation")]
    if crate::simulated::mounted(dir).is_some() {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(|source| OpenError::Directory { dir: dir.to_owned(), source })
}

/// Makes the names of the database and of its directory durable: RocksDB does that for what is inside, and a power cut could otherwise take
/// the whole away.
fn sync_names(dir: &Path) -> Result<(), OpenError> {
    #[cfg(feature = "simulation")]
    if crate::simulated::mounted(dir).is_some() {
        return Ok(());
    }
    let sync = |dir: &Path| {
        let synced = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| OpenError::Directory { dir: dir.to_owned(), source })
    };
    sync(dir)?;
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)
}

/// The record that starts the first epoch: a process killed right after it has written no HEAD file yet.
const FIRST_RECORD: Seq = Seq(1);

fn check_nothing_lost(dir: &Path, journal: &RocksJournal, promised: Head) -> Result<(), OpenError> {
    let found = journal.head();
    let reader = journal.concrete_reader();
    let known = promised == Head::EMPTY
        || found.position.seq >= promised.position.seq
            && (promised.position.seq < reader.first_retained()
                || reader.digest_at(promised.position)? == Some(promised.digest));
    if known { Ok(()) } else { Err(OpenError::Lost { dir: dir.to_owned(), found, promised }) }
}

impl Guarded {
    /// Starts the first epoch if the journal has none, and lets the HEAD file know where the journal is.
    ///
    /// # Errors
    /// A failed write.
    pub fn begin(&mut self, level: u8, at_ms: u64) -> Result<(), OpenError> {
        if self.journal.epoch() == Epoch(0) {
            let position = self.journal.start_epoch(level, at_ms)?;
            let mut batch = rocksdb::WriteBatch::default();
            batch.put_cf(self.store.table(META), HIGHEST_EPOCH, position.epoch.0.to_le_bytes());
            self.store.write(batch, true)?;
        }
        self.head_file.write(&self.journal.head(), at_ms)?;
        Ok(self.head_file.sync()?)
    }

    /// Returns the time of the last record: the next one's is not below it, whatever the clock says.
    ///
    /// # Errors
    /// Damage.
    pub fn last_time(&self) -> Result<u64, OpenError> {
        let reader = self.journal.concrete_reader();
        if reader.head().position.seq < reader.first_retained() {
            // Made from a snapshot, and nothing was written since.
            return Ok(time_of(self.store.get(META, BASE_TIME)?.as_deref())?);
        }
        let entries = reader.read(reader.head().position.seq, 1)?;
        let Some(entry) = entries.first() else { return Ok(0) };
        let damaged = |source| ReadError::Store(StoreError::Damaged { what: "last record", source });
        let view = entry.view().map_err(damaged)?;
        Ok(crate::codec::record::read_serve(view.header, view.serve).map_err(damaged)?.at_ms)
    }
}
