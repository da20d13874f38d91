//! Requests that the fast parser does not answer: bodies, other methods, HTTP/1.0, absolute form, escapes, `Expect`, `Upgrade`.
//!
//! Pingora's session reads them and writes the answer. It is given a whole head that the fast parser has found unambiguous, so its
//! own tolerance never decides where a request ends, and the connection comes back afterwards with what was read beyond it.
//!
//! A body is read and thrown away, within bounds; nobody who wants to send more needs this connection any longer. `Expect` and
//! `Upgrade` get their final answer at once and the connection ends, since what follows could be either.

use bytes::{Bytes, BytesMut};
use percent_encoding::percent_decode;
use pingora::http::{Method, RequestHeader, ResponseHeader, Version};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use crate::answer::{ASK_AGAIN, Answer, Page};
use crate::http::clock::now_ms;
use crate::http::parse::is_host;
use crate::lookup::InMemory;
use crate::route::{Route, route};
use crate::worker::{Event, Worker};

/// Most bytes of a body that are read for the sake of the connection.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What becomes of a connection after its request.
pub(super) enum Served {
    /// It goes on, with what was read beyond the request.
    GoesOn(Stream, BytesMut),
    /// It was answered for the last time; the peer may still be sending.
    Answered(Stream),
    /// It is gone.
    Over,
}

/// Answers one request whose head is in `prefix`.
pub(super) async fn serve(worker: &Worker, stream: Stream, prefix: BytesMut) -> Served {
    worker.counters.count(Event::Session);
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive(Some(worker.limits.idle.as_secs()));
    session.set_pipelining_enabled(true);
    session.set_read_timeout(Some(worker.limits.body));
    session.set_write_timeout(Some(worker.limits.write));
    session.set_total_drain_timeout(Some(worker.limits.body));
    session.set_pipelined_prefix(prefix);
    match session.read_request().await {
        Ok(true) => {}
        Ok(false) => return Served::Over,
        // Refused by Pingora alone, as it does a target that names another host than the Host header. What it says about that
        // would be a line in the log for every such request; the count of answers says enough.
        Err(_) => {
            return match refuse(worker, &mut session).await {
                Ok(()) => stream_of(session).map_or(Served::Over, Served::Answered),
                Err(_) => Served::Over,
            };
        }
    }
    let is_whole = read_body(worker, &mut session).await;
    if worker.is_stopping() || !is_whole {
        session.set_keepalive(None);
    }
    match respond(worker, &mut session).await {
        Ok(()) if is_whole => match session.finish().await {
            Ok(Some(reusable)) => {
                let (stream, rest) = reusable.into_parts();
                Served::GoesOn(stream, rest.unwrap_or_default())
            }
            Ok(None) | Err(_) => Served::Over,
        },
        Ok(()) => stream_of(session).map_or(Served::Over, Served::Answered),
        Err(_) => Served::Over,
    }
}

async fn refuse(worker: &Worker, session: &mut ServerSession) -> pingora::Result<()> {
    let (header, _) = write(worker, Answer::Page(Page::BadRequest))?;
    session.write_error_response(header, Bytes::new()).await
}

/// Takes the connection out of a session that has written its answer.
fn stream_of(session: ServerSession) -> Option<Stream> {
    match session {
        ServerSession::H1(session) => Some(session.into_inner()),
        _ => None,
    }
}

/// Reads a body to its end; says whether the connection can go on after it.
async fn read_body(worker: &Worker, session: &mut ServerSession) -> bool {
    if goes_on_in_two_ways(session.req_header()) {
        return false;
    }
    let whole = timeout(worker.limits.body, async {
        let mut bytes = 0;
        loop {
            match session.read_request_body().await {
                Ok(None) => return true,
                Ok(Some(chunk)) => bytes += chunk.len(),
                Err(_) => return false,
            }
            if bytes > BODY_BYTES_MAX {
                return false;
            }
        }
    });
    whole.await.unwrap_or(false)
}

/// After `Expect` or `Upgrade` the peer may send one thing or another.
fn goes_on_in_two_ways(request: &RequestHeader) -> bool {
    request.headers.contains_key("expect") || request.headers.contains_key("upgrade")
}

async fn respond(worker: &Worker, session: &mut ServerSession) -> pingora::Result<()> {
    let request = session.req_header();
    let is_head = request.method == Method::HEAD;
    let (header, body) = if request.method == Method::GET || is_head {
        answer_to(worker, request).await?
    } else {
        write(worker, Answer::Page(Page::MethodNotAllowed))?
    };
    let has_body = !is_head && !body.is_empty();
    session.write_response_header(Box::new(header)).await?;
    if has_body {
        session.write_response_body(Bytes::from_static(body.as_bytes()), true).await
    } else {
        Ok(())
    }
}

async fn answer_to(
    worker: &Worker,
    request: &RequestHeader,
) -> pingora::Result<(ResponseHeader, &'static str)> {
    let shared = &worker.shared;
    let Some(host) = host_of(request) else { return write(worker, Answer::Page(Page::BadRequest)) };
    let domain = shared.hosts.table().domain(host);
    let path: Vec<u8> = percent_decode(request.uri.path().as_bytes()).collect();
    match route(domain, &path) {
        Route::Link(key) => {
            let found =
                shared.lookups.in_memory(&key, |facts| write(worker, Answer::of_link(facts, now_ms())));
            match found {
                InMemory::Known(tier, written) => {
                    worker.counters.count(Event::LookedUp(tier));
                    return written;
                }
                InMemory::Failed(error) => worker.failed(&error),
                InMemory::Incomplete => worker.counters.count(Event::Incomplete),
                InMemory::NeedsDisk => {
                    if let Ok(block) = worker.look_up_on_disk(key).await {
                        let facts = block.as_ref().map(|block| block.facts());
                        return write(worker, Answer::of_link(facts, now_ms()));
                    }
                }
            }
            write(worker, Answer::Page(Page::Unsure))
        }
        Route::Root => write(worker, shared.root()),
        Route::Favicon => write(worker, Answer::Page(Page::Favicon)),
        Route::Robots => write(worker, Answer::Page(Page::Robots)),
        Route::Nothing => write(worker, Answer::Page(Page::NotFound)),
    }
}

/// The authority of an absolute form counts before the Host header (RFC 9112 §3.2.2); Pingora has made sure that they do not differ.
/// Only HTTP/1.0 may have neither.
fn host_of(request: &RequestHeader) -> Option<&[u8]> {
    if let Some(authority) = authority_of(request.raw_path()) {
        return Some(authority).filter(|host| is_host(host));
    }
    match request.headers.get("host") {
        Some(host) => Some(host.as_bytes()),
        None if request.version == Version::HTTP_10 => Some(b""),
        None => None,
    }
}

/// `None` for any other form of target. Pingora keeps the target as it came, and the path of every form in the URI.
fn authority_of(target: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = target.split_at_checked(memchr::memchr(b':', target)?)?;
    let is_http = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let rest = rest.strip_prefix(b"://").filter(|_| is_http)?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    Some(&rest[..end])
}

/// Writes an answer as Pingora wants it: the same headers as [`super::render`].
fn write(worker: &Worker, answer: Answer<'_>) -> pingora::Result<(ResponseHeader, &'static str)> {
    worker.counters.answered(answer.status());
    let mut header = ResponseHeader::build(answer.status(), Some(6))?;
    let body = match answer {
        Answer::Redirect { target, max_age_s, .. } => {
            match max_age_s {
                Some(seconds) => {
                    header.insert_header("Cache-Control", format!("private, max-age={seconds}"))?
                }
                None => header.insert_header("Cache-Control", ASK_AGAIN)?,
            }
            header.insert_header("Location", target)?;
            ""
        }
        Answer::Page(page) => {
            let text = page.text();
            header.insert_header("Cache-Control", text.cache_control)?;
            if let Some(content_type) = text.content_type {
                header.insert_header("Content-Type", content_type)?;
            }
            if let Some((name, value)) = text.extra {
                header.insert_header(name, value)?;
            }
            text.body
        }
    };
    header.insert_header("Content-Length", body.len())?;
    Ok((header, body))
}
