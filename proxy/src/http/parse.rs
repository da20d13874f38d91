//! The fast parser: decides, from the bytes alone, whether a request is one of those that are answered without further ado.
//!
//! It is a filter over `httparse`, stricter than it: what it calls [`Parsed::Fast`] has no body, one Host, one meaning. What has a
//! body, another method, another form or another version is [`Parsed::Unusual`]: where its head ends and what kind of body follows is
//! decided here all the same, where the body ends in [`super::body`]; the head goes to Pingora's session. What could be framed
//! in two ways is [`Parsed::Bad`] and ends the connection, so that never two parsers disagree about where a request ends:
//! line ends other than CRLF, `Content-Length` with `Transfer-Encoding`, repeated or odd lengths, codings other than `chunked`.
//!
//! Pure: no clock, no I/O, no allocation. What a path or a host means is decided in [`crate::route`] and [`crate::hosts`].

use std::mem::MaybeUninit;

use httparse::{Error, Header, Status};

use super::body::Framing;

/// Bytes of request line and headers, unless configured otherwise; more is answered 431.
pub const HEAD_BYTES_MAX: usize = 8 << 10;
/// Most headers; more is answered 431. Browsers send about 20.
pub const HEADERS_MAX: usize = 64;
/// Longest Host value: a name of 253 bytes, a final dot, and a port.
const HOST_BYTES_MAX: usize = 253 + 1 + 6;
/// Most digits of a port.
const PORT_DIGITS_MAX: usize = 5;
/// Most digits of a length: what fits into a u64 without overflow.
const LENGTH_DIGITS_MAX: usize = 19;

/// What the bytes at the start of the buffer are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed<'a> {
    /// A request that can be answered from these fields.
    Fast(Request<'a>),
    /// The beginning of a request, so far without a fault.
    Partial,
    /// A whole head of a request that needs more than this parser.
    Unusual(Head),
    /// Not a request that anybody may act on. Answer, then close.
    Bad(Fault),
}

/// A request without a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// GET or HEAD.
    pub method: Method,
    /// The value of the one Host header: letters of either case, perhaps a port, perhaps empty.
    pub host: &'a [u8],
    /// The path, from its slash up to the query; ASCII without `%`.
    pub path: &'a [u8],
    /// The path with its query, as it came.
    pub target: &'a [u8],
    /// Whether the connection may stay open after the answer.
    pub keep_alive: bool,
    /// How many bytes of the buffer the request takes.
    pub consumed: usize,
    /// What it says about who asks, for the count of clicks.
    pub says: Says<'a>,
}

/// What a request says about who sent it. The first header of a name counts, and none is trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Says<'a> {
    /// `User-Agent`; empty without one.
    pub agent: &'a [u8],
    /// `Referer`.
    pub referer: &'a [u8],
    /// `Accept-Language`.
    pub language: &'a [u8],
    /// `Authorization`: for links that are not for everybody.
    pub authorization: &'a [u8],
    /// `Cookie`: the same.
    pub cookie: &'a [u8],
    /// A browser loads ahead of a click that may never come.
    pub prefetch: bool,
}

impl<'a> Says<'a> {
    /// Reads headers, names and values, in their order.
    pub fn of(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Says<'a> {
        let mut says = Says::default();
        headers.for_each(|(name, value)| says.note(name, value));
        says
    }

    /// Takes note of a header, whatever its case, if it is one of those above.
    #[inline]
    pub fn note(&mut self, name: &[u8], value: &'a [u8]) {
        let place = match name.len() {
            7 if name.eq_ignore_ascii_case(b"referer") => &mut self.referer,
            10 if name.eq_ignore_ascii_case(b"user-agent") => &mut self.agent,
            15 if name.eq_ignore_ascii_case(b"accept-language") => &mut self.language,
            13 if name.eq_ignore_ascii_case(b"authorization") => &mut self.authorization,
            6 if name.eq_ignore_ascii_case(b"cookie") => &mut self.cookie,
            5 | 7 | 9 | 11 => {
                self.prefetch |= says_purpose(name) && is_ahead(value);
                return;
            }
            _ => return,
        };
        if place.is_empty() {
            *place = value;
        }
    }
}

/// `Sec-Purpose` (Fetch Standard, "HTTP-network-or-cache fetch"), and what browsers sent before it was agreed on.
fn says_purpose(name: &[u8]) -> bool {
    [&b"sec-purpose"[..], b"purpose", b"x-purpose", b"x-moz"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// `prefetch`, `prefetch;prerender`, `prefetch;anonymous-client-ip`, `prerender`, `preview`: a structured field with parameters.
fn is_ahead(value: &[u8]) -> bool {
    let item = value.split(|b| matches!(b, b';' | b',')).next().unwrap_or_default().trim_ascii();
    [&b"prefetch"[..], b"prerender", b"preview"].iter().any(|known| item.eq_ignore_ascii_case(known))
}

/// Where an unusual request ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// How many bytes of the buffer the head takes.
    pub bytes: usize,
    /// What comes after it.
    pub body: Framing,
    /// What comes after it could be one thing or another, depending on the answer: `Expect`, `Upgrade`, CONNECT.
    pub is_last: bool,
    /// Whether the connection may stay open after the answer.
    pub keep_alive: bool,
}

/// The methods a redirect has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD: the headers of GET without a body.
    Head,
}

/// Why nobody may act on a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Malformed or ambiguous: 400.
    Malformed,
    /// More than [`HEADERS_MAX`] headers: 431.
    TooManyHeaders,
    /// A version of HTTP other than 1.0 and 1.1: 505.
    Version,
}

/// Looks at the first request in `buffer`.
pub fn parse(buffer: &[u8]) -> Parsed<'_> {
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let consumed = match request.parse_with_uninit_headers(buffer, &mut headers) {
        Ok(Status::Complete(consumed)) => consumed,
        Ok(Status::Partial) => return Parsed::Partial,
        Err(Error::TooManyHeaders) => return Parsed::Bad(Fault::TooManyHeaders),
        Err(Error::Version) => return Parsed::Bad(Fault::Version),
        Err(_) => return Parsed::Bad(Fault::Malformed),
    };
    match read(buffer, consumed, &request) {
        Ok(parsed) => parsed,
        Err(Ambiguous) => Parsed::Bad(Fault::Malformed),
    }
}

/// The request could be understood in two ways.
struct Ambiguous;

fn read<'a>(
    buffer: &'a [u8],
    consumed: usize,
    request: &httparse::Request<'_, 'a>,
) -> Result<Parsed<'a>, Ambiguous> {
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Ambiguous);
    };
    check_line_ends(buffer, consumed, method, request.headers)?;
    let headers = read_headers(request.headers, version)?;
    let target = read_target(method, target)?;
    let keep_alive = !headers.close && (version == 1 || headers.keep_alive);
    let is_last = headers.is_last || method == "CONNECT";
    let head = Head { bytes: consumed, body: headers.body, is_last, keep_alive };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => return Ok(Parsed::Unusual(head)),
    };
    match (target, headers.host) {
        (Target::Path(path, target), Some(host)) if version == 1 && !headers.unusual => {
            let says = headers.says;
            Ok(Parsed::Fast(Request { method, host, path, target, keep_alive, consumed, says }))
        }
        _ => Ok(Parsed::Unusual(head)),
    }
}

/// httparse takes a bare LF for a line end, as RFC 9112 §2.2 allows; others do not, so we do not.
fn check_line_ends(
    buffer: &[u8],
    consumed: usize,
    method: &str,
    headers: &[Header<'_>],
) -> Result<(), Ambiguous> {
    let offset_of = |part: &[u8]| part.as_ptr() as usize - buffer.as_ptr() as usize;
    // RFC 9112 §2.2: an empty line before the request line is skipped; we skip one.
    let start = offset_of(method.as_bytes());
    if start != 0 && (start != 2 || !buffer.starts_with(b"\r\n")) {
        return Err(Ambiguous);
    }
    let ends_in_crlf = |end: usize| end >= 2 && buffer[end - 2..end] == *b"\r\n";
    let lines = headers.iter().map(|header| offset_of(header.name.as_bytes()));
    let all = lines.chain([consumed, consumed - 2]).all(ends_in_crlf);
    if all { Ok(()) } else { Err(Ambiguous) }
}

struct Headers<'a> {
    host: Option<&'a [u8]>,
    /// Connection says close, whatever else it says.
    close: bool,
    /// Connection says keep-alive, which HTTP/1.0 needs.
    keep_alive: bool,
    unusual: bool,
    body: Framing,
    is_last: bool,
    says: Says<'a>,
}

fn read_headers<'a>(headers: &[Header<'a>], version: u8) -> Result<Headers<'a>, Ambiguous> {
    let mut read = Headers {
        host: None,
        close: false,
        keep_alive: false,
        unusual: false,
        body: Framing::None,
        is_last: false,
        says: Says::default(),
    };
    let (mut length, mut coding) = (None, None);
    for header in headers {
        match Known::of(header.name.as_bytes()) {
            None => read.says.note(header.name.as_bytes(), header.value),
            Some(Known::Host) => once(&mut read.host, header.value)?,
            Some(Known::Connection) => read_connection(header.value, &mut read),
            Some(Known::ContentLength) => once(&mut length, header.value)?,
            Some(Known::TransferEncoding) => once(&mut coding, header.value)?,
            Some(Known::Special) => read.unusual = true,
            Some(Known::Forking) => (read.unusual, read.is_last) = (true, true),
        }
    }
    if read.host.is_none() && version == 1 || !read.host.is_none_or(is_host) {
        return Err(Ambiguous);
    }
    read.body = framing(length, coding, version)?;
    read.unusual |= length.is_some() || coding.is_some();
    Ok(read)
}

fn once<'a>(place: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), Ambiguous> {
    if place.replace(value).is_some() { Err(Ambiguous) } else { Ok(()) }
}

/// RFC 9112 §6: one length in digits, or `chunked`, not both, and no coding in HTTP/1.0.
fn framing(length: Option<&[u8]>, coding: Option<&[u8]>, version: u8) -> Result<Framing, Ambiguous> {
    match (length, coding) {
        (None, None) => Ok(Framing::None),
        (Some(length), None) => number(length).map(Framing::Length),
        (None, Some(coding)) if version == 1 && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        _ => Err(Ambiguous),
    }
}

fn number(digits: &[u8]) -> Result<u64, Ambiguous> {
    if !(1..=LENGTH_DIGITS_MAX).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Ambiguous);
    }
    Ok(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn read_connection(value: &[u8], read: &mut Headers<'_>) {
    for token in value.split(|b| *b == b',') {
        match token.trim_ascii() {
            close if close.eq_ignore_ascii_case(b"close") => read.close = true,
            keep if keep.eq_ignore_ascii_case(b"keep-alive") => read.keep_alive = true,
            b"" => {}
            _ => read.unusual = true,
        }
    }
}

/// Headers that have a say in what a request means; by length first, since most headers of a browser end there.
enum Known {
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    /// Something is to be done before, after or instead of answering.
    Special,
    /// As before, and what the peer sends next depends on whether we do it.
    Forking,
}

impl Known {
    fn of(name: &[u8]) -> Option<Known> {
        let (known, meaning): (&[u8], Known) = match name.len() {
            2 => (b"te", Known::Special),
            4 => (b"host", Known::Host),
            6 => (b"expect", Known::Forking),
            7 if name[0] | 0x20 == b'u' => (b"upgrade", Known::Forking),
            7 => (b"trailer", Known::Special),
            10 => (b"connection", Known::Connection),
            14 if name[0] | 0x20 == b'c' => (b"content-length", Known::ContentLength),
            14 => (b"http2-settings", Known::Special),
            17 => (b"transfer-encoding", Known::TransferEncoding),
            _ => return None,
        };
        name.eq_ignore_ascii_case(known).then_some(meaning)
    }
}

/// Says whether a Host header, or an authority, may have this value: a name or an address in brackets, perhaps with a port. It may
/// be empty (RFC 9112 §3.2).
pub(super) fn is_host(value: &[u8]) -> bool {
    let name =
        value.iter().position(|b| !matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
    let port = match name {
        None => b"",
        Some(0) if value[0] == b'[' => match value.iter().position(|b| *b == b']') {
            Some(end) if value[1..end].iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) => {
                &value[end + 1..]
            }
            _ => return false,
        },
        Some(name) => &value[name..],
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= PORT_DIGITS_MAX && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_port && value.len() <= HOST_BYTES_MAX
}

enum Target<'a> {
    /// A plain path, its query cut off, and with it.
    Path(&'a [u8], &'a [u8]),
    /// Absolute form, `*`, an authority, or a path with escapes.
    Other,
}

fn read_target<'a>(method: &str, target: &'a str) -> Result<Target<'a>, Ambiguous> {
    let target = target.as_bytes();
    // A fragment is never sent (RFC 9112 §3.2).
    if memchr::memchr(b'#', target).is_some() {
        return Err(Ambiguous);
    }
    if method == "CONNECT" {
        return if is_host(target) && !target.is_empty() { Ok(Target::Other) } else { Err(Ambiguous) };
    }
    if target.first() != Some(&b'/') {
        let is_absolute = target.split(|b| *b == b':').next().is_some_and(|scheme| {
            scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https")
        });
        let fits = is_absolute && target.is_ascii() || target == b"*" && method == "OPTIONS";
        return if fits { Ok(Target::Other) } else { Err(Ambiguous) };
    }
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    let path = &target[..end];
    let mut escaped = false;
    for b in path {
        match b {
            b'%' => escaped = true,
            // Raw bytes above 0x7e are no URI.
            0x7f.. => return Err(Ambiguous),
            _ => {}
        }
    }
    match escaped {
        false => Ok(Target::Path(path, target)),
        true if is_escaped_well(path) => Ok(Target::Other),
        true => Err(Ambiguous),
    }
}

/// Two digits after every percent sign (RFC 3986 §2.1).
pub(super) fn is_escaped_well(path: &[u8]) -> bool {
    let mut parts = path.split(|b| *b == b'%').skip(1);
    parts.all(|part| part.len() >= 2 && part[..2].iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests;
