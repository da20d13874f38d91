//! Answers as bytes, for the fast path: copied from pieces that were made before, nothing is formatted per request.
//!
//! An answer is a head (made once a process, per status or page), the target, and a tail that changes once a second.
//! Deliberately not here: what to answer ([`crate::answer`]), and Pingora's way of writing it ([`super::slow`]).

use linklog::RedirectStatus;

use super::clock::DateTail;
use crate::answer::composed::{Composed, reason};
use crate::answer::{ASK_AGAIN, Answer, Page};

/// Which of an answer's parts this request gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form {
    /// HEAD: everything but the body.
    pub head_only: bool,
    /// The connection ends with this answer.
    pub close: bool,
}

/// The pieces.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// 302, 301, 307, 308: up to the target.
    redirects: [Vec<u8>; 4],
    /// By [`Page::index`]: up to the last header.
    pages: Vec<Vec<u8>>,
}

const STATUSES: [(RedirectStatus, &str); 4] = [
    (RedirectStatus::Found, "302 Found"),
    (RedirectStatus::MovedPermanently, "301 Moved Permanently"),
    (RedirectStatus::TemporaryRedirect, "307 Temporary Redirect"),
    (RedirectStatus::PermanentRedirect, "308 Permanent Redirect"),
];

const fn place(status: RedirectStatus) -> usize {
    match status {
        RedirectStatus::Found => 0,
        RedirectStatus::MovedPermanently => 1,
        RedirectStatus::TemporaryRedirect => 2,
        RedirectStatus::PermanentRedirect => 3,
    }
}

const LOCATION: &[u8] = b"\r\nLocation: ";
const RETRY_AFTER: &[u8] = b"\r\nRetry-After: ";
const CLOSE: &[u8] = b"\r\nConnection: close";

impl Default for Pieces {
    fn default() -> Self {
        Pieces::new()
    }
}

impl Pieces {
    /// Makes the pieces.
    pub fn new() -> Pieces {
        let redirects = STATUSES.map(|(status, line)| {
            let kept = if is_permanent(status) { "private, max-age=" } else { ASK_AGAIN };
            format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nCache-Control: {kept}").into_bytes()
        });
        Pieces { redirects, pages: Page::ALL.into_iter().map(page_head).collect() }
    }

    /// Appends a whole answer.
    #[inline]
    pub fn append(&self, out: &mut Vec<u8>, answer: Answer<'_>, form: Form, tail: &DateTail) {
        let body: &[u8] = match answer {
            Answer::Redirect { status, target, max_age_s } => {
                out.extend_from_slice(&self.redirects[place(status)]);
                if let Some(seconds) = max_age_s {
                    append_number(out, u32::from(seconds));
                }
                out.extend_from_slice(LOCATION);
                out.extend_from_slice(target);
                &[]
            }
            Answer::Page(page) => self.append_page(out, page, form).as_bytes(),
            Answer::Composed(composed) => append_composed(out, composed, form),
            Answer::Limited { retry_after_s } => {
                let body = self.append_page(out, Page::TooMany, form);
                out.extend_from_slice(RETRY_AFTER);
                append_number(out, retry_after_s);
                body.as_bytes()
            }
        };
        if form.close {
            out.extend_from_slice(CLOSE);
        }
        out.extend_from_slice(tail.bytes());
        out.extend_from_slice(body);
    }

    fn append_page(&self, out: &mut Vec<u8>, page: Page, form: Form) -> &'static str {
        out.extend_from_slice(&self.pages[page.index()]);
        if form.head_only { "" } else { page.text().body }
    }
}

#[cold]
fn append_composed<'a>(out: &mut Vec<u8>, composed: &'a Composed<'_>, form: Form) -> &'a [u8] {
    let Composed { status, cache_control, body, .. } = composed;
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Length: {}\r\nCache-Control: {cache_control}",
        reason(*status),
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    if let Some(content_type) = composed.content_type {
        out.extend_from_slice(b"\r\nContent-Type: ");
        out.extend_from_slice(content_type.as_bytes());
    }
    for (name, value) in composed.headers {
        out.extend_from_slice(format!("\r\n{name}: {value}").as_bytes());
    }
    if let Some(cookie) = &composed.set_cookie {
        out.extend_from_slice(b"\r\nSet-Cookie: ");
        out.extend_from_slice(cookie.as_bytes());
    }
    if let Some(location) = &composed.location {
        out.extend_from_slice(LOCATION);
        out.extend_from_slice(location);
    }
    if form.head_only { &[] } else { body }
}

const fn is_permanent(status: RedirectStatus) -> bool {
    matches!(status, RedirectStatus::MovedPermanently | RedirectStatus::PermanentRedirect)
}

fn page_head(page: Page) -> Vec<u8> {
    let text = page.text();
    let mut head = format!(
        "HTTP/1.1 {} {}\r\nContent-Length: {}\r\nCache-Control: {}",
        text.status,
        text.reason,
        text.body.len(),
        text.cache_control
    );
    if let Some(content_type) = text.content_type {
        head.push_str("\r\nContent-Type: ");
        head.push_str(content_type);
    }
    if let Some((name, value)) = text.extra {
        head.push_str(&format!("\r\n{name}: {value}"));
    }
    head.into_bytes()
}

fn append_number(out: &mut Vec<u8>, number: u32) {
    let mut digits = [0; 10];
    let mut rest = number;
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Form = Form { head_only: false, close: false };

    fn text(answer: Answer<'_>, form: Form) -> String {
        let mut tail = DateTail::default();
        tail.set(784_111_777_000);
        let mut out = Vec::new();
        Pieces::new().append(&mut out, answer, form, &tail);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_redirect_is_written_like_this() {
        let answer = Answer::Redirect {
            status: RedirectStatus::Found,
            target: b"https://a.example/?x=1",
            max_age_s: None,
        };
        assert_eq!(
            text(answer, GET),
            "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nCache-Control: private, no-cache\r\n\
             Location: https://a.example/?x=1\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
        );
    }

    #[test]
    fn a_permanent_redirect_says_for_how_long() {
        for (seconds, digits) in [(0, "0"), (7, "7"), (60, "60"), (300, "300"), (u16::MAX, "65535")] {
            let status = RedirectStatus::PermanentRedirect;
            let answer = Answer::Redirect { status, target: b"https://a.example/", max_age_s: Some(seconds) };
            assert_eq!(
                text(answer, Form { close: true, ..GET }),
                format!(
                    "HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\nCache-Control: private, max-age={digits}\r\n\
                     Location: https://a.example/\r\nConnection: close\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
                )
            );
        }
    }

    #[test]
    fn every_page_has_the_length_it_says_and_head_leaves_the_body_out() {
        for page in Page::ALL {
            let whole = text(Answer::Page(page), GET);
            let (head, body) = whole.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{whole}");
            assert_eq!(body, page.text().body);
            let head_only = text(Answer::Page(page), Form { head_only: true, ..GET });
            assert_eq!(head_only, format!("{head}\r\n\r\n"));
        }
    }

    #[test]
    fn who_asks_for_too_much_is_told_when_to_come_back() {
        for seconds in [1, 60, u32::MAX] {
            let whole = text(Answer::Limited { retry_after_s: seconds }, GET);
            assert!(whole.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{whole}");
            assert!(whole.contains(&format!("\r\nRetry-After: {seconds}\r\nDate: ")), "{whole}");
            assert!(whole.contains("\r\nCache-Control: no-store\r\n"), "{whole}");
            assert!(whole.ends_with(Page::TooMany.text().body));
        }
    }

    #[test]
    fn the_page_for_when_we_are_unsure_is_never_kept() {
        let whole = text(Answer::Page(Page::Unsure), GET);
        assert!(whole.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{whole}");
        assert!(
            whole.contains("\r\nCache-Control: no-store\r\n") && whole.contains("\r\nRetry-After: 1\r\n"),
            "{whole}"
        );
    }
}
