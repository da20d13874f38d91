//! What exports and imports have in common: streams of lines of JSON, how many run at once, and the end of a client that stopped reading.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::problem::Problem;

/// Most imports at once: each may hold about 40 MiB.
pub const IMPORTS_MAX: usize = 2;
/// Most exports at once: each may hold about 6 MiB.
pub const EXPORTS_MAX: usize = 4;
/// The media type of lines of JSON.
pub const NDJSON: &str = "application/x-ndjson";
/// How long a client may leave what is sent to it unread.
const UNREAD_MAX: Duration = Duration::from_secs(60);
/// How many pieces may wait for a client that reads slowly.
const PIECES_MAX: usize = 2;

/// Bounds how many run.
#[derive(Debug)]
pub struct Places {
    imports: Arc<Semaphore>,
    exports: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Places {
        let places = |max| Arc::new(Semaphore::new(max));
        Places { imports: places(IMPORTS_MAX), exports: places(EXPORTS_MAX) }
    }
}

/// Holds a place as long as it lives.
pub(super) type Place = OwnedSemaphorePermit;

impl Places {
    /// Takes a place for an import.
    pub(super) fn import(&self) -> Result<Place, Problem> {
        self.imports.clone().try_acquire_owned().map_err(|_| Problem::transfers_busy(IMPORTS_MAX))
    }

    /// Takes a place for an export.
    pub(super) fn export(&self) -> Result<Place, Problem> {
        self.exports.clone().try_acquire_owned().map_err(|_| Problem::transfers_busy(EXPORTS_MAX))
    }
}

/// The client is gone, or reads no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone;

/// Sends the pieces of an answer.
pub(super) struct Sender(mpsc::Sender<io::Result<Bytes>>);

impl Sender {
    /// Sends a piece, once there is room for it.
    pub(super) async fn send(&self, piece: Vec<u8>) -> Result<(), Gone> {
        if piece.is_empty() {
            return Ok(());
        }
        let sent = timeout(UNREAD_MAX, self.0.send(Ok(piece.into()))).await;
        if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(Gone) }
    }

    /// Cuts the answer off: nobody may take it for complete.
    pub(super) async fn cut_off(&self) {
        let _ = timeout(UNREAD_MAX, self.0.send(Err(io::Error::other("the answer broke off")))).await;
    }
}

/// Returns an answer of lines and what sends them.
pub(super) fn lines() -> (Sender, Response) {
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    let mut response = Response::new(Body::from_stream(ReceiverStream::new(pieces)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (Sender(sender), response)
}
