//! `token create | list | revoke`.

use clap::{Args, Subcommand};
use daemon::exit::Exit;
use serde_json::{Value, json};

use super::call::table;
use super::{Common, print, tell};

/// Tokens of the API.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token; it is printed once and kept nowhere
    Create(Create),
    /// List tokens, revoked ones too
    List,
    /// Revoke a token; requests with it are refused from now on
    Revoke {
        /// Its id: the part between the underscores
        id: String,
    },
}

/// What a token is to be: the fields of `POST /v1/tokens`.
#[derive(Args, Debug)]
pub(super) struct Create {
    /// A name for people
    #[arg(long)]
    name: String,
    /// What it may do: links:read, links:write, stats:read or admin (everything); may be repeated
    #[arg(long = "scope", value_name = "SCOPE", default_values = ["links:read", "links:write"])]
    scopes: Vec<String>,
    /// Id of its user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// From when on it is refused, as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Host of a domain on which it makes and changes links, else all; may be repeated
    #[arg(long = "domain", value_name = "HOST")]
    domains: Vec<String>,
    /// What the codes begin with that it makes and changes
    #[arg(long, value_name = "PREFIX")]
    alias_prefix: Option<String>,
    /// How many links it may make in how many seconds, as 1000/86400
    #[arg(long, value_name = "COUNT/SECONDS")]
    creates: Option<String>,
    /// How many requests it may make per second, else as configured
    #[arg(long, value_name = "NUMBER")]
    requests_per_s: Option<u64>,
    /// Any other field of POST /v1/tokens, as in --set own_links_only=false; the value is JSON; may be repeated
    #[arg(long, value_name = "FIELD=JSON")]
    set: Vec<String>,
}

impl Create {
    /// Returns the body that says so.
    fn body(&self) -> Result<Value, Exit> {
        let mut body = json!({ "name": self.name, "scopes": self.scopes });
        let texts =
            [("user", &self.user), ("expires_at", &self.expires_at), ("alias_prefix", &self.alias_prefix)];
        for (name, text) in texts {
            if let Some(text) = text {
                body[name] = text.as_str().into();
            }
        }
        if !self.domains.is_empty() {
            body["domains"] = self.domains.clone().into();
        }
        if let Some(text) = &self.creates {
            let usage =
                || Exit::Usage(format!("{text:?}: write a quota as COUNT/SECONDS, such as 1000/86400"));
            let (count, period_s) = text.split_once('/').ok_or_else(usage)?;
            let number = |text: &str| text.parse::<u64>().map_err(|_| usage());
            body["creates"] = json!({ "count": number(count)?, "period_s": number(period_s)? });
        }
        if let Some(per_s) = self.requests_per_s {
            body["requests_per_s"] = per_s.into();
        }
        for set in &self.set {
            let usage =
                || Exit::Usage(format!("{set:?}: write it as FIELD=JSON, such as own_links_only=false"));
            let (name, value) = set.split_once('=').ok_or_else(usage)?;
            body[name] = serde_json::from_str(value).map_err(|_| usage())?;
        }
        Ok(body)
    }
}

pub(super) fn run(common: &Common, command: &Token) -> Result<(), Exit> {
    match command {
        Token::Create(create) => {
            let made = common.call("token.create", create.body()?)?;
            let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
            tell(&format!(
                "made token {} ({}); it is shown this once:",
                text(&made["id"]),
                create.scopes.join(", ")
            ));
            print(&text(&made["token"]))
        }
        Token::List => {
            let list = common.call("token.list", json!(null))?;
            print(&table(
                &list["tokens"],
                &["id", "name", "scopes", "user", "created_at", "expires_at", "revoked_at"],
            ))
        }
        Token::Revoke { id } => {
            common.call("token.revoke", json!({ "id": id }))?;
            tell(&format!("token {id} is revoked"));
            Ok(())
        }
    }
}
