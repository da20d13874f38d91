//! The file of what was acknowledged: `code<TAB>long_url`, a line for each link, written as the answers come.
//!
//! Invariant: a line is here only if the server acknowledged the link, and each code once; a code given out a second
//! time is counted, since it means that two links share a key.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Context;

/// Notes acknowledged links.
#[derive(Debug)]
pub struct Acknowledged {
    file: Option<BufWriter<File>>,
    codes: HashSet<Box<str>>,
    duplicates: u64,
}

impl Acknowledged {
    /// Notes links in memory, and in `path` when there is one; an existing file is replaced.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn new(path: Option<&Path>) -> anyhow::Result<Self> {
        let create =
            |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        let file = path.map(create).transpose()?.map(BufWriter::new);
        Ok(Self { file, codes: HashSet::new(), duplicates: 0 })
    }

    /// Notes one link.
    ///
    /// # Errors
    /// What writing to the file gave.
    pub fn add(&mut self, code: &str, long_url: &str) -> io::Result<()> {
        if !self.codes.insert(code.into()) {
            self.duplicates += 1;
        }
        match &mut self.file {
            Some(file) => writeln!(file, "{code}\t{long_url}"),
            None => Ok(()),
        }
    }

    /// How many codes came more than once.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Hands what is buffered to the system.
    ///
    /// # Errors
    /// What writing to the file gave.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::keys::Keys;

    #[test]
    fn what_is_written_is_what_verify_reads_and_a_code_given_twice_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut acknowledged = Acknowledged::new(Some(file.path())).unwrap();
        for (code, long_url) in
            [("a", "https://a.example/"), ("b", "https://b.example/"), ("a", "https://c.example/")]
        {
            acknowledged.add(code, long_url).unwrap();
        }
        acknowledged.flush().unwrap();
        assert_eq!(acknowledged.duplicates(), 1);
        let keys = Keys::read_expectations(file.path()).unwrap();
        assert_eq!((keys.len(), keys.get(1).long_url), (3, Some("https://b.example/")));
    }
}
