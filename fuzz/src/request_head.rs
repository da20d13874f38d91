//! The head of a request: what is answered at once is what the letter of the RFC calls a plain request, and what Pingora's session
//! takes it for; what Pingora is given besides ends where we say.

use std::cell::RefCell;

use bytes::BytesMut;
use percent_encoding::percent_decode;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::server::HttpSession;
use signpost_proxy::http::body::Framing;
use signpost_proxy::http::parse::{HEAD_BYTES_MAX, Head, Method, Parsed, parse};

use super::strict::{Plain, plain_request};

/// Looks at the request at the start of `bytes`.
pub fn check(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let parsed = parse(bytes);
    assert_eq!(as_plain(&parsed), plain_request(bytes), "{}", bytes.escape_ascii());
    match parsed {
        Parsed::Fast(request) => {
            let ours = &bytes[..request.consumed];
            assert_eq!(parse(ours), parsed, "what follows says nothing about a request");
            assert!(is_partial(&ours[..ours.len() - 1]), "a request ends with its last byte");
            // Pingora may refuse it, as it does a path with a backtick. If it does not, it has read the same.
            if let Some(theirs) = read_by_pingora(ours) {
                let method = if request.method == Method::Get { "GET" } else { "HEAD" };
                assert_eq!(theirs.consumed, request.consumed, "{}", bytes.escape_ascii());
                assert_eq!(theirs.method, method, "{}", bytes.escape_ascii());
                assert_eq!(theirs.path, request.path, "{}", bytes.escape_ascii());
                assert_eq!(theirs.host, request.host, "{}", bytes.escape_ascii());
            }
        }
        Parsed::Unusual(head) => check_unusual(bytes, head),
        Parsed::Partial | Parsed::Bad(_) => {}
    }
}

/// Pingora may refuse what we find unusual. If it does not, the head ends where we say.
fn check_unusual(bytes: &[u8], head: Head) {
    let ours = &bytes[..head.bytes];
    assert_eq!(parse(ours), Parsed::Unusual(head), "what follows says nothing about a head");
    assert!(is_partial(&ours[..ours.len() - 1]), "a head ends with its last byte");
    if let Some(theirs) = read_by_pingora(ours) {
        assert_eq!(theirs.consumed, head.bytes, "{}", bytes.escape_ascii());
        assert_eq!(theirs.is_chunked, head.body == Framing::Chunked, "{}", bytes.escape_ascii());
        let length = match head.body {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Chunked => None,
        };
        assert_eq!(theirs.length, length, "{}", bytes.escape_ascii());
    }
}

fn is_partial(bytes: &[u8]) -> bool {
    parse(bytes) == Parsed::Partial
}

fn as_plain(parsed: &Parsed<'_>) -> Option<Plain> {
    let Parsed::Fast(request) = parsed else { return None };
    Some(Plain {
        method: if request.method == Method::Get { "GET".to_owned() } else { "HEAD".to_owned() },
        path: request.path.to_vec(),
        host: request.host.to_vec(),
        keep_alive: request.keep_alive,
        consumed: request.consumed,
    })
}

/// What Pingora's session makes of a whole head.
struct Theirs {
    consumed: usize,
    method: String,
    path: Vec<u8>,
    host: Vec<u8>,
    is_chunked: bool,
    length: Option<u64>,
}

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers needs nothing")
    );
}

fn read_by_pingora(head: &[u8]) -> Option<Theirs> {
    // The other end is gone: a session that wants more bytes than these gets an error.
    let (stream, _) = tokio::io::duplex(1);
    let stream: Stream = Box::new(stream);
    let mut session = HttpSession::new(stream);
    session.set_read_timeout(None);
    session.set_pipelined_prefix(BytesMut::from(head));
    let read = RUNTIME.with_borrow(|runtime| runtime.block_on(session.read_request()));
    // It takes an empty line before the request as part of its head, as we do.
    let consumed = read.ok().flatten()?;
    let request = session.req_header();
    let header = |name: &str| request.headers.get(name).map(|value| value.as_bytes());
    Some(Theirs {
        consumed,
        method: request.method.as_str().to_owned(),
        // It escapes what stands bare in a path; what it is asked for is undone again, as `http::slow` does.
        path: percent_decode(request.uri.path().as_bytes()).collect(),
        host: header("host").unwrap_or_default().to_vec(),
        is_chunked: header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")),
        length: header("content-length").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()),
    })
}
