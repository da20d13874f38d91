//! `restore`.

use std::path::PathBuf;

use clap::Args;
use daemon::exit::Exit;
use linklog::{Epoch, Seq};
use wire::identity::FleetId;

use super::{Common, print, tell};
use crate::config;
use crate::restore::{Done, RestoreOptions, Until, restore};

/// Make the log and the counts anew out of backups (offline)
///
/// The folders log and clicks of the data folder must not be there: move them away first. Every follower that was further than the point
/// restored to begins with a snapshot.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The place of the backups, a folder or s3://bucket/prefix [default: the one in the configuration]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Up to this record [default: everything there is]
    #[arg(long, value_name = "N", conflicts_with = "to_time")]
    to_seq: Option<u64>,
    /// Up to this time, RFC 3339
    #[arg(long, value_name = "TIME")]
    to_time: Option<jiff::Timestamp>,
    /// Whose backups, if the place has those of several fleets
    #[arg(long, value_name = "ID")]
    fleet: Option<FleetId>,
    /// The epoch to begin, if a writer was promoted of which the place knows nothing [default: one above all in the place]
    #[arg(long, value_name = "N")]
    epoch: Option<u32>,
    /// Nothing was followed since: leave links that end with a number of clicks as they were, instead of using them up
    #[arg(long)]
    keep_limits: bool,
    /// Where to restore to [default: data_dir of the configuration]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(super) fn run(common: &Common, command: &Restore) -> Result<(), Exit> {
    let Some(path) = &common.config else {
        return Err(Exit::Usage("give the configuration: --config FILE".to_owned()));
    };
    let config = config::load(path)?.config;
    let Some(from) = command.from.clone().or(config.backup.url) else {
        return Err(Exit::Usage("say where the backups are: --from URL, or [backup] url".to_owned()));
    };
    let until = match (command.to_seq, command.to_time) {
        (Some(seq), _) => Until::Seq(Seq(seq)),
        (None, Some(time)) => Until::Time(time.as_millisecond().try_into().unwrap_or(0)),
        (None, None) => Until::End,
    };
    let options = RestoreOptions {
        from,
        fleet: command.fleet,
        until,
        epoch: command.epoch.map(Epoch),
        keep_limits: command.keep_limits,
        data_dir: command.data_dir.clone().unwrap_or(config.data_dir),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let restoring = restore(&options, &|line| tell(&line));
    let done = runtime.map_err(Exit::failure)?.block_on(restoring).map_err(Exit::failure)?;
    told(&done)
}

fn told(done: &Done) -> Result<(), Exit> {
    let Done { fleet, snapshot, to, records, discarded, epoch, burned: (links, clicks), clicks_until } = done;
    print(&format!(
        "restored the log of fleet {fleet} up to record {to}: snapshot {snapshot}, {records} records after it"
    ))?;
    print(&format!(
        "epoch {epoch} begins; the counts of clicks are those of the snapshot (record {clicks_until} of their journal)"
    ))?;
    if let Some(discarded) = discarded {
        print(&format!("not in it: the records after that, which the place has up to {discarded}"))?;
    }
    if *links > 0 {
        print(&format!(
            "{links} links that end with a number of clicks have ended, with {clicks} clicks burned: nobody knows how often they were \
             followed since"
        ))?;
    }
    Ok(())
}
