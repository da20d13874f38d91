//! What snapshots are made from: any open database, while it is written.

use std::sync::Arc;

use crate::store::{Contents, Reader, RowReader, Store, StoreError, tables_of};

/// A database that snapshots can be made from. Cheap to clone; the database stays open as long as one exists.
#[derive(Clone)]
pub struct Source {
    pub(super) store: Arc<Store>,
}

impl From<&Reader> for Source {
    fn from(reader: &Reader) -> Source {
        Source { store: reader.shared_store() }
    }
}

impl From<&RowReader> for Source {
    fn from(rows: &RowReader) -> Source {
        Source { store: rows.shared_store() }
    }
}

impl Source {
    /// Returns how many bytes a snapshot of the given contents would have, roughly.
    ///
    /// # Errors
    /// If the database fails.
    pub fn estimate_bytes(&self, contents: Contents) -> Result<u64, StoreError> {
        let there = tables_of(contents).filter(|table| self.store.has_table(table));
        there.map(|table| self.store.live_bytes(table)).sum()
    }

    /// Returns what the database holds.
    pub fn contents(&self) -> Contents {
        self.store.contents()
    }
}
