//! The head file: how far the pool had leased, written beside the database and not into it.
//!
//! After a power cut the database goes on from the last write that it can read, which is right: all that follows is what
//! nobody was told of. But damage in the middle of its log, or an older copy put in its place, looks the same to it, and
//! there it would hand codes out again. The head file is the second witness: a database that knows fewer leases than the
//! file is refused. It is written every few seconds and at the end, so it may know fewer than the database, never more;
//! what it misses in those seconds an admin notices, who refuses a lease number seen before.
//!
//! Four lines of text: what it is, then the pool, what is leased next, and the latest lease's number. It is replaced as a
//! whole and fsynced.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::pool::PoolId;

const FIRST_LINE: &str = "signpost-keypool head 1";
/// A head file is about 100 bytes; what is longer is none.
const BYTES_MAX: u64 = 1 << 10;

/// How far a pool had leased.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Which pool: after a restore the file of the pool before means nothing.
    pub pool_id: PoolId,
    /// The serial that is leased next.
    pub leased: u64,
    /// The latest lease number.
    pub last_lease_number: u64,
}

/// Why a head file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The system does not let us.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no head file.
    #[error("{} is damaged: it is no head file", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl Head {
    /// Reads a head file; none is there before the first lease.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Option<Head>, HeadError> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text));
        match read {
            Ok(_) => Head::parse(&text).map(Some).ok_or_else(|| HeadError::Damaged { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(HeadError::Damaged { path: path.to_owned() })
            }
            Err(source) => Err(HeadError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// Replaces a head file.
    ///
    /// # Errors
    /// The system does not let us; then the file is as it was.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }

    fn text(&self) -> String {
        let Head { pool_id, leased, last_lease_number } = self;
        format!("{FIRST_LINE}\npool_id {pool_id}\nleased {leased}\nlast_lease_number {last_lease_number}\n")
    }

    fn parse(text: &str) -> Option<Head> {
        let mut lines = text.strip_prefix(FIRST_LINE)?.strip_prefix('\n')?.split_terminator('\n');
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let pool_id = PoolId(u128::from_str_radix(value("pool_id")?, 16).ok()?.to_be_bytes());
        let leased = value("leased")?.parse().ok()?;
        let last_lease_number = value("last_lease_number")?.parse().ok()?;
        let head = Head { pool_id, leased, last_lease_number };
        // Whatever else could be read as the same numbers was not written here.
        (head.text() == text).then_some(head)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_head_file_reads_as_what_was_written_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("head");
        assert_eq!(Head::read(&path).unwrap(), None);
        let head = Head { pool_id: PoolId([0x0f; 16]), leased: 12_345, last_lease_number: 7 };
        head.write(&path).unwrap();
        let text = "signpost-keypool head 1\npool_id 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\nleased 12345\nlast_lease_number 7\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(Head::read(&path).unwrap(), Some(head));
        let damaged =
            [&text.as_bytes()[..text.len() - 1], &[0xff; 9], b"", &[text.as_bytes(), b"\n"].concat()];
        for bytes in damaged {
            fs::write(&path, bytes).unwrap();
            assert!(matches!(Head::read(&path), Err(HeadError::Damaged { .. })), "{bytes:?}");
        }
    }
}
