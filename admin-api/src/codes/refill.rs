//! The task that keeps the stock up: whenever it falls below the watermark, the next lease comes from whichever pool answers.

use std::sync::Arc;
use std::time::Duration;

use linklog::Epoch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::pool::Pool;
use super::stock::Stock;
use super::store::LeaseStore;
use super::{Codes, CodesOptions, teach};
use crate::log::Log;
use crate::metrics::Metrics;

/// How often the task looks without being called, to remove what is used up.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the task works with.
pub struct Refill {
    /// What it keeps up.
    pub codes: Codes,
    /// Where leases lie.
    pub store: LeaseStore,
    /// What is in use, for pools that do not know.
    pub log: Log,
    /// From whom.
    pub pools: Arc<[Pool]>,
    /// How much.
    pub options: CodesOptions,
    /// For whom.
    pub epoch: Epoch,
    /// Who counts.
    pub metrics: Metrics,
}

impl Refill {
    /// Works until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let stock = self.codes.stock().clone();
        let mut preferred = 0;
        while !stop.is_cancelled() {
            self.forget_finished(&stock);
            if stock.is_low() {
                match stop.run_until_cancelled(self.lease(preferred)).await {
                    None => return,
                    Some(Ok((pool, lease))) => {
                        preferred = pool;
                        stock.add(lease.id(), lease.codes);
                        continue;
                    }
                    Some(Err(next_try)) => {
                        stock.set_down();
                        stop.run_until_cancelled(sleep_until(next_try)).await;
                        continue;
                    }
                }
            }
            let calm = tokio::time::timeout(LOOK_EVERY, stock.wanted());
            stop.run_until_cancelled(calm).await;
        }
    }

    /// Asks the pools in turn; fails with when to try again.
    async fn lease(&mut self, preferred: usize) -> Result<(usize, Lease), Instant> {
        let count = self.pools.len();
        for index in (0..count).map(|step| (preferred + step) % count) {
            let pools = self.pools.clone();
            let pool = &pools[index];
            if pool.not_before().is_some() {
                continue;
            }
            match self.lease_from(pool, &pools).await {
                Ok(lease) => {
                    if pool.answered() {
                        tracing::info!(keypool = pool.url(), "key pool answers again");
                    }
                    self.metrics.leases.inc();
                    return Ok((index, lease));
                }
                Err(error) => {
                    self.metrics.lease_failures.inc();
                    if pool.failed() {
                        tracing::warn!(
                            keypool = pool.url(),
                            error,
                            left = self.codes.left(),
                            "no lease from this key pool"
                        );
                    }
                }
            }
        }
        let next = self.pools.iter().map(|pool| pool.not_before().unwrap_or_else(Instant::now)).min();
        Err(next.unwrap_or_else(|| Instant::now() + LOOK_EVERY))
    }

    async fn lease_from(&mut self, pool: &Pool, others: &[Pool]) -> Result<Lease, String> {
        let description = pool.described(others).await.map_err(|error| error.to_string())?;
        if !self.store.knows(description.id) {
            let stock = self.codes.stock().codes();
            let told = teach::tell_all(&self.log, pool, &description, stock).await;
            told.map_err(|error| error.to_string())?;
            tokio::task::block_in_place(|| self.store.meet(description.id))
                .map_err(|error| error.to_string())?;
        }
        let lease =
            pool.lease(self.epoch, self.options.block, others).await.map_err(|error| error.to_string())?;
        // A few hundred microseconds of fsync on a thread of the runtime: rare, and the next lease cannot begin before it anyway.
        tokio::task::block_in_place(|| self.store.keep(&lease)).map_err(|error| error.to_string())?;
        Ok(lease)
    }

    fn forget_finished(&mut self, stock: &Stock) {
        for lease in stock.finished() {
            if let Err(error) = self.store.forget(lease) {
                tracing::warn!(%error, "could not remove a lease that is used up");
            }
        }
    }
}
