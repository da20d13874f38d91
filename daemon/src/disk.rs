//! The room that is left on a disk: a daemon stops taking more while there is some, not when a write of its database fails.
//!
//! What a failed write costs is an ended process and a recovery; what the reserve costs is a refused request. While the disk is below the
//! reserve, what the daemon has already is finished and served. A disk that hovers around the mark does not make it waver: it has room
//! again an eighth above.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::Section;

/// How often the disk is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Returns the bytes that a process without privileges may still write on the filesystem of `dir`.
///
/// # Errors
/// The system does not say (statvfs(3)).
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let disk = nix::sys::statvfs::statvfs(dir)?;
    Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
}

/// How much room there is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Room {
    /// Above the reserve.
    Enough,
    /// Below it: take nothing new.
    Low,
    /// Below a quarter of it: write nothing that somebody else keeps as well.
    VeryLow,
}

impl Room {
    /// Decides by what is free, what is reserved and how it was before. Pure.
    pub const fn after(self, free: u64, reserve: u64) -> Room {
        let enough = if matches!(self, Room::Enough) { reserve } else { reserve.saturating_add(reserve / 8) };
        let low = if matches!(self, Room::VeryLow) { reserve / 4 + reserve / 32 } else { reserve / 4 };
        if free >= enough {
            Room::Enough
        } else if free >= low {
            Room::Low
        } else {
            Room::VeryLow
        }
    }

    /// Its name in metrics and in `/readyz`.
    pub const fn name(self) -> &'static str {
        match self {
            Room::Enough => "enough",
            Room::Low => "low",
            Room::VeryLow => "very_low",
        }
    }
}

/// Bytes kept free on the filesystem of a directory. Clones are the same one.
#[derive(Clone, Debug)]
pub struct DiskReserve(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    reserve: u64,
    /// As of the last look.
    free: AtomicU64,
    /// As of the last look, a [`Room`].
    room: AtomicU64,
}

impl DiskReserve {
    /// Reads `reserve_bytes`, 1 GiB if it is not said; 0: nothing is kept free.
    pub fn read(section: &mut Section) -> u64 {
        section.in_range("reserve_bytes", 1 << 30, 0..=1 << 50)
    }

    /// Keeps `reserve` bytes free where `dir` is, and looks at once.
    pub fn new(dir: &Path, reserve: u64) -> DiskReserve {
        let (free, room) = (AtomicU64::new(u64::MAX), AtomicU64::new(Room::Enough as u64));
        let disk = DiskReserve(Arc::new(Shared { dir: dir.to_owned(), reserve, free, room }));
        disk.look();
        disk
    }

    /// Says how much room there was when it was last looked.
    pub fn room(&self) -> Room {
        match self.0.room.load(Ordering::Relaxed) {
            0 => Room::Enough,
            1 => Room::Low,
            _ => Room::VeryLow,
        }
    }

    /// Waits until there is as much room as is reserved, as far as somebody watches.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn enough(&self) {
        while self.room() != Room::Enough {
            tokio::time::sleep(LOOK_EVERY / 4).await;
        }
    }

    /// Returns the free bytes as of the last look.
    pub fn free(&self) -> u64 {
        self.0.free.load(Ordering::Relaxed)
    }

    /// Returns the bytes that are kept free.
    pub fn reserve(&self) -> u64 {
        self.0.reserve
    }

    /// Looks now. A system that does not say leaves things as they are.
    pub fn look(&self) -> Room {
        let Shared { dir, reserve, .. } = &*self.0;
        let free = match free_bytes(dir) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, dir = %dir.display(), "cannot ask how full the disk is");
                return self.room();
            }
        };
        let before = self.room();
        let room = before.after(free, *reserve);
        self.0.free.store(free, Ordering::Relaxed);
        self.0.room.store(room as u64, Ordering::Relaxed);
        if room > before {
            tracing::error!(
                free_bytes = free,
                reserve_bytes = reserve,
                room = room.name(),
                dir = %dir.display(),
                "the disk is nearly full: make room"
            );
        } else if room < before {
            tracing::info!(free_bytes = free, room = room.name(), dir = %dir.display(), "the disk has room again");
        }
        room
    }

    /// Looks again and again until `stop`, and tells `tell` each time.
    pub async fn watch(self, stop: CancellationToken, tell: impl Fn(Room) + Send + Sync) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let disk = self.clone();
            // statvfs may hang where the disk is not a disk.
            let looked = tokio::task::spawn_blocking(move || disk.look());
            match looked.await {
                Ok(room) => tell(room),
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_around_the_mark_does_not_make_it_waver() {
        let steps = [
            (1_001, Room::Enough),
            (999, Room::Low),
            (1_001, Room::Low),
            (1_124, Room::Low),
            (1_125, Room::Enough),
            (1_001, Room::Enough),
            (249, Room::VeryLow),
            (260, Room::VeryLow),
            (281, Room::Low),
            (251, Room::Low),
            (0, Room::VeryLow),
            (5_000, Room::Enough),
        ];
        let mut room = Room::Enough;
        for (free, expected) in steps {
            room = room.after(free, 1_000);
            assert_eq!(room, expected, "{free} bytes free");
        }
    }

    #[test]
    fn without_a_reserve_there_is_always_enough() {
        assert_eq!(Room::Enough.after(0, 0), Room::Enough);
        assert_eq!(Room::VeryLow.after(0, 0), Room::Enough);
        assert_eq!(Room::Low.after(u64::MAX - 1, u64::MAX), Room::Low);
    }

    #[test]
    fn the_disk_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let free = free_bytes(dir.path()).unwrap();
        assert!(free > 0);
        let disk = DiskReserve::new(dir.path(), u64::MAX / 2);
        assert_eq!(disk.room(), Room::VeryLow);
        assert_eq!(DiskReserve::new(dir.path(), 1).room(), Room::Enough);
        assert!(free_bytes(Path::new("/nowhere/at/all")).is_err());
        assert_eq!(DiskReserve::new(Path::new("/nowhere/at/all"), 1).room(), Room::Enough);
    }
}
