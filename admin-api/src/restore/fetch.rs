//! Snapshots out of the place: which one, and as a database.

use std::path::Path;

use linklog::Position;
use linklog::snapshot::{self, Manifest};
use linklog::store::{Contents, StoreOptions};
use serde_json::Value;

use super::{RestoreError, Until, write_head};
use crate::backup::place::{Catalogue, Place, PlaceError, SnapshotName};

/// Returns the newest snapshot that is not beyond what is asked for.
pub(super) async fn choose(
    place: &Place,
    catalogue: &Catalogue,
    until: Until,
) -> Result<SnapshotName, RestoreError> {
    let mut names = catalogue.snapshots.clone();
    let Some(oldest) = names.first().copied() else {
        return Err(RestoreError::Nothing { place: "the place".to_owned() });
    };
    names.sort_by_key(|name| (name.epoch, name.seq));
    for name in names.into_iter().rev() {
        let fits = match until {
            Until::End => true,
            Until::Seq(seq) => name.seq <= seq,
            Until::Time(at_ms) => records_until(place, name).await? <= at_ms,
        };
        if fits {
            return Ok(name);
        }
    }
    Err(RestoreError::TooOld { oldest: Position { epoch: oldest.epoch, seq: oldest.seq } })
}

/// Returns the time of a snapshot's last record; a note that does not say counts as too late.
async fn records_until(place: &Place, name: SnapshotName) -> Result<u64, PlaceError> {
    let note = place.get(&format!("{}/COMPLETE", name.folder())).await?;
    let note: Value = serde_json::from_slice(&note).unwrap_or_default();
    Ok(note["records_until_ms"].as_u64().unwrap_or(u64::MAX))
}

/// Makes the database `what` of a snapshot, in `work`, with its HEAD file; returns its head.
pub(super) async fn install(
    place: &Place,
    name: SnapshotName,
    what: &'static str,
    contents: Contents,
    work: &Path,
) -> Result<Position, RestoreError> {
    let (folder, parts) = (format!("{}/{what}", name.folder()), work.join(format!("{what}-parts")));
    std::fs::create_dir_all(&parts).map_err(|source| RestoreError::Folder {
        what: "make",
        path: parts.clone(),
        source,
    })?;
    let manifest = parts.join(snapshot::MANIFEST_FILE);
    place.get_file(&format!("{folder}/{}", snapshot::MANIFEST_FILE), &manifest).await?;
    let manifest: Manifest = snapshot::read_manifest(&parts)?;
    for index in 0..manifest.parts.len() {
        let part = snapshot::part_name(index);
        place.get_file(&format!("{folder}/{part}"), &parts.join(&part)).await?;
    }
    let into = work.join(what);
    std::fs::create_dir_all(&into).map_err(|source| RestoreError::Folder {
        what: "make",
        path: into.clone(),
        source,
    })?;
    let installed = tokio::task::block_in_place(|| {
        snapshot::install(&parts, contents, &into.join("db"), &StoreOptions::default(), &|| true)
    })?;
    write_head(&into, &installed.manifest.head)?;
    super::clear(&parts)?;
    Ok(installed.manifest.head.position)
}
