//! What can be wrong about a snapshot.

use std::io;
use std::path::PathBuf;

use crate::codec::DecodeError;
use crate::store::StoreError;

/// Why a snapshot was not written or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The database it is made from or made into.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or folder.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A sorted table.
    #[error("cannot {action} {path}: {source}")]
    Table {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What RocksDB says.
        source: rocksdb::Error,
    },
    /// The folder holds no complete snapshot.
    #[error("{path} is not there: this is no snapshot, or one that was never finished")]
    Unfinished {
        /// The manifest that is missing.
        path: PathBuf,
    },
    /// The manifest does not decode.
    #[error("the snapshot's manifest is damaged: {0}")]
    BadManifest(#[from] DecodeError),
    /// A part is not what the manifest says.
    #[error("{path} {problem}: the snapshot cannot be used")]
    BadPart {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: PartProblem,
    },
    /// What was read back differs from the manifest, although every part was right.
    #[error("the database made from the snapshot differs in {what}: {found} instead of {expected}")]
    Differs {
        /// What was compared.
        what: String,
        /// As the manifest has it.
        expected: String,
        /// As it was found.
        found: String,
    },
    /// It was asked for something that the source does not have.
    #[error("a snapshot of {wanted} cannot be made from {there}")]
    NotThere {
        /// What was wanted.
        wanted: &'static str,
        /// What there is.
        there: &'static str,
    },
    /// Something is where the result should go.
    #[error("{path} exists already")]
    Occupied {
        /// Where.
        path: PathBuf,
    },
    /// Whoever asked for it does not want it any more.
    #[error("stopped before the snapshot was done")]
    Stopped,
}

/// What is wrong with a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PartProblem {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It has another length.
    #[error("has {found} bytes instead of {expected}")]
    Length {
        /// As the manifest has it.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// Its bytes are others.
    #[error("has a wrong checksum")]
    Checksum,
}
