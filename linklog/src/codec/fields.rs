//! Optional fields at the end of a body.
//!
//! ```text
//! per field:  u8 tag (rising, never twice) · varint length · bytes
//! ```
//! A field that is not there has its default. A tag the reader does not know is an error: new tags come with a new format level,
//! and a writer uses a level only when every active member reads it. Integers are varints and never 0 unless required.

use super::{Cursor, DecodeError, put_varint};

/// How many bytes a number takes as a varint.
const fn varint_bytes(value: u64) -> u8 {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as u8
}

/// Writes fields in rising order of their tags.
pub struct FieldWriter<'a> {
    out: &'a mut Vec<u8>,
    last: u8,
}

impl<'a> FieldWriter<'a> {
    /// Appends fields to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> FieldWriter<'a> {
        FieldWriter { out, last: 0 }
    }

    /// Writes a field of raw bytes.
    ///
    /// # Panics
    /// If tags do not rise: the order is fixed in the code that calls this.
    pub fn bytes(&mut self, tag: u8, bytes: &[u8]) {
        assert!(tag > self.last, "fields are written in rising order");
        self.last = tag;
        self.out.push(tag);
        put_varint(self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// Writes a field of text.
    pub fn text(&mut self, tag: u8, text: &str) {
        self.bytes(tag, text.as_bytes());
    }

    /// Writes a number.
    ///
    /// # Panics
    /// As [`FieldWriter::bytes`].
    pub fn varint(&mut self, tag: u8, value: u64) {
        assert!(tag > self.last, "fields are written in rising order");
        self.last = tag;
        self.out.push(tag);
        self.out.push(varint_bytes(value));
        put_varint(self.out, value);
    }

    /// Writes a number if there is one.
    pub fn optional_varint(&mut self, tag: u8, value: Option<u64>) {
        if let Some(value) = value {
            self.varint(tag, value);
        }
    }
}

/// Reads fields in rising order of their tags.
pub struct FieldReader<'a> {
    body: Cursor<'a>,
    last: u8,
}

impl<'a> FieldReader<'a> {
    /// Reads everything that is left of `body` as fields.
    pub const fn new(body: Cursor<'a>) -> FieldReader<'a> {
        FieldReader { body, last: 0 }
    }

    /// Returns how many bytes have been read since the outermost start.
    pub const fn offset(&self) -> usize {
        self.body.offset()
    }

    /// Returns what has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.body.rest()
    }

    /// Reads field `tag` if it comes next.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Cursor<'a>>, DecodeError> {
        if self.body.rest().first() != Some(&tag) {
            return Ok(None);
        }
        debug_assert!(tag > self.last, "fields are read in rising order");
        self.last = tag;
        self.body.u8("field tag")?;
        let len = self.body.varint("field length")?;
        self.body.sub(len, "field").map(Some)
    }

    fn required(&mut self, tag: u8, what: &'static str) -> Result<Cursor<'a>, DecodeError> {
        let at = self.body.offset();
        self.optional(tag)?.ok_or(DecodeError::truncated(at, what))
    }

    /// Reads a number that must be there.
    pub fn varint(&mut self, tag: u8, what: &'static str) -> Result<u64, DecodeError> {
        let mut field = self.required(tag, what)?;
        let value = field.varint(what)?;
        field.finish(what)?;
        Ok(value)
    }

    /// Reads a number that may be missing.
    pub fn optional_varint(&mut self, tag: u8, what: &'static str) -> Result<Option<u64>, DecodeError> {
        let Some(mut field) = self.optional(tag)? else { return Ok(None) };
        let value = field.varint(what)?;
        field.finish(what)?;
        Ok(Some(value))
    }

    /// Reads text that must be there.
    pub fn str(&mut self, tag: u8, what: &'static str) -> Result<&'a str, DecodeError> {
        let mut field = self.required(tag, what)?;
        field.str(field.rest().len() as u64, what)
    }

    /// Reads text that may be missing.
    pub fn optional_str(&mut self, tag: u8, what: &'static str) -> Result<Option<&'a str>, DecodeError> {
        let Some(mut field) = self.optional(tag)? else { return Ok(None) };
        field.str(field.rest().len() as u64, what).map(Some)
    }

    /// As [`FieldReader::str`], owned.
    pub fn text(&mut self, tag: u8, what: &'static str) -> Result<String, DecodeError> {
        self.str(tag, what).map(str::to_owned)
    }

    /// As [`FieldReader::optional_str`], owned.
    pub fn optional_text(&mut self, tag: u8, what: &'static str) -> Result<Option<String>, DecodeError> {
        Ok(self.optional_str(tag, what)?.map(str::to_owned))
    }

    /// Reads `N` bytes that must be there.
    pub fn array<const N: usize>(&mut self, tag: u8, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut field = self.required(tag, what)?;
        let value = field.array(what)?;
        field.finish(what)?;
        Ok(value)
    }

    /// Reads `N` bytes that may be missing.
    pub fn optional_array<const N: usize>(
        &mut self,
        tag: u8,
        what: &'static str,
    ) -> Result<Option<[u8; N]>, DecodeError> {
        let Some(mut field) = self.optional(tag)? else { return Ok(None) };
        let value = field.array(what)?;
        field.finish(what)?;
        Ok(Some(value))
    }

    /// Checks that no field is left, known or unknown.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.body.is_empty() { Ok(()) } else { Err(DecodeError::invalid(self.body.offset(), "field tag")) }
    }
}
