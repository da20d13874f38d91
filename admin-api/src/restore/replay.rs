//! The records after a snapshot, as far as they are asked for.

use std::time::{Duration, Instant};

use linklog::codec::frame::{self, Frame, FrameWriter};
use linklog::codec::record;
use linklog::replica::ApplyError;
use linklog::standby::{FollowError, Standby};
use linklog::{Digest, Position};

use super::{RestoreError, Until};
use crate::backup::archive::frames_of;
use crate::backup::place::{Catalogue, Place, RecordsName};
use crate::clock;

/// How often it says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// What became of an object's records.
enum Taken {
    /// All of them are in the log now.
    All(u64),
    /// The point asked for lies in the object, and the log is there now.
    There(u64),
}

/// Replays what the place has after the log's head; returns how many records that were.
pub(super) async fn replay(
    place: &Place,
    catalogue: &Catalogue,
    standby: &mut Standby,
    until: Until,
    tell: &dyn Fn(String),
) -> Result<u64, RestoreError> {
    let (mut records, mut reported) = (0, Instant::now());
    loop {
        let at = standby.head().position;
        if matches!(until, Until::Seq(seq) if seq == at.seq) {
            return Ok(records);
        }
        let candidates = following(catalogue, at);
        if candidates.is_empty() {
            return match until {
                Until::Seq(_) => Err(RestoreError::Short { end: at }),
                Until::End | Until::Time(_) => Ok(records),
            };
        }
        let mut refused = None;
        for name in candidates {
            let object = place.get(&name.text()).await?;
            let frames = frames_of(&object).ok_or_else(|| RestoreError::Damaged { name: name.text() })?;
            // Replaying is work for this thread alone.
            match tokio::task::block_in_place(|| take(standby, &frames, until)) {
                Ok(Taken::There(taken)) => return Ok(records + taken),
                Ok(Taken::All(taken)) => {
                    records += taken;
                    refused = None;
                    break;
                }
                // Records of a history that ended by an earlier restore.
                Err(error) if standby.head().position == at => refused = Some(error),
                Err(source) => return Err(RestoreError::Records { at: standby.head().position, source }),
            }
        }
        if let Some(source) = refused {
            return Err(RestoreError::Records { at, source });
        }
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            tell(format!("replayed {records} records, up to {}", standby.head().position));
        }
    }
}

/// Returns the objects that may have the next record, those of the highest epoch first.
fn following(catalogue: &Catalogue, at: Position) -> Vec<RecordsName> {
    let next = at.seq.next();
    let mut names: Vec<_> =
        catalogue.records.iter().copied().filter(|name| name.first <= next && next <= name.last).collect();
    names.sort_by_key(|name| std::cmp::Reverse((name.epoch, name.last)));
    names
}

fn take(standby: &mut Standby, frames: &[&[u8]], until: Until) -> Result<Taken, FollowError> {
    let mut taken = 0;
    for bytes in frames {
        let frame = frame::decode(bytes).map_err(ApplyError::from)?;
        let head = standby.head();
        let (wanted, is_cut) = cut(&frame, head.position, until)?;
        if wanted > 0 {
            let from = frame.records.iter().position(|record| record.position.seq > head.position.seq);
            let records = &frame.records[from.unwrap_or(0)..][..wanted];
            let mut digest: Digest = head.digest;
            let mut writer = FrameWriter::new();
            for record in records {
                digest = record.digest_after(digest);
                writer.push(record);
            }
            // The chain as the writer had it; a part of a frame has none of its own.
            let whole = from == Some(0) && wanted == frame.records.len();
            let bytes = writer.finish(if whole { frame.digest } else { digest });
            taken += standby.adopt(&bytes, clock::now_us())?.records as u64;
        }
        if is_cut {
            return Ok(Taken::There(taken));
        }
    }
    Ok(Taken::All(taken))
}

/// Returns how many records of a frame are new and wanted, and whether one is there that is not wanted any more.
fn cut(frame: &Frame<'_>, after: Position, until: Until) -> Result<(usize, bool), FollowError> {
    let mut wanted = 0;
    for record in frame.records.iter().filter(|record| record.position.seq > after.seq) {
        let is_beyond = match until {
            Until::End => false,
            Until::Seq(seq) => record.position.seq > seq,
            Until::Time(at_ms) => {
                let bad = |source| ApplyError::BadSection { at: record.position, source };
                let missing = ApplyError::MissingSection { at: record.position };
                let bytes = record.serve.bytes().ok_or(missing)?;
                record::read_serve(record.header, bytes).map_err(bad)?.at_ms > at_ms
            }
        };
        if is_beyond {
            return Ok((wanted, true));
        }
        wanted += 1;
    }
    Ok((wanted, false))
}
