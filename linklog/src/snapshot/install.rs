//! Making a database of a snapshot.

use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::{IngestExternalFileOptions, WriteBatch};

use super::files::{check_part, io_error, part_name, read_manifest, sync};
use super::{Manifest, SnapshotError, verify};
use crate::folders;
use crate::store::meta::{BASE, BASE_TIME, HEAD, HIGHEST_EPOCH, write_head};
use crate::store::{Contents, INDEX_VERSION, META, Store, StoreError, StoreOptions, slot_row};

/// What a database was made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Installed {
    /// The snapshot's manifest.
    pub manifest: Manifest,
    /// How many rows were read back and compared.
    pub rows: u64,
}

/// Where in the unfinished database the parts wait to be taken in.
const TAKEN_IN: &str = "parts";

/// Makes the database `into` of the snapshot in `snapshot`, which stays as it is: its parts are linked where the file system can, not copied.
/// `into` must not exist; it gets its name when everything in it was read back and is durable. The work is done beside it, in a folder
/// with `.partial` behind the name, which an earlier try may have left. `go_on` is asked now and then; false ends the work.
///
/// A full member's journal begins at the snapshot's head. The HEAD file beside a writer's database is the caller's business.
///
/// # Errors
/// A snapshot of something else; any byte of it that is not as it was written; the disk. `into` does not exist then.
pub fn install(
    snapshot: &Path,
    contents: Contents,
    into: &Path,
    options: &StoreOptions,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Installed, SnapshotError> {
    install_with(snapshot, contents, into, options, Some(go_on))
}

/// As [`install()`], and takes whatever is there, or is not there, for right: a bug to be planted.
///
/// # Errors
/// The disk.
#[cfg(feature = "simulation")]
pub fn install_unchecked(
    snapshot: &Path,
    contents: Contents,
    into: &Path,
    options: &StoreOptions,
) -> Result<Installed, SnapshotError> {
    install_with(snapshot, contents, into, options, None)
}

/// `checks`: asked whether to go on checking; `None`: nothing is checked.
fn install_with(
    snapshot: &Path,
    contents: Contents,
    into: &Path,
    options: &StoreOptions,
    checks: Option<&(dyn Fn() -> bool + Sync)>,
) -> Result<Installed, SnapshotError> {
    if folders::exists(into) {
        return Err(SnapshotError::Occupied { path: into.to_owned() });
    }
    let manifest = read_manifest(snapshot)?;
    if manifest.contents != contents {
        return Err(SnapshotError::NotThere { wanted: contents.name(), there: manifest.contents.name() });
    }
    if let Some(go_on) = checks {
        for (index, part) in manifest.parts.iter().enumerate() {
            if !go_on() {
                return Err(SnapshotError::Stopped);
            }
            check_part(&snapshot.join(part_name(index)), part)?;
        }
    }
    let partial = beside(into);
    remove(&partial)?;
    folders::make(&partial).map_err(io_error("make", &partial))?;
    let store = Store::open(&partial, contents, options)?;
    take_in(&store, snapshot, &partial, &manifest)?;
    write_bounds(&store, &manifest)?;
    let rows = checks.map_or(Ok(0), |go_on| verify::against(&store, &manifest, go_on))?;
    store.sync()?;
    drop(store);
    sync(&partial)?;
    folders::rename(&partial, into).map_err(io_error("rename", &partial))?;
    Ok(Installed { manifest, rows })
}

/// Returns where a database is while it is not complete.
fn beside(into: &Path) -> PathBuf {
    let mut name = into.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    into.with_file_name(name)
}

fn remove(dir: &Path) -> Result<(), SnapshotError> {
    folders::remove(dir).map_err(io_error("remove", dir))
}

/// Lets the database have the parts, all of a table at once.
fn take_in(store: &Store, snapshot: &Path, partial: &Path, manifest: &Manifest) -> Result<(), SnapshotError> {
    #[cfg(feature = "simulation")]
    if store.is_simulated() {
        return take_in_rows(store, snapshot, manifest);
    }
    let waiting = partial.join(TAKEN_IN);
    fs::create_dir(&waiting).map_err(io_error("make", &waiting))?;
    let mut options = IngestExternalFileOptions::default();
    // The names here go; those in the snapshot stay.
    options.set_move_files(true);
    for (place, table) in manifest.tables.iter().enumerate() {
        let mut files = Vec::new();
        for (index, _) in
            manifest.parts.iter().enumerate().filter(|(_, part)| usize::from(part.table) == place)
        {
            let (from, to) = (snapshot.join(part_name(index)), waiting.join(part_name(index)));
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(|_| ()))
                .map_err(io_error("copy", &from))?;
            files.push(to);
        }
        if files.is_empty() {
            continue;
        }
        let taken = store.db().ingest_external_file_cf_opts(store.table(table.name), &options, files);
        taken.map_err(|source| SnapshotError::Table {
            action: "take in the parts in",
            path: waiting.clone(),
            source,
        })?;
    }
    remove(&waiting)
}

/// As [`take_in`], on a disk in memory, whose databases have no files.
#[cfg(feature = "simulation")]
fn take_in_rows(store: &Store, snapshot: &Path, manifest: &Manifest) -> Result<(), SnapshotError> {
    for (index, part) in manifest.parts.iter().enumerate() {
        let path = snapshot.join(part_name(index));
        let bytes = folders::read(&path, usize::MAX).map_err(io_error("read", &path))?.unwrap_or_default();
        let mut batch = WriteBatch::default();
        let name = manifest.tables[usize::from(part.table)].name;
        crate::simulated::put_rows(&mut batch, name, &bytes)?;
        store.write(batch, true)?;
    }
    Ok(())
}

/// Writes what says where in the log the rows stand.
fn write_bounds(store: &Store, manifest: &Manifest) -> Result<(), StoreError> {
    let meta = store.table(META);
    let mut batch = WriteBatch::default();
    write_head(&mut batch, store, HEAD, &manifest.head);
    // What its maker has accepted for a promotion binds full members. A proxy accepts with its records alone: it would refuse what the
    // next epoch begins with.
    let highest_epoch = match manifest.contents {
        Contents::Serve => manifest.head.position.epoch,
        Contents::Full | Contents::Journal => manifest.highest_epoch,
    };
    batch.put_cf(meta, HIGHEST_EPOCH, highest_epoch.0.to_le_bytes());
    for (slot, totals) in &manifest.slots {
        batch.put_cf(meta, slot_row(slot.number()), totals.encode());
    }
    if manifest.contents != Contents::Serve {
        write_head(&mut batch, store, BASE, &manifest.head);
        batch.put_cf(meta, BASE_TIME, manifest.at_ms.to_le_bytes());
    }
    if manifest.contents == Contents::Full {
        // An index of another version is made anew when the database is opened next.
        batch.put_cf(meta, INDEX_VERSION, [manifest.index_version]);
    }
    store.write(batch, true)
}
