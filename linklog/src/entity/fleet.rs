//! The fleet: which one this log belongs to, the format level its members agreed on, and whether the log was restored.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError, put_varint};
use crate::position::{Epoch, Position};

/// The fleet's record. `serve` body: 1 fleet id · 2 format level · 3 restored: varints epoch and seq of the last record that was kept, epoch
/// that began then. `manage` body: empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fleet {
    /// Made with the fleet's certificate authority; every handshake names it.
    pub id: [u8; 16],
    /// The level of the byte format the writer may use: no more than every active member has announced.
    pub format_level: u8,
    /// Where the log was put back to when it was last restored from a backup.
    pub restored: Option<Restored>,
}

/// A log that was put back to an earlier record. Whatever came after that record in lower epochs never was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restored {
    /// The last record that was kept.
    pub to: Position,
    /// The epoch that began with that.
    pub epoch: Epoch,
    /// The last record after it that was known of, and is discarded; followers may have had later ones.
    pub discarded: Option<Position>,
}

impl Restored {
    /// Says whether a follower at `applied` has records that never were.
    pub fn discards(&self, applied: Position) -> bool {
        applied.epoch < self.epoch && applied.seq > self.to.seq
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        let position = |at: Position| [u64::from(at.epoch.0), at.seq.0];
        let numbers = position(self.to).into_iter().chain([u64::from(self.epoch.0)]);
        let numbers = numbers.chain(self.discarded.into_iter().flat_map(position));
        numbers.for_each(|number| put_varint(&mut out, number));
        out
    }

    fn read(mut field: Cursor<'_>) -> Result<Restored, DecodeError> {
        let at = field.offset();
        let epoch_of = |number| u32::try_from(number).map_err(|_| DecodeError::invalid(at, "epoch"));
        let epoch = epoch_of(field.varint("epoch kept")?)?;
        let to = Position::new(epoch, field.varint("record kept")?);
        let epoch = Epoch(epoch_of(field.varint("epoch begun")?)?);
        let discarded = match field.is_empty() {
            true => None,
            false => {
                let epoch = epoch_of(field.varint("epoch discarded")?)?;
                Some(Position::new(epoch, field.varint("record discarded")?))
            }
        };
        field.finish("restored")?;
        Ok(Restored { to, epoch, discarded })
    }
}

impl Fleet {
    /// Returns the record of a fleet whose log was never restored.
    pub const fn new(id: [u8; 16], format_level: u8) -> Fleet {
        Fleet { id, format_level, restored: None }
    }

    /// Returns the `serve` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        fields.bytes(1, &self.id);
        fields.varint(2, u64::from(self.format_level));
        if let Some(restored) = &self.restored {
            fields.bytes(3, &restored.encode());
        }
        out
    }

    /// Reads a `serve` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<Fleet, DecodeError> {
        let at = body.offset();
        let mut fields = FieldReader::new(body);
        let id = fields.array(1, "fleet id")?;
        let level = fields.varint(2, "format level")?;
        let restored = fields.optional(3)?.map(Restored::read).transpose()?;
        fields.finish()?;
        let format_level = u8::try_from(level).map_err(|_| DecodeError::invalid(at, "format level"))?;
        Ok(Fleet { id, format_level, restored })
    }
}
