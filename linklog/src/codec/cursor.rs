//! A position in bytes that are being read, and the integer that both sides share.

use super::{DecodeError, DecodeErrorKind};

/// Reads forward through bytes, remembering the offset for error messages.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first of `bytes`, offset 0.
    pub const fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes, offset: 0 }
    }

    /// Returns how many bytes have been read since the outermost start.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Says whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns what has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads `n` bytes.
    pub fn bytes(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(DecodeError::truncated(self.offset, what))?;
        self.rest = rest;
        self.offset += n;
        Ok(taken)
    }

    /// Reads `N` bytes.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let bytes = self.bytes(N, what)?;
        Ok(bytes.try_into().expect("bytes(N) has length N"))
    }

    /// Reads `n` bytes as a cursor of their own that keeps counting offsets from the outermost start.
    pub fn sub(&mut self, n: u64, what: &'static str) -> Result<Cursor<'a>, DecodeError> {
        let offset = self.offset;
        let n = usize::try_from(n).map_err(|_| DecodeError::truncated(offset, what))?;
        let rest = self.bytes(n, what)?;
        Ok(Cursor { rest, offset })
    }

    /// Reads one byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Reads a little-endian u16.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// Reads a little-endian u32.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// Reads a little-endian u64.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Reads a varint in its shortest form.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let start = self.offset;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what).map_err(|_| DecodeError::truncated(start, what))?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest { Ok(value) } else { Err(DecodeError::invalid(start, what)) };
            }
        }
        Err(DecodeError::invalid(start, what))
    }

    /// Reads `len` bytes of UTF-8.
    pub fn str(&mut self, len: u64, what: &'static str) -> Result<&'a str, DecodeError> {
        let offset = self.offset;
        let bytes = self.sub(len, what)?.rest;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::invalid(offset, what))
    }

    /// As [`Cursor::str`], owned.
    pub fn text(&mut self, len: u64, what: &'static str) -> Result<String, DecodeError> {
        self.str(len, what).map(str::to_owned)
    }

    /// Checks that everything has been read.
    pub fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError { offset: self.offset, kind: DecodeErrorKind::Trailing(what) })
    }
}

/// Appends a varint: LEB128 in its shortest form, 1 to 10 bytes.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
