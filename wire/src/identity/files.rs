//! Reading and writing the files of bundles and authorities.
//!
//! Invariants: a file appears under its name complete and on disk, or not at all; nothing that exists is overwritten;
//! a private key never exists with a mode wider than 0600, not even for a moment.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{BundleError, WriteError};

/// Most bytes of one file; a certificate of ours has about 900.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 10;

/// The certificate of the authority, in a bundle and in the authority's own folder.
pub(super) const CA: &str = "ca.pem";
/// The member's certificate.
pub(super) const CERT: &str = "cert.pem";
/// The member's private key.
pub(super) const KEY: &str = "key.pem";
/// The authority's private key.
pub(super) const CA_KEY: &str = "ca-key.pem";

/// Reads a certificate file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, BundleError> {
    Ok(read_with_mode(path)?.0)
}

/// Reads a private key, unless everybody may. The owner's group may: root:service 0640 is a usual arrangement.
pub(super) fn read_key(path: &Path) -> Result<String, BundleError> {
    let (bytes, mode) = read_with_mode(path)?;
    if mode & 0o007 != 0 {
        return Err(BundleError::KeyExposed { path: path.to_owned(), mode });
    }
    String::from_utf8(bytes).map_err(|_| BundleError::Pem { path: path.to_owned(), label: "PRIVATE KEY" })
}

fn read_with_mode(path: &Path) -> Result<(Vec<u8>, u32), BundleError> {
    let failed = |source| BundleError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(BundleError::TooLarge { path: path.to_owned(), bytes_max: FILE_BYTES_MAX });
    }
    Ok((bytes, mode))
}

/// A file to be written.
pub(super) struct NewFile<'a> {
    pub(super) name: &'static str,
    pub(super) contents: &'a str,
    pub(super) secret: bool,
}

/// Writes files into `dir`, which is made (mode 0700) if it is missing.
///
/// All of them are on disk under temporary names before the first is renamed, in the order given: only a crash
/// between two renames leaves some without the others, and the next attempt then says which one is in the way.
pub(super) fn write_new(dir: &Path, files: &[NewFile<'_>]) -> Result<(), WriteError> {
    make_dir(dir)?;
    for file in files {
        refuse_existing(&dir.join(file.name))?;
    }
    let mut staged = Vec::new();
    for file in files {
        staged.push(Staged::write(dir, file)?);
    }
    for file in staged {
        file.publish()?;
    }
    sync_dir(dir)
}

fn make_dir(dir: &Path) -> Result<(), WriteError> {
    if dir.is_dir() {
        return Ok(());
    }
    let failed = |source| WriteError::Io { action: "make the folder", path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
}

/// Refuses a name that is taken, were it by a dangling link.
fn refuse_existing(path: &Path) -> Result<(), WriteError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(WriteError::Exists { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(WriteError::Io { action: "look at", path: path.to_owned(), source }),
    }
}

fn sync_dir(dir: &Path) -> Result<(), WriteError> {
    let synced = File::open(dir).and_then(|opened| opened.sync_all());
    synced.map_err(|source| WriteError::Io { action: "sync the folder", path: dir.to_owned(), source })
}

/// A complete file on disk under a temporary name, which goes away unless it is published.
struct Staged {
    temporary: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Staged {
    fn write(dir: &Path, file: &NewFile<'_>) -> Result<Staged, WriteError> {
        let failed = |action| move |source| WriteError::Io { action, path: dir.join(file.name), source };
        let random = getrandom::u64().map_err(io::Error::from).map_err(failed("name"))?;
        let temporary = dir.join(format!(".{}.{random:016x}.tmp", file.name));
        let mode = if file.secret { 0o600 } else { 0o644 };
        // `create_new`: the file is ours, so the mode is the one asked for.
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary);
        let mut opened = opened.map_err(failed("create"))?;
        let staged = Staged { temporary, target: dir.join(file.name), published: false };
        opened.write_all(file.contents.as_bytes()).map_err(failed("write"))?;
        opened.sync_all().map_err(failed("sync"))?;
        Ok(staged)
    }

    fn publish(mut self) -> Result<(), WriteError> {
        fs::rename(&self.temporary, &self.target).map_err(|source| WriteError::Io {
            action: "rename into place",
            path: self.target.clone(),
            source,
        })?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: a leftover temporary file is untidy, not harmful.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
