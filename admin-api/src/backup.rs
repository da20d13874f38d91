//! Backups: a snapshot now and then, every record soon after it was written, in a folder or a bucket. [`crate::restore`] is the way back.
//!
//! Invariants: a snapshot counts only when its last object is there; records are archived without a gap from some snapshot on, and where the
//! journal no longer has what comes next, a new snapshot is made; what fails is tried again for ever, shown in metrics, and slows nobody.
//!
//! - [`place`]: where they are and under which names · [`archive`]: the records

pub mod archive;
pub mod place;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clicklog::accounts::AccountsHandle;
use daemon::config::Section;
use daemon::disk;
use linklog::Position;
use linklog::journal::{JournalRead, JournalReader};
use linklog::snapshot::{self, Cut, Manifest, SnapshotError, Source};
use linklog::store::Contents;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use wire::identity::FleetId;

use crate::blocking;
use crate::clock;
use archive::{ArchiveError, Reached};
use place::{Place, PlaceError, SnapshotName};

/// When and where backups are made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupOptions {
    /// Where; `None`: nowhere.
    pub url: Option<String>,
    /// Time between snapshots.
    pub every: Duration,
    /// How long a record waits for others to be archived with.
    pub archive_every: Duration,
    /// How many snapshots are kept, with the records from the oldest of them on.
    pub keep: usize,
}

impl BackupOptions {
    /// Takes the options out of their section.
    pub fn read(section: &mut Section) -> BackupOptions {
        let url: Option<String> = section.optional("url");
        if let Some(url) = &url
            && let Err(error) = Place::open(url, FleetId::from_bytes([0; 16]))
        {
            section.problem("url", error.to_string());
        }
        BackupOptions {
            url,
            every: Duration::from_secs(section.in_range("every_s", 3_600, 10..=30 * 24 * 3_600)),
            archive_every: Duration::from_secs(section.in_range("archive_every_s", 10, 1..=3_600)),
            keep: section.in_range("keep", 48, 1..=10_000),
        }
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Making it.
    #[error("cannot make a snapshot")]
    Snapshot(#[from] SnapshotError),
    /// Putting it away.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The records.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// No room.
    #[error(
        "a snapshot takes about {needed} bytes of the disk, and {free} are free of which {reserve} are reserved"
    )]
    NoRoom {
        /// What it takes.
        needed: u64,
        /// What there is.
        free: u64,
        /// What is left alone.
        reserve: u64,
    },
    /// A local folder.
    #[error("cannot clear {}", dir.display())]
    Folder {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process is ending.
    #[error("the process is ending")]
    Ending,
}

/// How backups go.
#[derive(Clone, Debug, Default)]
pub struct BackupStatus(Arc<Mutex<Status>>);

#[derive(Clone, Debug, Default)]
struct Status {
    snapshot: Option<(Position, u64, u64)>,
    archived: Option<(Position, u64)>,
    failures: u64,
    problem: Option<String>,
}

impl BackupStatus {
    /// Returns the head and the time (milliseconds since the Unix epoch) of the last snapshot of this process.
    pub fn last_snapshot(&self) -> Option<(Position, u64)> {
        self.0.lock().snapshot.map(|(head, at_ms, _)| (head, at_ms))
    }

    /// Returns the last archived record.
    pub fn archived(&self) -> Option<Position> {
        self.0.lock().archived.map(|(position, _)| position)
    }

    /// Returns how often something failed.
    pub fn failures(&self) -> u64 {
        self.0.lock().failures
    }

    /// For `signpost-admin backup status`.
    pub fn to_json(&self) -> Value {
        let status = self.0.lock();
        let position = |at: Position| json!({ "epoch": at.epoch.0, "seq": at.seq.0 });
        json!({
            "snapshot": status.snapshot.map(|(head, at_ms, bytes)| json!({ "head": position(head), "at_ms": at_ms, "bytes": bytes })),
            "archived": status.archived.map(|(at, at_ms)| json!({ "head": position(at), "at_ms": at_ms })),
            "failures": status.failures,
            "problem": status.problem,
        })
    }

    fn failed(&self, problem: String) {
        let mut status = self.0.lock();
        status.failures += 1;
        status.problem = Some(problem);
    }
}

/// Asks for a snapshot now; the answer comes when it is there.
pub type Ask = oneshot::Sender<Result<Value, String>>;

/// What backups are made of.
pub struct Backups {
    /// Whose.
    pub fleet: FleetId,
    /// Where the log is: room for a snapshot is taken beside it.
    pub data_dir: PathBuf,
    /// Bytes of the disk to leave alone.
    pub reserve: u64,
    /// The state of the log.
    pub source: Source,
    /// Its records.
    pub journal: JournalReader,
    /// The counts.
    pub accounts: AccountsHandle,
    /// How it goes.
    pub status: BackupStatus,
}

impl Backups {
    /// Makes backups until `stop`.
    pub async fn run(self, options: BackupOptions, mut asked: mpsc::Receiver<Ask>, stop: CancellationToken) {
        let Some(place) = options.url.as_deref().and_then(|url| Place::open(url, self.fleet).ok()) else {
            // Whoever asks hears that there is no place.
            return;
        };
        let (mut reached, mut next_snapshot) = (None, Instant::now());
        while !stop.is_cancelled() {
            let next_step = Instant::now() + options.archive_every;
            let work = self.work(&place, &options, &mut reached, &mut next_snapshot);
            if let Some(Err(error)) = stop.run_until_cancelled(work).await {
                let problem = wire::channel::reason(&error);
                tracing::warn!(problem, "no backup was made, trying again");
                self.status.failed(problem);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep_until(next_step.max(Instant::now())) => {}
                Some(ask) = asked.recv() => {
                    let made = stop.run_until_cancelled(self.snapshot(&place, &options, &mut reached)).await;
                    let answer = match made {
                        Some(Ok(manifest)) => {
                            next_snapshot = Instant::now() + options.every;
                            let at = manifest.head.position;
                            Ok(json!({ "head": { "epoch": at.epoch.0, "seq": at.seq.0 }, "bytes": manifest.bytes() }))
                        }
                        Some(Err(error)) => Err(wire::channel::reason(&error)),
                        None => Err("the process is ending".to_owned()),
                    };
                    // Whoever asked may be gone.
                    let _ = ask.send(answer);
                }
            }
        }
    }

    async fn work(
        &self,
        place: &Place,
        options: &BackupOptions,
        reached: &mut Option<Reached>,
        next_snapshot: &mut Instant,
    ) -> Result<(), BackupError> {
        let mut known = match *reached {
            Some(known) => known,
            None => {
                let catalogue = place.catalogue().await?;
                archive::find_reached(&catalogue, &self.journal).map_err(ArchiveError::from)?
            }
        };
        *reached = Some(known);
        let is_trimmed = matches!(known, Reached::Here(at) if at.seq.next() < self.journal.first_retained());
        if Instant::now() >= *next_snapshot || known == Reached::Nowhere || is_trimmed {
            self.snapshot(place, options, reached).await?;
            *next_snapshot = Instant::now() + options.every;
            known = reached.unwrap_or(known);
        }
        while let Reached::Here(at) = known {
            let Some(further) = archive::step(place, &self.journal, at).await? else { break };
            known = Reached::Here(further);
            *reached = Some(known);
        }
        if let Reached::Here(at) = known {
            let mut status = self.status.0.lock();
            status.archived = Some((at, clock::now_ms()));
            status.problem = None;
        }
        Ok(())
    }

    /// Makes a snapshot and puts it away; then removes what is older than what is kept.
    async fn snapshot(
        &self,
        place: &Place,
        options: &BackupOptions,
        reached: &mut Option<Reached>,
    ) -> Result<Manifest, BackupError> {
        let dir = self.data_dir.join("backup");
        clear(&dir)?;
        let begun = Instant::now();
        let (log, clicks) = (dir.join("log"), dir.join("clicks"));
        let manifest = self.write(self.source.clone(), Contents::Full, &log).await?;
        let counts = self.write(self.accounts.snapshot_source(), Contents::Journal, &clicks).await?;
        let name = SnapshotName::of(manifest.head.position);
        upload(place, &format!("{}/log", name.folder()), &log, &manifest).await?;
        upload(place, &format!("{}/clicks", name.folder()), &clicks, &counts).await?;
        clear(&dir)?;
        let at_ms = clock::now_ms();
        let bytes = manifest.bytes() + counts.bytes();
        let note = json!({ "made_at_ms": at_ms, "bytes": bytes, "records_until_ms": manifest.at_ms });
        place.complete(name, format!("{note}\n")).await?;
        self.status.0.lock().snapshot = Some((manifest.head.position, at_ms, bytes));
        let seconds = begun.elapsed().as_secs_f64();
        tracing::info!(head = %manifest.head.position, bytes, seconds, "made a backup");
        let is_whole =
            matches!(*reached, Some(Reached::Here(at)) if at.seq.next() >= self.journal.first_retained());
        if !is_whole {
            *reached = Some(Reached::Here(manifest.head.position));
        }
        self.retain(place, options.keep).await?;
        Ok(manifest)
    }

    async fn write(&self, source: Source, contents: Contents, dir: &Path) -> Result<Manifest, BackupError> {
        let (fleet, dir) = (*self.fleet.as_bytes(), dir.to_owned());
        let (reserve, data_dir) = (self.reserve, self.data_dir.clone());
        let writing = blocking::run(move || {
            let needed = source.estimate_bytes(contents).map_err(SnapshotError::from)?;
            if let Ok(free) = disk::free_bytes(&data_dir)
                && free < needed.saturating_add(reserve)
            {
                return Err(BackupError::NoRoom { needed, free, reserve });
            }
            Ok(snapshot::write(&source, &Cut::new(contents, fleet), &dir)?)
        });
        writing.await.map_err(|_| BackupError::Ending)?
    }

    async fn retain(&self, place: &Place, keep: usize) -> Result<(), BackupError> {
        let catalogue = place.catalogue().await?;
        let surplus = catalogue.snapshots.len().saturating_sub(keep);
        let (old, kept) = catalogue.snapshots.split_at(surplus);
        for name in old {
            place.remove_snapshot(*name).await?;
        }
        let Some(oldest) = kept.first() else { return Ok(()) };
        for name in catalogue.records.iter().filter(|name| name.last <= oldest.seq && surplus > 0) {
            place.remove_records(*name).await?;
        }
        Ok(())
    }
}

async fn upload(place: &Place, folder: &str, dir: &Path, manifest: &Manifest) -> Result<(), PlaceError> {
    for index in 0..manifest.parts.len() {
        let part = snapshot::part_name(index);
        place.put_file(&format!("{folder}/{part}"), &dir.join(&part)).await?;
    }
    place.put_file(&format!("{folder}/{}", snapshot::MANIFEST_FILE), &dir.join(snapshot::MANIFEST_FILE)).await
}

fn clear(dir: &Path) -> Result<(), BackupError> {
    match std::fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(BackupError::Folder { dir: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}
