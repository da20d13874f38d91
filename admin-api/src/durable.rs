//! Small files that must survive a power cut: written beside, fsynced, renamed into place, the directory fsynced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// What the names of unfinished files end in.
pub const UNFINISHED: &str = ".tmp";

/// Gives a file new contents. When this returns they are on disk; if the machine stops before, the file is as it was.
///
/// # Errors
/// What the system says, with the path.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let named = |action: &str, error: io::Error| {
        io::Error::new(error.kind(), format!("cannot {action} {}: {error}", path.display()))
    };
    let unfinished = path.with_file_name(match path.file_name() {
        Some(name) => format!("{}{UNFINISHED}", name.to_string_lossy()),
        None => return Err(named("write", io::ErrorKind::InvalidFilename.into())),
    });
    let write = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(contents)?;
        file.sync_all()
    };
    write().map_err(|error| named("write", error))?;
    fs::rename(&unfinished, path).map_err(|error| named("replace", error))?;
    sync_directory_of(path).map_err(|error| named("sync the directory of", error))
}

/// Makes the creation or removal of a file durable.
///
/// # Errors
/// What the system says.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_has_its_new_contents_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let error = replace(&dir.path().join("absent/a"), b"x").unwrap_err().to_string();
        assert!(error.contains("absent/a"), "{error}");
    }
}
