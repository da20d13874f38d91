//! A new replica from a snapshot, when the feed cannot bring the old one to where the log is.
//!
//! The old replica goes on being served from all the while. The snapshot is received into a folder of its own, from where it was cut off
//! last time if the writer still keeps it; every byte is checked, a database is made of it beside the old one, everything in that is read
//! back and compared with the manifest, and only then it gets its name ([`crate::replica_dirs`]). Whatever is killed when, the next start
//! finds one whole replica.
//!
//! Deliberately not here: when one is needed and how readers are switched over, which [`crate::follow`] does.

use ::bootstrap::{BootstrapError, Progress, Wish, discard, receive};
use daemon::disk::DiskReserve;
use linklog::replica::Replica;
use linklog::snapshot::{self, Manifest, SnapshotError};
use linklog::store::{Contents, StoreOptions};
use tokio_util::sync::CancellationToken;

use crate::follow::status::Status;
use crate::replica_dirs::ReplicaDirs;

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

impl Progress for Status {
    fn phase(&self, phase: &'static str) {
        self.bootstrap_phase(phase);
    }

    fn bytes(&self, bytes: u64, of: u64) {
        self.bootstrap_bytes(bytes, of);
    }

    fn received(&self, bytes: u64) {
        self.bootstrap_received(bytes);
    }

    fn again(&self, bytes: u64) {
        self.bootstrap_again(bytes);
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
        receive(wish, &self.dirs.received(), &self.disk, status).await?;
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
                discard(&received)?;
                return Err(error.into());
            }
            Ok(installed) => installed,
        };
        discard(&received)?;
        let replica = Replica::open(&into, Contents::Serve, &self.store)?;
        Ok(Made { replica, number, manifest: installed.manifest })
    }
}
