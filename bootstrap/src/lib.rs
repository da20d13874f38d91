//! Getting a snapshot of the log's state, when the feed cannot bring a follower to where the log is: the same for proxies, which get what is
//! served, and for standbys, which get everything.
//!
//! The snapshot is received into a folder of its own, from where it was cut off last time if it is still kept there, and every byte is
//! checked. Deliberately not here: when one is needed, the database that is made of it ([`linklog::snapshot::install`]), and how that takes
//! the place of another one.

mod receive;

use std::io;
use std::path::Path;

use daemon::disk::DiskReserve;
use linklog::Epoch;
use linklog::snapshot::{Manifest, SnapshotError};
use linklog::store::{Contents, StoreError};
use wire::identity::Identity;

pub use receive::{discard, receive};

/// Room that is left on the disk besides a snapshot at least: the log of what is made of it, and the clicks.
const RESERVE_BYTES_MIN: u64 = 256 << 20;

/// Whom a snapshot is asked of, and what of it is needed.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// The feed of a writer or a standby.
    pub url: &'a str,
    /// Our certificate.
    pub identity: Option<&'a Identity>,
    /// Our name as a member.
    pub name: &'a str,
    /// The fleet, if it is known.
    pub fleet: Option<[u8; 16]>,
    /// What it is to hold: of the log, or [`Contents::Journal`] for the counts of clicks.
    pub contents: Contents,
    /// The record it must have.
    pub at_least_seq: u64,
    /// The epoch it must be of, or a later one.
    pub highest_epoch: Epoch,
}

impl Wish<'_> {
    /// Says whether a snapshot is what was asked for.
    ///
    /// # Errors
    /// [`BootstrapError::Unfit`] if it is not.
    pub fn check(&self, manifest: &Manifest) -> Result<(), BootstrapError> {
        let problem = if self.fleet.is_some_and(|ours| ours != manifest.fleet) {
            "it belongs to another fleet".to_owned()
        } else if manifest.contents != self.contents {
            format!("it holds the {} state, not the {}", manifest.contents.name(), self.contents.name())
        } else if manifest.highest_epoch < self.highest_epoch {
            let (theirs, ours) = (manifest.highest_epoch, self.highest_epoch);
            format!("it is of epoch {theirs}, and epoch {ours} has been accepted")
        } else if manifest.head.position.seq.0 < self.at_least_seq {
            format!("it ends at record {}, before {}", manifest.head.position, self.at_least_seq)
        } else {
            return Ok(());
        };
        Err(BootstrapError::Unfit(problem))
    }
}

/// Is told how far it is.
pub trait Progress: Sync {
    /// The next step.
    fn phase(&self, phase: &'static str);
    /// So many bytes are there, of so many; of 0 while it is being made.
    fn bytes(&self, bytes: u64, of: u64);
    /// So many more were received.
    fn received(&self, bytes: u64);
    /// So many have to be received again.
    fn again(&self, bytes: u64);
}

/// Why there is no snapshot, or nothing could be made of it.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Whoever was asked does not answer, or stopped in the middle.
    #[error("{0}")]
    Lost(String),
    /// It says no, and will again.
    #[error("there is no snapshot to be had: {0}")]
    Refused(String),
    /// What it offers is not for us.
    #[error("the snapshot is not for us: {0}")]
    Unfit(String),
    /// There is no room beside what is in use.
    #[error("a snapshot needs {needed} bytes beside what is in use and there are {free}: make room")]
    NoRoom {
        /// So many bytes, with what is kept free.
        needed: u64,
        /// So many there are.
        free: u64,
    },
    /// It is damaged, or the disk fails.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The disk.
    #[error("cannot keep a snapshot: {0}")]
    Disk(#[from] io::Error),
    /// What was made of it cannot be opened.
    #[error(transparent)]
    Open(#[from] StoreError),
    /// The process ends.
    #[error("this process is stopping")]
    Stopping,
}

impl BootstrapError {
    /// Whether somebody else may have a snapshot all the same.
    pub const fn is_of_whom_was_asked(&self) -> bool {
        matches!(self, BootstrapError::Lost(_) | BootstrapError::Refused(_) | BootstrapError::Unfit(_))
    }

    /// Whether trying again soon may help.
    pub const fn may_pass(&self) -> bool {
        matches!(self, BootstrapError::Lost(_) | BootstrapError::Stopping)
    }
}

/// Says whether there is room in `dir` for a snapshot of which `missing` bytes have to be received still.
fn check_room(dir: &Path, disk: &DiskReserve, missing: u64) -> Result<(), BootstrapError> {
    let free = daemon::disk::free_bytes(dir)?;
    let needed = missing.saturating_add(disk.reserve().max(RESERVE_BYTES_MIN));
    if free < needed { Err(BootstrapError::NoRoom { needed, free }) } else { Ok(()) }
}
