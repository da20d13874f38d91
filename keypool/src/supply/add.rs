//! Adding codes: drawn at random, refused if ever taken, put at the end of the stock.
//!
//! A batch is sorted once and walked through the set of taken codes, which costs much less a code than asking for each;
//! the codes go into the stock in the order in which they were drawn, so what is leased next says nothing about what
//! follows it. Everything is written in slices so short that a lease in between hardly waits for one.
//!
//! First all codes go into the set, then into the stock: after a crash in between they are burned. Only the end of a batch
//! is fsynced; a lease that comes earlier fsyncs what it takes.

use std::collections::{HashMap, HashSet};

use linklog::Code7;
use parking_lot::MutexGuard;
use rocksdb::WriteBatch;

use super::{Adding, Stopped, Supply};
use crate::codeset::Place;
use crate::generate::{Entropy, GenerateError};
use crate::store::{BLOCK_CODES, StoreError};

/// Most codes of one batch: some 40 MB of memory. The larger, the fewer walks through the set.
pub const BATCH_CODES_MAX: usize = 1 << 20;
/// Most bytes written at once to the set.
const SLICE_BYTES: usize = 32 << 10;
/// Most codes written at once to the stock: 48 KiB.
const SLICE_CODES: usize = 2 * BLOCK_CODES;

/// What a batch came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Added {
    /// Codes that wait now, those returned from quarantine included.
    pub stocked: u64,
    /// Drawn codes that had been taken before, or were drawn twice.
    pub refused: u64,
    /// Drawn codes that the blocklist forbids.
    pub forbidden: u64,
    /// Codes that came back from quarantine.
    pub returned: u64,
}

/// Why codes were not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// They could not be drawn.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// An earlier write failed.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Supply {
    /// Adds `count` codes, at most [`BATCH_CODES_MAX`]; a few less if some of them were taken before. `now_ms` is the time
    /// since 1970: codes whose quarantine is over by then are among them.
    ///
    /// # Errors
    /// No randomness, a blocklist that leaves nothing, or the database fails.
    pub fn add(&self, count: usize, now_ms: u64, entropy: &mut impl Entropy) -> Result<Added, AddError> {
        let mut adding = self.adding.lock();
        self.running()?;
        let added = self.add_batch(&mut adding, count.min(BATCH_CODES_MAX), now_ms, entropy);
        self.settle(&adding);
        // Whoever waits for the lock to mark or release codes comes before the next batch.
        MutexGuard::unlock_fair(adding);
        let added = added?;
        self.metrics.added(&added);
        Ok(added)
    }

    fn add_batch(
        &self,
        adding: &mut Adding,
        count: usize,
        now_ms: u64,
        entropy: &mut impl Entropy,
    ) -> Result<Added, AddError> {
        let returning = self.returning(count / 2, now_ms)?;
        let drawn = adding.generator.draw(count - returning.len(), &self.blocklist, entropy)?;
        let (forbidden, mut codes) = (drawn.forbidden, drawn.codes);
        let refused = self.take(adding, &codes)?;
        codes.retain(|code| !refused.contains(code));
        mix_in(returning.keys().copied(), &mut codes, entropy)?;
        self.put_in_stock(&codes, &returning)?;
        self.drop_leased(adding)?;
        self.sync()?;
        Ok(Added {
            stocked: codes.len() as u64,
            refused: refused.len() as u64,
            forbidden,
            returned: returning.len() as u64,
        })
    }

    /// Finds the codes whose quarantine is over, each with the time at which it was.
    fn returning(&self, most: usize, now_ms: u64) -> Result<HashMap<Code7, u64>, StoreError> {
        let over =
            if self.quarantine_ms.is_some() { self.store.quarantine_over(now_ms, most)? } else { vec![] };
        Ok(over.into_iter().collect())
    }

    /// Adds codes to the set of the taken; returns those that were in it already, or are there twice.
    pub(super) fn take(&self, adding: &mut Adding, codes: &[Code7]) -> Result<HashSet<Code7>, StoreError> {
        let mut places: Vec<Place> = codes.iter().map(|code| Place::of(*code)).collect();
        places.sort_unstable();
        let mut refused: Vec<Place> = Vec::new();
        refused.extend(places.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]));
        if !refused.is_empty() {
            places.retain(|place| refused.binary_search(place).is_err());
        }
        self.take_places(adding, &places, &mut refused)?;
        Ok(refused.into_iter().map(Place::code).collect())
    }

    /// Adds places (rising, each once) to the set; those that are in it already go to `refused`. To be fsynced by the
    /// caller before anybody is told.
    pub(super) fn take_places(
        &self,
        adding: &mut Adding,
        places: &[Place],
        refused: &mut Vec<Place>,
    ) -> Result<(), StoreError> {
        let mut sweep = self.store.sweep_taken();
        let mut batch = WriteBatch::default();
        let mut taken = adding.taken;
        for bucket in places.chunk_by(|a, b| a.bucket() == b.bucket()) {
            taken += sweep.take(bucket, &mut batch, refused)? as u64;
            if batch.size_in_bytes() >= SLICE_BYTES {
                self.append_taken(adding, std::mem::take(&mut batch), taken)?;
            }
        }
        if taken > adding.taken { self.append_taken(adding, batch, taken) } else { Ok(()) }
    }

    fn append_taken(&self, adding: &mut Adding, mut batch: WriteBatch, taken: u64) -> Result<(), StoreError> {
        self.store.put_taken_count(&mut batch, taken);
        self.append(batch)?;
        adding.taken = taken;
        Ok(())
    }

    fn put_in_stock(&self, codes: &[Code7], returning: &HashMap<Code7, u64>) -> Result<(), StoreError> {
        for slice in codes.chunks(SLICE_CODES) {
            let mut batch = WriteBatch::default();
            let start = self.pool.lock().waiting().end;
            let end = self.store.put_stock(&mut batch, start, slice);
            self.store.put_stocked(&mut batch, end);
            let mut new = slice.len() as u64;
            if !returning.is_empty() {
                for (code, until_ms) in slice.iter().filter_map(|code| returning.get_key_value(code)) {
                    self.store.delete_quarantined(&mut batch, *code, *until_ms);
                    new -= 1;
                }
            }
            self.append(batch)?;
            let mut pool = self.pool.lock();
            pool.apply_stocked(end, new);
            self.metrics.show(&pool);
        }
        Ok(())
    }

    /// Removes from the database what was leased long ago.
    fn drop_leased(&self, adding: &mut Adding) -> Result<(), StoreError> {
        let below = {
            let mut pool = self.pool.lock();
            let below = pool.droppable_below();
            pool.apply_dropping(below);
            below
        };
        let mut batch = WriteBatch::default();
        let left_from = self.store.drop_stock(&mut batch, adding.stock_start, below)?;
        if left_from > adding.stock_start {
            self.append(batch)?;
            adding.stock_start = left_from;
        }
        Ok(())
    }
}

/// Puts codes at random places among others: who remembers that a code was released must not know what is leased next
/// to it.
fn mix_in(
    returning: impl IntoIterator<Item = Code7>,
    codes: &mut Vec<Code7>,
    entropy: &mut impl Entropy,
) -> Result<(), GenerateError> {
    for code in returning {
        let mut random = [0; 8];
        entropy.fill(&mut random)?;
        codes.push(code);
        // The bias of the remainder is below 2^-43.
        let place = (u64::from_le_bytes(random) % codes.len() as u64) as usize;
        let last = codes.len() - 1;
        codes.swap(place, last);
    }
    Ok(())
}
