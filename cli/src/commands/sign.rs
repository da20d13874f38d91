//! `signpost sign`: a URL under which a private link may be followed until some time.

use clap::Args;
use daemon::exit::Exit;
use http::Method;
use serde_json::Value;

use super::{Members, Name};
use crate::client::{Ask, Client};
use crate::output::{self, print};
use crate::settings::Output;

/// How long a signed link holds unless something else is asked for, in seconds: a day.
const TTL_S: u64 = 24 * 3600;

/// Print a URL under which a private link may be followed until some time.
#[derive(Args, Debug)]
pub struct Sign {
    #[command(flatten)]
    name: Name,
    /// Id of the user in whose name it is signed; without one in nobody's
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// For how long, in seconds; a day if nothing is said
    #[arg(long, value_name = "SECONDS", conflicts_with = "expires_at")]
    ttl: Option<u64>,
    /// Until when, as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
}

impl Sign {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let mut members = Members::default();
        members.text("user", self.user.as_deref());
        members.text("expires_at", self.expires_at.as_deref());
        members.number("ttl", self.ttl.or(self.expires_at.is_none().then_some(TTL_S)));
        let ask = Ask::new(Method::POST, self.name.path("/signatures")).json(&Value::Object(members.0));
        let signed = client.call(&ask).await?.json()?;
        match output {
            Output::Json => output::show(output, &signed),
            Output::Table => print(signed["url"].as_str().unwrap_or_default()),
        }
    }
}
