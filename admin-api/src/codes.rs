//! The stock of generated codes: leased from key pools in blocks, handed out one by one.
//!
//! Owned here:
//! - A code is handed out at most once by this process, and only from a lease that is on disk ([`store`]): after a restart the codes
//!   of a lease that the log has not seen are handed out again, those it has seen are not. The log is the cursor; nothing is burnt.
//! - A lease is continued only in the folder and the boot it was made in ([`origin`]): copies of a writer's folder share no codes.
//! - A lease belongs to the writer's epoch it was made in, and its number was never seen before from that pool.
//! - While a block lasts, no key pool is needed.
//!
//! The log has the last word all the same: a generated code is created with `never_used`, so even a code that two pools gave out by
//! mistake makes one link, not two. Only a code that was freed ([`reuse`]) is used a second time.
//!
//! - [`lease`]: a lease as it lies on disk · [`store`]: the directory of them · [`origin`]: whether they were made there · [`stock`]: what is left · [`pool`]: one key pool's
//!   client · [`refill`]: the task that keeps the stock up · [`mark`]: telling the pools about aliases that look like codes ·
//!   [`teach`]: telling a new pool what is in use · [`reuse`], [`release`]: codes of deleted links, if they may come back

pub mod lease;
pub mod mark;
pub mod origin;
pub mod pool;
pub mod refill;
pub mod release;
pub mod reuse;
pub mod stock;
pub mod store;
pub mod teach;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use linklog::store::{Reader, StoreError};
use linklog::{Code7, DomainId, Epoch, Key};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::clock;
use lease::Lease;
use reuse::Reuse;
use stock::Stock;
use store::LeaseStore;

/// How long a request waits for a lease that is on its way.
pub const WAIT_MAX: Duration = Duration::from_secs(2);

/// How the stock is kept up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodesOptions {
    /// How many codes a lease asks for.
    pub block: u32,
    /// Below how many codes left the next lease is asked for.
    pub low_watermark: usize,
    /// Whether codes of deleted links come back.
    pub reuse: Reuse,
}

/// Why the stock cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum CodesError {
    /// The directory of leases.
    #[error(transparent)]
    Files(#[from] io::Error),
    /// The log, which says what is used.
    #[error(transparent)]
    Log(#[from] StoreError),
}

/// The stock, shared; cheap to clone.
#[derive(Clone)]
pub struct Codes {
    stock: Arc<Stock>,
    changes: watch::Receiver<stock::Supply>,
}

impl Codes {
    /// Opens the directory of leases and takes in stock what the log has not seen of them. May take a moment: it asks the log about
    /// every code.
    ///
    /// # Errors
    /// The directory or the log cannot be read.
    pub fn open(
        dir: &Path,
        options: CodesOptions,
        epoch: Epoch,
        reader: &Reader,
        domains: &[DomainId],
    ) -> Result<(Codes, LeaseStore), CodesError> {
        let (mut store, leases) = LeaseStore::open(dir)?;
        let (stock, changes) = Stock::new(options.low_watermark);
        for lease in leases {
            let unused = if lease.epoch == epoch {
                unused_codes(&lease, reader, domains, options.reuse)?
            } else {
                Vec::new()
            };
            if unused.is_empty() {
                store.forget(lease.id())?;
            } else {
                tracing::info!(pool = %lease.pool, lease = lease.number, codes = unused.len(), "continuing a lease");
                stock.add(lease.id(), unused);
            }
        }
        Ok((Codes { stock: Arc::new(stock), changes }, store))
    }

    /// Takes `count` codes; fewer, or none, if they are not there and none can be expected soon.
    ///
    /// # Cancel safety
    /// Dropped while it waits, codes already taken are lost to this process; the next one finds them.
    pub async fn take(&self, count: usize) -> Vec<Code7> {
        let mut codes = self.stock.take(count);
        if codes.len() == count {
            return codes;
        }
        let deadline = Instant::now() + WAIT_MAX;
        let mut changes = self.changes.clone();
        loop {
            let supply = *changes.borrow_and_update();
            codes.extend(self.stock.take(count - codes.len()));
            if codes.len() == count || supply == stock::Supply::Down {
                return codes;
            }
            match timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return codes,
            }
        }
    }

    /// Gives back codes that were taken and not proposed to the log.
    pub fn give_back(&self, codes: impl IntoIterator<Item = Code7>) {
        self.stock.give_back(codes);
    }

    /// Says how many codes are left.
    pub fn left(&self) -> usize {
        self.stock.left()
    }

    /// Says whether the key pools answered when last asked.
    pub fn supply(&self) -> stock::Supply {
        *self.changes.borrow()
    }

    pub(crate) fn stock(&self) -> &Arc<Stock> {
        &self.stock
    }
}

fn unused_codes(
    lease: &Lease,
    reader: &Reader,
    domains: &[DomainId],
    reuse: Reuse,
) -> Result<Vec<Code7>, StoreError> {
    let now_ms = clock::now_ms();
    let mut unused = Vec::with_capacity(lease.codes.len());
    'codes: for code in &lease.codes {
        for domain in domains {
            let key = Key::new(*domain, code.to_code()).encode();
            let is_used = reader.serve_value(&key, |value| value.is_some())?;
            // One that has come back is used only when somebody has taken its mark away.
            if is_used && reuse.take(reader, *domain, *code, now_ms)?.is_none() {
                continue 'codes;
            }
        }
        unused.push(*code);
    }
    Ok(unused)
}
