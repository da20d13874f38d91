//! Whether a balancer should send visitors here.
//!
//! | replica | writer | ready |
//! |---|---|---|
//! | empty | any | no |
//! | not empty | was within the lag at least once since start | yes, and it stays so, whatever becomes of the writer |
//! | not empty | heard of, still catching up | not yet |
//! | not empty | not heard of for `without_writer_after_ms` | yes: a fleet that was switched off comes back without its writer |
//! | any | any, after SIGTERM | no |
//!
//! The body of `/readyz` says which of them it is, and everything known about the writer. Visitors are served in all of them: what
//! is on the disk is answered from the first moment on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use daemon::disk::DiskReserve;
use serde_json::{Value, json};

use crate::follow::status::{FeedState, Snapshot, Status};

/// Why a proxy is ready or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The process is ending.
    Stopping,
    /// There is nothing to serve.
    Empty,
    /// A writer is there, and we are too far behind it.
    CatchingUp,
    /// No writer yet, and its time is not up.
    AwaitingWriter,
    /// Caught up, and following.
    Following,
    /// Caught up once; not following now.
    WithoutWriter,
    /// Not heard of a writer since start, or not for long: serving what is on the disk.
    FromDisk,
}

impl Verdict {
    /// Whether visitors should come.
    pub const fn is_ready(self) -> bool {
        matches!(self, Verdict::Following | Verdict::WithoutWriter | Verdict::FromDisk)
    }

    /// For people.
    pub const fn reason(self) -> &'static str {
        match self {
            Verdict::Stopping => "stopping",
            Verdict::Empty => "the replica is empty: nothing has been received from a writer yet",
            Verdict::CatchingUp => "catching up with the writer",
            Verdict::AwaitingWriter => "has a replica, waiting for a writer for a moment",
            Verdict::Following => "following the writer",
            Verdict::WithoutWriter => "was caught up, not following now: serving the last known state",
            Verdict::FromDisk => "no word from any writer: serving the state on the disk, which may be old",
        }
    }
}

/// Decides. Pure.
pub fn decide(follow: &Snapshot, stopping: bool, without_writer_after: Duration, now: Instant) -> Verdict {
    if stopping {
        return Verdict::Stopping;
    }
    if follow.applied.position.seq.0 == 0 {
        return Verdict::Empty;
    }
    match (follow.caught_up_once, follow.state) {
        (true, FeedState::Following) => Verdict::Following,
        (true, _) => Verdict::WithoutWriter,
        _ if now.saturating_duration_since(follow.heard_at) >= without_writer_after => Verdict::FromDisk,
        (false, FeedState::Following) => Verdict::CatchingUp,
        (false, _) => Verdict::AwaitingWriter,
    }
}

/// The answer to `/readyz`, kept up to date.
#[derive(Debug)]
pub struct ReadyState {
    status: Arc<Status>,
    without_writer_after: Duration,
    stopping: AtomicBool,
    was_ready_without: AtomicBool,
}

impl ReadyState {
    /// Decides by `status`.
    pub fn new(status: Arc<Status>, without_writer_after: Duration) -> ReadyState {
        let (stopping, was_ready_without) = (AtomicBool::new(false), AtomicBool::new(false));
        ReadyState { status, without_writer_after, stopping, was_ready_without }
    }

    /// Unready from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Decides now; also gives what it was decided by.
    pub fn verdict(&self) -> (Verdict, Snapshot) {
        let follow = self.status.snapshot();
        let stopping = self.stopping.load(Ordering::Acquire);
        let mut verdict = decide(&follow, stopping, self.without_writer_after, Instant::now());
        // Once visitors were let in they stay: a writer that comes back and has much to tell is no reason to go away again.
        if verdict == Verdict::FromDisk {
            self.was_ready_without.store(true, Ordering::Relaxed);
        } else if !verdict.is_ready() && self.was_ready_without.load(Ordering::Relaxed) && !stopping {
            verdict = Verdict::FromDisk;
        }
        (verdict, follow)
    }

    /// The body of `/readyz`, without `ready`.
    pub fn detail(verdict: Verdict, follow: &Snapshot, disk: &DiskReserve) -> Value {
        json!({
            "reason": verdict.reason(),
            "disk": { "room": disk.room().name(), "free_bytes": disk.free(), "reserve_bytes": disk.reserve() },
            "replica": follow.replica_json(),
            "feed": follow.to_json(Instant::now()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linklog::{Digest, Head, Position};

    const GRACE: Duration = Duration::from_secs(10);

    fn head(seq: u64) -> Head {
        Head { position: Position::new(1, seq), digest: Digest::ZERO }
    }

    fn status(seq: u64) -> Status {
        Status::new(
            head(seq),
            crate::follow::status::Served::default(),
            Duration::from_secs(5),
            Arc::default(),
        )
    }

    fn verdict(status: &Status, after: Duration) -> Verdict {
        decide(&status.snapshot(), false, GRACE, Instant::now() + after)
    }

    #[test]
    fn an_empty_proxy_is_never_ready() {
        let status = status(0);
        assert_eq!(verdict(&status, Duration::ZERO), Verdict::Empty);
        assert_eq!(verdict(&status, 100 * GRACE), Verdict::Empty);
        status.welcomed(&[], Position::new(1, 5));
        assert_eq!(verdict(&status, Duration::ZERO), Verdict::Empty);
    }

    #[test]
    fn a_proxy_that_was_caught_up_stays_ready_without_its_writer() {
        let status = status(5);
        status.welcomed(&[], Position::new(1, 5));
        assert_eq!(verdict(&status, Duration::ZERO), Verdict::Following);
        for state in [FeedState::Connecting, FeedState::Refused, FeedState::Diverged] {
            status.lost(state, "gone".into(), None);
            assert_eq!(verdict(&status, 100 * GRACE), Verdict::WithoutWriter);
        }
    }

    #[test]
    fn a_replica_on_disk_is_enough_once_no_writer_was_heard_of_for_a_while() {
        let status = status(5);
        assert_eq!(verdict(&status, Duration::ZERO), Verdict::AwaitingWriter);
        assert_eq!(verdict(&status, GRACE), Verdict::FromDisk);
        status.welcomed(&[], Position::new(1, 1_000_000));
        assert_eq!(verdict(&status, Duration::ZERO), Verdict::CatchingUp);
        status.lost(FeedState::Connecting, "gone".into(), None);
        assert_eq!(verdict(&status, GRACE), Verdict::FromDisk);
    }

    #[test]
    fn a_writer_that_comes_back_with_much_to_tell_does_not_make_it_unready() {
        let status = Arc::new(status(5));
        let ready = ReadyState::new(Arc::clone(&status), Duration::ZERO);
        assert_eq!(ready.verdict().0, Verdict::FromDisk);
        let patient = ReadyState::new(Arc::clone(&status), GRACE);
        status.welcomed(&[], Position::new(1, 1_000_000));
        assert_eq!(ready.verdict().0, Verdict::FromDisk);
        assert_eq!(patient.verdict().0, Verdict::CatchingUp);
        ready.stop();
        assert_eq!(ready.verdict().0, Verdict::Stopping);
    }
}
