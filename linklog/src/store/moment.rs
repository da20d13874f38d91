//! A database as it is at one moment, while it goes on being written.

use rocksdb::{DB, SnapshotWithThreadMode};

use super::{Engine, Store, StoreError, Value};

/// A database as it is at one moment, while it goes on being written.
pub(crate) enum Moment<'a> {
    Rocks(SnapshotWithThreadMode<'a, DB>),
    /// Nobody writes between two reads.
    #[cfg(feature = "simulation")]
    Simulated,
}

impl Store {
    /// Holds on to what there is now.
    pub(crate) fn moment(&self) -> Moment<'_> {
        match &self.engine {
            Engine::Rocks(db) => Moment::Rocks(db.snapshot()),
            #[cfg(feature = "simulation")]
            Engine::Simulated(_) => Moment::Simulated,
        }
    }

    /// Reads a key as it was at a moment.
    pub(crate) fn get_at<'a>(
        &'a self,
        moment: &'a Moment<'_>,
        table: &'static str,
        key: &[u8],
    ) -> Result<Option<Value<'a>>, StoreError> {
        match moment {
            Moment::Rocks(snapshot) => {
                let read = snapshot.get_pinned_cf(self.table(table), key);
                let read = read.map(|value| value.map(Value::Pinned));
                read.map_err(|source| StoreError::Io { action: "read", source })
            }
            #[cfg(feature = "simulation")]
            Moment::Simulated => self.get(table, key),
        }
    }
}
