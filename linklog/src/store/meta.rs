//! The rows of the `meta` table.
//!
//! | key | value |
//! |---|---|
//! | `format` | u8 version of these rows (1), u8 contents: `s` a proxy's, `f` a full member's, `j` a journal with rows beside it |
//! | `head` | u32 epoch, u64 seq, 16 bytes digest: the last record in state and, on full members, in the journal |
//! | `epoch` | u32: the highest epoch ever accepted |
//! | `s` ‖ u16 slot (big-endian) | serve sum, manage sum (16 bytes each), u64 entries in `serve`, u64 entries in `manage` |
//! | `index` | u8 version of the index (`super::index`) |
//! | `base` | like `head`: the last record that was trimmed off the journal |
//! | `bytes` | u64: bytes ever appended to the journal |
//! | `time` | u64: the time of the record at `base`, ms since the Unix epoch, in a store that was made from a snapshot |
//! | `m` ‖ u64 seq (big-endian) | epoch, digest and bytes appended up to this record: where the journal may be trimmed |

use rocksdb::WriteBatch;

use super::{META, Store, StoreError};
use crate::codec::{Cursor, DecodeError};
use crate::digest::Digest;
use crate::position::{Epoch, Head, Position};

pub(crate) const HEAD: &[u8] = b"head";
pub(crate) const HIGHEST_EPOCH: &[u8] = b"epoch";
/// The last record that was trimmed off the journal.
pub(crate) const BASE: &[u8] = b"base";
/// The time of that record.
pub(crate) const BASE_TIME: &[u8] = b"time";

pub(crate) fn write_head(batch: &mut WriteBatch, store: &Store, key: &[u8], head: &Head) {
    batch.put_cf(store.table(META), key, encode_head(head));
}

pub(crate) fn encode_head(head: &Head) -> [u8; 28] {
    let mut bytes = [0u8; 28];
    bytes[..4].copy_from_slice(&head.position.epoch.0.to_le_bytes());
    bytes[4..12].copy_from_slice(&head.position.seq.0.to_le_bytes());
    bytes[12..].copy_from_slice(&head.digest.to_bytes());
    bytes
}

pub(crate) fn decode_head(cursor: &mut Cursor<'_>) -> Result<Head, DecodeError> {
    let position = Position::new(cursor.u32("epoch")?, cursor.u64("seq")?);
    Ok(Head { position, digest: Digest::from_bytes(cursor.array("digest")?) })
}

/// Reads `head` or `base`; [`Head::EMPTY`] if it was never written.
pub(crate) fn read_head(store: &Store, key: &[u8]) -> Result<Head, StoreError> {
    head_of(store.get(META, key)?.as_deref())
}

/// Reads the value of `head` or `base`.
pub(crate) fn head_of(row: Option<&[u8]>) -> Result<Head, StoreError> {
    let Some(bytes) = row else { return Ok(Head::EMPTY) };
    let mut cursor = Cursor::new(bytes);
    let head = decode_head(&mut cursor).and_then(|head| cursor.finish("head").map(|()| head));
    head.map_err(|source| StoreError::Damaged { what: "head", source })
}

/// Reads the highest epoch ever accepted; 0 if none.
pub(crate) fn read_epoch(store: &Store) -> Result<Epoch, StoreError> {
    epoch_of(store.get(META, HIGHEST_EPOCH)?.as_deref())
}

/// Reads the value of `epoch`.
pub(crate) fn epoch_of(row: Option<&[u8]>) -> Result<Epoch, StoreError> {
    let Some(bytes) = row else { return Ok(Epoch(0)) };
    let epoch = Cursor::new(bytes).u32("epoch");
    epoch.map(Epoch).map_err(|source| StoreError::Damaged { what: "epoch", source })
}

/// Reads the value of `time`; 0 if there is none.
pub(crate) fn time_of(row: Option<&[u8]>) -> Result<u64, StoreError> {
    let Some(bytes) = row else { return Ok(0) };
    Cursor::new(bytes).u64("time").map_err(|source| StoreError::Damaged { what: "time of the base", source })
}
