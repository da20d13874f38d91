//! An answer put together for one request: what is no ready piece. Pure.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Answer, Page};

/// The answer: everything but the date.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Composed<'a> {
    /// The number on the status line.
    pub status: u16,
    /// `Cache-Control`.
    pub cache_control: Cow<'a, str>,
    /// `Location`: visible ASCII.
    pub location: Option<Cow<'a, [u8]>>,
    /// `Content-Type`; the body is not empty if there is one.
    pub content_type: Option<&'a str>,
    /// More headers, names and values; nothing in them comes from a visitor.
    pub headers: &'static [(&'static str, &'static str)],
    /// `Set-Cookie`.
    pub set_cookie: Option<String>,
    /// The body: made for this answer, or shared by all that have it.
    pub body: Bytes,
    /// Whether a link is behind it: clients over their limit still get those.
    pub is_of_a_link: bool,
}

impl<'a> Composed<'a> {
    /// A redirect.
    pub fn redirect(
        status: u16,
        location: Cow<'a, [u8]>,
        cache_control: impl Into<Cow<'a, str>>,
    ) -> Composed<'a> {
        Composed {
            status,
            cache_control: cache_control.into(),
            location: Some(location),
            content_type: None,
            headers: &[],
            set_cookie: None,
            body: Bytes::new(),
            is_of_a_link: true,
        }
    }

    /// One of our pages.
    pub fn page(page: Page) -> Composed<'static> {
        let text = page.text();
        Composed {
            status: text.status,
            cache_control: Cow::Borrowed(text.cache_control),
            location: None,
            content_type: text.content_type,
            headers: text.extra.as_slice(),
            set_cookie: None,
            body: Bytes::from_static(text.body.as_bytes()),
            is_of_a_link: Answer::Page(page).is_of_a_link(),
        }
    }
}

/// The words behind a status (RFC 9110 §15, RFC 7725).
pub const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        451 => "Unavailable For Legal Reasons",
        503 => "Service Unavailable",
        _ => "",
    }
}
