//! The log as the async parts of this service see it: propose and await, read without blocking anybody.
//!
//! Owned here: a database read never runs on a thread of the runtime. [`Log::read`] moves it to the blocking pool, and at most
//! [`READS_MAX`] run at once; point lookups of state in memory would be quick enough, but nobody can know beforehand. Those that let others
//! go first are counted by themselves, so that nobody waits for them.

use std::sync::Arc;

use linklog::Change;
use linklog::journal::JournalReader;
use linklog::store::Reader;
use linklog::writer::{Commit, Decision, ProposeError, WriterCounts, WriterHandle};
use tokio::sync::{Semaphore, oneshot};

use crate::blocking::{self, Turn};
use crate::replication::Replication;

/// Most database reads at the same time; the disk does not get faster by more.
pub const READS_MAX: usize = 32;

/// Proposes to the writer and reads its state; cheap to clone.
#[derive(Clone)]
pub struct Log {
    writer: WriterHandle,
    reader: Reader,
    journal: JournalReader,
    reads: Arc<Semaphore>,
    reads_behind: Arc<Semaphore>,
    /// Asked before every proposal, if anything is.
    gate: Option<Replication>,
}

/// A read that did not take place because the process is ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the process is ending")]
pub struct Ending;

/// The reads of a log that let others go first.
pub(crate) struct ReadsBehind(Arc<Semaphore>);

impl ReadsBehind {
    /// Waits until none is under way, and lets none begin.
    pub(crate) async fn end(&self) {
        if let Ok(places) = self.0.acquire_many(READS_MAX as u32).await {
            places.forget();
        }
        self.0.close();
    }
}

impl Log {
    /// Returns a log over an open writer's parts.
    pub fn new(writer: WriterHandle, reader: Reader, journal: JournalReader) -> Log {
        let [reads, reads_behind] = [(); 2].map(|()| Arc::new(Semaphore::new(READS_MAX)));
        Log { writer, reader, journal, reads, reads_behind, gate: None }
    }

    /// Returns this log with a gate: nothing is proposed while fewer sync members are connected than have to confirm it. A writer that was
    /// cut off from them, perhaps because another has taken over, then writes nothing that it could not acknowledge.
    #[must_use]
    pub fn gated(self, replication: Replication) -> Log {
        Log { gate: Some(replication), ..self }
    }

    /// Returns this log without its gate, for who may do what: a token that is to be revoked is not to wait for a sync member.
    #[must_use]
    pub fn ungated(&self) -> Log {
        Log { gate: None, ..self.clone() }
    }

    /// Proposes changes, to be decided in this order and each on its own, and waits until the decisions are durable.
    ///
    /// # Errors
    /// The writer is too busy, closing, or failed while it wrote.
    ///
    /// # Cancel safety
    /// Dropped, the changes are decided all the same, unless they had not been accepted yet.
    pub async fn propose(&self, changes: Vec<Change>) -> Result<Vec<Decision>, ProposeError> {
        self.propose_and(changes, || {}).await
    }

    /// As [`Log::propose`], and calls `accepted` as soon as whatever is proposed afterwards is behind these changes.
    ///
    /// # Errors
    /// As [`Log::propose`].
    ///
    /// # Cancel safety
    /// As [`Log::propose`].
    pub async fn propose_and(
        &self,
        changes: Vec<Change>,
        accepted: impl FnOnce(),
    ) -> Result<Vec<Decision>, ProposeError> {
        // Whoever was replaced says so, rather than that it is alone.
        let is_alone = || self.gate.as_ref().is_some_and(|replication| !replication.can_confirm());
        if self.writer.refusal().is_none() && is_alone() {
            return Err(ProposeError::NoReplica);
        }
        let (sender, mut decisions) = oneshot::channel();
        // Whoever waited may be gone; that changes nothing about the decision.
        self.writer.propose(changes, Box::new(move |decided| drop(sender.send(decided))));
        // What is not accepted is answered at once.
        match decisions.try_recv() {
            Ok(Err(refused)) => return Err(refused),
            Ok(decided) => {
                accepted();
                return decided;
            }
            Err(_) => accepted(),
        }
        decisions.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// Runs a read of the state on a thread that may wait for the disk.
    ///
    /// # Errors
    /// The process is ending.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> T + Send + 'static,
    ) -> Result<T, Ending> {
        self.read_in(Turn::Usual, read).await
    }

    /// As [`Log::read`], and says whom the read lets go first.
    ///
    /// # Errors
    /// The process is ending.
    pub(crate) async fn read_in<T: Send + 'static>(
        &self,
        turn: Turn,
        read: impl FnOnce(&Reader) -> T + Send + 'static,
    ) -> Result<T, Ending> {
        let places = match turn {
            Turn::Usual => &self.reads,
            Turn::Behind => &self.reads_behind,
        };
        let place = places.clone().acquire_owned().await.map_err(|_| Ending)?;
        let reader = self.reader.clone();
        let reading = blocking::run_in(turn, move || {
            let result = read(&reader);
            drop((reader, place));
            result
        });
        reading.await.map_err(|_| Ending)
    }

    /// Returns what tells when no read is under way that lets others go first: those run on threads that outlive the service.
    pub(crate) fn reads_behind(&self) -> ReadsBehind {
        ReadsBehind(self.reads_behind.clone())
    }

    /// Returns the reader itself, for threads that may block.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Returns the journal's reader, for threads that may block.
    pub fn journal(&self) -> &JournalReader {
        &self.journal
    }

    /// Returns the newest durable state.
    pub fn commit(&self) -> Commit {
        self.writer.commit()
    }

    /// Returns what the writer has done so far.
    pub fn counts(&self) -> WriterCounts {
        self.writer.counts()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use super::*;
    use crate::domains::tests::writer;

    #[tokio::test]
    async fn reads_that_outlive_their_caller_are_waited_for_and_none_begins_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(dir.path());
        let log = Log::new(writer.handle(), writer.reader(), writer.journal());
        let (begun, (go_on, wait)) = (Arc::new(tokio::sync::Notify::new()), mpsc::channel::<()>());
        let (reading, tell) = (log.clone(), begun.clone());
        let caller = tokio::spawn(async move {
            let read = move |_: &Reader| {
                tell.notify_one();
                wait.recv().unwrap();
            };
            reading.read_in(Turn::Behind, read).await
        });
        begun.notified().await;
        caller.abort();
        let mut end = tokio::spawn({
            let reads = log.reads_behind();
            async move { reads.end().await }
        });
        tokio::task::yield_now().await;
        assert!(!end.is_finished());
        go_on.send(()).unwrap();
        (&mut end).await.unwrap();
        assert_eq!(log.read_in(Turn::Behind, |_| ()).await, Err(Ending));
        assert_eq!(log.read(|_| ()).await, Ok(()));
    }
}
