//! The page at `/{code}+`: where a link leads, without going there. Pure. No click, kept by nobody, nothing on it but text.

use std::borrow::Cow;

use super::composed::Composed;

const HEADERS: &[(&str, &str)] = &[
    (
        "Content-Security-Policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Robots-Tag", "noindex"),
];

/// Shows where the link with this code leads. `may_differ`: its target can depend on who follows it.
pub fn page(code: &str, target: &[u8], may_differ: bool) -> Composed<'static> {
    let code = escaped(code.as_bytes());
    let differs = if may_differ {
        "<p>Depending on device, language, time or address it may lead elsewhere."
    } else {
        ""
    };
    let body = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Preview</title><h1>This link leads to</h1><p><code>{}</code>{differs}<p><a href=\"/{code}\" rel=\"nofollow noreferrer\">Follow \
         it</a></html>\n",
        escaped(target)
    );
    Composed {
        status: 200,
        cache_control: Cow::Borrowed("no-store"),
        location: None,
        content_type: Some("text/html; charset=utf-8"),
        headers: HEADERS,
        body: Cow::Owned(body.into_bytes()),
        is_of_a_link: true,
    }
}

/// Text for HTML, inside of an element or of an attribute in double quotes.
fn escaped(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text {
        match byte {
            b'&' => out.push_str("&amp;"),
            b'<' => out.push_str("&lt;"),
            b'>' => out.push_str("&gt;"),
            b'"' => out.push_str("&quot;"),
            b'\'' => out.push_str("&#39;"),
            0x20..0x7f => out.push(char::from(*byte)),
            _ => out.push('\u{fffd}'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_text_whatever_is_in_it() {
        let page = page("a", b"https://a.example/?x=<script>alert('1')</script>&y=\"><img\xff", false);
        let body = String::from_utf8(page.body.into_owned()).expect("text");
        assert!(body.contains(
            "<code>https://a.example/?x=&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;y=&quot;&gt;&lt;img\u{fffd}</code>"
        ));
        assert!(!body.contains("<script") && !body.contains("<img"));
        assert_eq!(page.cache_control, "no-store");
    }
}
