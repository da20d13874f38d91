//! The parser of answers: pure, over the bytes read so far.
//!
//! Invariant: any bytes give an answer, a request for more, or an error; never a panic, never more than
//! [`ANSWER_BYTES_MAX`].

use memchr::memchr;

/// The longest header that is read, in bytes. Targets are at most 8 KiB.
pub const HEADER_BYTES_MAX: usize = 16 << 10;

/// The longest answer that is read, in bytes: 1,000 links of 8 KiB, and what surrounds them in JSON.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// One complete answer, borrowed from the bytes it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status code, 200 to 599.
    pub status: u16,
    /// The Location header as it was sent.
    pub location: Option<&'a [u8]>,
    /// The Retry-After header in seconds, when it is a number.
    pub retry_after_s: Option<u32>,
    /// The body.
    pub body: &'a [u8],
    /// The bytes of the whole answer; what follows belongs to nobody, since requests are not pipelined.
    pub length: usize,
    /// Whether the connection stays open.
    pub keep_alive: bool,
}

/// Bytes that are no answer this client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadAnswer {
    #[error("the answer does not begin with an HTTP/1.x status line")]
    StatusLine,
    #[error("a header line has no colon")]
    HeaderLine,
    #[error("the Content-Length is not a number or is given twice")]
    ContentLength,
    #[error("the answer is chunked, which this client does not read")]
    Chunked,
    #[error("the answer has neither Content-Length nor a status without a body")]
    NoLength,
    #[error("the header exceeds {HEADER_BYTES_MAX} bytes")]
    HeaderTooLong,
    #[error("the answer exceeds {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}

/// Parses the answer at the start of `bytes`; `None` when it is not complete yet.
///
/// # Errors
/// The first thing that is wrong with the bytes.
pub fn parse(bytes: &[u8]) -> Result<Option<Response<'_>>, BadAnswer> {
    parse_answer_to(false, bytes)
}

/// As [`parse`]; `to_head`: whether it answers a HEAD, which has no body whatever its length says (RFC 9112 §6.3).
///
/// # Errors
/// The first thing that is wrong with the bytes.
pub(super) fn parse_answer_to(to_head: bool, bytes: &[u8]) -> Result<Option<Response<'_>>, BadAnswer> {
    let mut rest = bytes;
    let Some(status_line) = take_line(&mut rest) else { return incomplete(bytes) };
    let (status, http_1_1) = parse_status_line(status_line)?;
    let mut headers = Headers { keep_alive: http_1_1, ..Headers::default() };
    loop {
        let Some(line) = take_line(&mut rest) else { return incomplete(bytes) };
        if line.is_empty() {
            break;
        }
        headers.take(line)?;
    }
    let header_length = bytes.len() - rest.len();
    if header_length > HEADER_BYTES_MAX {
        return Err(BadAnswer::HeaderTooLong);
    }
    let body_length = match (headers.content_length, status) {
        (_, 204 | 304) => 0,
        _ if to_head => 0,
        (Some(length), _) => length,
        (None, _) => return Err(BadAnswer::NoLength),
    };
    let length = header_length.saturating_add(body_length);
    if length > ANSWER_BYTES_MAX {
        return Err(BadAnswer::TooLong);
    }
    Ok(rest.get(..body_length).map(|body| Response {
        status,
        location: headers.location,
        retry_after_s: headers.retry_after_s,
        body,
        length,
        keep_alive: headers.keep_alive,
    }))
}

#[derive(Default)]
struct Headers<'a> {
    content_length: Option<usize>,
    location: Option<&'a [u8]>,
    retry_after_s: Option<u32>,
    keep_alive: bool,
}

impl<'a> Headers<'a> {
    fn take(&mut self, line: &'a [u8]) -> Result<(), BadAnswer> {
        let colon = memchr(b':', line).ok_or(BadAnswer::HeaderLine)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // The length sorts out nearly every header before a comparison.
        match name.len() {
            8 if name.eq_ignore_ascii_case(b"location") => self.location = Some(value),
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.keep_alive = !value.eq_ignore_ascii_case(b"close")
                    && (self.keep_alive || value.eq_ignore_ascii_case(b"keep-alive"));
            }
            11 if name.eq_ignore_ascii_case(b"retry-after") => self.retry_after_s = number(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = number(value).ok_or(BadAnswer::ContentLength)?;
                if self.content_length.replace(length).is_some() {
                    return Err(BadAnswer::ContentLength);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => return Err(BadAnswer::Chunked),
            _ => {}
        }
        Ok(())
    }
}

fn parse_status_line(line: &[u8]) -> Result<(u16, bool), BadAnswer> {
    let rest = line.strip_prefix(b"HTTP/1.").ok_or(BadAnswer::StatusLine)?;
    let [minor @ (b'0' | b'1'), b' ', status @ ..] = rest else { return Err(BadAnswer::StatusLine) };
    let digits = status.get(..3).ok_or(BadAnswer::StatusLine)?;
    if status.get(3).is_some_and(|&byte| byte != b' ') {
        return Err(BadAnswer::StatusLine);
    }
    // 1xx would be followed by the real answer; nothing here asks for one.
    let status = number(digits).filter(|status| (200..600).contains(status)).ok_or(BadAnswer::StatusLine)?;
    Ok((status, *minor == b'1'))
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if plain { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

/// The next line without its end; `None` when its end is not there yet.
fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr(b'\n', rest)?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

fn incomplete(bytes: &[u8]) -> Result<Option<Response<'_>>, BadAnswer> {
    if bytes.len() > HEADER_BYTES_MAX { Err(BadAnswer::HeaderTooLong) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const FOUND: &[u8] = b"HTTP/1.1 302 Found\r\nLOCATION:  https://a.example/x?y=1 \r\nCache-Control: no-store\r\ncontent-length: 5\r\n\r\nmoved";

    #[test]
    fn an_answer_to_head_ends_with_its_header() {
        let unsure = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 90\r\n\r\n";
        assert_eq!(parse(unsure), Ok(None));
        assert_eq!(parse_answer_to(true, unsure).unwrap().unwrap().length, unsure.len());
    }

    #[test]
    fn a_redirect_is_read_whole() {
        let expected = Response {
            status: 302,
            location: Some(b"https://a.example/x?y=1"),
            retry_after_s: None,
            body: b"moved",
            length: FOUND.len(),
            keep_alive: true,
        };
        assert_eq!(parse(FOUND), Ok(Some(expected)));
    }

    #[test]
    fn every_prefix_asks_for_more_and_what_follows_is_left_alone() {
        for end in 0..FOUND.len() {
            assert_eq!(parse(&FOUND[..end]), Ok(None), "{end}");
        }
        let mut bytes = FOUND.to_vec();
        bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        assert_eq!(parse(&bytes).unwrap().unwrap().length, FOUND.len());
    }

    #[test]
    fn whether_the_connection_stays_open_is_known() {
        let keep_alive = |text: &str| parse(text.as_bytes()).unwrap().unwrap().keep_alive;
        assert!(keep_alive("HTTP/1.1 204 No Content\r\n\r\n"));
        assert!(!keep_alive("HTTP/1.1 204 No Content\r\nConnection: Close\r\n\r\n"));
        assert!(!keep_alive("HTTP/1.0 204 No Content\r\n\r\n"));
        assert!(keep_alive("HTTP/1.0 204 No Content\r\nConnection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn what_this_client_does_not_read_is_refused_by_name() {
        let cases: [(&[u8], BadAnswer); 9] = [
            (b"SSH-2.0-OpenSSH\r\n", BadAnswer::StatusLine),
            (b"HTTP/2 302\r\n", BadAnswer::StatusLine),
            (b"HTTP/1.1 99 X\r\n", BadAnswer::StatusLine),
            (b"HTTP/1.1 3022 X\r\n", BadAnswer::StatusLine),
            (b"HTTP/1.1 302 Found\r\nnonsense\r\n", BadAnswer::HeaderLine),
            (b"HTTP/1.1 302 Found\r\nContent-Length: +1\r\n\r\n", BadAnswer::ContentLength),
            (
                b"HTTP/1.1 302 Found\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                BadAnswer::ContentLength,
            ),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BadAnswer::Chunked),
            (b"HTTP/1.1 200 OK\r\n\r\n", BadAnswer::NoLength),
        ];
        for (bytes, error) in cases {
            assert_eq!(parse(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", usize::MAX);
        assert_eq!(parse(huge.as_bytes()), Err(BadAnswer::TooLong));
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &vec![b'x'; HEADER_BYTES_MAX]].concat();
        assert_eq!(parse(&endless), Err(BadAnswer::HeaderTooLong));
    }

    #[test]
    fn retry_after_is_read_when_it_is_a_number() {
        let read = |value: &str| {
            let text = format!("HTTP/1.1 503 X\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n");
            parse(text.as_bytes()).unwrap().unwrap().retry_after_s
        };
        assert_eq!(read("7"), Some(7));
        assert_eq!(read("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_and_any_damage_give_a_result_and_never_a_panic(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0..FOUND.len(),
            end in 0..FOUND.len(),
        ) {
            let _ = parse(&noise);
            let damaged = [&FOUND[..at], &noise, &FOUND[end..]].concat();
            if let Ok(Some(response)) = parse(&damaged) {
                prop_assert!(response.length <= damaged.len() && response.body.len() <= response.length);
            }
        }
    }
}
