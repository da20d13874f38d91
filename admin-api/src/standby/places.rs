//! Where a standby's log lies, where one that was fetched waits to take its place, and what the new one has to hold before it does.
//!
//! ```text
//! log            the log that is followed                              clicks
//! bootstrap      a snapshot of it that is being received               bootstrap-clicks
//! log-made       what is being made of that                            clicks-made
//! log-next       one that is whole: `log`'s place is its, at the       clicks-next
//!                next start
//! log-before     the one whose place was taken; it is being removed    clicks-before
//! ```
//! Invariants: the old log is followed, read and asked in promotions until the new one is whole; what it has acknowledged or promised by then
//! is in the new one, out of the old one's journal if need be, or the new one is thrown away. Of clicks a standby has none that the writer has
//! not. Whatever is killed when, the next start finds one whole log, and counts that are whole or none.

use std::io;
use std::path::{Path, PathBuf};

use bootstrap::{BootstrapError, discard};
use linklog::Position;
use linklog::folders::{exists, make, rename};
use linklog::journal::{JournalRead, JournalReader, OpenError, ReadError};
use linklog::snapshot::{self, SnapshotError};
use linklog::standby::{FollowError, Standby, StandbyOptions};
use linklog::store::{Contents, StoreOptions};

use super::copy_clicks;
use crate::clock;
use crate::feed::frames;
use crate::restore::write_head;
use crate::server::OpenLogError;

/// Names in the data folder.
#[derive(Debug)]
pub struct Places {
    used: PathBuf,
    received: PathBuf,
    made: PathBuf,
    next: PathBuf,
    before: PathBuf,
}

impl Places {
    /// Those of the log.
    pub fn of_log(data_dir: &Path) -> Places {
        Places::of("log", data_dir.join("bootstrap"), data_dir)
    }

    /// Those of the counts of clicks.
    pub(super) fn of_counts(data_dir: &Path) -> Places {
        Places::of("clicks", data_dir.join("bootstrap-clicks"), data_dir)
    }

    fn of(used: &str, received: PathBuf, data_dir: &Path) -> Places {
        let at = |what| data_dir.join(format!("{used}{what}"));
        Places { used: at(""), received, made: at("-made"), next: at("-next"), before: at("-before") }
    }

    /// Returns the folder a snapshot is received in.
    pub fn received(&self) -> &Path {
        &self.received
    }

    /// Throws away what was made. What is called whole is whole until it is called so no more.
    fn abandon(&self) -> io::Result<()> {
        discard(&self.made)?;
        if exists(&self.next) {
            rename(&self.next, &self.made)?;
        }
        discard(&self.made)
    }
}

/// Makes a database of what was received, and adds what the log in `used` has beyond it; `go_on` is asked now and then.
///
/// # Errors
/// Why not. The log in use is as before.
pub fn install(
    places: &Places,
    contents: Contents,
    used: Option<JournalReader>,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Position, BootstrapError> {
    places.abandon()?;
    make(&places.made)?;
    let options = StoreOptions::default();
    let db = places.made.join("db");
    let installed = match snapshot::install(&places.received, contents, &db, &options, go_on) {
        Err(SnapshotError::Stopped) => return Err(BootstrapError::Stopping),
        Err(error) => {
            // It was checked while it was received: begin anew.
            discard(&places.received)?;
            return Err(error.into());
        }
        Ok(installed) => installed,
    };
    let head = installed.manifest.head;
    write_head(&places.made, &head).map_err(|error| io::Error::other(error.to_string()))?;
    // Most of it is added now, while the log in use is followed on; the rest when that one is closed.
    if let Some(used) = used {
        let mut made = open(&places.made).map_err(|error| no_beginning(&error))?;
        catch_up(&mut made, &used).map_err(|error| {
            let end = used.head().position;
            BootstrapError::Unfit(format!(
                "it ends at record {}, the log here at {end}, and what is between cannot be added: {error}",
                head.position
            ))
        })?;
    }
    rename(&places.made, &places.next)?;
    discard(&places.received)?;
    Ok(head.position)
}

fn no_beginning(error: &dyn std::error::Error) -> BootstrapError {
    BootstrapError::Unfit(format!("what was made of it cannot be opened: {error}"))
}

/// Adds to a log what another one has beyond it.
fn catch_up(log: &mut Standby, used: &JournalReader) -> Result<(), CatchUpError> {
    let end = used.head().position;
    while let Some(frame) = frames::make(used, log.head().position.seq.next(), end, true)? {
        log.adopt(&frame.bytes, clock::now_us())?;
    }
    Ok(())
}

/// Why what one log has beyond another was not added to that one.
#[derive(Debug, thiserror::Error)]
enum CatchUpError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Follow(#[from] FollowError),
}

/// Lets what was fetched take the place of what was used, and removes what is left of earlier ones. To be called while neither is open.
///
/// # Errors
/// A log that cannot be opened; the disk.
pub fn settle(data_dir: &Path) -> Result<(), OpenLogError> {
    let (log, counts) = (Places::of_log(data_dir), Places::of_counts(data_dir));
    let failed = |source| OpenLogError::Renewed { dir: data_dir.display().to_string(), source };
    if exists(&log.next) && exists(&log.used) && !keeps_everything(&log)? {
        log.abandon().map_err(failed)?;
    }
    take_place(&log).map_err(failed)?;
    if exists(&counts.next) {
        // The copy goes on from the end of the new ones.
        remove_file(&copy_clicks::place(data_dir)).map_err(failed)?;
    }
    take_place(&counts).map_err(failed)
}

/// Removes what was fetched: the log in use is the writer's now.
///
/// # Errors
/// The disk.
pub fn forget(data_dir: &Path) -> io::Result<()> {
    for places in [Places::of_log(data_dir), Places::of_counts(data_dir)] {
        places.abandon()?;
        [&places.received, &places.before].into_iter().try_for_each(|dir| discard(dir))?;
    }
    Ok(())
}

fn take_place(places: &Places) -> io::Result<()> {
    if exists(&places.next) {
        if exists(&places.used) {
            discard(&places.before)?;
            rename(&places.used, &places.before)?;
        }
        rename(&places.next, &places.used)?;
    }
    [&places.made, &places.before].into_iter().try_for_each(|dir| discard(dir))
}

/// Has the new log hold and promise what the old one holds and has promised; says whether it does, and the old one was not made the writer's
/// meanwhile.
fn keeps_everything(places: &Places) -> Result<bool, OpenLogError> {
    if Standby::was_promoted(&places.used, &StoreOptions::default())? {
        return Ok(false);
    }
    // The state there may be damaged.
    let (journal, promised) = Standby::journal_and_promise(&places.used, &StoreOptions::default())?;
    let mut new = open(&places.next)?;
    if let Err(error) = catch_up(&mut new, &journal) {
        let (fetched, here) = (new.head().position, journal.head().position);
        tracing::warn!(%fetched, %here, %error, "the log that was fetched lacks what this one has by now: it is done without");
        return Ok(false);
    }
    if promised > new.highest_epoch() {
        new.fence(promised)?;
    }
    Ok(true)
}

/// Opens a log that nobody follows yet, or any more.
fn open(log: &Path) -> Result<Standby, OpenError> {
    Standby::open(log, &StandbyOptions { store: StoreOptions::default(), journal_bytes_kept: u64::MAX })
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
