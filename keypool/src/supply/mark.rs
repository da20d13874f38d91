//! Marking: codes that came into use without a lease, as aliases do, never leave this pool.

use std::collections::HashSet;

use linklog::Code7;
use rocksdb::WriteBatch;

use super::{Adding, Stopped, Supply};
use crate::codeset::Place;
use crate::slots::SlotSet;
use crate::store::StoreError;

/// Why codes were not marked. Some of them may be; marking again is harmless.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// One of them is another pool's; then none is marked.
    #[error("the code {code} lies in slot {}, which this pool does not own: it owns {held}", code.pool_slot())]
    NotHeld {
        /// Which.
        code: Code7,
        /// What this pool owns.
        held: SlotSet,
    },
    /// An earlier write failed.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Supply {
    /// Marks codes as used; returns how many of them were not used before.
    ///
    /// # Errors
    /// One of them is not of this pool's slots, or the database fails.
    pub fn mark_used(&self, codes: &[Code7]) -> Result<u32, MarkError> {
        if let Some(code) = codes.iter().find(|code| !self.slots.contains(code.pool_slot())) {
            return Err(MarkError::NotHeld { code: *code, held: self.slots.clone() });
        }
        let mut places: Vec<Place> = codes.iter().map(|code| Place::of(*code)).collect();
        places.sort_unstable();
        places.dedup();
        let mut adding = self.adding.lock();
        self.running()?;
        let marked = self.mark_places(&mut adding, &places);
        self.settle(&adding);
        let marked = marked?;
        self.metrics.marked(marked);
        Ok(marked as u32)
    }

    fn mark_places(&self, adding: &mut Adding, places: &[Place]) -> Result<usize, StoreError> {
        let mut known = Vec::new();
        self.take_places(adding, places, &mut known)?;
        let new = places.len() - known.len();
        if new > 0 {
            self.sync()?;
        }
        let known: HashSet<Code7> = known.into_iter().map(Place::code).collect();
        Ok(new + self.end_quarantine(&known)? + self.skip_waiting(adding, &known)?)
    }

    /// Takes codes out of quarantine, so that they do not return; returns how many were in it.
    fn end_quarantine(&self, codes: &HashSet<Code7>) -> Result<usize, StoreError> {
        let mut batch = WriteBatch::default();
        let mut ended = 0;
        for code in codes {
            if let Some(until_ms) = self.store.quarantined_until(*code)? {
                self.store.delete_quarantined(&mut batch, *code, until_ms);
                ended += 1;
            }
        }
        if ended > 0 {
            self.commit(batch)?;
        }
        Ok(ended)
    }

    /// Keeps those of the codes that wait from being leased; returns how many that were.
    fn skip_waiting(&self, adding: &Adding, codes: &HashSet<Code7>) -> Result<usize, StoreError> {
        let found = self.find_waiting(adding, codes)?;
        if found.is_empty() {
            return Ok(0);
        }
        // From here no lease can pass: what still waits now is either leased before or never.
        let mut pool = self.pool.lock();
        let waiting = pool.waiting();
        let still = |(serial, code): &(u64, Code7)| waiting.contains(serial) && !pool.is_skipped(*code);
        let skipped: Vec<Code7> = found.into_iter().filter(still).map(|(_, code)| code).collect();
        let mut batch = WriteBatch::default();
        for code in &skipped {
            self.store.put_skipped(&mut batch, *code);
        }
        if !skipped.is_empty() {
            self.commit(batch)?;
        }
        pool.apply_skipped(skipped.iter().copied());
        Ok(skipped.len())
    }
}
