//! Requests that the fast parser does not answer: bodies, other methods, HTTP/1.0, absolute form, escapes, `Expect`, `Upgrade`.
//!
//! Pingora's session reads the head and writes the answer. It is given one whole head that the fast parser has found unambiguous,
//! without the lines that announce a body, and never reads from the connection: its tolerance does not decide where a request
//! ends. The body was read before, by [`super::body`].
//!
//! Bounded: a body of `BODY_BYTES_MAX` and [`crate::worker::Limits::body`]; nobody who wants to send more needs this connection any
//! longer. Of a POST what a form can be is kept, nothing else. What is no body as announced is answered 400, what does not come 408. `Expect`, `Upgrade` and CONNECT get their final
//! answer at once and the connection ends, since what follows could be either.

use bytes::BytesMut;
use percent_encoding::percent_decode;
use pingora::http::{Method, RequestHeader, Version};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::answer::door::FORM_BYTES_MAX;
use crate::answer::{Answer, Page};
use crate::client::Client;
use crate::http::asked::{Asked, Who};
use crate::http::body::{Body, Framing};
use crate::http::header::{Header, header_of};
use crate::http::later::wherever;
use crate::http::parse::{Head, Says, is_host};
use crate::http::respond::Visit;
use crate::limits::Limit;
use crate::worker::{Event, Worker};

/// Most bytes of a body, its chunks' sizes and trailers included, that are read for the sake of the connection.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;
/// Bytes of a body read at once.
const PIECE_BYTES: usize = 4 << 10;

/// What becomes of a connection after its request.
pub(super) enum Served {
    /// It goes on, with what was read beyond the request.
    GoesOn(Stream, Vec<u8>),
    /// Its last answer is this one, yet to be written.
    Refused(Stream, Page),
    /// It was answered for the last time; the peer may still be sending.
    Answered(Stream),
    /// It is gone.
    Over,
}

/// Answers the request with `head` at the start of `unread`, which is what was read so far.
pub(super) async fn serve(
    worker: &Worker,
    visit: &mut Visit<'_>,
    mut stream: Stream,
    head: Head,
    mut unread: Vec<u8>,
) -> Served {
    worker.counters.count(Event::Session);
    let mut rest = unread.split_off(head.bytes);
    let is_not_last = visit.count_request(worker);
    let mut form = Form::of(&unread);
    let goes_on = if head.is_last {
        false
    } else {
        match read_body(worker, &mut stream, head.body, &mut rest, &mut form).await {
            Read::Whole => head.keep_alive && is_not_last && !worker.is_stopping(),
            Read::TooMuch => {
                worker.counters.reached(Limit::Body);
                false
            }
            Read::Not(page) => return Served::Refused(stream, page),
            Read::Gone => return Served::Over,
        }
    };
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive(goes_on.then_some(worker.limits.idle.as_secs()));
    session.set_pipelining_enabled(true);
    session.set_read_timeout(Some(worker.limits.body));
    session.set_pipelined_prefix(without_framing(&unread, head.body));
    match session.read_request().await {
        Ok(true) => {}
        Ok(false) => return Served::Over,
        // Refused by Pingora alone, as it does a target that names another host than the Host header. What it says about that
        // would be a line in the log for every such request; the count of answers says enough.
        Err(_) => {
            return stream_of(session)
                .map_or(Served::Over, |stream| Served::Refused(stream, Page::BadRequest));
        }
    }
    // Pingora has read Connection by now, but only the first line of it.
    if !goes_on {
        session.set_keepalive(None);
    }
    match respond(worker, visit.client, &mut session, &form.bytes).await {
        Ok(()) if goes_on => match in_time(worker, session.finish()).await {
            // Nothing was read beyond the head, since nothing was read.
            Ok(Some(reusable)) => Served::GoesOn(reusable.into_parts().0, rest),
            Ok(None) | Err(_) => Served::Over,
        },
        Ok(()) => stream_of(session).map_or(Served::Over, Served::Answered),
        Err(_) => Served::Over,
    }
}

/// The head without the lines that announce a body, which is read already. Every line ends in CRLF and none is folded: the parser
/// has made sure.
fn without_framing(head: &[u8], body: Framing) -> BytesMut {
    if body == Framing::None {
        return BytesMut::from(head);
    }
    let is_framing = |line: &&[u8]| {
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding")
    };
    let lines = head.split_inclusive(|b| *b == b'\n').filter(|line| !is_framing(line));
    lines.flatten().copied().collect()
}

/// Takes the connection out of a session.
fn stream_of(session: ServerSession) -> Option<Stream> {
    match session {
        ServerSession::H1(session) => Some(session.into_inner()),
        _ => None,
    }
}

/// What a POST carries, as long as it can be a form of ours; of other requests nothing is kept.
#[derive(Default)]
pub(super) struct Form {
    pub(super) bytes: Vec<u8>,
    is_wanted: bool,
}

impl Form {
    /// Of a request with this head.
    fn of(head: &[u8]) -> Form {
        Form::wanted(head.trim_ascii_start().starts_with(b"POST "))
    }

    /// Of a request of which it is wanted or not.
    pub(super) fn wanted(is_wanted: bool) -> Form {
        Form { bytes: Vec::new(), is_wanted }
    }

    /// Takes a piece, if all of it is still short enough.
    pub(super) fn append(&mut self, data: &[u8]) {
        self.is_wanted &= self.bytes.len() + data.len() <= FORM_BYTES_MAX;
        match self.is_wanted {
            true => self.bytes.extend_from_slice(data),
            false => self.bytes.clear(),
        }
    }
}

/// What came of a body.
enum Read {
    /// It was read to its end.
    Whole,
    /// There is more than we read.
    TooMuch,
    /// It is none, or did not come in time: to be answered with this.
    Not(Page),
    /// The peer is.
    Gone,
}

/// Reads a body to its end. `unread` is what has come already; in the end, what came after the body.
async fn read_body(
    worker: &Worker,
    stream: &mut Stream,
    framing: Framing,
    unread: &mut Vec<u8>,
    form: &mut Form,
) -> Read {
    if matches!(framing, Framing::Length(bytes) if bytes > BODY_BYTES_MAX as u64) {
        return Read::TooMuch;
    }
    let mut body = Body::new(framing);
    let mut bytes = 0;
    let whole = timeout(worker.limits.body, async {
        loop {
            let Ok(read) = body.read_data(unread, |data| form.append(data)) else {
                return Read::Not(Page::BadRequest);
            };
            unread.drain(..read);
            bytes += read;
            if body.is_done() {
                return Read::Whole;
            }
            if bytes > BODY_BYTES_MAX {
                return Read::TooMuch;
            }
            unread.resize(PIECE_BYTES, 0);
            match stream.read(unread).await {
                Ok(read @ 1..) => unread.truncate(read),
                Ok(0) | Err(_) => return Read::Gone,
            }
        }
    });
    whole.await.unwrap_or_else(|_| {
        worker.counters.reached(Limit::Body);
        Read::Not(Page::Timeout)
    })
}

async fn respond(
    worker: &Worker,
    client: &Client,
    session: &mut ServerSession,
    form: &[u8],
) -> pingora::Result<()> {
    let request = session.req_header();
    let is_head = request.method == Method::HEAD;
    let (header, body) = if is_head || request.method == Method::GET || request.method == Method::POST {
        answer_to(worker, client, request, form).await?
    } else {
        header_of(worker, Answer::Page(Page::MethodNotAllowed))?
    };
    let has_body = !is_head && !body.is_empty();
    let write = async {
        session.write_response_header(Box::new(header)).await?;
        if has_body { session.write_response_body(body, true).await } else { Ok(()) }
    };
    in_time(worker, write).await
}

/// Waits for the peer to take an answer. The session's own deadline for writing is for bodies alone: who reads no answer would keep its
/// connection for as long as it likes with redirects, which have none.
async fn in_time<T>(worker: &Worker, write: impl Future<Output = pingora::Result<T>>) -> pingora::Result<T> {
    timeout(worker.limits.write, write).await.unwrap_or_else(|_| {
        worker.counters.reached(Limit::Write);
        Err(Error::new(ErrorType::WriteTimedout))
    })
}

async fn answer_to(
    worker: &Worker,
    client: &Client,
    request: &RequestHeader,
    form: &[u8],
) -> pingora::Result<Header> {
    let Some(host) = host_of(request) else { return header_of(worker, Answer::Page(Page::BadRequest)) };
    let path: Vec<u8> = percent_decode(request.uri.path().as_bytes()).collect();
    let headers = request.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    let who = Who {
        client,
        head: request.method == Method::HEAD,
        post: request.method == Method::POST,
        form,
        says: Says::of(headers),
    };
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes();
    wherever(worker, Asked { who, host, path: &path, target }, |answer| header_of(worker, answer)).await
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
