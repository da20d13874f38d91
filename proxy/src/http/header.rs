//! Answers as headers and a body, for Pingora's session and for HTTP/2: the same as [`super::render`] writes for the fast path.

use bytes::Bytes;
use pingora::http::ResponseHeader;

use crate::answer::{ASK_AGAIN, Answer, Page};
use crate::worker::Worker;

/// An answer: its head without `Date`, and its body.
pub(super) type Header = (ResponseHeader, Bytes);

/// Writes an answer, and counts it.
pub(super) fn header_of(worker: &Worker, answer: Answer<'_>) -> pingora::Result<Header> {
    worker.counters.answered(answer.status());
    let mut header = ResponseHeader::build(answer.status(), Some(6))?;
    let page = match answer {
        Answer::Redirect { target, max_age_s, .. } => {
            match max_age_s {
                Some(seconds) => {
                    header.insert_header("Cache-Control", format!("private, max-age={seconds}"))?
                }
                None => header.insert_header("Cache-Control", ASK_AGAIN)?,
            }
            header.insert_header("Location", target)?;
            None
        }
        Answer::Page(page) => Some(page),
        Answer::Composed(composed) => {
            header.insert_header("Cache-Control", &*composed.cache_control)?;
            if let Some(content_type) = composed.content_type {
                header.insert_header("Content-Type", content_type)?;
            }
            for (name, value) in composed.headers {
                header.insert_header(*name, *value)?;
            }
            if let Some(cookie) = &composed.set_cookie {
                header.insert_header("Set-Cookie", cookie)?;
            }
            if let Some(location) = &composed.location {
                header.insert_header("Location", &**location)?;
            }
            header.insert_header("Content-Length", composed.body.len())?;
            return Ok((header, composed.body.clone()));
        }
        Answer::Limited { retry_after_s } => {
            header.insert_header("Retry-After", retry_after_s)?;
            Some(Page::TooMany)
        }
    };
    let body = match page.map(Page::text) {
        None => "",
        Some(text) => {
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
    Ok((header, Bytes::from_static(body.as_bytes())))
}
