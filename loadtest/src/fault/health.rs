//! What a proxy says of its feed and its replica: `/readyz` for the feed, the control socket for the replica. And what the writer and
//! standbys say of their logs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::history::{Replica, Server};
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
        let stats = ask(&self.control, "stats")?;
        let number =
            |name: &str| stats["replica"][name].as_u64().with_context(|| format!("no {name} in {stats}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Replica {
            seq: number("seq")?,
            digest: text(&stats["replica"]["digest"]),
            keys: number("keys")?,
            sum: text(&stats["replica"]["serve_sum"]),
            state: text(&stats["feed"]["state"]),
        })
    }
}

/// What the writer or a standby says of its log.
pub(super) fn server(fleet: &Path, name: &str) -> anyhow::Result<Server> {
    let status = ask(&fleet.join(name).join("control.sock"), "status")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let state = if status["role"] == "writer" { &status["role"] } else { &status["standby"]["state"] };
    Ok(Server {
        name: name.to_owned(),
        seq: status["head"]["seq"].as_u64().with_context(|| format!("no head in {status}"))?,
        digest: text(&status["digest"]),
        sum: text(&status["serve_sum"]),
        state: text(state),
    })
}

/// Asks a part by its control socket.
fn ask(socket: &Path, command: &str) -> anyhow::Result<Value> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(ASK_WITHIN))?;
    stream.write_all(format!("{{\"command\":\"{command}\"}}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let mut answer: Value = serde_json::from_str(&line)?;
    anyhow::ensure!(answer.get("ok").is_some(), "{}: {answer}", socket.display());
    Ok(answer["ok"].take())
}
