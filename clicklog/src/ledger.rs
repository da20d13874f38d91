//! The outgoing queue of a proxy: clicks that are counted for good, until the writer has them.
//!
//! One directory, one RocksDB, one random [`LedgerId`] born with it. Two processes cannot have it open at once.
//!
//! Invariants:
//! - A batch and the cursors of the rings its clicks came from are written in one fsynced step ([`Ledger::commit`]). So a click is
//!   either still in its ring or in a batch, never in both and never in neither.
//! - Numbers are dense from 1, a number never means two batches under one id, and a batch never changes.
//! - What was made since the ledger was opened is not counted anywhere before [`Ledger::take_back`] has been called. So whoever has counted
//!   more than there was then has counted it of a later state of the directory: this is an old copy, its next numbers are taken, and it
//!   goes on under another id, with what is new and not counted ([`Ledger::begin_anew`]).
//! - The bytes are bounded. Batches that are released are kept for a while, in case the writer is restored from a backup, and are the
//!   first to go; when the writer stays away for too long the oldest go unacknowledged, and what was in them is remembered.
//!
//! Deliberately not here: rings, the wire, threads.

mod error;
mod rows;

use std::path::Path;

use parking_lot::Mutex;
use rocksdb::{DB, DBCompressionType, DBRecoveryMode, IteratorMode, Options, WriteBatch, WriteOptions};

use crate::batch::{Batch, BatchNumber, CELLS_MAX, LedgerId};
use crate::cell::Cell;
use error::cannot;
use rows::{BATCH, CURSOR, FORMAT, FORMAT_ROW, OPENED, Queue, STATE, Totals, batch_key, cursor_key};

/// What a batch costs besides its bytes: rows and index. Bounds the number of batches where each has one cell.
const BATCH_OVERHEAD_BYTES: u64 = 1 << 10;
/// Bytes in memory before they go to a table; what is released soon never gets there.
const MEMTABLE_BYTES: usize = 8 << 20;

pub use error::LedgerError;

/// How much a ledger may keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LedgerOptions {
    /// Bytes of batches that are released and kept all the same.
    pub keep_bytes: u64,
    /// Most bytes of batches that are not released; beyond, the oldest are dropped.
    pub unreleased_bytes_max: u64,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        LedgerOptions { keep_bytes: 64 << 20, unreleased_bytes_max: 4 << 30 }
    }
}

/// The name of a ring: random, born with it.
pub type RingId = [u8; 16];

/// How far a ring has been taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    /// The first place that has not.
    pub position: u64,
    /// Clicks that the ring had no room for, as far as they have been counted.
    pub dropped: u64,
}

/// Rings that clicks may be in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The boot of the machine they were made in: rings do not outlive it.
    pub boot: [u8; 16],
    /// Their names.
    pub rings: Vec<RingId>,
}

/// What is taken over in one step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// Clicks, each subject once.
    pub cells: Vec<Cell>,
    /// Clicks that are in no cell, and lost.
    pub dropped: u64,
    /// As [`Batch::complete_until_ms`].
    pub complete_until_ms: u64,
    /// Up to where the rings are taken over with this.
    pub cursors: Vec<(RingId, Cursor)>,
}

/// Where a ledger stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Who counts.
    pub id: LedgerId,
    /// The first batch it still has; the one after the last if it has none.
    pub first_kept: BatchNumber,
    /// The last it has made.
    pub last: BatchNumber,
    /// Up to here nothing has to be sent any more.
    pub released: BatchNumber,
    /// As in the last batch.
    pub complete_until_ms: u64,
    /// Batches it had to drop before they were released, over its life.
    pub dropped_batches: u64,
    /// The clicks in those batches. What did not even reach a batch is told by [`Batch::dropped`].
    pub dropped_clicks: u64,
    /// Bytes of all batches it has.
    pub kept_bytes: u64,
    /// Bytes of those that are not released.
    pub unreleased_bytes: u64,
}

/// An open ledger.
pub struct Ledger {
    db: DB,
    options: LedgerOptions,
    /// Held over writes, so that they follow one another.
    queue: Mutex<Held>,
}

struct Held {
    /// As in the database.
    queue: Queue,
    /// As when it was opened, until somebody says how far it is counted.
    unheard: Option<Queue>,
}

impl Ledger {
    /// Opens the ledger in `dir`, or makes one there whose id is `id`.
    ///
    /// # Errors
    /// The directory cannot be had, is in use, or holds something else.
    pub fn open(dir: &Path, options: LedgerOptions, id: LedgerId) -> Result<Ledger, LedgerError> {
        make_directory(dir).map_err(|source| LedgerError::Directory { dir: dir.to_owned(), source })?;
        linklog::manifest::check(dir)?;
        let db = DB::open(&database_options(), dir);
        let db = db.map_err(|source| LedgerError::Open { dir: dir.to_owned(), source })?;
        let get = |key: &[u8]| db.get(key).map_err(cannot("read"));
        let queue = match (get(FORMAT)?.as_deref(), get(STATE)?) {
            (Some(FORMAT_ROW), Some(row)) => Queue::decode(&row).ok_or(LedgerError::Damaged("state row"))?,
            (None, None) => {
                let queue = Queue::new(id);
                let mut batch = WriteBatch::default();
                batch.put(FORMAT, FORMAT_ROW);
                batch.put(STATE, queue.encode());
                write(&db, batch, true)?;
                queue
            }
            (found, _) => {
                let found = found.unwrap_or_default().to_vec();
                return Err(LedgerError::WrongContents { dir: dir.to_owned(), found });
            }
        };
        let ledger = Ledger { db, options, queue: Mutex::new(Held { queue, unheard: Some(queue) }) };
        for place in [queue.first, queue.last].into_iter().filter(|place| queue.has(*place)) {
            ledger.totals(place)?;
        }
        Ok(ledger)
    }

    /// Returns where it stands.
    pub fn standing(&self) -> Standing {
        let queue = self.queue.lock().queue;
        Standing {
            id: queue.id,
            first_kept: queue.number(queue.first),
            last: queue.number(queue.last),
            released: queue.number(queue.released),
            complete_until_ms: queue.complete_until_ms,
            dropped_batches: queue.dropped_batches,
            dropped_clicks: queue.dropped_clicks,
            kept_bytes: queue.at_last.bytes - queue.before_first.bytes,
            unreleased_bytes: queue.unreleased().bytes,
        }
    }

    /// Returns up to where a ring has been taken over; `None` if nothing has.
    ///
    /// # Errors
    /// If the database cannot be read or the row is damaged.
    pub fn cursor(&self, ring: RingId) -> Result<Option<Cursor>, LedgerError> {
        let row = self.db.get_pinned(cursor_key(ring)).map_err(cannot("read"))?;
        row.map(|row| rows::decode_cursor(&row).ok_or(LedgerError::Damaged("cursor"))).transpose()
    }

    /// Returns the rings that clicks may be in, if whoever had them did not end in order.
    ///
    /// # Errors
    /// If the database cannot be read or the row is damaged.
    pub fn opened(&self) -> Result<Option<Opened>, LedgerError> {
        let row = self.db.get_pinned(OPENED).map_err(cannot("read"))?;
        row.map(|row| rows::decode_opened(&row).ok_or(LedgerError::Damaged("list of rings"))).transpose()
    }

    /// Notes, on disk before it returns, in which rings clicks may be from now on, and forgets about all others.
    ///
    /// # Errors
    /// If the database fails.
    pub fn set_opened(&self, opened: &Opened) -> Result<(), LedgerError> {
        let mut batch = WriteBatch::default();
        batch.put(OPENED, rows::encode_opened(opened));
        for row in self.db.iterator(IteratorMode::From(CURSOR, rocksdb::Direction::Forward)) {
            let (key, _) = row.map_err(cannot("read"))?;
            let Some(ring) = key.strip_prefix(CURSOR) else { break };
            if !opened.rings.iter().any(|open| open == ring) {
                batch.delete(&key);
            }
        }
        let _queue = self.queue.lock();
        write(&self.db, batch, true)
    }

    /// Notes, on disk before it returns, that no click is in any ring.
    ///
    /// # Errors
    /// If the database fails.
    pub fn set_closed(&self) -> Result<(), LedgerError> {
        let mut batch = WriteBatch::default();
        batch.delete(OPENED);
        let _queue = self.queue.lock();
        write(&self.db, batch, true)
    }

    /// Takes clicks over: batches, cursors and the next number in one step, on disk when this returns. Without clicks, cells or drops,
    /// nothing is written. Returns the last batch.
    ///
    /// # Errors
    /// If the database fails. Then nothing was taken over, and the same clicks may be tried again with others added.
    ///
    /// # Panics
    /// If two cells have one subject.
    pub fn commit(&self, entry: Entry) -> Result<BatchNumber, LedgerError> {
        let Entry { mut cells, dropped, complete_until_ms, cursors } = entry;
        let mut held = self.queue.lock();
        let mut queue = held.queue;
        if cells.is_empty() && dropped == 0 {
            return Ok(queue.number(queue.last));
        }
        // A clock that was set back makes nothing incomplete again.
        let complete_until_ms = complete_until_ms.max(queue.complete_until_ms);
        let mut write_batch = WriteBatch::default();
        let mut batches = Vec::new();
        let mut place = queue.last;
        loop {
            let rest = cells.split_off(cells.len().min(CELLS_MAX));
            let is_last = rest.is_empty();
            place = place.next();
            // What comes in several batches is complete with the last of them.
            let (until_ms, dropped) =
                if is_last { (complete_until_ms, dropped) } else { (queue.complete_until_ms, 0) };
            let batch = Batch::new(queue.id, queue.number(place), until_ms, dropped, cells);
            batches.push((place, batch.clicks(), batch.encode()));
            cells = rest;
            if is_last {
                break;
            }
        }
        let wanted = batches.iter().map(|(_, _, bytes)| cost(bytes)).sum();
        self.make_room(&mut queue, wanted, &mut write_batch)?;
        for (place, clicks, bytes) in batches {
            queue.at_last = queue.at_last.plus(Totals { bytes: cost(&bytes), clicks });
            queue.last = place;
            write_batch.put(batch_key(place), rows::encode_batch(queue.at_last, &bytes));
        }
        queue.complete_until_ms = complete_until_ms;
        for (ring, cursor) in cursors {
            write_batch.put(cursor_key(ring), rows::encode_cursor(cursor));
        }
        self.store(&mut held, queue, write_batch, true)?;
        Ok(queue.number(queue.last))
    }

    /// Returns the bytes of a batch; `None` if it is not there, no more or not yet.
    ///
    /// # Errors
    /// If the database cannot be read or the row is damaged.
    pub fn read(&self, number: BatchNumber) -> Result<Option<Vec<u8>>, LedgerError> {
        let queue = self.queue.lock().queue;
        let place = queue.place(number);
        if number == BatchNumber(0) || !queue.has(place) {
            return Ok(None);
        }
        let row = self.db.get_pinned(batch_key(place)).map_err(cannot("read"))?;
        // It may have been dropped in between.
        let Some(row) = row else { return Ok(None) };
        let damaged = || LedgerError::Damaged("batch");
        let (_, bytes) = rows::decode_batch(&row).ok_or_else(damaged)?;
        if queue.before_one == 0 {
            return Ok(Some(bytes.to_vec()));
        }
        // It may be of a time when the ledger had another id.
        let batch = Batch::decode(bytes).map_err(|_| damaged())?;
        Ok(Some(batch.renamed(queue.id, number).encode()))
    }

    /// Notes that batches up to `upto` are where they belong, and forgets those there is no room for. Not fsynced: what is noted too
    /// little is sent once more.
    ///
    /// # Errors
    /// If the database fails.
    pub fn release(&self, upto: BatchNumber) -> Result<(), LedgerError> {
        let mut held = self.queue.lock();
        let mut queue = held.queue;
        let upto = queue.place(upto).min(queue.last);
        if upto <= queue.released {
            return Ok(());
        }
        queue.at_released = self.totals(upto)?;
        queue.released = upto;
        let mut batch = WriteBatch::default();
        self.make_room(&mut queue, 0, &mut batch)?;
        self.store(&mut held, queue, batch, false)
    }

    /// Says whether this is an old copy of a ledger that has been counted up to `counted`.
    pub fn is_old_copy(&self, counted: BatchNumber) -> bool {
        let held = self.queue.lock();
        let (queue, counted) = (&held.queue, held.queue.place(counted));
        // What it had to give up meanwhile it has said: the writer has taken that for counted.
        let known = held.unheard.map_or(queue.last, |opened| opened.last.max(BatchNumber(queue.first.0 - 1)));
        counted > known
    }

    /// Takes back what was released beyond `upto`: the writer does not have it any more. Returns the first batch after `upto` there is.
    /// What is in it from now on may be counted.
    ///
    /// # Errors
    /// If the database fails.
    pub fn take_back(&self, upto: BatchNumber) -> Result<BatchNumber, LedgerError> {
        let mut held = self.queue.lock();
        let mut queue = held.queue;
        let upto = queue.place(upto);
        if upto < queue.released {
            if queue.has(upto) {
                queue.at_released = self.totals(upto)?;
                queue.released = upto;
            } else {
                queue.at_released = queue.before_first;
                queue.released = BatchNumber(queue.first.0 - 1);
            }
            self.store(&mut held, queue, WriteBatch::default(), true)?;
        }
        held.unheard = None;
        Ok(queue.number(queue.first.max(upto.next())))
    }

    /// Begins anew under another id: this is an old copy of its directory ([`Ledger::is_old_copy`]). What it was opened with is counted
    /// already and goes; what was made since is under numbers from 1. Nothing is lost or counted twice.
    ///
    /// # Errors
    /// If the database fails.
    pub fn begin_anew(&self, id: LedgerId) -> Result<(), LedgerError> {
        let mut held = self.queue.lock();
        let old = held.queue;
        // Where it was heard how far it is counted, whatever there is may be counted, or may not.
        let (opened, doubtful_batches, doubtful_clicks) = match held.unheard {
            Some(opened) => (opened, 0, 0),
            None => (old, old.last.0 - old.released.0, old.unreleased().clicks),
        };
        let before_new = opened.last.max(BatchNumber(old.first.0 - 1));
        let at_new = if before_new == opened.last { opened.at_last } else { old.before_first };
        let mut batch = WriteBatch::default();
        batch.delete_range(batch_key(old.first), batch_key(before_new.next()));
        let queue = Queue {
            id,
            first: before_new.next(),
            released: before_new,
            before_first: at_new,
            at_released: at_new,
            // What was dropped of the rest has been told under the old id, or is counted.
            dropped_batches: before_new.0 - opened.last.0 + doubtful_batches,
            dropped_clicks: at_new.clicks - opened.at_last.clicks + doubtful_clicks,
            before_one: opened.last.0,
            ..old
        };
        self.store(&mut held, queue, batch, true)?;
        held.unheard = None;
        Ok(())
    }

    /// Forgets what is released beyond the bytes that are kept, and drops what is not beyond those that may be, `wanted` included.
    fn make_room(&self, queue: &mut Queue, wanted: u64, batch: &mut WriteBatch) -> Result<(), LedgerError> {
        loop {
            let is_full = queue.unreleased().bytes + wanted > self.options.unreleased_bytes_max;
            let drops = is_full && queue.released < queue.last;
            let forgets = queue.at_released.bytes - queue.before_first.bytes > self.options.keep_bytes;
            if !drops && !forgets {
                return Ok(());
            }
            let totals = self.totals(queue.first)?;
            if queue.first > queue.released {
                let clicks = totals.clicks - queue.before_first.clicks;
                queue.dropped_batches += 1;
                queue.dropped_clicks += clicks;
                queue.released = queue.first;
                queue.at_released = totals;
            }
            batch.delete(batch_key(queue.first));
            queue.before_first = totals;
            queue.first = queue.first.next();
        }
    }

    fn totals(&self, place: BatchNumber) -> Result<Totals, LedgerError> {
        let row = self.db.get_pinned(batch_key(place)).map_err(cannot("read"))?;
        let row = row.ok_or(LedgerError::Damaged("queue: a batch is missing"))?;
        rows::decode_batch(&row).map(|(totals, _)| totals).ok_or(LedgerError::Damaged("batch"))
    }

    fn store(
        &self,
        held: &mut Held,
        queue: Queue,
        mut batch: WriteBatch,
        sync: bool,
    ) -> Result<(), LedgerError> {
        batch.put(STATE, queue.encode());
        write(&self.db, batch, sync)?;
        held.queue = queue;
        Ok(())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // RocksDB's threads must be gone before static destructors run at the end of the process.
        self.db.cancel_all_background_work(true);
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("standing", &self.standing()).finish()
    }
}

const fn cost(bytes: &[u8]) -> u64 {
    bytes.len() as u64 + BATCH_OVERHEAD_BYTES
}

fn write(db: &DB, batch: WriteBatch, sync: bool) -> Result<(), LedgerError> {
    let mut options = WriteOptions::default();
    options.set_sync(sync);
    db.write_opt(batch, &options).map_err(cannot("write to"))
}

/// Makes the directory, and its name in its parent durable: an id that is lost with its directory is another one next time, and the
/// writer would not know that it is the same proxy's.
fn make_directory(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => std::fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_max_background_jobs(2);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_total_wal_size(8 * MEMTABLE_BYTES as u64);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(4 << 20);
    options
}

const _: () = assert!(BATCH.len() == 1 && CURSOR.len() == 1, "prefixes of one byte");

#[cfg(test)]
mod tests;
