//! The journal's archive: every record, soon after it was written, in a place for backups.

use bytes::{BufMut, Bytes, BytesMut};
use linklog::journal::{JournalRead, JournalReader, ReadError};
use linklog::{Position, Seq};

use super::place::{Catalogue, Place, PlaceError, RecordsName};
use crate::blocking;
use crate::feed::frames;

/// How large an object becomes, roughly, in bytes.
const OBJECT_BYTES: usize = 16 << 20;

/// Why records were not archived. They are tried again.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The journal.
    #[error("cannot read the journal")]
    Journal(#[from] ReadError),
    /// The process is ending.
    #[error("the process is ending")]
    Ending,
}

/// How far the archive is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// Everything up to here is archived, or in a snapshot.
    Here(Position),
    /// What comes next is not in the journal any more: only a snapshot makes it whole.
    Nowhere,
}

/// Finds out how far the archive is that goes with this journal.
///
/// # Errors
/// The journal.
pub fn find_reached(catalogue: &Catalogue, journal: &JournalReader) -> Result<Reached, ReadError> {
    let snapshots = catalogue.snapshots.iter().map(|name| Position { epoch: name.epoch, seq: name.seq });
    let records = catalogue.records.iter().map(|name| Position { epoch: name.epoch, seq: name.last });
    let mut reached = Reached::Nowhere;
    for position in snapshots.chain(records) {
        // An epoch has one writer: the same epoch and seq is the same record.
        let is_ours =
            position.seq.next() >= journal.first_retained() && journal.digest_at(position)?.is_some();
        let is_further = matches!(reached, Reached::Here(known) if known.seq >= position.seq);
        if is_ours && !is_further {
            reached = Reached::Here(position);
        }
    }
    Ok(reached)
}

/// Archives some records after `reached`; returns how far it is then, `None` if there were none.
///
/// # Errors
/// Nothing was archived then, or everything that the place has.
///
/// # Cancel safety
/// As after an error.
pub async fn step(
    place: &Place,
    journal: &JournalReader,
    reached: Position,
) -> Result<Option<Position>, ArchiveError> {
    let reader = journal.clone();
    let made = blocking::run(move || object(&reader, reached.seq.next()));
    let Some((bytes, last)) = made.await.map_err(|_| ArchiveError::Ending)?? else { return Ok(None) };
    let name = RecordsName { first: reached.seq.next(), last: last.seq, epoch: last.epoch };
    place.put(&name.text(), bytes).await?;
    Ok(Some(last))
}

fn object(journal: &dyn JournalRead, from: Seq) -> Result<Option<(Bytes, Position)>, ReadError> {
    let head = journal.head().position;
    let (mut bytes, mut last) = (BytesMut::new(), None);
    let mut next = from;
    while bytes.len() < OBJECT_BYTES {
        let Some(frame) = frames::make(journal, next, head, true)? else { break };
        bytes.put_u32_le(frame.bytes.len() as u32);
        bytes.extend_from_slice(&frame.bytes);
        next = frame.last.seq.next();
        last = Some(frame.last);
    }
    Ok(last.map(|last| (bytes.freeze(), last)))
}

/// Takes an object apart into its frames; `None`: it is no such object.
pub fn frames_of(object: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut rest, mut frames) = (object, Vec::new());
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (frame, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        frames.push(frame);
        rest = after;
    }
    Some(frames)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_object_is_taken_apart_as_it_was_put_together() {
        assert_eq!(frames_of(b"\x02\0\0\0ab\0\0\0\0\x01\0\0\0c"), Some(vec![&b"ab"[..], b"", b"c"]));
        assert_eq!(frames_of(b"\x02\0\0\0a"), None);
        assert_eq!(frames_of(b"\x02\0\0"), None);
        assert_eq!(frames_of(b"\xff\xff\xff\xff"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = frames_of(&bytes);
        }
    }
}
