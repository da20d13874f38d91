//! A file of lines in memory: one allocation for the text, one for where the lines end.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;

/// Lines of text without their ends; blank ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    text: String,
    spans: Vec<(usize, usize)>,
}

impl Lines {
    /// Reads a file of UTF-8.
    ///
    /// # Errors
    /// What the file system says, with the path; a file with no line in it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path)
            .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
            .with_context(|| format!("cannot read {}", path.display()))?;
        let lines = Self::from(text);
        anyhow::ensure!(!lines.is_empty(), "{} has no lines", path.display());
        Ok(lines)
    }

    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Line `index`, 0-based.
    ///
    /// # Panics
    /// When `index` is not below [`Lines::len`], as a slice does.
    #[must_use]
    pub fn get(&self, index: usize) -> &str {
        let (start, end) = self.spans[index];
        &self.text[start..end]
    }

    /// All lines in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.spans.iter().map(|&(start, end)| &self.text[start..end])
    }
}

impl From<String> for Lines {
    fn from(text: String) -> Self {
        let mut spans = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let end = start + line.trim_end_matches(['\n', '\r']).len();
            if end > start {
                spans.push((start, end));
            }
            start += line.len();
        }
        Self { text, spans }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_without_ends_and_blank_ones_not_at_all() {
        let lines = Lines::from("a\r\n\n b\n\r\nlast".to_owned());
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["a", " b", "last"]);
        assert_eq!((lines.len(), lines.get(1)), (3, " b"));
        assert!(Lines::from("\n\n".to_owned()).is_empty());
    }
}
