//! From rings to batches: one thread that reads what the workers have recorded, adds it up, and puts it into the ledger.
//!
//! It may share its core with a worker, and no visitor should notice: it reads little and often (`Drainer::look`), and what it has added
//! up goes into the ledger (`Drainer::commit`) before that becomes much work.
//!
//! Every commit is one fsynced step of the ledger: batches and the rings' cursors together. Only then may the rings write over what
//! was read. If the ledger fails, nothing was taken over: the rings fill up, what does not fit is dropped and counted, and
//! visitors notice nothing; it is all read again.

use std::sync::Arc;

use clicklog::Ledger;
use clicklog::batch::CELLS_MAX;
use clicklog::ledger::{Cursor, Entry, LedgerError, RingId};
use daemon::disk::DiskReserve;
use tokio::sync::watch;

use super::kind::Kinds;
use super::record::{Click, RECORD_BYTES_MAX};
use super::ring::file::RingFile;
use super::ring::{Content, Found, Reader};
use super::status::ClickStatus;
use super::tally::Tally;

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
    /// What was read and is not in the ledger.
    tally: Tally,
    /// Every click answered before this is in the ledger or in `tally`; milliseconds since the Unix epoch.
    read_until_ms: u64,
    status: Arc<ClickStatus>,
    /// Every click answered before this is in the ledger; stored after it is there.
    complete_until: watch::Sender<u64>,
    content: Box<Content>,
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
        let (kinds, tally, read_until_ms) = (Kinds::new(), Tally::new(), *complete_until.borrow());
        Ok(Drainer { ledger, rings, kinds, tally, read_until_ms, status, complete_until, content })
    }

    /// Says whether a commit should not wait any longer: a ring needs the room.
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
    /// As [`Drainer::commit`].
    pub(super) fn drain(&mut self, now_ms: u64) -> Result<(), LedgerError> {
        self.look(now_ms)?;
        self.commit()
    }

    /// Adds up what is in the rings, and commits as often as a batch is full; `now_ms` as above. Says whether there was anything.
    ///
    /// # Errors
    /// As [`Drainer::commit`].
    pub(super) fn look(&mut self, now_ms: u64) -> Result<bool, LedgerError> {
        let before: u64 = self.rings.iter().map(|ring| ring.reader.place()).sum();
        while !self.read() {
            self.commit()?;
        }
        self.read_until_ms = self.read_until_ms.max(now_ms);
        Ok(self.rings.iter().map(|ring| ring.reader.place()).sum::<u64>() != before)
    }

    /// Puts what was read into the ledger, on disk when this returns.
    ///
    /// # Errors
    /// If the ledger fails; what was read is read again next time.
    pub(super) fn commit(&mut self) -> Result<(), LedgerError> {
        let (kinds, damaged) = (self.tally.kinds(), self.tally.damaged());
        // Taken once: the workers go on, and what they drop from here on belongs to the next commit.
        let reached: Vec<Cursor> = self.rings.iter().map(Drained::now).collect();
        let rings = || self.rings.iter().zip(&reached);
        let cursors = rings().filter(|(_, now)| **now != Cursor::default());
        let cursors = cursors.map(|(ring, now)| (ring.id, *now)).collect();
        let ring_full = rings().map(|(ring, now)| now.dropped - ring.cursor.dropped).sum();
        let entry = Entry {
            cells: self.tally.take(),
            dropped: damaged + ring_full,
            complete_until_ms: self.read_until_ms,
            cursors,
        };
        let committed = self.ledger.commit(entry);
        self.report_failure(committed.as_ref().err());
        if let Err(error) = committed {
            self.rings.iter_mut().for_each(|ring| ring.reader.set_place(ring.cursor.position));
            self.read_until_ms = *self.complete_until.borrow();
            return Err(error);
        }
        for (ring, now) in self.rings.iter_mut().zip(reached) {
            ring.cursor = now;
            ring.reader.take_over(ring.cursor.position);
        }
        self.status.recorded(kinds, ring_full, damaged);
        self.status.set_standing(self.ledger.standing());
        self.complete_until.send_modify(|until_ms| *until_ms = self.read_until_ms.max(*until_ms));
        Ok(())
    }

    /// Notes that nothing is read for want of room; the next commit that succeeds ends it.
    pub(super) fn hold_back(&self, disk: &DiskReserve) {
        if self.status.set_failing(true) {
            tracing::error!(
                free_bytes = disk.free(),
                reserve_bytes = disk.reserve(),
                "hardly any room for the click ledger: clicks wait in memory, and are dropped when it is full"
            );
        }
    }

    /// Reads rings until they are empty or a batch is full; says whether they are empty.
    fn read(&mut self) -> bool {
        let Drainer { rings, kinds, tally, content, status, .. } = self;
        for ring in rings {
            loop {
                if tally.links() >= CELLS_MAX {
                    return false;
                }
                match ring.reader.read(content) {
                    Found::Record(content) => match Click::decode(content) {
                        Ok(click) => tally.add(&click, kinds.of(&click.asker)),
                        Err(_) => tally.add_damaged(),
                    },
                    Found::Damaged => tally.add_damaged(),
                    Found::Nothing => break,
                    Found::Broken => {
                        // How many were in what is skipped, nobody can tell: one at least.
                        tally.add_damaged();
                        status.possibly_lost();
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
