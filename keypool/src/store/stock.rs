//! The family `stock`: generated codes in the order of their serials, in blocks.
//!
//! A block's key is the serial of its first code; the next block begins where it ends. Blocks stay for a while after
//! their codes were leased, so that a repeated request can be answered with the same codes.

use std::ops::Range;

use linklog::Code7;
use rocksdb::{DBRawIterator, WriteBatch};

use super::{CODE_BYTES, Family, Store, StoreError, damaged};

/// Most codes of a block: 24 KiB, read in one piece for a lease.
pub const BLOCK_CODES: usize = 4_096;

/// The codes of a range of serials, read as they are asked for. After an error it ends.
pub struct Stock<'s> {
    blocks: DBRawIterator<'s>,
    serials: Range<u64>,
    /// The codes left of the block at hand, last first.
    block: Vec<Code7>,
    /// Why it ended before the range did.
    error: Option<StoreError>,
}

impl Store {
    /// Reads the codes of `serials`.
    pub fn stock(&self, serials: Range<u64>) -> Stock<'_> {
        let mut blocks = self.db.raw_iterator_cf(self.family(Family::Stock));
        blocks.seek_for_prev(serials.start.to_be_bytes());
        Stock { blocks, serials, block: vec![], error: None }
    }

    /// Puts codes into a batch as blocks, the first of them with serial `start`; returns the serial behind the last.
    pub fn put_stock(&self, batch: &mut WriteBatch, start: u64, codes: &[Code7]) -> u64 {
        let family = self.family(Family::Stock);
        let mut serial = start;
        for block in codes.chunks(BLOCK_CODES) {
            let bytes: Vec<u8> = block.iter().flat_map(|code| stored(*code)).collect();
            batch.put_cf(family, serial.to_be_bytes(), bytes);
            serial += block.len() as u64;
        }
        serial
    }

    /// Returns the first serial that is still there, `end` if there is none.
    ///
    /// # Errors
    /// The database cannot be read or is damaged.
    pub fn stock_start(&self, end: u64) -> Result<u64, StoreError> {
        let mut blocks = self.db.raw_iterator_cf(self.family(Family::Stock));
        blocks.seek_to_first();
        match blocks.key() {
            Some(key) => serial_of(key),
            None => blocks.status().map_err(unreadable).map(|()| end),
        }
    }

    /// Removes in a batch the blocks between `from`, where one begins, and `to` that end at `to` or before; returns the
    /// first serial that is left.
    ///
    /// # Errors
    /// The database cannot be read or is damaged.
    pub fn drop_stock(&self, batch: &mut WriteBatch, from: u64, to: u64) -> Result<u64, StoreError> {
        let family = self.family(Family::Stock);
        let mut blocks = self.db.raw_iterator_cf(family);
        blocks.seek(from.to_be_bytes());
        let mut left_from = from;
        while let Some((key, value)) = blocks.item() {
            let (start, length) = (serial_of(key)?, (value.len() / CODE_BYTES) as u64);
            if start + length > to {
                break;
            }
            batch.delete_cf(family, key);
            left_from = start + length;
            blocks.next();
        }
        blocks.status().map_err(unreadable)?;
        Ok(left_from)
    }
}

impl Stock<'_> {
    /// Says how reading ended.
    ///
    /// # Errors
    /// The database could not be read, or a code is missing.
    pub fn finish(self) -> Result<(), StoreError> {
        self.error.map_or(Ok(()), Err)
    }

    /// Reads what is left, from the next serial on, of the block the iterator stands on.
    fn read_block(&mut self) -> Result<(), StoreError> {
        let serial = self.serials.start;
        let missing =
            || damaged(Family::Stock, &serial.to_be_bytes(), "the code with this serial is missing");
        let Some((key, value)) = self.blocks.item() else {
            return Err(self.blocks.status().map_or_else(unreadable, |()| missing()));
        };
        let (codes, rest) = value.as_chunks::<CODE_BYTES>();
        let index = serial.checked_sub(serial_of(key)?).and_then(|index| usize::try_from(index).ok());
        let codes =
            index.and_then(|index| codes.get(index..)).filter(|codes| !codes.is_empty() && rest.is_empty());
        for stored in codes.ok_or_else(missing)?.iter().rev() {
            let [a, b, c, d, e, f] = *stored;
            let code = Code7::new(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]));
            self.block.push(code.ok_or_else(|| damaged(Family::Stock, key, "one of its codes is none"))?);
        }
        self.blocks.next();
        Ok(())
    }
}

impl Iterator for Stock<'_> {
    type Item = Code7;

    fn next(&mut self) -> Option<Code7> {
        if self.error.is_some() || self.serials.is_empty() {
            return None;
        }
        if self.block.is_empty()
            && let Err(error) = self.read_block()
        {
            self.error = Some(error);
            return None;
        }
        self.serials.start += 1;
        self.block.pop()
    }
}

fn stored(code: Code7) -> [u8; CODE_BYTES] {
    let [stored @ .., _, _] = code.value().to_le_bytes();
    stored
}

fn serial_of(key: &[u8]) -> Result<u64, StoreError> {
    let serial = key.try_into().map(u64::from_be_bytes);
    serial.map_err(|_| damaged(Family::Stock, key, "the key is no serial"))
}

fn unreadable(source: rocksdb::Error) -> StoreError {
    StoreError::Read { family: Family::Stock.name(), source }
}
