//! The journal: records in their order, durable before anyone hears of them.
//!
//! A journal gives positions, nothing else: what a record does is decided by [`crate::apply`]. It is a trait because one machine's
//! RocksDB is not the only place a log can live; every implementation passes [`conformance`].
//!
//! Invariants: seqs are dense; epochs never fall; `first_retained ≤ head + 1`; what [`JournalRead::read`] returns was durable when it
//! was returned; an append that fails leaves the journal unusable until it is opened again.

pub mod conformance;
mod guard;
mod head_file;
mod memory;
mod rocks;

pub use guard::{Guarded, OpenError, open_guarded};
pub use head_file::{HeadFile, HeadFileError};
pub use memory::MemoryJournal;
pub(crate) use rocks::VALUE_HEADER_BYTES as ENTRY_HEADER_BYTES;
pub use rocks::{JournalReader, RocksJournal};

use std::sync::Arc;

use crate::codec::DecodeError;
use crate::codec::record::{RecordView, Sections};
use crate::digest::Digest;
use crate::position::{Head, Position, Seq};
use crate::store::StoreError;

/// A record to append: it gets the next position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRecord {
    /// Its encoded halves.
    pub sections: Sections,
    /// The outcome apply derived: true if the change did nothing. Kept beside the record, not part of it.
    pub conflict: bool,
}

/// A record that was read, with what the journal keeps beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The chain's digest after the record.
    pub digest: Digest,
    /// True if the change did nothing.
    pub conflict: bool,
    /// The record's bytes ([`crate::codec::record`]).
    pub record: Vec<u8>,
}

impl Entry {
    /// Takes the record apart.
    ///
    /// # Errors
    /// If its bytes are damaged.
    pub fn view(&self) -> Result<RecordView<'_>, DecodeError> {
        crate::codec::record::decode(&self.record)
    }
}

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// They were trimmed: the reader needs a snapshot.
    #[error("record {from} is no longer kept; the first one is {first_retained}")]
    NotRetained {
        /// What was asked for.
        from: Seq,
        /// What there is.
        first_retained: Seq,
    },
    /// The store failed, or holds bytes that cannot be right.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is missing in the middle.
    #[error("the journal has a hole: record {expected} is missing")]
    Hole {
        /// Which one.
        expected: Seq,
    },
}

/// The reading side. Readers never wait for the writer.
pub trait JournalRead: Send + Sync {
    /// Returns the last durable record (`synced_seq` and its digest).
    fn head(&self) -> Head;

    /// Returns the first record that can be read; `head + 1` if there is none.
    fn first_retained(&self) -> Seq;

    /// Reads records from `from` on, at least one if there is one, until `bytes_max` bytes of records are collected or the head is
    /// reached. Past the head the result is empty.
    ///
    /// # Errors
    /// Trimmed records, holes, damage.
    fn read(&self, from: Seq, bytes_max: usize) -> Result<Vec<Entry>, ReadError>;

    /// Returns the digest after the record at `position`; `None` if no record with this epoch and seq is known any more.
    ///
    /// # Errors
    /// Damage.
    fn digest_at(&self, position: Position) -> Result<Option<Digest>, ReadError>;
}

/// The writing side: one owner.
pub trait Journal: Send {
    /// Appends records in order and returns where; durable when this returns.
    ///
    /// # Errors
    /// Whatever fails is fatal: the records may or may not be there. Stop, and open again.
    fn append(&mut self, records: &[NewRecord]) -> Result<Vec<Position>, StoreError>;

    /// Starts an epoch above every earlier one with a record of format level `level` that names the record before it; durable when this
    /// returns. `at_ms` must not be below the time of the last record.
    ///
    /// # Errors
    /// As [`Journal::append`].
    fn start_epoch(&mut self, level: u8, at_ms: u64) -> Result<Position, StoreError>;

    /// Forgets the oldest records, keeping at least the newest `bytes_kept` bytes of them.
    ///
    /// # Errors
    /// As [`Journal::append`].
    fn trim(&mut self, bytes_kept: u64) -> Result<(), StoreError>;

    /// Returns a reader; it stays valid after the journal is dropped.
    fn reader(&self) -> Arc<dyn JournalRead>;
}
