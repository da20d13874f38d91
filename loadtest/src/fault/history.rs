//! What happened, as a list of entries: every request with its answer and its time, every fault, every quiet point. In a file one JSON
//! line each, so that a failing run can be looked at with any tool and checked again.
//!
//! Times are microseconds from the start of the run, all by one monotonic clock.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// A request and what came of it.
    Call(Call),
    /// Something was done to the fleet, for people.
    Fault {
        /// When.
        at_us: u64,
        /// What.
        what: String,
    },
    /// The replica of a proxy was damaged: with it goes what the proxy had of limited links.
    Damaged {
        /// When.
        at_us: u64,
        /// Which proxy.
        proxy: u16,
    },
    /// The machine of a proxy lost its power: with it goes what was not synced of its clicks, and what the proxy had of limited links.
    PowerLost {
        /// Which proxy.
        proxy: u16,
        /// Before that.
        begin_us: u64,
        /// When it was certainly off.
        end_us: u64,
    },
    /// From a kill of a proxy until it was seen to have everything again: what it had applied may be gone in between.
    Away {
        /// Which proxy.
        proxy: u16,
        /// Before the kill.
        begin_us: u64,
        /// When it was seen to follow without lag again; `u64::MAX` when that was never seen.
        end_us: u64,
    },
    /// Nothing was being changed, all faults were over, and every proxy said that it lacks nothing.
    Quiet {
        /// When that was known.
        at_us: u64,
        /// The writer's head.
        head_seq: u64,
        /// Each proxy, in order.
        replicas: Vec<Replica>,
        /// The writer, then each standby.
        #[serde(default)]
        servers: Vec<Server>,
    },
    /// All links, as the API lists them at the end.
    Listing {
        /// Code and target.
        links: Vec<(String, String)>,
    },
    /// How a link with `max_clicks` stands at the end, when nobody holds any of it.
    Standing {
        /// Which link.
        code: String,
        /// Clicks used.
        used: u64,
        /// Clicks lost with memories.
        burned: u64,
    },
    /// The clicks counted on a link at the end, when counts are complete.
    Clicks {
        /// Which link.
        code: String,
        /// Of every kind together.
        counted: u64,
    },
}

/// A request and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Before its first byte was sent.
    pub begin_us: u64,
    /// After the last byte of the answer was read, or when it was given up.
    pub end_us: u64,
    /// What was asked for.
    pub request: Request,
    /// What came.
    pub answer: Answer,
}

/// What was asked for. Every target is used by one request of a run and no other, so it says which request made a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A new link.
    Create {
        /// The alias; without it the code is the fleet's choice.
        alias: Option<String>,
        /// Where to.
        target: String,
        /// How often it may be followed.
        max_clicks: Option<u64>,
    },
    /// Another target.
    Update {
        /// Of this link.
        code: String,
        /// Where to.
        target: String,
    },
    /// The end of a link.
    Delete {
        /// Of this link.
        code: String,
    },
    /// What the API says of a link.
    Get {
        /// Of this link.
        code: String,
    },
    /// A visit.
    Follow {
        /// On this proxy.
        proxy: u16,
        /// Of this link.
        code: String,
    },
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A link was made or changed.
    Done {
        /// Its code.
        code: String,
        /// Its version since then.
        version: u64,
        /// Proxies that had not applied it when it was acknowledged.
        missing: Vec<u16>,
    },
    /// A link was deleted.
    Deleted,
    /// A link, or a redirect.
    Target {
        /// Where to.
        target: String,
        /// The version, if the API said it.
        version: Option<u64>,
    },
    /// Another answer.
    Refused {
        /// Its status.
        status: u16,
        /// The code of the problem.
        problem: String,
    },
    /// The request was sent, and there is no answer: it may have happened, or happen yet.
    Unknown {
        /// Why.
        why: String,
    },
    /// There was no connection: it did not happen.
    Unsent,
}

/// What a proxy says about its replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its last record.
    pub seq: u64,
    /// The chain's digest there.
    pub digest: String,
    /// Keys it serves.
    pub keys: u64,
    /// The sum over them and their values.
    #[serde(default)]
    pub sum: String,
    /// What its feed is doing.
    pub state: String,
}

/// What the writer or a standby says about its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// `admin`, `standby-0`, …
    pub name: String,
    /// Its last record.
    pub seq: u64,
    /// The chain's digest there.
    pub digest: String,
    /// The sum over the state that is served.
    pub sum: String,
    /// `writer`, or what a standby is doing.
    pub state: String,
}

impl Server {
    /// Whether it does what it should when all is well.
    pub(super) fn follows_or_writes(&self) -> bool {
        self.state == "writer" || self.state == "following"
    }
}

/// A history that is being written.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: BufWriter<File>,
    entries: Vec<Entry>,
}

impl Recorder {
    /// Begins a history in a new file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn begin(path: &Path) -> anyhow::Result<Recorder> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let inner = Mutex::new(Inner { file: BufWriter::new(file), entries: Vec::new() });
        Ok(Recorder { start: Instant::now(), path: path.to_owned(), inner })
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an entry.
    pub fn add(&self, entry: Entry) {
        let line = serde_json::to_string(&entry).expect("entries are plain data");
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // A disk that is full is noticed at the end; what is checked is in memory.
        let _ = writeln!(inner.file, "{line}");
        inner.entries.push(entry);
    }

    /// Notes a fault, now.
    pub fn fault(&self, what: &str) {
        crate::progress::say(format!("fault: {} ms: {what}", self.now_us() / 1_000));
        self.add(Entry::Fault { at_us: self.now_us(), what: what.to_owned() });
    }

    /// What was recorded so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).entries.clone()
    }

    /// Writes everything out.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&self) -> anyhow::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.file.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Reads a history from its file.
///
/// # Errors
/// The file cannot be read, or a line of it is no entry.
pub fn read(path: &Path) -> anyhow::Result<Vec<Entry>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let entry = |(index, line)| {
        let read = serde_json::from_str(line);
        read.with_context(|| format!("{} line {}: no entry of a history", path.display(), index + 1))
    };
    text.lines().enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_recorded_is_read_from_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::begin(&dir.path().join("history.ndjson")).unwrap();
        let request = Request::Create { alias: Some("a".into()), target: "t".into(), max_clicks: None };
        let answer = Answer::Done { code: "a".into(), version: 1, missing: vec![0] };
        recorder.add(Entry::Call(Call { begin_us: 1, end_us: 2, request, answer }));
        recorder.fault("kill admin");
        recorder.add(Entry::Listing { links: vec![("a".into(), "t".into())] });
        recorder.flush().unwrap();
        assert_eq!(read(recorder.path()).unwrap(), recorder.entries());
    }
}
