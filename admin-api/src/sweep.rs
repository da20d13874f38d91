//! The sweep: links that ended long ago, and links nobody follows any more, are deleted or put aside, little by little.
//!
//! Owned here: nothing is removed that was not due by the log's own state. Every removal is an ordinary record that names the version it was
//! decided on, so a link that is prolonged or changed meanwhile stays, and whenever the process is killed each link is there or gone. At most
//! [`SweepOptions::per_s`] links a second, only inside of the window, and only by the writer: a member that cannot write removes nothing.
//!
//! - [`window`]: when · `ended`: links that ended, by a row of the index each · `idle`: links nobody follows, by looking at all of them in
//!   turn · `remove`: the records · [`status`]: how far it is, for people
//!
//! Deliberately not here: whether a link still redirects. That is decided on every visit, sweep or not.

mod ended;
mod idle;
mod remove;
pub mod status;
pub mod window;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linklog::store::{Reader, StoreError};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::links::{ChangeError, Links};
use idle::Idle;
use status::{Due, SweepStatus};
use window::Window;

/// Who makes these records.
const ACTOR: &str = "sweep";
/// How often a step is made.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is counted how much there is to do, and said how far it is.
const LOOK_EVERY_MS: u64 = 60_000;
/// How long to wait after a failure.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);
/// Most links that are counted to say how many are due.
pub const DUE_MAX: usize = 10_000;

/// What becomes of links that are swept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// They are deleted.
    Delete,
    /// They are put aside, and stay as they are otherwise.
    Archive,
}

/// What is swept, and how fast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SweepOptions {
    /// When.
    pub window: Window,
    /// How many links a second at most, at least 1.
    pub per_s: usize,
    /// How long a link stays after its end, in milliseconds.
    pub keep_ms: u64,
    /// What becomes of it then.
    pub action: Action,
    /// After how long without a click and without a change a link is swept too, in milliseconds.
    pub idle_ms: Option<u64>,
}

/// The sweep, shared; cheap to clone.
#[derive(Clone)]
pub struct Sweep(Arc<Inner>);

struct Inner {
    options: SweepOptions,
    links: Links,
    status: SweepStatus,
    /// Where to note how far links were looked at for being idle.
    cursor: PathBuf,
}

impl Sweep {
    /// Returns the sweep of these links; `cursor` is a file of its own.
    pub fn new(options: SweepOptions, links: Links, status: SweepStatus, cursor: PathBuf) -> Sweep {
        Sweep(Arc::new(Inner { options, links, status, cursor }))
    }

    /// What it is told to do.
    pub fn options(&self) -> &SweepOptions {
        &self.0.options
    }

    /// How far it is.
    pub fn status(&self) -> &SweepStatus {
        &self.0.status
    }

    /// Sweeps until `stop`. To be called if the window is ever open.
    pub async fn run(self, stop: CancellationToken) {
        let mut ended = ended::Ended::default();
        let mut idle = Idle::open(&self.0.cursor);
        let mut looked_at_ms = 0;
        let mut has_failed = false;
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let now_ms = clock::now_ms();
            if !self.0.options.window.contains(now_ms) {
                self.0.status.ended(now_ms);
                continue;
            }
            let done = self.step(&mut ended, &mut idle, now_ms, &mut looked_at_ms).await;
            match done {
                Ok(()) => has_failed = false,
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        let reason = wire::channel::reason(&error);
                        tracing::warn!(
                            error = reason,
                            "links that have ended cannot be swept now, trying again"
                        );
                    }
                    stop.run_until_cancelled(tokio::time::sleep(PAUSE_AFTER_FAILURE)).await;
                }
            }
        }
        idle.close(&self.0.cursor);
    }

    async fn step(
        &self,
        ended: &mut ended::Ended,
        idle: &mut Idle,
        now_ms: u64,
        looked_at_ms: &mut u64,
    ) -> Result<(), ChangeError> {
        let status = &self.0.status;
        let mut left = self.0.options.per_s;
        left -= self.sweep_ended(ended, left, now_ms).await?;
        if left > 0 {
            left -= self.sweep_idle(idle, left, now_ms).await?;
        }
        if left == self.0.options.per_s {
            status.ended(now_ms);
        }
        if now_ms.saturating_sub(*looked_at_ms) >= LOOK_EVERY_MS {
            *looked_at_ms = now_ms;
            status.set_due(self.due(now_ms).await?);
            idle.write(&self.0.cursor);
        }
        Ok(())
    }

    /// Counts the links that ended long enough ago, up to [`DUE_MAX`].
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn due(&self, now_ms: u64) -> Result<Due, ChangeError> {
        let options = self.0.options;
        let count = move |reader: &Reader| -> Result<Due, StoreError> {
            let mut links = 0;
            for what in ended::due(&options, DUE_MAX, now_ms) {
                links += reader.ended(&what, None)?.len();
            }
            Ok(Due { links: links.min(DUE_MAX) as u64, is_exact: links < DUE_MAX })
        };
        Ok(self.0.links.log.read(count).await??)
    }

    /// Names the links that would be swept first, at most `limit`, and changes nothing.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn dry_run(&self, limit: usize) -> Result<Vec<linklog::store::End>, ChangeError> {
        let (options, now_ms) = (self.0.options, clock::now_ms());
        let find = move |reader: &Reader| -> Result<_, StoreError> {
            let mut all = Vec::new();
            for what in ended::due(&options, limit, now_ms) {
                all.extend(reader.ended(&what, None)?);
            }
            all.sort_by_key(|end| end.at_ms);
            all.truncate(limit);
            Ok(all)
        };
        Ok(self.0.links.log.read(find).await??)
    }
}
