//! How following goes, for whoever asks: readiness, metrics, the API.

use std::time::{Duration, Instant};

use bootstrap::Progress;
use linklog::Position;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::scrub::Counts;

/// How long a writer may be silent before this standby counts as cut off: there is a heartbeat once a second.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How many records may be missing: less than a few seconds of a writer under full load.
const LAG_RECORDS_MAX: u64 = 20_000;

/// What the stream is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Trying to reach a writer.
    Connecting,
    /// Receiving.
    Following,
    /// Every writer tried says no.
    Refused,
    /// Fetching a snapshot of a log that has gone on without it.
    Bootstrapping,
    /// Receiving nothing for want of room on the disk.
    Paused,
    /// The log is not the beginning of the writer's: it has to be made anew.
    Diverged,
    /// It is being made the writer.
    Promoting,
}

impl State {
    /// Its name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Following => "following",
            State::Refused => "refused",
            State::Bootstrapping => "bootstrapping",
            State::Paused => "paused",
            State::Diverged => "diverged",
            State::Promoting => "promoting",
        }
    }
}

/// Everything known, at one instant.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// What the stream is doing.
    pub state: State,
    /// The feed of the writer that is followed or was tried last.
    pub writer: String,
    /// What went wrong last, until something works again.
    pub problem: Option<String>,
    /// The writer's head, as last heard.
    pub writer_head: Option<Position>,
    /// How far the snapshot is that is being fetched.
    pub fetching: Option<Fetching>,
    /// When a writer was last heard of.
    heard_at: Option<Instant>,
}

/// How far a snapshot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetching {
    /// What is being done.
    pub phase: &'static str,
    /// Bytes that are there.
    pub bytes: u64,
    /// Of so many; 0 while it is being made.
    pub of: u64,
}

/// The status, shared.
#[derive(Debug)]
pub struct Status {
    now: Mutex<Snapshot>,
    api_url: Option<String>,
    /// What looks at the disk have found.
    scrub: Counts,
}

impl Status {
    /// Nobody heard of yet. `api_url`: what clients are told of the writer; `scrub`: where looks at the disk say what they found.
    pub fn new(first: &str, api_url: Option<String>, scrub: Counts) -> Status {
        let now = Snapshot {
            state: State::Connecting,
            writer: first.to_owned(),
            problem: None,
            writer_head: None,
            fetching: None,
            heard_at: None,
        };
        Status { now: Mutex::new(now), api_url, scrub }
    }

    /// Returns a copy.
    pub fn snapshot(&self) -> Snapshot {
        self.now.lock().clone()
    }

    /// Returns the writer's address, for clients.
    pub fn writer(&self) -> String {
        self.api_url.clone().unwrap_or_else(|| self.now.lock().writer.clone())
    }

    /// Returns what is wrong with the log on the disk, if the last look at it found damage.
    pub fn damage(&self) -> Option<String> {
        self.scrub.damage()
    }

    /// Says whether a writer is followed and was heard lately, no more is missing than comes within a moment, and what is here is sound.
    pub fn is_current(&self, applied_seq: u64) -> bool {
        if self.damage().is_some() {
            return false;
        }
        let now = self.now.lock();
        now.state == State::Following
            && now.heard_at.is_some_and(|at| at.elapsed() <= SILENCE_MAX)
            && now.writer_head.is_some_and(|head| head.seq.0.saturating_sub(applied_seq) <= LAG_RECORDS_MAX)
    }

    /// Says why what is here is nothing to begin with for anybody else, if that is so.
    pub fn unfit(&self) -> Option<String> {
        let now = self.now.lock();
        let diverged = now.state == State::Diverged;
        self.damage().or_else(|| diverged.then(|| now.problem.clone().unwrap_or_default()))
    }

    pub(super) fn connecting(&self, writer: &str) {
        let mut now = self.now.lock();
        now.writer = writer.to_owned();
        if now.state == State::Following {
            now.state = State::Connecting;
        }
    }

    pub(super) fn heard(&self, head: Position) {
        let mut now = self.now.lock();
        now.state = State::Following;
        now.problem = None;
        now.writer_head = Some(head);
        now.heard_at = Some(Instant::now());
    }

    pub(super) fn lost(&self, state: State, problem: String) {
        let mut now = self.now.lock();
        now.state = state;
        now.problem = Some(problem);
    }

    pub(super) fn fetching(&self) {
        self.now.lock().fetching = Some(Fetching { phase: "asking for one", bytes: 0, of: 0 });
    }

    pub(super) fn not_fetching(&self) {
        self.now.lock().fetching = None;
    }

    fn fetched(&self, change: impl FnOnce(&mut Fetching)) {
        if let Some(fetching) = &mut self.now.lock().fetching {
            change(fetching);
        }
    }

    /// For `/readyz`, the control socket and `GET /v1/replication`.
    pub fn to_json(&self, applied_seq: u64) -> Value {
        let now = self.now.lock();
        json!({
            "state": now.state.name(),
            "writer": now.writer,
            "problem": now.problem,
            "writer_head": now.writer_head.map(|at| json!({ "epoch": at.epoch.0, "seq": at.seq.0 })),
            "lag_records": now.writer_head.map(|at| at.seq.0.saturating_sub(applied_seq)),
            "damage": self.damage(),
            "bootstrap": now.fetching.map(|Fetching { phase, bytes, of }| {
                json!({ "phase": phase, "bytes": bytes, "of": of })
            }),
        })
    }
}

impl Progress for Status {
    fn phase(&self, phase: &'static str) {
        self.fetched(|fetching| fetching.phase = phase);
    }

    fn bytes(&self, bytes: u64, of: u64) {
        self.fetched(|fetching| (fetching.bytes, fetching.of) = (bytes, of));
    }

    fn received(&self, bytes: u64) {
        self.fetched(|fetching| fetching.bytes += bytes);
    }

    fn again(&self, bytes: u64) {
        self.fetched(|fetching| fetching.bytes = fetching.bytes.saturating_sub(bytes));
    }
}
