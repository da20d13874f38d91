//! Releasing: codes whose links are gone return after a quarantine, if the operator wants that at all.

use std::collections::HashSet;

use linklog::Code7;
use rocksdb::WriteBatch;

use super::{Stopped, Supply};
use crate::codeset::Place;
use crate::store::StoreError;

/// What became of released codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Released {
    /// In quarantine from now on.
    pub quarantined: u32,
    /// Unknown, not used, in quarantine already, or releasing is off.
    pub ignored: u32,
}

/// Why codes were not released. Some of them may be; releasing again is harmless.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// An earlier write failed.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Supply {
    /// Puts used codes into quarantine, from `now_ms` (since 1970) on.
    ///
    /// # Errors
    /// The database fails.
    pub fn release(&self, codes: &[Code7], now_ms: u64) -> Result<Released, ReleaseError> {
        let ignored = |quarantined: usize| (codes.len() - quarantined) as u32;
        let Some(quarantine_ms) = self.quarantine_ms else {
            return Ok(Released { quarantined: 0, ignored: ignored(0) });
        };
        let mut places: Vec<Place> = codes.iter().map(|code| Place::of(*code)).collect();
        places.sort_unstable();
        places.dedup();
        let adding = self.adding.lock();
        self.running()?;
        let mut used = Vec::new();
        self.store.sweep_taken().find(&places, &mut used)?;
        let mut used: HashSet<Code7> = used.into_iter().map(Place::code).collect();
        for (_, code) in self.find_waiting(&adding, &used)? {
            used.remove(&code);
        }
        let mut batch = WriteBatch::default();
        let mut quarantined = 0;
        for code in used {
            if self.store.quarantined_until(code)?.is_none() {
                self.store.put_quarantined(&mut batch, code, now_ms.saturating_add(quarantine_ms));
                quarantined += 1;
            }
        }
        if quarantined > 0 {
            self.commit(batch)?;
        }
        self.metrics.released(quarantined);
        Ok(Released { quarantined: quarantined as u32, ignored: ignored(quarantined) })
    }
}
