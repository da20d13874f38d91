//! Why a ledger could not be opened, read or written.

use std::path::PathBuf;

/// A ledger could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The directory could not be made.
    #[error("cannot make the directory {dir}: {source}")]
    Directory {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database could not be opened. "lock" means that another process has it open.
    #[error("cannot open the click ledger in {dir}: {source}")]
    Open {
        /// Which directory.
        dir: PathBuf,
        /// What RocksDB says.
        source: rocksdb::Error,
    },
    /// The file that names its tables is damaged.
    #[error(transparent)]
    Manifest(#[from] linklog::manifest::ManifestError),
    /// The directory holds something else, or a ledger of another version.
    #[error("{dir} is not a click ledger of version 1: its format row is {found:?}")]
    WrongContents {
        /// Which directory.
        dir: PathBuf,
        /// What it says it is.
        found: Vec<u8>,
    },
    /// An operation failed; what was to be written is not counted as written.
    #[error("cannot {action} the click ledger: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What RocksDB says.
        source: rocksdb::Error,
    },
    /// Stored bytes cannot be right.
    #[error("the click ledger holds a damaged {0}")]
    Damaged(&'static str),
}

/// Of an operation of the database.
pub(super) const fn cannot(action: &'static str) -> impl Fn(rocksdb::Error) -> LedgerError {
    move |source| LedgerError::Io { action, source }
}
