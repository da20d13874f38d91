//! One change as the journal keeps it.
//!
//! ```text
//!  0  u8   format level (1)
//!  1  u8   kind: 0 change · 1 first record of an epoch · 2 entry of a journal that is not the links'
//!  2  u16  slot, 0..=4096
//!  4  u32  epoch
//!  8  u64  seq
//! 16  u32  length of the serve section
//! 20  u32  length of the manage section
//! 24  ...  serve section, then manage section
//! end u32  CRC-32C of everything before it
//! ```
//! ## serve section: what members that hold the slot get
//! ```text
//! varint  at: the writer's clock, ms since the Unix epoch, never below the record before
//! u8      number of parts here
//! part:   u8 index in the change · u8 length of the key, key · u8 precondition (0 any · 1 absent · 2 never used · 3 version)
//!         [varint version] · u8 operation (1 put · 2 delete) · [varint length, serve body]
//! ```
//! ## manage section: what full replicas get besides
//! ```text
//! u8      flags: 1 the command has an id · 16 bytes nonce · [16 bytes command id · 16 bytes request hash]
//! u8      length of the actor, actor (UTF-8)
//! u8      number of parts of the change
//! part:   u8 0: described above · 1: described here, like a part of the serve section but without index and body
//!         for a put: varint length, manage body
//! ```
//! The nonce is random: followers that may not see the section get its hash, and without the nonce a hash of mostly known bytes
//! could be searched for the unknown ones.
//!
//! A record of kind 1 has an empty manage section, slot 4096, and carries the previous record's position and digest in its serve
//! section after `at`: `u32 epoch · u64 seq · 16 bytes`.
//!
//! A record of kind 2 has slot 4096, nothing but `at` in its serve section, and in its manage section bytes that only the owner of that
//! journal reads (clicks: `clicklog::entry`). A log of links holds none.
//!
//! The slot is that of the change's links; 4096 when it has none. Every part with a served key is in the serve section; a change of
//! links changes no other served key, so that members that do not hold the slot miss nothing else.

use super::{Cursor, DecodeError, DecodeErrorKind, check_level, put_varint};
use crate::change::{Change, CommandId, Operation, Part, Precondition};
use crate::digest::{Digest, SectionHash};
use crate::key::{StateKey, Visibility};
use crate::limits::{ACTOR_BYTES_MAX, BODY_BYTES_MAX, PARTS_MAX, SECTION_BYTES_MAX};
use crate::position::{Head, Position};
use crate::slot::Slot;

/// Bytes before the sections.
pub const HEADER_BYTES: usize = 24;
const CHECKSUM_BYTES: usize = 4;
const HAS_COMMAND: u8 = 1;

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A change.
    Change,
    /// A writer has taken over: the first record of an epoch.
    EpochStart,
    /// An entry of another journal than the links': its manage section is its owner's to read.
    Entry,
}

impl Kind {
    /// Returns the byte that stands for it in records, frames and the digest chain.
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Kind::Change => 0,
            Kind::EpochStart => 1,
            Kind::Entry => 2,
        }
    }
}

/// What says how a record's sections are to be read, and by whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The format level it was written at; it stays the record's own on every copy.
    pub level: u8,
    /// What it is.
    pub kind: Kind,
    /// The slot of its links.
    pub slot: Slot,
}

/// What the writer adds to a change when it becomes a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The format level to write at.
    pub level: u8,
    /// The writer's clock, milliseconds since the Unix epoch, never below the record before.
    pub at_ms: u64,
    /// 16 random bytes.
    pub nonce: [u8; 16],
}

/// The two encoded halves of a change, before it has a position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sections {
    /// How to read them.
    pub header: Header,
    /// What members that hold the slot get.
    pub serve: Vec<u8>,
    /// What full replicas get besides.
    pub manage: Vec<u8>,
}

/// A record's bytes, taken apart and checked, its sections not yet read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordView<'a> {
    /// How to read it.
    pub header: Header,
    /// Where in the log.
    pub position: Position,
    /// The serve section.
    pub serve: &'a [u8],
    /// The manage section.
    pub manage: &'a [u8],
}

impl RecordView<'_> {
    /// Returns the chain's digest after this record.
    pub fn digest_after(&self, previous: Digest) -> Digest {
        previous.then(self.position, self.header, SectionHash::of(self.serve), SectionHash::of(self.manage))
    }
}

/// Appends a record.
pub fn encode(out: &mut Vec<u8>, position: Position, sections: &Sections) {
    let start = out.len();
    out.reserve(HEADER_BYTES + sections.serve.len() + sections.manage.len() + CHECKSUM_BYTES);
    out.push(sections.header.level);
    out.push(sections.header.kind.byte());
    out.extend_from_slice(&sections.header.slot.number().to_le_bytes());
    out.extend_from_slice(&position.epoch.0.to_le_bytes());
    out.extend_from_slice(&position.seq.0.to_le_bytes());
    out.extend_from_slice(&(sections.serve.len() as u32).to_le_bytes());
    out.extend_from_slice(&(sections.manage.len() as u32).to_le_bytes());
    out.extend_from_slice(&sections.serve);
    out.extend_from_slice(&sections.manage);
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Takes one whole record apart.
///
/// # Errors
/// What is wrong and at which byte; a newer format level is told apart from damage.
pub fn decode(bytes: &[u8]) -> Result<RecordView<'_>, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let level = check_level(cursor.u8("format level")?, 0)?;
    let body_len = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(DecodeError::truncated(1, "record"))?;
    let (body, checksum) = bytes.split_at(body_len);
    if crc32c::crc32c(body).to_le_bytes() != *checksum {
        return Err(DecodeError { offset: body_len, kind: DecodeErrorKind::Checksum });
    }
    let kind = read_kind(&mut cursor)?;
    let slot = read_slot(&mut cursor)?;
    let position = Position::new(cursor.u32("epoch")?, cursor.u64("seq")?);
    let serve_len = section_len(&mut cursor, "serve section")?;
    let manage_len = section_len(&mut cursor, "manage section")?;
    let serve = cursor.bytes(serve_len, "serve section")?;
    let manage = cursor.bytes(manage_len, "manage section")?;
    cursor.bytes(CHECKSUM_BYTES, "checksum")?;
    cursor.finish("record")?;
    Ok(RecordView { header: Header { level, kind, slot }, position, serve, manage })
}

pub(super) fn read_kind(cursor: &mut Cursor<'_>) -> Result<Kind, DecodeError> {
    let at = cursor.offset();
    match cursor.u8("record kind")? {
        0 => Ok(Kind::Change),
        1 => Ok(Kind::EpochStart),
        2 => Ok(Kind::Entry),
        _ => Err(DecodeError::invalid(at, "record kind")),
    }
}

pub(super) fn read_slot(cursor: &mut Cursor<'_>) -> Result<Slot, DecodeError> {
    let at = cursor.offset();
    Slot::new(cursor.u16("slot")?).ok_or(DecodeError::invalid(at, "slot"))
}

fn section_len(cursor: &mut Cursor<'_>, what: &'static str) -> Result<usize, DecodeError> {
    let at = cursor.offset();
    let len = cursor.u32(what)? as usize;
    if len > SECTION_BYTES_MAX { Err(DecodeError::invalid(at, what)) } else { Ok(len) }
}

/// Encodes a valid change.
pub fn sections_of(change: &Change, envelope: &Envelope) -> Sections {
    let mut serve = Vec::with_capacity(128);
    put_varint(&mut serve, envelope.at_ms);
    let is_served = |part: &Part| part.key.visibility() == Visibility::Served;
    serve.push(change.parts.iter().filter(|part| is_served(part)).count() as u8);
    for (index, part) in change.parts.iter().enumerate().filter(|(_, part)| is_served(part)) {
        serve.push(index as u8);
        put_part(&mut serve, part);
        if let Operation::Put { serve: body, .. } = &part.operation {
            put_bytes(&mut serve, body);
        }
    }
    let mut manage = Vec::with_capacity(128);
    manage.push(if change.command.is_some() { HAS_COMMAND } else { 0 });
    manage.extend_from_slice(&envelope.nonce);
    if let Some(id) = change.command {
        manage.extend_from_slice(&id.0);
        manage.extend_from_slice(&change.request_hash);
    }
    manage.push(change.actor.len() as u8);
    manage.extend_from_slice(change.actor.as_bytes());
    manage.push(change.parts.len() as u8);
    for part in &change.parts {
        manage.push(u8::from(!is_served(part)));
        if !is_served(part) {
            put_part(&mut manage, part);
        }
        if let Operation::Put { manage: body, .. } = &part.operation {
            put_bytes(&mut manage, body);
        }
    }
    let header = Header { level: envelope.level, kind: Kind::Change, slot: change.slot() };
    Sections { header, serve, manage }
}

/// Encodes the first record of an epoch that follows `previous`.
pub fn epoch_start(previous: Head, level: u8, at_ms: u64) -> Sections {
    let mut serve = Vec::with_capacity(40);
    put_varint(&mut serve, at_ms);
    serve.extend_from_slice(&previous.position.epoch.0.to_le_bytes());
    serve.extend_from_slice(&previous.position.seq.0.to_le_bytes());
    serve.extend_from_slice(&previous.digest.to_bytes());
    let header = Header { level, kind: Kind::EpochStart, slot: Slot::EVERYWHERE };
    Sections { header, serve, manage: Vec::new() }
}

/// Encodes an entry of a journal that is not the links'; `body` has at most [`SECTION_BYTES_MAX`] bytes.
pub fn entry(level: u8, at_ms: u64, body: Vec<u8>) -> Sections {
    debug_assert!(body.len() <= SECTION_BYTES_MAX, "the owner bounds its entries");
    let mut serve = Vec::with_capacity(10);
    put_varint(&mut serve, at_ms);
    Sections { header: Header { level, kind: Kind::Entry, slot: Slot::EVERYWHERE }, serve, manage: body }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_part(out: &mut Vec<u8>, part: &Part) {
    let key = part.key.encode();
    out.push(key.len() as u8);
    out.extend_from_slice(&key);
    match part.precondition {
        Precondition::Any => out.push(0),
        Precondition::Absent => out.push(1),
        Precondition::NeverUsed => out.push(2),
        Precondition::Version(version) => {
            out.push(3);
            put_varint(out, version);
        }
    }
    out.push(match part.operation {
        Operation::Put { .. } => 1,
        Operation::Delete => 2,
    });
}

/// A part as it was read: the key still encoded, bodies borrowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartView<'a> {
    /// Its place in the change, from 0.
    pub index: u8,
    /// The encoded state key; it decodes.
    pub key: &'a [u8],
    /// The condition.
    pub precondition: Precondition,
    /// True for a put, false for a delete.
    pub is_put: bool,
    /// The body of the section it was read from; empty for a delete.
    pub body: &'a [u8],
}

/// A serve section, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServeSection<'a> {
    /// The writer's clock, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The parts whose keys are served.
    pub parts: Vec<PartView<'a>>,
    /// For the first record of an epoch: the record before it.
    pub previous: Option<Head>,
}

/// Reads a serve section.
///
/// # Errors
/// What is wrong and at which byte of the section.
pub fn read_serve(header: Header, section: &[u8]) -> Result<ServeSection<'_>, DecodeError> {
    let mut cursor = Cursor::new(section);
    let at_ms = cursor.varint("at")?;
    if header.kind == Kind::EpochStart {
        if header.slot != Slot::EVERYWHERE {
            return Err(DecodeError::invalid(0, "slot of an epoch start"));
        }
        let position = Position::new(cursor.u32("previous epoch")?, cursor.u64("previous seq")?);
        let digest = Digest::from_bytes(cursor.array("previous digest")?);
        cursor.finish("epoch start")?;
        return Ok(ServeSection { at_ms, parts: Vec::new(), previous: Some(Head { position, digest }) });
    }
    if header.kind == Kind::Entry {
        if header.slot != Slot::EVERYWHERE {
            return Err(DecodeError::invalid(0, "slot of an entry"));
        }
        cursor.finish("entry")?;
        return Ok(ServeSection { at_ms, parts: Vec::new(), previous: None });
    }
    let count = part_count(&mut cursor, 0)?;
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let at = cursor.offset();
        let index = cursor.u8("part index")?;
        let rising = parts.last().is_none_or(|part: &PartView<'_>| part.index < index);
        if usize::from(index) >= PARTS_MAX || !rising {
            return Err(DecodeError::invalid(at, "part index"));
        }
        let (mut part, slot) = read_part(&mut cursor, index, Visibility::Served)?;
        if slot != header.slot || parts.iter().any(|other| other.key == part.key) {
            return Err(DecodeError::invalid(at, "part"));
        }
        if part.is_put {
            part.body = read_body(&mut cursor, "serve body")?;
        }
        parts.push(part);
    }
    cursor.finish("serve section")?;
    Ok(ServeSection { at_ms, parts, previous: None })
}

/// A manage section, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManageSection<'a> {
    /// What makes the section's hash say nothing about its content.
    pub nonce: [u8; 16],
    /// The command's id, if the client gave one.
    pub command: Option<CommandId>,
    /// The hash of the request.
    pub request_hash: [u8; 16],
    /// Who asked.
    pub actor: &'a str,
    /// Every part of the change in order, with its manage body; keys and conditions of served parts come from the serve section.
    pub parts: Vec<PartView<'a>>,
}

/// Reads the manage section that belongs to a serve section of kind [`Kind::Change`].
///
/// # Errors
/// What is wrong and at which byte of the section.
pub fn read_manage<'a>(
    serve: &ServeSection<'a>,
    section: &'a [u8],
) -> Result<ManageSection<'a>, DecodeError> {
    let mut cursor = Cursor::new(section);
    let flags = cursor.u8("manage flags")?;
    if flags & !HAS_COMMAND != 0 {
        return Err(DecodeError::invalid(0, "manage flags"));
    }
    let nonce = cursor.array("nonce")?;
    let (command, request_hash) = match flags {
        HAS_COMMAND => (Some(CommandId(cursor.array("command id")?)), cursor.array("request hash")?),
        _ => (None, [0; 16]),
    };
    let at = cursor.offset();
    let actor_len = usize::from(cursor.u8("actor")?);
    let actor = cursor.bytes(actor_len, "actor")?;
    let actor = std::str::from_utf8(actor).ok().filter(|actor| actor.len() <= ACTOR_BYTES_MAX);
    let actor = actor.ok_or(DecodeError::invalid(at, "actor"))?;
    let count = part_count(&mut cursor, 1)?;
    let mut served = serve.parts.iter();
    let mut parts = Vec::with_capacity(count);
    for index in 0..count as u8 {
        let at = cursor.offset();
        let mut part = match cursor.u8("part place")? {
            0 => *served
                .next()
                .filter(|part| part.index == index)
                .ok_or(DecodeError::invalid(at, "part place"))?,
            1 => read_part(&mut cursor, index, Visibility::ManageOnly)?.0,
            _ => return Err(DecodeError::invalid(at, "part place")),
        };
        part.body = if part.is_put { read_body(&mut cursor, "manage body")? } else { &[] };
        if parts.iter().any(|other: &PartView<'_>| other.key == part.key) {
            return Err(DecodeError::invalid(at, "part"));
        }
        parts.push(part);
    }
    if served.next().is_some() {
        return Err(DecodeError::invalid(cursor.offset(), "part count"));
    }
    cursor.finish("manage section")?;
    Ok(ManageSection { nonce, command, request_hash, actor, parts })
}

fn part_count(cursor: &mut Cursor<'_>, least: usize) -> Result<usize, DecodeError> {
    let at = cursor.offset();
    let count = usize::from(cursor.u8("part count")?);
    if (least..=PARTS_MAX).contains(&count) { Ok(count) } else { Err(DecodeError::invalid(at, "part count")) }
}

/// Reads a part without its body, and the slot of its key.
fn read_part<'a>(
    cursor: &mut Cursor<'a>,
    index: u8,
    expected: Visibility,
) -> Result<(PartView<'a>, Slot), DecodeError> {
    let at = cursor.offset();
    let key_len = usize::from(cursor.u8("key")?);
    let key = cursor.bytes(key_len, "key")?;
    let decoded = StateKey::decode(key).ok().filter(|key| key.visibility() == expected);
    let slot = decoded.ok_or(DecodeError::invalid(at, "key"))?.slot();
    let at = cursor.offset();
    let precondition = match cursor.u8("precondition")? {
        0 => Precondition::Any,
        1 => Precondition::Absent,
        2 => Precondition::NeverUsed,
        3 => Precondition::Version(cursor.varint("version")?),
        _ => return Err(DecodeError::invalid(at, "precondition")),
    };
    let at = cursor.offset();
    let is_put = match cursor.u8("operation")? {
        1 => true,
        2 => false,
        _ => return Err(DecodeError::invalid(at, "operation")),
    };
    Ok((PartView { index, key, precondition, is_put, body: &[] }, slot))
}

fn read_body<'a>(cursor: &mut Cursor<'a>, what: &'static str) -> Result<&'a [u8], DecodeError> {
    let at = cursor.offset();
    let len = cursor.varint(what)?;
    if len > BODY_BYTES_MAX as u64 {
        return Err(DecodeError::invalid(at, what));
    }
    cursor.bytes(len as usize, what)
}
