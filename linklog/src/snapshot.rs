//! Snapshots: the state at one record, as files that can be copied, checked and opened as a database.
//!
//! ```text
//! MANIFEST            what the snapshot is, and of which parts it consists ([`Manifest`])
//! part-000000.sst …   sorted tables of bounded size, in the order of the manifest
//! ```
//! A snapshot is of one moment ([`write()`] reads everything in one snapshot of the database) and of what its receiver may hold: a proxy's
//! is cut out of a full member's. It has no journal: the log of whoever is made from it begins at its head.
//!
//! Invariants: a folder without a manifest is no snapshot, and the manifest is written last; a database made by [`install()`] has its final
//! name only after every part was checked against the manifest and everything was read back from the database and compared with it, rows,
//! sums and counts of every slot. Whatever is killed halfway leaves nothing that opens as complete.
//!
//! Deliberately not here: where snapshots are kept, how they travel, when they are made.

mod error;
mod files;
mod install;
mod manifest;
mod rows;
mod source;
mod verify;
mod write;

pub use error::{PartProblem, SnapshotError};
pub use files::{MANIFEST_FILE, check_part, part_name, read_manifest, store_manifest};
#[cfg(feature = "simulation")]
pub use install::install_unchecked;
pub use install::{Installed, install};
pub use manifest::{MANIFEST_BYTES_MAX, Manifest, PART_BYTES, Part};
pub use source::Source;
pub use write::{Cut, write};

#[cfg(test)]
mod tests;
