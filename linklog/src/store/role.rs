//! What a full log is to its owner: followed, or written.
//!
//! Two rows of `meta` say it, written in the same batch as what makes it so. A log that follows another writer must not be written to
//! by accident, which would use positions twice; one that was promoted must not go back to following by an old line of configuration.

use rocksdb::WriteBatch;

use super::{META, Store, StoreError};
use crate::codec::Cursor;
use crate::position::Epoch;

/// There: the log follows another writer.
const FOLLOWING: &[u8] = b"following";
/// u32: the epoch this log was promoted to write.
const PROMOTED: &[u8] = b"promoted";

/// Says whether the log follows another writer.
pub(crate) fn is_following(store: &Store) -> Result<bool, StoreError> {
    Ok(store.get(META, FOLLOWING)?.is_some())
}

/// Returns the epoch the log was promoted to write; 0 if it never was.
pub(crate) fn promoted(store: &Store) -> Result<Epoch, StoreError> {
    let Some(bytes) = store.get(META, PROMOTED)? else { return Ok(Epoch(0)) };
    let epoch = Cursor::new(&bytes).u32("promoted epoch");
    epoch.map(Epoch).map_err(|source| StoreError::Damaged { what: "promoted epoch", source })
}

/// From now on the log follows another writer; durable when this returns.
pub(crate) fn follow(store: &Store) -> Result<(), StoreError> {
    if is_following(store)? {
        return Ok(());
    }
    let mut batch = WriteBatch::default();
    batch.put_cf(store.table(META), FOLLOWING, [1]);
    store.write(batch, true)
}

/// Puts into `batch` that this log is written from `epoch` on.
pub(crate) fn promote(store: &Store, batch: &mut WriteBatch, epoch: Epoch) {
    batch.delete_cf(store.table(META), FOLLOWING);
    batch.put_cf(store.table(META), PROMOTED, epoch.0.to_le_bytes());
}
