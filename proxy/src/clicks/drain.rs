//! From rings to batches: one thread that reads what the workers have recorded, adds it up by link and kind, and puts it into the ledger.
//!
//! Every pass (`Drainer::pass`) is one fsynced step of the ledger: batches and the rings' cursors together. Only then may the rings write
//! over what was read. If the ledger fails, nothing was taken over: the rings fill up, what does not fit is dropped and counted, and
//! visitors notice nothing; every pass tries again.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::Arc;

use clicklog::batch::CELLS_MAX;
use clicklog::ledger::{Cursor, Entry, LedgerError, RingId};
use clicklog::{Cell, Counts, Kind, Ledger, Subject};
use linklog::StateKey;
use tokio::sync::watch;

use super::kind::Kinds;
use super::record::{Click, RECORD_BYTES_MAX};
use super::ring::file::RingFile;
use super::ring::{Content, Found, Reader};
use super::status::ClickStatus;

/// Most links in one pass; with more, another follows at once. Bounds memory and batches of one step.
const PASS_CELLS_MAX: usize = 8 * CELLS_MAX;

/// A ring that is read.
struct Drained {
    id: RingId,
    reader: Reader<Arc<RingFile>>,
    /// As in the ledger.
    cursor: Cursor,
}

impl Drained {
    fn open(ledger: &Ledger, ring: Arc<RingFile>) -> Result<Drained, LedgerError> {
        let header = ring.header();
        let cursor = ledger.cursor(header.id)?.unwrap_or_default();
        let reader = Reader::new(ring, header.secret, cursor.position);
        Ok(Drained { id: header.id, cursor: Cursor { position: reader.place(), ..cursor }, reader })
    }

    /// Where it is now.
    fn now(&self) -> Cursor {
        Cursor { position: self.reader.place(), dropped: self.reader.dropped().max(self.cursor.dropped) }
    }
}

/// Reads rings into a ledger.
pub(super) struct Drainer {
    ledger: Arc<Ledger>,
    rings: Vec<Drained>,
    kinds: Kinds,
    status: Arc<ClickStatus>,
    /// Every click answered before this is in the ledger, milliseconds since the Unix epoch; stored after it is there.
    complete_until: watch::Sender<u64>,
    content: Box<Content>,
}

/// What a pass adds up.
#[derive(Default)]
struct Sums {
    cells: HashMap<Subject, (Counts, u64)>,
    kinds: [u64; Kind::ALL.len()],
    damaged: u64,
}

impl Sums {
    /// Counts a click; says whether it makes sense.
    fn add(&mut self, click: &Click<'_>, kind: Kind) -> bool {
        let Ok(StateKey::Link(key)) = StateKey::decode(click.key) else { return false };
        let cell = match self.cells.entry(Subject { key, created: click.created }) {
            MapEntry::Occupied(entry) => entry.into_mut(),
            MapEntry::Vacant(entry) => entry.insert((Counts::ZERO, 0)),
        };
        cell.0.add(kind, 1);
        if kind == Kind::Person {
            cell.1 = cell.1.max(click.at_ms);
        }
        self.kinds[kind as usize] += 1;
        true
    }

    fn into_cells(self) -> Vec<Cell> {
        let cell = |(subject, (counts, last_click_ms))| Cell { subject, counts, last_click_ms };
        self.cells.into_iter().map(cell).collect()
    }
}

impl Drainer {
    /// Reads `rings` from where the ledger is. Nobody else may.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub(super) fn new(
        ledger: Arc<Ledger>,
        rings: Vec<Arc<RingFile>>,
        status: Arc<ClickStatus>,
        complete_until: watch::Sender<u64>,
    ) -> Result<Drainer, LedgerError> {
        let rings = rings.into_iter().map(|ring| Drained::open(&ledger, ring)).collect::<Result<_, _>>()?;
        status.set_standing(ledger.standing());
        let content = Box::new([0; RECORD_BYTES_MAX]);
        Ok(Drainer { ledger, rings, kinds: Kinds::new(), status, complete_until, content })
    }

    /// Says whether a ring should not wait any longer.
    pub(super) fn is_urgent(&self) -> bool {
        self.rings.iter().any(|ring| ring.reader.is_half_full())
    }

    /// Removes the rings that no worker has any more; to be called when they are empty for good.
    pub(super) fn remove_rings(self) {
        for ring in self.rings {
            let file = ring.reader.into_memory();
            // A connection that outlived its worker may record something still: the next process finds it.
            if Arc::strong_count(&file) == 1 {
                super::remove(file.path());
            }
        }
    }

    /// Takes everything over that is in the rings. `now_ms` is the time before the call, milliseconds since the Unix epoch: what was
    /// answered until then is recorded.
    ///
    /// # Errors
    /// If the ledger fails; what was read is read again next time.
    pub(super) fn drain(&mut self, now_ms: u64) -> Result<(), LedgerError> {
        while !self.pass(now_ms)? {}
        Ok(())
    }

    /// Takes over as much as fits a step; says whether that was everything.
    fn pass(&mut self, now_ms: u64) -> Result<bool, LedgerError> {
        let mut sums = Sums::default();
        let is_all = self.read(&mut sums);
        let (kinds, damaged) = (sums.kinds, sums.damaged);
        // Taken once: the workers go on, and what they drop from here on belongs to the next pass.
        let reached: Vec<Cursor> = self.rings.iter().map(Drained::now).collect();
        let rings = || self.rings.iter().zip(&reached);
        let cursors =
            rings().filter(|(_, now)| **now != Cursor::default()).map(|(ring, now)| (ring.id, *now));
        let cursors: Vec<(RingId, Cursor)> = cursors.collect();
        let ring_full = rings().map(|(ring, now)| now.dropped - ring.cursor.dropped).sum();
        let entry = Entry {
            cells: sums.into_cells(),
            dropped: damaged + ring_full,
            complete_until_ms: if is_all { now_ms } else { 0 },
            cursors,
        };
        let committed = self.ledger.commit(entry);
        self.report_failure(committed.as_ref().err());
        if let Err(error) = committed {
            self.rings.iter_mut().for_each(|ring| ring.reader.set_place(ring.cursor.position));
            return Err(error);
        }
        for (ring, now) in self.rings.iter_mut().zip(reached) {
            ring.cursor = now;
            ring.reader.take_over(ring.cursor.position);
        }
        self.status.recorded(kinds, ring_full, damaged);
        self.status.set_standing(self.ledger.standing());
        self.complete_until.send_modify(|until_ms| {
            if is_all {
                *until_ms = now_ms.max(*until_ms);
            }
        });
        Ok(is_all)
    }

    /// Reads rings until they are empty or there are too many links for one step; says which.
    fn read(&mut self, sums: &mut Sums) -> bool {
        for ring in &mut self.rings {
            loop {
                if sums.cells.len() >= PASS_CELLS_MAX {
                    return false;
                }
                match ring.reader.read(&mut self.content) {
                    Found::Record(content) => {
                        let click = Click::decode(content);
                        let counted = click.is_ok_and(|click| sums.add(&click, self.kinds.of(&click.asker)));
                        sums.damaged += u64::from(!counted);
                    }
                    Found::Damaged => sums.damaged += 1,
                    Found::Nothing => break,
                    Found::Broken => {
                        // How many were in what is skipped, nobody can tell: one at least.
                        sums.damaged += 1;
                        self.status.possibly_lost();
                        if !ring.reader.skip_to_written() {
                            break;
                        }
                    }
                }
            }
        }
        true
    }

    fn report_failure(&self, error: Option<&LedgerError>) {
        let is_news = self.status.set_failing(error.is_some());
        match error {
            Some(error) if is_news => {
                tracing::error!(%error, "cannot write to the click ledger: clicks wait in memory, and are dropped when it is full");
            }
            None if is_news => tracing::info!("the click ledger can be written again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
