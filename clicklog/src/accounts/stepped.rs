//! Accounts without a thread: whoever owns them says when they work. For counts on virtual time.

use std::path::Path;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use linklog::journal::{JournalReader, OpenError};

use super::group::Clerk;
use super::{AccountsFailure, AccountsHandle, AccountsOptions, Ready, Work};

/// What [`super::Accounts`] run on a thread, turn by turn.
pub struct SteppedAccounts {
    clerk: Clerk,
    waiting: Receiver<Option<Work>>,
    handle: AccountsHandle,
    journal: JournalReader,
}

impl SteppedAccounts {
    /// As [`super::Accounts::open`]; `on_fatal` is never called.
    ///
    /// # Errors
    /// As [`super::Accounts::open`].
    pub fn open(dir: &Path, options: AccountsOptions) -> Result<SteppedAccounts, OpenError> {
        let (queue, waiting) = bounded(options.queue_max.max(1));
        let Ready { clerk, shared, rows, journal, .. } = Ready::open(dir, options)?;
        Ok(SteppedAccounts { clerk, waiting, handle: AccountsHandle { queue, shared, rows }, journal })
    }

    /// Decides everything that is waiting, one group, and answers.
    ///
    /// # Errors
    /// A failed write: nobody may be told anything any more, and the accounts are to be dropped.
    pub fn turn(&mut self) -> Result<(), AccountsFailure> {
        self.clerk.turn(&self.waiting, Duration::ZERO).map(drop)
    }

    /// Returns a handle. Its calls that wait never return.
    pub fn handle(&self) -> AccountsHandle {
        self.handle.clone()
    }

    /// Returns a reader of the journal of entries.
    pub fn journal(&self) -> JournalReader {
        self.journal.clone()
    }
}
