//! `signpost-admin recover`: a writer's log that has lost its end gets it back from sync members and begins a new epoch. Offline: the
//! service is stopped, and the database's lock makes sure of it.

use std::path::Path;

use linklog::standby::{Standby, StandbyOptions};
use linklog::store::StoreOptions;
use linklog::{Epoch, Head, Position};
use wire::identity::Identity;

use crate::clock;
use crate::config::Config;
use crate::succession::peer::Asker;

/// What was recovered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Where the log ended.
    pub before: Position,
    /// Where it ends now: the first record of the new epoch.
    pub now: Position,
}

/// Fetches what the log lacks from the sync members whose feeds are `urls`: all of them have to answer, and take nothing of an older epoch
/// afterwards; the longest log is adopted.
///
/// # Errors
/// Why not, for the operator.
pub fn run(config: &Config, urls: &[String]) -> Result<Recovered, String> {
    let identity =
        config.tls_dir.as_deref().map(Identity::load).transpose().map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(recover(&config.data_dir.join("log"), config.journal_retention_bytes, identity, urls))
}

async fn recover(
    dir: &Path,
    journal_bytes_kept: u64,
    identity: Option<Identity>,
    urls: &[String],
) -> Result<Recovered, String> {
    if !dir.join("db").exists() {
        return Err(format!(
            "{} holds no log: start a standby in an empty data_dir and promote it",
            dir.display()
        ));
    }
    let options = StandbyOptions { store: StoreOptions::default(), journal_bytes_kept };
    let mut log = Standby::open_for_recovery(dir, &options).map_err(|error| error.to_string())?;
    let before = log.head().position;
    let fleet = match &identity {
        Some(identity) => Some(identity.own().fleet),
        None => crate::server::recorded_fleet(&log.reader()).map_err(|error| error.to_string())?,
    };
    let asker = Asker { identity, fleet, name: "recover".to_owned() };
    // First without changing anything.
    let mut epoch = log.highest_epoch();
    for url in urls {
        let standing = asker.fence(url, Epoch(0)).await.map_err(|problem| format!("{url}: {problem}"))?;
        if standing.head.position.epoch > before.epoch || standing.writes {
            return Err(format!(
                "{url} is at record {} and this log at {before}: another writer has taken over, so this log is not to be written to. Make it \
                 a standby instead",
                standing.head.position
            ));
        }
        epoch = epoch.max(standing.highest_epoch);
    }
    let epoch = super::ballot::after(epoch)?;
    let mut longest: Option<(&String, Head)> = None;
    for url in urls {
        let standing = asker.fence(url, epoch).await.map_err(|problem| format!("{url}: {problem}"))?;
        if !standing.accepted {
            return Err(format!(
                "{url} knows epoch {} by now: run the command again",
                standing.highest_epoch
            ));
        }
        if longest.is_none_or(|(_, head)| standing.head.position > head.position) {
            longest = Some((url, standing.head));
        }
    }
    if let Some((url, _)) = longest.filter(|(_, head)| head.position > before) {
        let mut frames = asker.tail(url, log.head()).await?;
        while let Some(frame) = frames.message().await.map_err(|status| wire::channel::reason(&status))? {
            log.adopt(&frame.frame, clock::now_us()).map_err(|error| error.to_string())?;
        }
    }
    log.fence(epoch).map_err(|error| error.to_string())?;
    let now = log.promote(clock::now_ms()).map_err(|error| error.to_string())?;
    Ok(Recovered { before, now })
}
