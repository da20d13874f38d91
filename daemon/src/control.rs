//! The control socket: how the commands of a service's own binary reach the running daemon.
//!
//! A Unix stream socket. Each request is one line of JSON, `{"command":"stats","args":{…}}`, and gets one line back,
//! `{"ok":…}` or `{"error":"…"}`; several may follow each other on a connection. Local and private twice over: the file
//! has mode 0600, and the kernel is asked who the peer is (`SO_PEERCRED`, unix(7)): root or the daemon's own user,
//! nobody else, whatever the directory's permissions.
//!
//! Everything is bounded: lines, connections, the wait for a line, the wait for an answer. Deliberately not here: what
//! the commands are ([`Commands`], one implementation a service), and any way in over the network.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::{CallError, call};
pub use server::{ControlSocket, serve};

/// The longest request, in bytes, its line feed included: room for some ten thousand codes to release.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// The longest answer a client accepts, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Connections served at the same time; the next wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 16;
/// How long a connection may be silent before it is closed.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a client waits for the answer to one command.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// How long, after the order to stop, commands that have begun may take to end.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// The answer to a command, still being worked out: a value, or a message for the operator.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Value, String>> + Send + 'a>>;

/// The commands a daemon answers on its control socket.
pub trait Commands: Send + Sync + 'static {
    /// Runs one command. `args` is null when the request has none. A command this daemon does not have is an error
    /// like any other: the message says so.
    fn run(&self, command: String, args: Value) -> Answer<'_>;
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    command: String,
    #[serde(default)]
    args: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok(Value),
    Error(String),
}
