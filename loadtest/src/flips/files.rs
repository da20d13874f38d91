//! The files of a fleet: a picture of them, put back before every flip, and the bit that is turned over.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::fleet::Fleet;

/// The folders of some parts, and copies of them.
#[derive(Debug)]
pub(super) struct Picture {
    folders: Vec<Folder>,
    /// Files by part and kind of file.
    kinds: BTreeMap<String, Vec<File>>,
}

#[derive(Debug)]
struct Folder {
    live: PathBuf,
    copy: PathBuf,
}

#[derive(Debug)]
struct File {
    part: usize,
    live: PathBuf,
    bytes: u64,
}

/// A bit that was turned over.
#[derive(Debug)]
pub(super) struct Flip {
    /// The part it belongs to, as a place in the list the picture was taken with.
    pub(super) part: usize,
    /// Part and kind of file.
    pub(super) kind: String,
    /// File, byte and bit.
    pub(super) place: String,
}

impl Picture {
    /// Copies the data of parts that do not run.
    pub(super) fn take(fleet: &Fleet, parts: &[&str]) -> anyhow::Result<Picture> {
        let mut picture = Picture { folders: Vec::new(), kinds: BTreeMap::new() };
        for (part, name) in parts.iter().enumerate() {
            let dir = fleet.dir().join(name);
            let mut folders = match *name {
                super::BACKUP => vec![("place", dir)],
                _ => vec![("data", dir.join("data"))],
            };
            if name.starts_with("proxy-") {
                folders.push(("rings", super::ring_dir(fleet, name)?));
            }
            for (what, live) in folders {
                let copy = fleet.dir().join("picture").join(name).join(what);
                copy_folder(&live, &copy)?;
                picture.list(part, name, what, &live, &live)?;
                picture.folders.push(Folder { live, copy });
            }
        }
        Ok(picture)
    }

    fn list(&mut self, part: usize, name: &str, what: &str, root: &Path, dir: &Path) -> anyhow::Result<()> {
        for entry in sorted(dir)? {
            if entry.is_dir() {
                self.list(part, name, what, root, &entry)?;
                continue;
            }
            let inner = entry.strip_prefix(root).unwrap_or(&entry);
            let bytes = fs::metadata(&entry)?.len();
            let Some(kind) = kind_of(inner).filter(|_| bytes > 0) else { continue };
            let name = name.split('-').next().unwrap_or(name);
            let kind = format!("{name} {what}/{kind}");
            self.kinds.entry(kind).or_default().push(File { part, live: entry, bytes });
        }
        Ok(())
    }

    /// Makes every folder what it was.
    pub(super) fn put_back(&self) -> anyhow::Result<()> {
        for Folder { live, copy } in &self.folders {
            fs::remove_dir_all(live).with_context(|| format!("cannot empty {}", live.display()))?;
            copy_folder(copy, live)?;
        }
        Ok(())
    }

    /// Turns one bit over: each kind of file in its turn, a file of it and a bit by chance.
    pub(super) fn flip(&self, number: u32, random: &mut SmallRng) -> anyhow::Result<Flip> {
        let turn = number as usize % self.kinds.len();
        let (kind, files) = self.kinds.iter().nth(turn).context("there are no files")?;
        let file = &files[random.random_range(0..files.len())];
        let (at, bit) = (random.random_range(0..file.bytes), random.random_range(0..8));
        let mut bytes =
            fs::read(&file.live).with_context(|| format!("cannot read {}", file.live.display()))?;
        bytes[at as usize] ^= 1 << bit;
        fs::write(&file.live, bytes).with_context(|| format!("cannot write {}", file.live.display()))?;
        let place = format!("{} byte {at} of {} bit {bit}", file.live.display(), file.bytes);
        Ok(Flip { part: file.part, kind: kind.clone(), place })
    }
}

/// What a file is, with its folder; `None` for what nobody reads.
fn kind_of(inner: &Path) -> Option<String> {
    let name = inner.file_name()?.to_str()?;
    let kind = match name {
        _ if name == "LOCK" || name.starts_with("LOG") => return None,
        _ if name.ends_with(".sst") => "*.sst",
        _ if name.ends_with(".log") => "*.log",
        _ if name.ends_with(".lease") => "*.lease",
        _ if name.ends_with(".ring") => "*.ring",
        _ if name.ends_with(".frames") => "*.frames",
        // A segment of the index: its number, sometimes that of a change, and what it holds.
        _ if name.split('.').next().is_some_and(is_segment) => name.rsplit('.').next().unwrap_or(name),
        _ => name.split('-').next().unwrap_or(name),
    };
    let folder = inner.parent().and_then(Path::to_str).unwrap_or_default();
    let words = folder.split('/').filter(|word| !word.is_empty() && !word.starts_with("fleet-"));
    let known =
        words.map(|word| if word.starts_with(|first: char| first.is_ascii_digit()) { "*" } else { word });
    Some(known.chain([kind]).collect::<Vec<_>>().join("/"))
}

fn is_segment(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn sorted(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in sorted(from)? {
        let target = to.join(entry.file_name().unwrap_or_default());
        if entry.is_dir() {
            copy_folder(&entry, &target)?;
        } else {
            fs::copy(&entry, &target).with_context(|| format!("cannot copy {}", entry.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_what_they_are_and_not_by_their_numbers() {
        let kind = |path: &str| kind_of(Path::new(path));
        assert_eq!(kind("log/db/000012.sst").as_deref(), Some("log/db/*.sst"));
        assert_eq!(kind("log/db/MANIFEST-000030").as_deref(), Some("log/db/MANIFEST"));
        assert_eq!(kind("log/HEAD").as_deref(), Some("log/HEAD"));
        assert_eq!(kind("codes/00ff-1.lease").as_deref(), Some("codes/*.lease"));
        let segment = "search/6a72f9580127499f9177e93903d689a0.17.del";
        assert_eq!(kind(segment).as_deref(), Some("search/del"));
        let snapshot = "fleet-00ff/snapshots/00000000000000000027-0000000001/log/part-000000.sst";
        assert_eq!(kind(snapshot).as_deref(), Some("snapshots/*/log/*.sst"));
        assert_eq!((kind("log/db/LOG.old.17"), kind("log/db/LOCK")), (None, None));
    }
}
