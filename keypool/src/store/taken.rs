//! The family `taken`: every code that was ever generated or marked, see [`codeset`].

use rocksdb::{DBRawIterator, ReadOptions, WriteBatch};

use super::{Family, Store, StoreError, damaged_set};
use crate::codeset::{self, Bucket, Place, segment};

/// A walk through the set, forward only.
pub struct TakenSweep<'s> {
    store: &'s Store,
    buckets: DBRawIterator<'s>,
    /// Whether `buckets` stands on an entry or behind the last.
    begun: bool,
    /// What is asked about the bucket at hand,
    offsets: Vec<u32>,
    /// and what the answers are.
    present: Vec<bool>,
    encoded: Vec<u8>,
}

impl Store {
    /// Begins a walk through the set as it is now.
    pub fn sweep_taken(&self) -> TakenSweep<'_> {
        let mut options = ReadOptions::default();
        // All of it is read, once: it would only push out what is read often.
        options.fill_cache(false);
        let buckets = self.db.raw_iterator_cf_opt(self.family(Family::Taken), options);
        TakenSweep { store: self, buckets, begun: false, offsets: vec![], present: vec![], encoded: vec![] }
    }
}

impl TakenSweep<'_> {
    /// Takes the places (rising, each once) of one bucket, behind those of the call before. Those that are not in the set
    /// yet are added to it in `batch`; those that are in it go to `refused`. Returns how many were added.
    ///
    /// # Errors
    /// The database cannot be read or is damaged.
    pub fn take(
        &mut self,
        places: &[Place],
        batch: &mut WriteBatch,
        refused: &mut Vec<Place>,
    ) -> Result<usize, StoreError> {
        let Some(first) = places.first() else { return Ok(0) };
        self.look_up(first.bucket(), places)?;
        refused.extend(
            places.iter().zip(&self.present).filter(|(_, present)| **present).map(|(place, _)| place),
        );
        let mut present = self.present.iter();
        self.offsets.retain(|_| present.next() == Some(&false));
        if !self.offsets.is_empty() {
            self.encoded.clear();
            segment::encode(&self.offsets, &mut self.encoded);
            batch.merge_cf(self.store.family(Family::Taken), first.bucket().key(), &self.encoded);
        }
        Ok(self.offsets.len())
    }

    /// Puts those of the places (rising, each once, behind those of any call before) that are in the set into `found`.
    ///
    /// # Errors
    /// The database cannot be read or is damaged.
    pub fn find(&mut self, places: &[Place], found: &mut Vec<Place>) -> Result<(), StoreError> {
        for places in places.chunk_by(|a, b| a.bucket() == b.bucket()) {
            self.look_up(places[0].bucket(), places)?;
            found.extend(
                places.iter().zip(&self.present).filter(|(_, present)| **present).map(|(place, _)| place),
            );
        }
        Ok(())
    }

    /// Sets `offsets` and `present` for places of one bucket.
    fn look_up(&mut self, bucket: Bucket, places: &[Place]) -> Result<(), StoreError> {
        debug_assert!(places.iter().all(|place| place.bucket() == bucket), "one bucket at a time");
        self.advance_to(bucket)?;
        self.offsets.clear();
        self.offsets.extend(places.iter().map(|place| place.offset()));
        self.present.clear();
        self.present.resize(places.len(), false);
        let key = bucket.key();
        if let Some((found, value)) = self.buckets.item()
            && found == key
        {
            let present = &mut self.present;
            codeset::find(value, &self.offsets, |index| present[index] = true)
                .map_err(|problem| damaged_set(&key, problem))?;
        }
        Ok(())
    }

    /// Goes to the entry of a bucket, or to the next there is. A step is far cheaper than a search, and in a large batch
    /// nearly always enough.
    fn advance_to(&mut self, bucket: Bucket) -> Result<(), StoreError> {
        let key = bucket.key();
        let behind = |buckets: &DBRawIterator<'_>| buckets.key().is_some_and(|found| found < &key[..]);
        if self.begun && behind(&self.buckets) {
            self.buckets.next();
        }
        if !self.begun || behind(&self.buckets) {
            self.buckets.seek(key);
            self.begun = true;
        }
        self.buckets.status().map_err(|source| StoreError::Read { family: Family::Taken.name(), source })
    }
}
