//! What a proxy says of its feed and its replica: `/readyz` for the feed, the control socket for the replica.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::history::Replica;
use crate::http1::{Connection, Endpoint, get};

/// How long a question may take.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Where a proxy answers.
#[derive(Clone, Debug)]
pub(super) struct Health {
    pub(super) readyz: Endpoint,
    pub(super) control: PathBuf,
}

/// What its feed is doing.
#[derive(Debug)]
pub(super) struct Feed(Value);

impl Feed {
    /// Whether it follows and lacks nothing that it has heard of.
    pub(super) fn is_whole(&self) -> bool {
        self.0["state"] == "following" && self.0["lag_records"] == 0
    }
}

impl Health {
    /// The proxy's feed.
    pub(super) fn feed(&self) -> anyhow::Result<Feed> {
        let mut connection = Connection::new(self.readyz.clone(), ASK_WITHIN);
        let answer = connection.exchange(&get(&self.readyz, "/readyz", "Connection: close\r\n"))?;
        let mut readiness: Value = serde_json::from_slice(answer.body)?;
        Ok(Feed(readiness["feed"].take()))
    }

    /// The proxy's replica.
    pub(super) fn replica(&self) -> anyhow::Result<Replica> {
        let mut stream = UnixStream::connect(&self.control)
            .with_context(|| format!("cannot connect to {}", self.control.display()))?;
        stream.set_read_timeout(Some(ASK_WITHIN))?;
        stream.write_all(b"{\"command\":\"stats\"}\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        let stats = &answer["ok"];
        let number =
            |name: &str| stats["replica"][name].as_u64().with_context(|| format!("no {name} in {answer}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Replica {
            seq: number("seq")?,
            digest: text(&stats["replica"]["digest"]),
            keys: number("keys")?,
            state: text(&stats["feed"]["state"]),
        })
    }
}
