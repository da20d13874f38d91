//! Counting clicks: every redirect of a link, once.
//!
//! ```text
//! worker ─▶ ring (tmpfs) ─▶ drain ─▶ ledger (RocksDB, fsynced) ─▶ report ─▶ writer
//! worker ─▶ ring ────────────┘
//! ```
//! What holds: redirects received by visitors ≤ counted ≤ redirects attempted. A worker records a click before it writes the answer
//! ([`ClickRing::record`]), without waiting for anything. What a killed process has recorded is in its rings, and the next one takes it over
//! before it serves. A click leaves its ring in the same fsynced step that puts it into a batch, and the writer takes every batch
//! once. Lost is what a full ring or a full ledger drops, which is counted, and up to `sync_ms` when the machine itself goes down,
//! which the next start tells.
//!
//! The order at start is what makes it safe: the ledger first, whose lock keeps a second process out, then the rings of the process
//! before, then new rings, then the workers.

pub mod drain;
pub mod kind;
pub mod options;
pub mod record;
pub mod report;
pub mod ring;
pub mod ring_dir;
pub mod status;
mod tally;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clicklog::ledger::{LedgerError, Opened, RingId};
use clicklog::{Ledger, LedgerId};
use daemon::disk::{DiskReserve, Room};
use tokio::sync::watch;

use crate::follow::FollowOptions;
use crate::follow::status::Status;
use crate::http::clock::now_ms;
use drain::Drainer;
use options::ClickOptions;
use record::{Click, RECORD_BYTES_MAX};
use report::Reporting;
use ring::file::RingFile;
use ring::{Found, Reader, Writer};
use ring_dir::{RingDir, RingDirError};
use status::ClickStatus;

/// How long rings are left alone while clicks come: what has come in this time is added up in tens of microseconds, which visitors whose
/// worker has the same core do not notice.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How much longer, at most, while none come: looking costs a little.
const LOOK_EVERY_WHEN_QUIET: Duration = Duration::from_millis(40);
/// How long a stopping process waits for the writer to count the last clicks. They are on disk; this only makes them show sooner.
const LAST_REPORT_WITHIN: Duration = Duration::from_secs(2);

/// Clicks cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum ClicksError {
    /// The ledger cannot be had.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The rings cannot be had.
    #[error(transparent)]
    Rings(#[from] RingDirError),
    /// A thread or a runtime cannot be had.
    #[error("cannot start counting clicks: {0}")]
    Thread(#[from] io::Error),
}

/// A worker's end of its ring.
#[derive(Debug)]
pub struct ClickRing(Writer<Arc<RingFile>>);

impl ClickRing {
    /// Wraps a ring that has never been written to.
    pub fn new(ring: Arc<RingFile>) -> ClickRing {
        let secret = ring.header().secret;
        ClickRing(Writer::new(ring, secret))
    }

    /// Records a click, or counts that there was no room. To be called before the answer is written.
    #[inline]
    pub fn record(&self, click: &Click<'_>) {
        self.0.append(click.record().bytes());
    }

    /// Says whether the thread that counts does not keep up: soon there is no room for clicks.
    pub fn is_nearly_full(&self) -> bool {
        self.0.is_nearly_full()
    }
}

/// Counting, from its first to its last click.
#[derive(Debug)]
pub struct Clicks {
    drain: Thread,
    reporting: Reporting,
    ledger: Arc<Ledger>,
}

#[derive(Debug)]
struct Thread {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// Who is told what was counted.
#[derive(Debug)]
pub struct Telling {
    /// Our name and credentials.
    pub report_as: FollowOptions,
    /// Tells who the writer is.
    pub followed: Arc<Status>,
    /// For metrics.
    pub status: Arc<ClickStatus>,
}

/// What counting takes.
#[derive(Debug)]
pub struct Started {
    /// For the end.
    pub clicks: Clicks,
    /// One for each worker.
    pub rings: Vec<ClickRing>,
}

impl Clicks {
    /// Opens the ledger in `dir`, takes over what an earlier process has left in its rings, makes new rings for `workers`, and starts
    /// to empty them and to report to the writer that the feed has found. While there is hardly any room on `disk`, clicks stay in the rings.
    ///
    /// # Errors
    /// The ledger, the rings or a thread cannot be had.
    pub fn start(
        options: &ClickOptions,
        dir: &Path,
        workers: usize,
        telling: Telling,
        disk: DiskReserve,
    ) -> Result<Started, ClicksError> {
        let Telling { report_as, followed, status } = telling;
        let ledger = Arc::new(Ledger::open(dir, options.ledger, LedgerId(rand::random()))?);
        let ring_dir = RingDir::open(&options.ring_dir, options.allow_disk)?;
        let (complete_until, watched) = watch::channel(ledger.standing().complete_until_ms);
        take_over(&ledger, &ring_dir, &status, &complete_until)?;
        let rings = (0..workers)
            .map(|_| ring_dir.create(options.ring_bytes, rand::random(), rand::random()))
            .collect::<Result<Vec<_>, _>>()?;
        let ids = rings.iter().map(|ring| ring.header().id).collect();
        ledger.set_opened(&Opened { boot: ring_dir.boot(), rings: ids })?;
        let drainer = Drainer::new(Arc::clone(&ledger), rings.clone(), Arc::clone(&status), complete_until)?;
        let (stop, stopped) = mpsc::channel();
        let (sync, drained) = (options.sync, Arc::clone(&ledger));
        let drain = std::thread::Builder::new().name("clicks".into());
        let thread = drain.spawn(move || {
            run(drainer, &drained, sync, &disk, &stopped);
            drop(ring_dir);
        })?;
        let reporting =
            report::start(report_as, followed, Arc::clone(&ledger), watched, Arc::clone(&status))?;
        let clicks = Clicks { drain: Thread { stop, thread }, reporting, ledger };
        Ok(Started { clicks, rings: rings.into_iter().map(ClickRing::new).collect() })
    }

    /// To be called when no worker records any more: takes over the last clicks, gives the writer a moment to count them, and closes
    /// the ledger.
    pub fn stop(self) {
        let Clicks { drain, reporting, ledger } = self;
        // It waits for nothing else.
        let _ = drain.stop.send(());
        if drain.thread.join().is_err() {
            tracing::error!("the thread that counts clicks panicked");
        }
        reporting.stop(ledger.standing().last, LAST_REPORT_WITHIN);
        let standing = ledger.standing();
        if standing.released < standing.last {
            let batches = standing.last.0 - standing.released.0;
            tracing::info!(
                batches,
                "clicks are kept for the next start: the writer has not counted them yet"
            );
        }
        if Arc::try_unwrap(ledger).is_err() {
            tracing::warn!("the click ledger is closed by the end of the process");
        }
    }
}

/// Takes over what is left in the rings of earlier processes, and removes them.
fn take_over(
    ledger: &Arc<Ledger>,
    ring_dir: &RingDir,
    status: &Arc<ClickStatus>,
    complete_until: &watch::Sender<u64>,
) -> Result<(), ClicksError> {
    let opened = ledger.opened()?;
    let rings = ring_dir.rings()?;
    let mut ours = Vec::new();
    for ring in rings {
        let id = ring.header().id;
        let is_noted = opened.as_ref().is_some_and(|opened| opened.rings.contains(&id));
        if is_noted || ledger.cursor(id)?.is_some() {
            ours.push(ring);
        } else {
            discard(&ring, status);
        }
    }
    if let Some(opened) = &opened {
        let is_there = |id: &RingId| ours.iter().any(|ring: &Arc<RingFile>| ring.header().id == *id);
        let missing = opened.rings.iter().filter(|id| !is_there(id)).count();
        let rebooted = opened.boot != ring_dir.boot();
        if missing > 0 || rebooted {
            status.possibly_lost();
            tracing::error!(
                missing,
                rebooted,
                "the last process did not end in order and its rings are gone: its clicks of up to sync_ms may be lost"
            );
        }
    }
    let mut drainer =
        Drainer::new(Arc::clone(ledger), ours.clone(), Arc::clone(status), complete_until.clone())?;
    let before = ledger.standing().last;
    drainer.drain(now_ms())?;
    let last = ledger.standing().last;
    if last > before {
        tracing::info!(rings = ours.len(), batch = %last, "took over the clicks of the last process");
    }
    // From here on nothing is in them: they may go, and be gone.
    ledger.set_closed()?;
    ours.iter().for_each(|ring| remove(ring.path()));
    Ok(())
}

/// Removes a ring that this ledger does not know: it was never used, or belongs to a ledger that is gone. What that one had taken
/// over, nobody can tell; so nothing of it is counted.
fn discard(ring: &Arc<RingFile>, status: &ClickStatus) {
    let mut reader = Reader::new(Arc::clone(ring), ring.header().secret, 0);
    if reader.read(&mut [0; RECORD_BYTES_MAX]) != Found::Nothing {
        status.possibly_lost();
        let path = ring.path().display();
        tracing::error!(ring = %path, "a ring with clicks that belongs to another ledger is removed: they are lost");
    }
    remove(ring.path());
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(ring = %path.display(), %error, "cannot remove a ring that is done with");
    }
}

/// Empties the rings again and again, and once more at the end.
///
/// While there is hardly any room on the disk nothing is taken out of them: a database whose write fails there may not recover, a ring that
/// is full drops clicks and counts them.
fn run(
    mut drainer: Drainer,
    ledger: &Ledger,
    sync: Duration,
    disk: &DiskReserve,
    stopped: &mpsc::Receiver<()>,
) {
    let mut last = Instant::now();
    let mut pause = LOOK_EVERY;
    while stopped.recv_timeout(pause.min(sync)) == Err(RecvTimeoutError::Timeout) {
        if disk.room() == Room::VeryLow {
            drainer.hold_back(disk);
            pause = sync;
            continue;
        }
        // Errors are told in the log and in the status.
        pause = match drainer.look(now_ms()) {
            Ok(true) => LOOK_EVERY,
            Ok(false) => (pause * 2).min(LOOK_EVERY_WHEN_QUIET),
            Err(_) => sync,
        };
        if last.elapsed() >= sync || drainer.is_urgent() {
            last = Instant::now();
            if drainer.commit().is_err() {
                pause = sync;
            }
        }
    }
    match drainer.drain(now_ms()).and_then(|()| ledger.set_closed()) {
        Ok(()) => drainer.remove_rings(),
        Err(error) => {
            tracing::error!(%error, "cannot write the last clicks down: they stay in their rings for the next start");
        }
    }
}
