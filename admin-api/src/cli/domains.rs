//! `domain add | list`.

use clap::Subcommand;
use daemon::exit::Exit;
use serde_json::json;

use super::call::table;
use super::{Common, print, tell};

/// Domains that short links live on.
#[derive(Debug, Subcommand)]
pub(super) enum Domain {
    /// Declare a domain by its host
    Add {
        /// The host, as it stands in the address bar: no scheme, no port
        host: String,
        /// What its short URLs begin with; by default the default domain's scheme and this host
        #[arg(long, value_name = "URL")]
        short_url_base: Option<String>,
        /// Find aliases whatever the case of their letters; cannot be changed later
        #[arg(long)]
        folded: bool,
    },
    /// List domains
    List,
}

pub(super) fn run(common: &Common, command: &Domain) -> Result<(), Exit> {
    match command {
        Domain::Add { host, short_url_base, folded } => {
            let args = json!({ "host": host, "short_url_base": short_url_base, "folded": folded });
            let added = common.call("domain.add", args)?;
            tell(&format!(
                "declared domain {} with short URLs that begin with {}",
                added["id"], added["short_url_base"]
            ));
            Ok(())
        }
        Domain::List => {
            let list = common.call("domain.list", json!(null))?;
            print(&table(&list["domains"], &["id", "short_url_base", "case", "hosts"]))
        }
    }
}
