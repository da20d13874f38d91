//! Work on threads that may wait for the disk, or take their time.

use daemon::turn;
use tokio::task::JoinHandle;

/// Runs `work` on a thread of the runtime's that may block. Requests that are answered in short turns do not wait for its core.
pub(crate) fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(|| turn::takes_its_time(work))
}
