//! The folder the rings are in: on tmpfs, ours alone, and what an earlier process has left in it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clicklog::ledger::RingId;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::ring::file::{Header, RingFile};

const EXTENSION: &str = "ring";
const LOCK: &str = "lock";

/// The folder of the rings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RingDirError {
    /// It cannot be made, looked at or written to.
    #[error("cannot use {path} for the rings of clicks ([clicks] ring_dir): {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is on a disk.
    #[error(
        "{path} is not on tmpfs: workers would wait for its disk. Choose a folder under /run for [clicks] ring_dir, or say \
         allow_disk = true, for tests"
    )]
    NotTmpfs {
        /// Which folder.
        path: PathBuf,
    },
    /// Another process has rings in it.
    #[error("another process has its rings in {path}: every proxy needs a [clicks] ring_dir of its own")]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// There is no room for a ring.
    #[error(
        "cannot reserve {bytes} bytes for a ring in {path}: {source}. Make [clicks] ring_bytes smaller or its tmpfs larger"
    )]
    NoRoom {
        /// Which file.
        path: PathBuf,
        /// How large.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// The folder, locked.
#[derive(Debug)]
pub struct RingDir {
    path: PathBuf,
    boot: [u8; 16],
    /// Locked as long as it is open.
    _lock: File,
}

impl RingDir {
    /// Takes the folder, and makes it if it is not there. `allow_disk`: also if it is not on tmpfs.
    ///
    /// # Errors
    /// It cannot be used, is on a disk, or is in use.
    pub fn open(path: &Path, allow_disk: bool) -> Result<RingDir, RingDirError> {
        let io = |source| RingDirError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let is_tmpfs = statfs(path).map_err(|errno| io(errno.into()))?.filesystem_type() == TMPFS_MAGIC;
        if !is_tmpfs {
            if !allow_disk {
                return Err(RingDirError::NotTmpfs { path: path.to_owned() });
            }
            tracing::warn!(ring_dir = %path.display(), "the rings of clicks are not on tmpfs: workers may wait for the disk");
        }
        let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(path.join(LOCK));
        let lock = lock.map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(RingDir { path: path.to_owned(), boot: boot_id(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(RingDirError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// The boot of the machine; zeros if it does not say.
    pub fn boot(&self) -> [u8; 16] {
        self.boot
    }

    /// Opens what rings there are. What is none is told in the log and left alone.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn rings(&self) -> Result<Vec<Arc<RingFile>>, RingDirError> {
        let io = |source| RingDirError::Io { path: self.path.clone(), source };
        let mut rings = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_none_or(|extension| extension != EXTENSION) {
                continue;
            }
            match RingFile::open(&path) {
                Ok(ring) => rings.push(ring),
                Err(error) => {
                    tracing::error!(ring = %path.display(), %error, "cannot read a ring of clicks, it is left alone");
                }
            }
        }
        Ok(rings)
    }

    /// Makes a new ring of about `bytes`: the largest power of two up to it.
    ///
    /// # Errors
    /// There is no room.
    pub fn create(&self, bytes: usize, id: RingId, secret: u64) -> Result<Arc<RingFile>, RingDirError> {
        let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.path.join(name).with_extension(EXTENSION);
        let data_words = 1 << (bytes / 8).ilog2();
        // The top bit keeps a word that was never written, a zero, from being any place's stamp.
        let header = Header { id, secret: secret | 1 << 63, boot: self.boot };
        RingFile::create(&path, data_words, header).map_err(|source| {
            if source.kind() != io::ErrorKind::AlreadyExists {
                // Best effort: what was begun takes room that is short.
                let _ = fs::remove_file(&path);
            }
            RingDirError::NoRoom { path, bytes, source }
        })
    }
}

/// Which boot of the machine this is; zeros if nobody says it.
pub(crate) fn boot_id() -> [u8; 16] {
    daemon::boot::id().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_on_a_disk_is_refused_unless_that_is_allowed() {
        for parent in ["/dev/shm", "/var/tmp"] {
            let dir = tempfile::tempdir_in(parent).unwrap();
            let path = dir.path().join("rings");
            let on_tmpfs = statfs(dir.path()).unwrap().filesystem_type() == TMPFS_MAGIC;
            assert_eq!(RingDir::open(&path, false).is_ok(), on_tmpfs, "{parent}");
            let rings = RingDir::open(&path, true).unwrap();
            assert!(matches!(RingDir::open(&path, true), Err(RingDirError::InUse { .. })));
            drop(rings);
            RingDir::open(&path, true).unwrap();
        }
    }

    #[test]
    fn rings_are_found_again_and_other_files_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let rings = RingDir::open(dir.path(), true).unwrap();
        let made = rings.create(100_000, [7; 16], 1).unwrap();
        fs::write(dir.path().join("torn.ring"), b"torn").unwrap();
        fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
        let found = rings.rings().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].header(), made.header());
        assert_eq!(fs::metadata(made.path()).unwrap().len(), (65_536 + 4_096));
        assert!(matches!(rings.create(100_000, [7; 16], 1), Err(RingDirError::NoRoom { .. })));
    }
}
