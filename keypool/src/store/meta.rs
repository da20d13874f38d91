//! The family `meta`: which pool this is and where it stands.
//!
//! Each number has one writer: `taken` and `stocked` whoever adds codes, `leased` whoever leases. So neither needs the
//! other's lock to write its own.

use rocksdb::WriteBatch;

use super::{Family, Store, StoreError, damaged};
use crate::pool::PoolId;
use crate::slots::SlotSet;

pub(super) const FORMAT_KEY: &[u8] = b"format";
const POOL_ID_KEY: &[u8] = b"pool_id";
const SLOTS_KEY: &[u8] = b"slots";
const TAKEN_KEY: &[u8] = b"taken";
const STOCKED_KEY: &[u8] = b"stocked";
const LEASED_KEY: &[u8] = b"leased";

/// Where a pool stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// Which pool it is.
    pub pool_id: PoolId,
    /// How many codes were ever taken.
    pub taken: u64,
    /// The serial behind the last code in stock.
    pub stocked: u64,
    /// The serial that is leased next.
    pub leased: u64,
    /// The latest lease number.
    pub last_lease_number: u64,
}

impl Store {
    /// Puts a new pool's beginning into a batch.
    pub(super) fn put_new_pool(&self, batch: &mut WriteBatch, pool_id: PoolId, slots: &SlotSet) {
        let family = self.family(Family::Meta);
        batch.put_cf(family, FORMAT_KEY, super::FORMAT.to_le_bytes());
        batch.put_cf(family, SLOTS_KEY, slots.as_bytes());
        self.put_pool_id(batch, pool_id);
        self.put_taken_count(batch, 0);
        self.put_stocked(batch, 0);
        self.put_leased(batch, 0, 0);
    }

    /// Puts the pool's id into a batch.
    pub fn put_pool_id(&self, batch: &mut WriteBatch, pool_id: PoolId) {
        batch.put_cf(self.family(Family::Meta), POOL_ID_KEY, pool_id.0);
    }

    /// Puts into a batch how many codes are taken.
    pub fn put_taken_count(&self, batch: &mut WriteBatch, count: u64) {
        batch.put_cf(self.family(Family::Meta), TAKEN_KEY, count.to_le_bytes());
    }

    /// Puts into a batch where the stock ends.
    pub fn put_stocked(&self, batch: &mut WriteBatch, end: u64) {
        batch.put_cf(self.family(Family::Meta), STOCKED_KEY, end.to_le_bytes());
    }

    /// Puts into a batch what is leased next and which lease was the latest.
    pub fn put_leased(&self, batch: &mut WriteBatch, next: u64, last_lease_number: u64) {
        let value = [next.to_le_bytes(), last_lease_number.to_le_bytes()].concat();
        batch.put_cf(self.family(Family::Meta), LEASED_KEY, value);
    }

    /// Reads where the pool stands and what it owns.
    pub(super) fn meta(&self) -> Result<(Meta, SlotSet), StoreError> {
        let pool_id = PoolId(self.meta_bytes(POOL_ID_KEY)?);
        let [leased, last_lease_number]: [[u8; 8]; 2] = {
            let value: [u8; 16] = self.meta_bytes(LEASED_KEY)?;
            let (halves, _) = value.as_chunks();
            [halves[0], halves[1]]
        };
        let meta = Meta {
            pool_id,
            taken: u64::from_le_bytes(self.meta_bytes(TAKEN_KEY)?),
            stocked: u64::from_le_bytes(self.meta_bytes(STOCKED_KEY)?),
            leased: u64::from_le_bytes(leased),
            last_lease_number: u64::from_le_bytes(last_lease_number),
        };
        if meta.leased > meta.stocked || meta.taken < meta.stocked - meta.leased {
            return Err(damaged(Family::Meta, LEASED_KEY, "more is leased than there ever was"));
        }
        let slots = self.meta_value(SLOTS_KEY)?;
        let slots =
            SlotSet::from_bytes(&slots).ok_or_else(|| damaged(Family::Meta, SLOTS_KEY, "it is no set"))?;
        Ok((meta, slots))
    }

    fn meta_bytes<const N: usize>(&self, key: &[u8]) -> Result<[u8; N], StoreError> {
        let value = self.meta_value(key)?;
        value.try_into().map_err(|_| damaged(Family::Meta, key, "it has the wrong length"))
    }

    fn meta_value(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.meta_value_if_any(key)?.ok_or_else(|| damaged(Family::Meta, key, "it is missing"))
    }

    pub(super) fn meta_value_if_any(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.db.get_cf(self.family(Family::Meta), key);
        value.map_err(|source| StoreError::Read { family: Family::Meta.name(), source })
    }
}
