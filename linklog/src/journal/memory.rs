//! A journal in memory, for tests and simulations: the same rules, no durability.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Entry, Journal, JournalRead, NewRecord, ReadError};
use crate::codec::record;
use crate::digest::Digest;
use crate::position::{Epoch, Head, Position, Seq};
use crate::store::StoreError;

/// A journal that forgets everything when the last handle is dropped.
#[derive(Default)]
pub struct MemoryJournal {
    log: Arc<RwLock<Log>>,
    epoch: Epoch,
}

#[derive(Default)]
struct Log {
    base: Head,
    head: Head,
    entries: VecDeque<(Position, Entry)>,
}

impl MemoryJournal {
    /// Returns an empty journal. Its first epoch has to be started before anything is appended.
    pub fn new() -> MemoryJournal {
        MemoryJournal::default()
    }
}

impl Log {
    fn push(&mut self, epoch: Epoch, new: &NewRecord) -> Position {
        let position = Position { epoch, seq: self.head.position.seq.next() };
        let mut bytes = Vec::new();
        record::encode(&mut bytes, position, &new.sections);
        let digest = record::decode(&bytes).expect("own encoding decodes").digest_after(self.head.digest);
        self.head = Head { position, digest };
        self.entries.push_back((position, Entry { digest, conflict: new.conflict, record: bytes }));
        position
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, records: &[NewRecord]) -> Result<Vec<Position>, StoreError> {
        assert_ne!(self.epoch, Epoch(0), "an epoch is started before records are appended");
        let mut log = self.log.write();
        Ok(records.iter().map(|new| log.push(self.epoch, new)).collect())
    }

    fn start_epoch(&mut self, level: u8, at_ms: u64) -> Result<Position, StoreError> {
        let mut log = self.log.write();
        self.epoch = Epoch(log.head.position.epoch.0 + 1);
        let sections = record::epoch_start(log.head, level, at_ms);
        Ok(log.push(self.epoch, &NewRecord { sections, conflict: false }))
    }

    fn trim(&mut self, bytes_kept: u64) -> Result<(), StoreError> {
        let mut log = self.log.write();
        let mut total: u64 = log.entries.iter().map(|(_, entry)| entry.record.len() as u64).sum();
        while let Some((position, entry)) = log.entries.front() {
            total -= entry.record.len() as u64;
            if total < bytes_kept {
                break;
            }
            log.base = Head { position: *position, digest: entry.digest };
            log.entries.pop_front();
        }
        Ok(())
    }

    fn reader(&self) -> Arc<dyn JournalRead> {
        Arc::new(MemoryReader(self.log.clone()))
    }
}

struct MemoryReader(Arc<RwLock<Log>>);

impl JournalRead for MemoryReader {
    fn head(&self) -> Head {
        self.0.read().head
    }

    fn first_retained(&self) -> Seq {
        self.0.read().base.position.seq.next()
    }

    fn read(&self, from: Seq, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        let log = self.0.read();
        let first_retained = log.base.position.seq.next();
        let skip =
            from.0.checked_sub(first_retained.0).ok_or(ReadError::NotRetained { from, first_retained })?;
        let mut bytes = 0;
        let fits = |entry: &&(Position, Entry)| {
            let room = bytes == 0 || bytes + entry.1.record.len() <= bytes_max;
            bytes += entry.1.record.len();
            room
        };
        let wanted = log.entries.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX));
        Ok(wanted.take_while(fits).map(|(_, entry)| entry.clone()).collect())
    }

    fn digest_at(&self, position: Position) -> Result<Option<Digest>, ReadError> {
        let log = self.0.read();
        if position == log.base.position {
            return Ok(Some(log.base.digest));
        }
        let found = log.entries.iter().find(|(at, _)| *at == position);
        Ok(found.map(|(_, entry)| entry.digest))
    }
}
