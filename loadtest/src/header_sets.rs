//! Headers as real clients send them: a folder of files, one client each, taken at random by the requests of a run.
//!
//! A file has a header line a line, as it was on the wire. What belongs to a recording but not to a header set is left out: the
//! request line, and `Host`, which is the target's. So is `Connection`, which is for the run to decide.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// The most files that are read.
const SETS_MAX: usize = 1024;

/// Header sets: each is lines that end in CRLF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderSets(Vec<String>);

impl HeaderSets {
    /// One set: the same `lines` on every request.
    #[must_use]
    pub fn one(lines: &[String]) -> Self {
        Self(vec![lines.iter().map(|line| format!("{line}\r\n")).collect()])
    }

    /// The files of `folder` in the order of their names, each with `lines` added.
    ///
    /// # Errors
    /// A folder or file that cannot be read, a folder without files, a line that is no header (file and line are named).
    pub fn read(folder: &Path, lines: &[String]) -> anyhow::Result<Self> {
        let cannot = || format!("cannot read the header sets in {}", folder.display());
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).with_context(cannot)? {
            let path = entry.with_context(cannot)?.path();
            if path.extension().is_some_and(|extension| extension == "txt") {
                paths.push(path);
            }
        }
        anyhow::ensure!(!paths.is_empty(), "{} has no *.txt files", folder.display());
        anyhow::ensure!(paths.len() <= SETS_MAX, "{} has over {SETS_MAX} files", folder.display());
        paths.sort();
        let added = Self::one(lines).0.concat();
        let read = |path: &std::path::PathBuf| {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(parse(&text).with_context(|| format!("in {}", path.display()))? + &added)
        };
        Ok(Self(paths.iter().map(read).collect::<anyhow::Result<_>>()?))
    }

    /// Adds a line to every set.
    #[must_use]
    pub fn with_line(mut self, line: &str) -> Self {
        self.0.iter_mut().for_each(|set| set.extend([line, "\r\n"]));
        self
    }

    /// All sets; at least one.
    #[must_use]
    pub fn sets(&self) -> &[String] {
        &self.0
    }
}

fn parse(text: &str) -> anyhow::Result<String> {
    let mut set = String::with_capacity(text.len());
    for (index, line) in text.lines().map(|line| line.trim_end_matches('\r')).enumerate() {
        let request_line = index == 0 && line.ends_with(" HTTP/1.1");
        if line.is_empty() || line.starts_with('#') || request_line {
            continue;
        }
        let number = index + 1;
        header_line(line).map_err(|why| anyhow::anyhow!("line {number}: {why}"))?;
        let name = line.split(':').next().unwrap_or_default();
        if !["host", "connection"].iter().any(|left_out| name.eq_ignore_ascii_case(left_out)) {
            set.extend([line, "\r\n"]);
        }
    }
    Ok(set)
}

/// Checks that a text is one header line.
///
/// # Errors
/// What it should look like.
pub fn header_line(line: &str) -> Result<String, String> {
    let (name, _) = line.split_once(':').ok_or("write it as `Name: value`")?;
    let plain = line.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control());
    if name.is_empty() || !plain { Err("write it as `Name: value`".to_owned()) } else { Ok(line.to_owned()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_header_line_cannot_smuggle_in_another() {
        assert_eq!(header_line("Accept: */*"), Ok("Accept: */*".to_owned()));
        for wrong in ["Accept", ": x", "A: b\r\nC: d"] {
            assert!(header_line(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_recording_gives_its_headers_without_host_and_connection() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b.txt"), "User-Agent: b\n").unwrap();
        fs::write(dir.path().join("README.md"), "not a header").unwrap();
        let recorded = "GET /x HTTP/1.1\r\nHost: a\r\nconnection: keep-alive\r\nUser-Agent: a\r\n\r\n";
        fs::write(dir.path().join("a.txt"), recorded).unwrap();
        let sets = HeaderSets::read(dir.path(), &["X: y".to_owned()]).unwrap().with_line("Connection: close");
        let expected = ["a", "b"].map(|a| format!("User-Agent: {a}\r\nX: y\r\nConnection: close\r\n"));
        assert_eq!(sets.sets(), expected);
        fs::write(dir.path().join("c.txt"), "User-Agent: c\nnonsense\n").unwrap();
        let error = format!("{:#}", HeaderSets::read(dir.path(), &[]).unwrap_err());
        assert!(error.contains("c.txt: line 2"), "{error}");
    }
}
