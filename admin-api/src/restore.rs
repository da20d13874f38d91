//! The way back from a backup: a log as it was at some record, as the beginning of a new epoch.
//!
//! Everything is made beside the final folders and gets its name at the end: what is killed halfway leaves nothing that a service would
//! open. The records after the snapshot are replayed as a standby adds them, with digests and outcomes compared. The new epoch is above
//! every one in the place, and the fleet's record says where the log was put back to: followers that were further than that begin with a
//! snapshot, which nothing else may make them do.
//!
//! What is not in the backup never was. For links that end with a number of clicks nobody knows how often they were followed since: they are
//! used up by the restore (`burn`), unless the operator says that nothing was followed. Leases of codes that lie in the data folder are not
//! continued, whatever their epoch: one that begins may have begun before, after an earlier restore that the place knows nothing of.
//!
//! - `fetch`: snapshots out of the place · `replay`: the records after it · `burn`: limited links

mod burn;
mod fetch;
mod replay;

use std::path::{Path, PathBuf};

use linklog::entity::{Fleet, Restored};
use linklog::journal::{HeadFile, HeadFileError};
use linklog::snapshot::SnapshotError;
use linklog::standby::{FollowError, Standby, StandbyFailure, StandbyOptions};
use linklog::store::{Contents, StoreError, StoreOptions};
use linklog::writer::{Decision, OpenError, ProposeError, Writer, WriterOptions};
use linklog::{Change, Epoch, Operation, Part, Position, Precondition, Seq, StateKey};
use wire::identity::FleetId;

use crate::backup::place::{Place, PlaceError};
use crate::codes::origin;
use crate::server::open::fleet_record;
use crate::{clock, nonce};

/// Who asks, as the log's records have it.
const ACTOR: &str = "restore";
/// The level of the byte format that knows of restores.
const RESTORED_SINCE_LEVEL: u8 = 2;
/// Where a restore works, in the data folder.
const UNFINISHED: &str = "restore";
/// A file there: everything is made, and what has its final name already is this restore's.
const NAMING: &str = "naming";

/// What to restore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreOptions {
    /// The place of the backups.
    pub from: String,
    /// Whose; `None`: of the only fleet there.
    pub fleet: Option<FleetId>,
    /// How far.
    pub until: Until,
    /// The epoch to begin; `None`: one above every epoch in the place.
    pub epoch: Option<Epoch>,
    /// Limited links are left as they are.
    pub keep_limits: bool,
    /// Where the log and the counts are to be.
    pub data_dir: PathBuf,
}

/// How far to restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// As far as there is something.
    End,
    /// Up to this record and no further.
    Seq(Seq),
    /// Up to this time of the writer's clock, in milliseconds since the Unix epoch.
    Time(u64),
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something already.
    #[error("{} is there already: move it away, or restore into another folder with --data-dir", path.display())]
    Occupied {
        /// What.
        path: PathBuf,
    },
    /// The place has nothing.
    #[error("there are no backups in {place}")]
    Nothing {
        /// Which place.
        place: String,
    },
    /// The place has several fleets.
    #[error("there are backups of {} fleets in {place}: name one with --fleet: {}", fleets.len(), fleets.join(", "))]
    Several {
        /// Which place.
        place: String,
        /// Whose.
        fleets: Vec<String>,
    },
    /// The place has nothing that old.
    #[error("there is no snapshot from before the point asked for; the oldest one is up to record {oldest}")]
    TooOld {
        /// The oldest snapshot.
        oldest: Position,
    },
    /// The records in the place end before what was asked for.
    #[error(
        "the records in the place end at {end}, before the point asked for: restore without it to have those"
    )]
    Short {
        /// The last record there.
        end: Position,
    },
    /// The epoch asked for is not above those there are.
    #[error("--epoch {asked} is not above epoch {highest}, which the place has records of")]
    LowEpoch {
        /// What was asked for.
        asked: Epoch,
        /// What there is.
        highest: Epoch,
    },
    /// The place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A snapshot.
    #[error("the snapshot cannot be used")]
    Snapshot(#[from] SnapshotError),
    /// A record.
    #[error("the records after {at} cannot be used")]
    Records {
        /// What came before.
        at: Position,
        /// Why not.
        source: FollowError,
    },
    /// Archived bytes that are no frames.
    #[error("{name} is damaged")]
    Damaged {
        /// Which object.
        name: String,
    },
    /// Opening what was made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new epoch.
    #[error("the new epoch could not be begun")]
    Epoch(#[from] StandbyFailure),
    /// The HEAD file.
    #[error(transparent)]
    Head(#[from] HeadFileError),
    /// Reading what was made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Writing to it.
    #[error("the log that was made does not take changes")]
    Propose(#[from] ProposeError),
    /// It refused a change.
    #[error("the log that was made refused a change: {0}")]
    Refused(String),
    /// No random numbers.
    #[error("the random source of the operating system failed")]
    Random(#[source] std::io::Error),
    /// A folder.
    #[error("cannot {what} {}", path.display())]
    Folder {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What was restored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// Whose log it is.
    pub fleet: FleetId,
    /// The snapshot it was made of.
    pub snapshot: Position,
    /// The last record that was kept.
    pub to: Position,
    /// How many records were replayed.
    pub records: u64,
    /// Whether the place has records after that, which are not in the log any more.
    pub discarded: Option<Position>,
    /// The epoch that begins.
    pub epoch: Epoch,
    /// Limited links that are used up by this, and their clicks.
    pub burned: (u64, u64),
    /// The last record of their own journal that the counts of clicks have.
    pub clicks_until: Position,
}

/// Restores. `tell` is called with what is going on.
///
/// # Errors
/// Nothing has its final name then.
pub async fn restore(options: &RestoreOptions, tell: &dyn Fn(String)) -> Result<Done, RestoreError> {
    let (log, clicks) = (options.data_dir.join("log"), options.data_dir.join("clicks"));
    let work = options.data_dir.join(UNFINISHED);
    if work.join(NAMING).exists() && !log.exists() {
        clear(&clicks)?;
    }
    if let Some(path) = [&log, &clicks].into_iter().find(|path| path.exists()) {
        return Err(RestoreError::Occupied { path: path.clone() });
    }
    let fleet = fleet_of(options).await?;
    let place = Place::open(&options.from, fleet)?;
    let catalogue = place.catalogue().await?;
    let highest = catalogue.highest_epoch();
    let epoch = options.epoch.unwrap_or(Epoch(highest.0 + 1));
    if epoch <= highest {
        return Err(RestoreError::LowEpoch { asked: epoch, highest });
    }
    clear(&work)?;
    let folder = |what, path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Folder { what, path, source }
    };
    std::fs::create_dir_all(&work).map_err(folder("make", &work))?;

    let chosen = fetch::choose(&place, &catalogue, options.until).await?;
    tell(format!("fetching the snapshot of epoch {} up to record {}", chosen.epoch, chosen.seq));
    let snapshot = fetch::install(&place, chosen, "log", Contents::Full, &work).await?;
    let clicks_until = fetch::install(&place, chosen, "clicks", Contents::Journal, &work).await?;

    let options_of_log = StandbyOptions { store: StoreOptions::default(), journal_bytes_kept: u64::MAX };
    let mut standby = Standby::open(&work.join("log"), &options_of_log)?;
    let records = replay::replay(&place, &catalogue, &mut standby, options.until, tell).await?;
    let to = standby.head().position;
    let discarded = catalogue.records.iter().map(|name| Position { epoch: name.epoch, seq: name.last });
    let discarded = discarded.filter(|last| last.seq > to.seq).max_by_key(|last| last.seq);
    standby.fence(epoch)?;
    standby.promote(clock::now_ms())?;
    tell(format!("beginning epoch {epoch} after record {to}"));
    let burned = begin(&work.join("log"), Restored { to, epoch, discarded }, options.keep_limits)?;

    let codes = options.data_dir.join("codes");
    origin::disown(&codes).map_err(folder("give up the leases in", &codes))?;
    let sync =
        |dir: &Path| std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(folder("fsync", dir));
    let naming = work.join(NAMING);
    std::fs::File::create(&naming).and_then(|file| file.sync_all()).map_err(folder("write", &naming))?;
    sync(&work)?;
    // The log last, and not before the counts are sure to be there: a service that finds it goes on from it.
    for (name, path) in [("clicks", &clicks), ("log", &log)] {
        let from = work.join(name);
        std::fs::rename(&from, path).map_err(folder("rename", &from))?;
        sync(&options.data_dir)?;
    }
    clear(&work)?;
    Ok(Done { fleet, snapshot, to, records, discarded, epoch, burned, clicks_until })
}

async fn fleet_of(options: &RestoreOptions) -> Result<FleetId, RestoreError> {
    let place = options.from.clone();
    let fleets = Place::fleets(&options.from).await?;
    match (options.fleet, &*fleets) {
        (_, []) => Err(RestoreError::Nothing { place }),
        (Some(fleet), fleets) if fleets.contains(&fleet) => Ok(fleet),
        (None, [only]) => Ok(*only),
        (_, several) => {
            Err(RestoreError::Several { place, fleets: several.iter().map(ToString::to_string).collect() })
        }
    }
}

/// Writes what followers and visitors have to know before anybody else writes; returns what was burned.
fn begin(dir: &Path, restored: Restored, keep_limits: bool) -> Result<(u64, u64), RestoreError> {
    let options = WriterOptions {
        store: StoreOptions::default(),
        journal_bytes_kept: u64::MAX,
        queue_max: 16,
        clock_us: Box::new(clock::now_us),
        on_commit: Box::new(|_| ()),
        at_start: Box::new(|| ()),
        nonce: nonce::source().map_err(RestoreError::Random)?,
        on_fatal: Box::new(|error| tracing::error!(%error, "a write failed")),
    };
    let writer = Writer::open(dir, options)?;
    let known = fleet_record(&writer.reader())?;
    let Some(known) = known else { return Err(RestoreError::Refused("there is no fleet in it".to_owned())) };
    // What says so needs the level of the byte format that it came with.
    if known.format_level < RESTORED_SINCE_LEVEL {
        put_fleet(&writer, Fleet { format_level: RESTORED_SINCE_LEVEL, ..known })?;
    }
    let format_level = known.format_level.max(RESTORED_SINCE_LEVEL);
    put_fleet(&writer, Fleet { restored: Some(restored), format_level, ..known })?;
    if keep_limits { Ok((0, 0)) } else { burn::all(&writer) }
}

fn put_fleet(writer: &Writer, record: Fleet) -> Result<(), RestoreError> {
    let operation = Operation::Put { serve: record.encode(), manage: Vec::new() };
    let part = Part { key: StateKey::Fleet, precondition: Precondition::Any, operation };
    propose(writer, vec![Change::new(ACTOR, vec![part])])
}

fn propose(writer: &Writer, changes: Vec<Change>) -> Result<(), RestoreError> {
    let decisions = writer.handle().propose_and_wait(changes)?;
    match decisions.into_iter().find(|decision| !matches!(decision, Decision::Applied { .. })) {
        None => Ok(()),
        Some(other) => Err(RestoreError::Refused(format!("{other:?}"))),
    }
}

/// Writes the file that says how far a journal is that was made of a snapshot.
pub(crate) fn write_head(dir: &Path, head: &linklog::Head) -> Result<(), HeadFileError> {
    let (mut file, _) = HeadFile::open(&dir.join("HEAD"))?;
    file.write(head, clock::now_ms())?;
    file.sync()
}

fn clear(dir: &Path) -> Result<(), RestoreError> {
    match std::fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(RestoreError::Folder { what: "clear", path: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}
