//! Asking parts whether they are ready.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::{POLL, Part, describe};
use crate::http1::{Connection, Endpoint, get};
use crate::pace::StopFlag;

/// How long a part may take to be ready.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long one question may take.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// Why a part is not ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    #[error("{part} ended with {how} before it was ready")]
    Ended { part: String, how: String },
    #[error("{part} was not ready after {} s: {last}", READY_LIMIT.as_secs())]
    TooLate { part: String, last: String },
    #[error("stopped while waiting for {part}")]
    Stopped { part: String },
}

/// Waits until a part is ready; returns how long it took.
pub(crate) fn wait(part: &mut Part, stop: &StopFlag) -> Result<Duration, NotReady> {
    let start = Instant::now();
    loop {
        let last = match ask(&part.health) {
            Ok((true, _)) => return Ok(start.elapsed()),
            Ok((false, detail)) => format!("it answers {detail}"),
            Err(error) => format!("its health does not answer: {error}"),
        };
        let name = part.name.clone();
        if let Some(status) = part.ended() {
            return Err(NotReady::Ended { part: name, how: describe(status) });
        }
        if stop.is_set() {
            return Err(NotReady::Stopped { part: name });
        }
        if start.elapsed() >= READY_LIMIT {
            return Err(NotReady::TooLate { part: name, last });
        }
        thread::sleep(POLL);
    }
}

/// Whether the part behind `health` is ready, and what it says about it.
pub(super) fn ask(health: &Endpoint) -> Result<(bool, Value), String> {
    let mut connection = Connection::new(health.clone(), ASK_LIMIT);
    let answer = connection
        .exchange(&get(health, "/readyz", "Connection: close\r\n"))
        .map_err(|error| error.to_string())?;
    let detail = serde_json::from_slice(answer.body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(answer.body).chars().take(200).collect()));
    Ok((answer.status == 200, detail))
}
