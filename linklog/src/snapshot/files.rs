//! The files of a snapshot: names, checks, and becoming durable.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::{MANIFEST_BYTES_MAX, Manifest, Part, PartProblem, SnapshotError};
use crate::folders;

/// The manifest's name. A folder without it holds no snapshot.
pub const MANIFEST_FILE: &str = "MANIFEST";
/// What a file is called until it is complete.
const UNFINISHED: &str = "MANIFEST.new";
/// How much is read at once to be checked.
const CHUNK_BYTES: usize = 1 << 20;

/// Returns the file name of a manifest's `index`th part.
pub fn part_name(index: usize) -> String {
    format!("part-{index:06}.sst")
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Io { action, path, source }
}

/// Reads the manifest of the snapshot in `dir`.
///
/// # Errors
/// There is none, or it is damaged.
pub fn read_manifest(dir: &Path) -> Result<Manifest, SnapshotError> {
    let path = dir.join(MANIFEST_FILE);
    let read = folders::read(&path, MANIFEST_BYTES_MAX).map_err(io_error("read", &path))?;
    let Some(bytes) = read else { return Err(SnapshotError::Unfinished { path }) };
    Ok(Manifest::decode(&bytes)?)
}

/// Writes the manifest of the snapshot in `dir`, whose parts are durable: from now on it is one, also after a power cut.
///
/// # Errors
/// The disk.
pub fn store_manifest(dir: &Path, manifest: &Manifest) -> Result<(), SnapshotError> {
    let (unfinished, path) = (dir.join(UNFINISHED), dir.join(MANIFEST_FILE));
    folders::write(&unfinished, &manifest.encode()).map_err(io_error("write", &unfinished))?;
    folders::rename(&unfinished, &path).map_err(io_error("rename", &unfinished))
}

/// Makes a file, or a folder's list of names, durable.
pub(super) fn sync(path: &Path) -> Result<(), SnapshotError> {
    folders::sync(path).map_err(io_error("fsync", path))
}

/// Checks a part's length and checksum.
///
/// # Errors
/// [`SnapshotError::BadPart`] if it is not what the manifest says; the disk.
pub fn check_part(path: &Path, part: &Part) -> Result<(), SnapshotError> {
    let bad = |problem| Err(SnapshotError::BadPart { path: path.to_owned(), problem });
    let mut file = match Bytes::open(path).map_err(io_error("open", path))? {
        None => return bad(PartProblem::Missing),
        Some(file) => file,
    };
    let found = file.len().map_err(io_error("read", path))?;
    if found != part.bytes {
        return bad(PartProblem::Length { expected: part.bytes, found });
    }
    if file.checksum().map_err(io_error("read", path))? != part.checksum {
        return bad(PartProblem::Checksum);
    }
    Ok(())
}

/// Returns length and checksum of a file; `None` if it is not there.
pub(super) fn measure(path: &Path) -> io::Result<Option<(u64, [u8; 16])>> {
    let Some(mut file) = Bytes::open(path)? else { return Ok(None) };
    Ok(Some((file.len()?, file.checksum()?)))
}

/// The bytes of a part.
enum Bytes {
    File(File),
    #[cfg(feature = "simulation")]
    InMemory(Vec<u8>),
}

impl Bytes {
    fn open(path: &Path) -> io::Result<Option<Bytes>> {
        #[cfg(feature = "simulation")]
        if let Some(disk) = crate::simulated::mounted(path) {
            return Ok(disk.read(path).map(Bytes::InMemory));
        }
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => Ok(Some(Bytes::File(file?))),
        }
    }

    fn len(&self) -> io::Result<u64> {
        match self {
            Bytes::File(file) => Ok(file.metadata()?.len()),
            #[cfg(feature = "simulation")]
            Bytes::InMemory(bytes) => Ok(bytes.len() as u64),
        }
    }

    fn checksum(&mut self) -> io::Result<[u8; 16]> {
        match self {
            Bytes::File(file) => checksum(file),
            #[cfg(feature = "simulation")]
            Bytes::InMemory(bytes) => checksum(&mut bytes.as_slice()),
        }
    }
}

/// Returns the checksum of everything a reader has.
fn checksum(file: &mut impl Read) -> io::Result<[u8; 16]> {
    let mut hasher = Xxh3::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.digest128().to_le_bytes()),
            Ok(n) => hasher.update(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
