//! The state of keys, changed in one batch: values, slot sums, the order of creation and the index.
//!
//! The writer and every replica go through [`StateBatch`]; what differs is only which of the two bodies they have. A batch sees
//! its own earlier changes, touches nothing until [`StateBatch::finish`], and can be dropped without a trace.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use rocksdb::WriteBatch;

use super::{CREATED, INDEX, MANAGE, META, SERVE, Store, StoreError, index};
use crate::codec::{Cursor, value};
use crate::digest::SlotSum;
use crate::key::{StateKey, Visibility};
use crate::position::Position;
use crate::slot::Slot;
use crate::stamp::Stamp;

/// Sums and counts over one slot's state, or over all slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SlotTotals {
    pub serve: SlotSum,
    pub manage: SlotSum,
    pub serve_entries: u64,
    pub manage_entries: u64,
}

impl SlotTotals {
    pub(crate) fn add(&mut self, other: &SlotTotals) {
        self.serve.merge(other.serve);
        self.manage.merge(other.manage);
        self.serve_entries += other.serve_entries;
        self.manage_entries += other.manage_entries;
    }

    fn subtract(&mut self, other: &SlotTotals) {
        self.serve.unmerge(other.serve);
        self.manage.unmerge(other.manage);
        self.serve_entries -= other.serve_entries;
        self.manage_entries -= other.manage_entries;
    }

    pub(crate) fn encode(&self) -> [u8; 48] {
        let mut bytes = [0u8; 48];
        bytes[..16].copy_from_slice(&self.serve.to_bytes());
        bytes[16..32].copy_from_slice(&self.manage.to_bytes());
        bytes[32..40].copy_from_slice(&self.serve_entries.to_le_bytes());
        bytes[40..].copy_from_slice(&self.manage_entries.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SlotTotals, crate::DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let totals = SlotTotals {
            serve: SlotSum::from_bytes(cursor.array("serve sum")?),
            manage: SlotSum::from_bytes(cursor.array("manage sum")?),
            serve_entries: cursor.u64("serve entries")?,
            manage_entries: cursor.u64("manage entries")?,
        };
        cursor.finish("slot totals")?;
        Ok(totals)
    }

    /// Counts a row of the served or the managed state.
    pub(crate) fn count(&mut self, table: &'static str, key: &[u8], value: &[u8]) {
        self.replace(table, key, None, value);
    }

    fn replace(&mut self, table: &'static str, key: &[u8], old: Option<&[u8]>, new: &[u8]) {
        let (sum, entries) = match table {
            SERVE => (&mut self.serve, &mut self.serve_entries),
            _ => (&mut self.manage, &mut self.manage_entries),
        };
        match old {
            Some(old) => sum.subtract(key, old),
            None => *entries += 1,
        }
        sum.add(key, new);
    }
}

/// The totals of every slot, in memory, as of the last committed batch.
pub(crate) struct SumTable {
    slots: Box<[SlotTotals]>,
    total: SlotTotals,
}

impl SumTable {
    pub(crate) fn load(store: &Store) -> Result<SumTable, StoreError> {
        let mut slots = vec![SlotTotals::default(); Slot::COUNT].into_boxed_slice();
        let keys: Vec<_> = (0..Slot::COUNT as u16).map(slot_row).collect();
        for (slot, row) in slots.iter_mut().zip(store.get_many(META, &keys, true)?) {
            if let Some(bytes) = row {
                *slot = SlotTotals::decode(&bytes)
                    .map_err(|source| StoreError::Damaged { what: "slot sum", source })?;
            }
        }
        let mut total = SlotTotals::default();
        slots.iter().for_each(|slot| total.add(slot));
        Ok(SumTable { slots, total })
    }

    /// Returns the totals over all slots.
    pub(crate) const fn total(&self) -> SlotTotals {
        self.total
    }

    pub(crate) fn get(&self, slot: Slot) -> SlotTotals {
        self.slots[slot.index()]
    }

    /// Takes over what a written batch changed.
    pub(crate) fn commit(&mut self, touched: TouchedSlots) {
        for (slot, totals) in touched.0 {
            self.total.subtract(&self.slots[slot.index()]);
            self.total.add(&totals);
            self.slots[slot.index()] = totals;
        }
    }
}

/// The key of a slot's totals in the `meta` table.
pub(crate) fn slot_row(slot: u16) -> [u8; 3] {
    let [high, low] = slot.to_be_bytes();
    [b's', high, low]
}

/// New totals of the slots a batch changed, for [`SumTable::commit`] after the write.
#[must_use]
pub(crate) struct TouchedSlots(HashMap<Slot, SlotTotals>);

/// A key's values in both tables, as they are after what the batch has done so far.
#[derive(Default)]
struct Values {
    serve: Option<Vec<u8>>,
    manage: Option<Vec<u8>>,
    /// Whether the batch has changed them.
    changed: bool,
}

/// Changes of state on their way into one write.
pub(crate) struct StateBatch<'a> {
    store: &'a Store,
    sums: &'a SumTable,
    full: bool,
    values: HashMap<Vec<u8>, Values>,
    touched: HashMap<Slot, SlotTotals>,
    /// Rows of the index by age; false takes the row out.
    by_age: BTreeMap<Vec<u8>, bool>,
    /// Rows of the index links are found by; false takes the row out.
    index: BTreeMap<Vec<u8>, bool>,
    pub(crate) batch: WriteBatch,
}

/// The bodies of a put.
#[derive(Clone, Copy)]
pub(crate) struct Bodies<'a> {
    pub serve: &'a [u8],
    pub manage: &'a [u8],
}

impl<'a> StateBatch<'a> {
    pub(crate) fn new(store: &'a Store, sums: &'a SumTable) -> StateBatch<'a> {
        StateBatch {
            store,
            sums,
            full: store.has_table(MANAGE),
            values: HashMap::new(),
            touched: HashMap::new(),
            by_age: BTreeMap::new(),
            index: BTreeMap::new(),
            batch: WriteBatch::default(),
        }
    }

    /// Returns what the key looks like after everything done in this batch so far.
    pub(crate) fn stamp(&mut self, key: &[u8], visibility: Visibility) -> Result<Option<Stamp>, StoreError> {
        let values = self.load(key, visibility)?;
        let value = match visibility {
            Visibility::Served => &values.serve,
            Visibility::ManageOnly => &values.manage,
        };
        let Some(value) = value else { return Ok(None) };
        let (stamp, _) =
            value::split(value).map_err(|source| StoreError::Damaged { what: "value", source })?;
        Ok(Some(stamp))
    }

    fn load(&mut self, key: &[u8], visibility: Visibility) -> Result<&mut Values, StoreError> {
        match self.values.entry(key.to_vec()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let mut values = Values::default();
                if visibility == Visibility::Served {
                    values.serve = self.store.get(SERVE, key)?.map(|value| value.to_vec());
                }
                // A key that was never served has no managed value either: half the reads of a create.
                let may_exist = visibility == Visibility::ManageOnly || values.serve.is_some();
                if self.full && may_exist {
                    values.manage = self.store.get(MANAGE, key)?.map(|value| value.to_vec());
                }
                Ok(new.insert(values))
            }
        }
    }

    /// Gives a key its new stamp and, if it lives, bodies; `at` is the record that does it.
    pub(crate) fn set(
        &mut self,
        key: &StateKey,
        encoded: &[u8],
        at: Position,
        stamp: &Stamp,
        bodies: Bodies<'_>,
    ) -> Result<(), StoreError> {
        let visibility = key.visibility();
        let slot = key.slot();
        if !self.values.contains_key(encoded) {
            self.load(encoded, visibility)?;
        }
        let values = self.values.get_mut(encoded).expect("loaded above");
        let old = (values.serve.clone(), values.manage.clone());
        let totals = self.touched.entry(slot).or_insert_with(|| self.sums.get(slot));
        let tables: &[(&'static str, &[u8])] = match (visibility, self.full) {
            (Visibility::Served, true) => &[(SERVE, bodies.serve), (MANAGE, bodies.manage)],
            (Visibility::Served, false) => &[(SERVE, bodies.serve)],
            (Visibility::ManageOnly, _) => &[(MANAGE, bodies.manage)],
        };
        for (table, body) in tables {
            let place = if *table == SERVE { &mut values.serve } else { &mut values.manage };
            let mut new = Vec::with_capacity(24 + body.len());
            value::write(&mut new, stamp, body);
            totals.replace(table, encoded, place.as_deref(), &new);
            *place = Some(new);
        }
        values.changed = true;
        if let (true, StateKey::Link(link)) = (self.full, key) {
            let old = index::Pair { serve: old.0.as_deref(), manage: old.1.as_deref() };
            let new = index::Pair { serve: values.serve.as_deref(), manage: values.manage.as_deref() };
            index::note(&mut self.index, link, encoded, old, new)?;
            if stamp.created != at {
                index::note_change(&mut self.index, encoded, at);
            }
        }
        if self.full && matches!(key, StateKey::Link(_)) && (!stamp.live || stamp.created == at) {
            let mut row = Vec::with_capacity(8 + encoded.len());
            row.extend_from_slice(&stamp.created.seq.0.to_be_bytes());
            row.extend_from_slice(encoded);
            self.by_age.insert(row, stamp.live);
        }
        Ok(())
    }

    /// Writes the final values and the touched sums into the batch and gives it up, with the keys it changed.
    ///
    /// Every table is written in key order: a memtable inserts a rising run at half the cost of scattered keys.
    pub(crate) fn finish(mut self) -> (WriteBatch, TouchedSlots, Vec<ChangedKey>) {
        let mut changed: Vec<_> = self.values.into_iter().filter(|(_, values)| values.changed).collect();
        changed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let serve = self.store.table(SERVE);
        for (key, values) in &changed {
            if let Some(value) = &values.serve {
                self.batch.put_cf(serve, key, value);
            }
        }
        if self.full {
            let (manage, created) = (self.store.table(MANAGE), self.store.table(CREATED));
            let index = self.store.table(INDEX);
            for (key, values) in &changed {
                if let Some(value) = &values.manage {
                    self.batch.put_cf(manage, key, value);
                }
            }
            for (table, rows) in [(created, &self.by_age), (index, &self.index)] {
                for (row, live) in rows {
                    match live {
                        true => self.batch.put_cf(table, row, []),
                        false => self.batch.delete_cf(table, row),
                    }
                }
            }
        }
        let meta = self.store.table(META);
        let mut touched: Vec<_> = self.touched.iter().collect();
        touched.sort_unstable_by_key(|(slot, _)| **slot);
        for (slot, totals) in touched {
            self.batch.put_cf(meta, slot_row(slot.number()), totals.encode());
        }
        let changed = changed.into_iter().map(|(key, values)| ChangedKey { key, serve_value: values.serve });
        (self.batch, TouchedSlots(self.touched), changed.collect())
    }
}

/// A key that a batch changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedKey {
    /// The encoded state key.
    pub key: Vec<u8>,
    /// Its new value in the served state ([`crate::codec::value`]); `None` for keys that are not served.
    pub serve_value: Option<Vec<u8>>,
}
