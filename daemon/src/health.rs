//! The health listener: `/healthz` (the process lives), `/readyz` (it can do its work), `/metrics`.
//!
//! It has a thread and a runtime of its own, so it answers while the runtimes that do the work are saturated; a daemon
//! that is merely busy must not look dead and be restarted into more work. Everything a client can use up is bounded:
//! connections, the bytes of a request, the time a connection lives. One request a connection, since who asks here
//! (systemd's curl, a balancer's check, Prometheus) asks seldom.
//!
//! Deliberately not here: TLS and authentication. The answers hold no customer data, and the port belongs on the
//! loopback or on the operator's own network.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// Connections served at the same time; the next wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 32;
/// The longest request line and headers, in bytes; the smallest buffer the HTTP library allows. Bodies are not read.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// How long a connection lives, from accept to the last byte of the answer: a slow or silent client cannot keep one of
/// the [`CONNECTIONS_MAX`] for longer.
pub const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
/// The pause after a failed accept: it is most often a lack of file descriptors, which does not pass by asking again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Whether a daemon can do its work now, and what is to be known about it.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// True: 200. False: 503, and a balancer sends nothing here.
    pub ready: bool,
    /// An object: its members stand beside `ready` in the body. Anything else but null becomes `"detail"`.
    pub detail: Value,
}

/// What the health listener asks of a daemon. Both are called on its only thread and must not block: read what other
/// threads have left in atomics.
pub trait Probe: Send + Sync + 'static {
    /// For `/readyz`.
    fn readiness(&self) -> Readiness;

    /// For `/metrics`: OpenMetrics text, as [`metrics::render`] writes it.
    fn metrics(&self) -> String;
}

/// The listener. Dropping it stops it.
#[derive(Debug)]
pub struct HealthServer {
    local_addr: SocketAddr,
    stop: CancellationToken,
    /// Taken by the first stop.
    thread: Option<JoinHandle<()>>,
}

impl HealthServer {
    /// Listens; port 0 takes a free one. It answers when this returns.
    ///
    /// # Errors
    /// The address cannot be had; the message names it.
    pub fn start(listen: SocketAddr, probe: Arc<dyn Probe>) -> io::Result<HealthServer> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {listen} for health checks: {error}"))
        };
        let listener = TcpListener::bind(listen).map_err(named)?;
        listener.set_nonblocking(true)?;
        let local_addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = accept(listener, probe) => {}
                }
            });
        };
        let thread = thread::Builder::new().name("health".into()).spawn(serve)?;
        Ok(Self { local_addr, stop, thread: Some(thread) })
    }

    /// The address it listens on, with the port that port 0 became.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Closes the port and every connection, and waits for the thread. To be called last: until the end a balancer
    /// should be able to read that the daemon is not ready.
    pub fn stop(self) {}
}

impl Drop for HealthServer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the health listener panicked");
        }
    }
}

/// Accepts until it is dropped.
async fn accept(listener: tokio::net::TcpListener, probe: Arc<dyn Probe>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let probe = Arc::clone(&probe);
                tokio::spawn(async move {
                    // Whether it ended in time or not, and how, is the client's affair.
                    let _ = tokio::time::timeout(CONNECTION_TIME_MAX, converse(stream, probe)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a health check");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, probe: Arc<dyn Probe>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), probe.as_ref());
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIME_MAX)
        .max_buf_size(REQUEST_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// The whole of the API.
fn answer(method: &Method, path: &str, probe: &dyn Probe) -> Response<Full<Bytes>> {
    let known = matches!(path, "/healthz" | "/readyz" | "/metrics");
    if known && method != Method::GET && method != Method::HEAD {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/healthz" => {
            let body = json!({ "status": "pass", "version": env!("CARGO_PKG_VERSION") });
            respond(StatusCode::OK, JSON, body.to_string())
        }
        "/readyz" => {
            let Readiness { ready, detail } = probe.readiness();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            respond(status, JSON, readiness_body(ready, detail).to_string())
        }
        "/metrics" => respond(StatusCode::OK, metrics::CONTENT_TYPE, probe.metrics()),
        _ => respond(StatusCode::NOT_FOUND, TEXT, "here are /healthz, /readyz and /metrics\n".into()),
    }
}

fn readiness_body(ready: bool, detail: Value) -> Value {
    let mut body = match detail {
        Value::Object(members) => members,
        Value::Null => Map::new(),
        other => Map::from_iter([("detail".to_owned(), other)]),
    };
    body.insert("ready".to_owned(), ready.into());
    Value::Object(body)
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .header(CACHE_CONTROL, "no-store")
        .body(Full::new(body.into()))
        .expect("every part is valid by itself")
}

#[cfg(test)]
mod tests;
