//! The RocksDB database under a journal and a replica: tables, options, and closing in order.
//!
//! One directory holds one database. A proxy's has `serve` and `meta`; a full member's has all tables of the links, so that one batch
//! carries record, state, outcome, sums and head together; a journal of something else has rows beside it for the same reason.
//! Nothing outside this crate sees the database of a log.

mod ends;
mod find;
mod index;
pub(crate) mod meta;
mod moment;
mod outcome;
mod reader;
mod recount;
pub(crate) mod replay;
pub(crate) mod role;
mod rows;
mod state;
mod tables;

pub use ends::{End, Ends};
pub use find::{Count, Find, Found, Order, Place, TERMS_MAX, Within};
pub use index::{Term, canonical_target, end_of, target_host};
pub use outcome::Outcome;
pub use reader::{Cached, LinkByAge, Reader, StoredLink};
pub use rows::{RowReader, RowTable, Rows};
pub use state::ChangedKey;

pub(crate) use index::{VERSION_ROW as INDEX_VERSION, version_of as index_version};
pub(crate) use meta::{HEAD, HIGHEST_EPOCH, read_epoch, read_head, write_head};
pub(crate) use moment::Moment;
pub(crate) use outcome::{forget as forget_outcomes, get as outcome_of};
pub(crate) use recount::{Recount, rows_of_table};
pub(crate) use state::{SlotTotals, StateBatch, SumTable, TouchedSlots, slot_row};
pub(crate) use tables::{CREATED, INDEX, JOURNAL, MANAGE, META, OUTCOME_TIMES, OUTCOMES, SERVE};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    ColumnFamily, DB, DBPinnableSlice, Direction, IteratorMode, ReadOptions, WriteBatch, WriteOptions,
};

use crate::codec::{DecodeError, DecodeErrorKind, FORMAT_LEVEL, value};
use crate::entity::Fleet;
use crate::manifest::{self, ManifestError};

/// What a database is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contents {
    /// The served state only: a proxy.
    Serve,
    /// Journal, served and managed state, outcomes: the writer and its standbys.
    Full,
    /// A journal of something else than links, with the tables of [`RowTable`] beside it.
    Journal,
}

impl Contents {
    /// What it is called in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Contents::Serve => "the served state of a proxy, version 1",
            Contents::Full => "a full log with its state, version 1",
            Contents::Journal => "a journal with rows beside it, version 1",
        }
    }
}

/// The tables of a database whose rows a snapshot carries: the state, never the journal.
pub(crate) fn tables_of(contents: Contents) -> impl Iterator<Item = &'static str> {
    tables::names(contents).iter().copied().filter(|name| *name != META && *name != JOURNAL)
}

/// Reads the format level out of the fleet's served value; before there is one, the log is nobody's yet and may be at ours.
pub(crate) fn fleet_level(stored: Option<&[u8]>) -> Result<u8, StoreError> {
    let Some(stored) = stored else { return Ok(FORMAT_LEVEL) };
    let fleet = value::split(stored).and_then(|(_, body)| Fleet::decode(body));
    let level = fleet.and_then(|fleet| match fleet.format_level {
        0 => Err(DecodeError::invalid(0, "format level")),
        newer @ FORMAT_LEVEL.. if newer > FORMAT_LEVEL => {
            Err(DecodeError { offset: 0, kind: DecodeErrorKind::NewerLevel(newer) })
        }
        level => Ok(level),
    });
    level.map_err(|source| StoreError::Damaged { what: "fleet record", source })
}

/// How much memory and how many threads a database may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreOptions {
    /// Bytes of the cache of uncompressed blocks, indexes and filters, shared by all tables.
    pub block_cache_bytes: usize,
    /// Bytes of one table's memtable before it is flushed.
    pub memtable_bytes: usize,
    /// Threads for flushes and compactions, at least 1.
    pub background_threads: u16,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { block_cache_bytes: 256 << 20, memtable_bytes: 64 << 20, background_threads: 2 }
    }
}

/// A database could not be opened, read or written, or holds bytes that cannot be right.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory could not be made or opened.
    #[error("cannot open the database in {dir}: {source}")]
    Open {
        /// Which directory.
        dir: PathBuf,
        /// What RocksDB says. "lock" means that another process has it open.
        source: rocksdb::Error,
    },
    /// The file that names its tables is damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The directory holds a database for something else, or of another version.
    #[error("the database in {dir} is not {expected}: its format row is {found:?}")]
    WrongContents {
        /// Which directory.
        dir: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What it says it is: version and contents.
        found: Vec<u8>,
    },
    /// An operation failed. After a failed write nothing more may be acknowledged: the process must end and recover by reopening.
    #[error("cannot {action} the database: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What RocksDB says.
        source: rocksdb::Error,
    },
    /// Stored bytes do not decode.
    #[error("the database holds a damaged {what}: {source}")]
    Damaged {
        /// What.
        what: &'static str,
        /// Where in it.
        source: DecodeError,
    },
}

impl StoreError {
    /// Says whether what is stored is not what was written, as opposed to a disk that is full, or busy, or a folder that is not there.
    pub fn is_damage(&self) -> bool {
        match self {
            StoreError::Open { source, .. } | StoreError::Io { source, .. } => {
                source.kind() == rocksdb::ErrorKind::Corruption
            }
            StoreError::WrongContents { .. } | StoreError::Manifest(ManifestError::Unreadable { .. }) => {
                false
            }
            StoreError::Manifest(ManifestError::Damaged { .. }) => true,
            StoreError::Damaged { .. } => true,
        }
    }
}

/// The version of the tables' rows that are not records or values.
const STORE_VERSION: u8 = 1;
const FORMAT: &[u8] = b"format";

/// What the tables lie in.
enum Engine {
    Rocks(DB),
    #[cfg(feature = "simulation")]
    Simulated(crate::simulated::Opened),
}

/// A value that was read; it holds on to what it was read from.
pub(crate) enum Value<'a> {
    Pinned(DBPinnableSlice<'a>),
    #[cfg(feature = "simulation")]
    Owned(Vec<u8>),
}

impl std::ops::Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Value::Pinned(value) => value,
            #[cfg(feature = "simulation")]
            Value::Owned(value) => value,
        }
    }
}

/// A row of a table: key and value.
pub(crate) type Row = (Box<[u8]>, Box<[u8]>);

/// Names every table there is.
#[cfg(feature = "simulation")]
pub(crate) fn every_table() -> Vec<&'static str> {
    let all = [Contents::Full, Contents::Journal, Contents::Serve];
    let mut names: Vec<_> = all.iter().flat_map(|contents| tables::names(*contents)).copied().collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// An open database. The last owner closes it in order.
pub(crate) struct Store {
    engine: Engine,
    contents: Contents,
    options: StoreOptions,
}

impl Store {
    pub(crate) fn open(
        dir: &Path,
        contents: Contents,
        options: &StoreOptions,
    ) -> Result<Arc<Store>, StoreError> {
        let engine = Engine::open(dir, contents, options)?;
        let store = Store { engine, contents, options: *options };
        store.check_format(dir, contents)?;
        if contents == Contents::Full {
            index::ensure(&store)?;
        }
        Ok(Arc::new(store))
    }

    /// Opens what is there without writing a byte: recovery then destroys no evidence. `None` if there is no database.
    pub(crate) fn open_read_only(
        dir: &Path,
        contents: Contents,
        options: &StoreOptions,
    ) -> Result<Option<Store>, StoreError> {
        #[cfg(feature = "simulation")]
        if let Some(disk) = crate::simulated::mounted(dir) {
            let engine = disk.has_database(dir).then(|| Engine::Simulated(disk.database(dir)));
            return Ok(engine.map(|engine| Store { engine, contents, options: *options }));
        }
        if !dir.join("CURRENT").exists() {
            return Ok(None);
        }
        manifest::check(dir)?;
        let open_error = |source| StoreError::Open { dir: dir.to_owned(), source };
        let database = tables::database_options(options);
        // One that was written by an earlier version lacks the tables that came later, and nothing is made here.
        let there = DB::list_cf(&database, dir).map_err(open_error)?;
        let mut tables = tables::descriptors(contents, options);
        tables.retain(|table| there.iter().any(|name| name == table.name()));
        let open_error = |source| StoreError::Open { dir: dir.to_owned(), source };
        let db = DB::open_cf_descriptors_read_only(&database, dir, tables, false);
        let engine = Engine::Rocks(db.map_err(open_error)?);
        Ok(Some(Store { engine, contents, options: *options }))
    }

    /// Opens a checkpoint to read all of it once, past the page cache if `direct`.
    pub(crate) fn open_to_scrub(
        dir: &Path,
        contents: Contents,
        cache_bytes: usize,
        direct: bool,
    ) -> Result<Store, StoreError> {
        let options =
            StoreOptions { block_cache_bytes: cache_bytes, memtable_bytes: 8 << 20, background_threads: 1 };
        let mut database = tables::database_options(&options);
        database.set_use_direct_reads(direct);
        let tables = tables::descriptors(contents, &options);
        let db = DB::open_cf_descriptors_read_only(&database, dir, tables, false);
        let open_error = |source| StoreError::Open { dir: dir.to_owned(), source };
        Ok(Store { engine: Engine::Rocks(db.map_err(open_error)?), contents, options })
    }

    /// A directory says what it is, so that a proxy's replica is never taken for a log.
    fn check_format(&self, dir: &Path, contents: Contents) -> Result<(), StoreError> {
        let (byte, expected) = match contents {
            Contents::Serve => (b's', contents.name()),
            Contents::Full => (b'f', contents.name()),
            Contents::Journal => (b'j', contents.name()),
        };
        let row = [STORE_VERSION, byte];
        match self.get(META, FORMAT)?.as_deref() {
            Some(found) if found == row => Ok(()),
            Some(found) => {
                Err(StoreError::WrongContents { dir: dir.to_owned(), expected, found: found.to_vec() })
            }
            None => {
                let mut batch = WriteBatch::default();
                batch.put_cf(self.table(META), FORMAT, row);
                self.write(batch, true)
            }
        }
    }

    /// Returns the database itself, for what the tables' own reads and writes do not do. A simulated disk has none but an empty one.
    pub(crate) fn db(&self) -> &DB {
        match &self.engine {
            Engine::Rocks(db) => db,
            #[cfg(feature = "simulation")]
            Engine::Simulated(_) => crate::simulated::nameless(),
        }
    }

    /// Returns a table.
    ///
    /// # Panics
    /// If the database was opened without it: which tables exist is fixed when opening.
    pub(crate) fn table(&self, name: &'static str) -> &ColumnFamily {
        self.db().cf_handle(name).expect("the database was opened with this table")
    }

    /// Returns what the database holds.
    pub(crate) const fn contents(&self) -> Contents {
        self.contents
    }

    /// Returns the options by which files for a table are written.
    pub(crate) fn options_for_files(&self, table: &'static str) -> rocksdb::Options {
        let cache = rocksdb::Cache::new_hyper_clock_cache(1 << 20, 4096);
        tables::table_options(table, &cache, &self.options)
    }

    /// Returns how many bytes of a table on disk and in memory are no older versions of something, roughly.
    pub(crate) fn live_bytes(&self, table: &'static str) -> Result<u64, StoreError> {
        let property = |name| {
            let value = self.db().property_int_value_cf(self.table(table), name);
            value.map_err(|source| StoreError::Io { action: "read", source })
        };
        let on_disk = property(rocksdb::properties::ESTIMATE_LIVE_DATA_SIZE)?.unwrap_or(0);
        Ok(on_disk + property(rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES)?.unwrap_or(0))
    }

    pub(crate) fn has_table(&self, name: &'static str) -> bool {
        match &self.engine {
            Engine::Rocks(db) => db.cf_handle(name).is_some(),
            #[cfg(feature = "simulation")]
            Engine::Simulated(_) => tables::names(self.contents).contains(&name),
        }
    }

    pub(crate) fn get(&self, table: &'static str, key: &[u8]) -> Result<Option<Value<'_>>, StoreError> {
        let read = match &self.engine {
            Engine::Rocks(db) => {
                db.get_pinned_cf(self.table(table), key).map(|value| value.map(Value::Pinned))
            }
            #[cfg(feature = "simulation")]
            Engine::Simulated(disk) => disk.get(table, key).map(|value| value.map(Value::Owned)),
        };
        read.map_err(|source| StoreError::Io { action: "read", source })
    }

    /// Reads many keys of a table, in their order.
    pub(crate) fn get_many<K: AsRef<[u8]>>(
        &self,
        table: &'static str,
        keys: &[K],
        sorted: bool,
    ) -> Result<Vec<Option<Value<'_>>>, StoreError> {
        match &self.engine {
            Engine::Rocks(db) => {
                let found = db.batched_multi_get_cf(self.table(table), keys, sorted);
                let found = found.into_iter().map(|value| value.map(|value| value.map(Value::Pinned)));
                found.map(|value| value.map_err(|source| StoreError::Io { action: "read", source })).collect()
            }
            #[cfg(feature = "simulation")]
            Engine::Simulated(_) => keys.iter().map(|key| self.get(table, key.as_ref())).collect(),
        }
    }

    /// Returns the rows of a table from `from` to below `below`, in the order of their keys. `caches`: what is read may be asked for again.
    pub(crate) fn rows<'a>(
        &'a self,
        table: &'static str,
        from: &[u8],
        below: Option<&[u8]>,
        caches: bool,
    ) -> Box<dyn Iterator<Item = Result<Row, StoreError>> + 'a> {
        let failed = |source| StoreError::Io { action: "read", source };
        match &self.engine {
            Engine::Rocks(db) => {
                let mut options = ReadOptions::default();
                options.fill_cache(caches);
                if let Some(below) = below {
                    options.set_iterate_upper_bound(below);
                }
                let mode = IteratorMode::From(from, Direction::Forward);
                let rows = db.iterator_cf_opt(self.table(table), options, mode);
                Box::new(rows.map(move |row| row.map_err(failed)))
            }
            #[cfg(feature = "simulation")]
            Engine::Simulated(disk) => match disk.rows(table, from, below) {
                Ok(rows) => Box::new(rows.into_iter().map(Ok)),
                Err(source) => Box::new(std::iter::once(Err(failed(source)))),
            },
        }
    }

    /// Adds the removal of a range of keys to a batch.
    pub(crate) fn delete_range(
        &self,
        batch: &mut WriteBatch,
        table: &'static str,
        from: &[u8],
        below: &[u8],
    ) -> Result<(), StoreError> {
        match &self.engine {
            Engine::Rocks(_) => batch.delete_range_cf(self.table(table), from, below),
            #[cfg(feature = "simulation")]
            Engine::Simulated(_) => {
                for row in self.rows(table, from, Some(below), false) {
                    batch.delete_cf(self.table(table), row?.0);
                }
            }
        }
        Ok(())
    }

    /// Says whether there is no database: then nobody else writes between two reads.
    #[cfg(feature = "simulation")]
    pub(crate) const fn is_simulated(&self) -> bool {
        matches!(self.engine, Engine::Simulated(_))
    }

    /// Makes durable everything written so far.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let synced = match &self.engine {
            Engine::Rocks(db) => db.flush_wal(true),
            #[cfg(feature = "simulation")]
            Engine::Simulated(disk) => disk.sync(),
        };
        synced.map_err(|source| StoreError::Io { action: "fsync", source })
    }

    /// Writes a batch; with `sync` it is on disk when this returns.
    pub(crate) fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        let written = match &self.engine {
            Engine::Rocks(db) => {
                let mut options = WriteOptions::default();
                options.set_sync(sync);
                db.write_opt(batch, &options)
            }
            #[cfg(feature = "simulation")]
            Engine::Simulated(disk) => disk.write(&batch, sync),
        };
        written.map_err(|source| StoreError::Io { action: "write to", source })
    }
}

impl Engine {
    fn open(dir: &Path, contents: Contents, options: &StoreOptions) -> Result<Engine, StoreError> {
        #[cfg(feature = "simulation")]
        if let Some(disk) = crate::simulated::mounted(dir) {
            return Ok(Engine::Simulated(disk.database(dir)));
        }
        manifest::check(dir)?;
        let database = tables::database_options(options);
        let db = DB::open_cf_descriptors(&database, dir, tables::descriptors(contents, options));
        db.map(Engine::Rocks).map_err(|source| StoreError::Open { dir: dir.to_owned(), source })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        match &self.engine {
            // RocksDB's threads must be gone before static destructors run at the end of the process.
            Engine::Rocks(db) => db.cancel_all_background_work(true),
            #[cfg(feature = "simulation")]
            Engine::Simulated(_) => {}
        }
    }
}
