//! A new replica from a snapshot, when the feed cannot bring the old one to where the log is.
//!
//! The old replica goes on being served from all the while. The snapshot is received into a folder of its own, from where it was cut off
//! last time if the writer still keeps it; every byte is checked, a database is made of it beside the old one, everything in that is read
//! back and compared with the manifest, and only then it gets its name ([`crate::replica_dirs`]). Whatever is killed when, the next start
//! finds one whole replica.
//!
//! Deliberately not here: when one is needed and how readers are switched over, which [`crate::follow`] does.

mod receive;

use std::io;

use daemon::disk::DiskReserve;
use linklog::Epoch;
use linklog::replica::Replica;
use linklog::snapshot::{self, Manifest, SnapshotError};
use linklog::store::{Contents, StoreOptions};
use tokio_util::sync::CancellationToken;
use wire::identity::Identity;

use crate::follow::status::Status;
use crate::replica_dirs::ReplicaDirs;

/// Room that is left on the disk besides a snapshot at least: the log of the new replica, and the clicks.
const RESERVE_BYTES_MIN: u64 = 256 << 20;

/// Where replicas are made, and how they are opened.
#[derive(Clone, Debug)]
pub struct BootstrapOptions {
    /// The data directory.
    pub dirs: ReplicaDirs,
    /// Memory of a replica.
    pub store: StoreOptions,
    /// A proxy without any record fetches a snapshot instead of so many records.
    pub fresh_from_records: u64,
    /// What is kept free on the disk.
    pub disk: DiskReserve,
}

/// Whom a snapshot is asked of, and what of it is needed.
#[derive(Clone, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) url: &'a str,
    pub(crate) identity: Option<&'a Identity>,
    pub(crate) name: &'a str,
    /// The fleet, if it is known.
    pub(crate) fleet: Option<[u8; 16]>,
    /// The record it must have.
    pub(crate) at_least_seq: u64,
    /// The epoch it must be of, or a later one.
    pub(crate) highest_epoch: Epoch,
}

/// Why there is no new replica yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    /// The writer does not answer, or stopped in the middle.
    #[error("{0}")]
    Lost(String),
    /// It says no, and will again.
    #[error("the writer gives no snapshot: {0}")]
    Refused(String),
    /// What it offers is not for us.
    #[error("the writer's snapshot is not for us: {0}")]
    Unfit(String),
    /// There is no room beside the old replica.
    #[error("a snapshot needs {needed} bytes beside the replica in use and there are {free}: make room")]
    NoRoom { needed: u64, free: u64 },
    /// It is damaged, or the disk fails.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The disk.
    #[error("cannot keep a snapshot: {0}")]
    Disk(#[from] io::Error),
    /// The new replica cannot be opened.
    #[error(transparent)]
    Open(#[from] linklog::store::StoreError),
    /// The process ends.
    #[error("the proxy is stopping")]
    Stopping,
}

impl BootstrapError {
    /// Whether trying again soon may help.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, BootstrapError::Lost(_) | BootstrapError::Stopping)
    }
}

/// A replica that was made of a snapshot.
pub(crate) struct Made {
    pub(crate) replica: Replica,
    /// Its number among the folders.
    pub(crate) number: u64,
    pub(crate) manifest: Manifest,
}

impl BootstrapOptions {
    /// Makes the replica that comes after number `current`.
    ///
    /// # Errors
    /// Why not. What was received so far is kept for the next try.
    ///
    /// # Cancel safety
    /// What was received is kept. Work on the disk ends soon after `stop`.
    pub(crate) async fn make(
        &self,
        wish: &Wish<'_>,
        current: u64,
        status: &Status,
        stop: &CancellationToken,
    ) -> Result<Made, BootstrapError> {
        receive::receive(self, wish, status).await?;
        let (options, stop) = (self.clone(), stop.clone());
        status.bootstrap_phase("verifying");
        let made = tokio::task::spawn_blocking(move || options.install(current + 1, &stop)).await;
        made.map_err(|_| BootstrapError::Stopping)?
    }

    fn install(&self, number: u64, stop: &CancellationToken) -> Result<Made, BootstrapError> {
        let (received, into) = (self.dirs.received(), self.dirs.replica(number));
        let go_on = || !stop.is_cancelled();
        let installed = match snapshot::install(&received, Contents::Serve, &into, &self.store, &go_on) {
            Err(SnapshotError::Stopped) => return Err(BootstrapError::Stopping),
            Err(error) => {
                // It was checked while it was received: begin anew.
                receive::discard(&received)?;
                return Err(error.into());
            }
            Ok(installed) => installed,
        };
        receive::discard(&received)?;
        let replica = Replica::open(&into, Contents::Serve, &self.store)?;
        Ok(Made { replica, number, manifest: installed.manifest })
    }

    /// Says whether there is room for a snapshot of which `missing` bytes have to be received still.
    fn check_room(&self, missing: u64) -> Result<(), BootstrapError> {
        let received = self.dirs.received();
        let free = daemon::disk::free_bytes(&received)?;
        let needed = missing.saturating_add(self.disk.reserve().max(RESERVE_BYTES_MIN));
        if free < needed { Err(BootstrapError::NoRoom { needed, free }) } else { Ok(()) }
    }
}
