//! A new log, or new counts of clicks, out of a snapshot: for a standby that lacks what the writer's journal no longer has, since it was away for
//! long or is new, and for one whose log is damaged on its disk. What becomes of the folders meanwhile is [`super::places`]' business.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bootstrap::{BootstrapError, Progress, Wish, receive};
use daemon::disk::DiskReserve;
use linklog::Epoch;
use linklog::journal::JournalReader;
use linklog::store::Contents;
use tokio_util::sync::CancellationToken;
use wire::identity::Identity;

use super::engine::Engine;
use super::places::{Places, install};
use super::status::Status;

/// What fetching a log works with.
pub(crate) struct Renewal {
    pub data_dir: PathBuf,
    pub identity: Option<Identity>,
    pub engine: Arc<Engine>,
    /// Of the log in use.
    pub journal: JournalReader,
    pub status: Arc<Status>,
    pub disk: DiskReserve,
    /// One log is fetched at a time.
    pub fetching: tokio::sync::Mutex<()>,
    /// Set when there is another log, which the next start takes.
    pub renewed: Arc<AtomicBool>,
    /// Ends this standby, which is then started again.
    pub stop: CancellationToken,
}

/// Nobody looks.
struct Quiet;

impl Progress for Quiet {
    fn phase(&self, _: &'static str) {}
    fn bytes(&self, _: u64, _: u64) {}
    fn received(&self, _: u64) {}
    fn again(&self, _: u64) {}
}

impl Renewal {
    /// Fetches a log from the writer at `url`. When it is there this standby ends, to be started with it. Meanwhile the old one may be followed.
    ///
    /// # Errors
    /// Why not. The log in use is as before; what was received is kept for the next try.
    ///
    /// # Cancel safety
    /// As for an error.
    pub(super) async fn log(&self, url: &str, why: &str) -> Result<(), BootstrapError> {
        let _alone = self.fetching.lock().await;
        let place = self.engine.place().map_err(|_| BootstrapError::Stopping)?;
        // What was acknowledged from here is not given up.
        let wish = self.wish(url, Contents::Full, place.head.position.seq.0.max(1), place.highest_epoch);
        tracing::warn!(from = url, why, "fetching another log, still answering");
        self.status.fetching();
        let journal = Some(self.journal.clone());
        let fetched = self.fetch(&wish, Places::of_log(&self.data_dir), journal, self.status.clone()).await;
        self.status.not_fetching();
        fetched
    }

    /// Fetches the counts of clicks likewise.
    ///
    /// # Errors
    /// As for the log.
    ///
    /// # Cancel safety
    /// As for an error.
    pub(super) async fn counts(&self, url: &str, why: &str) -> Result<(), BootstrapError> {
        let wish = self.wish(url, Contents::Journal, 0, Epoch(0));
        tracing::warn!(from = url, why, "fetching the counts of clicks");
        self.fetch(&wish, Places::of_counts(&self.data_dir), None, Arc::new(Quiet)).await
    }

    fn wish<'a>(
        &'a self,
        url: &'a str,
        contents: Contents,
        at_least_seq: u64,
        highest_epoch: Epoch,
    ) -> Wish<'a> {
        let fleet = self.engine.fleet_id().map(|fleet| *fleet.as_bytes());
        let (identity, name) = (self.identity.as_ref(), self.engine.member());
        Wish { url, identity, name, fleet, contents, at_least_seq, highest_epoch }
    }

    async fn fetch(
        &self,
        wish: &Wish<'_>,
        places: Places,
        used: Option<JournalReader>,
        progress: Arc<dyn Progress + Send>,
    ) -> Result<(), BootstrapError> {
        receive(wish, places.received(), &self.disk, &*progress).await?;
        progress.phase("verifying");
        let (contents, stop) = (wish.contents, self.stop.clone());
        let installed =
            tokio::task::spawn_blocking(move || install(&places, contents, used, &|| !stop.is_cancelled()));
        let installed = installed.await;
        let head = installed.map_err(|_| BootstrapError::Stopping)??;
        // A promotion that has begun goes on with what it has asked others about.
        self.engine.not_being_promoted().await;
        tracing::info!(what = contents.name(), %head, "what was fetched is whole: starting with it");
        self.renewed.store(true, Ordering::Release);
        self.stop.cancel();
        Ok(())
    }
}
