//! The database of a pool: one RocksDB, six column families. This is the format; everything else asks here.
//!
//! | family | key | value |
//! |---|---|---|
//! | `meta` | `format` | 4 bytes: [`FORMAT`] |
//! | | `pool_id` | 16 bytes |
//! | | `slots` | 512 bytes: the owned slots, see [`SlotSet::as_bytes`] |
//! | | `taken` | 8 bytes: how many codes the set `taken` holds |
//! | | `stocked` | 8 bytes: the serial behind the last code in `stock` |
//! | | `leased` | 16 bytes: the serial that is leased next, the latest lease number |
//! | `taken` | bucket, 2 bytes big-endian | segments, see [`codeset`](crate::codeset) |
//! | `stock` | serial of the first code, 8 bytes big-endian | at most [`BLOCK_CODES`] codes, 6 bytes each |
//! | `leases` | lease number, 8 bytes big-endian | [`Lease::encode`] |
//! | `skipped` | code, 6 bytes big-endian | empty: it waits in `stock` and must not be leased |
//! | `quarantine` | `c` and code, 6 bytes big-endian | when it may return, ms since 1970, 8 bytes |
//! | | `d`, that time 8 bytes big-endian, code | empty: the same, in the order of time |
//!
//! Numbers are little-endian unless said otherwise.
//!
//! Invariants: a code is in `taken` before it is in `stock`, and its serial below `leased` before it is handed out. So a
//! crash between any two writes can lose codes (taken and never handed out), and can never hand one out twice.
//!
//! What somebody is told of is fsynced before they are told: leases, marks, releases ([`Store::commit`]). Generated codes
//! are not ([`Store::append`]): the log is one, and the fsync of a lease takes everything before it along. So generating
//! costs no fsyncs, and hardly delays those of leases.
//!
//! After a power cut the database goes on from the last write that it can read; what followed was not fsynced, so nobody
//! was told of it. That this is not older than it may be, [`head`] sees to. The way out of damage is
//! `signpost-keypool restored`.

use std::io;
use std::path::{Path, PathBuf};

use linklog::Code7;
use rocksdb::{ColumnFamily, DB, WriteBatch, WriteOptions};

use crate::codeset::Damaged;
use crate::pool::{Lease, LeaseRecordError};
use crate::slots::SlotSet;

pub mod head;
mod meta;
mod open;
mod options;
mod quarantine;
mod stock;
mod taken;

pub use head::Head;
pub use meta::Meta;
pub use open::{OpenError, Recovery};
pub use stock::{BLOCK_CODES, Stock};
pub use taken::TakenSweep;

/// The format this program writes and the only one it reads.
pub const FORMAT: u32 = 1;

/// Bytes of a code as it is stored: its number has 42 bits.
const CODE_BYTES: usize = 6;

/// The open database. Dropping it closes it in order: background work first, then the handle.
pub struct Store {
    db: DB,
    dir: PathBuf,
    head_path: PathBuf,
}

/// Something the database did not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A write failed; whether it is on disk is unknown, so nothing more may be written by this process.
    #[error("cannot write to the database in {}", dir.display())]
    Write {
        /// Where.
        dir: PathBuf,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// A read failed.
    #[error("cannot read the family {family} of the database")]
    Read {
        /// Which part.
        family: &'static str,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// A value is not what this program writes.
    #[error("the family {family} of the database is damaged at key {}: {problem}", hex(key))]
    Damaged {
        /// Which part.
        family: &'static str,
        /// Where.
        key: Vec<u8>,
        /// What is wrong.
        problem: String,
    },
}

/// The column families.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the module's table describes them")]
pub enum Family {
    Meta,
    Taken,
    Stock,
    Leases,
    Skipped,
    Quarantine,
}

impl Family {
    /// Every family there is.
    pub const ALL: [Family; 6] =
        [Family::Meta, Family::Taken, Family::Stock, Family::Leases, Family::Skipped, Family::Quarantine];

    /// Returns its name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Family::Meta => "meta",
            Family::Taken => "taken",
            Family::Stock => "stock",
            Family::Leases => "leases",
            Family::Skipped => "skipped",
            Family::Quarantine => "quarantine",
        }
    }
}

impl Store {
    /// Writes a batch and returns when it is on disk.
    ///
    /// # Errors
    /// It may or may not be on disk: the caller must end the process.
    pub fn commit(&self, batch: WriteBatch) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db
            .write_opt(batch, &options)
            .map_err(|source| StoreError::Write { dir: self.dir.clone(), source })
    }

    /// Writes a batch, which is on disk once a later one is that was given to [`commit`](Self::commit), or after
    /// [`sync`](Self::sync).
    ///
    /// # Errors
    /// As those of [`commit`](Self::commit).
    pub fn append(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.db.write(batch).map_err(|source| StoreError::Write { dir: self.dir.clone(), source })
    }

    /// Returns when everything that was written is on disk.
    ///
    /// # Errors
    /// As those of [`commit`](Self::commit).
    pub fn sync(&self) -> Result<(), StoreError> {
        self.db.flush_wal(true).map_err(|source| StoreError::Write { dir: self.dir.clone(), source })
    }

    /// Writes the head file.
    ///
    /// # Errors
    /// The system does not let us; then it is as it was.
    pub fn put_head(&self, head: &Head) -> io::Result<()> {
        head.write(&self.head_path)
    }

    /// Reads all leases that are remembered, oldest first.
    ///
    /// # Errors
    /// The database cannot be read or is damaged.
    pub fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let mut leases = Vec::new();
        self.scan(Family::Leases, &[], |key, value| {
            let number = key.try_into().map(u64::from_be_bytes);
            let damaged = |problem| damaged(Family::Leases, key, problem);
            let number = number.map_err(|_| damaged("the key is no lease number".to_owned()))?;
            let lease = Lease::decode(number, value);
            leases.push(lease.map_err(|error: LeaseRecordError| damaged(error.to_string()))?);
            Ok(Walk::On)
        })?;
        Ok(leases)
    }

    /// Puts a lease into a batch: the codes it hands out are gone for good once the batch is on disk.
    pub fn put_lease(&self, batch: &mut WriteBatch, lease: &Lease, forgotten: Option<u64>) {
        batch.put_cf(self.family(Family::Leases), lease.number.to_be_bytes(), lease.encode());
        if let Some(number) = forgotten {
            batch.delete_cf(self.family(Family::Leases), number.to_be_bytes());
        }
        self.put_leased(batch, lease.serials.end, lease.number);
    }

    /// Reads the waiting codes that must not be leased.
    ///
    /// # Errors
    /// The database cannot be read or is damaged.
    pub fn skipped(&self) -> Result<Vec<Code7>, StoreError> {
        let mut codes = Vec::new();
        self.scan(Family::Skipped, &[], |key, _| {
            codes.push(code_of_key(Family::Skipped, key, key)?);
            Ok(Walk::On)
        })?;
        Ok(codes)
    }

    /// Notes in a batch that a waiting code must not be leased.
    pub fn put_skipped(&self, batch: &mut WriteBatch, code: Code7) {
        batch.put_cf(self.family(Family::Skipped), code_key(code), []);
    }

    /// Forgets in a batch that a code must not be leased, because it does not wait any more.
    pub fn delete_skipped(&self, batch: &mut WriteBatch, code: Code7) {
        batch.delete_cf(self.family(Family::Skipped), code_key(code));
    }

    /// Forgets all leases, in a batch.
    pub fn clear_leases(&self, batch: &mut WriteBatch) {
        self.clear(batch, Family::Leases);
    }

    /// Forgets all codes that must not be leased, in a batch: for when none of them waits any more.
    pub fn clear_skipped(&self, batch: &mut WriteBatch) {
        self.clear(batch, Family::Skipped);
    }

    /// Removes the whole stock in a batch.
    pub fn clear_stock(&self, batch: &mut WriteBatch) {
        self.clear(batch, Family::Stock);
    }

    /// Empties the quarantine in a batch.
    pub fn clear_quarantine(&self, batch: &mut WriteBatch) {
        self.clear(batch, Family::Quarantine);
    }

    /// Returns how many bytes the tables take on disk, logs not counted.
    pub fn table_bytes(&self) -> u64 {
        let of = |family| {
            let live = self.db.property_int_value_cf(self.family(family), "rocksdb.total-sst-files-size");
            live.ok().flatten().unwrap_or(0)
        };
        Family::ALL.into_iter().map(of).sum()
    }

    /// Writes everything from memory into tables and waits until the database has nothing left to tidy.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn settle(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Write { dir: self.dir.clone(), source };
        for family in Family::ALL {
            self.db.flush_cf(self.family(family)).map_err(failed)?;
        }
        self.db.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).map_err(failed)
    }

    /// Compacts everything: what the database comes to in the end, now.
    pub fn compact(&self) {
        for family in Family::ALL {
            self.db.compact_range_cf(self.family(family), None::<&[u8]>, None::<&[u8]>);
        }
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Shows every entry in hex, a line each.
    #[cfg(test)]
    pub(crate) fn dump(&self) -> String {
        let mut lines = String::new();
        for family in Family::ALL {
            let dumped = self.scan(family, &[], |key, value| {
                lines.push_str(&format!("{} {} {}\n", family.name(), hex(key), hex(value)));
                Ok(Walk::On)
            });
            dumped.expect("a test's database can be read");
        }
        lines
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("every family is opened with the database")
    }

    fn clear(&self, batch: &mut WriteBatch, family: Family) {
        // Above every key there is: none is longer than 15 bytes, and none of 15 begins like this.
        batch.delete_range_cf(self.family(family), &[][..], &[0xff; 16][..]);
    }

    /// Calls `visit` with every entry from `from` on, in the order of the keys, until it says stop.
    fn scan(
        &self,
        family: Family,
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<Walk, StoreError>,
    ) -> Result<(), StoreError> {
        let mut entries = self.db.raw_iterator_cf(self.family(family));
        entries.seek(from);
        while let Some((key, value)) = entries.item() {
            match visit(key, value)? {
                Walk::On => entries.next(),
                Walk::Stop => return Ok(()),
            }
        }
        entries.status().map_err(|source| StoreError::Read { family: family.name(), source })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // RocksDB's threads must be gone before the process's static destructors run.
        self.db.cancel_all_background_work(true);
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Whether a scan goes on.
enum Walk {
    On,
    Stop,
}

fn damaged(family: Family, key: &[u8], problem: impl Into<String>) -> StoreError {
    StoreError::Damaged { family: family.name(), key: key.to_owned(), problem: problem.into() }
}

fn damaged_set(key: &[u8], problem: Damaged) -> StoreError {
    damaged(Family::Taken, key, problem.to_string())
}

/// What a pool owns and where it stands, as the database says.
#[derive(Debug)]
pub struct Opened {
    /// The database.
    pub store: Store,
    /// Where it stands.
    pub meta: Meta,
    /// The slots that the database holds.
    pub slots: SlotSet,
}

/// A code as a key: big-endian, so that keys are in the order of codes.
fn code_key(code: Code7) -> [u8; CODE_BYTES] {
    let [_, _, key @ ..] = code.value().to_be_bytes();
    key
}

fn code_of_key(family: Family, key: &[u8], code: &[u8]) -> Result<Code7, StoreError> {
    let value = code
        .try_into()
        .map(|[a, b, c, d, e, f]: [u8; CODE_BYTES]| u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
    let code = value.ok().and_then(Code7::new);
    code.ok_or_else(|| damaged(family, key, "it is no code"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
