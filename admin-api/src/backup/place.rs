//! Where backups are kept, and under which names: a folder, or a bucket of any store that speaks S3.
//!
//! ```text
//! fleet-<id>/snapshots/<seq>-<epoch>/log/…      a snapshot of the log's state ([`linklog::snapshot`])
//! fleet-<id>/snapshots/<seq>-<epoch>/clicks/…   a snapshot of the counts
//! fleet-<id>/snapshots/<seq>-<epoch>/COMPLETE   written last: without it there is no snapshot
//! fleet-<id>/journal/<first>-<last>-<epoch>.frames   records, in frames of the feed: u32 length, little-endian, frame; again and again
//! ```
//! Numbers have twenty and ten digits, so that names sort as they count. An epoch is that of the last record: after a restore the same seq may
//! be there in several, and the highest one is what the log is now.

use std::path::Path as File;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use linklog::{Epoch, Position, Seq};
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;
use wire::identity::FleetId;

const SNAPSHOTS: &str = "snapshots";
const JOURNAL: &str = "journal";
const COMPLETE: &str = "COMPLETE";
const FRAMES: &str = ".frames";

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The address is none.
    #[error("{url:?} is no place for backups: give a folder (/backups), or s3://bucket/prefix")]
    Address {
        /// What was given.
        url: String,
    },
    /// What it said.
    #[error("{what} {name}")]
    Store {
        /// What was tried.
        what: &'static str,
        /// With what.
        name: String,
        /// What it said.
        source: object_store::Error,
    },
    /// A local file.
    #[error("{what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A snapshot in a place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SnapshotName {
    /// Its head's number.
    pub seq: Seq,
    /// Its head's epoch.
    pub epoch: Epoch,
}

impl SnapshotName {
    /// Names a snapshot with this head.
    pub const fn of(head: Position) -> SnapshotName {
        SnapshotName { seq: head.seq, epoch: head.epoch }
    }

    /// Returns the name of its folder.
    pub fn folder(&self) -> String {
        format!("{SNAPSHOTS}/{:020}-{:010}", self.seq.0, self.epoch.0)
    }

    fn read(name: &str) -> Option<SnapshotName> {
        let (seq, epoch) = name.split_once('-')?;
        Some(SnapshotName { seq: Seq(seq.parse().ok()?), epoch: Epoch(epoch.parse().ok()?) })
    }
}

/// Archived records in a place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RecordsName {
    /// The first record's number.
    pub first: Seq,
    /// The last one's.
    pub last: Seq,
    /// The last one's epoch.
    pub epoch: Epoch,
}

impl RecordsName {
    /// Returns the name.
    pub fn text(&self) -> String {
        format!("{JOURNAL}/{:020}-{:020}-{:010}{FRAMES}", self.first.0, self.last.0, self.epoch.0)
    }

    fn read(name: &str) -> Option<RecordsName> {
        let mut numbers = name.strip_suffix(FRAMES)?.split('-').map(|number| number.parse::<u64>().ok());
        let (first, last, epoch) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let epoch = Epoch(u32::try_from(epoch).ok()?);
        let name = RecordsName { first: Seq(first), last: Seq(last), epoch };
        (numbers.next().is_none() && first <= last).then_some(name)
    }
}

/// Everything of one fleet in a place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Catalogue {
    /// Complete snapshots, oldest first.
    pub snapshots: Vec<SnapshotName>,
    /// Archived records, by their numbers.
    pub records: Vec<RecordsName>,
}

impl Catalogue {
    /// Returns the highest epoch of anything here.
    pub fn highest_epoch(&self) -> Epoch {
        let epochs =
            self.snapshots.iter().map(|name| name.epoch).chain(self.records.iter().map(|name| name.epoch));
        epochs.max().unwrap_or(Epoch(0))
    }
}

/// A place for the backups of one fleet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    root: Path,
}

impl Place {
    /// Returns the place at `url` for a fleet's backups: a folder, or `s3://bucket/prefix`, for which the environment has what is needed to
    /// get in (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`, …). Nothing is asked yet.
    ///
    /// # Errors
    /// An address of neither kind.
    pub fn open(url: &str, fleet: FleetId) -> Result<Place, PlaceError> {
        let (store, prefix) = store_of(url)?;
        Ok(Place { store, root: prefix.join(format!("fleet-{fleet}")) })
    }

    /// Returns the fleets that have backups at `url`.
    ///
    /// # Errors
    /// The place.
    pub async fn fleets(url: &str) -> Result<Vec<FleetId>, PlaceError> {
        let (store, prefix) = store_of(url)?;
        let listed =
            store.list_with_delimiter(Some(&prefix)).await.map_err(failed("cannot list", &prefix))?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        Ok(names.filter_map(|name| name.strip_prefix("fleet-")?.parse().ok()).collect())
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.root.clone(), |path, part| path.join(part))
    }

    /// Says what is there.
    ///
    /// # Errors
    /// The place.
    pub async fn catalogue(&self) -> Result<Catalogue, PlaceError> {
        let mut catalogue = Catalogue::default();
        let snapshots = self.path(SNAPSHOTS);
        let listed = self.store.list_with_delimiter(Some(&snapshots)).await;
        for folder in listed.map_err(failed("cannot list", &snapshots))?.common_prefixes {
            let Some(name) = folder.filename().and_then(SnapshotName::read) else { continue };
            match self.store.head(&folder.clone().join(COMPLETE)).await {
                Ok(_) => catalogue.snapshots.push(name),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(failed("cannot look at", &folder)(source)),
            }
        }
        let journal = self.path(JOURNAL);
        let listed: Vec<_> =
            self.store.list(Some(&journal)).try_collect().await.map_err(failed("cannot list", &journal))?;
        let names = listed.iter().filter_map(|object| object.location.filename());
        catalogue.records.extend(names.filter_map(RecordsName::read));
        catalogue.snapshots.sort_unstable();
        catalogue.records.sort_unstable();
        Ok(catalogue)
    }

    /// Puts bytes under a name; they are there as a whole or not at all.
    ///
    /// # Errors
    /// The place.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), PlaceError> {
        let path = self.path(name);
        self.store.put(&path, bytes.into()).await.map_err(failed("cannot write", &path)).map(drop)
    }

    /// Puts a file under a name; it is there as a whole or not at all.
    ///
    /// # Errors
    /// The place, or the file.
    pub async fn put_file(&self, name: &str, file: &File) -> Result<(), PlaceError> {
        let path = self.path(name);
        let open = tokio::fs::File::open(file).await;
        let mut from = open.map_err(|source| file_failed("cannot open", file)(source))?;
        let mut to = BufWriter::new(self.store.clone(), path);
        let copied = tokio::io::copy(&mut from, &mut to).await;
        if let Err(source) = copied {
            // What was sent is thrown away; that may fail as well.
            let _ = to.abort().await;
            return Err(file_failed("cannot copy to the place for backups:", file)(source));
        }
        to.shutdown()
            .await
            .map_err(|source| file_failed("cannot copy to the place for backups:", file)(source))
    }

    /// Marks a snapshot complete.
    ///
    /// # Errors
    /// The place.
    pub async fn complete(&self, name: SnapshotName, note: String) -> Result<(), PlaceError> {
        self.put(&format!("{}/{COMPLETE}", name.folder()), note.into()).await
    }

    /// Returns the bytes under a name.
    ///
    /// # Errors
    /// The place.
    pub async fn get(&self, name: &str) -> Result<Bytes, PlaceError> {
        let path = self.path(name);
        let got = self.store.get(&path).await.map_err(failed("cannot read", &path))?;
        got.bytes().await.map_err(failed("cannot read", &path))
    }

    /// Writes what is under a name to a file.
    ///
    /// # Errors
    /// The place, or the file.
    pub async fn get_file(&self, name: &str, file: &File) -> Result<u64, PlaceError> {
        let path = self.path(name);
        let got = self.store.get(&path).await.map_err(failed("cannot read", &path))?;
        let mut stream = got.into_stream();
        let create = tokio::fs::File::create(file).await;
        let mut to = create.map_err(|source| file_failed("cannot make", file)(source))?;
        let mut bytes = 0;
        while let Some(chunk) = stream.try_next().await.map_err(failed("cannot read", &path))? {
            bytes += chunk.len() as u64;
            to.write_all(&chunk).await.map_err(|source| file_failed("cannot write", file)(source))?;
        }
        to.sync_all().await.map_err(|source| file_failed("cannot write", file)(source))?;
        Ok(bytes)
    }

    /// Removes a snapshot: first the mark that makes it one.
    ///
    /// # Errors
    /// The place; what is left is no snapshot any more.
    pub async fn remove_snapshot(&self, name: SnapshotName) -> Result<(), PlaceError> {
        let folder = self.path(&name.folder());
        let mark = folder.clone().join(COMPLETE);
        self.store.delete(&mark).await.map_err(failed("cannot remove", &mark))?;
        let objects: Vec<_> =
            self.store.list(Some(&folder)).try_collect().await.map_err(failed("cannot list", &folder))?;
        for object in objects {
            self.store.delete(&object.location).await.map_err(failed("cannot remove", &object.location))?;
        }
        Ok(())
    }

    /// Removes archived records.
    ///
    /// # Errors
    /// The place.
    pub async fn remove_records(&self, name: RecordsName) -> Result<(), PlaceError> {
        let path = self.path(&name.text());
        self.store.delete(&path).await.map_err(failed("cannot remove", &path))
    }
}

fn store_of(url: &str) -> Result<(Arc<dyn ObjectStore>, Path), PlaceError> {
    let wrong = || PlaceError::Address { url: url.to_owned() };
    if let Some(path) = url.strip_prefix("file://").or(Some(url).filter(|url| url.starts_with('/'))) {
        let root = Path::from_absolute_path(path).or_else(|_| Path::parse(path)).map_err(|_| wrong())?;
        return Ok((Arc::new(LocalFileSystem::new().with_fsync(true)), root));
    }
    // Whoever was first keeps it; there is one in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let rest = url.strip_prefix("s3://").ok_or_else(wrong)?;
    let (_, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|_| wrong())?;
    let store = AmazonS3Builder::from_env().with_url(url).build().map_err(|source| PlaceError::Store {
        what: "cannot use",
        name: url.to_owned(),
        source,
    })?;
    Ok((Arc::new(store), prefix))
}

fn failed(what: &'static str, name: &Path) -> impl FnOnce(object_store::Error) -> PlaceError + use<> {
    let name = name.to_string();
    move |source| PlaceError::Store { what, name, source }
}

fn file_failed(what: &'static str, path: &File) -> impl FnOnce(std::io::Error) -> PlaceError + use<> {
    let path = path.to_owned();
    move |source| PlaceError::File { what, path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fleet() -> FleetId {
        FleetId::from_bytes([7; 16])
    }

    #[tokio::test]
    async fn what_is_put_is_listed_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let url = dir.path().to_str().unwrap();
        let place = Place::open(url, fleet()).unwrap();
        assert_eq!(place.catalogue().await.unwrap(), Catalogue::default());
        let records = RecordsName { first: Seq(1), last: Seq(20), epoch: Epoch(3) };
        place.put(&records.text(), Bytes::from_static(b"frames")).await.unwrap();
        let snapshot = SnapshotName::of(Position::new(2, 9));
        let file = dir.path().join("part");
        std::fs::write(&file, vec![7; 3 << 20]).unwrap();
        let part = format!("{}/log/part-000000.sst", snapshot.folder());
        place.put_file(&part, &file).await.unwrap();
        assert_eq!(place.catalogue().await.unwrap().snapshots, [], "it is not complete");
        place.complete(snapshot, "{}".to_owned()).await.unwrap();
        let catalogue = place.catalogue().await.unwrap();
        assert_eq!((catalogue.snapshots, catalogue.records), (vec![snapshot], vec![records]));
        assert_eq!(place.catalogue().await.unwrap().highest_epoch(), Epoch(3));
        assert_eq!(&*place.get(&records.text()).await.unwrap(), b"frames");
        let back = dir.path().join("back");
        assert_eq!(place.get_file(&part, &back).await.unwrap(), 3 << 20);
        assert_eq!(std::fs::read(back).unwrap(), vec![7; 3 << 20]);
        assert_eq!(Place::fleets(url).await.unwrap(), [fleet()]);
        place.remove_snapshot(snapshot).await.unwrap();
        place.remove_records(records).await.unwrap();
        assert_eq!(place.catalogue().await.unwrap(), Catalogue::default());
    }

    #[test]
    fn an_address_is_a_folder_or_a_bucket() {
        for url in ["backups", "https://a.example/", "s4://x", ""] {
            assert!(matches!(Place::open(url, fleet()), Err(PlaceError::Address { .. })), "{url}");
        }
        assert!(Place::open("file:///tmp/backups", fleet()).is_ok());
    }

    #[test]
    fn foreign_names_are_left_alone() {
        for name in ["x", "1-2.frames", "2-1-1.frames", "1-2-3-4.frames", "1-2-99999999999.frames"] {
            assert_eq!(RecordsName::read(name), None, "{name}");
        }
        for name in ["", "1", "a-b", "1-99999999999"] {
            assert_eq!(SnapshotName::read(name), None, "{name}");
        }
    }
}
