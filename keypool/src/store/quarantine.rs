//! The family `quarantine`: codes that were given back, until they may return.

use linklog::Code7;
use rocksdb::WriteBatch;

use super::{CODE_BYTES, Family, Store, StoreError, Walk, code_key, code_of_key, damaged};

const BY_CODE: u8 = b'c';
const BY_TIME: u8 = b'd';

impl Store {
    /// Returns when a code may return, in ms since 1970, if it is in quarantine.
    ///
    /// # Errors
    /// The database cannot be read or is damaged.
    pub fn quarantined_until(&self, code: Code7) -> Result<Option<u64>, StoreError> {
        let key = by_code(code);
        let value = self.db.get_cf(self.family(Family::Quarantine), &key);
        let value = value.map_err(|source| StoreError::Read { family: Family::Quarantine.name(), source })?;
        let Some(value) = value else { return Ok(None) };
        let until = value.try_into().map(u64::from_le_bytes);
        until.map(Some).map_err(|_| damaged(Family::Quarantine, &key, "it is no time"))
    }

    /// Puts a code into quarantine, in a batch.
    pub fn put_quarantined(&self, batch: &mut WriteBatch, code: Code7, until_ms: u64) {
        let family = self.family(Family::Quarantine);
        batch.put_cf(family, by_code(code), until_ms.to_le_bytes());
        batch.put_cf(family, by_time(until_ms, code), []);
    }

    /// Takes a code out of quarantine, in a batch.
    pub fn delete_quarantined(&self, batch: &mut WriteBatch, code: Code7, until_ms: u64) {
        let family = self.family(Family::Quarantine);
        batch.delete_cf(family, by_code(code));
        batch.delete_cf(family, by_time(until_ms, code));
    }

    /// Reads the codes that may return at `now_ms`, at most `most`, those that have waited longest first.
    ///
    /// # Errors
    /// The database cannot be read or is damaged.
    pub fn quarantine_over(&self, now_ms: u64, most: usize) -> Result<Vec<(Code7, u64)>, StoreError> {
        let mut over = Vec::new();
        self.scan(Family::Quarantine, &[BY_TIME], |key, _| {
            let (until, code) = key[1..]
                .split_first_chunk()
                .ok_or_else(|| damaged(Family::Quarantine, key, "the key is too short"))?;
            let until_ms = u64::from_be_bytes(*until);
            if over.len() == most || until_ms > now_ms {
                return Ok(Walk::Stop);
            }
            over.push((code_of_key(Family::Quarantine, key, code)?, until_ms));
            Ok(Walk::On)
        })?;
        Ok(over)
    }
}

fn by_code(code: Code7) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + CODE_BYTES);
    key.push(BY_CODE);
    key.extend_from_slice(&code_key(code));
    key
}

fn by_time(until_ms: u64, code: Code7) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 8 + CODE_BYTES);
    key.push(BY_TIME);
    key.extend_from_slice(&until_ms.to_be_bytes());
    key.extend_from_slice(&code_key(code));
    key
}
