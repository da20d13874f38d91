//! The journal in a RocksDB table.
//!
//! Key: seq, u64 big-endian. Value: `u8 conflict (0 or 1) · 16 bytes digest after the record · record`.
//!
//! Records are staged into a write batch, so that the [`crate::writer`] can put the state they lead to into the same batch, and
//! published once that batch is durable. RocksDB's own sequence numbers and `get_updates_since` play no part.

use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use rocksdb::WriteBatch;

use super::{Entry, Journal, JournalRead, NewRecord, ReadError};
use crate::codec::record;
use crate::codec::{Cursor, DecodeError};
use crate::digest::{Digest, SectionHash};
use crate::position::{Epoch, Head, Position, Seq};
use crate::store::meta::{BASE, decode_head, encode_head};
use crate::store::{
    Contents, HEAD, JOURNAL, META, RowReader, Rows, Store, StoreError, StoreOptions, read_head, write_head,
};

const BYTES: &[u8] = b"bytes";
const MARK: u8 = b'm';
/// How many bytes of records lie between two places where the journal can be trimmed.
const MARK_EVERY_BYTES: u64 = 4 << 20;
/// The same on a disk in memory, for a journal of some hundred records.
#[cfg(feature = "simulation")]
const SIMULATED_MARK_EVERY_BYTES: u64 = 1 << 10;
/// Bytes of an entry before the record.
pub(crate) const VALUE_HEADER_BYTES: usize = 17;

/// What readers see: moves when a batch has become durable.
#[derive(Clone, Copy)]
struct Bounds {
    base: Head,
    head: Head,
}

/// The journal of one database; at most one per database.
pub struct RocksJournal {
    store: Arc<Store>,
    bounds: Arc<RwLock<Bounds>>,
    staged: Head,
    epoch: Epoch,
    bytes: u64,
    last_mark: u64,
}

/// How far records are staged.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    staged: Head,
    epoch: Epoch,
    bytes: u64,
    last_mark: u64,
}

impl RocksJournal {
    /// Opens a journal of something else than links, with rows beside it ([`Contents::Journal`]), in a directory of its own. Whoever
    /// acknowledges what is in it opens it with [`super::open_guarded`].
    ///
    /// # Errors
    /// If the database cannot be opened or holds damaged bounds.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<RocksJournal, StoreError> {
        RocksJournal::in_store(Store::open(dir, Contents::Journal, options)?)
    }

    pub(crate) fn in_store(store: Arc<Store>) -> Result<RocksJournal, StoreError> {
        let bounds = Bounds { base: read_head(&store, BASE)?, head: read_head(&store, HEAD)? };
        let bytes = match store.get(META, BYTES)? {
            Some(value) => Cursor::new(&value)
                .u64("journal bytes")
                .map_err(|source| StoreError::Damaged { what: "journal size", source })?,
            None => 0,
        };
        Ok(RocksJournal {
            store,
            bounds: Arc::new(RwLock::new(bounds)),
            staged: bounds.head,
            epoch: bounds.head.position.epoch,
            bytes,
            last_mark: bytes,
        })
    }

    /// Returns the last durable record.
    pub fn head(&self) -> Head {
        self.bounds.read().head
    }

    /// Returns the epoch records are written in; 0 before the first was started.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns the position the next staged record will get.
    pub(crate) fn next_position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.staged.position.seq.next() }
    }

    /// Adds a record to a batch.
    pub(crate) fn stage(&mut self, batch: &mut WriteBatch, new: &NewRecord) -> Position {
        let position = self.next_position();
        let hash = SectionHash::of;
        let sections = &new.sections;
        let digest =
            self.staged.digest.then(position, sections.header, hash(&sections.serve), hash(&sections.manage));
        let mut value = Vec::with_capacity(
            VALUE_HEADER_BYTES + record::HEADER_BYTES + sections.serve.len() + sections.manage.len() + 4,
        );
        value.push(u8::from(new.conflict));
        value.extend_from_slice(&digest.to_bytes());
        record::encode(&mut value, position, sections);
        batch.put_cf(self.store.table(JOURNAL), position.seq.0.to_be_bytes(), &value);
        self.bytes += value.len() as u64;
        self.staged = Head { position, digest };
        if self.bytes - self.last_mark >= self.mark_every_bytes() {
            self.last_mark = self.bytes;
            let mut mark = encode_head(&self.staged).to_vec();
            mark.extend_from_slice(&self.bytes.to_le_bytes());
            batch.put_cf(self.store.table(META), mark_row(position.seq), mark);
        }
        position
    }

    fn mark_every_bytes(&self) -> u64 {
        #[cfg(feature = "simulation")]
        if self.store.is_simulated() {
            return SIMULATED_MARK_EVERY_BYTES;
        }
        MARK_EVERY_BYTES
    }

    /// Adds a record that another writer has made, at the place it has there; its epoch is not below that of the record before.
    pub(crate) fn stage_at(&mut self, batch: &mut WriteBatch, position: Position, new: &NewRecord) {
        self.epoch = position.epoch;
        let staged = self.stage(batch, new);
        debug_assert_eq!(staged, position, "the replica has checked that the record continues the head");
    }

    /// Returns what [`RocksJournal::return_to`] goes back to.
    pub(crate) const fn place(&self) -> Place {
        Place { staged: self.staged, epoch: self.epoch, bytes: self.bytes, last_mark: self.last_mark }
    }

    /// Forgets what was staged since `place` and not written.
    pub(crate) const fn return_to(&mut self, place: Place) {
        self.staged = place.staged;
        self.epoch = place.epoch;
        self.bytes = place.bytes;
        self.last_mark = place.last_mark;
    }

    /// Adds the head to a batch, after its last record was staged.
    pub(crate) fn stage_head(&self, batch: &mut WriteBatch) {
        write_head(batch, &self.store, HEAD, &self.staged);
        batch.put_cf(self.store.table(META), BYTES, self.bytes.to_le_bytes());
    }

    /// Lets readers see what was staged; call when the batch is durable.
    pub(crate) fn publish(&self) -> Head {
        self.bounds.write().head = self.staged;
        self.staged
    }

    /// Begins an epoch that was announced beforehand; the caller stages its first record.
    pub(crate) fn enter_epoch(&mut self, epoch: Epoch) {
        debug_assert!(epoch > self.epoch, "epochs rise");
        self.epoch = epoch;
    }

    /// Begins the next epoch; the caller stages its first record.
    pub(crate) fn enter_next_epoch(&mut self) {
        self.epoch = Epoch(self.staged.position.epoch.0 + 1);
    }

    /// Returns the last record staged.
    pub(crate) const fn staged(&self) -> Head {
        self.staged
    }

    /// Returns a reader of this journal.
    pub fn concrete_reader(&self) -> JournalReader {
        JournalReader { store: self.store.clone(), bounds: self.bounds.clone() }
    }

    /// Returns an empty set of rows to be written with [`RocksJournal::append_with`].
    pub fn rows(&self) -> Rows {
        Rows::new(self.store.clone())
    }

    /// Returns a reader of the rows beside this journal.
    pub fn row_reader(&self) -> RowReader {
        RowReader::new(self.store.clone())
    }

    /// As [`Journal::append`], and writes `rows` with the records: all of it is durable when this returns, or none of it ever.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_with(&mut self, records: &[NewRecord], rows: Rows) -> Result<Vec<Position>, StoreError> {
        assert_ne!(self.epoch, Epoch(0), "an epoch is started before records are appended");
        let mut batch = rows.into_batch();
        let positions = records.iter().map(|new| self.stage(&mut batch, new)).collect();
        self.commit(batch)?;
        Ok(positions)
    }

    fn commit(&self, mut batch: WriteBatch) -> Result<(), StoreError> {
        self.stage_head(&mut batch);
        self.store.write(batch, true)?;
        self.publish();
        Ok(())
    }
}

fn mark_row(seq: Seq) -> [u8; 9] {
    let mut row = [MARK; 9];
    row[1..].copy_from_slice(&seq.0.to_be_bytes());
    row
}

impl Journal for RocksJournal {
    fn append(&mut self, records: &[NewRecord]) -> Result<Vec<Position>, StoreError> {
        let rows = self.rows();
        self.append_with(records, rows)
    }

    fn start_epoch(&mut self, level: u8, at_ms: u64) -> Result<Position, StoreError> {
        let sections = record::epoch_start(self.staged, level, at_ms);
        self.enter_next_epoch();
        let mut batch = WriteBatch::default();
        let position = self.stage(&mut batch, &NewRecord { sections, conflict: false });
        self.commit(batch)?;
        Ok(position)
    }

    fn trim(&mut self, bytes_kept: u64) -> Result<(), StoreError> {
        let Some(limit) = self.bytes.checked_sub(bytes_kept) else { return Ok(()) };
        let mut newest = None;
        for row in self.store.rows(META, &[MARK], None, true) {
            let (key, value) = row?;
            if key.first() != Some(&MARK) {
                break;
            }
            let mark =
                read_mark(&value).map_err(|source| StoreError::Damaged { what: "journal mark", source })?;
            if mark.1 > limit {
                break;
            }
            newest = Some(mark.0);
        }
        let Some(base) = newest else { return Ok(()) };
        let journal = self.store.table(JOURNAL);
        let (first, end) = (0u64.to_be_bytes(), base.position.seq.next().0.to_be_bytes());
        let mut batch = WriteBatch::default();
        write_head(&mut batch, &self.store, BASE, &base);
        let marks = (mark_row(Seq::ZERO), mark_row(base.position.seq.next()));
        self.store.delete_range(&mut batch, META, &marks.0, &marks.1)?;
        self.store.delete_range(&mut batch, JOURNAL, &first, &end)?;
        self.bounds.write().base = base;
        self.store.write(batch, true)?;
        #[cfg(feature = "simulation")]
        if self.store.is_simulated() {
            return Ok(());
        }
        // Whole files go at once; what is left of the range goes with compaction.
        // The end of that range is inclusive.
        let last = base.position.seq.0.to_be_bytes();
        let dropped = self.store.db().delete_file_in_range_cf(journal, first, last);
        dropped.map_err(|source| StoreError::Io { action: "trim", source })
    }

    fn reader(&self) -> Arc<dyn JournalRead> {
        Arc::new(self.concrete_reader())
    }
}

fn read_mark(value: &[u8]) -> Result<(Head, u64), DecodeError> {
    let mut cursor = Cursor::new(value);
    Ok((decode_head(&mut cursor)?, cursor.u64("journal bytes")?))
}

/// Reads a [`RocksJournal`] while it is written.
#[derive(Clone)]
pub struct JournalReader {
    store: Arc<Store>,
    bounds: Arc<RwLock<Bounds>>,
}

fn read_value(value: &[u8]) -> Result<Entry, DecodeError> {
    let mut cursor = Cursor::new(value);
    let conflict = match cursor.u8("outcome")? {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::invalid(0, "outcome")),
    };
    let digest = Digest::from_bytes(cursor.array("digest")?);
    Ok(Entry { digest, conflict, record: cursor.rest().to_vec() })
}

const fn damaged(source: DecodeError) -> ReadError {
    ReadError::Store(StoreError::Damaged { what: "journal entry", source })
}

impl JournalRead for JournalReader {
    fn head(&self) -> Head {
        self.bounds.read().head
    }

    fn first_retained(&self) -> Seq {
        self.bounds.read().base.position.seq.next()
    }

    fn read(&self, from: Seq, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        let bounds = *self.bounds.read();
        let first_retained = bounds.base.position.seq.next();
        if from < first_retained {
            return Err(ReadError::NotRetained { from, first_retained });
        }
        let head = bounds.head.position.seq;
        if from > head {
            return Ok(Vec::new());
        }
        let below = head.next().0.to_be_bytes();
        let rows = self.store.rows(JOURNAL, &from.0.to_be_bytes(), Some(&below), true);
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut expected = from;
        for row in rows {
            let (key, value) = row?;
            if *key != expected.0.to_be_bytes() {
                break;
            }
            bytes += value.len();
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(read_value(&value).map_err(damaged)?);
            expected = expected.next();
        }
        if expected <= head && bytes <= bytes_max {
            // Trimmed while we read, or truly missing.
            let first_retained = self.first_retained();
            if expected < first_retained {
                return Err(ReadError::NotRetained { from, first_retained });
            }
            return Err(ReadError::Hole { expected });
        }
        Ok(entries)
    }

    fn digest_at(&self, position: Position) -> Result<Option<Digest>, ReadError> {
        let bounds = *self.bounds.read();
        if position == bounds.base.position {
            return Ok(Some(bounds.base.digest));
        }
        if position == bounds.head.position {
            return Ok(Some(bounds.head.digest));
        }
        let retained = bounds.base.position.seq < position.seq && position.seq <= bounds.head.position.seq;
        if !retained {
            return Ok(None);
        }
        let Some(value) = self.store.get(JOURNAL, &position.seq.0.to_be_bytes())? else {
            // Trimmed while we looked, or truly missing: a follower there must not be told that it has diverged.
            let trimmed = position.seq <= self.bounds.read().base.position.seq;
            return if trimmed { Ok(None) } else { Err(ReadError::Hole { expected: position.seq }) };
        };
        let entry = read_value(&value).map_err(damaged)?;
        let stored = entry.view().map_err(damaged)?.position;
        Ok((stored == position).then_some(entry.digest))
    }
}
