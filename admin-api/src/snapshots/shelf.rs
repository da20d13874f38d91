//! The snapshots there are.
//!
//! Each lies in a folder named by its random id. The newest of each kind is offered; an older one lives on for those who have begun to read
//! it. One is made at a time: whoever else wants the same waits for it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use linklog::Seq;
use linklog::journal::JournalReader;
use linklog::snapshot::{self, Cut, Manifest, SnapshotError, Source};
use linklog::store::Contents;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use wire::identity::FleetId;
use wire::limits::SNAPSHOT_CHUNK_BYTES;

use super::choice::{self, Wanted};
use super::throttle::Throttle;
use crate::blocking;
use crate::config::Config;

/// How long a snapshot is kept after it was last read.
const KEPT: Duration = Duration::from_secs(600);
/// How long one that was replaced by another is kept after it was last read.
const OLD_KEPT: Duration = Duration::from_secs(60);
/// Parts that are sent at the same time: each has its share of what may be sent, and one chunk in memory.
const SENT_AT_ONCE: usize = 16;
/// How long a follower waits to be one of them before it is told to come back: less than the silence it takes for a lost writer.
const SENT_WITHIN: Duration = Duration::from_secs(20);
/// How often those that nobody wants any more are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// Where snapshots lie and how fast they are sent.
#[derive(Clone, Debug)]
pub struct ShelfOptions {
    /// A folder of their own, on the file system of the data directory.
    pub dir: PathBuf,
    /// The fleet they belong to.
    pub fleet: FleetId,
    /// Bytes a second to all followers together; 0: no bound.
    pub bytes_per_s: u64,
    /// Bytes that are left to the log whatever followers want.
    pub reserve_bytes: u64,
}

impl ShelfOptions {
    /// Those of the log of a server.
    pub(crate) fn of_log(config: &Config, fleet: FleetId) -> ShelfOptions {
        ShelfOptions::of("snapshots", config, fleet)
    }

    /// Those of its counts of clicks.
    pub(crate) fn of_counts(config: &Config, fleet: FleetId) -> ShelfOptions {
        ShelfOptions::of("snapshots-of-clicks", config, fleet)
    }

    fn of(dir: &str, config: &Config, fleet: FleetId) -> ShelfOptions {
        ShelfOptions {
            dir: config.data_dir.join(dir),
            fleet,
            bytes_per_s: config.snapshot_bytes_per_s,
            // A snapshot must not be what makes the writer refuse changes.
            reserve_bytes: config.disk_reserve_bytes.saturating_add(config.disk_reserve_bytes / 4),
        }
    }
}

/// A snapshot's name.
pub(super) type SnapshotId = [u8; 16];

/// A snapshot that is kept. Its files go with the last owner, unless the process ends before.
pub(crate) struct Kept {
    pub(super) id: SnapshotId,
    pub(super) manifest: Manifest,
    pub(super) encoded: Bytes,
    dir: PathBuf,
    used_at: Mutex<Instant>,
    /// Replaced by another one, or unused for long: its files go with it.
    is_old: std::sync::atomic::AtomicBool,
}

impl Kept {
    fn new(id: SnapshotId, manifest: Manifest, dir: PathBuf) -> Kept {
        let encoded = manifest.encode().into();
        Kept { id, manifest, encoded, dir, used_at: Mutex::new(Instant::now()), is_old: false.into() }
    }

    /// Notes that somebody reads it.
    pub(super) fn used(&self) {
        *self.used_at.lock() = Instant::now();
    }

    pub(super) fn part(&self, index: usize) -> PathBuf {
        self.dir.join(snapshot::part_name(index))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.is_old.load(Ordering::Acquire) {
            remove(&self.dir);
        }
    }
}

/// The snapshots of one server; cheap to clone.
#[derive(Clone)]
pub struct Shelf {
    inner: Arc<Inner>,
}

struct Inner {
    options: ShelfOptions,
    source: Source,
    journal: JournalReader,
    kept: Mutex<Vec<Arc<Kept>>>,
    /// Held while one is made.
    making: tokio::sync::Mutex<()>,
    made_bytes: AtomicU64,
    throttle: Throttle,
    sending: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShelfError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(
        "the disk here has {free} bytes left, a snapshot takes about {needed} and {reserve} are left to the log"
    )]
    NoRoom { needed: u64, free: u64, reserve: u64 },
    #[error("cannot look at the disk: {0}")]
    Disk(io::Error),
    #[error("this server is stopping")]
    Stopping,
}

impl Shelf {
    /// Opens the folder; what an earlier process has left there and is of this log is offered again. Work ends with `stop`.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(
        options: ShelfOptions,
        source: Source,
        journal: JournalReader,
        stop: CancellationToken,
    ) -> io::Result<Shelf> {
        std::fs::create_dir_all(&options.dir)?;
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(&options.dir)? {
            let dir = entry?.path();
            match reopen(&dir, options.fleet, &journal) {
                Some(snapshot) => kept.push(Arc::new(snapshot)),
                None => remove(&dir),
            }
        }
        let inner = Inner {
            throttle: Throttle::new(options.bytes_per_s),
            options,
            source,
            journal,
            kept: Mutex::new(kept),
            making: tokio::sync::Mutex::new(()),
            made_bytes: AtomicU64::new(0),
            sending: Arc::new(Semaphore::new(SENT_AT_ONCE)),
            stop,
        };
        Ok(Shelf { inner: Arc::new(inner) })
    }

    /// Returns a snapshot that is kept.
    pub(crate) fn get(&self, id: &[u8]) -> Option<Arc<Kept>> {
        self.inner.kept.lock().iter().find(|kept| kept.id == id).cloned()
    }

    /// Returns a snapshot from whose head a follower can go on: the one with id `resume` if there still is one, else one that is kept, else
    /// a new one. Its head is record `at_least` or a later one.
    pub(super) async fn open_snapshot(
        &self,
        contents: Contents,
        at_least: Seq,
        resume: &[u8],
    ) -> Result<Arc<Kept>, ShelfError> {
        if let Some(kept) = self.find(contents, at_least, Some(resume)) {
            return Ok(kept);
        }
        let _alone = self.inner.making.lock().await;
        // Perhaps it was made while we waited.
        if let Some(kept) = self.find(contents, at_least, None) {
            return Ok(kept);
        }
        let shelf = self.clone();
        let made = blocking::run(move || shelf.make(contents)).await;
        made.map_err(|_| ShelfError::Stopping)?
    }

    /// Returns how much has been read of the one that is being made.
    pub(super) fn made_bytes(&self) -> u64 {
        self.inner.made_bytes.load(Ordering::Relaxed)
    }

    /// Returns how many bytes are sent in one message.
    pub(super) fn chunk_bytes(&self) -> usize {
        self.inner.throttle.chunk_bytes(SNAPSHOT_CHUNK_BYTES)
    }

    /// Waits until `bytes` of a snapshot may be sent.
    pub(super) async fn may_send(&self, bytes: usize) {
        self.inner.throttle.take(bytes).await;
    }

    /// Waits until a part may be sent, until the place is dropped. `None`: too many others are being sent to, as when a whole fleet starts
    /// from nothing.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let waiting = Arc::clone(&self.inner.sending).acquire_owned();
        tokio::time::timeout(SENT_WITHIN, waiting).await.ok()?.ok()
    }

    /// Cancelled when the writer stops.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    fn find(&self, contents: Contents, at_least: Seq, resume: Option<&[u8]>) -> Option<Arc<Kept>> {
        let kept = self.inner.kept.lock();
        let offered = kept.iter().map(|kept| (&kept.id[..], &kept.manifest));
        let found = choice::choose(offered, Wanted { contents, at_least, resume }, &self.inner.journal);
        found.map(|place| &kept[place]).inspect(|kept| kept.used()).cloned()
    }

    fn make(&self, contents: Contents) -> Result<Arc<Kept>, ShelfError> {
        let inner = &*self.inner;
        let begun = Instant::now();
        let needed = inner.source.estimate_bytes(contents).map_err(SnapshotError::from)?;
        let free = daemon::disk::free_bytes(&inner.options.dir).map_err(ShelfError::Disk)?;
        let reserve = inner.options.reserve_bytes;
        if free < needed.saturating_add(reserve) {
            tracing::error!(
                needed,
                free,
                "no room for a snapshot: a follower cannot be brought to where the log is"
            );
            return Err(ShelfError::NoRoom { needed, free, reserve });
        }
        let mut id = SnapshotId::default();
        getrandom::fill(&mut id).map_err(|error| ShelfError::Disk(io::Error::other(error)))?;
        let dir = inner.options.dir.join(hex(&id));
        inner.made_bytes.store(0, Ordering::Relaxed);
        let go_on = |bytes| {
            inner.made_bytes.fetch_add(bytes, Ordering::Relaxed);
            !inner.stop.is_cancelled()
        };
        let cut = Cut { go_on: &go_on, ..Cut::new(contents, *inner.options.fleet.as_bytes()) };
        let manifest = match snapshot::write(&inner.source, &cut, &dir) {
            Ok(manifest) => manifest,
            Err(error) => {
                remove(&dir);
                return match error {
                    SnapshotError::Stopped => Err(ShelfError::Stopping),
                    error => {
                        tracing::error!(%error, "cannot make a snapshot for followers");
                        Err(error.into())
                    }
                };
            }
        };
        tracing::info!(
            head = %manifest.head.position,
            bytes = manifest.bytes(),
            parts = manifest.parts.len(),
            took = ?begun.elapsed(),
            "made a snapshot for followers"
        );
        let new = Arc::new(Kept::new(id, manifest, dir));
        let mut kept = inner.kept.lock();
        // Whoever has begun to read an older one may read on.
        let replaced = kept.iter().filter(|kept| kept.manifest.contents == contents);
        replaced.for_each(|old| old.is_old.store(true, Ordering::Release));
        kept.push(new.clone());
        Ok(new)
    }

    /// Removes what nobody has read for a while, until the writer stops.
    pub async fn tidy(self) {
        while !self.inner.stop.is_cancelled() {
            self.inner.stop.run_until_cancelled(tokio::time::sleep(TIDY_EVERY)).await;
            self.remove_unused(KEPT);
        }
    }

    pub(crate) fn remove_unused(&self, kept_for: Duration) {
        let is_unused = |kept: &Arc<Kept>| {
            let is_old = kept.is_old.load(Ordering::Acquire);
            let kept_for = if is_old { kept_for.min(OLD_KEPT) } else { kept_for };
            Arc::strong_count(kept) == 1 && kept.used_at.lock().elapsed() >= kept_for
        };
        let unused: Vec<_> = self.inner.kept.lock().extract_if(.., |kept| is_unused(kept)).collect();
        for old in unused {
            tracing::info!(head = %old.manifest.head.position, "removed a snapshot that nobody has read for a while");
            old.is_old.store(true, Ordering::Release);
        }
    }
}

/// Takes over what an earlier process has made, if it is complete and of this log.
fn reopen(dir: &Path, fleet: FleetId, journal: &JournalReader) -> Option<Kept> {
    let id = unhex(dir.file_name()?.to_str()?)?;
    let manifest = snapshot::read_manifest(dir).ok()?;
    let is_ours = choice::is_ours(&manifest, *fleet.as_bytes(), journal).ok()?;
    is_ours.then(|| Kept::new(id, manifest, dir.to_owned()))
}

fn remove(dir: &Path) {
    let removed = if dir.is_dir() { std::fs::remove_dir_all(dir) } else { std::fs::remove_file(dir) };
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, dir = %dir.display(), "cannot remove a snapshot");
    }
}

fn hex(id: &SnapshotId) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(name: &str) -> Option<SnapshotId> {
    let number = u128::from_str_radix(name, 16).ok()?;
    let id = number.to_be_bytes();
    (hex(&id) == name).then_some(id)
}
