//! Names on a disk in memory: folders are what the names in them say.
//!
//! What is done to a name is durable when it is done, and done whole or not at all. What is appended to a file is durable when it is synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Bytes, Contents, Disk};

impl Disk {
    /// Says whether there is something of this name, or in a folder of this name.
    pub fn has(&self, path: &Path) -> bool {
        let contents = self.0.lock();
        let is_in = |name: &PathBuf| name.starts_with(path);
        contents.databases.keys().any(is_in) || contents.files.keys().any(is_in)
    }

    /// Returns the names in a folder, in order.
    pub fn list(&self, dir: &Path) -> Vec<String> {
        let contents = self.0.lock();
        let name = |path: &PathBuf| {
            let first = path.strip_prefix(dir).ok()?.components().next()?;
            Some(first.as_os_str().to_string_lossy().into_owned())
        };
        let mut names: Vec<String> =
            contents.databases.keys().chain(contents.files.keys()).filter_map(name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Reads a file; `None` if it is not there.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.0.lock().files.get(path).map(|file| file.now.clone())
    }

    /// Writes a file in the place of one that may be there, durably.
    ///
    /// # Errors
    /// The disk fails.
    pub fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.change(|contents| {
            contents.files.insert(path.to_owned(), Bytes { now: bytes.to_vec(), unsynced: Vec::new() });
        })
    }

    /// Adds to the end of a file, which is made if it is not there. Not synced.
    ///
    /// # Errors
    /// The disk fails.
    pub fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.change(|contents| {
            let file = contents.files.entry(path.to_owned()).or_default();
            file.unsynced.push(file.now.clone());
            file.now.extend_from_slice(bytes);
        })
    }

    /// Removes what has this name, and everything in a folder of this name.
    ///
    /// # Errors
    /// The disk fails.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.has(path) {
            return Ok(());
        }
        self.change(|contents| {
            contents.databases.retain(|name, _| !name.starts_with(path));
            contents.files.retain(|name, _| !name.starts_with(path));
        })
    }

    /// Gives a folder, with everything in it, another name.
    ///
    /// # Errors
    /// The disk fails.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|contents| {
            rename_all(&mut contents.databases, from, to);
            rename_all(&mut contents.files, from, to);
        })
    }

    fn change(&self, change: impl FnOnce(&mut Contents)) -> io::Result<()> {
        let mut contents = self.0.lock();
        let life = contents.life;
        if !Disk::allow(&mut contents, life) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        change(&mut contents);
        Ok(())
    }
}

fn rename_all<T>(named: &mut BTreeMap<PathBuf, T>, from: &Path, to: &Path) {
    let moved: Vec<PathBuf> = named.keys().filter(|name| name.starts_with(from)).cloned().collect();
    for name in moved {
        if let (Some(thing), Ok(rest)) = (named.remove(&name), name.strip_prefix(from)) {
            let name = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            named.insert(name, thing);
        }
    }
}
