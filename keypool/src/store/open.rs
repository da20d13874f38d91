//! Opening a pool's database: a new one gets an id, an old one must hold the slots it is asked to fill.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rocksdb::{DB, ErrorKind, WriteBatch};

use super::head::{Head, HeadError};
use super::meta::FORMAT_KEY;
use super::{FORMAT, Opened, Store, StoreError, options};
use crate::pool::PoolId;
use crate::slots::SlotSet;

/// What to do about a log that is missing or too short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// Refuse it.
    Strict,
    /// Take what can still be read. Only for a pool that then burns everything unused.
    WhatIsLeft,
}

/// Where the database lies in a pool's directory.
const DATABASE: &str = "pool";
/// Where the head file lies in a pool's directory.
const HEAD: &str = "head";

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made.
    #[error("cannot make the directory {}", dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the database in {} is in use: another signpost-keypool runs on it", dir.display())]
    InUse {
        /// Where.
        dir: PathBuf,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// It is damaged.
    #[error(
        "the database in {} is damaged; to go on from what is left, or from a backup, run `signpost-keypool restored`, \
         which burns every unused code so that none is handed out twice",
        dir.display()
    )]
    Corrupt {
        /// Where.
        dir: PathBuf,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// The file that names its tables is damaged.
    #[error(
        "the pool's database is damaged; to go on from what is left, or from a backup, run `signpost-keypool restored`: {0}"
    )]
    Manifest(#[from] linklog::manifest::ManifestError),
    /// It knows less than it once did.
    #[error(
        "the database in {} is older than it was: lease {head_number} was given, and it knows {found_number}. It is a copy \
         from before, or its log is damaged; run `signpost-keypool restored`, which burns every unused code so that none is \
         handed out twice",
        dir.display()
    )]
    Older {
        /// Where.
        dir: PathBuf,
        /// The latest lease's number by the head file.
        head_number: u64,
        /// The same by the database.
        found_number: u64,
    },
    /// The head file is not readable.
    #[error(
        "{source}; run `signpost-keypool restored`, which burns every unused code so that none is handed out twice"
    )]
    Head {
        /// What is wrong with it.
        source: HeadError,
    },
    /// The head file cannot be replaced.
    #[error("cannot write the head file")]
    PutHead(#[source] io::Error),
    /// It cannot be opened for another reason.
    #[error("cannot open the database in {}", dir.display())]
    Database {
        /// Where.
        dir: PathBuf,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// A newer program wrote it.
    #[error("the database in {} has format {found}; this program knows {FORMAT}: use a newer one", dir.display())]
    Format {
        /// Where.
        dir: PathBuf,
        /// The format it has.
        found: u32,
    },
    /// There is none, and there should be.
    #[error("there is no key pool in {}", dir.display())]
    Missing {
        /// Where.
        dir: PathBuf,
    },
    /// The configuration names slots that this pool does not own.
    #[error(
        "the pool in {} does not hold slots {missing}: it owns {held}. A slot moves only together with its used codes, or \
         codes would be handed out twice; name slots that it owns, or give the others to a new pool in a directory of its \
         own",
        dir.display()
    )]
    SlotsNotHeld {
        /// Where.
        dir: PathBuf,
        /// What the pool does not hold.
        missing: SlotSet,
        /// What it holds.
        held: SlotSet,
    },
    /// It was opened and cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness for the pool's id.
    #[error("the system gives no random numbers")]
    Entropy(#[source] getrandom::Error),
}

impl PoolId {
    /// Makes a new id.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn random() -> Result<PoolId, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(PoolId(id))
    }
}

impl Opened {
    /// Opens the pool in `dir`, which owns `slots` from now on if it is new.
    ///
    /// # Errors
    /// It is in use, damaged, older than it was, of a newer format, or does not hold these slots.
    pub fn open(dir: &Path, slots: &SlotSet) -> Result<Opened, OpenError> {
        // Who can read what waits knows the codes of links to come.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|source| OpenError::Directory { dir: dir.to_owned(), source })?;
        let store = open(dir, Recovery::Strict)?;
        if store.format()?.is_none() {
            let mut batch = WriteBatch::default();
            store.put_new_pool(&mut batch, PoolId::random().map_err(OpenError::Entropy)?, slots);
            store.commit(batch)?;
        }
        let opened = Opened::read(store)?;
        opened.compare_with_head()?;
        match slots.without(&opened.slots) {
            None => Ok(opened),
            Some(missing) => {
                Err(OpenError::SlotsNotHeld { dir: dir.to_owned(), missing, held: opened.slots })
            }
        }
    }

    /// Opens the pool in `dir` that was there before, whatever it holds, with a log that may be damaged.
    ///
    /// # Errors
    /// There is none, it is in use, damaged beyond the log, or of a newer format.
    pub fn open_restored(dir: &Path) -> Result<Opened, OpenError> {
        if !dir.join(DATABASE).join("CURRENT").exists() {
            return Err(OpenError::Missing { dir: dir.to_owned() });
        }
        let store = open(dir, Recovery::WhatIsLeft)?;
        if store.format()?.is_none() {
            return Err(OpenError::Missing { dir: dir.to_owned() });
        }
        Opened::read(store)
    }

    fn compare_with_head(&self) -> Result<(), OpenError> {
        let head = Head::read(&self.store.head_path).map_err(|source| OpenError::Head { source })?;
        let Some(head) = head.filter(|head| head.pool_id == self.meta.pool_id) else { return Ok(()) };
        let (head_number, found_number) = (head.last_lease_number, self.meta.last_lease_number);
        if head_number <= found_number && head.leased <= self.meta.leased {
            return Ok(());
        }
        Err(OpenError::Older { dir: self.store.dir.clone(), head_number, found_number })
    }

    fn read(store: Store) -> Result<Opened, OpenError> {
        let format = store.format()?.unwrap_or_default();
        if format != FORMAT {
            return Err(OpenError::Format { dir: store.dir.clone(), found: format });
        }
        let (meta, slots) = store.meta()?;
        Ok(Opened { store, meta, slots })
    }
}

impl Store {
    fn format(&self) -> Result<Option<u32>, StoreError> {
        let value = self.meta_value_if_any(FORMAT_KEY)?;
        Ok(value.map(|bytes| bytes.try_into().map_or(u32::MAX, u32::from_le_bytes)))
    }
}

fn open(dir: &Path, recovery: Recovery) -> Result<Store, OpenError> {
    let (parent, dir, head_path) = (dir, dir.join(DATABASE), dir.join(HEAD));
    if matches!(recovery, Recovery::Strict) {
        linklog::manifest::check(&dir)?;
    }
    match DB::open_cf_descriptors(&options::database(recovery), &dir, options::families()) {
        Ok(db) => {
            // RocksDB makes durable what is inside; the name of the whole is ours.
            let synced = std::fs::File::open(parent).and_then(|parent| parent.sync_all());
            synced.map_err(|source| OpenError::Directory { dir: parent.to_owned(), source })?;
            Ok(Store { db, dir, head_path })
        }
        // The message of the lock is RocksDB's only sign of it.
        Err(source) if source.to_string().contains("lock") => Err(OpenError::InUse { dir, source }),
        Err(source) if source.kind() == ErrorKind::Corruption => Err(OpenError::Corrupt { dir, source }),
        Err(source) => Err(OpenError::Database { dir, source }),
    }
}
