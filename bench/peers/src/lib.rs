//! What the peers made from libraries share: the links, in a map like the proxy's.
//!
//! A `DashMap` from the packed code to the target, hashed with xxh3: a shard's shared lock and one hop, as in the proxy, so that the
//! comparison is of what surrounds it. Deliberately not here: bounds, eviction, changes, a database.

use std::fs::File;
use std::hash::BuildHasherDefault;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::Context;
use dashmap::DashMap;
use http::HeaderValue;
use xxhash_rust::xxh3::Xxh3Default;

/// As the proxy's answers say.
pub const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Targets by code.
pub struct Links(DashMap<u64, HeaderValue, BuildHasherDefault<Xxh3Default>>);

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} links", self.0.len())
    }
}

impl Links {
    /// Reads lines `code<TAB>long_url`.
    ///
    /// # Errors
    /// An unreadable file, or a line that is none of these.
    pub fn read(path: &std::path::Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let links = DashMap::default();
        for line in BufReader::new(file).lines() {
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            let (code, long_url) = line.split_once('\t').context("a line is not code<TAB>long_url")?;
            let word = packed(code).with_context(|| format!("{code} is longer than 8 bytes"))?;
            links.insert(word, HeaderValue::from_str(long_url)?);
        }
        Ok(Self(links))
    }

    /// The target of a code; cheap to clone, it is counted and not copied.
    #[must_use]
    pub fn target(&self, code: &str) -> Option<HeaderValue> {
        self.0.get(&packed(code)?).map(|target| target.clone())
    }
}

fn packed(code: &str) -> Option<u64> {
    let mut bytes = [0; 8];
    bytes.get_mut(..code.len())?.copy_from_slice(code.as_bytes());
    Some(u64::from_le_bytes(bytes))
}

/// The command line of a peer: `PEER PORT LINKS`.
///
/// # Errors
/// How it should be called.
pub fn arguments() -> anyhow::Result<(u16, PathBuf)> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().and_then(|port| port.parse().ok());
    port.zip(arguments.next().map(PathBuf::from)).context("usage: PEER PORT FILE-OF-LINKS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_differ_by_case_and_length() {
        let words: std::collections::HashSet<_> = ["Ab3xY9z", "ab3xY9z", "Ab3xY9", ""].map(packed).into();
        assert_eq!((words.len(), packed("123456789")), (4, None));
    }
}
