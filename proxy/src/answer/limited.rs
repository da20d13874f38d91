//! The page of a link that ends with a number of clicks, for whoever asks without meaning to follow it: bots, pages loaded ahead, previews.
//! Its button follows the link, so that a person taken for a bot gets through. Pure.

use std::borrow::Cow;

use bytes::Bytes;

use super::composed::Composed;

const HEADERS: &[(&str, &str)] = &[
    ("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Robots-Tag", "noindex"),
];

const BODY: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
                    <title>Follow this link?</title><h1>Follow this link?</h1><p>It can be followed a limited number of times.\
                    <form method=post><button>Follow it</button></form></html>\n";

/// Shows the button. The form is sent to where the page came from.
pub fn page() -> Composed<'static> {
    Composed {
        status: 200,
        cache_control: Cow::Borrowed("no-store"),
        location: None,
        content_type: Some("text/html; charset=utf-8"),
        headers: HEADERS,
        set_cookie: None,
        body: Bytes::from_static(BODY.as_bytes()),
        is_of_a_link: true,
    }
}
