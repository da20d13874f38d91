//! `signpost edit`.

use clap::Args;
use daemon::exit::Exit;
use http::Method;
use http::header::{CONTENT_TYPE, IF_MATCH};
use serde_json::Value;

use super::{Members, Name};
use crate::client::{Ask, Client};
use crate::output;
use crate::settings::Output;

/// Change a link; what is not named stays.
#[derive(Args, Debug)]
pub struct Edit {
    #[command(flatten)]
    name: Name,
    /// Where it leads
    #[arg(long, value_name = "URL")]
    long_url: Option<String>,
    /// When it ends, as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Status of the redirect: 301, 302, 307 or 308
    #[arg(long)]
    status: Option<u64>,
    /// Whether it redirects: active, disabled or (operators) banned
    #[arg(long)]
    state: Option<String>,
    /// Title
    #[arg(long)]
    title: Option<String>,
    /// Tag, instead of those it has; several times for several
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Field to clear, as in --clear expires_at; several times for several
    #[arg(long, value_name = "FIELD")]
    clear: Vec<String>,
    /// Any other field of the API, as in --set 'notes="from the fair"'; the value is JSON
    #[arg(long, value_name = "FIELD=JSON")]
    set: Vec<String>,
    /// Only if it is at this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
}

impl Edit {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let mut members = Members::default();
        members.text("long_url", self.long_url.as_deref());
        members.text("expires_at", self.expires_at.as_deref());
        members.number("status", self.status);
        members.text("state", self.state.as_deref());
        members.text("title", self.title.as_deref());
        members.list("tags", &self.tags);
        for set in &self.set {
            let (name, value) = field(set)?;
            members.0.insert(name, value);
        }
        for field in &self.clear {
            members.0.insert(field.clone(), Value::Null);
        }
        if members.0.is_empty() {
            return Err(Exit::Usage(
                "say what is to change: --long-url, --title, --clear … (see --help)".to_owned(),
            ));
        }
        let mut ask = Ask::new(Method::PATCH, self.name.path(""));
        ask.body = Some(Value::Object(members.0).to_string().into());
        ask = ask.header(CONTENT_TYPE, "application/merge-patch+json");
        if let Some(version) = self.if_version {
            ask = ask.header(IF_MATCH, format!("\"{version}\""));
        }
        output::show(output, &client.call(&ask).await?.json()?)
    }
}

/// Reads `FIELD=JSON`.
pub(super) fn field(text: &str) -> Result<(String, Value), Exit> {
    let usage = |why: &str| {
        Exit::Usage(format!("{text:?}: {why}; write it as FIELD=JSON, such as 'title=\"A title\"'"))
    };
    let (name, value) = text.split_once('=').ok_or_else(|| usage("there is no ="))?;
    let value = serde_json::from_str(value)
        .map_err(|error| usage(&format!("what follows = is no JSON ({error})")))?;
    Ok((name.to_owned(), value))
}
