//! The threads that requests are answered on.

use std::io;

use daemon::turn;
use tokio::runtime::{Builder, Runtime};

/// Starts the runtime of the service. What runs on it in turns comes at once; longer work is run by [`crate::blocking`].
///
/// # Errors
/// The system has no more threads.
pub(super) fn start() -> io::Result<Runtime> {
    let at_start = || drop(turn::comes_at_once());
    Builder::new_multi_thread().thread_name("api").on_thread_start(at_start).enable_all().build()
}
