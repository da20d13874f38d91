//! The pool at work: the pure core, the database and who may change what at the same time.
//!
//! Two locks, always taken in this order:
//!
//! - `adding`: whoever adds to the set of taken codes or to the stock, and whoever needs both to hold still: refilling,
//!   marking, releasing. Held for as long as a batch takes, some 0.3 s with 10^8 used codes.
//! - `pool`: what waits and what was leased. Held for one fsync at most. A lease takes this one alone, so it never waits
//!   for a refill; it only shares the disk with one.
//!
//! Invariant: memory follows disk. What a failed write did to the disk is unknown, so after one nothing is written any
//! more: every operation is refused with [`Stopped`], [`Supply::failed`] fires, and the process ends to recover by opening
//! the database anew.
//!
//! One operation a file below. Deliberately not here: threads, the network, watermarks.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rocksdb::WriteBatch;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::blocklist::{Blocklist, BlocklistError};
use crate::config::PoolConfig;
use crate::generate::Generator;
use crate::metrics::Metrics;
use crate::pool::{Pool, PoolId};
use crate::refill::Bell;
use crate::slots::SlotSet;
use crate::store::{Head, OpenError, Opened, Store, StoreError};

mod add;
mod lease;
mod mark;
mod release;
mod restore;
#[cfg(test)]
mod tests;
mod waiting;

pub use add::{AddError, Added, BATCH_CODES_MAX};
pub use lease::{LeaseError, Leased};
pub use mark::MarkError;
pub use release::{ReleaseError, Released};
pub use restore::{Restored, restore};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A pool and its database. Dropping it closes the database in order.
#[derive(Debug)]
pub struct Supply {
    store: Store,
    slots: SlotSet,
    blocklist: Blocklist,
    /// How long released codes rest; none: they never return.
    quarantine_ms: Option<u64>,
    adding: Mutex<Adding>,
    pool: Mutex<Pool>,
    metrics: Arc<Metrics>,
    low_watermark: u64,
    bell: Arc<Bell>,
    failed: CancellationToken,
    failure: OnceLock<String>,
}

/// What only the holder of the `adding` lock reads and changes.
#[derive(Debug)]
struct Adding {
    /// How many codes were ever taken.
    taken: u64,
    /// Where the first block of the stock begins.
    stock_start: u64,
    generator: Generator,
}

/// Why a pool was not opened.
#[derive(Debug, thiserror::Error)]
pub enum SupplyError {
    /// The database was not.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The operator's words are not usable.
    #[error(transparent)]
    Blocklist(#[from] BlocklistError),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Nothing is done any more, because a write failed or the refilling thread did.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the pool has stopped after a failure")]
pub struct Stopped;

/// A pool in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Stats {
    /// Which pool.
    pub pool_id: PoolId,
    /// The slots it owns, as ranges.
    pub slots: String,
    /// Codes that wait to be leased.
    pub unused: u64,
    /// Codes that never will be again: leased, marked, burned.
    pub used: u64,
    /// The latest lease's number.
    pub last_lease_number: u64,
    /// Bytes of the database's tables.
    pub table_bytes: u64,
}

impl Supply {
    /// Opens the pool in a directory, or makes a new one there.
    ///
    /// # Errors
    /// The database is not to be had or does not hold the slots, or the blocklist is not readable.
    pub fn open(dir: &Path, config: &PoolConfig, metrics: Arc<Metrics>) -> Result<Supply, SupplyError> {
        let blocklist = match &config.blocklist {
            Some(path) => Blocklist::with_file(path)?,
            None => Blocklist::built_in(),
        };
        let Opened { store, meta, slots } = Opened::open(dir, &config.slots)?;
        let stock_start = store.stock_start(meta.stocked)?;
        let waiting = meta.leased..meta.stocked;
        let mut pool = Pool::new(meta.pool_id, waiting, meta.taken, stock_start, meta.last_lease_number);
        store.leases()?.into_iter().for_each(|lease| pool.remember_lease(lease));
        pool.apply_skipped(store.skipped()?);
        let adding = Adding { taken: meta.taken, stock_start, generator: Generator::new(&config.slots) };
        let quarantine_ms =
            (config.quarantine_days > 0).then_some(u64::from(config.quarantine_days) * DAY_MS);
        metrics.show(&pool);
        Ok(Supply {
            store,
            slots,
            blocklist,
            quarantine_ms,
            adding: Mutex::new(adding),
            pool: Mutex::new(pool),
            metrics,
            low_watermark: config.low_watermark,
            bell: Arc::default(),
            failed: CancellationToken::new(),
            failure: OnceLock::new(),
        })
    }

    /// Returns the slots that the pool owns.
    pub fn slots(&self) -> &SlotSet {
        &self.slots
    }

    /// Returns how many codes wait.
    pub fn unused(&self) -> u64 {
        self.pool.lock().unused()
    }

    /// Returns the pool in numbers.
    pub fn stats(&self) -> Stats {
        let table_bytes = self.store.table_bytes();
        let pool = self.pool.lock();
        Stats {
            pool_id: pool.id,
            slots: self.slots.to_string(),
            unused: pool.unused(),
            used: pool.used(),
            last_lease_number: pool.last_lease_number(),
            table_bytes,
        }
    }

    /// Returns the database, for measuring it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the pool's metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns what is rung when fewer codes wait than the low watermark says.
    pub fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Returns what is cancelled when nothing can be handed out any more, as after a failed write: the process must end.
    pub fn failed(&self) -> &CancellationToken {
        &self.failed
    }

    /// Returns why nothing is handed out any more, if that is so.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Writes the head file.
    ///
    /// # Errors
    /// The system does not let us. The pool can go on, with an older witness.
    pub fn put_head(&self) -> io::Result<()> {
        let head = {
            let pool = self.pool.lock();
            Head {
                pool_id: pool.id,
                leased: pool.waiting().start,
                last_lease_number: pool.last_lease_number(),
            }
        };
        self.store.put_head(&head)
    }

    /// Writes a batch and has it on disk; to be called, as the two below, with the lock held that guards what it changes,
    /// so that nothing follows a failure.
    fn commit(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.store.commit(batch).inspect_err(|error| self.fail(wire::channel::reason(error)))
    }

    /// Writes a batch that nobody is told of.
    fn append(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.store.append(batch).inspect_err(|error| self.fail(wire::channel::reason(error)))
    }

    /// Has on disk what was written.
    fn sync(&self) -> Result<(), StoreError> {
        self.store.sync().inspect_err(|error| self.fail(wire::channel::reason(error)))
    }

    /// Ends all work for good: every operation is refused from now on, and the process is to end.
    pub(crate) fn fail(&self, reason: String) {
        // Only the first reason counts: what follows, follows from it.
        if self.failure.set(reason.clone()).is_ok() {
            tracing::error!(reason, "nothing is handed out any more");
        }
        self.metrics.stopped();
        self.failed.cancel();
    }

    fn running(&self) -> Result<(), Stopped> {
        if self.failed.is_cancelled() { Err(Stopped) } else { Ok(()) }
    }

    /// Counts what was taken and not stocked, at the end of whatever adds codes, also of what failed.
    fn settle(&self, adding: &Adding) {
        let mut pool = self.pool.lock();
        pool.apply_taken(adding.taken);
        self.metrics.show(&pool);
    }
}
