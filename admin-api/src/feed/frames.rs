//! Frames for followers, made once however many followers want the same.

use std::collections::VecDeque;

use bytes::Bytes;
use linklog::codec::frame::{FrameRecord, FrameWriter, Section};
use linklog::digest::SectionHash;
use linklog::journal::{JournalRead, ReadError};
use linklog::limits::FRAME_BYTES_MAX;
use linklog::store::StoreError;
use linklog::{Digest, Position, Seq};
use parking_lot::Mutex;

/// How many recent frames are kept: followers at the head ask for the same one within a moment.
const CACHED_FRAMES: usize = 8;
/// The largest frame worth keeping; larger ones belong to a follower that is catching up alone.
const CACHED_FRAME_BYTES_MAX: usize = 1 << 20;

/// Records in the feed's format.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The bytes ([`linklog::codec::frame`]).
    pub bytes: Bytes,
    /// The last record in it.
    pub last: Position,
    /// The chain's digest after it.
    pub digest: Digest,
}

/// What was asked for: from which record, up to which head, with or without the managed part.
type Wanted = (Seq, Position, bool);

/// The most recent frames.
#[derive(Default)]
pub(super) struct FrameCache {
    recent: Mutex<VecDeque<(Wanted, Frame)>>,
}

impl FrameCache {
    /// Returns a frame of records from `from` on, up to `head` at most; `None` if there is none yet.
    ///
    /// # Errors
    /// As reading the journal.
    pub(super) fn frame(
        &self,
        journal: &dyn JournalRead,
        from: Seq,
        head: Position,
        with_manage: bool,
    ) -> Result<Option<Frame>, ReadError> {
        let wanted = (from, head, with_manage);
        if let Some((_, frame)) = self.recent.lock().iter().find(|(key, _)| *key == wanted) {
            return Ok(Some(frame.clone()));
        }
        let Some(frame) = make(journal, from, head, with_manage)? else { return Ok(None) };
        if frame.bytes.len() <= CACHED_FRAME_BYTES_MAX {
            let mut recent = self.recent.lock();
            recent.truncate(CACHED_FRAMES - 1);
            recent.push_front((wanted, frame.clone()));
        }
        Ok(Some(frame))
    }
}

/// Makes a frame of records from `from` on, up to `head` at most; `None` if there is none yet.
///
/// # Errors
/// As reading the journal.
pub fn make(
    journal: &dyn JournalRead,
    from: Seq,
    head: Position,
    with_manage: bool,
) -> Result<Option<Frame>, ReadError> {
    let damaged = |source| ReadError::Store(StoreError::Damaged { what: "record", source });
    let mut writer = FrameWriter::new();
    let mut end = None;
    for entry in journal.read(from, FRAME_BYTES_MAX)? {
        let record = entry.view().map_err(damaged)?;
        if record.position.seq > head.seq {
            break;
        }
        let manage = match with_manage {
            true => Section::Full(record.manage),
            false => Section::Hash(SectionHash::of(record.manage)),
        };
        writer.push(&FrameRecord {
            header: record.header,
            position: record.position,
            conflict: entry.conflict,
            serve: Section::Full(record.serve),
            manage,
        });
        end = Some((record.position, entry.digest));
        if writer.len() >= FRAME_BYTES_MAX {
            break;
        }
    }
    Ok(end.map(|(last, digest)| Frame { bytes: writer.finish(digest).into(), last, digest }))
}
