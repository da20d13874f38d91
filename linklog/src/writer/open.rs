//! Opening the log: is everything there that was acknowledged?

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::group::Engine;
use super::{Commit, WriterFailure, WriterOptions};
use crate::codec::FORMAT_LEVEL;
use crate::journal::{HeadFile, HeadFileError, Journal, JournalRead, ReadError, RocksJournal};
use crate::position::{Epoch, Head, Seq};
use crate::store::{Contents, HIGHEST_EPOCH, META, Store, StoreError, SumTable};

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
         write cannot explain. Do not start a writer on it. Keep the directory, look at the disk, and recover from a follower or a \
         backup that has record {}",
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
         file was left behind in a copy, bring it along; if it is lost, compare with what the followers have applied before an empty \
         start is forced by moving the directory away", found.position
    )]
    NoHeadFile {
        /// Where the log lies.
        dir: PathBuf,
        /// How far the journal goes.
        found: Head,
    },
    /// The writer's thread cannot be started.
    #[error("cannot start the writer's thread: {0}")]
    Thread(io::Error),
}

pub(super) struct Opened {
    pub engine: Engine,
    pub first_commit: Commit,
    pub on_fatal: Box<dyn FnOnce(&WriterFailure) + Send>,
}

pub(super) fn open(dir: &Path, options: WriterOptions) -> Result<Opened, OpenError> {
    std::fs::create_dir_all(dir).map_err(|source| OpenError::Directory { dir: dir.to_owned(), source })?;
    let (mut head_file, promised) = HeadFile::open(&dir.join("HEAD"))?;
    let db = dir.join("db");
    if promised != Head::EMPTY {
        // Recovery throws away what lies behind damage. Look first, with a handle that writes nothing.
        let found = match Store::open_read_only(&db, Contents::Full, &options.store)? {
            Some(store) => RocksJournal::in_store(Arc::new(store))?,
            None => return Err(OpenError::Lost { dir: dir.to_owned(), found: Head::EMPTY, promised }),
        };
        check_nothing_lost(dir, &found, promised)?;
    }
    let store = Store::open(&db, Contents::Full, &options.store)?;
    let mut journal = RocksJournal::in_store(store.clone())?;
    check_nothing_lost(dir, &journal, promised)?;
    if promised == Head::EMPTY && journal.head().position.seq > FIRST_RECORD {
        return Err(OpenError::NoHeadFile { dir: dir.to_owned(), found: journal.head() });
    }
    let now_us = (options.clock_us)();
    if journal.epoch() == Epoch(0) {
        let position = journal.start_epoch(FORMAT_LEVEL, now_us / 1000)?;
        let mut batch = rocksdb::WriteBatch::default();
        batch.put_cf(store.table(META), HIGHEST_EPOCH, position.epoch.0.to_le_bytes());
        store.write(batch, true)?;
    }
    head_file.write(&journal.head(), now_us / 1000)?;
    head_file.sync()?;
    let sums = SumTable::load(&store)?;
    let applied_seq = Arc::new(AtomicU64::new(journal.head().position.seq.0));
    let last_at_ms = last_time(&journal)?;
    let (engine, on_fatal) = Engine::new(store, journal, sums, head_file, applied_seq, last_at_ms, options)?;
    Ok(Opened { first_commit: engine.commit(now_us), engine, on_fatal })
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

/// Returns the time of the last record: the next one's is not below it, whatever the clock says.
fn last_time(journal: &RocksJournal) -> Result<u64, OpenError> {
    let reader = journal.concrete_reader();
    let entries = reader.read(reader.head().position.seq, 1)?;
    let Some(entry) = entries.first() else { return Ok(0) };
    let damaged = |source| ReadError::Store(StoreError::Damaged { what: "last record", source });
    let view = entry.view().map_err(damaged)?;
    Ok(crate::codec::record::read_serve(view.header, view.serve).map_err(damaged)?.at_ms)
}
