//! Sums and counts made anew from the rows: what the state is, beside what it should be.

use rocksdb::ReadOptions;

use super::state::SlotTotals;
use super::{MANAGE, Moment, SERVE, Store, StoreError};
use crate::key::StateKey;
use crate::slot::Slot;

/// How far RocksDB reads ahead of a scan.
const READ_AHEAD_BYTES: usize = 2 << 20;

/// Calls `each` with the rows of a table from key `from` up to but not including `until`, as of `moment`, until it returns false. Leaves
/// no trace in the block cache.
pub(crate) fn rows_of_table(
    store: &Store,
    moment: &Moment<'_>,
    table: &'static str,
    from: &[u8],
    until: Option<&[u8]>,
    mut each: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), StoreError> {
    let snapshot = match moment {
        Moment::Rocks(snapshot) => snapshot,
        #[cfg(feature = "simulation")]
        Moment::Simulated => {
            for row in store.rows(table, from, until, false) {
                let (key, value) = row?;
                if !each(&key, &value) {
                    break;
                }
            }
            return Ok(());
        }
    };
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_readahead_size(READ_AHEAD_BYTES);
    if let Some(until) = until {
        options.set_iterate_upper_bound(until);
    }
    let mut rows = snapshot.raw_iterator_cf_opt(store.table(table), options);
    rows.seek(from);
    while let Some((key, value)) = rows.item() {
        if !each(key, value) {
            return Ok(());
        }
        rows.next();
    }
    rows.status().map_err(|source| StoreError::Io { action: "read", source })
}

/// Totals of slots, of rows that were read.
#[derive(Clone, Debug)]
pub(crate) struct Recount(Box<[SlotTotals]>);

impl Default for Recount {
    fn default() -> Recount {
        Recount(vec![SlotTotals::default(); Slot::COUNT].into_boxed_slice())
    }
}

impl Recount {
    /// The totals of some slots, nothing in the others.
    pub(crate) fn of(slots: &[(Slot, SlotTotals)]) -> Recount {
        let mut recount = Recount::default();
        slots.iter().for_each(|(slot, totals)| recount.0[slot.index()] = *totals);
        recount
    }

    /// Counts a row; rows of tables that no sum covers count nothing.
    pub(crate) fn count(&mut self, table: &'static str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if table != SERVE && table != MANAGE {
            return Ok(());
        }
        let damaged = |_| StoreError::Damaged { what: "key", source: crate::DecodeError::invalid(0, "key") };
        let slot = StateKey::decode(key).map_err(damaged)?.slot();
        self.0[slot.index()].count(table, key, value);
        Ok(())
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn merge(&mut self, other: &Recount) {
        self.0.iter_mut().zip(&other.0).for_each(|(ours, theirs)| ours.add(theirs));
    }

    /// Returns the first slot in which the two differ, and how.
    pub(crate) fn first_difference(&self, other: &Recount) -> Option<(Slot, SlotTotals, SlotTotals)> {
        let mut pairs = self.0.iter().zip(&other.0).enumerate();
        let (slot, (ours, theirs)) = pairs.find(|(_, (ours, theirs))| ours != theirs)?;
        Some((Slot::new(slot as u16)?, *ours, *theirs))
    }
}
