//! The fleet: which one this log belongs to, and the format level its members agreed on.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError};

/// The fleet's record. `serve` body: 1 fleet id · 2 format level. `manage` body: empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fleet {
    /// Made with the fleet's certificate authority; every handshake names it.
    pub id: [u8; 16],
    /// The level of the byte format the writer may use: no more than every active member has announced.
    pub format_level: u8,
}

impl Fleet {
    /// Returns the `serve` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        fields.bytes(1, &self.id);
        fields.varint(2, u64::from(self.format_level));
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
        fields.finish()?;
        let format_level = u8::try_from(level).map_err(|_| DecodeError::invalid(at, "format level"))?;
        Ok(Fleet { id, format_level })
    }
}
