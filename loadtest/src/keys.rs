//! Files of keys: a code a line, or `code<TAB>long_url` when the target is known too.

use std::path::Path;

use crate::lines::Lines;

/// Keys to ask for.
#[derive(Clone, Debug)]
pub struct Keys {
    lines: Lines,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// What stands after the slash of the short URL.
    pub code: &'a str,
    /// What the Location has to be, when it is known.
    pub long_url: Option<&'a str>,
}

impl Keys {
    /// Reads codes, with or without targets.
    ///
    /// # Errors
    /// A file that cannot be read, is empty, or holds what no code can be (the line is named).
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let keys = Self { lines: Lines::read(path)? };
        for (index, key) in keys.iter().enumerate() {
            let number = index + 1;
            anyhow::ensure!(
                is_code(key.code),
                "{}: key {number} is {:?}; a key is 1 to 64 of A-Z a-z 0-9 _ -",
                path.display(),
                key.code
            );
        }
        Ok(keys)
    }

    /// Reads codes that all have their target.
    ///
    /// # Errors
    /// As [`Keys::read`], and a line without a target.
    pub fn read_expectations(path: &Path) -> anyhow::Result<Self> {
        let keys = Self::read(path)?;
        if let Some(index) = keys.iter().position(|key| key.long_url.is_none()) {
            anyhow::bail!("{}: key {} has no target; lines are code<TAB>long_url", path.display(), index + 1);
        }
        Ok(keys)
    }

    /// How many there are; at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Key `index`, 0-based.
    ///
    /// # Panics
    /// When `index` is not below [`Keys::len`], as a slice does.
    #[must_use]
    pub fn get(&self, index: usize) -> Key<'_> {
        split(self.lines.get(index))
    }

    /// All keys in order.
    pub fn iter(&self) -> impl Iterator<Item = Key<'_>> {
        self.lines.iter().map(split)
    }
}

fn split(line: &str) -> Key<'_> {
    match line.split_once('\t') {
        Some((code, long_url)) => Key { code, long_url: Some(long_url) },
        None => Key { code: line, long_url: None },
    }
}

fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn keys_are_read_with_or_without_their_targets() {
        let keys = Keys::read(file("Ab3xY9z\nx\thttps://a.example/\t1\n").path()).unwrap();
        let expected = [
            Key { code: "Ab3xY9z", long_url: None },
            Key { code: "x", long_url: Some("https://a.example/\t1") },
        ];
        assert_eq!(keys.iter().collect::<Vec<_>>(), expected);
        assert_eq!((keys.len(), keys.get(1)), (2, expected[1]));
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = |text: &str| Keys::read_expectations(file(text).path()).unwrap_err().to_string();
        assert!(error("a\thttps://a.example\nb\n").contains("key 2 has no target"));
        assert!(error("a b\n").contains("key 1 is \"a b\""));
        assert!(error("\n").contains("has no lines"));
    }
}
