//! The commands of a running proxy, through its control socket. They are few, since a proxy decides nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use daemon::control::{Answer, Commands};
use serde_json::{Value, json};

use crate::geo::Geo;
use crate::metrics::Measured;
use crate::tls::Tls;
use crate::watch;

/// Answers commands.
#[derive(Debug)]
pub struct ProxyCommands {
    /// What is told.
    pub measured: Measured,
    /// What `reload` reads again.
    pub tls: Option<Arc<Tls>>,
    /// The same.
    pub geo: Option<Arc<Geo>>,
    /// Where visitors come in.
    pub listen: Vec<SocketAddr>,
    /// Where health is answered.
    pub health: SocketAddr,
    /// When the process began.
    pub started: Instant,
}

impl ProxyCommands {
    fn stats(&self) -> Value {
        let (verdict, follow) = self.measured.ready.verdict();
        let mut stats = self.measured.to_json();
        let more = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.started.elapsed().as_secs(),
            "listen": self.listen.iter().map(SocketAddr::to_string).collect::<Vec<_>>(),
            "health": self.health.to_string(),
            "ready": verdict.is_ready(),
            "reason": verdict.reason(),
            "replica": follow.replica_json(),
            "feed": follow.to_json(Instant::now()),
        });
        if let (Value::Object(stats), Value::Object(more)) = (&mut stats, more) {
            stats.extend(more);
        }
        stats
    }
}

impl Commands for ProxyCommands {
    fn run(&self, command: String, _args: Value) -> Answer<'_> {
        let answer = match command.as_str() {
            "stats" => Ok(self.stats()),
            "reload" => watch::on_command(self.tls.as_deref(), self.geo.as_deref()),
            other => Err(format!("a proxy has no command {other:?}; it has: stats, reload")),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// The command line's way to them.
///
/// # Errors
/// As [`daemon::control::call`].
pub fn call(socket: &std::path::Path, command: &str) -> Result<Value, daemon::control::CallError> {
    daemon::control::call(socket, command, Value::Null)
}
