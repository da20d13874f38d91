//! The files of the blocklists: read at start, and again when one of them has changed, when asked, and on SIGHUP.
//!
//! Invariant: what is in use was read whole. A file that cannot be used changes nothing but the log; at start it ends the service.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::blocklist::{Blocklist, ListError};
use crate::blocking;

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read the blocklist {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What it says makes no sense.
    #[error("the blocklist {path}: {source}")]
    List {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ListError,
    },
}

/// Device, inode, length and time of the last change of every file, as far as there is one.
type Seen = Vec<Option<(u64, u64, u64, i64, i64)>>;

/// The lists as the files have them.
pub struct BlockFiles {
    hosts: Vec<PathBuf>,
    patterns: Vec<PathBuf>,
    current: RwLock<Arc<Blocklist>>,
    seen: Mutex<Seen>,
}

impl BlockFiles {
    /// Reads every file.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn load(hosts: Vec<PathBuf>, patterns: Vec<PathBuf>) -> Result<BlockFiles, FileError> {
        let seen = look(hosts.iter().chain(&patterns));
        let list = read_all(&hosts, &patterns)?;
        Ok(BlockFiles { hosts, patterns, current: RwLock::new(Arc::new(list)), seen: Mutex::new(seen) })
    }

    /// The lists in use.
    pub fn current(&self) -> Arc<Blocklist> {
        self.current.read().clone()
    }

    /// Reads every file again; returns the numbers of hosts and patterns.
    ///
    /// # Errors
    /// The first that cannot be used. Nothing has changed then.
    pub fn reload(&self) -> Result<(usize, usize), FileError> {
        let mut seen = self.seen.lock();
        *seen = look(self.hosts.iter().chain(&self.patterns));
        let list = read_all(&self.hosts, &self.patterns)?;
        let entries = list.entries();
        *self.current.write() = Arc::new(list);
        Ok(entries)
    }

    fn has_changed(&self) -> bool {
        *self.seen.lock() != look(self.hosts.iter().chain(&self.patterns))
    }

    fn reload_and_tell(&self) {
        match self.reload() {
            Ok((hosts, patterns)) => tracing::info!(hosts, patterns, "read the blocklists again"),
            Err(error) => {
                tracing::error!(%error, "cannot use the new blocklists, the ones before stay in use");
            }
        }
    }

    /// Reads the files again when one of them has changed, looked at every `every`, and on SIGHUP; until told to stop.
    ///
    /// # Errors
    /// No signal handler to be had.
    pub async fn watch(self: Arc<Self>, every: Duration, stop: CancellationToken) -> std::io::Result<()> {
        let mut hangups = signal(SignalKind::hangup())?;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = hangups.recv() => true,
                _ = ticks.tick() => false,
            };
            let files = Arc::clone(&self);
            let look = move || {
                if asked || files.has_changed() {
                    files.reload_and_tell();
                }
            };
            // A panic there has been told on stderr; the next look is another chance.
            let _ = blocking::run(look).await;
        }
    }
}

fn look<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> Seen {
    let of = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    paths.map(of).collect()
}

fn read_all(hosts: &[PathBuf], patterns: &[PathBuf]) -> Result<Blocklist, FileError> {
    let mut list = Blocklist::default();
    type Add = fn(&mut Blocklist, &str) -> Result<(), ListError>;
    for (paths, add) in [(hosts, Blocklist::add_hosts as Add), (patterns, Blocklist::add_patterns as Add)] {
        for path in paths {
            let text = read(path).map_err(|source| FileError::Read { path: path.clone(), source })?;
            add(&mut list, &text).map_err(|source| FileError::List { path: path.clone(), source })?;
        }
    }
    Ok(list)
}

fn read(path: &Path) -> std::io::Result<String> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_that_cannot_be_used_leaves_the_one_before_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let (hosts, patterns) = (dir.path().join("hosts"), dir.path().join("patterns"));
        fs::write(&hosts, "bad.example\n").unwrap();
        assert!(BlockFiles::load(vec![hosts.clone()], vec![patterns.clone()]).is_err());
        fs::write(&patterns, "*.exe\n").unwrap();
        let files = BlockFiles::load(vec![hosts.clone()], vec![patterns]).unwrap();
        assert_eq!((files.current().entries(), files.has_changed()), ((1, 1), false));
        fs::write(&hosts, "bad.example\nno host at all/\n").unwrap();
        assert!(files.has_changed());
        let error = files.reload().unwrap_err().to_string();
        assert!(error.contains("hosts: line 2"), "{error}");
        assert_eq!((files.current().entries(), files.has_changed()), ((1, 1), false));
        fs::write(&hosts, "bad.example\nworse.example\n").unwrap();
        assert_eq!(files.reload().unwrap(), (2, 1));
    }
    #[test]
    fn files_that_are_read_at_once_are_in_use_as_they_were_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        fs::write(&path, "").unwrap();
        let files = BlockFiles::load(vec![path.clone()], Vec::new()).unwrap();
        let written = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let count = {
                            let mut written = written.lock();
                            *written += 1;
                            let text: String = (0..*written).map(|n| format!("h{n}.example\n")).collect();
                            let new = dir.path().join("new");
                            fs::write(&new, text).unwrap();
                            fs::rename(&new, &path).unwrap();
                            *written
                        };
                        files.reload().unwrap();
                        // The list only grows, so whoever read it later has more of it.
                        assert!(files.current().entries().0 >= count);
                    }
                });
            }
        });
        assert_eq!(files.current().entries().0, 200);
    }
}
