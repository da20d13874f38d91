//! Leasing: the oldest waiting codes become used, durably, and only then are handed out.

use std::time::Instant;

use linklog::Code7;
use rocksdb::WriteBatch;

use super::{Stopped, Supply};
use crate::pool::{Answer, Lease, LeaseRequest, Pool, PoolId};
use crate::store::StoreError;

/// Codes that now belong to an admin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leased {
    /// Which pool they are from.
    pub pool_id: PoolId,
    /// 1, 2, 3 … per pool id.
    pub lease_number: u64,
    /// In the order in which they were generated.
    pub codes: Vec<Code7>,
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Nothing waits; generating goes on.
    #[error("no unused code waits at the moment")]
    Empty,
    /// The request id belongs to somebody else.
    #[error(
        "this request id was used by another holder or in another epoch; a request id is 16 random bytes"
    )]
    Stolen,
    /// An earlier write failed.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Supply {
    /// Leases up to `request.count` codes; the same request id gets the same codes.
    ///
    /// # Errors
    /// Nothing waits, the request id is not the caller's, or the database fails.
    pub fn lease(&self, request: &LeaseRequest) -> Result<Leased, LeaseError> {
        let asked_at = Instant::now();
        let mut pool = self.pool.lock();
        self.running()?;
        let leased = match pool.answer(request) {
            Answer::Repeat(lease) => self.repeat(&pool, &lease)?,
            Answer::Next => self.next(&mut pool, request)?,
            Answer::Empty => return Err(LeaseError::Empty),
            Answer::Stolen => return Err(LeaseError::Stolen),
        };
        if pool.unused() < self.low_watermark {
            self.bell.ring();
        }
        self.metrics.leased(leased.codes.len(), &pool, asked_at);
        Ok(leased)
    }

    fn repeat(&self, pool: &Pool, lease: &Lease) -> Result<Leased, StoreError> {
        let mut stock = self.store.stock(lease.serials.clone());
        let codes: Vec<Code7> = stock.by_ref().collect();
        stock.finish()?;
        Ok(Leased { pool_id: pool.id, lease_number: lease.number, codes: lease.codes_of(&codes) })
    }

    fn next(&self, pool: &mut Pool, request: &LeaseRequest) -> Result<Leased, LeaseError> {
        let mut stock = self.store.stock(pool.waiting());
        // Asked again here: the operator may have added words since the codes were generated.
        let picked = pool.pick(request, stock.by_ref(), |code| self.blocklist.forbids(code));
        stock.finish()?;
        let picked = picked.ok_or(LeaseError::Empty)?;
        let mut batch = WriteBatch::default();
        self.store.put_lease(&mut batch, &picked.lease, pool.forgotten_next());
        for code in &picked.passed_over {
            self.store.delete_skipped(&mut batch, *code);
        }
        self.commit(batch)?;
        pool.apply_lease(&picked);
        Ok(Leased { pool_id: pool.id, lease_number: picked.lease.number, codes: picked.codes })
    }
}
