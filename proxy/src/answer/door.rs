//! The pages of links that are not for everybody: what a visitor sees who may not follow one, or has to say a password first. Pure.
//!
//! Nothing on them tells where the link leads, and nobody may keep them. The page of a password is 200, since it is what there is to see at
//! that address; after a wrong one it is 403. A private link is 401 with a challenge (RFC 9110 section 15.5.2), whatever was wrong.

use std::borrow::Cow;

use bytes::Bytes;

use super::composed::Composed;

/// `Cache-Control` of everything about links that are not for everybody.
pub const NEVER_KEPT: &str = "private, no-store";
/// How long a password is remembered, in milliseconds.
pub const REMEMBERED_MS: u64 = 3_600_000;
/// The cookie that remembers it.
pub const COOKIE: &str = "sp_pass";
/// Longest form that is read, in bytes: a password of 256 bytes, every byte escaped, and what belongs around it.
pub const FORM_BYTES_MAX: usize = 1 << 10;

const HEADERS: &[(&str, &str)] = &[
    ("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Robots-Tag", "noindex"),
];
const CHALLENGE: &[(&str, &str)] = &[
    ("WWW-Authenticate", "Bearer realm=\"signpost\""),
    ("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Robots-Tag", "noindex"),
];

const PRIVATE: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
                       <title>Private</title><h1>This link is private</h1><p>Ask whoever gave it to you for a signed link, or show a token that may \
                       follow it.</html>\n";

fn page(status: u16, headers: &'static [(&'static str, &'static str)], body: Bytes) -> Composed<'static> {
    Composed {
        status,
        cache_control: Cow::Borrowed(NEVER_KEPT),
        location: None,
        content_type: Some("text/html; charset=utf-8"),
        headers,
        set_cookie: None,
        body,
        is_of_a_link: true,
    }
}

/// The answer to whoever may not follow a private link.
pub fn private() -> Composed<'static> {
    page(401, CHALLENGE, Bytes::from_static(PRIVATE.as_bytes()))
}

/// Asks for the password; the form is sent to `action`. `was_wrong`: there was one already.
pub fn form(action: &[u8], was_wrong: bool) -> Composed<'static> {
    let (status, said) = if was_wrong { (403, "<p>That was not it.") } else { (200, "") };
    let action =
        String::from_utf8_lossy(action).replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let body = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Password</title><h1>This link has a password</h1>{said}<form method=post action=\"{action}\">\
         <label>Password <input type=password name=password maxlength=256 required autofocus autocomplete=off></label> \
         <button>Go on</button></form></html>\n"
    );
    page(status, HEADERS, body.into())
}

/// Sends on, with the cookie, whoever has said the right password. `path`: where the cookie is sent to.
pub fn go_on(location: Vec<u8>, path: &str, signature: &str, is_secure: bool) -> Composed<'static> {
    let secure = if is_secure { "; Secure" } else { "" };
    let seconds = REMEMBERED_MS / 1_000;
    let cookie =
        format!("{COOKIE}={signature}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    Composed { set_cookie: Some(cookie), ..Composed::redirect(303, Cow::Owned(location), NEVER_KEPT) }
}

/// The values of our cookie in a `Cookie` header (RFC 6265 section 4.2.1), at most four: others may have set one of this name.
pub fn cookies(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pairs = header.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    pairs.filter_map(|pair| pair.strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"=")).take(4)
}

/// The password in a form (`application/x-www-form-urlencoded`), its escapes undone; `None` if there is none.
pub fn password_in(form: &[u8]) -> Option<Vec<u8>> {
    let escaped = form.split(|b| *b == b'&').find_map(|pair| pair.strip_prefix(b"password="))?;
    let spaced: Vec<u8> = escaped.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    Some(percent_encoding::percent_decode(&spaced).collect())
}

const NAME: &[u8] = access::signature::PARAMETER.as_bytes();

fn is_signature(parameter: &[u8]) -> bool {
    parameter.strip_prefix(NAME).is_some_and(|rest| matches!(rest.first(), None | Some(b'=')))
}

/// The signature in a query, as it came.
pub fn signature_in(query: &[u8]) -> Option<&[u8]> {
    let parameter = query.split(|b| *b == b'&').find(|parameter| is_signature(parameter))?;
    parameter[NAME.len()..].strip_prefix(b"=")
}

/// A query without signatures, which are nobody's business but ours.
pub fn without_signature(query: &[u8]) -> Cow<'_, [u8]> {
    if !query.split(|b| *b == b'&').any(is_signature) {
        return Cow::Borrowed(query);
    }
    let kept: Vec<_> = query.split(|b| *b == b'&').filter(|parameter| !is_signature(parameter)).collect();
    Cow::Owned(kept.join(&b'&'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_read_out_of_a_form() {
        for (form, password) in [
            (&b"password=a+b%26c%C3%A4"[..], Some("a b&c\u{e4}")),
            (b"x=1&password=p&password=q", Some("p")),
            (b"password=", Some("")),
            (b"password=%2", Some("%2")),
            (b"xpassword=1", None),
            (b"", None),
        ] {
            assert_eq!(password_in(form).as_deref(), password.map(str::as_bytes));
        }
    }

    #[test]
    fn a_signature_is_found_in_a_query_and_taken_out_of_it() {
        for (query, signature, rest) in [
            (&b"a=1&sp_sig=xy&b"[..], Some(&b"xy"[..]), &b"a=1&b"[..]),
            (b"sp_sig=xy", Some(b"xy"), b""),
            (b"sp_sig", None, b""),
            (b"sp_sigs=1&x=sp_sig=2", None, b"sp_sigs=1&x=sp_sig=2"),
            (b"", None, b""),
        ] {
            assert_eq!((signature_in(query), &*without_signature(query)), (signature, rest));
        }
    }

    #[test]
    fn only_our_cookie_counts_and_only_so_many() {
        let found = |header: &'static [u8]| cookies(header).collect::<Vec<_>>();
        assert_eq!(found(b"a=b; sp_pass=one;sp_pass=two; sp_passed=x; sp_pass"), [b"one", b"two"]);
        assert_eq!(found(b"sp_pass=1;sp_pass=2;sp_pass=3;sp_pass=4;sp_pass=5").len(), 4);
    }

    #[test]
    fn a_form_is_sent_to_the_link_and_nothing_in_its_address_is_taken_for_html() {
        let page = form(b"/a?x=1&y=\"><script>", true);
        let body = String::from_utf8(page.body.to_vec()).expect("text");
        assert!(body.contains("action=\"/a?x=1&amp;y=&quot;>&lt;script>\""), "{body}");
        assert_eq!((page.status, &*page.cache_control), (403, NEVER_KEPT));
    }
}
