//! The country a visitor comes from, by a database in the MaxMind DB format (maxmind.github.io/MaxMind-DB), for rules by country.
//!
//! Owned here: what is in use was read whole and checked whole. The file is read into memory, not mapped: a mapped file that is written over
//! would change under a lookup, and end the process if it became shorter. A file that cannot be used leaves the one before in use. Nothing
//! is guessed: an address that the database does not know has no country, and one that is registered in a country but used elsewhere
//! (`registered_country`) is not there.
//!
//! A lookup allocates nothing; it is made only for links with a rule that asks for it.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use linklog::link::rules::Country;
use maxminddb::{MaxMindDbError, PathElement, Reader};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::config::GeoFile;

/// Largest database, in bytes: those of countries have some 10 MB, those of cities some 100 MB.
const FILE_BYTES_MAX: u64 = 1 << 30;
const ISO_CODE: [PathElement<'static>; 2] = [PathElement::Key("country"), PathElement::Key("iso_code")];

/// A database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large.
    #[error("{path} has more than {FILE_BYTES_MAX} bytes, more than any database of countries", path = .path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// It is none, or damaged.
    #[error("{path} is no whole database in the MaxMind DB format: {source}", path = .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: MaxMindDbError,
    },
}

/// What is told about a database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Its type, as it says itself.
    pub database: String,
    /// When it was made, seconds since the Unix epoch.
    pub built_at_s: u64,
}

impl Shown {
    /// For commands.
    pub fn to_json(&self) -> Value {
        json!({ "database": self.database, "built_at_s": self.built_at_s })
    }
}

/// Device, inode, length and time of the last change of the file, if there is one.
type Seen = Option<(u64, u64, u64, i64, i64)>;

/// The database in use.
#[derive(Debug)]
pub struct Geo {
    path: PathBuf,
    current: ArcSwap<Reader<Vec<u8>>>,
    /// What the file looked like before it was last read, well or not; held while it is read.
    seen: Mutex<Seen>,
    reloads: AtomicU64,
    failures: AtomicU64,
}

impl Geo {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn load(file: &GeoFile) -> Result<Geo, GeoError> {
        let path = file.database.clone();
        let seen = look(&path);
        let current = ArcSwap::from_pointee(read(&path)?);
        let (reloads, failures) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Geo { path, current, seen: Mutex::new(seen), reloads, failures })
    }

    /// The country of an address, if the database knows it.
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        let current = self.current.load();
        let code: &str = current.lookup(address).ok()?.decode_path(&ISO_CODE).ok()??;
        Country::from_ascii(code.as_bytes())
    }

    /// Reads the file again.
    ///
    /// # Errors
    /// It cannot be used. Nothing has changed then.
    pub fn reload(&self) -> Result<Shown, GeoError> {
        let mut seen = self.seen.lock();
        self.read_again(&mut seen)
    }

    /// As [`Geo::reload`], if the file has changed since it was last read.
    pub fn reload_if_changed(&self) -> Option<Result<Shown, GeoError>> {
        let mut seen = self.seen.lock();
        (*seen != look(&self.path)).then(|| self.read_again(&mut seen))
    }

    fn read_again(&self, seen: &mut Seen) -> Result<Shown, GeoError> {
        *seen = look(&self.path);
        let found = read(&self.path);
        let count = if found.is_ok() { &self.reloads } else { &self.failures };
        count.fetch_add(1, Ordering::Relaxed);
        self.current.store(Arc::new(found?));
        Ok(self.shown())
    }

    /// What is in use.
    pub fn shown(&self) -> Shown {
        let current = self.current.load();
        let metadata = current.metadata();
        Shown { database: metadata.database_type.to_string(), built_at_s: metadata.build_epoch }
    }

    /// How often the file was read again, and how often it was refused.
    pub fn reloads(&self) -> (u64, u64) {
        (self.reloads.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }
}

fn read(path: &Path) -> Result<Reader<Vec<u8>>, GeoError> {
    let unread = |source| GeoError::Read { path: path.to_owned(), source };
    let damaged = |source| GeoError::Damaged { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unread)?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unread)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(GeoError::TooLarge { path: path.to_owned() });
    }
    let reader = Reader::from_source(bytes).map_err(damaged)?;
    reader.verify().map_err(damaged)?;
    Ok(reader)
}

/// Looks at the file from outside.
fn look(path: &Path) -> Seen {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
#[path = "../../loadtest/tests/system/mmdb.rs"]
mod mmdb;
#[cfg(test)]
mod tests;
