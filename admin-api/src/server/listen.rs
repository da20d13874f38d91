//! The API's port: accepting, the bounds of a connection, and the end of all of them.
//!
//! Owned here: at most [`CONNECTIONS_MAX`] connections; a client that is slow with its headers, or idle, is closed; once told to stop, no
//! new request begins and every request that has begun is answered, for at most [`super::DRAIN_MAX`].

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::DRAIN_MAX;
use crate::metrics::Metrics;

/// Connections served at the same time; the next wait in the listener's backlog.
pub(super) const CONNECTIONS_MAX: usize = 1024;
/// How long the head of a request may take to arrive, counted from the end of the request before it: also how long a connection may be
/// idle.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long a connection without a whole request may live on once the service is told to stop.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);
/// The pause after a failed accept: it is most often a lack of file descriptors, which does not pass by asking again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API.
pub(super) struct HttpServer {
    pub router: Router,
    pub metrics: Metrics,
}

impl HttpServer {
    /// Serves until `stop`, and then until every request is answered or the time is up.
    pub(super) async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = accept(&listener, &places) => match accepted {
                    Ok((stream, place)) => {
                        let connection = converse(stream, self.router.clone(), self.metrics.clone(), stop.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept on the API's port");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => report(ended),
            }
        }
        drop(listener);
        let drained =
            tokio::time::timeout(DRAIN_MAX, async { while connections.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "requests were cut off by the end of the service"
            );
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task panicked");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn converse(stream: TcpStream, router: Router, metrics: Metrics, stop: CancellationToken) {
    // Answers are written whole: there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_buf_size(HEAD_BYTES_MAX);
    let answering = Arc::new(AtomicBool::new(false));
    let is_answering = answering.clone();
    let service = service_fn(move |request| {
        let (router, answering) = (router.clone(), answering.clone());
        async move {
            answering.store(true, Ordering::Relaxed);
            let response = router.oneshot(request).await;
            answering.store(false, Ordering::Relaxed);
            response
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            loop {
                match timeout(LAST_WORDS_MAX, connection.as_mut()).await {
                    Ok(ended) => break ended,
                    // Half a request, or an answer that nobody reads: neither is worth the wait.
                    Err(_) if !is_answering.load(Ordering::Relaxed) => break Ok(()),
                    Err(_) => {}
                }
            }
        }
    };
    if let Err(error) = ended {
        // A client that goes away is no event; one that breaks the protocol or a limit is counted.
        if error.is_timeout() || error.is_parse() || error.is_parse_too_large() {
            metrics.connections_cut.inc();
        }
        tracing::debug!(%error, "a connection ended early");
    }
}
