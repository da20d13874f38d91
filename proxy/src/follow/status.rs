//! How following goes: what `/readyz`, `/metrics` and `stats` tell, kept by those who follow.
//!
//! One short lock, never taken on the way of a request.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use linklog::replica::Replica;
use linklog::{Head, Position, SlotSum};
use serde_json::{Value, json};
use wire::feed::refusal::Reason;

use crate::lookup::Whole;
use crate::peers::{self, Outage, Said};
use crate::wall_clock::now_us;

/// A writer, and the fleet it said it belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcomer {
    /// Its address.
    pub url: String,
    /// The fleet's id.
    pub fleet: Vec<u8>,
}

/// What the feed is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FeedState {
    /// Trying to reach a writer.
    #[default]
    Connecting,
    /// Receiving.
    Following,
    /// Every writer tried says no; asking again now and then.
    Refused,
    /// The replica is not what the writer has, or is damaged: nothing more is applied to it, another one is to be fetched.
    Diverged,
    /// Another replica is being fetched.
    Bootstrapping,
    /// The disk has less room than is reserved: nothing is received until it has.
    Paused,
    /// The database does not take writes: nothing more is applied.
    Broken,
}

impl FeedState {
    /// All of them.
    pub const ALL: [FeedState; 7] = [
        FeedState::Connecting,
        FeedState::Following,
        FeedState::Refused,
        FeedState::Diverged,
        FeedState::Bootstrapping,
        FeedState::Paused,
        FeedState::Broken,
    ];

    /// Its name in `/readyz` and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            FeedState::Connecting => "connecting",
            FeedState::Following => "following",
            FeedState::Refused => "refused",
            FeedState::Diverged => "diverged",
            FeedState::Bootstrapping => "bootstrapping",
            FeedState::Paused => "paused",
            FeedState::Broken => "broken",
        }
    }

    /// Whether only another replica, a restart or an operator ends it.
    pub const fn is_final(self) -> bool {
        matches!(self, FeedState::Diverged | FeedState::Broken)
    }
}

/// How far another replica is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bootstrapping {
    /// Why there must be one.
    pub why: String,
    /// What is being done.
    pub phase: &'static str,
    /// Bytes received, or read by the writer while it makes a snapshot.
    pub bytes: u64,
    /// Of how many; 0: not known yet.
    pub of: u64,
}

/// Everything known about following, at one instant.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// What the feed is doing.
    pub state: FeedState,
    /// The writer that is followed or was tried last.
    pub writer: Option<String>,
    /// The writer that let us in last: the one to report to.
    pub welcomed_by: Option<Welcomer>,
    /// What went wrong last, until something works again.
    pub problem: Option<String>,
    /// The last refusal, until something works again.
    pub refusal: Option<Reason>,
    /// Our head.
    pub applied: Head,
    /// What is served.
    pub served: Served,
    /// The writer's head, as last heard.
    pub writer_head: Option<Position>,
    /// The writer's clock at our last record, milliseconds since the Unix epoch; 0 if nothing was applied since start.
    pub applied_at_ms: u64,
    /// Our clock minus the writer's, in milliseconds; the way of the message included.
    pub clock_skew_ms: Option<i64>,
    /// Whether we were within the configured lag at least once since start.
    pub caught_up_once: bool,
    /// When a writer was last heard of; at first, when this process started.
    pub heard_at: Instant,
    /// Frames and records applied since start.
    pub frames: u64,
    /// Records applied since start.
    pub records: u64,
    /// Streams begun since start.
    pub streams: u64,
    /// Another replica that is being fetched, or has to be.
    pub bootstrapping: Option<Bootstrapping>,
    /// What is wrong with the replica in use, if it is known to be damaged or another than the writer's.
    pub damage: Option<String>,
    /// How often the replica was found damaged or diverged since start.
    pub damages: u64,
    /// Replicas fetched since start.
    pub bootstraps: u64,
    /// Bytes of snapshots received since start.
    pub bootstrap_bytes: u64,
    /// What peers said since a writer was lost, the last answer of each.
    pub peers: Vec<Said>,
}

impl Snapshot {
    /// Records we lack, as far as is known.
    pub fn lag_records(&self) -> Option<u64> {
        self.writer_head.map(|head| head.seq.0.saturating_sub(self.applied.position.seq.0))
    }

    /// How old our last record is by the writer's clock, in milliseconds: our own clock may be wrong. `None` if either is unknown.
    fn age_ms(&self, now_ms: u64) -> Option<u64> {
        let writer_now = i128::from(now_ms) - i128::from(self.clock_skew_ms?);
        let age = writer_now - i128::from(self.applied_at_ms);
        (self.applied_at_ms > 0).then(|| u64::try_from(age.max(0)).unwrap_or(u64::MAX))
    }

    /// How far behind we are in time, in milliseconds: 0 with every record the writer has told of, else the age of our last one.
    pub fn lag_ms(&self, now_ms: u64) -> Option<u64> {
        if self.lag_records()? == 0 { Some(0) } else { self.age_ms(now_ms) }
    }

    /// Why no writer is heard of, as far as it can be told; `None` while one is, or when that is not the trouble.
    pub fn outage(&self, now: Instant) -> Option<Outage> {
        let is_away = matches!(self.state, FeedState::Connecting | FeedState::Refused);
        is_away.then(|| Outage::of(&self.peers, now))
    }

    /// For `/readyz` and `stats`.
    pub fn to_json(&self, now: Instant) -> Value {
        json!({
            "state": self.state.name(),
            "writer": self.writer,
            "problem": self.problem,
            "refusal": self.refusal.map(|reason| reason.as_str_name()),
            "writer_head": self.writer_head.map(|at| json!({"epoch": at.epoch.0, "seq": at.seq.0})),
            "lag_records": self.lag_records(),
            "lag_ms": self.lag_ms(now_us() / 1_000),
            "clock_skew_ms": self.clock_skew_ms,
            "silent_for_ms": millis(now.saturating_duration_since(self.heard_at)),
            "outage": self.outage(now).map(|outage| peers::to_json(outage, &self.peers, now)),
            "bootstrap": self.bootstrapping.as_ref().map(|bootstrapping| json!({
                "why": bootstrapping.why,
                "phase": bootstrapping.phase,
                "bytes": bootstrapping.bytes,
                "of": bootstrapping.of,
            })),
        })
    }

    /// For `/readyz` and `stats`.
    pub fn replica_json(&self) -> Value {
        let at = self.applied.position;
        json!({
            "epoch": at.epoch.0,
            "seq": at.seq.0,
            "digest": self.applied.digest.to_string(),
            "keys": self.served.keys,
            "serve_sum": format!("{:?}", self.served.sum),
            "caught_up_once": self.caught_up_once,
            "damage": self.damage,
            "bootstraps": self.bootstraps,
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How much a replica serves, and the sum that says what: the writer has the same one at the same record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Served {
    /// Keys, tombstones included.
    pub keys: u64,
    /// Over the state of all slots.
    pub sum: SlotSum,
}

impl Served {
    /// What a replica serves now.
    pub fn by(replica: &Replica) -> Served {
        Served { keys: replica.serve_entries(), sum: replica.serve_sum() }
    }
}

/// The status, shared.
#[derive(Debug)]
pub struct Status {
    now: Mutex<Snapshot>,
    lag_max: Duration,
    whole: Arc<Whole>,
}

impl Status {
    /// The status at start: nobody heard of, with what the disk holds. `lag_max`: how far behind still counts as caught up;
    /// `whole` is told when that has been reached.
    pub fn new(applied: Head, served: Served, lag_max: Duration, whole: Arc<Whole>) -> Status {
        let now = Snapshot {
            state: FeedState::default(),
            writer: None,
            welcomed_by: None,
            problem: None,
            refusal: None,
            applied,
            served,
            writer_head: None,
            applied_at_ms: 0,
            clock_skew_ms: None,
            caught_up_once: false,
            heard_at: Instant::now(),
            frames: 0,
            records: 0,
            streams: 0,
            bootstrapping: None,
            damage: None,
            damages: 0,
            bootstraps: 0,
            bootstrap_bytes: 0,
            peers: Vec::new(),
        };
        Status { now: Mutex::new(now), lag_max, whole }
    }

    /// Returns a copy.
    pub fn snapshot(&self) -> Snapshot {
        self.change(|now| now.clone())
    }

    /// A writer is being tried.
    pub fn connecting(&self, writer: &str) {
        self.change(|now| {
            now.writer = Some(writer.to_owned());
            if now.state == FeedState::Following {
                now.state = FeedState::Connecting;
            }
        });
    }

    /// A writer let us in.
    pub fn welcomed(&self, fleet: &[u8], writer_head: Position) {
        self.change(|now| {
            let host = now.writer.clone().map(|url| Welcomer { url, fleet: fleet.to_vec() });
            now.welcomed_by = host;
            now.state = FeedState::Following;
            now.bootstrapping = None;
            now.problem = None;
            now.refusal = None;
            now.peers.clear();
            now.heard_at = Instant::now();
            now.writer_head = Some(writer_head);
            now.streams += 1;
            self.see_whether_caught_up(now, None);
        });
    }

    /// A peer has said whether it hears of a writer; with a writer of our own it does not matter any more.
    pub fn peer_said(&self, said: Said) {
        self.change(|now| {
            if now.state != FeedState::Following {
                now.peers.retain(|before| before.peer != said.peer);
                now.peers.push(said);
            }
        });
    }

    /// A stream or a try ended.
    pub fn lost(&self, state: FeedState, problem: String, refusal: Option<Reason>) {
        self.change(|now| {
            if !now.state.is_final() {
                now.state = state;
                now.refusal = refusal;
            }
            now.problem = Some(problem);
        });
    }

    /// A frame was applied and is visible. `at_ms`: the writer's clock at its last record; `now_ms`: our clock.
    pub fn applied(&self, applied: Head, served: Served, records: usize, at_ms: u64, now_ms: u64) {
        self.change(|now| {
            now.applied = applied;
            now.served = served;
            now.applied_at_ms = at_ms;
            now.heard_at = Instant::now();
            now.frames += 1;
            now.records += records as u64;
            self.see_whether_caught_up(now, now.age_ms(now_ms));
        });
    }

    /// The writer said where it is. `skew_ms`: our clock minus its.
    pub fn heard(&self, writer_head: Position, skew_ms: i64) {
        self.change(|now| {
            now.heard_at = Instant::now();
            now.writer_head = Some(writer_head);
            now.clock_skew_ms = Some(skew_ms);
            self.see_whether_caught_up(now, None);
        });
    }

    /// The replica is damaged, or another than the writer's: nothing more is applied to it.
    pub fn damaged(&self, what: &str) {
        self.change(|now| {
            now.state = FeedState::Diverged;
            now.problem = Some(what.to_owned());
            now.damages += u64::from(now.damage.is_none());
            now.damage.get_or_insert_with(|| what.to_owned());
        });
    }

    /// Another replica has to be fetched.
    pub fn bootstrap_needed(&self, why: &str) {
        self.change(|now| {
            let new = Bootstrapping { why: why.to_owned(), phase: "asking for one", bytes: 0, of: 0 };
            now.bootstrapping = Some(new);
        });
    }

    /// Fetching has come to its next step.
    pub fn bootstrap_phase(&self, phase: &'static str) {
        self.change(|now| {
            if let Some(bootstrapping) = &mut now.bootstrapping {
                bootstrapping.phase = phase;
                now.state = FeedState::Bootstrapping;
                now.heard_at = Instant::now();
            }
        });
    }

    /// So much is done, of so much.
    pub fn bootstrap_bytes(&self, bytes: u64, of: u64) {
        self.change(|now| {
            now.heard_at = Instant::now();
            if let Some(bootstrapping) = &mut now.bootstrapping {
                (bootstrapping.bytes, bootstrapping.of) = (bytes, of);
            }
        });
    }

    /// So much more was received.
    pub fn bootstrap_received(&self, bytes: u64) {
        self.change(|now| {
            now.heard_at = Instant::now();
            now.bootstrap_bytes += bytes;
            if let Some(bootstrapping) = &mut now.bootstrapping {
                bootstrapping.bytes += bytes;
            }
        });
    }

    /// So much has to be received again.
    pub fn bootstrap_again(&self, bytes: u64) {
        self.change(|now| {
            if let Some(bootstrapping) = &mut now.bootstrapping {
                bootstrapping.bytes = bootstrapping.bytes.saturating_sub(bytes);
            }
        });
    }

    /// Fetching has failed; `state` is what the feed is in then. It is tried again.
    pub fn bootstrap_failed(&self, problem: &str, state: FeedState) {
        self.change(|now| {
            now.state = if now.damage.is_some() { FeedState::Diverged } else { state };
            now.problem = Some(problem.to_owned());
        });
    }

    /// Another replica is in place.
    pub fn replaced(&self, applied: Head, served: Served, at_ms: u64) {
        self.change(|now| {
            now.applied = applied;
            now.served = served;
            now.applied_at_ms = at_ms;
            now.state = FeedState::Connecting;
            (now.problem, now.refusal, now.bootstrapping, now.damage) = (None, None, None, None);
            now.bootstraps += 1;
            self.whole.set();
        });
    }

    fn see_whether_caught_up(&self, now: &mut Snapshot, age_ms: Option<u64>) {
        let has_replica = now.applied.position.seq.0 > 0;
        let is_recent = age_ms.is_some_and(|age| age <= millis(self.lag_max));
        if has_replica && (now.lag_records() == Some(0) || is_recent) {
            now.caught_up_once = true;
            self.whole.set();
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut Snapshot) -> R) -> R {
        // Nobody panics while holding it: the changes above assign.
        change(&mut self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linklog::Digest;

    fn head(seq: u64) -> Head {
        Head { position: Position::new(1, seq), digest: Digest::ZERO }
    }

    fn status(seq: u64) -> Status {
        Status::new(head(seq), Served::default(), Duration::from_secs(5), Arc::default())
    }

    #[test]
    fn an_empty_replica_never_counts_as_caught_up() {
        let status = status(0);
        status.welcomed(&[], Position::ZERO);
        status.heard(Position::ZERO, 0);
        assert!(!status.snapshot().caught_up_once);
    }

    #[test]
    fn at_the_writers_head_or_within_the_lag_it_is_caught_up_and_stays_so() {
        for (applied, head_seq, at_ms, caught_up) in
            [(10, 10, 1, true), (9, 10, 3_695_000, true), (9, 10, 3_694_999, false)]
        {
            let status = status(1);
            status.welcomed(&[], Position::new(1, head_seq));
            // Our clock is an hour behind the writer's.
            status.heard(Position::new(1, head_seq), -3_600_000);
            assert!(!status.snapshot().caught_up_once);
            status.applied(head(applied), Served::default(), 1, at_ms, 100_000);
            assert_eq!(status.snapshot().caught_up_once, caught_up, "{applied} of {head_seq}, at {at_ms}");
            status.heard(Position::new(1, 1_000_000), 0);
            assert_eq!(status.snapshot().caught_up_once, caught_up);
        }
    }

    #[test]
    fn a_final_state_is_not_forgotten_over_a_lost_connection() {
        let status = status(1);
        status.lost(FeedState::Diverged, "the digests differ".into(), None);
        status.lost(FeedState::Connecting, "connection refused".into(), None);
        assert_eq!(status.snapshot().state, FeedState::Diverged);
    }

    #[test]
    fn a_welcome_ends_what_was_wrong() {
        let status = status(1);
        status.lost(FeedState::Refused, "unknown member".into(), Some(Reason::UnknownMember));
        status.connecting("http://127.0.0.1:1");
        assert_eq!(status.snapshot().state, FeedState::Refused);
        status.welcomed(&[], Position::new(1, 5));
        let now = status.snapshot();
        assert_eq!((now.state, now.problem.clone(), now.refusal), (FeedState::Following, None, None));
        assert_eq!(now.lag_records(), Some(4));
    }
}
