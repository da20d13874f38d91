//! Every record that anybody has written, whatever the journals keep of it.

use std::collections::BTreeMap;

use linklog::journal::{Entry, JournalRead};
use linklog::{Head, Position, Seq};

use crate::model::Served;

/// How many bytes of a journal are read at once.
const READ_BYTES: usize = 1 << 20;

/// Records by where they stand and the chain's digest there: two histories may have one each at the same place.
#[derive(Default)]
pub struct Archive(BTreeMap<(Position, [u8; 16]), Record>);

struct Record {
    before: Head,
    entry: Entry,
}

impl Archive {
    /// Keeps what a journal has after record `after`, and returns its head.
    ///
    /// # Errors
    /// The journal cannot be read, or lacks what is between.
    pub fn keep(&mut self, journal: &dyn JournalRead, after: Seq) -> Result<Head, String> {
        if self.has(journal.head()) {
            return Ok(journal.head());
        }
        let mut next = after.next().max(journal.first_retained());
        let mut before = None;
        loop {
            let entries = journal.read(next, READ_BYTES).map_err(|error| error.to_string())?;
            if entries.is_empty() {
                return Ok(journal.head());
            }
            for entry in entries {
                let position = entry.view().map_err(|error| error.to_string())?.position;
                let head = Head { position, digest: entry.digest };
                next = position.seq.next();
                if !self.0.contains_key(&key(head)) {
                    let before = before.or_else(|| self.before(head, &entry));
                    let before =
                        before.ok_or_else(|| format!("nobody knows what record {position} follows"))?;
                    self.0.insert(key(head), Record { before, entry });
                }
                before = Some(head);
            }
        }
    }

    /// Says whether a record is known, and with it all before it.
    fn has(&self, head: Head) -> bool {
        self.0.contains_key(&key(head))
    }

    /// Finds what a record follows by its digest.
    fn before(&self, head: Head, entry: &Entry) -> Option<Head> {
        let view = entry.view().ok()?;
        let known = self
            .0
            .iter()
            .map(|((position, _), record)| Head { position: *position, digest: record.entry.digest });
        let mut candidates = std::iter::once(Head::EMPTY)
            .chain(known)
            .filter(|known| known.position.seq.next() == head.position.seq);
        candidates.find(|known| view.digest_after(known.digest) == head.digest)
    }

    /// Returns all records up to `head`, the first one first, each with the head after it.
    ///
    /// # Errors
    /// One of them was written by nobody.
    pub fn history(&self, head: Head) -> Result<Vec<(Head, &Entry)>, String> {
        let mut records = Vec::new();
        let mut at = head;
        while at.position.seq > Seq::ZERO {
            let record = self.0.get(&key(at));
            let record = record.ok_or_else(|| format!("record {} was written by nobody", at.position))?;
            records.push((at, &record.entry));
            at = record.before;
        }
        records.reverse();
        Ok(records)
    }

    /// Returns the state that all records up to `head` lead to.
    ///
    /// # Errors
    /// As [`Archive::history`], or the records contradict one another.
    pub fn fold(&self, head: Head) -> Result<Served, String> {
        Served::of_records(self.history(head)?.into_iter().map(|(_, entry)| entry))
    }
}

fn key(head: Head) -> (Position, [u8; 16]) {
    (head.position, head.digest.to_bytes())
}
