//! Refilling: a thread that keeps the stock between its watermarks.
//!
//! It sleeps until a lease takes the stock below the low watermark, generates until the high one is reached, says at which
//! rate, and sleeps again. A pool without a single code gets a small first batch, so that it is ready at once.
//!
//! It also writes the head file now and then, and when it ends.
//!
//! It stops generating while the disk is nearly full, so that leasing what waits can go on: a lease writes a hundred bytes.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::config::PoolConfig;
use crate::generate::SystemEntropy;
use crate::supply::{AddError, Added, BATCH_CODES_MAX, Supply};

mod bell;

pub use bell::{Bell, Woken};

/// Codes of the first batch of a pool in which none waits.
pub const FIRST_BATCH_CODES: usize = 1 << 16;
/// Free bytes on the disk below which nothing is generated.
pub const DISK_FREE_BYTES_MIN: u64 = 256 << 20;
/// How often it looks after the pool unasked, and writes the head file.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often a long refill says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// The pause after a refill that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The running thread. Dropping it stops it after the batch at hand.
#[derive(Debug)]
pub struct Refill {
    bell: Arc<Bell>,
    /// Taken by the first stop.
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Refiller {
    supply: Arc<Supply>,
    low_watermark: u64,
    high_watermark: u64,
}

impl Refill {
    /// Starts refilling.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(supply: Arc<Supply>, config: &PoolConfig) -> io::Result<Refill> {
        let bell = Arc::clone(supply.bell());
        let (low_watermark, high_watermark) = (config.low_watermark, config.high_watermark);
        let refiller = Refiller { supply, low_watermark, high_watermark };
        let thread = thread::Builder::new().name("refill".into()).spawn(move || refiller.run())?;
        Ok(Refill { bell, thread: Some(thread) })
    }
}

impl Drop for Refill {
    fn drop(&mut self) {
        self.bell.stop();
        if let Some(thread) = self.thread.take() {
            // Whether it panicked is said where that happens.
            let _ = thread.join();
        }
    }
}

impl Refiller {
    fn run(&self) {
        let bell = self.supply.bell();
        let mut asked = false;
        let mut head_written = Instant::now();
        loop {
            self.supply.metrics().table_bytes(self.supply.store().table_bytes());
            if (asked || self.supply.unused() < self.low_watermark) && self.has_room() && !self.fill() {
                if self.supply.failed().is_cancelled() {
                    return;
                }
                bell.pause(RETRY_AFTER);
            }
            let woken = bell.wait(LOOK_EVERY);
            if woken == Woken::Stop || head_written.elapsed() >= LOOK_EVERY {
                head_written = Instant::now();
                self.put_head();
            }
            match woken {
                Woken::Stop => return,
                Woken::Asked => asked = true,
                Woken::Rung | Woken::TimePassed => asked = false,
            }
        }
    }

    fn put_head(&self) {
        if let Err(error) = self.supply.put_head() {
            tracing::warn!(%error, "cannot write the head file, the one before stays");
        }
    }

    /// Generates until the high watermark is reached or the thread is to stop. Says whether it went well.
    fn fill(&self) -> bool {
        let mut progress = Progress::new(self.supply.unused());
        let went_well = loop {
            let unused = self.supply.unused();
            if unused >= self.high_watermark || self.supply.bell().is_stopping() {
                break true;
            }
            let most = if unused == 0 { FIRST_BATCH_CODES } else { BATCH_CODES_MAX };
            let count = usize::try_from(self.high_watermark - unused).unwrap_or(most).min(most);
            match self.supply.add(count, now_ms(), &mut SystemEntropy) {
                Ok(added) => self.supply.metrics().refill(true, progress.add(&added, unused)),
                Err(AddError::Stopped(_)) => break false,
                Err(error) => {
                    tracing::error!(error = wire::channel::reason(&error), "cannot generate codes");
                    break false;
                }
            }
        };
        self.supply.metrics().refill(false, progress.codes_per_second());
        progress.end(self.supply.unused());
        went_well
    }

    fn has_room(&self) -> bool {
        let dir = self.supply.store().dir();
        let free_bytes = match daemon::disk::free_bytes(dir) {
            Ok(free_bytes) => free_bytes,
            Err(error) => {
                tracing::warn!(%error, dir = %dir.display(), "cannot ask how full the disk is");
                return true;
            }
        };
        let enough = free_bytes >= DISK_FREE_BYTES_MIN;
        if !enough {
            tracing::warn!(free_bytes, dir = %dir.display(), "the disk is nearly full, no codes are generated");
        }
        enough
    }
}

/// A pool that is not refilled runs dry unseen: better that the process ends, and is started again.
impl Drop for Refiller {
    fn drop(&mut self) {
        if thread::panicking() {
            self.supply.fail("refilling panicked".to_owned());
        }
    }
}

/// How a refill gets on, for people.
struct Progress {
    began: Instant,
    reported: Instant,
    codes: u64,
    unused_before: u64,
}

impl Progress {
    fn new(unused_before: u64) -> Progress {
        let now = Instant::now();
        Progress { began: now, reported: now, codes: 0, unused_before }
    }

    /// Counts a batch; returns the rate so far.
    fn add(&mut self, added: &Added, unused: u64) -> u64 {
        self.codes += added.stocked;
        let codes_per_second = self.codes_per_second();
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            tracing::info!(codes = self.codes, unused, codes_per_second, "refilling");
        }
        codes_per_second
    }

    fn codes_per_second(&self) -> u64 {
        (self.codes as f64 / self.began.elapsed().as_secs_f64().max(1e-6)) as u64
    }

    fn end(&self, unused: u64) {
        let (codes, unused_before, codes_per_second) =
            (self.codes, self.unused_before, self.codes_per_second());
        let seconds = self.began.elapsed().as_secs_f64();
        tracing::info!(codes, seconds, codes_per_second, unused_before, unused, "refilled");
    }
}

/// Returns the time since 1970 in ms.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
