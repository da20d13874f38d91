//! What runs on the runtime, and the order in which it ends; the same for a writer and a standby.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::log::ReadsBehind;

/// How long everything but the API may take to end, before it is left behind.
const END_MAX: Duration = Duration::from_secs(10);

/// What runs on the runtime.
pub(super) struct Tasks {
    pub(super) http: JoinSet<()>,
    pub(super) others: JoinSet<()>,
    pub(super) stop_others: CancellationToken,
    pub(super) reads_behind: ReadsBehind,
}

impl Tasks {
    /// Ends them: first the requests that were accepted are answered, then all else ends. After it nobody reads the database any more.
    pub(super) fn end(&mut self, runtime: Runtime) {
        runtime.block_on(async {
            // The listener cuts what is still running after its own time.
            while self.http.join_next().await.is_some() {}
            self.stop_others.cancel();
            let ended = async {
                while self.others.join_next().await.is_some() {}
                self.reads_behind.end().await;
            };
            if tokio::time::timeout(END_MAX, ended).await.is_err() {
                tracing::warn!("some tasks did not end in time");
            }
        });
        runtime.shutdown_timeout(END_MAX);
    }
}

/// Waits until one of them is cancelled.
pub(super) fn wait_for_either(runtime: &Runtime, one: &CancellationToken, other: &CancellationToken) {
    runtime.block_on(async {
        tokio::select! {
            () = one.cancelled() => {}
            () = other.cancelled() => {}
        }
    });
}
