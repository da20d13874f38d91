//! Strict configuration: one TOML file, read key by key, refused with every problem at once.
//!
//! The service hands [`load`] a function that takes what it needs out of the root [`Section`]. Reading never fails
//! on the spot: a bad value is recorded, the default goes on in its place, and only when everything has been read
//! does `load` say whether the configuration stands. So the operator sees all problems in one run.
//!
//! Invariants owned here: what nobody read is an unknown key, in every table; a [`Loaded`] exists only for a file
//! without problems, so no placeholder ever reaches a running daemon; a secret is in no message and in no dump.
//!
//! Deliberately not here: serde (it stops at the first problem), environment variables, reloading, and whether
//! paths exist or ports are free: `--check` binds and opens nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

mod dump;
mod item;
mod near;
mod problem;
mod section;
#[cfg(test)]
mod tests;
mod value;

pub use item::Item;
pub use problem::{ConfigError, Problem};
pub use section::Section;
pub use value::ConfigValue;

/// The longest configuration file that is read, in bytes. Ours are about 1 KiB; a path to something else entirely,
/// such as a log or a device, is refused instead of being read into memory.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// What a configuration file came to: it had no problems.
#[derive(Debug)]
pub struct Loaded<T> {
    /// What the service's function built.
    pub config: T,
    /// Every key with the value in force, defaults included, as TOML; the values of secrets are hidden. Reading it
    /// again gives the same configuration, secrets apart.
    pub effective: String,
}

/// Reads one TOML file strictly. `build` takes what it needs out of the root section.
///
/// `build` must read every key it knows on every path through it, also the keys that do not matter this time: a key
/// that was not read is an unknown key.
///
/// # Errors
/// The file cannot be read, or it has problems: then all of them.
pub fn load<T>(path: &Path, build: impl FnOnce(&mut Section) -> T) -> Result<Loaded<T>, ConfigError> {
    let text =
        read_bounded(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(&path.display().to_string(), &text, build)
}

/// Reads a configuration from text; `name` is what messages call it. Otherwise as [`load`].
///
/// # Errors
/// The text has problems: all of them.
pub fn parse<T>(
    name: &str,
    text: &str,
    build: impl FnOnce(&mut Section) -> T,
) -> Result<Loaded<T>, ConfigError> {
    let refused = |problems| ConfigError::Refused { name: name.to_owned(), problems };
    // After a syntax error half the file may be missing: what else would be said about it could be wrong.
    let root = item::parse(text).map_err(refused)?;
    let mut section = Section::root(root);
    let config = build(&mut section);
    let (problems, effective) = section.finish();
    if problems.is_empty() { Ok(Loaded { config, effective }) } else { Err(refused(problems)) }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        let message = format!("longer than {CONFIG_BYTES_MAX} bytes: this is not a configuration file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}
