//! Following the writer: a thread that talks to it and a thread that applies.
//!
//! Never gives up and never takes the service down: a writer that is away, refuses, or sends what cannot be applied is told once in
//! the log, shown in the [`status`], and tried again; what was applied goes on being served. When the replica itself is in doubt (another
//! history, another state, damage on the disk) nothing more is applied to it, and when it is behind what a writer keeps nothing can be: then
//! another one is fetched (`recover`) and takes its place. While the disk has less room than is reserved nothing is received, so that the
//! database never meets a full disk; it goes on by itself. Only when the disk takes no writes does an operator have to act.
//!
//! With several writers each is tried in turn. A proxy never goes back behind the highest epoch it has accepted, so of two writers
//! the replaced one is left again at once.

mod applier;
pub mod backoff;
mod recover;
pub mod status;
mod stream;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::bootstrap::BootstrapError;
use daemon::disk::{DiskReserve, Room};
use daemon::metrics::Latency;
use daemon::turn;
use linklog::replica::Replica;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::feed::refusal::Reason;
use wire::identity::Identity;

use crate::budgets::Budgets;
use crate::hosts::Hosts;
use crate::hot_map::HotMap;
use crate::passwords::attempts::Attempts;
use crate::visitors::Visitors;
use applier::{Applier, Fault, WORK_MAX, Work};
use backoff::Backoff;
use recover::{Need, Recoverer};
use status::{FeedState, Status};
use stream::{End, Follower};

pub use applier::SwitchReaders;
pub use recover::Recovery;

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
pub struct Followed {
    /// Entries of changed links are replaced.
    pub hot: Arc<HotMap>,
    /// Changed hosts.
    pub hosts: Arc<Hosts>,
    /// How it goes.
    pub status: Arc<Status>,
    /// What may be spent of limited links.
    pub budgets: Option<Arc<Budgets>>,
    /// Who visitors are.
    pub visitors: Arc<Visitors>,
    /// Who has guessed passwords: a share of the fleet's limit.
    pub attempts: Arc<Attempts>,
    /// From the fsync on the writer to visible here.
    pub lag: Latency,
    /// Has everybody else read from another replica.
    pub switch: SwitchReaders,
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
    recovery: Recovery,
    followed: Followed,
) -> io::Result<Following> {
    let Followed { hot, hosts, status, budgets, visitors, attempts, lag, switch } = followed;
    let (work, waiting) = mpsc::channel(WORK_MAX);
    let status_of = Arc::clone(&status);
    let applier = Applier {
        replica,
        generation,
        hot,
        hosts,
        budgets,
        visitors,
        attempts,
        status: status_of,
        lag,
        switch,
    };
    let apply = std::thread::Builder::new().name("apply".into()).spawn(move || {
        come_at_once();
        applier.run(waiting);
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let ends = stop.clone();
    let feed = std::thread::Builder::new().name("feed".into()).spawn(move || {
        come_at_once();
        let mut pilot = Pilot::new(options, generation, recovery, work, status, ends);
        runtime.block_on(async { stopped.run_until_cancelled(pilot.run()).await });
    })?;
    Ok(Following { stop, feed, apply })
}

/// Whoever makes a link waits for both threads on every proxy.
fn come_at_once() {
    if let Err(error) = turn::comes_at_once() {
        tracing::info!(%error, "the system lets no change come before background work: it may wait for it some milliseconds");
    }
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
    recoverer: Recoverer,
    disk: DiskReserve,
    /// What was logged last of each writer, so that a lasting trouble is logged once.
    logged: HashMap<String, String>,
}

/// What comes after a stream.
enum Next {
    /// Another one, after a while.
    Wait(Duration),
    /// Another replica.
    Recover(Need),
    /// Nothing, until the process ends.
    Never,
}

/// A stream that held this long was a success: the next pause is a first one, and its end is news.
const LASTING: Duration = backoff::LONGEST;

/// How often it is looked whether there is room on the disk.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Pilot {
    fn new(
        options: FollowOptions,
        generation: u64,
        recovery: Recovery,
        applier: mpsc::Sender<Work>,
        status: Arc<Status>,
        stop: CancellationToken,
    ) -> Pilot {
        let FollowOptions { urls, identity, name } = options;
        let follower = Follower { identity, name, fresh_from_records: recovery.bootstrap.fresh_from_records };
        let disk = recovery.bootstrap.disk.clone();
        let recoverer = Recoverer::new(recovery, generation, applier.clone(), Arc::clone(&status), stop);
        let (backoff, logged) = (Backoff::default(), HashMap::new());
        Pilot { urls, follower, applier, status, backoff, recoverer, disk, logged }
    }

    async fn run(&mut self) {
        for stream in 1.. {
            self.await_room().await;
            let url = self.urls[(stream as usize - 1) % self.urls.len()].clone();
            self.status.connecting(&url);
            let begun = Instant::now();
            let end = match self.recoverer.must().cloned() {
                Some(need) => End::Needs(need),
                None => tokio::select! {
                    biased;
                    need = self.recoverer.damage_found() => End::Needs(need),
                    () = until(|| self.disk.room() != Room::Enough) => End::NoRoom,
                    end = self.follower.follow(&url, stream, &self.applier, &self.status) => end,
                },
            };
            if begun.elapsed() >= LASTING {
                self.backoff.reset();
                self.logged.remove(&url);
            }
            let pause = match self.after(&url, stream, end) {
                Next::Wait(pause) => pause,
                Next::Recover(need) => {
                    if need.is_everybodys() {
                        tokio::time::sleep(Backoff::before_bootstrap(rand::random())).await;
                    }
                    match self.recoverer.recover(&url, &self.urls, &self.follower, stream, &need).await {
                        Ok(()) => {
                            self.backoff.reset();
                            self.logged.clear();
                            continue;
                        }
                        Err(error) => self.after_recovery(&url, &error),
                    }
                }
                // Nothing more to do until the process ends.
                Next::Never => std::future::pending().await,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Waits until there is as much room on the disk as is reserved.
    async fn await_room(&self) {
        if self.disk.room() == Room::Enough {
            return;
        }
        let (free, reserve) = (self.disk.free(), self.disk.reserve());
        tracing::error!(
            free_bytes = free,
            reserve_bytes = reserve,
            "not following for want of room, still serving"
        );
        let problem = format!("the disk has {free} bytes left and {reserve} are reserved: make room");
        self.status.lost(FeedState::Paused, problem, None);
        self.disk.enough().await;
        tracing::info!("there is room again, following");
    }

    /// Notes why there is no other replica; returns how long to wait.
    fn after_recovery(&mut self, url: &str, error: &BootstrapError) -> Duration {
        let problem = error.to_string();
        self.log_once(url, &problem, || {
            tracing::error!(writer = url, problem, "cannot fetch another replica, still serving");
        });
        let state = if error.may_pass() { FeedState::Connecting } else { FeedState::Refused };
        self.status.bootstrap_failed(&problem, state);
        if error.may_pass() { self.backoff.next(rand::random()) } else { Backoff::slow(rand::random()) }
    }

    /// Notes why a stream ended; returns what to do next.
    fn after(&mut self, url: &str, stream: u64, end: End) -> Next {
        let random = rand::random();
        let wait = match end {
            End::Needs(need) => return Next::Recover(need),
            // What it means is said when room is waited for.
            End::NoRoom => Duration::ZERO,
            End::Lost(problem) => {
                // Which connection error it is may change from try to try; that the writer is away is one trouble.
                self.log_once(url, "away", || {
                    tracing::warn!(writer = url, problem, "cannot reach the writer")
                });
                self.status.lost(FeedState::Connecting, problem, None);
                self.backoff.next(random)
            }
            End::Refused { reason: Reason::ShuttingDown, .. } => {
                self.log_once(url, "away", || tracing::info!(writer = url, "the writer is shutting down"));
                self.status.lost(FeedState::Connecting, "the writer is shutting down".into(), None);
                self.backoff.next(random)
            }
            End::Refused { reason: Reason::Standby, detail } => {
                // It may be the writer the next moment; as long as it is none, another one of the list is.
                self.log_once(url, "standby", || tracing::info!(writer = url, "a standby, not the writer"));
                self.status.lost(FeedState::Connecting, detail, None);
                // Without a single record there is nothing to serve from; everybody was tried once.
                let is_empty = self.status.snapshot().applied.position.seq.0 == 0;
                if is_empty && stream as usize > self.urls.len() {
                    return Next::Recover(Need::no_writer());
                }
                self.backoff.next(random)
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
                let need = Need::of_refusal(reason, &detail);
                self.status.lost(FeedState::Refused, detail, Some(reason));
                match need {
                    Some(need) => return Next::Recover(need),
                    None => Backoff::slow(random),
                }
            }
            End::Unfit { problem } => {
                self.log_once(url, &problem, || {
                    tracing::error!(writer = url, problem, "cannot follow this writer, still serving");
                });
                self.status.lost(FeedState::Refused, problem, None);
                Backoff::slow(random)
            }
            End::Fault(fault) => return self.after_fault(url, &fault),
            // Nobody stops the applier while we run: it has panicked.
            End::Over => {
                tracing::error!("the thread that applies is gone, still serving; restart this proxy");
                self.status.lost(FeedState::Broken, "the thread that applies is gone".into(), None);
                return Next::Never;
            }
        };
        Next::Wait(wait)
    }

    fn after_fault(&mut self, url: &str, fault: &Fault) -> Next {
        let problem = fault.to_string();
        let need = Need::of_fault(fault);
        let state = match &need {
            Some(_) => FeedState::Diverged,
            None if fault.is_broken() => FeedState::Broken,
            None => FeedState::Connecting,
        };
        self.log_once(url, &problem, || {
            let state = state.name();
            tracing::error!(writer = url, problem, state, "cannot apply what the writer sent, still serving");
        });
        self.status.lost(state, problem, None);
        match (need, state) {
            (Some(need), _) => {
                self.recoverer.damaged(&need);
                Next::Recover(need)
            }
            (None, FeedState::Broken) => Next::Never,
            (None, _) => Next::Wait(self.backoff.next(rand::random())),
        }
    }

    fn log_once(&mut self, url: &str, trouble: &str, log: impl FnOnce()) {
        if self.logged.get(url).is_none_or(|last| last != trouble) {
            log();
            self.logged.insert(url.to_owned(), trouble.to_owned());
        }
    }
}

/// Looks again and again until it is so.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
