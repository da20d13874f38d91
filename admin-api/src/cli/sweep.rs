//! `sweep --dry-run`.

use clap::Args;
use daemon::exit::Exit;
use serde_json::json;

use super::call::table;
use super::{Common, print, tell};

/// Links that have ended, and are due to be removed.
#[derive(Args, Debug)]
pub(super) struct Sweep {
    /// Change nothing, show what would be swept; the sweep itself runs by the configuration alone
    #[arg(long, required = true)]
    dry_run: bool,
    /// How many links to name, at most 1000
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

pub(super) fn run(common: &Common, command: &Sweep) -> Result<(), Exit> {
    let due = common.call("sweep.dry_run", json!({ "limit": command.limit }))?;
    let more = if due["exact"] == true { "" } else { " and more" };
    tell(&format!(
        "{}{more} links ended long enough ago to be swept; the window is {}",
        due["due"], due["window"]
    ));
    print(&table(&due["links"], &["code", "domain", "ended_at"]))
}
