//! Telling the writer: a thread that sends the ledger's batches in order, until they are where they belong.
//!
//! It talks to the writer that let the feed in last, so there is one idea of whom to follow. It never gives up: trouble is told once in
//! the log, shown in the status, and tried again, while the ledger keeps what is counted. Batches may arrive twice; the writer takes
//! each once.

mod stream;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clicklog::{BatchNumber, Ledger, LedgerId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::clicks::refusal::Reason;

use super::status::{ClickStatus, ReportState};
use crate::follow::FollowOptions;
use crate::follow::backoff::{self, Backoff};
use crate::follow::status::{Status, Welcomer};
use stream::{End, Stream};

/// How often it is looked whether the feed has found a writer.
const LOOK_FOR_WRITER_EVERY: Duration = Duration::from_millis(100);

/// How far the writer is, for who waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counted {
    /// The last batch that is counted.
    pub(super) upto: BatchNumber,
    /// A writer takes batches.
    pub(super) is_reporting: bool,
}

/// The thread.
#[derive(Debug)]
pub(super) struct Reporting {
    stop: CancellationToken,
    thread: JoinHandle<()>,
    counted: watch::Receiver<Counted>,
}

/// Starts to report what the ledger gets; `complete_until` tells of it.
///
/// # Errors
/// A thread or a runtime cannot be had.
pub(super) fn start(
    options: FollowOptions,
    followed: Arc<Status>,
    ledger: Arc<Ledger>,
    complete_until: watch::Receiver<u64>,
    status: Arc<ClickStatus>,
) -> io::Result<Reporting> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = CancellationToken::new();
    let (telling, counted) = watch::channel(Counted::default());
    let stopped = stop.clone();
    let thread = std::thread::Builder::new().name("report".into()).spawn(move || {
        let mut reporter = Reporter {
            options,
            followed,
            ledger,
            complete_until,
            status,
            counted: telling,
            backoff: Backoff::default(),
            logged: HashMap::new(),
        };
        runtime.block_on(async { stopped.run_until_cancelled(reporter.run()).await });
    })?;
    Ok(Reporting { stop, thread, counted })
}

impl Reporting {
    /// Waits a while for the writer to count batch `last`, if there is a writer, then leaves it.
    pub(super) fn stop(self, last: BatchNumber, within: Duration) {
        let until = Instant::now() + within;
        let is_awaited = |counted: Counted| counted.is_reporting && counted.upto < last;
        while is_awaited(*self.counted.borrow()) && Instant::now() < until {
            // A few looks at the end of a process; a runtime to wait in is not worth it.
            std::thread::sleep(Duration::from_millis(5));
        }
        self.stop.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the thread that reports clicks panicked");
        }
    }
}

struct Reporter {
    options: FollowOptions,
    followed: Arc<Status>,
    ledger: Arc<Ledger>,
    complete_until: watch::Receiver<u64>,
    status: Arc<ClickStatus>,
    counted: watch::Sender<Counted>,
    backoff: Backoff,
    /// What was logged last of each writer, so that a lasting trouble is logged once.
    logged: HashMap<String, String>,
}

impl Reporter {
    async fn run(&mut self) {
        loop {
            let writer = self.writer().await;
            let begun = Instant::now();
            let end = Stream {
                options: &self.options,
                followed: &self.followed,
                ledger: &self.ledger,
                status: &self.status,
                counted: &self.counted,
            }
            .report(&writer, self.complete_until.clone())
            .await;
            self.counted.send_modify(|counted| counted.is_reporting = false);
            if begun.elapsed() >= backoff::LONGEST {
                self.backoff.reset();
                self.logged.remove(&writer.url);
            }
            let pause = self.after(&writer.url, end);
            tokio::time::sleep(pause).await;
        }
    }

    /// Waits for the feed to find a writer.
    async fn writer(&self) -> Welcomer {
        loop {
            match self.followed.snapshot().welcomed_by {
                Some(writer) => return writer,
                None => tokio::time::sleep(LOOK_FOR_WRITER_EVERY).await,
            }
        }
    }

    /// Notes why a stream ended; returns how long to wait.
    fn after(&mut self, url: &str, end: End) -> Duration {
        let random = rand::random();
        let state = |state| self.status.set_report(state);
        match end {
            End::Again => {
                state(ReportState::Connecting);
                self.backoff.next(random)
            }
            End::Lost(problem) => {
                state(ReportState::Connecting);
                self.log_once(url, "away", || {
                    tracing::warn!(writer = url, problem, "cannot report clicks, keeping them");
                });
                self.backoff.next(random)
            }
            End::Refused { reason: Reason::ShuttingDown, .. } => {
                state(ReportState::Connecting);
                self.backoff.next(random)
            }
            End::Refused { reason, detail } => {
                state(ReportState::Refused);
                let name = reason.as_str_name();
                self.log_once(url, name, || {
                    tracing::error!(
                        writer = url,
                        reason = name,
                        detail,
                        "the writer refuses our clicks, keeping them"
                    );
                });
                Backoff::slow(random)
            }
            End::Unfit { problem } => {
                state(ReportState::Refused);
                self.log_once(url, &problem, || {
                    tracing::error!(
                        writer = url,
                        problem,
                        "cannot report clicks to this writer, keeping them"
                    );
                });
                Backoff::slow(random)
            }
            End::OldCopy { counted } => {
                state(ReportState::Connecting);
                self.begin_anew(url, counted);
                self.backoff.next(random)
            }
        }
    }

    fn begin_anew(&self, url: &str, counted: BatchNumber) {
        let before = self.ledger.standing();
        let begun = self.ledger.begin_anew(LedgerId(rand::random()));
        let after = self.ledger.standing();
        self.status.set_standing(after);
        match begun {
            Ok(()) => tracing::error!(
                writer = url,
                %counted,
                last = %before.last,
                goes_on_with = after.last.0,
                dropped_clicks = after.dropped_clicks,
                "the writer has counted more batches of this click ledger than it was opened with: it is an old copy. It goes on under a \
                 new id with those it has made since; the others are counted already"
            ),
            Err(error) => tracing::error!(%error, "cannot give the click ledger a new id"),
        }
    }

    fn log_once(&mut self, url: &str, trouble: &str, log: impl FnOnce()) {
        if self.logged.get(url).is_none_or(|last| last != trouble) {
            log();
            self.logged.insert(url.to_owned(), trouble.to_owned());
        }
    }
}
