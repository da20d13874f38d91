//! Where in the data directory replicas lie, and which of them is the one to serve from.
//!
//! ```text
//! replica, replica-1, replica-2 …   replicas; the one with the highest number counts
//! replica-N.partial                 one that is being made
//! bootstrap                         the snapshot it is made of
//! scrub                             a look at the one in use
//! ```
//! Invariant: a folder gets a replica's name when everything in it was checked and is durable, in one step, so whatever is killed when, the
//! highest number is a whole replica and everything else can go. A replica that is known to be damaged says so itself, in a file in its
//! folder: it is served from until another one is there, and goes with its mark.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const REPLICA: &str = "replica";
const DAMAGED: &str = "DAMAGED";

/// The folders of a data directory.
#[derive(Clone, Debug)]
pub struct ReplicaDirs {
    data_dir: PathBuf,
}

impl ReplicaDirs {
    /// Looks at replicas in `data_dir`, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(data_dir: &Path) -> io::Result<ReplicaDirs> {
        fs::create_dir_all(data_dir)?;
        Ok(ReplicaDirs { data_dir: data_dir.to_owned() })
    }

    /// Returns the number of the replica to serve from; 0 if there is none yet.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn current(&self) -> io::Result<u64> {
        Ok(self.numbers()?.into_iter().max().unwrap_or(0))
    }

    /// Returns the folder of a replica.
    pub fn replica(&self, number: u64) -> PathBuf {
        match number {
            0 => self.data_dir.join(REPLICA),
            number => self.data_dir.join(format!("{REPLICA}-{number}")),
        }
    }

    /// Returns the folder a snapshot is received in.
    pub fn received(&self) -> PathBuf {
        self.data_dir.join("bootstrap")
    }

    /// Returns the folder of a look at the replica in use.
    pub fn scrub(&self) -> PathBuf {
        self.data_dir.join("scrub")
    }

    /// Removes every replica before `number`, and what was left unfinished.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove_before(&self, number: u64) -> io::Result<()> {
        for earlier in self.numbers()?.into_iter().filter(|earlier| *earlier < number) {
            fs::remove_dir_all(self.replica(earlier))?;
        }
        Ok(())
    }

    /// Marks a replica as damaged, durably.
    ///
    /// # Errors
    /// The disk.
    pub fn mark_damaged(&self, number: u64, why: &str) -> io::Result<()> {
        let dir = self.replica(number);
        let mut file = File::create(dir.join(DAMAGED))?;
        file.write_all(why.as_bytes())?;
        file.sync_all()?;
        File::open(dir)?.sync_all()
    }

    /// Returns why a replica is marked as damaged, if it is.
    pub fn damage(&self, number: u64) -> Option<String> {
        fs::read(self.replica(number).join(DAMAGED))
            .ok()
            .map(|why| String::from_utf8_lossy(&why).into_owned())
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.data_dir)? {
            let name = entry?.file_name();
            let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(REPLICA)) else { continue };
            match rest.strip_prefix('-').map(str::parse::<u64>) {
                None if rest.is_empty() => numbers.push(0),
                // Only as we write it.
                Some(Ok(number)) if rest == format!("-{number}") && number > 0 => numbers.push(number),
                _ => {}
            }
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replica_with_the_highest_number_counts_and_unfinished_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = ReplicaDirs::new(&dir.path().join("data")).unwrap();
        assert_eq!(dirs.current().unwrap(), 0);
        for name in [
            "replica",
            "replica-2",
            "replica-10",
            "replica-11.partial",
            "replica-012",
            "replica-x",
            "bootstrap",
        ] {
            fs::create_dir(dir.path().join("data").join(name)).unwrap();
        }
        assert_eq!(dirs.current().unwrap(), 10);
        assert_eq!(dirs.damage(10), None);
        dirs.mark_damaged(10, "a row").unwrap();
        assert_eq!(dirs.damage(10).as_deref(), Some("a row"));
        dirs.remove_before(10).unwrap();
        assert!(!dirs.replica(0).exists() && !dirs.replica(2).exists() && dirs.replica(10).exists());
    }
}
