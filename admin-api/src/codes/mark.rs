//! Tells the key pools about aliases that look like generated codes, so that they are not generated later.
//!
//! Off the create path, idempotent, retried. What is to be told follows from the log: the queue is in memory, and a cursor on disk says up
//! to which record everything was told; after a restart the records behind it are read again. Should a mark be lost all the same, a code
//! that is taken makes one conflict, which the creating request survives.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linklog::codec::record::{self, Kind};
use linklog::journal::{JournalRead, JournalReader, ReadError};
use linklog::{Code7, Precondition, Seq, StateKey};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::pool::Pool;
use crate::blocking;
use crate::durable;

/// Most marks in memory; beyond it the oldest are dropped.
pub const QUEUE_MAX: usize = 100_000;
/// How often the cursor is written and failed calls are repeated.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How many bytes of records are read in one go while recovering.
const READ_BYTES: usize = 4 << 20;
const CURSOR: &str = "marked";

#[derive(Default)]
struct Queue {
    codes: VecDeque<Code7>,
    /// Creates of such aliases that are being decided right now, and a recovery that is running.
    in_flight: usize,
}

/// The queue, shared; cheap to clone.
#[derive(Clone, Default)]
pub struct Marks {
    queue: Arc<Mutex<Queue>>,
    wake: Arc<Notify>,
}

/// A create of an alias that looks like a code, begun and not yet decided: while it exists the cursor stays.
pub struct Pending {
    marks: Marks,
}

impl Marks {
    /// Announces that such an alias is about to be proposed.
    pub fn begin(&self) -> Pending {
        self.queue.lock().in_flight += 1;
        Pending { marks: self.clone() }
    }

    /// Says how many wait to be told.
    pub fn waiting(&self) -> usize {
        self.queue.lock().codes.len()
    }

    /// Says whether everything up to the head read *before* this call has been told.
    fn is_settled(&self) -> bool {
        let queue = self.queue.lock();
        queue.in_flight == 0 && queue.codes.is_empty()
    }
}

impl Pending {
    /// Queues a mark: the alias was created.
    pub fn created(&self, code: Code7) {
        let mut queue = self.marks.queue.lock();
        if queue.codes.len() >= QUEUE_MAX {
            queue.codes.pop_front();
        }
        queue.codes.push_back(code);
        self.marks.wake.notify_one();
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.marks.queue.lock().in_flight -= 1;
    }
}

/// Tells the pools until `stop`.
pub async fn run(
    marks: Marks,
    pools: Arc<[Pool]>,
    dir: PathBuf,
    journal: JournalReader,
    stop: CancellationToken,
) {
    let recovery = recover(marks.clone(), dir.clone(), journal.clone(), stop.clone());
    let mut told = match recovery.await {
        Some(told) => told,
        None => return,
    };
    while !stop.is_cancelled() {
        let head = journal.head().position.seq;
        tell(&marks, &pools).await;
        if head > told && marks.is_settled() && write_cursor(&dir, head).await {
            told = head;
        }
        let calm = timeout(LOOK_EVERY, marks.wake.notified());
        stop.run_until_cancelled(calm).await;
        // A burst of such aliases makes one call, not one each.
        stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(200))).await;
    }
    let head = journal.head().position.seq;
    if head > told && marks.is_settled() {
        write_cursor(&dir, head).await;
    }
}

/// Reads what was not told before the last stop; returns how far the cursor is.
async fn recover(marks: Marks, dir: PathBuf, journal: JournalReader, stop: CancellationToken) -> Option<Seq> {
    let recovering = marks.begin();
    let reading = blocking::run(move || {
        let told = read_cursor(&dir);
        let found = untold(&journal, told, || stop.is_cancelled());
        match found {
            Ok(codes) => codes.into_iter().for_each(|code| recovering.created(code)),
            Err(error) => {
                tracing::warn!(%error, "aliases that look like codes may not be known to the key pools")
            }
        }
        told
    });
    reading.await.ok()
}

/// Returns the codes that records after `from` created as aliases.
fn untold(journal: &dyn JournalRead, from: Seq, stop: impl Fn() -> bool) -> Result<Vec<Code7>, ReadError> {
    let mut codes = Vec::new();
    let mut next = from.next().max(journal.first_retained());
    while !stop() {
        let entries = journal.read(next, READ_BYTES)?;
        if entries.is_empty() {
            break;
        }
        next = Seq(next.0 + entries.len() as u64);
        let damaged =
            |source| ReadError::Store(linklog::store::StoreError::Damaged { what: "record", source });
        for entry in entries.iter().filter(|entry| !entry.conflict) {
            let view = entry.view().map_err(damaged)?;
            if view.header.kind != Kind::Change {
                continue;
            }
            let serve = record::read_serve(view.header, view.serve).map_err(damaged)?;
            let aliases =
                serve.parts.iter().filter(|part| part.is_put && part.precondition == Precondition::Absent);
            codes.extend(aliases.filter_map(|part| match StateKey::decode(part.key) {
                Ok(StateKey::Link(key)) => key.code.as_code7(),
                _ => None,
            }));
        }
    }
    Ok(codes)
}

/// Tells what is queued; what cannot be told stays.
async fn tell(marks: &Marks, pools: &[Pool]) {
    // Taken out, but not yet told: the cursor stays meanwhile.
    let telling = marks.begin();
    let mut untold: Vec<Code7> = std::mem::take(&mut marks.queue.lock().codes).into();
    if untold.is_empty() {
        return;
    }
    let mut all_known = true;
    for pool in pools {
        let Ok(description) = pool.described(pools).await else {
            all_known = false;
            continue;
        };
        let (own, others): (Vec<_>, Vec<_>) = untold.into_iter().partition(|code| description.owns(*code));
        untold = others;
        for codes in own.chunks(wire::limits::MARK_CODES_MAX) {
            if let Err(error) = pool.mark_used(codes).await {
                pool.ask_again();
                tracing::debug!(keypool = pool.url(), %error, "could not mark codes as used, will try again");
                untold.extend_from_slice(codes);
            }
        }
    }
    if all_known {
        // Slots that no pool has generate nothing.
        untold.retain(|code| {
            pools.iter().any(|pool| pool.description().is_some_and(|known| known.owns(*code)))
        });
    }
    {
        let mut queue = marks.queue.lock();
        let newer = std::mem::replace(&mut queue.codes, untold.into());
        queue.codes.extend(newer);
    }
    drop(telling);
}

fn read_cursor(dir: &Path) -> Seq {
    let text = std::fs::read_to_string(dir.join(CURSOR)).unwrap_or_default();
    // Without a cursor everything is told again: that is slow and harmless.
    Seq(text.trim().parse().unwrap_or(0))
}

async fn write_cursor(dir: &Path, at: Seq) -> bool {
    let path = dir.join(CURSOR);
    let written = blocking::run(move || durable::replace(&path, format!("{at}\n").as_bytes()));
    match written.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into())) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "cannot write down which aliases the key pools know");
            false
        }
    }
}
