//! Deciding and committing a group.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use super::{Commit, Decision, Proposal, ProposeError, Shared, WriterCounts, WriterFailure, WriterOptions};
use crate::change::{Change, CommandId};
use crate::codec::record::{self, Envelope, Sections};
use crate::codec::{FORMAT_LEVEL, level};
use crate::journal::{Guarded, HeadFile, Journal, JournalReader, NewRecord, OpenError, RocksJournal};
use crate::key::StateKey;
use crate::limits::{GROUP_BYTES_MAX, GROUP_RECORDS_MAX, OUTCOME_KEPT_MS, SECTION_BYTES_MAX};
use crate::position::Epoch;
use crate::store::{
    HIGHEST_EPOCH, META, Outcome, Reader, SERVE, StateBatch, Store, StoreError, SumTable, fleet_level,
    forget_outcomes, outcome_of, read_epoch, replay,
};

/// How often, at most, the HEAD file is fsynced and the journal is trimmed.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);
/// How often, at most, old outcomes are looked for.
const FORGETTING_EVERY: Duration = Duration::from_secs(60);
/// Most outcomes forgotten in one go, so that housekeeping never delays a group by much.
const FORGET_MAX: usize = 20_000;

/// Everything the writer's thread owns.
pub(super) struct Engine {
    store: Arc<Store>,
    journal: RocksJournal,
    sums: SumTable,
    head_file: HeadFile,
    applied_seq: Arc<AtomicU64>,
    last_at_ms: u64,
    /// The level records are written at, as the log's fleet record says.
    level: u8,
    /// The highest epoch known of, as it is on disk.
    known_epoch: Epoch,
    journal_bytes_kept: u64,
    clock_us: Box<dyn Fn() -> u64 + Send>,
    nonce: Box<dyn FnMut() -> [u8; 16] + Send>,
    on_commit: Box<dyn Fn(&Commit) + Send>,
    counts: WriterCounts,
    next_housekeeping_us: u64,
    next_forgetting_us: u64,
}

/// What is called on the writer's thread, and not by the engine.
pub(super) struct OnThread {
    pub at_start: Box<dyn FnOnce() + Send>,
    pub on_fatal: Box<dyn FnOnce(&WriterFailure) + Send>,
}

impl Engine {
    pub(super) fn new(
        guarded: Guarded,
        sums: SumTable,
        applied_seq: Arc<AtomicU64>,
        options: WriterOptions,
    ) -> Result<(Engine, OnThread), OpenError> {
        let last_at_ms = guarded.last_time()?;
        let Guarded { store, journal, head_file, .. } = guarded;
        let engine = Engine {
            level: level_of(&store)?,
            known_epoch: read_epoch(&store)?,
            store,
            journal,
            sums,
            head_file,
            applied_seq,
            last_at_ms,
            journal_bytes_kept: options.journal_bytes_kept,
            clock_us: options.clock_us,
            nonce: options.nonce,
            on_commit: options.on_commit,
            counts: WriterCounts::default(),
            next_housekeeping_us: 0,
            next_forgetting_us: 0,
        };
        Ok((engine, OnThread { at_start: options.at_start, on_fatal: options.on_fatal }))
    }

    pub(super) fn reader(&self) -> Reader {
        Reader::new(self.store.clone(), self.applied_seq.clone())
    }

    pub(super) fn journal_reader(&self) -> JournalReader {
        self.journal.concrete_reader()
    }

    /// Returns what is durable now.
    pub(super) fn commit(&self, synced_at_us: u64) -> Commit {
        let serve_sum = self.sums.total().serve;
        Commit { head: self.journal.head(), serve_sum, synced_at_us, format_level: self.level }
    }

    /// Works until the queue says stop.
    ///
    /// # Errors
    /// A failed write: nothing may be acknowledged any more.
    pub(super) fn run(
        mut self,
        queue: &Receiver<Option<Proposal>>,
        shared: &Shared,
    ) -> Result<(), WriterFailure> {
        while self.turn(queue, HOUSEKEEPING_EVERY, shared)? {}
        Ok(())
    }

    /// Decides what is waiting, or comes within `wait`; false: the queue said stop.
    pub(super) fn turn(
        &mut self,
        queue: &Receiver<Option<Proposal>>,
        wait: Duration,
        shared: &Shared,
    ) -> Result<bool, WriterFailure> {
        let (group, stop) = gather(queue, wait);
        // Looked at after the group was taken: what was queued later sees it too, so that the head is final once a
        // proposal was refused.
        self.keep_replacement(shared)?;
        match shared.stopped() {
            Some(refusal) => group.into_iter().for_each(|proposal| proposal.pending.answer(Err(refusal))),
            None if group.is_empty() => {}
            None => self.commit_group(group, shared)?,
        }
        match stop {
            true => self.head_file.sync()?,
            false => self.housekeeping()?,
        }
        Ok(!stop)
    }

    /// Notes on disk that another writer has taken over: this log is not written to after the next start either.
    fn keep_replacement(&mut self, shared: &Shared) -> Result<(), WriterFailure> {
        let by = Epoch(shared.replaced_by.load(Ordering::Acquire));
        if by > self.known_epoch {
            let mut batch = rocksdb::WriteBatch::default();
            batch.put_cf(self.store.table(META), HIGHEST_EPOCH, by.0.to_le_bytes());
            self.store.write(batch, true)?;
            self.known_epoch = by;
        }
        Ok(())
    }

    fn commit_group(&mut self, group: Vec<Proposal>, shared: &Shared) -> Result<(), WriterFailure> {
        let started_us = (self.clock_us)();
        let at_ms = self.last_at_ms.max(started_us / 1000);
        let mut batch = StateBatch::new(&self.store, &self.sums);
        let mut deciding = Deciding {
            store: &self.store,
            journal: &mut self.journal,
            nonce: &mut self.nonce,
            level: self.level,
            at_ms,
            decided: HashMap::new(),
            touches_fleet: false,
        };
        let first = deciding.journal.staged().position.seq;
        // An early return drops the replies, which then say "unknown": the batch may have become durable or not.
        let mut replies = Vec::with_capacity(group.len());
        for Proposal { changes, invalid, mut pending } in group {
            pending.if_dropped = ProposeError::Unknown;
            replies.push((pending, Vec::with_capacity(changes.len())));
            let mut invalid = invalid.into_iter().peekable();
            for (place, change) in changes.iter().enumerate() {
                let decision = match invalid.next_if(|(other, _)| *other == place) {
                    Some((_, invalid)) => Decision::Invalid(invalid),
                    None => deciding.decide(&mut batch, change)?,
                };
                self.counts.conflicts += u64::from(matches!(decision, Decision::Conflict(_)));
                replies.last_mut().expect("pushed above").1.push(decision);
            }
        }
        let touches_fleet = deciding.touches_fleet;
        let records = self.journal.staged().position.seq.0 - first.0;
        let mut published = Ok(());
        if records > 0 {
            let (mut writes, touched, _) = batch.finish();
            self.journal.stage_head(&mut writes);
            self.store.write(writes, true)?;
            self.sums.commit(touched);
            self.last_at_ms = at_ms;
            published = self.publish(records, started_us, touches_fleet, shared);
        }
        // The group is durable whatever came of announcing it.
        for (pending, decisions) in replies {
            pending.answer(Ok(decisions));
        }
        published
    }

    fn publish(
        &mut self,
        records: u64,
        started_us: u64,
        touches_fleet: bool,
        shared: &Shared,
    ) -> Result<(), WriterFailure> {
        let head = self.journal.publish();
        self.applied_seq.store(head.position.seq.0, Ordering::Release);
        if touches_fleet {
            self.level = level_of(&self.store)?;
        }
        let synced_at_us = (self.clock_us)();
        let commit = self.commit(synced_at_us);
        *shared.commit.write() = commit;
        self.counts.groups += 1;
        self.counts.records += records;
        self.counts.write_us += synced_at_us.saturating_sub(started_us);
        *shared.counts.write() = self.counts;
        (self.on_commit)(&commit);
        Ok(self.head_file.write(&head, synced_at_us / 1000)?)
    }

    fn housekeeping(&mut self) -> Result<(), WriterFailure> {
        let now_us = (self.clock_us)();
        if now_us < self.next_housekeeping_us {
            return Ok(());
        }
        self.next_housekeeping_us = now_us + HOUSEKEEPING_EVERY.as_micros() as u64;
        self.head_file.sync()?;
        self.journal.trim(self.journal_bytes_kept)?;
        if now_us >= self.next_forgetting_us {
            let mut batch = rocksdb::WriteBatch::default();
            // By the records' own time: a clock that jumps ahead must not take the retries of an hour ago with it.
            let before_ms = self.last_at_ms.saturating_sub(OUTCOME_KEPT_MS);
            let forgotten = forget_outcomes(&self.store, &mut batch, before_ms, FORGET_MAX)?;
            if forgotten > 0 {
                self.store.write(batch, false)?;
            }
            if forgotten < FORGET_MAX {
                self.next_forgetting_us = now_us + FORGETTING_EVERY.as_micros() as u64;
            }
        }
        Ok(())
    }
}

/// Reads the format level from the fleet record.
pub(crate) fn level_of(store: &Store) -> Result<u8, StoreError> {
    fleet_level(store.get(SERVE, &StateKey::Fleet.encode())?.as_deref())
}

/// Within one group the level stays: a change that needs a higher one comes after the group that raised it.
fn too_new(change: &Change, level: u8) -> Option<crate::change::InvalidChange> {
    if level >= FORMAT_LEVEL {
        return None;
    }
    let needed = level::needed_by(change);
    (needed > level).then_some(crate::change::InvalidChange::NeedsLevel { needed, level })
}

/// Waits for proposals and takes all that are there, up to a group's limits. True: the queue has been closed.
fn gather(queue: &Receiver<Option<Proposal>>, wait: Duration) -> (Vec<Proposal>, bool) {
    let first = match queue.recv_timeout(wait) {
        Ok(Some(first)) => first,
        Err(RecvTimeoutError::Timeout) => return (Vec::new(), false),
        Ok(None) | Err(RecvTimeoutError::Disconnected) => return (Vec::new(), true),
    };
    let size = |proposal: &Proposal| proposal.changes.iter().map(change_bytes).sum::<usize>();
    let (mut records, mut bytes) = (first.changes.len(), size(&first));
    let mut group = vec![first];
    while records < GROUP_RECORDS_MAX && bytes < GROUP_BYTES_MAX {
        match queue.try_recv() {
            Ok(Some(proposal)) => {
                records += proposal.changes.len();
                bytes += size(&proposal);
                group.push(proposal);
            }
            Ok(None) => return (group, true),
            Err(_) => break,
        }
    }
    (group, false)
}

fn change_bytes(change: &Change) -> usize {
    let body = |part: &crate::change::Part| match &part.operation {
        crate::change::Operation::Put { serve, manage } => serve.len() + manage.len() + 100,
        crate::change::Operation::Delete => 100,
    };
    change.parts.iter().map(body).sum()
}

/// What deciding the changes of one group needs, besides the state.
struct Deciding<'a> {
    store: &'a Store,
    journal: &'a mut RocksJournal,
    nonce: &'a mut (dyn FnMut() -> [u8; 16] + Send),
    level: u8,
    at_ms: u64,
    /// Commands decided in this group.
    decided: HashMap<CommandId, Outcome>,
    touches_fleet: bool,
}

impl Deciding<'_> {
    /// Decides a change that is valid by itself.
    fn decide(&mut self, batch: &mut StateBatch<'_>, change: &Change) -> Result<Decision, StoreError> {
        if let Some(id) = change.command {
            let earlier = match self.decided.get(&id) {
                Some(outcome) => Some(*outcome),
                None => outcome_of(self.store, id)?,
            };
            if let Some(outcome) = earlier {
                return Ok(Decision::Replayed(outcome));
            }
        }
        if let Some(invalid) = too_new(change, self.level) {
            return Ok(Decision::Invalid(invalid));
        }
        let envelope = Envelope { level: self.level, at_ms: self.at_ms, nonce: (self.nonce)() };
        let sections = record::sections_of(change, &envelope);
        if let Some(invalid) = too_large(&sections) {
            return Ok(Decision::Invalid(invalid));
        }
        let position = self.journal.next_position();
        // The bytes are read back before they are kept: what cannot be replayed is never written.
        let own = |source| StoreError::Damaged { what: "record just encoded", source };
        let serve = record::read_serve(sections.header, &sections.serve).map_err(own)?;
        let manage = record::read_manage(&serve, &sections.manage).map_err(own)?;
        let result = replay::replay(self.store, batch, position, &serve, Some(&manage))?;
        let conflict = result.err();
        // A conflict needs a record only if its command may be asked about again.
        if conflict.is_none() || change.command.is_some() {
            self.journal.stage(&mut batch.batch, &NewRecord { sections, conflict: conflict.is_some() });
        }
        if let Some(id) = change.command {
            let conflict = conflict.map(|conflict| conflict.part as u8);
            let outcome =
                Outcome { position, conflict, request_hash: change.request_hash, at_ms: self.at_ms };
            self.decided.insert(id, outcome);
        }
        Ok(match result {
            Ok(stamps) => {
                self.touches_fleet |= change.parts.iter().any(|part| part.key == StateKey::Fleet);
                Decision::Applied { position, at_ms: self.at_ms, stamps }
            }
            Err(conflict) => Decision::Conflict(conflict),
        })
    }
}

fn too_large(sections: &Sections) -> Option<crate::change::InvalidChange> {
    let found = sections.serve.len().max(sections.manage.len());
    (found > SECTION_BYTES_MAX).then_some(crate::change::InvalidChange::TooLong {
        what: "the whole change",
        part: 0,
        found,
        max: SECTION_BYTES_MAX,
    })
}
