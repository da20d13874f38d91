//! Rows beside a journal of something else than links: what its owner derives from the entries.
//!
//! Invariant: rows are written only together with the journal's records, in one batch, so they are the state after exactly the records up
//! to the head. What a row means is not known here.

use std::sync::Arc;

use rocksdb::WriteBatch;

use super::tables::{FEW, POINTS};
use super::{Store, StoreError};

/// The tables there are for rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowTable {
    /// Many rows that are asked for one by one, in no order.
    Points,
    /// Few rows, read as a whole.
    Few,
}

impl RowTable {
    const fn name(self) -> &'static str {
        match self {
            RowTable::Points => POINTS,
            RowTable::Few => FEW,
        }
    }
}

/// Rows to be written with the next records.
pub struct Rows {
    store: Arc<Store>,
    batch: WriteBatch,
}

impl Rows {
    pub(crate) fn new(store: Arc<Store>) -> Rows {
        Rows { store, batch: WriteBatch::default() }
    }

    /// Sets a row.
    pub fn put(&mut self, table: RowTable, key: &[u8], value: &[u8]) {
        self.batch.put_cf(self.store.table(table.name()), key, value);
    }

    pub(crate) fn into_batch(self) -> WriteBatch {
        self.batch
    }
}

/// Reads rows while they are written. Cheap to clone; the database stays open as long as one exists.
#[derive(Clone)]
pub struct RowReader {
    store: Arc<Store>,
}

impl RowReader {
    pub(crate) fn new(store: Arc<Store>) -> RowReader {
        RowReader { store }
    }

    pub(crate) fn shared_store(&self) -> Arc<Store> {
        self.store.clone()
    }

    /// Returns the values of some keys, in their order, all of them as of one moment.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        table: RowTable,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        #[cfg(feature = "simulation")]
        if self.store.is_simulated() {
            let get = |key: K| Ok(self.store.get(table.name(), key.as_ref())?.map(|value| value.to_vec()));
            return keys.into_iter().map(get).collect();
        }
        let snapshot = self.store.db().snapshot();
        let table = self.store.table(table.name());
        let found = snapshot.multi_get_cf(keys.into_iter().map(|key| (table, key)));
        let failed = |source| StoreError::Io { action: "read", source };
        found.into_iter().map(|value| value.map_err(failed)).collect()
    }

    /// Calls `each` with every row of a table in the order of keys, until it returns false.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn scan(
        &self,
        table: RowTable,
        mut each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        for row in self.store.rows(table.name(), &[], None, false) {
            let (key, value) = row?;
            if !each(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}
