//! Opening the log for its one writer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::group::{Engine, OnThread, level_of};
use super::{Commit, WriterOptions};
use crate::journal::{Guarded, OpenError, open_guarded};
use crate::store::{Contents, SumTable, read_epoch, role};

pub(super) struct Opened {
    pub engine: Engine,
    pub first_commit: Commit,
    pub on_thread: OnThread,
}

/// A log that follows another writer, or knows of one with a higher epoch, is not written to.
fn check_role(dir: &Path, guarded: &Guarded) -> Result<(), OpenError> {
    if role::is_following(&guarded.store)? {
        return Err(OpenError::Following { dir: dir.to_owned() });
    }
    let (own, by) = (guarded.journal.epoch(), read_epoch(&guarded.store)?);
    if by > own {
        return Err(OpenError::Replaced { dir: dir.to_owned(), own, by });
    }
    Ok(())
}

pub(super) fn open(dir: &Path, options: WriterOptions) -> Result<Opened, OpenError> {
    let mut guarded = open_guarded(dir, Contents::Full, &options.store)?;
    check_role(dir, &guarded)?;
    let now_us = (options.clock_us)();
    let level = level_of(&guarded.store)?;
    guarded.begin(level, now_us / 1000)?;
    let sums = SumTable::load(&guarded.store)?;
    let applied_seq = Arc::new(AtomicU64::new(guarded.journal.head().position.seq.0));
    let (engine, on_thread) = Engine::new(guarded, sums, applied_seq, options)?;
    Ok(Opened { first_commit: engine.commit(now_us), engine, on_thread })
}
