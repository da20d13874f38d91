//! Gives the codes of deleted links back to the key pools they came from, which let them rest before they hand them out again.
//!
//! What is to be given back follows from the log: the marks that deletions leave ([`super::reuse`]). A cursor on disk says up to which record
//! it was told; a pool that is away is waited for. Told twice, a code rests once more, and should it be in use by then, whoever gets
//! it finds that out from the log. Runs only while codes may come back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linklog::codec::record::{self, Kind};
use linklog::journal::{JournalRead, JournalReader, ReadError};
use linklog::store::StoreError;
use linklog::{Code7, Seq, StateKey};
use tokio_util::sync::CancellationToken;

use super::pool::Pool;
use crate::blocking;
use crate::durable;

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How many bytes of records are read in one go.
const READ_BYTES: usize = 4 << 20;
const CURSOR: &str = "released";

/// Tells the pools until `stop`.
pub async fn run(pools: Arc<[Pool]>, dir: PathBuf, journal: JournalReader, stop: CancellationToken) {
    let mut told = read_cursor(&dir);
    let mut is_ignored = false;
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        while journal.head().position.seq > told && !stop.is_cancelled() {
            let (reader, from) = (journal.clone(), told);
            let read = blocking::run(move || freed(&reader, from)).await;
            let (codes, until) = match read {
                Ok(Ok(read)) => read,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "codes of deleted links cannot be given back now");
                    break;
                }
                Err(_) => return,
            };
            if !tell(&pools, codes, &mut is_ignored).await {
                break;
            }
            told = until;
            let path = dir.join(CURSOR);
            if let Err(error) =
                tokio::task::block_in_place(|| durable::replace(&path, format!("{told}\n").as_bytes()))
            {
                tracing::warn!(%error, "cannot write down which codes were given back");
            }
        }
    }
}

/// Without a cursor everything is told again: that is slow and harmless.
fn read_cursor(dir: &Path) -> Seq {
    Seq(std::fs::read_to_string(dir.join(CURSOR)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// Returns the codes that some records after `from` freed, and the last of these records.
fn freed(journal: &JournalReader, from: Seq) -> Result<(Vec<Code7>, Seq), ReadError> {
    let (mut codes, mut until) = (Vec::new(), journal.head().position.seq);
    let first = from.next().max(journal.first_retained());
    let damaged = |source| ReadError::Store(StoreError::Damaged { what: "record", source });
    let entries = journal.read(first, READ_BYTES)?;
    for entry in &entries {
        let view = entry.view().map_err(damaged)?;
        until = view.position.seq;
        if entry.conflict || view.header.kind != Kind::Change {
            continue;
        }
        let serve = record::read_serve(view.header, view.serve).map_err(damaged)?;
        let manage = record::read_manage(&serve, view.manage).map_err(damaged)?;
        codes.extend(manage.parts.iter().filter(|part| part.is_put).filter_map(
            |part| match StateKey::decode(part.key) {
                Ok(StateKey::FreedCode(_, code)) => Some(code),
                _ => None,
            },
        ));
    }
    Ok((codes, until))
}

/// Tells each code to the pool that has its slot; false: one of them could not be told.
async fn tell(pools: &[Pool], codes: Vec<Code7>, is_ignored: &mut bool) -> bool {
    let mut untold = codes;
    for pool in pools {
        if untold.is_empty() {
            return true;
        }
        let Ok(description) = pool.described(pools).await else { return false };
        let (own, others): (Vec<_>, Vec<_>) = untold.into_iter().partition(|code| description.owns(*code));
        untold = others;
        for codes in own.chunks(wire::limits::MARK_CODES_MAX) {
            match pool.release(codes).await {
                Ok(released) if released.quarantined == 0 && released.ignored > 0 => {
                    if !std::mem::replace(is_ignored, true) {
                        tracing::warn!(
                            keypool = pool.url(),
                            "this key pool takes no code back: set [pool] quarantine_days there, or [codes] reuse = false here"
                        );
                    }
                }
                Ok(_) => *is_ignored = false,
                Err(error) => {
                    pool.ask_again();
                    tracing::debug!(keypool = pool.url(), %error, "could not give codes back, will try again");
                    return false;
                }
            }
        }
    }
    // Slots that no pool has generate nothing.
    true
}
