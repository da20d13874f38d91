//! A standby whose log is damaged on its disk fetches another one by itself, as soon as it follows a writer that it can be had from.
//!
//! It follows on meanwhile, for the writer may be waiting for what it confirms, and that is in its journal.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::renew::Renewal;
use super::status::State;

/// How often it is asked whether the last look at the disk found damage.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest pause after a try that failed; the first one is [`LOOK_EVERY`], and each is twice as long as the one before.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Watches until `stop`, or until there is another log.
pub(crate) async fn run(renewal: Arc<Renewal>, stop: CancellationToken) {
    let mut pause = LOOK_EVERY;
    while stop.run_until_cancelled(sleep(pause)).await.is_some() {
        let following = renewal.status.snapshot();
        let (Some(damage), State::Following) = (renewal.status.damage(), following.state) else {
            pause = LOOK_EVERY;
            continue;
        };
        match stop.run_until_cancelled(renewal.log(&following.writer, &damage)).await {
            None | Some(Ok(())) => return,
            Some(Err(error)) => {
                pause = (pause * 2).min(PAUSE_MAX);
                tracing::error!(%error, again_in = ?pause, "the log here is damaged, and there is no other one yet");
            }
        }
    }
}
