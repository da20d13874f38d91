//! What snapshots are made from: any open database, while it is written.

use std::sync::Arc;

use crate::store::{Contents, Reader, RowReader, Store};

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
    /// Returns what the database holds.
    pub fn contents(&self) -> Contents {
        self.store.contents()
    }
}
