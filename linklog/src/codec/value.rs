//! One key's state as a replica keeps it, in the `serve` table and in the `manage` table.
//!
//! ```text
//! u8      0x10 tombstone · 0x11 live          (high half: value format 1)
//! varint  version
//! varint  epoch, varint seq of the record that created the key
//! ...     body, absent in a tombstone
//! ```
//! Both tables hold the stamp, so a member that has only one of them can evaluate preconditions on what it holds.
//! The encoding is part of the replicated state: the slot sums cover it, so it follows the level of the record that wrote it, never the
//! version of the program. There is no checksum here: the slot sums cover key and value, and RocksDB checks its blocks.

use super::{Cursor, DecodeError, put_varint};
use crate::position::Position;
use crate::stamp::Stamp;

const TOMBSTONE: u8 = 0x10;
const LIVE: u8 = 0x11;

/// Replaces `out` by the value of a live key with this body, or of a tombstone (the body is then left out).
pub fn write(out: &mut Vec<u8>, stamp: &Stamp, body: &[u8]) {
    out.clear();
    out.push(if stamp.live { LIVE } else { TOMBSTONE });
    put_varint(out, stamp.version);
    put_varint(out, u64::from(stamp.created.epoch.0));
    put_varint(out, stamp.created.seq.0);
    if stamp.live {
        out.extend_from_slice(body);
    }
}

/// Splits a stored value into its stamp and its body.
///
/// # Errors
/// What is wrong and at which byte of the value.
pub fn split(value: &[u8]) -> Result<(Stamp, Cursor<'_>), DecodeError> {
    let mut cursor = Cursor::new(value);
    let live = match cursor.u8("value header")? {
        LIVE => true,
        TOMBSTONE => false,
        _ => return Err(DecodeError::invalid(0, "value header")),
    };
    let version = cursor.varint("version")?;
    let at = cursor.offset();
    let epoch = u32::try_from(cursor.varint("epoch")?).map_err(|_| DecodeError::invalid(at, "epoch"))?;
    let seq = cursor.varint("seq")?;
    if !live {
        cursor.finish("tombstone")?;
    }
    Ok((Stamp { live, version, created: Position::new(epoch, seq) }, cursor))
}
