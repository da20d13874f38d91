//! Generated codes that may be used once more.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError};

/// A code whose link was deleted while the operator allowed codes to come back. `manage` body, with format level 2: 1 freed_at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreedCode {
    /// When its link was deleted, milliseconds since the Unix epoch.
    pub freed_at_ms: u64,
}

impl FreedCode {
    /// Returns the `manage` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12);
        FieldWriter::new(&mut out).varint(1, self.freed_at_ms);
        out
    }

    /// Reads a `manage` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<FreedCode, DecodeError> {
        let mut fields = FieldReader::new(body);
        let freed_at_ms = fields.varint(1, "freed_at")?;
        fields.finish()?;
        Ok(FreedCode { freed_at_ms })
    }
}
