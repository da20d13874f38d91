//! Looks at a RocksDB directory before RocksDB does: whether its MANIFEST is whole.
//!
//! The MANIFEST says which tables there are. RocksDB takes a record of it that goes beyond the end of the file for the torn end of a write,
//! goes on with the tables known until there, and removes the others. One flipped bit in a record's length makes that of a sound file: what
//! the later tables held is gone without a word, while the newest rows, which are in the log, are there and look right.
//!
//! A torn end is a record that is too short, with nothing readable behind it. Everything else is damage, and is refused here. Kept apart
//! from the stores, since key pools and ledgers have databases of their own.
//!
//! The format (RocksDB's `db/log_format.h`): blocks of 32 KiB; records of a masked CRC-32C, a length, a type and as many bytes; a record
//! does not cross the end of a block.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// Whole, first, middle and last piece.
const TYPES: std::ops::RangeInclusive<u8> = 1..=4;
/// What a CRC is masked with: it is stored beside the bytes it covers.
const MASK_DELTA: u32 = 0xa282_ead8;

/// A MANIFEST that RocksDB must not be given.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is damaged.
    #[error(
        "{path} is damaged at byte {at}: the database would open without the tables named behind it. Keep the directory, look at the disk, \
         and recover from a copy"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The record that is not sound.
        at: usize,
    },
}

/// Checks the MANIFEST of the database in `dir`. None is fine: then RocksDB makes one, or says what is missing.
///
/// # Errors
/// It cannot be read, or is damaged otherwise than by a torn last write.
pub fn check(dir: &Path) -> Result<(), ManifestError> {
    // A CURRENT that names none is for RocksDB to refuse.
    let Ok(current) = fs::read_to_string(dir.join("CURRENT")) else { return Ok(()) };
    let name = current.trim_end();
    if !name.starts_with("MANIFEST-") || name.contains('/') {
        return Ok(());
    }
    let path = dir.join(name);
    match fs::read(&path) {
        Ok(bytes) => damage(&bytes).map_or(Ok(()), |at| Err(ManifestError::Damaged { path, at })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ManifestError::Unreadable { path, source }),
    }
}

/// Returns where the first record stands that is neither sound nor the torn end.
fn damage(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        let block_left = BLOCK_BYTES - at % BLOCK_BYTES;
        if block_left < HEADER_BYTES {
            at += block_left;
        } else if let Some(length) = sound(bytes, at, None) {
            at += HEADER_BYTES + length;
        } else {
            return (!is_torn_end(bytes, at)).then_some(at);
        }
    }
    None
}

/// The length of the record at `at` if it is sound; `length` is taken for it in place of what it says itself.
fn sound(bytes: &[u8], at: usize, length: Option<usize>) -> Option<usize> {
    let header = bytes.get(at..at + HEADER_BYTES)?;
    let length = length.unwrap_or(usize::from(u16::from_le_bytes([header[4], header[5]])));
    let end = at + HEADER_BYTES + length;
    let fits = at % BLOCK_BYTES + HEADER_BYTES + length <= BLOCK_BYTES;
    if !fits || !TYPES.contains(&header[6]) {
        return None;
    }
    let crc = crc32c::crc32c(bytes.get(at + HEADER_BYTES - 1..end)?);
    let masked = crc.rotate_right(15).wrapping_add(MASK_DELTA);
    (masked.to_le_bytes() == header[..4]).then_some(length)
}

/// Whether what stands at `at` can be a write that did not end: it wants more bytes than there are, is not sound as long as it is, and
/// nothing sound follows.
fn is_torn_end(bytes: &[u8], at: usize) -> bool {
    let Some(header) = bytes.get(at..at + HEADER_BYTES) else { return true };
    let wants = at + HEADER_BYTES + usize::from(u16::from_le_bytes([header[4], header[5]]));
    let is_short = wants > bytes.len();
    let whole_as_it_is = sound(bytes, at, Some(bytes.len() - at - HEADER_BYTES)).is_some();
    // An empty record is sound by chance too easily, and is never written.
    let follows =
        || (at + 1..bytes.len()).any(|later| sound(bytes, later, None).is_some_and(|length| length > 0));
    is_short && !whole_as_it_is && !follows()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rocksdb::{DB, Options};

    use super::*;

    /// The MANIFEST of a database with several tables.
    fn manifest() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        options.create_if_missing(true);
        let db = DB::open(&options, dir.path()).unwrap();
        for number in 0..4_u8 {
            db.put([number], [number]).unwrap();
            db.flush().unwrap();
        }
        drop(db);
        assert!(check(dir.path()).is_ok());
        let name = fs::read_to_string(dir.path().join("CURRENT")).unwrap();
        fs::read(dir.path().join(name.trim_end())).unwrap()
    }

    #[test]
    fn a_manifest_that_rocksdb_wrote_is_sound_wherever_it_is_cut() {
        let bytes = manifest();
        assert!(bytes.len() > 300, "{} bytes", bytes.len());
        for end in 0..=bytes.len() {
            assert_eq!(damage(&bytes[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn every_flipped_bit_of_it_is_damage() {
        let bytes = manifest();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(damage(&flipped).is_some(), "byte {at} bit {bit}");
            }
        }
    }
}
