//! Where the leases of a folder were made, so that a copy of the folder is known for what it is.
//!
//! Two writers that began as copies of one `data_dir` would both continue the leases in it and hand the same codes out twice. So the folder
//! names what no copy carries along: the boot of the machine, and the device, number and birth of the folder itself. Whatever copies files
//! (cp, rsync, a restored archive) makes another folder; a cloned or snapshotted disk is another device, or is met in another boot.
//!
//! Owned here: leases are continued only where they were made. Anywhere else, and after a boot, they are removed before the folder is
//! claimed; the codes are lost, the key pools have more. What cannot be told apart counts as a copy.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use daemon::boot;

use crate::durable;

const ORIGIN: &str = "origin";

/// What names a folder of leases in a boot of a machine; one line of text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin(String);

impl Origin {
    /// Asks what names `dir`; `None`: the system does not say enough.
    pub fn of(dir: &Path) -> Option<Origin> {
        let boot = u128::from_be_bytes(boot::id()?);
        let folder = fs::metadata(dir).ok()?;
        let born = folder.created().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        Some(Origin(format!("{boot:032x} {} {} {born}\n", folder.dev(), folder.ino())))
    }

    /// Says whether `dir` names this one as where its leases were made.
    pub fn is_noted_in(&self, dir: &Path) -> bool {
        fs::read(dir.join(ORIGIN)).is_ok_and(|noted| noted == self.0.as_bytes())
    }

    /// Notes it; on disk when this returns. No lease made elsewhere may be in `dir` any more.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn note_in(&self, dir: &Path) -> io::Result<()> {
        durable::replace(&dir.join(ORIGIN), self.0.as_bytes())
    }
}

/// Takes away what says where the leases in `dir` were made, if there are any: nobody continues them. On disk when this returns.
///
/// # Errors
/// The disk refuses.
pub fn disown(dir: &Path) -> io::Result<()> {
    let path = dir.join(ORIGIN);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => durable::sync_directory_of(&path),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_is_known_again_and_a_copy_of_it_is_not() {
        let place = tempfile::tempdir().unwrap();
        let (made, moved, copy) = (place.path().join("a"), place.path().join("b"), place.path().join("c"));
        fs::create_dir(&made).unwrap();
        let origin = Origin::of(&made).unwrap();
        assert!(!origin.is_noted_in(&made));
        origin.note_in(&made).unwrap();
        assert!(Origin::of(&made).unwrap().is_noted_in(&made));

        fs::create_dir(&copy).unwrap();
        fs::copy(made.join(ORIGIN), copy.join(ORIGIN)).unwrap();
        assert!(!Origin::of(&copy).unwrap().is_noted_in(&copy));
        fs::rename(&made, &moved).unwrap();
        assert!(Origin::of(&moved).unwrap().is_noted_in(&moved));
        disown(&moved).unwrap();
        disown(&moved).unwrap();
        disown(&place.path().join("absent")).unwrap();
        assert!(!Origin::of(&moved).unwrap().is_noted_in(&moved));
        // Put where the first one was, it is still a copy.
        fs::rename(&copy, &made).unwrap();
        assert!(!Origin::of(&made).unwrap().is_noted_in(&made));
    }

    #[test]
    fn what_was_noted_in_another_boot_or_is_no_note_at_all_is_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let origin = Origin::of(dir.path()).unwrap();
        let (_, folder) = origin.0.split_once(' ').unwrap();
        Origin(format!("{:032x} {folder}", 7)).note_in(dir.path()).unwrap();
        assert!(!origin.is_noted_in(dir.path()));
        fs::write(dir.path().join(ORIGIN), [0xff; 70]).unwrap();
        assert!(!origin.is_noted_in(dir.path()));
    }
}
