//! `signpost domains`.

use clap::{Args, Subcommand};
use daemon::exit::Exit;
use http::Method;

use super::Members;
use super::records::{Changed, Given, IfVersion, path};
use crate::client::{Ask, Client};
use crate::output;
use crate::settings::Output;

const PATH: &str = "/v1/domains";
const COLUMNS: [&str; 6] = ["host", "hosts", "short_url_base", "case", "default_ttl", "created_at"];

/// Domains: names under which codes are of their own.
#[derive(Debug, Subcommand)]
pub enum Domains {
    /// List domains, the default domain first
    List,
    /// Declare a domain
    Create(Create),
    /// Show a domain
    Get(Host),
    /// Tell a domain what to do; what is not named stays
    Edit(Edit),
}

/// Which domain.
#[derive(Args, Debug)]
pub struct Host {
    /// One of its hosts
    host: String,
}

/// What a domain can be told.
#[derive(Args, Debug)]
struct Says {
    /// What its short URLs begin with, as `https://sho.rt`
    #[arg(long, value_name = "URL")]
    short_url_base: Option<String>,
    /// Where / leads
    #[arg(long, value_name = "URL")]
    root_url: Option<String>,
    /// Where codes lead that do not exist
    #[arg(long, value_name = "URL")]
    not_found_url: Option<String>,
    /// How long its links live unless they say so themselves, in seconds
    #[arg(long, value_name = "SECONDS")]
    default_ttl: Option<u64>,
}

impl Says {
    fn members(&self) -> Members {
        let mut members = Members::default();
        members.text("short_url_base", self.short_url_base.as_deref());
        members.text("root_url", self.root_url.as_deref());
        members.text("not_found_url", self.not_found_url.as_deref());
        members.number("default_ttl", self.default_ttl);
        members
    }
}

/// Declare a domain.
#[derive(Args, Debug)]
pub struct Create {
    #[command(flatten)]
    host: Host,
    /// Whether aliases are told apart by their case: sensitive or folded; for good
    #[arg(long)]
    case: Option<String>,
    #[command(flatten)]
    says: Says,
    #[command(flatten)]
    given: Given,
}

/// Tell a domain what to do; what is not named stays.
#[derive(Args, Debug)]
pub struct Edit {
    #[command(flatten)]
    host: Host,
    #[command(flatten)]
    says: Says,
    #[command(flatten)]
    changed: Changed,
    #[command(flatten)]
    if_version: IfVersion,
}

impl Domains {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let ask = match self {
            Domains::List => {
                let list = client.call(&Ask::new(Method::GET, PATH)).await?.json()?;
                let data = list["data"].as_array().map_or(&[][..], Vec::as_slice);
                return output::show_list(output, data, &COLUMNS);
            }
            Domains::Create(create) => {
                let mut members = create.says.members();
                members.text("host", Some(&create.host.host));
                members.text("case", create.case.as_deref());
                create.given.create(PATH, members)?
            }
            Domains::Get(host) => Ask::new(Method::GET, path(PATH, &host.host)),
            Domains::Edit(edit) => {
                edit.if_version.of(edit.changed.edit(path(PATH, &edit.host.host), edit.says.members())?)
            }
        };
        output::show(output, &client.call(&ask).await?.json()?)
    }
}
