//! A lease and the bytes it is remembered as.
//!
//! The record, all numbers little-endian; the lease's number is its key in the database, big-endian:
//!
//! ```text
//!   request id      16 bytes
//!   epoch            4
//!   first serial     8
//!   end serial       8    behind the last, above the first
//!   holder length    1
//!   holder           UTF-8
//!   omitted          4 bytes each, distances from the first serial, strictly rising, to the end of the record
//! ```

use std::ops::Range;

use linklog::Code7;

/// Longest name of a holder, in bytes.
pub const HOLDER_BYTES_MAX: usize = 64;

/// Random, from the admin; a retry repeats it.
pub type RequestId = [u8; 16];

/// A range of serials given to an admin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// 1, 2, 3 … per pool id.
    pub number: u64,
    /// Who repeats it gets the same codes.
    pub request_id: RequestId,
    /// The admin's name.
    pub holder: String,
    /// The writer epoch the codes belong to.
    pub epoch: u32,
    /// The range; never empty.
    pub serials: Range<u64>,
    /// Which serials of the range were not handed out, as distances from its start.
    pub omitted: Vec<u32>,
}

/// Bytes that are no lease record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeaseRecordError {
    /// It ends too early.
    #[error("it ends at byte {at}")]
    Short {
        /// Where.
        at: usize,
    },
    /// The range of serials is empty or backwards.
    #[error("its range of serials is empty")]
    Range,
    /// The holder's name is not text, or too long.
    #[error("its holder has no readable name")]
    Holder,
    /// The omitted serials do not rise or leave the range.
    #[error("its omitted serials are not in order")]
    Omitted,
}

impl Lease {
    /// Returns the record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(37 + self.holder.len() + self.omitted.len() * 4);
        bytes.extend_from_slice(&self.request_id);
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.serials.start.to_le_bytes());
        bytes.extend_from_slice(&self.serials.end.to_le_bytes());
        bytes.push(u8::try_from(self.holder.len()).expect("a holder has at most 64 bytes"));
        bytes.extend_from_slice(self.holder.as_bytes());
        for omitted in &self.omitted {
            bytes.extend_from_slice(&omitted.to_le_bytes());
        }
        bytes
    }

    /// Reads a record.
    ///
    /// # Errors
    /// It is not one.
    pub fn decode(number: u64, bytes: &[u8]) -> Result<Lease, LeaseRecordError> {
        let mut rest = bytes;
        let request_id = take(bytes, &mut rest)?;
        let epoch = u32::from_le_bytes(take(bytes, &mut rest)?);
        let serials =
            u64::from_le_bytes(take(bytes, &mut rest)?)..u64::from_le_bytes(take(bytes, &mut rest)?);
        if serials.is_empty() {
            return Err(LeaseRecordError::Range);
        }
        let [holder_bytes] = take(bytes, &mut rest)?;
        let holder = rest.split_at_checked(usize::from(holder_bytes));
        let (holder, rest) = holder.ok_or(LeaseRecordError::Short { at: bytes.len() })?;
        let holder = std::str::from_utf8(holder).map_err(|_| LeaseRecordError::Holder)?.to_owned();
        if holder.len() > HOLDER_BYTES_MAX {
            return Err(LeaseRecordError::Holder);
        }
        let (omitted, torn) = rest.as_chunks();
        if !torn.is_empty() {
            return Err(LeaseRecordError::Short { at: bytes.len() });
        }
        let omitted: Vec<u32> = omitted.iter().map(|omitted| u32::from_le_bytes(*omitted)).collect();
        let within = omitted.last().is_none_or(|last| u64::from(*last) < serials.end - serials.start);
        if !within || !omitted.is_sorted_by(|a, b| a < b) {
            return Err(LeaseRecordError::Omitted);
        }
        Ok(Lease { number, request_id, holder, epoch, serials, omitted })
    }

    /// Returns what it hands out, given the codes of all its serials.
    pub fn codes_of(&self, stock: &[Code7]) -> Vec<Code7> {
        let mut omitted = self.omitted.iter().peekable();
        let handed_out = |index: &usize| omitted.next_if(|next| **next as usize == *index).is_none();
        (0..stock.len()).filter(handed_out).map(|index| stock[index]).collect()
    }
}

fn take<const N: usize>(bytes: &[u8], rest: &mut &[u8]) -> Result<[u8; N], LeaseRecordError> {
    let (taken, left) = rest.split_first_chunk().ok_or(LeaseRecordError::Short { at: bytes.len() })?;
    *rest = left;
    Ok(*taken)
}
