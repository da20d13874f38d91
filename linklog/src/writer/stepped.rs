//! A writer without a thread: whoever owns it says when it works. For a log on virtual time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};

use super::group::Engine;
use super::{Proposal, Shared, WriterFailure, WriterHandle, WriterOptions, open};
use crate::journal::{JournalReader, OpenError};
use crate::store::Reader;

/// What [`super::Writer`] runs on a thread, turn by turn.
pub struct SteppedWriter {
    engine: Engine,
    waiting: Receiver<Option<Proposal>>,
    handle: WriterHandle,
    reader: Reader,
    journal: JournalReader,
}

impl SteppedWriter {
    /// As [`super::Writer::open`]; `at_start` and `on_fatal` are never called.
    ///
    /// # Errors
    /// As [`super::Writer::open`].
    pub fn open(dir: &Path, options: WriterOptions) -> Result<SteppedWriter, OpenError> {
        let (queue, waiting) = bounded(options.queue_max.max(1));
        let shared = Arc::new(Shared::default());
        let engine = open::open(dir, options)?;
        *shared.commit.write() = engine.first_commit;
        let engine = engine.engine;
        let (reader, journal) = (engine.reader(), engine.journal_reader());
        Ok(SteppedWriter { engine, waiting, handle: WriterHandle { queue, shared }, reader, journal })
    }

    /// Decides everything that is waiting, one group, and answers.
    ///
    /// # Errors
    /// A failed write: nothing may be acknowledged any more, and this writer is to be dropped.
    pub fn turn(&mut self) -> Result<(), WriterFailure> {
        self.engine.turn(&self.waiting, Duration::ZERO, &self.handle.shared).map(drop)
    }

    /// Returns a handle for proposing changes. Its calls that wait never return.
    pub fn handle(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// Returns a reader of the state.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Returns a reader of the journal.
    pub fn journal(&self) -> JournalReader {
        self.journal.clone()
    }
}
