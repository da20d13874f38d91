//! For tests: what a killed process leaves on disk, while the process lives on.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Copies a directory as it is on disk now.
pub(crate) fn copy_of(dir: &Path, to: &Path) {
    // RocksDB's threads make and remove files in the middle of it: then it is no picture of one moment, and made once more.
    loop {
        let before = files(dir);
        if try_copy(dir, to).is_ok() && files(dir) == before {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
    }
}

/// Names and sizes.
fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(files(&entry.path())),
            // The log for people grows by itself.
            Ok(metadata) if entry.file_name() != "LOG" => found.push((entry.path(), metadata.len())),
            _ => {}
        }
    }
    found.sort();
    found
}

fn try_copy(dir: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            try_copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
