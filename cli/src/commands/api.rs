//! `signpost api`: any request of the API, for what has no command of its own.

use std::io::{self, Read};

use clap::Args;
use daemon::exit::Exit;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method};

use crate::client::{Ask, Client};
use crate::output::print;
use crate::settings::Output;

/// Largest body from standard input, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// Send any request of the API and print what it answers.
#[derive(Args, Debug)]
pub struct Api {
    /// GET, POST, PUT, PATCH or DELETE
    method: String,
    /// Path with query, as /v1/replication
    path: String,
    /// Body; -: from standard input
    body: Option<String>,
    /// Header, as in -H 'If-Match: "3"'; several times for several
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,
}

impl Api {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let method = Method::from_bytes(self.method.to_uppercase().as_bytes())
            .map_err(|_| Exit::Usage(format!("{:?} is no method", self.method)))?;
        if !self.path.starts_with('/') {
            return Err(Exit::Usage(format!("{:?} is no path: it begins with /", self.path)));
        }
        let mut ask = Ask::new(method, self.path.clone());
        for header in &self.header {
            let usage = || Exit::Usage(format!("{header:?}: write a header as NAME: VALUE"));
            let (name, value) = header.split_once(':').ok_or_else(usage)?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| usage())?;
            HeaderValue::from_str(value.trim()).map_err(|_| usage())?;
            ask = ask.header(name, value.trim());
        }
        if let Some(body) = &self.body {
            if !ask.headers.iter().any(|(name, _)| name == CONTENT_TYPE) {
                ask = ask.header(CONTENT_TYPE, "application/json");
            }
            ask.body = Some(if body == "-" { standard_input()?.into() } else { body.clone().into() });
        }
        let answer = client.call(&ask).await?;
        match (output, serde_json::from_slice::<serde_json::Value>(&answer.body)) {
            (_, Err(_)) if answer.body.is_empty() => Ok(()),
            (Output::Table, Ok(value)) => print(&format!("{value:#}")),
            _ => print(String::from_utf8_lossy(&answer.body).trim_end()),
        }
    }
}

fn standard_input() -> Result<Vec<u8>, Exit> {
    let mut body = Vec::new();
    io::stdin().lock().take(BODY_BYTES_MAX).read_to_end(&mut body).map_err(Exit::failure)?;
    Ok(body)
}
