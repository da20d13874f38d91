//! Folders and files that are made, named and removed as a whole: snapshots, and logs that are made of them.
//!
//! The same calls for a disk and for one in memory (`simulated`), so that what happens to folders runs on virtual time as it ships.
//! Deliberately not here: what a database or a journal does with its own files.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

#[cfg(feature = "simulation")]
use crate::simulated::mounted;

/// Says whether there is a file or a folder of this name.
pub fn exists(path: &Path) -> bool {
    #[cfg(feature = "simulation")]
    if let Some(disk) = mounted(path) {
        return disk.has(path);
    }
    path.exists()
}

/// Makes a folder and those above it, if they are not there.
///
/// # Errors
/// The disk.
pub fn make(dir: &Path) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if mounted(dir).is_some() {
        // A folder is there as soon as something is in it.
        return Ok(());
    }
    fs::create_dir_all(dir)
}

/// Says whether nothing is in a folder.
///
/// # Errors
/// The disk.
pub fn is_empty(dir: &Path) -> io::Result<bool> {
    #[cfg(feature = "simulation")]
    if let Some(disk) = mounted(dir) {
        return Ok(!disk.has(dir));
    }
    Ok(fs::read_dir(dir)?.next().is_none())
}

/// Removes a folder with everything in it, if it is there.
///
/// # Errors
/// The disk.
pub fn remove(dir: &Path) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if let Some(disk) = mounted(dir) {
        return disk.remove(dir);
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives a folder another name; durable when it returns.
///
/// # Errors
/// The disk.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if let Some(disk) = mounted(from) {
        return disk.rename(from, to);
    }
    fs::rename(from, to)?;
    to.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)
}

/// Makes a file, or a folder's list of names, durable.
///
/// # Errors
/// The disk.
pub fn sync(path: &Path) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if mounted(path).is_some() {
        // Names there are durable at once, and whoever writes a file syncs it.
        return Ok(());
    }
    File::open(path)?.sync_all()
}

/// Reads a file, and no more of it than one byte above `bytes_max`; `None` if it is not there.
///
/// # Errors
/// The disk.
pub fn read(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    #[cfg(feature = "simulation")]
    if let Some(disk) = mounted(path) {
        return Ok(disk.read(path));
    }
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Writes a file in the place of one that may be there; its bytes are durable when this returns.
///
/// # Errors
/// The disk.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if let Some(disk) = mounted(path) {
        return disk.write_file(path, bytes);
    }
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
