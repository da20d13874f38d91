//! The files of a snapshot: names, checks, and becoming durable.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::{MANIFEST_BYTES_MAX, Manifest, Part, PartProblem, SnapshotError};

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
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SnapshotError::Unfinished { path });
        }
        file => file.map_err(io_error("open", &path))?,
    };
    let mut bytes = Vec::new();
    file.take(MANIFEST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io_error("read", &path))?;
    Ok(Manifest::decode(&bytes)?)
}

/// Writes the manifest of the snapshot in `dir`, whose parts are durable: from now on it is one, also after a power cut.
///
/// # Errors
/// The disk.
pub fn store_manifest(dir: &Path, manifest: &Manifest) -> Result<(), SnapshotError> {
    let (unfinished, path) = (dir.join(UNFINISHED), dir.join(MANIFEST_FILE));
    let write = || {
        let mut file = File::create(&unfinished)?;
        file.write_all(&manifest.encode())?;
        file.sync_all()
    };
    write().map_err(io_error("write", &unfinished))?;
    fs::rename(&unfinished, &path).map_err(io_error("rename", &unfinished))?;
    sync(dir)
}

/// Makes a file, or a folder's list of names, durable.
pub(super) fn sync(path: &Path) -> Result<(), SnapshotError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io_error("fsync", path))
}

/// Checks a part's length and checksum.
///
/// # Errors
/// [`SnapshotError::BadPart`] if it is not what the manifest says; the disk.
pub fn check_part(path: &Path, part: &Part) -> Result<(), SnapshotError> {
    let bad = |problem| Err(SnapshotError::BadPart { path: path.to_owned(), problem });
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return bad(PartProblem::Missing),
        file => file.map_err(io_error("open", path))?,
    };
    let found = file.metadata().map_err(io_error("read", path))?.len();
    if found != part.bytes {
        return bad(PartProblem::Length { expected: part.bytes, found });
    }
    if checksum(&mut file).map_err(io_error("read", path))? != part.checksum {
        return bad(PartProblem::Checksum);
    }
    Ok(())
}

/// Returns the checksum of everything a reader has.
pub(super) fn checksum(file: &mut impl Read) -> io::Result<[u8; 16]> {
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
