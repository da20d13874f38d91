//! Making a pool out of a copy of another: a backup, a clone of a disk, a database whose log is damaged.
//!
//! What the copy believes to be unused, the original may have leased since. So every waiting code is burned, and the pool
//! gets an id of its own, with lease numbers from 1: an admin then takes its leases for those of the new pool that it is,
//! and refuses the original's if that should still run. Codes that the original generated after the copy was made are
//! unknown here until the admin, which meets the new id for the first time, tells the pool every code of its slots that is in use,
//! before it leases any; a code it could not tell of meets `never_used` in the log.

use std::path::Path;

use rocksdb::WriteBatch;

use super::SupplyError;
use crate::pool::PoolId;
use crate::store::{Head, OpenError, Opened};

/// What restoring did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restored {
    /// The id before.
    pub old_id: PoolId,
    /// The id from now on.
    pub new_id: PoolId,
    /// How many waiting codes will never be leased.
    pub burned: u64,
}

/// Gives the pool in `dir` a new id and burns everything unused. No daemon may run on it.
///
/// # Errors
/// There is no pool, it is in use, or its database is damaged beyond its log.
pub fn restore(dir: &Path) -> Result<Restored, SupplyError> {
    let Opened { store, meta, .. } = Opened::open_restored(dir)?;
    let new_id = PoolId::random().map_err(OpenError::Entropy)?;
    let mut batch = WriteBatch::default();
    store.put_pool_id(&mut batch, new_id);
    store.put_leased(&mut batch, meta.stocked, 0);
    store.clear_leases(&mut batch);
    store.clear_skipped(&mut batch);
    store.clear_quarantine(&mut batch);
    store.clear_stock(&mut batch);
    store.commit(batch)?;
    store
        .put_head(&Head { pool_id: new_id, leased: meta.stocked, last_lease_number: 0 })
        .map_err(OpenError::PutHead)?;
    // The damaged log is not needed any more once everything is in tables.
    store.settle()?;
    Ok(Restored { old_id: meta.pool_id, new_id, burned: meta.stocked - meta.leased })
}
