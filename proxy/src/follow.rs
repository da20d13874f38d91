//! Following the writer: a thread that talks to it and a thread that applies.
//!
//! Never gives up and never takes the service down: a writer that is away, refuses, or sends what cannot be applied is told once in
//! the log, shown in the [`status`], and tried again; what was applied goes on being served. Only when the replica itself is in
//! doubt (another history, another state) or cannot be written is nothing more applied until an operator acts.
//!
//! With several writers each is tried in turn. A proxy never goes back behind the highest epoch it has accepted, so of two writers
//! the replaced one is left again at once.

mod applier;
pub mod backoff;
pub mod status;
mod stream;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use daemon::metrics::Latency;
use linklog::replica::Replica;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::feed::refusal::Reason;
use wire::identity::Identity;

use crate::budgets::Budgets;
use crate::hosts::Hosts;
use crate::hot_map::HotMap;
use applier::{Applier, WORK_MAX, Work};
use backoff::Backoff;
use status::{FeedState, Status};
use stream::{End, Follower};

/// Whom to follow, and as whom.
#[derive(Clone, Debug)]
pub struct FollowOptions {
    /// The feeds of all writers, at least one.
    pub urls: Vec<String>,
    /// Our credentials; `None` on loopback.
    pub identity: Option<Identity>,
    /// Our name in the fleet.
    pub name: String,
}

/// What following changes.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Entries of changed links are replaced.
    pub hot: Arc<HotMap>,
    /// Changed hosts.
    pub hosts: Arc<Hosts>,
    /// How it goes.
    pub status: Arc<Status>,
    /// What may be spent of limited links.
    pub budgets: Option<Arc<Budgets>>,
    /// From the fsync on the writer to visible here.
    pub lag: Latency,
}

/// The two threads.
#[derive(Debug)]
pub struct Following {
    stop: CancellationToken,
    feed: JoinHandle<()>,
    apply: JoinHandle<()>,
}

/// Starts to follow with `replica`, which is the `generation`th of this process.
///
/// # Errors
/// A thread or a runtime cannot be had.
pub fn start(
    options: FollowOptions,
    replica: Replica,
    generation: u64,
    followed: Followed,
) -> io::Result<Following> {
    let Followed { hot, hosts, status, budgets, lag } = followed;
    let (work, waiting) = mpsc::channel(WORK_MAX);
    let applier = Applier { replica, generation, hot, hosts, budgets, status: Arc::clone(&status), lag };
    let apply = std::thread::Builder::new().name("apply".into()).spawn(move || applier.run(waiting))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let feed = std::thread::Builder::new().name("feed".into()).spawn(move || {
        let mut pilot = Pilot::new(options, work, status);
        runtime.block_on(async { stopped.run_until_cancelled(pilot.run()).await });
    })?;
    Ok(Following { stop, feed, apply })
}

impl Following {
    /// Leaves the writer, lets the applier end what it is doing, and closes the replica's own handle.
    pub fn stop(self) {
        self.stop.cancel();
        for thread in [self.feed, self.apply] {
            if thread.join().is_err() {
                tracing::error!("a thread that follows the writer panicked");
            }
        }
    }
}

/// Decides whom to follow next, and when.
struct Pilot {
    urls: Vec<String>,
    follower: Follower,
    applier: mpsc::Sender<Work>,
    status: Arc<Status>,
    backoff: Backoff,
    /// What was logged last of each writer, so that a lasting trouble is logged once.
    logged: HashMap<String, String>,
}

/// A stream that held this long was a success: the next pause is a first one, and its end is news.
const LASTING: Duration = backoff::LONGEST;

impl Pilot {
    fn new(options: FollowOptions, applier: mpsc::Sender<Work>, status: Arc<Status>) -> Pilot {
        let FollowOptions { urls, identity, name } = options;
        let follower = Follower { identity, name };
        Pilot { urls, follower, applier, status, backoff: Backoff::default(), logged: HashMap::new() }
    }

    async fn run(&mut self) {
        for stream in 1.. {
            let url = self.urls[(stream as usize - 1) % self.urls.len()].clone();
            self.status.connecting(&url);
            let begun = Instant::now();
            let end = self.follower.follow(&url, stream, &self.applier, &self.status).await;
            if begun.elapsed() >= LASTING {
                self.backoff.reset();
                self.logged.remove(&url);
            }
            match self.after(&url, end) {
                Some(pause) => tokio::time::sleep(pause).await,
                // Nothing more to do until the process ends.
                None => std::future::pending().await,
            }
        }
    }

    /// Notes why a stream ended; returns how long to wait, or `None` for ever.
    fn after(&mut self, url: &str, end: End) -> Option<Duration> {
        let random = rand::random();
        match end {
            End::Lost(problem) => {
                // Which connection error it is may change from try to try; that the writer is away is one trouble.
                self.log_once(url, "away", || {
                    tracing::warn!(writer = url, problem, "cannot reach the writer")
                });
                self.status.lost(FeedState::Connecting, problem, None);
                Some(self.backoff.next(random))
            }
            End::Refused { reason: Reason::ShuttingDown, .. } => {
                self.log_once(url, "away", || tracing::info!(writer = url, "the writer is shutting down"));
                self.status.lost(FeedState::Connecting, "the writer is shutting down".into(), None);
                Some(self.backoff.next(random))
            }
            End::Refused { reason: Reason::Standby, detail } => {
                // It may be the writer the next moment; as long as it is none, another one of the list is.
                self.log_once(url, "standby", || tracing::info!(writer = url, "a standby, not the writer"));
                self.status.lost(FeedState::Connecting, detail, None);
                Some(self.backoff.next(random))
            }
            End::Refused { reason, detail } => {
                let name = reason.as_str_name();
                self.log_once(url, name, || {
                    tracing::error!(
                        writer = url,
                        reason = name,
                        detail,
                        "the writer refuses us, still serving"
                    );
                });
                self.status.lost(FeedState::Refused, detail, Some(reason));
                Some(Backoff::slow(random))
            }
            End::Unfit { problem } => {
                self.log_once(url, &problem, || {
                    tracing::error!(writer = url, problem, "cannot follow this writer, still serving");
                });
                self.status.lost(FeedState::Refused, problem, None);
                Some(Backoff::slow(random))
            }
            End::Fault(fault) => {
                let problem = fault.to_string();
                let (state, pause) = match () {
                    () if fault.is_divergence() => (FeedState::Diverged, None),
                    () if fault.is_broken() => (FeedState::Broken, None),
                    () => (FeedState::Connecting, Some(self.backoff.next(random))),
                };
                self.log_once(url, &problem, || {
                    let state = state.name();
                    tracing::error!(
                        writer = url,
                        problem,
                        state,
                        "cannot apply what the writer sent, still serving"
                    );
                });
                self.status.lost(state, problem, None);
                pause
            }
            // Nobody stops the applier while we run: it has panicked.
            End::Over => {
                tracing::error!("the thread that applies is gone, still serving; restart this proxy");
                self.status.lost(FeedState::Broken, "the thread that applies is gone".into(), None);
                None
            }
        }
    }

    fn log_once(&mut self, url: &str, trouble: &str, log: impl FnOnce()) {
        if self.logged.get(url).is_none_or(|last| last != trouble) {
            log();
            self.logged.insert(url.to_owned(), trouble.to_owned());
        }
    }
}
