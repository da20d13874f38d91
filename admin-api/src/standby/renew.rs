//! A new log, or new counts of clicks, out of a snapshot: for a standby that lacks what the writer's journal no longer has, since it was away for
//! long or is new, and for one whose log is damaged on its disk.
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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bootstrap::{BootstrapError, Progress, Wish, discard, receive};
use daemon::disk::DiskReserve;
use linklog::journal::{JournalRead, JournalReader, OpenError, ReadError};
use linklog::snapshot::{self, SnapshotError};
use linklog::standby::{FollowError, Standby, StandbyOptions};
use linklog::store::{Contents, StoreOptions};
use linklog::{Epoch, Position};
use tokio_util::sync::CancellationToken;
use wire::identity::Identity;

use super::copy_clicks;
use super::engine::Engine;
use super::status::Status;
use crate::clock;
use crate::feed::frames;
use crate::restore::write_head;
use crate::server::OpenLogError;

/// What fetching a log works with.
pub(crate) struct Renewal {
    pub data_dir: PathBuf,
    pub identity: Option<Identity>,
    pub engine: Arc<Engine>,
    /// Of the log in use.
    pub journal: JournalReader,
    pub status: Arc<Status>,
    pub disk: DiskReserve,
    /// One log is fetched at a time.
    pub fetching: tokio::sync::Mutex<()>,
    /// Set when there is another log, which the next start takes.
    pub renewed: Arc<AtomicBool>,
    /// Ends this standby, which is then started again.
    pub stop: CancellationToken,
}

/// Names in the data folder.
struct Places {
    used: PathBuf,
    received: PathBuf,
    made: PathBuf,
    next: PathBuf,
    before: PathBuf,
}

impl Places {
    fn of_log(data_dir: &Path) -> Places {
        Places::of("log", data_dir.join("bootstrap"), data_dir)
    }

    fn of_counts(data_dir: &Path) -> Places {
        Places::of("clicks", data_dir.join("bootstrap-clicks"), data_dir)
    }

    fn of(used: &str, received: PathBuf, data_dir: &Path) -> Places {
        let at = |what| data_dir.join(format!("{used}{what}"));
        Places { used: at(""), received, made: at("-made"), next: at("-next"), before: at("-before") }
    }

    /// Throws away what was made. What is called whole is whole until it is called so no more.
    fn abandon(&self) -> io::Result<()> {
        discard(&self.made)?;
        if self.next.exists() {
            rename(&self.next, &self.made)?;
        }
        discard(&self.made)
    }
}

/// Nobody looks.
struct Quiet;

impl Progress for Quiet {
    fn phase(&self, _: &'static str) {}
    fn bytes(&self, _: u64, _: u64) {}
    fn received(&self, _: u64) {}
    fn again(&self, _: u64) {}
}

impl Renewal {
    /// Fetches a log from the writer at `url`. When it is there this standby ends, to be started with it. Meanwhile the old one may be followed.
    ///
    /// # Errors
    /// Why not. The log in use is as before; what was received is kept for the next try.
    ///
    /// # Cancel safety
    /// As for an error.
    pub(super) async fn log(&self, url: &str, why: &str) -> Result<(), BootstrapError> {
        let _alone = self.fetching.lock().await;
        let place = self.engine.place().map_err(|_| BootstrapError::Stopping)?;
        // What was acknowledged from here is not given up.
        let wish = self.wish(url, Contents::Full, place.head.position.seq.0.max(1), place.highest_epoch);
        tracing::warn!(from = url, why, "fetching another log, still answering");
        self.status.fetching();
        let journal = Some(self.journal.clone());
        let fetched = self.fetch(&wish, Places::of_log(&self.data_dir), journal, self.status.clone()).await;
        self.status.not_fetching();
        fetched
    }

    /// Fetches the counts of clicks likewise.
    ///
    /// # Errors
    /// As for the log.
    ///
    /// # Cancel safety
    /// As for an error.
    pub(super) async fn counts(&self, url: &str, why: &str) -> Result<(), BootstrapError> {
        let wish = self.wish(url, Contents::Journal, 0, Epoch(0));
        tracing::warn!(from = url, why, "fetching the counts of clicks");
        self.fetch(&wish, Places::of_counts(&self.data_dir), None, Arc::new(Quiet)).await
    }

    fn wish<'a>(
        &'a self,
        url: &'a str,
        contents: Contents,
        at_least_seq: u64,
        highest_epoch: Epoch,
    ) -> Wish<'a> {
        let fleet = self.engine.fleet_id().map(|fleet| *fleet.as_bytes());
        let (identity, name) = (self.identity.as_ref(), self.engine.member());
        Wish { url, identity, name, fleet, contents, at_least_seq, highest_epoch }
    }

    async fn fetch(
        &self,
        wish: &Wish<'_>,
        places: Places,
        used: Option<JournalReader>,
        progress: Arc<dyn Progress + Send>,
    ) -> Result<(), BootstrapError> {
        receive(wish, &places.received, &self.disk, &*progress).await?;
        progress.phase("verifying");
        let (contents, stop) = (wish.contents, self.stop.clone());
        let installed = tokio::task::spawn_blocking(move || install(&places, contents, used, &stop)).await;
        let head = installed.map_err(|_| BootstrapError::Stopping)??;
        // A promotion that has begun goes on with what it has asked others about.
        self.engine.not_being_promoted().await;
        tracing::info!(what = contents.name(), %head, "what was fetched is whole: starting with it");
        self.renewed.store(true, Ordering::Release);
        self.stop.cancel();
        Ok(())
    }
}

/// Makes a database of what was received, and adds what the log in `used` has beyond it.
fn install(
    places: &Places,
    contents: Contents,
    used: Option<JournalReader>,
    stop: &CancellationToken,
) -> Result<Position, BootstrapError> {
    places.abandon()?;
    std::fs::create_dir_all(&places.made)?;
    let (options, go_on) = (StoreOptions::default(), || !stop.is_cancelled());
    let db = places.made.join("db");
    let installed = match snapshot::install(&places.received, contents, &db, &options, &go_on) {
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
pub(crate) fn settle(data_dir: &Path) -> Result<(), OpenLogError> {
    let (log, counts) = (Places::of_log(data_dir), Places::of_counts(data_dir));
    let failed = |source| OpenLogError::Renewed { dir: data_dir.display().to_string(), source };
    if log.next.exists() && log.used.exists() && !keeps_everything(&log)? {
        log.abandon().map_err(failed)?;
    }
    take_place(&log).map_err(failed)?;
    if counts.next.exists() {
        // The copy goes on from the end of the new ones.
        remove_file(&copy_clicks::place(data_dir)).map_err(failed)?;
    }
    take_place(&counts).map_err(failed)
}

/// Removes what was fetched: the log in use is the writer's now.
///
/// # Errors
/// The disk.
pub(crate) fn forget(data_dir: &Path) -> io::Result<()> {
    for places in [Places::of_log(data_dir), Places::of_counts(data_dir)] {
        places.abandon()?;
        [&places.received, &places.before].into_iter().try_for_each(|dir| discard(dir))?;
    }
    Ok(())
}

fn take_place(places: &Places) -> io::Result<()> {
    if places.next.exists() {
        if places.used.exists() {
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

/// Durable when it returns.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    let parent = to.parent().unwrap_or(Path::new("."));
    std::fs::File::open(parent)?.sync_all()
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
