//! `backup now | status | list`.

use clap::Subcommand;
use daemon::exit::Exit;
use serde_json::json;

use super::{Common, print, tell};
use crate::backup::place::Place;
use crate::config;

/// Backups of the log and of the counts.
#[derive(Debug, Subcommand)]
pub(super) enum Backup {
    /// Make one now, and wait for it
    Now,
    /// Show the last one of the running service and how far the archive of records is
    Status,
    /// List the backups in the place that the configuration names; the service need not run
    List,
}

pub(super) fn run(common: &Common, command: &Backup) -> Result<(), Exit> {
    match command {
        Backup::Now => {
            let made = common.call("backup.now", json!(null))?;
            let (seq, bytes) = (&made["head"]["seq"], &made["bytes"]);
            tell(&format!("a backup of the log up to record {seq} is there, {bytes} bytes"));
            Ok(())
        }
        Backup::Status => print(&format!("{:#}", common.call("backup.status", json!(null))?)),
        Backup::List => list(common),
    }
}

fn list(common: &Common) -> Result<(), Exit> {
    let Some(path) = &common.config else {
        return Err(Exit::Usage("give the configuration: --config FILE".to_owned()));
    };
    let config = config::load(path)?.config;
    let Some(url) = &config.backup.url else {
        return Err(Exit::Usage("the configuration names no place for backups: [backup] url".to_owned()));
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Exit::failure)?;
    runtime.block_on(async {
        for fleet in Place::fleets(url).await.map_err(Exit::failure)? {
            let place = Place::open(url, fleet).map_err(Exit::failure)?;
            let catalogue = place.catalogue().await.map_err(Exit::failure)?;
            print(&format!("fleet {fleet}"))?;
            for name in &catalogue.snapshots {
                print(&format!("  snapshot  epoch {} up to record {}", name.epoch, name.seq))?;
            }
            if let Some(last) = catalogue.records.iter().max_by_key(|name| (name.epoch, name.last)) {
                print(&format!("  records   epoch {} up to record {}", last.epoch, last.last))?;
            }
        }
        Ok(())
    })
}
