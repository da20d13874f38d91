//! Deciding and committing a group.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use super::{Commit, Decision, Proposal, ProposeError, Shared, WriterCounts, WriterOptions};
use crate::change::{Change, CommandId};
use crate::codec::record::{self, Sections};
use crate::journal::{HeadFile, Journal, JournalReader, NewRecord, RocksJournal};
use crate::limits::{GROUP_BYTES_MAX, GROUP_RECORDS_MAX, OUTCOME_KEPT_MS, SECTION_BYTES_MAX};
use crate::store::{
    Outcome, Reader, StateBatch, Store, StoreError, SumTable, forget_outcomes, outcome_of, replay,
};

/// How often, at most, the HEAD file is fsynced and old outcomes are forgotten.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);
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
    options: WriterOptions,
    counts: WriterCounts,
    next_housekeeping_us: u64,
}

/// Why the writer stops.
enum Fatal {
    Store(StoreError),
    HeadFile(crate::journal::HeadFileError),
}

impl From<StoreError> for Fatal {
    fn from(error: StoreError) -> Fatal {
        Fatal::Store(error)
    }
}
impl From<crate::journal::HeadFileError> for Fatal {
    fn from(error: crate::journal::HeadFileError) -> Fatal {
        Fatal::HeadFile(error)
    }
}

impl Engine {
    pub(super) fn new(
        store: Arc<Store>,
        journal: RocksJournal,
        sums: SumTable,
        head_file: HeadFile,
        applied_seq: Arc<AtomicU64>,
        last_at_ms: u64,
        options: WriterOptions,
    ) -> Engine {
        let counts = WriterCounts::default();
        Engine {
            store,
            journal,
            sums,
            head_file,
            applied_seq,
            last_at_ms,
            options,
            counts,
            next_housekeeping_us: 0,
        }
    }

    pub(super) fn reader(&self) -> Reader {
        Reader::new(self.store.clone(), self.applied_seq.clone())
    }

    pub(super) fn journal_reader(&self) -> JournalReader {
        self.journal.concrete_reader()
    }

    /// Works until the queue says stop or a write fails.
    pub(super) fn run(mut self, queue: &Receiver<Option<Proposal>>, shared: &Shared) {
        loop {
            let (group, stop) = gather(queue);
            let done = self.commit_group(group, shared).and_then(|()| self.housekeeping());
            match done {
                Ok(()) if !stop => {}
                Ok(()) => break,
                Err(fatal) => return self.fail(fatal, queue),
            }
        }
        if let Err(error) = self.head_file.sync() {
            tracing::error!(%error, "could not fsync the head file at the end");
        }
    }

    fn fail(self, fatal: Fatal, queue: &Receiver<Option<Proposal>>) {
        let error = match fatal {
            Fatal::Store(error) => error,
            Fatal::HeadFile(error) => {
                tracing::error!(%error, "could not write the head file");
                StoreError::HeadFile
            }
        };
        (self.options.on_fatal)(&error);
        while let Ok(Some(proposal)) = queue.try_recv() {
            (proposal.reply)(Err(ProposeError::Closed));
        }
    }

    fn commit_group(&mut self, group: Vec<Proposal>, shared: &Shared) -> Result<(), Fatal> {
        if group.is_empty() {
            return Ok(());
        }
        let now_us = (self.options.clock_us)();
        let at_ms = self.last_at_ms.max(now_us / 1000);
        let mut replies = Vec::with_capacity(group.len());
        let mut batch = StateBatch::new(&self.store, &self.sums);
        let mut decided = HashMap::new();
        let first = self.journal.staged().position.seq;
        let mut failed = None;
        for proposal in group {
            let mut decisions = Vec::with_capacity(proposal.changes.len());
            for change in &proposal.changes {
                match decide(&self.store, &mut self.journal, &mut batch, &mut decided, change, at_ms) {
                    Ok(decision) => {
                        self.counts.conflicts += u64::from(matches!(decision, Decision::Conflict(_)));
                        decisions.push(decision);
                    }
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            replies.push((proposal.reply, decisions));
        }
        let (mut writes, touched, _) = batch.finish();
        let records = self.journal.staged().position.seq.0 - first.0;
        let mut written = failed.map_or(Ok(()), Err);
        if records > 0 && written.is_ok() {
            self.journal.stage_head(&mut writes);
            written = self.store.write(writes, true);
        }
        if let Err(error) = written {
            for (reply, _) in replies {
                reply(Err(ProposeError::Unknown));
            }
            return Err(error.into());
        }
        if records > 0 {
            self.sums.commit(touched);
            self.last_at_ms = at_ms;
            self.publish(records, now_us, shared)?;
        }
        for (reply, decisions) in replies {
            reply(Ok(decisions));
        }
        Ok(())
    }

    fn publish(&mut self, records: u64, started_us: u64, shared: &Shared) -> Result<(), Fatal> {
        let head = self.journal.publish();
        self.applied_seq.store(head.position.seq.0, Ordering::Release);
        let synced_at_us = (self.options.clock_us)();
        let commit = Commit { head, serve_sum: self.sums.total().serve, synced_at_us };
        *shared.commit.write() = commit;
        self.counts.groups += 1;
        self.counts.records += records;
        self.counts.write_us += synced_at_us.saturating_sub(started_us);
        *shared.counts.write() = self.counts;
        self.head_file.write(&head, synced_at_us / 1000)?;
        (self.options.on_commit)(&commit);
        Ok(())
    }

    fn housekeeping(&mut self) -> Result<(), Fatal> {
        let now_us = (self.options.clock_us)();
        if now_us < self.next_housekeeping_us {
            return Ok(());
        }
        self.next_housekeeping_us = now_us + HOUSEKEEPING_EVERY.as_micros() as u64;
        self.head_file.sync()?;
        self.journal.trim(self.options.journal_bytes_kept)?;
        let mut batch = rocksdb::WriteBatch::default();
        let before_ms = (now_us / 1000).saturating_sub(OUTCOME_KEPT_MS);
        if forget_outcomes(&self.store, &mut batch, before_ms, FORGET_MAX)? > 0 {
            self.store.write(batch, false)?;
        }
        Ok(())
    }
}

/// Waits for proposals and takes all that are there, up to a group's limits. True: the queue has been closed.
fn gather(queue: &Receiver<Option<Proposal>>) -> (Vec<Proposal>, bool) {
    let first = match queue.recv_timeout(HOUSEKEEPING_EVERY) {
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

fn decide(
    store: &Store,
    journal: &mut RocksJournal,
    batch: &mut StateBatch<'_>,
    decided: &mut HashMap<CommandId, Outcome>,
    change: &Change,
    at_ms: u64,
) -> Result<Decision, StoreError> {
    if let Err(invalid) = change.validate() {
        return Ok(Decision::Invalid(invalid));
    }
    if let Some(id) = change.command {
        let earlier = match decided.get(&id) {
            Some(outcome) => Some(*outcome),
            None => outcome_of(store, id)?,
        };
        if let Some(outcome) = earlier {
            return Ok(Decision::Replayed(outcome));
        }
    }
    let sections = record::sections_of(change, at_ms);
    if let Some(invalid) = too_large(&sections) {
        return Ok(Decision::Invalid(invalid));
    }
    let position = journal.next_position();
    // The bytes are read back before they are kept: what cannot be replayed is never written.
    let own = |source| StoreError::Damaged { what: "record just encoded", source };
    let serve = record::read_serve(sections.kind, &sections.serve).map_err(own)?;
    let manage = record::read_manage(&serve, &sections.manage).map_err(own)?;
    let result = replay::replay(store, batch, position, &serve, Some(&manage))?;
    let conflict = result.err();
    // A conflict needs a record only if its command may be asked about again.
    if conflict.is_none() || change.command.is_some() {
        journal.stage(&mut batch.batch, &NewRecord { sections, conflict: conflict.is_some() });
    }
    if let Some(id) = change.command {
        let conflict = conflict.map(|conflict| conflict.part as u8);
        decided.insert(id, Outcome { position, conflict, request_hash: change.request_hash, at_ms });
    }
    Ok(match result {
        Ok(stamps) => Decision::Applied { position, at_ms, stamps },
        Err(conflict) => Decision::Conflict(conflict),
    })
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
