//! How a connection begins: with TLS if its listener has it, and with the HTTP that its visitor chose.
//!
//! Over TLS that is agreed on in the handshake (ALPN, RFC 7301). On a plain listener HTTP/2 is only spoken if the listener says so and
//! the visitor begins with it ("prior knowledge", RFC 9113 §3.3); an `Upgrade: h2c` is not answered with it.

use std::sync::Arc;

use openssl::ssl::{SslRef, SslVersion};
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::{ALPN, Ssl, Stream};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::{connection, http2};
use crate::client::Client;
use crate::limits::Limit;
use crate::tls::Tls;
use crate::worker::{Event, Handshake, Worker};

/// What is spoken at a listener.
#[derive(Clone, Debug)]
pub enum Speaks {
    /// HTTP/1 in the clear.
    Plain,
    /// HTTP/1 or HTTP/2 in the clear.
    PlainWithHttp2,
    /// HTTP/1 over TLS, and HTTP/2 if told.
    Tls {
        /// Certificates and tickets.
        tls: Arc<Tls>,
        /// Whether HTTP/2 is offered.
        http2: bool,
    },
}

/// What an HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection that was just accepted, to its end.
///
/// # Cancel safety
/// Cancelled, the connection is closed where it is.
pub async fn serve<'w>(worker: &'w Worker, speaks: &Speaks, stream: Stream, client: &'w Client) {
    worker.counters.count(Event::Opened);
    let _closed = Closed(worker);
    match speaks {
        Speaks::Plain => connection::serve(worker, stream, client).await,
        Speaks::PlainWithHttp2 => Box::pin(serve_either(worker, stream, client)).await,
        Speaks::Tls { tls, http2 } => Box::pin(serve_tls(worker, tls, *http2, stream, client)).await,
    }
}

/// Counts the end of a connection, however it comes.
struct Closed<'a>(&'a Worker);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.counters.count(Event::Closed);
    }
}

async fn serve_tls<'w>(worker: &'w Worker, tls: &Tls, http2: bool, stream: Stream, client: &'w Client) {
    let Some(stream) = tcp(stream) else { return };
    let shaken = match Box::pin(timeout(worker.limits.handshake, tls.accept(stream, http2))).await {
        Ok(Ok(shaken)) => shaken,
        Ok(Err(_)) => return worker.counters.count(Event::Handshake(Handshake::Failed)),
        Err(_) => return worker.counters.count(Event::Handshake(Handshake::Late)),
    };
    worker.counters.count(Event::Handshake(kind_of(shaken.ssl())));
    let client = Client { is_secure: true, ..*client };
    match shaken.selected_alpn_proto() {
        Some(ALPN::H2) => http2::serve(worker, Box::new(shaken), &client).await,
        _ => connection::serve(worker, Box::new(shaken), &client).await,
    }
}

fn kind_of(ssl: &SslRef) -> Handshake {
    match (ssl.version2(), ssl.session_reused()) {
        (Some(SslVersion::TLS1_3), false) => Handshake::Full13,
        (Some(SslVersion::TLS1_3), true) => Handshake::Resumed13,
        (_, false) => Handshake::Full12,
        (_, true) => Handshake::Resumed12,
    }
}

/// Reads until it is clear which HTTP this is, and gives the bytes back.
async fn serve_either<'w>(worker: &'w Worker, stream: Stream, client: &'w Client) {
    let Some(mut stream) = tcp(stream) else { return };
    let mut first = [0; PREFACE.len()];
    let mut read = 0;
    let decided = timeout(worker.limits.head, async {
        while read < first.len() && first[..read] == PREFACE[..read] {
            match stream.read(&mut first[read..]).await {
                Ok(n @ 1..) => read += n,
                Ok(0) | Err(_) => return false,
            }
        }
        true
    });
    match decided.await {
        Ok(true) => {}
        Ok(false) => return,
        // Who says nothing in this time is not told anything either.
        Err(_) => return worker.counters.reached(if read == 0 { Limit::Idle } else { Limit::HeadTime }),
    }
    stream.rewind(&first[..read]);
    if first == *PREFACE {
        http2::serve(worker, Box::new(stream), client).await;
    } else {
        connection::serve(worker, Box::new(stream), client).await;
    }
}

/// The connection itself: what the listeners accept is nothing else.
fn tcp(stream: Stream) -> Option<TcpStream> {
    stream.into_any().downcast().ok().map(|stream| *stream)
}
