//! A replica: the state that a follower makes of the log.
//!
//! Invariants: what is stored is the state after exactly the records up to the head, because data, head and sums go into one
//! batch; a frame that does not continue the head in every respect (seq, epoch, digest, outcome) changes nothing. Nothing is fsynced
//! but the acceptance of a new epoch: after a crash the replica is an earlier prefix and asks for the rest again.

mod error;

pub use error::{ApplyError, Mismatch};

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use rocksdb::WriteBatch;

use crate::codec::frame::{self, Frame, FrameRecord};
use crate::codec::record::{self, Kind, ServeSection};
use crate::digest::{Digest, SlotSum};
use crate::entity::check_bodies;
use crate::key::StateKey;
use crate::position::{Epoch, Head, Position};
use crate::store::{
    ChangedKey, Contents, HEAD, HIGHEST_EPOCH, META, Reader, StateBatch, Store, StoreError, StoreOptions,
    SumTable, TouchedSlots, read_epoch, read_head, replay, write_head,
};

/// What applying a frame did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Where the replica is now.
    pub head: Head,
    /// How many records the frame had.
    pub records: usize,
    /// The keys whose state changed, each once, with their new values.
    pub changed: Vec<ChangedKey>,
    /// The writer's clock at the last record, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What a frame does, worked out and not yet written.
pub(crate) struct Prepared {
    /// To be written; more may be added.
    pub(crate) writes: WriteBatch,
    touched: TouchedSlots,
    epoch: Epoch,
    applied: Applied,
}

/// A follower's state. One owner applies; any number of [`Reader`]s read.
pub struct Replica {
    store: Arc<Store>,
    sums: SumTable,
    head: Head,
    highest_epoch: Epoch,
    applied_seq: Arc<AtomicU64>,
    full: bool,
}

impl Replica {
    /// Opens the replica in `dir`, making an empty one if there is none.
    ///
    /// # Errors
    /// If the database cannot be opened (also when another process has it open) or holds damaged bookkeeping.
    pub fn open(dir: &Path, contents: Contents, options: &StoreOptions) -> Result<Replica, StoreError> {
        Replica::in_store(Store::open(dir, contents, options)?, contents)
    }

    /// Returns the replica in an open database.
    pub(crate) fn in_store(store: Arc<Store>, contents: Contents) -> Result<Replica, StoreError> {
        let head = read_head(&store, HEAD)?;
        Ok(Replica {
            sums: SumTable::load(&store)?,
            head,
            highest_epoch: read_epoch(&store)?,
            applied_seq: Arc::new(AtomicU64::new(head.position.seq.0)),
            store,
            full: contents == Contents::Full,
        })
    }

    /// Returns the last record applied.
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Returns the highest epoch ever accepted; records of lower ones are refused.
    pub const fn highest_epoch(&self) -> Epoch {
        self.highest_epoch
    }

    /// Returns the sum over the served state of all slots at the head.
    pub fn serve_sum(&self) -> SlotSum {
        self.sums.total().serve
    }

    /// Returns how many served keys there are, tombstones included.
    pub fn serve_entries(&self) -> u64 {
        self.sums.total().serve_entries
    }

    /// Returns a watch on the database: it is closed when this replica and its last reader are gone.
    pub fn still_open(&self) -> StillOpen {
        StillOpen(Arc::downgrade(&self.store))
    }

    /// Returns a reader of the state.
    pub fn reader(&self) -> Reader {
        Reader::new(self.store.clone(), self.applied_seq.clone())
    }

    /// Compares the replica with what the writer says about the same position; says nothing about other positions.
    ///
    /// # Errors
    /// What differs.
    pub fn check(
        &self,
        position: Position,
        digest: Digest,
        serve_sum: Option<SlotSum>,
    ) -> Result<(), Mismatch> {
        if position.seq != self.head.position.seq {
            return Ok(());
        }
        if position.epoch != self.head.position.epoch || digest != self.head.digest {
            return Err(Mismatch::Chain { at: position, ours: self.head, theirs: digest });
        }
        match serve_sum {
            Some(theirs) if theirs != self.serve_sum() => {
                Err(Mismatch::State { at: position, ours: self.serve_sum(), theirs })
            }
            _ => Ok(()),
        }
    }

    /// Applies a frame of the feed ([`crate::codec::frame`]): all of it or nothing.
    ///
    /// # Errors
    /// Bytes that do not decode; records that do not continue the head; a digest that does not follow; an outcome that does not
    /// follow from the state. After [`ApplyError::Store`] the replica must be opened again; after the others it is as before.
    pub fn apply(&mut self, frame: &[u8]) -> Result<Applied, ApplyError> {
        let frame = frame::decode(frame)?;
        let prepared = self.prepare(&frame, self.highest_epoch)?;
        let sync = prepared.epoch > self.highest_epoch;
        Ok(self.commit(prepared, sync)?)
    }

    /// Works out what a frame does and writes nothing. Records of epochs below `accepted` are refused.
    pub(crate) fn prepare(&self, frame: &Frame<'_>, accepted: Epoch) -> Result<Prepared, ApplyError> {
        let mut head = self.head;
        let mut epoch = accepted;
        let mut at_ms = 0;
        let mut batch = StateBatch::new(&self.store, &self.sums);
        for record in &frame.records {
            check_continues(&head, epoch, record)?;
            let bytes = record.serve.bytes().ok_or(ApplyError::MissingSection { at: record.position })?;
            let serve = record::read_serve(record.header, bytes)
                .map_err(|source| ApplyError::BadSection { at: record.position, source })?;
            check_epoch_start(&head, record, &serve)?;
            if record.header.kind == Kind::Change {
                apply_change(&self.store, self.full, &mut batch, record, &serve)?;
            }
            at_ms = serve.at_ms;
            epoch = record.position.epoch;
            head = Head { position: record.position, digest: record.digest_after(head.digest) };
        }
        if head.digest != frame.digest {
            return Err(ApplyError::WrongDigest {
                at: head.position,
                ours: head.digest,
                theirs: frame.digest,
            });
        }
        let (mut writes, touched, changed) = batch.finish();
        write_head(&mut writes, &self.store, HEAD, &head);
        if epoch > self.highest_epoch {
            writes.put_cf(self.store.table(META), HIGHEST_EPOCH, epoch.0.to_le_bytes());
        }
        let applied = Applied { head, records: frame.records.len(), changed, at_ms };
        Ok(Prepared { writes, touched, epoch, applied })
    }

    /// Writes what a frame does; with `sync` it is on disk when this returns.
    pub(crate) fn commit(&mut self, prepared: Prepared, sync: bool) -> Result<Applied, StoreError> {
        let Prepared { writes, touched, epoch, applied } = prepared;
        self.store.write(writes, sync)?;
        self.sums.commit(touched);
        self.head = applied.head;
        self.highest_epoch = self.highest_epoch.max(epoch);
        self.applied_seq.store(applied.head.position.seq.0, Ordering::Release);
        Ok(applied)
    }

    /// Notes, fsynced, that nothing of an epoch below `epoch` is to be accepted any more.
    pub(crate) fn accept_epoch(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.store.table(META), HIGHEST_EPOCH, epoch.0.to_le_bytes());
        self.store.write(batch, true)?;
        self.highest_epoch = epoch;
        Ok(())
    }

    /// Makes a later crash find at least what is applied now.
    ///
    /// # Errors
    /// A failed fsync is fatal: end the process and recover by reopening.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }
}

/// Tells when a database is closed.
#[derive(Clone)]
pub struct StillOpen(Weak<Store>);

impl StillOpen {
    /// Says whether somebody still has it open.
    pub fn get(&self) -> bool {
        self.0.strong_count() > 0
    }
}

fn check_continues(head: &Head, highest_epoch: Epoch, record: &FrameRecord<'_>) -> Result<(), ApplyError> {
    let (found, expected) = (record.position, head.position.seq.next());
    if found.epoch < highest_epoch {
        return Err(ApplyError::OldEpoch { at: found, accepted: highest_epoch });
    }
    match found.seq {
        seq if seq > expected => Err(ApplyError::Gap { expected, found: seq }),
        seq if seq < expected => Err(ApplyError::Repeated { expected, found: seq }),
        _ => Ok(()),
    }
}

fn check_epoch_start(
    head: &Head,
    record: &FrameRecord<'_>,
    serve: &ServeSection<'_>,
) -> Result<(), ApplyError> {
    let rises = record.position.epoch > head.position.epoch;
    let at = record.position;
    match (record.header.kind, serve.previous) {
        (Kind::Entry, _) => Err(ApplyError::NoChange { at }),
        (Kind::Change, _) if rises => Err(ApplyError::EpochWithoutStart { at }),
        (Kind::EpochStart, _) if !rises => Err(ApplyError::EpochWithoutStart { at }),
        (Kind::EpochStart, previous) if previous != Some(*head) => {
            Err(ApplyError::WrongPrevious { at, ours: *head })
        }
        _ => Ok(()),
    }
}

fn apply_change(
    store: &Store,
    full: bool,
    batch: &mut StateBatch<'_>,
    record: &FrameRecord<'_>,
    serve: &ServeSection<'_>,
) -> Result<(), ApplyError> {
    let at = record.position;
    let manage = match record.manage.bytes() {
        Some(bytes) if full => {
            let manage = record::read_manage(serve, bytes);
            Some(manage.map_err(|source| ApplyError::BadSection { at, source })?)
        }
        None if full => return Err(ApplyError::MissingSection { at }),
        _ => None,
    };
    for part in serve.parts.iter().filter(|part| part.is_put) {
        let bad = |source| ApplyError::BadSection { at, source };
        let key = StateKey::decode(part.key).map_err(|_| bad(crate::DecodeError::invalid(0, "key")))?;
        let managed = manage.as_ref().and_then(|manage| manage.parts.get(usize::from(part.index)));
        check_bodies(&key, part.body, managed.map(|managed| managed.body)).map_err(bad)?;
    }
    if record.conflict && manage.is_none() {
        // Perhaps a part failed that is not served: its reasons are not ours to see, its effect is none.
        return Ok(());
    }
    let result = replay::replay(store, batch, at, serve, manage.as_ref())?;
    if result.is_err() != record.conflict {
        return Err(ApplyError::WrongOutcome { at });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::frame_of;
