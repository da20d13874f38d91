//! `token create | list | revoke`.

use clap::Subcommand;
use daemon::exit::Exit;
use serde_json::{Value, json};

use super::call::table;
use super::{Common, print, tell};

/// Tokens of the API.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token; it is printed once and kept nowhere
    Create {
        /// A name for people
        #[arg(long)]
        name: String,
        /// What it may do: links:read, links:write, stats:read or admin (everything); may be repeated
        #[arg(long = "scope", value_name = "SCOPE", default_values = ["links:read", "links:write"])]
        scopes: Vec<String>,
    },
    /// List tokens, revoked ones too
    List,
    /// Revoke a token; requests with it are refused from now on
    Revoke {
        /// Its id: the part between the underscores
        id: String,
    },
}

pub(super) fn run(common: &Common, command: &Token) -> Result<(), Exit> {
    match command {
        Token::Create { name, scopes } => {
            let made = common.call("token.create", json!({ "name": name, "scopes": scopes }))?;
            let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
            tell(&format!(
                "made token {} ({}); it is shown this once:",
                text(&made["id"]),
                scopes.join(", ")
            ));
            print(&text(&made["token"]))
        }
        Token::List => {
            let list = common.call("token.list", json!(null))?;
            print(&table(&list["tokens"], &["id", "name", "scopes", "created_at", "revoked_at"]))
        }
        Token::Revoke { id } => {
            common.call("token.revoke", json!({ "id": id }))?;
            tell(&format!("token {id} is revoked"));
            Ok(())
        }
    }
}
