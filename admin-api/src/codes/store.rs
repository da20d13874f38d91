//! The directory of leases: one file for each, and one that remembers the highest lease number of every pool.
//!
//! ```text
//! <pool id>-<number>.lease   a lease (`super::lease`); removed when its codes are used up
//! seen                       a line per pool: <pool id> <highest lease number ever accepted>[ distrusted]
//! origin                     where the leases were made (`super::origin`); elsewhere they are not used
//! ```
//! Owned here: a lease is on disk before anybody gets a code of it, no lease is continued in a copy of the directory, and no number of a
//! pool is accepted twice. A pool that hands out
//! an old number has lost its memory (it was restored from a backup under its old id): its codes may be in use, and its next numbers
//! will look new. So it is distrusted from then on, until it comes back under a new id.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::lease::{Lease, LeaseId, PoolId};
use super::origin::Origin;
use crate::durable;

const SEEN: &str = "seen";
const LEASE: &str = "lease";
const DISTRUSTED: &str = " distrusted";

/// Why a lease was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Its number is not new.
    #[error(
        "key pool {pool} gave out lease {number}, but lease {highest} was seen already: it has lost its memory. Restore it under a new \
         pool id; its codes are not used"
    )]
    SeenBefore {
        /// Which pool.
        pool: PoolId,
        /// The number it gave.
        number: u64,
        /// The highest that was accepted.
        highest: u64,
    },
    /// It gave out an old number before.
    #[error(
        "key pool {pool} has lost its memory, its codes are not used any more: restore it under a new pool id"
    )]
    Distrusted {
        /// Which pool.
        pool: PoolId,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// The open directory.
#[derive(Debug)]
pub struct LeaseStore {
    dir: PathBuf,
    seen: HashMap<PoolId, Seen>,
}

/// What is remembered of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Seen {
    highest: u64,
    distrusted: bool,
}

impl LeaseStore {
    /// Opens the directory, making it if it is missing, and reads the leases in it, oldest first. A damaged one is set aside: its
    /// codes are not used. Nor are any that were made elsewhere, which are removed: somebody else may hand out their codes.
    ///
    /// # Errors
    /// The directory cannot be read or claimed, or the memory of lease numbers is damaged.
    pub fn open(dir: &Path) -> io::Result<(LeaseStore, Vec<Lease>)> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot open the leases in {}: {error}", dir.display()))
        };
        fs::create_dir_all(dir).map_err(named)?;
        let mut seen = read_seen(&dir.join(SEEN))?;
        let mut leases = Vec::new();
        for entry in fs::read_dir(dir).map_err(named)? {
            let path = entry.map_err(named)?.path();
            if path.to_string_lossy().ends_with(durable::UNFINISHED) {
                fs::remove_file(&path).map_err(named)?;
            } else if path.extension().is_some_and(|extension| extension == LEASE) {
                leases.extend(read_lease(&path).map_err(named)?);
            }
        }
        for lease in &leases {
            let seen = seen.entry(lease.pool).or_default();
            seen.highest = lease.number.max(seen.highest);
        }
        leases.sort_by_key(Lease::id);
        let mut store = LeaseStore { dir: dir.to_owned(), seen };
        let leases = store.only_made_here(leases).map_err(named)?;
        Ok((store, leases))
    }

    /// Returns the leases if they were made in this directory; otherwise removes them, durably, and then claims the directory.
    fn only_made_here(&mut self, leases: Vec<Lease>) -> io::Result<Vec<Lease>> {
        let here = Origin::of(&self.dir);
        if here.as_ref().is_some_and(|here| here.is_noted_in(&self.dir)) {
            return Ok(leases);
        }
        if !leases.is_empty() {
            tracing::warn!(
                leases = leases.len(),
                dir = %self.dir.display(),
                "leases of codes come from another boot or are a copy: they are not used, new ones are taken"
            );
            // Their numbers have been seen, also if their files alone said so.
            durable::replace(&self.dir.join(SEEN), self.seen_text().as_bytes())?;
        }
        for lease in leases {
            self.forget(lease.id())?;
        }
        durable::sync_directory_of(&self.dir.join(SEEN))?;
        if let Some(here) = here {
            here.note_in(&self.dir)?;
        }
        Ok(Vec::new())
    }

    /// Keeps a lease; when this returns it is on disk.
    ///
    /// # Errors
    /// Its number is not new, or was not new once; or the disk refuses.
    pub fn keep(&mut self, lease: &Lease) -> Result<(), KeepError> {
        let Seen { highest, distrusted } = self.seen.get(&lease.pool).copied().unwrap_or_default();
        if distrusted {
            return Err(KeepError::Distrusted { pool: lease.pool });
        }
        if lease.number <= highest {
            self.remember(lease.pool, Seen { highest, distrusted: true })?;
            return Err(KeepError::SeenBefore { pool: lease.pool, number: lease.number, highest });
        }
        durable::replace(&self.path(lease.id()), &lease.encode())?;
        self.remember(lease.pool, Seen { highest: lease.number, distrusted })?;
        Ok(())
    }

    /// Says whether a pool was met before.
    pub fn knows(&self, pool: PoolId) -> bool {
        self.seen.contains_key(&pool)
    }

    /// Notes that a pool was met; on disk when this returns.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn meet(&mut self, pool: PoolId) -> io::Result<()> {
        if self.knows(pool) { Ok(()) } else { self.remember(pool, Seen::default()) }
    }

    fn remember(&mut self, pool: PoolId, seen: Seen) -> io::Result<()> {
        self.seen.insert(pool, seen);
        durable::replace(&self.dir.join(SEEN), self.seen_text().as_bytes())
    }

    /// Forgets a lease that is used up, or belongs to another epoch. Its number stays remembered.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn forget(&mut self, lease: LeaseId) -> io::Result<()> {
        let path = self.path(lease);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io::Error::new(error.kind(), format!("cannot remove {}: {error}", path.display())))
            }
            _ => Ok(()),
        }
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, lease: LeaseId) -> PathBuf {
        self.dir.join(format!("{}-{}.{LEASE}", lease.pool, lease.number))
    }

    fn seen_text(&self) -> String {
        let line = |(pool, seen): (&PoolId, &Seen)| {
            format!("{pool} {}{}\n", seen.highest, if seen.distrusted { DISTRUSTED } else { "" })
        };
        let mut lines: Vec<_> = self.seen.iter().map(line).collect();
        lines.sort_unstable();
        lines.concat()
    }
}

fn read_seen(path: &Path) -> io::Result<HashMap<PoolId, Seen>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => {
            return Err(io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display())));
        }
    };
    let line = |line: &str| {
        let (pool, rest) = line.split_once(' ')?;
        let number = rest.strip_suffix(DISTRUSTED);
        let seen = Seen { highest: number.unwrap_or(rest).parse().ok()?, distrusted: number.is_some() };
        Some((PoolId::from_text(pool)?, seen))
    };
    text.lines().map(line).collect::<Option<_>>().ok_or_else(|| {
        let message = format!(
            "{} is damaged: without it a key pool that lost its memory cannot be recognised. Remove it only if no key pool was ever \
             restored from a backup",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

fn read_lease(path: &Path) -> io::Result<Option<Lease>> {
    match Lease::decode(&fs::read(path)?) {
        Ok(lease) => Ok(Some(lease)),
        Err(error) => {
            tracing::error!(file = %path.display(), %error, "set a lease aside, its codes are not used");
            fs::rename(path, path.with_extension("damaged"))?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use linklog::{Code7, Epoch};

    fn lease(number: u64) -> Lease {
        let codes = (0..3).map(|n| Code7::new(number * 10 + n).unwrap()).collect();
        Lease { epoch: Epoch(1), pool: PoolId([1; 16]), number, codes }
    }

    #[test]
    fn a_lease_that_was_kept_is_there_after_a_restart_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, leases) = LeaseStore::open(dir.path()).unwrap();
        assert_eq!(leases, []);
        store.keep(&lease(1)).unwrap();
        store.keep(&lease(2)).unwrap();
        let (mut store, leases) = LeaseStore::open(dir.path()).unwrap();
        assert_eq!(leases, [lease(1), lease(2)]);
        store.forget(lease(1).id()).unwrap();
        store.forget(lease(1).id()).unwrap();
        assert_eq!(LeaseStore::open(dir.path()).unwrap().1, [lease(2)]);
    }

    #[test]
    fn a_copy_of_the_directory_has_no_leases_and_remembers_their_numbers() {
        let place = tempfile::tempdir().unwrap();
        let (made, copy) = (place.path().join("made"), place.path().join("copy"));
        let (mut store, _) = LeaseStore::open(&made).unwrap();
        store.keep(&lease(4)).unwrap();
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&made).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        fs::remove_file(copy.join(SEEN)).unwrap();
        for _ in 0..2 {
            let (store, leases) = LeaseStore::open(&copy).unwrap();
            assert_eq!(leases, []);
            assert!(!store.path(lease(4).id()).exists());
            assert!(store.knows(PoolId([1; 16])));
        }
        let (mut store, _) = LeaseStore::open(&copy).unwrap();
        store.keep(&lease(5)).unwrap();
        assert_eq!(LeaseStore::open(&copy).unwrap().1, [lease(5)]);
        assert_eq!(LeaseStore::open(&made).unwrap().1, [lease(4)]);
    }

    #[test]
    fn a_lease_number_is_accepted_once_even_after_it_was_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = LeaseStore::open(dir.path()).unwrap();
        store.keep(&lease(5)).unwrap();
        store.forget(lease(5).id()).unwrap();
        let (mut store, _) = LeaseStore::open(dir.path()).unwrap();
        assert!(matches!(store.keep(&lease(5)), Err(KeepError::SeenBefore { highest: 5, .. })));
        let other = Lease { pool: PoolId([2; 16]), ..lease(1) };
        store.keep(&other).unwrap();
    }

    #[test]
    fn a_pool_that_gave_out_an_old_number_is_distrusted_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = LeaseStore::open(dir.path()).unwrap();
        store.keep(&lease(5)).unwrap();
        assert!(matches!(store.keep(&lease(4)), Err(KeepError::SeenBefore { number: 4, highest: 5, .. })));
        for _ in 0..2 {
            assert!(matches!(store.keep(&lease(6)), Err(KeepError::Distrusted { .. })));
            store = LeaseStore::open(dir.path()).unwrap().0;
        }
        let restored = Lease { pool: PoolId([2; 16]), ..lease(1) };
        store.keep(&restored).unwrap();
    }

    #[test]
    fn a_lease_whose_number_was_not_written_down_before_the_crash_still_counts_as_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = LeaseStore::open(dir.path()).unwrap();
        store.keep(&lease(3)).unwrap();
        fs::remove_file(dir.path().join(SEEN)).unwrap();
        let (mut store, _) = LeaseStore::open(dir.path()).unwrap();
        assert!(store.keep(&lease(3)).is_err());
    }

    #[test]
    fn a_damaged_lease_is_set_aside_and_an_unfinished_one_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = LeaseStore::open(dir.path()).unwrap();
        store.keep(&lease(1)).unwrap();
        let path = store.path(lease(1).id());
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        fs::write(dir.path().join("x.lease.tmp"), b"half").unwrap();
        assert_eq!(LeaseStore::open(dir.path()).unwrap().1, []);
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [format!("{}-1.damaged", PoolId([1; 16])), "origin".to_owned(), SEEN.to_owned()]);
    }

    #[test]
    fn a_damaged_memory_of_lease_numbers_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(SEEN), "what?").unwrap();
        assert!(LeaseStore::open(dir.path()).unwrap_err().to_string().contains("is damaged"));
    }
}
