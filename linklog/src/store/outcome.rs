//! Outcomes of commands, kept so that a command arriving twice has one effect and one answer.
//!
//! ```text
//! outcomes       command id (16 bytes) → u32 epoch · u64 seq · u8 0 applied, n: part n-1 conflicted · 16 bytes request hash · u64 at ms
//! outcome_times  u64 at ms (big-endian) · command id → nothing
//! ```
//! They follow from the log: every full replica has them, and a promoted writer answers a retry as its predecessor would have.

use rocksdb::WriteBatch;

use super::{OUTCOME_TIMES, OUTCOMES, Store, StoreError};
use crate::change::CommandId;
use crate::codec::{Cursor, DecodeError};
use crate::position::Position;

/// What became of a command that carried an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The command's record.
    pub position: Position,
    /// The first part whose precondition failed, from 0; `None` if the change was applied.
    pub conflict: Option<u8>,
    /// The hash of the request it came from.
    pub request_hash: [u8; 16],
    /// When it was written, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl Outcome {
    fn encode(&self) -> [u8; 37] {
        let mut bytes = [0u8; 37];
        bytes[..4].copy_from_slice(&self.position.epoch.0.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.position.seq.0.to_le_bytes());
        bytes[12] = self.conflict.map_or(0, |part| part + 1);
        bytes[13..29].copy_from_slice(&self.request_hash);
        bytes[29..].copy_from_slice(&self.at_ms.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Outcome, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let outcome = Outcome {
            position: Position::new(cursor.u32("epoch")?, cursor.u64("seq")?),
            conflict: cursor.u8("conflict")?.checked_sub(1),
            request_hash: cursor.array("request hash")?,
            at_ms: cursor.u64("time")?,
        };
        cursor.finish("outcome")?;
        Ok(outcome)
    }
}

/// Adds an outcome to a batch.
pub(crate) fn put(store: &Store, batch: &mut WriteBatch, id: CommandId, outcome: &Outcome) {
    batch.put_cf(store.table(OUTCOMES), id.0, outcome.encode());
    batch.put_cf(store.table(OUTCOME_TIMES), time_row(outcome.at_ms, id), []);
}

/// Finds a command's outcome.
pub(crate) fn get(store: &Store, id: CommandId) -> Result<Option<Outcome>, StoreError> {
    let Some(bytes) = store.get(OUTCOMES, &id.0)? else { return Ok(None) };
    let outcome = Outcome::decode(&bytes);
    outcome.map(Some).map_err(|source| StoreError::Damaged { what: "outcome", source })
}

/// Adds the removal of outcomes written before `before_ms` to a batch, at most `most` of them; returns how many.
pub(crate) fn forget(
    store: &Store,
    batch: &mut WriteBatch,
    before_ms: u64,
    most: usize,
) -> Result<usize, StoreError> {
    let times = store.table(OUTCOME_TIMES);
    let mut forgotten = 0;
    for row in store.rows(OUTCOME_TIMES, &[], None, true).take(most) {
        let (row, _) = row?;
        let mut at = [0u8; 8];
        let Some((time, id)) = row.split_at_checked(8) else { break };
        at.copy_from_slice(time);
        if u64::from_be_bytes(at) >= before_ms {
            break;
        }
        batch.delete_cf(store.table(OUTCOMES), id);
        batch.delete_cf(times, &row);
        forgotten += 1;
    }
    Ok(forgotten)
}

fn time_row(at_ms: u64, id: CommandId) -> [u8; 24] {
    let mut row = [0u8; 24];
    row[..8].copy_from_slice(&at_ms.to_be_bytes());
    row[8..].copy_from_slice(&id.0);
    row
}
