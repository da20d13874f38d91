//! Records as the feed sends them: in log order, each section in full or as its hash, with the outcome the writer derived.
//!
//! ```text
//!  0  4 bytes  "SPF" and the frame format (1)
//!  4  u32      number of records, at least 1
//!  8  ...      records
//! end 16 bytes the chain's digest after the last record
//!     u32      CRC-32C of everything before it
//!
//! record:  u8 format level · u8 kind · u8 flags (1 serve is a hash · 2 manage is a hash · 4 conflict: the change did nothing)
//!          u16 slot · u32 epoch · u64 seq · serve · manage
//! section: varint length, bytes; or the 16 bytes of its hash
//! ```
//! A follower recomputes the chain from what it gets, hash or bytes, so leaving a section out cannot hide a difference.
//! The outcome is not part of the chain: it follows from the log, and the slot sums catch a wrong one.

use super::record::{Header, Kind, read_kind, read_slot};
use super::{Cursor, DecodeError, DecodeErrorKind, check_level, put_varint};

use crate::digest::{Digest, SectionHash};
use crate::limits::SECTION_BYTES_MAX;
use crate::position::Position;

const MAGIC: [u8; 4] = *b"SPF\x01";
const SERVE_HASH: u8 = 1;
const MANAGE_HASH: u8 = 2;
const CONFLICT: u8 = 4;

/// A section in full, or what stands for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section<'a> {
    /// The bytes.
    Full(&'a [u8]),
    /// Their hash: this follower may not or need not see them.
    Hash(SectionHash),
}

impl<'a> Section<'a> {
    /// Returns the section's hash.
    pub fn hash(&self) -> SectionHash {
        match self {
            Section::Full(bytes) => SectionHash::of(bytes),
            Section::Hash(hash) => *hash,
        }
    }

    /// Returns the bytes if they are there.
    pub const fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Section::Full(bytes) => Some(bytes),
            Section::Hash(_) => None,
        }
    }
}

/// One record of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRecord<'a> {
    /// How to read it: the record's own, whoever passes it on.
    pub header: Header,
    /// Where in the log.
    pub position: Position,
    /// True if a precondition failed: the change did nothing.
    pub conflict: bool,
    /// The serve section.
    pub serve: Section<'a>,
    /// The manage section.
    pub manage: Section<'a>,
}

impl FrameRecord<'_> {
    /// Returns the chain's digest after this record.
    pub fn digest_after(&self, previous: Digest) -> Digest {
        previous.then(self.position, self.header, self.serve.hash(), self.manage.hash())
    }
}

/// Builds a frame.
#[derive(Debug)]
pub struct FrameWriter {
    bytes: Vec<u8>,
    count: u32,
}

impl Default for FrameWriter {
    fn default() -> Self {
        FrameWriter::new()
    }
}

impl FrameWriter {
    /// Starts an empty frame.
    pub fn new() -> FrameWriter {
        let mut bytes = Vec::with_capacity(16 * 1024);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        FrameWriter { bytes, count: 0 }
    }

    /// Appends a record.
    pub fn push(&mut self, record: &FrameRecord<'_>) {
        let is_hash = |section: &Section<'_>, flag| if section.bytes().is_none() { flag } else { 0 };
        let conflict = if record.conflict { CONFLICT } else { 0 };
        let flags = is_hash(&record.serve, SERVE_HASH) | is_hash(&record.manage, MANAGE_HASH) | conflict;
        let header = record.header;
        self.bytes.extend_from_slice(&[header.level, header.kind.byte(), flags]);
        self.bytes.extend_from_slice(&header.slot.number().to_le_bytes());
        self.bytes.extend_from_slice(&record.position.epoch.0.to_le_bytes());
        self.bytes.extend_from_slice(&record.position.seq.0.to_le_bytes());
        for section in [&record.serve, &record.manage] {
            match section {
                Section::Full(bytes) => {
                    put_varint(&mut self.bytes, bytes.len() as u64);
                    self.bytes.extend_from_slice(bytes);
                }
                Section::Hash(hash) => self.bytes.extend_from_slice(&hash.0),
            }
        }
        self.count += 1;
    }

    /// Returns the bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Says whether no record has been pushed.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Ends the frame; `digest` is the chain's after the last record.
    pub fn finish(mut self, digest: Digest) -> Vec<u8> {
        self.bytes.extend_from_slice(&digest.to_bytes());
        self.bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
        let checksum = crc32c::crc32c(&self.bytes);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        self.bytes
    }
}

/// A frame, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Its records, at least one.
    pub records: Vec<FrameRecord<'a>>,
    /// The chain's digest after the last of them.
    pub digest: Digest,
}

/// Takes a frame apart.
///
/// # Errors
/// What is wrong and at which byte of the frame.
pub fn decode(frame: &[u8]) -> Result<Frame<'_>, DecodeError> {
    let body_len = frame.len().checked_sub(4).ok_or(DecodeError::truncated(0, "frame"))?;
    let (body, checksum) = frame.split_at(body_len);
    let mut cursor = Cursor::new(body);
    if cursor.array("frame header")? != MAGIC {
        return Err(DecodeError::invalid(0, "frame header"));
    }
    if crc32c::crc32c(body).to_le_bytes() != *checksum {
        return Err(DecodeError { offset: body_len, kind: DecodeErrorKind::Checksum });
    }
    let count = cursor.u32("record count")? as usize;
    let mut records = Vec::with_capacity(count.min(body_len / MIN_RECORD_BYTES + 1));
    for _ in 0..count {
        records.push(read_record(&mut cursor)?);
    }
    if records.is_empty() {
        return Err(DecodeError::invalid(4, "record count"));
    }
    let digest = Digest::from_bytes(cursor.array("digest")?);
    cursor.finish("frame")?;
    Ok(Frame { records, digest })
}

/// Header and two empty sections: a count that promises more than fits is not believed with memory.
const MIN_RECORD_BYTES: usize = 3 + 2 + 4 + 8 + 2;

fn read_record<'a>(cursor: &mut Cursor<'a>) -> Result<FrameRecord<'a>, DecodeError> {
    let at = cursor.offset();
    let level = check_level(cursor.u8("format level")?, at)?;
    let kind = read_kind(cursor)?;
    let at = cursor.offset();
    let flags = cursor.u8("record flags")?;
    if flags & !(SERVE_HASH | MANAGE_HASH | CONFLICT) != 0 {
        return Err(DecodeError::invalid(at, "record flags"));
    }
    let slot = read_slot(cursor)?;
    let position = Position::new(cursor.u32("epoch")?, cursor.u64("seq")?);
    let serve = read_section(cursor, flags & SERVE_HASH != 0, "serve section")?;
    let manage = read_section(cursor, flags & MANAGE_HASH != 0, "manage section")?;
    let conflict = flags & CONFLICT != 0;
    if kind == Kind::EpochStart && (conflict || manage.bytes().is_some_and(|bytes| !bytes.is_empty())) {
        return Err(DecodeError::invalid(at, "epoch start"));
    }
    Ok(FrameRecord { header: Header { level, kind, slot }, position, conflict, serve, manage })
}

fn read_section<'a>(
    cursor: &mut Cursor<'a>,
    is_hash: bool,
    what: &'static str,
) -> Result<Section<'a>, DecodeError> {
    if is_hash {
        return Ok(Section::Hash(SectionHash(cursor.array(what)?)));
    }
    let at = cursor.offset();
    let len = cursor.varint(what)?;
    if len > SECTION_BYTES_MAX as u64 {
        return Err(DecodeError::invalid(at, what));
    }
    Ok(Section::Full(cursor.bytes(len as usize, what)?))
}
