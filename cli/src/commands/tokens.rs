//! `signpost tokens`.
//!
//! Owned here: the whole of a new token is printed once, to stdout, where a pipe can take it; nothing else of it is.

use clap::{Args, Subcommand};
use daemon::exit::Exit;
use http::Method;
use serde_json::json;

use super::Members;
use super::records::{Changed, Given, Pages, delete, path};
use crate::client::{Ask, Client};
use crate::output::{self, print, tell};
use crate::settings::Output;

const PATH: &str = "/v1/tokens";
const COLUMNS: [&str; 7] = ["id", "name", "scopes", "user", "expires_at", "revoked_at", "last_used_at"];

/// Tokens: who may ask for what, and how much.
#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// List tokens, in the order of their ids, revoked ones too
    List(List),
    /// Make a token; it is printed once and kept nowhere
    Create(Create),
    /// Show a token
    Get(Id),
    /// Change a token; what is not named stays
    Edit(Edit),
    /// Refuse a token for good
    Revoke(Id),
}

/// List tokens, in the order of their ids, revoked ones too.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    pages: Pages,
    /// Those of a user, by its id
    #[arg(long, value_name = "ID")]
    user: Option<String>,
}

/// Which token.
#[derive(Args, Debug)]
pub struct Id {
    /// Id of the token: the part between the underscores; of get also: self
    id: String,
}

/// What a token can be told.
#[derive(Args, Debug)]
struct May {
    /// What it may do: links:read, links:write, stats:read or admin (everything); several times for several
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Id of its user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// From when on it is refused, as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Host of a domain on which it makes and changes links; several times for several
    #[arg(long = "domain", value_name = "HOST")]
    domains: Vec<String>,
    /// What the codes begin with that it makes and changes
    #[arg(long, value_name = "PREFIX")]
    alias_prefix: Option<String>,
    /// How many links it may make in how many seconds, as 1000/86400
    #[arg(long, value_name = "COUNT/SECONDS")]
    creates: Option<String>,
    /// How many requests it may make per second
    #[arg(long, value_name = "NUMBER")]
    requests_per_s: Option<u64>,
}

impl May {
    fn members(&self, name: Option<&str>) -> Result<Members, Exit> {
        let mut members = Members::default();
        members.text("name", name);
        members.list("scopes", &self.scopes);
        members.text("user", self.user.as_deref());
        members.text("expires_at", self.expires_at.as_deref());
        members.list("domains", &self.domains);
        members.text("alias_prefix", self.alias_prefix.as_deref());
        members.number("requests_per_s", self.requests_per_s);
        if let Some(text) = &self.creates {
            let read = text
                .split_once('/')
                .and_then(|(count, period)| Some((count.parse::<u64>().ok()?, period.parse::<u64>().ok()?)));
            let (count, period_s) = read.ok_or_else(|| {
                Exit::Usage(format!("{text:?}: write a quota as COUNT/SECONDS, such as 1000/86400"))
            })?;
            members.0.insert("creates".to_owned(), json!({ "count": count, "period_s": period_s }));
        }
        Ok(members)
    }
}

/// Make a token; it is printed once and kept nowhere.
#[derive(Args, Debug)]
pub struct Create {
    /// A name for people
    name: String,
    #[command(flatten)]
    may: May,
    #[command(flatten)]
    given: Given,
}

/// Change a token; what is not named stays.
#[derive(Args, Debug)]
pub struct Edit {
    #[command(flatten)]
    id: Id,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    may: May,
    #[command(flatten)]
    changed: Changed,
}

impl Tokens {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let ask = match self {
            Tokens::List(list) => {
                let of: Vec<_> = list.user.as_deref().map(|user| ("user", user)).into_iter().collect();
                return list.pages.show(client, output, PATH, &of, &COLUMNS).await;
            }
            Tokens::Create(create) => return create.run(client, output).await,
            Tokens::Get(id) => Ask::new(Method::GET, path(PATH, &id.id)),
            Tokens::Edit(edit) => {
                edit.changed.edit(path(PATH, &edit.id.id), edit.may.members(edit.name.as_deref())?)?
            }
            Tokens::Revoke(id) => return delete(client, path(PATH, &id.id)).await,
        };
        output::show(output, &client.call(&ask).await?.json()?)
    }
}

impl Create {
    async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let mut members = self.may.members(Some(&self.name))?;
        if self.may.scopes.is_empty() {
            members.0.insert("scopes".to_owned(), json!(["links:read", "links:write"]));
        }
        let made = client.call(&self.given.create(PATH, members)?).await?.json()?;
        match output {
            Output::Json => output::show(output, &made),
            Output::Table => {
                let text = |field: &str| made[field].as_str().unwrap_or_default().to_owned();
                tell(&format!("made token {}; it is shown this once:", text("id")));
                print(&text("token"))
            }
        }
    }
}
