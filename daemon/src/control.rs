//! The control socket.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// The answer to a command, still being worked out.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Value, String>> + Send + 'a>>;

/// The commands a daemon answers on its control socket.
pub trait Commands: Send + Sync + 'static {
    /// Runs one command.
    fn run(&self, command: String, args: Value) -> Answer<'_>;
}

/// Binds the socket and answers on it until `stop` is cancelled.
pub async fn serve(_path: &Path, _commands: Arc<dyn Commands>, stop: CancellationToken) -> io::Result<()> {
    stop.cancelled().await;
    Ok(())
}

/// Why a call did not get its answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody could be reached.
    #[error("cannot reach the daemon on {}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon refused.
    #[error("{0}")]
    Refused(String),
}

/// Calls a running daemon and waits for its answer.
pub fn call(path: &Path, _command: &str, _args: Value) -> Result<Value, CallError> {
    Err(CallError::Unreachable { path: path.to_owned(), source: io::ErrorKind::NotFound.into() })
}
