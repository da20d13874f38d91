//! HTTP/2 with a visitor: the same answers as HTTP/1.1, on streams that are answered as they come.
//!
//! The `h2` crate reads and writes frames, refuses malformed ones, and answers a header list that is too long with 431 by itself; what
//! a request means is decided where it is for every protocol ([`super::reply`]). A body is read and thrown away before the answer, as in
//! HTTP/1.1: some clients do not look at an answer that comes before they have said everything.
//!
//! # Bounds of a connection
//! | | at most | then |
//! |---|---|---|
//! | streams at once | [`STREAMS_MAX`] | refused |
//! | header list, decoded, and 32 bytes for each (RFC 9113 §6.5.2) | [`Limits::head_bytes`](crate::limits::Limits::head_bytes) | 431; four times that, or CONTINUATION frames without end: closed |
//! | requests | [`Limits::requests_per_connection`](crate::limits::Limits::requests_per_connection) | GOAWAY, what is open is finished |
//! | streams reset before they were answered | [`RESETS_MAX`] waiting | closed, `ENHANCE_YOUR_CALM` |
//! | malformed streams | [`ERRORS_MAX`] | closed |
//! | a body | [`BODY_BYTES_MAX`] | the rest is not wanted: answered, then reset with `NO_ERROR` |
//! | time for a body | [`Limits::body`](crate::limits::Limits::body) | 408 |
//! | bytes of a body on the way | [`WINDOW_BYTES`] a stream, 64 KiB in all | have to wait |
//! | time for the first frames | [`Limits::head`](crate::limits::Limits::head) | closed |
//! | time without a request, whatever else comes | [`Limits::idle`](crate::limits::Limits::idle) | GOAWAY, closed |

use std::pin::pin;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, header};
use percent_encoding::percent_decode;
use pingora::protocols::Stream;
use tokio::time::{Instant, sleep, timeout};

use super::asked::{Asked, Kept, Who};
use super::clock::{date, now_ms};
use super::header::{Header, header_of};
use super::later::later;
use super::parse::{Says, is_escaped_well, is_host};
use super::reply::{self, Reply};
use super::slow::{BODY_BYTES_MAX, Form};
use super::wanted::Wanted;
use crate::answer::{Answer, Page};
use crate::client::Client;
use crate::limits::{Limit, Limits};
use crate::worker::{Event, Worker};

const STREAMS_MAX: u32 = 100;
const RESETS_MAX: usize = 20;
const ERRORS_MAX: usize = 32;
const WINDOW_BYTES: u32 = 4 << 10;
/// Bytes of a stream's answer beyond which h2 grants no more room. It takes a body that is handed over as a whole all the same, so what waits for a
/// visitor's window is bounded by what bodies are: pages are static, files of domains are shared, and a preview has at most
/// [`preview::BYTES_MAX`](crate::answer::preview::BYTES_MAX), times [`STREAMS_MAX`].
const UNSENT_BYTES_MAX: usize = 64 << 10;

/// Serves a connection to its end.
///
/// # Cancel safety
/// Cancelled, the connection is closed where it is.
pub(super) async fn serve(worker: &Worker, stream: Stream, client: &Client) {
    let handshake = builder(&worker.limits).handshake::<_, Bytes>(stream);
    let mut connection = match timeout(worker.limits.head, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(_)) => return,
        Err(_) => return worker.counters.reached(Limit::HeadTime),
    };
    let mut later = FuturesUnordered::new();
    let mut requests = 0;
    let mut quiet = pin!(sleep(worker.limits.idle));
    let mut stopped = pin!(worker.stop_signal().notified());
    stopped.as_mut().enable();
    let mut is_ending = false;
    if worker.is_stopping() {
        connection.graceful_shutdown();
        is_ending = true;
        quiet.as_mut().reset(Instant::now() + worker.limits.linger);
    }
    loop {
        tokio::select! {
            biased;
            () = &mut quiet => {
                if is_ending {
                    return;
                }
                worker.counters.reached(Limit::Idle);
                connection.graceful_shutdown();
                is_ending = true;
                quiet.as_mut().reset(Instant::now() + worker.limits.linger);
            }
            // The goodbye is complete when the peer has confirmed it (RFC 9113 §6.8), or has had its time for that.
            () = &mut stopped, if !is_ending => {
                connection.graceful_shutdown();
                is_ending = true;
                quiet.as_mut().reset(Instant::now() + worker.limits.linger);
            }
            Some(()) = later.next(), if !later.is_empty() => {}
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                worker.counters.count(Event::Http2);
                if let Some((waiting, awaited)) = answer_at_once(worker, client, request, respond) {
                    later.push(waiting.answer_after(worker, awaited));
                }
                requests += 1;
                if is_ending {
                    continue;
                }
                quiet.as_mut().reset(Instant::now() + worker.limits.idle);
                if requests >= worker.limits.requests_per_connection {
                    worker.counters.reached(Limit::RequestsPerConnection);
                    connection.graceful_shutdown();
                    is_ending = true;
                }
            }
        }
    }
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(Some(ERRORS_MAX))
        .initial_window_size(WINDOW_BYTES)
        .max_send_buffer_size(UNSENT_BYTES_MAX);
    builder
}

/// A stream that waits for its answer.
struct Waiting<'c> {
    client: &'c Client,
    respond: SendResponse<Bytes>,
    is_head: bool,
}

/// What an answer has to wait for.
enum Awaited {
    Body(Parts, RecvStream),
    Disk(Wanted, Box<Kept>),
}

/// Answers a request, unless that takes waiting.
fn answer_at_once<'c>(
    worker: &Worker,
    client: &'c Client,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> Option<(Waiting<'c>, Awaited)> {
    let (request, body) = request.into_parts();
    let mut waiting = Waiting { client, respond, is_head: request.method == Method::HEAD };
    if !body.is_end_stream() {
        return Some((waiting, Awaited::Body(request, body)));
    }
    let (wanted, kept) = waiting.answer(worker, &request, &[])?;
    Some((waiting, Awaited::Disk(wanted, kept)))
}

impl Waiting<'_> {
    async fn answer_after(mut self, worker: &Worker, awaited: Awaited) {
        let (wanted, kept) = match awaited {
            Awaited::Disk(wanted, kept) => (wanted, kept),
            Awaited::Body(request, mut body) => {
                let mut form = Form::wanted(request.method == Method::POST);
                match timeout(worker.limits.body, read(&mut body, &mut form)).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(_) => {
                        worker.counters.reached(Limit::Body);
                        return self.send(header_of(worker, Answer::Page(Page::Timeout)));
                    }
                }
                let Some(wanted) = self.answer(worker, &request, &form.bytes) else { return };
                wanted
            }
        };
        let write = |answer: Answer<'_>| header_of(worker, answer);
        let header = later(worker, (self.client, &kept), wanted, write).await;
        self.send(header);
    }

    /// Answers, unless the disk has to be asked for a link.
    fn answer(&mut self, worker: &Worker, request: &Parts, form: &[u8]) -> Option<(Wanted, Box<Kept>)> {
        let page = |page| header_of(worker, Answer::Page(page));
        let path = request.uri.path();
        let is_path = path.starts_with('/') && path.is_ascii() && is_escaped_well(path.as_bytes());
        let header = match host_of(request).filter(|_| is_path) {
            _ if ![Method::GET, Method::HEAD, Method::POST].contains(&request.method) => {
                page(Page::MethodNotAllowed)
            }
            None => page(Page::BadRequest),
            Some(host) => {
                let path: Vec<u8> = percent_decode(path.as_bytes()).collect();
                let headers = request.headers.iter();
                let says =
                    Says::of(headers.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())));
                let who = Who {
                    client: self.client,
                    head: self.is_head,
                    post: request.method == Method::POST,
                    form,
                    says,
                };
                let target = request.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes();
                let asked = Asked { who, host, path: &path, target };
                match reply::from_memory(worker, asked, now_ms(), |answer| header_of(worker, answer)) {
                    Reply::Written(header) => header,
                    Reply::OnDisk(wanted) => return Some((wanted, Box::new(Kept::new(&asked)))),
                }
            }
        };
        self.send(header);
        None
    }

    /// Hands the answer to the connection; a stream that the visitor has reset does not get it.
    fn send(&mut self, header: pingora::Result<Header>) {
        let Ok((header, body)) = header else { return self.respond.send_reset(h2::Reason::INTERNAL_ERROR) };
        let mut response = Response::from_parts(header.into(), ());
        if let Ok(date) = HeaderValue::from_bytes(&date(now_ms() / 1_000)) {
            response.headers_mut().insert(header::DATE, date);
        }
        let ends = self.is_head || body.is_empty();
        if let Ok(mut stream) = self.respond.send_response(response, ends)
            && !ends
        {
            let _ = stream.send_data(body, true);
        }
    }
}

/// Reads a body to its end, or as much as we read of one; says whether anybody still wants an answer.
async fn read(body: &mut RecvStream, form: &mut Form) -> bool {
    let mut bytes = 0;
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return false };
        form.append(&piece);
        bytes += piece.len();
        if bytes > BODY_BYTES_MAX || body.flow_control().release_capacity(piece.len()).is_err() {
            return true;
        }
    }
    // What trailers say is nothing to us.
    body.trailers().await.is_ok()
}

/// `:authority`, or `Host` without one; they must not differ (RFC 9113 §8.3.1), and one there has to be.
fn host_of(request: &Parts) -> Option<&[u8]> {
    let mut hosts = request.headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let (host, second) = (hosts.next(), hosts.next());
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    let differ = authority.zip(host).is_some_and(|(authority, host)| !authority.eq_ignore_ascii_case(host));
    let host = authority.or(host).filter(|host| is_host(host));
    host.filter(|_| second.is_none() && !differ)
}
