//! The byte format: how changes and state are written down.
//!
//! Bytes are read by programs older and newer than the one that wrote them, so: every record starts with its format level, every
//! unknown value is an error that names its byte, nothing panics, and the golden files in `tests/golden` freeze what is written.
//!
//! Integers in values and records are little-endian; `varint` is LEB128, at most 10 bytes, in its shortest form only. (Integers
//! in keys are big-endian, see [`crate::key`].)
//!
//! - [`record`]: one change as the journal keeps it
//! - [`frame`]: records as the feed sends them
//! - [`value`]: one key's state as a replica keeps it
//! - [`fields`]: optional fields inside bodies
//! - [`level`]: which level a change needs

mod cursor;
pub mod fields;
pub mod frame;
pub mod level;
pub mod record;
pub mod value;

pub use cursor::{Cursor, put_varint};

/// The highest level of the byte format this version reads. Level 1 is the first; [`level`] says what came with which.
///
/// What a writer emits is decided by the level in the log's fleet record: no more than every active member has announced, so that a
/// member one version behind never meets a record it cannot read because of a rolling upgrade.
pub const FORMAT_LEVEL: u8 = 2;

/// Why bytes could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct DecodeError {
    /// Where, counted from the first byte of the outermost thing that was being read.
    pub offset: usize,
    /// What.
    pub kind: DecodeErrorKind,
}

/// What was wrong with bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeErrorKind {
    /// They end too early.
    #[error("the bytes end inside {0}")]
    Truncated(&'static str),
    /// A value this version does not know or that is out of range.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// Written by a newer version.
    #[error("format level {0} is newer than this version reads (up to {FORMAT_LEVEL}); upgrade this member")]
    NewerLevel(u8),
    /// The checksum does not match.
    #[error("wrong checksum")]
    Checksum,
    /// Bytes after the end.
    #[error("unexpected bytes after {0}")]
    Trailing(&'static str),
}

impl DecodeError {
    /// The bytes end inside `what`, which starts at `offset`.
    pub const fn truncated(offset: usize, what: &'static str) -> DecodeError {
        DecodeError { offset, kind: DecodeErrorKind::Truncated(what) }
    }

    /// `what`, which starts at `offset`, is not allowed.
    pub const fn invalid(offset: usize, what: &'static str) -> DecodeError {
        DecodeError { offset, kind: DecodeErrorKind::Invalid(what) }
    }
}

/// Checks a level byte.
pub(crate) fn check_level(level: u8, offset: usize) -> Result<u8, DecodeError> {
    match level {
        0 => Err(DecodeError::invalid(offset, "format level")),
        l if l <= FORMAT_LEVEL => Ok(l),
        l => Err(DecodeError { offset, kind: DecodeErrorKind::NewerLevel(l) }),
    }
}

#[cfg(test)]
mod tests;
