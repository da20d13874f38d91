//! The page at `/{code}+`: where a link leads, without going there. Pure. No click, kept by nobody, nothing on it but text.

use std::borrow::Cow;

use linklog::ExtrasView;

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

/// Most bytes of a target that are shown; its host is at its beginning.
const TARGET_SHOWN_MAX: usize = 1 << 10;
/// Bytes of targets, as HTML, after which no more others are listed.
const LISTED_BYTES_MAX: usize = 16 << 10;
/// Longest page, in bytes: the target, a list and one entry beyond its bound, each byte as long as its escape, and 2 KiB around it.
pub const BYTES_MAX: usize = LISTED_BYTES_MAX + 2 * 6 * TARGET_SHOWN_MAX + (2 << 10);

/// Shows where the link with this code leads: the visitor who asks to `target`, others to one of `others`.
pub fn page<'a>(code: &str, target: &[u8], others: impl Iterator<Item = &'a [u8]>) -> Composed<'static> {
    let code = escaped(code.as_bytes());
    let (mut listed, mut left_out) = (String::new(), 0);
    let mut seen = vec![target];
    for other in others {
        if seen.contains(&other) {
            continue;
        }
        seen.push(other);
        match listed.len() < LISTED_BYTES_MAX {
            true => listed.push_str(&format!("<li><code>{}</code>", shown(other))),
            false => left_out += 1,
        }
    }
    if left_out > 0 {
        listed.push_str(&format!("<li>{left_out} more"));
    }
    if !listed.is_empty() {
        let differs = "Depending on device, language, query, time or address it may lead elsewhere:";
        listed = format!("<p>{differs}<ul>{listed}</ul>");
    }
    let body = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Preview</title><h1>This link leads to</h1><p><code>{}</code>{listed}<p><a href=\"/{code}\" rel=\"nofollow noreferrer\">Follow \
         it</a></html>\n",
        shown(target)
    );
    Composed {
        status: 200,
        cache_control: Cow::Borrowed("no-store"),
        location: None,
        content_type: Some("text/html; charset=utf-8"),
        headers: HEADERS,
        set_cookie: None,
        body: body.into(),
        is_of_a_link: true,
    }
}

/// Every target of a link that somebody may be led to: those of its rules, and of its variants or else its own.
pub fn targets<'a>(own: &'a [u8], extras: &ExtrasView<'a>) -> impl Iterator<Item = &'a [u8]> {
    let own = extras.variants.is_empty().then_some(own);
    let variants = extras.variants.iter().map(|variant| variant.target);
    extras.rules.iter().map(|rule| rule.target).chain(variants).chain(own)
}

fn shown(target: &[u8]) -> String {
    match target.get(..TARGET_SHOWN_MAX) {
        Some(start) if target.len() > TARGET_SHOWN_MAX => format!("{}\u{2026}", escaped(start)),
        _ => escaped(target),
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
    fn a_page_lists_every_other_target_once_and_has_a_bound() {
        let others: [&[u8]; 4] = [b"https://b.example/", b"https://a.example/", b"https://b.example/", b"x"];
        let body = page("a", b"https://a.example/", others.into_iter()).body;
        let body = String::from_utf8(body.to_vec()).expect("text");
        let list = "<ul><li><code>https://b.example/</code><li><code>x</code></ul>";
        assert!(body.contains(list) && body.matches("a.example").count() == 1, "{body}");

        let long: Vec<Vec<u8>> = (0..32).map(|n| [&b"\"".repeat(65_000)[..], &[n]].concat()).collect();
        let body = page("a", &long[0], long.iter().map(Vec::as_slice)).body;
        assert!(body.len() <= BYTES_MAX, "{}", body.len());
        assert!(
            String::from_utf8_lossy(&body).contains("<li>28 more</ul>"),
            "{}",
            String::from_utf8_lossy(&body)
        );
    }

    #[test]
    fn a_target_is_text_whatever_is_in_it() {
        let target = b"https://a.example/?x=<script>alert('1')</script>&y=\"><img\xff";
        let page = page("a", target, std::iter::empty());
        let body = String::from_utf8(page.body.to_vec()).expect("text");
        assert!(body.contains(
            "<code>https://a.example/?x=&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;y=&quot;&gt;&lt;img\u{fffd}</code>"
        ));
        assert!(!body.contains("<script") && !body.contains("<img"));
        assert_eq!(page.cache_control, "no-store");
    }
}
